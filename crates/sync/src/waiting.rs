//! What a future that waits in a queue is made of.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use corymb_core::internal::{What, is_own_waker, poll_budget, spend_budget};
use pin_project::{pin_project, pinned_drop};

use crate::monitor::{Locked, Owner};
use crate::waiters::{Place, Queue, WaitList, Waiter};

/// A waiter, its place in a queue of the monitor of `M`, and where in the program that is.
#[pin_project(PinnedDrop)]
pub(crate) struct Waiting<M, Q>
where
    M: Owner<State = Q::State>,
    Q: Queue,
{
    owner: M,
    place: &'static Location<'static>,
    /// The waiter is known to the list.
    begun: bool,
    #[pin]
    waiter: Waiter<Q>,
}

/// How it stands with one who comes to see whether it must wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// It was made an offer: what that reserves is there for it.
    pub(crate) called: bool,
    /// Nobody in the queue comes before it.
    pub(crate) first: bool,
}

impl<M, Q> Waiting<M, Q>
where
    M: Owner<State = Q::State>,
    Q: Queue,
{
    pub(crate) fn new(owner: M, payload: Q::Payload, place: &'static Location<'static>) -> Self {
        Self { owner, place, begun: false, waiter: Waiter::new(payload) }
    }

    pub(crate) fn place(&self) -> &'static Location<'static> {
        self.place
    }

    /// Whether it is in the queue, or was called out of it.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Calls `attempt` with the state; unless that is ready, waits for a call.
    ///
    /// An `attempt` that is called and ready has taken what was reserved for it. It does not reach
    /// its own payload but by the reference that it is given.
    #[inline]
    pub(crate) fn poll<R>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&mut Locked<'_, Q::State>, Turn, &mut Q::Payload) -> Poll<R>,
    ) -> Poll<R> {
        ready!(poll_budget(cx));
        let this = self.project();
        let waiter = this.waiter.as_ref();
        let monitor = this.owner.monitor();
        let mut waker = None;
        loop {
            let mut locked = monitor.lock();
            // SAFETY: the waiter is given to this monitor alone, and leaves when it is dropped.
            let (place, first) = unsafe { Q::waiters(&mut locked).turn(waiter) };
            let turn = Turn { called: place == Place::Called, first };
            // SAFETY: as above.
            let attempted = unsafe {
                WaitList::<Q>::with_payload(waiter, |payload| attempt(&mut locked, turn, payload))
            };
            if attempted.is_ready() {
                if *this.begun {
                    *this.begun = false;
                    // SAFETY: as above.
                    let (_, old) = unsafe { Q::waiters(&mut locked).leave(waiter) };
                    locked.drop_later(old);
                }
                drop(locked);
                spend_budget();
                return attempted;
            }
            let what = What { object: std::ptr::from_ref(monitor).addr(), place: this.place };
            // SAFETY: as above.
            let is_known =
                unsafe { WaitList::<Q>::begin(waiter, monitor, cx.waker(), what, !*this.begun) };
            let has_begun = std::mem::replace(this.begun, true);
            // SAFETY: as above.
            if has_begun && unsafe { Q::waiters(&mut locked).would_wake(waiter, cx.waker()) } {
                return Poll::Pending;
            }
            // A clone of a foreign waker runs foreign code.
            if waker.is_none() && !is_own_waker(cx.waker()) {
                drop(locked);
                waker = Some(cx.waker().clone());
                continue;
            }
            let waker = waker.take().unwrap_or_else(|| cx.waker().clone());
            // SAFETY: as above.
            let old = unsafe { Q::waiters(&mut locked).enqueue(waiter, waker) };
            locked.drop_later(old);
            if !is_known {
                let shared = locked.shared();
                WaitList::<Q>::decline_strays(&mut *locked, shared, cx.waker());
            }
            return Poll::Pending;
        }
    }

    /// Ends the wait, unless it is over, and gives back what was reserved for it.
    pub(crate) fn leave(self: Pin<&mut Self>) {
        let this = self.project();
        if !std::mem::take(this.begun) {
            return;
        }
        let waiter = this.waiter.as_ref();
        let mut locked = this.owner.monitor().lock();
        // SAFETY: as in `poll`.
        let (place, old) = unsafe { Q::waiters(&mut locked).leave(waiter) };
        locked.drop_later(old);
        if place == Place::Called {
            let shared = locked.shared();
            // SAFETY: as in `poll`.
            unsafe {
                WaitList::<Q>::with_payload(waiter, |payload| {
                    Q::take_back(&mut locked, shared, payload);
                });
            }
        }
    }
}

#[pinned_drop]
impl<M, Q> PinnedDrop for Waiting<M, Q>
where
    M: Owner<State = Q::State>,
    Q: Queue,
{
    fn drop(self: Pin<&mut Self>) {
        self.leave();
    }
}

impl<M, Q> fmt::Debug for Waiting<M, Q>
where
    M: Owner<State = Q::State>,
    Q: Queue,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("place", &self.place)
            .field("begun", &self.begun)
            .finish_non_exhaustive()
    }
}
