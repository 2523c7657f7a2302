//! Scopes that the first error of a child ends.

use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;

use super::builder::{self, CoroutineBuilder, Plan};
use super::errors::{Attempt, ErrorSlot, Failures};
use super::region::{self, End};
use super::{ScopeKind, Scoped};
use crate::deferred::Deferred;
use crate::error::{CancelCause, Cancelled};
use crate::job::Job;
use crate::local::LocalDeferred;
use crate::node::NodeRef;
use crate::node::side::Policy;

/// As [`scope`](super::scope), for children that return `Result`s: the first error cancels the rest.
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
/// Where `?` stands on both sides, inside and after it, nothing says what the error in between is. The
/// body's return type does:
///
/// ```
/// use std::io;
/// use corymb::prelude::*;
///
/// async fn copy() -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
///     let written = try_scope(async |s| -> io::Result<_> {
///         s.launch(async { Ok(()) });
///         let written = io::copy(&mut &b"text"[..], &mut io::sink())?;
///         Ok(written)
///     });
///     Ok(written.await?)
/// }
///
/// assert_eq!(run_blocking(copy()).unwrap(), 4);
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
/// As for [`scope`](super::scope).
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
/// As for [`scope`](super::scope).
#[track_caller]
pub fn try_scope_all<T, E, F, Fut>(body: F) -> impl Future<Output = Result<T, Failures<E>>>
where
    F: FnOnce(TryScope<E>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Send + 'static,
{
    Scoped::<Trying<E>, F, Fut>::new(body)
}

/// [`try_scope`].
struct Trying<E>(PhantomData<E>);

impl<T, E: Send + 'static> ScopeKind<Result<T, E>> for Trying<E> {
    type Handle = TryScope<E>;
    type Output = Result<T, Failures<E>>;

    fn open(site: &'static Location<'static>) -> [NodeRef; 2] {
        region::open_scope(Policy::FailFast, ErrorSlot::<E>::new(site), site)
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
        let job = Job::from_node(region.clone());
        // SAFETY: `open` made the region with a slot of this type.
        unsafe { region::extra::<ErrorSlot<E>>(region.as_ptr()) }.push(job.who_failed(), error);
        job.cancel_for(&Cancelled::new(CancelCause::SiblingFailed, region.site));
        None
    }

    fn end(region: &NodeRef, end: End<Result<T, E>>) -> Option<Self::Output> {
        // SAFETY: `open` made the region with a slot of this type.
        let slot = unsafe { region::extra::<ErrorSlot<E>>(region.as_ptr()) };
        match end {
            End::Panicked(panic) => slot.suppress_by(panic).resume(),
            // A child may have failed after the body had returned.
            End::Value(Ok(value)) => Some(slot.take().map_or(Ok(value), Err)),
            End::Value(Err(_)) | End::Cancelled => slot.take().map(Err),
        }
    }
}

/// [`try_scope`]: the first error alone.
#[pin_project]
struct First<Fut>(#[pin] Fut);

impl<T, E, Fut: Future<Output = Result<T, Failures<E>>>> Future for First<Fut> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx).map_err(Failures::into_first)
    }
}

/// The handle of a [`try_scope`]: launches children that return `Result`s.
///
/// As for [`Scope`](super::Scope), clones are handles of the same scope.
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
/// let read = run_blocking(try_scope(async |s| -> Result<_, Box<dyn Error + Send + Sync>> {
///     let port = s.spawn(async { Ok("80".parse::<u16>()?) });
///     let share = s.spawn(async { Ok("0.5".parse::<f32>()?) });
///     Ok((port.await, share.await))
/// }));
/// assert_eq!(read.unwrap(), (80, 0.5));
/// ```
pub struct TryScope<E>(pub(super) NodeRef, PhantomData<fn(E) -> E>);

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
        builder::spawn::<_, Attempt<T, E>>(&self.0, Plan::default(), Location::caller(), future)
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
        builder::launch::<_, Attempt<(), E>>(&self.0, Plan::default(), Location::caller(), future)
    }

    /// As [`spawn`](Self::spawn), of a coroutine that is bound to this thread: future and value need
    /// not be `Send`. The error is, and goes to the scope.
    ///
    /// See [`Scope::spawn_local`](super::Scope::spawn_local) for where it runs.
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
    /// As [`Scope::spawn_local`](super::Scope::spawn_local).
    #[track_caller]
    pub fn spawn_local<T, F>(&self, future: F) -> LocalDeferred<T>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
    {
        builder::spawn_local_attempt::<T, E, F>(
            &self.0,
            Plan::default(),
            Location::caller(),
            future,
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
    /// As [`Scope::spawn_local`](super::Scope::spawn_local).
    #[track_caller]
    pub fn launch_local<F>(&self, future: F) -> Job
    where
        F: Future<Output = Result<(), E>> + 'static,
    {
        builder::launch_local_attempt::<E, F>(&self.0, Plan::default(), Location::caller(), future)
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
        CoroutineBuilder::new(self.clone())
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
