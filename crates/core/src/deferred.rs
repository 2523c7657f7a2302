//! The handle of a child's value.

use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::budget::budgeted;
use crate::current;
use crate::error::{CancelCause, Cancelled, JoinError};
use crate::job::Job;
use crate::node::{NodeRef, state, tree};
use crate::scope::errors;
use crate::wait::{WaitKind, waiting_on};

/// The value of a child coroutine, to be awaited.
///
/// Awaiting it gives the value: the happy path only. If the child failed, its scope is cancelled,
/// and an awaiter inside of it ends there. [`outcome`](Self::outcome) tells how the child ended.
///
/// Dropping it neither cancels nor detaches the child, which still belongs to its scope.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
///
/// let pair = run_blocking(scope(async |s| {
///     // Both run at the same time.
///     let (first, second) = (s.spawn(async { 1 }), s.spawn(async { "two" }));
///     (first.await, second.await)
/// }));
/// assert_eq!(pair, (1, "two"));
/// ```
///
/// # Panics
///
/// Awaiting it panics with the reason if the child failed or was cancelled, and the awaiter is not
/// cancelled itself; and if its value was taken before.
///
/// # Cancel safety
///
/// Dropping the `Deferred` before it is ready drops the value when it comes. To wait in a
/// `select!` loop, await `&mut deferred`: then nothing is lost.
#[must_use = "the child runs anyway, but its value is lost: use `launch` or `launch_detached` if \
              there is none"]
pub struct Deferred<T> {
    /// The child; none once the outcome has been taken.
    node: Option<NodeRef>,
    place: &'static Location<'static>,
    value: PhantomData<fn() -> T>,
}

impl<T> Unpin for Deferred<T> {}

impl<T> Deferred<T> {
    /// Takes over the reference and the HANDLE of a child whose output is a `T`.
    pub(crate) fn new(node: NodeRef, place: &'static Location<'static>) -> Self {
        Self { node: Some(node), place, value: PhantomData }
    }

    /// The child's job.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// run_blocking(scope(async |s| {
    ///     let child = s.spawn(std::future::pending::<u32>());
    ///     child.job().cancel();
    ///     assert!(child.outcome().await.is_err());
    /// }));
    /// ```
    ///
    /// # Panics
    ///
    /// If the value has been taken.
    pub fn job(&self) -> Job {
        Job::from_node(self.node().clone())
    }

    /// Waits for the child's end and tells how it was, without panicking.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{JoinError, prelude::*};
    ///
    /// let outcome = run_blocking(supervisor_scope(async |s| {
    ///     s.spawn(async { "x".parse::<u32>().unwrap() }).outcome().await
    /// }));
    /// match outcome {
    ///     Err(JoinError::Panicked(panic)) => assert!(panic.message().contains("InvalidDigit")),
    ///     other => unreachable!("{other:?}"),
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`JoinError`] says how the child ended if it gave no value.
    ///
    /// # Cancel safety
    ///
    /// As for the `Deferred` itself.
    #[track_caller]
    pub fn outcome(mut self) -> Outcome<T> {
        self.place = Location::caller();
        Outcome(self)
    }

    fn node(&self) -> &NodeRef {
        self.node.as_ref().expect(
            "a Deferred was used after it gave its value: keep the value instead of the handle",
        )
    }

    /// The child's state, once it has settled.
    fn poll_settled(&self, cx: &Context<'_>) -> Poll<state::Snapshot> {
        let node = self.node();
        let mut seen = node.state.load();
        if !seen.has(state::SETTLED) {
            if seen.has(state::NEW) {
                self.job().start();
            }
            waiting_on(WaitKind::Join, self.place);
            seen = node.waiter.register(&node.state, cx.waker());
            if !seen.has(state::SETTLED) {
                return Poll::Pending;
            }
        }
        Poll::Ready(seen)
    }

    /// The value; if there is none, `fail` gets to know the launch and the reason.
    #[inline]
    pub(crate) fn poll_value(
        &mut self,
        cx: &mut Context<'_>,
        fail: impl FnOnce(&'static Location<'static>, JoinError) -> T,
    ) -> Poll<T> {
        let before = (WaitKind::Join, self.place);
        let seen = ready!(budgeted(cx, before, |cx| self.poll_settled(cx)));
        // The failure is on its way to the scope that both belong to: this coroutine, or this part
        // of it, is dropped at the end of the poll. The outcome stays: before that, or if it is a
        // timeout that has passed and has not fired, this may be polled again.
        if !seen.has(state::VALUE) && current::is_cancelled() {
            return Poll::Pending;
        }
        Poll::Ready(self.take(seen).unwrap_or_else(|error| fail(self.place, error)))
    }

    fn take(&mut self, seen: state::Snapshot) -> Result<T, JoinError> {
        let node = self.node.take().expect("settled, and not taken");
        let outcome = if seen.has(state::VALUE) {
            let mut value = MaybeUninit::<T>::uninit();
            // SAFETY: settled with HANDLE, so the output is ours (invariant 4), and VALUE says
            // that it is there; its type is T by the contract of `new`.
            unsafe { (node.vtable.take_output)(node.as_ptr(), value.as_mut_ptr().cast()) };
            // SAFETY: written just now.
            Ok(unsafe { value.assume_init() })
        } else if seen.has(state::PANICKED) {
            // SAFETY: as above, with PANICKED.
            Err(JoinError::Panicked(*unsafe { (node.vtable.take_panic)(node.as_ptr()) }))
        } else if seen.has(state::FAILED) {
            Err(JoinError::Failed(errors::failed(&node)))
        } else {
            let cause = node.side().and_then(|side| side.lock().cause.clone());
            Err(JoinError::Cancelled(
                cause.unwrap_or_else(|| Cancelled::new(CancelCause::Requested, node.site)),
            ))
        };
        // What was there has been moved out; PANICKED may stay, for `Job::state`.
        node.state.drop_handle(state::VALUE);
        outcome
    }
}

impl<T> Future for Deferred<T> {
    type Output = T;

    // The caller is the `.await`, or the combinator that polls it.
    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let awaited = Location::caller();
        self.poll_value(cx, |place, error| {
            panic!(
                "the coroutine launched at {place} was awaited for its value at {awaited}, and has \
                 none: {error}; await its `outcome()` where that may be",
            )
        })
    }
}

impl<T> Drop for Deferred<T> {
    fn drop(&mut self) {
        let Some(node) = self.node.take() else { return };
        let seen = node.state.drop_handle(0);
        if seen.has(state::SETTLED) {
            // SAFETY: settled while HANDLE was set, so the output is ours (invariant 4).
            unsafe { tree::drop_output(node.as_ptr(), seen) };
        } else {
            drop(node.waiter.take());
        }
    }
}

impl<T> fmt::Debug for Deferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deferred").field(&self.node.clone().map(Job::from_node)).finish()
    }
}

/// The future of [`Deferred::outcome`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Outcome<T>(Deferred<T>);

impl<T> Outcome<T> {
    /// The child's job.
    ///
    /// # Panics
    ///
    /// If the outcome has been taken.
    pub fn job(&self) -> Job {
        self.0.job()
    }
}

impl<T> Outcome<T> {
    /// Has `cx` woken when the child has settled. True if it has by now, and nobody is woken.
    pub(crate) fn watch(&self, cx: &Context<'_>) -> bool {
        let node = self.0.node();
        let seen = node.state.load();
        if seen.has(state::SETTLED) {
            return true;
        }
        if seen.has(state::NEW) {
            self.job().start();
        }
        let seen = node.waiter.register(&node.state, cx.waker());
        // Who settles it may have the waker of an earlier wait in mind, and take this one.
        seen.has(state::SETTLED) && node.waiter.take().is_some()
    }

    /// The outcome of a child that has settled.
    pub(crate) fn into_ended(mut self) -> Result<T, JoinError> {
        let seen = self.0.node().state.load();
        debug_assert!(seen.has(state::SETTLED), "{seen:?}");
        self.0.take(seen)
    }
}

impl<T> Future for Outcome<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let before = (WaitKind::Join, self.0.place);
        let seen = ready!(budgeted(cx, before, |cx| self.0.poll_settled(cx)));
        Poll::Ready(self.0.take(seen))
    }
}
