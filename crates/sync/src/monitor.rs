//! The frame that the primitives share: a state under a lock, and queues of those who wait for it.
//!
//! A primitive is a sequential state machine, [`State`], and says of itself only what is due:
//! [`State::offer`] picks whom to call. Whoever has [locked](Monitor::lock) it may change it at
//! will; when the lock is released, offers are made until none is due, and then those who were
//! called are woken. So no change can forget to wake somebody.
//!
//! With the lock held nothing foreign runs: wakers are cloned before, and woken or dropped after,
//! as are values.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::Waker;

use corymb_core::internal::prim::{TryMutex, TryMutexGuard};
use corymb_core::internal::{WaitKind, wake_all};

/// What a primitive is under its lock.
pub(crate) trait State: Sized {
    /// What is reached without the lock.
    type Shared;
    /// What it is, for dumps.
    const NAME: &'static str;
    /// What a coroutine notes that gives way before it looks.
    const WAIT: WaitKind = WaitKind::Lock;

    /// Makes one offer that is due, by a call to the first in a queue; none if none is.
    fn offer(&mut self, shared: &Self::Shared) -> Option<Waker>;
}

/// A state, its lock, and what is beside it.
///
/// Futures that wait lead here, also such as were forgotten, with the borrow that they had. So it is
/// behind a pointer, [`Anchored`](crate::anchored::Anchored), wherever it is a part of what its user
/// can move.
pub(crate) struct Monitor<S: State> {
    state: TryMutex<S>,
    shared: S::Shared,
}

impl<S: State> Monitor<S> {
    pub(crate) fn new(state: S, shared: S::Shared) -> Self {
        Self { state: TryMutex::new(state), shared }
    }

    #[inline]
    pub(crate) fn shared(&self) -> &S::Shared {
        &self.shared
    }

    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_, S> {
        Locked { monitor: self, state: ManuallyDrop::new(self.state.lock_patiently()), old: None }
    }

    /// Locks if that needs no waiting.
    pub(crate) fn try_lock(&self) -> Option<Locked<'_, S>> {
        let state = self.state.try_lock()?;
        Some(Locked { monitor: self, state: ManuallyDrop::new(state), old: None })
    }

    /// Calls `f` with the state if nobody has it locked: for `Debug`, which never waits.
    pub(crate) fn peek<R>(&self, f: impl FnOnce(&S) -> R) -> Option<R> {
        self.state.try_lock().map(|state| f(&state))
    }
}

impl<S: State> Drop for Monitor<S> {
    /// Locks for good: a coroutine may be about to let go of the offer of a future that was
    /// forgotten. Then the [lists](crate::waiters) in the state end such waits.
    fn drop(&mut self) {
        std::mem::forget(self.state.lock());
    }
}

/// How many are woken in one go.
const BATCH: usize = 4;

/// A state that is locked. Dropped, it makes the offers that are due.
pub(crate) struct Locked<'a, S: State> {
    monitor: &'a Monitor<S>,
    /// There until the drop.
    state: ManuallyDrop<TryMutexGuard<'a, S>>,
    /// A waker of no use any more, which is dropped after the lock.
    old: Option<Waker>,
}

impl<'a, S: State> Locked<'a, S> {
    #[inline]
    pub(crate) fn monitor(&self) -> &'a Monitor<S> {
        self.monitor
    }

    #[inline]
    pub(crate) fn shared(&self) -> &'a S::Shared {
        &self.monitor.shared
    }

    /// Makes the offers that are due, unlocks, and leaves it to the caller to wake: for one who
    /// does not keep the monitor.
    pub(crate) fn unlock_into(mut self, wakers: &mut Vec<Waker>) {
        while let Some(waker) = self.state.offer(&self.monitor.shared) {
            wakers.push(waker);
        }
    }

    /// Drops `waker` when the lock is released.
    #[inline]
    pub(crate) fn drop_later(&mut self, waker: Option<Waker>) {
        debug_assert!(self.old.is_none() || waker.is_none(), "one at a time");
        if waker.is_some() {
            self.old = waker;
        }
    }
}

impl<S: State> Deref for Locked<'_, S> {
    type Target = S;

    #[inline]
    fn deref(&self) -> &S {
        &self.state
    }
}

impl<S: State> DerefMut for Locked<'_, S> {
    #[inline]
    fn deref_mut(&mut self) -> &mut S {
        &mut self.state
    }
}

impl<S: State> Drop for Locked<'_, S> {
    #[inline]
    fn drop(&mut self) {
        match self.state.offer(&self.monitor.shared) {
            // SAFETY: dropped here, and nothing uses it afterwards.
            None => unsafe { ManuallyDrop::drop(&mut self.state) },
            Some(first) => {
                // SAFETY: as above.
                let state = unsafe { ManuallyDrop::take(&mut self.state) };
                self.monitor.wake(state, first);
            }
        }
    }
}

impl<S: State> Monitor<S> {
    /// Makes the offers that are due after one to `first`, and wakes all.
    #[inline(never)]
    fn wake<'a>(&'a self, mut state: TryMutexGuard<'a, S>, first: Waker) {
        match state.offer(&self.shared) {
            None => {
                drop(state);
                wake_all([first]);
            }
            Some(second) => self.wake_many(state, first, second),
        }
    }

    #[cold]
    fn wake_many<'a>(&'a self, mut state: TryMutexGuard<'a, S>, first: Waker, second: Waker) {
        let mut called = Some(second);
        let mut first = Some(first);
        while called.is_some() {
            let mut wakers = [const { None::<Waker> }; BATCH];
            for slot in &mut wakers {
                *slot = called;
                called = slot.as_ref().and_then(|_| state.offer(&self.shared));
            }
            drop(state);
            wake_all(first.take().into_iter().chain(wakers.into_iter().flatten()));
            if called.is_none() {
                return;
            }
            state = self.state.lock();
        }
    }
}

/// Something with a monitor, or a pointer to it: what a future that waits is made of.
///
/// # Safety
///
/// It is always the same monitor, and that lives and stays in its place as long as `self` does,
/// pinned or behind a pointer.
pub(crate) unsafe trait Owner {
    type State: State;

    fn monitor(&self) -> &Monitor<Self::State>;
}

// SAFETY: the monitor is behind the pointer.
unsafe impl<T: Owner + ?Sized> Owner for &T {
    type State = T::State;

    #[inline]
    fn monitor(&self) -> &Monitor<T::State> {
        (**self).monitor()
    }
}

// SAFETY: the monitor is behind the pointer.
unsafe impl<T: Owner + ?Sized> Owner for Arc<T> {
    type State = T::State;

    #[inline]
    fn monitor(&self) -> &Monitor<T::State> {
        (**self).monitor()
    }
}

/// What `Debug` says of a state that somebody has locked.
pub(crate) struct Busy;

impl fmt::Debug for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<busy>")
    }
}
