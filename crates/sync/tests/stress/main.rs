//! Random operations by coroutines on four threads: futures that are dropped at any poll, or kept
//! and not polled, clones, closes. What is promised is checked at the end of each round, and a
//! watchdog looks whether anything still moves.
//!
//! `STRESS_SECONDS` says for how long, each test; `STRESS_SEED` begins with the round
//! that a failure has named.
#![cfg(not(any(loom, miri)))]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what was done, and what hangs")]

mod channel;
mod ground;
mod mutex;
mod oneshot;

#[test]
fn channel() {
    ground::stress("channel", channel::round);
}

#[test]
fn mutex() {
    ground::stress("mutex", mutex::round);
}

#[test]
fn oneshot() {
    ground::stress("oneshot", oneshot::round);
}
