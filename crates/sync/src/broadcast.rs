//! Values that every receiver gets.
//!
//! A sender never waits. The channel keeps the last `capacity` values; a receiver that is further
//! behind has lost those before, is told [how many](Lagged), and goes on with the oldest there is.
//! A value is dropped as soon as each receiver has got it, and given to the last one without being
//! cloned; a channel [with a replay](with_replay) also keeps the last few for those who subscribe
//! later. As receivers share them, values have to be `Sync` for the channel to be used by several
//! threads.
//!
//! The channel closes by [`Sender::close`], or when all senders are gone. Then receivers get what
//! they have not got yet.
//!
//! # Examples
//!
//! ```
//! use corymb::prelude::*;
//! use corymb::sync::broadcast;
//!
//! let sums = run_blocking(scope(async |s| {
//!     let (tx, rx) = broadcast::channel(8);
//!     let readers = [rx, tx.subscribe()].map(|mut rx| {
//!         s.spawn(async move {
//!             let mut sum = 0;
//!             loop {
//!                 match rx.recv().await {
//!                     Ok(n) => sum += n,
//!                     Err(broadcast::RecvError::Lagged(lost)) => panic!("too slow: {lost}"),
//!                     Err(_) => break sum, // closed
//!                 }
//!             }
//!         })
//!     });
//!     for n in 1..=3 {
//!         assert_eq!(tx.send(n), Ok(2));
//!     }
//!     drop(tx);
//!     let [one, other] = readers;
//!     (one.await, other.await)
//! }));
//! assert_eq!(sums, (6, 6));
//! ```
//!
//! # Implementation notes
//!
//! Each value is in an allocation of its own, which receivers share: so it can be cloned, and
//! dropped, without the lock.

mod error;
mod receiver;
mod state;

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

pub use self::error::{Lagged, RecvError, TryRecvError};
pub use self::receiver::{IntoStream, Receiver, Recv};
use self::state::{Channel, Core};
use crate::SendError;
use crate::closing::closed_future;
use crate::monitor::{Busy, Monitor};
use crate::waiting::Waiting;

/// A channel that keeps the last `capacity` values for receivers that have not got them yet.
///
/// # Examples
///
/// ```
/// use corymb::sync::broadcast::{self, Lagged, TryRecvError};
///
/// let (tx, mut rx) = broadcast::channel(2);
/// for n in [10, 20, 30] {
///     assert_eq!(tx.send(n), Ok(1));
/// }
/// assert_eq!(rx.try_recv(), Err(TryRecvError::Lagged(Lagged(1))));
/// assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(20), Ok(30)));
/// assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
/// ```
///
/// # Panics
///
/// If `capacity` is 0, or more than can be allocated.
#[must_use]
#[track_caller]
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    with_replay(capacity, 0)
}

/// As [`channel`], and a new receiver first gets the last `replay` values.
///
/// # Examples
///
/// ```
/// use corymb::sync::broadcast;
///
/// let (tx, _) = broadcast::with_replay(8, 2);
/// for n in 1..=3 {
///     assert_eq!(tx.send(n), Ok(0));
/// }
/// let mut late = tx.subscribe();
/// assert_eq!((late.try_recv(), late.try_recv()), (Ok(2), Ok(3)));
/// ```
///
/// # Panics
///
/// If `capacity` is 0, or more than can be allocated; if `replay` is more than `capacity`.
#[must_use]
#[track_caller]
pub fn with_replay<T>(capacity: usize, replay: usize) -> (Sender<T>, Receiver<T>) {
    assert!(
        capacity > 0,
        "a broadcast channel with a capacity of 0 would lose every value; give it 1, or more"
    );
    assert!(
        replay <= capacity,
        "a broadcast channel that keeps {capacity} values cannot replay {replay}: raise the \
         capacity to the replay, or above"
    );
    let channel = Arc::new(Channel(Monitor::new(Core::new(capacity, replay), ())));
    (Sender { channel: Arc::clone(&channel) }, Receiver::new(channel, 0))
}

/// The end of a broadcast channel that sends. Clones send into the same channel.
///
/// # Examples
///
/// ```
/// use corymb::sync::broadcast;
///
/// let (tx, mut rx) = broadcast::channel(4);
/// let other = tx.clone();
/// assert_eq!((tx.send("a"), other.send("b")), (Ok(1), Ok(1)));
/// assert_eq!((rx.try_recv(), rx.try_recv()), (Ok("a"), Ok("b")));
/// ```
pub struct Sender<T> {
    channel: Arc<Channel<T>>,
}

impl<T> Sender<T> {
    /// Sends `value` to all receivers that there are, and tells how many. Never waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{SendError, broadcast};
    ///
    /// let (tx, rx) = broadcast::channel(1);
    /// assert_eq!(tx.send(1), Ok(1));
    /// drop(rx);
    /// assert_eq!(tx.send(2), Ok(0)); // a receiver may come
    /// tx.close();
    /// assert_eq!(tx.send(3), Err(SendError(3)));
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendError`] gives the value back if the channel was closed. That nobody receives is no
    /// error.
    ///
    /// # Ordering
    ///
    /// All receivers get the values in one order. What happens before a send is visible to whoever
    /// received its value.
    pub fn send(&self, value: T) -> Result<usize, SendError<T>> {
        let value = Arc::new(value);
        let sent = self.channel.0.lock().push(value);
        sent.map(|(receivers, _unneeded)| receivers).map_err(SendError::of)
    }

    /// A new receiver, which gets what is sent from now on; before that, the values that the
    /// channel [replays](with_replay).
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::broadcast;
    ///
    /// let (tx, _rx) = broadcast::channel(4);
    /// assert_eq!(tx.send(1), Ok(1));
    /// let mut late = tx.subscribe();
    /// assert_eq!(tx.send(2), Ok(2));
    /// assert_eq!(late.try_recv(), Ok(2));
    /// ```
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        let next = self.channel.0.lock().subscribe();
        Receiver::new(Arc::clone(&self.channel), next)
    }

    /// Closes the channel: no send is accepted any more. Tells whether it was open.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::broadcast::{self, TryRecvError};
    ///
    /// let (tx, mut rx) = broadcast::channel(1);
    /// assert_eq!(tx.send(1), Ok(1));
    /// assert!(tx.close());
    /// assert_eq!(rx.try_recv(), Ok(1));
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    /// ```
    pub fn close(&self) -> bool {
        !std::mem::replace(&mut self.channel.0.lock().closed, true)
    }

    /// Whether the channel is closed, so that a send fails.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.channel.0.lock().closed
    }

    /// Waits until the channel is closed, or there is no receiver: nobody would get a value that is
    /// sent then. A receiver may come later, unless it is closed; one that comes before this was
    /// polled again has it wait on.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::broadcast;
    /// # corymb::run_blocking(async {
    /// let (tx, rx) = broadcast::channel::<u32>(1);
    /// drop(rx);
    /// tx.closed().await;
    /// assert!(!tx.is_closed()); // one may subscribe
    /// # });
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it. If it need not wait, it does not check for cancellation.
    ///
    /// # Fairness
    ///
    /// All who wait are woken, in the order they came, and none holds up another.
    ///
    /// # Ordering
    ///
    /// What was done before the close, or before the last receiver was dropped, is visible
    /// afterwards.
    #[track_caller]
    pub fn closed(&self) -> Closed<'_, T> {
        Closed { waiting: Waiting::new(&*self.channel, (), Location::caller()) }
    }

    /// How many receivers there are.
    #[must_use]
    pub fn receiver_count(&self) -> usize {
        self.channel.0.lock().receivers
    }

    /// Whether `other` is of the same channel.
    #[must_use]
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.channel, &other.channel)
    }

    /// The figures of the channel.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.channel.0.lock().statistics()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.channel.0.lock().senders += 1;
        Self { channel: Arc::clone(&self.channel) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut core = self.channel.0.lock();
        core.senders -= 1;
        if core.senders == 0 {
            core.end();
            drop(core);
            self.channel.drop_unneeded();
        }
    }
}

closed_future!(Channel, Core);

/// The figures of a broadcast channel at one moment.
///
/// # Examples
///
/// ```
/// use corymb::sync::broadcast;
///
/// let (tx, _rx) = broadcast::channel(2);
/// for n in 0..3 {
///     assert_eq!(tx.send(n), Ok(1));
/// }
/// let now = tx.statistics();
/// assert_eq!((now.len, now.capacity, now.sent), (2, 2, 3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Values that the channel keeps: for the slowest receiver, or to replay them.
    pub len: usize,
    /// The most that it keeps.
    pub capacity: usize,
    /// Values that were sent since the beginning.
    pub sent: u64,
    /// Handles that send.
    pub senders: usize,
    /// Receivers.
    pub receivers: usize,
    /// Receivers that wait.
    pub waiting: usize,
    /// The most that ever waited at once.
    pub max_waiting: usize,
}

impl<T> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = self.0.peek(|core| (core.len(), core.receivers, core.closed));
        let mut out = f.debug_struct("Channel");
        match seen {
            Some((len, receivers, closed)) => {
                out.field("len", &len).field("receivers", &receivers).field("closed", &closed)
            }
            None => out.field("state", &Busy),
        };
        out.finish()
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&self.channel).finish()
    }
}
