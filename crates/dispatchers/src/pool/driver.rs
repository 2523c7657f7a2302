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
//! another for each event would cost more than the event. In case it does not come back, the
//! watchdog wakes a sleeper for the role (`watchdog`).

use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use corymb_core::internal::prim::atomic::{AtomicBool, Ordering};
use corymb_core::internal::real_now;
use corymb_core::time::Instant;

use super::alarm::Alarm;
use crate::reactor::Reactor;

/// The reactor, and who drives it.
pub(crate) struct Driver {
    reactor: Arc<Reactor>,
    taken: AtomicBool,
    alarm: Alarm,
}

impl Driver {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            reactor: Arc::new(Reactor::new()?),
            taken: AtomicBool::new(false),
            alarm: Alarm::new(),
        })
    }

    pub(crate) fn reactor(&self) -> &Arc<Reactor> {
        &self.reactor
    }

    /// Takes the role if it is free.
    pub(crate) fn take(&self) -> Option<Role<'_>> {
        // Ordering: Acquire pairs with the Release of the last holder.
        let free = !self.taken.load(Ordering::Relaxed) && !self.taken.swap(true, Ordering::Acquire);
        // Not `then_some`: a role that is made is given up when it is dropped.
        free.then(|| Role(self))
    }

    /// Whether somebody has the role.
    pub(crate) fn is_taken(&self) -> bool {
        // Ordering: Relaxed, a hint for the watchdog, who looks again.
        self.taken.load(Ordering::Relaxed)
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
        let until = self.0.alarm.set(spaced, earliest);
        let timeout = until.map(|until| until.saturating_duration_since(real_now()));
        let waited = self.0.reactor.wait(timeout, wakers);
        self.0.alarm.clear();
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "a reactor needs the system")]
    fn who_asks_in_vain_does_not_take_the_role_from_who_has_it() {
        let driver = Driver::new().unwrap();
        let role = driver.take().unwrap();
        assert!(driver.take().is_none() && driver.take().is_none());
        assert!(driver.is_taken());
        drop(role);
        assert!(!driver.is_taken() && driver.take().is_some());
    }
}
