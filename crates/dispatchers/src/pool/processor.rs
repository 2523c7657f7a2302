//! A processor: the right to run coroutines, with the queues and timers that belong to it.
//!
//! Who has it says its ownership word: [`Owner`], with the picture. The near end of the run queue
//! belongs to the holder; the far end, the slot and the figures are there for everybody.

use corymb_core::Coroutine;
use corymb_core::internal::TimerShard;
use corymb_core::internal::prim::atomic::{AtomicPtr, AtomicU32, Ordering};
use corymb_core::internal::prim::{Mutex, UnsafeCell};
use crossbeam_utils::CachePadded;

use super::blocked::Record;
use super::counters::Counters;
use super::owner::{Owner, Tenant};
use super::polled::{Polled, Seen};
use super::queue::{RunQueue, Thief};

/// One processor.
pub(crate) struct Processor {
    pub(super) owner: CachePadded<Owner>,
    /// The holder's end of the queue.
    queue: UnsafeCell<RunQueue>,
    pub(super) thief: Thief,
    /// The coroutine that was woken last, or null; it runs before the queue.
    lifo: CachePadded<AtomicPtr<()>>,
    shard: &'static TimerShard,
    /// What the watchdog has told of its holder.
    pub(super) blocked: Mutex<Blocked>,
    /// Written by the holder at each poll.
    pub(super) figures: CachePadded<Figures>,
}

/// What the holder tells of its work.
pub(super) struct Figures {
    pub(super) counters: Counters,
    pub(super) polled: Polled,
    /// The system's number for the holder.
    pub(super) thread: AtomicU32,
}

/// What the watchdog has told, and done.
#[derive(Default)]
pub(super) struct Blocked {
    /// The poll that it has told of, and whose end was not told yet.
    pub(super) record: Option<Record>,
    /// A processor was put into service beside this one, whose holder gives it up when its poll is
    /// over.
    pub(super) compensated: bool,
}

impl Figures {
    /// The poll in progress: the count of those before, and what is polled.
    pub(super) fn poll(&self) -> (u64, Option<Seen>) {
        (self.counters.polls.get(), self.polled.look())
    }
}

// SAFETY: all fields but `queue` are made to be shared; that one is reached by `with_queue` alone,
// whose caller is the one holder, and the words of `owner` order one holder's accesses before the
// next one's.
unsafe impl Sync for Processor {}

impl Processor {
    pub(super) fn new(in_service: bool) -> Self {
        let (queue, thief) = RunQueue::new();
        Self {
            owner: CachePadded::new(Owner::new(in_service)),
            queue: UnsafeCell::new(queue),
            thief,
            lifo: CachePadded::new(AtomicPtr::new(std::ptr::null_mut())),
            shard: TimerShard::acquire(),
            blocked: Mutex::new(Blocked::default()),
            figures: CachePadded::new(Figures {
                counters: Counters::new(),
                polled: Polled::new(),
                thread: AtomicU32::new(0),
            }),
        }
    }

    /// Calls `f` with the holder's end of the queue.
    ///
    /// # Safety
    ///
    /// The calling thread holds the processor.
    #[inline]
    pub(super) unsafe fn with_queue<R>(&self, f: impl FnOnce(&RunQueue) -> R) -> R {
        // SAFETY: the caller is the one holder, and no exclusive reference is ever made.
        self.queue.with(|queue| f(unsafe { &*queue }))
    }

    #[inline]
    pub(super) fn counters(&self) -> &Counters {
        &self.figures.counters
    }

    /// Takes everything out.
    ///
    /// # Safety
    ///
    /// The calling thread holds the processor.
    pub(super) unsafe fn drain(&self, mut f: impl FnMut(Coroutine)) {
        // SAFETY: the caller's promise. `f` is called outside.
        let pop = || self.take_lifo().or_else(|| unsafe { self.with_queue(RunQueue::pop) });
        while let Some(coroutine) = pop() {
            f(coroutine);
        }
    }

    /// Drops what is queued, unless somebody holds the processor: who then does so itself.
    pub(super) fn discard_unheld(&self, me: Tenant) {
        let seen = self.owner.seen();
        if self.owner.take_free(me) || self.owner.take_lent(seen, me) {
            // SAFETY: just taken.
            unsafe { self.drain(Coroutine::discard) };
            self.owner.give_up();
        }
    }

    /// Puts a coroutine into the slot; what was there comes out.
    #[inline]
    pub(super) fn swap_lifo(&self, coroutine: Coroutine) -> Option<Coroutine> {
        self.exchange(coroutine.into_raw().cast_mut())
    }

    /// Whether the slot is taken.
    #[inline]
    pub(super) fn has_lifo(&self) -> bool {
        // Ordering: Relaxed, a hint: who wants the coroutine swaps.
        !self.lifo.load(Ordering::Relaxed).is_null()
    }

    /// Empties the slot.
    #[inline]
    pub(super) fn take_lifo(&self) -> Option<Coroutine> {
        if !self.has_lifo() {
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

    pub(super) fn shard(&self) -> &'static TimerShard {
        self.shard
    }

    /// Whether its holder will not come to its slot soon, so that others may.
    #[inline]
    pub(super) fn is_slot_stuck(&self) -> bool {
        self.figures.polled.is_noticed() || self.owner.seen().is_lent()
    }

    /// Whether its holder is in a poll that was told of, and does not compute.
    pub(super) fn is_blocked(&self) -> bool {
        self.figures.polled.is_noticed()
            && self.blocked.lock().record.as_ref().is_some_and(Record::blocks)
    }

    /// Whether there is something here for others.
    pub(super) fn has_work_for_others(&self) -> bool {
        !self.thief.is_empty() || (self.has_lifo() && self.is_slot_stuck())
    }

    /// How many coroutines wait here.
    pub(super) fn queued(&self) -> usize {
        self.thief.len() + usize::from(self.has_lifo())
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        // A coroutine that is dropped unrun is cancelled; there is no worker left to race with.
        drop(self.take_lifo());
        self.shard.release();
    }
}
