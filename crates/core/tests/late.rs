//! A timeout that returns long after its deadline is told of.

use std::future::pending;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use corymb_core::time::{Instant, timeout_abandon, with_deadline, with_timeout};
use corymb_core::{Coroutine, Dispatcher, scope, with_context, yield_now};

use crate::common::Harness;

const LIMIT: Duration = Duration::from_secs(10);
const JUST: Duration = Duration::from_secs(1);
const MORE: Duration = Duration::from_millis(1_001);

/// The reports of a coroutine that runs `body` and is polled again after `later`.
fn reports<F>(body: F, later: Duration) -> Vec<String>
where
    F: Future<Output = ()> + Send + 'static,
{
    let harness = Harness::new();
    let job = harness.scope().launch(body);
    harness.run();
    harness.pass(later);
    harness.run();
    assert!(job.is_completed());
    harness.reports()
}

#[test]
fn it_is_told_once_with_the_place_and_the_remedy() {
    let line = line!() + 1;
    let late = async { with_timeout(LIMIT, pending::<()>()).await.unwrap_err() };
    let reports = reports(async move { assert_eq!(late.await.place().line(), line) }, LIMIT + MORE);
    let place = format!("{}:{line}:", file!());
    assert_eq!(reports.len(), 1);
    for part in [&*place, "1.0s after its deadline", "timeout_abandon"] {
        assert!(reports[0].contains(part), "{reports:?}");
    }
}

#[test]
fn one_that_was_queued_for_a_busy_dispatcher_is_told_of() {
    let harness = Harness::new();
    let (queue, busy) = mpsc::channel();
    let dispatcher = Dispatcher::custom(move |coroutine: Coroutine| queue.send(coroutine).unwrap());
    let job = harness.scope().launch(async move {
        let section = with_context(dispatcher, async { unreachable!("it is too late") });
        with_timeout(LIMIT, section).await.unwrap_err();
    });
    harness.run();
    harness.pass(LIMIT + MORE);
    harness.run();
    assert!(!job.is_completed(), "it is queued there");
    busy.recv().unwrap().run();
    harness.run();
    assert!(job.is_completed());
    let reports = harness.reports();
    assert!(matches!(&reports[..], [one] if one.contains("queued")), "{reports:?}");
}

#[test]
fn a_second_is_tolerated() {
    let body = async { drop(with_timeout(LIMIT, pending::<()>()).await.unwrap_err()) };
    assert!(reports(body, LIMIT + JUST).is_empty());
}

#[test]
fn a_long_poll_inside_counts() {
    let harness = Harness::new();
    let clock = Arc::clone(&harness.hooks);
    harness.block_on(async move {
        let long = async {
            yield_now().await;
            clock.pass(LIMIT + MORE);
            pending::<()>().await;
        };
        with_timeout(LIMIT, long).await.unwrap_err();
    });
    assert_eq!(harness.reports().len(), 1);
}

#[test]
fn the_wait_for_a_child_that_does_not_end_counts() {
    let harness = Harness::new();
    let clock = Arc::clone(&harness.hooks);
    let job = harness.scope().launch(async move {
        let children = scope(async |s| {
            s.launch(async move {
                yield_now().await;
                // It is in this poll when the timeout expires.
                clock.pass(LIMIT + MORE);
            });
            pending::<()>().await;
        });
        with_timeout(LIMIT, children).await.unwrap_err();
    });
    harness.run();
    assert!(job.is_completed());
    assert_eq!(harness.reports().len(), 1);
}

#[test]
fn a_deadline_that_had_passed_before_is_not_late() {
    let harness = Harness::new();
    harness.pass(LIMIT);
    harness.block_on(async {
        with_deadline(Instant::from_nanos(0), pending::<()>()).await.unwrap_err();
    });
    assert!(harness.reports().is_empty());
}

#[test]
fn a_value_that_comes_late_is_a_value() {
    let harness = Harness::new();
    let clock = Arc::clone(&harness.hooks);
    let body = harness.block_on(async move {
        let long = async {
            yield_now().await;
            clock.pass(LIMIT + MORE);
            7
        };
        with_timeout(LIMIT, long).await.unwrap()
    });
    assert_eq!(body, 7);
    assert!(harness.reports().is_empty());
}

#[test]
fn an_abandoned_timeout_is_not_late() {
    let harness = Harness::new();
    let clock = Arc::clone(&harness.hooks);
    let job = harness.scope().launch(async {
        drop(timeout_abandon(LIMIT, pending::<()>()).await.unwrap_err());
    });
    harness.run();
    clock.pass(LIMIT);
    harness.run();
    assert!(job.is_completed());
    assert!(harness.reports().is_empty());
}
