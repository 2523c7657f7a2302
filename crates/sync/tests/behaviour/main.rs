//! What the primitives promise, under executors that know nothing of corymb.

mod cancel;
mod channel;
mod common;
mod kinds;
mod model;
mod oneshot;
mod reserve;
mod stalled;
mod stress;
