//! Handlers of jobs, joins, and tokens.

use std::future::pending;

use corymb::prelude::*;
use corymb::testing::{settle, take_failures};
use corymb::{Completion, JobState};

use crate::common::{CANCELLED, Trace, flags};

#[corymb::test]
async fn completion_handlers_run_in_their_order_and_before_joiners() {
    let trace = Trace::default();
    scope(async |s| {
        let child = s.launch(yield_now());
        let (joiner, job) = (trace.clone(), child.clone());
        s.launch(async move {
            job.join().await;
            joiner.add("joiner");
        });
        settle_once().await;
        for name in ["first", "second"] {
            let seen = trace.clone();
            child.on_completion(move |end| {
                assert!(matches!(end, Completion::Completed), "{end:?}");
                seen.add(name);
            });
        }
    })
    .await;
    assert_eq!(trace.get(), ["first", "second", "joiner"]);
}

/// Lets each of the others run once.
async fn settle_once() {
    yield_now().await;
}

#[corymb::test]
async fn a_handler_needs_no_handle_of_its_job() {
    let trace = Trace::default();
    scope(async |s| {
        let seen = trace.clone();
        s.launch(async {}).on_completion(move |_| seen.add("completed"));
    })
    .await;
    assert_eq!(trace.get(), ["completed"]);
}

#[corymb::test]
async fn a_handler_that_comes_late_runs_at_once() {
    let trace = Trace::default();
    scope(async |s| {
        let done = s.launch(async {});
        let cancelled = s.launch(pending());
        cancelled.cancel_and_join().await;
        done.join().await;
        let ends = trace.clone();
        done.on_completion(move |end| ends.add(format_args!("{end:?}")));
        done.on_cancelling(|_| unreachable!("it has completed"));
        let causes = trace.clone();
        cancelled.on_cancelling(move |cancelled| causes.add(cancelled.cause()));
        assert_eq!(trace.get(), ["Completed", "on request"]);
    })
    .await;
}

#[corymb::test]
async fn a_cancelling_handler_gets_cause_and_place() {
    let trace = Trace::default();
    let mut line = 0;
    scope(async |s| {
        let child = s.launch(pending());
        let seen = trace.clone();
        child.on_cancelling(move |cancelled| {
            seen.add(cancelled.cause());
            seen.add(cancelled.place());
        });
        settle().await;
        line = line!() + 1;
        child.cancel();
    })
    .await;
    let place = trace.get().pop().unwrap();
    assert!(place.starts_with(&format!("{}:{line}:", file!())), "{place}");
}

/// The child has never suspended, so that its scope does not list it.
#[corymb::test]
async fn a_cancelling_handler_runs_also_if_the_job_is_cancelled_before_it_ran() {
    let trace = Trace::default();
    let ended = cancel_scope(async |c| {
        scope(async |s| {
            let child = s.launch(async { unreachable!("a cancelled child ran") });
            let seen = trace.clone();
            child.on_cancelling(move |cancelled| seen.add(cancelled.cause()));
            let seen = trace.clone();
            child.on_completion(move |_| seen.add("completed"));
            c.cancel();
            pending::<()>().await;
        })
        .await;
    })
    .await;
    ended.unwrap_err();
    assert_eq!(trace.get(), ["with its parent", "completed"]);
}

#[corymb::test]
async fn a_cancelling_handler_that_comes_late_runs_also_if_the_job_has_not_run() {
    let trace = Trace::default();
    let ended = cancel_scope(async |c| {
        scope(async |s| {
            let child = s.launch(async { unreachable!("a cancelled child ran") });
            c.cancel();
            assert!(child.is_cancelled());
            let seen = trace.clone();
            child.on_cancelling(move |cancelled| seen.add(cancelled.cause()));
            pending::<()>().await;
        })
        .await;
    })
    .await;
    ended.unwrap_err();
    assert_eq!(trace.get(), ["with its parent"]);
}

#[corymb::test]
async fn a_cancelling_handler_runs_also_if_the_job_fails() {
    let trace = Trace::default();
    supervisor_scope(async |s| {
        let child = s.launch(async {
            yield_now().await;
            panic!("failed");
        });
        let seen = trace.clone();
        child.on_cancelling(move |_| seen.add("cancelling"));
        let seen = trace.clone();
        child.on_completion(move |end| {
            assert!(matches!(end, Completion::Failed(_)), "{end:?}");
            seen.add("completed");
        });
    })
    .await;
    assert_eq!(take_failures().len(), 1);
    assert_eq!(trace.get(), ["cancelling", "completed"]);
}

#[corymb::test]
async fn completion_handlers_run_children_first() {
    let trace = Trace::default();
    scope(async |s| {
        let (parent, child) = (trace.clone(), trace.clone());
        let job = s.launch(scope(async move |s| {
            s.launch(yield_now()).on_completion(move |_| child.add("child"));
        }));
        job.on_completion(move |_| parent.add("parent"));
    })
    .await;
    assert_eq!(trace.get(), ["child", "parent"]);
}

#[corymb::test]
async fn a_token_of_a_coroutine_is_cancelled_with_it() {
    scope(async |s| {
        let child = s.launch(pending());
        let token = Job::new(Some(&child));
        assert_eq!(token.parent().as_ref(), Some(&child));
        settle().await;
        child.cancel_and_join().await;
        token.join().await;
        assert_eq!(flags(&token), CANCELLED);
    })
    .await;
}

#[corymb::test]
async fn a_token_keeps_nobody_from_ending() {
    let (_token, job) = scope(async |s| (Job::new(Some(&s.job())), s.job())).await;
    assert_eq!(job.state(), JobState::Completed);
}

#[corymb::test]
async fn a_token_below_a_cancelled_one_has_ended() {
    let parent = Job::new(None);
    parent.cancel();
    let token = Job::new(Some(&parent));
    assert_eq!(flags(&token), CANCELLED);
    token.join().await;
}

#[corymb::test]
async fn a_token_that_has_ended_has_no_parent() {
    let parent = Job::new(None);
    let token = Job::new(Some(&parent));
    token.cancel();
    assert!(token.parent().is_none());
}

#[test]
fn a_token_has_no_name() {
    let token = Job::new(None);
    assert_eq!(token.name(), None);
    assert!(format!("{token:?}").contains(file!()));
    let mut dump = String::new();
    token.dump(&mut dump).unwrap();
    assert!(dump.starts_with("token, active, "), "{dump}");
}

#[corymb::test]
async fn a_cancelling_handler_of_a_token_may_panic() {
    let token = Job::new(None);
    token.on_cancelling(|_| panic!("in the handler"));
    token.cancel_and_join().await;
    let failures = take_failures();
    assert!(failures.len() == 1 && failures[0].contains("in the handler"), "{failures:?}");
}
