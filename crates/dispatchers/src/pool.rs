//! The worker pool behind `Dispatcher::Default`.
//!
//! A *processor* is the right to run coroutines, and owns what that takes: a run queue, a slot for
//! the coroutine woken last, a shard of timers. As many are in service as the pool's parallelism,
//! and some more while polls block. A *thread* runs coroutines of `Dispatcher::Default` only while
//! it holds a processor, and is called a worker then; without one it is a spare, and runs what
//! blocks. A worker that blocks lends its processor, with all that is queued there.
//!
//! | file | holds |
//! | --- | --- |
//! | `processor`, `processors` | what a processor owns; all of them |
//! | `owner` | who has a processor: the picture of its states |
//! | `queue` | its run queue, and the injector for what comes from outside |
//! | `counters`, `polled` | what its holder tells of its work |
//! | `roster` | the threads, those without work, and what they are sent for |
//! | `local` | a thread, as the code that it runs sees it |
//! | `worker` | the loop of a thread |
//! | `load` | how much work coroutines are |
//! | `search` | what a worker without work does: steal, nap, sleep |
//! | `lending` | switches in place between computing and IO |
//! | `io`, `slots` | what runs IO coroutines, and how many at once |
//! | `blocking` | how a worker blocks without its processor |
//! | `watchdog`, `blocked` | who sees lent processors and long polls, and what is told of them |
//! | `system_thread` | whether a thread computes or waits, as the system sees it |
//! | `idle` | who sleeps, and why nobody sleeps while there is work |
//! | `parker` | how one worker sleeps |
//! | `driver` | the role of the worker that waits in the reactor |
//! | `alarm` | how that wait is cut short for a timer |

use std::ptr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use corymb_core::hooks::RuntimeHooks;
use corymb_core::internal::TimerShard;
use corymb_core::internal::prim::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use corymb_core::time::Instant;
use corymb_core::{Coroutine, Dispatch};

mod alarm;
mod blocked;
mod blocking;
mod counters;
mod driver;
mod idle;
mod io;
mod known;
mod lending;
mod load;
mod local;
#[cfg(all(test, loom))]
mod loom;
#[cfg(all(test, not(loom), not(miri)))]
mod model;
mod owner;
mod pace;
mod parker;
mod polled;
mod processor;
mod processors;
mod queue;
mod roster;
mod search;
mod slots;
mod system_thread;
mod watchdog;
mod worker;

pub(crate) use blocked::Hook as BlockedHook;
pub use blocked::WorkerBlocked;
pub(crate) use blocking::WithoutProcessor;
use driver::Driver;
use idle::Idle;
use io::{Io, Side};
use known::Known;
use lending::Lending;
pub(crate) use local::is_thread_of;
use owner::Tenant;
use parker::Parker;
use processor::Processor;
use processors::Processors;
use queue::Injector;
use roster::Roster;
use slots::Slots;
use watchdog::Watchdog;

/// What a thread does beside running coroutines.
pub(crate) struct Hooks {
    pub(crate) thread_name: String,
    pub(crate) stack_size: Option<usize>,
    pub(crate) on_start: Option<Box<dyn Fn() + Send + Sync>>,
    pub(crate) on_stop: Option<Box<dyn Fn() + Send + Sync>>,
    pub(crate) on_blocked: Option<BlockedHook>,
}

/// The numbers that a pool keeps to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) parallelism: usize,
    pub(crate) max_pool_size: usize,
    pub(crate) min_runnable: usize,
    pub(crate) io_parallelism: usize,
    pub(crate) keep_alive: Duration,
    pub(crate) blocked_threshold: Duration,
}

/// The pool.
pub(crate) struct Pool {
    this: Weak<Self>,
    parallelism: usize,
    processors: Processors,
    injector: Injector,
    idle: Idle<Parker>,
    driver: Driver,
    /// The limited side, and the elastic one.
    io: [Arc<Io>; 2],
    slots: Slots,
    known: Known,
    lending: Lending,
    roster: Roster,
    watchdog: Watchdog,
    /// Timers that are armed on threads which are no workers.
    outside: &'static TimerShard,
    closed: AtomicBool,
    threads_started: AtomicU64,
    hooks: Hooks,
    /// The runtime that the pool belongs to.
    runtime: OnceLock<Weak<dyn RuntimeHooks>>,
}

/// Signs for who closes the pool; threads count from one.
const CLOSER: u64 = 0;

impl Pool {
    /// A pool whose threads have not been started.
    pub(crate) fn new(limits: Limits, mut hooks: Hooks) -> std::io::Result<Arc<Self>> {
        let Limits { parallelism, max_pool_size, .. } = limits;
        // Threads in IO leave as many of the pool as there are processors: those can always be
        // taken.
        let beside = max_pool_size.saturating_sub(parallelism).max(1);
        let io = limits.io_parallelism.min(beside);
        let driver = Driver::new()?;
        let teller = blocked::Teller::new(hooks.on_blocked.take());
        Ok(Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            parallelism,
            processors: Processors::new(parallelism, max_pool_size),
            injector: Injector::new(),
            idle: Idle::new(parallelism),
            driver,
            io: [Side::Limited, Side::Elastic]
                .map(|side| Arc::new(Io::new(Weak::clone(this), side))),
            slots: Slots::new(io, beside - io),
            known: Known::new(),
            lending: Lending::new(),
            roster: Roster::new(max_pool_size, limits.keep_alive),
            watchdog: Watchdog::new(limits.blocked_threshold, limits.min_runnable, teller),
            outside: TimerShard::acquire(),
            closed: AtomicBool::new(false),
            threads_started: AtomicU64::new(CLOSER + 1),
            hooks,
            runtime: OnceLock::new(),
        }))
    }

    /// Tells the pool whose it is.
    pub(crate) fn belongs_to(&self, runtime: &Arc<dyn RuntimeHooks>) {
        let _first = self.runtime.set(Arc::downgrade(runtime));
    }

    fn runtime(&self) -> Option<Arc<dyn RuntimeHooks>> {
        self.runtime.get()?.upgrade()
    }

    pub(crate) fn parallelism(&self) -> usize {
        self.parallelism
    }

    /// How many coroutines of `Dispatcher::Io` are polled at once.
    pub(crate) fn io_parallelism(&self) -> usize {
        self.slots.of_limited()
    }

    pub(crate) fn max_pool_size(&self) -> usize {
        self.roster.max_threads()
    }

    /// What `Dispatcher::Io` stands for.
    pub(crate) fn io_dispatch(&self) -> Arc<dyn Dispatch> {
        Arc::<Io>::clone(self.io(Side::Limited))
    }

    /// The same, not counted.
    pub(crate) fn io_ptr(&self) -> *const dyn Dispatch {
        Arc::<Io>::as_ptr(self.io(Side::Limited))
    }

    /// The same for views of it.
    pub(crate) fn elastic_io_dispatch(&self) -> Arc<dyn Dispatch> {
        Arc::<Io>::clone(self.io(Side::Elastic))
    }

    fn is(&self, dispatch: &dyn Dispatch) -> bool {
        ptr::addr_eq(ptr::from_ref(self), ptr::from_ref(dispatch))
    }

    pub(crate) fn reactor(&self) -> &Arc<crate::reactor::Reactor> {
        self.driver.reactor()
    }

    /// Wakes a sleeper for work that was submitted just now.
    #[inline]
    fn submitted(&self) {
        if let Some(sleeper) = self.idle.submitted() {
            sleeper.wake(&self.driver);
        }
    }

    fn inject(&self, coroutine: Coroutine) {
        self.injector.push(coroutine);
        self.submitted();
        // `submitted` has a fence: either this sees the end, or the last look at the injector,
        // which comes after it, sees the coroutine.
        if self.is_closed() {
            self.discard_queued();
        }
    }

    #[inline]
    fn is_closed(&self) -> bool {
        // Ordering: Relaxed; `close` and `inject` order it by fences.
        self.closed.load(Ordering::Relaxed)
    }

    /// Ends the workers, when they come back from what they run, and drops what is queued.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        for sleeper in self.idle.wake_all() {
            sleeper.wake(&self.driver);
        }
        self.driver.notify();
        self.roster.close();
        self.watchdog.close();
        self.discard_queued();
        for io in &self.io {
            io.discard_queued();
        }
        // Those whose holder blocks elsewhere, or is not there.
        for processor in self.processors.iter() {
            processor.discard_unheld(Tenant::new(CLOSER));
        }
    }

    fn discard_queued(&self) {
        while let Some(coroutine) = self.injector.pop() {
            coroutine.discard();
        }
    }

    /// Waits for the end of all threads, `grace` at most; the number that is left.
    pub(crate) fn join(&self, grace: Duration) -> usize {
        self.roster.join(grace)
    }

    /// The shard for timers armed on this thread.
    pub(crate) fn timer_shard(&self) -> &'static TimerShard {
        local::with(self, |local| local.and_then(local::Local::timer_shard)).unwrap_or(self.outside)
    }

    /// A timer of `timer_shard` is the earliest there.
    pub(crate) fn timer_armed(&self, deadline: Instant) {
        let noted = local::with(self, |local| local.is_some_and(local::Local::note_timer));
        if !noted {
            self.driver.armed(deadline);
        }
    }

    /// The earliest time at which a shard has to be looked at.
    fn next_deadline(&self) -> Option<Instant> {
        self.shards().filter_map(TimerShard::next_deadline).min()
    }

    fn shards(&self) -> impl Iterator<Item = &'static TimerShard> {
        self.processors.iter().map(Processor::shard).chain([self.outside])
    }

    /// Coroutines that anybody could run who has a processor.
    fn work_for_others(&self) -> usize {
        let with_work = self.processors.iter().filter(|it| it.has_work_for_others());
        self.injector.len() + with_work.map(Processor::queued).sum::<usize>()
    }

    /// Numbers for people.
    pub(crate) fn statistics(&self) -> Statistics {
        let counters = || self.processors.iter().map(Processor::counters);
        let count = |f: fn(owner::Seen) -> bool| {
            self.processors.iter().filter(|it| f(it.owner.seen())).count()
        };
        let (threads, spare) = self.roster.counts();
        let sleeping = self.idle.sleepers();
        Statistics {
            sleeping,
            queued: self.injector.len()
                + self.processors.iter().map(Processor::queued).sum::<usize>(),
            polls: counters().map(|it| it.polls.get()).sum(),
            steals: counters().map(|it| it.steals.get()).sum(),
            parks: counters().map(|it| it.parks.get()).sum(),
            timers: self.shards().map(TimerShard::armed).sum(),
            sources: self.reactor().statistics().sources,
            threads,
            spare,
            working: count(owner::Seen::is_held).saturating_sub(sleeping),
            in_service: count(|seen| !seen.is_spare()),
            lent: count(owner::Seen::is_lent),
            // Ordering: Relaxed, a figure for people.
            compensated: self.watchdog.compensated.load(Ordering::Relaxed),
            io_in_use: self.slots.in_use(),
            io_queued: self.io.iter().map(|io| io.queued()).sum(),
            blocked_polls: self.watchdog.blocked.get(),
            known_polls: self.known.polls.get(),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.reactor().close();
        self.outside.release();
    }
}

impl Dispatch for Pool {
    #[inline]
    fn dispatch(&self, coroutine: Coroutine) {
        local::with(self, |local| match local {
            Some(local) => local.push_woken(self, coroutine),
            None => self.inject(coroutine),
        });
    }

    #[inline]
    fn dispatch_new(&self, coroutine: Coroutine) {
        local::with(self, |local| match local {
            Some(local) => local.push_new(self, coroutine),
            None => self.inject(coroutine),
        });
    }

    #[inline]
    fn dispatch_yield(&self, coroutine: Coroutine) {
        local::with(self, |local| match local {
            Some(local) => local.push_yielded(self, coroutine),
            None => self.inject(coroutine),
        });
    }

    #[inline]
    fn polls_inside(&self, coroutine: &Coroutine) -> bool {
        local::with(self, |local| local.is_some_and(|local| local.polls_inside(coroutine)))
    }

    fn switch(&self, to: &dyn Dispatch) -> bool {
        local::with(self, |local| local.is_some_and(|local| self.switch_from_pool(local, to)))
    }
}

/// What the pool counts.
pub(crate) struct Statistics {
    pub(crate) sleeping: usize,
    pub(crate) queued: usize,
    pub(crate) polls: u64,
    pub(crate) steals: u64,
    pub(crate) parks: u64,
    pub(crate) timers: usize,
    pub(crate) sources: usize,
    pub(crate) threads: usize,
    pub(crate) spare: usize,
    pub(crate) working: usize,
    pub(crate) in_service: usize,
    pub(crate) lent: usize,
    pub(crate) compensated: usize,
    pub(crate) io_in_use: usize,
    pub(crate) io_queued: usize,
    pub(crate) blocked_polls: u64,
    pub(crate) known_polls: u64,
}
