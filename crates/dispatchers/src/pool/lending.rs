//! Lending a processor: what a worker does with its own while it blocks.
//!
//! A worker that goes from computing to IO in the middle of a poll keeps its coroutine, takes a
//! slot, and marks its processor `LENT`; on the way back it takes it again, if nobody else has.
//! Most such sections are short, and then nobody has to notice: there is no clock, no lock and no
//! wake-up in it. What is queued at a lent processor can be stolen, slot included; wakes of this
//! thread go to the injector meanwhile. Who takes a lent processor for good is a spare that the
//! watchdog has sent (`watchdog`), or at once the blocking worker itself where it is known to
//! block for long.
//!
//! Where sections have been long, so that processors were taken, a switch is refused for a while:
//! then the coroutine goes to a spare by the queue, and the worker keeps its processor. That costs
//! one wake-up, or none if the spares are busy; to take a processor costs a wake-up too, and leaves
//! a thread without one. The spares measure their polls, and tell when they have become short.

use std::time::Duration;

use corymb_core::Dispatch;
use corymb_core::internal::prim::atomic::{AtomicU32, Ordering};
use corymb_core::internal::{TimerShard, hand_unconfined_on};

use super::Pool;
use super::io::Io;
use super::local::Local;
use super::owner::Seen;
use super::roster::Errand;

/// IO polls on spares that are longer than this are worth a thread of their own.
const LONG: Duration = Duration::from_micros(100);
/// After so many short ones in a row, processors are lent again.
const PATIENCE: u32 = 16;

/// Whether switches in place are worth it at the moment.
pub(super) struct Lending {
    /// Zero, or how many short polls in a row are still missing.
    refusals: AtomicU32,
}

impl Lending {
    pub(super) fn new() -> Self {
        Self { refusals: AtomicU32::new(0) }
    }

    /// Whether processors are lent.
    #[inline]
    fn is_on(&self) -> bool {
        // Ordering: Relaxed here and below, advice that nothing depends on.
        self.refusals.load(Ordering::Relaxed) == 0
    }

    /// A processor was taken from its thread.
    pub(super) fn taken(&self) {
        self.refusals.store(PATIENCE, Ordering::Relaxed);
    }

    /// A spare has polled an IO coroutine.
    pub(super) fn polled(&self, time: Duration) {
        let refusals = self.refusals.load(Ordering::Relaxed);
        if time >= LONG {
            if refusals < PATIENCE {
                self.refusals.store(PATIENCE, Ordering::Relaxed);
            }
        } else if refusals > 0 {
            // Two at once count for one at times.
            self.refusals.store(refusals - 1, Ordering::Relaxed);
        }
    }
}

impl Pool {
    /// A worker of this pool goes on as `to`.
    pub(super) fn switch_from_pool(&self, local: &Local, to: &dyn Dispatch) -> bool {
        let Some(io) = self.io.iter().find(|io| io.is(to)) else { return false };
        if !self.lending.is_on() || local.held().is_none() || !io.try_enter(self) {
            return false;
        }
        local.set_io(Some(io));
        local.lend();
        true
    }

    /// Whether something waits that a lent processor would be good for, at once.
    fn is_short_of_workers(&self) -> bool {
        self.has_work() || self.lacks_driver()
    }

    /// Whether there is something to drive, and nobody waits there.
    pub(super) fn lacks_driver(&self) -> bool {
        !self.driver.is_taken() && (!self.reactor().is_empty() || self.next_deadline().is_some())
    }
}

impl Local {
    /// A coroutine of `from`, which has brought a slot, goes on as `to`.
    pub(super) fn switch_from_io(&self, from: &Io, to: &dyn Dispatch) -> bool {
        if !self.is_in(from) {
            return false;
        }
        if self.pool().is(to) {
            if !self.reclaim() {
                return false;
            }
            self.set_io(None);
        } else {
            let other = self.pool().io.iter().find(|io| io.is(to));
            let Some(other) = other.filter(|io| io.try_enter(self.pool())) else { return false };
            self.set_io(Some(other));
        }
        from.leave(self.pool());
        true
    }

    /// Lends the processor that is held; somebody else may take it from now on. What is unconfined
    /// and waits for this thread goes to others.
    #[inline]
    pub(super) fn lend(&self) -> Option<Seen> {
        let processor = self.held()?;
        self.tell_driver_of_timer();
        self.set_held(None);
        self.set_lent(Some(processor));
        let seen = self.sign(|me| processor.owner.lend(me));
        self.pool().watchdog.lent(self.pool());
        hand_unconfined_on();
        Some(seen)
    }

    /// Makes sure of a processor: the one that was lent, else a free one.
    #[inline]
    pub(super) fn reclaim(&self) -> bool {
        if let Some(lent) = self.take_lent()
            && lent.owner.reclaim(self.me())
        {
            self.set_held(Some(lent));
            return true;
        }
        self.hold()
    }

    /// Lends the processor that is held, and sends a spare for it.
    pub(super) fn lend_at_once(&self, in_any_case: bool) {
        let Some(processor) = self.held() else { return };
        let Some(seen) = self.lend() else { return };
        if in_any_case || self.pool().is_short_of_workers() {
            let index = self.pool().processors.index_of(processor);
            self.pool().send(Errand::Take(index, seen));
        }
    }

    /// A poll has ended, and this thread holds no processor.
    #[cold]
    pub(super) fn come_back(&self) {
        let holds = self.held().is_some() || self.reclaim();
        let Some(io) = self.io() else { return };
        if holds {
            self.set_io(None);
            io.leave(self.pool());
        } else {
            let next = io.next(self.pool());
            self.set_io(next.map(|side| &**self.pool().io(side)));
        }
    }

    /// A timer was armed in this poll, and the driver may not know of it.
    #[inline]
    pub(super) fn tell_driver_of_timer(&self) {
        if self.timer_armed.replace(false)
            && let Some(deadline) = self.timer_shard().and_then(TimerShard::next_deadline)
        {
            self.pool().driver.armed(deadline);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn long_sections_turn_it_off_and_short_ones_in_a_row_on_again() {
        let short = LONG - Duration::from_nanos(1);
        let lending = Lending::new();
        let polls_until_on =
            || (0..).take_while(|_| !lending.is_on()).map(|_| lending.polled(short));
        assert!(lending.is_on());
        lending.taken();
        assert_eq!(polls_until_on().count(), 16);
        lending.polled(LONG);
        assert!(!lending.is_on());
        for _ in 1..PATIENCE {
            lending.polled(short);
        }
        lending.polled(LONG);
        assert_eq!(polls_until_on().count(), 16, "in a row");
    }
}
