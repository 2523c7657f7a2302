//! Invariants under races, on real threads.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use corymb::prelude::*;
use corymb::sync::Latch;
use corymb::{Completion, Continuation, JobState, JoinError, Runtime, suspend_cancellable};

#[corymb::test(real)]
async fn stress_006_a_value_that_races_with_a_cancel_is_taken_or_undone() {
    for round in 0..500 {
        let (taken, undone) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let outcome = scope(async |s| {
            let kept: Arc<Mutex<Option<Continuation<u32>>>> = Arc::default();
            let (slot, counts) = (kept.clone(), taken.clone());
            let waiter = s.spawn(async move {
                let value = suspend_cancellable(move |cont| *slot.lock().unwrap() = Some(cont));
                assert_eq!(value.await.unwrap(), 7);
                counts.fetch_add(1, Ordering::SeqCst);
            });
            let cont = loop {
                let suspended = kept.lock().unwrap().take();
                if let Some(cont) = suspended {
                    break cont;
                }
                yield_now().await;
            };
            let (job, counts) = (waiter.job().clone(), undone.clone());
            let cancels = s.launch(async move {
                job.cancel();
            });
            if round % 2 == 0 {
                yield_now().await;
            }
            cont.resume_or(7, move |_| {
                counts.fetch_add(1, Ordering::SeqCst);
            });
            cancels.join().await;
            waiter.outcome().await
        })
        .await;
        let counts = [taken, undone].map(|count| count.load(Ordering::SeqCst));
        match outcome {
            Ok(()) => assert_eq!(counts, [1, 0]),
            Err(JoinError::Cancelled(_)) => assert_eq!(counts, [0, 1]),
            Err(other) => panic!("{other}"),
        }
    }
}

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
async fn stress_022_what_is_launched_inside_and_outside_runs_once() {
    const THREADS: usize = 2;
    const EACH: usize = 500;
    let runs: Arc<[[AtomicUsize; 2]; THREADS * EACH]> =
        Arc::new([const { [const { AtomicUsize::new(0) }; 2] }; THREADS * EACH]);
    scope(async |s| {
        let launched = Arc::new(Latch::new(1));
        for first in [0, EACH] {
            let (s, runs, hold) = (s.clone(), runs.clone(), launched.hold());
            thread::spawn(move || {
                for n in first..first + EACH {
                    let (inside, runs) = (s.clone(), runs.clone());
                    s.launch(async move {
                        runs[n][0].fetch_add(1, Ordering::Relaxed);
                        inside.launch(async move {
                            yield_now().await;
                            runs[n][1].fetch_add(1, Ordering::Relaxed);
                        });
                    });
                }
                drop(hold);
            });
        }
        launched.count_down();
        launched.wait().await;
    })
    .await;
    assert!(runs.iter().flatten().all(|runs| runs.load(Ordering::Relaxed) == 1));
}

/// A round in which a worker slept on would not end: nothing makes up for those that block.
#[test]
fn stress_024_each_launch_finds_a_worker_as_long_as_one_is_missing() {
    const WORKERS: usize = 3;
    let runtime = Runtime::builder().parallelism(WORKERS);
    let runtime = runtime.blocked_threshold(Duration::from_secs(3600)).build().unwrap();
    for round in 0..300 {
        let together = Arc::new(Barrier::new(WORKERS + 1));
        let meet = together.clone();
        let launch_all = move |s: Scope| {
            for _ in 0..WORKERS {
                let meet = meet.clone();
                s.launch(async move {
                    meet.wait();
                });
            }
        };
        thread::scope(|threads| {
            threads.spawn(|| {
                runtime.run_blocking(scope(async |s| {
                    if round % 2 == 0 {
                        launch_all(s);
                    } else {
                        let inside = s.clone();
                        s.launch(async move { launch_all(inside) });
                    }
                }));
            });
            together.wait();
        });
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
