//! The worker pool behind `Dispatcher::Default`.
//!
//! A *processor* is the right to run coroutines, and owns what that takes: a run queue, a slot for
//! the coroutine woken last, a shard of timers. There are as many as the pool's parallelism. A
//! *worker* is a thread; it runs coroutines only while it holds a processor. A worker that blocks
//! in a nested `run_blocking` hands its processor on, with all that is queued there.
//!
//! | file | holds |
//! | --- | --- |
//! | `processor` | what a processor owns, and who holds it |
//! | `queue` | its run queue, and the injector for what comes from outside |
//! | `worker` | the loop of a worker |
//! | `search` | what a worker without work does: steal, nap, sleep |
//! | `blocking` | how a worker blocks without its processor |
//! | `idle` | who sleeps, and why nobody sleeps while there is work |
//! | `parker` | how one worker sleeps |
//! | `driver` | the role of the worker that waits in the reactor |
//! | `alarm` | how that wait is cut short for a timer |

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Moment};

use corymb_core::internal::TimerShard;
use corymb_core::internal::prim::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use corymb_core::time::Instant;
use corymb_core::{Coroutine, Dispatch};

mod alarm;
mod blocking;
mod driver;
mod idle;
#[cfg(all(test, loom))]
mod loom;
mod parker;
mod processor;
mod queue;
mod search;
mod worker;

pub(crate) use blocking::WithoutProcessor;
use driver::Driver;
use idle::Idle;
use parker::Parker;
use processor::Processor;
use queue::Injector;
pub(crate) use worker::is_worker_of;

/// What a worker does beside running coroutines.
pub(crate) struct Hooks {
    pub(crate) thread_name: String,
    pub(crate) stack_size: Option<usize>,
    pub(crate) on_start: Option<Box<dyn Fn() + Send + Sync>>,
    pub(crate) on_stop: Option<Box<dyn Fn() + Send + Sync>>,
}

/// The pool.
pub(crate) struct Pool {
    processors: Box<[Processor]>,
    injector: Injector,
    idle: Idle<Parker>,
    driver: Driver,
    /// How many workers watch the driver.
    watchers: AtomicUsize,
    /// Timers that are armed on threads which are no workers.
    outside: &'static TimerShard,
    closed: AtomicBool,
    /// Workers that have not ended.
    workers: Mutex<usize>,
    worker_ended: Condvar,
    hooks: Hooks,
}

impl Pool {
    /// A pool whose workers have not been started.
    pub(crate) fn new(parallelism: usize, hooks: Hooks) -> io::Result<Self> {
        Ok(Self {
            processors: (0..parallelism).map(|_| Processor::new()).collect(),
            injector: Injector::new(),
            idle: Idle::new(parallelism),
            driver: Driver::new()?,
            watchers: AtomicUsize::new(0),
            outside: TimerShard::acquire(),
            closed: AtomicBool::new(false),
            workers: Mutex::new(0),
            worker_ended: Condvar::new(),
            hooks,
        })
    }

    pub(crate) fn parallelism(&self) -> usize {
        self.processors.len()
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
        self.discard_queued();
        // Those whose holder blocks elsewhere.
        for processor in &self.processors {
            processor.discard_vacant();
        }
    }

    fn discard_queued(&self) {
        while let Some(coroutine) = self.injector.pop() {
            coroutine.discard();
        }
    }

    /// Waits for the end of all workers, `grace` at most; the number that is left.
    pub(crate) fn join(&self, grace: Duration) -> usize {
        let until = Moment::now().checked_add(grace);
        let mut workers = self.lock_workers();
        while *workers > 0 {
            let left = until.map_or(Duration::MAX, |until| until.duration_since(Moment::now()));
            if left.is_zero() {
                break;
            }
            workers = self
                .worker_ended
                .wait_timeout(workers, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        *workers
    }

    fn lock_workers(&self) -> MutexGuard<'_, usize> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shard for timers armed on this thread.
    pub(crate) fn timer_shard(&self) -> &'static TimerShard {
        worker::with(self, |local| local.and_then(worker::Local::timer_shard))
            .unwrap_or(self.outside)
    }

    /// A timer of `timer_shard` is the earliest there.
    pub(crate) fn timer_armed(&self, deadline: Instant) {
        let noted = worker::with(self, |local| local.is_some_and(worker::Local::note_timer));
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

    /// Numbers for people.
    pub(crate) fn statistics(&self) -> Statistics {
        Statistics {
            sleeping: self.idle.sleepers(),
            queued: self.injector.len()
                + self.processors.iter().map(Processor::queued).sum::<usize>(),
            polls: self.processors.iter().map(|it| it.counters.polls.get()).sum(),
            steals: self.processors.iter().map(|it| it.counters.steals.get()).sum(),
            parks: self.processors.iter().map(|it| it.counters.parks.get()).sum(),
            timers: self.shards().map(TimerShard::armed).sum(),
            sources: self.reactor().statistics().sources,
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
        worker::with(self, |local| match local {
            Some(local) => local.push_woken(self, coroutine),
            None => self.inject(coroutine),
        });
    }

    #[inline]
    fn dispatch_new(&self, coroutine: Coroutine) {
        worker::with(self, |local| match local {
            Some(local) => local.push_new(self, coroutine),
            None => self.inject(coroutine),
        });
    }

    #[inline]
    fn dispatch_yield(&self, coroutine: Coroutine) {
        worker::with(self, |local| match local {
            Some(local) => local.push_yielded(self, coroutine),
            None => self.inject(coroutine),
        });
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
}
