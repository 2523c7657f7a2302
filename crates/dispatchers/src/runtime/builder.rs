//! The settings of a runtime.

use std::fmt;
use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Runtime;
use crate::pool::{Hooks, Pool};

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
    parallelism: Option<usize>,
    thread_name: Option<String>,
    stack_size: Option<usize>,
    on_thread_start: Option<Box<dyn Fn() + Send + Sync>>,
    on_thread_stop: Option<Box<dyn Fn() + Send + Sync>>,
    drop_grace: Duration,
}

impl Builder {
    /// The defaults.
    pub(super) fn new() -> Self {
        Self {
            name: None,
            parallelism: None,
            thread_name: None,
            stack_size: None,
            on_thread_start: None,
            on_thread_stop: None,
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

    /// How many coroutines run at once at most. The default is the number of processors that the
    /// process may use, cgroup limits included. Zero is refused by [`build`](Self::build).
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{BuildError, Runtime};
    ///
    /// assert_eq!(Runtime::builder().parallelism(3).build()?.metrics().parallelism, 3);
    /// let refused = Runtime::builder().parallelism(0).build();
    /// assert!(matches!(refused, Err(BuildError::ZeroParallelism)));
    /// # Ok::<(), BuildError>(())
    /// ```
    pub fn parallelism(self, parallelism: usize) -> Self {
        Self { parallelism: Some(parallelism), ..self }
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
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::builder().stack_size(32 * 1024 * 1024).build()?;
    /// let deep = runtime.detached(async { std::hint::black_box([0_u8; 3 * 1024 * 1024]).len() });
    /// assert_eq!(runtime.run_blocking(deep), 3 * 1024 * 1024);
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
        let parallelism = match self.parallelism {
            Some(0) => return Err(BuildError::ZeroParallelism),
            Some(parallelism) => parallelism,
            None => thread::available_parallelism().map_or(1, NonZero::get),
        };
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
        };
        let pool = Pool::new(parallelism, hooks).map_err(BuildError::Reactor)?;
        Runtime::start(pool, self.name, self.drop_grace)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("parallelism", &self.parallelism)
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
/// assert!(error.to_string().starts_with("parallelism is 0"));
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// `parallelism(0)`.
    #[error("parallelism is 0, so nothing could ever run: give 1 or more, or leave it out")]
    ZeroParallelism,
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
