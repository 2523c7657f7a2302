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
/// proptest!(ProptestConfig::with_cases(50), |(
///     numbers in vec(0..100u32, 0..5),
///     parts in vec(any::<u16>(), 0..40),
/// )| {
///     let guide = Guide::from(parts);
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
