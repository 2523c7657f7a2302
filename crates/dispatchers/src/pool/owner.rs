//! Who has a processor: one word.
//!
//! # Layout
//!
//! | bits | meaning |
//! | --- | --- |
//! | 0, 1 | the state |
//! | 2..32 | the number of the thread, in `HELD` and `LENT` |
//! | 32..64 | how often that thread has lent a processor |
//!
//! # States
//!
//! ```text
//!            enlist                 take_free
//!   SPARE ──────────► FREE ───────────────────────► HELD(thread)
//!     ▲                 ▲                            │ ▲ │    ▲
//!     │                 └────────────────────────────┘ │ │    │ take_lent,
//!     │                            give_up             │ │    │ another thread
//!     └────────────────────────────────────────────────┼─┤    │
//!                                  retire      reclaim │ │lend│
//!                                                      │ ▼    │
//!                                                   LENT(thread)
//! ```
//!
//! | state | meaning | who may leave it |
//! | --- | --- | --- |
//! | `SPARE` | not in service; queue and slot are empty | who puts it into service |
//! | `FREE` | in service, and nobody has it | any thread of the pool |
//! | `HELD` | a thread runs coroutines with it, or sleeps with it | that thread alone |
//! | `LENT` | its thread does something else for a while | that thread, or any other |
//!
//! # Invariants
//!
//! 1. At most one thread holds a processor, since each way to `HELD` is a compare-exchange from a
//!    state in which nobody does. Only the holder touches the near end of the run queue.
//! 2. A thread holds one processor at most, so as many run coroutines as are in service.
//! 3. A word of `LENT` is never seen again once it has been left: the count is part of it, and its
//!    thread counts each lending. So who saw it a while ago can take it by a compare-exchange, and
//!    fails if the thread was back meanwhile.
//!
//! Models: `pool/loom.rs`; runs inside of each other, exhaustively: `pool/owner/tests.rs`.

use corymb_core::internal::prim::atomic::{AtomicU64, Ordering};

const SPARE: u64 = 0;
const FREE: u64 = 1;
const HELD: u64 = 2;
const LENT: u64 = 3;
const STATE: u64 = 3;

const THREAD_SHIFT: u32 = 2;
const THREAD_MASK: u64 = (1 << 30) - 1;
const ONE_LENDING: u64 = 1 << 32;

/// A thread, as it signs words: its number, and how often it has lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tenant(u64);

impl Tenant {
    /// The thread of this number.
    pub(super) fn new(number: u64) -> Self {
        Self((number & THREAD_MASK) << THREAD_SHIFT)
    }

    /// The same, with one lending more.
    #[inline]
    fn after_lending(self) -> Self {
        Self(self.0.wrapping_add(ONE_LENDING))
    }
}

/// The word as it was seen at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen(u64);

impl Seen {
    pub(super) fn is_held(self) -> bool {
        self.0 & STATE == HELD
    }

    pub(super) fn is_lent(self) -> bool {
        self.0 & STATE == LENT
    }

    pub(super) fn is_spare(self) -> bool {
        self.0 & STATE == SPARE
    }
}

/// The word.
pub(super) struct Owner(AtomicU64);

impl Owner {
    /// Of a processor in service, or of one that is not.
    pub(super) fn new(in_service: bool) -> Self {
        Self(AtomicU64::new(if in_service { FREE } else { SPARE }))
    }

    #[inline]
    pub(super) fn seen(&self) -> Seen {
        // Ordering: Relaxed; who acts on it does so by a compare-exchange.
        Seen(self.0.load(Ordering::Relaxed))
    }

    /// `SPARE` to `FREE`; false if it was in service.
    pub(super) fn enlist(&self) -> bool {
        self.change(SPARE, FREE)
    }

    /// `FREE` to `SPARE`, if nobody has come for it.
    pub(super) fn delist(&self) -> bool {
        self.change(FREE, SPARE)
    }

    /// `FREE` to `HELD`.
    pub(super) fn take_free(&self, me: Tenant) -> bool {
        // The look spares the others a read-modify-write.
        self.seen().0 == FREE && self.change(FREE, HELD | me.0)
    }

    /// `LENT` to `HELD` by another thread, if it is still lent as it was when it was `seen`.
    pub(super) fn take_lent(&self, seen: Seen, me: Tenant) -> bool {
        seen.is_lent() && self.change(seen.0, HELD | me.0)
    }

    /// `HELD` to `LENT`, by the holder `me`, who signs anew.
    #[inline]
    pub(super) fn lend(&self, me: &mut Tenant) -> Seen {
        *me = me.after_lending();
        let word = LENT | me.0;
        // Ordering: Release publishes the queue, as the holder leaves it, to who takes it. A plain
        // store will do: nobody else may leave `HELD`.
        self.0.store(word, Ordering::Release);
        Seen(word)
    }

    /// `LENT` to `HELD` by the thread that has lent it; false if another one has it.
    #[inline]
    pub(super) fn reclaim(&self, me: Tenant) -> bool {
        self.change(LENT | me.0, HELD | me.0)
    }

    /// `HELD` to `FREE`, by the holder.
    pub(super) fn give_up(&self) {
        // Ordering: Release, as in `lend`.
        self.0.store(FREE, Ordering::Release);
    }

    /// `HELD` to `SPARE`, by the holder, who has emptied it.
    pub(super) fn retire(&self) {
        // Ordering: Release, as in `lend`.
        self.0.store(SPARE, Ordering::Release);
    }

    #[inline]
    fn change(&self, from: u64, to: u64) -> bool {
        // Ordering: Acquire sees the queue as the last holder left it (Release in `lend`,
        // `give_up`, `retire`). Who goes to `HELD` or `FREE` has nothing to publish: read-modify-
        // writes continue the release sequence.
        self.0.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests;
