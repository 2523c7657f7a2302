//! Contexts: dispatchers, names, failure handlers.

use std::future::pending;

use corymb::FailureHandler;
use corymb::prelude::*;
use corymb::testing::{settle, take_failures};

use crate::common::{CANCELLED, Trace, flags};

/// What a dispatcher is called in a context.
fn kind(context: &Context) -> &'static str {
    match context.dispatcher() {
        None => "none",
        Some(Dispatcher::Default) => "default",
        Some(Dispatcher::Io) => "io",
        Some(Dispatcher::Unconfined) => "unconfined",
        Some(_) => "other",
    }
}

#[corymb::test]
async fn context_010_the_right_dispatcher_wins_and_default_is_what_there_is_without_one() {
    let contexts = [
        || Context::new(),
        || Dispatcher::Default.into(),
        || Dispatcher::Io.into(),
        || Dispatcher::Unconfined.into(),
    ];
    for left in contexts {
        for right in contexts {
            let (left, right): (Context, Context) = (left(), right());
            let expected = if kind(&right) == "none" { kind(&left) } else { kind(&right) };
            assert_eq!(kind(&left.and(right)), expected);
        }
    }
    let in_child = scope(async |s| s.spawn(async { kind(&Context::current()) }).await);
    assert_eq!(in_child.await, "default");
}

#[test]
fn context_013_there_is_a_job_inside_of_a_coroutine_alone() {
    assert_eq!(Job::current(), None);
    corymb::testing::TestRuntime::new().run(scope(async |s| {
        let child = s.spawn(async { Job::current() });
        let job = child.job();
        assert_eq!(child.await, Some(job));
    }));
}

/// A name stands in for a task-local value.
#[corymb::test]
async fn context_014_what_is_dropped_by_a_cancel_is_dropped_in_its_context() {
    struct Look(Trace);
    impl Drop for Look {
        fn drop(&mut self) {
            self.0.add(Context::current().name().unwrap());
        }
    }
    let trace = Trace::default();
    scope(async |s| {
        let look = Look(trace.clone());
        let child = s.coroutine().name("child").launch(async move {
            let _look = look;
            pending::<()>().await;
        });
        settle().await;
        child.cancel_and_join().await;
        assert_eq!(flags(&child), CANCELLED);
    })
    .await;
    assert_eq!(trace.get(), ["child"]);
}

#[corymb::test]
async fn context_017_a_failure_handler_is_given_a_failure_once() {
    let trace = Trace::default();
    supervisor_scope(async |s| {
        let child = s.coroutine().context(trace.handler()).launch(async { panic!("E") });
        child.join().await;
        assert_eq!(flags(&child), CANCELLED);
    })
    .await;
    assert_eq!(trace.get(), ["E"]);
}

#[corymb::test]
async fn context_019_a_failure_handler_that_fails_is_reported_with_what_it_was_given() {
    supervisor_scope(async |s| {
        let handler = FailureHandler::new(|_| panic!("E2"));
        s.coroutine().context(handler).launch(async { panic!("E1") });
    })
    .await;
    let failures = take_failures();
    assert!(failures[0].contains("E1") && failures[1].contains("E2"), "{failures:?}");
}
