//! The loop of a worker.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;
use std::task::Waker;
use std::thread;
use std::time::Duration;

use corymb_core::Coroutine;
use corymb_core::hooks::{self, RuntimeHooks};
use corymb_core::internal::{TimerShard, real_now, report_here, wake_all};
use corymb_core::time::Instant;

use super::Pool;
use super::parker::Parker;
use super::processor::Processor;
use super::queue::RunQueue;

/// How many coroutines run between two looks at the timers, if there are any: a look costs about
/// as much as two polls of nothing.
const TIMER_TICKS: u32 = 16;
/// How many coroutines run between two looks at the injector and the reactor, so that a worker
/// which never goes idle serves them too. A prime, so as not to fall in step with the load.
const OUTSIDE_TICKS: u32 = 61;
/// The least time between two looks of a busy worker into the reactor: one costs a system call.
const REACTOR_PERIOD: Duration = Duration::from_micros(50);
/// Over how many measurements, of [`OUTSIDE_TICKS`] polls each, work is averaged: a scope that
/// launches a thousand children in one poll is one arrival of work, not a thousand and none.
const PAST: u64 = 16;
/// One arrival, in the fixed point in which they are averaged.
const UNIT: u64 = 256;
/// How many coroutines in a row may come out of the slot for the one woken last, so that a pair
/// that wakes each other does not starve the queue.
const LIFO_BUDGET: u32 = 3;
/// What it costs to wake another worker, in nanoseconds, until it has the first coroutine. Events
/// and timers that keep this one busy for less are not worth it.
const WAKE_COST: u64 = 50_000;

thread_local! {
    /// The worker that this thread is, or null.
    static LOCAL: Cell<*const Local> = const { Cell::new(ptr::null()) };
}

/// Calls `f` with the worker of `pool` that this thread is, if it is one.
#[inline]
pub(crate) fn with<R>(pool: &Pool, f: impl FnOnce(Option<&Local>) -> R) -> R {
    // SAFETY: set by `run_worker` while the object is on its stack, on this thread.
    let local = unsafe { LOCAL.with(Cell::get).as_ref() };
    f(local.filter(|local| ptr::eq(&raw const *local.pool, pool)))
}

/// Calls `f` with the worker that this thread is, if it is one.
pub(super) fn current<R>(f: impl FnOnce(Option<&Local>) -> R) -> R {
    // SAFETY: as in `with`.
    f(unsafe { LOCAL.with(Cell::get).as_ref() })
}

/// Whether this thread is a worker of `pool`.
pub(crate) fn is_worker_of(pool: &Pool) -> bool {
    with(pool, |local| local.is_some())
}

/// A worker, as the code that it runs sees it.
pub(crate) struct Local {
    pool: Arc<Pool>,
    hooks: Arc<dyn RuntimeHooks>,
    parker: Arc<Parker>,
    /// The processor that it holds.
    held: RefCell<Option<Held>>,
    /// A timer was armed that the driver may not know of.
    timer_armed: Cell<bool>,
    /// Events and timers are handed out: what they wake goes to the queue, and nobody is called
    /// before all are there.
    in_batch: Cell<bool>,
    ticks: Cell<u32>,
    lifo_runs: Cell<u32>,
    /// When a busy worker looked into the reactor last, in nanoseconds.
    looked: Cell<u64>,
    /// When the last sleep ended, in nanoseconds.
    awake: Cell<u64>,
    /// When the work that came in was measured last, in nanoseconds.
    measured: Cell<u64>,
    /// How many coroutines were launched or woken since.
    arrivals: Cell<u64>,
    /// Time and arrivals of the past, the older the less of them.
    past: Cell<(u64, u64)>,
    /// How often it has napped in a row.
    pub(super) naps: Cell<u32>,
    /// The driver's wait that it saw when it last went to sleep beside it.
    pub(super) watched_wait: Cell<Option<u64>>,
    /// How many polls each processor had done before the last nap.
    pub(super) progress: RefCell<Vec<u64>>,
    /// Since when, in nanoseconds, events or timers that were handed out are kept from the
    /// sleepers; zero if none are.
    kept: Cell<u64>,
}

/// A processor that this worker holds.
struct Held {
    index: usize,
    queue: RunQueue,
}

/// Starts a worker thread for a free processor.
pub(super) fn start(pool: &Arc<Pool>, hooks: &Arc<dyn RuntimeHooks>) -> std::io::Result<()> {
    let mut builder = thread::Builder::new().name(pool.hooks.thread_name.clone());
    if let Some(size) = pool.hooks.stack_size {
        builder = builder.stack_size(size);
    }
    let (pool, hooks) = (Arc::clone(pool), Arc::clone(hooks));
    let counted = CountedWorker::new(Arc::clone(&pool));
    builder.spawn(move || {
        let _counted = counted;
        let _runtime = hooks::enter(Arc::clone(&hooks));
        call(pool.hooks.on_start.as_deref());
        run_worker(&pool, hooks);
        call(pool.hooks.on_stop.as_deref());
    })?;
    Ok(())
}

/// A panic in a user's hook must not take the worker with it.
fn call(hook: Option<&(dyn Fn() + Send + Sync)>) {
    if let Some(hook) = hook
        && let Err(payload) = catch_unwind(AssertUnwindSafe(hook))
    {
        report_here("thread hook", payload);
    }
}

/// Counts a worker from before its thread starts until it has ended.
struct CountedWorker(Arc<Pool>);

impl CountedWorker {
    fn new(pool: Arc<Pool>) -> Self {
        *pool.lock_workers() += 1;
        Self(pool)
    }
}

impl Drop for CountedWorker {
    fn drop(&mut self) {
        *self.0.lock_workers() -= 1;
        self.0.worker_ended.notify_all();
    }
}

fn run_worker(pool: &Arc<Pool>, hooks: Arc<dyn RuntimeHooks>) {
    let local = Local {
        pool: Arc::clone(pool),
        hooks,
        parker: Arc::new(Parker::new()),
        held: RefCell::new(None),
        timer_armed: Cell::new(false),
        in_batch: Cell::new(false),
        ticks: Cell::new(0),
        lifo_runs: Cell::new(0),
        looked: Cell::new(0),
        awake: Cell::new(0),
        measured: Cell::new(real_now().as_nanos()),
        arrivals: Cell::new(0),
        past: Cell::new((0, 0)),
        naps: Cell::new(0),
        watched_wait: Cell::new(None),
        progress: RefCell::new(Vec::new()),
        kept: Cell::new(0),
    };
    LOCAL.set(&raw const local);
    let _leave = LeaveOnDrop;
    // Nothing that it calls may unwind; if something does, the processor must not be lost.
    while let Err(payload) = catch_unwind(AssertUnwindSafe(|| local.run())) {
        report_here("worker", payload);
    }
}

struct LeaveOnDrop;

impl Drop for LeaveOnDrop {
    fn drop(&mut self) {
        LOCAL.set(ptr::null());
    }
}

impl Local {
    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub(super) fn hooks(&self) -> &Arc<dyn RuntimeHooks> {
        &self.hooks
    }

    pub(super) fn parker(&self) -> &Arc<Parker> {
        &self.parker
    }

    /// Whether it holds a processor.
    pub(super) fn holds(&self) -> bool {
        self.held.borrow().is_some()
    }

    /// Runs coroutines until the pool is closed, or others hold all processors.
    fn run(&self) {
        while !self.pool.is_closed() && self.hold() {
            match self.next() {
                Some(coroutine) => self.run_one(coroutine),
                None => self.idle(),
            }
        }
        self.vacate();
    }

    #[inline]
    pub(super) fn run_one(&self, coroutine: Coroutine) {
        coroutine.run();
        self.processor(|processor, _| processor.counters.polls.increment());
        if self.timer_armed.replace(false)
            && let Some(deadline) = self.timer_shard().and_then(TimerShard::next_deadline)
        {
            self.pool.driver.armed(deadline);
        }
    }

    /// Makes sure of a processor; false if there is none to be had.
    #[inline]
    pub(super) fn hold(&self) -> bool {
        if self.holds() {
            return true;
        }
        let found = self
            .pool
            .processors
            .iter()
            .enumerate()
            .find_map(|(index, processor)| processor.hold().map(|queue| Held { index, queue }));
        *self.held.borrow_mut() = found;
        self.held.borrow().is_some()
    }

    pub(super) fn vacate(&self) {
        let Some(held) = self.held.take() else { return };
        let processor = &self.pool.processors[held.index];
        if let Some(coroutine) = processor.take_lifo() {
            held.queue.push(coroutine);
        }
        processor.vacate(held.queue);
        // Either this sees the end, or `Pool::close` finds the processor vacant: both lock the
        // seat.
        if self.pool.is_closed() {
            processor.discard_vacant();
        }
    }

    /// Calls `f` with the processor that is held, if one is.
    #[inline]
    pub(super) fn processor<R>(&self, f: impl FnOnce(&Processor, &RunQueue) -> R) -> Option<R> {
        let held = self.held.borrow();
        held.as_ref().map(|held| f(&self.pool.processors[held.index], &held.queue))
    }

    /// The shard of the processor that is held.
    pub(crate) fn timer_shard(&self) -> Option<&'static TimerShard> {
        self.processor(|processor, _| processor.shard())
    }

    /// Keeps in mind that a timer was armed; false if nobody would look.
    pub(crate) fn note_timer(&self) -> bool {
        let holds = self.holds();
        self.timer_armed.set(holds);
        holds
    }

    /// Takes a coroutine that was woken: it is next, and its data are in this core's cache.
    #[inline]
    pub(crate) fn push_woken(&self, pool: &Pool, coroutine: Coroutine) {
        if self.in_batch.get() {
            return self.push_new(pool, coroutine);
        }
        self.arrivals.set(self.arrivals.get() + 1);
        let mut coroutine = Some(coroutine);
        let displaced = self.processor(|processor, queue| {
            let displaced = coroutine.take().and_then(|it| processor.swap_lifo(it));
            displaced.map(|it| queue.push(it)).is_some()
        });
        match (displaced, coroutine) {
            (Some(true), _) => pool.submitted(),
            (None, Some(coroutine)) => pool.inject(coroutine),
            _ => {}
        }
    }

    /// Takes a coroutine that is new: it goes behind the others.
    #[inline]
    pub(crate) fn push_new(&self, pool: &Pool, coroutine: Coroutine) {
        self.arrivals.set(self.arrivals.get() + 1);
        match self.push_back(coroutine) {
            None if self.in_batch.get() => {}
            None => pool.submitted(),
            Some(coroutine) => pool.inject(coroutine),
        }
    }

    /// Takes a coroutine that was polled just now, and goes behind the others. It is no more work
    /// than there was before that poll, so no sleeper is called for it.
    #[inline]
    pub(crate) fn push_yielded(&self, pool: &Pool, coroutine: Coroutine) {
        if let Some(coroutine) = self.push_back(coroutine) {
            return pool.inject(coroutine);
        }
        // Unless that poll has woken another one, which comes first and may take long.
        if self.processor(|processor, _| processor.has_lifo()) == Some(true) {
            pool.submitted();
        }
    }

    /// Queues a coroutine, or gives it back if no processor is held.
    #[inline]
    fn push_back(&self, coroutine: Coroutine) -> Option<Coroutine> {
        match &*self.held.borrow() {
            Some(held) => {
                held.queue.push(coroutine);
                None
            }
            None => Some(coroutine),
        }
    }

    /// The next coroutine of this processor, or one from outside.
    #[inline]
    pub(super) fn next(&self) -> Option<Coroutine> {
        let ticks = self.ticks.get().wrapping_add(1);
        self.ticks.set(ticks);
        if ticks.is_multiple_of(TIMER_TICKS) {
            self.fire_due();
            self.share_if_slow();
        }
        if ticks.is_multiple_of(OUTSIDE_TICKS) {
            let now = real_now();
            self.measure_work(now);
            self.fire_all_due(now);
            self.look_outside(now);
            if let Some(coroutine) = self.pool.injector.pop() {
                return Some(coroutine);
            }
        }
        self.processor(|processor, queue| {
            if self.lifo_runs.get() < LIFO_BUDGET
                && let Some(coroutine) = processor.take_lifo()
            {
                self.lifo_runs.set(self.lifo_runs.get() + 1);
                return Some(coroutine);
            }
            self.lifo_runs.set(0);
            let next = queue.pop().or_else(|| processor.take_lifo());
            next.or_else(|| self.pool.injector.steal(queue))
        })
        .flatten()
    }

    /// Tells, for those who would steal, how much work a coroutine is here on average: the time
    /// that went by for each one that was launched or woken, however often it yielded.
    fn measure_work(&self, now: Instant) {
        let time = now.as_nanos().saturating_sub(self.measured.replace(now.as_nanos()));
        let (old_time, old_arrivals) = self.past.get();
        let time = old_time - old_time / PAST + time;
        let arrivals = old_arrivals - old_arrivals.div_ceil(PAST) + self.arrivals.replace(0) * UNIT;
        self.past.set((time, arrivals));
        self.processor(|processor, _| processor.counters.work.set(time * UNIT / arrivals.max(1)));
    }

    /// The worker has slept, and begins to work.
    pub(super) fn begin_busy_time(&self, now: Instant) {
        self.awake.set(now.as_nanos());
        self.measured.set(now.as_nanos());
    }

    /// The worker has nothing to do any more.
    pub(super) fn end_busy_time(&self) {
        self.kept.set(0);
        self.measure_work(real_now());
    }

    /// When the last sleep ended.
    pub(super) fn awake_since(&self) -> Instant {
        Instant::from_nanos(self.awake.get())
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
        if self.pool.reactor().is_empty() {
            return;
        }
        let now = now.as_nanos();
        if u128::from(now.saturating_sub(self.looked.get())) < REACTOR_PERIOD.as_nanos() {
            return;
        }
        self.looked.set(now);
        if let Some(role) = self.pool.driver.take() {
            let mut wakers = Vec::new();
            // An error shows again where the worker can wait it out.
            let _events = role.poll(&mut wakers);
            drop(role);
            self.wake(wakers);
        }
    }

    /// Runs `f`, which wakes many, and calls one sleeper for all of them.
    pub(super) fn batch(&self, f: impl FnOnce()) {
        self.in_batch.set(true);
        f();
        self.in_batch.set(false);
        let busy_time = self.processor(|processor, _| {
            let queued = processor.thief.len() as u64;
            if queued > 1 { queued.saturating_mul(processor.counters.work.get()) } else { 0 }
        });
        if busy_time.is_some_and(|busy_time| busy_time > WAKE_COST) {
            self.pool.submitted();
        } else {
            self.kept.set(real_now().as_nanos());
        }
    }

    /// Calls a sleeper for what was kept from it, if that takes longer than it was thought to.
    fn share_if_slow(&self) {
        let kept = self.kept.get();
        if kept != 0 && real_now().as_nanos() > kept + 2 * WAKE_COST {
            self.kept.set(0);
            if self.processor(|processor, _| processor.thief.len() > 1) == Some(true) {
                self.pool.submitted();
            }
        }
    }

    pub(super) fn wake(&self, wakers: Vec<Waker>) {
        if !wakers.is_empty() {
            self.batch(|| wake_all(wakers));
        }
    }
}

impl Pool {
    /// Starts a worker for each processor.
    pub(crate) fn start(self: &Arc<Self>, hooks: &Arc<dyn RuntimeHooks>) -> std::io::Result<()> {
        (0..self.parallelism()).try_for_each(|_| start(self, hooks))
    }
}
