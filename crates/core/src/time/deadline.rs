//! How much time is left.

use std::time::Duration;

use super::{Instant, now};
use crate::current;

/// The tightest deadline in force for the code that asks.
///
/// Of the timeouts and [`cancel_scope`](crate::cancel_scope)s around it, those around its parents
/// included, up to the next [`shield`](crate::shield). It can change: the deadline of a cancel scope
/// can be moved.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::prelude::*;
/// use corymb::time::{deadline, now};
///
/// let soon = now() + Duration::from_secs(1);
/// let seen = run_blocking(with_deadline(soon, with_timeout(Duration::from_secs(60), async {
///     scope(async |s| s.spawn(async { deadline() }).await).await
/// })));
/// assert_eq!(seen, Ok(Ok(Some(soon))));
/// assert_eq!(deadline(), None);
/// ```
pub fn deadline() -> Option<Instant> {
    current::deadline()
}

/// The time until [`deadline`]; zero once that has passed.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::prelude::*;
/// use corymb::time::time_left;
///
/// let left = run_blocking(with_timeout(Duration::from_secs(60), async { time_left() }));
/// assert!(left.unwrap().unwrap() <= Duration::from_secs(60));
/// ```
pub fn time_left() -> Option<Duration> {
    deadline().map(|deadline| deadline.saturating_duration_since(now()))
}
