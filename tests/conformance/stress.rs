//! Invariants under races, on real threads.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use corymb::prelude::*;
use corymb::{Completion, JobState, JoinError};

#[corymb::test(real)]
async fn stress_007_handlers_that_race_with_the_end_run_once() {
    for round in 0..300 {
        let runs = Arc::new([const { AtomicUsize::new(0) }; 2]);
        supervisor_scope(async |s| {
            let child = s.spawn(async move {
                if round % 2 == 0 {
                    yield_now().await;
                }
            });
            let (completed, cancelled) = (runs.clone(), runs.clone());
            child.job().on_completion(move |end| {
                assert!(matches!(end, Completion::Completed), "{end:?}");
                completed[0].fetch_add(1, Ordering::Relaxed);
            });
            child.job().on_cancelling(move |_| {
                cancelled[1].fetch_add(1, Ordering::Relaxed);
            });
            child.await;
        })
        .await;
        assert_eq!(runs.each_ref().map(|runs| runs.load(Ordering::Relaxed)), [1, 0]);
    }
}

#[corymb::test(real)]
async fn stress_009_the_failure_of_what_ran_outranks_a_cancel_that_races_with_it() {
    for _ in 0..300 {
        let ran = Arc::new(AtomicBool::new(false));
        let in_child = ran.clone();
        let outcome = scope(async move |outer| {
            let racers = outer.clone();
            let parent = outer.spawn(try_scope(async move |s| {
                let job = s.job();
                racers.launch(async move { drop(job.cancel_and_join()) });
                s.launch(async move {
                    in_child.store(true, Ordering::Relaxed);
                    Err("E")
                });
                pending::<Result<(), _>>().await
            }));
            parent.outcome().await
        })
        .await;
        match outcome {
            Ok(result) => assert_eq!(result, Err("E")),
            Err(JoinError::Cancelled(_)) => assert!(!ran.load(Ordering::Relaxed)),
            Err(other) => panic!("{other}"),
        }
    }
}

#[corymb::test(real)]
async fn stress_012_a_join_of_a_failing_child_never_returns() {
    for _ in 0..300 {
        let returned = AtomicBool::new(false);
        let result: Result<(), _> = try_scope(async |s| {
            s.launch(async { Err("E") }).join().await;
            returned.store(true, Ordering::Relaxed);
            Ok(())
        })
        .await;
        assert_eq!(result, Err("E"));
        assert!(!returned.into_inner());
    }
}

#[corymb::test(real)]
async fn stress_029_a_child_that_fails_among_many_ends_them_all() {
    for before in 0..16 {
        for after in 0..16 {
            let mut jobs = Vec::new();
            let result: Result<(), _> = try_scope(async |s| {
                jobs.extend((0..before).map(|_| s.launch(pending())));
                s.launch(async { Err("E") });
                jobs.extend((0..after).map(|_| s.launch(pending())));
                Ok(())
            })
            .await;
            assert_eq!(result, Err("E"));
            assert!(jobs.iter().all(|job| job.state() == JobState::Cancelled));
        }
    }
}

#[corymb::test(real)]
async fn stress_030_waits_that_were_cancelled_leave_nothing_behind() {
    scope(async |s| {
        let long = s.launch(pending());
        let capture = Arc::new(());
        for _ in 0..300 {
            let (job, capture) = (long.clone(), capture.clone());
            let waiter = s.launch(async move {
                job.join().await;
                drop(capture);
            });
            yield_now().await;
            waiter.cancel_and_join().await;
        }
        assert_eq!(Arc::strong_count(&capture), 1);
        long.cancel();
    })
    .await;
}
