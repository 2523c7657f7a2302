//! Threads that block on a future.

use corymb_core::hooks;
use corymb_core::internal::{enclose, refused_by_shutdown, unwind_cancelled};
use corymb_core::{CancelCause, Cancelled, Job, is_cancelled};

use super::{Runtime, Shared};
use crate::home::{Holding, block_on};
use crate::pool::WithoutProcessor;

impl Runtime {
    /// Runs `future` on this thread, and gives its value when it is done.
    ///
    /// The future may borrow, and need not be `Send`: it is polled and dropped on this thread
    /// only. What it launches runs on the workers, unless it says otherwise, also where this is
    /// called in a coroutine of another dispatcher. On a worker of a pool the processor goes to
    /// another thread meanwhile, so that no other coroutine waits for this call. In the place of a
    /// view, or on the main thread, it runs beside what of its own needs that; others wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::{CancelCause, Runtime};
    ///
    /// let runtime = Runtime::new()?;
    /// let cancelled = runtime.try_run_blocking(async {
    ///     let _report = runtime.shutdown(Duration::ZERO); // it waits for nothing
    ///     std::future::pending::<()>().await;
    /// });
    /// assert!(matches!(cancelled.unwrap_err().cause(), CancelCause::Shutdown));
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Cancelled`] if the runtime is shut down before the future is done, or was before the
    /// call. In a coroutine, also if that is cancelled.
    ///
    /// # Panics
    ///
    /// With a panic of the future.
    ///
    /// # Examples
    ///
    /// ```
    /// # mod corymb { pub use corymb_dispatchers::*; }
    /// use std::time::Duration;
    ///
    /// let runtime = corymb::Runtime::new()?;
    /// assert_eq!(runtime.try_run_blocking(async { 1 }).unwrap(), 1);
    /// let _report = runtime.shutdown(Duration::from_secs(1));
    /// assert!(runtime.try_run_blocking(async { 1 }).is_err());
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    #[track_caller]
    pub fn try_run_blocking<F: Future>(&self, future: F) -> Result<F::Output, Cancelled> {
        self.shared.try_run_blocking(future)
    }

    /// As [`try_run_blocking`](Self::try_run_blocking), for those who do not shut the runtime
    /// down before it is done.
    ///
    /// In a coroutine that is cancelled it unwinds, and the coroutine ends as cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::new()?;
    /// let words = ["one", "two"]; // the future may borrow
    /// assert_eq!(runtime.run_blocking(async { words.len() }), 2);
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// With a panic of the future, and if the runtime has shut down or does so meanwhile.
    #[track_caller]
    pub fn run_blocking<F: Future>(&self, future: F) -> F::Output {
        uncancelled(self.try_run_blocking(future))
    }
}

impl Shared {
    #[track_caller]
    pub(super) fn try_run_blocking<F: Future>(&self, future: F) -> Result<F::Output, Cancelled> {
        let hooks = self.hooks();
        let here = hooks::is_current(&hooks).then(Job::current).flatten();
        let Some(job) = here.or_else(|| self.try_root()) else {
            return Err(refused_by_shutdown());
        };
        let _inside = hooks::enter(hooks);
        run_blocking_in(&job, future)
    }
}

/// Runs `future` on this thread, in a job of its own under `job`.
#[track_caller]
pub(super) fn run_blocking_in<F: Future>(job: &Job, future: F) -> Result<F::Output, Cancelled> {
    let (run, enclosed) = enclose(job, future).ok_or_else(refused_by_shutdown)?;
    let _processor = WithoutProcessor::enter();
    let holding = Holding::enter(&run);
    block_on(enclosed, &holding)
}

/// The value of a blocking run, for those who do not expect a shutdown.
#[track_caller]
pub(super) fn uncancelled<T>(result: Result<T, Cancelled>) -> T {
    match result {
        Ok(value) => value,
        Err(_) if is_cancelled() => unwind_cancelled(),
        Err(cancelled) if matches!(cancelled.cause(), CancelCause::Shutdown) => panic!(
            "run_blocking has no value, since its corymb runtime has shut down: make another one, \
             shut down later, or use try_run_blocking to go on"
        ),
        Err(cancelled) => panic!("run_blocking was {cancelled}: use try_run_blocking to go on"),
    }
}
