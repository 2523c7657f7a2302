//! What the primitives promise, under executors that know nothing of corymb.

// Models are in the crate; the facade is not there for them.
#![cfg(not(loom))]

mod barrier;
mod bounds;
mod cancel;
mod channel;
mod common;
mod model;
mod model_locks;
mod mutex;
mod notify;
mod once_cell;
mod oneshot;
mod rate_limiter;
mod rwlock;
mod semaphore;
mod stalled;
mod stalled_locks;
mod stress;
