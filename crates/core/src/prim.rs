//! Atomics, cells, locks and thread-locals: `std`'s, or loom's under `--cfg loom`.
//!
//! The only file of the workspace that names `std::sync::atomic` or `std::cell::UnsafeCell`, so
//! that a model checks what production runs.

#[cfg(not(loom))]
mod imp {
    pub use std::sync::atomic;

    /// A cell whose contents are reached through raw pointers, with loom's interface.
    #[derive(Debug, Default)]
    #[repr(transparent)]
    #[expect(clippy::disallowed_types, reason = "this is the type that stands in for it")]
    pub struct UnsafeCell<T: ?Sized>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// Wraps `value`.
        #[expect(clippy::disallowed_types, reason = "this is the type that stands in for it")]
        pub const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// Calls `f` with a pointer for reading.
        #[inline(always)]
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Calls `f` with a pointer for writing.
        #[inline(always)]
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    /// A lock that a panicking holder does not poison: what it guards is consistent at every
    /// point where foreign code can run.
    #[derive(Debug, Default)]
    pub struct Mutex<T>(std::sync::Mutex<T>);

    /// The guard of a [`Mutex`].
    pub type MutexGuard<'a, T> = std::sync::MutexGuard<'a, T>;

    impl<T> Mutex<T> {
        /// An unlocked mutex around `value`.
        pub const fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        /// Locks, blocking the thread while another one holds the lock.
        #[inline]
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        /// Locks if that needs no waiting.
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(guard) => Some(guard),
                Err(std::sync::TryLockError::Poisoned(poison)) => Some(poison.into_inner()),
                Err(std::sync::TryLockError::WouldBlock) => None,
            }
        }
    }
}

#[cfg(loom)]
mod imp {
    pub use loom::cell::UnsafeCell;
    pub use loom::sync::MutexGuard;
    pub use loom::sync::atomic;

    /// loom's mutex behind the interface of the other one.
    #[derive(Debug)]
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        /// An unlocked mutex around `value`.
        pub fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        /// Locks, blocking the thread while another one holds the lock.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }

        /// Locks if that needs no waiting.
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}

pub use imp::{Mutex, MutexGuard, UnsafeCell, atomic};
#[cfg(not(loom))]
pub(crate) use std::thread_local;

/// loom's thread-locals, for its threads are all one to `std`, behind the interface of the others.
#[cfg(loom)]
macro_rules! model_local {
    (static $name:ident: $type:ty = const $init:block;) => {
        loom::thread_local! { static $name: $type = $init; }
    };
}
#[cfg(loom)]
pub(crate) use model_local as thread_local;
