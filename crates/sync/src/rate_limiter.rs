//! So many operations in a time.
//!
//! # Whose timer it is
//!
//! The first in the queue knows when there will be enough for it, and has a timer for that. Each of
//! the others has one too, for when its turn comes at the latest: what those before it need is
//! counted in. When the first leaves, the next is called, to look and to put its timer right. Who
//! comes by its own timer while another is still before it has that one called: if it is there, it
//! takes its tokens; if its coroutine no longer polls it, it declines, and the next is called.

mod bucket;

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use corymb_core::internal::times_used_up;
use corymb_core::time::{Instant, Sleep, now, sleep_until};
use pin_project::{pin_project, pinned_drop};

use self::bucket::Bucket;
use crate::anchored::{Anchored, Begin, constant};
use crate::monitor::{Busy, Monitor, Owner, State};
use crate::waiters::{Queue, WaitList};
use crate::waiting::Waiting;

/// Lets so many operations through in a time: a token bucket, filled at a steady rate up to its
/// burst.
///
/// It goes by the runtime's clock, and so by virtual time in a test. The rate is a fraction, kept
/// exactly: nothing is lost to rounding, however long it runs.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::sync::RateLimiter;
/// use corymb::testing::TestRuntime;
/// use corymb::time::now;
///
/// TestRuntime::new().run(async {
///     let start = now();
///     let limiter = RateLimiter::new(10, Duration::from_secs(1)).burst(1);
///     for _ in 0..3 {
///         limiter.acquire().await;
///     }
///     assert_eq!(now() - start, Duration::from_millis(200)); // the first was there
/// });
/// ```
///
/// # Fairness
///
/// Whoever waits gets its tokens in the order of arrival, and nobody gets ahead of them: a request
/// for many holds back later ones for few.
///
/// # Ordering
///
/// None: what the others did is not seen by it.
pub struct RateLimiter {
    monitor: Anchored<Tokens>,
}

/// What the lock guards.
pub(crate) struct Tokens {
    line: WaitList<Line>,
    bucket: Bucket,
    /// What all who wait need.
    wanted: u64,
    /// Somebody has found the first to be late.
    first_is_late: bool,
    most: usize,
}

/// The one queue.
pub(crate) struct Line;

/// One who waits.
pub(crate) struct Request {
    /// Its timer was set when it was the first.
    is_timed: bool,
}

impl Queue for Line {
    type State = Tokens;
    type Payload = Request;

    fn waiters(state: &mut Tokens) -> &mut WaitList<Self> {
        &mut state.line
    }
}

impl State for Tokens {
    type Shared = ();

    const NAME: &'static str = "rate_limiter";

    /// A call says that it is the first, and reserves nothing.
    fn offer(&mut self, (): &()) -> Option<Waker> {
        self.most = self.most.max(self.line.len());
        let late = std::mem::take(&mut self.first_is_late);
        if self.line.called() > 0 {
            return None;
        }
        let first = self.line.first()?;
        if first.is_timed && !late {
            return None;
        }
        first.is_timed = false;
        self.line.call()
    }
}

impl Begin for Tokens {
    /// How many come, in which time.
    type Seed = (u32, Duration);

    fn begin(&(tokens, per): &(u32, Duration)) -> Monitor<Self> {
        let (line, bucket) = (WaitList::new(), Bucket::new(tokens, per));
        Monitor::new(Self { line, bucket, wanted: 0, first_is_late: false, most: 0 }, ())
    }
}

// SAFETY: it is in the place of `self`.
unsafe impl Owner for RateLimiter {
    type State = Tokens;

    fn monitor(&self) -> &Monitor<Tokens> {
        &self.monitor
    }
}

impl RateLimiter {
    constant! {
        /// One that lets `tokens` through in each `per`, and as many in one go. It begins full.
        ///
        /// # Panics
        ///
        /// If `tokens` or `per` is 0.
        #[track_caller]
        pub fn new(tokens: u32, per: Duration) -> Self {
            assert!(
                tokens > 0 && !per.is_zero(),
                "a rate of no tokens, or in no time: give it one or more, in a time that is not zero"
            );
            Self { monitor: Anchored::new((tokens, per)) }
        }
    }

    /// As it is, with so many tokens that can be saved up.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::sync::RateLimiter;
    ///
    /// let limiter = RateLimiter::new(100, Duration::from_secs(60)).burst(2);
    /// corymb::run_blocking(async {
    ///     assert!(limiter.try_acquire() && limiter.try_acquire() && !limiter.try_acquire());
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// If `tokens` is 0.
    #[track_caller]
    #[must_use]
    pub fn burst(self, tokens: u32) -> Self {
        assert!(tokens > 0, "a burst of 0 tokens: nothing could ever be had; give it one or more");
        self.monitor.lock().bucket.set_burst(tokens);
        self
    }

    /// Takes a token, waiting for it.
    ///
    /// # Panics
    ///
    /// Polling panics where there is no runtime to wait in.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped costs nothing but the place in the queue: no token is taken before
    /// it is done. One that its coroutine no longer polls lets the next one pass when that one's
    /// time has come.
    #[track_caller]
    pub fn acquire(&self) -> RateAcquire<'_> {
        self.acquire_many(1)
    }

    /// Takes `tokens` at once, waiting for them.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::sync::RateLimiter;
    /// use corymb::testing::TestRuntime;
    ///
    /// TestRuntime::new().run(async {
    ///     let bytes = RateLimiter::new(1_000, Duration::from_secs(1));
    ///     bytes.acquire_many(800).await;
    ///     assert_eq!(bytes.statistics().tokens, 200);
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// If that is more than the burst, and so never there. Polling panics where there is no runtime
    /// to wait in.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_many(&self, tokens: u32) -> RateAcquire<'_> {
        self.check(tokens);
        let place = Location::caller();
        RateAcquire {
            waiting: Waiting::new(self, Request { is_timed: false }, place),
            timer: sleep_until(Instant::FAR_FUTURE),
            limiter: self,
            tokens,
            is_counted: false,
        }
    }

    /// Takes a token if there is one and nobody waits.
    pub fn try_acquire(&self) -> bool {
        self.try_acquire_many(1)
    }

    /// Takes `tokens` if there are as many and nobody waits.
    ///
    /// # Panics
    ///
    /// If that is more than the burst.
    #[track_caller]
    pub fn try_acquire_many(&self, tokens: u32) -> bool {
        self.check(tokens);
        let now = now();
        let mut state = self.monitor.lock();
        let nobody_waits = state.line.is_empty() && state.line.called() == 0;
        nobody_waits && state.bucket.take(tokens, now)
    }

    #[track_caller]
    fn check(&self, tokens: u32) {
        let burst = self.monitor.lock().bucket.burst();
        assert!(
            tokens <= burst,
            "{tokens} tokens of a `RateLimiter` that saves up {burst} at most: they would never be \
             there; ask for fewer, or give it more with `RateLimiter::burst`"
        );
    }

    /// Figures of the present.
    ///
    /// # Examples
    ///
    /// ```
    /// let limiter = corymb::sync::RateLimiter::new(3, std::time::Duration::from_secs(1));
    /// let statistics = limiter.statistics();
    /// assert_eq!((statistics.tokens, statistics.burst, statistics.waiting), (3, 3, 0));
    /// ```
    pub fn statistics(&self) -> RateLimiterStatistics {
        let now = now();
        let mut state = self.monitor.lock();
        RateLimiterStatistics {
            tokens: state.bucket.tokens(now),
            burst: state.bucket.burst(),
            waiting: state.line.len() + state.line.called(),
            max_waiting: state.most,
        }
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("RateLimiter");
        match self.monitor.peek(|state| (state.bucket.burst(), state.line.len())) {
            Some((burst, waiters)) => out.field("burst", &burst).field("waiters", &waiters),
            None => out.field("state", &Busy),
        };
        out.finish_non_exhaustive()
    }
}

/// Figures of a [`RateLimiter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimiterStatistics {
    /// How many whole tokens there are.
    pub tokens: u32,
    /// How many can be saved up.
    pub burst: u32,
    /// How many wait.
    pub waiting: usize,
    /// How many have waited at once so far.
    pub max_waiting: usize,
}

/// The future of [`RateLimiter::acquire`] and [`RateLimiter::acquire_many`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project(PinnedDrop)]
pub struct RateAcquire<'a> {
    #[pin]
    waiting: Waiting<&'a RateLimiter, Line>,
    #[pin]
    timer: Sleep,
    limiter: &'a RateLimiter,
    tokens: u32,
    /// What it needs is a part of what is wanted.
    is_counted: bool,
}

impl RateAcquire<'_> {
    /// Takes the tokens at `now`, or queues and sets the timer.
    fn poll_at(self: Pin<&mut Self>, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let (tokens, timer) = (*this.tokens, this.timer.deadline());
        let mut deadline = None;
        let polled = this.waiting.poll(cx, |state, turn, request| {
            let is_next = turn.called || turn.first && state.line.called() == 0;
            if is_next && state.bucket.take(tokens, now) {
                state.wanted -= if *this.is_counted { tokens.into() } else { 0 };
                *this.is_counted = false;
                return Poll::Ready(());
            }
            if !*this.is_counted {
                state.wanted += u64::from(tokens);
                *this.is_counted = true;
                let wanted = state.wanted;
                deadline = Some(state.bucket.time_of(wanted, now));
            } else if !is_next && timer <= Some(now) {
                state.first_is_late = true;
                deadline = Some(state.bucket.time_of_more(state.wanted, now));
            }
            if is_next {
                request.is_timed = true;
                deadline = Some(state.bucket.time_of(tokens.into(), now));
            }
            Poll::Pending
        });
        if let Some(deadline) = deadline.filter(|_| polled.is_pending() && timer != deadline) {
            this.timer.as_mut().reset(deadline);
        }
        polled
    }
}

impl Future for RateAcquire<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let used_up = times_used_up();
            if self.as_mut().poll_at(now(), cx).is_ready() {
                return Poll::Ready(());
            }
            if times_used_up() != used_up {
                return Poll::Pending; // It gave way and has not looked: the timer says nothing.
            }
            // If its time has come meanwhile, it looks again.
            ready!(self.as_mut().project().timer.poll(cx));
        }
    }
}

#[pinned_drop]
impl PinnedDrop for RateAcquire<'_> {
    fn drop(self: Pin<&mut Self>) {
        if self.is_counted {
            self.limiter.monitor.lock().wanted -= u64::from(self.tokens);
        }
    }
}
