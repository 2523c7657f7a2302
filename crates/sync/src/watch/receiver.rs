//! The end that watches.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use pin_project::pin_project;

use super::state::{Channel, Receivers, UNSEEN};
use crate::RecvError;
use crate::blocking::block_on;
use crate::waiting::Waiting;

/// A receiver of a watch channel, which knows the last value it has seen.
///
/// To a clone the current value counts as seen.
///
/// # Examples
///
/// ```
/// use corymb::sync::watch;
///
/// let (tx, mut rx) = watch::channel(1);
/// assert_eq!(tx.send(2), Ok(()));
/// assert_eq!((rx.has_changed(), rx.clone().has_changed()), (true, false));
/// assert_eq!(*rx.borrow_and_update(), 2);
/// assert!(!rx.has_changed());
/// ```
pub struct Receiver<T> {
    channel: Arc<Channel<T>>,
    /// The version that it has seen.
    seen: u64,
}

impl<T> Receiver<T> {
    /// One that is counted already.
    pub(super) fn new(channel: Arc<Channel<T>>, seen: u64) -> Self {
        Self { channel, seen }
    }

    /// The current value. Whether it counts as seen does not change.
    #[must_use]
    pub fn borrow(&self) -> Arc<T> {
        Arc::clone(self.channel.0.lock().value())
    }

    /// The current value, which counts as seen from now on.
    #[must_use]
    pub fn borrow_and_update(&mut self) -> Arc<T> {
        let core = self.channel.0.lock();
        self.seen = core.version();
        Arc::clone(core.value())
    }

    /// Whether there is a value that it has not seen.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.channel.0.lock().version() != self.seen
    }

    /// The current value counts as not seen, so that the next [`changed`](Self::changed) need not
    /// wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::watch;
    /// # corymb::run_blocking(async {
    /// let (_tx, mut rx) = watch::channel(1);
    /// rx.mark_changed();
    /// assert_eq!(rx.changed().await, Ok(()));
    /// assert!(!rx.has_changed());
    /// # });
    /// ```
    pub fn mark_changed(&mut self) {
        self.seen = UNSEEN;
    }

    /// Waits until there is a value that it has not seen; from then on it counts as seen.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{RecvError, watch};
    /// # corymb::run_blocking(async {
    /// let (tx, mut rx) = watch::channel(1);
    /// assert_eq!((tx.send(2), tx.send(3)), (Ok(()), Ok(())));
    /// drop(tx);
    /// assert_eq!(rx.changed().await, Ok(()));
    /// assert_eq!(*rx.borrow(), 3);
    /// assert_eq!(rx.changed().await, Err(RecvError::Closed));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] if the channel is closed, and the last value was seen.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: a value counts as seen in the poll that completes the future. A change that
    /// is there already is told without a check for cancellation.
    ///
    /// # Fairness
    ///
    /// A send wakes all receivers that wait, in the order they came. One that is not polled holds
    /// up nobody: they share nothing.
    ///
    /// # Ordering
    ///
    /// As for [`Sender::send`](super::Sender::send).
    #[track_caller]
    pub fn changed(&mut self) -> Changed<'_, T> {
        let waiting = Waiting::new(&*self.channel, self.seen, Location::caller());
        Changed { waiting, seen: &mut self.seen }
    }

    /// As [`changed`](Self::changed), and blocks the thread meanwhile: for code that is not
    /// asynchronous.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::watch;
    ///
    /// let (tx, mut rx) = watch::channel(1);
    /// std::thread::scope(|s| {
    ///     s.spawn(move || tx.send(2));
    ///     assert_eq!(rx.changed_blocking(), Ok(()));
    /// });
    /// assert_eq!(*rx.borrow(), 2);
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`changed`](Self::changed).
    ///
    /// # Panics
    ///
    /// If it has to wait in a coroutine, but in `blocking(..)`: the thread may be the one that the sender needs.
    #[track_caller]
    pub fn changed_blocking(&mut self) -> Result<(), RecvError> {
        block_on("changed", self.changed())
    }

    /// Waits for a value of which `predicate` is true, the current one or a later one, and gives
    /// it; from then on it counts as seen.
    ///
    /// `predicate` runs under no lock, and is not asked about values that were replaced before it
    /// could be.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use corymb::sync::watch;
    ///
    /// run_blocking(scope(async |s| {
    ///     let (tx, mut rx) = watch::channel(0);
    ///     s.launch(async move {
    ///         for n in 1..=3 {
    ///             tx.send(n).expect("it is open");
    ///             yield_now().await;
    ///         }
    ///     });
    ///     assert_eq!(*rx.wait_for(|&n| n >= 2).await.expect("it comes") / 2, 1);
    /// }));
    /// ```
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] if the channel is closed, and `predicate` is false of the last value.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: values that `predicate` refused do not count as seen, unless they were
    /// before. A value that is there already is given without a check for cancellation.
    ///
    /// # Fairness
    ///
    /// As for [`changed`](Self::changed).
    ///
    /// # Ordering
    ///
    /// As for [`changed`](Self::changed).
    #[track_caller]
    pub fn wait_for<F: FnMut(&T) -> bool>(&mut self, predicate: F) -> WaitFor<'_, T, F> {
        let waiting = Waiting::new(&*self.channel, UNSEEN, Location::caller());
        WaitFor { waiting, seen: &mut self.seen, refused: UNSEEN, predicate }
    }

    /// The values that it has not seen as a stream, the latest each time. It ends when the channel
    /// is closed, and the last value was seen.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::watch;
    /// use futures::StreamExt as _;
    ///
    /// let (tx, mut rx) = watch::channel(1);
    /// rx.mark_changed(); // for the stream to begin with the current value
    /// drop(tx);
    /// let got: Vec<i32> = corymb::run_blocking(rx.into_stream().map(|n| *n).collect());
    /// assert_eq!(got, [1]);
    /// ```
    ///
    /// # Cancel safety
    ///
    /// As for [`changed`](Self::changed).
    #[track_caller]
    pub fn into_stream(self) -> IntoStream<T> {
        let waiting = Waiting::new(Arc::clone(&self.channel), self.seen, Location::caller());
        IntoStream { waiting, receiver: self }
    }

    /// Whether the channel is closed: the value stays as it is.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.channel.0.lock().closed
    }

    /// Whether `other` is of the same channel.
    #[must_use]
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.channel, &other.channel)
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        let version = self.channel.0.lock().subscribe();
        Self { channel: Arc::clone(&self.channel), seen: version }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.channel.0.lock().receivers -= 1;
    }
}

/// The future of [`Receiver::changed`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct Changed<'a, T> {
    #[pin]
    waiting: Waiting<&'a Channel<T>, Receivers<T>>,
    seen: &'a mut u64,
}

impl<T> Future for Changed<'_, T> {
    type Output = Result<(), RecvError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (_, version) = ready!(poll_other(this.waiting, cx, **this.seen))?;
        **this.seen = version;
        Poll::Ready(Ok(()))
    }
}

/// Gives the current value, and its version, if that is not the one `seen`; else waits for another.
fn poll_other<T, M>(
    waiting: Pin<&mut Waiting<M, Receivers<T>>>,
    cx: &mut Context<'_>,
    seen: u64,
) -> Poll<Result<(Arc<T>, u64), RecvError>>
where
    M: crate::monitor::Owner<State = super::state::Core<T>>,
{
    waiting.poll(cx, |core, _, awaited| {
        *awaited = seen;
        core.poll_other(seen)
    })
}

/// The future of [`Receiver::wait_for`].
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct WaitFor<'a, T, F> {
    #[pin]
    waiting: Waiting<&'a Channel<T>, Receivers<T>>,
    seen: &'a mut u64,
    /// The version of the last value that was refused.
    refused: u64,
    predicate: F,
}

impl<T, F: FnMut(&T) -> bool> Future for WaitFor<'_, T, F> {
    type Output = Result<Arc<T>, RecvError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let other = poll_other(this.waiting.as_mut(), cx, *this.refused);
            let (value, version) = ready!(other)?;
            if (this.predicate)(&value) {
                **this.seen = version;
                return Poll::Ready(Ok(value));
            }
            *this.refused = version;
        }
    }
}

impl<T, F> fmt::Debug for WaitFor<'_, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitFor").field("waiting", &self.waiting).finish_non_exhaustive()
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
    type Item = Arc<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Arc<T>>> {
        let this = self.project();
        let other = ready!(poll_other(this.waiting, cx, this.receiver.seen));
        Poll::Ready(other.ok().map(|(value, version)| {
            this.receiver.seen = version;
            value
        }))
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("channel", &self.channel)
            .field("seen", &self.seen)
            .finish()
    }
}
