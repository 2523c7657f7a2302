//! A lock that coroutines suspend on.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use corymb_core::internal::prim::UnsafeCell;
use corymb_core::internal::{poll_budget, spend_budget};
use pin_project::pin_project;

use crate::blocking::block_on;
use crate::permits::{Line, Named, Permits};
use crate::waiting::Waiting;

/// A value that one coroutine at a time reaches, also across suspensions.
///
/// For a value that is only touched between suspensions, `std::sync::Mutex` is faster.
///
/// # Examples
///
/// ```
/// use corymb::sync::Mutex;
/// use corymb::prelude::*;
///
/// let total = Mutex::new(0);
/// run_blocking(local_scope(|s| {
///     let total = &total;
///     async move {
///         for n in 1..=4 {
///             s.launch(async move {
///                 let mut total = total.lock().await;
///                 yield_now().await; // nobody else gets it meanwhile
///                 *total += n;
///             });
///         }
///     }
/// }));
/// assert_eq!(total.into_inner(), 10);
/// ```
///
/// # Fairness
///
/// Whoever waits gets it in the order of arrival, and nobody gets ahead of them.
///
/// # Ordering
///
/// What a holder did before it let go is visible to the next.
pub struct Mutex<T> {
    permits: Permits<Lock>,
    value: UnsafeCell<T>,
}

/// The one permit of a mutex.
pub(crate) struct Lock;

impl Named for Lock {
    const NAME: &'static str = "mutex";
}

// SAFETY: who has the permit reaches the value, one thread after the other.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// An unlocked one.
    pub fn new(value: T) -> Self {
        Self { permits: Permits::new(1), value: UnsafeCell::new(value) }
    }

    /// Locks, waiting until that is possible.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::Mutex;
    ///
    /// let mutex = Mutex::new(1);
    /// corymb::run_blocking(async {
    ///     *mutex.lock().await += 1;
    ///     assert_eq!(*mutex.lock().await, 2);
    /// });
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost but the place in the queue. A lock that was offered to a future that is
    /// dropped, or that its coroutine no longer polls, goes to the next.
    #[track_caller]
    pub fn lock(&self) -> MutexLock<'_, T> {
        MutexLock { waiting: Waiting::new(&self.permits, 1, Location::caller()), mutex: self }
    }

    /// As [`lock`](Self::lock), and blocks the thread meanwhile: for code that is not asynchronous.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::Mutex;
    ///
    /// let mutex = Mutex::new(0);
    /// std::thread::scope(|s| {
    ///     for _ in 0..2 {
    ///         s.spawn(|| *mutex.lock_blocking() += 1);
    ///     }
    /// });
    /// assert_eq!(mutex.into_inner(), 2);
    /// ```
    ///
    /// # Panics
    ///
    /// In a coroutine, but in `blocking(..)`: the thread may be the one that the holder needs.
    #[track_caller]
    pub fn lock_blocking(&self) -> MutexGuard<'_, T> {
        block_on("lock", self.lock())
    }

    /// Locks if that needs no waiting.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::Mutex;
    ///
    /// let mutex = Mutex::new(());
    /// let guard = mutex.try_lock();
    /// assert!(guard.is_some() && mutex.try_lock().is_none());
    /// drop(guard);
    /// assert!(mutex.try_lock().is_some());
    /// ```
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.permits.try_take(1).then(|| MutexGuard { mutex: self })
    }

    /// Whether somebody has locked it, or it is offered to somebody.
    pub fn is_locked(&self) -> bool {
        self.permits.available() == 0
    }

    /// The value, without a lock: nobody else is there.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self`.
        self.value.with_mut(|value| unsafe { &mut *value })
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// The future of [`Mutex::lock`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct MutexLock<'a, T> {
    #[pin]
    waiting: Waiting<&'a Permits<Lock>, Line<Lock>>,
    mutex: &'a Mutex<T>,
}

impl<'a, T> Future for MutexLock<'a, T> {
    type Output = MutexGuard<'a, T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if !this.waiting.has_begun() {
            ready!(poll_budget(cx));
            if let Some(guard) = this.mutex.try_lock() {
                spend_budget();
                return Poll::Ready(guard);
            }
        }
        let taken = this.waiting.poll(cx, |state, turn, _| Permits::poll_take(state, turn, 1));
        taken.map(|()| MutexGuard { mutex: this.mutex })
    }
}

/// A locked [`Mutex`], which is unlocked when this is dropped.
#[must_use = "dropped at once, it locks nothing"]
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
}

// SAFETY: as a reference to the value.
unsafe impl<T: Sync> Sync for MutexGuard<'_, T> {}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard has the one permit.
        self.mutex.value.with(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        self.mutex.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.mutex.permits.put(1);
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Mutex");
        match self.try_lock() {
            Some(value) => out.field("value", &*value),
            None => out.field("value", &format_args!("<locked>")),
        };
        out.finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
