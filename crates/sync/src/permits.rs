//! Permits, which whoever has some keeps from others: what a semaphore and the locks are made of.
//!
//! # The word
//!
//! | bits | name | what |
//! | --- | --- | --- |
//! | 0 | `QUEUED` | somebody may wait: permits are given out under the lock only |
//! | 1.. | permits | those that nobody has |
//!
//! Without `QUEUED`, permits are taken and put back by one read-modify-write, and the lock is left
//! alone. `QUEUED` is set and cleared under the lock. Who puts permits back and sees it, locks, so
//! that they are offered; who queues sets it first and then looks for permits: of the two, the
//! second sees the other, for both change the same word.
//!
//! An offer reserves its permits: they are out of the word, and go back if it is declined. So
//! nobody gets ahead of who waits, and turns are taken in the order of arrival.

use std::task::{Poll, Waker};

use corymb_core::internal::prim::atomic::{AtomicUsize, Ordering};

use crate::monitor::{Monitor, Owner, State};
use crate::waiters::Turn;
use crate::waiters::{Queue, WaitList};

const QUEUED: usize = 1;
const ONE: usize = 1 << 1;

/// The most permits that there can be.
pub(crate) const MAX: usize = usize::MAX / ONE;

/// The permits, and the queue for them.
pub(crate) struct Permits<N: Named>(Monitor<Waiters<N>>);

/// What the permits are of.
pub(crate) trait Named {
    /// For dumps.
    const NAME: &'static str;
}

/// What the lock guards.
pub(crate) struct Waiters<N: Named>(WaitList<Line<N>>);

/// The one queue.
pub(crate) struct Line<N>(std::marker::PhantomData<N>);

/// The word.
pub(crate) struct Word(AtomicUsize);

// SAFETY: it is in the place of `self`.
unsafe impl<N: Named> Owner for Permits<N> {
    type State = Waiters<N>;

    fn monitor(&self) -> &Monitor<Waiters<N>> {
        &self.0
    }
}

impl<N: Named> Queue for Line<N> {
    type State = Waiters<N>;
    /// How many it needs.
    type Payload = usize;

    fn waiters(state: &mut Waiters<N>) -> &mut WaitList<Self> {
        &mut state.0
    }

    fn take_back(_: &mut Waiters<N>, word: &Word, needed: &mut usize) {
        word.put(*needed);
    }
}

impl<N: Named> State for Waiters<N> {
    type Shared = Word;

    const NAME: &'static str = N::NAME;

    fn offer(&mut self, word: &Word) -> Option<Waker> {
        let Some(&mut needed) = self.0.first() else {
            word.clear_queued();
            return None;
        };
        if word.take(needed, QUEUED) { self.0.call() } else { None }
    }
}

impl Word {
    /// Takes `needed` permits if there are as many, and no other flags are set than `allowed`.
    #[inline]
    fn take(&self, needed: usize, allowed: usize) -> bool {
        // Ordering: Relaxed, for the exchange looks again.
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            if now & QUEUED & !allowed != 0 || now / ONE < needed {
                return false;
            }
            // Ordering: Acquire pairs with the Release in `put`: who had the permits before is seen.
            match self.0.compare_exchange_weak(
                now,
                now - needed * ONE,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(other) => now = other,
            }
        }
    }

    /// Puts permits back; true if somebody may wait for them.
    #[inline]
    fn put(&self, permits: usize) -> bool {
        // Ordering: Release, as said in `take`.
        let before = self.0.fetch_add(permits * ONE, Ordering::Release);
        debug_assert!(before / ONE + permits <= MAX, "more permits than there can be");
        before & QUEUED != 0
    }

    fn set_queued(&self) {
        // Ordering: Acquire sees what was put back before.
        self.0.fetch_or(QUEUED, Ordering::Acquire);
    }

    /// Under the lock.
    fn clear_queued(&self) {
        // Ordering: Relaxed; the flag is set and cleared under the lock.
        if self.0.load(Ordering::Relaxed) & QUEUED != 0 {
            self.0.fetch_and(!QUEUED, Ordering::Relaxed);
        }
    }
}

impl<N: Named> Permits<N> {
    pub(crate) fn new(permits: usize) -> Self {
        debug_assert!(permits <= MAX);
        Self(Monitor::new(Waiters(WaitList::new()), Word(AtomicUsize::new(permits * ONE))))
    }

    fn word(&self) -> &Word {
        self.0.shared()
    }

    /// Takes permits if there are enough and nobody waits.
    #[inline]
    pub(crate) fn try_take(&self, needed: usize) -> bool {
        self.word().take(needed, 0)
    }

    /// Puts permits back, or adds new ones.
    #[inline]
    pub(crate) fn put(&self, permits: usize) {
        if self.word().put(permits) {
            // The offer is made when it is unlocked.
            drop(self.0.lock());
        }
    }

    /// What one who waits in the queue does when it is polled.
    pub(crate) fn poll_take(
        state: &crate::monitor::Locked<'_, Waiters<N>>,
        turn: Turn,
        needed: usize,
    ) -> Poll<()> {
        let word = state.shared();
        if turn.called {
            return Poll::Ready(());
        }
        word.set_queued();
        match turn.first && word.take(needed, QUEUED) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// The permits that nobody has.
    pub(crate) fn available(&self) -> usize {
        // Ordering: Relaxed, a figure for people.
        self.word().0.load(Ordering::Relaxed) / ONE
    }
}
