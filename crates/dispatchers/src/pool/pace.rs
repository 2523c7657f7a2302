//! How often a busy worker looks at what is not its processor's: injector, reactor, all timers.
//!
//! After so many polls as fit into a [`PERIOD`], as far as the last ones tell: whoever waits there
//! waits for a time, not for a number of polls, each of which may take a millisecond. The clock is
//! read at the looks alone.
//!
//! The [`Countdown`] to the next look is all that a worker asks for before a poll. Whoever has
//! something to tell it, such as the watchdog, sets that to zero. Its worker may write at the same
//! time, and the zero be lost: then it is told at the next look, some polls later.

use std::cell::Cell;
use std::time::Duration;

use corymb_core::internal::prim::atomic::{AtomicU64, Ordering};
use corymb_core::time::Instant;

/// The time between two looks, if polls are not very short.
const PERIOD: Duration = Duration::from_micros(200);
/// The most polls between two looks. A prime, so as not to fall in step with the load.
pub(super) const MOST: u64 = 61;
/// The fewest: what comes from outside and what is queued here take turns.
const LEAST: u64 = 2;

/// How many polls are left until the holder of a processor does more than poll.
pub(super) struct Countdown(AtomicU64);

impl Countdown {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Before each poll, by the holder: whether there is more to do.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        // Ordering: Relaxed here and below, advice; see the module for what is lost.
        let left = self.0.load(Ordering::Relaxed);
        if left != 0 {
            self.0.store(left - 1, Ordering::Relaxed);
        }
        left == 0
    }

    /// There is something to do at once.
    pub(super) fn cut_short(&self) {
        self.set(0);
    }

    fn set(&self, polls: u64) {
        self.0.store(polls, Ordering::Relaxed);
    }
}

/// The measure of one thread.
pub(super) struct Pace {
    /// A look comes after so many polls.
    every: Cell<u64>,
    /// How many polls the processor had done at the last look.
    polls: Cell<u64>,
    /// Polls since work was measured last.
    unmeasured: Cell<u64>,
    looked: Cell<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            every: Cell::new(MOST),
            polls: Cell::new(0),
            unmeasured: Cell::new(0),
            looked: Cell::new(Instant::from_nanos(0)),
        }
    }

    /// The thread goes on with a processor that has done so many polls: it looks at once.
    pub(super) fn changed_processor(&self, polls: u64) {
        self.polls.set(polls.wrapping_sub(self.every.get()));
    }

    /// Whether it is time for a look, after so many polls of the processor.
    pub(super) fn is_due(&self, polls: u64) -> bool {
        polls.wrapping_sub(self.polls.get()) >= self.every.get()
    }

    /// Counts down to the next look from now on; or not at all, if there is something to do before
    /// each poll.
    pub(super) fn wind(&self, countdown: &Countdown, polls: u64, before_each: bool) {
        let done = polls.wrapping_sub(self.polls.get());
        let left = self.every.get().saturating_sub(done + 1);
        countdown.set(if before_each { 0 } else { left });
    }

    /// The worker has slept.
    pub(super) fn begin(&self, now: Instant) {
        self.looked.set(now);
    }

    /// It looks now. True once in a while, when it is worth measuring what has been done.
    pub(super) fn looked(&self, now: Instant, polls: u64) -> bool {
        let every = self.every.get();
        let time = now.saturating_duration_since(self.looked.replace(now)).as_nanos().max(1);
        let fitting = u128::from(every) * PERIOD.as_nanos() / time;
        // It slows down step by step, as one look may have come early.
        let most = MOST.min(every * 2);
        let next = u64::try_from(fitting).map_or(most, |it| it.clamp(LEAST, most));
        self.every.set(next);
        self.polls.set(polls);
        let unmeasured = self.unmeasured.get() + every;
        let is_enough = unmeasured >= MOST;
        self.unmeasured.set(if is_enough { 0 } else { unmeasured });
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::{Countdown, LEAST, MOST, Pace};
    use corymb_core::time::Instant;

    /// A worker that does nothing but to poll.
    struct Polls {
        pace: Pace,
        countdown: Countdown,
        done: u64,
    }

    impl Polls {
        fn new(done: u64) -> Self {
            let pace = Pace::new();
            pace.begin(Instant::from_nanos(1_000_000_000));
            pace.changed_processor(done);
            Self { pace, countdown: Countdown::new(), done }
        }

        /// Polls until there is more to do, which may be a look.
        fn until_over(&mut self, before_each: bool) -> bool {
            while !self.countdown.is_over() {
                self.done += 1;
            }
            let due = self.pace.is_due(self.done);
            if !due {
                self.pace.wind(&self.countdown, self.done, before_each);
                self.done += 1;
            }
            due
        }

        /// Polls until a look is due, each for so long; how often, and what the look says.
        fn until_look(&mut self, poll: u64, now: &mut u64) -> (u64, bool) {
            let begin = self.done;
            while !self.until_over(false) {}
            let done = self.done - begin + 1;
            *now += done * poll;
            let measures = self.pace.looked(Instant::from_nanos(*now), self.done);
            self.pace.wind(&self.countdown, self.done, false);
            self.done += 1;
            (done, measures)
        }
    }

    #[test]
    fn what_is_told_is_heard_before_the_next_poll_and_delays_no_look() {
        let mut polls = Polls::new(3);
        polls.until_look(10, &mut 1_000_000_000);
        let begin = polls.done;
        for _ in 0..10 {
            assert!(!polls.countdown.is_over());
            polls.done += 1;
        }
        polls.countdown.cut_short();
        assert!(!polls.until_over(true), "it is no look");
        assert!(!polls.until_over(true), "before each poll");
        assert!(!polls.until_over(false));
        assert!(polls.until_over(false));
        assert_eq!(polls.done - begin, MOST - 1);
    }

    #[test]
    fn short_polls_are_counted_and_long_ones_timed() {
        let mut polls = Polls::new(1_000);
        let mut now = 1_000_000_000;
        let mut look = |poll: u64| polls.until_look(poll, &mut now);
        assert_eq!(look(10).0, 1);
        assert_eq!(look(10), (MOST, true));
        assert_eq!(look(1_000_000), (MOST, true));
        assert_eq!(look(1_000_000), (LEAST, false));
        assert_eq!(look(20_000), (LEAST, false));
        assert_eq!(look(20_000).0, 2 * LEAST);
        assert_eq!(look(20_000).0, 4 * LEAST);
        assert_eq!(look(20_000).0, 10);
        assert_eq!(look(20_000).0, 10);
    }
}
