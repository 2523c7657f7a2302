//! A number of permits.

mod permit;

use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use pin_project::pin_project;

pub use self::permit::{OwnedSemaphorePermit, Permit, SemaphorePermit};
use crate::anchored::constant;
use crate::blocking::block_on;
use crate::monitor::{Monitor, Owner};
use crate::permits::{self, Gate, Kind, Permits, Take, Waiters, Word};

/// A number of permits, each of which is had by one at a time.
///
/// To limit how many children of a scope run at once, `Scope::limit` needs no permits.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use corymb::sync::Semaphore;
/// use std::sync::Arc;
///
/// let lines = Arc::new(Semaphore::new(2));
/// run_blocking(scope(async |s| {
///     for _ in 0..4 {
///         let lines = Arc::clone(&lines);
///         s.launch(async move {
///             let _line = lines.acquire().await.expect("nobody closes it");
///             yield_now().await; // two at most are here
///         });
///     }
/// }));
/// assert_eq!(lines.available_permits(), 2);
/// ```
///
/// # Fairness
///
/// Whoever waits gets its permits in the order of arrival, and nobody gets ahead of them: a request
/// for many holds back later ones for few until it has been met.
///
/// # Ordering
///
/// What was done before a permit was given back is visible to who has it next.
pub struct Semaphore {
    permits: Permits<Counted>,
    max: usize,
}

/// The permits of a semaphore.
pub(crate) struct Counted;

/// What comes before its queue.
pub(crate) struct Books {
    /// How many there are in all, those that are to vanish not counted.
    total: usize,
    /// Those that vanish as soon as they come back.
    owed: usize,
    closed: bool,
}

impl Books {
    /// Adds permits, and gives those of them that stay.
    fn add(&mut self, permits: usize) -> usize {
        let vanish = permits.min(self.owed);
        self.owed -= vanish;
        self.total += permits;
        permits - vanish
    }

    /// Counts out permits that never come back: those first that are to vanish.
    fn forget(&mut self, permits: usize) {
        let owed = permits.min(self.owed);
        self.owed -= owed;
        self.total -= permits - owed;
    }
}

impl Kind for Counted {
    const NAME: &'static str = "semaphore";
    type Ahead = Books;
    type Refusal = AcquireError;

    fn ahead(permits: usize) -> Books {
        Books { total: permits, owed: 0, closed: false }
    }

    fn serve(books: &mut Books, word: &Word) -> Option<Waker> {
        let vanish = books.owed.min(word.available());
        if word.take_under_lock(vanish) {
            books.owed -= vanish;
        }
        None
    }

    fn gate(books: &Books) -> Gate<AcquireError> {
        match books {
            Books { closed: true, .. } => Gate::Refused(AcquireError),
            Books { owed: 0, .. } => Gate::Open,
            _ => Gate::Shut,
        }
    }
}

// SAFETY: it is in the place of `self`.
unsafe impl Owner for Semaphore {
    type State = Waiters<Counted>;

    fn monitor(&self) -> &Monitor<Waiters<Counted>> {
        self.permits.monitor()
    }
}

/// A reference to a semaphore, or an `Arc` of it.
pub(crate) trait Pointer:
    Owner<State = Waiters<Counted>> + Deref<Target = Semaphore> + Clone
{
}

impl Pointer for &Semaphore {}
impl Pointer for Arc<Semaphore> {}

impl Semaphore {
    /// The most permits that a semaphore can have.
    pub const MAX_PERMITS: usize = permits::MAX / 2;

    constant! {
        /// One of `permits`, which may be lessened later, but not exceeded.
        ///
        /// # Examples
        ///
        /// ```
        /// let semaphore = corymb::sync::Semaphore::new(3);
        /// assert_eq!(semaphore.available_permits(), 3);
        /// ```
        ///
        /// # Panics
        ///
        /// If there are more than [`MAX_PERMITS`](Self::MAX_PERMITS).
        #[track_caller]
        pub fn new(permits: usize) -> Self {
            Self::with_max(permits, permits)
        }
    }

    constant! {
        /// One of `permits`, which may become up to `max`: [`Semaphore::MAX_PERMITS`] for one that has
        /// no limit.
        ///
        /// # Examples
        ///
        /// ```
        /// use corymb::sync::Semaphore;
        ///
        /// let jobs = Semaphore::with_max(0, Semaphore::MAX_PERMITS);
        /// jobs.add_permits(2);
        /// jobs.try_acquire().expect("there are two").forget();
        /// assert_eq!(jobs.available_permits(), 1);
        /// ```
        ///
        /// # Panics
        ///
        /// If `permits` are more than `max`, or that more than [`MAX_PERMITS`](Self::MAX_PERMITS).
        #[track_caller]
        pub fn with_max(permits: usize, max: usize) -> Self {
            assert!(
                permits <= max,
                "a semaphore of more permits than the maximum it is to have: give it fewer"
            );
            assert!(
                max <= Self::MAX_PERMITS,
                "a semaphore of more permits than there can be: give it `Semaphore::MAX_PERMITS` at most"
            );
            Self { permits: Permits::new(permits), max }
        }
    }

    /// Takes a permit, waiting for one.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{AcquireError, Semaphore};
    /// # corymb::run_blocking(async {
    /// let semaphore = Semaphore::new(1);
    /// let permit = semaphore.acquire().await?;
    /// assert_eq!(semaphore.available_permits(), 0);
    /// drop(permit);
    /// assert_eq!(semaphore.available_permits(), 1);
    /// # Ok::<_, AcquireError>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the semaphore is closed.
    ///
    /// # Panics
    ///
    /// If there can never be a permit: it was made with a maximum of 0.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost but the place in the queue. Permits that were offered to a future that is
    /// dropped, or that its coroutine no longer polls, go back, and to the next.
    #[track_caller]
    pub fn acquire(&self) -> SemaphoreAcquire<'_> {
        self.acquire_many(1)
    }

    /// Takes `permits` at once, waiting until there are as many.
    ///
    /// After [`set_permits`](Self::set_permits) has lessened them there may be fewer in all: then
    /// it waits, and with it those behind it, until there are more again.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::Semaphore;
    /// # corymb::run_blocking(async {
    /// let semaphore = Semaphore::new(3);
    /// let two = semaphore.acquire_many(2).await.expect("nobody closes it");
    /// assert_eq!((two.num_permits(), semaphore.available_permits()), (2, 1));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the semaphore is closed.
    ///
    /// # Panics
    ///
    /// If there can never be as many.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire): all are taken, or none.
    #[track_caller]
    pub fn acquire_many(&self, permits: usize) -> SemaphoreAcquire<'_> {
        Acquire::new(self, permits, Location::caller())
    }

    /// As [`acquire`](Self::acquire), and the permit keeps the semaphore alive.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use corymb::sync::Semaphore;
    /// use std::sync::Arc;
    ///
    /// let semaphore = Arc::new(Semaphore::new(1));
    /// run_blocking(scope(async |s| {
    ///     let permit = semaphore.acquire_owned().await.expect("nobody closes it");
    ///     s.launch(async move { drop(permit) });
    /// }));
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    ///
    /// # Errors, panics and cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_owned(self: &Arc<Self>) -> OwnedSemaphoreAcquire {
        self.acquire_many_owned(1)
    }

    /// As [`acquire_many`](Self::acquire_many), and the permits keep the semaphore alive.
    ///
    /// # Errors, panics and cancel safety
    ///
    /// As [`acquire_many`](Self::acquire_many).
    #[track_caller]
    pub fn acquire_many_owned(self: &Arc<Self>, permits: usize) -> OwnedSemaphoreAcquire {
        Acquire::new(Arc::clone(self), permits, Location::caller())
    }

    /// As [`acquire`](Self::acquire), and blocks the thread meanwhile: for code that is not
    /// asynchronous.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = corymb::sync::Semaphore::new(1);
    /// std::thread::scope(|s| {
    ///     for _ in 0..2 {
    ///         s.spawn(|| drop(semaphore.acquire_blocking()));
    ///     }
    /// });
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the semaphore is closed.
    ///
    /// # Panics
    ///
    /// If it has to wait in a coroutine, but in `blocking(..)`, and as [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_blocking(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        block_on("acquire", self.acquire())
    }

    /// As [`acquire_many`](Self::acquire_many), and blocks the thread meanwhile.
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the semaphore is closed.
    ///
    /// # Panics
    ///
    /// If it has to wait in a coroutine, but in `blocking(..)`, and as [`acquire_many`](Self::acquire_many).
    #[track_caller]
    pub fn acquire_many_blocking(
        &self,
        permits: usize,
    ) -> Result<SemaphorePermit<'_>, AcquireError> {
        block_on("acquire_many", self.acquire_many(permits))
    }

    /// Takes a permit if there is one and nobody waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{Semaphore, TryAcquireError};
    ///
    /// let semaphore = Semaphore::new(1);
    /// let permit = semaphore.try_acquire()?;
    /// assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
    /// # Ok::<_, TryAcquireError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`] if it would have to wait, or the semaphore is closed.
    ///
    /// # Panics
    ///
    /// If there can never be a permit.
    #[track_caller]
    pub fn try_acquire(&self) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// Takes `permits` if there are as many and nobody waits.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`] if it would have to wait, or the semaphore is closed.
    ///
    /// # Panics
    ///
    /// If there can never be as many.
    #[track_caller]
    pub fn try_acquire_many(&self, permits: usize) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.try_take(permits).map(|()| Permit::new(self, permits))
    }

    /// As [`try_acquire`](Self::try_acquire), and the permit keeps the semaphore alive.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`] if it would have to wait, or the semaphore is closed.
    ///
    /// # Panics
    ///
    /// If there can never be a permit.
    #[track_caller]
    pub fn try_acquire_owned(self: &Arc<Self>) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.try_acquire_many_owned(1)
    }

    /// As [`try_acquire_many`](Self::try_acquire_many), and the permits keep the semaphore alive.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`] if it would have to wait, or the semaphore is closed.
    ///
    /// # Panics
    ///
    /// If there can never be as many.
    #[track_caller]
    pub fn try_acquire_many_owned(
        self: &Arc<Self>,
        permits: usize,
    ) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.try_take(permits).map(|()| Permit::new(Arc::clone(self), permits))
    }

    #[track_caller]
    fn try_take(&self, permits: usize) -> Result<(), TryAcquireError> {
        self.check(permits);
        match self.permits.try_take(permits) {
            true => Ok(()),
            false if self.is_closed() => Err(TryAcquireError::Closed),
            false => Err(TryAcquireError::NoPermits),
        }
    }

    #[track_caller]
    fn check(&self, permits: usize) {
        assert!(
            permits <= self.max,
            "{permits} permits of a semaphore that has {} at most: it would wait for ever; ask for \
             fewer, or make the semaphore with `Semaphore::with_max`",
            self.max
        );
    }

    /// Adds permits.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::with_max(0, 8);
    /// semaphore.add_permits(3);
    /// assert_eq!(semaphore.available_permits(), 3);
    /// ```
    ///
    /// # Panics
    ///
    /// If there would be more than the maximum.
    #[track_caller]
    pub fn add_permits(&self, permits: usize) {
        let mut state = self.permits.lock();
        let total = state.ahead.total.checked_add(permits).filter(|&total| total <= self.max);
        if total.is_some() {
            let stay = state.ahead.add(permits);
            state.shared().put(stay);
        }
        drop(state);
        assert!(total.is_some(), "{permits} more permits than the {} there can be", self.max);
    }

    /// Has it be `permits` in all, those included that somebody has. If that is fewer than before,
    /// free ones vanish at once, and others when they come back: until then nobody gets one.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(3);
    /// let two = semaphore.try_acquire_many(2).expect("there are three");
    /// semaphore.set_permits(1);
    /// assert_eq!(semaphore.available_permits(), 0);
    /// drop(two); // one of them vanishes
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    ///
    /// # Panics
    ///
    /// If that is more than the maximum.
    #[track_caller]
    pub fn set_permits(&self, permits: usize) {
        self.check(permits);
        let mut state = self.permits.lock();
        let total = state.ahead.total;
        if permits >= total {
            let stay = state.ahead.add(permits - total);
            state.shared().put(stay);
        } else {
            state.ahead.total = permits;
            state.ahead.owed += total - permits;
            state.shared().set_queued();
        }
    }

    /// Counts out permits that never come back.
    fn forget(&self, permits: usize) {
        self.permits.lock().ahead.forget(permits);
    }

    /// Closes it: who waits, and who comes, gets an error, even if there are permits. Those that
    /// somebody has stay valid.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{AcquireError, Semaphore};
    ///
    /// let semaphore = Semaphore::new(1);
    /// semaphore.close();
    /// assert_eq!(corymb::run_blocking(semaphore.acquire()).unwrap_err(), AcquireError);
    /// ```
    pub fn close(&self) {
        let mut state = self.permits.lock();
        state.ahead.closed = true;
        state.shared().set_queued();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.permits.lock().ahead.closed
    }

    /// How many permits nobody has, and nobody is offered.
    pub fn available_permits(&self) -> usize {
        self.permits.available()
    }

    /// Figures of the present.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = corymb::sync::Semaphore::new(3);
    /// let _two = semaphore.try_acquire_many(2);
    /// let statistics = semaphore.statistics();
    /// assert_eq!((statistics.permits, statistics.available), (3, 1));
    /// ```
    pub fn statistics(&self) -> SemaphoreStatistics {
        let figures = self.permits.figures();
        SemaphoreStatistics {
            permits: self.permits.lock().ahead.total,
            available: figures.available,
            waiting: figures.waiters,
            max_waiting: figures.most_waiters,
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available", &self.available_permits())
            .finish_non_exhaustive()
    }
}

/// Figures of a [`Semaphore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SemaphoreStatistics {
    /// How many permits there are in all, without those that are to vanish.
    pub permits: usize,
    /// How many nobody has.
    pub available: usize,
    /// How many wait.
    pub waiting: usize,
    /// How many have waited at once so far.
    pub max_waiting: usize,
}

/// The semaphore is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("acquiring from a closed semaphore")]
pub struct AcquireError;

/// No permit was to be had without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryAcquireError {
    /// There are not as many at present, or others wait for them.
    #[error("the semaphore has not as many permits at present")]
    NoPermits,
    /// The semaphore is closed.
    #[error("acquiring from a closed semaphore")]
    Closed,
}

/// The future of [`Semaphore::acquire`] and [`Semaphore::acquire_many`].
pub type SemaphoreAcquire<'a> = Acquire<&'a Semaphore>;

/// The future of [`Semaphore::acquire_owned`] and [`Semaphore::acquire_many_owned`].
pub type OwnedSemaphoreAcquire = Acquire<Arc<Semaphore>>;

/// The future that takes permits: [`SemaphoreAcquire`] and [`OwnedSemaphoreAcquire`], which differ
/// in how they point to the semaphore.
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
#[expect(private_bounds, reason = "sealed: a reference or an Arc")]
pub struct Acquire<P: Pointer> {
    #[pin]
    take: Take<P, Counted>,
    semaphore: P,
}

#[expect(private_bounds, reason = "sealed: a reference or an Arc")]
impl<P: Pointer> Acquire<P> {
    #[track_caller]
    fn new(semaphore: P, permits: usize, place: &'static Location<'static>) -> Self {
        semaphore.check(permits);
        Self { take: Take::new(semaphore.clone(), permits, place), semaphore }
    }
}

impl<P: Pointer> Future for Acquire<P> {
    type Output = Result<Permit<P>, AcquireError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let permits = this.take.needed();
        let taken = ready!(this.take.poll(&this.semaphore.permits, cx));
        Poll::Ready(taken.map(|()| Permit::new(this.semaphore.clone(), permits)))
    }
}
