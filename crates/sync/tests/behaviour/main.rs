//! What the primitives promise, under executors that know nothing of corymb.

mod cancel;
mod channel;
mod common;
mod model;
mod oneshot;
mod race;
mod select;
mod stalled;
mod stress;
