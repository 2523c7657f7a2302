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
use corymb_core::internal::prim::atomic::Ordering;
use corymb_core::internal::{TimerShard, real_now};
use corymb_core::time::Instant;

use super::Pool;
use super::driver::{Role, WATCH};
use super::worker::Local;

/// The least time between two sleeps that end for timers. Each costs a switch to this thread and
/// back, some ten microseconds; timers that are due within this time share one. A lone timer is
/// not delayed by it.
const TIMER_SPACING: Duration = Duration::from_micros(220);
/// How long a worker that sleeps outside the reactor leaves its own timers to the others.
const TIMER_SLACK: Duration = Duration::from_millis(5);
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
        let sleepless = self.pool().has_work() || self.pool().is_closed();
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
        self.processor(|processor, _| processor.counters.parks.increment());
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
        let drove = role.is_some();
        match role {
            Some(role) => self.drive(&role, limit, &mut wakers),
            None => self.park(limit),
        }
        let awake = awake();
        let now = real_now();
        self.begin_busy_time(now);
        self.wake(wakers);
        self.fire_all_due(now);
        let busy = || self.processor(|own, _| own.has_own_work()) == Some(true);
        if drove && !self.pool().is_watched() && busy() {
            self.pool().submitted();
        }
        awake
    }

    /// Sleeps outside the reactor, and watches whoever is in there, unless that one has been at
    /// it since the last look.
    fn park(&self, limit: Option<Duration>) {
        let timeout = min(self.time_to_own_timer(), limit);
        let wait = self.pool().driver.current_wait();
        if wait.is_some() && wait == self.watched_wait.replace(wait) {
            return self.parker().park(timeout);
        }
        // Ordering: Relaxed, if a driver does not see it, it calls a sleeper once too often.
        self.pool().watchers.fetch_add(1, Ordering::Relaxed);
        self.parker().park(min(timeout, Some(WATCH)));
        self.pool().watchers.fetch_sub(1, Ordering::Relaxed);
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

    fn time_to_own_timer(&self) -> Option<Duration> {
        let deadline = self.timer_shard()?.next_deadline()?;
        Some(deadline.saturating_duration_since(real_now()) + TIMER_SLACK)
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
        self.processor(|own, queue| {
            let processors = &self.pool().processors;
            let count = processors.len();
            let first = hooks::with(|runtime| runtime.choose(Choice::Victim, count));
            let stolen = (0..count)
                .map(|i| (first + i) % count)
                .filter(|victim| !std::ptr::eq(own, &raw const processors[*victim]))
                .filter(|victim| self.is_worth_stealing_from(*victim))
                .find_map(|victim| processors[victim].thief.steal(queue));
            if stolen.is_some() {
                own.counters.steals.increment();
            }
            stolen.or_else(|| self.pool().injector.steal(queue))
        })
        .flatten()
    }

    fn is_worth_stealing_from(&self, victim: usize) -> bool {
        let counters = &self.pool().processors[victim].counters;
        counters.work.get() >= CHEAP
            || (self.naps.get() > 0 && self.progress.borrow()[victim] == counters.polls.get())
    }

    /// Keeps in mind how far the others are.
    fn note_progress(&self) {
        let polls = self.pool().processors.iter().map(|it| it.counters.polls.get());
        self.progress.borrow_mut().clear();
        self.progress.borrow_mut().extend(polls);
    }
}

impl Pool {
    fn is_watched(&self) -> bool {
        // Ordering: Relaxed, as in `park`.
        self.watchers.load(Ordering::Relaxed) > 0
    }

    fn has_work(&self) -> bool {
        !self.injector.is_empty() || self.processors.iter().any(|it| !it.thief.is_empty())
    }
}

/// The smaller one of those that are there.
fn min<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
