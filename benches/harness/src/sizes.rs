//! The sizes of the workloads: the same numbers in every language.

use std::time::Duration;

use crate::measure::count;

/// Tasks that are awaited.
pub const SPAWN_N: usize = 1_000_000;
/// So many before the first is awaited.
pub const SPAWN_BATCH: usize = 1_000;
/// Tasks that nobody awaits.
pub const BURST_N: usize = 1_000_000;
/// Tasks that yield.
pub const YIELD_TASKS: usize = 1_000;
/// So often each.
pub const YIELDS: usize = 1_000;
/// Yields of one task.
pub const YIELD_ONE: usize = 1_000_000;
/// Round trips.
pub const PING_PONG: usize = 200_000;
const SKYNET_LEAVES: usize = 1_000_000;
/// Scopes, one after the other.
pub const SCOPES: usize = 100_000;
/// Children of each.
pub const SCOPE_CHILDREN: usize = 10;
/// Tasks that sleep at the same time.
pub const SLEEPERS: usize = 1_000_000;
/// So long.
pub const SLEEP: Duration = Duration::from_secs(10);
/// Timeouts, one after the other.
pub const TIMEOUTS: usize = 1_000_000;
/// So far away.
pub const FAR: Duration = Duration::from_hours(1);
/// Trips to the threads for blocking work.
pub const HOPS: usize = 200_000;
/// Tasks that sleep again and again.
pub const CHURN_TASKS: usize = 1_000;
/// So often each.
pub const CHURN_SLEEPS: usize = 200;
const CHURN_MAX_US: u64 = 5_000;
/// Tasks below the root of a tree that is cancelled.
pub const CANCEL_PARENTS: usize = 1_000;
/// Tasks below each of them.
pub const CANCEL_CHILDREN: usize = 1_000;
/// Numbers that go through a channel.
pub const MESSAGES: usize = 2_000_000;
/// Tasks that take a lock.
pub const LOCKING: usize = 64;
/// So often each.
pub const LOCKS: usize = 20_000;
/// Permits of a semaphore.
pub const PERMITS: usize = 10;
/// Length of a message to a server.
pub const ECHO_BYTES: usize = 64;

/// The leaves of skynet, scaled: powers of ten only.
pub fn skynet_leaves(scale: f64) -> u64 {
    let mut leaves = SKYNET_LEAVES;
    while leaves > 1_000 && count(leaves) > count(SKYNET_LEAVES) * scale {
        leaves /= 10;
    }
    leaves as u64
}

/// The number of tasks in a 10-ary tree with `leaves` leaves, leaves included.
pub fn tree_nodes(leaves: u64) -> usize {
    let levels = std::iter::successors(Some(1), |level| Some(level * 10));
    levels.take_while(|level| *level <= leaves).sum::<u64>() as usize
}

/// Sum of `0..n`, what most workloads check their result against.
pub const fn sum_below(n: u64) -> u64 {
    n * (n - 1) / 2
}

/// Draws the sleeps of `timers_churn`, for each task its own, seeded with its index.
#[derive(Debug)]
pub struct Draw(u64);

impl Draw {
    /// Those of a task.
    pub const fn new(task: usize) -> Self {
        Self(task as u64)
    }

    /// The next one.
    pub fn sleep(&mut self) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        Duration::from_micros((self.0 >> 33) % CHURN_MAX_US)
    }
}
