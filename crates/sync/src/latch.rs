//! Waiting for a number of things to be done.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pin_project::pin_project;

use crate::anchored::{Anchored, Begin, constant};
use crate::blocking::block_on;
use crate::monitor::{Monitor, Owner, State};
use crate::waiters::{Queue, WaitList};
use crate::waiting::Waiting;

/// Opens, once and for ever, when it has been counted down to zero.
///
/// It is counted down by hand, or, as the wait group of other languages, by
/// [holds](Self::hold) that come and go. To wait for children, a scope needs neither.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use corymb::sync::Latch;
/// use std::sync::Arc;
///
/// let ready = Arc::new(Latch::new(2));
/// run_blocking(scope(async |s| {
///     for _ in 0..2 {
///         let ready = Arc::clone(&ready);
///         s.launch(async move {
///             ready.count_down();
///             ready.wait().await; // the other one is ready too
///         });
///     }
/// }));
/// assert!(ready.is_open());
/// ```
///
/// # Ordering
///
/// What was done before each count is visible to whoever has waited.
pub struct Latch {
    monitor: Anchored<Count>,
}

/// What the lock guards.
pub(crate) struct Count {
    line: WaitList<Line>,
    left: usize,
}

/// The one queue.
pub(crate) struct Line;

impl Queue for Line {
    type State = Count;
    type Payload = ();

    fn waiters(state: &mut Count) -> &mut WaitList<Self> {
        &mut state.line
    }
}

impl State for Count {
    type Shared = ();

    const NAME: &'static str = "latch";

    fn offer(&mut self, (): &()) -> Option<Waker> {
        if self.left > 0 {
            return None;
        }
        self.line.release(|()| ()).map(|(waker, ())| waker)
    }
}

impl Begin for Count {
    /// How many things there are to be done.
    type Seed = usize;

    fn begin(&left: &usize) -> Monitor<Self> {
        Monitor::new(Self { line: WaitList::new(), left }, ())
    }
}

// SAFETY: it is in the place of `self`.
unsafe impl Owner for Latch {
    type State = Count;

    fn monitor(&self) -> &Monitor<Count> {
        &self.monitor
    }
}

impl Latch {
    constant! {
        /// One that opens after `count`; at once if that is 0.
        pub fn new(count: usize) -> Self {
            Self { monitor: Anchored::new(count) }
        }
    }

    /// Counts down by one, and opens it at zero. An open one stays as it is.
    ///
    /// # Examples
    ///
    /// ```
    /// let latch = corymb::sync::Latch::new(1);
    /// latch.count_down();
    /// assert!(latch.is_open());
    /// ```
    pub fn count_down(&self) {
        let mut state = self.monitor.lock();
        state.left = state.left.saturating_sub(1);
    }

    /// One more to be counted down, when what this gives is dropped.
    ///
    /// # Examples
    ///
    /// As a wait group: the 1 that it begins with is counted down when all have been added.
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use corymb::sync::Latch;
    /// use std::sync::Arc;
    ///
    /// let group = Arc::new(Latch::new(1));
    /// run_blocking(scope(async |s| {
    ///     for _ in 0..3 {
    ///         let hold = group.hold();
    ///         s.launch(async move { drop(hold) });
    ///     }
    ///     group.count_down();
    ///     group.wait().await;
    /// }));
    /// ```
    ///
    /// # Panics
    ///
    /// If it is open: who has waited is gone already.
    #[track_caller]
    pub fn hold(self: &Arc<Self>) -> LatchHold {
        let mut state = self.monitor.lock();
        let is_open = state.left == 0;
        if !is_open {
            state.left += 1;
        }
        drop(state);
        assert!(
            !is_open,
            "`Latch::hold` of an open latch: those who waited have gone on; make it with a count \
             of 1, which is counted down when everybody holds it"
        );
        LatchHold { latch: Arc::clone(self) }
    }

    /// Waits until it is open.
    ///
    /// # Examples
    ///
    /// ```
    /// corymb::run_blocking(corymb::sync::Latch::new(0).wait());
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it.
    ///
    /// # Fairness
    ///
    /// All who wait go on at once.
    #[track_caller]
    pub fn wait(&self) -> LatchWait<'_> {
        LatchWait { waiting: Waiting::new(self, (), Location::caller()) }
    }

    /// As [`wait`](Self::wait), and blocks the thread meanwhile: for code that is not asynchronous.
    ///
    /// # Panics
    ///
    /// If it has to wait in a coroutine, but in `blocking(..)`.
    #[track_caller]
    pub fn wait_blocking(&self) {
        block_on("wait", self.wait());
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.monitor.lock().left == 0
    }

    /// Figures of the present.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(corymb::sync::Latch::new(2).statistics().left, 2);
    /// ```
    pub fn statistics(&self) -> LatchStatistics {
        let state = self.monitor.lock();
        LatchStatistics { left: state.left, waiting: state.line.len() }
    }
}

impl fmt::Debug for Latch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.monitor.peek(|state| state.left);
        f.debug_struct("Latch").field("left", &left).finish_non_exhaustive()
    }
}

/// Figures of a [`Latch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LatchStatistics {
    /// What is left to be counted down.
    pub left: usize,
    /// How many wait.
    pub waiting: usize,
}

/// Counts a [`Latch`] down when it is dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it is counted down at once"]
pub struct LatchHold {
    latch: Arc<Latch>,
}

impl Drop for LatchHold {
    fn drop(&mut self) {
        self.latch.count_down();
    }
}

/// The future of [`Latch::wait`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct LatchWait<'a> {
    #[pin]
    waiting: Waiting<&'a Latch, Line>,
}

impl Future for LatchWait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().waiting.poll(cx, |state, _, ()| match state.left {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        })
    }
}
