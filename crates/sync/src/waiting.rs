//! What a future that waits in a queue is made of.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use corymb_core::internal::{What, is_own_waker, poll_budget, spend_budget};
use pin_project::{pin_project, pinned_drop};

use crate::monitor::{Locked, Monitor, Owner, State};
use crate::waiters::{Place, Queue, Turn, WaitList, Waiter};

/// A waiter, its place in a queue of the monitor of `M`, and where in the program that is.
#[pin_project(PinnedDrop)]
pub(crate) struct Waiting<M, Q>
where
    M: Owner<State = Q::State>,
    Q: Queue,
{
    owner: M,
    #[pin]
    seat: Seat<Q>,
}

/// What it is but for the owner.
#[pin_project]
struct Seat<Q: Queue> {
    place: &'static Location<'static>,
    /// The waiter is known to the list.
    begun: bool,
    #[pin]
    waiter: Waiter<Q>,
}

impl<M, Q> Waiting<M, Q>
where
    M: Owner<State = Q::State>,
    Q: Queue,
{
    #[inline]
    pub(crate) fn new(owner: M, payload: Q::Payload, place: &'static Location<'static>) -> Self {
        Self { owner, seat: Seat { place, begun: false, waiter: Waiter::new(payload) } }
    }

    pub(crate) fn place(&self) -> &'static Location<'static> {
        self.seat.place
    }

    /// Whether it is in the queue, or was called out of it.
    #[inline]
    pub(crate) fn has_begun(&self) -> bool {
        self.seat.begun
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
        ready!(poll_budget(cx, (Q::State::WAIT, self.seat.place)));
        let mut this = self.project();
        let monitor = this.owner.monitor();
        let mut waker = None;
        let attempted = loop {
            // Not moved in order to drop it: a copy of what was just written in parts is slow.
            let mut locked = monitor.lock();
            let turn = match this.seat.begun {
                // SAFETY: the waiter was made for this monitor alone, and leaves when it is dropped.
                true => unsafe { Q::waiters(&mut locked).turn(this.seat.as_ref().waiter()) },
                false => Turn { called: false, first: Q::waiters(&mut locked).is_empty() },
            };
            // SAFETY: as above.
            let attempted = unsafe {
                WaitList::<Q>::with_payload(this.seat.as_ref().waiter(), |payload| {
                    attempt(&mut locked, turn, payload)
                })
            };
            if attempted.is_ready() {
                if this.seat.begun {
                    this.seat.as_mut().end(&mut locked);
                }
                break attempted;
            }
            if this.seat.as_mut().wait(cx, locked, &mut waker) {
                return Poll::Pending;
            }
        };
        spend_budget();
        attempted
    }

    /// Ends the wait, unless it is over, and gives back what was reserved for it.
    #[inline]
    pub(crate) fn leave(self: Pin<&mut Self>) {
        let this = self.project();
        if this.seat.begun {
            this.seat.leave(this.owner.monitor());
        }
    }
}

// What only those come to who have to wait is out of line.
//
// The safety comments here are of a waiter that was made for one monitor alone, and leaves when it
// is dropped.
impl<Q: Queue> Seat<Q> {
    #[inline]
    fn waiter(self: Pin<&Self>) -> Pin<&Waiter<Q>> {
        self.project_ref().waiter
    }

    /// Waits for a call; false if it has to try again first.
    #[inline(never)]
    fn wait(
        self: Pin<&mut Self>,
        cx: &Context<'_>,
        mut locked: Locked<'_, Q::State>,
        waker: &mut Option<Waker>,
    ) -> bool {
        let mut this = self.project();
        let is_queued = *this.begun && {
            let waiter = this.waiter.as_ref();
            // SAFETY: as said.
            unsafe { Q::waiters(&mut locked).would_wake(waiter, cx.waker()) }
        };
        // A clone of a foreign waker runs foreign code.
        if !is_queued && waker.is_none() && !is_own_waker(cx.waker()) {
            drop(locked);
            *waker = Some(cx.waker().clone());
            return false;
        }
        let monitor = locked.monitor();
        if !std::mem::replace(this.begun, true) {
            // SAFETY: it is `Out`, and dropped before the owner of the monitor.
            unsafe { this.waiter.as_mut().make(monitor) };
        }
        let what = What { object: std::ptr::from_ref(monitor).addr(), place: this.place };
        let waiter = this.waiter.as_ref();
        // Also if it is queued: it may be another coroutine that polls it now.
        // SAFETY: as said.
        let is_known = unsafe { WaitList::<Q>::begin(waiter, cx.waker(), what) };
        if !is_queued {
            let waker = waker.take().unwrap_or_else(|| cx.waker().clone());
            // SAFETY: as said.
            let old = unsafe { Q::waiters(&mut locked).enqueue(waiter, waker) };
            locked.drop_later(old);
        }
        if !is_known {
            let shared = locked.shared();
            WaitList::<Q>::decline_strays(&mut *locked, shared, cx.waker());
        }
        true
    }

    /// Leaves the queue, and answers from where.
    fn end(self: Pin<&mut Self>, locked: &mut Locked<'_, Q::State>) -> Place {
        let this = self.project();
        *this.begun = false;
        // SAFETY: as said.
        let (place, old) = unsafe { Q::waiters(locked).leave(this.waiter.as_ref()) };
        locked.drop_later(old);
        place
    }

    /// Leaves the queue, and gives back what was reserved.
    #[inline(never)]
    fn leave(mut self: Pin<&mut Self>, monitor: &Monitor<Q::State>) {
        let mut locked = monitor.lock();
        if self.as_mut().end(&mut locked) == Place::Called {
            let shared = locked.shared();
            // SAFETY: as said.
            unsafe {
                WaitList::<Q>::with_payload(self.as_ref().waiter(), |payload| {
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
    #[inline]
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
            .field("place", &self.seat.place)
            .field("begun", &self.seat.begun)
            .finish_non_exhaustive()
    }
}
