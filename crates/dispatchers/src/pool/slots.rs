//! How many coroutines are polled as IO at once, and how many wait for that: one word.
//!
//! | bits | meaning |
//! | --- | --- |
//! | 0..32 | slots in use |
//! | 32..64 | coroutines in the queue that nobody has been given a slot for |
//!
//! ```text
//!  submitter                               who ends a poll
//!  1. push the coroutine                   1. in one step: queued > 0?
//!  2. in one step: a slot is free?            then queued -= 1, keep the slot, pop one
//!     then take it, and send a thread         else give the slot back
//!     else queued += 1
//! ```
//!
//! Both steps are changes of the same word, so no coroutine is left in the queue while a slot goes
//! free. Each pop is paid for by a push that came before it in the order of that word: a thread
//! that was told to pop finds a coroutine, unless the pool has closed and dropped all of them.
//!
//! Model: `pool/loom.rs`.

use corymb_core::internal::prim::atomic::{AtomicU64, Ordering};

const QUEUED: u64 = 1 << 32;
const IN_USE: u64 = QUEUED - 1;

/// The word, and the limit.
pub(super) struct Slots {
    word: AtomicU64,
    limit: u64,
}

impl Slots {
    pub(super) fn new(limit: usize) -> Self {
        Self { word: AtomicU64::new(0), limit: (limit as u64).min(IN_USE) }
    }

    /// A coroutine was pushed. True if it has a slot: then the caller sends a thread that pops.
    pub(super) fn submit(&self) -> bool {
        self.change(|word| {
            let free = word & IN_USE < self.limit;
            (free, word + if free { 1 } else { QUEUED })
        })
    }

    /// A coroutine was pushed by a thread that has a slot, and will soon be done with its poll.
    pub(super) fn submit_behind(&self) {
        // Ordering: AcqRel, as in `change`.
        self.word.fetch_add(QUEUED, Ordering::AcqRel);
    }

    /// A slot for a coroutine that is being polled already, if there is one and nobody waits.
    #[inline]
    pub(super) fn try_enter(&self) -> bool {
        self.change(|word| {
            let free = word < self.limit;
            (free, word + u64::from(free))
        })
    }

    /// A poll has ended. True if the slot is kept: then somebody pops the next coroutine.
    #[inline]
    pub(super) fn next(&self) -> bool {
        self.change(|word| {
            let queued = word >= QUEUED;
            (queued, word - if queued { QUEUED } else { 1 })
        })
    }

    #[inline]
    fn change(&self, f: impl Fn(u64) -> (bool, u64)) -> bool {
        // Ordering: Relaxed, the compare-exchange looks again.
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let (answer, new) = f(word);
            if new == word {
                return answer;
            }
            // Ordering: AcqRel; Release publishes the push to who is told to pop, Acquire sees it.
            match self.word.compare_exchange(word, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return answer,
                Err(now) => word = now,
            }
        }
    }

    pub(super) fn in_use(&self) -> usize {
        // Ordering: Relaxed, a figure for people.
        usize::try_from(self.word.load(Ordering::Relaxed) & IN_USE).unwrap_or(usize::MAX)
    }
}
