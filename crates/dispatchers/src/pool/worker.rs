//! The loop of a worker.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;
use std::task::Waker;
use std::thread;
use std::time::Duration;

use corymb_core::Coroutine;
use corymb_core::hooks::{self, Choice, RuntimeHooks};
use corymb_core::internal::{TimerShard, real_now, report_here};
use corymb_core::time::Instant;

use super::Pool;
use super::driver::Role;
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
/// How many coroutines in a row may come out of the slot for the one woken last, so that a pair
/// that wakes each other does not starve the queue.
const LIFO_BUDGET: u32 = 3;
/// The least time between two sleeps that end for timers. Each costs a switch to this thread and
/// back, some ten microseconds; timers that are due within this time share one. A lone timer is
/// not delayed by it.
const TIMER_SPACING: Duration = Duration::from_micros(180);
/// How long a worker that sleeps outside the reactor leaves its own timers to the others.
const TIMER_SLACK: Duration = Duration::from_millis(1);
/// What it costs to wake another worker, in nanoseconds. Events and timers that keep this one busy
/// for less are not worth it.
const WAKE_COST: u64 = 20_000;
/// How long a worker keeps away from a reactor that answers with an error.
const REACTOR_ERROR_PAUSE: Duration = Duration::from_millis(10);

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
    /// When the last sleep ended, in nanoseconds, and the ticks then.
    awake: Cell<(u64, u32)>,
    /// How long a poll took on average between the last two sleeps, in nanoseconds.
    poll_time: Cell<u64>,
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
    if let Some(hook) = hook {
        // The thread's panic hook has printed it.
        let _panicked = catch_unwind(AssertUnwindSafe(hook));
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
        awake: Cell::new((0, 0)),
        poll_time: Cell::new(WAKE_COST),
        kept: Cell::new(0),
    };
    LOCAL.set(&raw const local);
    let _leave = LeaveOnDrop;
    local.run();
}

struct LeaveOnDrop;

impl Drop for LeaveOnDrop {
    fn drop(&mut self) {
        LOCAL.set(ptr::null());
    }
}

impl Local {
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
    fn run_one(&self, coroutine: Coroutine) {
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
    fn hold(&self) -> bool {
        if self.held.borrow().is_some() {
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

    fn vacate(&self) {
        let Some(held) = self.held.take() else { return };
        let processor = &self.pool.processors[held.index];
        if let Some(coroutine) = processor.take_lifo() {
            held.queue.push(coroutine);
        }
        if self.pool.is_closed() {
            while let Some(coroutine) = held.queue.pop() {
                coroutine.discard();
            }
        }
        processor.vacate(held.queue);
    }

    /// Calls `f` with the processor that is held, if one is.
    #[inline]
    fn processor<R>(&self, f: impl FnOnce(&Processor, &RunQueue) -> R) -> Option<R> {
        let held = self.held.borrow();
        held.as_ref().map(|held| f(&self.pool.processors[held.index], &held.queue))
    }

    /// The shard of the processor that is held.
    pub(crate) fn timer_shard(&self) -> Option<&'static TimerShard> {
        self.processor(|processor, _| processor.shard())
    }

    /// Keeps in mind that a timer was armed; false if nobody would look.
    pub(crate) fn note_timer(&self) -> bool {
        let holds = self.held.borrow().is_some();
        self.timer_armed.set(holds);
        holds
    }

    /// Takes a coroutine that was woken: it is next, and its data are in this core's cache.
    #[inline]
    pub(crate) fn push_woken(&self, pool: &Pool, coroutine: Coroutine) {
        if self.in_batch.get() {
            return self.push_new(pool, coroutine);
        }
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
            pool.inject(coroutine);
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
    fn next(&self) -> Option<Coroutine> {
        let ticks = self.ticks.get().wrapping_add(1);
        self.ticks.set(ticks);
        if ticks.is_multiple_of(TIMER_TICKS) {
            self.fire_due();
            self.share_if_slow();
        }
        if ticks.is_multiple_of(OUTSIDE_TICKS) {
            self.look_outside();
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
    fn look_outside(&self) {
        if self.pool.reactor().is_empty() {
            return;
        }
        let now = real_now().as_nanos();
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
    fn batch(&self, f: impl FnOnce()) {
        self.in_batch.set(true);
        // A waker of a foreign task may panic.
        let outcome = catch_unwind(AssertUnwindSafe(f));
        self.in_batch.set(false);
        if let Err(payload) = outcome {
            report_here("waker", payload);
        }
        let queued = self.processor(|processor, _| processor.thief.len()).unwrap_or(0);
        if queued > 1 && queued as u64 * self.poll_time.get() > WAKE_COST {
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

    fn wake(&self, wakers: Vec<Waker>) {
        if !wakers.is_empty() {
            self.batch(|| wakers.into_iter().for_each(Waker::wake));
        }
    }

    /// There is nothing to do here: look elsewhere, then sleep.
    #[cold]
    fn idle(&self) {
        self.kept.set(0);
        self.note_poll_time();
        let searching = self.pool.idle.start_search();
        if searching && let Some(coroutine) = self.steal() {
            self.found();
            return self.run_one(coroutine);
        }
        self.pool.idle.sleep(&self.parker, searching);
        let sleepless = self.pool.has_work() || self.pool.is_closed();
        let woken = if sleepless { !self.pool.idle.leave(&self.parker) } else { self.sleep() };
        if !woken && !sleepless {
            return;
        }
        match self.next().or_else(|| self.steal()) {
            Some(coroutine) => {
                if woken {
                    self.found();
                } else {
                    // Who submitted it may have seen a searcher here, and called nobody for more.
                    self.pool.submitted();
                }
                self.run_one(coroutine);
            }
            None if woken => drop(self.pool.idle.end_search()),
            None => {}
        }
    }

    /// What was polled since the last sleep took how long?
    fn note_poll_time(&self) {
        let (since, ticks) = self.awake.get();
        let polls = u64::from(self.ticks.get().wrapping_sub(ticks)).max(1);
        self.poll_time.set(real_now().as_nanos().saturating_sub(since) / polls);
    }

    /// A searcher has found work. There may be more: somebody has to go on searching.
    fn found(&self) {
        if self.pool.idle.end_search() {
            self.pool.submitted();
        }
    }

    /// Sleeps, in the reactor if nobody else is there; true if this worker has been woken, and so
    /// is a searcher.
    fn sleep(&self) -> bool {
        self.processor(|processor, _| processor.counters.parks.increment());
        let mut wakers = Vec::new();
        match self.pool.driver.take() {
            Some(role) => self.drive(&role, &mut wakers),
            None => self.parker.park(self.time_to_own_timer()),
        }
        let woken = !self.pool.idle.leave(&self.parker);
        let now = real_now();
        self.awake.set((now.as_nanos(), self.ticks.get()));
        self.wake(wakers);
        self.fire_all_due(now);
        woken
    }

    fn drive(&self, role: &Role<'_>, wakers: &mut Vec<Waker>) {
        let mut failed = false;
        self.parker.drive(|| {
            let spaced = Instant::from_nanos(self.awake.get().0) + TIMER_SPACING;
            failed = role.wait(spaced, || self.pool.next_deadline(), wakers).is_err();
        });
        if failed {
            self.parker.park(Some(REACTOR_ERROR_PAUSE));
        }
    }

    fn time_to_own_timer(&self) -> Option<Duration> {
        let deadline = self.timer_shard()?.next_deadline()?;
        Some(deadline.saturating_duration_since(real_now()) + TIMER_SLACK)
    }

    /// Fires what is due, also in the shards of workers that are in a long poll.
    fn fire_all_due(&self, now: Instant) {
        for shard in self.pool.shards() {
            if shard.is_due(now) {
                self.batch(|| {
                    shard.advance(now);
                });
            }
        }
    }

    /// Takes work from the injector or from another processor.
    fn steal(&self) -> Option<Coroutine> {
        let held = self.held.borrow();
        let held = held.as_ref()?;
        let processors = &self.pool.processors;
        let first = hooks::with(|runtime| runtime.choose(Choice::Victim, processors.len()));
        let victims = (0..processors.len()).map(|i| (first + i) % processors.len());
        let stolen = victims
            .filter(|victim| *victim != held.index)
            .find_map(|victim| processors[victim].thief.steal(&held.queue));
        if stolen.is_some() {
            processors[held.index].counters.steals.increment();
        }
        stolen.or_else(|| self.pool.injector.steal(&held.queue))
    }
}

impl Pool {
    /// Starts a worker for each processor.
    pub(crate) fn start(self: &Arc<Self>, hooks: &Arc<dyn RuntimeHooks>) -> std::io::Result<()> {
        (0..self.parallelism()).try_for_each(|_| start(self, hooks))
    }

    fn has_work(&self) -> bool {
        !self.injector.is_empty() || self.processors.iter().any(|it| !it.thief.is_empty())
    }
}

/// A worker that blocks without its processor, which another thread works on meanwhile.
pub(crate) struct WithoutProcessor;

impl WithoutProcessor {
    /// Hands on the processor of the worker that this thread is, if it is one.
    pub(crate) fn enter() -> Option<Self> {
        // SAFETY: as in `with`.
        let local = unsafe { LOCAL.with(Cell::get).as_ref() }?;
        if local.held.borrow().is_none() {
            return None;
        }
        local.vacate();
        if start(&local.pool, &local.hooks).is_err() {
            // No thread is to be had: it goes on with its processor, and others wait.
            local.hold();
            return None;
        }
        Some(Self)
    }
}

impl Drop for WithoutProcessor {
    fn drop(&mut self) {
        // SAFETY: as in `with`.
        if let Some(local) = unsafe { LOCAL.with(Cell::get).as_ref() } {
            // If there is none, the worker ends after its present coroutine.
            local.hold();
        }
    }
}
