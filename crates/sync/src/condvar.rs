//! Waiting, with a mutex, for what others do to its value.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::{pin_project, pinned_drop};

use crate::anchored::constant;
use crate::mutex::{Guard, Lock, Pointer};
use crate::signal::{By, Kind, Line, Signal, poll_notified};
use crate::waiting::Waiting;

/// Waits until the value of a [`Mutex`](crate::Mutex) is as it should be.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use corymb::sync::{Condvar, Mutex};
/// use std::sync::Arc;
///
/// let queue = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
/// let got = run_blocking(scope(async |s| {
///     let sender = Arc::clone(&queue);
///     s.launch(async move {
///         sender.0.lock().await.push(7);
///         sender.1.notify_one();
///     });
///     let (values, filled) = &*queue;
///     let mut values = filled.wait_while(values.lock().await, |values| values.is_empty()).await;
///     values.pop()
/// }));
/// assert_eq!(got, Some(7));
/// ```
///
/// # Fairness
///
/// Those who wait are notified in the order in which they came, and then wait for the mutex behind
/// those who are there already.
///
/// # Ordering
///
/// That of the mutex.
pub struct Condvar {
    signal: Signal<Condition>,
}

pub(crate) struct Condition;

impl Kind for Condition {
    const NAME: &'static str = "condvar";
    const KEPT: usize = 0;
}

impl Condvar {
    constant! {
        /// One for which nobody waits.
        pub fn new() -> Self {
            Self { signal: Signal::new() }
        }
    }

    /// Unlocks the mutex of `guard`, waits for a notification, and locks again.
    ///
    /// No notification is missed that is given after the mutex was unlocked. The value may have
    /// been changed again by the time it is locked: look, and wait again, or use
    /// [`wait_while`](Self::wait_while).
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use corymb::sync::{Condvar, Mutex};
    /// use std::sync::Arc;
    ///
    /// let open = Arc::new((Mutex::new(false), Condvar::new()));
    /// run_blocking(scope(async |s| {
    ///     let opener = Arc::clone(&open);
    ///     s.launch(async move {
    ///         *opener.0.lock().await = true;
    ///         opener.1.notify_all();
    ///     });
    ///     let mut is_open = open.0.lock().await;
    ///     while !*is_open {
    ///         is_open = open.1.wait(is_open).await;
    ///     }
    /// }));
    /// ```
    ///
    /// # Cancel safety
    ///
    /// The guard is gone: a future that is dropped leaves the mutex unlocked. If it had been
    /// notified by [`notify_one`](Self::notify_one), that goes to the next who waits.
    #[track_caller]
    pub fn wait<P: Pointer>(&self, guard: Guard<P>) -> CondvarWait<'_, P> {
        CondvarWait::new(self, guard, Location::caller())
    }

    /// Waits as long as `condition` holds.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{Condvar, Mutex};
    ///
    /// let (count, changed) = (Mutex::new(3), Condvar::new());
    /// corymb::run_blocking(async {
    ///     let count = changed.wait_while(count.lock().await, |count| *count == 0).await;
    ///     assert_eq!(*count, 3);
    /// });
    /// ```
    ///
    /// # Cancel safety
    ///
    /// As [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_while<P, F>(&self, guard: Guard<P>, condition: F) -> CondvarWaitWhile<'_, P, F>
    where
        P: Pointer,
        F: FnMut(&mut P::Value) -> bool,
    {
        let place = Location::caller();
        CondvarWaitWhile { condvar: self, place, condition, guard: Some(guard), wait: None }
    }

    /// Notifies the one that has waited longest; nothing is kept if nobody waits.
    pub fn notify_one(&self) {
        self.signal.notify_one();
    }

    /// Notifies all who wait.
    pub fn notify_all(&self) {
        self.signal.notify_all();
    }

    /// Figures of the present.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(corymb::sync::Condvar::new().statistics().waiting, 0);
    /// ```
    pub fn statistics(&self) -> CondvarStatistics {
        let (_, waiters, most_waiters) = self.signal.figures();
        CondvarStatistics { waiting: waiters, max_waiting: most_waiters }
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}

/// Figures of a [`Condvar`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CondvarStatistics {
    /// How many wait for a notification.
    pub waiting: usize,
    /// How many have waited at once so far.
    pub max_waiting: usize,
}

/// The future of [`Condvar::wait`].
#[must_use = "futures do nothing unless polled"]
#[pin_project(PinnedDrop)]
pub struct CondvarWait<'a, P: Pointer> {
    #[pin]
    waiting: Waiting<&'a Signal<Condition>, Line<Condition>>,
    #[pin]
    lock: Lock<P>,
    condvar: &'a Condvar,
    round: usize,
    /// Until it waits.
    guard: Option<Guard<P>>,
    /// From then on it locks.
    notified: Option<By>,
}

impl<'a, P: Pointer> CondvarWait<'a, P> {
    fn new(condvar: &'a Condvar, guard: Guard<P>, place: &'static Location<'static>) -> Self {
        let round = condvar.signal.round();
        Self {
            waiting: Waiting::new(&condvar.signal, round, place),
            lock: Lock::new(guard.pointer().clone(), place),
            condvar,
            round,
            guard: Some(guard),
            notified: None,
        }
    }
}

impl<P: Pointer> Future for CondvarWait<'_, P> {
    type Output = Guard<P>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if this.notified.is_none() {
            let round = *this.round;
            let mut waiting = this.waiting.as_mut();
            let polled =
                waiting.as_mut().poll(cx, |state, turn, _| poll_notified(state, turn, round));
            if polled.is_ready() || waiting.has_begun() {
                *this.guard = None;
            }
            *this.notified = Some(ready!(polled));
        }
        let guard = ready!(this.lock.poll(cx));
        *this.notified = None;
        Poll::Ready(guard)
    }
}

#[pinned_drop]
impl<P: Pointer> PinnedDrop for CondvarWait<'_, P> {
    fn drop(self: Pin<&mut Self>) {
        if self.notified == Some(By::One) {
            self.condvar.notify_one();
        }
    }
}

impl<P: Pointer> fmt::Debug for CondvarWait<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CondvarWait")
            .field("waiting", &self.waiting)
            .field("notified", &self.notified)
            .finish_non_exhaustive()
    }
}

/// The future of [`Condvar::wait_while`].
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct CondvarWaitWhile<'a, P: Pointer, F> {
    condvar: &'a Condvar,
    place: &'static Location<'static>,
    condition: F,
    guard: Option<Guard<P>>,
    #[pin]
    wait: Option<CondvarWait<'a, P>>,
}

impl<P, F> Future for CondvarWaitWhile<'_, P, F>
where
    P: Pointer,
    F: FnMut(&mut P::Value) -> bool,
{
    type Output = Guard<P>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            if let Some(mut guard) = this.guard.take() {
                if !(this.condition)(&mut guard) {
                    return Poll::Ready(guard);
                }
                let wait = CondvarWait::new(this.condvar, guard, this.place);
                this.wait.set(Some(wait));
            }
            let wait = this.wait.as_mut().as_pin_mut();
            let wait = wait.expect("polled after it was done: it has given the guard away");
            *this.guard = Some(ready!(wait.poll(cx)));
            this.wait.set(None);
        }
    }
}

impl<P: Pointer, F> fmt::Debug for CondvarWaitWhile<'_, P, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CondvarWaitWhile").field("place", &self.place).finish_non_exhaustive()
    }
}
