//! The end that receives.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use pin_project::pin_project;

use super::state::{Channel, Receivers};
use super::{Lagged, RecvError, TryRecvError};
use crate::blocking::block_on;
use crate::waiting::Waiting;

/// A receiver of a broadcast channel: it gets all values that are sent as long as it is there.
///
/// A clone goes on from where this one is.
///
/// # Examples
///
/// ```
/// use corymb::sync::broadcast;
///
/// let (tx, mut rx) = broadcast::channel(4);
/// assert_eq!((tx.send(1), tx.send(2)), (Ok(1), Ok(1)));
/// assert_eq!(rx.try_recv(), Ok(1));
/// let mut other = rx.clone();
/// assert_eq!((rx.try_recv(), other.try_recv()), (Ok(2), Ok(2)));
/// ```
pub struct Receiver<T> {
    channel: Arc<Channel<T>>,
    /// The number of the value that it gets next.
    next: u64,
}

impl<T> Receiver<T> {
    /// One that is counted already.
    pub(super) fn new(channel: Arc<Channel<T>>, next: u64) -> Self {
        Self { channel, next }
    }

    /// Whether the channel is closed. What was sent before can still be received.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.channel.0.lock().closed
    }

    /// How many values it can receive at present; those it has lost do not count.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channel.0.lock().len_from(self.next)
    }

    /// Whether it can receive no value at present.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `other` is of the same channel.
    #[must_use]
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.channel, &other.channel)
    }
}

impl<T: Clone> Receiver<T> {
    /// Receives the next value, waiting for it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::broadcast::{self, Lagged, RecvError};
    /// # corymb::run_blocking(async {
    /// let (tx, mut rx) = broadcast::channel(1);
    /// assert_eq!((tx.send(1), tx.send(2)), (Ok(1), Ok(1)));
    /// drop(tx);
    /// assert_eq!(rx.recv().await, Err(RecvError::Lagged(Lagged(1))));
    /// assert_eq!(rx.recv().await, Ok(2));
    /// assert_eq!(rx.recv().await, Err(RecvError::Closed));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// [`RecvError::Lagged`] if values were lost since the last receive; the next one goes on with
    /// the oldest there is. [`RecvError::Closed`] if the channel is closed, and this receiver has
    /// got everything.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the receiver goes on to the next value in the poll that returns this one. A
    /// receive that needs no waiting does not check for cancellation.
    ///
    /// # Fairness
    ///
    /// A value wakes all receivers that wait, in the order they came. One that is not polled holds
    /// up nobody: not the senders, which never wait, and not the others, which share nothing with
    /// it.
    ///
    /// # Ordering
    ///
    /// As for [`Sender::send`](super::Sender::send).
    #[track_caller]
    pub fn recv(&mut self) -> Recv<'_, T> {
        let waiting = Waiting::new(&*self.channel, self.next, Location::caller());
        Recv { waiting, next: &mut self.next }
    }

    /// As [`recv`](Self::recv), and blocks the thread meanwhile: for code that is not asynchronous.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::broadcast;
    ///
    /// let (tx, mut rx) = broadcast::channel(1);
    /// std::thread::scope(|s| {
    ///     s.spawn(move || tx.send(7));
    ///     assert_eq!(rx.recv_blocking(), Ok(7));
    /// });
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv).
    ///
    /// # Panics
    ///
    /// If it has to wait in a coroutine, but in `blocking(..)`: the thread may be the one that the sender needs.
    #[track_caller]
    pub fn recv_blocking(&mut self) -> Result<T, RecvError> {
        block_on("recv", self.recv())
    }

    /// Receives the next value if it is there.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::broadcast::{self, TryRecvError};
    ///
    /// let (tx, mut rx) = broadcast::channel(1);
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    /// assert_eq!(tx.send(1), Ok(1));
    /// assert_eq!(rx.try_recv(), Ok(1));
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv), and [`TryRecvError::Empty`] if it would have to wait.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let taken = self.channel.0.lock().take(&mut self.next);
        match taken {
            Poll::Ready(taken) => Ok(taken.map(Arc::unwrap_or_clone)?),
            Poll::Pending => Err(TryRecvError::Empty),
        }
    }

    /// The values as a stream, which ends when the channel is closed and everything was received.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::broadcast::{self, Lagged};
    /// use futures::StreamExt as _;
    ///
    /// let (tx, rx) = broadcast::channel(2);
    /// for n in 1..=3 {
    ///     assert_eq!(tx.send(n), Ok(1));
    /// }
    /// drop(tx);
    /// let got: Vec<_> = corymb::run_blocking(rx.into_stream().collect());
    /// assert_eq!(got, [Err(Lagged(1)), Ok(2), Ok(3)]);
    /// ```
    ///
    /// # Cancel safety
    ///
    /// As for [`recv`](Self::recv).
    #[track_caller]
    pub fn into_stream(self) -> IntoStream<T> {
        let waiting = Waiting::new(Arc::clone(&self.channel), self.next, Location::caller());
        IntoStream { waiting, receiver: self }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.channel.0.lock().add(self.next);
        Self { channel: Arc::clone(&self.channel), next: self.next }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.channel.0.lock().remove(self.next);
        self.channel.drop_unneeded();
    }
}

/// The future of [`Receiver::recv`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct Recv<'a, T> {
    #[pin]
    waiting: Waiting<&'a Channel<T>, Receivers<T>>,
    next: &'a mut u64,
}

impl<T: Clone> Future for Recv<'_, T> {
    type Output = Result<T, RecvError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let next = &mut **this.next;
        let polled = this.waiting.poll(cx, |core, _, awaited| {
            *awaited = *next;
            core.take(next)
        });
        polled.map_ok(Arc::unwrap_or_clone)
    }
}

/// The stream of [`Receiver::into_stream`].
#[must_use = "streams do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct IntoStream<T> {
    #[pin]
    waiting: Waiting<Arc<Channel<T>>, Receivers<T>>,
    receiver: Receiver<T>,
}

impl<T: Clone> Stream for IntoStream<T> {
    type Item = Result<T, Lagged>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let next = &mut this.receiver.next;
        let polled = this.waiting.poll(cx, |core, _, awaited| {
            *awaited = *next;
            core.take(next)
        });
        polled.map(|taken| match taken {
            Ok(value) => Some(Ok(Arc::unwrap_or_clone(value))),
            Err(RecvError::Lagged(lagged)) => Some(Err(lagged)),
            Err(RecvError::Closed) => None,
        })
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("channel", &self.channel)
            .field("next", &self.next)
            .finish()
    }
}
