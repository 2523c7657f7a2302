//! The loop of a thread of the pool.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use corymb_core::Coroutine;
use corymb_core::hooks::{self, RuntimeHooks};
use corymb_core::internal::prim::atomic::Ordering;
use corymb_core::internal::{real_now, report_here};
use corymb_core::time::Instant;

use super::local::{self, Local};
use super::processor::Processor;
use super::roster::Errand;
use super::{Io, Pool, Side};

/// How many coroutines run between two looks at the timers, if there are any: a look costs about
/// as much as two polls of nothing.
const TIMER_TICKS: u64 = 16;
/// The least time between two looks of a busy worker into the reactor: one costs a system call.
const REACTOR_PERIOD: Duration = Duration::from_micros(50);
/// How many coroutines in a row may come out of the slot for the one woken last, so that a pair
/// that wakes each other does not starve the queue.
const LIFO_BUDGET: u32 = 3;

/// What a thread of the pool does, from its start to its end.
pub(super) fn run_thread(pool: &Arc<Pool>, hooks: Arc<dyn RuntimeHooks>, errand: Errand) {
    let _runtime = hooks::enter(hooks);
    call(pool.hooks.on_start.as_deref());
    let local = Local::new(pool);
    local::enter(&local, || {
        let mut errand = Some(errand);
        // Nothing that it calls may unwind; if something does, the processor must not be lost.
        while let Err(payload) = catch_unwind(AssertUnwindSafe(|| local.work(errand.take()))) {
            report_here("worker", payload);
        }
    });
    call(pool.hooks.on_stop.as_deref());
}

/// A panic in a user's hook must not take the worker with it.
fn call(hook: Option<&(dyn Fn() + Send + Sync)>) {
    if let Some(hook) = hook
        && let Err(payload) = catch_unwind(AssertUnwindSafe(hook))
    {
        report_here("thread hook", payload);
    }
}

impl Local {
    /// Works, with a processor or without, until the pool is closed or there is nothing to do for
    /// a thread more.
    fn work(&self, mut errand: Option<Errand>) {
        while !self.pool().is_closed() {
            if self.held().is_some() {
                self.turn();
            } else if self.io().is_some() {
                self.run_io();
            } else {
                let Some(errand) = errand.take().or_else(|| self.pool().roster.wait()) else {
                    break;
                };
                self.accept(errand);
            }
        }
        self.vacate();
    }

    fn accept(&self, errand: Errand) {
        match errand {
            Errand::Io(side) => self.set_io(Some(self.pool().io(side))),
            Errand::Work => {
                self.hold();
            }
            Errand::Take(index, seen) => {
                let lent = self.pool().processors.get(index);
                match lent.filter(|it| it.owner.take_lent(seen, self.me())) {
                    Some(processor) => {
                        self.pool().lending.taken();
                        self.begin_work(processor);
                    }
                    // Its thread was back earlier.
                    None => {
                        self.hold();
                    }
                }
            }
        }
    }

    /// Makes sure of a processor, a free one if it has none; false if there is none to be had.
    #[inline]
    pub(super) fn hold(&self) -> bool {
        if self.held().is_some() {
            return true;
        }
        let free = self.pool().processors.take_free(self.me());
        if let Some(processor) = free {
            self.begin_work(processor);
        }
        free.is_some()
    }

    /// This thread has taken `processor`.
    fn begin_work(&self, processor: &Processor) {
        processor.figures.polled.clear();
        processor.figures.polled.countdown.cut_short();
        self.pace.changed_processor(processor.counters().polls.get());
        // Ordering: Relaxed; the watchdog may ask for the last one's once more.
        processor.figures.thread.store(self.system_number, Ordering::Relaxed);
        self.set_held(Some(processor));
        self.begin_busy_time(real_now());
        self.pool().watchdog.working(self.pool());
    }

    /// Polls what comes next, if there is anything; what else there is to do is done before it.
    #[inline]
    fn turn(&self) {
        let Some(processor) = self.held() else { return };
        if processor.figures.polled.countdown.is_over() {
            return self.turn_with_a_look(processor);
        }
        match self.next() {
            Some(coroutine) => self.run(coroutine, |_| ()),
            None => self.idle(),
        }
    }

    /// The turn of a worker that was told of something, or that has not looked around for long.
    #[cold]
    fn turn_with_a_look(&self, processor: &Processor) {
        if processor.figures.polled.is_flagged() {
            // It may be one without a processor now.
            return self.was_noticed();
        }
        let polls = processor.counters().polls.get();
        let from_outside = if self.pace.is_due(polls) { self.look_around(polls) } else { None };
        // The look wakes, and a waker may have cost the processor.
        let Some(processor) = self.held() else { return };
        let polls = processor.counters().polls.get();
        self.pace.wind(&processor.figures.polled.countdown, polls, self.pool().known.any());
        match from_outside.or_else(|| self.next()) {
            Some(coroutine) => self.run_one(coroutine),
            None => self.idle(),
        }
    }

    /// Polls a coroutine, with the processor lent if it is known to block.
    pub(super) fn run_one(&self, coroutine: Coroutine) {
        self.run(coroutine, |coroutine| {
            self.lend_if_known(coroutine);
        });
    }

    /// Polls a coroutine, after `prepare`.
    #[inline]
    fn run(&self, coroutine: Coroutine, prepare: impl FnOnce(&Coroutine)) {
        let Some(processor) = self.held() else { return self.pool().inject(coroutine) };
        processor.figures.polled.begin(&coroutine);
        prepare(&coroutine);
        coroutine.run();
        if self.held().is_none() {
            self.come_back();
        }
        if let Some(processor) = self.held() {
            processor.counters().polls.increment();
        }
        self.tell_driver_of_timer();
    }

    /// What this thread polls, which serves a view, polls `coroutine` next. True if it should
    /// return after that: it has no processor any more, or has to give it up.
    #[inline]
    pub(super) fn polls_inside(&self, coroutine: &Coroutine) -> bool {
        let Some(processor) = self.held() else { return true };
        processor.figures.polled.begin_inside(coroutine);
        let retires = processor.figures.polled.is_flagged() && self.was_noticed_inside();
        self.lend_if_known(coroutine) || retires
    }

    /// Lends the processor for a poll that is known to block: what is queued there, and the
    /// driver's role, are anybody's from now on.
    #[inline]
    fn lend_if_known(&self, coroutine: &Coroutine) -> bool {
        let known = &self.pool().known;
        let lends = known.contains(coroutine.launched_at());
        if lends {
            known.polls.increment();
            self.lend();
        }
        lends
    }

    /// Gives the processor up for good, and drops what is queued there: the pool has closed. What
    /// that wakes goes to the injector.
    fn vacate(&self) {
        let Some(processor) = self.held() else { return };
        self.set_held(None);
        // SAFETY: held until `give_up`.
        unsafe { processor.drain(Coroutine::discard) };
        processor.owner.give_up();
    }

    /// The next coroutine of this processor, or of those that were submitted from outside.
    #[inline]
    pub(super) fn next(&self) -> Option<Coroutine> {
        let mut processor = self.held()?;
        let ticks = processor.counters().polls.get();
        if ticks.is_multiple_of(TIMER_TICKS) {
            self.fire_due();
            self.share_if_slow();
            // A waker is foreign code: one that blocks in a run costs the processor.
            processor = self.held()?;
        }
        if self.lifo_runs.get() < LIFO_BUDGET
            && let Some(coroutine) = processor.take_lifo()
        {
            self.lifo_runs.set(self.lifo_runs.get() + 1);
            return Some(coroutine);
        }
        self.lifo_runs.set(0);
        // SAFETY: held.
        unsafe {
            processor.with_queue(|queue| {
                let next = queue.pop().or_else(|| processor.take_lifo());
                next.or_else(|| self.pool().injector.steal(queue))
            })
        }
    }

    /// Looks at what a worker that never goes idle has to serve too: all timers, the reactor, and
    /// the injector, which may give a coroutine, and others for the end of the queue.
    fn look_around(&self, polls: u64) -> Option<Coroutine> {
        let now = real_now();
        if self.pace.looked(now, polls) {
            self.measure_work(now);
        }
        self.fire_all_due(now);
        self.look_outside(now);
        // Asked for after all that wakes: a waker may have cost the processor.
        let processor = self.held()?;
        // SAFETY: held.
        unsafe { processor.with_queue(|queue| self.pool().injector.steal(queue)) }
    }

    /// Fires what is due in the own shard.
    fn fire_due(&self) {
        let Some(shard) = self.timer_shard() else { return };
        if shard.next_deadline().is_some() {
            let now = real_now();
            if shard.is_due(now) {
                self.batch(|| {
                    shard.advance(now);
                });
            }
        }
    }

    /// Looks into the reactor without waiting, if nobody is there and it is time to.
    fn look_outside(&self, now: Instant) {
        if self.pool().reactor().is_empty() {
            return;
        }
        let now = now.as_nanos();
        if u128::from(now.saturating_sub(self.looked.get())) < REACTOR_PERIOD.as_nanos() {
            return;
        }
        self.looked.set(now);
        if let Some(role) = self.pool().driver.take() {
            let mut wakers = Vec::new();
            // An error shows again where the worker can wait it out.
            let _events = role.poll(&mut wakers);
            drop(role);
            self.wake(wakers);
        }
    }
}

impl Pool {
    /// Starts a worker for each processor.
    pub(crate) fn start(&self) -> std::io::Result<()> {
        (0..self.parallelism()).try_for_each(|_| self.start_thread(Errand::Work))
    }

    /// One of the IO sides.
    pub(super) fn io(&self, side: Side) -> &Arc<Io> {
        match side {
            Side::Limited => &self.io[0],
            Side::Elastic => &self.io[1],
        }
    }
}
