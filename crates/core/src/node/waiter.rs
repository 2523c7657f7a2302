//! The one who waits for a node to settle, in one word.
//!
//! A single task registers (the owner of the `Deferred`, or of the region's future); any thread
//! takes. Both swap the word, so neither ever reads what the other is replacing, and each waker
//! that was stored comes out exactly once.
//!
//! No wake-up is lost: the registrar stores the word, then sets `WAITER` in the state word with a
//! read-modify-write; the other side changes the state word with one, then looks at `WAITER`. The
//! later of the two sees the earlier.

use std::ptr;
use std::task::Waker;

use super::state::{Snapshot, State, WAITER};
use crate::prim::atomic::{AtomicPtr, Ordering};
use crate::waker_word::WakerWord;

/// The word: null, or a [`WakerWord`].
#[derive(Debug)]
pub(crate) struct Waiter(AtomicPtr<()>);

impl Waiter {
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Stores `waker` and answers the state afterwards; if that already is the one waited for,
    /// nobody may wake.
    pub(crate) fn register(&self, state: &State, waker: &Waker) -> Snapshot {
        // Ordering: Relaxed, only an address that is compared.
        let stored = self.0.load(Ordering::Relaxed);
        if !stored.is_null() && WakerWord::is_cell_of(stored, waker) {
            return state.load();
        }
        self.replace(WakerWord::new(waker).into_raw().cast_mut());
        state.set(WAITER)
    }

    /// Takes the waker out, if there is one.
    #[inline]
    pub(crate) fn take(&self) -> Option<Waker> {
        let word = self.0.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: `register` stored what `into_raw` gave, and the swap took it out.
        (!word.is_null()).then(|| unsafe { WakerWord::from_raw(word) }.into_waker())
    }

    /// Whether there is none: who registers after the end leaves one.
    pub(crate) fn has_none(&mut self) -> bool {
        // Ordering: Relaxed; who has it alone has synchronized with all who had it.
        self.0.load(Ordering::Relaxed).is_null()
    }

    fn replace(&self, word: *mut ()) {
        // Ordering: AcqRel; Release publishes a boxed waker to who takes it, Acquire sees the
        // one that is replaced.
        let old = self.0.swap(word, Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: as in `take`.
            drop(unsafe { WakerWord::from_raw(old) });
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // Ordering: Relaxed; who drops it has synchronized with all who had it.
        let word = self.0.load(Ordering::Relaxed);
        if !word.is_null() {
            // SAFETY: as in `take`; nobody else has it any more.
            drop(unsafe { WakerWord::from_raw(word) });
        }
    }
}
