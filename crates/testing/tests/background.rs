//! What ends with the test.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use corymb_core::time::sleep;
use corymb_core::{finally, shield};
use corymb_testing::{CancelEverywhere, TestRuntime, advance, background, elapsed, settle};

mod common;

use common::failure;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn vtime_012_a_ticker_goes_as_far_as_the_body_moves_the_clock_and_ends_with_it() {
    let ticks = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&ticks);
    TestRuntime::new().run(async move {
        background().launch(async move {
            loop {
                sleep(SECOND).await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        settle().await;
        assert_eq!(elapsed(), Duration::ZERO, "settling leaves the clock alone");
        advance(5 * SECOND).await;
    });
    assert_eq!(ticks.load(Ordering::Relaxed), 5);
    assert_eq!(Arc::strong_count(&ticks), 1, "it was dropped");
}

#[test]
fn a_failure_in_the_background_fails_the_test_and_harms_nobody_there() {
    let message = failure(|| {
        TestRuntime::new().run(async {
            let other = background().launch(sleep(2 * SECOND));
            background().launch(async { panic!("in the background") });
            sleep(SECOND).await;
            assert!(other.is_active());
        });
    });
    assert!(message.contains("panicked: in the background"), "{message}");
}

#[test]
fn each_run_has_a_background_of_its_own() {
    let runtime = TestRuntime::new();
    for _ in 0..2 {
        let left = runtime.run(async { background().launch(pending()) });
        assert!(left.is_completed() && left.is_cancelled());
    }
}

#[test]
fn a_cleanup_there_may_take_time() {
    let runtime = TestRuntime::new();
    runtime.run(async {
        background().launch(finally(pending::<()>(), || sleep(SECOND)));
        settle().await;
    });
    assert_eq!(runtime.elapsed(), SECOND);
    CancelEverywhere::new().run(|_beside| {
        background().launch(finally(pending::<()>(), || sleep(SECOND)));
        (settle(), |_| assert_eq!(elapsed(), SECOND))
    });
}

/// Neither a cleanup without end nor what would have ended in the time that a cleanup takes.
#[test]
fn what_does_not_end_is_a_leak() {
    let message = failure(|| {
        TestRuntime::new().run(async {
            background().launch(shield(async {
                for _ in 0..2 * 3600 {
                    sleep(SECOND).await;
                }
            }));
            settle().await;
        });
    });
    assert!(message.starts_with("still alive") && message.contains("a timer"), "{message}");
    let message = failure(|| {
        let runtime = TestRuntime::new();
        let beside = runtime.scope();
        runtime.run(async move {
            background().launch(finally(pending::<()>(), || sleep(2 * SECOND)));
            beside.coroutine().name("leaked").launch(sleep(SECOND));
            settle().await;
        });
    });
    assert!(message.starts_with("still alive") && message.contains("`leaked`"), "{message}");
}
