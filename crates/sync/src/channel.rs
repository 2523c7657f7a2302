//! Channels: values from any number of senders to any number of receivers.
//!
//! Each value goes to one receiver. Both ends are handles that can be cloned; a channel closes by
//! [`Sender::close`] or [`Receiver::close`], or when all handles of one end are gone. What was
//! sent before, waiting sends included, can still be received then; only when no receiver is left
//! are elements dropped.
//!
//! | channel | holds | a sender that finds no place |
//! | --- | --- | --- |
//! | [`bounded(n)`](bounded) | `n` values | waits |
//! | [`rendezvous()`](rendezvous) | none but those on their way to a receiver | waits for a receiver |
//! | [`unbounded()`](unbounded) | any number | |
//! | [`conflated()`](conflated) | the latest | replaces it |
//! | [`with_overflow(n, ..)`](with_overflow) | `n` values | does as [`Overflow`] says |
//!
//! # Examples
//!
//! ```
//! use corymb::prelude::*;
//! use corymb::sync::channel;
//!
//! let got = run_blocking(try_scope(async |s| {
//!     let (tx, rx) = channel::bounded(1);
//!     s.launch(async move {
//!         for n in 0..3 {
//!             tx.send(n).await?;
//!         }
//!         Ok(()) // `tx` is dropped: the channel closes.
//!     });
//!     let mut got = Vec::new();
//!     while let Ok(n) = rx.recv().await {
//!         got.push(n);
//!     }
//!     Ok::<_, corymb::sync::SendError<i32>>(got)
//! }));
//! assert_eq!(got, Ok(vec![0, 1, 2]));
//! ```
//!
//! # What "sent" means
//!
//! A value that was sent is in the channel: no failure of a receiver loses it, and it goes to
//! whichever receiver is polled first. A send to a [`rendezvous()`] is done when a receiver takes
//! the value out of its hands, or *waits* for one and nobody else has promised it anything; the
//! value is then on its way to that receiver. If this one gives up meanwhile, the value goes to
//! the next, or stays until one comes: a rendezvous says that a receiver was there, and not that it
//! is done with the value. For that, send a [`oneshot::Sender`](crate::oneshot::Sender) along.

mod handle;
mod permit;
mod receiver;
mod sender;
mod sink;
mod state;

use std::error::Error;
use std::fmt;
use std::sync::Arc;

pub use self::permit::{OwnedPermit, Permit, Reserve, ReserveOwned};
pub use self::receiver::{IntoStream, Receiver, Recv, RecvMany, RecvStream};
pub use self::sender::{Closed, Send, Sender, WeakSender};
pub use self::sink::IntoSink;
use self::state::{Channel, Core};
use crate::monitor::{Busy, Monitor};

/// A reason for which a channel was closed.
type Cause = Arc<dyn Error + std::marker::Send + Sync>;

/// A channel that holds up to `capacity` values that were sent and not yet received; a sender that
/// finds it full waits. With a capacity of 0 it is a [`rendezvous()`].
///
/// The memory for all of them is allocated here, and none later.
///
/// # Examples
///
/// ```
/// use corymb::sync::{TrySendError, channel};
///
/// let (tx, rx) = channel::bounded(1);
/// assert_eq!(tx.try_send("a"), Ok(()));
/// assert_eq!(tx.try_send("b"), Err(TrySendError::Full("b")));
/// assert_eq!(rx.try_recv(), Ok("a"));
/// ```
///
/// # Panics
///
/// If `capacity` is more than can be allocated.
#[must_use]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    new(Core::new(capacity, Overflow::Suspend))
}

/// A channel without places: a sender and a receiver meet.
///
/// A send waits for a receiver; a [`try_send`](Sender::try_send) succeeds if one waits that nobody
/// has met yet. [What "sent" means](self#what-sent-means) is said above.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use corymb::sync::{TrySendError, channel};
///
/// let (tx, rx) = channel::rendezvous();
/// assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
/// let got = run_blocking(scope(async |s| {
///     s.launch(async move { tx.send(2).await.expect("it is received") });
///     rx.recv().await
/// }));
/// assert_eq!(got, Ok(2));
/// ```
#[must_use]
pub fn rendezvous<T>() -> (Sender<T>, Receiver<T>) {
    bounded(0)
}

/// A channel that holds any number of values: no sender waits.
///
/// Nothing slows a sender down that is faster than the receivers, and memory is given back with
/// the channel; where that is not known to be harmless, take a [`bounded`] one.
///
/// # Examples
///
/// ```
/// use corymb::sync::channel;
///
/// let (tx, rx) = channel::unbounded();
/// for n in 0..1000 {
///     assert_eq!(tx.try_send(n), Ok(()));
/// }
/// assert_eq!((rx.len(), rx.capacity()), (1000, usize::MAX));
/// ```
#[must_use]
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    new(Core::new(usize::MAX, Overflow::Suspend))
}

/// A channel that holds the latest value: a new one replaces one that was not received.
///
/// # Examples
///
/// ```
/// use corymb::sync::{TryRecvError, channel};
///
/// let (tx, rx) = channel::conflated();
/// assert_eq!((tx.try_send(1), tx.try_send(2)), (Ok(()), Ok(())));
/// assert_eq!(rx.try_recv(), Ok(2));
/// assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
/// ```
#[must_use]
pub fn conflated<T>() -> (Sender<T>, Receiver<T>) {
    new(Core::new(1, Overflow::DropOldest))
}

/// A channel that holds up to `capacity` values, and does with more as `overflow` says.
///
/// # Examples
///
/// ```
/// use corymb::sync::channel::{self, Overflow};
///
/// let (tx, rx) = channel::with_overflow(2, Overflow::DropLatest);
/// for n in 1..=3 {
///     assert_eq!(tx.try_send(n), Ok(()));
/// }
/// assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(1), Ok(2)));
/// assert_eq!(rx.statistics().dropped, 1);
/// ```
///
/// # Panics
///
/// If values are to be dropped and `capacity` is 0: there would be none left. If `capacity` is more
/// than can be allocated.
#[must_use]
#[track_caller]
pub fn with_overflow<T>(capacity: usize, overflow: Overflow) -> (Sender<T>, Receiver<T>) {
    assert!(
        capacity > 0 || overflow == Overflow::Suspend,
        "`channel::with_overflow(0, {overflow:?})`: a channel with no place would drop everything; \
         give it a capacity of 1, or more"
    );
    new(Core::new(capacity, overflow))
}

fn new<T>(core: Core<T>) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel(Monitor::new(core, ())));
    (Sender::new(Arc::clone(&channel)), Receiver::new(channel))
}

/// What a send does that finds no free place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// It waits for one.
    #[default]
    Suspend,
    /// It drops the oldest value of the channel, and succeeds.
    DropOldest,
    /// It drops its own value, and succeeds.
    DropLatest,
}

/// The figures of a channel at one moment.
///
/// # Examples
///
/// ```
/// use corymb::sync::channel;
///
/// let (tx, _rx) = channel::conflated();
/// assert_eq!((tx.try_send(1), tx.try_send(2)), (Ok(()), Ok(())));
/// let now = tx.statistics();
/// assert_eq!((now.len, now.capacity, now.dropped), (1, 1, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Values in the channel.
    pub len: usize,
    /// Places; `usize::MAX` if there is no limit.
    pub capacity: usize,
    /// Permits that are out, or offered to one who waits for it.
    pub reserved: usize,
    /// Values that were dropped since the beginning because they did not fit.
    pub dropped: u64,
    /// Handles that send.
    pub senders: usize,
    /// Handles that receive.
    pub receivers: usize,
    /// Sends and reservations that wait.
    pub waiting_senders: usize,
    /// The most that ever waited at once.
    pub max_waiting_senders: usize,
    /// Receives that wait and were not called yet.
    pub waiting_receivers: usize,
    /// The most that ever waited at once.
    pub max_waiting_receivers: usize,
}

impl<T> Channel<T> {
    /// Closes; true if it was open.
    fn close(&self, cause: Option<Cause>) -> bool {
        let closed = self.0.lock().close(cause);
        closed.is_ok()
    }
}

impl<T> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = self.0.peek(|core| (core.len(), core.capacity(), core.closed));
        let mut out = f.debug_struct("Channel");
        match seen {
            Some((len, capacity, closed)) => {
                out.field("len", &len).field("capacity", &capacity).field("closed", &closed)
            }
            None => out.field("state", &Busy),
        };
        out.finish()
    }
}
