//! A schedule as a value that can be drawn at random.

use std::sync::Arc;

use super::policy::ByParts;

/// Decisions for a run of any program: each is a part of the options that there are then, from the
/// first of them at 0 to the last at 65535.
///
/// So a list of numbers, as proptest draws and shrinks it, is a schedule for whatever program is
/// drawn beside it. Where the list is over, and where it has a 0, whoever runs goes on.
///
/// # Examples
///
/// A program and its schedule, drawn together; proptest makes both of them shorter if it fails:
///
/// ```
/// use std::sync::Arc;
/// use corymb::{prelude::*, sync::Mutex};
/// use corymb::testing::{Explorer, Guide};
/// use proptest::{collection::vec, prelude::*};
///
/// async fn add_up(numbers: Vec<u32>) {
///     let total = Arc::new(Mutex::new(0));
///     scope(async |s| {
///         for number in numbers.clone() {
///             let total = Arc::clone(&total);
///             s.launch(async move { *total.lock().await += number });
///         }
///     })
///     .await;
///     assert_eq!(*total.lock().await, numbers.iter().sum::<u32>());
/// }
///
/// // With the feature `proptest`; without it, `vec(any::<u16>(), 0..40).prop_map(Guide::from)`.
/// proptest!(ProptestConfig::with_cases(50), |(numbers in vec(0..100u32, 0..5), guide: Guide)| {
///     Explorer::new().guide(guide).run(|| add_up(numbers.clone()));
/// });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guide(Arc<[u16]>);

impl Guide {
    pub(super) fn policy(&self) -> ByParts {
        ByParts::new(Arc::clone(&self.0))
    }
}

impl From<Vec<u16>> for Guide {
    fn from(parts: Vec<u16>) -> Self {
        Self(parts.into())
    }
}

#[cfg(feature = "proptest")]
mod drawn {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::Guide;
    use crate::programs::smaller::{Shrunk, Smaller};

    /// Mostly, whoever runs goes on.
    impl Arbitrary for Guide {
        type Parameters = ();
        type Strategy = BoxedStrategy<Self>;

        fn arbitrary_with((): ()) -> Self::Strategy {
            let part = prop_oneof![2 => Just(0), 1 => any::<u16>()];
            Shrunk(vec(part, 0..64).prop_map(Self::from)).boxed()
        }
    }

    /// With a decision less, or a plainer or an earlier one; and with one, anywhere, in place of two
    /// that follow each other: what a decision means comes of those before it.
    impl Smaller for Guide {
        fn smaller(&self) -> Vec<Self> {
            let with = |f: &dyn Fn(&mut Vec<u16>)| {
                let mut parts = self.0.to_vec();
                f(&mut parts);
                Self::from(parts)
            };
            let places = 0..self.0.len();
            let (others, zeros): (Vec<_>, Vec<_>) = places.clone().partition(|at| self.0[*at] > 0);
            let without = places.rev().map(|at| with(&|parts| _ = parts.remove(at)));
            let plain = others.iter().map(|at| with(&|parts| parts[*at] = 0));
            let lower = others.iter().map(|at| with(&|parts| parts[*at] /= 2));
            let earlier = others.iter().flat_map(|at| {
                let before = zeros.iter().take_while(move |zero| *zero < at);
                before.map(|zero| with(&|parts| parts.swap(*zero, *at)))
            });
            let one_for_two = others.windows(2).flat_map(|two| {
                zeros.iter().map(|at| {
                    with(&|parts| {
                        parts[*at] = parts[two[0]].max(parts[two[1]]);
                        (parts[two[0]], parts[two[1]]) = (0, 0);
                    })
                })
            });
            without.chain(plain).chain(one_for_two).chain(earlier).chain(lower).collect()
        }
    }
}
