//! What the reactor keeps for each registered IO object.

use std::task::Waker;

use corymb_core::internal::prim::Mutex;
use polling::Event;

use super::Direction;
use super::readiness::Readiness;
use super::sys::RawSource;

/// A registered IO object: its key, and the readiness of both directions.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its index in the reactor's table; the poller reports events by it.
    pub(crate) key: usize,
    /// Open as long as [`Interest::registered`] is set.
    pub(crate) raw: RawSource,
    /// What the poller watches for. Locked by who changes that, for the time of the system call.
    pub(crate) interest: Mutex<Interest>,
    read: Readiness,
    write: Readiness,
}

/// What the poller has been told to watch a source for.
///
/// With edges this is both directions from beginning to end. In the one-shot mode a direction is
/// set from the wait that arms it to the *processing* of the event: then the poller watches for
/// it, or an event is on its way to the driver, which wakes all who wait in that direction.
#[derive(Debug)]
pub(crate) struct Interest {
    /// Whether the poller knows the source. Unset under the lock before the IO object is closed.
    pub(crate) registered: bool,
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Interest {
    /// The interest in the form that the poller takes.
    pub(crate) fn event(&self, key: usize) -> Event {
        Event::new(key, self.read, self.write)
    }

    /// The flag of one direction.
    pub(crate) fn flag(&mut self, direction: Direction) -> &mut bool {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }
}

impl Source {
    pub(crate) fn new(key: usize, raw: RawSource, armed: bool) -> Self {
        Self {
            key,
            raw,
            interest: Mutex::new(Interest { registered: true, read: armed, write: armed }),
            read: Readiness::new(),
            write: Readiness::new(),
        }
    }

    /// The readiness of one direction.
    #[inline]
    pub(crate) fn readiness(&self, direction: Direction) -> &Readiness {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    /// Passes an event on to the directions that it is about.
    pub(crate) fn event(&self, readable: bool, writable: bool, wakers: &mut Vec<Waker>) {
        if readable {
            self.read.event(wakers);
        }
        if writable {
            self.write.event(wakers);
        }
    }

    /// Ends all waiting, for good.
    pub(crate) fn close(&self, wakers: &mut Vec<Waker>) {
        self.read.close(wakers);
        self.write.close(wakers);
    }

    /// How many waiters there are in both directions.
    pub(crate) fn waiting(&self) -> usize {
        self.read.waiting() + self.write.waiting()
    }
}
