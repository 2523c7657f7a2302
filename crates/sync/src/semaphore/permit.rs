//! Permits that somebody has.

use std::fmt;
use std::sync::Arc;

use super::{Pointer, Semaphore};

/// Permits of a [`Semaphore`], which go back when this is dropped.
pub type SemaphorePermit<'a> = Permit<&'a Semaphore>;

/// Permits of a [`Semaphore`] that they keep alive, which go back when this is dropped.
pub type OwnedSemaphorePermit = Permit<Arc<Semaphore>>;

/// Permits: [`SemaphorePermit`] and [`OwnedSemaphorePermit`], which differ in how they point to the
/// semaphore.
#[must_use = "dropped at once, it keeps nothing from others"]
#[expect(private_bounds, reason = "sealed: a reference or an Arc")]
pub struct Permit<P: Pointer> {
    semaphore: P,
    permits: usize,
}

#[expect(private_bounds, reason = "sealed: a reference or an Arc")]
impl<P: Pointer> Permit<P> {
    /// One who has taken the permits.
    pub(super) fn new(semaphore: P, permits: usize) -> Self {
        Self { semaphore, permits }
    }

    /// How many these are.
    pub fn num_permits(&self) -> usize {
        self.permits
    }

    /// Adds those of `other`.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = corymb::sync::Semaphore::new(2);
    /// let mut permits = semaphore.try_acquire().expect("there are two");
    /// permits.merge(semaphore.try_acquire().expect("there is one left"));
    /// assert_eq!(permits.num_permits(), 2);
    /// ```
    ///
    /// # Panics
    ///
    /// If they are of another semaphore.
    #[track_caller]
    pub fn merge(&mut self, mut other: Self) {
        assert!(
            std::ptr::eq(&raw const *self.semaphore, &raw const *other.semaphore),
            "permits of two semaphores cannot be merged: each goes back to its own"
        );
        self.permits += std::mem::take(&mut other.permits);
    }

    /// Takes `permits` out of these; `None` if they are not as many.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = corymb::sync::Semaphore::new(3);
    /// let mut three = semaphore.try_acquire_many(3).expect("there are three");
    /// let one = three.split(1).expect("there are three");
    /// assert_eq!((one.num_permits(), three.num_permits()), (1, 2));
    /// assert!(three.split(3).is_none());
    /// ```
    #[must_use = "dropped at once, it gives them back"]
    pub fn split(&mut self, permits: usize) -> Option<Self> {
        self.permits = self.permits.checked_sub(permits)?;
        Some(Self::new(self.semaphore.clone(), permits))
    }

    /// Has them vanish: there are fewer in all from now on.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = corymb::sync::Semaphore::new(3);
    /// semaphore.try_acquire().expect("there are three").forget();
    /// assert_eq!(semaphore.statistics().permits, 2);
    /// ```
    pub fn forget(mut self) {
        self.semaphore.forget(std::mem::take(&mut self.permits));
    }
}

impl<P: Pointer> Drop for Permit<P> {
    fn drop(&mut self) {
        if self.permits > 0 {
            self.semaphore.permits.put(self.permits);
        }
    }
}

impl<P: Pointer> fmt::Debug for Permit<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemaphorePermit").field("permits", &self.permits).finish_non_exhaustive()
    }
}
