//! Models of the coroutine cell and the job tree, and the small runtime that they run in.
//!
//! The edges are those of [`state`](crate::node::state). A future, an output or a handler that is
//! lost or dropped twice is seen by loom, which counts the [`Mark`]s in them.

mod cancel;
mod join;
mod lazy;
mod moves;
mod regions;
mod tokens;
mod views;
mod waits;
mod wake;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::dispatch::Dispatch;
use crate::failure::Failure;
use crate::hooks::{Choice, RuntimeHooks};
use crate::job::Job;
use crate::prim::Mutex;
use crate::root::Root;
use crate::scope::{Scope, scope_of};
use crate::time::{Clock, Instant, TimerShard};
use crate::{Coroutine, hooks};

/// What loom sees leak or be freed twice.
type Mark = loom::sync::Arc<()>;

struct Queue(Mutex<VecDeque<Coroutine>>);

impl Dispatch for Queue {
    fn dispatch(&self, coroutine: Coroutine) {
        self.0.lock().push_back(coroutine);
    }
}

struct Hooks {
    queue: Arc<Queue>,
    root: Mutex<Option<Job>>,
}

impl Clock for Hooks {
    fn now(&self) -> Instant {
        unreachable!("the models know no time")
    }
}

// SAFETY: the queue is a field that never changes, and the root was made with this object.
unsafe impl RuntimeHooks for Hooks {
    fn root(&self) -> Job {
        self.root.lock().clone().unwrap()
    }

    fn default_dispatch(&self) -> Arc<dyn Dispatch> {
        self.queue.clone()
    }

    fn timer_shard(&self) -> &'static TimerShard {
        unreachable!("the models know no time")
    }

    fn timer_armed(&self, _: &'static TimerShard, _: Instant) {}

    fn choose(&self, _: Choice, _: usize) -> usize {
        0
    }

    fn report(&self, failure: &Failure) {
        panic!("{failure}");
    }
}

/// A runtime without threads: whoever calls [`run`](Self::run) is one.
#[derive(Clone)]
struct Runtime {
    hooks: Arc<Hooks>,
    root: Job,
}

impl Runtime {
    /// Launches right under the root.
    fn scope(&self) -> Scope {
        scope_of(&self.root)
    }

    /// Runs what is ready until nothing is.
    fn run(&self) {
        loop {
            let ready = self.hooks.queue.0.lock().pop_front();
            match ready {
                Some(coroutine) => coroutine.run(),
                None => return,
            }
        }
    }

    /// Calls `run` in another thread.
    fn start(&self) -> thread::JoinHandle<()> {
        let this = self.clone();
        thread::spawn(move || this.run())
    }
}

/// Runs `model` in every interleaving, its first thread inside a runtime. When it has returned
/// and the rest was run, the runtime must end: whatever was launched has.
fn check(model: impl Fn(&Runtime) + Sync + Send + 'static) {
    // Three find no more, and take the largest models a minute instead of seconds.
    check_within(loom::model::Builder::new().preemption_bound.unwrap_or(2), model);
}

/// As [`check`], with so many switches away from a thread that could go on.
fn check_within(preemptions: usize, model: impl Fn(&Runtime) + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let hooks = Arc::new(Hooks {
            queue: Arc::new(Queue(Mutex::new(VecDeque::new()))),
            root: Mutex::new(None),
        });
        let entered = hooks::enter(hooks.clone());
        let root = Root::new(hooks.clone(), None);
        *hooks.root.lock() = Some(root.job().clone());
        let runtime = Runtime { hooks, root: root.job().clone() };
        model(&runtime);
        runtime.run();
        root.close();
        runtime.run();
        assert!(runtime.root.is_completed(), "something has not ended");
        let job = runtime.hooks.root.lock().take();
        drop(job);
        drop(entered);
    });
}

/// Counts its wake-ups.
struct Wakes(AtomicUsize);

impl Wakes {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(0)))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>, wakes: &Arc<Wakes>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(wakes))))
}
