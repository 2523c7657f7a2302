//! Models of the protocol: an event, the drop of a waiter and the closing, each against an
//! operation that would block.
//!
//! The kernel is a flag: the driver sets it and then reports an event; the operation succeeds
//! once the flag is set. A lost wake-up is a deadlock, which loom reports.

use std::sync::Arc;
use std::task::{Wake, Waker};

use corymb_core::internal::prim::atomic::{AtomicUsize, Ordering};
use loom::sync::Notify;
use loom::thread;

use super::{Look, Readiness, Slot, Wait};

struct Thread(Notify);

impl Wake for Thread {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// Performs an operation as `registered.rs` does, blocking the thread while it is pending.
/// `false` if it ended by a closing.
fn perform(readiness: &Readiness, kernel: &AtomicUsize) -> bool {
    let thread = Arc::new(Thread(Notify::new()));
    let waker = Waker::from(Arc::clone(&thread));
    let mut slot = Slot::new();
    let done = loop {
        match readiness.look() {
            Look::Closed => break false,
            Look::Ready(snapshot) => {
                // Ordering: Relaxed is the least that a kernel could promise; what the tick
                // orders must suffice.
                if kernel.load(Ordering::Relaxed) > 0 {
                    break true;
                }
                readiness.clear(snapshot);
            }
            Look::Empty => {
                if readiness.wait(&slot, &waker) == Wait::Waiting {
                    thread.0.wait();
                }
            }
        }
    };
    readiness.leave(&mut slot);
    done
}

fn report(readiness: &Readiness) {
    let mut wakers = Vec::new();
    readiness.event(&mut wakers);
    wakers.into_iter().for_each(Waker::wake);
}

/// Edges 1 and 2, steps 1 to 4: no edge is lost between a failed call and the waker.
#[test]
fn loom_event_against_wait() {
    loom::model(|| {
        let readiness = Arc::new(Readiness::new());
        let kernel = Arc::new(AtomicUsize::new(0));
        let driver = thread::spawn({
            let (readiness, kernel) = (Arc::clone(&readiness), Arc::clone(&kernel));
            move || {
                kernel.store(1, Ordering::Relaxed);
                report(&readiness);
            }
        });
        assert!(perform(&readiness, &kernel));
        driver.join().unwrap();
    });
}

/// As above with two operations, each of which has to be woken.
#[test]
fn loom_event_against_two_waiters() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let readiness = Arc::new(Readiness::new());
        let kernel = Arc::new(AtomicUsize::new(0));
        let other = thread::spawn({
            let (readiness, kernel) = (Arc::clone(&readiness), Arc::clone(&kernel));
            move || assert!(perform(&readiness, &kernel))
        });
        let driver = thread::spawn({
            let (readiness, kernel) = (Arc::clone(&readiness), Arc::clone(&kernel));
            move || {
                kernel.store(1, Ordering::Relaxed);
                report(&readiness);
            }
        });
        assert!(perform(&readiness, &kernel));
        other.join().unwrap();
        driver.join().unwrap();
    });
}

/// A waiter that is dropped while an event arrives: its waker is gone afterwards, handed out or
/// dropped, and the readiness stays for the next operation.
#[test]
fn loom_event_against_drop() {
    loom::model(|| {
        let readiness = Arc::new(Readiness::new());
        let thread = Arc::new(Thread(Notify::new()));
        let driver = thread::spawn({
            let readiness = Arc::clone(&readiness);
            move || report(&readiness)
        });
        let mut slot = Slot::new();
        if let Look::Ready(snapshot) = readiness.look() {
            readiness.clear(snapshot);
        }
        let waker = Waker::from(Arc::clone(&thread));
        _ = readiness.wait(&slot, &waker);
        drop(waker);
        readiness.leave(&mut slot);
        driver.join().unwrap();
        assert_eq!(Arc::strong_count(&thread), 1, "a waker was left behind");
        assert_eq!(readiness.waiting(), 0);
    });
}

/// Edge 3: closing ends every wait.
#[test]
fn loom_close_against_wait() {
    loom::model(|| {
        let readiness = Arc::new(Readiness::new());
        let kernel = Arc::new(AtomicUsize::new(0));
        let closer = thread::spawn({
            let readiness = Arc::clone(&readiness);
            move || {
                let mut wakers = Vec::new();
                readiness.close(&mut wakers);
                wakers.into_iter().for_each(Waker::wake);
            }
        });
        assert!(!perform(&readiness, &kernel));
        closer.join().unwrap();
    });
}
