//! A processor: the right to run coroutines, with the queues and timers that belong to it.

use corymb_core::Coroutine;
use corymb_core::internal::TimerShard;
use corymb_core::internal::prim::Mutex;
use corymb_core::internal::prim::atomic::{AtomicPtr, AtomicU64, Ordering};
use crossbeam_utils::CachePadded;

use super::queue::{RunQueue, Thief};

/// One processor, as everybody sees it.
pub(crate) struct Processor {
    /// The end of the queue that its holder works on; none while somebody holds it.
    seat: Mutex<Option<RunQueue>>,
    pub(crate) thief: Thief,
    /// The coroutine that was woken last, or null; it runs before the queue.
    lifo: CachePadded<AtomicPtr<()>>,
    shard: &'static TimerShard,
    pub(crate) counters: CachePadded<Counters>,
}

/// Counted by the holder alone.
pub(crate) struct Counters {
    pub(crate) polls: Counter,
    pub(crate) steals: Counter,
    pub(crate) parks: Counter,
    /// How much work a coroutine was here lately on average, in nanoseconds.
    pub(crate) work: Counter,
}

impl Counters {
    /// Nothing counted; work passes for much until it has been measured.
    fn new() -> Self {
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

    pub(crate) fn get(&self) -> u64 {
        // Ordering: Relaxed, as above.
        self.0.load(Ordering::Relaxed)
    }
}

impl Processor {
    pub(crate) fn new() -> Self {
        let (queue, thief) = RunQueue::new();
        Self {
            seat: Mutex::new(Some(queue)),
            thief,
            lifo: CachePadded::new(AtomicPtr::new(std::ptr::null_mut())),
            shard: TimerShard::acquire(),
            counters: CachePadded::new(Counters::new()),
        }
    }

    /// Takes the processor if nobody holds it.
    pub(crate) fn hold(&self) -> Option<RunQueue> {
        self.seat.lock().take()
    }

    /// Gives it back.
    pub(crate) fn vacate(&self, queue: RunQueue) {
        *self.seat.lock() = Some(queue);
    }

    /// Drops what is queued, unless somebody holds the processor: who then does so itself.
    pub(crate) fn discard_vacant(&self) {
        let Some(queue) = self.hold() else { return };
        while let Some(coroutine) = queue.pop() {
            coroutine.discard();
        }
        self.vacate(queue);
    }

    /// Puts a coroutine into the slot; what was there comes out.
    #[inline]
    pub(crate) fn swap_lifo(&self, coroutine: Coroutine) -> Option<Coroutine> {
        self.exchange(coroutine.into_raw().cast_mut())
    }

    /// Whether the slot is taken.
    #[inline]
    pub(crate) fn has_lifo(&self) -> bool {
        // Ordering: Relaxed, asked by the holder, who alone fills it.
        !self.lifo.load(Ordering::Relaxed).is_null()
    }

    /// Empties the slot.
    #[inline]
    pub(crate) fn take_lifo(&self) -> Option<Coroutine> {
        // Ordering: Relaxed, only whether it is worth the swap.
        if self.lifo.load(Ordering::Relaxed).is_null() {
            return None;
        }
        self.exchange(std::ptr::null_mut())
    }

    #[inline]
    fn exchange(&self, raw: *mut ()) -> Option<Coroutine> {
        // Ordering: AcqRel; Release publishes the coroutine to who takes it, Acquire sees one
        // that another thread put there.
        let old = self.lifo.swap(raw, Ordering::AcqRel);
        // SAFETY: the slot holds what `into_raw` gave, and the swap took it out.
        (!old.is_null()).then(|| unsafe { Coroutine::from_raw(old) })
    }

    pub(crate) fn shard(&self) -> &'static TimerShard {
        self.shard
    }

    /// Whether its holder has something to run.
    pub(crate) fn has_own_work(&self) -> bool {
        self.has_lifo() || !self.thief.is_empty()
    }

    /// How many coroutines wait here.
    pub(crate) fn queued(&self) -> usize {
        // Ordering: Relaxed, a figure for people.
        self.thief.len() + usize::from(!self.lifo.load(Ordering::Relaxed).is_null())
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        // A coroutine that is dropped unrun is cancelled; there is no worker left to race with.
        drop(self.take_lifo());
        self.shard.release();
    }
}
