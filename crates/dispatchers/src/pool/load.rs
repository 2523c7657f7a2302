//! How much work coroutines are, and what of it is worth waking another worker for.

use std::cell::Cell;
use std::task::Waker;

use corymb_core::internal::{real_now, wake_all};
use corymb_core::time::Instant;

use super::local::Local;

/// Over how many measurements, of [`OUTSIDE_TICKS`](super::worker) polls each, work is averaged: a
/// scope that launches a thousand children in one poll is one arrival of work, not a thousand and
/// none.
const PAST: u64 = 16;
/// One arrival, in the fixed point in which they are averaged.
const UNIT: u64 = 256;
/// What it costs to wake another worker, in nanoseconds, until it has the first coroutine. Events
/// and timers that keep this one busy for less are not worth it.
const WAKE_COST: u64 = 50_000;

/// The measure of one thread.
pub(super) struct Load {
    /// When the work that came in was measured last, in nanoseconds.
    measured: Cell<u64>,
    /// How many coroutines were launched or woken since.
    arrivals: Cell<u64>,
    /// Time and arrivals of the past, the older the less of them.
    past: Cell<(u64, u64)>,
    /// Since when, in nanoseconds, events or timers that were handed out are kept from the
    /// sleepers; zero if none are.
    kept: Cell<u64>,
}

impl Load {
    /// Nothing measured yet.
    pub(super) fn new() -> Self {
        Self {
            measured: Cell::new(real_now().as_nanos()),
            arrivals: Cell::new(0),
            past: Cell::new((0, 0)),
            kept: Cell::new(0),
        }
    }

    #[inline]
    pub(super) fn arrived(&self) {
        self.arrivals.set(self.arrivals.get() + 1);
    }
}

impl Local {
    /// Tells, for those who would steal, how much work a coroutine is here on average: the time
    /// that went by for each one that was launched or woken, however often it yielded.
    pub(super) fn measure_work(&self, now: Instant) {
        let load = &self.load;
        let time = now.as_nanos().saturating_sub(load.measured.replace(now.as_nanos()));
        let (old_time, old_arrivals) = load.past.get();
        let time = old_time - old_time / PAST + time;
        let arrivals = old_arrivals - old_arrivals.div_ceil(PAST) + load.arrivals.replace(0) * UNIT;
        load.past.set((time, arrivals));
        if let Some(processor) = self.held() {
            processor.counters().work.set(time * UNIT / arrivals.max(1));
        }
    }

    /// The worker has slept, and begins to work.
    pub(super) fn begin_busy_time(&self, now: Instant) {
        self.awake.set(now.as_nanos());
        self.load.measured.set(now.as_nanos());
    }

    /// The worker has nothing to do any more.
    pub(super) fn end_busy_time(&self) {
        self.load.kept.set(0);
        self.measure_work(real_now());
    }

    /// When the last sleep ended.
    pub(super) fn awake_since(&self) -> Instant {
        Instant::from_nanos(self.awake.get())
    }

    /// Runs `f`, which wakes many, and calls one sleeper for all of them.
    pub(super) fn batch(&self, f: impl FnOnce()) {
        self.in_batch.set(true);
        f();
        self.in_batch.set(false);
        let busy_time = self.held().map_or(0, |processor| {
            let queued = processor.thief.len() as u64;
            if queued > 1 { queued.saturating_mul(processor.counters().work.get()) } else { 0 }
        });
        if busy_time > WAKE_COST {
            self.pool().submitted();
        } else {
            self.load.kept.set(real_now().as_nanos());
        }
    }

    /// Calls a sleeper for what was kept from it, if that takes longer than it was thought to.
    pub(super) fn share_if_slow(&self) {
        let kept = self.load.kept.get();
        if kept != 0 && real_now().as_nanos() > kept + 2 * WAKE_COST {
            self.load.kept.set(0);
            if self.held().is_some_and(|processor| processor.thief.len() > 1) {
                self.pool().submitted();
            }
        }
    }

    pub(super) fn wake(&self, wakers: Vec<Waker>) {
        if !wakers.is_empty() {
            self.batch(|| wake_all(wakers));
        }
    }
}
