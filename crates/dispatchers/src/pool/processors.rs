//! All processors of a pool: those in service from the start, and those that were added to make
//! up for polls that block.

use std::sync::OnceLock;

use corymb_core::internal::prim::Mutex;
use corymb_core::internal::prim::atomic::{AtomicUsize, Ordering};

use super::owner::Tenant;
use super::processor::Processor;

/// A list that grows, up to a limit, and never shrinks: processors that are not needed any more
/// are out of service.
pub(super) struct Processors {
    places: Box<[OnceLock<Box<Processor>>]>,
    /// How many places are taken.
    made: AtomicUsize,
    growing: Mutex<()>,
}

impl Processors {
    /// `count` in service, and room for more.
    pub(super) fn new(count: usize, limit: usize) -> Self {
        let places: Box<[_]> = (0..limit.max(count)).map(|_| OnceLock::new()).collect();
        for place in &places[..count] {
            place.get_or_init(|| Box::new(Processor::new(true)));
        }
        Self { places, made: AtomicUsize::new(count), growing: Mutex::new(()) }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        // Ordering: Relaxed; each place publishes its own processor.
        self.made.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&Processor> {
        self.places.get(index)?.get().map(|it| &**it)
    }

    /// Where `processor` is in the list.
    pub(super) fn index_of(&self, processor: &Processor) -> usize {
        self.iter().position(|it| std::ptr::eq(it, processor)).unwrap_or(usize::MAX)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Processor> {
        self.places[..self.len()].iter().filter_map(OnceLock::get).map(|it| &**it)
    }

    /// Takes one that nobody has.
    pub(super) fn take_free(&self, me: Tenant) -> Option<&Processor> {
        self.iter().find(|it| it.owner.take_free(me))
    }

    /// Puts one more into service, free for whoever comes first.
    pub(super) fn enlist(&self) -> Option<&Processor> {
        if let Some(spare) = self.iter().find(|it| it.owner.enlist()) {
            return Some(spare);
        }
        let _growing = self.growing.lock();
        let place = self.places.get(self.len())?;
        let processor = place.get_or_init(|| Box::new(Processor::new(true)));
        // Ordering: Relaxed, as in `len`; under the lock.
        self.made.fetch_add(1, Ordering::Relaxed);
        Some(processor)
    }
}
