//! Channels: values from any number of senders to any number of receivers.
//!
//! Each value goes to one receiver. Both ends are handles that can be cloned; a channel closes by
//! [`Sender::close`] or [`Receiver::close`], or when all handles of one end are gone. What was
//! sent before, waiting sends included, can still be received then; only when no receiver is left
//! are elements dropped.
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

mod state;

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use pin_project::pin_project;

use self::state::{Channel, Core, Receivers, Senders};
use crate::monitor::{Busy, Monitor};
use crate::waiting::Waiting;
use crate::{RecvError, SendError, TryRecvError, TrySendError};

/// A channel that holds up to `capacity` values that were sent and not yet received; a sender that
/// finds it full waits.
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
/// If `capacity` is 0, or more than can be allocated.
#[must_use]
#[track_caller]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(
        capacity > 0,
        "`channel::bounded(0)`: a channel with no place can hold nothing; give it a capacity of 1, \
         or more"
    );
    let channel = Arc::new(Channel(Monitor::new(Core::new(capacity), ())));
    (Sender { channel: Arc::clone(&channel) }, Receiver { channel })
}

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
    channel: Arc<Channel<T>>,
}

impl<T> Sender<T> {
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
    /// not be lost, keep it, and use [`try_send`](Self::try_send), which gives it back.
    ///
    /// # Fairness
    ///
    /// Senders that wait are served in the order they came, and no later send, waiting or not,
    /// gets ahead of them.
    ///
    /// # Ordering
    ///
    /// Values are received in the order in which they were sent. What happens before a send is
    /// visible to whoever received its value.
    #[track_caller]
    pub fn send(&self, value: T) -> Send<'_, T> {
        let waiting = Waiting::new(&*self.channel, Some(value), Location::caller());
        Send { waiting, done: false }
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
    /// Gives the value back: [`TrySendError::Full`] if there is no free place,
    /// [`TrySendError::Closed`] if the channel is closed.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.channel.0.lock().push(value)
    }

    /// Closes the channel: no send is accepted any more. What was sent, waiting sends included,
    /// can be received.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{TryRecvError, TrySendError, channel};
    ///
    /// let (tx, rx) = channel::bounded(2);
    /// assert_eq!(tx.try_send(1), Ok(()));
    /// tx.close();
    /// assert_eq!(tx.try_send(2), Err(TrySendError::Closed(2)));
    /// assert_eq!(rx.try_recv(), Ok(1)); // sent before
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    /// ```
    pub fn close(&self) {
        self.channel.0.lock().closed = true;
    }

    /// Whether the channel is closed, so that a send fails.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.channel.0.lock().closed
    }

    /// How many values the channel holds at present.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channel.0.lock().len()
    }

    /// Whether the channel holds no value at present.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values the channel can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.channel.0.lock().capacity()
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
    channel: Arc<Channel<T>>,
}

impl<T> Receiver<T> {
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
    /// As for [`Sender::send`]. What happens before the `n`th value is received is visible to
    /// whoever sent the value `capacity` after it.
    #[track_caller]
    pub fn recv(&self) -> Recv<'_, T> {
        Recv { waiting: Waiting::new(&*self.channel, (), Location::caller()) }
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
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.channel.0.lock().pop()
    }

    /// The values as a stream, which ends when the channel is closed and everything sent has been
    /// received.
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

    /// Closes the channel: no send is accepted any more. What was sent, waiting sends included,
    /// can be received; to drop it, drop the receivers.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{TrySendError, channel};
    ///
    /// let (tx, rx) = channel::bounded(2);
    /// assert_eq!(tx.try_send(1), Ok(()));
    /// rx.close();
    /// assert_eq!(tx.try_send(2), Err(TrySendError::Closed(2)));
    /// assert_eq!(rx.try_recv(), Ok(1)); // sent before
    /// ```
    pub fn close(&self) {
        self.channel.0.lock().closed = true;
    }

    /// Whether the channel is closed. What was sent before can still be received.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.channel.0.lock().closed
    }

    /// How many values the channel holds at present.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channel.0.lock().len()
    }

    /// Whether the channel holds no value at present.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values the channel can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.channel.0.lock().capacity()
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

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        assert!(
            !*this.done,
            "the future of `Sender::send` at {} was polled after it was done",
            this.waiting.place()
        );
        let waits = this.waiting.has_begun();
        let polled = this.waiting.poll(cx, |core, _, value| core.poll_push(waits, value));
        *this.done = polled.is_ready();
        polled
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

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().waiting.poll(cx, |core, _, ()| core.poll_pop())
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

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&self.channel).finish()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.channel).finish()
    }
}
