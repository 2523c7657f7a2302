//! The arithmetic of a token bucket, in fractions of a token that are exact.
//!
//! A token has as many parts as its period has nanoseconds; so each nanosecond brings as many parts
//! as the rate has tokens.

use std::time::Duration;

use corymb_core::time::Instant;

pub(super) struct Bucket {
    /// Tokens in a period.
    rate: u32,
    /// The period in nanoseconds: parts of a token.
    per: u128,
    burst: u32,
    /// Parts that are there.
    level: u128,
    /// When that was so; `None` before the first use.
    at: Option<Instant>,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: u32, per: Duration) -> Self {
        let mut bucket = Self { rate, per: per.as_nanos(), burst: 0, level: 0, at: None };
        bucket.set_burst(rate);
        bucket
    }

    /// Makes it full, with another burst.
    pub(super) fn set_burst(&mut self, burst: u32) {
        self.burst = burst;
        self.level = self.parts(burst.into());
    }

    pub(super) fn burst(&self) -> u32 {
        self.burst
    }

    fn parts(&self, tokens: u64) -> u128 {
        self.per.saturating_mul(tokens.into())
    }

    fn refill(&mut self, now: Instant) {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let more = since.as_nanos().saturating_mul(self.rate.into());
        // Over the burst by what came in the last nanosecond: whoever waited could not come sooner.
        let over = self.per.min(self.rate.into()) - 1;
        let full = self.parts(self.burst.into()).saturating_add(over);
        self.level = self.level.saturating_add(more).min(full);
        self.at = self.at.max(Some(now));
    }

    /// Whole tokens.
    pub(super) fn tokens(&mut self, now: Instant) -> u32 {
        self.refill(now);
        u32::try_from(self.level / self.per).unwrap_or(u32::MAX)
    }

    /// Takes `tokens` if there are as many.
    pub(super) fn take(&mut self, tokens: u32, now: Instant) -> bool {
        self.refill(now);
        let left = self.level.checked_sub(self.parts(tokens.into()));
        self.level = left.unwrap_or(self.level);
        left.is_some()
    }

    /// When so many tokens will have been there, but for the burst.
    pub(super) fn time_of(&mut self, tokens: u64, now: Instant) -> Instant {
        self.refill(now);
        let missing = self.parts(tokens).saturating_sub(self.level);
        self.after(missing, now)
    }

    /// When so many more will have come.
    pub(super) fn time_of_more(&self, tokens: u64, now: Instant) -> Instant {
        self.after(self.parts(tokens), now)
    }

    fn after(&self, parts: u128, now: Instant) -> Instant {
        let nanos = u64::try_from(parts.div_ceil(self.rate.into())).unwrap_or(u64::MAX);
        now.checked_add(Duration::from_nanos(nanos)).unwrap_or(Instant::FAR_FUTURE)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    /// Three in ten nanoseconds: a token each 3⅓, which no clock shows.
    #[test]
    fn nothing_is_lost_to_rounding() {
        let mut bucket = Bucket::new(3, Duration::from_nanos(10));
        bucket.set_burst(1);
        assert!(bucket.take(1, at(0)));
        let mut now = at(0);
        for _ in 0..3_000 {
            now = bucket.time_of(1, now);
            assert!(bucket.take(1, now));
        }
        assert_eq!(now, at(10_000));
    }

    #[test]
    fn it_saves_up_its_burst_and_no_more() {
        let mut bucket = Bucket::new(1, Duration::from_secs(1));
        bucket.set_burst(2);
        assert_eq!(bucket.tokens(at(0)), 2);
        assert_eq!(bucket.tokens(at(u64::MAX)), 2);
        assert!(!bucket.take(3, at(u64::MAX)));
    }

    #[test]
    fn a_clock_that_goes_back_brings_nothing() {
        let mut bucket = Bucket::new(1, Duration::from_nanos(1));
        assert!(bucket.take(1, at(10)));
        assert_eq!((bucket.tokens(at(5)), bucket.tokens(at(10)), bucket.tokens(at(11))), (0, 0, 1));
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut bucket = Bucket::new(u32::MAX, Duration::MAX);
        assert!(bucket.take(u32::MAX, at(0)));
        assert_eq!(bucket.time_of(u64::MAX, at(1)), Instant::FAR_FUTURE);
        assert_eq!(bucket.time_of_more(u64::MAX, at(1)), Instant::FAR_FUTURE);
    }
}
