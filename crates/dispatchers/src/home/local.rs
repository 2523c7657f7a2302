//! A runtime of one thread, for futures that are not `Send`.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use corymb_core::LocalDeferred;
use corymb_core::hooks;
use corymb_core::internal::scope_of;
use futures_task::{LocalFutureObj, LocalSpawn, SpawnError};

use super::{Home, Serving, last};

/// The calling thread as a place for coroutines that are bound to it.
///
/// What is launched by [`spawn_local`] in one [`run_blocking`](Self::run_blocking) goes on in the
/// next one; when this is dropped, it is cancelled and dropped, here. If this is forgotten, the end
/// of the thread does that. Timers and sockets are those
/// of the surrounding runtime, or of the global one, on whose pool all runs that is not bound.
///
/// A plain [`run_blocking`](crate::run_blocking) is such a place too, for its own time.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use corymb::{LocalRuntime, prelude::*, spawn_local};
///
/// let local = LocalRuntime::new();
/// let count = Rc::new(Cell::new(0));
/// let counter = {
///     let count = Rc::clone(&count);
///     local.run_blocking(async {
///         spawn_local(async move {
///             while count.get() < 3 {
///                 count.set(count.get() + 1);
///                 yield_now().await;
///             }
///         })
///         .job()
///     })
/// };
/// local.run_blocking(counter.join());
/// assert_eq!(count.get(), 3);
/// ```
pub struct LocalRuntime {
    home: Arc<Home>,
    _bound: PhantomData<*const ()>,
}

impl LocalRuntime {
    /// One of the calling thread.
    ///
    /// # Examples
    ///
    /// ```
    /// let local = corymb::LocalRuntime::new();
    /// assert_eq!(local.run_blocking(async { 42 }), 42);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        let home = Home::new();
        last::add(&home);
        Self { home, _bound: PhantomData }
    }

    /// As [`run_blocking`](crate::run_blocking), and runs meanwhile what is bound to this.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// use corymb::{LocalRuntime, spawn_local};
    ///
    /// let local = LocalRuntime::new();
    /// let text = Rc::new(String::from("text"));
    /// let same = Rc::clone(&text);
    /// // Launched in one run, and awaited in the next.
    /// let length = local.run_blocking(async { spawn_local(async move { same.len() }) });
    /// assert_eq!(local.run_blocking(length), text.len());
    /// ```
    ///
    /// # Panics
    ///
    /// As [`run_blocking`](crate::run_blocking).
    #[track_caller]
    pub fn run_blocking<F: Future>(&self, future: F) -> F::Output {
        let _serving = Serving::resume(&self.home);
        crate::run_blocking(future)
    }
}

impl Default for LocalRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for LocalRuntime {
    fn drop(&mut self) {
        self.home.close();
        last::remove(&self.home);
    }
}

/// The future is bound to this thread, as by [`spawn_local`], and runs in the next
/// [`run_blocking`](Self::run_blocking) of this.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use corymb::LocalRuntime;
/// use futures::task::LocalSpawnExt;
///
/// let local = LocalRuntime::new();
/// let value = Rc::new(Cell::new(0));
/// let same = Rc::clone(&value);
/// let child = local.spawn_local_with_handle(async move { same.set(42) }).unwrap();
/// assert_eq!(value.get(), 0);
/// local.run_blocking(child);
/// assert_eq!(value.get(), 42);
/// ```
///
/// # Errors
///
/// [`SpawnError::shutdown`] if the current runtime has shut down.
impl LocalSpawn for LocalRuntime {
    #[track_caller]
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        let _serving = Serving::resume(&self.home);
        let _inside = hooks::try_with(|_| ()).is_none().then(|| crate::Runtime::global().enter());
        let root = hooks::with(|runtime| runtime.try_root()).ok_or_else(SpawnError::shutdown)?;
        scope_of(&root).spawn_local_obj(future)
    }
}

impl fmt::Debug for LocalRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalRuntime")
    }
}

/// Launches a coroutine that is bound to this thread, under the runtime itself: it ends with the
/// thread's outermost loop, or its [`LocalRuntime`], at the latest. For a child of a scope there is
/// [`Scope::spawn_local`](corymb_core::Scope::spawn_local).
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use corymb::{run_blocking, spawn_local};
///
/// let shared = Rc::new(42);
/// let same = Rc::clone(&shared);
/// let value = run_blocking(async { spawn_local(async move { same }).await });
/// assert!(Rc::ptr_eq(&value, &shared));
/// ```
///
/// # Panics
///
/// If this thread has no loop: outside of `run_blocking`, and in coroutines of the pool.
#[track_caller]
pub fn spawn_local<F>(future: F) -> LocalDeferred<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    scope_of(&hooks::with(|runtime| runtime.root())).spawn_local(future)
}
