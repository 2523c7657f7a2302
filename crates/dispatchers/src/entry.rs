//! What `#[corymb::main]` expands to.

use std::process::{ExitCode, Termination};
use std::time::Duration;

use crate::Runtime;

/// How long the program waits, when its main function has returned, for the end of what that left
/// behind.
const GRACE: Duration = Duration::from_secs(1);

/// The options of the attribute.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    parallelism: Option<usize>,
    name: Option<&'static str>,
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// See [`Builder::parallelism`](crate::Builder::parallelism).
    #[must_use]
    pub fn parallelism(self, parallelism: usize) -> Self {
        Self { parallelism: Some(parallelism), ..self }
    }

    /// See [`Builder::name`](crate::Builder::name).
    #[must_use]
    pub fn name(self, name: &'static str) -> Self {
        Self { name: Some(name), ..self }
    }
}

/// Runs `future` as a coroutine of a runtime of its own, reports what it returned, and shuts the
/// runtime down.
///
/// # Panics
///
/// With a panic of the future, and if the runtime cannot be started.
#[track_caller]
pub fn main<T, F>(options: Options, future: F) -> ExitCode
where
    T: Termination,
    F: Future<Output = T> + Send + 'static,
{
    // The report is made in the coroutine, so that what it reports need not be `Send`.
    runtime(options).run_main(async { future.await.report() })
}

/// As [`main`], with the future on the calling thread, which serves the main loop beside it.
///
/// # Panics
///
/// As [`main`].
#[track_caller]
pub fn main_local<T, F>(options: Options, future: F) -> ExitCode
where
    T: Termination,
    F: Future<Output = T>,
{
    runtime(options).run_main_local(async { future.await.report() })
}

#[track_caller]
fn runtime(options: Options) -> Runtime {
    let mut builder = Runtime::builder().drop_grace(GRACE);
    if let Some(parallelism) = options.parallelism {
        builder = builder.parallelism(parallelism);
    }
    if let Some(name) = options.name {
        builder = builder.name(name);
    }
    builder.build().unwrap_or_else(|error| panic!("#[corymb::main]: {error}"))
}
