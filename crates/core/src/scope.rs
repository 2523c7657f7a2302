//! Scopes: coroutines that end before the code that started them goes on.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use pin_project::pin_project;

use crate::context::{Context, ContextInner, Dispatcher, Name};
use crate::coroutine::{self, Plain, Settle};
use crate::current::{self, Frame};
use crate::deferred::Deferred;
use crate::error::{CancelCause, Cancelled};
use crate::job::Job;
use crate::local::{self, LocalDeferred};
use crate::node::cancel::cancel;
use crate::node::side::Policy;
use crate::node::{NodeRef, state, tree};

mod errors;
pub(crate) mod region;

pub use errors::Failures;
use errors::{Attempt, ErrorSlot, LocalAttempt};
use region::{End, Region};

/// Runs `body` and waits for all that it launched.
///
/// Returns what the body returned, once the body and all children have ended. A panic in one of
/// them cancels the others; when all have ended, it goes on in the caller. `Result`s of children
/// are mere values here: see [`try_scope`].
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

/// As [`scope`], for children that return `Result`s: the first error cancels the rest.
///
/// A child's `Ok(value)` is what awaiting it gives. The first `Err`, of a child or of the body,
/// cancels the others; when all have ended, that error is returned. Errors that come later are
/// dropped here; [`try_scope_all`] keeps them.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
///
/// let sum_of = |texts: [&'static str; 2]| {
///     run_blocking(try_scope(async |s| {
///         let [a, b] = texts.map(|text| s.spawn(async move { text.parse::<u32>() }));
///         Ok(a.await + b.await)
///     }))
/// };
/// assert_eq!(sum_of(["1", "2"]), Ok(3));
/// assert!(sum_of(["1", "two"]).is_err());
/// ```
///
/// # Errors
///
/// The first error of a child or of the body.
///
/// # Panics
///
/// With the first panic of the body or of a child: a panic wins over an error.
///
/// # Cancel safety
///
/// As for [`scope`].
#[track_caller]
pub fn try_scope<T, E, F, Fut>(body: F) -> impl Future<Output = Result<T, E>>
where
    F: FnOnce(TryScope<E>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Send + 'static,
{
    let scoped = Scoped::<Trying<E>, F, Fut>::new(body);
    First(scoped)
}

/// As [`try_scope`], and gives the later errors too.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use corymb::try_scope_all;
///
/// let failures = run_blocking(try_scope_all(async |s| {
///     let first = s.spawn(async { "one".parse::<u32>() });
///     Ok(first.await)
/// }))
/// .unwrap_err();
/// assert_eq!(failures.first().to_string(), "invalid digit found in string");
/// assert!(failures.suppressed().is_empty()); // no other child failed
/// ```
///
/// # Errors
///
/// The first error, with all that came after it, in the order in which they came.
///
/// # Panics
///
/// As [`try_scope`].
///
/// # Cancel safety
///
/// As for [`scope`].
#[track_caller]
pub fn try_scope_all<T, E, F, Fut>(body: F) -> impl Future<Output = Result<T, Failures<E>>>
where
    F: FnOnce(TryScope<E>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Send + 'static,
{
    Scoped::<Trying<E>, F, Fut>::new(body)
}

/// Runs `body`, which can be cancelled by itself.
///
/// It is the unit of cancellation below a coroutine: what is inside is dropped at its next
/// suspension, its children are awaited, and the caller goes on with a value that says so.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
///
/// let outcome = run_blocking(cancel_scope(async |c| {
///     let search = scope(async |s| {
///         s.launch(async move {
///             c.cancel();
///         });
///         std::future::pending::<u32>().await // dropped here
///     });
///     search.await
/// }));
/// assert!(outcome.is_err());
/// ```
///
/// # Errors
///
/// [`Cancelled`], with the cause, if the scope was cancelled and the body dropped for it. A body
/// that returns without another suspension gives its value. If the caller itself is cancelled, it
/// does not get to see either.
///
/// # Panics
///
/// With a panic of the body.
///
/// # Cancel safety
///
/// As for [`scope`].
#[track_caller]
pub fn cancel_scope<F, Fut>(body: F) -> impl Future<Output = Result<Fut::Output, Cancelled>>
where
    F: FnOnce(CancelScope) -> Fut,
    Fut: Future,
{
    Scoped::<Cancellable, F, Fut>::new(body)
}

/// As [`cancel_scope`], opened at once and under `job`: what a thread blocks on. If `job` is a
/// coroutine, it is the current one. None if `job` has ended: the runtime has shut down.
#[doc(hidden)]
#[track_caller]
pub fn enclose<Fut: Future>(
    job: &Job,
    body: Fut,
) -> Option<impl Future<Output = Result<Fut::Output, Cancelled>> + use<Fut>> {
    // Not that of another runtime's coroutine.
    let inside = current::node().is_some_and(|here| here == *job.node());
    let context = inside.then(current::region_context).flatten();
    let site = Location::caller();
    let region = region::open_in(job.node(), context, Policy::FailFast, (), site).ok()?;
    let scoped = Scoped::<Enclosed, fn(CancelScope) -> Fut, Fut>::Open(Region::new(region, body));
    Some(Bound(scoped))
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
    spawn::<_, Plain>(job.node(), None, site, future)
}

/// What the kinds of scopes differ in.
trait ScopeKind<T> {
    type Handle;
    type Output;

    /// Opens the region.
    fn open(site: &'static Location<'static>) -> NodeRef;

    fn handle(region: NodeRef) -> Self::Handle;

    /// The scope's future is dropped.
    fn give_up(_: &NodeRef) {}

    /// The body has returned, the children may still run.
    fn returned(_: &NodeRef, value: T) -> Option<T> {
        Some(value)
    }

    /// What the caller gets; none if the caller is to be cancelled too.
    fn end(region: &NodeRef, end: End<T>) -> Option<Self::Output>;
}

/// The future of a scope: opens its region at the first poll, in the job that is current then.
#[pin_project(project = ScopedProj, project_replace = ScopedReplace)]
enum Scoped<K, F, Fut: Future> {
    New(F, &'static Location<'static>, PhantomData<fn() -> K>),
    Open(#[pin] Region<Fut>),
    Done(&'static Location<'static>),
}

impl<K, F, Fut: Future> Scoped<K, F, Fut> {
    #[track_caller]
    fn new(body: F) -> Self {
        Self::New(body, Location::caller(), PhantomData)
    }
}

impl<K, F, Fut> Future for Scoped<K, F, Fut>
where
    K: ScopeKind<Fut::Output>,
    F: FnOnce(K::Handle) -> Fut,
    Fut: Future,
{
    type Output = K::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<K::Output> {
        if let ScopedProj::New(_, site, _) = self.as_mut().project() {
            let site = *site;
            let ScopedReplace::New(body, ..) = self.as_mut().project_replace(Self::Done(site))
            else {
                unreachable!("it was new a line above")
            };
            let region = K::open(site);
            let handle = K::handle(region.clone());
            let region = Region::start(region, || body(handle), K::give_up);
            self.as_mut().project_replace(Self::Open(region));
        }
        match self.as_mut().project() {
            ScopedProj::Open(mut region) => {
                let end = ready!(region.as_mut().poll(cx, K::returned));
                match K::end(region.node(), end) {
                    Some(output) => {
                        let site = region.node().site;
                        self.project_replace(Self::Done(site));
                        Poll::Ready(output)
                    }
                    None => {
                        region::cancel_caller(region.node());
                        Poll::Pending
                    }
                }
            }
            ScopedProj::New(..) => unreachable!("it was opened above"),
            ScopedProj::Done(site) => {
                panic!("the scope opened at {site} was polled after it had ended")
            }
        }
    }
}

/// [`scope`].
struct FailFast;
/// [`supervisor_scope`].
struct Supervised;
/// [`try_scope`].
struct Trying<E>(PhantomData<E>);
/// [`cancel_scope`].
struct Cancellable;

impl<T> ScopeKind<T> for FailFast {
    type Handle = Scope;
    type Output = T;

    fn open(site: &'static Location<'static>) -> NodeRef {
        region::open(Policy::FailFast, (), site)
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

    fn open(site: &'static Location<'static>) -> NodeRef {
        region::open(Policy::Supervise, (), site)
    }

    fn handle(region: NodeRef) -> Scope {
        Scope(region)
    }

    fn end(region: &NodeRef, end: End<T>) -> Option<T> {
        <FailFast as ScopeKind<T>>::end(region, end)
    }
}

impl<T, E: Send + 'static> ScopeKind<Result<T, E>> for Trying<E> {
    type Handle = TryScope<E>;
    type Output = Result<T, Failures<E>>;

    fn open(site: &'static Location<'static>) -> NodeRef {
        region::open(Policy::FailFast, ErrorSlot::<E>::new(site), site)
    }

    fn handle(region: NodeRef) -> TryScope<E> {
        TryScope(region, PhantomData)
    }

    fn give_up(region: &NodeRef) {
        // SAFETY: `open` made the region with a slot of this type.
        unsafe { region::extra::<ErrorSlot<E>>(region.as_ptr()) }.give_up();
    }

    /// The body's error is one among the children's, and cancels them.
    fn returned(region: &NodeRef, value: Result<T, E>) -> Option<Result<T, E>> {
        let error = match value {
            Ok(value) => return Some(Ok(value)),
            Err(error) => error,
        };
        // SAFETY: `open` made the region with a slot of this type.
        unsafe { region::extra::<ErrorSlot<E>>(region.as_ptr()) }.push(error);
        let cause = Cancelled::new(CancelCause::SiblingFailed, region.site);
        // SAFETY: we have a reference.
        unsafe { cancel(region.as_ptr(), &cause) };
        None
    }

    fn end(region: &NodeRef, end: End<Result<T, E>>) -> Option<Self::Output> {
        // SAFETY: `open` made the region with a slot of this type.
        let slot = unsafe { region::extra::<ErrorSlot<E>>(region.as_ptr()) };
        match end {
            End::Panicked(panic) => panic.resume(),
            // A child may have failed after the body had returned.
            End::Value(Ok(value)) => Some(slot.take().map_or(Ok(value), Err)),
            End::Value(Err(_)) | End::Cancelled => slot.take().map(Err),
        }
    }
}

impl<T> ScopeKind<T> for Cancellable {
    type Handle = CancelScope;
    type Output = Result<T, Cancelled>;

    fn open(site: &'static Location<'static>) -> NodeRef {
        region::open(Policy::FailFast, (), site)
    }

    fn handle(region: NodeRef) -> CancelScope {
        CancelScope(region)
    }

    fn end(region: &NodeRef, end: End<T>) -> Option<Self::Output> {
        match end {
            End::Value(value) => Some(Ok(value)),
            End::Panicked(panic) => panic.resume(),
            // If the caller is cancelled too, then that is what it learns.
            End::Cancelled if current::is_cancelled() => None,
            End::Cancelled => Some(Err(tree::own_cause(region))),
        }
    }
}

/// [`enclose`]: whoever blocks on it has to learn of the end, also if it is cancelled itself.
struct Enclosed;

impl<T> ScopeKind<T> for Enclosed {
    type Handle = CancelScope;
    type Output = Result<T, Cancelled>;

    fn open(site: &'static Location<'static>) -> NodeRef {
        <Cancellable as ScopeKind<T>>::open(site)
    }

    fn handle(region: NodeRef) -> CancelScope {
        CancelScope(region)
    }

    fn end(region: &NodeRef, end: End<T>) -> Option<Self::Output> {
        match end {
            End::Cancelled => Some(Err(tree::own_cause(region))),
            end => <Cancellable as ScopeKind<T>>::end(region, end),
        }
    }
}

/// What a thread blocks on, and what therefore cannot go on anywhere else.
#[pin_project]
struct Bound<Fut>(#[pin] Fut);

impl<Fut: Future> Future for Bound<Fut> {
    type Output = Fut::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let frame = Frame::bound();
        let _inside = frame.enter();
        self.project().0.poll(cx)
    }
}

/// [`try_scope`]: the first error alone.
#[pin_project]
struct First<Fut>(#[pin] Fut);

impl<T, E, Fut: Future<Output = Result<T, Failures<E>>>> Future for First<Fut> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx).map_err(Failures::into_first)
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
pub struct Scope(NodeRef);

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
        LocalDeferred::new(local::spawn(&self.0, None, state::HANDLE, site, future), site)
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
        Job::from_node(local::spawn(&self.0, None, 0, site, future))
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
        spawn::<_, Plain>(&self.0, None, Location::caller(), future)
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
        launch::<_, Plain>(&self.0, None, Location::caller(), future)
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
        CoroutineBuilder { scope: self.clone(), context: None }
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

/// The handle of a [`try_scope`]: launches children that return `Result`s.
///
/// As for [`Scope`], clones are handles of the same scope.
///
/// # Examples
///
/// It has one type of errors. Where children have different ones, name a type that all of them
/// convert to, and use `?`:
///
/// ```
/// use std::error::Error;
/// use corymb::prelude::*;
///
/// let read = run_blocking(try_scope(async |s| {
///     let port = s.spawn(async { Ok("80".parse::<u16>()?) });
///     let share = s.spawn(async { Ok("0.5".parse::<f32>()?) });
///     Ok::<_, Box<dyn Error + Send + Sync>>((port.await, share.await))
/// }));
/// assert_eq!(read.unwrap(), (80, 0.5));
/// ```
pub struct TryScope<E>(NodeRef, PhantomData<fn(E) -> E>);

impl<E> Clone for TryScope<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<E: Send + 'static> TryScope<E> {
    pub(crate) fn node(&self) -> &NodeRef {
        &self.0
    }

    /// Launches a child that gives a value, or fails the scope.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let sum = run_blocking(try_scope(async |s| {
    ///     let a = s.spawn(async { "1".parse::<u32>() });
    ///     let b = s.spawn(async { "2".parse::<u32>() });
    ///     Ok(a.await + b.await) // each a `u32`
    /// }));
    /// assert_eq!(sum, Ok(3));
    /// ```
    #[track_caller]
    pub fn spawn<T, F>(&self, future: F) -> Deferred<T>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        spawn::<_, Attempt<T, E>>(&self.0, None, Location::caller(), future)
    }

    /// Launches a child that gives no value, or fails the scope.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let result = run_blocking(try_scope(async |s| {
    ///     s.launch(async { Err("the disk is full") });
    ///     std::future::pending::<Result<(), _>>().await // cancelled
    /// }));
    /// assert_eq!(result, Err("the disk is full"));
    /// ```
    #[track_caller]
    pub fn launch<F>(&self, future: F) -> Job
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        launch::<_, Attempt<(), E>>(&self.0, None, Location::caller(), future)
    }

    /// As [`spawn`](Self::spawn), of a coroutine that is bound to this thread: future and value need
    /// not be `Send`. The error is, and goes to the scope.
    ///
    /// See [`Scope::spawn_local`] for where it runs.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// use corymb::prelude::*;
    ///
    /// let words = Rc::new(["1", "2", "x"]);
    /// let sum = run_blocking(try_scope(async |s| {
    ///     let numbers = [0, 1].map(|i| {
    ///         let words = Rc::clone(&words);
    ///         s.spawn_local(async move { words[i].parse::<u32>().map(Rc::new) })
    ///     });
    ///     let [one, two] = numbers;
    ///     Ok(*one.await + *two.await) // each an `Rc<u32>`
    /// }));
    /// assert_eq!(sum, Ok(3));
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Scope::spawn_local`].
    #[track_caller]
    pub fn spawn_local<T, F>(&self, future: F) -> LocalDeferred<T>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
    {
        spawn_local_attempt::<T, E, F>(&self.0, None, Location::caller(), future)
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
    /// let left = Rc::new(Cell::new(1_u32));
    /// let result = run_blocking(try_scope(async |s| {
    ///     for _ in 0..2 {
    ///         let left = Rc::clone(&left);
    ///         s.launch_local(async move {
    ///             left.set(left.get().checked_sub(1).ok_or("nothing is left")?);
    ///             Ok(())
    ///         });
    ///     }
    ///     Ok(())
    /// }));
    /// assert_eq!(result, Err("nothing is left"));
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Scope::spawn_local`].
    #[track_caller]
    pub fn launch_local<F>(&self, future: F) -> Job
    where
        F: Future<Output = Result<(), E>> + 'static,
    {
        launch_local_attempt::<E, F>(&self.0, None, Location::caller(), future)
    }

    /// Begins a child with a name, a dispatcher or another context of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let sum = run_blocking(try_scope(async |s| {
    ///     let a = s.coroutine().name("first").spawn(async { "1".parse::<u32>() });
    ///     Ok(a.await + 1)
    /// }));
    /// assert_eq!(sum, Ok(2));
    /// ```
    pub fn coroutine(&self) -> CoroutineBuilder<Self> {
        CoroutineBuilder { scope: self.clone(), context: None }
    }

    /// The scope's job.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let done = run_blocking(try_scope(async |s| {
    ///     assert!(s.job().is_active());
    ///     Ok::<_, std::io::Error>(())
    /// }));
    /// assert!(done.is_ok());
    /// ```
    pub fn job(&self) -> Job {
        Job::from_node(self.0.clone())
    }
}

/// The handle of a [`cancel_scope`].
///
/// # Examples
///
/// ```
/// use corymb::{CancelCause, prelude::*};
///
/// let outcome = run_blocking(cancel_scope(async |c| {
///     c.cancel();
///     yield_now().await;
///     unreachable!("it was dropped at the suspension");
/// }));
/// let cancelled = outcome.map(|()| "done").unwrap_err();
/// assert!(matches!(cancelled.cause(), CancelCause::Requested));
/// ```
#[derive(Clone)]
pub struct CancelScope(NodeRef);

impl CancelScope {
    /// Cancels what is inside; false if that was done before or the scope has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let outcome = run_blocking(cancel_scope(async |c| {
    ///     assert!(c.cancel());
    ///     assert!(!c.cancel()); // that was done before
    ///     yield_now().await; // dropped here
    /// }));
    /// assert!(outcome.is_err());
    /// ```
    #[track_caller]
    pub fn cancel(&self) -> bool {
        self.job().cancel()
    }

    /// Whether what is inside has been cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let outcome = run_blocking(cancel_scope(async |c| {
    ///     assert!(!c.is_cancelled());
    ///     c.cancel();
    ///     assert!(c.is_cancelled());
    ///     "returned without a suspension"
    /// }));
    /// assert_eq!(outcome.unwrap(), "returned without a suspension");
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.job().is_cancelled()
    }

    /// The scope's job.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{CancelCause, prelude::*};
    ///
    /// let outcome = run_blocking(cancel_scope(async |c| {
    ///     c.job().cancel_with(CancelCause::Deadline);
    ///     yield_now().await; // dropped here
    /// }));
    /// assert!(matches!(outcome.unwrap_err().cause(), CancelCause::Deadline));
    /// ```
    pub fn job(&self) -> Job {
        Job::from_node(self.0.clone())
    }
}

/// A child in the making; see [`Scope::coroutine`].
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
///
/// run_blocking(scope(async |s| {
///     let child = s.coroutine().name("poller").launch(std::future::pending());
///     assert_eq!(child.name().as_deref(), Some("poller"));
///     child.cancel();
/// }));
/// ```
#[must_use = "nothing is launched before `spawn` or `launch`"]
#[derive(Clone, Debug)]
pub struct CoroutineBuilder<S> {
    scope: S,
    context: Option<Context>,
}

impl<S> CoroutineBuilder<S> {
    /// The scope, and what was set.
    pub(crate) fn parts(&self) -> (&S, Option<&Context>) {
        (&self.scope, self.context.as_ref())
    }

    /// Names the child, for dumps and errors.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let outcome = run_blocking(supervisor_scope(async |s| {
    ///     let child = s.coroutine().name("parser");
    ///     child.spawn(async { "x".parse::<u32>().unwrap() }).outcome().await
    /// }));
    /// assert!(outcome.unwrap_err().to_string().starts_with("coroutine `parser` launched at"));
    /// ```
    pub fn name(self, name: impl Into<Arc<str>>) -> Self {
        self.context(Name::new(name))
    }

    /// Chooses the dispatcher that resumes the child.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::thread;
    /// use corymb::{Coroutine, prelude::*};
    ///
    /// let threads = Dispatcher::custom(|coroutine: Coroutine| {
    ///     thread::Builder::new().name("mine".into()).spawn(move || coroutine.run()).unwrap();
    /// });
    /// let name = run_blocking(scope(async |s| {
    ///     let child = s.coroutine().on(threads);
    ///     child.spawn(async { thread::current().name().map(String::from) }).await
    /// }));
    /// assert_eq!(name.as_deref(), Some("mine"));
    /// ```
    pub fn on(self, dispatcher: Dispatcher) -> Self {
        self.context(dispatcher)
    }

    /// Changes the child's context; what was set before stands where this sets nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let name = run_blocking(scope(async |s| {
    ///     let child = s.coroutine().context(Name::new("first")).context(Name::new("second"));
    ///     child.spawn(async { Context::current().name().map(String::from) }).await
    /// }));
    /// assert_eq!(name.as_deref(), Some("second"));
    /// ```
    pub fn context(self, context: impl Into<Context>) -> Self {
        let context = self.context.unwrap_or_default().and(context);
        Self { context: Some(context), ..self }
    }
}

impl CoroutineBuilder<Scope> {
    /// As [`spawn`](Self::spawn), of a coroutine that is bound to this thread: future and value need
    /// not be `Send`. A dispatcher that was set has no effect.
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
    /// let child = run_blocking(scope(async |s| s.coroutine().name("child").spawn_local(async move { same }).await));
    /// assert!(Rc::ptr_eq(&child, &value));
    /// ```
    ///
    /// # Panics
    ///
    /// If this thread has no loop: outside of `run_blocking`, and in coroutines of the pool.
    #[track_caller]
    pub fn spawn_local<F>(self, future: F) -> LocalDeferred<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let site = Location::caller();
        LocalDeferred::new(
            local::spawn(&self.scope.0, self.context, state::HANDLE, site, future),
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
    ///     s.coroutine().name("counter").launch_local(async move { count.set(1) });
    /// }));
    /// assert_eq!(count.get(), 1);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`spawn_local`](Self::spawn_local).
    #[track_caller]
    pub fn launch_local<F>(self, future: F) -> Job
    where
        F: Future<Output = ()> + 'static,
    {
        let site = Location::caller();
        Job::from_node(local::spawn(&self.scope.0, self.context, 0, site, future))
    }

    /// Launches the child; see [`Scope::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let sum = run_blocking(scope(async |s| {
    ///     let one = s.coroutine().name("one").spawn(async { 1 });
    ///     one.await + 1
    /// }));
    /// assert_eq!(sum, 2);
    /// ```
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> Deferred<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        spawn::<_, Plain>(&self.scope.0, self.context, Location::caller(), future)
    }

    /// Launches the child; see [`Scope::launch`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// run_blocking(scope(async |s| {
    ///     let job = s.coroutine().name("logger").launch(async {});
    ///     job.join().await;
    ///     assert!(job.is_completed());
    /// }));
    /// ```
    #[track_caller]
    pub fn launch<F>(self, future: F) -> Job
    where
        F: Future<Output = ()> + Send + 'static,
    {
        launch::<_, Plain>(&self.scope.0, self.context, Location::caller(), future)
    }
}

impl<E: Send + 'static> CoroutineBuilder<TryScope<E>> {
    /// Launches the child, bound to this thread; see [`TryScope::spawn_local`]. A dispatcher that
    /// was set has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// use corymb::prelude::*;
    ///
    /// let one = run_blocking(try_scope(async |s| {
    ///     let child = s.coroutine().name("one");
    ///     Ok::<_, ()>(child.spawn_local(async { Ok(Rc::new(1)) }).await)
    /// }));
    /// assert_eq!(one, Ok(Rc::new(1)));
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Scope::spawn_local`].
    #[track_caller]
    pub fn spawn_local<T, F>(self, future: F) -> LocalDeferred<T>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
    {
        spawn_local_attempt::<T, E, F>(&self.scope.0, self.context, Location::caller(), future)
    }

    /// As [`spawn_local`](Self::spawn_local), of a coroutine without a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let result = run_blocking(try_scope(async |s| {
    ///     s.coroutine().name("writer").launch_local(async { Err("the disk is full") });
    ///     Ok(())
    /// }));
    /// assert_eq!(result, Err("the disk is full"));
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Scope::spawn_local`].
    #[track_caller]
    pub fn launch_local<F>(self, future: F) -> Job
    where
        F: Future<Output = Result<(), E>> + 'static,
    {
        launch_local_attempt::<E, F>(&self.scope.0, self.context, Location::caller(), future)
    }

    /// Launches the child; see [`TryScope::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let sum = run_blocking(try_scope(async |s| {
    ///     let one = s.coroutine().name("one").spawn(async { "1".parse::<u32>() });
    ///     Ok(one.await + 1)
    /// }));
    /// assert_eq!(sum, Ok(2));
    /// ```
    #[track_caller]
    pub fn spawn<T, F>(self, future: F) -> Deferred<T>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        spawn::<_, Attempt<T, E>>(&self.scope.0, self.context, Location::caller(), future)
    }

    /// Launches the child; see [`TryScope::launch`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let result = run_blocking(try_scope(async |s| {
    ///     s.coroutine().name("writer").launch(async { Err("the disk is full") });
    ///     Ok(())
    /// }));
    /// assert_eq!(result, Err("the disk is full"));
    /// ```
    #[track_caller]
    pub fn launch<F>(self, future: F) -> Job
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        launch::<_, Attempt<(), E>>(&self.scope.0, self.context, Location::caller(), future)
    }
}

fn spawn<F, S>(
    region: &NodeRef,
    context: Option<Context>,
    site: &'static Location<'static>,
    future: F,
) -> Deferred<S::Value>
where
    F: Future + Send + 'static,
    S: Settle<F::Output>,
{
    let context = context.and_then(|context| resolve(region, context, site));
    Deferred::new(coroutine::spawn::<F, S>(region, context, state::HANDLE, site, future), site)
}

fn spawn_local_attempt<T, E, F>(
    region: &NodeRef,
    context: Option<Context>,
    site: &'static Location<'static>,
    future: F,
) -> LocalDeferred<T>
where
    F: Future<Output = Result<T, E>> + 'static,
    T: 'static,
    E: Send + 'static,
{
    let flags = state::HANDLE;
    let node = local::spawn_settled::<F, LocalAttempt<T, E>>(region, context, flags, site, future);
    LocalDeferred::new(node, site)
}

fn launch_local_attempt<E, F>(
    region: &NodeRef,
    context: Option<Context>,
    site: &'static Location<'static>,
    future: F,
) -> Job
where
    F: Future<Output = Result<(), E>> + 'static,
    E: Send + 'static,
{
    let node = local::spawn_settled::<F, LocalAttempt<(), E>>(region, context, 0, site, future);
    Job::from_node(node)
}

fn launch<F, S>(
    region: &NodeRef,
    context: Option<Context>,
    site: &'static Location<'static>,
    future: F,
) -> Job
where
    F: Future + Send + 'static,
    S: Settle<F::Output>,
{
    let context = context.and_then(|context| resolve(region, context, site));
    Job::from_node(coroutine::spawn::<F, S>(region, context, 0, site, future))
}

/// The region's context with `change` applied; none if the region has ended, and with it, maybe,
/// its context.
pub(crate) fn resolve(
    region: &NodeRef,
    change: Context,
    site: &'static Location<'static>,
) -> Option<Arc<ContextInner>> {
    let context = Job::from_node(region.clone())
        // SAFETY: unended during the call.
        .pinned(|node| unsafe { node.context() }.with(change))?;
    Some(Arc::new(context.unwrap_or_else(|missing| missing.panic_missing(site))))
}

macro_rules! debug_by_job {
    ($($name:literal: $type:ty $(, $param:ident)?;)*) => {$(
        impl$(<$param>)? fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple($name).field(&Job::from_node(self.0.clone())).finish()
            }
        }
    )*};
}

debug_by_job! {
    "Scope": Scope;
    "TryScope": TryScope<E>, E;
    "CancelScope": CancelScope;
}
