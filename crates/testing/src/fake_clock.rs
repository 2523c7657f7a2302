//! A clock that a test hands to code that asks for the time.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use corymb_core::internal::prim::Mutex;
use corymb_core::internal::{WaitKind, budgeted, waiting_on, wake_all};
use corymb_core::time::{Clock, Instant};

use crate::clock::{START, Wait, Waits};

/// A clock that goes when it is told to: for libraries that are given their time, by a [`Clock`] and
/// by what they sleep on.
///
/// It needs no runtime, and clones of it are the same clock. A sleep on it waits for
/// [`advance`](Self::advance) alone, on whatever thread and under whatever executor: in a
/// [`TestRuntime`](crate::TestRuntime) a program that nobody advances is a deadlock.
///
/// **Which one:** code that sleeps by [`corymb::time`](corymb_core::time) needs none: in a test that
/// is virtual already.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::prelude::*;
/// use corymb::testing::{FakeClock, TestRuntime, settle};
/// use corymb::time::{Clock, Instant};
///
/// /// Of a library: what was fetched is good for a minute.
/// struct Cache<C> {
///     clock: C,
///     fetched: Instant,
/// }
///
/// impl<C: Clock> Cache<C> {
///     fn is_fresh(&self) -> bool {
///         self.clock.now() - self.fetched < Duration::from_secs(60)
///     }
/// }
///
/// TestRuntime::new().run(scope(async |s| {
///     let clock = FakeClock::new();
///     let cache = Cache { clock: clock.clone(), fetched: clock.now() };
///     let refresh = s.launch(clock.sleep(Duration::from_secs(60)));
///     clock.advance(Duration::from_secs(59));
///     settle().await;
///     assert!(cache.is_fresh() && refresh.is_active());
///     clock.advance(Duration::from_secs(1));
///     settle().await;
///     assert!(!cache.is_fresh() && refresh.is_completed());
/// }));
/// ```
#[derive(Clone)]
pub struct FakeClock(Arc<Mutex<State>>);

struct State {
    now: Instant,
    waits: Waits,
}

/// As late as it can be: nothing that has an end is later.
const LAST: Instant = Instant::from_nanos(Instant::FAR_FUTURE.as_nanos() - 1);

impl Default for FakeClock {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeClock {
    /// One that stands still.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State { now: START, waits: Waits::default() })))
    }

    /// Moves it by `duration`, at once, and ends the sleeps that are due by then, in the order of
    /// their deadlines. What sleeps for ever, by `Duration::MAX`, it never comes to.
    pub fn advance(&self, duration: Duration) {
        let mut state = self.0.lock();
        state.now = (state.now + duration).min(LAST);
        let now = state.now;
        let due = state.waits.take_due(now);
        drop(state);
        wake_all(due);
    }

    /// By how much it was moved so far.
    pub fn elapsed(&self) -> Duration {
        self.now() - START
    }

    /// How many wait for it: a test that is to advance it sees that others have come to their
    /// sleeps.
    pub fn waiting(&self) -> usize {
        self.0.lock().waits.len()
    }

    /// Waits until the clock was moved by `duration` from now.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up nothing but the wait.
    #[track_caller]
    pub fn sleep(&self, duration: Duration) -> FakeSleep {
        self.sleep_until(self.now() + duration)
    }

    /// Waits until the clock shows `deadline`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up nothing but the wait.
    #[track_caller]
    pub fn sleep_until(&self, deadline: Instant) -> FakeSleep {
        FakeSleep { clock: self.clone(), deadline, wait: None, place: Location::caller() }
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Instant {
        self.0.lock().now
    }
}

impl fmt::Debug for FakeClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (elapsed, waiting) = (self.elapsed(), self.waiting());
        f.debug_struct("FakeClock").field("elapsed", &elapsed).field("waiting", &waiting).finish()
    }
}

/// The future of [`FakeClock::sleep`] and [`FakeClock::sleep_until`].
#[must_use = "futures do nothing unless polled"]
pub struct FakeSleep {
    clock: FakeClock,
    deadline: Instant,
    /// None before the first poll.
    wait: Option<Wait>,
    place: &'static Location<'static>,
}

impl Future for FakeSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let before = (WaitKind::Timer, self.place);
        budgeted(cx, before, |cx| self.poll_clock(cx))
    }
}

impl FakeSleep {
    fn poll_clock(&mut self, cx: &Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut state = self.clock.0.lock();
        if state.now >= self.deadline {
            return Poll::Ready(());
        }
        let replaced = match self.wait {
            Some(wait) => Some(state.waits.refresh(wait, waker)),
            None => {
                self.wait = Some(state.waits.add(self.deadline, waker));
                None
            }
        };
        drop(state);
        drop(replaced);
        waiting_on(WaitKind::Timer, self.place);
        Poll::Pending
    }
}

impl Drop for FakeSleep {
    fn drop(&mut self) {
        if let Some(wait) = self.wait {
            let waker = self.clock.0.lock().waits.remove(wait);
            drop(waker);
        }
    }
}

impl fmt::Debug for FakeSleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeSleep").field("place", &self.place).finish_non_exhaustive()
    }
}
