//! Until when the driver waits, for those who arm timers meanwhile.
//!
//! ```text
//!  who arms a timer                     the driver
//!  1. the shard's next = t              1. until = for ever
//!  2. fence(SeqCst)                     2. fence(SeqCst)
//!  3. t < until? then notify            3. look at every shard's next, and wait until the earliest
//! ```
//!
//! One of the two fences is first: either the driver sees the timer, or who armed it sees the
//! driver. A worker that arms a timer leaves step 3 until the poll is over: if it goes idle itself
//! it may take the driver's role, and then nobody has to be notified.
//!
//! Model: `pool/loom.rs`.

use corymb_core::internal::prim::atomic::{AtomicU64, Ordering, fence};
use corymb_core::time::Instant;

/// No thread waits, or none could wake earlier.
const AWAKE: u64 = 0;

/// The word.
pub(crate) struct Alarm(AtomicU64);

impl Alarm {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(AWAKE))
    }

    /// The driver begins to wait: gives the time until which, if there is a timer. `earliest` is
    /// asked when everybody who arms one can see that this thread waits. No timer ends the wait
    /// before `spaced`.
    pub(crate) fn set(
        &self,
        spaced: Instant,
        earliest: impl FnOnce() -> Option<Instant>,
    ) -> Option<Instant> {
        // Ordering: Relaxed, the fence orders it.
        self.0.store(u64::MAX, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let deadline = earliest()?;
        let until = if deadline <= spaced { AWAKE } else { deadline.as_nanos() };
        // Later timers need not interrupt the wait, and none can make it shorter than `spaced`.
        // Ordering: Relaxed; who reads the older value notifies once too often.
        self.0.store(until, Ordering::Relaxed);
        Some(deadline.max(spaced))
    }

    /// The driver waits no more.
    pub(crate) fn clear(&self) {
        // Ordering: Relaxed, as above.
        self.0.store(AWAKE, Ordering::Relaxed);
    }

    /// A timer was armed that is due at `deadline`: whether the driver has to be notified.
    pub(crate) fn is_late_for(&self, deadline: Instant) -> bool {
        fence(Ordering::SeqCst);
        // Ordering: Relaxed, after the fence.
        deadline.as_nanos() < self.0.load(Ordering::Relaxed)
    }
}
