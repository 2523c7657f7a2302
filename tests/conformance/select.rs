//! `select!`.

use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corymb::prelude::*;
use corymb::select;
use corymb::sync::channel::{self, Receiver};
use corymb::sync::{Mutex, RecvError, SendError, TryRecvError};
use corymb::testing::{advance, elapsed, settle};
use corymb::time::interval;

use crate::common::{Oops, Trace, ms};

#[corymb::test]
async fn select_001_biased_takes_the_first_that_is_ready() {
    for _ in 0..10_000 {
        select! {
            biased,
            () = ready(()) => {}
            () = ready(()) => panic!("the second"),
        }
    }
}

#[corymb::test]
async fn select_002_unbiased_takes_each_now_and_then() {
    let mut taken = [0; 2];
    for _ in 0..10_000 {
        let which = select! {
            () = ready(()) => 0,
            () = ready(()) => 1,
        };
        taken[which] += 1;
    }
    assert!(taken.iter().all(|&it| it >= 2_500), "{taken:?}");
}

/// With room in the channel a receiver that waits is not needed for it.
#[corymb::test]
async fn select_003_a_send_that_need_not_wait_is_taken_at_once() {
    let (trace, seen) = Trace::twice();
    scope(async |s| {
        let (tx, rx) = channel::bounded(1);
        let receiver = s.launch({
            let trace = trace.clone();
            async move { trace.add(rx.recv().await.unwrap()) }
        });
        settle().await;
        select! {
            biased,
            sent = tx.send("received") => trace.add(format!("sent {sent:?}")),
            () = yield_now() => panic!("it has suspended"),
        }
        receiver.join().await;
    })
    .await;
    assert_eq!(seen.get(), ["sent Ok(())", "received"]);
}

#[corymb::test]
async fn select_005_losing_sends_leave_nothing_behind() {
    let (tx, rx) = channel::bounded(1);
    tx.send(0).await.unwrap();
    let alive = Arc::new(());
    let values = channel::bounded::<Arc<()>>(1);
    values.0.send(Arc::clone(&alive)).await.unwrap();
    for n in 1..=1000 {
        let sent = select! {
            _ = tx.send(n) => true,
            _ = values.0.send(Arc::clone(&alive)) => true,
            () = sleep(ms(0)) => false,
        };
        assert!(!sent);
    }
    assert_eq!(Arc::strong_count(&alive), 2);
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(0), Err(TryRecvError::Empty)));
}

#[corymb::test]
async fn select_007_a_receive_of_a_closed_channel_fails() {
    let (tx, rx) = channel::bounded::<u32>(1);
    drop(tx);
    let received = async {
        select! {
            got = rx.recv() => got,
            () = pending() => unreachable!(),
        }
    };
    assert_eq!(received.await, Err(RecvError::Closed));
    // Or it is out, and the others go on.
    let other = select! {
        Ok(_) = rx.recv() => "received",
        () = yield_now() => "the other",
    };
    assert_eq!(other, "the other");
}

/// Channels close without a cause.
#[corymb::test]
async fn select_009_a_receive_that_waits_is_told_of_the_close() {
    scope(async |s| {
        let (tx, rx) = channel::bounded::<u32>(1);
        let told = s.spawn(async move {
            let got = select! {
                got = rx.recv() => got,
                () = pending() => unreachable!(),
            };
            (got, rx.close_cause())
        });
        settle().await;
        tx.close_with(Oops("E"));
        let (got, cause) = told.await;
        assert_eq!(got, Err(RecvError::Closed));
        assert_eq!(cause.unwrap().downcast_ref(), Some(&Oops("E")));
    })
    .await;
}

#[corymb::test]
async fn select_011_what_was_selected_stays_selected() {
    scope(async |s| {
        let ((c1, from_c1), (c2, from_c2)) = (channel::bounded(1), channel::bounded::<&str>(1));
        let selecting = s.spawn(async move {
            select! {
                got = from_c1.recv() => {
                    yield_now().await;
                    assert!(from_c2.is_closed());
                    got
                }
                got = from_c2.recv() => got,
            }
        });
        yield_now().await;
        c1.send("c1").await.unwrap();
        yield_now().await;
        c2.close();
        assert_eq!(selecting.await, Ok("c1"));
    })
    .await;
}

#[corymb::test]
async fn select_012_a_body_runs_when_its_own_coroutine_does() {
    let (trace, seen) = Trace::twice();
    scope(async |s| {
        let (tx, rx) = channel::bounded(1);
        let child = s.launch({
            let trace = trace.clone();
            async move {
                trace.add("3 child");
                select! {
                    got = rx.recv() => {
                        trace.add(format!("6 {got:?}"));
                        yield_now().await;
                        trace.add("8 body");
                    }
                }
                trace.add("9 child");
            }
        });
        trace.add("2 main");
        yield_now().await;
        trace.add("4 main");
        tx.send(42).await.unwrap();
        trace.add("5 main");
        yield_now().await;
        trace.add("7 main");
        yield_now().await;
        trace.add("10 main");
        assert!(child.is_completed());
    })
    .await;
    let expected = [
        "2 main", "3 child", "4 main", "5 main", "6 Ok(42)", "7 main", "8 body", "9 child",
        "10 main",
    ];
    assert_eq!(seen.get(), expected);
}

/// It may: one of them is ready at any time. A send that loses to the receive which made room for
/// it has been sent.
#[corymb::test]
async fn select_014_both_ends_of_a_channel_may_stand_in_one() {
    let (tx, rx) = channel::bounded(1);
    let (mut sent, mut received) = (0, Vec::new());
    for n in 0..1000 {
        select! {
            Ok(()) = tx.send(n) => sent += 1,
            Ok(n) = rx.recv() => received.push(n),
        }
    }
    assert_eq!(sent + received.len(), 1000);
    received.extend(rx.try_recv());
    assert!(received.is_sorted_by(|a, b| a < b) && received.len() >= sent.max(300));
    assert_eq!((tx.try_send(1000), rx.try_recv()), (Ok(()), Ok(1000)));
}

#[corymb::test]
async fn select_016_a_send_into_a_closed_channel_fails_and_earlier_ones_do_not() {
    scope(async |s| {
        let (tx, rx) = channel::bounded(1);
        tx.send(0).await.unwrap();
        let earlier = s.spawn({
            let tx = tx.clone();
            async move { tx.send(1).await }
        });
        settle().await;
        tx.close();
        let failed = select! {
            sent = tx.send(2) => sent,
            () = pending() => unreachable!(),
        };
        assert_eq!(failed, Err(SendError(2)));
        assert_eq!((rx.recv().await, rx.recv().await), (Ok(0), Ok(1)));
        assert_eq!(rx.recv().await, Err(RecvError::Closed));
        assert_eq!(earlier.await, Ok(()));
    })
    .await;
}

#[corymb::test]
async fn select_017_a_failure_that_is_ready_wins_as_a_value_does() {
    let (trace, seen) = Trace::twice();
    let failed = try_scope(async |s| {
        let failing = s.spawn(async { Err::<u32, _>(Oops("E")) });
        let giving = s.spawn(async { Ok(2) });
        settle().await;
        select! {
            biased,
            _ = failing => trace.add("the failed one's"),
            _ = giving => trace.add("the other's"),
        }
        Ok(())
    });
    assert_eq!(failed.await, Err(Oops("E")));
    assert_eq!(seen.get(), [""; 0]);
}

#[corymb::test]
async fn select_018_a_deferred_that_loses_goes_on() {
    let (trace, seen) = Trace::twice();
    scope(async |s| {
        trace.add("1 main");
        let of_first = trace.clone();
        let mut first = s.spawn(async move {
            of_first.add("3 first");
            yield_now().await;
            of_first.add("5 first");
            yield_now().await;
            of_first.add("7 first");
            "first"
        });
        let of_second = trace.clone();
        let second = s.spawn(async move {
            of_second.add("4 second");
            "second"
        });
        trace.add("2 main");
        let got = select! {
            got = &mut first => got,
            got = second => {
                trace.add("6 body");
                yield_now().await;
                trace.add("8 body");
                got
            }
        };
        trace.add("9 main");
        assert_eq!((got, first.await), ("second", "first"));
    })
    .await;
    let expected = [
        "1 main", "2 main", "3 first", "4 second", "5 first", "6 body", "7 first", "8 body",
        "9 main",
    ];
    assert_eq!(seen.get(), expected);
}

#[corymb::test]
async fn select_021_the_end_of_a_job_is_no_failure_however_it_came() {
    supervisor_scope(async |s| {
        let completed = s.launch(async {});
        let cancelled = s.launch(pending::<()>());
        cancelled.cancel();
        settle().await;
        for job in [completed, cancelled] {
            let ended = select! {
                biased,
                _ = job.join() => true,
                () = ready(()) => false,
            };
            assert!(ended);
        }
    })
    .await;
}

#[corymb::test]
async fn select_023_the_shortest_of_some_timeouts() {
    let which = select! {
        () = sleep(ms(1000)) => 1000,
        () = sleep(ms(100)) => 100,
        () = sleep(ms(500)) => 500,
    };
    assert_eq!((which, elapsed()), (100, ms(100)));
    advance(ms(2000)).await;
}

#[corymb::test]
async fn select_024_a_timeout_of_no_time_is_over_at_once() {
    let which = select! {
        () = sleep(ms(1000)) => 1000,
        () = sleep(ms(0)) => 0,
    };
    assert_eq!((which, elapsed()), (0, ms(0)));
}

#[corymb::test]
async fn select_026_a_free_mutex_is_locked_at_once() {
    let mutex = Mutex::new(());
    let guard = select! {
        biased,
        guard = mutex.lock() => guard,
        () = ready(()) => panic!("it was free"),
    };
    assert!(mutex.is_locked());
    drop(guard);
    assert!(!mutex.is_locked());
}

#[corymb::test]
async fn select_028_a_cancel_arrives_before_a_branch_that_is_ready() {
    let (trace, seen) = Trace::twice();
    let failed = try_scope(async |s| {
        let (tx, rx) = channel::bounded(1);
        let child = s.launch(async move {
            tx.send("item").await.unwrap();
            Err(Oops("E"))
        });
        loop {
            select! {
                got = rx.recv() => trace.add(format!("{got:?}")),
                _ = child.join() => trace.add("joined"),
            }
        }
    });
    let failed: Result<(), _> = failed.await;
    assert_eq!(failed, Err(Oops("E")));
    assert_eq!(seen.get(), [""; 0]);
}

#[corymb::test]
async fn select_029_one_body_runs_each_time() {
    let ran = AtomicUsize::new(0);
    for n in 1..=1000 {
        select! {
            () = ready(()) => ran.fetch_add(1, Ordering::Relaxed),
            () = ready(()) => ran.fetch_add(1, Ordering::Relaxed),
        };
        assert_eq!(ran.load(Ordering::Relaxed), n);
    }
}

#[corymb::test]
async fn select_030_a_branch_whose_guard_is_false_is_not_there() {
    let limit = with_timeout(ms(10), async {
        select! {
            () = async { panic!("it was polled") }, if false => {}
            () = pending() => {}
        }
    });
    assert!(limit.await.is_err());
    let got = select! {
        () = async { panic!("it was polled") }, if false => "a branch",
        else => "else",
    };
    assert_eq!(got, "else");
}

#[corymb::test]
async fn select_032_biased_takes_the_first_that_is_ready_though_others_are_pending() {
    let which = select! {
        biased,
        () = pending() => 1,
        () = ready(()) => 2,
        () = ready(()) => 3,
    };
    assert_eq!(which, 2);
}

/// The average of what came between two ticks.
async fn averages(values: Receiver<u32>) -> Vec<f64> {
    let (mut averages, mut window) = (Vec::new(), Vec::new());
    let mut ticks = interval(ms(3000));
    ticks.tick().await; // the first one, at once
    let mut close = |window: &mut Vec<u32>| {
        let values = std::mem::take(window);
        averages.push(f64::from(values.iter().sum::<u32>()) / values.len() as f64);
    };
    loop {
        select! {
            biased,
            got = values.recv() => match got {
                Ok(value) => window.push(value),
                Err(_) => break,
            },
            _ = ticks.tick() => close(&mut window),
        }
    }
    close(&mut window);
    averages
}

#[corymb::test]
async fn select_034_values_and_ticks() {
    let averages = scope(async |s| {
        let (tx, rx) = channel::bounded(1);
        s.launch(async move {
            for value in 1..=7 {
                // In the middle of its second, so that no value comes with a tick.
                sleep(ms(if value == 1 { 500 } else { 1000 })).await;
                tx.send(value).await.unwrap();
            }
        });
        averages(rx).await
    });
    assert_eq!(averages.await, [2.0, 5.0, 7.0]);
}

/// Each takes the fork that is free first, and tries for the other.
#[corymb::test(real)]
async fn stress_016_ten_philosophers_all_eat() {
    const MEALS: usize = 100;
    let forks: Arc<[Mutex<()>; 10]> = Arc::default();
    let meals = scope(async |s| {
        let philosophers = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|n| {
            let forks = Arc::clone(&forks);
            s.spawn(async move {
                let (left, right) = (&forks[n], &forks[(n + 1) % forks.len()]);
                let mut meals = 0;
                while meals < MEALS {
                    let (first, other) = select! {
                        fork = left.lock() => (fork, right),
                        fork = right.lock() => (fork, left),
                    };
                    meals += usize::from(other.try_lock().is_some());
                    drop(first);
                    yield_now().await;
                }
                meals
            })
        });
        let mut all = 0;
        for philosopher in philosophers {
            all += philosopher.await;
        }
        all
    });
    assert_eq!(meals.await, 10 * MEALS);
    assert!(!forks.iter().any(Mutex::is_locked));
}
