//! A runtime of one queue and one thread, for the kernel's own tests.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use corymb_core::hooks::{Choice, Entered, Garbage, Home, RuntimeHooks, enter};
use corymb_core::internal::{Root, scope_of};
use corymb_core::time::{Clock, Instant, LateTimeout, TimerShard};
use corymb_core::{Coroutine, Deferred, Dispatch, Failure, Job, Scope};

/// How often a test repeats what depends on the order: seldom under miri, which is slow.
pub(crate) fn times(usually: usize) -> usize {
    if cfg!(miri) { usually.div_ceil(50) } else { usually }
}

type OnReport = Arc<dyn Fn(&Failure) + Send + Sync>;

/// The runtime.
pub(crate) struct Fifo {
    queue: Arc<Queue>,
    root: Mutex<Option<Job>>,
    reports: Mutex<Vec<String>>,
    /// What a failure that is reported does besides.
    on_report: Mutex<Option<OnReport>>,
    /// Nanoseconds; no time passes by itself.
    now: AtomicU64,
    shard: &'static TimerShard,
}

#[derive(Default)]
struct Queue {
    ready: Mutex<VecDeque<Coroutine>>,
    refuses: AtomicBool,
    /// Picks the next one at random, unless it is zero.
    random: AtomicU64,
}

impl Dispatch for Queue {
    fn dispatch(&self, coroutine: Coroutine) {
        if !self.refuses.load(Ordering::SeqCst) {
            self.ready.lock().unwrap().push_back(coroutine);
        }
    }
}

impl Queue {
    fn pop(&self) -> Option<Coroutine> {
        let mut ready = self.ready.lock().unwrap();
        let random = self.random.load(Ordering::SeqCst);
        if random == 0 || ready.is_empty() {
            return ready.pop_front();
        }
        // The generator of Knuth's MMIX; its high bits are the good ones.
        let next =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random.store(next, Ordering::SeqCst);
        let pick = (next >> 33) as usize % ready.len();
        ready.remove(pick)
    }
}

impl Fifo {
    pub(crate) fn reports(&self) -> Vec<String> {
        self.reports.lock().unwrap().clone()
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.compute(time);
        self.shard.advance(self.now());
    }

    /// Lets time pass without a look at the timers, as in a poll that computes.
    pub(crate) fn compute(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap();
        self.now.fetch_add(nanos, Ordering::SeqCst);
    }
}

/// The queue as that of one thread, which runs all there is.
struct Bound {
    queue: Arc<Queue>,
    thread: ThreadId,
}

impl Dispatch for Bound {
    fn dispatch(&self, coroutine: Coroutine) {
        self.queue.dispatch(coroutine);
    }

    fn is_here(&self) -> bool {
        self.thread == thread::current().id()
    }
}

// SAFETY: the thread is a field that never changes, and each is made on the thread that binds to it,
// and for that call alone. Nothing is buried.
unsafe impl Home for Bound {
    fn bind(&self) -> usize {
        0
    }

    fn bound(&self, _: usize, _: Job) {}

    fn release(&self, _: usize) {}

    fn bury(&self, garbage: Garbage) -> Option<Garbage> {
        Some(garbage)
    }
}

impl Clock for Fifo {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.now.load(Ordering::SeqCst))
    }
}

// SAFETY: the queue is a field that never changes, and the root was made with this object.
unsafe impl RuntimeHooks for Fifo {
    fn root(&self) -> Job {
        self.root.lock().unwrap().clone().unwrap()
    }

    fn default_dispatch(&self) -> Arc<dyn Dispatch> {
        self.queue.clone()
    }

    fn home(&self) -> Option<Arc<dyn Home>> {
        Some(Arc::new(Bound { queue: self.queue.clone(), thread: thread::current().id() }))
    }

    fn timer_shard(&self) -> &'static TimerShard {
        self.shard
    }

    fn timer_armed(&self, _: &'static TimerShard, _: Instant) {}

    fn choose(&self, _: Choice, _: usize) -> usize {
        0
    }

    fn report(&self, failure: &Failure) {
        self.reports.lock().unwrap().push(failure.to_string());
        let on_report = self.on_report.lock().unwrap().clone();
        if let Some(f) = on_report {
            f(failure);
        }
    }

    fn timeout_late(&self, late: &LateTimeout) {
        self.reports.lock().unwrap().push(late.to_string());
    }
}

/// A runtime with its root, closed and checked for leaks when it is dropped.
pub(crate) struct Harness {
    pub(crate) hooks: Arc<Fifo>,
    root: Option<Root>,
}

impl Harness {
    pub(crate) fn new() -> Self {
        let hooks = Arc::new(Fifo {
            queue: Arc::default(),
            root: Mutex::default(),
            reports: Mutex::default(),
            on_report: Mutex::default(),
            now: AtomicU64::new(0),
            shard: TimerShard::acquire(),
        });
        let root = Root::new(hooks.clone(), None);
        *hooks.root.lock().unwrap() = Some(root.job().clone());
        Self { hooks, root: Some(root) }
    }

    /// A runtime that resumes its coroutines in an order of its own.
    pub(crate) fn in_random_order(seed: u64) -> Self {
        let this = Self::new();
        this.hooks.queue.random.store(seed | 1, Ordering::SeqCst);
        this
    }

    /// Polls one coroutine, if one is queued.
    pub(crate) fn step(&self) -> bool {
        let _inside = self.enter();
        let next = self.pop();
        next.map(Coroutine::run).is_some()
    }

    /// Runs what is queued until nothing is; answers how many polls that took.
    pub(crate) fn run(&self) -> usize {
        let _inside = self.enter();
        let mut polls = 0;
        while let Some(coroutine) = self.pop() {
            coroutine.run();
            polls += 1;
        }
        polls
    }

    /// Runs what is queued on so many threads until `job` has ended.
    pub(crate) fn run_on(&self, threads: usize, job: &Job) {
        thread::scope(|s| {
            for _ in 0..threads {
                s.spawn(|| {
                    let _inside = self.enter();
                    while !job.is_completed() {
                        match self.pop() {
                            Some(coroutine) => coroutine.run(),
                            None => thread::yield_now(),
                        }
                    }
                });
            }
        });
    }

    /// Runs what is queued on the thread that calls it, wherever that is: inside a poll, too.
    pub(crate) fn runner(&self) -> impl Fn() + Send + Sync + 'static {
        let queue = Arc::clone(&self.hooks.queue);
        move || {
            while let Some(coroutine) = queue.pop() {
                coroutine.run();
            }
        }
    }

    /// From now on the runtime's queue drops what it is given.
    pub(crate) fn refuse(&self) {
        self.hooks.queue.refuses.store(true, Ordering::SeqCst);
    }

    /// From now on each report calls `f`.
    pub(crate) fn on_report(&self, f: impl Fn(&Failure) + Send + Sync + 'static) {
        *self.hooks.on_report.lock().unwrap() = Some(Arc::new(f));
    }

    pub(crate) fn hooks_now(&self) -> Instant {
        self.hooks.now()
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, time: Duration) {
        self.hooks.pass(time);
    }

    pub(crate) fn pop(&self) -> Option<Coroutine> {
        self.hooks.queue.pop()
    }

    /// Launches right under the root.
    pub(crate) fn scope(&self) -> Scope {
        scope_of(self.root.as_ref().unwrap().job())
    }

    /// Makes this thread one of the runtime's.
    pub(crate) fn enter(&self) -> Entered {
        enter(self.hooks.clone())
    }

    pub(crate) fn spawn<F>(&self, future: F) -> Deferred<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.scope().spawn(future)
    }

    /// Runs `future` as a coroutine to its end.
    pub(crate) fn block_on<F>(&self, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let slot = Arc::new(Mutex::new(None));
        let out = slot.clone();
        let job = self.spawn(async move { *out.lock().unwrap() = Some(future.await) }).job();
        self.run();
        assert!(job.is_completed(), "the coroutine waits for something that never comes");
        let value = slot.lock().unwrap().take();
        value.expect("the coroutine gave no value")
    }

    pub(crate) fn forget_reports(&self) {
        self.hooks.reports.lock().unwrap().clear();
    }

    pub(crate) fn reports(&self) -> Vec<String> {
        self.hooks.reports()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        let root = self.root.take().unwrap();
        root.close();
        self.run();
        *self.hooks.root.lock().unwrap() = None;
        self.hooks.shard.release();
        if !thread::panicking() {
            assert!(root.job().is_completed(), "something did not end: {:?}", root.job());
        }
    }
}

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Vec<&'static str>>>);

impl Trace {
    pub(crate) fn add(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    pub(crate) fn on_drop(&self, what: &'static str) -> OnDrop {
        OnDrop(self.clone(), what)
    }

    pub(crate) fn get(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

/// Adds to a trace when it is dropped.
pub(crate) struct OnDrop(Trace, &'static str);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.add(self.1);
    }
}
