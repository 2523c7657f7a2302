//! A runtime of one queue and one thread, for the kernel's own tests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use corymb_core::hooks::{Choice, RuntimeHooks, enter};
use corymb_core::internal::{Root, scope_of};
use corymb_core::time::{Clock, Instant, TimerShard};
use corymb_core::{Coroutine, Deferred, Dispatch, Failure, Job};

/// The runtime.
pub(crate) struct Fifo {
    queue: Arc<Queue>,
    root: Mutex<Option<Job>>,
    reports: Mutex<Vec<String>>,
}

struct Queue(Mutex<VecDeque<Coroutine>>);

impl Dispatch for Queue {
    fn dispatch(&self, coroutine: Coroutine) {
        self.0.lock().unwrap().push_back(coroutine);
    }
}

impl Clock for Fifo {
    fn now(&self) -> Instant {
        unreachable!("these tests know no time")
    }
}

impl RuntimeHooks for Fifo {
    fn root(&self) -> Job {
        self.root.lock().unwrap().clone().unwrap()
    }

    fn default_dispatch(&self) -> Arc<dyn Dispatch> {
        self.queue.clone()
    }

    fn timer_shard(&self) -> &'static TimerShard {
        unreachable!("these tests know no time")
    }

    fn timer_armed(&self, _: &'static TimerShard, _: Instant) {}

    fn choose(&self, _: Choice, _: usize) -> usize {
        0
    }

    fn report(&self, failure: &Failure) {
        self.reports.lock().unwrap().push(failure.to_string());
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
            queue: Arc::new(Queue(Mutex::default())),
            root: Mutex::default(),
            reports: Mutex::default(),
        });
        let root = Root::new(hooks.clone(), None);
        *hooks.root.lock().unwrap() = Some(root.job().clone());
        Self { hooks, root: Some(root) }
    }

    /// Runs what is queued until nothing is; answers how many polls that took.
    pub(crate) fn run(&self) -> usize {
        let _inside = enter(self.hooks.clone());
        let mut polls = 0;
        while let Some(coroutine) = self.pop() {
            coroutine.run();
            polls += 1;
        }
        polls
    }

    fn pop(&self) -> Option<Coroutine> {
        self.hooks.queue.0.lock().unwrap().pop_front()
    }

    pub(crate) fn spawn<F>(&self, future: F) -> Deferred<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        scope_of(self.root.as_ref().unwrap().job()).spawn(future)
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

    pub(crate) fn reports(&self) -> Vec<String> {
        self.hooks.reports.lock().unwrap().clone()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        let root = self.root.take().unwrap();
        root.close();
        self.run();
        *self.hooks.root.lock().unwrap() = None;
        if !std::thread::panicking() {
            assert!(root.job().is_completed(), "something did not end: {:?}", root.job());
        }
    }
}
