//! Decisions of a runtime, drawn from a seed and written down.

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
pub struct Decision {
    /// What was decided.
    pub choice: Choice,
    /// How many options there were.
    pub options: usize,
    /// Which of them was taken, counted from 0.
    pub picked: usize,
}

/// The generator and its record.
pub(crate) struct Choices {
    state: u64,
    record: Vec<Decision>,
}

impl Choices {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed, record: Vec::new() }
    }

    pub(crate) fn record(&self) -> &[Decision] {
        &self.record
    }

    /// One of `0..options`.
    pub(crate) fn choose(&mut self, choice: Choice, options: usize) -> usize {
        if options < 2 {
            return 0;
        }
        // The high part of the product: as even as the generator, up to one in 2^64.
        let picked = (u128::from(self.next()) * options as u128) >> 64;
        let picked = usize::try_from(picked).expect("below `options`");
        self.record.push(Decision { choice, options, picked });
        picked
    }

    /// The next number of the `SplitMix64` generator, for which every seed is a good one.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
