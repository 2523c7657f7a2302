//! Random operations by coroutines on four threads: futures that are dropped at any poll, or kept
//! and not polled, clones, closes. What is promised is checked at the end of each round, and a
//! watchdog looks whether anything still moves.
//!
//! `STRESS_SECONDS` says for how long, each test; `STRESS_SEED` begins with the round
//! that a failure has named.
#![cfg(not(any(loom, miri)))]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what was done, and what hangs")]

mod barrier;
mod broadcast;
mod channel;
mod condvar;
mod ground;
mod latch;
mod mutex;
mod notify;
mod once_cell;
mod oneshot;
mod rate_limiter;
mod rwlock;
mod select;
mod semaphore;
mod watch;

/// A test of each primitive, by its name.
macro_rules! stress {
    ($($primitive:ident)*) => { $(
        #[test]
        fn $primitive() {
            ground::stress(stringify!($primitive), $primitive::round);
        }
    )* };
}

stress! {
    barrier
    broadcast
    channel
    condvar
    latch
    mutex
    notify
    once_cell
    oneshot
    rate_limiter
    rwlock
    select
    semaphore
    watch
}
