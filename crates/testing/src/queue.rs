//! The one queue of a test runtime, and its faces as dispatchers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::thread::{self, ThreadId};

use corymb_core::hooks::{Choice, Garbage, Home};
use corymb_core::internal::prim::Mutex;
use corymb_core::internal::{runs_as, times_used_up, with_allowance};
use corymb_core::{Coroutine, Dispatch, Job, Who};

use crate::choices::Question;
use crate::outside::Outside;

/// How often in a row a coroutine is offered to go on as a matter of course; then the others are
/// first. So one that tries again and again for what another one has to do does not keep it off.
const STREAK: usize = 64;

/// The order in which ready coroutines run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    /// As they became ready.
    #[default]
    Fifo,
    /// Any: the next one is a choice.
    Shuffled,
    /// As shuffled; and coroutines give way before each operation, which is where those of other
    /// threads would get in between.
    Explored,
}

/// How a coroutine became ready.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// It has begun, was woken, or has asked to be put behind the others: what it does before its
    /// next operation is a step of its own. Whether it takes what it was woken for by an operation is
    /// not known: the end of a scope and futures of others are none.
    Afresh,
    /// An explorer had it give way before an operation, which comes first in the step.
    GaveWay,
}

/// What made it ready.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Launch,
    Wake,
    Yield,
}

/// A coroutine that is ready.
pub(crate) struct Ready {
    coroutine: Coroutine,
    how: How,
    /// Counted from 0 in the order in which they were in the queue for the first time; only where
    /// schedules are explored.
    number: usize,
}

impl Ready {
    /// Which coroutine it is: the same in each run that takes the same choices.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    pub(crate) fn coroutine(&self) -> &Coroutine {
        &self.coroutine
    }

    /// Polls it.
    pub(crate) fn run(self, queue: Order) {
        if queue != Order::Explored {
            return self.coroutine.run();
        }
        let operations = u8::from(self.how == How::GaveWay);
        with_allowance(operations, || self.coroutine.run());
    }
}

/// The queue.
pub(crate) struct Queue {
    order: Order,
    ready: Mutex<State>,
    outside: Arc<Outside>,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Ready>,
    /// By the addresses of the coroutines, which their jobs keep from being used again.
    numbers: HashMap<usize, (Job, usize)>,
    /// The count of used up budgets when the last coroutine was taken.
    used_up: u32,
    /// Which one that was, and how often in a row.
    last: Option<usize>,
    streak: usize,
    /// Whom other threads have woken with no right to.
    foreign: Vec<Who>,
}

impl State {
    fn push(&mut self, coroutine: Coroutine, by: By) {
        let launched = self.numbers.len();
        let address = coroutine.address().addr();
        let (_, number) =
            *self.numbers.entry(address).or_insert_with(|| (coroutine.job(), launched));
        let how = match by {
            By::Yield if self.used_up != times_used_up() => How::GaveWay,
            By::Launch | By::Wake | By::Yield => How::Afresh,
        };
        self.ready.push_back(Ready { coroutine, how, number });
    }

    /// Whether the one that ran last could simply go on.
    fn goes_on(&self) -> bool {
        self.ready.back().is_some_and(|back| {
            back.how == How::GaveWay && self.last == Some(back.number) && self.streak < STREAK
        })
    }

    /// Takes one out: where the last one could go on that is the first option, and the others
    /// follow in the order in which they became ready.
    fn take(&mut self, option: usize, goes_on: bool) -> Ready {
        let at = match (goes_on, option) {
            (true, 0) => self.ready.len() - 1,
            (true, other) => other - 1,
            (false, at) => at,
        };
        let taken = self.ready.remove(at).expect("one of the options");
        self.streak = if self.last == Some(taken.number) { self.streak + 1 } else { 0 };
        self.last = Some(taken.number);
        self.used_up = times_used_up();
        taken
    }
}

impl Queue {
    pub(crate) fn new(order: Order, outside: Arc<Outside>) -> Self {
        Self { order, ready: Mutex::new(State::default()), outside }
    }

    /// Takes whom other threads have woken while nothing held the time.
    pub(crate) fn take_foreign(&self) -> Vec<Who> {
        std::mem::take(&mut self.ready.lock().foreign)
    }

    /// Forgets who was numbered, and so lets go of their jobs, which lead to this queue.
    pub(crate) fn forget(&self) {
        let numbers = std::mem::take(&mut self.ready.lock().numbers);
        drop(numbers);
    }

    pub(crate) fn order(&self) -> Order {
        self.order
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ready.lock().ready.is_empty()
    }

    /// Whether the coroutine of that number is the one that became ready last.
    pub(crate) fn is_last(&self, number: usize) -> bool {
        self.ready.lock().ready.back().is_some_and(|back| back.number == number)
    }

    /// Takes out the one that `pick` says.
    pub(crate) fn next(&self, pick: impl FnOnce(&Question<'_>) -> usize) -> Option<Ready> {
        let mut state = self.ready.lock();
        if self.order == Order::Fifo {
            return state.ready.pop_front();
        }
        if state.ready.is_empty() {
            return None;
        }
        let goes_on = state.goes_on();
        let at = {
            let number = |option: usize| match (goes_on, option) {
                (true, 0) => state.ready[state.ready.len() - 1].number,
                (true, other) => state.ready[other - 1].number,
                (false, at) => state.ready[at].number,
            };
            let options = state.ready.len();
            let question = Question { choice: Choice::Next, options, goes_on, who: Some(&number) };
            pick(&question)
        };
        Some(state.take(at, goes_on))
    }

    /// Takes out the coroutine of `job`, if it is ready.
    pub(crate) fn take_of(&self, job: &Job) -> Option<Ready> {
        let mut state = self.ready.lock();
        let at = state.ready.iter().position(|ready| ready.coroutine.job() == *job)?;
        Some(state.take(at, false))
    }

    fn push(&self, coroutine: Coroutine, by: By) {
        let is_foreign = self.outside.is_foreign();
        let mut state = self.ready.lock();
        if is_foreign && !self.outside.is_held() {
            state.foreign.push(coroutine.who());
        }
        match self.order {
            Order::Fifo => state.ready.push_back(Ready { coroutine, how: How::Afresh, number: 0 }),
            Order::Shuffled | Order::Explored => state.push(coroutine, by),
        }
        drop(state);
        if is_foreign {
            self.outside.notify();
        }
    }
}

impl Dispatch for Queue {
    fn dispatch(&self, coroutine: Coroutine) {
        self.push(coroutine, By::Wake);
    }

    fn dispatch_new(&self, coroutine: Coroutine) {
        self.push(coroutine, By::Launch);
    }

    fn dispatch_yield(&self, coroutine: Coroutine) {
        self.push(coroutine, By::Yield);
    }
}

/// The queue as a dispatcher whose thread is somebody's.
pub(crate) struct Face<W> {
    queue: Arc<Queue>,
    whose: W,
}

/// What tells whether the calling code is on the thread that a [`Face`] is of.
pub(crate) trait Whose: Send + Sync {
    fn is_here(&self, face: &dyn Dispatch) -> bool;
}

impl<W: Whose + 'static> Dispatch for Face<W> {
    fn dispatch(&self, coroutine: Coroutine) {
        self.queue.dispatch(coroutine);
    }

    fn dispatch_new(&self, coroutine: Coroutine) {
        self.queue.dispatch_new(coroutine);
    }

    fn dispatch_yield(&self, coroutine: Coroutine) {
        self.queue.dispatch_yield(coroutine);
    }

    fn is_here(&self) -> bool {
        self.whose.is_here(self)
    }
}

/// [`Dispatcher::Main`](corymb_core::Dispatcher::Main).
pub(crate) type Main = Face<Arc<Bound>>;

impl Main {
    pub(crate) fn new(queue: Arc<Queue>, bound: Arc<Bound>) -> Self {
        Self { queue, whose: bound }
    }
}

/// All is on one thread; so what counts is whose code it is. What is bound to that thread is bound
/// to the one that serves Main.
impl Whose for Arc<Bound> {
    fn is_here(&self, main: &dyn Dispatch) -> bool {
        runs_as(main) || runs_as(&**self)
    }
}

/// For what is bound to the test's thread: the one where the first of them was launched. A test has
/// no other.
pub(crate) type Bound = Face<OnceLock<ThreadId>>;

impl Bound {
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        Self { queue, whose: OnceLock::new() }
    }
}

impl Whose for OnceLock<ThreadId> {
    fn is_here(&self, _: &dyn Dispatch) -> bool {
        self.get() == Some(&thread::current().id())
    }
}

/// What is alive in the end is ended by the test runtime itself.
#[expect(unsafe_code, reason = "a promise about the answers of this type, no access")]
// SAFETY: the thread is set once, by the first `bind`; the others panic elsewhere. Nothing is buried.
unsafe impl Home for Bound {
    fn bind(&self) -> usize {
        let thread = self.whose.get_or_init(|| thread::current().id());
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
