//! Scopes that block their thread, so that their children borrow and run in parallel.
//!
//! # Why a child may borrow
//!
//! A child is a coroutine under the scope's region, and its future claims to be `'static`, which it
//! is not: it may borrow for `'scope`. What makes that true is that [`blocking_scope`] neither
//! returns nor unwinds before the future of each child is gone:
//!
//! ```text
//!   spawn ──► [Running: n + 1] ── future ── in a Child: the future, then its count
//!                                              │ ready, cancelled, refused, panicked
//!                                              ▼
//!                                  the future is dropped, then the count: [Running: n]
//!                                                                              │ 0
//!   blocking_scope ── body ── waits for the region ── waits for [Running: 0] ──▼── returns
//! ```
//!
//! 1. `'scope` ends after [`blocking_scope`] has come to its end: it is invariant, and the caller
//!    cannot choose it.
//! 2. Whatever names `'scope` and is not in the body, which has returned, is in a child's future,
//!    or in what that future owns: so it is dropped with that future, before the count. The place of
//!    its value is one of these things, unless a handle has it, which is in a child or the body too.
//! 3. The count goes down by the drop of the future and by nothing else. A future that is leaked, by
//!    a dispatcher that forgets its coroutine, holds the thread for ever.
//! 4. [`WaitForAll`] waits for the count at every end of the call: a value, a panic of the body or of
//!    a child, a shutdown, a panic of the loop itself. That the region has settled is what it finds
//!    in all of these but the last; it does not rely on it.
//!
//! What a child's future *owns* may be forgotten, by the child itself, as anywhere: then nothing
//! uses it again.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use corymb_core::internal::{branch, scope_of};
use corymb_core::{Branch, Job, Scope};

use crate::runtime::run_blocking;

/// Runs `body` on this thread, and blocks it until all that was launched has ended: the children may
/// borrow what lives outside of the scope, and run in parallel.
///
/// It is a plain function, as `std::thread::scope` is, and the children are coroutines of the runtime
/// of this thread, or of the global one. It belongs to the job that is current here. A worker of the
/// pool that calls it gives its processor to another thread for that time, as in
/// [`run_blocking`]; a test in virtual time, which has one thread, would wait for ever. Which scope
/// for what is in the chapter on scopes, `docs/scopes.md`.
///
/// Returns what the body returned, once it and all children have ended and their futures are gone:
/// also if the runtime shuts down meanwhile, or the caller is cancelled, which both cancel the
/// children. In a coroutine that is cancelled, waiting for a child in the body unwinds, and the
/// coroutine ends as cancelled.
///
/// # Examples
///
/// ```
/// use corymb::blocking_scope;
///
/// let numbers: Vec<u64> = (1..=1000).collect();
/// let sum: u64 = blocking_scope(|s| {
///     let parts: Vec<_> = numbers.chunks(300).map(|it| s.spawn(async { it.iter().sum::<u64>() })).collect();
///     parts.into_iter().map(|part| part.join()).sum()
/// });
/// assert_eq!(sum, 500_500);
/// ```
///
/// # Panics
///
/// With the first panic of the body or of a child, which cancels the other children; and if the
/// runtime has shut down.
#[track_caller]
pub fn blocking_scope<'env, F, T>(body: F) -> T
where
    F: for<'scope> FnOnce(&'scope BlockingScope<'scope, 'env>) -> T,
{
    let scope = BlockingScope {
        region: OnceLock::new(),
        running: Arc::default(),
        scope: PhantomData,
        env: PhantomData,
    };
    // Dropped before `scope`, and before whatever the caller has lent.
    let _all_gone = WaitForAll(Arc::clone(&scope.running));
    run_blocking(async {
        let scope = &scope;
        // The region that `run_blocking` waits for.
        let region = Job::current().expect("a blocking run has a job");
        let _first = scope.region.set(scope_of(&region));
        body(scope)
    })
}

/// The scope of a [`blocking_scope`]: launches children that borrow for `'scope`.
///
/// Children may capture the reference to it, and launch siblings.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use corymb::{BlockingScope, blocking_scope};
///
/// fn count<'scope>(s: &'scope BlockingScope<'scope, '_>, depth: u32, seen: &'scope AtomicU32) {
///     s.launch(async move {
///         seen.fetch_add(1, Ordering::Relaxed);
///         if depth > 0 {
///             count(s, depth - 1, seen);
///             count(s, depth - 1, seen);
///         }
///     });
/// }
///
/// let seen = AtomicU32::new(0);
/// blocking_scope(|s| count(s, 2, &seen));
/// assert_eq!(seen.into_inner(), 7);
/// ```
pub struct BlockingScope<'scope, 'env: 'scope> {
    /// Set before the body gets the scope.
    region: OnceLock<Scope>,
    running: Arc<Running>,
    /// Invariant, so that `'scope` is neither shortened nor prolonged.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope> BlockingScope<'scope, '_> {
    /// Launches a child that gives a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::blocking_scope;
    ///
    /// let text = String::from("borrowed");
    /// let length = blocking_scope(|s| s.spawn(async { text.len() }).join());
    /// assert_eq!(length, text.len());
    /// ```
    #[track_caller]
    pub fn spawn<F>(&'scope self, future: F) -> ScopedDeferred<'scope, F::Output>
    where
        F: Future + Send + 'scope,
        F::Output: Send + 'scope,
    {
        let (branch, giving) = branch(future, Location::caller());
        let job = self.launch(giving);
        ScopedDeferred { branch, job, scope: PhantomData }
    }

    /// Launches a child without a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::blocking_scope;
    ///
    /// let mut counts = [0, 0];
    /// blocking_scope(|s| {
    ///     for count in &mut counts {
    ///         s.launch(async { *count += 1 });
    ///     }
    /// });
    /// assert_eq!(counts, [1, 1]);
    /// ```
    #[track_caller]
    pub fn launch<F>(&'scope self, future: F) -> Job
    where
        F: Future<Output = ()> + Send + 'scope,
    {
        let counted = Running::count(&self.running);
        let future: Pin<Box<dyn Future<Output = ()> + Send + 'scope>> = Box::pin(future);
        // SAFETY: the types differ in the lifetime alone. The box is dropped before `counted`, by
        // the order of the fields, and `'scope` lasts until all counts are gone; see the module.
        let future: Pin<Box<dyn Future<Output = ()> + Send>> =
            unsafe { std::mem::transmute(future) };
        self.region().launch(Child { future, _counted: counted })
    }

    /// The scope's job.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::blocking_scope;
    ///
    /// blocking_scope(|s| {
    ///     let child = s.launch(std::future::pending());
    ///     assert_eq!(child.parent(), Some(s.job()));
    ///     child.cancel(); // or this would not return
    /// });
    /// ```
    pub fn job(&self) -> Job {
        self.region().job()
    }

    fn region(&self) -> &Scope {
        self.region.get().expect("set before the body was called")
    }
}

impl fmt::Debug for BlockingScope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlockingScope").field(&self.job()).finish()
    }
}

/// The value of a child of a [`blocking_scope`]: [`join`](Self::join) blocks for it, siblings await
/// it.
///
/// Dropping it neither cancels nor detaches the child.
///
/// # Examples
///
/// ```
/// use corymb::blocking_scope;
///
/// let words = ["one", "three"];
/// let total = blocking_scope(|s| {
///     let [a, b] = words.map(|word| s.spawn(async move { word.len() }));
///     s.spawn(async { a.await + b.await }).join()
/// });
/// assert_eq!(total, 8);
/// ```
///
/// # Panics
///
/// Awaiting it panics if the child was cancelled before its end, and the awaiter is not cancelled
/// itself; and if its value was taken before.
///
/// # Cancel safety
///
/// Dropping it drops the value when it comes. To wait in a `select!` loop, await `&mut deferred`.
#[must_use = "the child runs anyway, but its value is lost: use `launch` if there is none"]
pub struct ScopedDeferred<'scope, T> {
    branch: Branch<T>,
    job: Job,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedDeferred<'_, T> {
    /// Blocks this thread until the value is there, as [`run_blocking`] does.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::blocking_scope;
    ///
    /// let text = String::from("borrowed");
    /// let length = blocking_scope(|s| {
    ///     let child = s.spawn(async { text.len() });
    ///     child.join() // here the body has it
    /// });
    /// assert_eq!(length, 8);
    /// ```
    ///
    /// # Panics
    ///
    /// As awaiting it. If the scope is cancelled, by a panic of another child for example, it unwinds
    /// without being a panic, and the scope ends.
    #[track_caller]
    pub fn join(self) -> T {
        let awaited = Location::caller();
        run_blocking(poll_fn(|cx| self.branch.poll_at(awaited, cx)))
    }

    /// The child's job.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::blocking_scope;
    ///
    /// blocking_scope(|s| {
    ///     let child = s.spawn(std::future::pending::<u32>());
    ///     child.job().cancel();
    /// });
    /// ```
    pub fn job(&self) -> &Job {
        &self.job
    }
}

impl<T> Future for ScopedDeferred<'_, T> {
    type Output = T;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.branch).poll(cx)
    }
}

impl<T> fmt::Debug for ScopedDeferred<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScopedDeferred").field(&self.job).finish()
    }
}

/// A child's future, and its count.
struct Child {
    // The first field, so dropped first.
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    _counted: Counted,
}

impl Future for Child {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.future.as_mut().poll(cx)
    }
}

/// How many futures of children there are.
#[derive(Default)]
struct Running {
    count: Mutex<usize>,
    none: Condvar,
}

impl Running {
    fn count(this: &Arc<Self>) -> Counted {
        *this.lock() += 1;
        Counted(Arc::clone(this))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them.
struct Counted(Arc<Running>);

impl Drop for Counted {
    fn drop(&mut self) {
        let mut count = self.0.lock();
        *count -= 1;
        if *count == 0 {
            self.0.none.notify_all();
        }
    }
}

/// Dropped, it blocks until there is none.
struct WaitForAll(Arc<Running>);

impl Drop for WaitForAll {
    fn drop(&mut self) {
        let mut count = self.0.lock();
        while *count > 0 {
            count = self.0.none.wait(count).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
