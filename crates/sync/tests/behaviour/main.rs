//! What the primitives promise, under executors that know nothing of corymb.
#![cfg(not(loom))]

mod barrier;
mod bounds;
mod broadcast;
mod cancel;
mod channel;
mod closed;
mod common;
mod forgotten;
mod kinds;
mod model;
mod model_locks;
mod moved;
mod mutex;
mod notify;
mod once_cell;
mod oneshot;
mod race;
mod rate_limiter;
mod reserve;
mod rwlock;
mod select;
mod semaphore;
mod stalled;
mod stalled_channels;
mod stalled_locks;
mod statics;
mod stress;
mod watch;
