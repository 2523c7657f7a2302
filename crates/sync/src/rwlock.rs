//! A lock that many readers share, or one writer has.
//!
//! # How many permits what has
//!
//! A reader has one, a writer all, and an upgradable reader more than half: so readers go with it,
//! and neither a writer nor another of its kind. An upgrade takes the rest, ahead of the queue: a
//! writer that waits there needs what the upgradable reader has.

mod guard;
mod upgrade;

use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use corymb_core::internal::prim::UnsafeCell;
use pin_project::pin_project;

pub use self::guard::{
    Guard, OwnedRwLockReadGuard, OwnedRwLockUpgradableReadGuard, OwnedRwLockWriteGuard,
    RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard,
};
use self::upgrade::Upgrading;
pub use self::upgrade::{OwnedRwLockUpgrade, RwLockUpgrade, Upgrade};
use crate::anchored::constant;
use crate::blocking::block_on;
use crate::monitor::{Monitor, Owner};
use crate::permits::{self, Gate, Kind, Permits, Take, Waiters, Word};
use crate::waiters::WaitList;

const READ: usize = 1;
const UPGRADABLE: usize = WRITE / 2 + 1;
const WRITE: usize = permits::MAX;

/// A value that many may read, or one may change, also across suspensions.
///
/// If what is done with the value is short, a [`Mutex`](crate::Mutex) is faster, also for readers.
/// A holder that panics unlocks it, and nothing is poisoned.
///
/// # Examples
///
/// ```
/// use corymb::sync::RwLock;
///
/// let config = RwLock::new(vec![1, 2]);
/// corymb::run_blocking(async {
///     {
///         let (one, other) = (config.read().await, config.read().await);
///         assert_eq!(*one, *other);
///     }
///     config.write().await.push(3);
/// });
/// assert_eq!(config.into_inner(), [1, 2, 3]);
/// ```
///
/// # Fairness
///
/// Whoever waits gets it in the order of arrival: a writer that waits holds back the readers that
/// come after it. So who has a read guard and asks for another one may wait for a writer that waits
/// for the first. An upgrade comes before all that wait.
///
/// # Ordering
///
/// What a writer did is visible to who has it next; what readers did to the next writer.
pub struct RwLock<T: ?Sized> {
    permits: Permits<Shared>,
    /// The last field, so that it may be unsized.
    value: UnsafeCell<T>,
}

/// The permits of such a lock.
pub(crate) struct Shared;

impl Kind for Shared {
    const NAME: &'static str = "rwlock";
    /// The upgrade that waits, if there is one.
    type Ahead = WaitList<Upgrading>;
    type Refusal = Infallible;

    fn ahead(_: usize) -> WaitList<Upgrading> {
        WaitList::new()
    }

    fn serve(upgrade: &mut WaitList<Upgrading>, word: &Word) -> Option<Waker> {
        if !upgrade.is_empty() && word.take_under_lock(WRITE - UPGRADABLE) {
            return upgrade.call();
        }
        None
    }

    fn gate(upgrade: &WaitList<Upgrading>) -> Gate<Infallible> {
        if upgrade.is_empty() { Gate::Open } else { Gate::Shut }
    }
}

// SAFETY: it is in the place of `self`.
unsafe impl<T: ?Sized> Owner for RwLock<T> {
    type State = Waiters<Shared>;

    fn monitor(&self) -> &Monitor<Waiters<Shared>> {
        self.permits.monitor()
    }
}

// SAFETY: who has permits reaches the value: many threads at once, as `&T`, or one after the other.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

/// A reference to a lock, or an `Arc` of it.
#[expect(private_bounds, reason = "sealed: a reference or an Arc")]
pub trait Pointer:
    Owner<State = Waiters<Shared>> + Deref<Target = RwLock<<Self as Pointer>::Value>> + Clone
{
    /// What is locked. As with [`Mutex`](crate::Mutex), it is no parameter of the futures.
    type Value: ?Sized;
}

impl<T: ?Sized> Pointer for &RwLock<T> {
    type Value = T;
}

impl<T: ?Sized> Pointer for Arc<RwLock<T>> {
    type Value = T;
}

impl<T> RwLock<T> {
    constant! {
        /// An unlocked one.
        pub fn new(value: T) -> Self {
            Self { permits: Permits::new(WRITE), value: UnsafeCell::new(value) }
        }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks for reading, waiting while somebody writes or waits to.
    ///
    /// There can be a quarter as many readers as a word can tell, which is more than memory has room
    /// for, unless their guards are forgotten; one more waits.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = corymb::sync::RwLock::new(7);
    /// assert_eq!(corymb::run_blocking(async { *lock.read().await }), 7);
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost but the place in the queue. A lock that was offered to a future that is
    /// dropped, or that its coroutine no longer polls, goes to the next.
    #[track_caller]
    pub fn read(&self) -> RwLockRead<'_, T> {
        Acquire::new(self, Location::caller())
    }

    /// Locks for writing, waiting for all who read or write.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = corymb::sync::RwLock::new(7);
    /// corymb::run_blocking(async { *lock.write().await += 1 });
    /// assert_eq!(lock.into_inner(), 8);
    /// ```
    ///
    /// # Cancel safety
    ///
    /// As [`read`](Self::read). Readers that it held back go on.
    #[track_caller]
    pub fn write(&self) -> RwLockWrite<'_, T> {
        Acquire::new(self, Location::caller())
    }

    /// Locks for reading, with the right to [upgrade](crate::generic::RwLockGuard::upgrade). Readers
    /// go with it, and neither a writer nor another upgradable reader.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = corymb::sync::RwLock::new(vec![1]);
    /// corymb::run_blocking(async {
    ///     let seen = lock.upgradable_read().await;
    ///     if seen.len() == 1 {
    ///         seen.upgrade().await.push(2); // nobody has changed it meanwhile
    ///     }
    /// });
    /// assert_eq!(lock.into_inner(), [1, 2]);
    /// ```
    ///
    /// # Cancel safety
    ///
    /// As [`read`](Self::read).
    #[track_caller]
    pub fn upgradable_read(&self) -> RwLockUpgradableRead<'_, T> {
        Acquire::new(self, Location::caller())
    }

    /// As [`read`](Self::read), and the guard keeps the lock alive.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::RwLock;
    /// use std::sync::Arc;
    ///
    /// let lock = Arc::new(RwLock::new(7));
    /// let guard = corymb::run_blocking(lock.read_owned());
    /// drop(lock);
    /// assert_eq!(*guard, 7);
    /// ```
    ///
    /// # Cancel safety
    ///
    /// As [`read`](Self::read).
    #[track_caller]
    pub fn read_owned(self: &Arc<Self>) -> OwnedRwLockRead<T> {
        Acquire::new(Arc::clone(self), Location::caller())
    }

    /// As [`write`](Self::write), and the guard keeps the lock alive.
    ///
    /// # Cancel safety
    ///
    /// As [`write`](Self::write).
    #[track_caller]
    pub fn write_owned(self: &Arc<Self>) -> OwnedRwLockWrite<T> {
        Acquire::new(Arc::clone(self), Location::caller())
    }

    /// As [`upgradable_read`](Self::upgradable_read), and the guard keeps the lock alive.
    ///
    /// # Cancel safety
    ///
    /// As [`read`](Self::read).
    #[track_caller]
    pub fn upgradable_read_owned(self: &Arc<Self>) -> OwnedRwLockUpgradableRead<T> {
        Acquire::new(Arc::clone(self), Location::caller())
    }

    /// As [`read`](Self::read), and blocks the thread meanwhile: for code that is not asynchronous.
    ///
    /// # Panics
    ///
    /// If it has to wait in a coroutine, but in `blocking(..)`: the thread may be the one that the writer needs.
    #[track_caller]
    pub fn read_blocking(&self) -> RwLockReadGuard<'_, T> {
        block_on("read", self.read())
    }

    /// As [`write`](Self::write), and blocks the thread meanwhile: for code that is not
    /// asynchronous.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = corymb::sync::RwLock::new(7);
    /// *lock.write_blocking() += 1;
    /// assert_eq!(*lock.read_blocking(), 8);
    /// ```
    ///
    /// # Panics
    ///
    /// If it has to wait in a coroutine, but in `blocking(..)`.
    #[track_caller]
    pub fn write_blocking(&self) -> RwLockWriteGuard<'_, T> {
        block_on("write", self.write())
    }

    /// As [`upgradable_read`](Self::upgradable_read), and blocks the thread meanwhile.
    ///
    /// # Panics
    ///
    /// If it has to wait in a coroutine, but in `blocking(..)`.
    #[track_caller]
    pub fn upgradable_read_blocking(&self) -> RwLockUpgradableReadGuard<'_, T> {
        block_on("upgradable_read", self.upgradable_read())
    }

    /// Locks for reading if that needs no waiting.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = corymb::sync::RwLock::new(());
    /// let readers = (lock.try_read(), lock.try_read());
    /// assert!(readers.0.is_some() && readers.1.is_some() && lock.try_write().is_none());
    /// drop(readers);
    /// assert!(lock.try_write().is_some());
    /// ```
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        Guard::try_new(self)
    }

    /// Locks for writing if that needs no waiting.
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        Guard::try_new(self)
    }

    /// Locks for reading with the right to upgrade if that needs no waiting.
    pub fn try_upgradable_read(&self) -> Option<RwLockUpgradableReadGuard<'_, T>> {
        Guard::try_new(self)
    }

    /// As [`try_read`](Self::try_read), and the guard keeps the lock alive.
    pub fn try_read_owned(self: &Arc<Self>) -> Option<OwnedRwLockReadGuard<T>> {
        Guard::try_new(Arc::clone(self))
    }

    /// As [`try_write`](Self::try_write), and the guard keeps the lock alive.
    pub fn try_write_owned(self: &Arc<Self>) -> Option<OwnedRwLockWriteGuard<T>> {
        Guard::try_new(Arc::clone(self))
    }

    /// As [`try_upgradable_read`](Self::try_upgradable_read), and the guard keeps the lock alive.
    pub fn try_upgradable_read_owned(
        self: &Arc<Self>,
    ) -> Option<OwnedRwLockUpgradableReadGuard<T>> {
        Guard::try_new(Arc::clone(self))
    }

    /// Figures of the present.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = corymb::sync::RwLock::new(());
    /// let _readers = (lock.try_read(), lock.try_upgradable_read());
    /// let statistics = lock.statistics();
    /// assert_eq!((statistics.readers, statistics.has_writer), (2, false));
    /// ```
    pub fn statistics(&self) -> RwLockStatistics {
        let figures = self.permits.figures();
        let upgrades = self.permits.lock().ahead.len();
        let taken = WRITE - figures.available;
        let readers = if taken < UPGRADABLE { taken } else { 1 + taken - UPGRADABLE };
        RwLockStatistics {
            readers: if taken == WRITE { 0 } else { readers },
            has_writer: taken == WRITE,
            waiting: figures.waiters + upgrades,
            max_waiting: figures.most_waiters,
        }
    }

    /// The value, without a lock: nobody else is there.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self`.
        self.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("RwLock");
        match self.try_read() {
            Some(value) => out.field("value", &value),
            None => out.field("value", &format_args!("<locked>")),
        };
        out.finish()
    }
}

/// Figures of an [`RwLock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RwLockStatistics {
    /// How many read, or are offered to, upgradable ones included.
    pub readers: usize,
    /// Somebody writes, or is offered to.
    pub has_writer: bool,
    /// How many wait.
    pub waiting: usize,
    /// How many have waited at once so far, upgrades not counted.
    pub max_waiting: usize,
}

/// The future of [`RwLock::read`].
pub type RwLockRead<'a, T> = Acquire<&'a RwLock<T>, READ>;
/// The future of [`RwLock::upgradable_read`].
pub type RwLockUpgradableRead<'a, T> = Acquire<&'a RwLock<T>, UPGRADABLE>;
/// The future of [`RwLock::write`].
pub type RwLockWrite<'a, T> = Acquire<&'a RwLock<T>, WRITE>;
/// The future of [`RwLock::read_owned`].
pub type OwnedRwLockRead<T> = Acquire<Arc<RwLock<T>>, READ>;
/// The future of [`RwLock::upgradable_read_owned`].
pub type OwnedRwLockUpgradableRead<T> = Acquire<Arc<RwLock<T>>, UPGRADABLE>;
/// The future of [`RwLock::write_owned`].
pub type OwnedRwLockWrite<T> = Acquire<Arc<RwLock<T>>, WRITE>;

/// The future that locks: the six differ in how they point to the lock, and in how many permits
/// they take.
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct Acquire<P: Pointer, const PERMITS: usize> {
    #[pin]
    take: Take<P, Shared>,
    lock: P,
}

impl<P: Pointer, const PERMITS: usize> Acquire<P, PERMITS> {
    fn new(lock: P, place: &'static Location<'static>) -> Self {
        let take = Take::new(lock.clone(), PERMITS, place);
        Self { take, lock }
    }
}

impl<P: Pointer, const PERMITS: usize> Future for Acquire<P, PERMITS> {
    type Output = Guard<P, PERMITS>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(()) = ready!(this.take.poll(&this.lock.permits, cx));
        Poll::Ready(Guard::new(this.lock.clone()))
    }
}
