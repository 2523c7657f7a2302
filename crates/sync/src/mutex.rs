//! A lock that coroutines suspend on.

mod guard;

use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use corymb_core::internal::prim::UnsafeCell;
use pin_project::pin_project;

pub use self::guard::{Guard, MappedMutexGuard, MutexGuard, OwnedMutexGuard};
use crate::anchored::constant;
use crate::blocking::block_on;
use crate::monitor::{Monitor, Owner};
use crate::permits::{Kind, Permits, Take, Waiters};

/// A value that one coroutine at a time reaches, also across suspensions.
///
/// For a value that is only touched between suspensions, `std::sync::Mutex` is faster.
///
/// A holder that panics unlocks it, and nothing is poisoned: the value stays as it was left. Where
/// that may be halfway, change a copy and put it in its place at the end.
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
/// In a static:
///
/// ```
/// use corymb::sync::Mutex;
///
/// static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());
///
/// corymb::run_blocking(async { NAMES.lock().await.push("one".to_owned()) });
/// assert_eq!(*NAMES.lock_blocking(), ["one"]);
/// ```
///
/// Of a trait object:
///
/// ```
/// use corymb::sync::Mutex;
/// use std::fmt::Write;
/// use std::sync::Arc;
///
/// let out: Arc<Mutex<dyn Write + Send>> = Arc::new(Mutex::new(String::new()));
/// corymb::run_blocking(async { out.lock_owned().await.write_str("one") }).unwrap();
/// ```
///
/// # Fairness
///
/// Whoever waits gets it in the order of arrival, and nobody gets ahead of them.
///
/// # Ordering
///
/// What a holder did before it let go is visible to the next.
pub struct Mutex<T: ?Sized> {
    permits: Permits<Exclusive>,
    /// The last field, so that it may be unsized.
    value: UnsafeCell<T>,
}

/// The one permit of a mutex.
pub(crate) struct Exclusive;

impl Kind for Exclusive {
    const NAME: &'static str = "mutex";
    type Ahead = ();
    type Refusal = Infallible;

    fn ahead(_: usize) {}
}

// SAFETY: who has the permit reaches the value, one thread after the other.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

// SAFETY: it is in the place of `self`.
unsafe impl<T: ?Sized> Owner for Mutex<T> {
    type State = Waiters<Exclusive>;

    fn monitor(&self) -> &Monitor<Waiters<Exclusive>> {
        self.permits.monitor()
    }
}

/// A reference to a mutex, or an `Arc` of it.
#[expect(private_bounds, reason = "sealed: a reference or an Arc")]
pub trait Pointer:
    Owner<State = Waiters<Exclusive>> + Deref<Target = Mutex<<Self as Pointer>::Value>> + Clone
{
    /// What is locked: no parameter of the futures beside the pointer, for then its lifetimes would
    /// be told apart from those in the pointer's type, and a wrapper around them not be `Send`.
    type Value: ?Sized;
}

impl<T: ?Sized> Pointer for &Mutex<T> {
    type Value = T;
}

impl<T: ?Sized> Pointer for Arc<Mutex<T>> {
    type Value = T;
}

impl<T> Mutex<T> {
    constant! {
        /// An unlocked one.
        pub fn new(value: T) -> Self {
            Self { permits: Permits::new(1), value: UnsafeCell::new(value) }
        }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
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
        Lock::new(self, Location::caller())
    }

    /// As [`lock`](Self::lock), and the guard keeps the mutex alive, so that it can be moved to
    /// where the mutex is not borrowed.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use corymb::sync::Mutex;
    /// use std::sync::Arc;
    ///
    /// let mutex = Arc::new(Mutex::new(1));
    /// run_blocking(scope(async |s| {
    ///     let mut guard = mutex.lock_owned().await;
    ///     s.launch(async move { *guard += 1 });
    ///     assert_eq!(*mutex.lock().await, 2);
    /// }));
    /// ```
    ///
    /// # Cancel safety
    ///
    /// As [`lock`](Self::lock).
    #[track_caller]
    pub fn lock_owned(self: &Arc<Self>) -> OwnedMutexLock<T> {
        Lock::new(Arc::clone(self), Location::caller())
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
    /// If it has to wait in a coroutine, but in `blocking(..)`: the thread may be the one that the holder needs.
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
        self.permits.try_take(1).then(|| Guard::new(self))
    }

    /// As [`try_lock`](Self::try_lock), with a guard as that of [`lock_owned`](Self::lock_owned).
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::Mutex;
    /// use std::sync::Arc;
    ///
    /// let mutex = Arc::new(Mutex::new(1));
    /// let guard = mutex.try_lock_owned();
    /// drop(mutex);
    /// assert_eq!(guard.as_deref(), Some(&1));
    /// ```
    pub fn try_lock_owned(self: &Arc<Self>) -> Option<OwnedMutexGuard<T>> {
        self.permits.try_take(1).then(|| Guard::new(Arc::clone(self)))
    }

    /// Whether somebody has locked it, or it is offered to somebody.
    pub fn is_locked(&self) -> bool {
        self.permits.available() == 0
    }

    /// Figures of the present.
    ///
    /// # Examples
    ///
    /// ```
    /// let mutex = corymb::sync::Mutex::new(());
    /// let _guard = mutex.try_lock();
    /// let statistics = mutex.statistics();
    /// assert_eq!((statistics.locked, statistics.waiting), (true, 0));
    /// ```
    pub fn statistics(&self) -> MutexStatistics {
        let figures = self.permits.figures();
        MutexStatistics {
            locked: figures.available == 0,
            waiting: figures.waiters,
            max_waiting: figures.most_waiters,
        }
    }

    /// The value, without a lock: nobody else is there.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self`.
        self.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Mutex");
        match self.try_lock() {
            Some(value) => out.field("value", &value),
            None => out.field("value", &format_args!("<locked>")),
        };
        out.finish()
    }
}

/// Figures of a [`Mutex`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MutexStatistics {
    /// Somebody has locked it, or it is offered to somebody.
    pub locked: bool,
    /// How many wait for it.
    pub waiting: usize,
    /// How many have waited at once so far.
    pub max_waiting: usize,
}

/// The future of [`Mutex::lock`].
pub type MutexLock<'a, T> = Lock<&'a Mutex<T>>;

/// The future of [`Mutex::lock_owned`].
pub type OwnedMutexLock<T> = Lock<Arc<Mutex<T>>>;

/// The future of [`Mutex::lock`] and [`Mutex::lock_owned`], which differ in how they point to the
/// mutex.
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct Lock<P: Pointer> {
    #[pin]
    take: Take<P, Exclusive>,
    mutex: P,
}

impl<P: Pointer> Lock<P> {
    pub(crate) fn new(mutex: P, place: &'static Location<'static>) -> Self {
        let take = Take::new(mutex.clone(), 1, place);
        Self { take, mutex }
    }
}

impl<P: Pointer> Future for Lock<P> {
    type Output = Guard<P>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(()) = ready!(this.take.poll(&this.mutex.permits, cx));
        Poll::Ready(Guard::new(this.mutex.clone()))
    }
}
