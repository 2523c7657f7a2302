//! What a worker does that has nothing to run: it looks elsewhere, naps, or sleeps.
//!
//! # What is worth stealing
//!
//! To move a coroutine to another core costs some hundred nanoseconds: the lines of its cell, of
//! its scope's counter and of the allocator follow it. Coroutines that are less work than that are
//! left to the worker that has them, as long as that one makes progress. A worker that finds
//! nothing but such work *naps*: it looks again after a while, and takes from a worker that has
//! not finished a poll meanwhile. So a coroutine that is queued behind a long poll waits for a nap
//! at most, even where polls have been short before.

use std::task::Waker;
use std::time::Duration;

use corymb_core::Coroutine;
use corymb_core::hooks::{self, Choice};
use corymb_core::internal::{TimerShard, real_now};
use corymb_core::time::Instant;

use super::Pool;
use super::driver::Role;
use super::local::Local;
use super::processor::Processor;

/// The least time between two sleeps that end for timers. Each costs a switch to this thread and
/// back, some ten microseconds; timers that are due within this time share one. A lone timer is
/// not delayed by it.
const TIMER_SPACING: Duration = Duration::from_micros(220);
/// How long a worker keeps away from a reactor that answers with an error.
const REACTOR_ERROR_PAUSE: Duration = Duration::from_millis(10);
/// Coroutines that are less work than this on average, in nanoseconds, are not worth moving: they
/// take about twice the time when two cores share them.
const CHEAP: u64 = 150;
/// The first nap; each one is twice the last.
const FIRST_NAP: Duration = Duration::from_micros(50);
/// How often a nap is doubled: up to 0.8 ms.
const NAP_DOUBLINGS: u32 = 4;

impl Local {
    /// There is nothing to do here: look elsewhere, then sleep.
    #[cold]
    pub(super) fn idle(&self) {
        self.end_busy_time();
        let Some(own) = self.held() else { return };
        own.figures.polled.clear();
        if own.figures.polled.is_flagged() {
            return self.was_noticed();
        }
        let searching = self.pool().idle.start_search();
        if searching {
            if let Some(coroutine) = self.steal() {
                self.found();
                return self.run_one(coroutine);
            }
            if self.pool().has_work() {
                // None of it is worth moving.
                self.pool().idle.end_search();
                return self.nap();
            }
        }
        self.pool().idle.sleep(self.parker(), searching);
        let sleepless =
            self.pool().has_work() || self.pool().is_closed() || own.figures.polled.is_noticed();
        let woken = if sleepless { !self.pool().idle.leave(self.parker()) } else { self.sleep() };
        if woken || sleepless {
            self.look_again(woken);
        }
    }

    /// There was work a moment ago, for which this worker was woken, or which it saw itself.
    fn look_again(&self, woken: bool) {
        match self.next().or_else(|| self.steal()) {
            Some(coroutine) => {
                if woken {
                    self.found();
                } else {
                    // Who submitted it may have seen a searcher here, and called nobody for more.
                    self.pool().submitted();
                }
                self.run_one(coroutine);
            }
            None => {
                if woken {
                    self.pool().idle.end_search();
                }
                if self.pool().has_work() {
                    self.nap();
                }
            }
        }
    }

    /// A searcher has found work. There may be more: somebody has to go on searching.
    fn found(&self) {
        self.naps.set(0);
        if self.pool().idle.end_search() {
            self.pool().submitted();
        }
    }

    /// Sleeps, in the reactor if nobody else is there; true if this worker has been woken, and so
    /// is a searcher.
    fn sleep(&self) -> bool {
        self.naps.set(0);
        if let Some(processor) = self.held() {
            processor.counters().parks.increment();
        }
        self.rest(None, || !self.pool().idle.leave(self.parker()))
    }

    /// Leaves the others alone for a while. Nobody wakes a worker that naps.
    fn nap(&self) {
        let naps = self.naps.get();
        self.naps.set(naps + 1);
        self.note_progress();
        self.rest(Some(FIRST_NAP * (1 << naps.min(NAP_DOUBLINGS))), || ());
    }

    /// Waits, in the reactor if nobody else is there, for `limit` at most, and deals with what
    /// that brings; `awake` is called first.
    fn rest<R>(&self, limit: Option<Duration>, awake: impl FnOnce() -> R) -> R {
        let mut wakers = Vec::new();
        let role = self.pool().driver.take();
        match role {
            Some(role) => self.drive(&role, limit, &mut wakers),
            None => self.parker().park(limit),
        }
        let awake = awake();
        self.pool().watchdog.working(self.pool());
        let now = real_now();
        self.begin_busy_time(now);
        self.wake(wakers);
        self.fire_all_due(now);
        awake
    }

    fn drive(&self, role: &Role<'_>, limit: Option<Duration>, wakers: &mut Vec<Waker>) {
        let mut failed = false;
        self.parker().drive(|| {
            let spaced = self.awake_since() + TIMER_SPACING;
            let limit = limit.map(|limit| real_now() + limit);
            let earliest = || min(self.pool().next_deadline(), limit);
            failed = role.wait(spaced, earliest, wakers).is_err();
        });
        if failed {
            self.parker().park(Some(REACTOR_ERROR_PAUSE));
        }
    }

    /// Fires what is due, also in the shards of workers that are in a long poll.
    pub(super) fn fire_all_due(&self, now: Instant) {
        for shard in self.pool().shards() {
            if shard.is_due(now) {
                self.batch(|| {
                    TimerShard::advance(shard, now);
                });
            }
        }
    }

    /// Takes work from another processor, if it is worth that, or from the injector.
    fn steal(&self) -> Option<Coroutine> {
        let own = self.held()?;
        let count = self.pool().processors.len();
        let first = hooks::with(|runtime| runtime.choose(Choice::Victim, count));
        let stolen = (0..count)
            .map(|i| (first + i) % count)
            .filter_map(|index| Some((index, self.pool().processors.get(index)?)))
            .filter(|(_, victim)| !std::ptr::eq(own, *victim))
            .filter(|(index, victim)| self.is_worth_stealing_from(*index, victim))
            .find_map(|(_, victim)| steal_from(victim, own));
        if stolen.is_some() {
            own.counters().steals.increment();
            return stolen;
        }
        // SAFETY: held.
        unsafe { own.with_queue(|queue| self.pool().injector.steal(queue)) }
    }

    fn is_worth_stealing_from(&self, index: usize, victim: &Processor) -> bool {
        let counters = victim.counters();
        counters.work.get() >= CHEAP
            || victim.is_slot_stuck()
            || (self.naps.get() > 0
                && self.progress.borrow().get(index) == Some(&counters.polls.get()))
    }

    /// Keeps in mind how far the others are.
    fn note_progress(&self) {
        let polls = self.pool().processors.iter().map(|it| it.counters().polls.get());
        self.progress.borrow_mut().clear();
        self.progress.borrow_mut().extend(polls);
    }
}

/// Takes from the queue of `victim`, and from its slot if its holder will not come to that soon.
/// The calling thread holds `own`.
fn steal_from(victim: &Processor, own: &Processor) -> Option<Coroutine> {
    // SAFETY: held, as said.
    let stolen = unsafe { own.with_queue(|queue| victim.thief.steal(queue)) };
    stolen.or_else(|| if victim.is_slot_stuck() { victim.take_lifo() } else { None })
}

impl Pool {
    pub(super) fn has_work(&self) -> bool {
        !self.injector.is_empty() || self.processors.iter().any(Processor::has_work_for_others)
    }
}

/// The smaller one of those that are there.
fn min<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
