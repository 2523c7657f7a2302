//! What the holder of a processor polls, for the watchdog.
//!
//! ```text
//!  worker                                  watchdog
//!  before a poll:  site = ..               sees the same poll for too long
//!  after a poll:   polls += 1;             1. noticed = true
//!                  noticed? then tell      2. fence(SeqCst)
//!  before sleep:   1. site = null          3. site null, or polls moved on?
//!                  2. fence(SeqCst)           then take the notice back
//!                  3. noticed? then tell
//! ```
//!
//! A worker looks at the notice after each poll, with no fence: the poll of which it is meant may
//! be over when the notice comes, and is then told of after the next one. If there is no next one
//! the worker goes to sleep, and there the fences see to it that one of the two deals with it. Who
//! takes the notice back deals with it: the swap lets one alone.

use std::panic::Location;
use std::ptr;

use corymb_core::Coroutine;
use corymb_core::internal::prim::atomic::{AtomicBool, AtomicPtr, Ordering};

type Site = Location<'static>;

/// The poll in progress.
pub(super) struct Polled {
    /// Where the coroutine was launched, or null if none is being polled.
    site: AtomicPtr<Site>,
    /// The address of its cell, which tells coroutines of one site apart; never followed.
    cell: AtomicPtr<()>,
    noticed: AtomicBool,
}

impl Polled {
    pub(super) fn new() -> Self {
        Self {
            site: AtomicPtr::new(ptr::null_mut()),
            cell: AtomicPtr::new(ptr::null_mut()),
            noticed: AtomicBool::new(false),
        }
    }

    /// The holder begins a poll.
    #[inline]
    pub(super) fn begin(&self, coroutine: &Coroutine) {
        // Ordering: Relaxed; sites are static, and the address is only compared.
        self.site.store(ptr::from_ref(coroutine.launched_at()).cast_mut(), Ordering::Relaxed);
        self.cell.store(coroutine.address().cast_mut(), Ordering::Relaxed);
    }

    /// The holder polls nothing for now.
    pub(super) fn clear(&self) {
        // Ordering: Relaxed; before a sleep, a fence orders it.
        self.site.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// What is being polled, as far as one can see from outside.
    pub(super) fn look(&self) -> Option<(&'static Site, usize)> {
        // Ordering: Relaxed, as in `begin`.
        let site = self.site.load(Ordering::Relaxed);
        let cell = self.cell.load(Ordering::Relaxed);
        // SAFETY: null, or what `begin` stored: a static.
        unsafe { site.as_ref() }.map(|site| (site, cell.addr()))
    }

    /// The watchdog has told of this poll, and wants to know of its end.
    pub(super) fn notice(&self) {
        // Ordering: Relaxed; what belongs to it is under a lock, and a fence follows.
        self.noticed.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn is_noticed(&self) -> bool {
        // Ordering: Relaxed, see the module.
        self.noticed.load(Ordering::Relaxed)
    }

    /// Takes the notice back; true for the one who deals with it.
    pub(super) fn settle(&self) -> bool {
        // Ordering: AcqRel, so that of two the second sees what the first did.
        self.noticed.swap(false, Ordering::AcqRel)
    }
}
