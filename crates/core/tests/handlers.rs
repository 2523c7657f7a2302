//! When handlers run, how often, and when they are let go.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use corymb_core::{
    CancelCause, Cancelled, Job, JobState, cancel_scope, scope, supervisor_scope, yield_now,
};

use crate::common::Harness;

/// The causes that the cancelling handler of `job` was called with.
fn causes(job: &Job) -> Arc<Mutex<Vec<Cancelled>>> {
    let causes = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&causes);
    job.on_cancelling(move |cause| keep.lock().unwrap().push(cause.clone()));
    causes
}

#[test]
fn a_cancelling_handler_runs_for_a_coroutine_that_never_suspended() {
    let rt = Harness::new();
    let (early, late) = rt.block_on(async {
        let mut early = None;
        let mut job = None;
        let ended = cancel_scope(async |c| {
            scope(async |s| {
                let child = s.launch(async {});
                early = Some(causes(&child));
                job = Some(child);
                c.cancel();
                yield_now().await;
            })
            .await;
        });
        assert!(ended.await.is_err());
        let job = job.unwrap();
        assert_eq!(job.state(), JobState::Cancelled);
        (early.unwrap(), causes(&job))
    });
    for causes in [early, late] {
        let causes = causes.lock().unwrap();
        assert_eq!(causes.len(), 1);
        assert!(matches!(causes[0].cause(), CancelCause::ParentCancelled));
    }
}

#[test]
fn a_cancelling_handler_interrupts_code_that_does_not_suspend() {
    let rt = Harness::new();
    rt.block_on(async {
        let ended = cancel_scope(async |c| {
            scope(async |s| {
                s.launch(async move {
                    let seen = causes(&Job::current().unwrap());
                    c.cancel();
                    assert_eq!(seen.lock().unwrap().len(), 1, "it ran within the cancel");
                });
                yield_now().await;
            })
            .await;
        });
        assert!(ended.await.is_err());
    });
    assert_eq!(rt.reports(), [""; 0]);
}

#[test]
fn a_cancelling_handler_runs_when_the_job_fails() {
    let rt = Harness::new();
    let (early, late) = rt.block_on(supervisor_scope(async |s| {
        let bad = s.spawn(async { panic!("bad") });
        let job = bad.job();
        let early = causes(&job);
        assert!(bad.outcome().await.is_err());
        (early, causes(&job))
    }));
    assert_eq!((early.lock().unwrap().len(), late.lock().unwrap().len()), (1, 1));
}

#[test]
fn the_handlers_and_the_job_agree_on_the_cause() {
    let rt = Harness::new();
    rt.block_on(async {
        let mut job = None;
        let mut seen = None;
        let _ended = cancel_scope(async |c| {
            scope(async |s| {
                let child = s.launch(pending());
                yield_now().await;
                seen = Some(causes(&child));
                job = Some(child);
                c.job().cancel_with(CancelCause::Deadline);
                assert!(!c.cancel());
                yield_now().await;
            })
            .await;
        })
        .await;
        let seen = seen.unwrap().lock().unwrap().clone();
        assert!(matches!(seen[..], [ref one] if matches!(one.cause(), CancelCause::Deadline)));
        assert!(matches!(job.unwrap().cause().unwrap().cause(), CancelCause::Deadline));
    });
}

#[test]
fn a_job_that_has_ended_lets_go_of_handlers_that_will_never_run() {
    let rt = Harness::new();
    let kept = Arc::new(AtomicUsize::new(0));
    let job = rt.spawn(async {}).job();
    let register = |job: &Job| {
        // What a handler captures may keep the job itself.
        let captured = (Arc::clone(&kept), job.clone());
        job.on_cancelling(move |_| drop(captured));
    };
    register(&job);
    assert_eq!(Arc::strong_count(&kept), 2);
    rt.run();
    assert_eq!(Arc::strong_count(&kept), 1);
    register(&job);
    assert_eq!(Arc::strong_count(&kept), 1);
    assert_eq!(job.state(), JobState::Completed);
}

#[test]
fn a_completion_handler_runs_once_whenever_it_was_registered() {
    let rt = Harness::new();
    let count = Arc::new(AtomicUsize::new(0));
    let job = rt.spawn(async { yield_now().await }).job();
    let register = || {
        let count = Arc::clone(&count);
        job.on_completion(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        })
    };
    let _early = register();
    assert!(register().dispose());
    rt.run();
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert!(!register().dispose());
    assert_eq!(count.load(Ordering::SeqCst), 2);
}
