//! The broadcast channel: the values that somebody needs, and one queue, as a sequential state
//! machine.
//!
//! Values are numbered from 0. A receiver knows the number of its next one; each slot knows how
//! many receivers stand at it, for which it is the next. Those whose next value was lost stand at
//! the oldest.
//!
//! Invariants, whenever the lock is free:
//!
//! 1. the oldest slot is needed: somebody stands at it, or it is among those to replay. So a value
//!    goes when the last that stands at it goes on, and nobody has to count who has got it. But when
//!    a handle is dropped, several may not be needed any more: they go one by one, and between two
//!    of them the lock is free;
//! 2. a receiver that waits stands at the end. When a value comes, those that wait are released,
//!    each with its own number before that value's; that is never granted to one in the place of
//!    another, so nobody can hold up anybody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Poll, Waker};

use corymb_core::internal::WaitKind;

use super::{Lagged, RecvError, Statistics};
use crate::closing::{Closes, Closing, offer_closed};
use crate::monitor::{Monitor, Owner, State};
use crate::waiters::{Queue, WaitList};

/// A channel, which its handles share.
pub(super) struct Channel<T>(pub(super) Monitor<Core<T>>);

// SAFETY: it is in the place of `self`.
unsafe impl<T> Owner for Channel<T> {
    type State = Core<T>;

    fn monitor(&self) -> &Monitor<Core<T>> {
        &self.0
    }
}

impl<T> Channel<T> {
    /// Drops the values that nobody needs any more, each without the lock.
    pub(super) fn drop_unneeded(&self) {
        loop {
            let unneeded = self.0.lock().trim();
            if unneeded.is_none() {
                return;
            }
        }
    }
}

/// What the lock guards.
pub(super) struct Core<T> {
    slots: VecDeque<Slot<T>>,
    /// The number of the first slot's value.
    first: u64,
    /// How many stand behind the last slot.
    at_end: usize,
    capacity: usize,
    replay: usize,
    /// No send is accepted any more.
    pub(super) closed: bool,
    pub(super) senders: usize,
    pub(super) receivers: usize,
    waiting: WaitList<Receivers<T>>,
    closing: WaitList<Closing<Self>>,
}

struct Slot<T> {
    value: Arc<T>,
    /// How many stand here.
    at: usize,
}

/// The queue of the receivers, each with the number of the value it waits for.
pub(super) struct Receivers<T>(std::marker::PhantomData<T>);

impl<T> Queue for Receivers<T> {
    type State = Core<T>;
    type Payload = u64;

    fn waiters(state: &mut Core<T>) -> &mut WaitList<Self> {
        &mut state.waiting
    }
}

impl<T> State for Core<T> {
    type Shared = ();

    const NAME: &'static str = "broadcast channel";
    const WAIT: WaitKind = WaitKind::Channel;

    #[inline]
    fn offer(&mut self, (): &()) -> Option<Waker> {
        self.offer_value().or_else(|| offer_closed(self))
    }
}

impl<T> Closes for Core<T> {
    fn reaches_nobody(&self) -> bool {
        self.closed || self.receivers == 0
    }

    fn closing(&mut self) -> &mut WaitList<Closing<Self>> {
        &mut self.closing
    }
}

impl<T> Core<T> {
    pub(super) fn new(capacity: usize, replay: usize) -> Self {
        Self {
            slots: VecDeque::with_capacity(capacity),
            first: 0,
            at_end: 1,
            capacity,
            replay,
            closed: false,
            senders: 1,
            receivers: 1,
            waiting: WaitList::new(),
            closing: WaitList::new(),
        }
    }

    /// Numbers in the queue do not fall: who came later waits for the same value, or a later one.
    #[inline]
    fn offer_value(&mut self) -> Option<Waker> {
        let awaited = *self.waiting.first()?;
        if awaited == self.end_number() && !self.closed {
            return None;
        }
        self.waiting.release(|_| ()).map(|(waker, ())| waker)
    }

    /// The number of the value that is sent next.
    fn end_number(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// The slot at which a receiver stands whose next value has the number `next`.
    fn index(&self, next: u64) -> usize {
        let behind = next.saturating_sub(self.first);
        usize::try_from(behind).unwrap_or(usize::MAX).min(self.slots.len())
    }

    fn standing(&mut self, index: usize) -> &mut usize {
        match self.slots.get_mut(index) {
            Some(slot) => &mut slot.at,
            None => &mut self.at_end,
        }
    }

    /// Adds a value: tells how many will get it, and gives one that nobody needs any more; or gives
    /// it back, if the channel is closed.
    pub(super) fn push(&mut self, value: Arc<T>) -> Result<(usize, Option<Arc<T>>), Arc<T>> {
        if self.closed {
            return Err(value);
        }
        let lost = if self.slots.len() == self.capacity { self.pop_first() } else { None };
        let at = std::mem::take(&mut self.at_end);
        self.slots.push_back(Slot { value, at });
        // One goes at most: if one was lost, what is left is not too many.
        Ok((self.receivers, lost.or_else(|| self.trim())))
    }

    /// Takes the oldest value out; those that stand there have lost it.
    fn pop_first(&mut self) -> Option<Arc<T>> {
        let Slot { value, at } = self.slots.pop_front()?;
        self.first += 1;
        *self.standing(0) += at;
        Some(value)
    }

    /// Takes the oldest value out if nobody needs it.
    pub(super) fn trim(&mut self) -> Option<Arc<T>> {
        let is_needed = self.slots.front()?.at > 0 || self.slots.len() <= self.replay;
        if is_needed { None } else { self.pop_first() }
    }

    /// Gives a receiver its next value, and moves it on.
    pub(super) fn take(&mut self, next: &mut u64) -> Poll<Result<Arc<T>, RecvError>> {
        if *next < self.first {
            let lost = self.first - std::mem::replace(next, self.first);
            return Poll::Ready(Err(RecvError::Lagged(Lagged(lost))));
        }
        let index = self.index(*next);
        if index == self.slots.len() {
            return if self.closed { Poll::Ready(Err(RecvError::Closed)) } else { Poll::Pending };
        }
        *next += 1;
        *self.standing(index) -= 1;
        *self.standing(index + 1) += 1;
        // One that is not the oldest stays, even if it is no longer needed: those before it go first.
        let last = if index == 0 { self.trim() } else { None };
        Poll::Ready(Ok(last.unwrap_or_else(|| Arc::clone(&self.slots[index].value))))
    }

    /// Adds a receiver: gives the number of its next value.
    pub(super) fn subscribe(&mut self) -> u64 {
        let index = self.slots.len().saturating_sub(self.replay);
        let next = self.first + index as u64;
        self.add(next);
        next
    }

    /// Adds a receiver whose next value has the number `next`.
    pub(super) fn add(&mut self, next: u64) {
        self.receivers += 1;
        let index = self.index(next);
        *self.standing(index) += 1;
    }

    /// Removes a receiver.
    pub(super) fn remove(&mut self, next: u64) {
        self.receivers -= 1;
        let index = self.index(next);
        *self.standing(index) -= 1;
    }

    /// The last sender is gone: nobody can subscribe any more.
    pub(super) fn end(&mut self) {
        self.closed = true;
        self.replay = 0;
    }

    /// How many values a receiver will get, or has lost.
    pub(super) fn len_from(&self, next: u64) -> usize {
        self.slots.len() - self.index(next)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn statistics(&self) -> Statistics {
        Statistics {
            len: self.slots.len(),
            capacity: self.capacity,
            sent: self.end_number(),
            senders: self.senders,
            receivers: self.receivers,
            waiting: self.waiting.len(),
            max_waiting: self.waiting.max_len(),
        }
    }
}
