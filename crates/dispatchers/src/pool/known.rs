//! The launch sites whose coroutines are known to block in their polls.
//!
//! A poll of such a coroutine begins with its worker's processor lent (`lending`): it costs some
//! atomics if the poll turns out short, and is made up for at once if not.

use std::panic::Location;
use std::ptr;

use corymb_core::internal::prim::atomic::{AtomicBool, AtomicPtr, Ordering};

use super::counters::SharedCounter;

type Site = Location<'static>;

/// A site has one place in the table; one that comes later takes it.
const PLACES: usize = 64;

/// The table.
pub(super) struct Known {
    /// How many polls began with the processor lent.
    pub(super) polls: SharedCounter,
    any: AtomicBool,
    sites: [AtomicPtr<Site>; PLACES],
}

impl Known {
    pub(super) fn new() -> Self {
        Self {
            polls: SharedCounter::new(),
            any: AtomicBool::new(false),
            sites: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// Notes that coroutines launched there block.
    pub(super) fn insert(&self, site: &'static Site) {
        // Ordering: Relaxed here and below; addresses of statics, which are only compared.
        self.place(site).store(ptr::from_ref(site).cast_mut(), Ordering::Relaxed);
        self.any.store(true, Ordering::Relaxed);
    }

    /// Whether there are any.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn contains(&self, site: &'static Site) -> bool {
        self.any() && self.finds(site)
    }

    #[cold]
    fn finds(&self, site: &'static Site) -> bool {
        ptr::eq(self.place(site).load(Ordering::Relaxed), site)
    }

    fn place(&self, site: &'static Site) -> &AtomicPtr<Site> {
        &self.sites[ptr::from_ref(site).addr() / align_of::<Site>() / 3 % PLACES]
    }
}
