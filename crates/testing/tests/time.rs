//! Sleeping, in virtual time.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use corymb_core::time::{MissedTick, interval, sleep};
use corymb_core::{JobState, scope, yield_now};
use corymb_testing::{TestRuntime, busy, elapsed, settle};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn timer_001_a_sleep_is_cancelled_however_long() {
    for duration in [ms(1000), ms(i32::MAX as u64), ms(i64::MAX as u64), Duration::MAX] {
        let runtime = TestRuntime::new();
        runtime.run(scope(async move |s| {
            let sleeper = s.launch(async move {
                sleep(duration).await;
                unreachable!("a cancelled sleep came to its end");
            });
            settle().await;
            assert_eq!(sleeper.state(), JobState::Active);
            sleeper.cancel_and_join().await;
            assert_eq!(sleeper.state(), JobState::Cancelled);
        }));
        assert_eq!(runtime.elapsed(), Duration::ZERO);
    }
}

/// Durations are never negative; none at all is what is left of the case.
#[test]
fn timer_003_a_sleep_of_no_time_does_not_suspend() {
    let trace = Arc::new(Mutex::new(Vec::new()));
    let seen = trace.clone();
    TestRuntime::new().run(scope(async move |s| {
        let add = move |n| trace.lock().unwrap().push(n);
        let child = add.clone();
        add(1);
        s.launch(async move {
            child(3);
            sleep(Duration::ZERO).await;
            child(4);
        });
        sleep(Duration::ZERO).await;
        add(2);
    }));
    assert_eq!(*seen.lock().unwrap(), [1, 2, 3, 4]);
}

#[test]
fn timer_005_what_became_due_meanwhile_goes_before_what_gives_way() {
    TestRuntime::new().run(scope(async |s| {
        let woken_at = s.spawn(async {
            sleep(ms(1)).await;
            elapsed()
        });
        settle().await;
        busy(ms(100));
        let child = woken_at.job();
        assert!(child.is_active());
        yield_now().await;
        assert!(child.is_completed());
        assert_eq!(woken_at.await, ms(100));
    }));
}

#[test]
fn timer_013_a_future_that_wakes_itself_does_not_starve_its_timer() {
    let runtime = TestRuntime::new();
    let polls = runtime.run(async {
        let mut timer = pin!(sleep(ms(10)));
        let mut polls = 0;
        poll_fn(move |cx| {
            polls += 1;
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(polls);
            }
            busy(ms(1));
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    });
    assert_eq!(polls, 11);
    assert_eq!(runtime.elapsed(), ms(10));
}

#[test]
fn an_interval_ticks_at_its_instants() {
    TestRuntime::new().run(async {
        let mut ticks = interval(ms(300)).with_missed_tick(MissedTick::Skip);
        let mut seen = Vec::new();
        for work in [0, 0, 650, 0, 0] {
            ticks.tick().await;
            seen.push(elapsed());
            sleep(ms(work)).await;
        }
        // The tick of 900 is taken late, that of 1200 is lost.
        assert_eq!(seen, [0, 300, 600, 1250, 1500].map(ms));
    });
}
