//! What ends with the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use corymb_core::time::sleep;
use corymb_testing::{TestRuntime, advance, background, elapsed, settle};

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
        let left = runtime.run(async { background().launch(std::future::pending()) });
        assert!(left.is_completed() && left.is_cancelled());
    }
}
