//! The conformance cases: each test is named by the case that it is. `README.md` lists them all.

mod builder;
mod cancel;
mod channel;
mod common;
mod context;
mod debug;
mod dispatch;
mod job;
mod joiner;
mod linearizable;
mod pools;
mod scope;
mod scopedval;
mod select;
mod stress;
mod stress_sync;
mod sync;
mod timeout;
mod timer;
mod trio;
mod views;
mod with_context;
