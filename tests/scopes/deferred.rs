//! Values, and what there is in their place.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;

use corymb::prelude::*;
use corymb::testing::settle;
use corymb::{CancelCause, JobState, JoinError};
use futures::FutureExt;

use crate::common::{Trace, ms, text};

#[corymb::test]
async fn a_value_can_be_awaited_by_another_coroutine() {
    let value = scope(async |s| {
        let value = s.spawn(async {
            sleep(ms(10)).await;
            42
        });
        s.spawn(value).await
    });
    assert_eq!(value.await, 42);
}

#[corymb::test]
async fn an_outcome_tells_how_a_child_ended() {
    let failed = Mutex::new(None);
    let error: Result<(), _> = try_scope(async |s| {
        *failed.lock().unwrap() = Some(s.coroutine().name("f").spawn(async { Err::<(), _>("E") }));
        pending().await
    })
    .await;
    assert_eq!(error, Err("E"));
    let failed = failed.into_inner().unwrap().unwrap().outcome().await;
    assert!(matches!(failed, Err(JoinError::Failed(who)) if who.name() == Some("f")));

    supervisor_scope(async |s| {
        assert_eq!(s.spawn(async { 42 }).outcome().await.ok(), Some(42));

        let line = line!() + 1;
        let panicked = s.coroutine().name("p").spawn(async { panic!("boom") });
        let Err(JoinError::Panicked(panic)) = panicked.outcome().await else {
            panic!("it did not panic");
        };
        assert_eq!((panic.message(), panic.who().name()), ("boom", Some("p")));
        assert_eq!(panic.who().launched_at().line(), line);
        assert_eq!(text(&*panic.into_payload()), "boom");

        let cancelled = s.spawn(pending::<()>());
        let line = line!() + 1;
        cancelled.job().cancel();
        let Err(JoinError::Cancelled(cancelled)) = cancelled.outcome().await else {
            panic!("it was not cancelled");
        };
        assert!(matches!(cancelled.cause(), CancelCause::Requested));
        assert_eq!(cancelled.place().line(), line);
    })
    .await;
}

#[corymb::test]
async fn to_await_a_child_that_gave_no_value_is_a_panic_that_says_why() {
    supervisor_scope(async |s| {
        let failed = s.coroutine().name("worker").spawn(async { panic!("boom") });
        let cancelled = s.spawn(pending::<()>());
        cancelled.job().cancel();
        let failed = AssertUnwindSafe(failed).catch_unwind().await.unwrap_err();
        let failed = text(&*failed);
        assert!(["`worker`", "boom", file!()].iter().all(|part| failed.contains(part)), "{failed}");
        let cancelled = AssertUnwindSafe(cancelled).catch_unwind().await.unwrap_err();
        assert!(text(&*cancelled).contains("cancelled on request"));
    })
    .await;
}

#[corymb::test]
async fn a_panic_for_want_of_a_value_names_the_place_of_the_await() {
    supervisor_scope(async |s| {
        let (launched, child) = (line!(), s.spawn(pending::<()>()));
        child.job().cancel();
        let mut awaited = 0;
        let awaiting = async {
            awaited = line!() + 1;
            child.await;
        };
        let panic = AssertUnwindSafe(awaiting).catch_unwind().await.unwrap_err();
        let text = text(&*panic);
        for place in [launched, awaited].map(|line| format!("{}:{line}:", file!())) {
            assert!(text.contains(&place), "{place}: {text}");
        }
    })
    .await;
}

#[corymb::test]
async fn a_value_that_nobody_wants_is_dropped() {
    let trace = Trace::default();
    scope(async |s| {
        let guard = trace.on_drop("before");
        let before = s.spawn(async move {
            yield_now().await;
            guard
        });
        drop(before);
        assert_eq!(trace.get().len(), 0);
        settle().await;
        assert_eq!(trace.get(), ["before"]);

        let guard = trace.on_drop("after");
        let after = s.spawn(async move { guard });
        settle().await;
        assert_eq!(trace.get(), ["before"]);
        drop(after);
        assert_eq!(trace.get(), ["before", "after"]);
    })
    .await;
}

#[corymb::test]
async fn a_value_is_kept_for_a_handle_that_outlives_its_scope() {
    let value = scope(async |s| s.spawn(async { 42 })).await;
    assert_eq!(value.await, 42);
}

#[corymb::test]
async fn a_handle_that_was_waited_for_once_can_be_awaited_again() {
    scope(async |s| {
        let mut value = s.spawn(async {
            sleep(ms(20)).await;
            42
        });
        with_timeout(ms(10), &mut value).await.unwrap_err();
        assert_eq!(value.await, 42);
    })
    .await;
}

/// A child that is cancelled by `cancel` while it runs, and returns.
async fn cancelled_while_it_runs(
    suspends: bool,
    cancel: fn(Job, Job) -> bool,
) -> (JobState, Option<u32>) {
    let child = Mutex::new(None);
    let ended = cancel_scope(async |_| {
        scope(async |s| {
            let of_scope = s.job();
            *child.lock().unwrap() = Some(s.spawn(async move {
                if suspends {
                    sleep(ms(1)).await;
                }
                assert!(cancel(of_scope, Job::current().unwrap()));
                42
            }));
            pending::<()>().await;
        })
        .await;
    });
    let child = with_timeout(ms(10), ended).map(|_| child.lock().unwrap().take().unwrap()).await;
    let job = child.job();
    (job.state(), child.outcome().await.ok())
}

#[corymb::test]
async fn what_returns_while_it_is_cancelled_by_itself_is_cancelled_and_gives_its_value() {
    for suspends in [false, true] {
        let ended = cancelled_while_it_runs(suspends, |_, own| own.cancel()).await;
        assert_eq!(ended, (JobState::Cancelled, Some(42)), "suspends: {suspends}");
    }
}

#[corymb::test]
async fn what_returns_while_its_scope_is_cancelled_is_cancelled_and_gives_its_value() {
    for suspends in [true, false] {
        let ended = cancelled_while_it_runs(suspends, |scope, _| scope.cancel()).await;
        assert_eq!(ended, (JobState::Cancelled, Some(42)), "suspends: {suspends}");
    }
}
