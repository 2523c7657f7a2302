//! A poll does so many operations that need not wait, and then gives way.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use corymb_core::{consume_budget, scope, suspend_cancellable, yield_now};
use futures::executor::block_on;
use futures::future::{join, join_all, poll_fn};
use futures::stream::{FuturesUnordered, StreamExt};

use crate::common::Harness;

const OPERATIONS: usize = 128;

async fn consume(times: usize) {
    for _ in 0..times {
        consume_budget().await;
    }
}

/// How many polls a coroutine needs for `body`.
fn polls<F: Future<Output = ()> + Send + 'static>(body: F) -> usize {
    let harness = Harness::new();
    harness.scope().launch(body);
    harness.run()
}

#[test]
fn a_poll_gives_way_when_its_budget_is_used_up() {
    assert_eq!(polls(consume(OPERATIONS)), 1);
    assert_eq!(polls(consume(OPERATIONS + 1)), 2);
    assert_eq!(polls(consume(10 * OPERATIONS + 1)), 11);
}

#[test]
fn each_poll_has_a_budget_of_its_own() {
    let rested = async {
        for _ in 0..10 {
            consume(OPERATIONS).await;
            yield_now().await;
        }
    };
    assert_eq!(polls(rested), 11);
}

#[test]
fn other_coroutines_go_first_then() {
    let harness = Harness::new();
    let seen = harness.block_on(async {
        scope(async |s| {
            let turns = Arc::new(AtomicUsize::new(0));
            let counted = turns.clone();
            s.launch(async move { counted.store(1, Ordering::SeqCst) });
            consume(OPERATIONS).await;
            let before = turns.load(Ordering::SeqCst);
            consume_budget().await;
            (before, turns.load(Ordering::SeqCst))
        })
        .await
    });
    assert_eq!(seen, (0, 1));
}

#[test]
fn a_cancellation_arrives_then() {
    let harness = Harness::new();
    let endless = harness.spawn(async {
        loop {
            consume_budget().await;
        }
    });
    assert!(harness.step());
    endless.job().cancel();
    harness.run();
    assert!(endless.job().is_completed());
}

#[test]
fn the_values_of_children_and_callbacks_count() {
    let children = scope(async |s| {
        let values: Vec<_> = (0..OPERATIONS + 1).map(|n| s.spawn(async move { n })).collect();
        yield_now().await;
        let mut last = 0;
        for value in values {
            last = value.await;
        }
        assert_eq!(last, OPERATIONS);
    });
    // Each child once; the coroutine at first, after its yield, and after it gave way.
    assert_eq!(polls(children), OPERATIONS + 1 + 3);
    let callbacks = async {
        for n in 0..=OPERATIONS {
            assert_eq!(suspend_cancellable(|cont| _ = cont.resume(n)).await.ok(), Some(n));
        }
    };
    assert_eq!(polls(callbacks), 2);
}

/// A branch that never waits leaves the others what they need.
#[test]
fn all_branches_of_a_join_go_on() {
    let both = async {
        join(consume(10 * OPERATIONS), consume(10 * OPERATIONS)).await;
    };
    // They share the budget: as often as one of them gives way, plus the last poll.
    assert!(polls(both) <= 20);
}

/// Otherwise the coroutine would come back at once, and again, and never wait.
#[test]
fn what_is_pending_does_not_count() {
    let many = async {
        let never = (0..2 * OPERATIONS).map(|_| {
            let mut kept = None;
            async move { suspend_cancellable::<(), _>(|cont| kept = Some(cont)).await }
        });
        join_all(never).await;
    };
    let harness = Harness::new();
    let job = harness.scope().launch(many);
    assert!(harness.run() < 10);
    assert!(!job.is_completed());
    job.cancel();
}

#[test]
fn a_set_of_futures_wakes_those_that_gave_way() {
    let set = async {
        let consumers: FuturesUnordered<_> = (0..5).map(|_| consume(10 * OPERATIONS)).collect();
        assert_eq!(consumers.count().await, 5);
    };
    assert!(polls(set) >= 10);
}

/// It cannot give way: it only polls again.
#[test]
fn a_loop_that_polls_for_itself_goes_on() {
    assert_eq!(polls(async { block_on(consume(10 * OPERATIONS)) }), 1);
}

#[test]
fn outside_of_coroutines_there_is_no_budget() {
    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {
            panic!("woken");
        }
    }

    let waker = Waker::from(Arc::new(Nobody));
    let all = pin!(consume(10 * OPERATIONS));
    assert!(all.poll(&mut Context::from_waker(&waker)).is_ready());
}

/// What gives way has taken nothing, and is polled again.
#[test]
fn nothing_is_begun_by_what_gives_way() {
    let harness = Harness::new();
    harness.block_on(async {
        consume(OPERATIONS).await;
        let begun = AtomicBool::new(false);
        let mut callback = pin!(suspend_cancellable(|cont| {
            begun.store(true, Ordering::SeqCst);
            _ = cont.resume(());
        }));
        let first = poll_fn(|cx| Poll::Ready(callback.as_mut().poll(cx))).await;
        assert!(first.is_pending() && !begun.load(Ordering::SeqCst));
        // The budget is full again.
        callback.await.unwrap();
        assert!(begun.load(Ordering::SeqCst));
    });
}

#[test]
fn a_coroutine_that_is_polled_inside_has_a_budget_of_its_own() {
    let harness = Harness::new();
    let run_inside = harness.runner();
    let scope = harness.scope();
    harness.scope().launch(async move {
        consume(OPERATIONS / 2).await;
        let inner = scope.launch(consume(OPERATIONS));
        run_inside();
        assert!(inner.is_completed());
        consume(OPERATIONS / 2 + 1).await;
    });
    // The inner one is not polled by this loop.
    assert_eq!(harness.run(), 2);
}
