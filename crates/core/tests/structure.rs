//! Scopes, failures and cancellation, on one thread.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corymb_core::time::sleep;
use corymb_core::{
    CancelCause, Job, JobState, JoinError, TryScope, cancel_scope, scope, supervisor_scope,
    try_scope, try_scope_all, yield_now,
};

use crate::common::{Harness, Trace};

#[test]
fn a_scope_gives_its_body_s_value_after_its_children() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let sum = rt.block_on(async move {
        let t = &t;
        let sum = scope(async |s| {
            for i in 0..3 {
                let t = t.clone();
                s.launch(async move {
                    for _ in 0..i {
                        yield_now().await;
                    }
                    t.add("child");
                });
            }
            let a = s.spawn(async { 1 });
            let b = s.spawn(async { 2 });
            a.await + b.await
        })
        .await;
        t.add("after");
        sum
    });
    assert_eq!(sum, 3);
    assert_eq!(trace.get(), ["child", "child", "child", "after"]);
}

#[test]
fn a_panic_cancels_the_siblings_and_goes_on_in_the_caller() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let outcome = rt.spawn(async move {
        let t = &t;
        scope(async |s| {
            let guard = t.on_drop("sibling");
            s.launch(async move {
                let _guard = guard;
                pending::<()>().await;
            });
            let _guard = t.on_drop("body");
            yield_now().await;
            s.spawn(async { panic!("boom") }).await
        })
        .await
    });
    rt.run();
    let outcome = rt.block_on(outcome.outcome());
    let Err(JoinError::Panicked(panic)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(panic.message(), "boom");
    assert_eq!(trace.get().len(), 2);
}

#[test]
fn try_scope_returns_the_first_error_and_keeps_the_later_ones() {
    let rt = Harness::new();
    let result: Result<u32, &str> = rt.block_on(try_scope(async |s| {
        let one = s.spawn(async { Ok(1) });
        let two = s.spawn(async { Err::<u32, _>("two failed") });
        Ok(one.await + two.await)
    }));
    assert_eq!(result, Err("two failed"));

    let all = rt.block_on(try_scope_all::<(), _, _, _>(async |s| {
        s.launch(async { Err("a") });
        s.launch(async { Err("b") });
        yield_now().await;
        Ok(())
    }));
    let failures = all.unwrap_err();
    // The second one was cancelled before it ran.
    assert_eq!((*failures.first(), failures.suppressed()), ("a", &[][..]));
}

#[test]
fn a_supervisor_keeps_going() {
    let rt = Harness::new();
    let value = rt.block_on(supervisor_scope(async |s| {
        let bad = s.spawn(async {
            panic!("bad");
        });
        s.launch(async { panic!("worse") });
        let good = s.spawn(async { 7 });
        assert!(bad.outcome().await.is_err());
        good.await
    }));
    assert_eq!(value, 7);
    let reports = rt.reports();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(reports[0].contains("worse"), "{reports:?}");
}

#[test]
fn a_cancel_scope_ends_only_what_is_inside() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let (inner, after) = rt.block_on(async move {
        let t = &t;
        let inner: Result<(), _> = cancel_scope(async |c| {
            scope(async |s| {
                let guard = t.on_drop("child");
                s.launch(async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
                yield_now().await;
                c.cancel();
                yield_now().await;
                unreachable!("a cancelled body went on");
            })
            .await;
        })
        .await;
        t.add("after");
        (inner, 5)
    });
    assert!(matches!(inner.unwrap_err().cause(), CancelCause::Requested));
    assert_eq!(after, 5);
    assert_eq!(trace.get(), ["child", "after"]);
}

#[test]
fn dropping_a_scope_cancels_its_children_and_the_job_waits() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    rt.block_on(async move {
        let mut lost = Box::pin(scope({
            let t = t.clone();
            async move |s: corymb_core::Scope| {
                let guard = t.on_drop("child");
                s.launch(async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
                pending::<()>().await;
            }
        }));
        assert!(futures::poll!(lost.as_mut()).is_pending());
        yield_now().await;
        drop(lost);
        t.add("dropped");
        yield_now().await;
        t.add("end");
    });
    assert_eq!(trace.get(), ["dropped", "child", "end"]);
}

#[test]
fn a_forgotten_scope_is_cancelled_and_awaited() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    rt.block_on(async move {
        let mut lost = Box::pin(scope({
            let t = t.clone();
            async move |s: corymb_core::Scope| {
                let guard = t.on_drop("child");
                s.launch(async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
                pending::<()>().await;
            }
        }));
        assert!(futures::poll!(lost.as_mut()).is_pending());
        yield_now().await;
        if cfg!(miri) {
            drop(lost);
        } else {
            std::mem::forget(lost);
        }
        t.add("end");
    });
    assert_eq!(trace.get(), ["end", "child"]);
}

#[test]
fn job_states_and_the_tree() {
    let rt = Harness::new();
    let job = rt.spawn(async { scope(async |s| drop(s.spawn(pending::<()>()))).await }).job();
    assert_eq!(job.state(), JobState::Active);
    rt.run();
    assert_eq!(job.state(), JobState::Active);
    let region = job.children().pop().unwrap();
    assert_eq!(region.parent().as_ref(), Some(&job));
    assert_eq!(region.children().len(), 1);
    assert!(job.cancel());
    assert!(!job.cancel());
    assert_eq!(job.state(), JobState::Cancelling);
    assert!(region.children()[0].is_cancelled());
    rt.run();
    assert_eq!(job.state(), JobState::Cancelled);
    assert!(region.is_completed());
    assert_eq!(job.parent(), None);
    assert!(matches!(job.cause().unwrap().cause(), CancelCause::Requested));
}

#[test]
fn a_cause_stands_though_the_job_fails_later() {
    for panics in [true, false] {
        let rt = Harness::new();
        let known = Arc::new(Mutex::new(None));
        let knows = known.clone();
        let job = rt.scope().launch(async move {
            let failing = try_scope(async |s| {
                let scope = s.job();
                let child = s.launch(async move {
                    sleep(Duration::from_secs(1)).await;
                    scope.cancel();
                    assert!(!panics, "on purpose");
                    Err(())
                });
                *knows.lock().unwrap() = Some(child);
                pending::<Result<(), ()>>().await
            });
            let _never = failing.await;
        });
        rt.run();
        rt.pass(Duration::from_secs(1));
        rt.run();
        assert!(job.is_completed());
        let child = known.lock().unwrap().take().unwrap();
        let cause = child.cause().unwrap();
        assert!(matches!(cause.cause(), CancelCause::ParentCancelled), "{cause}");
    }
}

#[test]
fn a_launch_after_the_runtime_s_end_is_cancelled_by_the_shutdown() {
    let rt = Harness::new();
    let scope = rt.scope();
    drop(rt);
    let late = scope.launch(async { unreachable!("it was polled") });
    assert!(matches!(late.cause().unwrap().cause(), CancelCause::Shutdown));
}

#[test]
fn a_join_of_oneself_is_a_clear_panic() {
    let rt = Harness::new();
    let outcome = rt.spawn(async {
        let me = Job::current().unwrap();
        me.join().await;
    });
    rt.run();
    let outcome = rt.block_on(outcome.outcome());
    assert!(outcome.unwrap_err().to_string().contains("by itself"));
}

#[test]
fn tokens() {
    let fired = Arc::new(Mutex::new(Vec::new()));
    let parent = Job::new(None);
    let child = Job::new(Some(&parent));
    for (name, job) in [("parent", &parent), ("child", &child)] {
        let fired = fired.clone();
        job.on_completion(move |_| fired.lock().unwrap().push(name));
    }
    assert!(parent.is_active() && parent.parent().is_none());
    parent.cancel();
    assert_eq!(child.state(), JobState::Cancelled);
    assert!(matches!(child.cause().unwrap().cause(), CancelCause::ParentCancelled));
    assert_eq!(fired.lock().unwrap().len(), 2);
}

#[test]
fn an_error_of_the_body_cancels_the_children() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let result: Result<(), _> = rt.block_on(try_scope_all(async move |s: TryScope<&str>| {
        let guard = t.on_drop("child");
        s.launch(async move {
            let _guard = guard;
            pending::<()>().await;
            Ok(())
        });
        yield_now().await;
        Err("body")
    }));
    assert_eq!(result.unwrap_err().into_parts(), ("body", Vec::new()));
    assert_eq!(trace.get(), ["child"]);
}

#[test]
fn an_error_that_the_scope_s_future_did_not_take_is_reported() {
    let rt = Harness::new();
    rt.block_on(async {
        let mut lost = Box::pin(try_scope::<(), &str, _, _>(async |s: TryScope<&str>| {
            s.launch(async { Err("lost") });
            pending::<()>().await;
            Ok(())
        }));
        assert!(futures::poll!(lost.as_mut()).is_pending());
        yield_now().await;
        drop(lost);
    });
    let reports = rt.reports();
    assert!(reports.len() == 1 && reports[0].contains("&str"), "{reports:?}");
}
