//! Unconfined coroutines on a runtime that is driven by hand.

use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use corymb_core::{Dispatcher, Scope};

use crate::common::Harness;

type Slot = Arc<Mutex<Option<Waker>>>;

async fn suspend(slot: Slot) {
    let mut first = true;
    poll_fn(|cx| {
        if !std::mem::take(&mut first) {
            return Poll::Ready(());
        }
        *slot.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

fn launch(s: &Scope, future: impl Future<Output = ()> + Send + 'static) -> corymb_core::Job {
    s.coroutine().on(Dispatcher::Unconfined).launch(future)
}

#[test]
fn it_begins_in_the_caller_and_goes_on_after_the_poll_that_woke_it() {
    let harness = Harness::new();
    let slot = Slot::default();
    let job = launch(&harness.scope(), suspend(Arc::clone(&slot)));
    let sleeping = job.clone();
    let waking = harness.spawn(async move {
        slot.lock().unwrap().take().unwrap().wake();
        assert!(!sleeping.is_completed());
    });
    assert!(harness.step());
    assert!(job.is_completed() && waking.job().is_completed());
    assert!(!harness.step(), "nothing was left to the queue");
}

#[test]
fn a_wake_from_a_foreign_thread_goes_to_the_default_dispatcher() {
    let harness = Harness::new();
    let slot = Slot::default();
    let job = launch(&harness.scope(), suspend(Arc::clone(&slot)));
    thread::spawn(move || slot.lock().unwrap().take().unwrap().wake()).join().unwrap();
    assert!(!job.is_completed());
    assert_eq!(harness.run(), 1);
    assert!(job.is_completed());
}

#[test]
fn nested_launches_and_wakes_are_run_by_the_outermost() {
    let harness = Harness::new();
    let slots: Vec<_> = (0..20).map(|_| Slot::default()).collect();
    // Each wakes the next one.
    let jobs: Vec<_> = (0..20)
        .map(|i| {
            let (own, next) = (slots[i].clone(), slots.get(i + 1).cloned());
            launch(&harness.scope(), async move {
                suspend(own).await;
                next.inspect(|next| next.lock().unwrap().take().unwrap().wake());
            })
        })
        .collect();
    let scope = harness.scope();
    let first = slots[0].clone();
    let nested = launch(&harness.scope(), async move {
        launch(&scope, async move { first.lock().unwrap().take().unwrap().wake() });
    });
    assert!(nested.is_completed());
    assert!(jobs.iter().all(|job| job.is_completed()));
}

#[test]
fn a_cancel_in_a_poll_drops_it_when_that_has_returned() {
    let harness = Harness::new();
    let job = launch(&harness.scope(), pending());
    let cancelled = job.clone();
    let _cancelling = harness.spawn(async move {
        cancelled.cancel();
        assert!(!cancelled.is_completed());
    });
    assert_eq!(harness.run(), 1);
    assert!(job.is_completed());
}
