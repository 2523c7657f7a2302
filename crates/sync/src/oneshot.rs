//! One value, from one sender to one receiver.
//!
//! # Examples
//!
//! ```
//! use corymb::prelude::*;
//! use corymb::sync::oneshot;
//!
//! let answer = run_blocking(scope(async |s| {
//!     let (tx, rx) = oneshot::channel();
//!     s.launch(async { tx.send(6 * 7).expect("the receiver waits") });
//!     rx.await
//! }));
//! assert_eq!(answer, Ok(42));
//! ```
//!
//! # Implementation notes
//!
//! It is the slot that a continuation is made of; the hook that a consumer runs when it closes is
//! the waker of [`Sender::closed`].

use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use corymb_core::internal::slot::{Consumer, Producer, slot};
use corymb_core::internal::{WaitKind, WakerWord, budgeted, waiting_on};

use crate::blocking::block_on;
use crate::{RecvError, TryRecvError};

/// A sender and the receiver of its value.
///
/// # Examples
///
/// ```
/// use corymb::sync::oneshot;
///
/// let (tx, rx) = oneshot::channel();
/// assert_eq!(tx.send("done"), Ok(()));
/// assert_eq!(corymb::run_blocking(rx), Ok("done"));
/// ```
#[track_caller]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (producer, consumer) = slot();
    (Sender { producer }, Receiver { consumer, place: Location::caller() })
}

/// The end that sends. Dropping it unused closes the channel.
///
/// # Examples
///
/// ```
/// use corymb::sync::{RecvError, oneshot};
///
/// let (tx, rx) = oneshot::channel::<u32>();
/// drop(tx);
/// assert_eq!(corymb::run_blocking(rx), Err(RecvError::Closed));
/// ```
#[derive(Debug)]
pub struct Sender<T> {
    producer: Producer<T, WakerWord>,
}

impl<T> Sender<T> {
    /// Sends `value`. Never waits.
    ///
    /// `Ok` says that the value waits for the receiver, not that it was received.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::oneshot;
    ///
    /// let (tx, rx) = oneshot::channel();
    /// drop(rx);
    /// assert_eq!(tx.send(7), Err(7));
    /// ```
    ///
    /// # Errors
    ///
    /// Gives `value` back if the receiver was closed or is gone.
    pub fn send(self, value: T) -> Result<(), T> {
        self.producer.put(value)
    }

    /// Waits until the receiver is closed or gone: nobody wants the value any more.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::oneshot;
    /// # corymb::run_blocking(async {
    /// let (mut tx, rx) = oneshot::channel::<()>();
    /// drop(rx);
    /// tx.closed().await;
    /// assert!(tx.is_closed());
    /// # });
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it, and there is no queue. If the receiver is closed already, it
    /// does not check for cancellation.
    ///
    /// # Ordering
    ///
    /// What the receiver's owner did before it closed is visible afterwards.
    #[track_caller]
    pub fn closed(&mut self) -> Closed<'_, T> {
        Closed { producer: &mut self.producer, place: Location::caller() }
    }

    /// Whether the receiver is closed or gone, so that [`send`](Self::send) would fail.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::oneshot;
    ///
    /// let (tx, mut rx) = oneshot::channel::<u32>();
    /// assert!(!tx.is_closed());
    /// rx.close();
    /// assert!(tx.is_closed());
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.producer.is_closed()
    }
}

/// The future of [`Sender::closed`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Closed<'a, T> {
    producer: &'a mut Producer<T, WakerWord>,
    place: &'static Location<'static>,
}

impl<T> Closed<'_, T> {
    fn poll_closed(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.producer.is_closed() {
            return Poll::Ready(());
        }
        if self.producer.set_hook(WakerWord::new(cx.waker())).is_err() {
            return Poll::Ready(());
        }
        waiting_on(WaitKind::Channel, self.place);
        Poll::Pending
    }
}

impl<T> Future for Closed<'_, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let before = (WaitKind::Channel, self.place);
        budgeted(cx, before, |cx| self.poll_closed(cx))
    }
}

impl<T> Drop for Closed<'_, T> {
    fn drop(&mut self) {
        self.producer.clear_hook();
    }
}

/// The end that receives: await it for the value.
///
/// # Examples
///
/// To look again and again without losing the value, await a reference:
///
/// ```
/// use std::time::Duration;
/// use corymb::prelude::*;
/// use corymb::sync::oneshot;
///
/// run_blocking(async {
///     let (tx, mut rx) = oneshot::channel();
///     assert!(with_timeout(Duration::from_millis(1), &mut rx).await.is_err());
///     assert_eq!(tx.send("late"), Ok(()));
///     assert_eq!(rx.await, Ok("late"));
/// });
/// ```
///
/// # Errors
///
/// [`RecvError::Closed`] if the sender is gone without having sent, if the receiver was
/// [closed](Self::close) before, or if the value was taken already.
///
/// # Cancel safety
///
/// Dropping it closes the channel; a value that it did not take is dropped. Where that would lose
/// something, await `&mut receiver`, or [close](Self::close) and [`try_recv`](Self::try_recv)
/// first. There is no queue. A value that is there is taken without a check for cancellation.
///
/// # Ordering
///
/// What happens before [`Sender::send`] is visible to whoever got the value.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Receiver<T> {
    consumer: Consumer<T, WakerWord>,
    place: &'static Location<'static>,
}

impl<T> Receiver<T> {
    /// Waits for the value by blocking the thread: for code that is not asynchronous.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::oneshot;
    ///
    /// let (tx, rx) = oneshot::channel();
    /// std::thread::scope(|s| {
    ///     s.spawn(|| tx.send(7));
    ///     assert_eq!(rx.recv_blocking(), Ok(7));
    /// });
    /// ```
    ///
    /// # Errors
    ///
    /// As if it were awaited.
    ///
    /// # Panics
    ///
    /// If it has to wait in a coroutine, but in `blocking(..)`: the thread may be the one that the sender needs.
    #[track_caller]
    pub fn recv_blocking(self) -> Result<T, RecvError> {
        block_on("recv", self)
    }

    /// Takes the value if it is there.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{TryRecvError, oneshot};
    ///
    /// let (tx, mut rx) = oneshot::channel();
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    /// assert_eq!(tx.send(7), Ok(()));
    /// assert_eq!(rx.try_recv(), Ok(7));
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    /// ```
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] if it is not there yet, [`TryRecvError::Closed`] if it never will
    /// be.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        match self.consumer.try_take() {
            Poll::Ready(value) => value.ok_or(TryRecvError::Closed),
            Poll::Pending => Err(TryRecvError::Empty),
        }
    }

    /// Refuses a value from now on; one that was sent before can still be taken.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{TryRecvError, oneshot};
    ///
    /// let (tx, mut rx) = oneshot::channel();
    /// rx.close();
    /// assert_eq!(tx.send(7), Err(7));
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    /// ```
    pub fn close(&mut self) {
        if let Some(waker) = self.consumer.close() {
            waker.wake();
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let before = (WaitKind::Channel, self.place);
        let polled = budgeted(cx, before, |cx| self.consumer.poll_take(cx));
        if polled.is_pending() {
            waiting_on(WaitKind::Channel, self.place);
        }
        polled.map(|value| value.ok_or(RecvError::Closed))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.close();
        // What was sent and not received ends here, and not wherever the sender's end is freed.
        drop(self.try_recv());
    }
}
