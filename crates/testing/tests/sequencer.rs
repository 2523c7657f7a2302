//! Points in one order, and futures that suspend or do not.

use std::sync::{Arc, Mutex};

use corymb::sync;
use corymb_core::{scope, yield_now};
use corymb_testing::{
    Explorer, FaultKind, Sequencer, TestRuntime, assert_no_suspension, assert_suspends,
    cancel_everywhere, settle,
};

mod common;

use common::failure;

#[test]
fn points_come_in_the_order_of_their_numbers() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&order);
    TestRuntime::builder().shuffled().seed(3).build().run(scope(async move |s| {
        let sequence = Sequencer::new();
        for number in [4, 2, 0, 3, 1] {
            let (sequence, seen) = (sequence.clone(), Arc::clone(&seen));
            s.launch(async move {
                let _point = sequence.at(number).await;
                yield_now().await;
                seen.lock().unwrap().push(number);
            });
        }
    }));
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_point_of_two_is_refused() {
    let message = failure(|| {
        TestRuntime::new().run(scope(async |s| {
            let sequence = Sequencer::new();
            let other = sequence.clone();
            s.launch(async move { drop(other.at(1).await) });
            settle().await;
            drop(sequence.at(1).await);
        }));
    });
    assert!(message.contains("somebody has come to point 1"), "{message}");
    let message = failure(|| {
        TestRuntime::new().run(async {
            let sequence = Sequencer::new();
            let _point = sequence.at(0).await;
            drop(sequence.at(0).await);
        });
    });
    assert!(message.contains("somebody has come to point 0"), "{message}");
}

#[test]
fn a_wait_that_is_cancelled_gives_its_point_back() {
    cancel_everywhere(|beside| {
        let sequence = Sequencer::new();
        let (first, used) = (sequence.clone(), sequence.clone());
        beside.launch(async move { drop(first.at(0).await) });
        let scenario = async move { drop(used.at(1).await) };
        let scenario = async move {
            yield_now().await;
            scenario.await;
        };
        (scenario, move |done: Option<()>| {
            let next = sequence.at(if done.is_some() { 2 } else { 1 });
            assert!(futures::FutureExt::now_or_never(next).is_some());
        })
    });
}

#[test]
fn futures_that_do_otherwise_panic() {
    let suspends = failure(|| TestRuntime::new().run(assert_no_suspension(yield_now())));
    assert!(suspends.contains("was not to suspend, and does"), "{suspends}");
    let does_not = failure(|| TestRuntime::new().run(assert_suspends(async {})));
    assert!(does_not.contains("was to suspend, and did not"), "{does_not}");
}

/// In an explored run each operation gives way first; that is no wait of the future's own.
#[test]
fn to_give_way_to_an_explorer_is_no_suspension() {
    Explorer::new().schedules(3).run(|| async {
        let free = sync::Mutex::new(1);
        assert_eq!(*assert_no_suspension(free.lock()).await, 1);
        assert_suspends(yield_now()).await;
    });
    let found = Explorer::new().schedules(3).check(|| async {
        let free = sync::Mutex::new(1);
        drop(assert_suspends(free.lock()).await);
    });
    let fault = found.expect_err("a free lock does not suspend");
    assert_eq!(fault.fault().kind(), FaultKind::Panic);
    assert!(fault.to_string().contains("was to suspend, and did not"), "{fault}");
}

#[test]
fn to_give_way_after_many_operations_is_no_suspension() {
    TestRuntime::new().run(async {
        let free = sync::Mutex::new(1);
        for _ in 0..1_000 {
            drop(assert_no_suspension(free.lock()).await);
        }
    });
}
