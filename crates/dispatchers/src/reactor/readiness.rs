//! Readiness of one direction of a source, and who waits for it.
//!
//! This file knows no system: the driver reports events to it, operations ask it. It runs under
//! loom and miri.
//!
//! # The word
//!
//! | bits | name | meaning |
//! | --- | --- | --- |
//! | 0 | READY | the next system call is worth trying |
//! | 1 | CLOSED | the reactor is closed; never unset; implies READY |
//! | 2.. | tick | counts events; wraps |
//!
//! # States
//!
//! ```text
//!                (1) event: tick + 1              (1) event: tick + 1
//!            ┌───────────────────────┐                 ┌──────┐
//!            │                       ▼                 ▼      │
//!        ┌───┴───┐               ┌───────┐ ────────────┴──────┘
//!        │ EMPTY │ ◄──────────── │ READY │ ◄── new: nothing is known, so the first attempt
//!        └───┬───┘  (2) clear,   └───┬───┘     asks the kernel
//!            │      tick unchanged   │
//!            │ (3) close             │ (3) close
//!            ▼                       ▼
//!        ┌───────────────────────────────┐
//!        │ CLOSED (final; READY is set)  │ ◄─┐ (1) event: tick + 1, nobody looks at it
//!        └───────────────────────────────┘ ──┘
//! ```
//!
//! An operation
//!
//! 1. looks at the word: CLOSED ends it, EMPTY sends it to 4;
//! 2. tries its system call; unless that would block, it is done;
//! 3. clears READY, if no event came since 1, and goes back to 1;
//! 4. locks the slots, looks once more, and if the word is still EMPTY leaves its waker there.
//!
//! Edges (1) and (3) change the word *first* and then lock the slots to take the wakers.
//!
//! # Why no edge is lost
//!
//! - An event between 1 and 3 changes the tick, so that clearing fails and the call is repeated.
//! - An event between 3 and 4, or during 4, either locks the slots after the waiter did, and
//!   finds its waker there; or before, and then the waiter, having locked later, sees READY.
//!
//! The tick wraps after 2^30 events at least (32-bit words); for a wrong clearing exactly that
//! many would have to arrive during one system call.
//!
//! # Tests
//!
//! Edges 1 to 3: `tests::*` below; 1 against clear and wait: `loom_event_against_wait`; 1 against
//! the drop of a waiter: `loom_event_against_drop`; 3 against wait: `loom_close_against_wait`.

use std::fmt;
use std::task::Waker;

use corymb_core::internal::prim::Mutex;
use corymb_core::internal::prim::atomic::{AtomicUsize, Ordering};
use slab::Slab;

/// The next system call is worth trying.
const READY: usize = 1;
/// The reactor is closed.
const CLOSED: usize = 2;
/// One event, in the bits above.
const TICK: usize = 4;

/// What an operation finds when it looks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Look {
    /// Try the system call; clear this snapshot if it would block.
    Ready(Snapshot),
    /// It would block: wait for an event.
    Empty,
    /// The reactor is closed.
    Closed,
}

/// A word in which READY was seen, and CLOSED was not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot(usize);

/// What became of an attempt to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a waiter that is not waiting must look again"]
pub(crate) enum Wait {
    /// The waker is in its slot: the next event or the end of the reactor wakes it.
    Waiting,
    /// Something has happened meanwhile: look again.
    Changed,
}

/// A waiter's place in a [`Readiness`]: its key there plus one, or 0 while it has none.
///
/// Written only under the lock of the readiness that it belongs to.
#[derive(Debug)]
pub(crate) struct Slot(AtomicUsize);

impl Slot {
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(0))
    }
}

/// The readiness of one direction. See the module's page for the protocol.
pub(crate) struct Readiness {
    word: AtomicUsize,
    /// One entry for each slot in use; `None` between a wake-up and the next wait.
    slots: Mutex<Slab<Option<Waker>>>,
}

impl Readiness {
    pub(crate) fn new() -> Self {
        Self { word: AtomicUsize::new(READY), slots: Mutex::new(Slab::new()) }
    }

    /// Step 1: what is known.
    #[inline]
    pub(crate) fn look(&self) -> Look {
        // Ordering: Acquire keeps the system call of step 2 behind this load: an event that
        // comes after that call must not be part of the snapshot. Pairs with `event`.
        let word = self.word.load(Ordering::Acquire);
        if word & CLOSED != 0 {
            Look::Closed
        } else if word & READY != 0 {
            Look::Ready(Snapshot(word))
        } else {
            Look::Empty
        }
    }

    /// Step 3, edge (2): the call would block; forget the readiness that led to it.
    pub(crate) fn clear(&self, Snapshot(seen): Snapshot) {
        debug_assert_eq!(seen & (READY | CLOSED), READY, "a snapshot is ready and open");
        // Ordering: Release keeps the system call before this store; Relaxed on failure, since
        // the caller looks again. A failure means that another operation cleared it, that an
        // event came or that the reactor was closed: in each case the word is right as it is.
        _ = self.word.compare_exchange(seen, seen & !READY, Ordering::Release, Ordering::Relaxed);
    }

    /// Step 4: leaves a clone of `waker` in `slot`, in place of what was there.
    pub(crate) fn wait(&self, slot: &Slot, waker: &Waker) -> Wait {
        let waker = waker.clone();
        let mut slots = self.slots.lock();
        // Ordering: Relaxed, because of the lock: whoever changed the word and has already taken
        // the wakers held the lock before us, so we see the change; if it has not, it will find
        // our waker.
        if self.word.load(Ordering::Relaxed) & READY != 0 {
            drop(slots);
            return Wait::Changed;
        }
        // Ordering: Relaxed here and below: slots are written under the lock only.
        let replaced = match slot.0.load(Ordering::Relaxed).checked_sub(1) {
            Some(key) => slots[key].replace(waker),
            None => {
                slot.0.store(slots.insert(Some(waker)) + 1, Ordering::Relaxed);
                None
            }
        };
        drop(slots);
        // A waker's destructor is foreign code: it runs without the lock.
        drop(replaced);
        Wait::Waiting
    }

    /// Gives `slot` up, and the waker that may be in it.
    pub(crate) fn leave(&self, slot: &mut Slot) {
        // Ordering: Relaxed: the caller has the slot for itself.
        let Some(key) = slot.0.load(Ordering::Relaxed).checked_sub(1) else { return };
        slot.0.store(0, Ordering::Relaxed);
        let mut slots = self.slots.lock();
        let waker = slots.remove(key);
        drop(slots);
        // As in `wait`.
        drop(waker);
    }

    /// Edge (1): the system says that this direction is ready. The wakers of all who wait are
    /// appended to `wakers`, for the caller to wake once it holds no lock.
    pub(crate) fn event(&self, wakers: &mut Vec<Waker>) {
        // Ordering: Release pairs with the Acquire in `look`: who sees this tick tries its call
        // after the system reported the event. The carry out of the tick is dropped.
        _ = self.word.fetch_update(Ordering::Release, Ordering::Relaxed, |word| {
            Some(word.wrapping_add(TICK) | READY)
        });
        self.take(wakers);
    }

    /// Edge (3): nobody waits here any more, from now on. Wakers as in [`event`](Self::event).
    pub(crate) fn close(&self, wakers: &mut Vec<Waker>) {
        // Ordering: Release as in `event`: who sees CLOSED sees what led to it.
        self.word.fetch_or(CLOSED | READY, Ordering::Release);
        self.take(wakers);
    }

    /// How many wakers wait for an event.
    pub(crate) fn waiting(&self) -> usize {
        self.slots.lock().iter().filter(|(_, waker)| waker.is_some()).count()
    }

    fn take(&self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.slots.lock().iter_mut().filter_map(|(_, waker)| waker.take()));
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("look", &self.look())
            .field("waiting", &self.waiting())
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom;
