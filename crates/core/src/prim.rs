//! Atomics, cells, locks and thread-locals: `std`'s, or loom's under `--cfg loom`.
//!
//! The only file of the workspace that names `std::sync::atomic` or `std::cell::UnsafeCell`, so
//! that a model checks what production runs.

#[cfg(not(loom))]
mod imp {
    pub use std::sync::atomic;
    pub(super) use std::thread::yield_now;

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

        /// The contents.
        pub fn into_inner(self) -> T {
            self.0.into_inner()
        }
    }

    impl<T: ?Sized> UnsafeCell<T> {
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
    /// A [`Mutex`] that some only try to lock while they hold what its holders wait for. (In a
    /// model of loom, one that is about to try is blocked as if it waited.)
    pub type TryMutex<T> = Mutex<T>;

    impl<T> Mutex<T> {
        /// As [`lock`](Self::lock), for what is held for a few instructions, again and again, by a
        /// thread that will not be done soon: keeps out of its way for longer and longer before it
        /// blocks. So the lock and what it guards stay in one processor's cache for many turns.
        #[inline]
        pub fn lock_patiently(&self) -> MutexGuard<'_, T> {
            self.try_lock().unwrap_or_else(|| self.lock_slowly())
        }

        #[cold]
        fn lock_slowly(&self) -> MutexGuard<'_, T> {
            for round in 0..ROUNDS {
                for _ in 0..FIRST_ROUND << round {
                    std::hint::spin_loop();
                }
                if let Some(guard) = self.try_lock() {
                    return guard;
                }
            }
            self.lock()
        }
    }

    /// How often a thread keeps out of the way before it blocks: twice as long each time.
    const ROUNDS: u32 = if cfg!(miri) { 0 } else { 8 };
    /// How many turns of a spinning loop the first time takes.
    const FIRST_ROUND: u32 = 16;
    /// The guard of a [`TryMutex`].
    pub type TryMutexGuard<'a, T> = MutexGuard<'a, T>;

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

        /// What is inside, for who has the mutex alone.
        #[inline]
        pub fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
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

    pub(super) use loom::thread::yield_now;

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

        /// What is inside, for who has the mutex alone.
        pub fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap()
        }

        /// Locks if that needs no waiting.
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }

    /// loom's own `try_lock` blocks while another thread has the lock. So the lock is a flag, and
    /// those who may wait do that by a condition variable.
    #[derive(Debug)]
    pub struct TryMutex<T> {
        taken: loom::sync::Mutex<bool>,
        freed: loom::sync::Condvar,
        value: UnsafeCell<T>,
    }

    // SAFETY: one thread at a time has what is in it.
    unsafe impl<T: Send> Send for TryMutex<T> {}
    // SAFETY: as above.
    unsafe impl<T: Send> Sync for TryMutex<T> {}

    /// The guard of a [`TryMutex`].
    #[derive(Debug)]
    pub struct TryMutexGuard<'a, T> {
        mutex: &'a TryMutex<T>,
        value: Option<loom::cell::MutPtr<T>>,
    }

    impl<T> TryMutex<T> {
        /// An unlocked mutex around `value`.
        pub fn new(value: T) -> Self {
            let taken = loom::sync::Mutex::new(false);
            Self { taken, freed: loom::sync::Condvar::new(), value: UnsafeCell::new(value) }
        }

        /// Locks, blocking the thread while another one holds the lock.
        pub fn lock(&self) -> TryMutexGuard<'_, T> {
            let mut taken = self.taken.lock().unwrap();
            while *taken {
                taken = self.freed.wait(taken).unwrap();
            }
            *taken = true;
            TryMutexGuard { mutex: self, value: Some(self.value.get_mut()) }
        }

        /// As [`lock`](Self::lock).
        pub fn lock_patiently(&self) -> TryMutexGuard<'_, T> {
            self.lock()
        }

        /// Locks if that needs no waiting.
        pub fn try_lock(&self) -> Option<TryMutexGuard<'_, T>> {
            let was_taken = std::mem::replace(&mut *self.taken.lock().unwrap(), true);
            let guard = || TryMutexGuard { mutex: self, value: Some(self.value.get_mut()) };
            (!was_taken).then(guard)
        }
    }

    impl<T> std::ops::Deref for TryMutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            // SAFETY: the guard stands for the lock.
            unsafe { self.value.as_ref().expect("it is there until the drop").deref() }
        }
    }

    impl<T> std::ops::DerefMut for TryMutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: as above.
            unsafe { self.value.as_ref().expect("it is there until the drop").deref() }
        }
    }

    impl<T> Drop for TryMutexGuard<'_, T> {
        fn drop(&mut self) {
            self.value = None;
            *self.mutex.taken.lock().unwrap() = false;
            self.mutex.freed.notify_one();
        }
    }
}

/// For a loop that waits until another thread has done a few instructions more.
#[derive(Debug, Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    /// How often it spins before it gives the processor up: the other thread may have none.
    #[cfg(not(any(loom, miri)))]
    const SPINS: u32 = 64;
    #[cfg(any(loom, miri))]
    const SPINS: u32 = 1;

    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn spin(&mut self) {
        if self.0 < Self::SPINS {
            self.0 += 1;
            std::hint::spin_loop();
        } else {
            imp::yield_now();
        }
    }
}

pub use imp::{Mutex, MutexGuard, TryMutex, TryMutexGuard, UnsafeCell, atomic};
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
