//! Waiting for each other.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pin_project::{pin_project, pinned_drop};

use crate::anchored::{Anchored, Begin, constant};
use crate::blocking::block_on;
use crate::monitor::{Monitor, Owner, State};
use crate::waiters::{Queue, WaitList};
use crate::waiting::Waiting;

/// Lets nobody on before a number of them have arrived; then the next round begins.
///
/// To wait until a number of things are done, use a [`Latch`](crate::Latch); until the children of
/// a scope have ended, the scope.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use corymb::sync::Barrier;
/// use std::sync::Arc;
///
/// let barrier = Arc::new(Barrier::new(3));
/// let leaders = run_blocking(scope(async |s| {
///     let parts = [(); 3].map(|()| {
///         let barrier = Arc::clone(&barrier);
///         s.spawn(async move { barrier.wait().await.is_leader() })
///     });
///     let mut leaders = 0;
///     for part in parts {
///         leaders += u32::from(part.await);
///     }
///     leaders
/// }));
/// assert_eq!(leaders, 1);
/// ```
///
/// # Ordering
///
/// What each has done before it arrived is visible to all of its round.
pub struct Barrier {
    monitor: Anchored<Arrivals>,
    parties: usize,
}

/// What the lock guards.
pub(crate) struct Arrivals {
    line: WaitList<Line>,
    /// How many have arrived in this round, but for those who have left.
    arrived: usize,
    round: usize,
}

/// The one queue.
pub(crate) struct Line;

impl Queue for Line {
    type State = Arrivals;
    /// Its round.
    type Payload = usize;

    fn waiters(state: &mut Arrivals) -> &mut WaitList<Self> {
        &mut state.line
    }
}

impl State for Arrivals {
    type Shared = ();

    const NAME: &'static str = "barrier";

    fn offer(&mut self, (): &()) -> Option<Waker> {
        let &mut of = self.line.first()?;
        if of == self.round {
            return None;
        }
        self.line.release(|_| ()).map(|(waker, ())| waker)
    }
}

impl Begin for Arrivals {
    type Seed = ();

    fn begin((): &()) -> Monitor<Self> {
        Monitor::new(Self { line: WaitList::new(), arrived: 0, round: 0 }, ())
    }
}

// SAFETY: it is in the place of `self`.
unsafe impl Owner for Barrier {
    type State = Arrivals;

    fn monitor(&self) -> &Monitor<Arrivals> {
        &self.monitor
    }
}

impl Barrier {
    constant! {
        /// One for so many; one for none lets each on at once, as that for one.
        pub fn new(parties: usize) -> Self {
            Self { monitor: Anchored::new(()), parties }
        }
    }

    /// Arrives, and waits for the others of this round. The one that arrives last is told that it
    /// is the leader, and does not wait.
    ///
    /// # Examples
    ///
    /// ```
    /// let alone = corymb::sync::Barrier::new(1);
    /// assert!(corymb::run_blocking(alone.wait()).is_leader());
    /// ```
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped leaves the round: it has not arrived, and another has to. If its
    /// round was full already, the others go on. One that its coroutine no longer polls has
    /// arrived.
    #[track_caller]
    pub fn wait(&self) -> BarrierWait<'_> {
        let waiting = Waiting::new(self, 0, Location::caller());
        BarrierWait { waiting, barrier: self, arrived: None }
    }

    /// As [`wait`](Self::wait), and blocks the thread meanwhile: for code that is not asynchronous.
    ///
    /// # Examples
    ///
    /// ```
    /// let barrier = corymb::sync::Barrier::new(2);
    /// std::thread::scope(|s| {
    ///     for _ in 0..2 {
    ///         s.spawn(|| barrier.wait_blocking());
    ///     }
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// If it has to wait in a coroutine, but in `blocking(..)`.
    #[track_caller]
    pub fn wait_blocking(&self) -> BarrierWaitResult {
        block_on("wait", self.wait())
    }

    /// Figures of the present.
    ///
    /// # Examples
    ///
    /// ```
    /// let statistics = corymb::sync::Barrier::new(3).statistics();
    /// assert_eq!((statistics.parties, statistics.arrived), (3, 0));
    /// ```
    pub fn statistics(&self) -> BarrierStatistics {
        let state = self.monitor.lock();
        BarrierStatistics { parties: self.parties, arrived: state.arrived, rounds: state.round }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("parties", &self.parties).finish_non_exhaustive()
    }
}

/// Figures of a [`Barrier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BarrierStatistics {
    /// How many make a round.
    pub parties: usize,
    /// How many have arrived in this one, and wait.
    pub arrived: usize,
    /// How many rounds are over.
    pub rounds: usize,
}

/// What [`Barrier::wait`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult {
    is_leader: bool,
}

impl BarrierWaitResult {
    /// Whether it was the last of its round to arrive: exactly one is.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }
}

/// The future of [`Barrier::wait`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project(PinnedDrop)]
pub struct BarrierWait<'a> {
    #[pin]
    waiting: Waiting<&'a Barrier, Line>,
    barrier: &'a Barrier,
    /// In which round.
    arrived: Option<usize>,
}

impl Future for BarrierWait<'_> {
    type Output = BarrierWaitResult;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let parties = this.barrier.parties;
        let polled = this.waiting.poll(cx, |state, _, payload| {
            if let Some(round) = *this.arrived {
                let is_over = round != state.round;
                return if is_over { Poll::Ready(false) } else { Poll::Pending };
            }
            if state.arrived + 1 >= parties {
                state.arrived = 0;
                state.round = state.round.wrapping_add(1);
                return Poll::Ready(true);
            }
            state.arrived += 1;
            *payload = state.round;
            *this.arrived = Some(state.round);
            Poll::Pending
        });
        if polled.is_ready() {
            *this.arrived = None;
        }
        polled.map(|is_leader| BarrierWaitResult { is_leader })
    }
}

#[pinned_drop]
impl PinnedDrop for BarrierWait<'_> {
    fn drop(self: Pin<&mut Self>) {
        if let Some(round) = self.arrived {
            let mut state = self.barrier.monitor.lock();
            if round == state.round {
                state.arrived -= 1;
            }
        }
    }
}
