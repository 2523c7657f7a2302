//! The clock of a test, and what controls it.

use std::env;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corymb_core::hooks::{self, Choice};
use corymb_core::time::{interval, now, sleep, with_timeout};
use corymb_core::{scope, yield_now};
use corymb_testing::{TestRuntime, advance, busy, elapsed, settle, take_failures};

mod common;

use common::failure;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Differs from the case: what is due at the very end has run. To stop before that, stop earlier.
#[test]
fn vtime_001_an_advance_runs_what_is_due_at_its_end() {
    TestRuntime::new().run(scope(async |s| {
        let due = s.launch(sleep(ms(15)));
        advance(ms(15) - Duration::from_nanos(1)).await;
        assert!(due.is_active());
        advance(Duration::from_nanos(1)).await;
        assert!(due.is_completed());
        assert_eq!(elapsed(), ms(15));
    }));
}

#[test]
fn vtime_002_an_advance_goes_through_every_timer_on_its_way() {
    let stages = Arc::new(Mutex::new(Vec::new()));
    let seen = stages.clone();
    TestRuntime::new().run(scope(async move |s| {
        s.launch(async move {
            stages.lock().unwrap().push((1, elapsed()));
            for (stage, pause) in [(2, 1000), (3, 500), (4, 501)] {
                sleep(ms(pause)).await;
                stages.lock().unwrap().push((stage, elapsed()));
            }
        });
        advance(ms(2000)).await;
        assert_eq!(elapsed(), ms(2000));
        assert_eq!(*seen.lock().unwrap(), [(1, ms(0)), (2, ms(1000)), (3, ms(1500))]);
        advance(ms(2)).await;
        assert_eq!(elapsed(), ms(2002));
        assert_eq!(seen.lock().unwrap()[3], (4, ms(2001)));
    }));
}

/// Durations are never negative; one that the clock cannot show is what is left of the case.
#[test]
fn vtime_005_an_advance_that_cannot_be_is_refused() {
    let runtime = TestRuntime::new();
    let message = failure(|| runtime.run(async { advance(Duration::MAX).await }));
    assert!(message.contains("the virtual clock ends before that"), "{message}");
    assert_eq!(runtime.elapsed(), Duration::ZERO);
}

#[test]
fn vtime_006_timers_go_by_their_instant_then_by_their_registration() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    TestRuntime::new().run(scope(async move |s| {
        for (i, pause) in [30, 10, 20, 10, 30, 20, 10].into_iter().enumerate() {
            let order = order.clone();
            s.launch(async move {
                sleep(ms(pause)).await;
                order.lock().unwrap().push((elapsed(), i));
            });
        }
    }));
    let expected = [(10, 1), (10, 3), (10, 6), (20, 2), (20, 5), (30, 0), (30, 4)];
    assert_eq!(*seen.lock().unwrap(), expected.map(|(at, i)| (ms(at), i)));
}

/// Differs from the case, where a timeout of exactly the work's time wins: the result does.
#[test]
fn vtime_007_at_the_edge_of_a_timeout_the_result_wins() {
    let work = || async {
        sleep(ms(5)).await;
        sleep(ms(5)).await;
    };
    TestRuntime::new().run(async move {
        assert!(with_timeout(ms(11), work()).await.is_ok());
        assert!(with_timeout(ms(10), work()).await.is_ok());
        assert!(with_timeout(ms(9), work()).await.is_err());
    });
}

#[test]
fn vtime_012_a_ticker_runs_only_as_far_as_the_clock_moves() {
    let ticks = Arc::new(Mutex::new(0));
    let seen = ticks.clone();
    TestRuntime::new().run(scope(async move |s| {
        let ticker = s.launch(async move {
            let mut interval = interval(ms(10));
            loop {
                interval.tick().await;
                *ticks.lock().unwrap() += 1;
            }
        });
        sleep(ms(35)).await;
        assert_eq!(*seen.lock().unwrap(), 4);
        settle().await;
        assert_eq!(*seen.lock().unwrap(), 4);
        advance(ms(5)).await;
        assert_eq!(*seen.lock().unwrap(), 5);
        ticker.cancel();
    }));
}

#[test]
fn vtime_014_a_runtime_inside_another_one_is_refused() {
    let message = failure(|| {
        TestRuntime::new().run(async {
            TestRuntime::new().run(async {});
        });
    });
    assert!(message.contains("await the future there"), "{message}");
}

#[test]
fn vtime_019_sleeps_move_the_clock_by_exactly_their_sum() {
    let runtime = TestRuntime::new();
    runtime.run(async {
        for i in 0..10 {
            let before = now();
            sleep(i * Duration::from_secs(10)).await;
            assert_eq!(now() - before, i * Duration::from_secs(10));
        }
    });
    assert_eq!(runtime.elapsed(), Duration::from_secs(450));
}

#[test]
fn vtime_021_the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let runtime = TestRuntime::builder().seed(seed).shuffled().build();
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = log.clone();
        runtime.run(scope(async move |s| {
            for i in 0..5 {
                let log = log.clone();
                s.launch(async move {
                    for _ in 0..5 {
                        let pause = hooks::with(|runtime| runtime.choose(Choice::Branch, 4));
                        sleep(ms(pause as u64)).await;
                        log.lock().unwrap().push((elapsed(), i));
                    }
                });
            }
        }));
        let log = seen.lock().unwrap().clone();
        (log, runtime.choices())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn an_advance_lets_all_go_first_that_becomes_ready() {
    TestRuntime::new().run(scope(async |s| {
        let child = s.launch(async {
            sleep(ms(10)).await;
            yield_now().await;
            sleep(Duration::ZERO).await;
            yield_now().await;
        });
        advance(ms(10)).await;
        assert!(child.is_completed());
    }));
}

#[test]
fn advances_of_several_coroutines_end_at_their_own_instants() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = log.clone();
    TestRuntime::new().run(scope(async move |s| {
        for by in [20, 10, 30, 10] {
            let log = log.clone();
            s.launch(async move {
                advance(ms(by)).await;
                log.lock().unwrap().push((by, elapsed()));
            });
        }
    }));
    assert_eq!(*seen.lock().unwrap(), [10, 10, 20, 30].map(|by| (by, ms(by))));
}

#[test]
fn an_advance_that_is_dropped_moves_nothing() {
    let runtime = TestRuntime::new();
    let message = failure(|| {
        runtime.run(async {
            with_timeout(ms(10), advance(ms(100))).await.unwrap_err();
            pending::<()>().await;
        });
    });
    assert!(message.starts_with("deadlock"), "{message}");
    assert_eq!(runtime.elapsed(), ms(10));
}

#[test]
fn those_who_settle_go_on_one_after_another() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = log.clone();
    TestRuntime::new().run(scope(async move |s| {
        for i in 0..3 {
            let log = log.clone();
            s.launch(async move {
                settle().await;
                log.lock().unwrap().push(i);
                yield_now().await;
                log.lock().unwrap().push(i);
            });
        }
    }));
    assert_eq!(*seen.lock().unwrap(), [0, 0, 1, 1, 2, 2]);
}

#[test]
fn the_controls_name_the_remedy_outside_of_a_runtime() {
    let advance = || futures::executor::block_on(advance(ms(1)));
    let settle = || futures::executor::block_on(settle());
    let calls: [&dyn Fn(); 5] =
        [&advance, &settle, &|| busy(ms(1)), &|| _ = elapsed(), &|| drop(take_failures())];
    for call in calls {
        let message = failure(call);
        assert!(message.contains("`TestRuntime::run`"), "{message}");
    }
}

#[test]
fn order_is_that_of_launching_unless_it_is_shuffled() {
    let order = |runtime: TestRuntime| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let seen = order.clone();
        runtime.run(scope(async move |s| {
            for i in 0..8 {
                let order = order.clone();
                s.launch(async move { order.lock().unwrap().push(i) });
            }
        }));
        let order = seen.lock().unwrap().clone();
        (order, runtime.choices().len())
    };
    assert_eq!(order(TestRuntime::new()), ((0..8).collect(), 0));
    let (shuffled, choices) = order(TestRuntime::builder().seed(1).shuffled().build());
    assert!(!shuffled.is_sorted(), "{shuffled:?}");
    // Between eight, seven, .. two.
    assert_eq!(choices, 7);
}

/// Runs itself again, with the variable set.
#[test]
#[cfg_attr(miri, ignore = "miri starts no processes")]
fn the_environment_sets_the_seed_and_a_failure_prints_it() {
    if let Ok(seed) = env::var("CORYMB_SEED") {
        assert_eq!(TestRuntime::new().seed().to_string(), seed);
        assert_eq!(TestRuntime::builder().seed(3).build().seed(), 3);
        failure(|| {
            let runtime = TestRuntime::builder().shuffled().build();
            runtime.scope().launch(yield_now());
            runtime.run(async { panic!("it fails") });
        });
        return;
    }
    assert_eq!(TestRuntime::new().seed(), 0);
    let run = |seed| {
        let mut again = Command::new(env::current_exe().unwrap());
        let this = "the_environment_sets_the_seed_and_a_failure_prints_it";
        again.args(["--exact", "--nocapture", this]).env("CORYMB_SEED", seed);
        let output = again.output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (passed, text) = run("99");
    assert!(passed && text.contains("CORYMB_SEED=99 repeats"), "{text}");
    let (passed, text) = run("many");
    assert!(!passed && text.contains("CORYMB_SEED is \"many\""), "{text}");
}

#[test]
fn a_panic_leaves_the_thread_fit_for_the_next_runtime() {
    let stuck = catch_unwind(AssertUnwindSafe(|| TestRuntime::new().run(pending::<()>())));
    assert!(stuck.is_err());
    assert_eq!(TestRuntime::new().run(async { 42 }), 42);
}

#[test]
fn a_runtime_that_ends_inside_another_one_leaves_that_in_place() {
    TestRuntime::new().run(async {
        sleep(ms(5)).await;
        drop(TestRuntime::new());
        assert_eq!(elapsed(), ms(5));
        advance(ms(5)).await;
        assert_eq!(elapsed(), ms(10));
    });
}

#[test]
fn a_body_is_launched_where_it_is_run() {
    let here = || corymb_core::Job::current().unwrap().launched_at();
    let runtime = TestRuntime::new();
    let (run, run_local) = (line!() + 1, line!() + 2);
    let sent = runtime.run(async move { here() });
    let local = runtime.run_local(async move { here() });
    assert_eq!(
        [sent, local].map(|it| (it.file(), it.line())),
        [run, run_local].map(|line| (file!(), line))
    );
}
