//! Notifications, of one who waits or of all: what [`Notify`](crate::Notify) and
//! [`Condvar`](crate::Condvar) are made of.
//!
//! One that is for one is an offer, which another takes if it is declined; if there is no other, it
//! is kept for those who have declined. One that is for all
//! begins a new *round*: who waits for the end of an earlier one is released. Rounds only grow, and
//! whoever queues does so in the present one, so that the first in the queue is of the earliest.

use std::task::{Poll, Waker};

use corymb_core::internal::prim::atomic::{AtomicUsize, Ordering};

use crate::anchored::{Anchored, Begin, constant};
use crate::monitor::{Locked, Monitor, Owner, State};
use crate::waiters::{Queue, Turn, WaitList};

/// What the signals are of.
pub(crate) trait Kind: Sized {
    /// For dumps.
    const NAME: &'static str;
    /// How many notifications are kept for those who come later, while nobody waits.
    const KEPT: usize;
}

pub(crate) struct Signal<K: Kind>(Anchored<Signals<K>>);

/// What the lock guards.
pub(crate) struct Signals<K: Kind> {
    line: WaitList<Line<K>>,
    /// Notifications that are nobody's yet.
    given: usize,
    most: usize,
}

/// The present round; changed under the lock.
pub(crate) struct Round(AtomicUsize);

/// The one queue.
pub(crate) struct Line<K>(std::marker::PhantomData<K>);

/// How somebody was notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    One,
    All,
}

impl Round {
    fn now(&self) -> usize {
        // Ordering: Acquire pairs with the Release in `notify_all`: who does not wait for a round
        // that is over sees what was done before its end.
        self.0.load(Ordering::Acquire)
    }
}

impl<K: Kind> Queue for Line<K> {
    type State = Signals<K>;
    /// The round whose end it waits for.
    type Payload = usize;

    fn waiters(state: &mut Signals<K>) -> &mut WaitList<Self> {
        &mut state.line
    }

    fn take_back(state: &mut Signals<K>, _: &Round, _: &mut usize) {
        state.given += 1;
    }
}

impl<K: Kind> State for Signals<K> {
    type Shared = Round;

    const NAME: &'static str = K::NAME;

    fn offer(&mut self, round: &Round) -> Option<Waker> {
        self.most = self.most.max(self.line.len());
        let Some(&mut of) = self.line.first() else {
            // Those who have declined still wait: what nobody else took is theirs.
            self.given = self.given.min(K::KEPT.max(self.line.declined()));
            return None;
        };
        if of != round.now() {
            return self.line.release(|_| ()).map(|(waker, ())| waker);
        }
        self.given = self.given.checked_sub(1)?;
        self.line.call()
    }
}

impl<K: Kind> Begin for Signals<K> {
    type Seed = ();

    fn begin((): &()) -> Monitor<Self> {
        let signals = Self { line: WaitList::new(), given: 0, most: 0 };
        Monitor::new(signals, Round(AtomicUsize::new(0)))
    }
}

// SAFETY: it is in the place of `self`.
unsafe impl<K: Kind> Owner for Signal<K> {
    type State = Signals<K>;

    fn monitor(&self) -> &Monitor<Signals<K>> {
        &self.0
    }
}

impl<K: Kind> Signal<K> {
    constant! {
        pub(crate) fn new() -> Self {
            Self(Anchored::new(()))
        }
    }

    /// The present round.
    pub(crate) fn round(&self) -> usize {
        self.0.shared().now()
    }

    pub(crate) fn notify_one(&self) {
        self.0.lock().given += 1;
    }

    pub(crate) fn notify_all(&self) {
        let state = self.0.lock();
        // Ordering: Release pairs with the Acquire in `now`.
        state.shared().0.fetch_add(1, Ordering::Release);
    }

    /// Notifications that are kept, those who wait, and how many have at once.
    pub(crate) fn figures(&self) -> (usize, usize, usize) {
        let state = self.0.lock();
        (state.given, state.line.len() + state.line.called(), state.most)
    }
}

/// What one who waits does when it is polled.
pub(crate) fn poll_notified<K: Kind>(
    state: &mut Locked<'_, Signals<K>>,
    turn: Turn,
    round: usize,
) -> Poll<By> {
    if turn.called {
        return Poll::Ready(By::One);
    }
    if round != state.shared().now() {
        return Poll::Ready(By::All);
    }
    if turn.first && state.given > 0 {
        state.given -= 1;
        return Poll::Ready(By::One);
    }
    Poll::Pending
}
