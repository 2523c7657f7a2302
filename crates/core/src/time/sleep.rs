//! Waiting for a point in time.

use std::fmt;
use std::marker::PhantomPinned;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::instant::{Instant, real_now, saturating_nanos};
use super::node::{NEVER, Node, State};
use super::shard::{Reset, TimerShard};
use crate::budget::budgeted;
use crate::hooks::{self, RuntimeHooks};
use crate::wait::{WaitKind, waiting_on};
use crate::waker_word::WakerWord;

/// Waits until `duration` has passed, counted from the first poll.
///
/// Never wakes early; late by about a tenth of a millisecond on an idle machine. A duration of
/// zero does not suspend; one too long to be told, such as [`Duration::MAX`], never ends.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::prelude::*;
/// use corymb::time::now;
///
/// run_blocking(async {
///     let start = now();
///     sleep(Duration::from_millis(2)).await;
///     assert!(now() - start >= Duration::from_millis(2));
/// });
/// ```
///
/// # Panics
///
/// Polling panics where there is no runtime to wait in.
///
/// # Cancel safety
///
/// Dropping the future takes its timer out at once; nothing is lost, and there is no queue to lose
/// a place in. It suspends, and so is a cancellation point, unless the duration is zero.
#[track_caller]
#[inline]
pub fn sleep(duration: Duration) -> Sleep {
    Sleep::after_at(duration, Location::caller())
}

/// Waits until `deadline`.
///
/// Never wakes early; late by about a tenth of a millisecond on an idle machine. A deadline that
/// has passed does not suspend; [`Instant::FAR_FUTURE`] never comes.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::time::{now, sleep_until};
///
/// corymb::run_blocking(async {
///     let deadline = now() + Duration::from_millis(2);
///     sleep_until(deadline).await;
///     assert!(now() >= deadline);
/// });
/// ```
///
/// # Panics
///
/// Polling panics where there is no runtime to wait in.
///
/// # Cancel safety
///
/// As [`sleep`].
#[track_caller]
#[inline]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::until_at(deadline, Location::caller())
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// It is its own timer, and needs no allocation. Ready once the deadline has passed, and ready
/// again whenever it is polled after that.
///
/// # Examples
///
/// ```
/// use std::pin::pin;
/// use std::time::Duration;
/// use corymb::time::{now, sleep};
///
/// corymb::run_blocking(async {
///     let mut idle = pin!(sleep(Duration::from_secs(3600)));
///     assert_eq!(idle.deadline(), None); // its time has not begun to run
///     idle.as_mut().reset(now());
///     idle.as_mut().await;
///     assert!(idle.is_elapsed());
/// });
/// ```
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    node: Node,
    /// A shard knows the node by its address.
    _pinned: PhantomPinned,
}

// What a sleeping coroutine weighs depends on it. Under loom the atomics are fat.
#[cfg(not(loom))]
const _: () = assert!(size_of::<Sleep>() <= 40);

impl Sleep {
    /// [`sleep_until`] for a place other than the caller's: the timer under a timeout.
    #[doc(hidden)]
    #[inline]
    pub fn until_at(deadline: Instant, place: &'static Location<'static>) -> Self {
        Self::new(Node::until(deadline.as_nanos(), place))
    }

    /// [`sleep`] for a place other than the caller's.
    #[inline]
    pub(super) fn after_at(duration: Duration, place: &'static Location<'static>) -> Self {
        Self::new(Node::after(saturating_nanos(duration), place))
    }

    const fn new(node: Node) -> Self {
        Self { node, _pinned: PhantomPinned }
    }

    /// The point in time that is waited for; `None` for a [`sleep`] that was not polled yet, whose
    /// time has not begun to run.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::time::{now, sleep, sleep_until};
    ///
    /// let deadline = now() + Duration::from_secs(1);
    /// assert_eq!(sleep_until(deadline).deadline(), Some(deadline));
    /// assert_eq!(sleep(Duration::from_secs(1)).deadline(), None);
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        match self.node.state() {
            State::After => None,
            _ => Some(Instant::from_nanos(self.node.deadline())),
        }
    }

    /// Whether the timer has fired. It fires when the runtime gets to it, or at the first poll if
    /// the deadline has passed by then.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    /// use std::time::Duration;
    /// use corymb::time::sleep;
    ///
    /// corymb::run_blocking(async {
    ///     let mut pause = pin!(sleep(Duration::from_millis(1)));
    ///     assert!(!pause.is_elapsed());
    ///     pause.as_mut().await;
    ///     assert!(pause.is_elapsed());
    /// });
    /// ```
    pub fn is_elapsed(&self) -> bool {
        matches!(self.node.state(), State::Fired)
    }

    /// Whether a shard knows it. One that is not known owns nothing.
    #[inline]
    pub(super) fn is_registered(&self) -> bool {
        matches!(self.node.state(), State::Linked(_))
    }

    /// Waits until `deadline` instead, also if the old deadline has passed.
    ///
    /// A task that waits already is woken at the new deadline if it is the later one, and at once,
    /// to poll again, if it is the earlier one.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    /// use std::time::Duration;
    /// use corymb::testing::{TestRuntime, elapsed};
    /// use corymb::time::{now, sleep};
    ///
    /// TestRuntime::new().run(async {
    ///     let mut idle = pin!(sleep(Duration::from_secs(10)));
    ///     idle.as_mut().reset(now() + Duration::from_secs(30));
    ///     idle.await;
    ///     assert_eq!(elapsed(), Duration::from_secs(30));
    /// });
    /// ```
    #[track_caller]
    pub fn reset(self: Pin<&mut Self>, deadline: Instant) {
        self.reset_at(deadline, Location::caller());
    }

    /// [`reset`](Self::reset) for a place other than the caller's.
    pub(super) fn reset_at(
        self: Pin<&mut Self>,
        deadline: Instant,
        place: &'static Location<'static>,
    ) {
        let deadline = deadline.as_nanos();
        let waker = match self.node.state() {
            // SAFETY: `Pin<&mut Self>` makes this the owner.
            State::Linked(shard) => match unsafe { shard.reset(&self.node, deadline) } {
                Reset::Moved => return,
                Reset::Withdrawn(waker) => Some(waker),
                Reset::Gone => None,
            },
            _ => None,
        };
        // SAFETY: this is the owner, and the node was not Linked or has been taken out.
        unsafe { self.node.restart(deadline, place) };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Fixes the deadline of a sleep that has not begun, and gives it.
    pub(super) fn fix(&self, now: Instant) -> Instant {
        if matches!(self.node.state(), State::After | State::Until | State::Closed) {
            // SAFETY: called by the timeout that owns the sleep, while it does nothing else with
            // it; the node is not Linked.
            Instant::from_nanos(unsafe { self.node.settle(now.as_nanos()) })
        } else {
            self.deadline().unwrap_or(Instant::FAR_FUTURE)
        }
    }

    /// Begins to wait. The node is not Linked.
    fn start(self: Pin<&mut Self>, cx: &Context<'_>) -> Poll<()> {
        if let Some(poll) = hooks::try_with(|hooks| self.start_in(hooks, cx)) {
            return poll;
        }
        // No runtime on this thread. What is due needs none; the rest, the global one.
        if self.settle(real_now()) {
            return Poll::Ready(());
        }
        hooks::with(|hooks| self.start_in(hooks, cx))
    }

    /// [`start`](Self::start) in the runtime of `hooks`.
    fn start_in(&self, hooks: &dyn RuntimeHooks, cx: &Context<'_>) -> Poll<()> {
        if self.settle(hooks.now()) {
            return Poll::Ready(());
        }
        // SAFETY: called by `start` only, which has the owner's access and a node not Linked.
        if let Some(place) = unsafe { self.node.place() } {
            waiting_on(WaitKind::Timer, place);
        }
        if self.node.deadline() == NEVER {
            return Poll::Pending;
        }
        let shard = hooks.timer_shard();
        // SAFETY: as above; the node is pinned, and its drop takes it out.
        match unsafe { shard.register(&self.node, WakerWord::new(cx.waker())) } {
            Ok(Some(wake)) => hooks.timer_armed(shard, wake),
            Ok(None) => {}
            // The runtime is going away. Poll again, to be cancelled or to find another one.
            Err(waker) => waker.wake(),
        }
        Poll::Pending
    }

    /// Fixes the deadline, and whether it has passed. Called by the owner, with a node that is not
    /// Linked.
    fn settle(&self, now: Instant) -> bool {
        // SAFETY: called by `start` and `start_in` only, which have the owner's access and a node
        // that is not Linked.
        let due = unsafe { self.node.settle(now.as_nanos()) } <= now.as_nanos();
        if due {
            // SAFETY: as above.
            unsafe { self.node.elapse() };
        }
        due
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // It leaves its own note when it is registered.
        budgeted(cx, None, |cx| self.poll_elapsed(cx))
    }
}

impl Sleep {
    /// Polls outside of the budget: for what looks at the time and then goes on.
    #[inline]
    pub(crate) fn poll_elapsed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.node.state() {
                State::Fired => return Poll::Ready(()),
                State::After | State::Until | State::Closed => return self.start(cx),
                State::Linked(shard) => {
                    // SAFETY: `Pin<&mut Self>` makes this the owner.
                    if unsafe { shard.refresh(&self.node, cx.waker()) } {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn withdraw(&self, shard: &'static TimerShard) {
        // The waker, if there is one, is dropped here: outside the lock.
        // SAFETY: a drop is the owner.
        drop(unsafe { shard.withdraw(&self.node) });
    }
}

impl Drop for Sleep {
    #[inline]
    fn drop(&mut self) {
        if let State::Linked(shard) = self.node.state() {
            self.withdraw(shard);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.node.state() {
            State::After => "not polled",
            State::Until | State::Closed => "not registered",
            State::Linked(_) => "waiting",
            State::Fired => "elapsed",
        };
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline())
            .field("state", &format_args!("{state}"))
            .finish()
    }
}
