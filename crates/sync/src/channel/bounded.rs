//! The bounded channel: a ring and two wait lists under one lock.
//!
//! Both sides are served in the order they came, by different means:
//!
//! - A *sender* that finds the ring full leaves its value in its waiter. Whoever takes an element
//!   moves the first waiting value into the free place at once, and that send is done. So the ring
//!   is full as long as a sender waits, and nobody can push ahead of it.
//! - A *receiver* that finds the ring empty waits to be called. A call is an offer: the element
//!   stays in the ring, any receiver that is polled takes the oldest, and a called one that finds
//!   nothing queues again in its old place.
//!
//! Invariants, whenever the lock is free:
//!
//! 1. a sender is queued only if the ring is full (or all receivers are gone);
//! 2. a receiver is queued only if at least as many are called as there are elements: every
//!    element has somebody on the way to it.
//!
//! With the lock held nothing foreign runs: wakers are cloned before, and woken or dropped after,
//! as are values.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use corymb_core::internal::prim::{Mutex, MutexGuard};
use corymb_core::internal::{WakerWord, wake_all};

use crate::waiters::{Place, WaitList, Waiter};
use crate::{RecvError, SendError, TryRecvError, TrySendError};

/// A sender in the list: its value, until it is moved into the ring.
pub(super) type SendWaiter<T> = Waiter<Option<T>>;
/// A receiver in the list.
pub(super) type RecvWaiter = Waiter<()>;

pub(super) struct Channel<T> {
    state: Mutex<State<T>>,
    capacity: usize,
}

struct State<T> {
    ring: VecDeque<T>,
    /// No send is accepted any more; those that wait already may still come through.
    closed: bool,
    senders: usize,
    receivers: usize,
    sending: WaitList<Option<T>>,
    receiving: WaitList<()>,
}

/// Those to be woken when the lock is released: a sender that is done, a receiver that is called.
#[must_use = "somebody waits for this"]
#[derive(Default)]
struct Wakes(Option<WakerWord>, Option<WakerWord>);

impl Wakes {
    fn wake(self) {
        wake_all(self.0.into_iter().chain(self.1).map(WakerWord::into_waker));
    }
}

impl<T> State<T> {
    /// Puts `value` into a free place.
    fn push(&mut self, value: T) -> Option<WakerWord> {
        debug_assert!(self.sending.is_empty(), "who waits comes first");
        self.ring.push_back(value);
        self.offer()
    }

    /// Takes the oldest element and fills its place from the first sender that waits.
    fn pop(&mut self) -> Option<(T, Option<WakerWord>)> {
        let value = self.ring.pop_front()?;
        let Some((sender, next)) = self.sending.call(Option::take) else {
            return Some((value, None));
        };
        self.ring.extend(next);
        Some((value, Some(sender)))
    }

    /// Restores invariant 2 where a step took one from it: calls a receiver.
    fn offer(&mut self) -> Option<WakerWord> {
        if self.receiving.called() >= self.ring.len() {
            return None;
        }
        let (waker, ()) = self.receiving.call(|()| ())?;
        debug_assert!(
            self.receiving.is_empty() || self.receiving.called() >= self.ring.len(),
            "each step takes one at most"
        );
        Some(waker)
    }
}

impl<T> Channel<T> {
    /// A channel with one sender and one receiver.
    pub(super) fn new(capacity: usize) -> Self {
        let state = State {
            ring: VecDeque::with_capacity(capacity),
            closed: false,
            senders: 1,
            receivers: 1,
            sending: WaitList::new(),
            receiving: WaitList::new(),
        };
        Self { state: Mutex::new(state), capacity }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock()
    }

    pub(super) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut state = self.lock();
        if state.closed {
            return Err(TrySendError::Closed(value));
        }
        if state.ring.len() == self.capacity {
            return Err(TrySendError::Full(value));
        }
        let wake = state.push(value);
        drop(state);
        Wakes(None, wake).wake();
        Ok(())
    }

    /// Sends the payload of `waiter`; `waiting` says whether that is in the list.
    ///
    /// # Safety
    ///
    /// The contract of a waiter, with `self`, for as long as `waiting` is set.
    pub(super) unsafe fn poll_send(
        &self,
        waiter: Pin<&SendWaiter<T>>,
        waiting: &mut bool,
        cx: &Context<'_>,
    ) -> Poll<Result<(), SendError<T>>> {
        let mut word = None;
        loop {
            let mut state = self.lock();
            let full = state.ring.len() == self.capacity;
            let refused = state.closed && (!*waiting || state.receivers == 0);
            // SAFETY: as the caller owes.
            let (sent, value) = unsafe {
                state.sending.look(waiter, |place, value| {
                    let movable = refused || (place == Place::Out && !full);
                    (value.is_none(), if movable { value.take() } else { None })
                })
            };
            if sent || value.is_some() {
                // SAFETY: as the caller owes.
                let old = unsafe { state.sending.leave(waiter) };
                *waiting = false;
                let (outcome, wake) = match value {
                    None => (Ok(()), None),
                    Some(value) if refused => (Err(SendError(value)), None),
                    Some(value) => (Ok(()), state.push(value)),
                };
                drop(state);
                drop(old);
                Wakes(None, wake).wake();
                return Poll::Ready(outcome);
            }
            // SAFETY: as the caller owes.
            if word.is_none() && unsafe { state.sending.would_wake(waiter, cx.waker()) } {
                return Poll::Pending;
            }
            let Some(word) = word.take() else {
                drop(state);
                word = Some(WakerWord::new(cx.waker()));
                continue;
            };
            // SAFETY: as the caller owes.
            let old = unsafe { state.sending.enqueue(waiter, word) };
            *waiting = true;
            drop(state);
            drop(old);
            return Poll::Pending;
        }
    }

    /// Ends the wait of a sender; its value stays in `waiter` unless it was sent.
    ///
    /// # Safety
    ///
    /// The contract of a waiter, with `self`.
    pub(super) unsafe fn leave_send(&self, waiter: Pin<&SendWaiter<T>>) {
        let mut state = self.lock();
        // SAFETY: as the caller owes.
        let old = unsafe { state.sending.leave(waiter) };
        drop(state);
        drop(old);
    }

    pub(super) fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut state = self.lock();
        let Some((value, sender)) = state.pop() else {
            return Err(if state.closed { TryRecvError::Closed } else { TryRecvError::Empty });
        };
        let wakes = Wakes(sender, state.offer());
        drop(state);
        wakes.wake();
        Ok(value)
    }

    /// Receives, waiting in `waiter`; `waiting` says whether that is in the list.
    ///
    /// # Safety
    ///
    /// The contract of a waiter, with `self`, for as long as `waiting` is set.
    pub(super) unsafe fn poll_recv(
        &self,
        waiter: Pin<&RecvWaiter>,
        waiting: &mut bool,
        cx: &Context<'_>,
    ) -> Poll<Result<T, RecvError>> {
        let mut word = None;
        loop {
            let mut state = self.lock();
            let popped = state.pop();
            if popped.is_some() || state.closed {
                // SAFETY: as the caller owes.
                let old = unsafe { state.receiving.leave(waiter) };
                *waiting = false;
                let (value, sender) = popped.unzip();
                let wakes = Wakes(sender.flatten(), state.offer());
                drop(state);
                drop(old);
                wakes.wake();
                return Poll::Ready(value.ok_or(RecvError::Closed));
            }
            // SAFETY: as the caller owes.
            if word.is_none() && unsafe { state.receiving.would_wake(waiter, cx.waker()) } {
                return Poll::Pending;
            }
            let Some(word) = word.take() else {
                drop(state);
                word = Some(WakerWord::new(cx.waker()));
                continue;
            };
            // SAFETY: as the caller owes.
            let old = unsafe { state.receiving.enqueue(waiter, word) };
            *waiting = true;
            drop(state);
            drop(old);
            return Poll::Pending;
        }
    }

    /// Ends the wait of a receiver; an offer that it had goes to the next one.
    ///
    /// # Safety
    ///
    /// The contract of a waiter, with `self`.
    pub(super) unsafe fn leave_recv(&self, waiter: Pin<&RecvWaiter>) {
        let mut state = self.lock();
        // SAFETY: as the caller owes.
        let old = unsafe { state.receiving.leave(waiter) };
        let wake = state.offer();
        drop(state);
        drop(old);
        Wakes(None, wake).wake();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        // From now on nobody queues, so this comes to an end.
        loop {
            let called = self.lock().receiving.call(|()| ());
            let Some((waker, ())) = called else { return };
            Wakes(Some(waker), None).wake();
        }
    }

    pub(super) fn add_sender(&self) {
        self.lock().senders += 1;
    }

    pub(super) fn add_receiver(&self) {
        self.lock().receivers += 1;
    }

    /// Closes with the last one.
    pub(super) fn remove_sender(&self) {
        let mut state = self.lock();
        state.senders -= 1;
        let last = state.senders == 0;
        drop(state);
        if last {
            self.close();
        }
    }

    /// Closes with the last one: the elements are dropped, and the senders that wait fail.
    pub(super) fn remove_receiver(&self) {
        let mut state = self.lock();
        state.receivers -= 1;
        if state.receivers > 0 {
            return;
        }
        state.closed = true;
        let unreceived = std::mem::take(&mut state.ring);
        drop(state);
        loop {
            let called = self.lock().sending.call(|_| ());
            let Some((waker, ())) = called else { break };
            Wakes(Some(waker), None).wake();
        }
        drop(unreceived);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn len(&self) -> usize {
        self.lock().ring.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }
}

impl<T> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, closed) = {
            let state = self.lock();
            (state.ring.len(), state.closed)
        };
        f.debug_struct("Channel")
            .field("len", &len)
            .field("capacity", &self.capacity)
            .field("closed", &closed)
            .finish()
    }
}
