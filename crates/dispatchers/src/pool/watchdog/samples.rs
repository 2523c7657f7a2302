//! Whether a long poll computes or blocks: what a few looks at its thread have shown.

use std::time::Duration;

use corymb_core::time::Instant;

/// How many looks count.
const LAST: u32 = 4;

/// The last looks at one thread.
#[derive(Clone, Copy, Default)]
pub(super) struct Samples {
    /// A bit for each look, the last one lowest: set if the thread computed.
    computing: u32,
    taken: u32,
    last: Option<Instant>,
}

impl Samples {
    /// Whether it is time for another look.
    pub(super) fn is_due(&self, now: Instant, period: Duration) -> bool {
        self.last.is_none_or(|last| now.saturating_duration_since(last) >= period)
    }

    /// Notes what a look has shown, if anything.
    pub(super) fn note(&mut self, now: Instant, computes: Option<bool>) {
        self.last = Some(now);
        if let Some(computes) = computes {
            self.computing = (self.computing << 1 | u32::from(computes)) & ((1 << LAST) - 1);
            self.taken = LAST.min(self.taken + 1);
        }
    }

    /// What most of them have shown; nothing if the system has not answered.
    pub(super) fn computes(&self) -> Option<bool> {
        (self.taken > 0).then(|| 2 * self.computing.count_ones() > self.taken)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_looks_count() {
        let mut samples = Samples::default();
        assert_eq!(samples.computes(), None);
        let mut look = |computes| {
            samples.note(Instant::from_nanos(1), computes);
            samples.computes()
        };
        assert_eq!(look(None), None);
        assert_eq!(look(Some(true)), Some(true));
        assert_eq!(look(Some(false)), Some(false), "half is not most");
        assert_eq!(look(Some(true)), Some(true));
        assert_eq!(look(Some(true)), Some(true));
        assert_eq!([look(Some(false)), look(Some(false))], [Some(false); 2]);
        assert_eq!(look(None), Some(false));
        let all = [(); 4].map(|()| look(Some(true)));
        assert_eq!(all[3], Some(true));
    }

    #[test]
    fn a_look_is_due_after_the_period() {
        let mut samples = Samples::default();
        let (first, period) = (Instant::from_nanos(100), Duration::from_nanos(50));
        assert!(samples.is_due(first, period));
        samples.note(first, None);
        assert!(!samples.is_due(Instant::from_nanos(149), period));
        assert!(samples.is_due(Instant::from_nanos(150), period));
    }
}
