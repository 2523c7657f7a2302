//! A lock around a wheel, and the pool that shards come from.
//!
//! # Which lock, and what runs under it
//!
//! Everything about a Linked node happens under its shard's lock, and nothing foreign does: wakers
//! are cloned before, woken, replaced and dropped after. Those that are due are collected in
//! batches of [`BATCH`]; between two batches the lock is released, and the wheel is in order.
//!
//! # The next wake-up
//!
//! `next` is read without the lock. It is never later than the end of the earliest deadline's
//! tick, and can be earlier: the timer that it stood for may have been dropped. Whoever trusts it
//! then advances once for nothing, which corrects it. It is not raised when a timer is dropped, so
//! that timeouts which never fire lower it once, not once each.
//!
//! # For ever
//!
//! Shards are never freed. Each one belongs to one runtime at a time, and goes back to the pool
//! when that ends; see the [parent module](super) for what this is good for.

use std::fmt;
use std::ptr::NonNull;
use std::task::Waker;

use super::instant::Instant;
use super::node::{End, NEVER, Node};
use super::wheel::{Wheel, end_of_tick};
use crate::failure;
use crate::prim::Mutex;
use crate::prim::atomic::{AtomicU64, Ordering};
use crate::waker_word::WakerWord;

/// How many wakers are taken at one hold of the lock: enough that the lock's price is nothing
/// beside that of the wakes, and little enough for the stack and for who waits for the lock.
const BATCH: usize = if cfg!(loom) { 2 } else { 32 };

/// The timers of one processor.
///
/// For runtimes: [`acquire`](Self::acquire) one for each processor, answer it from
/// `RuntimeHooks::timer_shard`, [`advance`](Self::advance) it when
/// [`is_due`](Self::is_due) says so and when the processor wakes from a sleep until
/// [`next_deadline`](Self::next_deadline), [`release`](Self::release) it in the end.
// Two cache lines: the lock of one shard is not to disturb another's.
#[repr(align(128))]
pub struct TimerShard {
    /// When to advance next, in nanoseconds; written under the lock.
    next: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    /// Whether timers can be registered.
    open: bool,
    wheel: Wheel,
}

/// What became of a timer that was given another deadline.
pub(super) enum Reset {
    /// It has it, and its waker as before.
    Moved,
    /// It was taken out: the waker has to poll it again.
    Withdrawn(WakerWord),
    /// It was not registered any more.
    Gone,
}

impl TimerShard {
    fn new() -> Self {
        Self {
            next: AtomicU64::new(NEVER),
            inner: Mutex::new(Inner { open: true, wheel: Wheel::new() }),
        }
    }

    /// An empty shard, out of the process-wide pool or new.
    pub fn acquire() -> &'static Self {
        let Some(shard) = pool::take() else {
            return Box::leak(Box::new(Self::new()));
        };
        shard.open();
        shard
    }

    /// Closes the shard and gives it back to the pool. The timers in it are let go of and their
    /// tasks woken; polled again, they register with the runtime that is current then.
    ///
    /// The caller has it from [`acquire`](Self::acquire), releases it once, and does not answer it
    /// from `RuntimeHooks::timer_shard` afterwards: another runtime, with another clock, may have
    /// it at once.
    pub fn release(&'static self) {
        self.close();
        pool::put(self);
    }

    /// Takes timers again, and begins with a new clock. It was closed.
    pub(super) fn open(&self) {
        let mut inner = self.inner.lock();
        inner.wheel.rewind();
        inner.open = true;
    }

    /// Lets go of all timers, and takes no more.
    pub(super) fn close(&self) {
        loop {
            let mut batch = Batch::new();
            let mut inner = self.inner.lock();
            inner.open = false;
            // SAFETY: the lock is held.
            batch.fill(End::Closed, || unsafe { inner.wheel.pop() });
            // Ordering: Relaxed, as in `next_deadline`.
            self.next.store(NEVER, Ordering::Relaxed);
            drop(inner);
            if batch.wake() < BATCH {
                return;
            }
        }
    }

    /// Fires the timers whose deadline is not after `now`, and wakes their tasks in order of
    /// deadline, in order of registration where deadlines are equal. Gives their number.
    ///
    /// A time before that of an earlier call is taken for that one. However far `now` jumps, the
    /// cost depends on the number of timers alone.
    ///
    pub fn advance(&self, now: Instant) -> usize {
        let mut woken = 0;
        loop {
            let mut batch = Batch::new();
            let mut inner = self.inner.lock();
            // SAFETY: the lock is held.
            batch.fill(End::Fired, || unsafe { inner.wheel.pop_due(now.as_nanos()) });
            if !batch.is_full() {
                // SAFETY: the lock is held.
                let next = unsafe { inner.wheel.next_wake() };
                // Ordering: Relaxed, as in `next_deadline`.
                self.next.store(next, Ordering::Relaxed);
            }
            drop(inner);
            let taken = batch.wake();
            woken += taken;
            if taken < BATCH {
                return woken;
            }
        }
    }

    /// Whether to call [`advance`](Self::advance) now on a real clock: whether the time that
    /// [`next_deadline`](Self::next_deadline) tells has come. One load.
    #[inline]
    pub fn is_due(&self, now: Instant) -> bool {
        // Ordering: Relaxed, as in `next_deadline`.
        self.next.load(Ordering::Relaxed) <= now.as_nanos()
    }

    /// When to call [`advance`](Self::advance) next on a real clock: the end of the tick in which
    /// the earliest deadline lies, or an earlier time. One load.
    #[inline]
    pub fn next_deadline(&self) -> Option<Instant> {
        // Ordering: Relaxed. The value is a hint about what the lock guards; whoever goes to sleep
        // by it is told of earlier timers by `RuntimeHooks::timer_armed`, whose protocol orders
        // the two. In `register` the store comes before that call.
        let next = self.next.load(Ordering::Relaxed);
        (next != NEVER).then(|| Instant::from_nanos(next))
    }

    /// The deadline of the earliest timer, to the nanosecond. Takes the lock, and may look at many
    /// timers: meant for virtual clocks.
    pub fn earliest(&self) -> Option<Instant> {
        let inner = self.inner.lock();
        // SAFETY: the lock is held.
        unsafe { inner.wheel.earliest() }.map(Instant::from_nanos)
    }

    /// The number of timers that are armed.
    pub fn armed(&self) -> usize {
        self.inner.lock().wheel.len()
    }
}

/// What a sleep asks of its shard.
impl TimerShard {
    /// Edge 3 of the node: links it. Gives the time at which the shard now has to be advanced, if
    /// it is an earlier one; and the waker back, if the shard is closed.
    ///
    /// # Safety
    ///
    /// The caller is the node's owner; the node is not Linked, its deadline is not `NEVER`, and it
    /// stays where it is until it is not Linked any more.
    #[inline]
    pub(super) unsafe fn register(
        &'static self,
        node: &Node,
        waker: WakerWord,
    ) -> Result<Option<Instant>, WakerWord> {
        debug_assert_ne!(node.deadline(), NEVER, "a node that never fires is not linked");
        let wake = end_of_tick(node.deadline());
        let mut inner = self.inner.lock();
        if !inner.open {
            return Err(waker);
        }
        // SAFETY: the caller is the owner and the lock is held.
        unsafe { node.link(self, waker) };
        // SAFETY: it is Linked here, in no list yet, and stays.
        unsafe { inner.wheel.insert(NonNull::from(node)) };
        // Ordering: Relaxed, as in `next_deadline`; writers hold the lock.
        let first = wake < self.next.load(Ordering::Relaxed);
        if first {
            // Ordering: as above.
            self.next.store(wake, Ordering::Relaxed);
        }
        Ok(first.then(|| Instant::from_nanos(wake)))
    }

    /// Makes `waker` the one that the node wakes. False if the node is not Linked here any more.
    ///
    /// # Safety
    ///
    /// The caller is the node's owner.
    pub(super) unsafe fn refresh(&'static self, node: &Node, waker: &Waker) -> bool {
        // SAFETY: comparing wakers runs no foreign code.
        match unsafe { self.with_waker(node, |kept| kept.will_wake(waker)) } {
            None => return false,
            Some(true) => return true,
            Some(false) => {}
        }
        // Foreign code: it clones here, and drops at the end.
        let mut other = WakerWord::new(waker);
        // SAFETY: swapping runs no foreign code.
        unsafe { self.with_waker(node, |kept| std::mem::swap(kept, &mut other)) }.is_some()
    }

    /// Calls `f` with the node's waker, under the lock, if the node is Linked here.
    ///
    /// # Safety
    ///
    /// The caller is the node's owner; `f` runs no foreign code.
    unsafe fn with_waker<R>(
        &'static self,
        node: &Node,
        f: impl FnOnce(&mut WakerWord) -> R,
    ) -> Option<R> {
        let _inner = self.inner.lock();
        // SAFETY: the lock is held, and the node is Linked here.
        node.is_linked_in(self).then(|| unsafe { node.with_waker(f) })
    }

    /// Edge 6 of the node: takes it out. Gives the waker if the node was still Linked here.
    ///
    /// # Safety
    ///
    /// The caller is the node's owner.
    #[inline]
    pub(super) unsafe fn withdraw(&'static self, node: &Node) -> Option<WakerWord> {
        let mut inner = self.inner.lock();
        node.is_linked_in(self).then(|| {
            // SAFETY: the lock is held, and the node is in this wheel.
            unsafe { inner.wheel.remove(NonNull::from(node)) };
            // SAFETY: as above; now it is in no list.
            unsafe { node.withdraw() }
        })
    }

    /// Gives the node another deadline. A later one it gets in place, under the waker that it has;
    /// otherwise it is taken out, because only a poll can tell the node's runtime of an earlier
    /// deadline: the caller's may be another one.
    ///
    /// # Safety
    ///
    /// The caller is the node's owner.
    pub(super) unsafe fn reset(&'static self, node: &Node, deadline: u64) -> Reset {
        let mut inner = self.inner.lock();
        if !node.is_linked_in(self) {
            return Reset::Gone;
        }
        let later = node.deadline() <= deadline && deadline != NEVER;
        // SAFETY: the lock is held, and the node is in this wheel.
        unsafe { inner.wheel.remove(NonNull::from(node)) };
        if !later {
            // SAFETY: the lock is held, and the node is in no list.
            return Reset::Withdrawn(unsafe { node.withdraw() });
        }
        // SAFETY: as above.
        unsafe { node.move_to(deadline) };
        // SAFETY: as above; it stays where it is, as promised at `register`.
        unsafe { inner.wheel.insert(NonNull::from(node)) };
        Reset::Moved
    }
}

impl fmt::Debug for TimerShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerShard").field("next", &self.next_deadline()).finish_non_exhaustive()
    }
}

/// Tasks that are to be woken once the lock is released.
struct Batch {
    wakers: [Option<WakerWord>; BATCH],
    len: usize,
}

impl Batch {
    fn new() -> Self {
        Self { wakers: [const { None }; BATCH], len: 0 }
    }

    fn is_full(&self) -> bool {
        self.len == BATCH
    }

    /// Finishes nodes that `pop` takes out of a wheel, until there are no more or the batch is
    /// full. `pop` runs, and this is called, under the lock of the shard.
    fn fill(&mut self, end: End, mut pop: impl FnMut() -> Option<NonNull<Node>>) {
        while !self.is_full() {
            let Some(node) = pop() else { return };
            // SAFETY: the node was in a list of the shard, so it is Linked there; now it is in
            // none, and the lock is held.
            self.wakers[self.len] = Some(unsafe { Node::finish(node, end) });
            self.len += 1;
        }
    }

    /// Wakes all. Gives their number.
    fn wake(&mut self) -> usize {
        let wakers = self.wakers[..self.len].iter_mut().filter_map(Option::take);
        failure::wake_all(wakers.map(WakerWord::into_waker));
        self.len
    }
}

#[cfg(not(loom))]
mod pool {
    use super::TimerShard;
    use crate::prim::Mutex;

    static POOL: Mutex<Vec<&'static TimerShard>> = Mutex::new(Vec::new());

    pub(super) fn take() -> Option<&'static TimerShard> {
        POOL.lock().pop()
    }

    pub(super) fn put(shard: &'static TimerShard) {
        POOL.lock().push(shard);
    }
}

/// A model's locks do not outlive an execution, so that each shard is new, and its model frees it.
#[cfg(loom)]
mod pool {
    use super::TimerShard;

    pub(super) fn take() -> Option<&'static TimerShard> {
        None
    }

    pub(super) fn put(_: &'static TimerShard) {}
}
