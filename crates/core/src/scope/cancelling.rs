//! The unit of cancellation below a coroutine.

use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;

use super::region::{self, End};
use super::{ScopeKind, Scoped};
use crate::current;
use crate::error::{CancelCause, Cancelled};
use crate::job::Job;
use crate::node::cancel::cancel;
use crate::node::side::Policy;
use crate::node::{Node, NodeRef, state, tree};
use crate::time::{Instant, Sleep, sleep_until};

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
/// As for [`scope`](super::scope).
#[track_caller]
pub fn cancel_scope<F, Fut>(body: F) -> impl Future<Output = Result<Fut::Output, Cancelled>>
where
    F: FnOnce(CancelScope) -> Fut,
    Fut: Future,
{
    Limited { scope: Scoped::<Cancellable, F, Fut>::new(body), sleep: None }
}

/// Ends a cancel scope at its deadline.
#[pin_project]
struct Limited<F, Fut: Future> {
    #[pin]
    scope: Scoped<Cancellable, F, Fut>,
    /// Until the deadline that was there at the last poll.
    #[pin]
    sleep: Option<Sleep>,
}

impl<F, Fut> Future for Limited<F, Fut>
where
    F: FnOnce(CancelScope) -> Fut,
    Fut: Future,
{
    type Output = Result<Fut::Output, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.scope.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        let Some(region) = this.scope.as_mut().region() else { return Poll::Pending };
        let Some((at, place)) = deadline(&region) else {
            this.sleep.set(None);
            return Poll::Pending;
        };
        if this.sleep.as_ref().get_ref().as_ref().and_then(Sleep::deadline) != Some(at) {
            this.sleep.set(Some(sleep_until(at)));
        }
        let sleep = this.sleep.as_mut().as_pin_mut();
        if sleep.is_some_and(|sleep| sleep.poll_elapsed(cx).is_pending()) {
            return Poll::Pending;
        }
        // SAFETY: we have a reference.
        let news =
            unsafe { cancel(region.as_ptr(), &Cancelled::new(CancelCause::Deadline, place)) };
        if news { this.scope.poll(cx) } else { Poll::Pending }
    }
}

/// The deadline of a cancel scope, if it is still to be kept.
fn deadline(region: &Node) -> Option<(Instant, &'static Location<'static>)> {
    let seen = region.state.load();
    let is_running = seen.has(state::DEADLINE) && !seen.has(state::CANCELLED | state::BODY_DONE);
    is_running.then(|| region.side()?.lock().rest()?.deadline).flatten()
}

/// [`cancel_scope`].
pub(super) struct Cancellable;

impl<T> ScopeKind<T> for Cancellable {
    type Handle = CancelScope;
    type Output = Result<T, Cancelled>;

    fn open(site: &'static Location<'static>) -> [NodeRef; 2] {
        region::open_scope(Policy::FailFast, region::CancelScope, site)
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
pub struct CancelScope(pub(super) NodeRef);

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

    /// Cancels it at `deadline`, with the cause [`Deadline`](CancelCause::Deadline); with none, not at
    /// a certain time. It can be moved and removed while the scope runs.
    ///
    /// # Examples
    ///
    /// A time limit for the wait, none for what comes after it:
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::prelude::*;
    /// use corymb::{CancelCause, time::now};
    ///
    /// let ended = run_blocking(cancel_scope(async |c| {
    ///     c.set_deadline(now() + Duration::from_millis(1));
    ///     sleep(Duration::from_secs(60)).await;
    ///     c.set_deadline(None);
    /// }));
    /// assert!(matches!(ended.unwrap_err().cause(), CancelCause::Deadline));
    /// ```
    #[track_caller]
    pub fn set_deadline(&self, deadline: impl Into<Option<Instant>>) {
        region::set_deadline(&self.0, deadline.into(), Location::caller());
    }

    /// The deadline that was set. Those further out may come first: see
    /// [`time::deadline`](crate::time::deadline).
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use corymb::time::now;
    ///
    /// let soon = now();
    /// run_blocking(cancel_scope(async |c| {
    ///     assert_eq!(c.deadline(), None);
    ///     c.set_deadline(soon);
    ///     assert_eq!(c.deadline(), Some(soon));
    /// }))
    /// .unwrap();
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
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
