//! Ways to go through the schedules of a program.

use std::collections::HashMap;
use std::sync::Arc;

use corymb_core::hooks::Choice;
use corymb_core::internal::prim::Mutex;

use crate::choices::{Decision, Policy, Question, Random};

/// Probabilistic concurrency testing: coroutines have priorities, the highest runs, and a few times
/// in a schedule, at random, the one that runs falls behind all others.
///
/// Source: Burckhardt, Kothari, Musuvathi, Nagarakatte, "A Randomized Scheduler with Probabilistic
/// Guarantees of Finding Bugs", ASPLOS 2010.
pub(crate) struct Pct {
    random: Random,
    priorities: HashMap<usize, i64>,
    /// The steps at which it falls, the last one first.
    falls: Vec<usize>,
    steps: usize,
    /// Below it is nobody.
    lowest: i64,
    /// Which one ran last, and how often in a row.
    last: (usize, usize),
}

/// How often in a row a coroutine runs before it falls in any case: it may try again and again for
/// what another one has to do.
const STREAK: usize = 32;

impl Pct {
    /// One that finds what needs `depth` orderings, in programs of about `steps` steps.
    pub(crate) fn new(seed: u64, depth: usize, steps: usize) -> Self {
        let mut random = Random::new(seed);
        let mut falls: Vec<_> = (1..depth).map(|_| 1 + random.below(steps.max(1))).collect();
        falls.sort_unstable_by(|a, b| b.cmp(a));
        Self { random, priorities: HashMap::new(), falls, steps: 0, lowest: 0, last: (0, 0) }
    }

    fn priority(&mut self, number: usize) -> i64 {
        let new = || i64::try_from(self.random.next() >> 1).expect("63 bits");
        *self.priorities.entry(number).or_insert_with(new)
    }

    fn highest(&mut self, question: &Question<'_>, who: &dyn Fn(usize) -> usize) -> usize {
        let options = 0..question.options;
        options.max_by_key(|option| self.priority(who(*option))).expect("at least two")
    }
}

impl Policy for Pct {
    fn pick(&mut self, question: &Question<'_>) -> usize {
        let Some(who) = question.who else { return self.random.below(question.options) };
        self.steps += 1;
        let mut first = self.highest(question, who);
        let has_streak = self.last.0 == who(first) && self.last.1 >= STREAK;
        if has_streak || self.falls.pop_if(|fall| *fall <= self.steps).is_some() {
            self.lowest -= 1;
            self.priorities.insert(who(first), self.lowest);
            first = self.highest(question, who);
        }
        let in_a_row = if self.last.0 == who(first) { self.last.1 + 1 } else { 0 };
        self.last = (who(first), in_a_row);
        first
    }
}

/// All schedules, one after the other, each like the one before up to its last choice that has
/// another option; of those with at most `bound` preemptions.
#[derive(Clone)]
pub(crate) struct DepthFirst(Arc<Mutex<Tree>>);

struct Tree {
    bound: Option<usize>,
    path: Vec<Level>,
    /// How far down the schedule in progress is, and its preemptions so far.
    depth: usize,
    preemptions: usize,
    pruned: u64,
    /// The first level at which a schedule did not go as it had gone before.
    diverged: Option<Divergence>,
}

struct Level {
    decision: Decision,
    /// The options there are: those within the bound.
    allowed: usize,
    goes_on: bool,
}

impl DepthFirst {
    pub(crate) fn new(bound: Option<usize>) -> Self {
        Self(Arc::new(Mutex::new(Tree {
            bound,
            path: Vec::new(),
            depth: 0,
            preemptions: 0,
            pruned: 0,
            diverged: None,
        })))
    }

    /// Goes on to the next schedule; false if there is none.
    pub(crate) fn advance(&self) -> bool {
        let mut tree = self.0.lock();
        (tree.depth, tree.preemptions) = (0, 0);
        while let Some(level) = tree.path.last_mut() {
            level.decision.picked += 1;
            if level.decision.picked < level.allowed {
                return true;
            }
            tree.path.pop();
        }
        false
    }

    /// How many options have been left out for the sake of the bound.
    pub(crate) fn pruned(&self) -> u64 {
        self.0.lock().pruned
    }

    /// Where the schedule that has ended did not go as it had gone before.
    pub(crate) fn divergence(&self) -> Option<Divergence> {
        let tree = self.0.lock();
        let rest = tree.path.get(tree.depth).map(|level| Divergence {
            number: tree.depth + 1,
            before: Some(level.decision),
            now: None,
        });
        tree.diverged.or(rest)
    }
}

impl Policy for DepthFirst {
    fn pick(&mut self, question: &Question<'_>) -> usize {
        let mut tree = self.0.lock();
        let &Question { choice, options, goes_on, .. } = question;
        let depth = tree.depth;
        tree.depth += 1;
        if depth == tree.path.len() {
            let within = !goes_on || tree.bound.is_none_or(|bound| tree.preemptions < bound);
            let allowed = if within { options } else { 1 };
            tree.pruned += (options - allowed) as u64;
            let decision = Decision { choice, options, picked: 0 };
            tree.path.push(Level { decision, allowed, goes_on });
        }
        let Level { decision, goes_on: went_on, .. } = tree.path[depth];
        if (decision.choice, decision.options, went_on) != (choice, options, goes_on) {
            let now = Some((choice, options));
            let divergence = Divergence { number: depth + 1, before: Some(decision), now };
            tree.diverged.get_or_insert(divergence);
            return 0;
        }
        tree.preemptions += usize::from(goes_on && decision.picked > 0);
        decision.picked
    }
}

/// Picks what it is told; where that is over, or does not fit, the first option.
pub(crate) struct Guided {
    picks: Arc<[usize]>,
    at: usize,
}

impl Guided {
    pub(crate) fn new(picks: Arc<[usize]>) -> Self {
        Self { picks, at: 0 }
    }
}

impl Policy for Guided {
    fn pick(&mut self, question: &Question<'_>) -> usize {
        let pick = self.picks.get(self.at).copied().filter(|pick| *pick < question.options);
        self.at += 1;
        pick.unwrap_or(0)
    }
}

/// Picks the part of the options that it is told; where that is over, the first one.
pub(crate) struct ByParts {
    parts: Arc<[u16]>,
    at: usize,
}

impl ByParts {
    pub(crate) fn new(parts: Arc<[u16]>) -> Self {
        Self { parts, at: 0 }
    }
}

impl Policy for ByParts {
    fn pick(&mut self, question: &Question<'_>) -> usize {
        let part = self.parts.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        (usize::from(part) * question.options) >> 16
    }
}

/// What is to come of a schedule that is run again.
#[derive(Clone)]
pub(crate) struct Replay(Arc<Mutex<Replayed>>);

struct Replayed {
    decisions: Vec<Decision>,
    at: usize,
    diverged: Option<Divergence>,
}

/// Where a schedule that was run again went another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Divergence {
    /// The number of the decision, counted from 1.
    pub(crate) number: usize,
    pub(crate) before: Option<Decision>,
    pub(crate) now: Option<(Choice, usize)>,
}

impl Replay {
    pub(crate) fn new(decisions: Vec<Decision>) -> Self {
        Self(Arc::new(Mutex::new(Replayed { decisions, at: 0, diverged: None })))
    }

    /// Where it went another way, or ended too early.
    pub(crate) fn divergence(&self) -> Option<Divergence> {
        let replayed = self.0.lock();
        let rest = replayed.decisions.get(replayed.at).map(|before| Divergence {
            number: replayed.at + 1,
            before: Some(*before),
            now: None,
        });
        replayed.diverged.or(rest)
    }
}

impl Policy for Replay {
    fn pick(&mut self, question: &Question<'_>) -> usize {
        let mut replayed = self.0.lock();
        let &Question { choice, options, .. } = question;
        let before = replayed.decisions.get(replayed.at).copied();
        replayed.at += 1;
        match before {
            Some(before) if (before.choice, before.options) == (choice, options) => before.picked,
            before => {
                let now = Some((choice, options));
                let divergence = Divergence { number: replayed.at, before, now };
                replayed.diverged.get_or_insert(divergence);
                0
            }
        }
    }
}
