//! The driver: the role of the one thread that waits in the reactor.
//!
//! Any worker can take the role, and gives it up when it leaves the wait: nothing of the role is
//! bound to a thread or a processor. An idle worker that finds it free waits there, bounded by the
//! earliest timer of all shards; the others park. A busy worker looks into the reactor now and
//! then, without waiting, if the role is free.
//!
//! # When the driver is held up
//!
//! The worker that leaves the wait with work takes nobody along: it will be back soon, and to wake
//! another for each event would cost more than the event. In case it does not come back, one of
//! those that sleep outside the reactor *watches*: it looks every [`WATCH`] whether somebody
//! waits there, and takes the role if not. When it finds the same wait in progress as the last
//! time, nobody is busy with events, and it sleeps for good; the driver that leaves such a wait
//! calls it again.

use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use corymb_core::internal::prim::atomic::{AtomicBool, AtomicU64, Ordering};
use corymb_core::internal::real_now;
use corymb_core::time::Instant;

use super::alarm::Alarm;
use crate::reactor::Reactor;

/// How long events and timers may be held up by a driver that runs into a long poll.
pub(crate) const WATCH: Duration = Duration::from_millis(10);

/// The reactor, and who drives it.
pub(crate) struct Driver {
    reactor: Arc<Reactor>,
    taken: AtomicBool,
    alarm: Alarm,
    /// Counts the waits: odd while one is in progress.
    waits: AtomicU64,
}

impl Driver {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            reactor: Arc::new(Reactor::new()?),
            taken: AtomicBool::new(false),
            alarm: Alarm::new(),
            waits: AtomicU64::new(0),
        })
    }

    pub(crate) fn reactor(&self) -> &Arc<Reactor> {
        &self.reactor
    }

    /// Takes the role if it is free.
    pub(crate) fn take(&self) -> Option<Role<'_>> {
        // Ordering: Acquire pairs with the Release of the last holder.
        let free = !self.taken.load(Ordering::Relaxed) && !self.taken.swap(true, Ordering::Acquire);
        free.then_some(Role(self))
    }

    /// The number of the wait in progress, if there is one.
    pub(crate) fn current_wait(&self) -> Option<u64> {
        // Ordering: Relaxed, ordered by the fences of who goes to sleep and who looks for sleepers.
        let waits = self.waits.load(Ordering::Relaxed);
        (waits % 2 == 1).then_some(waits)
    }

    /// A timer was armed that is due at `deadline`.
    pub(crate) fn armed(&self, deadline: Instant) {
        if self.alarm.is_late_for(deadline) {
            self.reactor.notify();
        }
    }

    /// Ends the wait in progress, or the next one.
    pub(crate) fn notify(&self) {
        self.reactor.notify();
    }
}

/// The role itself.
pub(crate) struct Role<'a>(&'a Driver);

impl Role<'_> {
    /// Waits for events, or for the time that `earliest` tells, but for no timer before `spaced`:
    /// see [`Alarm::set`]. Appends the wakers of those concerned.
    pub(crate) fn wait(
        &self,
        spaced: Instant,
        earliest: impl FnOnce() -> Option<Instant>,
        wakers: &mut Vec<Waker>,
    ) -> io::Result<usize> {
        // Ordering: Relaxed, see `current_wait`; one thread at a time changes it.
        self.0.waits.fetch_add(1, Ordering::Relaxed);
        let until = self.0.alarm.set(spaced, earliest);
        let timeout = until.map(|until| until.saturating_duration_since(real_now()));
        let waited = self.0.reactor.wait(timeout, wakers);
        self.0.alarm.clear();
        self.0.waits.fetch_add(1, Ordering::Relaxed);
        waited
    }

    /// Looks for events without waiting.
    pub(crate) fn poll(&self, wakers: &mut Vec<Waker>) -> io::Result<usize> {
        self.0.reactor.wait(Some(Duration::ZERO), wakers)
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        // Ordering: Release pairs with the Acquire of the next holder.
        self.0.taken.store(false, Ordering::Release);
    }
}
