//! What coroutines exchange values through.
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
//! | one value, once | [`oneshot::channel`] |
//! | one value from a callback | `corymb::suspend_cancellable` |
//! | whichever of several comes first | [`select!`], [`race`] |
//!
//! Values are pulled: one that was sent stays in the primitive until a receiver's poll takes it,
//! so that nothing is lost between a wake-up and the poll that follows. A wake-up is an offer: a
//! receiver that is dropped passes it on.

mod blocking;
pub mod broadcast;
pub mod channel;
mod error;
#[cfg(all(test, loom))]
mod loom;
mod monitor;
mod mutex;
pub mod oneshot;
mod permits;
mod race;
mod select;
mod waiters;
mod waiting;
pub mod watch;

pub use error::{RecvError, SendError, TryRecvError, TrySendError};
pub use mutex::{Mutex, MutexGuard, MutexLock};
pub use race::{Race, Racers, race};

/// What `select!` expands to: no promise holds here.
#[doc(hidden)]
pub mod __private {
    pub use corymb_macros::select;

    pub use crate::select::{Order, no_branch_left, poll_branch};
}
