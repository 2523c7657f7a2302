//! The queues, the processors' owners and the list of sleepers against a sequential model.
//!
//! A random program takes the steps of a few workers and of those that submit, one at a time, with
//! the real parts, as the loop of a worker does it (`worker`, `search`, `lending`). The model says
//! which coroutine comes next, who has which processor, and who is woken. That holds after each
//! step, and in the end each coroutine has run once. What happens when steps overlap is for the
//! models in `loom`.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, mpsc};

use corymb_core::hooks::{self, RuntimeHooks};
use corymb_core::internal::scope_of;
use corymb_core::{Coroutine, Dispatcher, Job, Scope};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::idle::Idle;
use super::owner::{Seen, Tenant};
use super::processor::Processor;
use super::processors::Processors;
use super::queue::{Injector, RunQueue};

const WORKERS: usize = 3;
const IN_SERVICE: usize = 2;
const LIMIT: usize = 3;
/// As the loop of a worker.
const LIFO_BUDGET: u32 = 3;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// From outside.
    Submit,
    /// By what a worker polls: of one that waits, and of a new one.
    Wake(usize),
    Launch(usize),
    /// A worker does what is next for it.
    Step(usize),
    Lend(usize),
    Reclaim(usize),
    /// By a spare that was sent when the processor was last seen lent.
    TakeLent(usize, usize),
    Retire(usize),
    Enlist,
    Delist(usize),
    WakeAll,
}

fn op() -> impl Strategy<Value = Op> {
    let worker = || 0..WORKERS;
    prop_oneof![
        3 => Just(Op::Submit),
        3 => worker().prop_map(Op::Wake),
        3 => worker().prop_map(Op::Launch),
        9 => worker().prop_map(Op::Step),
        1 => worker().prop_map(Op::Lend),
        1 => worker().prop_map(Op::Reclaim),
        1 => (worker(), 0..LIMIT).prop_map(|(worker, at)| Op::TakeLent(worker, at)),
        1 => worker().prop_map(Op::Retire),
        1 => Just(Op::Enlist),
        1 => (0..LIMIT).prop_map(Op::Delist),
        1 => Just(Op::WakeAll),
    ]
}

/// The name of a coroutine: the address of its cell.
type Id = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owned {
    Spare,
    Free,
    Held(usize),
    Lent(usize),
}

/// A processor, as the model has it.
#[derive(Debug)]
struct Place {
    owned: Owned,
    queue: VecDeque<Id>,
    slot: Option<Id>,
}

impl Place {
    fn new(owned: Owned) -> Self {
        Self { owned, queue: VecDeque::new(), slot: None }
    }

    /// Whether others may take something here.
    fn has_work_for_others(&self) -> bool {
        !self.queue.is_empty() || matches!(self.owned, Owned::Lent(_)) && self.slot.is_some()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Awake,
    Asleep,
    /// Woken, and so a searcher.
    Called,
}

struct Worker {
    me: Tenant,
    /// In the list of sleepers.
    parker: Arc<usize>,
    mood: Mood,
    held: Option<usize>,
    lent: Option<usize>,
    lifo_runs: u32,
}

/// The real parts, and the model of them.
struct World {
    processors: Processors,
    injector: Injector,
    idle: Idle<usize>,
    workers: Vec<Worker>,
    /// What was last seen of the owners, when they were lent.
    seen: Vec<Option<Seen>>,

    places: Vec<Place>,
    injected: VecDeque<Id>,
    asleep: Vec<usize>,
    searching: usize,
    made: HashSet<Id>,
    ran: usize,
}

/// Makes coroutines that nobody has begun.
struct Source {
    scope: Scope,
    dispatcher: Dispatcher,
    made: mpsc::Receiver<Coroutine>,
}

impl Source {
    /// Under the root of the runtime that is entered.
    fn new() -> Self {
        let root = hooks::with(|runtime: &dyn RuntimeHooks| runtime.root());
        let (send, made) = mpsc::channel();
        let dispatcher = Dispatcher::custom(move |it: Coroutine| send.send(it).unwrap());
        Self { scope: scope_of(&root), dispatcher, made }
    }

    fn make(&self) -> Coroutine {
        self.make_with_job().0
    }

    fn make_with_job(&self) -> (Coroutine, Job) {
        let job = self.scope.coroutine().on(self.dispatcher.clone()).launch(async {});
        (self.made.recv().expect("the dispatcher sends it"), job)
    }
}

impl World {
    fn new() -> Self {
        let worker = |number: usize| Worker {
            me: Tenant::new(number as u64),
            parker: Arc::new(number),
            mood: Mood::Awake,
            held: None,
            lent: None,
            lifo_runs: 0,
        };
        Self {
            processors: Processors::new(IN_SERVICE, LIMIT),
            injector: Injector::new(),
            idle: Idle::new(WORKERS),
            workers: (0..WORKERS).map(worker).collect(),
            seen: vec![None; LIMIT],
            places: (0..IN_SERVICE).map(|_| Place::new(Owned::Free)).collect(),
            injected: VecDeque::new(),
            asleep: Vec::new(),
            searching: 0,
            made: HashSet::new(),
            ran: 0,
        }
    }

    fn processor(&self, at: usize) -> &Processor {
        self.processors.get(at).expect("there is one")
    }

    fn with_queue<R>(&self, at: usize, f: impl FnOnce(&RunQueue) -> R) -> R {
        // SAFETY: all is on this thread.
        unsafe { self.processor(at).with_queue(f) }
    }

    fn note(&mut self, coroutine: &Coroutine) -> Id {
        let id = coroutine.address().addr();
        assert!(self.made.insert(id), "it is another one's place");
        id
    }

    /// Somebody has put work where others find it.
    fn submitted(&mut self) {
        let expected = if self.searching == 0 { self.asleep.pop() } else { None };
        let woken = self.idle.submitted().map(|it| *it);
        assert_eq!(woken, expected, "who is woken");
        if let Some(worker) = woken {
            self.searching += 1;
            self.workers[worker].mood = Mood::Called;
        }
    }

    fn inject(&mut self, coroutine: Coroutine, id: Id) {
        self.injector.push(coroutine);
        self.injected.push_back(id);
        self.submitted();
    }

    /// A worker without processor looks for a free one.
    fn hold(&mut self, worker: usize) {
        let expected = self.places.iter().position(|it| it.owned == Owned::Free);
        let me = self.workers[worker].me;
        let taken = self.processors.take_free(me).map(|it| self.processors.index_of(it));
        assert_eq!(taken, expected, "which one is free");
        if let Some(at) = taken {
            self.places[at].owned = Owned::Held(worker);
            self.workers[worker].held = taken;
        }
    }

    /// What a batch of `count` did that was taken from `from`, which gave its first one.
    fn moved(from: &mut VecDeque<Id>, to: &mut VecDeque<Id>, count: usize) -> Id {
        let most = from.len().div_ceil(2);
        let first = from.pop_front().expect("one was taken");
        assert!(count < most.max(1), "{count} of {} besides the first", from.len() + 1);
        to.extend(from.drain(..count));
        first
    }

    fn take_injected(&mut self, at: usize) -> Option<Coroutine> {
        let before = self.processor(at).thief.len();
        let taken = self.with_queue(at, |queue| self.injector.steal(queue));
        assert_eq!(taken.is_some(), !self.injected.is_empty());
        let coroutine = taken?;
        // A block of the injector may be given whole.
        let count = self.processor(at).thief.len() - before;
        let first = self.injected.pop_front();
        assert_eq!(Some(coroutine.address().addr()), first);
        self.places[at].queue.extend(self.injected.drain(..count));
        Some(coroutine)
    }

    fn next(&mut self, worker: usize, at: usize) -> Option<Coroutine> {
        let place = &mut self.places[at];
        let lifo_runs = &mut self.workers[worker].lifo_runs;
        let may_jump = *lifo_runs < LIFO_BUDGET && place.slot.is_some();
        *lifo_runs = if may_jump { *lifo_runs + 1 } else { 0 };
        let (expected, real) = match may_jump {
            true => (place.slot.take(), self.processor(at).take_lifo()),
            false => {
                let next = place.queue.pop_front().or_else(|| place.slot.take());
                let processor = self.processor(at);
                let pop = |queue: &RunQueue| queue.pop().or_else(|| processor.take_lifo());
                (next, self.with_queue(at, pop))
            }
        };
        assert_eq!(real.as_ref().map(|it| it.address().addr()), expected, "what is next");
        real.or_else(|| self.take_injected(at))
    }

    fn steal(&mut self, at: usize) -> Option<Coroutine> {
        for victim in (0..self.processors.len()).filter(|it| *it != at) {
            let before = self.processor(at).thief.len();
            let thief = &self.processor(victim).thief;
            let stolen = self.with_queue(at, |queue| thief.steal(queue));
            if let Some(coroutine) = stolen {
                let count = self.processor(at).thief.len() - before;
                let mut from = std::mem::take(&mut self.places[victim].queue);
                let first = Self::moved(&mut from, &mut self.places[at].queue, count);
                self.places[victim].queue = from;
                assert_eq!(coroutine.address().addr(), first, "the oldest is stolen");
                return Some(coroutine);
            }
            assert!(self.places[victim].queue.is_empty());
            let is_stuck = self.processor(victim).is_slot_stuck();
            let is_lent = matches!(self.places[victim].owned, Owned::Lent(_));
            assert_eq!(is_stuck, is_lent, "whether the slot is for others");
            if is_stuck {
                let slot = self.processor(victim).take_lifo();
                let expected = self.places[victim].slot.take();
                assert_eq!(slot.as_ref().map(|it| it.address().addr()), expected);
                if slot.is_some() {
                    return slot;
                }
            }
        }
        self.take_injected(at)
    }

    fn has_work(&self) -> bool {
        let real =
            !self.injector.is_empty() || self.processors.iter().any(Processor::has_work_for_others);
        let expected =
            !self.injected.is_empty() || self.places.iter().any(Place::has_work_for_others);
        assert_eq!(real, expected, "whether there is work");
        real
    }

    fn end_search(&mut self) -> bool {
        self.searching -= 1;
        let was_last = self.idle.end_search();
        assert_eq!(was_last, self.searching == 0);
        was_last
    }

    fn run(&mut self, coroutine: Coroutine) {
        assert!(self.made.remove(&coroutine.address().addr()), "it runs twice");
        self.ran += 1;
        coroutine.run();
    }

    /// A searcher has found one: somebody has to go on searching.
    fn found(&mut self, coroutine: Coroutine) {
        if self.end_search() {
            self.submitted();
        }
        self.run(coroutine);
    }

    fn step(&mut self, worker: usize) {
        let Some(at) = self.workers[worker].held else {
            // One that has lent its processor is in what it has lent it for.
            if self.workers[worker].lent.is_none() {
                self.hold(worker);
            }
            return;
        };
        match self.workers[worker].mood {
            Mood::Asleep => {}
            Mood::Called => {
                self.workers[worker].mood = Mood::Awake;
                match self.next(worker, at).or_else(|| self.steal(at)) {
                    Some(coroutine) => self.found(coroutine),
                    None => drop(self.end_search()),
                }
            }
            Mood::Awake => match self.next(worker, at) {
                Some(coroutine) => self.run(coroutine),
                None => self.search(worker, at),
            },
        }
    }

    fn search(&mut self, worker: usize, at: usize) {
        let searches = self.idle.start_search();
        assert_eq!(searches, 2 * self.searching < WORKERS, "who may search");
        if searches {
            self.searching += 1;
            if let Some(coroutine) = self.steal(at) {
                return self.found(coroutine);
            }
            self.searching -= 1;
        }
        let parker = self.workers[worker].parker.clone();
        self.idle.sleep(&parker, searches);
        if self.has_work() {
            assert!(self.idle.leave(&parker), "nobody has called it");
        } else {
            self.asleep.push(worker);
            self.workers[worker].mood = Mood::Asleep;
        }
    }

    /// The processor of a worker that polls something.
    fn busy(&self, worker: usize) -> Option<usize> {
        self.workers[worker].held.filter(|_| self.workers[worker].mood == Mood::Awake)
    }

    fn apply(&mut self, op: Op, source: &Source) {
        match op {
            Op::Submit => {
                let coroutine = source.make();
                let id = self.note(&coroutine);
                self.inject(coroutine, id);
            }
            Op::Wake(worker) => {
                let Some(at) = self.busy(worker) else { return };
                let coroutine = source.make();
                let id = self.note(&coroutine);
                let displaced = self.processor(at).swap_lifo(coroutine);
                let expected = self.places[at].slot.replace(id);
                assert_eq!(displaced.as_ref().map(|it| it.address().addr()), expected);
                if let Some(displaced) = displaced {
                    self.places[at].queue.extend(expected);
                    self.with_queue(at, |queue| queue.push(displaced));
                    self.submitted();
                }
            }
            Op::Launch(worker) => {
                let Some(at) = self.busy(worker) else { return };
                let coroutine = source.make();
                let id = self.note(&coroutine);
                self.with_queue(at, |queue| queue.push(coroutine));
                self.places[at].queue.push_back(id);
                self.submitted();
            }
            Op::Step(worker) => self.step(worker),
            Op::Lend(worker) => {
                let Some(at) = self.busy(worker) else { return };
                let mut me = self.workers[worker].me;
                self.seen[at] = Some(self.processor(at).owner.lend(&mut me));
                let worker_of = &mut self.workers[worker];
                (worker_of.me, worker_of.held, worker_of.lent) = (me, None, Some(at));
                self.places[at].owned = Owned::Lent(worker);
            }
            Op::Reclaim(worker) => {
                let Some(at) = self.workers[worker].lent.take() else { return };
                let is_back = self.processor(at).owner.reclaim(self.workers[worker].me);
                assert_eq!(is_back, self.places[at].owned == Owned::Lent(worker));
                if is_back {
                    self.places[at].owned = Owned::Held(worker);
                    self.workers[worker].held = Some(at);
                }
            }
            Op::TakeLent(worker, at) => self.take_lent(worker, at),
            Op::Retire(worker) => self.retire(worker),
            Op::Enlist => {
                let spare = self.places.iter().position(|it| it.owned == Owned::Spare);
                let new = (self.places.len() < LIMIT).then_some(self.places.len());
                let enlisted = self.processors.enlist().map(|it| self.processors.index_of(it));
                assert_eq!(enlisted, spare.or(new), "which one comes into service");
                match (spare, new) {
                    (Some(at), _) => self.places[at].owned = Owned::Free,
                    (None, Some(_)) => self.places.push(Place::new(Owned::Free)),
                    (None, None) => {}
                }
            }
            Op::Delist(at) => {
                let Some(place) = self.places.get(at) else { return };
                // What was given up by another thread at the close may be queued there still.
                let is_free = place.owned == Owned::Free;
                assert_eq!(self.processor(at).owner.delist(), is_free);
                if is_free {
                    self.places[at].owned = Owned::Spare;
                }
            }
            Op::WakeAll => {
                let woken: Vec<_> = self.idle.wake_all().iter().map(|it| **it).collect();
                assert_eq!(woken, self.asleep);
                self.searching += woken.len();
                self.asleep.clear();
                for worker in woken {
                    self.workers[worker].mood = Mood::Called;
                }
            }
        }
    }

    /// A spare takes the processor as it was seen, which may be long ago.
    fn take_lent(&mut self, worker: usize, at: usize) {
        let is_spare = self.workers[worker].held.is_none() && self.workers[worker].lent.is_none();
        let Some(seen) = self.seen[at].filter(|_| is_spare) else { return };
        let is_as_seen = self.processor(at).owner.seen() == seen;
        let taken = self.processor(at).owner.take_lent(seen, self.workers[worker].me);
        assert_eq!(taken, is_as_seen && matches!(self.places[at].owned, Owned::Lent(_)));
        if taken {
            self.places[at].owned = Owned::Held(worker);
            self.workers[worker].held = Some(at);
        }
    }

    /// A worker gives up its processor, which goes out of service.
    fn retire(&mut self, worker: usize) {
        let Some(at) = self.busy(worker) else { return };
        let mut left = Vec::new();
        // SAFETY: all is on this thread.
        unsafe { self.processor(at).drain(|coroutine| left.push(coroutine)) };
        let place = &mut self.places[at];
        let expected: Vec<_> = place.slot.take().into_iter().chain(place.queue.drain(..)).collect();
        place.owned = Owned::Spare;
        self.processor(at).owner.retire();
        self.workers[worker].held = None;
        assert_eq!(left.len(), expected.len());
        for (coroutine, id) in left.into_iter().zip(expected) {
            assert_eq!(coroutine.address().addr(), id, "in the order in which they would have run");
            self.inject(coroutine, id);
        }
    }

    fn check(&self) {
        for (at, place) in self.places.iter().enumerate() {
            let processor = self.processor(at);
            let queued = place.queue.len() + usize::from(place.slot.is_some());
            assert_eq!(processor.queued(), queued, "{place:?}");
            let seen = processor.owner.seen();
            let states = [seen.is_spare(), seen.is_held(), seen.is_lent()];
            let expected = [
                place.owned == Owned::Spare,
                matches!(place.owned, Owned::Held(_)),
                matches!(place.owned, Owned::Lent(_)),
            ];
            assert_eq!(states, expected, "{place:?}");
        }
        assert_eq!(self.injector.len(), self.injected.len());
        assert_eq!(self.idle.sleepers(), self.asleep.len());
        self.check_somebody_is_up();
    }

    /// Nobody sleeps while there is work, unless somebody is about who finds it. What is queued at
    /// a processor that is lent is the watchdog's matter.
    fn check_somebody_is_up(&self) {
        let is_held = |it: &&Place| matches!(it.owned, Owned::Held(_));
        let waits = !self.injected.is_empty()
            || self.places.iter().filter(is_held).any(|it| !it.queue.is_empty());
        let holders = || self.workers.iter().filter(|it| it.held.is_some());
        let all_sleep = holders().count() > 0 && holders().all(|it| it.mood == Mood::Asleep);
        assert!(!(waits && all_sleep), "all sleep, and {:?} wait", self.injected);
    }

    /// Has all workers go on until nothing is left.
    fn finish(&mut self, source: &Source) {
        for worker in 0..WORKERS {
            self.apply(Op::Reclaim(worker), source);
        }
        for at in 0..LIMIT {
            // Somebody has lent what is lent still, and will not come back for it.
            for worker in 0..WORKERS {
                self.take_lent(worker, at);
            }
        }
        self.apply(Op::Enlist, source);
        for _ in 0..self.made.len() + 2 {
            for worker in 0..WORKERS {
                self.step(worker);
                self.check();
            }
        }
        assert!(self.made.is_empty(), "{} of {} have not run", self.made.len(), self.ran);
    }
}

#[test]
fn queues_owners_and_sleepers_are_as_in_the_model() {
    let runtime = crate::Runtime::builder().parallelism(1).build().unwrap();
    let _inside = runtime.enter();
    let source = Source::new();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let programs = proptest::collection::vec(op(), 0..120);
    let done = TestRunner::new(config).run(&programs, |program| {
        let mut world = World::new();
        for op in program {
            world.apply(op, &source);
            world.check();
        }
        world.finish(&source);
        Ok(())
    });
    done.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn what_is_left_in_a_slot_is_cancelled_with_its_processor() {
    let runtime = crate::Runtime::builder().parallelism(1).build().unwrap();
    let _inside = runtime.enter();
    let (coroutine, job) = Source::new().make_with_job();
    let processor = Processor::new(true);
    assert!(processor.swap_lifo(coroutine).is_none());
    assert!(!job.is_completed());
    drop(processor);
    // By the runtime, as its own dispatcher has not run it.
    runtime.run_blocking(job.join());
    assert!(job.is_cancelled());
}
