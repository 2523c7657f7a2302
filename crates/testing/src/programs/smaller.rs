//! Shrinking by a list of what is a little smaller.

use std::fmt::Debug;
use std::vec;

use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// What can be made smaller.
pub trait Smaller: Clone + Debug {
    /// Others that are smaller by one step, those first that leave out most. There is no way from
    /// one of them back to this one.
    fn smaller(&self) -> Vec<Self>;
}

/// The list without one, or with a smaller one.
impl<T: Smaller> Smaller for Vec<T> {
    fn smaller(&self) -> Vec<Self> {
        let with = |at: usize, others: &[T]| {
            let mut smaller = self.clone();
            smaller.splice(at..=at, others.iter().cloned());
            smaller
        };
        let each = || self.iter().enumerate();
        let without = each().map(|(at, _)| with(at, &[]));
        let plainer = each()
            .flat_map(|(at, it)| it.smaller().into_iter().map(move |plainer| with(at, &[plainer])));
        without.chain(plainer).collect()
    }
}

/// The numbers below `n`, or some of them, the least first.
impl Smaller for u8 {
    fn smaller(&self) -> Vec<Self> {
        let mut below = vec![0, *self / 2, self.saturating_sub(1)];
        below.dedup();
        below.retain(|it| it < self);
        below
    }
}

/// Draws as `S` does, and shrinks as its values do: the first smaller one that still fails is the
/// next to be made smaller.
#[derive(Debug)]
pub(crate) struct Shrunk<S>(pub(crate) S);

impl<S: Strategy<Value: Smaller>> Strategy for Shrunk<S> {
    type Tree = Shrinking<S::Value>;
    type Value = S::Value;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let failing = self.0.new_tree(runner)?.current();
        let others = Vec::new().into_iter();
        Ok(Shrinking { shown: failing.clone(), failing, others, is_smallest: false })
    }
}

/// A value on its way to a smaller one.
#[derive(Debug)]
pub(crate) struct Shrinking<T> {
    /// The smallest one that fails so far.
    failing: T,
    /// What is to be tried instead, all a little smaller.
    others: vec::IntoIter<T>,
    /// The one of them that is tried.
    shown: T,
    /// None of them fails: what is drawn beside it is next.
    is_smallest: bool,
}

impl<T: Smaller> ValueTree for Shrinking<T> {
    type Value = T;

    fn current(&self) -> T {
        self.shown.clone()
    }

    fn simplify(&mut self) -> bool {
        if self.is_smallest {
            return false;
        }
        self.failing = self.shown.clone();
        self.others = self.failing.smaller().into_iter();
        self.try_next()
    }

    /// True also if it is back where it was: else nothing that is drawn beside it would shrink.
    fn complicate(&mut self) -> bool {
        !self.is_smallest && {
            self.try_next();
            true
        }
    }
}

impl<T: Smaller> Shrinking<T> {
    fn try_next(&mut self) -> bool {
        let other = self.others.next();
        self.is_smallest = other.is_none();
        self.shown = other.unwrap_or_else(|| self.failing.clone());
        !self.is_smallest
    }
}
