//! Waking who waits for an event.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::{pin_project, pinned_drop};

use crate::anchored::constant;
use crate::blocking::block_on;
use crate::signal::{By, Kind, Line, Signal, poll_notified};
use crate::waiting::Waiting;

/// Tells others that something has happened, without a value: they look for themselves.
///
/// # Examples
///
/// The future is made before the look, so that no event falls in between:
///
/// ```
/// use corymb::prelude::*;
/// use corymb::sync::Notify;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// let state = Arc::new((AtomicBool::new(false), Notify::new()));
/// run_blocking(scope(async |s| {
///     let setter = Arc::clone(&state);
///     s.launch(async move {
///         setter.0.store(true, Ordering::Release);
///         setter.1.notify_all();
///     });
///     let (is_set, changed) = &*state;
///     loop {
///         let notified = changed.notified();
///         if is_set.load(Ordering::Acquire) {
///             break;
///         }
///         notified.await;
///     }
/// }));
/// ```
///
/// With [`notify_one`](Self::notify_one) it has to be [enabled](Notified::enable) before the look,
/// or of two notifications only one is kept:
///
/// ```
/// use corymb::sync::Notify;
/// use std::pin::pin;
/// use std::sync::Mutex;
///
/// struct Queue(Mutex<Vec<u32>>, Notify);
///
/// impl Queue {
///     fn push(&self, value: u32) {
///         self.0.lock().unwrap().push(value);
///         self.1.notify_one();
///     }
///
///     async fn pop(&self) -> u32 {
///         loop {
///             let mut pushed = pin!(self.1.notified());
///             pushed.as_mut().enable().await;
///             if let Some(value) = self.0.lock().unwrap().pop() {
///                 return value;
///             }
///             pushed.await;
///         }
///     }
/// }
///
/// # corymb::run_blocking(async {
/// let queue = Queue(Mutex::default(), Notify::new());
/// queue.push(7);
/// assert_eq!(queue.pop().await, 7);
/// # });
/// ```
///
/// # Fairness
///
/// Those who wait are notified in the order in which they were first polled, or enabled.
///
/// # Ordering
///
/// What was done before a notification is visible to whoever it wakes.
pub struct Notify {
    signal: Signal<Event>,
}

pub(crate) struct Event;

impl Kind for Event {
    const NAME: &'static str = "notify";
    const KEPT: usize = 1;
}

impl Notify {
    constant! {
        /// One that nobody has notified.
        pub fn new() -> Self {
            Self { signal: Signal::new() }
        }
    }

    /// Waits for a notification: each [`notify_all`](Self::notify_all) after this call counts, also
    /// before the first poll. For [`notify_one`](Self::notify_one) it waits from its first poll on,
    /// or from [`Notified::enable`]; what came before that is kept for it if nobody waited, but
    /// only one.
    ///
    /// # Examples
    ///
    /// ```
    /// let notify = corymb::sync::Notify::new();
    /// let notified = notify.notified();
    /// notify.notify_all();
    /// corymb::run_blocking(notified);
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost but the place in the queue: a notification for one that has reached a future
    /// which is dropped, or which its coroutine no longer polls, goes to the next, or is kept if
    /// there is none.
    #[track_caller]
    pub fn notified(&self) -> Notified<'_> {
        let round = self.signal.round();
        let waiting = Waiting::new(&self.signal, round, Location::caller());
        Notified { waiting, signal: &self.signal, round, notified: None }
    }

    /// As [`notified`](Self::notified), and blocks the thread meanwhile.
    ///
    /// # Panics
    ///
    /// If it has to wait in a coroutine, but in `blocking(..)`.
    #[track_caller]
    pub fn notified_blocking(&self) {
        block_on("notified", self.notified());
    }

    /// Notifies the one that has waited longest; if nobody waits, the next that comes does not
    /// wait. One such notification is kept, however many were given.
    ///
    /// # Examples
    ///
    /// ```
    /// let notify = corymb::sync::Notify::new();
    /// notify.notify_one();
    /// corymb::run_blocking(notify.notified());
    /// ```
    pub fn notify_one(&self) {
        self.signal.notify_one();
    }

    /// Notifies all who wait, and those whose future is made but was not polled yet. Nothing is
    /// kept for those who come later.
    pub fn notify_all(&self) {
        self.signal.notify_all();
    }

    /// Figures of the present.
    ///
    /// # Examples
    ///
    /// ```
    /// let notify = corymb::sync::Notify::new();
    /// notify.notify_one();
    /// assert!(notify.statistics().is_notified);
    /// ```
    pub fn statistics(&self) -> NotifyStatistics {
        let (kept, waiters, most_waiters) = self.signal.figures();
        NotifyStatistics { is_notified: kept > 0, waiting: waiters, max_waiting: most_waiters }
    }
}

impl Default for Notify {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify").finish_non_exhaustive()
    }
}

/// Figures of a [`Notify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotifyStatistics {
    /// A notification is kept: the next that comes does not wait.
    pub is_notified: bool,
    /// How many wait.
    pub waiting: usize,
    /// How many have waited at once so far.
    pub max_waiting: usize,
}

/// The future of [`Notify::notified`].
#[must_use = "futures do nothing unless polled"]
#[pin_project(PinnedDrop)]
pub struct Notified<'a> {
    #[pin]
    waiting: Waiting<&'a Signal<Event>, Line<Event>>,
    signal: &'a Signal<Event>,
    round: usize,
    /// It was told so by [`enable`](Self::enable), and has not ended.
    notified: Option<By>,
}

#[pinned_drop]
impl PinnedDrop for Notified<'_> {
    fn drop(self: Pin<&mut Self>) {
        if self.notified == Some(By::One) {
            self.signal.notify_one();
        }
    }
}

impl<'a> Notified<'a> {
    /// Queues it now, and not at its first poll; tells whether it is notified already. This does
    /// not wait.
    ///
    /// It matters where [`Notify::notify_one`] is called twice before those who wait are polled.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::Notify;
    /// use std::pin::pin;
    ///
    /// let notify = Notify::new();
    /// let (mut one, mut other) = (pin!(notify.notified()), pin!(notify.notified()));
    /// corymb::run_blocking(async {
    ///     assert!(!one.as_mut().enable().await && !other.as_mut().enable().await);
    ///     notify.notify_one();
    ///     notify.notify_one(); // not lost: there are two who wait
    ///     (one.await, other.await);
    /// });
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropped before its first poll, it has done nothing; afterwards the [`Notified`] stays queued.
    pub fn enable<'b>(self: Pin<&'b mut Self>) -> NotifiedEnable<'b, 'a> {
        NotifiedEnable { notified: self }
    }

    fn poll_by(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<By> {
        let this = self.project();
        if let Some(by) = *this.notified {
            return Poll::Ready(by);
        }
        let round = *this.round;
        this.waiting.poll(cx, |state, turn, _| poll_notified(state, turn, round))
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.as_mut().poll_by(cx);
        if polled.is_ready() {
            *self.project().notified = None;
        }
        polled.map(drop)
    }
}

/// The future of [`Notified::enable`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct NotifiedEnable<'b, 'a> {
    notified: Pin<&'b mut Notified<'a>>,
}

impl Future for NotifiedEnable<'_, '_> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let mut notified = self.notified.as_mut();
        let by = match notified.as_mut().poll_by(cx) {
            Poll::Ready(by) => Some(by),
            Poll::Pending if notified.waiting.has_begun() => None,
            // The budget of the poll is used up.
            Poll::Pending => return Poll::Pending,
        };
        *notified.project().notified = by;
        Poll::Ready(by.is_some())
    }
}

impl fmt::Debug for Notified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notified").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}
