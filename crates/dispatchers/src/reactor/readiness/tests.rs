//! The edges of the word, without threads. They run under miri.

use std::sync::Arc;
use std::sync::Mutex;
use std::task::{Wake, Waker};

use super::{Look, Readiness, Slot, Snapshot, TICK, Wait};

/// Counts wake-ups by name, and knows its drops by its reference count.
#[derive(Default)]
struct Tally(Mutex<usize>);

impl Wake for Tally {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() += 1;
    }
}

fn waker() -> (Arc<Tally>, Waker) {
    let tally = Arc::new(Tally::default());
    (Arc::clone(&tally), Waker::from(tally))
}

fn snapshot(readiness: &Readiness) -> Snapshot {
    match readiness.look() {
        Look::Ready(snapshot) => snapshot,
        other => panic!("not ready: {other:?}"),
    }
}

fn empty() -> Readiness {
    let readiness = Readiness::new();
    readiness.clear(snapshot(&readiness));
    assert!(matches!(readiness.look(), Look::Empty));
    readiness
}

#[test]
fn a_new_one_is_worth_a_try() {
    let readiness = Readiness::new();
    assert_eq!(readiness.wait(&Slot::new(), Waker::noop()), Wait::Changed);
    assert_eq!(readiness.waiting(), 0);
}

#[test]
fn an_event_since_the_snapshot_outlives_the_clearing() {
    let readiness = Readiness::new();
    let before = snapshot(&readiness);
    readiness.event(&mut Vec::new());
    readiness.clear(before);
    snapshot(&readiness);
}

#[test]
fn an_event_in_state_empty_makes_it_ready() {
    let readiness = empty();
    readiness.event(&mut Vec::new());
    snapshot(&readiness);
}

#[test]
fn the_tick_wraps_and_leaves_the_flags() {
    let readiness = Readiness::new();
    for _ in 0..3 {
        // Just below the overflow.
        readiness.word.fetch_or(!(TICK - 1), super::Ordering::Relaxed);
        readiness.event(&mut Vec::new());
        assert_eq!(snapshot(&readiness).0, super::READY);
    }
    readiness.close(&mut Vec::new());
    readiness.word.fetch_or(!(TICK - 1), super::Ordering::Relaxed);
    readiness.event(&mut Vec::new());
    assert!(matches!(readiness.look(), Look::Closed));
}

#[test]
fn an_event_hands_out_every_waker_once() {
    let readiness = empty();
    let (first, second) = (Slot::new(), Slot::new());
    let (a, a_waker) = waker();
    let (b, b_waker) = waker();
    assert_eq!(readiness.wait(&first, &a_waker), Wait::Waiting);
    assert_eq!(readiness.wait(&second, &b_waker), Wait::Waiting);
    let mut wakers = Vec::new();
    readiness.event(&mut wakers);
    readiness.event(&mut wakers);
    assert_eq!(wakers.len(), 2);
    wakers.into_iter().for_each(Waker::wake);
    assert_eq!((*a.0.lock().unwrap(), *b.0.lock().unwrap()), (1, 1));
}

#[test]
fn a_slot_keeps_the_last_waker_only() {
    let readiness = empty();
    let mut slot = Slot::new();
    let (a, a_waker) = waker();
    let (b, b_waker) = waker();
    assert_eq!(readiness.wait(&slot, &a_waker), Wait::Waiting);
    assert_eq!(readiness.wait(&slot, &b_waker), Wait::Waiting);
    assert_eq!(readiness.waiting(), 1);
    drop(a_waker);
    assert_eq!(Arc::strong_count(&a), 1, "the replaced waker was dropped");
    drop(b_waker);
    readiness.leave(&mut slot);
    assert_eq!(Arc::strong_count(&b), 1, "leaving drops the waker");
}

#[test]
fn a_slot_that_was_left_can_be_used_again() {
    let readiness = empty();
    let (mut slot, mut other) = (Slot::new(), Slot::new());
    assert_eq!(readiness.wait(&slot, Waker::noop()), Wait::Waiting);
    readiness.leave(&mut slot);
    readiness.leave(&mut slot);
    assert_eq!(readiness.wait(&other, Waker::noop()), Wait::Waiting);
    assert_eq!(readiness.wait(&slot, Waker::noop()), Wait::Waiting);
    readiness.leave(&mut other);
    assert_eq!(readiness.waiting(), 1);
}

#[test]
fn closing_is_final() {
    let readiness = empty();
    let slot = Slot::new();
    let (_tally, waker) = waker();
    assert_eq!(readiness.wait(&slot, &waker), Wait::Waiting);
    let mut wakers = Vec::new();
    readiness.close(&mut wakers);
    assert_eq!(wakers.len(), 1);
    readiness.event(&mut wakers);
    assert!(matches!(readiness.look(), Look::Closed));
    assert_eq!(readiness.wait(&slot, &waker), Wait::Changed);
}

#[test]
fn closing_between_snapshot_and_clearing_stands() {
    let readiness = Readiness::new();
    let before = snapshot(&readiness);
    readiness.close(&mut Vec::new());
    readiness.clear(before);
    assert!(matches!(readiness.look(), Look::Closed));
    assert_eq!(readiness.wait(&Slot::new(), Waker::noop()), Wait::Changed);
}

/// A waker whose destructor uses the readiness, as a destructor may.
struct Meddler(Arc<Readiness>);

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.0.event(&mut Vec::new());
    }
}

#[test]
fn wakers_are_dropped_without_the_lock() {
    let readiness = Arc::new(empty());
    let mut slot = Slot::new();
    let meddler = Waker::from(Arc::new(Meddler(Arc::clone(&readiness))));
    assert_eq!(readiness.wait(&slot, &meddler), Wait::Waiting);
    drop(meddler);
    // Replaced: the destructor runs, and makes it ready.
    assert_eq!(readiness.wait(&slot, Waker::noop()), Wait::Waiting);
    readiness.clear(snapshot(&readiness));

    let meddler = Waker::from(Arc::new(Meddler(Arc::clone(&readiness))));
    assert_eq!(readiness.wait(&slot, &meddler), Wait::Waiting);
    drop(meddler);
    readiness.leave(&mut slot);
    snapshot(&readiness);
}
