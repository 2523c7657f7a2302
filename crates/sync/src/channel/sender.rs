//! The end that sends.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use pin_project::pin_project;

use super::sink::IntoSink;
use super::state::{Channel, Claim, Core, Senders};
use super::{OwnedPermit, Permit, Reserve, ReserveOwned};
use crate::blocking::block_on;
use crate::closing::closed_future;
use crate::waiting::Waiting;
use crate::{SendError, TrySendError};

/// The end of a channel that sends. Clones send into the same channel.
///
/// # Examples
///
/// ```
/// use corymb::sync::channel;
///
/// let (tx, rx) = channel::bounded(2);
/// let other = tx.clone();
/// assert_eq!((tx.try_send(1), other.try_send(2)), (Ok(()), Ok(())));
/// assert_eq!((rx.len(), rx.capacity()), (2, 2));
/// drop(tx);
/// assert!(!rx.is_closed()); // `other` is there
/// drop(other);
/// assert!(rx.is_closed());
/// ```
pub struct Sender<T> {
    pub(super) channel: Arc<Channel<T>>,
}

impl<T> Sender<T> {
    /// One that is counted already.
    pub(super) fn new(channel: Arc<Channel<T>>) -> Self {
        Self { channel }
    }

    /// Sends `value`, waiting for a free place.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{SendError, channel};
    /// # corymb::run_blocking(async {
    /// let (tx, rx) = channel::bounded(8);
    /// tx.send(1).await?;
    /// drop(rx);
    /// assert_eq!(tx.send(2).await, Err(SendError(2)));
    /// # Ok::<(), SendError<i32>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendError`] gives the value back if the channel was closed before the call, or if the
    /// last receiver went while it waited. A close alone does not fail a send that waits already:
    /// its value is received after those before it.
    ///
    /// # Panics
    ///
    /// Polling the future again after it was done panics.
    ///
    /// # Cancel safety
    ///
    /// A future dropped before it is done drops the value: undelivered, unless a place became free
    /// since the last poll, for then the value is in the channel already. Its place in the queue
    /// is lost. A send that needs no waiting does not check for cancellation. Where the value must
    /// not be lost, [`reserve`](Self::reserve) a place first and make or move the value then; or
    /// keep it, and use [`try_send`](Self::try_send), which gives it back.
    ///
    /// # Fairness
    ///
    /// Senders that wait are served in the order they came, reservations among them, and no later
    /// send, waiting or not, gets ahead of them. One whose task is not polled holds up nobody: its
    /// value is moved into the channel when its turn comes.
    ///
    /// # Ordering
    ///
    /// Values are received in the order in which they were sent. What happens before a send is
    /// visible to whoever received its value.
    #[track_caller]
    pub fn send(&self, value: T) -> Send<'_, T> {
        let waiting = Waiting::new(&*self.channel, Claim::Value(value), Location::caller());
        Send { waiting, done: false }
    }

    /// As [`send`](Self::send), and blocks the thread meanwhile: for code that is not asynchronous.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::channel;
    ///
    /// let (tx, rx) = channel::rendezvous();
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert_eq!(tx.send_blocking(7), Ok(())));
    ///     assert_eq!(rx.recv_blocking(), Ok(7));
    /// });
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    ///
    /// # Panics
    ///
    /// If it has to wait in a coroutine, but in `blocking(..)`: the thread may be the one that the receiver needs.
    #[track_caller]
    pub fn send_blocking(&self, value: T) -> Result<(), SendError<T>> {
        block_on("send", self.send(value))
    }

    /// Sends `value` if there is a free place at present.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{TrySendError, channel};
    ///
    /// let (tx, rx) = channel::bounded(1);
    /// assert_eq!(tx.try_send(1), Ok(()));
    /// assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    /// rx.close();
    /// assert_eq!(tx.try_send(3), Err(TrySendError::Closed(3)));
    /// ```
    ///
    /// # Errors
    ///
    /// Gives the value back: [`TrySendError::Full`] if there is no free place, or others wait for
    /// it; [`TrySendError::Closed`] if the channel is closed.
    #[inline]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let sent = self.channel.0.lock().push(value);
        sent.map(drop)
    }

    /// Reserves a place, waiting for a free one, for a value that is sent with the [`Permit`].
    ///
    /// The place is nobody else's until the permit is used or dropped. In a channel that drops
    /// what does not fit, a permit is given at once, and keeps no place: when it is used, values
    /// are dropped as with any send.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{SendError, TrySendError, channel};
    /// # corymb::run_blocking(async {
    /// let (tx, rx) = channel::bounded(1);
    /// let permit = tx.reserve().await?;
    /// assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
    /// permit.send(2).expect("there is a receiver");
    /// assert_eq!(rx.recv().await, Ok(2));
    /// # Ok::<(), SendError<()>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendError`] if the channel was closed before the permit was there.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost but the place in the queue. A place that was offered to a future that is
    /// dropped, or that its coroutine no longer polls, goes to the next.
    ///
    /// # Fairness
    ///
    /// As for [`send`](Self::send): sends and reservations wait in one queue.
    ///
    /// # Ordering
    ///
    /// The value has its place among the others from when it is sent, not from when the place was
    /// reserved.
    #[track_caller]
    pub fn reserve(&self) -> Reserve<'_, T> {
        Reserve::new(self, Location::caller())
    }

    /// As [`reserve`](Self::reserve), with a permit that has the sender in it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{SendError, channel};
    /// # corymb::run_blocking(async {
    /// let (tx, rx) = channel::bounded(1);
    /// let permit = tx.reserve_owned().await?;
    /// let tx = permit.send(1).expect("there is a receiver");
    /// assert_eq!(rx.recv().await, Ok(1));
    /// # drop(tx);
    /// # Ok::<(), SendError<()>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`reserve`](Self::reserve).
    ///
    /// # Panics
    ///
    /// Polling the future again after it was done panics.
    ///
    /// # Cancel safety
    ///
    /// As for [`reserve`](Self::reserve); the sender is dropped with the future.
    ///
    /// # Fairness
    ///
    /// As for [`reserve`](Self::reserve).
    ///
    /// # Ordering
    ///
    /// As for [`reserve`](Self::reserve).
    #[track_caller]
    pub fn reserve_owned(self) -> ReserveOwned<T> {
        ReserveOwned::new(self, Location::caller())
    }

    /// Reserves a place if there is a free one at present.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{TrySendError, channel};
    ///
    /// let (tx, rx) = channel::bounded(1);
    /// let permit = tx.try_reserve().unwrap();
    /// assert_eq!(tx.try_reserve().unwrap_err(), TrySendError::Full(()));
    /// drop(permit);
    /// assert_eq!(tx.try_send(1), Ok(()));
    /// # drop(rx);
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`try_send`](Self::try_send).
    pub fn try_reserve(&self) -> Result<Permit<'_, T>, TrySendError<()>> {
        self.channel.0.lock().try_reserve()?;
        Ok(Permit::new(self))
    }

    /// As [`try_reserve`](Self::try_reserve), with a permit that has the sender in it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{TrySendError, channel};
    ///
    /// let (tx, rx) = channel::bounded(1);
    /// let other = tx.clone();
    /// let permit = tx.try_reserve_owned().unwrap();
    /// assert!(matches!(other.try_reserve_owned(), Err(TrySendError::Full(_))));
    /// assert!(permit.send(1).is_ok());
    /// assert_eq!(rx.try_recv(), Ok(1));
    /// ```
    ///
    /// # Errors
    ///
    /// The sender, if there is no free place or the channel is closed.
    pub fn try_reserve_owned(self) -> Result<OwnedPermit<T>, TrySendError<Self>> {
        let reserved = self.channel.0.lock().try_reserve();
        match reserved {
            Ok(()) => Ok(OwnedPermit::new(self)),
            Err(error) => Err(error.map(|()| self)),
        }
    }

    /// Waits until the channel is closed, by either end, or the last receiver is gone: a send that
    /// begins then fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use corymb::sync::{TrySendError, channel};
    ///
    /// run_blocking(scope(async |s| {
    ///     let (tx, rx) = channel::bounded(1);
    ///     let producer = s.spawn(async move {
    ///         tx.closed().await; // nobody wants any more
    ///         tx.try_send(7)
    ///     });
    ///     drop(rx);
    ///     assert_eq!(producer.await, Err(TrySendError::Closed(7)));
    /// }));
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

    /// A handle that does not keep the channel open.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::channel;
    ///
    /// let (tx, rx) = channel::bounded(1);
    /// let weak = tx.downgrade();
    /// assert_eq!(weak.upgrade().map(|tx| tx.try_send(1)), Some(Ok(())));
    /// drop(tx);
    /// assert!(rx.is_closed() && weak.upgrade().is_none());
    /// ```
    #[must_use]
    pub fn downgrade(&self) -> WeakSender<T> {
        WeakSender { channel: Arc::downgrade(&self.channel) }
    }

    /// This sender as a sink, for what works on sinks.
    ///
    /// The sink is ready when a place is reserved for it. A flush has nothing to do: what was sent
    /// is in the channel. To close the sink drops the sender.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::channel;
    /// use futures::{StreamExt as _, stream};
    ///
    /// let (tx, rx) = channel::bounded(2);
    /// let sent = stream::iter([Ok(1), Ok(2)]).forward(tx.into_sink());
    /// assert_eq!(corymb::run_blocking(sent), Ok(()));
    /// assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(1), Ok(2)));
    /// assert!(rx.is_closed());
    /// ```
    ///
    /// # Cancel safety
    ///
    /// The place in the queue, and then the reserved place, are the sink's: they are kept when what
    /// polled it is dropped.
    #[track_caller]
    pub fn into_sink(self) -> IntoSink<T> {
        IntoSink::new(self, Location::caller())
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

/// A handle to a channel that does not keep it open: of [`Sender::downgrade`].
pub struct WeakSender<T> {
    channel: Weak<Channel<T>>,
}

impl<T> WeakSender<T> {
    /// A sender, if there still is one. The channel may be closed all the same.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{SendError, channel};
    ///
    /// let (tx, rx) = channel::bounded(1);
    /// rx.close();
    /// let other = tx.downgrade().upgrade().expect("`tx` is there");
    /// assert_eq!(corymb::run_blocking(other.send(1)), Err(SendError(1)));
    /// ```
    #[must_use]
    pub fn upgrade(&self) -> Option<Sender<T>> {
        let channel = self.channel.upgrade()?;
        {
            let mut core = channel.0.lock();
            if core.senders == 0 {
                return None;
            }
            core.senders += 1;
        }
        Some(Sender { channel })
    }
}

impl<T> Clone for WeakSender<T> {
    fn clone(&self) -> Self {
        Self { channel: Weak::clone(&self.channel) }
    }
}

impl<T> fmt::Debug for WeakSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakSender").finish_non_exhaustive()
    }
}

/// The future of [`Sender::send`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct Send<'a, T> {
    #[pin]
    waiting: Waiting<&'a Channel<T>, Senders<T>>,
    done: bool,
}

impl<T> Future for Send<'_, T> {
    type Output = Result<(), SendError<T>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        assert!(
            !*this.done,
            "the future of `Sender::send` at {} was polled after it was done",
            this.waiting.place()
        );
        let waits = this.waiting.has_begun();
        let polled = this.waiting.poll(cx, |core, _, claim| core.poll_push(waits, claim));
        *this.done = polled.is_ready();
        polled.map_ok(drop)
    }
}

closed_future!(Channel, Core);
