//! What keeps a loop around a failing operation from spinning.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use corymb_core::time::{Instant, now};

/// The first delay, and the longest; each one is twice the last. Five milliseconds let other
/// coroutines close a few descriptors; a second is what an operator tolerates after the cause
/// has gone.
const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1);

/// When an operation that has failed may be tried again.
#[derive(Debug)]
pub(crate) struct Backoff(Mutex<Delay>);

#[derive(Debug)]
struct Delay {
    until: Option<Instant>,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Delay { until: None, next: FIRST }))
    }

    /// When the next attempt may be made, if that is not now.
    pub(crate) fn until(&self) -> Option<Instant> {
        let delay = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        delay.until.filter(|until| *until > now())
    }

    /// An attempt succeeded.
    pub(crate) fn succeeded(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Delay { until: None, next: FIRST };
    }

    /// An attempt failed. Several that fail at the same time count as one.
    pub(crate) fn failed(&self) {
        let now = now();
        let mut delay = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if delay.until.is_none_or(|until| until <= now) {
            delay.until = Some(now + delay.next);
            delay.next = (delay.next * 2).min(LONGEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use corymb_core::time::now;

    use super::{Backoff, FIRST, LONGEST};

    #[test]
    fn delays_double_up_to_the_longest_and_start_again() {
        let backoff = Backoff::new();
        assert_eq!(backoff.until(), None);
        backoff.failed();
        // At the same time: counts as the same failure.
        backoff.failed();
        assert_eq!(backoff.0.lock().unwrap().next, 2 * FIRST);
        assert!(backoff.until().is_some_and(|until| until <= now() + FIRST));
        for _ in 0..20 {
            // As if the delay were over.
            backoff.0.lock().unwrap().until = None;
            backoff.failed();
        }
        assert_eq!(backoff.0.lock().unwrap().next, LONGEST);
        backoff.succeeded();
        assert_eq!(backoff.until(), None);
        assert_eq!(backoff.0.lock().unwrap().next, FIRST);
    }
}
