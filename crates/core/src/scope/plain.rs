//! Scopes whose children give mere values: all or nothing, and supervised.

use std::marker::PhantomData;
use std::panic::Location;

use super::builder::{self, CoroutineBuilder, Plan};
use super::region::{self, End};
use super::{ScopeKind, Scoped};
use crate::coroutine::{Plain, Start};
use crate::deferred::Deferred;
use crate::job::Job;
use crate::local::{self, LocalDeferred};
use crate::node::side::Policy;
use crate::node::{NodeRef, state};

/// Runs `body` and waits for all that it launched.
///
/// Returns what the body returned, once the body and all children have ended. A panic in one of
/// them cancels the others; when all have ended, it goes on in the caller. `Result`s of children
/// are mere values here: see [`try_scope`](super::try_scope).
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
///
/// let words = ["one", "two"];
/// let sum = run_blocking(scope(async |s| {
///     let first = s.spawn(async { 20 }); // a child is `'static`,
///     let second = s.spawn(async { 20 });
///     first.await + second.await + words.len() // the body may borrow
/// }));
/// assert_eq!(sum, 42);
/// ```
///
/// # Panics
///
/// With the first panic of the body or of a child.
///
/// # Cancel safety
///
/// Dropping the future cancels the body and the children at once. The job that opened the scope
/// (the one that was current at its first poll) waits for their end, before it ends itself.
#[track_caller]
pub fn scope<F, Fut>(body: F) -> impl Future<Output = Fut::Output>
where
    F: FnOnce(Scope) -> Fut,
    Fut: Future,
{
    Scoped::<FailFast, F, Fut>::new(body)
}

/// As [`scope`], but a child's failure stays with the child.
///
/// Who awaits the child's [`Deferred`] gets the failure; that of a launched child goes to the
/// failure handler.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
///
/// let sum = run_blocking(supervisor_scope(async |s| {
///     let good = s.spawn(async { 1 });
///     let bad = s.spawn(async { "two".parse::<u32>().unwrap() });
///     good.await + bad.outcome().await.unwrap_or(0)
/// }));
/// assert_eq!(sum, 1);
/// ```
///
/// # Panics
///
/// With a panic of the body, which cancels the children.
///
/// # Cancel safety
///
/// As for [`scope`].
#[track_caller]
pub fn supervisor_scope<F, Fut>(body: F) -> impl Future<Output = Fut::Output>
where
    F: FnOnce(Scope) -> Fut,
    Fut: Future,
{
    Scoped::<Supervised, F, Fut>::new(body)
}

/// As [`scope`], for the code at `site`.
pub(super) fn scope_at<F, Fut>(
    site: &'static Location<'static>,
    body: F,
) -> impl Future<Output = Fut::Output>
where
    F: FnOnce(Scope) -> Fut,
    Fut: Future,
{
    Scoped::<FailFast, F, Fut>::New(body, site, PhantomData)
}

/// [`scope`].
struct FailFast;

/// [`supervisor_scope`].
struct Supervised;

impl<T> ScopeKind<T> for FailFast {
    type Handle = Scope;
    type Output = T;

    fn open(site: &'static Location<'static>) -> [NodeRef; 2] {
        region::open_scope(Policy::FailFast, region::PlainScope, site)
    }

    fn handle(region: NodeRef) -> Scope {
        Scope(region)
    }

    fn end(_: &NodeRef, end: End<T>) -> Option<T> {
        match end {
            End::Value(value) => Some(value),
            End::Panicked(panic) => panic.resume(),
            End::Cancelled => None,
        }
    }
}

impl<T> ScopeKind<T> for Supervised {
    type Handle = Scope;
    type Output = T;

    fn open(site: &'static Location<'static>) -> [NodeRef; 2] {
        region::open_scope(Policy::Supervise, region::SupervisorScope, site)
    }

    fn handle(region: NodeRef) -> Scope {
        Scope(region)
    }

    fn end(region: &NodeRef, end: End<T>) -> Option<T> {
        <FailFast as ScopeKind<T>>::end(region, end)
    }
}

/// The handle of a [`scope`] or [`supervisor_scope`]: launches children into it.
///
/// Clones are handles of the same scope, so children can launch siblings. A coroutine that is
/// launched into a scope that has ended is cancelled at once, and its future dropped unpolled.
///
/// # Examples
///
/// A child that launches siblings:
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use corymb::prelude::*;
///
/// fn count(s: &Scope, depth: u32, seen: Arc<AtomicU32>) {
///     let next = s.clone();
///     s.launch(async move {
///         seen.fetch_add(1, Ordering::Relaxed);
///         if depth > 0 {
///             count(&next, depth - 1, Arc::clone(&seen));
///             count(&next, depth - 1, seen);
///         }
///     });
/// }
///
/// let seen = Arc::new(AtomicU32::new(0));
/// run_blocking(scope(async |s| count(&s, 2, Arc::clone(&seen))));
/// assert_eq!(seen.load(Ordering::Relaxed), 7);
/// ```
#[derive(Clone)]
pub struct Scope(pub(super) NodeRef);

impl Scope {
    pub(crate) fn node(&self) -> &NodeRef {
        &self.0
    }

    /// As [`spawn`](Self::spawn), of a coroutine that is bound to this thread: future and value need
    /// not be `Send`.
    ///
    /// It is polled and dropped on this thread, by the loop of the `run_blocking` or
    /// [`LocalRuntime`](https://docs.rs/corymb/latest/corymb/struct.LocalRuntime.html) that runs here.
    /// When the outermost loop of the thread ends, what is still bound to it is cancelled. Its
    /// children are on this thread too, unless told otherwise. It cannot change its thread by
    /// [`with_context`](crate::with_context()): [`spawn_on`](crate::spawn_on) does it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// use corymb::prelude::*;
    ///
    /// let value = Rc::new(42);
    /// let same = Rc::clone(&value);
    /// let child = run_blocking(scope(async |s| s.spawn_local(async move { same }).await));
    /// assert!(Rc::ptr_eq(&child, &value));
    /// ```
    ///
    /// # Panics
    ///
    /// If this thread has no loop: outside of `run_blocking`, and in coroutines of the pool.
    #[track_caller]
    pub fn spawn_local<F>(&self, future: F) -> LocalDeferred<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let site = Location::caller();
        LocalDeferred::new(
            local::spawn(&self.0, None, (state::HANDLE, Start::Dispatched), site, future),
            site,
        )
    }

    /// As [`spawn_local`](Self::spawn_local), of a coroutine without a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use corymb::prelude::*;
    ///
    /// let count = Rc::new(Cell::new(0));
    /// run_blocking(scope(async |s| {
    ///     let count = Rc::clone(&count);
    ///     s.launch_local(async move { count.set(1) });
    /// }));
    /// assert_eq!(count.get(), 1);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`spawn_local`](Self::spawn_local).
    #[track_caller]
    pub fn launch_local<F>(&self, future: F) -> Job
    where
        F: Future<Output = ()> + 'static,
    {
        let site = Location::caller();
        Job::from_node(local::spawn(&self.0, None, (0, Start::Dispatched), site, future))
    }

    /// Launches a child that gives a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let doubled = run_blocking(scope(async |s| {
    ///     let answer = s.spawn(async { 21 });
    ///     answer.await * 2
    /// }));
    /// assert_eq!(doubled, 42);
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Deferred<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        builder::spawn::<_, Plain>(&self.0, Plan::default(), Location::caller(), future)
    }

    /// Launches a child that gives none.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use corymb::prelude::*;
    ///
    /// let sum = Arc::new(AtomicU32::new(0));
    /// run_blocking(scope(async |s| {
    ///     for n in 1..=3 {
    ///         let sum = Arc::clone(&sum);
    ///         s.launch(async move {
    ///             sum.fetch_add(n, Ordering::Relaxed);
    ///         });
    ///     }
    /// }));
    /// assert_eq!(sum.load(Ordering::Relaxed), 6); // all of them have ended
    /// ```
    #[track_caller]
    pub fn launch<F>(&self, future: F) -> Job
    where
        F: Future<Output = ()> + Send + 'static,
    {
        builder::launch::<_, Plain>(&self.0, Plan::default(), Location::caller(), future)
    }

    /// Begins a child with a name, a dispatcher or another context of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let name = run_blocking(scope(async |s| {
    ///     let child = s.coroutine().name("worker");
    ///     child.spawn(async { Context::current().name().map(String::from) }).await
    /// }));
    /// assert_eq!(name.as_deref(), Some("worker"));
    /// ```
    pub fn coroutine(&self) -> CoroutineBuilder<Self> {
        CoroutineBuilder::new(self.clone())
    }

    /// The scope's job.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// run_blocking(scope(async |s| {
    ///     let child = s.launch(std::future::pending());
    ///     assert_eq!(child.parent(), Some(s.job()));
    ///     child.cancel();
    /// }));
    /// ```
    pub fn job(&self) -> Job {
        Job::from_node(self.0.clone())
    }
}

/// The handle that launches coroutines right under `job`, the root of a runtime.
#[doc(hidden)]
pub fn scope_of(job: &Job) -> Scope {
    Scope(job.node().clone())
}

/// Launches `future` right under `job`, the root of a runtime, for the code at `site`.
pub(crate) fn spawn_at<F>(
    job: &Job,
    site: &'static Location<'static>,
    future: F,
) -> Deferred<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    builder::spawn::<_, Plain>(job.node(), Plan::default(), site, future)
}
