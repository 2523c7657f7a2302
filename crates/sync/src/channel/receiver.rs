//! The end that receives.

use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use pin_project::pin_project;

use super::state::{Channel, Receivers};
use crate::blocking::block_on;
use crate::waiting::Waiting;
use crate::{RecvError, TryRecvError};

/// The end of a channel that receives. Clones share the values: each goes to one of them.
///
/// # Examples
///
/// Two workers that share the values:
///
/// ```
/// use corymb::prelude::*;
/// use corymb::sync::channel;
///
/// let sum = run_blocking(scope(async |s| {
///     let (tx, rx) = channel::bounded(4);
///     let workers = [(); 2].map(|()| {
///         let rx = rx.clone();
///         s.spawn(async move {
///             let mut sum = 0;
///             while let Ok(n) = rx.recv().await {
///                 sum += n;
///             }
///             sum
///         })
///     });
///     for n in 1..=10 {
///         tx.send(n).await.expect("a worker is there");
///     }
///     tx.close();
///     let [one, other] = workers;
///     one.await + other.await
/// }));
/// assert_eq!(sum, 55);
/// ```
pub struct Receiver<T> {
    pub(super) channel: Arc<Channel<T>>,
}

impl<T> Receiver<T> {
    /// One that is counted already.
    pub(super) fn new(channel: Arc<Channel<T>>) -> Self {
        Self { channel }
    }

    /// Receives the oldest value, waiting for one.
    ///
    /// It answers with a `Result` and not with an `Option`, so that `?` leaves a loop whose channel
    /// was closed too early.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{RecvError, channel};
    /// # corymb::run_blocking(async {
    /// let (tx, rx) = channel::bounded(8);
    /// assert_eq!(tx.try_send("last"), Ok(()));
    /// drop(tx);
    /// assert_eq!(rx.recv().await?, "last");
    /// assert_eq!(rx.recv().await, Err(RecvError::Closed));
    /// # Ok::<(), RecvError>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] if the channel is closed and everything sent has been received.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: a value stays in the channel until a poll returns it, and a future that is
    /// dropped after it was woken passes the wake-up on. Its place in the queue is lost. A receive
    /// that needs no waiting does not check for cancellation.
    ///
    /// # Fairness
    ///
    /// Receivers that wait are woken in the order they came, one for each value. A wake-up is an
    /// offer and reserves nothing: a receiver that is polled in between can take the value, and
    /// the one that was woken in vain waits on in its old place.
    ///
    /// # Ordering
    ///
    /// As for [`Sender::send`](super::Sender::send). What happens before the `n`th value is received is visible to
    /// whoever sent the value `capacity` after it.
    #[track_caller]
    pub fn recv(&self) -> Recv<'_, T> {
        Recv { waiting: Waiting::new(&*self.channel, (), Location::caller()) }
    }

    /// As [`recv`](Self::recv), and blocks the thread meanwhile: for code that is not asynchronous.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::channel;
    ///
    /// let (tx, rx) = channel::bounded(1);
    /// std::thread::scope(|s| {
    ///     s.spawn(move || tx.send_blocking(7));
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
    pub fn recv_blocking(&self) -> Result<T, RecvError> {
        block_on("recv", self.recv())
    }

    /// Waits for a value, and then receives up to `limit` of those that are there: puts them at the
    /// end of `into`, and tells how many they were.
    ///
    /// It is one operation on the channel, whatever the number. Values of senders that wait are
    /// not among them: those come into the channel as places become free. With a `limit` of 0 it
    /// waits for nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{RecvError, channel};
    /// # corymb::run_blocking(async {
    /// let (tx, rx) = channel::unbounded();
    /// for n in 0..5 {
    ///     tx.try_send(n).unwrap();
    /// }
    /// let mut got = Vec::new();
    /// assert_eq!(rx.recv_many(&mut got, 3).await, Ok(3));
    /// assert_eq!(rx.recv_many(&mut got, 3).await, Ok(2));
    /// assert_eq!(got, [0, 1, 2, 3, 4]);
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// As for [`recv`](Self::recv): values come into the vector in the poll that completes it.
    ///
    /// # Fairness
    ///
    /// As for [`recv`](Self::recv): it waits as one receiver.
    ///
    /// # Ordering
    ///
    /// As for [`recv`](Self::recv).
    #[track_caller]
    pub fn recv_many<'a>(&'a self, into: &'a mut Vec<T>, limit: usize) -> RecvMany<'a, T> {
        RecvMany { waiting: Waiting::new(&*self.channel, (), Location::caller()), into, limit }
    }

    /// Receives the oldest value if there is one at present.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{TryRecvError, channel};
    ///
    /// let (tx, rx) = channel::bounded(1);
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    /// assert_eq!(tx.try_send(1), Ok(()));
    /// drop(tx);
    /// assert_eq!(rx.try_recv(), Ok(1));
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    /// ```
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] if there is none, [`TryRecvError::Closed`] if there never will be.
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.channel.0.lock().pop()
    }

    /// The values as a stream, which ends when the channel is closed and everything sent has been
    /// received. To call `next` on it, pin it (`std::pin::pin!`): it is a waiter in the channel's
    /// queue.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::channel;
    /// use futures::StreamExt as _;
    ///
    /// let (tx, rx) = channel::bounded(2);
    /// assert_eq!((tx.try_send(1), tx.try_send(2)), (Ok(()), Ok(())));
    /// drop(tx);
    /// let got: Vec<i32> = corymb::run_blocking(rx.into_stream().collect());
    /// assert_eq!(got, [1, 2]);
    /// ```
    ///
    /// # Cancel safety
    ///
    /// As for [`recv`](Self::recv), except that the place in the queue is the stream's: it is kept
    /// when what polled the stream is dropped.
    #[track_caller]
    pub fn into_stream(self) -> IntoStream<T> {
        let waiting = Waiting::new(Arc::clone(&self.channel), (), Location::caller());
        IntoStream { waiting, receiver: self }
    }

    /// As [`into_stream`](Self::into_stream), of a receiver that is kept.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::channel;
    /// use futures::StreamExt as _;
    ///
    /// let (tx, rx) = channel::bounded(3);
    /// assert_eq!([1, 2, 3].map(|n| tx.try_send(n)), [Ok(()); 3]);
    /// let got: Vec<i32> = corymb::run_blocking(rx.stream().take(2).collect());
    /// assert_eq!(got, [1, 2]);
    /// assert_eq!(rx.try_recv(), Ok(3));
    /// ```
    ///
    /// # Cancel safety
    ///
    /// As for [`into_stream`](Self::into_stream).
    #[track_caller]
    pub fn stream(&self) -> RecvStream<'_, T> {
        RecvStream { waiting: Waiting::new(&*self.channel, (), Location::caller()) }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.channel.0.lock().receivers += 1;
        Self { channel: Arc::clone(&self.channel) }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut core = self.channel.0.lock();
        core.receivers -= 1;
        if core.receivers == 0 {
            core.closed = true;
            let unreceived = core.take_all();
            drop(core);
            drop(unreceived);
        }
    }
}

/// The future of [`Receiver::recv`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct Recv<'a, T> {
    #[pin]
    waiting: Waiting<&'a Channel<T>, Receivers<T>>,
}

impl<T> Future for Recv<'_, T> {
    type Output = Result<T, RecvError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().waiting.poll(cx, |core, _, ()| core.poll_pop())
    }
}

/// The future of [`Receiver::recv_many`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct RecvMany<'a, T> {
    #[pin]
    waiting: Waiting<&'a Channel<T>, Receivers<T>>,
    into: &'a mut Vec<T>,
    limit: usize,
}

impl<T> Future for RecvMany<'_, T> {
    type Output = Result<usize, RecvError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (into, limit) = (this.into, *this.limit);
        if limit == 0 {
            return Poll::Ready(Ok(0));
        }
        this.waiting.poll(cx, |core, _, ()| core.poll_pop_many(into, limit))
    }
}

/// The stream of [`Receiver::stream`].
#[must_use = "streams do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct RecvStream<'a, T> {
    #[pin]
    waiting: Waiting<&'a Channel<T>, Receivers<T>>,
}

impl<T> Stream for RecvStream<'_, T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.project().waiting.poll(cx, |core, _, ()| core.poll_pop()).map(Result::ok)
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

impl<T> Stream for IntoStream<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.project().waiting.poll(cx, |core, _, ()| core.poll_pop()).map(Result::ok)
    }
}
