//! What coroutines exchange values through, and wait for each other with.
//!
//! Every primitive works under any executor; under corymb's, a dump says who waits where.
//!
//! | you want | use |
//! | --- | --- |
//! | a stream of values, with back-pressure | [`channel::bounded`] |
//! | a stream of values, in other ways | [`channel`] |
//! | values that every receiver gets | [`broadcast::channel`] |
//! | the latest of a value, and to be told when it changes | [`watch::channel`] |
//! | one coroutine at a time to reach a value | [`Mutex`] |
//! | many to read a value, or one to change it | [`RwLock`] |
//! | so many at once | [`Semaphore`]; for children of a scope, its limit |
//! | so many in a time | [`RateLimiter`] |
//! | a value that is made once | [`OnceCell`] |
//! | to tell others that something has happened | [`Notify`]; with a mutex, [`Condvar`] |
//! | to wait for each other, round after round | [`Barrier`] |
//! | to wait until a number of things are done | [`Latch`] |
//! | one value, once | [`oneshot::channel`] |
//! | one value from a callback | `corymb::suspend_cancellable` |
//! | whichever of several comes first | [`select!`], [`race`] |
//!
//! Values are pulled: one that was sent stays in the primitive until a receiver's poll takes it,
//! so that nothing is lost between a wake-up and the poll that follows. A wake-up is an offer: a
//! receiver that is dropped passes it on.

mod anchored;
mod barrier;
mod blocking;
pub mod broadcast;
pub mod channel;
mod closing;
mod condvar;
mod error;
pub mod generic;
mod latch;
#[cfg(all(test, loom))]
mod loom;
mod monitor;
mod mutex;
mod notify;
mod once_cell;
pub mod oneshot;
mod permits;
mod race;
mod rate_limiter;
mod rwlock;
mod select;
mod semaphore;
mod signal;
mod waiters;
mod waiting;
pub mod watch;

pub use barrier::{Barrier, BarrierStatistics, BarrierWait, BarrierWaitResult};
pub use condvar::{Condvar, CondvarStatistics, CondvarWait, CondvarWaitWhile};
pub use error::{RecvError, SendError, TryRecvError, TrySendError};
pub use latch::{Latch, LatchHold, LatchStatistics, LatchWait};
pub use mutex::{
    MappedMutexGuard, Mutex, MutexGuard, MutexLock, MutexStatistics, OwnedMutexGuard,
    OwnedMutexLock,
};
pub use notify::{Notified, NotifiedEnable, Notify, NotifyStatistics};
pub use once_cell::{
    GetOrInit, GetOrInitShared, GetOrTryInit, GetOrTryInitShared, OnceCell, OnceCellStatistics,
    SetError,
};
pub use race::{Race, Racers, race};
pub use rate_limiter::{RateAcquire, RateLimiter, RateLimiterStatistics};
pub use rwlock::{
    OwnedRwLockRead, OwnedRwLockReadGuard, OwnedRwLockUpgradableRead,
    OwnedRwLockUpgradableReadGuard, OwnedRwLockUpgrade, OwnedRwLockWrite, OwnedRwLockWriteGuard,
    RwLock, RwLockRead, RwLockReadGuard, RwLockStatistics, RwLockUpgradableRead,
    RwLockUpgradableReadGuard, RwLockUpgrade, RwLockWrite, RwLockWriteGuard,
};
pub use semaphore::{
    AcquireError, OwnedSemaphoreAcquire, OwnedSemaphorePermit, Semaphore, SemaphoreAcquire,
    SemaphorePermit, SemaphoreStatistics, TryAcquireError,
};

/// What `select!` expands to: no promise holds here.
#[doc(hidden)]
pub mod __private {
    pub use corymb_macros::select;

    pub use crate::select::{Order, no_branch_left, poll_branch};
}
