//! Places that are reserved before there is a value.

use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;

use super::Sender;
use super::state::{Channel, Claim, Senders};
use crate::SendError;
use crate::waiting::Waiting;

/// A place in a channel: of [`Sender::reserve`].
///
/// Dropped unused, it gives the place to the next in line. A channel that was closed meanwhile
/// waits for it: receivers do not find it closed before the permit is used or dropped.
///
/// # Examples
///
/// ```
/// use corymb::sync::{TryRecvError, channel};
///
/// let (tx, rx) = channel::bounded(1);
/// let permit = tx.try_reserve().unwrap();
/// rx.close();
/// assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
/// permit.send(123).unwrap();
/// assert_eq!(rx.try_recv(), Ok(123));
/// assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
/// ```
#[must_use = "dropped at once, it reserves nothing"]
pub struct Permit<'a, T> {
    sender: &'a Sender<T>,
}

impl<'a, T> Permit<'a, T> {
    /// One for a place that is reserved.
    pub(super) fn new(sender: &'a Sender<T>) -> Self {
        Self { sender }
    }

    /// Sends `value` into the place. Never waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{SendError, channel};
    ///
    /// let (tx, rx) = channel::bounded(2);
    /// let [one, other] = [(); 2].map(|()| tx.try_reserve().unwrap());
    /// assert_eq!(one.send(1), Ok(()));
    /// drop(rx);
    /// assert_eq!(other.send(2), Err(SendError(2)));
    /// ```
    ///
    /// # Errors
    ///
    /// [`SendError`] gives the value back if no receiver is left. A close alone does not fail it.
    pub fn send(self, value: T) -> Result<(), SendError<T>> {
        let place = ManuallyDrop::new(self);
        let sent = place.sender.channel.0.lock().redeem(value);
        sent.map(drop)
    }
}

impl<T> Drop for Permit<'_, T> {
    fn drop(&mut self) {
        self.sender.channel.0.lock().unreserve();
    }
}

impl<T> fmt::Debug for Permit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.sender.channel).finish()
    }
}

/// A place in a channel, and the sender: of [`Sender::reserve_owned`].
///
/// As a [`Permit`], and a sender as long as it is there.
///
/// # Examples
///
/// ```
/// use corymb::sync::channel;
///
/// let (tx, rx) = channel::bounded(1);
/// let permit = tx.try_reserve_owned().unwrap();
/// assert_eq!(rx.sender_count(), 1);
/// let tx = permit.send(1).unwrap();
/// assert_eq!((rx.try_recv(), tx.try_send(2)), (Ok(1), Ok(())));
/// ```
#[must_use = "dropped at once, it reserves nothing"]
pub struct OwnedPermit<T> {
    /// `None` only when it is used up.
    sender: Option<Sender<T>>,
}

impl<T> OwnedPermit<T> {
    /// One for a place that is reserved.
    pub(super) fn new(sender: Sender<T>) -> Self {
        Self { sender: Some(sender) }
    }

    /// Sends `value` into the place, and gives the sender back. Never waits.
    ///
    /// # Errors
    ///
    /// As for [`Permit::send`].
    pub fn send(mut self, value: T) -> Result<Sender<T>, SendError<T>> {
        let sender = self.sender();
        let sent = sender.channel.0.lock().redeem(value);
        sent.map(|_| sender)
    }

    /// Gives the place to the next in line, and the sender back.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::channel;
    ///
    /// let (tx, _rx) = channel::bounded(1);
    /// let tx = tx.try_reserve_owned().unwrap().release();
    /// assert_eq!(tx.try_send(1), Ok(()));
    /// ```
    #[must_use = "the sender keeps the channel open"]
    pub fn release(mut self) -> Sender<T> {
        let sender = self.sender();
        sender.channel.0.lock().unreserve();
        sender
    }

    fn sender(&mut self) -> Sender<T> {
        self.sender.take().expect("it is used once")
    }
}

impl<T> Drop for OwnedPermit<T> {
    fn drop(&mut self) {
        if let Some(sender) = &self.sender {
            sender.channel.0.lock().unreserve();
        }
    }
}

impl<T> fmt::Debug for OwnedPermit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedPermit").field(&self.sender).finish()
    }
}

/// The future of [`Sender::reserve`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct Reserve<'a, T> {
    #[pin]
    waiting: Waiting<&'a Channel<T>, Senders<T>>,
    sender: &'a Sender<T>,
}

impl<'a, T> Reserve<'a, T> {
    pub(super) fn new(sender: &'a Sender<T>, place: &'static Location<'static>) -> Self {
        Self { waiting: Waiting::new(&*sender.channel, Claim::Place, place), sender }
    }
}

impl<'a, T> Future for Reserve<'a, T> {
    type Output = Result<Permit<'a, T>, SendError<()>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = this.waiting.poll(cx, |core, turn, _| core.poll_reserve(turn));
        polled.map_ok(|()| Permit::new(this.sender))
    }
}

/// The future of [`Sender::reserve_owned`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct ReserveOwned<T> {
    #[pin]
    waiting: Waiting<Arc<Channel<T>>, Senders<T>>,
    /// `None` when it is done.
    sender: Option<Sender<T>>,
}

impl<T> ReserveOwned<T> {
    pub(super) fn new(sender: Sender<T>, place: &'static Location<'static>) -> Self {
        let waiting = Waiting::new(Arc::clone(&sender.channel), Claim::Place, place);
        Self { waiting, sender: Some(sender) }
    }
}

impl<T> Future for ReserveOwned<T> {
    type Output = Result<OwnedPermit<T>, SendError<()>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        assert!(
            this.sender.is_some(),
            "the future of `Sender::reserve_owned` at {} was polled after it was done",
            this.waiting.place()
        );
        let reserved = ready!(this.waiting.poll(cx, |core, turn, _| core.poll_reserve(turn)));
        let sender = this.sender.take().expect("it is there until done");
        Poll::Ready(reserved.map(|()| OwnedPermit::new(sender)))
    }
}
