//! The latest of a value: receivers are told that it has changed, and see what it is now.
//!
//! A sender never waits. A receiver that comes late sees the latest value, and nothing of those
//! between. To a new receiver the current value counts as seen: [`Receiver::changed`] waits for the
//! next. Take it first with [`Receiver::borrow`], or call [`Receiver::mark_changed`] to get it from
//! there like any other.
//!
//! What a receiver gets is a *snapshot*, an [`Arc`] of the value. It is not a lock: a coroutine may
//! keep it as long as it likes, across suspensions too, and hold up neither senders nor receivers.
//! Those who change the value in place change a copy of it. As a value is shared, it has to be `Sync`
//! for the channel to be used by several threads.
//!
//! # Examples
//!
//! ```
//! use corymb::prelude::*;
//! use corymb::sync::watch;
//!
//! run_blocking(scope(async |s| {
//!     let (tx, mut level) = watch::channel("info");
//!     let seen = s.spawn(async move {
//!         let mut seen = vec![*level.borrow()];
//!         while level.changed().await.is_ok() {
//!             seen.push(*level.borrow());
//!         }
//!         seen
//!     });
//!     yield_now().await;
//!     tx.send("debug").expect("it is open");
//!     drop(tx);
//!     assert_eq!(seen.await.last(), Some(&"debug"));
//! }));
//! ```

mod receiver;
mod state;

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

pub use self::receiver::{Changed, IntoStream, Receiver, WaitFor};
use self::state::{Channel, Core};
use crate::SendError;
use crate::closing::closed_future;
use crate::monitor::{Busy, Monitor};
use crate::waiting::Waiting;

/// A channel that holds the latest value, and `initial` at first.
///
/// # Examples
///
/// ```
/// use corymb::sync::watch;
///
/// let (tx, rx) = watch::channel(1);
/// assert_eq!((*rx.borrow(), rx.has_changed()), (1, false));
/// assert_eq!(tx.send(2), Ok(()));
/// assert_eq!((*rx.borrow(), rx.has_changed()), (2, true));
/// ```
#[must_use]
pub fn channel<T>(initial: T) -> (Sender<T>, Receiver<T>) {
    let core = Core::new(Arc::new(initial));
    let version = core.version();
    let channel = Arc::new(Channel(Monitor::new(core, ())));
    (Sender { channel: Arc::clone(&channel) }, Receiver::new(channel, version))
}

/// The end of a watch channel that sends. Clones send into the same channel.
///
/// The channel closes by [`close`](Self::close), or when all senders are gone. A receiver can still
/// see the latest value then.
///
/// # Examples
///
/// ```
/// use corymb::sync::watch;
///
/// let (tx, rx) = watch::channel(0);
/// let other = tx.clone();
/// assert_eq!((tx.send(1), other.send(2)), (Ok(()), Ok(())));
/// assert_eq!((*tx.borrow(), *rx.borrow()), (2, 2));
/// ```
pub struct Sender<T> {
    channel: Arc<Channel<T>>,
}

impl<T> Sender<T> {
    /// Replaces the value. Never waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{SendError, watch};
    ///
    /// let (tx, rx) = watch::channel("old");
    /// assert_eq!(tx.send("new"), Ok(()));
    /// assert_eq!(*rx.borrow(), "new");
    /// tx.close();
    /// assert_eq!(tx.send("late"), Err(SendError("late")));
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendError`] gives the value back if the channel was closed. That there is no receiver is
    /// no error: one may subscribe.
    ///
    /// # Ordering
    ///
    /// All receivers see the values in one order, and each sees the last. What happens before a
    /// send is visible to whoever sees its value, or a later one.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        let value = Arc::new(value);
        let replaced = self.channel.0.lock().replace(value);
        replaced.map(drop).map_err(SendError::of)
    }

    /// The current value.
    #[must_use]
    pub fn borrow(&self) -> Arc<T> {
        Arc::clone(self.channel.0.lock().value())
    }

    /// A new receiver, to which the current value counts as seen.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::watch;
    ///
    /// let (tx, _) = watch::channel(1);
    /// let rx = tx.subscribe();
    /// assert_eq!((*rx.borrow(), rx.has_changed()), (1, false));
    /// ```
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        let version = self.channel.0.lock().subscribe();
        Receiver::new(Arc::clone(&self.channel), version)
    }

    /// Closes the channel: no send is accepted any more. Tells whether it was open.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{RecvError, watch};
    /// # corymb::run_blocking(async {
    /// let (tx, mut rx) = watch::channel(1);
    /// assert_eq!(tx.send(2), Ok(()));
    /// assert!(tx.close());
    /// assert_eq!(rx.changed().await, Ok(())); // sent before
    /// assert_eq!(rx.changed().await, Err(RecvError::Closed));
    /// assert_eq!(*rx.borrow(), 2);
    /// # });
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
    /// use corymb::sync::watch;
    /// # corymb::run_blocking(async {
    /// let (tx, rx) = watch::channel(1);
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

impl<T: Clone> Sender<T> {
    /// Changes a copy of the value, and sends that.
    ///
    /// If somebody else sends meanwhile, `modify` is called again with what they sent: no change is
    /// lost. It runs under no lock, and may use the channel.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::watch;
    ///
    /// let (tx, rx) = watch::channel(vec![1]);
    /// assert_eq!(tx.send_modify(|list| list.push(2)), Ok(()));
    /// assert_eq!(*rx.borrow(), [1, 2]);
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendError`] if the channel is closed.
    ///
    /// # Ordering
    ///
    /// As for [`send`](Self::send).
    pub fn send_modify(&self, mut modify: impl FnMut(&mut T)) -> Result<(), SendError<()>> {
        let modify = |value: &mut T| {
            modify(value);
            true
        };
        self.send_if_modified(modify).map(drop)
    }

    /// As [`send_modify`](Self::send_modify), and sends nothing if `modify` answers false. Tells
    /// what it answered.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::watch;
    ///
    /// let (tx, rx) = watch::channel(3);
    /// let lower = |to: i32| move |n: &mut i32| std::mem::replace(n, to.min(*n)) > to;
    /// assert_eq!(tx.send_if_modified(lower(5)), Ok(false));
    /// assert!(!rx.has_changed());
    /// assert_eq!(tx.send_if_modified(lower(1)), Ok(true));
    /// assert_eq!(*rx.borrow(), 1);
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendError`] if the channel is closed.
    ///
    /// # Ordering
    ///
    /// As for [`send`](Self::send).
    pub fn send_if_modified(
        &self,
        mut modify: impl FnMut(&mut T) -> bool,
    ) -> Result<bool, SendError<()>> {
        loop {
            let old = {
                let core = self.channel.0.lock();
                if core.closed {
                    return Err(SendError(()));
                }
                Arc::clone(core.value())
            };
            let mut new = T::clone(&old);
            if !modify(&mut new) {
                return Ok(false);
            }
            let new = Arc::new(new);
            let replaced = self.channel.0.lock().replace_if(&old, new);
            if replaced.is_ok() {
                return Ok(true);
            }
        }
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
        core.closed |= core.senders == 0;
    }
}

closed_future!(Channel, Core);

/// The figures of a watch channel at one moment.
///
/// # Examples
///
/// ```
/// use corymb::sync::watch;
///
/// let (tx, _rx) = watch::channel(0);
/// assert_eq!(tx.send(1), Ok(()));
/// let now = tx.statistics();
/// assert_eq!((now.sent, now.receivers, now.waiting), (1, 1, 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Values that were sent since the beginning; the initial one does not count.
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
        let seen = self.0.peek(|core| (core.version(), core.receivers, core.closed));
        let mut out = f.debug_struct("Channel");
        match seen {
            Some((version, receivers, closed)) => out
                .field("version", &version)
                .field("receivers", &receivers)
                .field("closed", &closed),
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
