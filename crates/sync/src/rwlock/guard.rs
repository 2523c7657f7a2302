//! What has a lock locked.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::Arc;

use super::upgrade::Upgrade;
use super::{Pointer, READ, RwLock, UPGRADABLE, WRITE};
use crate::blocking::block_on;

/// An [`RwLock`] that is locked for reading, until this is dropped.
pub type RwLockReadGuard<'a, T> = Guard<&'a RwLock<T>, READ>;
/// An [`RwLock`] that is locked for reading with the right to upgrade, until this is dropped.
pub type RwLockUpgradableReadGuard<'a, T> = Guard<&'a RwLock<T>, UPGRADABLE>;
/// An [`RwLock`] that is locked for writing, until this is dropped.
pub type RwLockWriteGuard<'a, T> = Guard<&'a RwLock<T>, WRITE>;
/// As [`RwLockReadGuard`], and keeps the lock alive.
pub type OwnedRwLockReadGuard<T> = Guard<Arc<RwLock<T>>, READ>;
/// As [`RwLockUpgradableReadGuard`], and keeps the lock alive.
pub type OwnedRwLockUpgradableReadGuard<T> = Guard<Arc<RwLock<T>>, UPGRADABLE>;
/// As [`RwLockWriteGuard`], and keeps the lock alive.
pub type OwnedRwLockWriteGuard<T> = Guard<Arc<RwLock<T>>, WRITE>;

/// A lock that is locked: the six differ in how they point to the lock, and in how many permits
/// they have.
#[must_use = "dropped at once, it locks nothing"]
pub struct Guard<P: Pointer, const PERMITS: usize> {
    lock: P,
}

impl<P: Pointer, const PERMITS: usize> Guard<P, PERMITS> {
    /// One who has taken the permits.
    pub(super) fn new(lock: P) -> Self {
        Self { lock }
    }

    pub(super) fn try_new(lock: P) -> Option<Self> {
        lock.permits.try_take(PERMITS).then(|| Self::new(lock))
    }

    pub(super) fn pointer(&self) -> &P {
        &self.lock
    }

    /// One of `OTHER` permits: the caller takes, or puts back, what is between the two.
    pub(super) fn into_guard_of<const OTHER: usize>(self) -> Guard<P, OTHER> {
        let this = ManuallyDrop::new(self);
        // SAFETY: it is read once, and `this` is not dropped.
        Guard::new(unsafe { std::ptr::read(&raw const this.lock) })
    }

    fn lessen<const OTHER: usize>(self) -> Guard<P, OTHER> {
        let guard = self.into_guard_of::<OTHER>();
        guard.lock.permits.put(PERMITS - OTHER);
        guard
    }
}

impl<P: Pointer> Guard<P, WRITE> {
    /// Goes on as a reader; nobody writes in between.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = corymb::sync::RwLock::new(1);
    /// let mut writer = lock.write_blocking();
    /// *writer += 1;
    /// let reader = writer.downgrade();
    /// assert_eq!((*reader, lock.try_read().as_deref()), (2, Some(&2)));
    /// ```
    pub fn downgrade(self) -> Guard<P, READ> {
        self.lessen()
    }

    /// Goes on as an upgradable reader; nobody writes in between.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = corymb::sync::RwLock::new(1);
    /// let reader = lock.write_blocking().downgrade_to_upgradable();
    /// assert!(lock.try_read().is_some() && lock.try_upgradable_read().is_none());
    /// *reader.upgrade_blocking() += 1;
    /// ```
    pub fn downgrade_to_upgradable(self) -> Guard<P, UPGRADABLE> {
        self.lessen()
    }
}

impl<P: Pointer> Guard<P, UPGRADABLE> {
    /// Goes on as a writer, waiting until the other readers have left. It comes before all that
    /// wait, and holds new readers back; nobody writes in between.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::RwLock;
    ///
    /// let lock = RwLock::new(1);
    /// corymb::run_blocking(async {
    ///     let seen = lock.upgradable_read().await;
    ///     *seen.upgrade().await += 1;
    /// });
    /// assert_eq!(lock.into_inner(), 2);
    /// ```
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped unlocks: the guard is gone, and with it what was read.
    #[track_caller]
    pub fn upgrade(self) -> Upgrade<P> {
        Upgrade::new(self, Location::caller())
    }

    /// As [`upgrade`](Self::upgrade), and blocks the thread meanwhile.
    ///
    /// # Panics
    ///
    /// If it has to wait in a coroutine, but in `blocking(..)`.
    #[track_caller]
    pub fn upgrade_blocking(self) -> Guard<P, WRITE> {
        block_on("upgrade", self.upgrade())
    }

    /// Goes on as a writer if nobody else reads.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = corymb::sync::RwLock::new(1);
    /// let reader = lock.try_read();
    /// let seen = lock.upgradable_read_blocking();
    /// let seen = seen.try_upgrade().expect_err("there is a reader");
    /// drop(reader);
    /// assert!(seen.try_upgrade().is_ok());
    /// ```
    ///
    /// # Errors
    ///
    /// Gives the guard back if somebody else reads.
    pub fn try_upgrade(self) -> Result<Guard<P, WRITE>, Self> {
        match self.lock.permits.word().take_under_lock(WRITE - UPGRADABLE) {
            true => Ok(self.into_guard_of()),
            false => Err(self),
        }
    }

    /// Goes on as a reader without that right.
    pub fn downgrade(self) -> Guard<P, READ> {
        self.lessen()
    }
}

impl<P: Pointer, const PERMITS: usize> Deref for Guard<P, PERMITS> {
    type Target = P::Value;

    fn deref(&self) -> &P::Value {
        // SAFETY: the guard has a permit, so nobody has them all, unless it is this one.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<P: Pointer> DerefMut for Guard<P, WRITE> {
    fn deref_mut(&mut self) -> &mut P::Value {
        // SAFETY: the guard has all permits.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<P: Pointer, const PERMITS: usize> Drop for Guard<P, PERMITS> {
    fn drop(&mut self) {
        self.lock.permits.put(PERMITS);
    }
}

impl<P: Pointer<Value: fmt::Debug>, const PERMITS: usize> fmt::Debug for Guard<P, PERMITS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
