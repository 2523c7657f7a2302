//! A reader becomes a writer.

use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;

use super::guard::Guard;
use super::{Pointer, RwLock, Shared, UPGRADABLE, WRITE};
use crate::permits::{Waiters, Word};
use crate::waiters::{Queue, WaitList};
use crate::waiting::Waiting;

/// What an upgrade takes.
const REST: usize = WRITE - UPGRADABLE;

/// The queue of the upgrade that waits: at most one does, for it has the upgradable lock.
pub(crate) struct Upgrading;

impl Queue for Upgrading {
    type State = Waiters<Shared>;
    type Payload = ();

    fn waiters(state: &mut Waiters<Shared>) -> &mut WaitList<Self> {
        &mut state.ahead
    }

    fn take_back(_: &mut Waiters<Shared>, word: &Word, (): &mut ()) {
        word.put(REST);
    }
}

/// The future of [`upgrade`](Guard::upgrade).
pub type RwLockUpgrade<'a, T> = Upgrade<&'a RwLock<T>>;

/// The future of an owned guard's [`upgrade`](Guard::upgrade).
pub type OwnedRwLockUpgrade<T> = Upgrade<Arc<RwLock<T>>>;

/// The future that upgrades; the two differ in how they point to the lock.
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct Upgrade<P: Pointer> {
    /// Before the guard: it leaves the queue before it unlocks.
    #[pin]
    waiting: Waiting<P, Upgrading>,
    guard: Option<Kept<P>>,
}

/// A guard that `Debug` does not look into.
struct Kept<P: Pointer>(Guard<P, UPGRADABLE>);

impl<P: Pointer> std::fmt::Debug for Kept<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl<P: Pointer> Upgrade<P> {
    pub(super) fn new(guard: Guard<P, UPGRADABLE>, place: &'static Location<'static>) -> Self {
        let waiting = Waiting::new(guard.pointer().clone(), (), place);
        Self { waiting, guard: Some(Kept(guard)) }
    }
}

impl<P: Pointer> Future for Upgrade<P> {
    type Output = Guard<P, WRITE>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        assert!(
            this.guard.is_some(),
            "the future of `upgrade` at {} was polled after it was done",
            this.waiting.place()
        );
        ready!(this.waiting.poll(cx, |state, turn, ()| {
            let word = state.shared();
            if turn.called {
                return Poll::Ready(());
            }
            word.set_queued();
            match word.take_under_lock(REST) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }));
        let Kept(guard) = this.guard.take().expect("it was there");
        Poll::Ready(guard.into_guard_of())
    }
}
