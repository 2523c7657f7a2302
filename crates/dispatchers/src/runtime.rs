//! Runtimes: a pool, a reactor, timers, and the root of a job tree.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant as Moment};

use corymb_core::hooks::{self, Choice, RuntimeHooks};
use corymb_core::internal::{
    Root, TimerShard, Unfinished, enclose, real_now, refused_by_shutdown, scope_of, unfinished,
    unwind_cancelled,
};
use corymb_core::time::{Clock, Instant};
use corymb_core::{
    CancelCause, Cancelled, Deferred, Dispatch, Failure, FailureHandler, Job, JoinError, Who,
    is_cancelled,
};
use futures_task::{FutureObj, Spawn, SpawnError};

use crate::home::{self, Holding, MainLoop, Serving, block_on};
use crate::main_loop;
use crate::pool::{self, Pool, WithoutProcessor};
use crate::reactor::Reactor;

mod builder;
mod environment;
mod global;
mod handle;
mod random;
mod settings;

pub use builder::{BuildError, Builder};
pub use global::{detached, launch_detached, run_blocking, try_run_blocking};
pub use handle::RuntimeHandle;

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

/// What workers, contexts and handles share.
pub(crate) struct Shared {
    pool: Arc<Pool>,
    /// None once the runtime has shut down: the root keeps this object.
    root: Mutex<Option<Root>>,
    /// Held during a shutdown.
    shutting: Mutex<()>,
    /// The thread that shuts down.
    shutter: Mutex<Option<ThreadId>>,
    /// Set when all has ended, after a shutdown.
    ended: Arc<Ended>,
    /// The loop of the thread that is, or was, in `run_main`.
    main: Mutex<Option<Arc<MainLoop>>>,
    failure_handler: Option<FailureHandler>,
    /// This object, for threads that enter the runtime.
    this: Weak<Self>,
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
            ended: Arc::default(),
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

    /// Runs `future` as a coroutine on the workers, while this thread serves
    /// [`Dispatcher::Main`](corymb_core::Dispatcher::Main): what `#[corymb::main]` does, for a
    /// runtime of one's own.
    ///
    /// When it has returned there is no main loop any more: what is given to it then is cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::thread;
    /// use corymb::prelude::*;
    ///
    /// let runtime = corymb::Runtime::new()?;
    /// let main = runtime.run_main(async {
    ///     corymb::with_context(Dispatcher::Main, async { thread::current().id() }).await
    /// });
    /// assert_eq!(main, thread::current().id());
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// With a panic of the future; if the runtime has shut down or does so meanwhile; and if another
    /// thread is in a `run_main` of this runtime.
    #[track_caller]
    pub fn run_main<F>(&self, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let _serving = Serving::enter();
        let _main = self.shared.serve_main();
        let main = self.detached(future).outcome();
        match self.run_blocking(main) {
            Ok(value) => value,
            Err(JoinError::Panicked(panic)) => panic.resume(),
            Err(error) => panic!("the main coroutine was {error}"),
        }
    }

    /// As [`run_main`](Self::run_main), with the future on this thread, as by
    /// [`run_blocking`](Self::run_blocking): what `#[corymb::main(local)]` does.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// use std::thread;
    /// use corymb::prelude::*;
    ///
    /// let runtime = corymb::Runtime::new()?;
    /// let shared = Rc::new(1);
    /// let main = runtime.run_main_local(async {
    ///     assert_eq!(*shared, 1);
    ///     spawn_on(Dispatcher::Main, async { thread::current().id() }).await
    /// });
    /// assert_eq!(main, thread::current().id());
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// As [`run_main`](Self::run_main).
    #[track_caller]
    pub fn run_main_local<F: Future>(&self, future: F) -> F::Output {
        let _serving = Serving::enter();
        let _main = self.shared.serve_main();
        self.run_blocking(future)
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

    /// Cancels everything, waits for the end of it, `grace` at most, and ends the workers.
    ///
    /// What is behind a [`soft_shield`](corymb_core::soft_shield) goes on, and is dropped when the
    /// grace is over: with a grace of zero, and on one of the runtime's own threads, at once. For
    /// that it waits a second more, at most.
    ///
    /// Nothing runs after it has returned an empty report. Otherwise the polls and destructors
    /// that it lists run on in their threads, and no coroutine is polled again. On one of the
    /// runtime's own threads it cannot wait for itself: it cancels, and reports what there is.
    ///
    /// A second shutdown waits for the first, unless that has called it, and reports only whether
    /// everything has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::{CancelCause, Runtime};
    ///
    /// let runtime = Runtime::new()?;
    /// let job = runtime.detached(std::future::pending::<()>()).job();
    /// let report = runtime.shutdown(Duration::from_secs(1));
    /// assert!(report.is_empty(), "{report}");
    /// assert!(matches!(job.cause().unwrap().cause(), CancelCause::Shutdown));
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn shutdown(&self, grace: Duration) -> ShutdownReport {
        let shared = &*self.shared;
        let inside = pool::is_thread_of(&shared.pool)
            || *lock(&shared.shutter) == Some(thread::current().id());
        let _one = (!inside).then(|| lock(&shared.shutting));
        let Some(root) = shared.lock_root().take() else {
            return ShutdownReport::new(shared.ended.is(), Vec::new(), Vec::new());
        };
        *lock(&shared.shutter) = Some(thread::current().id());
        let report = self.end(&root, grace);
        *lock(&shared.shutter) = None;
        report
    }

    fn end(&self, root: &Root, grace: Duration) -> ShutdownReport {
        let until = Moment::now().checked_add(grace);
        let job = root.job().clone();
        let ended = &self.shared.ended;
        let signal = Arc::clone(ended);
        job.on_completion(move |_| signal.set());
        let inside = pool::is_thread_of(&self.shared.pool);
        let (forced, unfinished) = if inside || grace.is_zero() {
            root.close();
            (Vec::new(), if job.is_completed() { Vec::new() } else { unfinished(&job) })
        } else {
            root.close_softly();
            ended.wait(until);
            self.force(root)
        };
        self.shared.pool.close();
        self.shared.pool.reactor().close();
        let left = until.map_or(Duration::MAX, |until| until.duration_since(Moment::now()));
        if !inside && unfinished.is_empty() {
            // They have nothing left to run, so this does not take long.
            self.shared.pool.join(left.max(Duration::from_secs(1)));
        }
        ShutdownReport::new(job.is_completed(), forced, unfinished)
    }

    /// Forces what has not ended by itself; what ended then, and what did not.
    fn force(&self, root: &Root) -> (Vec<Unfinished>, Vec<Unfinished>) {
        let job = root.job();
        if job.is_completed() {
            return (Vec::new(), Vec::new());
        }
        let late = unfinished(job);
        root.force();
        self.shared.ended.wait(Moment::now().checked_add(FORCING));
        let (forced, _) = late.into_iter().partition(|it| it.job.is_completed());
        (forced, if job.is_completed() { Vec::new() } else { unfinished(job) })
    }
}

/// How long a shutdown waits for what it has forced, at most: time for a poll of each.
const FORCING: Duration = Duration::from_secs(1);

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

impl Drop for Runtime {
    fn drop(&mut self) {
        let report = self.shutdown(self.drop_grace);
        for (who, doing) in report.unfinished.iter().zip(&report.doing) {
            let text = format_args!("{who} did not end when its runtime was dropped{doing}");
            report_to_stderr(&text);
        }
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

/// What [`Runtime::shutdown`] could not end.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use std::time::Duration;
/// use corymb::Runtime;
///
/// let runtime = Runtime::new()?;
/// let (tell, told) = mpsc::channel();
/// let (release, released) = mpsc::channel::<()>();
/// drop(runtime.detached(async move {
///     tell.send(()).unwrap();
///     released.recv().unwrap(); // blocks, so that it cannot be cancelled
/// }));
/// told.recv().unwrap();
/// let report = runtime.shutdown(Duration::ZERO);
/// assert!(!report.is_empty());
/// assert_eq!(report.unfinished().len(), 1);
/// release.send(()).unwrap();
/// # Ok::<(), corymb::BuildError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it tells what did not end"]
pub struct ShutdownReport {
    ended: bool,
    forced: Vec<Who>,
    unfinished: Vec<Who>,
    /// What each of them was doing.
    doing: Vec<Doing>,
}

/// What was seen of a coroutine last.
#[derive(Clone, Debug)]
struct Doing(Option<String>);

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |doing| write!(f, ", {doing}"))
    }
}

impl ShutdownReport {
    fn new(ended: bool, forced: Vec<Unfinished>, unfinished: Vec<Unfinished>) -> Self {
        let forced = forced.into_iter().map(|it| it.who).collect();
        let (unfinished, doing) =
            unfinished.into_iter().map(|it| (it.who, Doing(it.doing))).unzip();
        Self { ended, forced, unfinished, doing }
    }

    /// Whether everything has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let runtime = corymb::Runtime::new()?;
    /// drop(runtime.detached(std::future::pending::<()>()));
    /// assert!(runtime.shutdown(Duration::from_secs(1)).is_empty()); // it could be cancelled
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.ended
    }

    /// The coroutines that went on behind a [`soft_shield`](corymb_core::soft_shield) until the grace
    /// was over, and were dropped then.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    /// use corymb::soft_shield;
    ///
    /// let runtime = corymb::Runtime::new()?;
    /// let (tell, told) = mpsc::channel();
    /// drop(runtime.detached(soft_shield(async move {
    ///     tell.send(()).unwrap();
    ///     std::future::pending::<()>().await;
    /// })));
    /// told.recv().unwrap();
    /// let report = runtime.shutdown(Duration::from_millis(10));
    /// assert!(report.is_empty() && report.forced().len() == 1, "{report}");
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn forced(&self) -> &[Who] {
        &self.forced
    }

    /// The coroutines that had not ended; the body of a `run_blocking` is none. One that has never
    /// suspended is in no list: for it stands the scope that it was launched into.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    /// use corymb::prelude::*;
    ///
    /// let runtime = corymb::Runtime::new()?;
    /// let (tell, told) = mpsc::channel();
    /// let (release, released) = mpsc::channel::<()>();
    /// runtime.launch_detached(scope(async move |s| {
    ///     s.coroutine().name("stubborn").launch(async move {
    ///         tell.send(()).unwrap();
    ///         released.recv().unwrap(); // blocks, so that it cannot be cancelled
    ///     });
    /// }));
    /// told.recv().unwrap();
    /// let report = runtime.shutdown(Duration::ZERO);
    /// assert!(report.unfinished().iter().any(|who| who.name() == Some("stubborn")));
    /// release.send(()).unwrap();
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn unfinished(&self) -> &[Who] {
        &self.unfinished
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            f.write_str("everything has ended")?;
        }
        if let forced @ 1.. = self.forced.len() {
            let comma = if self.is_empty() { ", " } else { "" };
            write!(f, "{comma}{forced} coroutines by force, after the grace:")?;
            self.forced.iter().try_for_each(|who| write!(f, "\n  {who}"))?;
        }
        if self.is_empty() {
            return Ok(());
        }
        if !self.forced.is_empty() {
            f.write_str("\n")?;
        }
        let unfinished = self.unfinished.len();
        write!(
            f,
            "{unfinished} coroutines did not end (threads in run_blocking are not counted):"
        )?;
        let mut all = self.unfinished.iter().zip(&self.doing);
        all.try_for_each(|(who, doing)| write!(f, "\n  {who}{doing}"))
    }
}

/// Numbers about a runtime; see [`Runtime::metrics`]. As text they are a few lines.
///
/// # Examples
///
/// ```
/// let runtime = corymb::Runtime::builder().parallelism(2).build()?;
/// let metrics = runtime.metrics();
/// assert_eq!((metrics.parallelism, metrics.alive, metrics.polls), (2, 0, 0));
/// println!("{metrics}");
/// # Ok::<(), corymb::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// How many coroutines of `Dispatcher::Default` run at once at most.
    pub parallelism: usize,
    /// How many coroutines of `Dispatcher::Io` are polled at once at most: what was set, or what
    /// [`max_pool_size`](Self::max_pool_size) leaves beside the parallelism if that is less.
    pub io_parallelism: usize,
    /// How many threads there are at most, without the watchdog and those in a nested
    /// `run_blocking`.
    pub max_pool_size: usize,
    /// Coroutines that have not ended.
    pub alive: usize,
    /// Workers that sleep.
    pub sleeping: usize,
    /// Coroutines that are ready and wait for a worker.
    pub queued: usize,
    /// Polls of coroutines on processors since the start; those of coroutines that run as IO are not
    /// counted, and a poll of a view's coroutines counts as one.
    pub polls: u64,
    /// Batches that workers have taken from each other.
    pub steals: u64,
    /// How often a worker went to sleep.
    pub parks: u64,
    /// Timers that are armed.
    pub timers: usize,
    /// Sockets that are registered.
    pub sources: usize,
    /// Threads of the pool, without the watchdog.
    pub threads: usize,
    /// Threads that run coroutines which compute, or look for some.
    pub working: usize,
    /// Threads that have nothing to do, and end after a while.
    pub spare: usize,
    /// How many coroutines may compute at once at present: the parallelism, and those that make up
    /// for polls that block.
    pub permits: usize,
    /// Permits whose thread does IO, or blocks in a nested `run_blocking`, meanwhile.
    pub lent: usize,
    /// Permits that make up for polls that block.
    pub compensated: usize,
    /// Coroutines that are being polled as IO.
    pub io_running: usize,
    /// Coroutines that are ready and wait for one of those to end its poll, or to leave IO.
    pub io_queued: usize,
    /// Polls since the start that were seen to hold a worker for longer than
    /// [`blocked_threshold`](Builder::blocked_threshold).
    pub blocked_polls: u64,
    /// Polls since the start of coroutines launched where others have blocked twice: they do not
    /// hold a worker, and however long they take, they are not among
    /// [`blocked_polls`](Self::blocked_polls).
    pub known_polls: u64,
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { parallelism, io_parallelism, max_pool_size, .. } = self;
        let Self { permits, lent, compensated, .. } = self;
        writeln!(
            f,
            "parallelism {parallelism}: {permits} permits, {lent} lent, {compensated} compensated"
        )?;
        let Self { threads, working, sleeping, spare, .. } = self;
        writeln!(
            f,
            "threads {threads} of {max_pool_size}: {working} working, {sleeping} sleeping, \
             {spare} spare"
        )?;
        let Self { alive, queued, timers, sources, .. } = self;
        writeln!(f, "coroutines {alive}: {queued} queued; {timers} timers, {sources} sources")?;
        let Self { io_running, io_queued, .. } = self;
        writeln!(f, "io_parallelism {io_parallelism}: {io_running} running, {io_queued} queued")?;
        let Self { polls, blocked_polls, known_polls, steals, parks, .. } = self;
        write!(
            f,
            "polls {polls}: {blocked_polls} long, {known_polls} known to block; \
             {steals} steals, {parks} parks"
        )
    }
}

impl Shared {
    fn hooks(&self) -> Arc<dyn RuntimeHooks> {
        // `self` is in an `Arc` for as long as there is a `&self`.
        self.this.upgrade().expect("the runtime's shared part is alive")
    }

    fn lock_root(&self) -> std::sync::MutexGuard<'_, Option<Root>> {
        lock(&self.root)
    }

    fn try_root(&self) -> Option<Job> {
        self.lock_root().as_ref().map(|root| root.job().clone())
    }

    #[track_caller]
    fn root_or_panic(&self) -> Job {
        self.try_root().unwrap_or_else(|| {
            panic!("this corymb runtime has shut down: make another one, or shut down later")
        })
    }

    #[track_caller]
    fn try_run_blocking<F: Future>(&self, future: F) -> Result<F::Output, Cancelled> {
        let hooks = self.hooks();
        let here = hooks::is_current(&hooks).then(Job::current).flatten();
        let Some(job) = here.or_else(|| self.try_root()) else {
            return Err(refused_by_shutdown());
        };
        let _inside = hooks::enter(hooks);
        run_blocking_in(&job, future)
    }

    /// Makes the loop of this thread the runtime's main loop, until the guard is dropped; none if a
    /// `run_main` further out on this thread has done so.
    #[track_caller]
    fn serve_main(&self) -> Option<Serving> {
        let mut main = lock(&self.main);
        if let Some(open) = main.as_ref().filter(|old| old.is_open()) {
            let is_here = open.is_here();
            drop(main);
            assert!(
                is_here,
                "run_main was called while another thread is in it: a runtime has one main loop, \
                 so use run_blocking here"
            );
            return None;
        }
        let (serving, own) = Serving::main();
        *main = Some(Arc::new(own));
        Some(serving)
    }

    fn dump_to(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self.try_root() {
            Some(root) => root.dump(out),
            None => writeln!(out, "the runtime has shut down"),
        }
    }

    fn dump(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _written = self.dump_to(&mut text);
        text
    }

    fn metrics(&self) -> Metrics {
        let statistics = self.pool.statistics();
        Metrics {
            parallelism: self.pool.parallelism(),
            io_parallelism: self.pool.io_parallelism(),
            max_pool_size: self.pool.max_pool_size(),
            alive: self.try_root().map_or(0, |root| root.coroutines()),
            sleeping: statistics.sleeping,
            queued: statistics.queued,
            polls: statistics.polls,
            steals: statistics.steals,
            parks: statistics.parks,
            timers: statistics.timers,
            sources: statistics.sources,
            threads: statistics.threads,
            working: statistics.working,
            spare: statistics.spare,
            permits: statistics.in_service,
            lent: statistics.lent,
            compensated: statistics.compensated,
            io_running: statistics.io_in_use,
            io_queued: statistics.io_queued,
            blocked_polls: statistics.blocked_polls,
            known_polls: statistics.known_polls,
        }
    }

    fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("parallelism", &self.pool.parallelism())
            .field("root", &self.try_root())
            .finish_non_exhaustive()
    }
}

/// The runtime of this thread, if there is one and it is one of these.
fn current() -> Option<Arc<Shared>> {
    let shared = |runtime: &dyn RuntimeHooks| {
        let runtime: &dyn Any = runtime;
        runtime.downcast_ref::<Shared>()?.this.upgrade()
    };
    hooks::try_with(shared).flatten()
}

impl Spawn for Shared {
    #[track_caller]
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        let root = self.try_root().ok_or_else(SpawnError::shutdown)?;
        scope_of(&root).spawn_obj(future)
    }

    fn status(&self) -> Result<(), SpawnError> {
        self.try_root().map(|_| ()).ok_or_else(SpawnError::shutdown)
    }
}

impl Clock for Shared {
    #[inline]
    fn now(&self) -> Instant {
        real_now()
    }
}

// SAFETY: the pool is a field that never changes, and the root is made in `start`, with this object.
unsafe impl RuntimeHooks for Shared {
    fn root(&self) -> Job {
        self.root_or_panic()
    }

    fn try_root(&self) -> Option<Job> {
        Self::try_root(self)
    }

    fn default_dispatch(&self) -> Arc<dyn Dispatch> {
        Arc::<Pool>::clone(&self.pool)
    }

    fn home(&self) -> Option<Arc<dyn hooks::Home>> {
        home::innermost()
    }

    fn main_dispatch(&self) -> Option<Arc<dyn Dispatch>> {
        let own = lock(&self.main).clone();
        own.map(|own| -> Arc<dyn Dispatch> { own }).or_else(main_loop::installed)
    }

    fn io_dispatch(&self) -> Arc<dyn Dispatch> {
        self.pool.io_dispatch()
    }

    fn elastic_io_dispatch(&self) -> Arc<dyn Dispatch> {
        self.pool.elastic_io_dispatch()
    }

    #[inline]
    fn timer_shard(&self) -> &'static TimerShard {
        self.pool.timer_shard()
    }

    #[inline]
    fn timer_armed(&self, _: &'static TimerShard, deadline: Instant) {
        self.pool.timer_armed(deadline);
    }

    #[inline]
    fn choose(&self, _: Choice, n: usize) -> usize {
        random::below(n)
    }

    fn report(&self, failure: &Failure) {
        let Some(handler) = &self.failure_handler else { return report_to_stderr(failure) };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| handler.handle(failure))) {
            report_to_stderr(failure);
            resume_unwind(payload);
        }
    }

    fn reactor(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::<Reactor>::clone(self.pool.reactor()))
    }
}

/// The last resort for what nobody handles.
#[expect(clippy::print_stderr, reason = "there is nobody else to tell")]
fn report_to_stderr(what: &dyn fmt::Display) {
    eprintln!("corymb: {what}");
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether something has ended, to be waited for by a thread.
#[derive(Default)]
struct Ended {
    is: Mutex<bool>,
    changed: Condvar,
}

impl Ended {
    fn set(&self) {
        *lock(&self.is) = true;
        self.changed.notify_all();
    }

    fn is(&self) -> bool {
        *lock(&self.is)
    }

    fn wait(&self, until: Option<Moment>) {
        let mut is = lock(&self.is);
        while !*is {
            let left = until.map_or(Duration::MAX, |until| until.duration_since(Moment::now()));
            if left.is_zero() {
                return;
            }
            is = self.changed.wait_timeout(is, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Runs `future` on this thread, in a job of its own under `job`.
#[track_caller]
fn run_blocking_in<F: Future>(job: &Job, future: F) -> Result<F::Output, Cancelled> {
    let (run, enclosed) = enclose(job, future).ok_or_else(refused_by_shutdown)?;
    let _processor = WithoutProcessor::enter();
    let holding = Holding::enter(&run);
    block_on(enclosed, &holding)
}

/// The value of a blocking run, for those who do not expect a shutdown.
#[track_caller]
fn uncancelled<T>(result: Result<T, Cancelled>) -> T {
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
