//! The channel: a ring of elements and two queues, as one sequential state machine.
//!
//! Both sides are served in the order they came, by different means:
//!
//! - A *sender* that finds no place leaves its value in its waiter. As soon as a place is free, the
//!   value is moved there by whoever made it free, and that send is done. So there is no free place
//!   as long as a sender waits, and nobody can push ahead of it.
//! - A *receiver* that finds no element waits to be called. A call reserves nothing: the element
//!   stays in the ring, any receiver that is polled takes the oldest, and a called one that finds
//!   nothing queues again in its old place.
//!
//! Invariants, whenever the lock is free:
//!
//! 1. a sender is queued only if there is no place (or all receivers are gone);
//! 2. a receiver is queued only if the channel is open, and at least as many are called as there
//!    are elements: every element has somebody on the way to it.
//!
//! A rendezvous has a place for each receiver that waits, and no other.

use std::collections::VecDeque;
use std::task::{Poll, Waker};

use crate::monitor::{Monitor, Owner, State};
use crate::waiters::{Queue, WaitList};
use crate::{RecvError, SendError, TryRecvError, TrySendError};

/// A channel, which its handles share.
pub(super) struct Channel<T>(pub(super) Monitor<Core<T>>);

// SAFETY: it is in the place of `self`.
unsafe impl<T> Owner for Channel<T> {
    type State = Core<T>;

    fn monitor(&self) -> &Monitor<Core<T>> {
        &self.0
    }
}

/// What the lock guards.
pub(super) struct Core<T> {
    ring: VecDeque<T>,
    capacity: usize,
    /// No send is accepted any more; those that wait already may still come through.
    pub(super) closed: bool,
    pub(super) senders: usize,
    pub(super) receivers: usize,
    sending: WaitList<Senders<T>>,
    receiving: WaitList<Receivers<T>>,
    /// A sender whose value was taken, to be woken.
    sent: Option<Waker>,
}

/// The queue of the senders, with their values until these are moved into the ring.
pub(super) struct Senders<T>(std::marker::PhantomData<T>);

impl<T> Queue for Senders<T> {
    type State = Core<T>;
    type Payload = Option<T>;

    fn waiters(state: &mut Core<T>) -> &mut WaitList<Self> {
        &mut state.sending
    }
}

/// The queue of the receivers.
pub(super) struct Receivers<T>(std::marker::PhantomData<T>);

impl<T> Queue for Receivers<T> {
    type State = Core<T>;
    type Payload = ();

    fn waiters(state: &mut Core<T>) -> &mut WaitList<Self> {
        &mut state.receiving
    }
}

impl<T> State for Core<T> {
    type Shared = ();

    const NAME: &'static str = "channel";

    #[inline]
    fn offer(&mut self, (): &()) -> Option<Waker> {
        if self.sent.is_some() {
            return self.sent.take();
        }
        if !self.sending.is_empty()
            && let Some(waker) = self.admit()
        {
            return Some(waker);
        }
        if self.receiving.is_empty() {
            return None;
        }
        if self.closed {
            return self.receiving.release(|()| ()).map(|(waker, ())| waker);
        }
        if self.receiving.called() < self.ring.len() {
            return self.receiving.call();
        }
        None
    }
}

impl<T> Core<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            ring: VecDeque::with_capacity(capacity),
            capacity,
            closed: false,
            senders: 1,
            receivers: 1,
            sending: WaitList::new(),
            receiving: WaitList::new(),
            sent: None,
        }
    }

    /// Whether there is a free place.
    #[inline]
    fn has_place(&self) -> bool {
        let places = match self.capacity {
            0 => self.receiving.len() + self.receiving.called(),
            capacity => capacity,
        };
        self.ring.len() < places
    }

    /// Ends the wait of a sender: there is a place for its value, or nobody will ever receive it.
    fn admit(&mut self) -> Option<Waker> {
        if self.receivers == 0 {
            return self.sending.release(|_| ()).map(|(waker, ())| waker);
        }
        if !self.has_place() {
            return None;
        }
        let (waker, value) = self.sending.release(Option::take)?;
        self.ring.extend(value);
        Some(waker)
    }

    /// Puts `value` into a free place; gives it back if there is none, or somebody waits for one.
    #[inline]
    pub(super) fn push(&mut self, value: T) -> Result<(), TrySendError<T>> {
        if self.closed {
            return Err(TrySendError::Closed(value));
        }
        if !self.has_place() || !self.sending.is_empty() {
            return Err(TrySendError::Full(value));
        }
        self.ring.push_back(value);
        Ok(())
    }

    /// Sends what is in `slot`, of a sender that `waits` already or comes now; what stays there is
    /// sent later.
    #[inline]
    pub(super) fn poll_push(
        &mut self,
        waits: bool,
        slot: &mut Option<T>,
    ) -> Poll<Result<(), SendError<T>>> {
        let Some(value) = slot.take() else { return Poll::Ready(Ok(())) };
        if self.receivers == 0 || self.closed && !waits {
            return Poll::Ready(Err(SendError(value)));
        }
        if waits || !self.has_place() || !self.sending.is_empty() {
            *slot = Some(value);
            return Poll::Pending;
        }
        self.ring.push_back(value);
        Poll::Ready(Ok(()))
    }

    /// Takes the oldest element.
    #[inline]
    pub(super) fn pop(&mut self) -> Result<T, TryRecvError> {
        if let Some(value) = self.ring.pop_front() {
            return Ok(value);
        }
        // Only a rendezvous lets senders wait while the ring is empty.
        if let Some((waker, value)) = self.sending.release(Option::take) {
            self.sent = Some(waker);
            return value.ok_or(TryRecvError::Empty);
        }
        Err(if self.closed && self.sending.is_empty() {
            TryRecvError::Closed
        } else {
            TryRecvError::Empty
        })
    }

    /// Takes the oldest element, or has to wait for one.
    #[inline]
    pub(super) fn poll_pop(&mut self) -> Poll<Result<T, RecvError>> {
        match self.pop() {
            Ok(value) => Poll::Ready(Ok(value)),
            Err(TryRecvError::Closed) => Poll::Ready(Err(RecvError::Closed)),
            Err(TryRecvError::Empty) => Poll::Pending,
        }
    }

    /// The elements that nobody will receive.
    pub(super) fn take_all(&mut self) -> VecDeque<T> {
        std::mem::take(&mut self.ring)
    }

    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }
}
