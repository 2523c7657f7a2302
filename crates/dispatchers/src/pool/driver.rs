//! The driver: the role of the one thread that waits in the reactor.
//!
//! Any worker can take the role, and gives it up when it leaves the wait: nothing of the role is
//! bound to a thread or a processor. An idle worker that finds it free waits there, bounded by the
//! earliest timer of all shards; the others park. A busy worker looks into the reactor now and
//! then, without waiting, if the role is free.
//!
//! # Timers that are armed meanwhile
//!
//! ```text
//!  who arms a timer                     the driver
//!  1. shard.next = t                    1. until = for ever
//!  2. fence(SeqCst)                     2. fence(SeqCst)
//!  3. t < until? then notify            3. look at every shard.next, and wait until the earliest
//! ```
//!
//! As with sleepers and submitters, one fence is first: either the driver sees the timer, or who
//! armed it sees the driver. A worker that arms a timer leaves step 3 until the poll is over: if
//! it goes idle itself it may take the role, and then nobody has to be woken.

use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use corymb_core::internal::prim::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use corymb_core::internal::real_now;
use corymb_core::time::Instant;

use crate::reactor::Reactor;

/// No thread waits.
const AWAKE: u64 = 0;

/// The reactor, and who drives it.
pub(crate) struct Driver {
    reactor: Arc<Reactor>,
    taken: AtomicBool,
    /// Until when the driver waits, in nanoseconds; [`AWAKE`] while it does not.
    until: AtomicU64,
}

impl Driver {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            reactor: Arc::new(Reactor::new()?),
            taken: AtomicBool::new(false),
            until: AtomicU64::new(AWAKE),
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

    /// Step 2 and 3 of who armed a timer that is due at `deadline`.
    pub(crate) fn armed(&self, deadline: Instant) {
        fence(Ordering::SeqCst);
        // Ordering: Relaxed, after the fence.
        if deadline.as_nanos() < self.until.load(Ordering::Relaxed) {
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
    /// Waits for events, or for the time that `earliest` tells when everybody who arms a timer can
    /// see that this thread waits, but for no timer before `spaced`. Gives the wakers of those
    /// concerned.
    pub(crate) fn wait(
        &self,
        spaced: Instant,
        earliest: impl Fn() -> Option<Instant>,
        wakers: &mut Vec<Waker>,
    ) -> io::Result<usize> {
        // Ordering: Relaxed, the fence orders it.
        self.0.until.store(u64::MAX, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let deadline = earliest();
        let timeout = deadline.map(|deadline| {
            // Later timers need not interrupt the wait, and none can make it shorter than this.
            let until = if deadline <= spaced { AWAKE } else { deadline.as_nanos() };
            // Ordering: Relaxed; who reads the older value notifies once too often.
            self.0.until.store(until, Ordering::Relaxed);
            deadline.max(spaced).saturating_duration_since(real_now())
        });
        let waited = self.0.reactor.wait(timeout, wakers);
        // Ordering: Relaxed, as above.
        self.0.until.store(AWAKE, Ordering::Relaxed);
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
