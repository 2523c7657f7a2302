//! A clock that goes when it is told to.

use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use corymb::prelude::*;
use corymb::testing::{CancelEverywhere, FakeClock, TestRuntime, settle};
use corymb::time::Clock;
use futures::executor::block_on;
use futures::poll;

mod common;

use common::failure;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn it_stands_still_unless_it_is_moved_and_so_do_its_clones() {
    let clock = FakeClock::new();
    let (start, same) = (clock.now(), clock.clone());
    assert_eq!(clock.now(), start);
    same.advance(SECOND);
    assert_eq!((clock.now() - start, clock.elapsed()), (SECOND, SECOND));
}

/// Under an executor that knows nothing of it.
#[test]
fn a_sleep_ends_at_its_deadline_and_not_before() {
    block_on(async {
        let clock = FakeClock::new();
        let mut sleep = std::pin::pin!(clock.sleep(2 * SECOND));
        assert_eq!((poll!(sleep.as_mut()), clock.waiting()), (Poll::Pending, 1));
        clock.advance(SECOND);
        assert_eq!((poll!(sleep.as_mut()), clock.waiting()), (Poll::Pending, 1));
        clock.advance(SECOND);
        assert_eq!((poll!(sleep.as_mut()), clock.waiting()), (Poll::Ready(()), 0));
        clock.sleep(Duration::ZERO).await;
        clock.sleep_until(clock.now()).await;
    });
}

#[test]
fn sleeps_end_in_the_order_of_their_deadlines() {
    TestRuntime::new().run(scope(async |s| {
        let (clock, log) = (FakeClock::new(), Arc::new(Mutex::new(Vec::new())));
        for n in [3, 1, 2, 5] {
            let (sleep, log) = (clock.sleep(n * SECOND), Arc::clone(&log));
            s.launch(async move {
                sleep.await;
                log.lock().unwrap().push(n);
            });
        }
        settle().await;
        clock.advance(4 * SECOND);
        settle().await;
        assert_eq!((&log.lock().unwrap()[..], clock.waiting()), (&[1, 2, 3][..], 1));
        clock.advance(SECOND);
    }));
}

#[test]
fn a_program_that_nobody_advances_is_a_deadlock() {
    let text = failure(|| TestRuntime::new().run(async { FakeClock::new().sleep(SECOND).await }));
    assert!(text.contains("deadlock") && text.contains("a timer at"), "{text}");
}

#[test]
fn a_sleep_that_is_given_up_leaves_nothing() {
    for settings in [CancelEverywhere::new(), CancelEverywhere::new().dropping()] {
        settings.schedules(4).run(|beside| {
            let clock = FakeClock::new();
            let (moved, seen) = (clock.clone(), clock.clone());
            beside.launch(async move {
                sleep(SECOND).await;
                moved.advance(SECOND);
            });
            (async move { clock.sleep(SECOND).await }, move |_| assert_eq!(seen.waiting(), 0))
        });
    }
}

/// As one of `corymb::time` does not.
#[test]
fn a_sleep_for_ever_does_not_end() {
    block_on(async {
        let clock = FakeClock::new();
        let mut never = Box::pin(clock.sleep(Duration::MAX));
        assert_eq!(poll!(never.as_mut()), Poll::Pending);
        clock.advance(Duration::MAX);
        assert_eq!((poll!(never.as_mut()), clock.waiting()), (Poll::Pending, 1));
    });
}
