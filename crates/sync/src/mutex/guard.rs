//! What has a mutex locked.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use super::{Exclusive, Mutex, Pointer};
use crate::permits::Permits;

/// A locked [`Mutex`], which is unlocked when this is dropped.
pub type MutexGuard<'a, T> = Guard<&'a Mutex<T>>;

/// A locked [`Mutex`] that is kept alive, and unlocked when this is dropped.
pub type OwnedMutexGuard<T> = Guard<Arc<Mutex<T>>>;

/// A locked mutex: [`MutexGuard`] and [`OwnedMutexGuard`], which differ in how they point to it.
#[must_use = "dropped at once, it locks nothing"]
pub struct Guard<P: Pointer> {
    mutex: P,
}

// SAFETY: as a reference to the value.
unsafe impl<P: Pointer<Value: Sync> + Sync> Sync for Guard<P> {}

impl<P: Pointer> Guard<P> {
    /// One who has taken the permit.
    pub(super) fn new(mutex: P) -> Self {
        Self { mutex }
    }

    /// The mutex that is locked.
    pub(crate) fn pointer(&self) -> &P {
        &self.mutex
    }
}

impl<'a, T: ?Sized> Guard<&'a Mutex<T>> {
    /// A guard of a part of the value.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{Mutex, MutexGuard};
    ///
    /// let pair = Mutex::new((1, "one"));
    /// let mut number = MutexGuard::map(pair.lock_blocking(), |pair| &mut pair.0);
    /// *number = 2;
    /// assert!(pair.is_locked());
    /// drop(number);
    /// assert_eq!(pair.into_inner(), (2, "one"));
    /// ```
    pub fn map<U: ?Sized>(
        mut this: Self,
        part: impl FnOnce(&mut T) -> &mut U,
    ) -> MappedMutexGuard<'a, U> {
        let value = NonNull::from(part(&mut this));
        let permits = &this.mutex.permits;
        std::mem::forget(this);
        MappedMutexGuard { permits, value, _value: std::marker::PhantomData }
    }
}

impl<P: Pointer> Deref for Guard<P> {
    type Target = P::Value;

    fn deref(&self) -> &P::Value {
        // SAFETY: the guard has the one permit.
        self.mutex.value.with(|value| unsafe { &*value })
    }
}

impl<P: Pointer> DerefMut for Guard<P> {
    fn deref_mut(&mut self) -> &mut P::Value {
        // SAFETY: as above.
        self.mutex.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<P: Pointer> Drop for Guard<P> {
    fn drop(&mut self) {
        self.mutex.permits.put(1);
    }
}

impl<P: Pointer<Value: fmt::Debug>> fmt::Debug for Guard<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A part of the value of a locked [`Mutex`], which is unlocked when this is dropped.
#[must_use = "dropped at once, it locks nothing"]
pub struct MappedMutexGuard<'a, U: ?Sized> {
    permits: &'a Permits<Exclusive>,
    value: NonNull<U>,
    _value: std::marker::PhantomData<&'a mut U>,
}

// SAFETY: as the `&mut` that it stands for.
unsafe impl<U: ?Sized + Send> Send for MappedMutexGuard<'_, U> {}
// SAFETY: as above.
unsafe impl<U: ?Sized + Sync> Sync for MappedMutexGuard<'_, U> {}

impl<U: ?Sized> Deref for MappedMutexGuard<'_, U> {
    type Target = U;

    fn deref(&self) -> &U {
        // SAFETY: it lies in the value of the mutex, whose permit this has, and which is borrowed.
        unsafe { self.value.as_ref() }
    }
}

impl<U: ?Sized> DerefMut for MappedMutexGuard<'_, U> {
    fn deref_mut(&mut self) -> &mut U {
        // SAFETY: as above.
        unsafe { self.value.as_mut() }
    }
}

impl<U: ?Sized> Drop for MappedMutexGuard<'_, U> {
    fn drop(&mut self) {
        self.permits.put(1);
    }
}

impl<U: ?Sized + fmt::Debug> fmt::Debug for MappedMutexGuard<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
