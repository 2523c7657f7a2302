//! The settings of a runtime.

use std::env;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use corymb_core::FailureHandler;

use super::Runtime;
use super::environment;
use super::settings::{Settings, check_stack_size};
use crate::pool::{BlockedHook, Hooks, Pool, WorkerBlocked};

/// A runtime in the making.
///
/// # Examples
///
/// ```
/// let runtime = corymb::Runtime::builder()
///     .name("background")
///     .parallelism(2)
///     .stack_size(256 * 1024)
///     .build()?;
/// assert_eq!(runtime.metrics().parallelism, 2);
/// # Ok::<(), corymb::BuildError>(())
/// ```
#[must_use = "nothing is started before `build`"]
pub struct Builder {
    name: Option<Arc<str>>,
    settings: Settings,
    thread_name: Option<String>,
    stack_size: Option<usize>,
    on_thread_start: Option<Box<dyn Fn() + Send + Sync>>,
    on_thread_stop: Option<Box<dyn Fn() + Send + Sync>>,
    on_worker_blocked: Option<BlockedHook>,
    failure_handler: Option<FailureHandler>,
    drop_grace: Duration,
}

impl Builder {
    /// The defaults.
    pub(super) fn new() -> Self {
        Self {
            name: None,
            settings: Settings::default(),
            thread_name: None,
            stack_size: None,
            on_thread_start: None,
            on_thread_stop: None,
            on_worker_blocked: None,
            failure_handler: None,
            drop_grace: Duration::from_secs(1),
        }
    }

    /// Names the runtime: its coroutines inherit the name, and its threads are called after it.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::builder().name("mine").build()?;
    /// let name = runtime.detached(async { corymb::Context::current().name().map(String::from) });
    /// assert_eq!(runtime.run_blocking(name).as_deref(), Some("mine"));
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn name(self, name: impl Into<Arc<str>>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// How many coroutines of `Dispatcher::Default` run at once at most, those not counted that
    /// block in a poll. The default is the number of processors that the process may use, cgroup
    /// limits included.
    ///
    /// From 1 to 16,384; else the environment's `CORYMB_PARALLELISM`.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{BuildError, Runtime};
    ///
    /// assert_eq!(Runtime::builder().parallelism(3).build()?.metrics().parallelism, 3);
    /// let refused = Runtime::builder().parallelism(0).build();
    /// assert!(matches!(refused, Err(BuildError::Setting { .. })));
    /// # Ok::<(), BuildError>(())
    /// ```
    pub fn parallelism(mut self, parallelism: usize) -> Self {
        self.settings.parallelism = Some(parallelism);
        self
    }

    /// How many threads the pool has at most, for computing and for IO together; 512 by default.
    ///
    /// They are started when they are needed. Threads that block in a nested `run_blocking` come
    /// on top. As many as the parallelism are kept from IO, so a small number limits
    /// [`io_parallelism`](Self::io_parallelism) and the views of `Dispatcher::Io` too: together
    /// they have `max_pool_size - parallelism` threads.
    ///
    /// From `parallelism + 1` to 32,768; else the environment's `CORYMB_MAX_POOL_SIZE`.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{BuildError, Runtime};
    ///
    /// let runtime = Runtime::builder().parallelism(2).max_pool_size(3).build()?;
    /// assert!(runtime.metrics().threads <= 3);
    /// let refused = Runtime::builder().parallelism(2).max_pool_size(2).build();
    /// assert!(matches!(refused, Err(BuildError::Setting { .. })));
    /// # Ok::<(), BuildError>(())
    /// ```
    pub fn max_pool_size(mut self, threads: usize) -> Self {
        self.settings.max_pool_size = Some(threads);
        self
    }

    /// How many coroutines can always run: where polls block, so many threads are kept beside them
    /// as long as [`max_pool_size`](Self::max_pool_size) allows. The default is the parallelism.
    ///
    /// From 0, which means never to make up for such polls, to `max_pool_size`; else the
    /// environment's `CORYMB_MIN_RUNNABLE`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// let runtime = corymb::Runtime::builder().parallelism(1).min_runnable(1).build()?;
    /// let (tell, told) = mpsc::channel();
    /// // It blocks the only worker, until another coroutine runs on one more.
    /// let blocks = runtime.detached(async move { told.recv().unwrap() });
    /// let other = runtime.detached(async move { tell.send(7).unwrap() });
    /// assert_eq!(runtime.run_blocking(blocks), 7);
    /// runtime.run_blocking(other);
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn min_runnable(mut self, threads: usize) -> Self {
        self.settings.min_runnable = Some(threads);
        self
    }

    /// How many coroutines of `Dispatcher::Io` are polled at once at most; 64 by default, or the
    /// number of processors if that is more.
    ///
    /// From 1 to 32,768; else the environment's `CORYMB_IO_PARALLELISM`. It is lowered to what
    /// [`max_pool_size`](Self::max_pool_size) leaves beside the parallelism.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Barrier;
    /// use corymb::prelude::*;
    ///
    /// static ALL: Barrier = Barrier::new(100);
    ///
    /// let runtime = corymb::Runtime::builder().io_parallelism(100).build()?;
    /// runtime.run_blocking(scope(async |s| {
    ///     for _ in 0..100 {
    ///         s.coroutine().on(Dispatcher::Io).launch(async { drop(ALL.wait()) });
    ///     }
    /// }));
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn io_parallelism(mut self, parallelism: usize) -> Self {
        self.settings.io_parallelism = Some(parallelism);
        self
    }

    /// How long a thread without work stays that is not one of the first; 10 seconds by default.
    /// It counts in whole milliseconds.
    ///
    /// At most a day; else the environment's `CORYMB_KEEP_ALIVE_MS`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::{BuildError, Runtime};
    ///
    /// let short = Runtime::builder().keep_alive(Duration::from_millis(50)).build();
    /// assert!(short.is_ok());
    /// let week = Duration::from_secs(7 * 24 * 3600);
    /// let refused = Runtime::builder().keep_alive(week).build();
    /// assert!(matches!(refused, Err(BuildError::Setting { .. })));
    /// ```
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.settings.keep_alive = Some(time);
        self
    }

    /// How long one poll may hold a thread until that is told
    /// ([`on_worker_blocked`](Self::on_worker_blocked)) and, if it blocks, made up for; 20
    /// milliseconds by default. It counts in whole milliseconds.
    ///
    /// From a millisecond to a day; else the environment's `CORYMB_BLOCKED_THRESHOLD_MS`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let runtime = corymb::Runtime::builder()
    ///     .blocked_threshold(Duration::from_millis(2))
    ///     .on_worker_blocked(move |event| drop(tell.send(event.elapsed)))
    ///     .build()?;
    /// // It blocks until that is seen.
    /// let elapsed = runtime.run_blocking(runtime.detached(async move { told.recv().unwrap() }));
    /// assert!(elapsed >= Duration::from_millis(2));
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn blocked_threshold(mut self, time: Duration) -> Self {
        self.settings.blocked_threshold = Some(time);
        self
    }

    /// Is called for a poll that is seen to hold a worker for longer than
    /// [`blocked_threshold`](Self::blocked_threshold), and once more at its end. By default a line
    /// is written to the standard error, for one poll a second of each place of launch at most.
    ///
    /// Where coroutines were launched that have blocked twice, later ones are polled so that they
    /// hold no worker. They are not told of; [`Metrics::known_polls`](crate::Metrics::known_polls)
    /// counts them.
    ///
    /// It runs on the thread that watches, or on the one that was blocked, and must not block
    /// either. If it panics, that is reported, and nothing else.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let runtime = corymb::Runtime::builder()
    ///     .on_worker_blocked(move |event| drop(tell.send((event.ended, event.launched_at.file()))))
    ///     .build()?;
    /// // It blocks until that is seen.
    /// let event = runtime.run_blocking(runtime.detached(async move { told.recv().unwrap() }));
    /// assert_eq!(event, (false, file!()));
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn on_worker_blocked(self, f: impl Fn(&WorkerBlocked) + Send + Sync + 'static) -> Self {
        Self { on_worker_blocked: Some(Box::new(f)), ..self }
    }

    /// What is done with failures that reach nobody and for which no context has a handler. By
    /// default a line is written to the standard error.
    ///
    /// It runs on whatever thread the failure comes from, and is not to block that. If it panics,
    /// the failure is written to the standard error all the same.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use corymb::{FailureHandler, Runtime};
    ///
    /// let (tell, told) = mpsc::channel();
    /// let handler = FailureHandler::new(move |failure| tell.send(failure.to_string()).unwrap());
    /// let runtime = Runtime::builder().failure_handler(handler).build()?;
    /// runtime.launch_detached(async { panic!("oh") });
    /// assert!(told.recv()?.ends_with("panicked: oh"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn failure_handler(self, handler: FailureHandler) -> Self {
        Self { failure_handler: Some(handler), ..self }
    }

    /// The name of the worker threads; by default that of the runtime, else `corymb`.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::builder().thread_name("worker").build()?;
    /// let name = runtime.detached(async { std::thread::current().name().map(String::from) });
    /// assert_eq!(runtime.run_blocking(name).as_deref(), Some("worker"));
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn thread_name(self, name: impl Into<String>) -> Self {
        Self { thread_name: Some(name.into()), ..self }
    }

    /// The stack size of the worker threads in bytes; by default the standard library's.
    ///
    /// At least 65,536. How much coroutines need is theirs to know; the report of a panic, with a
    /// trace, needs some more.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::builder().stack_size(32 * 1024 * 1024).build()?;
    /// let deep = runtime.detached(async { std::hint::black_box([0_u8; 3 * 1024 * 1024]).len() });
    /// assert_eq!(runtime.run_blocking(deep), 3 * 1024 * 1024);
    /// let refused = corymb::Runtime::builder().stack_size(1).build();
    /// assert!(matches!(refused, Err(corymb::BuildError::Setting { .. })));
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn stack_size(self, bytes: usize) -> Self {
        Self { stack_size: Some(bytes), ..self }
    }

    /// Is called on each worker thread when it starts, before it runs a coroutine.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::Cell;
    ///
    /// thread_local!(static READY: Cell<bool> = const { Cell::new(false) });
    ///
    /// let runtime = corymb::Runtime::builder().on_thread_start(|| READY.set(true)).build()?;
    /// assert!(runtime.run_blocking(runtime.detached(async { READY.get() })));
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn on_thread_start(self, f: impl Fn() + Send + Sync + 'static) -> Self {
        Self { on_thread_start: Some(Box::new(f)), ..self }
    }

    /// Is called on each worker thread when it ends, after its last coroutine.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let stop = move || drop(tell.send(std::thread::current().id()));
    /// drop(corymb::Runtime::builder().on_thread_stop(stop).build()?);
    /// assert_ne!(told.recv(), Ok(std::thread::current().id()));
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn on_thread_stop(self, f: impl Fn() + Send + Sync + 'static) -> Self {
        Self { on_thread_stop: Some(Box::new(f)), ..self }
    }

    /// How long dropping the runtime waits for the end of what it has; one second by default.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let runtime = corymb::Runtime::builder().drop_grace(Duration::from_secs(10)).build()?;
    /// let job = runtime.detached(std::future::pending::<()>()).job();
    /// drop(runtime); // cancels it, and waits
    /// assert!(job.is_completed());
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn drop_grace(self, grace: Duration) -> Self {
        Self { drop_grace: grace, ..self }
    }

    /// Starts the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::builder().build()?;
    /// assert!(runtime.metrics().parallelism >= 1);
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the setting that is bad, or what the system refused.
    #[track_caller]
    pub fn build(self) -> Result<Runtime, BuildError> {
        environment::warn_of_unknown();
        let limits = self.settings.resolve(|name| env::var_os(name))?;
        self.stack_size.map_or(Ok(()), check_stack_size)?;
        let thread_name =
            self.thread_name.or(self.name.as_deref().map(String::from)).unwrap_or("corymb".into());
        if thread_name.contains('\0') {
            return Err(BuildError::ThreadName);
        }
        let hooks = Hooks {
            thread_name,
            stack_size: self.stack_size,
            on_start: self.on_thread_start,
            on_stop: self.on_thread_stop,
            on_blocked: self.on_worker_blocked,
        };
        let pool = Pool::new(limits, hooks).map_err(BuildError::Reactor)?;
        Runtime::start(pool, self.name, self.failure_handler, self.drop_grace)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .field("thread_name", &self.thread_name)
            .field("stack_size", &self.stack_size)
            .field("drop_grace", &self.drop_grace)
            .finish_non_exhaustive()
    }
}

/// Why a runtime was not started.
///
/// # Examples
///
/// ```
/// use corymb::Runtime;
///
/// let error = Runtime::builder().parallelism(0).build().unwrap_err();
/// assert!(error.to_string().starts_with("parallelism(..) is 0"), "{error}");
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A number that the builder or the environment gave is out of range, or is none.
    #[error("{name} is {value}: give {allowed}, or leave it out")]
    Setting {
        /// The builder's method, or the variable of the environment.
        name: String,
        /// What it was given.
        value: String,
        /// What it takes.
        allowed: String,
    },
    /// The thread name holds a zero byte.
    #[error("the thread name holds a zero byte, which no system takes: leave it out")]
    ThreadName,
    /// The system gave no reactor.
    #[error("the system refused what the reactor needs: {0}")]
    Reactor(#[source] io::Error),
    /// The system gave no threads.
    #[error("the system refused a worker thread: {0}")]
    Threads(#[source] io::Error),
}

/// What `unwrap` and `main` print.
impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildError({self})")
    }
}
