//! Programs in many schedules.

use std::collections::HashSet;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use corymb::prelude::*;
use corymb::sync::{Mutex, oneshot};
use corymb::testing::{Explorer, FaultKind};
use futures::FutureExt;

async fn lost_update() {
    let count = Arc::new(Mutex::new(0));
    scope(async |s| {
        for _ in 0..3 {
            let count = Arc::clone(&count);
            s.launch(async move {
                let read = *count.lock().await;
                *count.lock().await = read + 1;
            });
        }
    })
    .await;
    assert_eq!(*count.lock().await, 3, "an update is lost");
}

#[test]
fn a_lost_update_is_found_and_made_short() {
    let found = Explorer::new().check(lost_update).expect_err("an update is lost");
    println!("{found}");
    assert_eq!(found.fault().kind(), FaultKind::Panic);
    let again = Explorer::new().replay(found.schedule().clone()).check(lost_update);
    assert_eq!(again.expect_err("the same").schedule(), found.schedule());
}

#[test]
fn depth_first_is_exhaustive() {
    for (n, steps, bound) in [(3, 3, None), (4, 6, Some(2))] {
        let began = std::time::Instant::now();
        let explored = Explorer::new().depth_first(bound).run(|| async move {
            let count = Arc::new(AtomicU32::new(0));
            scope(async |s| {
                for _ in 0..n {
                    let count = Arc::clone(&count);
                    s.launch(async move {
                        for _ in 1..steps {
                            count.fetch_add(1, Ordering::Relaxed);
                            corymb::consume_budget().await;
                        }
                    });
                }
            })
            .await;
        });
        println!("{explored} {:?}", began.elapsed());
        assert!(explored.is_exhaustive());
    }
}

/// Who waits for a future of others is woken by no operation: what follows is a step of its own.
#[test]
fn what_follows_any_wait_is_a_step_of_its_own() {
    let found = Explorer::new().depth_first(None).check(|| async {
        let (count, lock) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(())));
        let (tell, mut told) = futures::channel::oneshot::channel();
        let (waits, is_waiting) = oneshot::channel();
        let (counted, locked) = (Arc::clone(&count), Arc::clone(&lock));
        scope(async move |s| {
            let (counts, locks) = (Arc::clone(&counted), Arc::clone(&locked));
            s.launch(async move {
                let mut waits = Some(waits);
                let waiting = poll_fn(|cx| {
                    let polled = told.poll_unpin(cx);
                    waits.take().into_iter().for_each(|it| it.send(()).unwrap());
                    polled
                });
                waiting.await.unwrap();
                let read = counts.load(Ordering::SeqCst);
                drop(locks.lock().await);
                counts.store(read + 1, Ordering::SeqCst);
            });
            s.launch(async move {
                is_waiting.await.unwrap();
                tell.send(()).unwrap();
                yield_now().await;
                drop(locked.lock().await);
                counted.fetch_add(1, Ordering::SeqCst);
            });
        })
        .await;
        assert_eq!(count.load(Ordering::SeqCst), 2, "one is lost");
    });
    assert!(found.is_err(), "{}", found.unwrap());
}

#[test]
fn locks_in_two_orders_are_found() {
    let found = Explorer::new().check(|| async {
        let (a, b) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
        scope(async |s| {
            let (a2, b2) = (a.clone(), b.clone());
            s.coroutine().name("ab").launch(async move {
                let _a = a2.lock().await;
                let _b = b2.lock().await;
            });
            s.coroutine().name("ba").launch(async move {
                let _b = b.lock().await;
                let _a = a.lock().await;
            });
        })
        .await;
    });
    println!("{}", found.unwrap_err());
}

/// One that decides less the second time would leave an exploration with decisions that nobody
/// makes any more.
#[test]
fn a_program_that_is_not_the_same_each_time_is_told_of() {
    let runs = AtomicU32::new(0);
    let found = Explorer::new().depth_first(None).check(|| {
        let children = if runs.fetch_add(1, Ordering::Relaxed) == 0 { 3 } else { 0 };
        scope(async move |s| {
            for _ in 0..children {
                s.launch(async {});
            }
        })
    });
    let found = found.unwrap_err();
    assert_eq!(found.fault().kind(), FaultKind::Diverged);
    assert!(found.to_string().contains("another way at decision 1: "), "{found}");
}

/// What is left is cancelled after the failure: no part of the schedule.
#[test]
fn a_deadlock_is_found_again() {
    let locks = || async {
        let (a, b) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
        scope(async |s| {
            for (first, second) in [(a.clone(), b.clone()), (b, a)] {
                s.launch(async move {
                    let _first = first.lock().await;
                    let _second = second.lock().await;
                });
            }
        })
        .await;
    };
    // The place of the call is in the text.
    let check = |explorer: Explorer| explorer.check(locks).unwrap_err();
    let found = check(Explorer::new());
    assert_eq!(found.fault().kind(), FaultKind::Deadlock);
    let schedule = found.schedule().to_string().parse().unwrap();
    let again = check(Explorer::new().replay(schedule));
    assert_eq!(again.fault(), found.fault());
    assert_eq!(again.turns(), found.turns());
}

/// How a body goes wrong that is told what is wrong.
type Wrong = fn(&'static str) -> Pin<Box<dyn Future<Output = Result<(), &'static str>> + Send>>;

/// Fails for the order in which four coroutines run: `rare` takes more decisions than `plain`.
async fn fails_for_its_order(
    first: Arc<OnceLock<&'static str>>,
    wrong: Wrong,
) -> Result<(), &'static str> {
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    scope(async |s| {
        for number in 0..4 {
            let order = Arc::clone(&order);
            s.launch(async move { order.lock().unwrap().push(number) });
        }
    })
    .await;
    let fault = match order.lock().unwrap()[..] {
        [1, ..] => "plain",
        [3, 2, ..] => "rare",
        _ => return Ok(()),
    };
    first.get_or_init(|| fault);
    wrong(fault).await
}

/// A fault that takes fewer decisions is not taken for the one that was found.
#[track_caller]
fn shows_what_was_found(wrong: Wrong) {
    let mut seen = HashSet::new();
    for seed in 0..if cfg!(miri) { 3 } else { 30 } {
        let first = Arc::default();
        let body = || fails_for_its_order(Arc::clone(&first), wrong);
        let found = Explorer::new().random().seed(seed).check(body).expect_err("it is wrong");
        let first = *first.get().expect("it was told");
        assert!(found.fault().to_string().contains(first), "seed {seed} found {first}: {found}");
        seen.insert(first);
    }
    assert!(cfg!(miri) || seen.len() == 2, "both were found: {seen:?}");
}

#[test]
fn an_error_is_not_shrunk_to_another_one() {
    shows_what_was_found(|fault| Box::pin(async move { Err(fault) }));
}

#[test]
fn a_panic_is_not_shrunk_to_another_one_of_its_place() {
    shows_what_was_found(|fault| Box::pin(async move { panic!("it is {fault}") }));
}

#[test]
fn a_deadlock_is_not_shrunk_to_that_of_others() {
    shows_what_was_found(|fault| {
        Box::pin(async move {
            scope(async |s| drop(s.coroutine().name(fault).launch(pending::<()>()))).await;
            Ok(())
        })
    });
}
