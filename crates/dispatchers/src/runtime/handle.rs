//! A runtime as its code sees it: to be looked at, and kept alive by others.

use std::fmt;
use std::sync::Arc;

use futures_task::{FutureObj, Spawn, SpawnError};

use super::{Metrics, Shared, current};

/// Looks at a runtime without owning it: its tree of jobs, its numbers.
///
/// It is got by [`current`](Self::current) or [`Runtime::handle`](super::Runtime::handle), and is
/// cheap to clone. The runtime ends when its [`Runtime`](super::Runtime) does, whatever handles
/// there are; they then see one without jobs.
///
/// # Examples
///
/// ```
/// use corymb::{RuntimeHandle, prelude::*};
///
/// let alive = run_blocking(scope(async |s| {
///     let child = s.launch(std::future::pending());
///     let alive = RuntimeHandle::current().expect("a scope has a runtime").metrics().alive;
///     child.cancel();
///     alive
/// }));
/// assert!(alive >= 1);
/// ```
#[derive(Clone)]
pub struct RuntimeHandle(pub(super) Arc<Shared>);

impl RuntimeHandle {
    /// The runtime of the calling code: that of the coroutine, or of the
    /// [`run_blocking`](super::run_blocking), in which it runs, or one that its thread has
    /// [entered](super::Runtime::enter).
    ///
    /// None elsewhere, and in tests in virtual time, which have no pool. The global runtime is
    /// not started for this: [`Runtime::global`](super::Runtime::global) and its
    /// [`handle`](super::Runtime::handle) do that.
    ///
    /// # Examples
    ///
    /// ```
    /// # mod corymb { pub use corymb_dispatchers::*; }
    /// # corymb::Runtime::new().unwrap().run_blocking(async {
    /// // In `#[corymb::main]`, or anything that it calls:
    /// let runtime = corymb::RuntimeHandle::current().expect("a coroutine has a runtime");
    /// println!("{} are queued; alive:\n{}", runtime.metrics().queued, runtime.dump());
    /// # });
    /// ```
    pub fn current() -> Option<Self> {
        current().map(Self)
    }

    /// As [`Runtime::dump_to`](super::Runtime::dump_to).
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::builder().name("mine").build()?;
    /// let mut text = String::new();
    /// runtime.handle().dump_to(&mut text).unwrap();
    /// assert!(text.starts_with("runtime `mine`, active"));
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn dump_to(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.0.dump_to(out)
    }

    /// The tree of live jobs as text.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::builder().name("mine").build()?;
    /// assert!(runtime.handle().dump().starts_with("runtime `mine`, active"));
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn dump(&self) -> String {
        self.0.dump()
    }

    /// Numbers about the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = corymb::Runtime::builder().parallelism(2).build()?;
    /// assert_eq!(runtime.handle().metrics().parallelism, 2);
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn metrics(&self) -> Metrics {
        self.0.metrics()
    }
}

/// As for [`Runtime`](super::Runtime).
///
/// # Examples
///
/// ```
/// use futures::task::SpawnExt;
///
/// let runtime = corymb::Runtime::new()?;
/// let handle = runtime.handle();
/// let answer = handle.spawn_with_handle(async { 42 }).unwrap();
/// assert_eq!(runtime.run_blocking(answer), 42);
/// drop(runtime);
/// assert!(handle.spawn(async {}).unwrap_err().is_shutdown());
/// # Ok::<(), corymb::BuildError>(())
/// ```
impl Spawn for RuntimeHandle {
    #[track_caller]
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.0.spawn_obj(future)
    }

    fn status(&self) -> Result<(), SpawnError> {
        self.0.status()
    }
}

impl fmt::Debug for RuntimeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.debug("RuntimeHandle", f)
    }
}
