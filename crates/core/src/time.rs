//! Time: instants, sleeping, intervals, and the timers under them.
//!
//! # How a timer lives
//!
//! A [`Sleep`] is its own timer: five words that are linked into a *shard* of the runtime when
//! the future is first polled, so that sleeping allocates nothing. A runtime has a shard for each
//! of its processors; the thread that holds the processor registers there, and asks the shard with
//! one relaxed load whether anything is due.
//!
//! - `node` holds the state word of a timer, its picture, and who may touch what.
//! - `wheel` finds the timers that are due.
//! - `shard` puts a lock around a wheel, and wakes with the lock released.
//!
//! A shard outlives every timer that ever was in it: shards are never freed, only handed back to a
//! process-wide pool. A sleep may therefore lock "its" shard whenever it likes, without keeping a
//! reference count, even when the runtime that had the shard is gone. A shard that is handed back
//! lets go of the timers in it and wakes whoever waits for them; such a sleep registers anew, with
//! the runtime that is current at its next poll.

mod abandon;
mod deadline;
mod instant;
mod interval;
mod late;
mod node;
mod shard;
mod sleep;
#[cfg(test)]
mod tests;
mod timeout;
mod wheel;

pub use abandon::timeout_abandon;
pub use deadline::{deadline, time_left};
#[doc(hidden)]
pub use instant::real_now;
pub use instant::{Instant, now};
pub use interval::{Interval, MissedTick, interval, interval_at};
pub use late::LateTimeout;
#[doc(hidden)]
pub use shard::TimerShard;
pub use sleep::{Sleep, sleep, sleep_until};
pub use timeout::{Elapsed, Timeout, with_deadline, with_timeout};
pub(crate) use timeout::{Limit, TimeoutId, timeout_at};

/// Tells the time of a runtime: the machine's, or that of a test.
///
/// # Examples
///
/// ```
/// use corymb::time::{Clock, Instant};
///
/// /// A clock that stands still.
/// struct Stopped(Instant);
///
/// impl Clock for Stopped {
///     fn now(&self) -> Instant {
///         self.0
///     }
/// }
///
/// let clock = Stopped(Instant::now());
/// assert_eq!(clock.now(), clock.now());
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The present.
    fn now(&self) -> Instant;
}
