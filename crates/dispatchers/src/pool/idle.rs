//! Who sleeps, and how nobody sleeps while there is work.
//!
//! # The protocol
//!
//! A worker without work becomes a *searcher* (at most half of the workers at once), looks at all
//! queues, and goes to sleep if they are empty. Whoever submits work wakes one sleeper, unless a
//! searcher is about who will find it.
//!
//! ```text
//!  submitter                          sleeper
//!  1. push the coroutine              1. sleepers.push(me); parked += 1; searching -= 1
//!  2. fence(SeqCst)                   2. fence(SeqCst)
//!  3. searching == 0 and parked > 0?  3. look at every queue once more
//!     then wake one                      found: leave the list again, and go on
//! ```
//!
//! Of the two fences one is first. If it is the sleeper's, then the submitter sees it parked (or a
//! searcher, which does the same in its turn). If it is the submitter's, then the sleeper sees the
//! coroutine. So no wake-up is lost. A wake takes the sleeper out of the list and counts it as a
//! searcher *for* it, under the list's lock: two submitters do not wake two for one coroutine.
//!
//! A searcher that finds work and was the last one wakes another sleeper: there may be more.
//!
//! Models: `pool/loom.rs`.

use std::sync::Arc;

use corymb_core::internal::prim::Mutex;
use corymb_core::internal::prim::atomic::{AtomicU32, Ordering, fence};

/// One searcher in the word; the low half counts sleepers.
const SEARCHER: u32 = 1 << 16;
const SLEEPERS: u32 = SEARCHER - 1;

/// Counts and lists the workers without work; `S` is how one sleeps.
pub(crate) struct Idle<S> {
    /// Searchers in the high half, sleepers in the low one.
    counts: AtomicU32,
    /// The sleepers, the most recent last.
    sleepers: Mutex<Vec<Arc<S>>>,
    workers: u32,
}

impl<S> Idle<S> {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            counts: AtomicU32::new(0),
            sleepers: Mutex::new(Vec::with_capacity(workers)),
            workers: u32::try_from(workers).unwrap_or(u32::MAX),
        }
    }

    /// Whether to look for work, rather than to sleep at once: not if half of the workers do.
    pub(crate) fn start_search(&self) -> bool {
        // Ordering: Relaxed, the bound is no matter of correctness.
        let counts = self.counts.load(Ordering::Relaxed);
        if 2 * (counts / SEARCHER) >= self.workers {
            return false;
        }
        self.counts.fetch_add(SEARCHER, Ordering::Relaxed);
        true
    }

    /// A searcher has found work; true if it was the last one, who then wakes another.
    pub(crate) fn end_search(&self) -> bool {
        // Ordering: AcqRel, as a part of the protocol's fences on both sides.
        self.counts.fetch_sub(SEARCHER, Ordering::AcqRel) / SEARCHER == 1
    }

    /// Steps 1 and 2 of the sleeper.
    pub(crate) fn sleep(&self, worker: &Arc<S>, searching: bool) {
        {
            let mut sleepers = self.sleepers.lock();
            sleepers.push(Arc::clone(worker));
            let change = 1u32.wrapping_sub(if searching { SEARCHER } else { 0 });
            // Ordering: Relaxed, the fence below orders it.
            self.counts.fetch_add(change, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
    }

    /// A sleeper goes on by itself. False if somebody has woken it already: then it counts as a
    /// searcher.
    pub(crate) fn leave(&self, worker: &Arc<S>) -> bool {
        let mut sleepers = self.sleepers.lock();
        let Some(at) = sleepers.iter().rposition(|it| Arc::ptr_eq(it, worker)) else {
            return false;
        };
        sleepers.remove(at);
        // Ordering: Relaxed, under the lock.
        self.counts.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Steps 2 and 3 of the submitter: whom to wake.
    #[inline]
    pub(crate) fn submitted(&self) -> Option<Arc<S>> {
        fence(Ordering::SeqCst);
        self.pick()
    }

    /// A sleeper to wake, if nobody searches.
    #[inline]
    fn pick(&self) -> Option<Arc<S>> {
        // Ordering: Relaxed, after the fence.
        let counts = self.counts.load(Ordering::Relaxed);
        if counts & SLEEPERS == 0 || counts >= SEARCHER { None } else { self.pick_slow() }
    }

    #[cold]
    fn pick_slow(&self) -> Option<Arc<S>> {
        let mut sleepers = self.sleepers.lock();
        // Ordering: Relaxed, changes of the sleepers' half are made under the lock; a searcher
        // that begins now makes this wake one too many, no more.
        if self.counts.load(Ordering::Relaxed) >= SEARCHER {
            return None;
        }
        let woken = sleepers.pop()?;
        self.counts.fetch_add(SEARCHER - 1, Ordering::Relaxed);
        Some(woken)
    }

    /// Takes everybody out, each of them a searcher now.
    pub(crate) fn wake_all(&self) -> Vec<Arc<S>> {
        let mut sleepers = self.sleepers.lock();
        let woken = std::mem::take(&mut *sleepers);
        let count = u32::try_from(woken.len()).unwrap_or(u32::MAX);
        // Ordering: Relaxed, under the lock.
        self.counts.fetch_add(count.wrapping_mul(SEARCHER - 1), Ordering::Relaxed);
        woken
    }

    /// How many sleep now.
    pub(crate) fn sleepers(&self) -> usize {
        // Ordering: Relaxed, a figure for people.
        (self.counts.load(Ordering::Relaxed) & SLEEPERS) as usize
    }
}
