//! What a future that waits in a queue is made of.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use corymb_core::internal::{What, is_own_waker, poll_budget, spend_budget};
use pin_project::{pin_project, pinned_drop};

use crate::monitor::{Locked, Owner};
use crate::waiters::{Place, Queue, Turn, WaitList, Waiter};

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
        let mut this = self.project();
        let monitor = this.owner.monitor();
        let mut waker = None;
        loop {
            let mut locked = monitor.lock();
            let turn = match *this.begun {
                // SAFETY: the waiter was made for this monitor alone, and leaves when it is dropped.
                true => unsafe { Q::waiters(&mut locked).turn(this.waiter.as_ref()) },
                false => Turn { called: false, first: Q::waiters(&mut locked).is_empty() },
            };
            // SAFETY: as above.
            let attempted = unsafe {
                WaitList::<Q>::with_payload(this.waiter.as_ref(), |payload| {
                    attempt(&mut locked, turn, payload)
                })
            };
            if attempted.is_ready() {
                if std::mem::take(this.begun) {
                    // SAFETY: as above.
                    let (_, old) = unsafe { Q::waiters(&mut locked).leave(this.waiter.as_ref()) };
                    locked.drop_later(old);
                }
                drop(locked);
                spend_budget();
                return attempted;
            }
            let object = std::ptr::from_ref(monitor).addr();
            let what = What { object, place: this.place };
            let is_queued = *this.begun && {
                let waiter = this.waiter.as_ref();
                // SAFETY: as above.
                unsafe { Q::waiters(&mut locked).would_wake(waiter, cx.waker()) }
            };
            // A clone of a foreign waker runs foreign code.
            if !is_queued && waker.is_none() && !is_own_waker(cx.waker()) {
                drop(locked);
                waker = Some(cx.waker().clone());
                continue;
            }
            if !std::mem::replace(this.begun, true) {
                // SAFETY: it is `Out`, and dropped before the owner of the monitor.
                unsafe { this.waiter.as_mut().make(monitor) };
            }
            let waiter = this.waiter.as_ref();
            // Also if it is queued: it may be another coroutine that polls it now.
            // SAFETY: as above.
            let is_known = unsafe { WaitList::<Q>::begin(waiter, cx.waker(), what) };
            if !is_queued {
                let waker = waker.take().unwrap_or_else(|| cx.waker().clone());
                // SAFETY: as above.
                let old = unsafe { Q::waiters(&mut locked).enqueue(waiter, waker) };
                locked.drop_later(old);
            }
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
