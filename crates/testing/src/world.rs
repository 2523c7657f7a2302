//! What a test runtime is to the kernel: one queue, one clock, one record of choices.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::thread::{self, ThreadId};

use corymb_core::hooks::{self, Choice, Garbage, Home, RuntimeHooks};
use corymb_core::internal::prim::Mutex;
use corymb_core::internal::runs_as;
use corymb_core::time::{Clock, Instant, TimerShard};
use corymb_core::{Coroutine, Dispatch, Failure, Job};

use crate::choices::Choices;
use crate::clock::VirtualClock;

/// The runtime as the kernel sees it.
pub(crate) struct World {
    queue: Arc<Queue>,
    main: Arc<Main>,
    bound: Arc<Bound>,
    shuffled: bool,
    pub(crate) clock: VirtualClock,
    pub(crate) choices: Mutex<Choices>,
    /// None before the root is made and after it has ended.
    pub(crate) root: Mutex<Option<Job>>,
    /// What was reported, as text.
    pub(crate) failures: Mutex<Vec<String>>,
}

struct Queue(Mutex<VecDeque<Coroutine>>);

/// The same queue as that of [`Dispatcher::Main`](corymb_core::Dispatcher::Main).
struct Main {
    queue: Arc<Queue>,
    bound: Arc<Bound>,
}

impl Dispatch for Main {
    fn dispatch(&self, coroutine: Coroutine) {
        self.queue.dispatch(coroutine);
    }

    /// All is on one thread; so what counts is whose code it is. What is bound to that thread is
    /// bound to the one that serves Main.
    fn is_here(&self) -> bool {
        runs_as(self) || runs_as(&*self.bound)
    }
}

impl Dispatch for Queue {
    fn dispatch(&self, coroutine: Coroutine) {
        self.0.lock().push_back(coroutine);
    }
}

/// The same queue as that of the test's thread, for what is bound to it.
struct Bound {
    queue: Arc<Queue>,
    /// The one where the first of them was launched: a test has no other.
    thread: OnceLock<ThreadId>,
}

impl Dispatch for Bound {
    fn dispatch(&self, coroutine: Coroutine) {
        self.queue.dispatch(coroutine);
    }

    fn is_here(&self) -> bool {
        self.thread.get() == Some(&thread::current().id())
    }
}

/// What is alive in the end is ended by the test runtime itself.
#[expect(unsafe_code, reason = "a promise about the answers of this type, no access")]
// SAFETY: the thread is set once, by the first `bind`; the others panic elsewhere. Nothing is buried.
unsafe impl Home for Bound {
    fn bind(&self) -> usize {
        let thread = self.thread.get_or_init(|| thread::current().id());
        assert!(
            *thread == thread::current().id(),
            "a test runtime has launched what is bound to another thread before: make one for \
             each thread"
        );
        0
    }

    fn bound(&self, _: usize, _: Job) {}

    fn release(&self, _: usize) {}

    fn bury(&self, garbage: Garbage) -> Option<Garbage> {
        Some(garbage)
    }
}

impl World {
    pub(crate) fn new(seed: u64, shuffled: bool) -> Self {
        let queue = Arc::new(Queue(Mutex::new(VecDeque::new())));
        let bound = Arc::new(Bound { queue: Arc::clone(&queue), thread: OnceLock::new() });
        Self {
            main: Arc::new(Main { queue: Arc::clone(&queue), bound: Arc::clone(&bound) }),
            bound,
            queue,
            shuffled,
            clock: VirtualClock::new(),
            choices: Mutex::new(Choices::new(seed)),
            root: Mutex::new(None),
            failures: Mutex::new(Vec::new()),
        }
    }

    /// Whether no coroutine is ready.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.0.lock().is_empty()
    }

    /// Takes the coroutine that is next out of the queue.
    pub(crate) fn next(&self) -> Option<Coroutine> {
        let mut queue = self.queue.0.lock();
        if !self.shuffled {
            return queue.pop_front();
        }
        let next = self.choose(Choice::Next, queue.len());
        queue.remove(next)
    }

    /// Makes it the runtime of this thread until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Inside {
        let runtime = hooks::enter(Arc::<Self>::clone(self));
        let outer = HERE.with(|here| here.replace(Some(Arc::clone(self))));
        Inside { outer, _runtime: runtime }
    }

    /// Calls `f` with the test runtime of this thread; `call` is what the user called.
    #[track_caller]
    pub(crate) fn here<R>(call: &str, f: impl FnOnce(&Arc<Self>) -> R) -> R {
        let here = HERE.with(|here| here.borrow().clone());
        match here {
            Some(world) => f(&world),
            None => panic!(
                "`{call}` outside of a test runtime: use it in code that `TestRuntime::run` or \
                 `#[corymb::test]` runs, on the thread of the test"
            ),
        }
    }
}

impl Clock for World {
    fn now(&self) -> Instant {
        self.clock.now()
    }
}

#[expect(unsafe_code, reason = "as above")]
// SAFETY: the queue is a field that never changes, and the root was made with this object.
unsafe impl RuntimeHooks for World {
    fn root(&self) -> Job {
        self.root.lock().clone().expect(
            "the test runtime has ended: nothing can be launched in it after its test returned",
        )
    }

    fn default_dispatch(&self) -> Arc<dyn Dispatch> {
        Arc::<Queue>::clone(&self.queue)
    }

    fn home(&self) -> Option<Arc<dyn Home>> {
        Some(Arc::<Bound>::clone(&self.bound))
    }

    fn main_dispatch(&self) -> Option<Arc<dyn Dispatch>> {
        Some(Arc::<Main>::clone(&self.main))
    }

    fn timer_shard(&self) -> &'static TimerShard {
        self.clock.shard()
    }

    /// Nobody sleeps until a timer is due: the clock asks for the earliest one when it moves.
    fn timer_armed(&self, _: &'static TimerShard, _: Instant) {}

    fn choose(&self, choice: Choice, n: usize) -> usize {
        self.choices.lock().choose(choice, n)
    }

    fn lists_at_launch(&self) -> bool {
        true
    }

    fn report(&self, failure: &Failure) {
        self.failures.lock().push(failure.to_string());
    }
}

thread_local! {
    static HERE: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

/// Leaves a [`World::enter`].
pub(crate) struct Inside {
    outer: Option<Arc<World>>,
    _runtime: hooks::Entered,
}

impl Drop for Inside {
    fn drop(&mut self) {
        HERE.with(|here| here.replace(self.outer.take()));
    }
}
