//! Points in time.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::sync::OnceLock;
use std::time::Duration;

use crate::hooks;

/// A point in time on the clock of a runtime.
///
/// Inside a runtime with a virtual clock it is that clock's time, elsewhere the system's
/// monotonic time. Instants of different clocks mean nothing to each other.
///
/// **Which one:** [`std::time::Instant`] always is the system's clock, so a test cannot fake it;
/// this type is what all of corymb's timers take.
///
/// Arithmetic saturates: an instant too far away to be told is [`FAR_FUTURE`](Self::FAR_FUTURE),
/// one before the clock's beginning is its beginning.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::time::Instant;
///
/// let start = Instant::now();
/// let deadline = start + Duration::from_secs(5);
/// assert_eq!(deadline - start, Duration::from_secs(5));
/// assert_eq!(start - deadline, Duration::ZERO);
/// assert_eq!(start + Duration::MAX, Instant::FAR_FUTURE);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The point in time that never comes: a timer set to it does not fire.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::time::Instant;
    ///
    /// assert!(Instant::now() < Instant::FAR_FUTURE);
    /// ```
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// The present, as [`now`] tells it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::time::Instant;
    ///
    /// let earlier = Instant::now();
    /// assert!(earlier <= Instant::now());
    /// ```
    #[must_use]
    #[inline]
    pub fn now() -> Self {
        now()
    }

    /// For clocks: the instant this many nanoseconds after the clock's origin.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// For clocks: nanoseconds since the clock's origin.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this instant, or zero if `earlier` is later.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::time::Instant;
    ///
    /// let start = Instant::now();
    /// let end = start + Duration::from_millis(3);
    /// assert_eq!(end.duration_since(start), Duration::from_millis(3));
    /// assert_eq!(start.duration_since(end), Duration::ZERO);
    /// ```
    #[must_use]
    pub const fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The same as [`duration_since`](Self::duration_since), under the name that says it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::time::Instant;
    ///
    /// let start = Instant::now();
    /// let later = start + Duration::from_secs(1);
    /// assert_eq!(start.saturating_duration_since(later), Duration::ZERO);
    /// ```
    #[must_use]
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }

    /// The time from `earlier` to this instant, or `None` if `earlier` is later.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::time::Instant;
    ///
    /// let start = Instant::now();
    /// let later = start + Duration::from_secs(1);
    /// assert_eq!(later.checked_duration_since(start), Some(Duration::from_secs(1)));
    /// assert_eq!(start.checked_duration_since(later), None);
    /// ```
    #[must_use]
    pub const fn checked_duration_since(self, earlier: Self) -> Option<Duration> {
        match self.0.checked_sub(earlier.0) {
            Some(nanos) => Some(Duration::from_nanos(nanos)),
            None => None,
        }
    }

    /// This instant and `duration`, or `None` if the sum cannot be told.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::time::Instant;
    ///
    /// let start = Instant::now();
    /// assert!(start.checked_add(Duration::from_secs(1)).is_some());
    /// assert_eq!(start.checked_add(Duration::MAX), None);
    /// ```
    #[must_use]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let nanos = u64::try_from(duration.as_nanos()).ok()?;
        self.0.checked_add(nanos).map(Self)
    }

    /// How much time has passed since this instant; zero if it lies in the future.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::time::Instant;
    ///
    /// let deadline = Instant::now() + Duration::from_secs(3600);
    /// assert_eq!(deadline.elapsed(), Duration::ZERO);
    /// ```
    #[must_use]
    pub fn elapsed(self) -> Duration {
        now().duration_since(self)
    }
}

/// The nanoseconds of `duration`; what does not fit is `u64::MAX`.
pub(super) fn saturating_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(saturating_nanos(duration)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(saturating_nanos(duration)))
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::FAR_FUTURE {
            return f.write_str("Instant(never)");
        }
        f.debug_tuple("Instant").field(&Duration::from_nanos(self.0)).finish()
    }
}

/// The present on the clock of the current runtime; outside one, on the system's monotonic clock.
///
/// # Examples
///
/// ```
/// use corymb::time;
///
/// let earlier = time::now();
/// assert!(earlier <= time::now());
/// ```
#[must_use]
#[inline]
pub fn now() -> Instant {
    hooks::try_with(|hooks| hooks.now()).unwrap_or_else(real_now)
}

/// What the real clock shows when it is first read. Some 208 days, so that code which computes
/// "an hour ago" in a young process does not run into the clock's beginning.
const FIRST_READING: u64 = 1 << 54;

/// The present on the system's monotonic clock, with one origin for the whole process.
#[must_use]
#[inline]
pub fn real_now() -> Instant {
    static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
    let since = ORIGIN.get_or_init(std::time::Instant::now).elapsed();
    // In `u64`: `as_nanos` would multiply in 128 bits, and 584 years are enough.
    Instant(FIRST_READING + since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos()))
}
