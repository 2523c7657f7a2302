//! A clock that moves when it is told to.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

use corymb_core::internal::prim::Mutex;
use corymb_core::time::{Instant, TimerShard};

/// What the clock shows at first: not its very beginning, so that there are earlier instants.
pub(crate) const START: Instant = Instant::from_nanos(3_600_000_000_000);

/// Stands for an entry of the clock's list of waits. Ordered by the time it ends, then by its
/// registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wait {
    end: Instant,
    number: u64,
}

/// The time of a test, its timers, and those who wait for everybody else.
///
/// A *wait* is less urgent than a timer: it ends when the clock has come to its end, and nothing
/// that became ready on the way, or there, is left to be run.
pub(crate) struct VirtualClock {
    now: Mutex<Instant>,
    shard: &'static TimerShard,
    waits: Mutex<Waits>,
}

/// Waits and who is to be woken at their ends.
#[derive(Default)]
pub(crate) struct Waits {
    registered: u64,
    wakers: BTreeMap<Wait, Waker>,
}

impl Waits {
    pub(crate) fn len(&self) -> usize {
        self.wakers.len()
    }

    /// The one that ends first.
    fn first(&self) -> Option<Wait> {
        self.wakers.first_key_value().map(|(wait, _)| *wait)
    }

    pub(crate) fn add(&mut self, end: Instant, waker: Waker) -> Wait {
        self.registered += 1;
        let wait = Wait { end, number: self.registered };
        self.wakers.insert(wait, waker);
        wait
    }

    /// Changes the waker of a wait. Gives the old one, or this one if the wait has ended: foreign
    /// code, to be dropped after the lock.
    pub(crate) fn refresh(&mut self, wait: Wait, waker: Waker) -> Result<Waker, Waker> {
        match self.wakers.get_mut(&wait) {
            Some(kept) => Ok(std::mem::replace(kept, waker)),
            None => Err(waker),
        }
    }

    /// Takes a wait back; gives its waker if it has not ended.
    pub(crate) fn remove(&mut self, wait: Wait) -> Option<Waker> {
        self.wakers.remove(&wait)
    }

    /// Takes out those that end until then.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Waker> {
        let later = self.wakers.split_off(&Wait { end: now, number: u64::MAX });
        std::mem::replace(&mut self.wakers, later).into_values().collect()
    }
}

impl VirtualClock {
    pub(crate) fn new() -> Self {
        Self {
            now: Mutex::new(START),
            shard: TimerShard::acquire(),
            waits: Mutex::new(Waits::default()),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        *self.now.lock()
    }

    /// The time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now() - START
    }

    pub(crate) fn shard(&self) -> &'static TimerShard {
        self.shard
    }

    /// Moves to `to`, in one step, and wakes whose timers are due then. Never back: a wait may end
    /// before the time that a [`busy`](crate::busy) has come to.
    pub(crate) fn move_to(&self, to: Instant) {
        let to = {
            let mut now = self.now.lock();
            *now = to.max(*now);
            *now
        };
        self.shard.advance(to);
    }

    /// When the next timer is due or the next wait ends.
    pub(crate) fn next(&self) -> Option<Instant> {
        let wait = self.waits.lock().first().map(|wait| wait.end);
        self.shard.earliest().into_iter().chain(wait).min()
    }

    /// Moves to the next timer or ends the next wait, when nothing is ready. False if neither comes
    /// before `last` or then.
    pub(crate) fn step(&self, last: Instant) -> bool {
        let wait = self.waits.lock().first();
        match (self.shard.earliest(), wait) {
            (Some(due), wait) if due <= last && wait.is_none_or(|wait| due <= wait.end) => {
                self.move_to(due);
            }
            (_, Some(wait)) if wait.end <= last => {
                self.move_to(wait.end);
                if let Some(waker) = self.remove_wait(wait) {
                    waker.wake();
                }
            }
            _ => return false,
        }
        true
    }

    /// Registers a wait that ends at `end`.
    pub(crate) fn add_wait(&self, end: Instant, waker: Waker) -> Wait {
        self.waits.lock().add(end, waker)
    }

    /// Changes the waker of a wait; false if it has ended.
    pub(crate) fn refresh_wait(&self, wait: Wait, waker: &Waker) -> bool {
        let waker = waker.clone();
        let replaced = self.waits.lock().refresh(wait, waker);
        replaced.is_ok()
    }

    /// Takes a wait back; gives its waker if it has not ended.
    pub(crate) fn remove_wait(&self, wait: Wait) -> Option<Waker> {
        self.waits.lock().remove(wait)
    }
}

impl Drop for VirtualClock {
    fn drop(&mut self) {
        self.shard.release();
    }
}
