//! The unit of cancellation below a coroutine.

use std::panic::Location;

use super::region::{self, End};
use super::{ScopeKind, Scoped};
use crate::current;
use crate::error::Cancelled;
use crate::job::Job;
use crate::node::side::Policy;
use crate::node::{NodeRef, tree};

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
    Scoped::<Cancellable, F, Fut>::new(body)
}

/// [`cancel_scope`].
pub(super) struct Cancellable;

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
