//! Job states, join, await, completion handlers, parent-child links.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use corymb::prelude::*;
use corymb::testing::{settle, take_failures};
use corymb::{CancelCause, Completion, JobState, JoinError};
use futures::future::{join_all, try_join_all};

use crate::common::{
    ACTIVE, CANCELLED, CANCELLING, COMPLETED, NEW, Trace, custom, custom_text, flags, ms,
};

/// Counts how often each of `n` completion handlers has run.
fn counted(job: &Job, n: usize) -> (Vec<corymb::Registration>, Vec<Arc<AtomicUsize>>) {
    let counts: Vec<_> = (0..n).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let register = |count: &Arc<AtomicUsize>| {
        let count = count.clone();
        job.on_completion(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        })
    };
    (counts.iter().map(register).collect(), counts)
}

#[test]
fn job_001_a_fresh_job_is_active() {
    let job = Job::new(None);
    assert_eq!(job.parent(), None);
    assert!(job.is_active());
    job.cancel();
    assert!(!job.is_active());
}

#[test]
fn job_002_a_completion_handler_runs_once() {
    let job = Job::new(None);
    let (_, counts) = counted(&job, 1);
    for expected in [0, 1, 1] {
        assert_eq!(counts[0].load(Ordering::Relaxed), expected);
        job.cancel();
    }
}

#[test]
fn job_004_a_handler_that_was_disposed_of_does_not_run() {
    let job = Job::new(None);
    let (registrations, counts) = counted(&job, 12);
    for (i, registration) in registrations.into_iter().enumerate() {
        if i % 4 < 2 {
            assert!(registration.dispose());
        }
    }
    job.cancel();
    for (i, count) in counts.iter().enumerate() {
        assert_eq!(count.load(Ordering::Relaxed), usize::from(i % 4 >= 2), "{i}");
    }
}

/// Differs from the case: the cancel does not fail, each panic is reported by itself.
#[corymb::test]
async fn job_005_a_handler_that_panics_harms_no_other() {
    let job = Job::new(None);
    let trace = Trace::default();
    for i in 0..3 {
        let trace = trace.clone();
        job.on_completion(move |_| {
            trace.add(i);
            panic!("handler {i}");
        });
    }
    assert!(job.cancel());
    assert_eq!(trace.get(), ["0", "1", "2"]);
    assert_eq!(flags(&job), CANCELLED);
    let failures = take_failures();
    assert_eq!(failures.len(), 3);
    assert!(failures[2].contains("handler 2"), "{failures:?}");
}

#[corymb::test]
async fn job_006_a_cancel_does_not_wait_and_a_join_does() {
    let trace = Trace::default();
    scope(async |s| {
        let in_child = trace.clone();
        let parent = s.launch(scope(async move |s| {
            s.launch(async move {
                let _cleanup = in_child.on_drop("cleanup");
                in_child.add("child");
                pending::<()>().await;
            });
        }));
        settle().await;
        parent.cancel();
        trace.add("cancel returns");
        parent.join().await;
        trace.add("join returns");
    })
    .await;
    assert_eq!(trace.get(), ["child", "cancel returns", "cleanup", "join returns"]);
}

#[corymb::test]
async fn job_007_a_cancelling_handler_gets_the_cause_before_a_join_returns() {
    let trace = Trace::default();
    scope(async |s| {
        let child = s.launch(pending());
        let seen = trace.clone();
        child.on_cancelling(move |cancelled| seen.add(cancelled.cause()));
        settle().await;
        child.cancel_and_join().await;
        trace.add("joined");
    })
    .await;
    assert_eq!(trace.get(), ["on request", "joined"]);
}

#[corymb::test]
async fn job_009_a_cancel_goes_down_and_not_up() {
    scope(async |s| {
        let child = s.launch(pending());
        settle().await;
        child.cancel_and_join().await;
        assert_eq!(flags(&child), CANCELLED);
        assert_eq!(flags(&s.job()), ACTIVE);
    })
    .await;
}

#[corymb::test]
async fn job_010_a_failure_goes_up() {
    let jobs = Mutex::new(Vec::new());
    let result: Result<(), _> = try_scope(async |s| {
        let child = s.launch(async { Err("failed") });
        jobs.lock().unwrap().extend([child, s.job()]);
        pending().await
    })
    .await;
    assert_eq!(result, Err("failed"));
    for job in jobs.into_inner().unwrap() {
        assert_eq!(flags(&job), CANCELLED, "{job:?}");
    }
}

#[corymb::test]
async fn job_011_a_job_that_has_completed_has_no_parent() {
    scope(async |s| {
        let child = s.launch(yield_now());
        assert_eq!(child.parent(), Some(s.job()));
        settle().await;
        assert_eq!(child.parent(), None);
        assert_eq!(flags(&child), COMPLETED);
    })
    .await;
}

/// Without the state New, which lazy jobs alone have.
#[corymb::test]
async fn job_012_a_job_that_waits_for_its_children_is_active() {
    let job = scope(async |s| {
        let lazy = s.coroutine().lazy().launch(async {});
        assert_eq!((lazy.state(), flags(&lazy)), (JobState::New, NEW));
        lazy.start();
        assert_eq!((lazy.state(), flags(&lazy)), (JobState::Active, ACTIVE));
        let job = s.job();
        assert_eq!((job.state(), flags(&job)), (JobState::Active, ACTIVE));
        let seen = job.clone();
        s.launch(async move {
            sleep(ms(1)).await;
            assert_eq!((seen.state(), flags(&seen)), (JobState::Completing, ACTIVE));
        });
        job
    })
    .await;
    assert_eq!((job.state(), flags(&job)), (JobState::Completed, COMPLETED));
}

/// The failure reaches the caller of the scope, which this job is: nobody else is told.
#[corymb::test]
async fn job_013_a_late_failure_of_a_child_is_the_parent_s() {
    let jobs = Mutex::new(Vec::new());
    let result = try_scope(async |s| {
        let job = s.job();
        jobs.lock().unwrap().push(job.clone());
        s.launch(async move {
            sleep(ms(1)).await;
            assert_eq!((job.state(), flags(&job)), (JobState::Completing, ACTIVE));
            Err("late")
        });
        Ok(42)
    })
    .await;
    assert_eq!(result, Err("late"));
    assert_eq!(flags(&jobs.into_inner().unwrap()[0]), CANCELLED);
}

/// A child that has run to its first suspension stands in for one that runs in spite of a cancel.
#[corymb::test]
async fn job_014_a_job_that_failed_waits_for_its_children() {
    struct Look(Job, Trace);
    impl Drop for Look {
        fn drop(&mut self) {
            assert_eq!(flags(&self.0), CANCELLING);
            self.1.add("looked");
        }
    }

    let trace = Trace::default();
    let jobs = Mutex::new(Vec::new());
    let result: Result<(), _> = try_scope(async |s| {
        jobs.lock().unwrap().push(s.job());
        let look = Look(s.job(), trace.clone());
        s.launch(async move {
            let _look = look;
            pending().await
        });
        settle().await;
        s.launch(async { Err("failed") });
        pending().await
    })
    .await;
    assert_eq!(result, Err("failed"));
    assert_eq!(trace.get(), ["looked"]);
    assert_eq!(flags(&jobs.into_inner().unwrap()[0]), CANCELLED);
}

#[corymb::test]
async fn job_019_children_see_why_their_parent_was_ended_as_a_cause() {
    let child = Mutex::new(None);
    let ended = cancel_scope(async |c| {
        scope(async |s| {
            *child.lock().unwrap() = Some(s.spawn(pending::<()>()));
            settle().await;
            c.job().cancel_with(custom("failed"));
            pending::<()>().await;
        })
        .await;
    })
    .await;
    assert_eq!(custom_text(&ended.unwrap_err()), "failed");
    let child = child.into_inner().unwrap().unwrap();
    let Err(JoinError::Cancelled(cancelled)) = child.outcome().await else {
        panic!("the child went on");
    };
    assert_eq!(custom_text(&cancelled), "failed");
}

#[corymb::test]
async fn job_028_a_job_that_is_cancelled_before_it_runs_never_does() {
    scope(async |s| {
        let child = s.launch(async { unreachable!("a cancelled job ran") });
        child.cancel_and_join().await;
        assert_eq!(flags(&child), CANCELLED);
    })
    .await;
}

#[corymb::test]
async fn job_030_to_await_all_fails_fast_and_cancels_nobody() {
    supervisor_scope(async |s| {
        let done = s.spawn(async {});
        let failing = s.spawn(async {
            sleep(ms(1)).await;
            panic!("failed");
        });
        let asleep = s.spawn(pending::<()>());
        let jobs = [done.job(), failing.job(), asleep.job()];
        let all = [done.outcome(), failing.outcome(), asleep.outcome()];
        let error = try_join_all(all).await.unwrap_err();
        assert!(matches!(error, JoinError::Panicked(panic) if panic.message() == "failed"));
        assert_eq!(jobs.each_ref().map(flags), [COMPLETED, CANCELLED, ACTIVE]);
        jobs[2].cancel();
    })
    .await;
}

#[corymb::test]
async fn job_031_to_await_all_gives_the_results_in_the_order_of_the_arguments() {
    let results = scope(async |s| {
        let after = |millis| {
            s.spawn(async move {
                sleep(ms(millis)).await;
                millis
            })
        };
        join_all([after(20), after(10)]).await
    });
    assert_eq!(results.await, [20, 10]);
}

#[corymb::test]
async fn job_034_to_await_all_fails_at_once_if_one_has_failed_already() {
    supervisor_scope(async |s| {
        let failed = s.spawn(async { panic!("failed") });
        settle().await;
        let queued = s.spawn(async { unreachable!("it ran") });
        let job = queued.job();
        try_join_all([failed.outcome(), queued.outcome()]).await.unwrap_err();
        assert_eq!(flags(&job), ACTIVE);
        job.cancel();
    })
    .await;
}

#[corymb::test]
async fn job_036_the_first_cause_stands_and_handlers_run_in_two_phases() {
    let trace = Trace::default();
    let child = Mutex::new(None);
    let result: Result<(), _> = try_scope(async |s| {
        let in_child = trace.clone();
        let job = s.launch(async move {
            let me = Job::current().unwrap();
            me.cancel_with(custom("first"));
            in_child.add("cancel returns");
            Err("second")
        });
        let seen = trace.clone();
        job.on_cancelling(move |cancelled| seen.add(custom_text(cancelled)));
        let seen = trace.clone();
        job.on_completion(move |end| {
            assert!(matches!(end, Completion::Failed(_)), "{end:?}");
            seen.add("completed");
        });
        *child.lock().unwrap() = Some(job);
        pending().await
    })
    .await;
    assert_eq!(result, Err("second"));
    assert_eq!(trace.get(), ["first", "cancel returns", "completed"]);
    let child = child.into_inner().unwrap().unwrap();
    assert_eq!(custom_text(&child.cause().unwrap()), "first");
}

#[corymb::test]
async fn a_token_is_told_why_it_was_cancelled() {
    let token = Job::new(None);
    token.cancel_with(CancelCause::Deadline);
    assert!(matches!(token.cause().unwrap().cause(), CancelCause::Deadline));
    token.join().await;
}
