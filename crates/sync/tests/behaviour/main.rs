//! What the primitives promise, under executors that know nothing of corymb.
#![cfg(not(loom))]

mod cancel;
mod channel;
mod common;
mod model;
mod oneshot;
mod race;
mod select;
mod stalled;
mod stress;
