//! A slot for one value, between a producer and a consumer on any two threads.
//!
//! A continuation is one, and so is a oneshot channel. The value is
//! *pulled*: it stays in the slot until the consumer takes it. Besides the value there is, on
//! either side, something for the moment that the other side ends: the consumer's waker, which
//! the producer wakes, and the producer's *hook*, which [`Consumer::close`] gives to whoever
//! closes.
//!
//! # The state word
//!
//! | bit | name | set by | meaning |
//! | --- | --- | --- | --- |
//! | 0 | `VALUE` | producer | the value was put; never unset |
//! | 1 | `ABANDONED` | producer | it ended without a value; never unset, excludes `VALUE` |
//! | 2 | `CLOSED` | consumer | it takes nothing more than what is there; never unset |
//! | 3 | `WAKER` | consumer | its waker is in place |
//! | 4 | `HOOK` | producer | its hook is in place |
//!
//! `FINISHED` is `VALUE` or `ABANDONED`. Neither is set once `CLOSED` is: of the two ends, the
//! first decides.
//!
//! ```text
//!                 (1) finish                     (4) close
//!      open ────────────────────▶ FINISHED ────────────────────▶ FINISHED | CLOSED
//!       │  ▲
//!       └──┘ (2) WAKER, HOOK on
//!            (3) WAKER, HOOK off
//!       │
//!       └────────────────────────────────────────────────────────▶ CLOSED
//!                 (4) close
//! ```
//!
//! | cell | whose is it |
//! | --- | --- |
//! | value | the producer's, until (1) sets `VALUE`; then the consumer's |
//! | waker | the consumer's; the producer's from a (1) that finds `WAKER` |
//! | hook | the producer's; the consumer's from a (4) that finds `HOOK` |
//!
//! A side that takes its own bit off (3) looks at the word it replaced: if that already had the
//! other side's end in it, the cell was handed over and is not touched again. A side that sets
//! its bit (2) too late, after the other side's end, keeps its cell.
//!
//! All edges are covered by `loom.rs` beside this file.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::prim::UnsafeCell;
use crate::prim::atomic::{AtomicUsize, Ordering};
use crate::waker_word::WakerWord;

const VALUE: usize = 1;
const ABANDONED: usize = 1 << 1;
const CLOSED: usize = 1 << 2;
const WAKER: usize = 1 << 3;
const HOOK: usize = 1 << 4;

const FINISHED: usize = VALUE | ABANDONED;

struct Slot<V, H> {
    state: AtomicUsize,
    value: UnsafeCell<Option<V>>,
    waker: UnsafeCell<Option<WakerWord>>,
    hook: UnsafeCell<Option<H>>,
}

// SAFETY: the slot owns a `V`, an `H` and a waker, all of which may change threads.
unsafe impl<V: Send, H: Send> Send for Slot<V, H> {}
// SAFETY: each cell has one owner at a time, told by the state word (see the module's table), and
// changes hands through it; only whole values move between threads, no reference is shared.
unsafe impl<V: Send, H: Send> Sync for Slot<V, H> {}

/// A new slot, as its two ends.
#[must_use]
pub fn slot<V, H>() -> (Producer<V, H>, Consumer<V, H>) {
    let slot = Arc::new(Slot {
        state: AtomicUsize::new(0),
        value: UnsafeCell::new(None),
        waker: UnsafeCell::new(None),
        hook: UnsafeCell::new(None),
    });
    (Producer(Arc::clone(&slot)), Consumer(slot))
}

/// Moves out what is in `cell`.
///
/// # Safety
///
/// The cell is the caller's, by the module's table.
unsafe fn take<T>(cell: &UnsafeCell<Option<T>>) -> Option<T> {
    // SAFETY: nobody else touches the cell, as the caller owes.
    cell.with_mut(|cell| unsafe { (*cell).take() })
}

/// Puts `new` into `cell` and gives back what was there.
///
/// # Safety
///
/// The cell is the caller's, by the module's table.
unsafe fn replace<T>(cell: &UnsafeCell<Option<T>>, new: T) -> Option<T> {
    // SAFETY: nobody else touches the cell, as the caller owes.
    cell.with_mut(|cell| unsafe { (*cell).replace(new) })
}

/// The end that puts the value. Dropping it without having done so abandons the slot.
pub struct Producer<V, H>(Arc<Slot<V, H>>);

impl<V, H> Producer<V, H> {
    /// Puts `value` and wakes the consumer.
    ///
    /// # Errors
    ///
    /// Gives `value` back if the consumer has closed.
    pub fn put(self, value: V) -> Result<(), V> {
        if self.is_closed() {
            return Err(value);
        }
        // SAFETY: `VALUE` is unset: `put` and `drop` alone finish, and each happens once.
        let before = unsafe { replace(&self.0.value, value) };
        debug_assert!(before.is_none(), "a slot takes one value");
        if self.finish(VALUE) {
            return Ok(());
        }
        // SAFETY: `finish` did not set `VALUE`, so that the cell is still the producer's.
        let value = unsafe { take(&self.0.value) };
        Err(value.expect("nobody else may take a value before VALUE is set"))
    }

    /// Whether the consumer has closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // Ordering: Acquire pairs with the Release in `Consumer::close`: what the consumer did
        // before it closed is visible to a producer that gives up because of it.
        self.0.state.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Whether a hook was set and not taken back.
    #[must_use]
    pub fn has_hook(&self) -> bool {
        // Ordering: Relaxed, because only the producer writes this bit.
        self.0.state.load(Ordering::Relaxed) & HOOK != 0
    }

    /// Leaves `hook` to the one who closes, in the place of the one before.
    ///
    /// # Errors
    ///
    /// Gives `hook` back if the consumer has closed.
    pub fn set_hook(&mut self, hook: H) -> Result<(), H> {
        let Ok(before) = self.retract_hook() else { return Err(hook) };
        // SAFETY: `HOOK` is off and was not on when the consumer closed, if it did.
        drop(unsafe { replace(&self.0.hook, hook) });
        // Ordering: Release publishes the hook to `Consumer::close`. Acquire is for the caller, as
        // in `is_closed`. Edge (2).
        let prior = self.0.state.fetch_or(HOOK, Ordering::AcqRel);
        drop(before);
        if prior & CLOSED == 0 {
            return Ok(());
        }
        // SAFETY: the consumer closed while `HOOK` was off, so that the cell stayed here.
        Err(unsafe { take(&self.0.hook) }.expect("nobody else may take a hook set too late"))
    }

    /// Takes the hook back, unless the consumer has it already.
    pub fn clear_hook(&mut self) {
        drop(self.retract_hook());
    }

    /// Turns `HOOK` off. `Err`: the consumer has closed and owns the cell.
    fn retract_hook(&mut self) -> Result<Option<H>, ()> {
        if !self.has_hook() {
            return Ok(None);
        }
        // Ordering: Acquire is for the caller, as in `is_closed`; there is nothing to publish,
        // because the cell goes from the consumer's reach to the producer. Edge (3).
        let prior = self.0.state.fetch_and(!HOOK, Ordering::Acquire);
        if prior & CLOSED != 0 {
            return Err(());
        }
        // SAFETY: `HOOK` went off before the consumer closed.
        Ok(unsafe { take(&self.0.hook) })
    }

    /// Sets `bit` and wakes the consumer, unless that has closed. Edge (1).
    fn finish(&self, bit: usize) -> bool {
        // Ordering: Release publishes the value to `Consumer::try_take`; Acquire makes the waker
        // visible that the consumer stored before it set `WAKER`, and on failure what it did
        // before it closed.
        let finished = self.0.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            debug_assert!(state & FINISHED == 0, "a slot is finished once");
            (state & CLOSED == 0).then_some(state | bit)
        });
        let Ok(prior) = finished else { return false };
        if prior & WAKER != 0 {
            // SAFETY: finishing while `WAKER` is on gives the cell to the producer.
            if let Some(waker) = unsafe { take(&self.0.waker) } {
                waker.wake();
            }
        }
        true
    }
}

impl<V, H> Drop for Producer<V, H> {
    fn drop(&mut self) {
        // Ordering: Relaxed, because only the producer writes this bit.
        if self.0.state.load(Ordering::Relaxed) & VALUE == 0 {
            self.finish(ABANDONED);
        }
    }
}

/// The end that takes the value. Its owner [closes](Self::close) it before it drops it, unless it
/// has seen the producer's end.
pub struct Consumer<V, H>(Arc<Slot<V, H>>);

impl<V, H> Consumer<V, H> {
    /// Takes the value if it is there. `Ready(None)`: there never will be one, because it was
    /// taken, the producer abandoned the slot or the consumer closed it.
    pub fn try_take(&mut self) -> Poll<Option<V>> {
        // Ordering: Acquire pairs with the Release in `Producer::finish`: the value is visible.
        let state = self.0.state.load(Ordering::Acquire);
        if state & VALUE != 0 {
            // SAFETY: `VALUE` gives the cell to the consumer.
            Poll::Ready(unsafe { take(&self.0.value) })
        } else if state & (ABANDONED | CLOSED) != 0 {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }

    /// As [`try_take`](Self::try_take); if there is nothing yet, the producer will wake the task
    /// of `cx` and no other.
    pub fn poll_take(&mut self, cx: &Context<'_>) -> Poll<Option<V>> {
        if let ready @ Poll::Ready(_) = self.try_take() {
            return ready;
        }
        let word = WakerWord::new(cx.waker());
        // Ordering: Relaxed for looking, because only the consumer writes this bit. Acquire, as
        // nothing is published: `finish` may have come before. Edge (3).
        if self.0.state.load(Ordering::Relaxed) & WAKER != 0
            && self.0.state.fetch_and(!WAKER, Ordering::Acquire) & FINISHED != 0
        {
            return self.try_take();
        }
        // SAFETY: the slot was not finished when `WAKER` was last on, so that the cell is the
        // consumer's.
        let before = unsafe { replace(&self.0.waker, word) };
        // Ordering: Release publishes the waker to `Producer::finish`; a value that came in the
        // meantime is acquired by `try_take`. Edge (2).
        let prior = self.0.state.fetch_or(WAKER, Ordering::Release);
        drop(before);
        if prior & FINISHED == 0 {
            return Poll::Pending;
        }
        // SAFETY: the slot was finished while `WAKER` was off.
        drop(unsafe { take(&self.0.waker) });
        self.try_take()
    }

    /// Refuses every value from now on; one that was put before can still be taken. Gives the
    /// producer's hook, the first time. Edge (4).
    #[must_use = "the producer counts on its hook"]
    pub fn close(&mut self) -> Option<H> {
        // Ordering: Acquire makes the hook visible that was stored before `HOOK` was set; Release
        // pairs with `Producer::is_closed`.
        let prior = self.0.state.fetch_or(CLOSED, Ordering::AcqRel);
        if prior & CLOSED != 0 {
            return None;
        }
        if prior & (FINISHED | WAKER) == WAKER {
            // SAFETY: closed before it was finished, so the producer never gets this cell.
            drop(unsafe { take(&self.0.waker) });
        }
        if prior & HOOK == 0 {
            return None;
        }
        // SAFETY: closing while `HOOK` is on gives the cell to the consumer.
        unsafe { take(&self.0.hook) }
    }
}

impl<V, H> fmt::Debug for Slot<V, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ordering: Relaxed, for a look.
        let state = self.state.load(Ordering::Relaxed);
        let name = match (state & VALUE != 0, state & ABANDONED != 0, state & CLOSED != 0) {
            (false, false, false) => "Open",
            (true, _, false) => "Put",
            (_, true, false) => "Abandoned",
            (_, _, true) => "Closed",
        };
        f.write_str(name)
    }
}

impl<V, H> fmt::Debug for Producer<V, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Producer").field(&self.0).finish()
    }
}

impl<V, H> fmt::Debug for Consumer<V, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Consumer").field(&self.0).finish()
    }
}
