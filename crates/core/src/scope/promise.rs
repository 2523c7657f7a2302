//! Children without code: values that somebody else gives.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::builder::{self, Plan};
use super::plain::Scope;
use super::trying::TryScope;
use crate::coroutine::Plain;
use crate::deferred::Deferred;
use crate::error::{CancelCause, Cancelled};
use crate::job::Job;
use crate::node::NodeRef;
use crate::prim::Mutex;
use crate::wait::{WaitKind, waiting_on};

/// Gives a child of a scope its value, from anywhere; see [`Scope::promise`].
///
/// Dropped uncompleted, it cancels the child, with the cause
/// [`Abandoned`](CancelCause::Abandoned).
///
/// # Examples
///
/// ```
/// use corymb::{CancelCause, JoinError, prelude::*};
///
/// let outcome = run_blocking(scope(async |s| {
///     let (promise, value) = s.promise::<u32>();
///     drop(promise);
///     value.outcome().await
/// }));
/// let Err(JoinError::Cancelled(cancelled)) = outcome else { unreachable!() };
/// assert!(matches!(cancelled.cause(), CancelCause::Abandoned));
/// ```
#[must_use = "dropping it cancels the child"]
pub struct Promise<T> {
    job: Job,
    /// None once it was completed.
    slot: Option<Arc<Slot<T>>>,
}

struct Slot<T>(Mutex<State<T>>);

enum State<T> {
    Waiting(Option<Waker>),
    Given(T),
    /// The child is gone, or has taken the value.
    Over,
}

impl<T> Promise<T> {
    /// Gives the child its value, with which it completes.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::thread;
    /// use corymb::prelude::*;
    ///
    /// let sum = run_blocking(scope(async |s| {
    ///     let (promise, value) = s.promise();
    ///     thread::spawn(move || promise.complete(40).unwrap());
    ///     value.await + 2
    /// }));
    /// assert_eq!(sum, 42);
    /// ```
    ///
    /// # Errors
    ///
    /// The value comes back if the child was cancelled, with its scope or by itself, and has noticed.
    /// If it is cancelled after this, before it has taken the value, that is dropped.
    pub fn complete(mut self, value: T) -> Result<(), T> {
        let Some(slot) = self.slot.take() else { return Err(value) };
        let before = {
            let mut state = slot.0.lock();
            match *state {
                State::Waiting(_) => std::mem::replace(&mut *state, State::Given(value)),
                _ => return Err(value),
            }
        };
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
        Ok(())
    }

    /// The child's job.
    pub fn job(&self) -> Job {
        self.job.clone()
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if self.slot.take().is_some() {
            let cause = Cancelled::new(CancelCause::Abandoned, self.job.launched_at());
            self.job.cancel_for(&cause);
        }
    }
}

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Promise").field(&self.job).finish()
    }
}

/// The future of the child.
struct Kept<T> {
    slot: Arc<Slot<T>>,
    site: &'static Location<'static>,
}

impl<T> Future for Kept<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        waiting_on(WaitKind::Continuation, self.site);
        let mut fresh = Some(cx.waker().clone());
        let mut state = self.slot.0.lock();
        if let State::Waiting(waker) = &mut *state {
            std::mem::swap(waker, &mut fresh);
            return Poll::Pending;
        }
        match std::mem::replace(&mut *state, State::Over) {
            State::Given(value) => Poll::Ready(value),
            _ => unreachable!("the child of a promise is polled until it has its value"),
        }
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        // What was there is dropped outside of the lock.
        let _before = std::mem::replace(&mut *self.slot.0.lock(), State::Over);
    }
}

fn promise<T: Send + 'static>(
    region: &NodeRef,
    site: &'static Location<'static>,
) -> (Promise<T>, Deferred<T>) {
    let slot = Arc::new(Slot(Mutex::new(State::Waiting(None))));
    let kept = Kept { slot: Arc::clone(&slot), site };
    // Polled here, so that it has its waker and its place in the tree from the start.
    let value = builder::spawn::<_, Plain>(region, Plan::undispatched(), site, kept);
    (Promise { job: value.job(), slot: Some(slot) }, value)
}

impl Scope {
    /// A child that completes when its value is given: by a callback, another thread, another
    /// coroutine.
    ///
    /// The scope waits for it, and cancels it when it is cancelled itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let greeting = run_blocking(scope(async |s| {
    ///     let (promise, name) = s.promise();
    ///     s.launch(async move { promise.complete("you").unwrap() });
    ///     format!("hello, {}", name.await)
    /// }));
    /// assert_eq!(greeting, "hello, you");
    /// ```
    #[track_caller]
    pub fn promise<T: Send + 'static>(&self) -> (Promise<T>, Deferred<T>) {
        promise(self.node(), Location::caller())
    }
}

impl<E: Send + 'static> TryScope<E> {
    /// As [`Scope::promise`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let sum = run_blocking(try_scope(async |s| {
    ///     let (promise, one) = s.promise();
    ///     s.launch(async move {
    ///         let one = "1".parse::<u32>()?; // an error cancels the promised value too
    ///         promise.complete(one).unwrap();
    ///         Ok::<_, std::num::ParseIntError>(())
    ///     });
    ///     Ok(one.await + 1)
    /// }));
    /// assert_eq!(sum, Ok(2));
    /// ```
    #[track_caller]
    pub fn promise<T: Send + 'static>(&self) -> (Promise<T>, Deferred<T>) {
        promise(self.node(), Location::caller())
    }
}
