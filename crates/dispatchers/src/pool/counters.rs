//! What the holder of a processor counts.

use corymb_core::internal::prim::atomic::{AtomicU64, Ordering};

/// Counted by the holder alone.
pub(crate) struct Counters {
    /// Also the ticks by which a worker looks elsewhere, and by which others see it make progress.
    pub(crate) polls: Counter,
    pub(crate) steals: Counter,
    pub(crate) parks: Counter,
    /// How much work a coroutine was here lately on average, in nanoseconds.
    pub(crate) work: Counter,
}

impl Counters {
    /// Nothing counted; work passes for much until it has been measured.
    pub(super) fn new() -> Self {
        let [polls, steals, parks] = [0; 3].map(Counter::new);
        Self { polls, steals, parks, work: Counter::new(u64::from(u32::MAX)) }
    }
}

/// A number with one writer.
pub(crate) struct Counter(AtomicU64);

impl Counter {
    fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    pub(crate) fn set(&self, value: u64) {
        // Ordering: Relaxed, a figure that nothing depends on.
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn increment(&self) {
        // Ordering: Relaxed, a figure for people; there is one writer.
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        // Ordering: Relaxed, as above.
        self.0.load(Ordering::Relaxed)
    }
}

/// A number with any number of writers.
pub(crate) struct SharedCounter(AtomicU64);

impl SharedCounter {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(super) fn increment(&self) {
        // Ordering: Relaxed, a figure for people.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        // Ordering: Relaxed, as above.
        self.0.load(Ordering::Relaxed)
    }
}
