//! Launching, and blocking on what was launched.

use std::future::pending;
use std::time::Duration;

use corymb::prelude::*;
use corymb::sync::oneshot;
use corymb::testing::{TestRuntime, settle};
use corymb::{CancelCause, JobState, JoinError, Runtime};

use crate::common::{
    ACTIVE, CANCELLED, CANCELLING, COMPLETED, NEW, Trace, custom, custom_text, flags,
};

fn runtime() -> Runtime {
    Runtime::builder().parallelism(1).build().unwrap()
}

#[corymb::test]
async fn builder_001_a_launch_does_not_run_inline() {
    let trace = Trace::default();
    scope(async |s| {
        trace.add(1);
        let in_child = trace.clone();
        let child = s.launch(async move {
            in_child.add(3);
            yield_now().await;
            in_child.add(4);
        });
        trace.add(2);
        assert_eq!(flags(&child), ACTIVE);
        child.join().await;
        assert_eq!(flags(&child), COMPLETED);
        trace.add(5);
    })
    .await;
    assert_eq!(trace.get(), ["1", "2", "3", "4", "5"]);
}

#[corymb::test]
async fn builder_002_an_undispatched_launch_runs_to_its_first_suspension() {
    let trace = Trace::default();
    scope(async |s| {
        trace.add(1);
        let in_child = trace.clone();
        let child = s.coroutine().undispatched().launch(async move {
            in_child.add(2);
            yield_now().await;
            in_child.add(4);
        });
        trace.add(3);
        child.join().await;
        trace.add(5);
    })
    .await;
    assert_eq!(trace.get(), ["1", "2", "3", "4", "5"]);
}

#[corymb::test]
async fn builder_004_a_scope_waits_for_its_child() {
    let trace = Trace::default();
    scope(async |s| {
        let in_child = trace.clone();
        s.launch(async move {
            yield_now().await;
            in_child.add("child");
        });
        trace.add("body");
    })
    .await;
    trace.add("caller");
    assert_eq!(trace.get(), ["body", "child", "caller"]);
}

#[corymb::test]
async fn builder_006_a_cancelled_child_cleans_up_and_does_not_go_on() {
    let trace = Trace::default();
    scope(async |s| {
        let in_child = trace.clone();
        let child = s.launch(async move {
            let _cleanup = in_child.on_drop("cleanup");
            pending::<()>().await;
            in_child.add("after");
        });
        settle().await;
        child.cancel();
    })
    .await;
    assert_eq!(trace.get(), ["cleanup"]);
}

#[corymb::test]
async fn builder_008_a_join_of_what_has_failed_is_where_the_parent_ends() {
    let trace = Trace::default();
    let result = try_scope(async |s| {
        let child = s.coroutine().undispatched().launch(async { Err("E") });
        trace.add("launched");
        child.cancel_and_join().await;
        trace.add("joined");
        Ok(())
    })
    .await;
    assert_eq!(result, Err("E"));
    assert_eq!(trace.get(), ["launched"]);
}

#[corymb::test]
async fn builder_010_a_failed_parent_ends_after_its_child_s_shielded_cleanup() {
    let trace = Trace::default();
    let in_child = trace.clone();
    supervisor_scope(async |s| {
        let parent = s.spawn(scope(async move |inner| {
            inner.coroutine().undispatched().launch(finally(pending(), move || async move {
                yield_now().await;
                in_child.add("cleaned up");
            }));
            panic!("E");
        }));
        parent.job().join().await;
        trace.add("joined");
        assert!(matches!(parent.outcome().await, Err::<(), _>(JoinError::Panicked(_))));
    })
    .await;
    assert_eq!(trace.get(), ["cleaned up", "joined"]);
}

/// A child that has begun stands in for one that runs in spite of a cancel.
#[corymb::test]
async fn builder_011_a_failure_outranks_a_cancel_that_came_before_it() {
    supervisor_scope(async |s| {
        let child = s.coroutine().undispatched().spawn(shield(async {
            yield_now().await;
            panic!("E")
        }));
        child.job().cancel_with(custom("C"));
        let job = child.job();
        let outcome: Result<(), _> = child.outcome().await;
        let Err(JoinError::Panicked(panic)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(panic.message(), "E");
        assert_eq!(custom_text(&job.cause().unwrap()), "C");
    })
    .await;
}

#[corymb::test]
async fn builder_015_a_failure_that_a_handle_could_give_is_not_reported() {
    supervisor_scope(async |s| {
        let failing = s.spawn(async { panic!("kept") });
        failing.job().join().await;
        assert!(failing.job().is_cancelled());
        drop(failing);
    })
    .await;
}

/// There is no loop to be reused: children go to the pool, and each call blocks its own thread.
#[test]
fn builder_025_blocking_inside_of_blocking() {
    let trace = Trace::default();
    let rt = runtime();
    rt.run_blocking(async {
        trace.add(1);
        run_blocking(async {
            trace.add(2);
            yield_now().await;
            trace.add(3);
        });
        trace.add(4);
        yield_now().await;
        trace.add(5);
    });
    trace.add(6);
    assert_eq!(trace.get(), ["1", "2", "3", "4", "5", "6"]);
}

#[test]
fn builder_026_what_blocks_a_worker_can_wait_for_what_is_queued_behind_it() {
    let rt = runtime();
    let answer = rt.run_blocking(rt.detached(scope(async |s| {
        let (sender, receiver) = oneshot::channel();
        s.launch(async move { sender.send("OK").unwrap() });
        run_blocking(receiver).unwrap()
    })));
    assert_eq!(answer, "OK");
}

#[test]
fn builder_027_blocking_on_what_cancels_itself() {
    let trace = Trace::default();
    let cancelled = runtime().try_run_blocking(async {
        let _cleanup = trace.on_drop("cleanup");
        Job::current().unwrap().cancel();
        sleep(Duration::from_secs(3600)).await;
        trace.add("after");
    });
    assert!(matches!(cancelled.unwrap_err().cause(), CancelCause::Requested));
    assert_eq!(trace.get(), ["cleanup"]);
}

/// The pool runs on when a blocking call has returned: a shutdown is what waits.
#[test]
fn builder_029_what_was_cancelled_cleans_up_before_a_shutdown_returns() {
    let trace = Trace::default();
    let rt = runtime();
    let in_detached = trace.clone();
    let (started, start) = oneshot::channel();
    let detached = rt.detached(async move {
        let _cleanup = in_detached.on_drop("cleanup");
        started.send(()).unwrap();
        pending::<()>().await;
    });
    let ended = rt.try_run_blocking(async {
        start.await.unwrap();
        detached.job().cancel();
        Job::current().unwrap().cancel();
        pending::<()>().await;
    });
    ended.unwrap_err();
    assert!(rt.shutdown(Duration::from_secs(10)).is_empty());
    assert_eq!(trace.get(), ["cleanup"]);
}

#[test]
fn builder_030_a_panic_harms_nothing_but_its_coroutine() {
    let trace = Trace::default();
    let rt = runtime();
    let guard = trace.on_drop("dropped");
    let panicking = rt.detached(async move {
        let _guard = guard;
        panic!("boom");
    });
    let outcome = rt.run_blocking(panicking.outcome());
    assert!(matches!(outcome, Err(JoinError::Panicked(panic)) if panic.message() == "boom"));
    assert_eq!(trace.get(), ["dropped"]);
    assert_eq!(rt.run_blocking(rt.detached(async { 42 })), 42);
}

/// Of the loops on one thread, the test runtime is the one that there is.
#[test]
fn builder_032_nothing_runs_before_somebody_blocks_on_it() {
    let trace = Trace::default();
    let rt = TestRuntime::new();
    let in_child = trace.clone();
    let child = rt.scope().spawn(async move {
        in_child.add("child");
        42
    });
    assert_eq!(trace.get(), Vec::<String>::new());
    assert_eq!(rt.run(child), 42);
    assert_eq!(trace.get(), ["child"]);
}

#[corymb::test]
async fn builder_018_a_lazy_value_is_made_when_it_is_awaited() {
    scope(async |s| {
        let lazy = s.coroutine().lazy().spawn(async {
            yield_now().await;
            42
        });
        let job = lazy.job();
        settle().await;
        assert_eq!(flags(&job), NEW);
        let seen = job.clone();
        let other = s.spawn(async move {
            while !seen.is_active() {
                yield_now().await;
            }
            flags(&seen)
        });
        assert_eq!(lazy.await, 42);
        assert_eq!(flags(&job), COMPLETED);
        assert_eq!(other.await, ACTIVE);
    })
    .await;
}

#[corymb::test]
async fn builder_020_what_was_cancelled_before_its_start_never_runs() {
    scope(async |s| {
        let lazy = s.coroutine().lazy().spawn(async { unreachable!("it was cancelled") });
        let job = lazy.job();
        job.cancel();
        assert_eq!(flags(&job), CANCELLING);
        assert!(!job.start());
        let outcome: Result<(), _> = lazy.outcome().await;
        assert!(matches!(outcome, Err(JoinError::Cancelled(_))));
        assert_eq!(flags(&job), CANCELLED);
    })
    .await;
}

#[corymb::test]
async fn builder_022_a_join_starts_what_is_lazy() {
    let trace = Trace::default();
    scope(async |s| {
        let in_child = trace.clone();
        let lazy = s.coroutine().lazy().launch(async move {
            yield_now().await;
            in_child.add("child");
        });
        yield_now().await;
        trace.add("yielded");
        lazy.join().await;
        trace.add("joined");
    })
    .await;
    assert_eq!(trace.get(), ["yielded", "child", "joined"]);
}

#[corymb::test]
async fn builder_024_lazy_children_that_nobody_starts_are_listed() {
    let jobs = scope(async |s| {
        let first = s.coroutine().lazy().launch(async {});
        let second = s.coroutine().lazy().spawn(async { 2 }).job();
        assert_eq!(s.job().children(), [first.clone(), second.clone()]);
        [first, second].map(|job| {
            assert_eq!(job.state(), JobState::New);
            job
        })
    })
    .await;
    for job in jobs {
        assert_eq!(flags(&job), CANCELLED);
    }
}
