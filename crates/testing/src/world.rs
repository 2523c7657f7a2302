//! What a test runtime is to the kernel: one queue, one clock, one record of choices.

use std::any::Any;
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use corymb_core::hooks::{self, Choice, Home, RuntimeHooks};
use corymb_core::internal::prim::Mutex;
use corymb_core::internal::scope_of;
use corymb_core::time::{Clock, Instant, TimerShard};
use corymb_core::{Dispatch, Failure, Job, Scope, supervisor_scope};

use crate::cancels::Watch;
use crate::choices::{Choices, Question};
use crate::clock::VirtualClock;
use crate::explore::Steps;
use crate::outside::Outside;
use crate::queue::{Bound, Main, Order, Queue, Ready};

/// The runtime as the kernel sees it.
pub(crate) struct World {
    queue: Arc<Queue>,
    main: Arc<Main>,
    bound: Arc<Bound>,
    pub(crate) clock: VirtualClock,
    pub(crate) choices: Mutex<Choices>,
    /// None before the root is made and after it has ended.
    pub(crate) root: Mutex<Option<Job>>,
    /// What was reported, as text.
    pub(crate) failures: Mutex<Vec<String>>,
    /// The scope of what ends with the test, and the coroutine that has it open.
    background: Mutex<Option<(Scope, Job)>>,
    pub(crate) outside: Arc<Outside>,
    /// None if nobody wants to know.
    pub(crate) steps: Option<Mutex<Steps>>,
    /// Who looks at each poll, and may cancel something.
    pub(crate) watch: OnceLock<Arc<Watch>>,
}

impl World {
    pub(crate) fn new(order: Order, choices: Choices, steps: Option<Steps>) -> Self {
        let outside = Arc::new(Outside::new());
        let queue = Arc::new(Queue::new(order, Arc::clone(&outside)));
        let bound = Arc::new(Bound::new(Arc::clone(&queue)));
        Self {
            main: Arc::new(Main::new(Arc::clone(&queue), Arc::clone(&bound))),
            bound,
            queue,
            clock: VirtualClock::new(),
            choices: Mutex::new(choices),
            root: Mutex::new(None),
            failures: Mutex::new(Vec::new()),
            background: Mutex::new(None),
            outside,
            steps: steps.map(Mutex::new),
            watch: OnceLock::new(),
        }
    }

    /// Lets go of what leads back here: all has ended.
    pub(crate) fn end(&self) {
        let root = self.root.lock().take();
        drop(root);
        self.queue.forget();
    }

    /// Whether no coroutine is ready.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// The scope of what ends with the test.
    #[track_caller]
    pub(crate) fn background(&self) -> Scope {
        let mut background = self.background.lock();
        let (scope, _) = background.get_or_insert_with(|| {
            let slot = Arc::new(OnceLock::new());
            let inside = Arc::clone(&slot);
            let opened = scope_of(&self.root()).coroutine().name("background").undispatched();
            let job = opened.launch(supervisor_scope(async move |s| {
                let _first = inside.set(s);
                std::future::pending::<()>().await;
            }));
            (slot.get().expect("its first poll is a part of the launch").clone(), job)
        });
        scope.clone()
    }

    /// Cancels what is in there, if it was opened; gives its job.
    pub(crate) fn end_background(&self) -> Option<Job> {
        let (_, job) = self.background.lock().take()?;
        job.cancel();
        Some(job)
    }

    /// What was reported since the last call, first of all that other threads interfered.
    pub(crate) fn take_failures(&self) -> Vec<String> {
        let foreign = self.queue.take_foreign().into_iter().map(|who| {
            format!(
                "{who} was woken by another thread while nothing held the time: whether that or \
                 the clock is first is left to chance; have that thread keep a `hold_time()`"
            )
        });
        foreign.chain(self.failures.lock().drain(..)).collect()
    }

    /// Polls the coroutine that is next; false if there is none.
    pub(crate) fn run_next(&self) -> bool {
        let next = self.queue.next(|question| self.choices.lock().pick(question));
        let Some(next) = next else { return false };
        let Some(watch) = self.watch.get() else {
            self.run(next);
            return true;
        };
        let polled = watch.before(next.coroutine(), self);
        self.run(next);
        if let Some(polled) = polled {
            watch.after(&polled, self);
        }
        true
    }

    /// Polls the coroutine of `job`, if it is ready.
    pub(crate) fn run_out_of_turn(&self, job: &Job) {
        if let Some(ready) = self.queue.take_of(job) {
            self.run(ready);
        }
    }

    fn run(&self, next: Ready) {
        let order = self.queue.order();
        let Some(steps) = &self.steps else { return next.run(order) };
        let begun = steps.lock().begin(&next, self.clock.elapsed());
        let number = next.number();
        next.run(order);
        if let Some(begun) = begun {
            let is_ready = self.queue.is_last(number);
            steps.lock().end(&begun, is_ready);
        }
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
        self.choices.lock().pick(&Question::of(choice, n))
    }

    fn reactor(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.outside.reactor()
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
