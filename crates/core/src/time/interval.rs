//! Ticking.

use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;

use super::instant::{Instant, now};
use super::sleep::Sleep;

/// What an [`Interval`] does about ticks that nobody took in time.
///
/// For a period of 300 ms whose tick at 600 is taken at 950, ticks then come at
///
/// | policy | |
/// | --- | --- |
/// | `Burst` | 900 (thus at once), 1200, 1500 |
/// | `Delay` | 1250, 1550, 1850 |
/// | `Skip` | 1200, 1500, 1800 |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::testing::{TestRuntime, busy};
/// use corymb::time::{MissedTick, interval};
///
/// TestRuntime::new().run(async {
///     let mut ticks = interval(Duration::from_millis(300)).with_missed_tick(MissedTick::Skip);
///     let start = ticks.tick().await;
///     busy(Duration::from_millis(950));
///     assert_eq!(ticks.tick().await - start, Duration::from_millis(300)); // late
///     assert_eq!(ticks.tick().await - start, Duration::from_millis(1200));
/// });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTick {
    /// Ticks come without pause until they have caught up: none is lost.
    #[default]
    Burst,
    /// The next tick comes a period after the late one was taken, and the others follow it.
    ///
    /// A tick taken late by less than half a period and at most 5 ms counts as taken in time, so
    /// that the little delays of any system do not add up.
    Delay,
    /// Ticks whose time has passed are lost, and the next one comes when its time comes.
    Skip,
}

/// The greatest delay that [`MissedTick::Delay`] overlooks: above what a busy system makes of its
/// own, below what a user would call late.
const SLACK: Duration = Duration::from_millis(5);

impl MissedTick {
    /// When the tick after the one at `due`, which is being taken at `now`, is due.
    fn next(self, due: Instant, now: Instant, period: Duration) -> Instant {
        let late = now - due;
        match self {
            Self::Delay if late > SLACK.min(period / 2) => now + period,
            Self::Skip => now + (period - remainder(late, period)),
            Self::Burst | Self::Delay => due + period,
        }
    }
}

/// `time` modulo `period`, which is not zero.
fn remainder(time: Duration, period: Duration) -> Duration {
    let rest = time.as_nanos() % period.as_nanos();
    // It is not above `time`, which is the difference of two instants and so has 64 bits.
    Duration::from_nanos(u64::try_from(rest).unwrap_or(u64::MAX))
}

/// Ticks now, and then once in each `period`.
///
/// *Now* is when this is called, whenever the first tick is taken.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::testing::{TestRuntime, elapsed};
/// use corymb::time::interval;
///
/// TestRuntime::new().run(async {
///     let mut ticks = interval(Duration::from_secs(10));
///     for _ in 0..3 {
///         ticks.tick().await;
///     }
///     assert_eq!(elapsed(), Duration::from_secs(20)); // the first comes at once
/// });
/// ```
///
/// # Panics
///
/// If `period` is zero.
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    assert_period("interval", period);
    Interval::new(now(), period, Location::caller())
}

/// Ticks at `start`, and then once in each `period`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::testing::{TestRuntime, elapsed};
/// use corymb::time::{interval_at, now};
///
/// TestRuntime::new().run(async {
///     let period = Duration::from_secs(10);
///     let mut ticks = interval_at(now() + period, period);
///     ticks.tick().await;
///     assert_eq!(elapsed(), period);
/// });
/// ```
///
/// # Panics
///
/// If `period` is zero.
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert_period("interval_at", period);
    Interval::new(start, period, Location::caller())
}

#[track_caller]
fn assert_period(call: &str, period: Duration) {
    assert!(
        !period.is_zero(),
        "{call}: the period is zero, so that ticks would never end; \
         give a longer one, or use `yield_now` in a loop"
    );
}

/// Ticks at equal distances of time. See [`interval`] and [`interval_at`].
///
/// The distance is kept between the ticks, not between the end of the work for one tick and the
/// next tick; for that, [`sleep`](super::sleep()) in a loop. What happens to ticks that nobody took
/// in time is up to [`MissedTick`].
///
/// It is a [`Stream`] of its ticks too, one without an end.
///
/// # Examples
///
/// As a stream:
///
/// ```
/// use std::time::Duration;
/// use corymb::testing::TestRuntime;
/// use corymb::time::interval;
/// use futures::StreamExt as _;
///
/// let ticks = TestRuntime::new().run(async {
///     interval(Duration::from_secs(10)).take(3).collect::<Vec<_>>().await
/// });
/// assert_eq!(ticks[2] - ticks[0], Duration::from_secs(20));
/// ```
#[derive(Debug)]
#[must_use = "an interval ticks when it is asked to"]
pub struct Interval {
    /// Boxed, so that an interval can be moved between ticks; allocated once.
    sleep: Pin<Box<Sleep>>,
    /// When the tick that `sleep` waits for is due.
    due: Instant,
    period: Duration,
    missed: MissedTick,
    place: &'static Location<'static>,
}

impl Interval {
    fn new(start: Instant, period: Duration, place: &'static Location<'static>) -> Self {
        let sleep = Box::pin(Sleep::until_at(start, place));
        Self { sleep, due: start, period, missed: MissedTick::default(), place }
    }

    /// Sets what to do about missed ticks.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::testing::{TestRuntime, busy};
    /// use corymb::time::{MissedTick, interval};
    ///
    /// TestRuntime::new().run(async {
    ///     let mut ticks = interval(Duration::from_secs(10)).with_missed_tick(MissedTick::Delay);
    ///     let start = ticks.tick().await;
    ///     busy(Duration::from_secs(14));
    ///     assert_eq!(ticks.tick().await - start, Duration::from_secs(10)); // late, at 14
    ///     assert_eq!(ticks.tick().await - start, Duration::from_secs(24));
    /// });
    /// ```
    pub fn with_missed_tick(mut self, missed: MissedTick) -> Self {
        self.missed = missed;
        self
    }

    /// The time between two ticks.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::time::interval;
    ///
    /// assert_eq!(interval(Duration::from_secs(10)).period(), Duration::from_secs(10));
    /// ```
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Waits for the next tick, and gives the time at which it was due.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::testing::TestRuntime;
    /// use corymb::time::{interval, now};
    ///
    /// TestRuntime::new().run(async {
    ///     let mut ticks = interval(Duration::from_secs(10));
    ///     let first = ticks.tick().await;
    ///     assert_eq!(ticks.tick().await, first + Duration::from_secs(10));
    ///     assert_eq!(now(), first + Duration::from_secs(10));
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// Polling panics where there is no runtime to wait in.
    ///
    /// # Cancel safety
    ///
    /// A tick is taken when the future is ready, not before: dropping it earlier loses none. A
    /// tick that is due already is taken without suspending, as long as the poll has budget, so
    /// this is no cancellation point then.
    pub fn tick(&mut self) -> impl Future<Output = Instant> {
        std::future::poll_fn(|cx| self.poll_tick(cx))
    }

    /// Polls for the next tick.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::poll_fn;
    /// use std::time::Duration;
    /// use corymb::time::{interval, now};
    ///
    /// corymb::run_blocking(async {
    ///     let mut ticks = interval(Duration::from_secs(10));
    ///     let first = poll_fn(|cx| ticks.poll_tick(cx)).await;
    ///     assert!(first <= now());
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// Where there is no runtime to wait in.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        ready!(self.sleep.as_mut().poll(cx));
        let due = self.due;
        self.wait_until(self.missed.next(due, now(), self.period));
        Poll::Ready(due)
    }

    /// Starts anew: the next tick comes a period from now.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::testing::{TestRuntime, elapsed};
    /// use corymb::time::{interval, sleep};
    ///
    /// TestRuntime::new().run(async {
    ///     let mut ticks = interval(Duration::from_secs(10));
    ///     ticks.tick().await;
    ///     sleep(Duration::from_secs(7)).await;
    ///     ticks.reset();
    ///     ticks.tick().await;
    ///     assert_eq!(elapsed(), Duration::from_secs(17));
    /// });
    /// ```
    pub fn reset(&mut self) {
        self.wait_until(now() + self.period);
    }

    fn wait_until(&mut self, due: Instant) {
        self.due = due;
        self.sleep.as_mut().reset_at(due, self.place);
    }
}

impl Stream for Interval {
    type Item = Instant;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.poll_tick(cx).map(Some)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}
