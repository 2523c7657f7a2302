//! Scopes that own data and lend it to their children, which are coroutines and run in parallel.
//!
//! # Why a child may borrow
//!
//! The data lies in an allocation of its own, and everything that can name the lifetime `'s` is a
//! part of a future that owns a count of it, and gives that up last:
//!
//! ```text
//!            the scope's future                       a child's cell
//!   ┌────────────────────────────────┐      ┌────────────────────────────────┐
//!   │ body: DataScope<'s>, &'s D, .. │      │ future: DataScope<'s>, &'s D, ..│
//!   │ count ─────────────────┐       │      │ count ──┐                       │
//!   └────────────────────────┼───────┘      └─────────┼───────────────────────┘
//!                            └──────► data ◄──────────┘
//! ```
//!
//! 1. The body is a function of `'s` for every `'s` (`for<'s>`), so it cannot choose one, and neither
//!    the scope's value nor what the body has captured can name it. `'s` is invariant in the handle.
//!    `D` is `'static`, so that there is no `'s` that it does not outlive: with a borrowed `D`, the
//!    type `&'s D` would let the body believe that what `D` borrows outlives `'s`.
//! 2. A child's future is bound by `'s`, for which the body knows of nothing but `'static` things and
//!    what the handle gives: so it borrows the data and nothing else. Its output is `'static`.
//! 3. So what names `'s` is in the body, in a child's future, or in what one of them owns. All of it
//!    is dropped with that future, and the count of that future after it ([`Child`], [`scope_with`]).
//! 4. *Forgotten*, a future gives up no count: the data stays for ever. A scope's future that is
//!    forgotten after some polls leaves the children running, until the job that opened it cancels
//!    them; each of them has a count of its own.
//! 5. Nothing here relies on the order in which jobs end, and a `Job` that is kept keeps no data.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::builder::{self, Plan};
use super::plain::{Scope, scope};
use crate::coroutine::Plain;
use crate::deferred::Deferred;
use crate::job::Job;

/// Runs `body` and waits for all that it launched, as [`scope`]; the children are
/// coroutines, run in parallel, and may borrow `data`, which the scope owns.
///
/// Which scope for what is in the chapter on scopes, `docs/scopes.md`. The body may borrow what it
/// likes. A child may borrow from the data alone, and its value may not.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use corymb::scope_with;
///
/// let numbers: Vec<u64> = (1..=1000).collect();
/// let sum = run_blocking(scope_with(numbers, async |s| {
///     let parts: Vec<_> = s
///         .data()
///         .chunks(300)
///         .map(|part| s.spawn(async move { part.iter().sum::<u64>() }))
///         .collect();
///     let mut sum = 0;
///     for part in parts {
///         sum += part.await;
///     }
///     sum
/// }));
/// assert_eq!(sum, 500_500);
/// ```
///
/// # Panics
///
/// With the first panic of the body or of a child.
///
/// # Cancel safety
///
/// As for [`scope`]. The data is dropped when the last future that could borrow from it is.
#[track_caller]
pub fn scope_with<D, F, T>(data: D, body: F) -> impl Future<Output = T>
where
    D: Send + Sync + 'static,
    F: for<'s> AsyncFnOnce(DataScope<'s, D>) -> T,
{
    let data = Arc::new(data);
    scope(move |scope| async move {
        // Dropped after the body's future, which is a temporary.
        let _count = Arc::clone(&data);
        body(DataScope { scope, data, lifetime: PhantomData }).await
    })
}

/// The handle of a [`scope_with`]: gives the data, and launches children that borrow it.
///
/// Clones are handles of the same scope, so children can launch siblings.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use corymb::{DataScope, scope_with};
///
/// fn walk<'s>(s: &DataScope<'s, Vec<Vec<usize>>>, node: usize) {
///     let next = s.clone();
///     s.launch(async move {
///         for &child in &next.data()[node] {
///             walk(&next, child);
///         }
///     });
/// }
///
/// let tree = vec![vec![1, 2], vec![3], vec![], vec![]];
/// run_blocking(scope_with(tree, async |s| walk(&s, 0)));
/// ```
pub struct DataScope<'s, D> {
    scope: Scope,
    data: Arc<D>,
    /// Invariant; see the module.
    lifetime: PhantomData<fn(&'s ()) -> &'s ()>,
}

impl<D> Clone for DataScope<'_, D> {
    fn clone(&self) -> Self {
        let (scope, data) = (self.scope.clone(), Arc::clone(&self.data));
        Self { scope, data, lifetime: PhantomData }
    }
}

impl<'s, D: Send + Sync + 'static> DataScope<'s, D> {
    /// The data.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use corymb::scope_with;
    ///
    /// let text = String::from("owned");
    /// let length = run_blocking(scope_with(text, async |s| {
    ///     let text = s.data();
    ///     s.spawn(async move { text.len() }).await
    /// }));
    /// assert_eq!(length, 5);
    /// ```
    pub fn data(&self) -> &'s D {
        let data = Arc::as_ptr(&self.data);
        // SAFETY: who names `'s` is a part of a future that owns a count (3), and keeps what it got
        // here no longer than that; nobody has a reference to the data that could write.
        unsafe { &*data }
    }

    /// Launches a child that gives a value, which does not borrow.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use corymb::scope_with;
    ///
    /// let text = String::from("owned");
    /// let upper = run_blocking(scope_with(text, async |s| {
    ///     let text = s.data();
    ///     s.spawn(async { text.to_uppercase() }).await
    /// }));
    /// assert_eq!(upper, "OWNED");
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Deferred<F::Output>
    where
        F: Future + Send + 's,
        F::Output: Send + 'static,
    {
        builder::spawn::<_, Plain>(
            &self.scope.0,
            Plan::default(),
            Location::caller(),
            self.child(future),
        )
    }

    /// Launches a child without a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use corymb::prelude::*;
    /// use corymb::scope_with;
    ///
    /// let seen = run_blocking(scope_with(AtomicU32::new(0), async |s| {
    ///     let seen = s.data();
    ///     let counting = || async { drop(seen.fetch_add(1, Ordering::Relaxed)) };
    ///     let jobs = [s.launch(counting()), s.launch(counting())];
    ///     for job in jobs {
    ///         job.join().await;
    ///     }
    ///     seen.load(Ordering::Relaxed)
    /// }));
    /// assert_eq!(seen, 2);
    /// ```
    #[track_caller]
    pub fn launch<F>(&self, future: F) -> Job
    where
        F: Future<Output = ()> + Send + 's,
    {
        builder::launch::<_, Plain>(
            &self.scope.0,
            Plan::default(),
            Location::caller(),
            self.child(future),
        )
    }

    /// The scope's job.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use corymb::scope_with;
    ///
    /// run_blocking(scope_with(1, async |s| {
    ///     let child = s.launch(std::future::pending());
    ///     assert_eq!(child.parent(), Some(s.job()));
    ///     child.cancel();
    /// }));
    /// ```
    pub fn job(&self) -> Job {
        self.scope.job()
    }

    fn child<F>(&self, future: F) -> Child<F::Output, D>
    where
        F: Future + Send + 's,
        F::Output: 'static,
    {
        let future: Pin<Box<dyn Future<Output = F::Output> + Send + 's>> = Box::pin(future);
        // SAFETY: the types differ in the lifetime alone. What it borrows for `'s` is the data (2),
        // of which it gets a count, that is given up after it.
        let future: Pin<Box<dyn Future<Output = F::Output> + Send>> =
            unsafe { std::mem::transmute(future) };
        Child { future, _count: Arc::clone(&self.data) }
    }
}

impl<D> fmt::Debug for DataScope<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DataScope").field(&self.scope.job()).finish()
    }
}

/// A child's future, and its count of the data.
struct Child<T, D> {
    // The first field, so dropped first.
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    _count: Arc<D>,
}

impl<T, D> Future for Child<T, D> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.future.as_mut().poll(cx)
    }
}
