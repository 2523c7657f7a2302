//! Runtimes: a pool, a reactor, timers, and the root of a job tree.

use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use corymb_core::hooks::{self, RuntimeHooks};
use corymb_core::internal::{Root, scope_of};
use corymb_core::{Deferred, FailureHandler, Job};
use futures_task::{FutureObj, Spawn, SpawnError};

use crate::pool::Pool;

mod blocking;
mod builder;
mod environment;
mod global;
mod handle;
mod metrics;
mod report;
mod run_main;
mod settings;
mod shared;
mod shutdown;

use blocking::{run_blocking_in, uncancelled};
pub use builder::{BuildError, Builder};
pub use global::{detached, launch_detached, run_blocking, try_run_blocking};
pub use handle::RuntimeHandle;
pub use metrics::Metrics;
pub use report::ShutdownReport;
use shared::current;
pub(crate) use shared::{Shared, lock, report_to_stderr};
pub(crate) use shutdown::FORCING;

/// A pool of workers with its reactor, its timers and its tree of jobs.
///
/// Most programs need none of their own: `#[corymb::main]` makes one, and outside of it the
/// [global](Self::global) one serves. Libraries and tests make isolated ones. Code that runs in one
/// looks at it by [`RuntimeHandle::current`].
///
/// Dropping a runtime cancels what it has, waits for the end of it for a while (one second,
/// [`Builder::drop_grace`]), and reports what did not end. Dropped on one of its own threads it
/// cancels and does not wait.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::{BuildError, Runtime};
///
/// let runtime = Runtime::builder().name("mine").parallelism(2).build()?;
/// assert_eq!(runtime.run_blocking(async { 6 * 7 }), 42);
/// assert!(runtime.shutdown(Duration::from_secs(1)).is_empty());
/// # Ok::<(), BuildError>(())
/// ```
pub struct Runtime {
    shared: Arc<Shared>,
    drop_grace: Duration,
}

impl Runtime {
    /// A runtime with the defaults of [`Builder`].
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::new()?;
    /// assert_eq!(runtime.run_blocking(async { 1 + 1 }), 2);
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    #[track_caller]
    pub fn new() -> Result<Self, BuildError> {
        Self::builder().build()
    }

    /// Begins a runtime with settings of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::builder().parallelism(1).build()?;
    /// assert_eq!(runtime.metrics().parallelism, 1);
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The runtime that serves where there is no other, started on its first use and never shut
    /// down.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::Runtime;
    ///
    /// let child = Runtime::global().detached(async { 42 });
    /// assert_eq!(Runtime::global().run_blocking(child), 42);
    /// ```
    ///
    /// # Panics
    ///
    /// If it cannot be started: the system gives no threads or descriptors.
    pub fn global() -> &'static Self {
        global::runtime()
    }

    /// What it shares with its workers, which outlives it where that is kept.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    #[track_caller]
    fn start(
        pool: Arc<Pool>,
        name: Option<Arc<str>>,
        failure_handler: Option<FailureHandler>,
        drop_grace: Duration,
    ) -> Result<Self, BuildError> {
        let shared = Arc::new_cyclic(|this| Shared {
            pool: Arc::clone(&pool),
            root: Mutex::new(None),
            shutting: Mutex::new(()),
            shutter: Mutex::new(None),
            end: Arc::default(),
            drained: Mutex::default(),
            main: Mutex::new(None),
            failure_handler,
            this: Weak::clone(this),
        });
        let hooks: Arc<dyn RuntimeHooks> = Arc::<Shared>::clone(&shared);
        *shared.lock_root() = Some(Root::new(Arc::clone(&hooks), name));
        pool.belongs_to(&hooks);
        let runtime = Self { shared, drop_grace };
        // If not all threads are to be had, dropping the runtime ends those that are.
        pool.start().map_err(BuildError::Threads)?;
        Ok(runtime)
    }

    /// Launches a coroutine under the runtime itself: it outlives its caller, and is cancelled
    /// and awaited by the runtime's shutdown. If it fails and its `Deferred` has been dropped, the
    /// failure handler is told.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::new()?;
    /// let child = runtime.detached(async { 42 });
    /// assert_eq!(runtime.run_blocking(child), 42);
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the runtime has shut down.
    #[track_caller]
    pub fn detached<F>(&self, future: F) -> Deferred<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        scope_of(&self.shared.root()).spawn(future)
    }

    /// As [`detached`](Self::detached), for a coroutine without a value. If it fails, the failure
    /// handler is told.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::new()?;
    /// let job = runtime.launch_detached(async { /* what nobody waits for */ });
    /// runtime.run_blocking(job.join()); // unless somebody does
    /// assert!(job.is_completed());
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the runtime has shut down.
    #[track_caller]
    pub fn launch_detached<F>(&self, future: F) -> Job
    where
        F: Future<Output = ()> + Send + 'static,
    {
        scope_of(&self.shared.root()).launch(future)
    }

    /// Makes this the runtime of the calling thread, until the guard is dropped: for threads that
    /// poll corymb's futures by other means.
    ///
    /// # Examples
    ///
    /// Under the executor of another crate:
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let runtime = corymb::Runtime::new()?;
    /// let _inside = runtime.enter();
    /// // Its timer is one of `runtime`.
    /// futures::executor::block_on(corymb::time::sleep(Duration::from_millis(1)));
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn enter(&self) -> Entered {
        Entered { _runtime: hooks::enter(self.shared.hooks()) }
    }

    /// The root of the job tree.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::builder().name("mine").build()?;
    /// assert_eq!(runtime.job().name().as_deref(), Some("mine"));
    /// assert_eq!(runtime.job().parent(), None);
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the runtime has shut down.
    pub fn job(&self) -> Job {
        self.shared.root()
    }

    /// A handle to look at it by, which does not own it.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::builder().name("mine").build()?;
    /// let handle = runtime.handle();
    /// assert!(handle.dump().starts_with("runtime `mine`, active"));
    /// drop(runtime);
    /// assert_eq!(handle.metrics().alive, 0);
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn handle(&self) -> RuntimeHandle {
        RuntimeHandle(Arc::clone(&self.shared))
    }

    /// Writes the tree of live jobs, without stopping anything; see [`Job::dump`].
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::builder().name("mine").build()?;
    /// let mut text = String::new();
    /// runtime.dump_to(&mut text).unwrap();
    /// assert!(text.starts_with("runtime `mine`, active"));
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn dump_to(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.shared.dump_to(out)
    }

    /// The tree of live jobs as text.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::builder().name("mine").build()?;
    /// assert!(runtime.dump().starts_with("runtime `mine`, active"));
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn dump(&self) -> String {
        self.shared.dump()
    }

    /// Numbers about the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::builder().parallelism(2).build()?;
    /// let child = runtime.detached(std::future::pending::<()>());
    /// let metrics = runtime.metrics();
    /// assert_eq!((metrics.parallelism, metrics.timers, metrics.sources), (2, 0, 0));
    /// child.job().cancel();
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics()
    }
}

/// The future is a detached coroutine, as by [`launch_detached`](Self::launch_detached).
///
/// # Examples
///
/// ```
/// use futures::task::SpawnExt;
///
/// let runtime = corymb::Runtime::new()?;
/// let answer = runtime.spawn_with_handle(async { 42 }).unwrap();
/// assert_eq!(runtime.run_blocking(answer), 42);
/// # Ok::<(), corymb::BuildError>(())
/// ```
///
/// # Errors
///
/// [`SpawnError::shutdown`] if the runtime has shut down.
impl Spawn for Runtime {
    #[track_caller]
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.shared.spawn_obj(future)
    }

    fn status(&self) -> Result<(), SpawnError> {
        self.shared.status()
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug("Runtime", f)
    }
}

/// Ends an [`enter`](Runtime::enter).
///
/// # Examples
///
/// ```
/// let runtime = corymb::Runtime::new()?;
/// let inside: corymb::Entered = runtime.enter();
/// assert!(corymb::RuntimeHandle::current().is_some());
/// drop(inside);
/// assert!(corymb::RuntimeHandle::current().is_none());
/// # Ok::<(), corymb::BuildError>(())
/// ```
#[must_use = "dropping it leaves the runtime at once"]
#[derive(Debug)]
pub struct Entered {
    _runtime: hooks::Entered,
}
