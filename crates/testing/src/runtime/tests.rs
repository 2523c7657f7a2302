//! What is left of a runtime: nothing, and so its timers are given back.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use corymb_core::time::sleep;
use corymb_core::{Job, scope};

use super::{Instant, Patience, TIME_LIMIT, TestRuntime};
use crate::control::advance;

/// Runs `f` and drops the runtime; true if the run failed.
fn fails(f: impl FnOnce(&TestRuntime)) -> bool {
    let runtime = TestRuntime::new();
    let world = Arc::downgrade(&runtime.world);
    let failed = catch_unwind(AssertUnwindSafe(|| f(&runtime))).is_err();
    drop(runtime);
    assert!(world.upgrade().is_none(), "something keeps the runtime");
    failed
}

#[test]
fn nothing_is_left_after_a_run() {
    assert!(!fails(|runtime| {
        runtime.run(scope(async |s| {
            let child = s.spawn(sleep(Duration::from_secs(1)));
            advance(Duration::from_secs(2)).await;
            child.await;
        }));
    }));
}

#[test]
fn nothing_is_left_after_a_deadlock() {
    assert!(fails(|runtime| runtime.run(scope(async |s| drop(s.spawn(pending::<()>()))))));
}

#[test]
fn nothing_is_left_after_a_leak() {
    assert!(fails(|runtime| {
        let beside = runtime.scope();
        runtime.run(async move {
            beside.launch(async {
                advance(Duration::from_secs(1)).await;
                sleep(Duration::MAX).await;
            });
        });
    }));
}

#[test]
fn handles_of_jobs_that_have_ended_keep_nothing_but_themselves() {
    let mut kept = None;
    assert!(!fails(|runtime| {
        kept = runtime.run(async { Job::current() });
    }));
    assert!(kept.expect("a coroutine has a job").is_completed());
}

/// What another thread does that drops its hold between the look at the queue and that at the
/// holds: somebody is ready, and nothing is held.
#[test]
fn time_does_not_pass_while_somebody_is_ready() {
    assert!(!fails(|runtime| {
        let timer = runtime.scope().launch(sleep(Duration::from_secs(1)));
        runtime.settle();
        runtime.scope().launch(async {});
        assert!(runtime.pass_time(Instant::FAR_FUTURE, &Patience::new(TIME_LIMIT)));
        assert_eq!(runtime.elapsed(), Duration::ZERO);
        runtime.run(async move { timer.join().await });
    }));
}
