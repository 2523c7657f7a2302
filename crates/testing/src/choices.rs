//! Decisions of a runtime: who makes them, and what they were.

use std::fmt;

use corymb_core::hooks::Choice;

/// A decision that a [`TestRuntime`](crate::TestRuntime) has made.
///
/// Only decisions between two or more options are made and recorded.
///
/// # Examples
///
/// ```
/// use corymb::testing::TestRuntime;
///
/// let runtime = TestRuntime::builder().seed(3).shuffled().build();
/// runtime.scope().launch(async {});
/// runtime.run(async {});
/// let decision = runtime.choices()[0];
/// assert_eq!(decision.options, 2); // which of the two coroutines is first
/// assert!(decision.picked < 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// What was decided.
    pub choice: Choice,
    /// How many options there were.
    pub options: usize,
    /// Which of them was taken, counted from 0.
    pub picked: usize,
}

/// What is to be decided.
pub(crate) struct Question<'a> {
    pub(crate) choice: Choice,
    pub(crate) options: usize,
    /// Whether option 0 is to go on with what ran last, so that any other one is a preemption.
    pub(crate) goes_on: bool,
    /// The number of the coroutine that an option stands for, of those that decide which is next.
    pub(crate) who: Option<&'a dyn Fn(usize) -> usize>,
}

impl Question<'_> {
    pub(crate) fn of(choice: Choice, options: usize) -> Self {
        Self { choice, options, goes_on: false, who: None }
    }
}

/// Who decides.
pub(crate) trait Policy: Send {
    /// One of `0..question.options`, of which there are at least two.
    fn pick(&mut self, question: &Question<'_>) -> usize;
}

/// A policy and the record of what it has decided.
pub(crate) struct Choices {
    policy: Box<dyn Policy>,
    record: Vec<Decision>,
}

impl Choices {
    pub(crate) fn new(policy: Box<dyn Policy>) -> Self {
        Self { policy, record: Vec::new() }
    }

    pub(crate) fn record(&self) -> &[Decision] {
        &self.record
    }

    /// Takes the record. What is decided from now on is nobody's concern: the first option it is.
    pub(crate) fn finish(&mut self) -> Vec<Decision> {
        self.policy = Box::new(First);
        std::mem::take(&mut self.record)
    }

    pub(crate) fn pick(&mut self, question: &Question<'_>) -> usize {
        let &Question { choice, options, .. } = question;
        if options < 2 {
            return 0;
        }
        let picked = self.policy.pick(question);
        assert!(picked < options, "a policy picked {picked} of {options}");
        self.record.push(Decision { choice, options, picked });
        picked
    }
}

impl fmt::Debug for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choices").field("record", &self.record).finish_non_exhaustive()
    }
}

/// The first option, whatever it is about.
struct First;

impl Policy for First {
    fn pick(&mut self, _: &Question<'_>) -> usize {
        0
    }
}

/// The `SplitMix64` generator, for which every seed is a good one.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of `0..options`.
    pub(crate) fn below(&mut self, options: usize) -> usize {
        // The high part of the product: as even as the generator, up to one in 2^64.
        let picked = (u128::from(self.next()) * options as u128) >> 64;
        usize::try_from(picked).expect("below `options`")
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Policy for Random {
    fn pick(&mut self, question: &Question<'_>) -> usize {
        self.below(question.options)
    }
}
