//! How closely the watchdog looks, and how nobody begins what it should see unseen.
//!
//! ```text
//!  who lends, or begins to work            watchdog, about to look less closely
//!  1. owner = LENT; or out of the          1. mode: FAST to SLOW, or SLOW to ASLEEP
//!     list of sleepers
//!  2. fence(SeqCst)                        2. fence(SeqCst)
//!  3. mode too low? raise and wake it      3. something lent, or somebody awake?
//!                                             then back to where it was
//! ```
//!
//! Of the two fences one is first: either the watchdog sees what was begun, or who began it sees
//! the mode. Raising and lowering are read-modify-writes, so that a mode that was raised is not
//! lowered by who has not seen it.
//!
//! Model: `pool/loom.rs`.

use corymb_core::internal::prim::atomic::{AtomicU32, Ordering, fence};

/// There is nothing to see; it sleeps until it is woken.
pub(crate) const ASLEEP: u32 = 0;
/// It looks for long polls.
pub(crate) const SLOW: u32 = 1;
/// It also looks for processors that are lent.
pub(crate) const FAST: u32 = 2;

/// The word.
pub(crate) struct Mode(AtomicU32);

impl Mode {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(ASLEEP))
    }

    /// Steps 2 and 3 of who begins something that needs `mode`: whether to wake the watchdog.
    #[inline]
    pub(crate) fn begun(&self, mode: u32) -> bool {
        fence(Ordering::SeqCst);
        // Ordering: Relaxed, after the fence.
        self.0.load(Ordering::Relaxed) < mode && self.raise(mode)
    }

    #[cold]
    fn raise(&self, mode: u32) -> bool {
        // Ordering: AcqRel, as a part of the protocol's fences.
        self.0.fetch_max(mode, Ordering::AcqRel) < mode
    }

    /// Steps 1 to 3 of the watchdog: `is_needed` is asked whether to stay.
    pub(crate) fn lower(&self, to: u32, is_needed: impl FnOnce() -> bool) {
        // Ordering: AcqRel, and a fence.
        let lowered =
            self.0.compare_exchange(to + 1, to, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        fence(Ordering::SeqCst);
        if lowered && is_needed() {
            self.raise(to + 1);
        }
    }

    /// There is no watchdog, so that whoever raises the mode next has to start it.
    pub(crate) fn reset(&self) {
        // Ordering: Relaxed; nobody lowers it meanwhile.
        self.0.store(ASLEEP, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u32 {
        // Ordering: Relaxed; who raises it wakes the watchdog afterwards.
        self.0.load(Ordering::Relaxed)
    }
}
