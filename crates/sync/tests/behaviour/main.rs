//! What the primitives promise, under executors that know nothing of corymb.
#![cfg(not(loom))]

mod broadcast;
mod cancel;
mod channel;
mod common;
mod kinds;
mod model;
mod oneshot;
mod race;
mod reserve;
mod select;
mod stalled;
mod stalled_channels;
mod stress;
mod watch;
