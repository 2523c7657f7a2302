//! corymb's runtime: the worker pool, the reactor, and what starts and ends them.

mod blocking_scope;
#[doc(hidden)]
pub mod entry;
mod home;
mod main_loop;
mod pool;
#[doc(hidden)]
pub mod reactor;
mod runtime;
mod threads;

pub use blocking_scope::{BlockingScope, ScopedDeferred, blocking_scope};
pub use home::{LocalRuntime, spawn_local};
pub use main_loop::{Main, MainError};
pub use pool::WorkerBlocked;
pub use runtime::{
    BuildError, Builder, Entered, Metrics, Runtime, RuntimeHandle, ShutdownReport, detached,
    launch_detached, run_blocking, try_run_blocking,
};
pub use threads::{Threads, ThreadsError};
