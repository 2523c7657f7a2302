//! The watch channel: a value with a version, and one queue, as a sequential state machine.
//!
//! A receiver that waits has seen the version that it leaves in its waiter. When there is a newer
//! one, all those who wait are released. That grants one nothing in the place of another, so nobody
//! can hold up anybody.

use std::sync::Arc;
use std::task::{Poll, Waker};

use corymb_core::internal::WaitKind;

use super::Statistics;
use crate::RecvError;
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

/// What the lock guards.
pub(super) struct Core<T> {
    value: Arc<T>,
    /// Of the value: above [`UNSEEN`], and higher with each that is sent.
    version: u64,
    /// No send is accepted any more.
    pub(super) closed: bool,
    pub(super) senders: usize,
    pub(super) receivers: usize,
    waiting: WaitList<Receivers<T>>,
    closing: WaitList<Closing<Self>>,
}

/// What a receiver has seen that has not seen the current value, whichever that is.
pub(super) const UNSEEN: u64 = 0;
const INITIAL: u64 = UNSEEN + 1;

/// The queue of the receivers, each with the version that it has seen.
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

    const NAME: &'static str = "watch channel";
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
    pub(super) fn new(value: Arc<T>) -> Self {
        Self {
            value,
            version: INITIAL,
            closed: false,
            senders: 1,
            receivers: 1,
            waiting: WaitList::new(),
            closing: WaitList::new(),
        }
    }

    /// Versions in the queue do not fall: who came later has seen the same one, or a later one.
    #[inline]
    fn offer_value(&mut self) -> Option<Waker> {
        let seen = *self.waiting.first()?;
        if seen == self.version && !self.closed {
            return None;
        }
        self.waiting.release(|_| ()).map(|(waker, ())| waker)
    }

    pub(super) fn value(&self) -> &Arc<T> {
        &self.value
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Replaces the value, and gives the old one; gives `value` back if the channel is closed.
    pub(super) fn replace(&mut self, value: Arc<T>) -> Result<Arc<T>, Arc<T>> {
        if self.closed {
            return Err(value);
        }
        self.version += 1;
        Ok(std::mem::replace(&mut self.value, value))
    }

    /// As [`replace`](Self::replace), if the value is still `old`.
    pub(super) fn replace_if(&mut self, old: &Arc<T>, value: Arc<T>) -> Result<Arc<T>, Arc<T>> {
        if Arc::ptr_eq(&self.value, old) { self.replace(value) } else { Err(value) }
    }

    /// Gives the value and its version if that is not the one `seen`, or has to wait for another.
    pub(super) fn poll_other(&self, seen: u64) -> Poll<Result<(Arc<T>, u64), RecvError>> {
        if seen != self.version {
            return Poll::Ready(Ok((Arc::clone(&self.value), self.version)));
        }
        if self.closed {
            return Poll::Ready(Err(RecvError::Closed));
        }
        Poll::Pending
    }

    /// Adds a receiver: gives the version of the current value.
    pub(super) fn subscribe(&mut self) -> u64 {
        self.receivers += 1;
        self.version
    }

    pub(super) fn statistics(&self) -> Statistics {
        Statistics {
            sent: self.version - INITIAL,
            senders: self.senders,
            receivers: self.receivers,
            waiting: self.waiting.len(),
            max_waiting: self.waiting.max_len(),
        }
    }
}
