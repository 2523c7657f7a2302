//! Runs that block inside of each other: every order in which the threads of a pool can take their
//! steps, with the real word.
//!
//! A step is one access to a word, or what is done under one lock. That sleepers are woken and that
//! each step is one is for the models in `pool/loom.rs`; here it is taken for granted. What is looked
//! for is a state from which some coroutine can never end, a processor that two threads hold, and
//! one that is lost: that nobody has, and nobody is on the way to.

use std::collections::{HashMap, VecDeque};

use super::*;

/// A coroutine, by its number: it blocks on the children that are listed, or returns at once.
type Tree = [&'static [usize]];

struct Model {
    tree: &'static Tree,
    roots: &'static [usize],
    processors: usize,
    max_threads: usize,
    /// Who blocks sends a spare for the processor.
    sends: bool,
    /// The watchdog sends one if there was none to be had.
    watches: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    words: Vec<u64>,
    queue: VecDeque<usize>,
    threads: Vec<Worker>,
    /// Of each coroutine: the children that have not ended.
    left: Vec<usize>,
    ended: Vec<bool>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Worker {
    at: At,
    held: Option<usize>,
    lent: Option<usize>,
    me: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum At {
    /// In the list of spares.
    Spare,
    /// Sent to take this processor, if it is lent as it was.
    Sent(usize, u64),
    /// About to look for a coroutine.
    Idle,
    Asleep,
    /// In a coroutine that is about to block.
    Lends(usize),
    Sends(usize, u64),
    /// About to launch the child of this place.
    Launches(usize, usize),
    Blocks(usize),
    Reclaims(usize),
    /// About to return from the coroutine.
    Returns(usize),
    /// Back from a coroutine, without a processor.
    ComesBack,
}

impl At {
    /// Whether the thread does not count against the limit.
    fn is_exempt(self) -> bool {
        matches!(
            self,
            Self::Lends(_)
                | Self::Sends(..)
                | Self::Launches(..)
                | Self::Blocks(_)
                | Self::Reclaims(_)
        )
    }
}

impl World {
    fn new(model: &Model) -> Self {
        let owners = (0..model.processors).map(|_| Owner::new(true));
        let mut world = Self {
            words: owners.map(|it| it.seen().0).collect(),
            queue: model.roots.iter().copied().collect(),
            threads: Vec::new(),
            left: model.tree.iter().map(|children| children.len()).collect(),
            ended: vec![false; model.tree.len()],
        };
        for processor in 0..model.processors {
            let number = world.add_thread(At::Idle);
            assert!(world.take(number, processor, Owner::take_free));
        }
        world
    }

    fn add_thread(&mut self, at: At) -> usize {
        let number = self.threads.len();
        let me = Tenant::new(number as u64 + 1).0;
        self.threads.push(Worker { at, held: None, lent: None, me });
        number
    }

    /// Does something to a word.
    fn with<R>(&mut self, processor: usize, f: impl FnOnce(&Owner) -> R) -> R {
        let owner = Owner(AtomicU64::new(self.words[processor]));
        let result = f(&owner);
        self.words[processor] = owner.seen().0;
        result
    }

    fn take(
        &mut self,
        thread: usize,
        processor: usize,
        f: impl Fn(&Owner, Tenant) -> bool,
    ) -> bool {
        let me = Tenant(self.threads[thread].me);
        let took = self.with(processor, |owner| f(owner, me));
        if took {
            assert_eq!(self.threads[thread].held.replace(processor), None);
        }
        took
    }

    fn take_free(&mut self, thread: usize) -> bool {
        (0..self.words.len()).any(|it| self.take(thread, it, Owner::take_free))
    }

    /// As `Local::reclaim`.
    fn reclaim(&mut self, thread: usize) -> bool {
        let lent = self.threads[thread].lent.take();
        lent.is_some_and(|it| self.take(thread, it, Owner::reclaim)) || self.take_free(thread)
    }

    /// As `Pool::send`; false if no thread is to be had.
    fn send(&mut self, model: &Model, errand: At) -> bool {
        let spare = self.threads.iter().position(|it| it.at == At::Spare);
        let counted = self.threads.iter().filter(|it| !it.at.is_exempt()).count();
        match spare {
            Some(spare) => self.threads[spare].at = errand,
            None if counted < model.max_threads => {
                self.add_thread(errand);
            }
            None => return false,
        }
        true
    }

    fn submit(&mut self, coroutine: usize) {
        self.queue.push_back(coroutine);
        if let Some(sleeper) = self.threads.iter_mut().find(|it| it.at == At::Asleep) {
            sleeper.at = At::Idle;
        }
    }

    /// What the thread does next; false if it waits.
    fn step(&mut self, model: &Model, thread: usize) -> bool {
        let at = self.threads[thread].at;
        let next = match at {
            At::Spare | At::Asleep => return false,
            At::Blocks(it) if self.left[it] > 0 => return false,
            At::Sent(processor, seen) => {
                let take = |owner: &Owner, me| owner.take_lent(Seen(seen), me);
                match self.take(thread, processor, take) || self.take_free(thread) {
                    true => At::Idle,
                    false => At::Spare,
                }
            }
            At::Idle => match self.queue.pop_front() {
                Some(it) if model.tree[it].is_empty() => At::Returns(it),
                Some(it) => At::Lends(it),
                None => At::Asleep,
            },
            At::Lends(it) => {
                let processor = self.threads[thread].held.take().expect("it polls");
                self.threads[thread].lent = Some(processor);
                let mut me = Tenant(self.threads[thread].me);
                let seen = self.with(processor, |owner| owner.lend(&mut me));
                self.threads[thread].me = me.0;
                At::Sends(it, seen.0)
            }
            At::Sends(it, seen) => {
                let processor = self.threads[thread].lent.expect("lent just now");
                if model.sends {
                    self.send(model, At::Sent(processor, seen));
                }
                At::Launches(it, 0)
            }
            At::Launches(it, n) => match model.tree[it].get(n) {
                Some(child) => {
                    self.submit(*child);
                    At::Launches(it, n + 1)
                }
                None => At::Blocks(it),
            },
            At::Blocks(it) => At::Reclaims(it),
            At::Reclaims(it) => {
                self.reclaim(thread);
                At::Returns(it)
            }
            At::Returns(it) => {
                assert!(!std::mem::replace(&mut self.ended[it], true), "polled twice");
                if let Some(parent) = model.tree.iter().position(|children| children.contains(&it))
                {
                    self.left[parent] -= 1;
                }
                if self.threads[thread].held.is_some() { At::Idle } else { At::ComesBack }
            }
            At::ComesBack if self.reclaim(thread) => At::Idle,
            At::ComesBack => At::Spare,
        };
        self.threads[thread].at = next;
        true
    }

    /// What the watchdog does where it finds work and a processor that is lent.
    fn watch(&mut self, model: &Model) -> bool {
        let lent = self.words.iter().position(|word| Seen(*word).is_lent());
        match lent.filter(|_| model.watches && !self.queue.is_empty()) {
            Some(processor) => self.send(model, At::Sent(processor, self.words[processor])),
            None => false,
        }
    }

    /// Each processor that is held has one holder, who knows of it.
    fn check(&self) {
        for (processor, word) in self.words.iter().enumerate() {
            let holds = |it: &&Worker| it.held == Some(processor);
            let holders: Vec<_> = self.threads.iter().filter(holds).collect();
            let signed = holders.iter().all(|it| *word == HELD | it.me);
            assert!(signed && holders.len() == usize::from(Seen(*word).is_held()));
        }
    }

    /// All has ended, and each processor is where the next coroutine finds it.
    fn is_over(&self) -> bool {
        let waits = |it: &Worker| matches!(it.at, At::Spare | At::Asleep);
        let is_ready = |it: &Worker| it.held.is_some() == (it.at == At::Asleep);
        let settled = self.threads.iter().all(|it| waits(it) && is_ready(it));
        let at_hand = |word: &u64| Seen(*word).is_held() || *word == FREE;
        self.ended.iter().all(|ended| *ended) && settled && self.words.iter().all(at_hand)
    }
}

impl Model {
    /// Goes through all that can happen. The states, and how many of them there are from which the
    /// end cannot be reached.
    fn explore(&self) -> (usize, usize) {
        let mut numbers = HashMap::new();
        let mut todo = vec![World::new(self)];
        numbers.insert(todo[0].clone(), 0);
        // From each state to those that it comes from.
        let mut before: Vec<Vec<usize>> = vec![Vec::new()];
        let mut good = Vec::new();
        while let Some(world) = todo.pop() {
            world.check();
            let number = numbers[&world];
            if world.is_over() {
                good.push(number);
            }
            let threads = world.threads.len();
            let next = (0..=threads).filter_map(|thread| {
                let mut next = world.clone();
                let moved = match thread {
                    watchdog if watchdog == threads => next.watch(self),
                    thread => next.step(self, thread),
                };
                moved.then_some(next)
            });
            for next in next.collect::<Vec<_>>() {
                let fresh = numbers.len();
                let to = *numbers.entry(next.clone()).or_insert(fresh);
                if to == fresh {
                    before.push(Vec::new());
                    todo.push(next);
                }
                before[to].push(number);
            }
        }
        let mut reaches = vec![false; before.len()];
        while let Some(number) = good.pop() {
            if !std::mem::replace(&mut reaches[number], true) {
                good.extend(&before[number]);
            }
        }
        (reaches.len(), reaches.iter().filter(|reaches| !**reaches).count())
    }
}

/// A run in a run in a run, each with a child beside that needs the processor too.
const DEEP: Model = Model {
    tree: &[&[1, 2], &[3, 4], &[], &[5, 6], &[], &[], &[]],
    roots: &[0],
    processors: 1,
    max_threads: 2,
    sends: true,
    watches: false,
};

#[test]
fn nested_runs_end_and_lose_no_processor() {
    let (states, stuck) = DEEP.explore();
    assert!(states > 1000 && stuck == 0, "{stuck} of {states}");
    let others = [
        Model { processors: 2, max_threads: 3, ..DEEP },
        Model { watches: true, ..DEEP },
        // Two beside each other.
        Model { tree: &[&[2], &[3], &[4], &[], &[]], roots: &[0, 1], ..DEEP },
    ];
    for model in others {
        assert_eq!(model.explore().1, 0);
    }
}

/// Threads that come back from a run count against the limit until they have found out that their
/// processor is gone. If there is none to be had because of that, the watchdog sends one later.
#[test]
fn where_threads_are_short_the_watchdog_sees_to_it() {
    let tree: &Tree = &[&[2], &[3], &[], &[4], &[]];
    // A pool has one thread more at least, and then it takes three runs, and many more states.
    let short = Model { tree, roots: &[0, 1], max_threads: 1, ..DEEP };
    assert!(short.explore().1 > 0);
    assert_eq!(Model { watches: true, ..short }.explore().1, 0);
}

/// What the model can see: a run that keeps the processor to itself never ends.
#[test]
fn nobody_sent_and_nobody_watching_is_a_deadlock() {
    assert!(Model { sends: false, ..DEEP }.explore().1 > 0);
    assert_eq!(Model { sends: false, watches: true, ..DEEP }.explore().1, 0);
}

/// Who has seen a lending, and looks again when the thread has lent anew, does not take the one for
/// the other.
#[test]
fn a_lending_is_not_taken_for_a_later_one() {
    let owner = Owner::new(true);
    let (mut me, other) = (Tenant::new(1), Tenant::new(2));
    assert!(owner.take_free(me));
    let seen = owner.lend(&mut me);
    assert!(owner.reclaim(me));
    let again = owner.lend(&mut me);
    assert!(!owner.take_lent(seen, other));
    assert!(owner.take_lent(again, other) && !owner.reclaim(me));
}

/// Two threads that have lent as often are not the same one.
#[test]
fn threads_are_told_apart() {
    let owners = [1, 2].map(|number| {
        let (owner, mut me) = (Owner::new(true), Tenant::new(number));
        assert!(owner.take_free(me));
        owner.lend(&mut me);
        (owner, me)
    });
    let [(owner, me), (_, another)] = owners;
    assert!(!owner.reclaim(another) && owner.reclaim(me));
}

#[test]
fn what_is_given_up_is_anybodys() {
    let owner = Owner::new(true);
    assert!(owner.take_free(Tenant::new(1)) && !owner.take_free(Tenant::new(2)));
    owner.give_up();
    assert!(owner.take_free(Tenant::new(2)));
}
