//! How often a busy worker looks at what is not its processor's: injector, reactor, all timers.
//!
//! After so many polls as fit into a [`PERIOD`], as far as the last ones tell: whoever waits there
//! waits for a time, not for a number of polls, each of which may take a millisecond. The clock is
//! read at the looks alone.

use std::cell::Cell;
use std::time::Duration;

use corymb_core::time::Instant;

/// The time between two looks, if polls are not very short.
const PERIOD: Duration = Duration::from_micros(200);
/// The most polls between two looks. A prime, so as not to fall in step with the load.
pub(super) const MOST: u64 = 61;
/// The fewest: what comes from outside and what is queued here take turns.
const LEAST: u64 = 2;

/// The measure of one thread.
pub(super) struct Pace {
    /// A look comes after so many polls.
    every: Cell<u64>,
    left: Cell<u64>,
    /// Polls since work was measured last.
    unmeasured: Cell<u64>,
    looked: Cell<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            every: Cell::new(MOST),
            left: Cell::new(0),
            unmeasured: Cell::new(0),
            looked: Cell::new(Instant::from_nanos(0)),
        }
    }

    /// Before each poll: whether it is time for a look.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left == 0
    }

    /// The worker has slept.
    pub(super) fn begin(&self, now: Instant) {
        self.looked.set(now);
    }

    /// It looks now. True once in a while, when it is worth measuring what has been done.
    pub(super) fn looked(&self, now: Instant) -> bool {
        let every = self.every.get();
        let time = now.saturating_duration_since(self.looked.replace(now)).as_nanos().max(1);
        let fitting = u128::from(every) * PERIOD.as_nanos() / time;
        // It slows down step by step, as one look may have come early.
        let most = MOST.min(every * 2);
        let next = u64::try_from(fitting).map_or(most, |it| it.clamp(LEAST, most));
        self.every.set(next);
        self.left.set(next - 1);
        let polls = self.unmeasured.get() + every;
        let is_enough = polls >= MOST;
        self.unmeasured.set(if is_enough { 0 } else { polls });
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::{LEAST, MOST, Pace};
    use corymb_core::time::Instant;

    /// Polls until the next look is due.
    fn polls(pace: &Pace) -> u64 {
        (1..).find(|_| pace.is_due()).unwrap()
    }

    #[test]
    fn short_polls_are_counted_and_long_ones_timed() {
        let pace = Pace::new();
        let mut now = 1_000_000_000;
        let mut look = |poll: u64| {
            let done = polls(&pace);
            now += done * poll;
            (done, pace.looked(Instant::from_nanos(now)))
        };
        pace.begin(Instant::from_nanos(1_000_000_000));
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
