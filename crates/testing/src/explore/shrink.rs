//! A shorter schedule with the same fault.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;

/// How many runs the search for it may take; of long schedules fewer, ...
const RUNS: RangeInclusive<usize> = 300..=1_000;
/// ... so that they have about so many decisions in all.
const DECISIONS: usize = 100_000;

/// Makes the decisions in `picks` as plain as can be: the first option as often as possible, and
/// the last of the others as early as possible. `fails` runs the program and says whether its fault
/// is still there; the last decisions for which it says so are the result.
///
/// First, decisions are left out for as long as the fault stays. What comes behind one of them may
/// mean something else then, so this can end with more than it takes. So after that, two of those
/// that are left, one behind the other, are replaced by one, anywhere: most faults take one or two.
///
/// Source: the minimizing delta debugging of Zeller and Hildebrandt, "Simplifying and Isolating
/// Failure-Inducing Input", IEEE TSE 2002, with decisions for input.
pub(crate) fn shrink(picks: Vec<usize>, fails: impl FnMut(&[usize]) -> bool) -> Vec<usize> {
    let (len, most) = (picks.len(), picks.iter().copied().max().unwrap_or(0));
    let runs = (DECISIONS / len.max(1)).clamp(*RUNS.start(), *RUNS.end());
    let mut search = Search { best: picks, fails, runs, tried: HashSet::new() };
    loop {
        search.leave_out();
        if !search.replace_two(len, most) {
            return search.best;
        }
    }
}

struct Search<F> {
    best: Vec<usize>,
    fails: F,
    /// How many there may be.
    runs: usize,
    /// The hashes of what has been run.
    tried: HashSet<u64>,
}

impl<F: FnMut(&[usize]) -> bool> Search<F> {
    /// Takes `candidate` for the best one if it fails too.
    fn attempt(&mut self, mut candidate: Vec<usize>) -> bool {
        while candidate.last() == Some(&0) {
            candidate.pop();
        }
        let mut hash = DefaultHasher::new();
        candidate.hash(&mut hash);
        let fails = !self.is_over() && self.tried.insert(hash.finish()) && (self.fails)(&candidate);
        if fails {
            self.best = candidate;
        }
        fails
    }

    fn is_over(&self) -> bool {
        self.tried.len() >= self.runs
    }

    /// Leaves out what can be, until no pass finds more.
    fn leave_out(&mut self) {
        loop {
            let before = self.best.clone();
            for pass in [Pass::Cut, Pass::Plain, Pass::Remove, Pass::Lower] {
                let mut size = pass.first_size(self.best.len());
                while size > 0 {
                    self.sweep(pass, size);
                    size /= 2;
                }
            }
            if self.best == before || self.is_over() {
                return;
            }
        }
    }

    fn sweep(&mut self, pass: Pass, size: usize) {
        let mut at = 0;
        while at < self.best.len() && !self.is_over() {
            let candidate = pass.apply(&self.best, at, size);
            if !candidate.is_some_and(|candidate| self.attempt(candidate)) {
                at += size;
            }
        }
    }

    /// Looks for one decision, among the first `len` and for an option up to `most`, that does for
    /// two that follow each other; false if there is none.
    fn replace_two(&mut self, len: usize, most: usize) -> bool {
        let others: Vec<_> = (0..self.best.len()).filter(|at| self.best[*at] > 0).collect();
        others.windows(2).any(|two| {
            let mut rest = self.best.clone();
            rest.resize(len.max(rest.len()), 0);
            (rest[two[0]], rest[two[1]]) = (0, 0);
            !self.is_over() && self.add_one(&rest, most)
        })
    }

    /// Looks for one decision that `rest` lacks.
    fn add_one(&mut self, rest: &[usize], most: usize) -> bool {
        let places = || (0..rest.len()).filter(|at| rest[*at] == 0);
        let mut options = (1..=most).flat_map(|pick| places().map(move |at| (at, pick)));
        options.any(|(at, pick)| {
            let mut candidate = rest.to_vec();
            candidate[at] = pick;
            self.attempt(candidate)
        })
    }
}

/// A way to make a schedule plainer.
#[derive(Clone, Copy)]
enum Pass {
    /// Nothing from `at` on.
    Cut,
    /// The first option from `at` on, `size` times.
    Plain,
    /// `size` decisions less.
    Remove,
    /// An earlier option, at `at`.
    Lower,
}

impl Pass {
    fn first_size(self, len: usize) -> usize {
        if matches!(self, Self::Lower) { 1 } else { len.next_power_of_two() }
    }

    /// Another list, if it would be plainer.
    fn apply(self, picks: &[usize], at: usize, size: usize) -> Option<Vec<usize>> {
        let end = (at + size).min(picks.len());
        let mut candidate = picks.to_vec();
        match self {
            Self::Cut => candidate.truncate(at),
            Self::Plain if picks[at..end].iter().all(|pick| *pick == 0) => return None,
            Self::Plain => candidate[at..end].fill(0),
            Self::Remove => drop(candidate.drain(at..end)),
            Self::Lower if picks[at] < 2 => return None,
            Self::Lower => candidate[at] = 1,
        }
        Some(candidate)
    }
}
