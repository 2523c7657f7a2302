//! Tests of coroutines: in virtual time, the same in every run, and with leaks found.
//!
//! A [`TestRuntime`] runs a future as production would, but on one thread, with a clock that jumps
//! to the next timer whenever nobody has anything to do. An hour of sleep takes no time, and what
//! would hang in production is a failure with the tree of coroutines that wait.
//!
//! - [`run_test`] is what `#[corymb::test]` expands to, [`run_test_local`] with `(local)`.
//! - [`advance`], [`settle`] and [`busy`] control the time from inside a test, [`elapsed`] tells it.
//! - [`background`] is a scope for what ends with the test.
//! - [`hold_time`] stops the clock for work on other threads, [`external`] while one waits for such.
//! - [`FakeClock`] is for libraries that are given a clock.
//! - [`explore`] runs a program in many schedules, and [`Explorer`] says how.
//! - [`SimNet`] is a network in memory, [`duplex`] a single connection.
//! - [`Sequencer`] has points of several coroutines come in one order, [`assert_no_suspension`] and
//!   [`assert_suspends`] say what a future has to do.
//! - [`take_failures`] takes failures that would fail the test.
//! - `programs`, with the feature `proptest`, is what proptest draws: job trees, and what coroutines
//!   do to channels and locks.
//! - [`drop_at_every_poll`] finds what is lost when a future is dropped, [`cancel_everywhere`] what a
//!   cancellation breaks.
//!
//! ```
//! use std::time::Duration;
//! use corymb::{scope, time::{sleep, with_timeout}};
//! use corymb::testing::{TestRuntime, elapsed};
//!
//! TestRuntime::new().run(async {
//!     let slow = scope(async |s| drop(s.launch(sleep(Duration::from_secs(60)))));
//!     assert!(with_timeout(Duration::from_secs(5), slow).await.is_err());
//!     assert_eq!(elapsed(), Duration::from_secs(5));
//! });
//! ```

#![deny(unsafe_code)]

mod cancels;
mod choices;
mod clock;
mod control;
mod drops;
mod explore;
mod fake_clock;
mod outside;
#[cfg(feature = "proptest")]
pub mod programs;
mod queue;
mod real;
mod run_test;
mod runtime;
mod sequencer;
mod sim;
mod suspends;
mod tree;
mod world;

pub use cancels::{
    CancelEverywhere, CancelFailure, CancelPoint, Cancellations, ParseCancelPointError,
    cancel_everywhere,
};
pub use choices::Decision;
pub use control::{Advance, advance, background, busy, elapsed, settle, take_failures};
pub use corymb_core::hooks::Choice;
pub use drops::drop_at_every_poll;
pub use explore::{
    Counterexample, Explored, Explorer, Fault, FaultKind, Guide, ParseScheduleError, Schedule,
    Turn, explore,
};
pub use fake_clock::{FakeClock, FakeSleep};
pub use outside::{External, TimeHold, external, hold_time};
pub use real::{run_real, run_real_local};
pub use run_test::{Verdict, run_test, run_test_local, run_test_local_with, run_test_with};
pub use runtime::{Builder, TestRuntime};
pub use sequencer::{Point, Sequencer};
pub use sim::{SimHost, SimListener, SimNet, SimStream, duplex};
pub use suspends::{Suspends, assert_no_suspension, assert_suspends};

/// What `#[corymb::test]` looks for in `corymb::testing`, for crates that use the attribute with
/// `crate = "corymb_testing"`.
#[doc(hidden)]
pub mod testing {
    pub use crate::{
        Explorer, TestRuntime, run_test, run_test_local, run_test_local_with, run_test_with,
    };
}
