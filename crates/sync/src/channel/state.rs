//! The channel: a ring of elements and two queues, as one sequential state machine.
//!
//! Both sides are served in the order they came, by different means:
//!
//! - A *sender* that finds no place leaves its value in its waiter. As soon as a place is free, the
//!   value is moved there by whoever made it free, and that send is done.
//! - A *reservation* waits in the same queue, with no value. It is called when its turn comes: the
//!   call reserves the place, which is the permit's as long as there is one.
//! - A *receiver* that finds no element waits to be called. A call reserves nothing: the element
//!   stays in the ring, any receiver that is polled takes the oldest, and a called one that finds
//!   nothing queues again in its old place.
//!
//! Invariants, whenever the lock is free and no offer is due:
//!
//! 1. a sender or a reservation is queued only if there is no place, so nobody gets ahead of it;
//! 2. a receiver is queued only if something may still come, and then as many are called as there
//!    are elements, or all: every element has somebody on the way to it.
//!
//! A rendezvous has a place for each receiver that waits, and no other. A channel that drops what
//! does not fit always has one: nobody waits to send, and a permit reserves nothing there.

use std::collections::VecDeque;
use std::task::{Poll, Waker};

use corymb_core::internal::WaitKind;

use super::{Cause, Overflow, Statistics};
use crate::closing::{Closes, Closing, offer_closed};
use crate::monitor::{Monitor, Owner, State};
use crate::waiters::{Queue, Turn, WaitList};
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
    overflow: Overflow,
    /// No send is accepted any more; those that wait already, and permits, may still come through.
    pub(super) closed: bool,
    pub(super) cause: Option<Cause>,
    pub(super) senders: usize,
    pub(super) receivers: usize,
    /// Permits that are out, and those that are offered.
    reserved: usize,
    /// How many values were dropped because they did not fit.
    dropped: u64,
    sending: WaitList<Senders<T>>,
    receiving: WaitList<Receivers<T>>,
    closing: WaitList<Closing<Self>>,
    /// It was closed, and reservations that wait are to be told.
    refuses: bool,
    /// A sender whose value was taken, to be woken.
    sent: Option<Waker>,
}

/// What a sender waits with.
pub(super) enum Claim<T> {
    /// A value, which is moved into a place.
    Value(T),
    /// A place for a value to come.
    Place,
    /// The value was sent, or the place refused.
    Over,
}

impl<T> Claim<T> {
    #[inline]
    fn take(&mut self) -> Option<T> {
        match std::mem::replace(self, Self::Over) {
            Self::Value(value) => Some(value),
            Self::Place | Self::Over => None,
        }
    }

    /// Ends the wait for a place; false of other waits.
    fn refuse(&mut self) -> bool {
        let is_place = matches!(self, Self::Place);
        if is_place {
            *self = Self::Over;
        }
        is_place
    }
}

/// The queue of the senders, with their values until these are moved into the ring, and of those
/// who reserve.
pub(super) struct Senders<T>(std::marker::PhantomData<T>);

impl<T> Queue for Senders<T> {
    type State = Core<T>;
    type Payload = Claim<T>;

    fn waiters(state: &mut Core<T>) -> &mut WaitList<Self> {
        &mut state.sending
    }

    /// Only reservations are called.
    fn take_back(state: &mut Core<T>, (): &(), _: &mut Claim<T>) {
        state.reserved -= 1;
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
    const WAIT: WaitKind = WaitKind::Channel;

    #[inline]
    fn offer(&mut self, (): &()) -> Option<Waker> {
        let nobody_waits =
            self.sending.is_empty() && self.receiving.is_empty() && self.closing.is_empty();
        if nobody_waits && self.sent.is_none() { None } else { self.offer_to_waiters() }
    }
}

impl<T> Closes for Core<T> {
    fn reaches_nobody(&self) -> bool {
        // Without receivers it is closed.
        self.closed
    }

    fn closing(&mut self) -> &mut WaitList<Closing<Self>> {
        &mut self.closing
    }
}

impl<T> Core<T> {
    /// As [`offer`](State::offer), if anybody waits.
    // Out of line, so that a lock is released in line.
    #[inline(never)]
    fn offer_to_waiters(&mut self) -> Option<Waker> {
        if self.sent.is_some() {
            return self.sent.take();
        }
        if let Some(waker) = offer_closed(self) {
            return Some(waker);
        }
        if !self.sending.is_empty()
            && let Some(waker) = self.admit()
        {
            return Some(waker);
        }
        if self.receiving.is_empty() {
            return None;
        }
        if self.is_final() {
            return self.receiving.release(|()| ()).map(|(waker, ())| waker);
        }
        if self.receiving.called() < self.ring.len() {
            return self.receiving.call();
        }
        None
    }

    pub(super) fn new(capacity: usize, overflow: Overflow) -> Self {
        let ring = match capacity {
            usize::MAX => VecDeque::new(),
            _ => VecDeque::with_capacity(capacity),
        };
        Self {
            ring,
            capacity,
            overflow,
            closed: false,
            cause: None,
            senders: 1,
            receivers: 1,
            reserved: 0,
            dropped: 0,
            sending: WaitList::new(),
            receiving: WaitList::new(),
            closing: WaitList::new(),
            refuses: false,
            sent: None,
        }
    }

    /// Whether a value can be put into the ring now.
    #[inline]
    fn has_place(&self) -> bool {
        let taken = self.ring.len() + self.reserved;
        taken < self.capacity
            || self.overflow != Overflow::Suspend
            || self.capacity == 0 && taken < self.receiving.len() + self.receiving.called()
    }

    /// Whether nothing comes into the ring any more.
    #[inline]
    fn is_final(&self) -> bool {
        self.closed && self.reserved == 0 && self.sending.is_empty()
    }

    /// Does what is due for the first of those who wait to send: there is a place for it, or there
    /// will be none.
    fn admit(&mut self) -> Option<Waker> {
        if self.refuses {
            let refused = self.sending.release_if(Claim::refuse);
            self.refuses = refused.is_some();
            return refused.or_else(|| self.admit());
        }
        let is_place = matches!(self.sending.first()?, Claim::Place);
        if self.receivers == 0 {
            // A value stays, for its sender to get it back.
            return self.sending.release(|_| ()).map(|(waker, ())| waker);
        }
        if !self.has_place() {
            return None;
        }
        if is_place {
            self.reserved += 1;
            return self.sending.call();
        }
        let (waker, value) = self.sending.release(Claim::take)?;
        self.ring.extend(value);
        Some(waker)
    }

    /// Puts `value` into the place that it has; gives what has to be dropped for it.
    #[inline]
    fn put(&mut self, value: T) -> Option<T> {
        if self.overflow == Overflow::Suspend || self.ring.len() < self.capacity {
            self.ring.push_back(value);
            return None;
        }
        self.dropped += 1;
        if self.overflow == Overflow::DropLatest {
            return Some(value);
        }
        let oldest = self.ring.pop_front();
        self.ring.push_back(value);
        oldest
    }

    /// Puts `value` into a free place, and gives what has to be dropped for it; gives it back if
    /// there is none, or somebody waits for one.
    #[inline]
    pub(super) fn push(&mut self, value: T) -> Result<Option<T>, TrySendError<T>> {
        match self.check_place() {
            Ok(()) => Ok(self.put(value)),
            Err(error) => Err(error.map(|()| value)),
        }
    }

    /// Reserves a free place, if there is one and nobody waits for it.
    pub(super) fn try_reserve(&mut self) -> Result<(), TrySendError<()>> {
        self.check_place()?;
        self.reserved += 1;
        Ok(())
    }

    #[inline]
    fn check_place(&self) -> Result<(), TrySendError<()>> {
        if self.closed {
            return Err(TrySendError::Closed(()));
        }
        if !self.has_place() || !self.sending.is_empty() {
            return Err(TrySendError::Full(()));
        }
        Ok(())
    }

    /// Sends the value in `claim`, of a sender that `waits` already or comes now, and gives what
    /// has to be dropped for it; what stays in `claim` is sent later.
    #[inline]
    pub(super) fn poll_push(
        &mut self,
        waits: bool,
        claim: &mut Claim<T>,
    ) -> Poll<Result<Option<T>, SendError<T>>> {
        let Some(value) = claim.take() else { return Poll::Ready(Ok(None)) };
        if self.receivers == 0 || self.closed && !waits {
            return Poll::Ready(Err(SendError(value)));
        }
        if waits || !self.has_place() || !self.sending.is_empty() {
            *claim = Claim::Value(value);
            return Poll::Pending;
        }
        Poll::Ready(Ok(self.put(value)))
    }

    /// Reserves a place, or has to wait for one.
    pub(super) fn poll_reserve(&mut self, turn: Turn) -> Poll<Result<(), SendError<()>>> {
        if turn.called {
            return Poll::Ready(Ok(()));
        }
        if self.closed {
            return Poll::Ready(Err(SendError(())));
        }
        if !turn.first || !self.has_place() {
            return Poll::Pending;
        }
        self.reserved += 1;
        Poll::Ready(Ok(()))
    }

    /// Puts `value` into a place that was reserved, and gives what has to be dropped for it.
    pub(super) fn redeem(&mut self, value: T) -> Result<Option<T>, SendError<T>> {
        self.reserved -= 1;
        if self.receivers == 0 {
            return Err(SendError(value));
        }
        Ok(self.put(value))
    }

    /// Gives a place that was reserved to the next in line.
    pub(super) fn unreserve(&mut self) {
        self.reserved -= 1;
    }

    /// Takes the oldest element.
    #[inline]
    pub(super) fn pop(&mut self) -> Result<T, TryRecvError> {
        if let Some(value) = self.ring.pop_front() {
            return Ok(value);
        }
        if self.is_final() {
            return Err(TryRecvError::Closed);
        }
        self.meet().ok_or(TryRecvError::Empty)
    }

    /// Takes the value of a sender that waits: only a rendezvous has such while the ring is empty.
    fn meet(&mut self) -> Option<T> {
        if self.capacity != 0 {
            return None;
        }
        let Claim::Value(_) = self.sending.first()? else { return None };
        let (waker, value) = self.sending.release(Claim::take)?;
        self.sent = Some(waker);
        value
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

    /// Takes up to `limit` elements, or has to wait for one.
    pub(super) fn poll_pop_many(
        &mut self,
        into: &mut Vec<T>,
        limit: usize,
    ) -> Poll<Result<usize, RecvError>> {
        if self.ring.is_empty() {
            return self.poll_pop().map_ok(|value| {
                into.push(value);
                1
            });
        }
        let count = limit.min(self.ring.len());
        into.extend(self.ring.drain(..count));
        Poll::Ready(Ok(count))
    }

    /// Closes, unless it is closed: then it gives the cause back.
    pub(super) fn close(&mut self, cause: Option<Cause>) -> Result<(), Option<Cause>> {
        if self.closed {
            return Err(cause);
        }
        self.closed = true;
        self.cause = cause;
        self.refuses = true;
        Ok(())
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

    pub(super) fn statistics(&self) -> Statistics {
        Statistics {
            len: self.ring.len(),
            capacity: self.capacity,
            reserved: self.reserved,
            dropped: self.dropped,
            senders: self.senders,
            receivers: self.receivers,
            waiting_senders: self.sending.len(),
            max_waiting_senders: self.sending.max_len(),
            waiting_receivers: self.receiving.len(),
            max_waiting_receivers: self.receiving.max_len(),
        }
    }
}
