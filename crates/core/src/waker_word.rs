//! A waker in one word.
//!
//! Wait lists and timer nodes keep the waker of whoever waits. Nearly always that is a coroutine
//! of this crate, whose waker is its own cell: then the word is the cell's address. A foreign
//! waker is boxed, and the word is tagged.

use std::fmt;
use std::mem::ManuallyDrop;
use std::task::Waker;

use crate::coroutine::{WAKER_VTABLE, is_own_waker};

/// Set in the word when it is a `Box<Waker>`; cells and boxes are aligned to eight at least.
const BOXED: usize = 1;

/// An owned waker, one word wide.
pub struct WakerWord(*const ());

// SAFETY: the word owns a `Waker`, boxed or taken apart, and `Waker` is Send.
unsafe impl Send for WakerWord {}
// SAFETY: as above; `Waker` is Sync, and shared access only compares or wakes by reference.
unsafe impl Sync for WakerWord {}

impl WakerWord {
    /// Clones `waker` into a word.
    #[inline]
    pub fn new(waker: &Waker) -> Self {
        if is_own_waker(waker) {
            Self(ManuallyDrop::new(waker.clone()).data())
        } else {
            let boxed = Box::into_raw(Box::new(waker.clone())).cast::<()>().cast_const();
            Self(boxed.map_addr(|addr| addr | BOXED))
        }
    }

    /// Whether waking this word wakes the same task as `waker` does.
    #[inline]
    pub fn will_wake(&self, waker: &Waker) -> bool {
        match self.boxed() {
            // SAFETY: the box is ours and not freed before `self` is dropped.
            Some(boxed) => unsafe { (*boxed).will_wake(waker) },
            None => Self::is_cell_of(self.0, waker),
        }
    }

    /// Whether `raw`, from [`into_raw`](Self::into_raw), is the cell whose waker `waker` is. It
    /// compares the address and never follows it, so `raw` may have been given up meanwhile.
    #[inline]
    pub fn is_cell_of(raw: *const (), waker: &Waker) -> bool {
        waker.data() == raw && is_own_waker(waker)
    }

    /// Wakes the task and gives the word up.
    #[inline]
    pub fn wake(self) {
        self.into_waker().wake();
    }

    /// The waker that the word stands for.
    #[inline]
    pub fn into_waker(self) -> Waker {
        let this = ManuallyDrop::new(self);
        match this.boxed() {
            // SAFETY: the box came from `Box::into_raw` in `new`; `this` is not dropped, so it
            // is taken back once.
            Some(boxed) => *unsafe { Box::from_raw(boxed) },
            // SAFETY: `new` took these two parts from a clone that it did not drop.
            None => unsafe { Waker::from_raw(std::task::RawWaker::new(this.0, &WAKER_VTABLE)) },
        }
    }

    /// Gives the word as a bare pointer, to be kept where a type with a destructor cannot be.
    pub fn into_raw(self) -> *const () {
        ManuallyDrop::new(self).0
    }

    /// Takes back what [`into_raw`](Self::into_raw) gave.
    ///
    /// # Safety
    ///
    /// `raw` came from `into_raw` and is taken back once.
    pub unsafe fn from_raw(raw: *const ()) -> Self {
        Self(raw)
    }

    fn boxed(&self) -> Option<*mut Waker> {
        (self.0.addr() & BOXED != 0)
            .then(|| self.0.map_addr(|addr| addr & !BOXED).cast::<Waker>().cast_mut())
    }
}

impl Drop for WakerWord {
    fn drop(&mut self) {
        drop(Self(self.0).into_waker());
    }
}

impl fmt::Debug for WakerWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WakerWord").field(&self.0).finish()
    }
}
