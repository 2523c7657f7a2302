//! Timeouts around work that blocks, on threads.

use std::sync::mpsc;
use std::time::Duration;

use corymb::time::timeout_abandon;
use corymb::{Runtime, blocking};
use futures::future::join;

const LIMIT: Duration = Duration::from_millis(1);

#[test]
fn work_that_blocks_is_abandoned_and_the_shutdown_tells_of_it() {
    let runtime = Runtime::new().unwrap();
    let (begun, has_begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (ended, has_ended) = mpsc::channel();
    runtime.run_blocking(async {
        let work = blocking(move || {
            begun.send(()).unwrap();
            assert!(released.recv().is_err());
            ended.send(()).unwrap();
        });
        // The deadline is looked at when the work blocks.
        let begun = async { has_begun.recv().unwrap() };
        join(timeout_abandon(LIMIT, work), begun).await.0.unwrap_err();
    });
    let report = runtime.shutdown(Duration::ZERO);
    assert!(!report.is_empty());
    drop(release);
    has_ended.recv().unwrap();
}

#[test]
fn a_shutdown_waits_for_what_was_abandoned() {
    let runtime = Runtime::new().unwrap();
    let (begun, has_begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    runtime.run_blocking(async {
        let work = blocking(move || {
            begun.send(()).unwrap();
            assert!(released.recv().is_err());
        });
        // The deadline is looked at when the work blocks.
        let begun = async { has_begun.recv().unwrap() };
        join(timeout_abandon(LIMIT, work), begun).await.0.unwrap_err();
    });
    drop(release);
    assert!(runtime.shutdown(Duration::from_secs(60)).is_empty());
}
