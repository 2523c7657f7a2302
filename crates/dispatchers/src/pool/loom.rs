//! Models of going to sleep: against a submission, and against a timer that is armed.

use std::sync::Arc;

use corymb_core::internal::prim::atomic::{AtomicU64, AtomicUsize, Ordering};
use corymb_core::time::Instant;
use loom::sync::Notify;
use loom::thread;

use super::alarm::Alarm;
use super::idle::Idle;

/// A queue of which only the length matters.
struct Queue(AtomicUsize);

impl Queue {
    fn push(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    fn pop(&self) -> bool {
        let mut len = self.0.load(Ordering::Acquire);
        while len > 0 {
            match self.0.compare_exchange(len, len - 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => len = now,
            }
        }
        false
    }

    fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

struct Pool {
    queue: Queue,
    idle: Idle<Notify>,
}

impl Pool {
    fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self { queue: Queue(AtomicUsize::new(0)), idle: Idle::new(workers) })
    }

    fn submit(&self) {
        self.queue.push();
        self.submitted();
    }

    fn submitted(&self) {
        if let Some(sleeper) = self.idle.submitted() {
            sleeper.notify();
        }
    }

    /// Does what `Local::idle` does, until there was work.
    fn take_one(&self, me: &Arc<Notify>) {
        loop {
            if self.queue.pop() {
                return;
            }
            let searching = self.idle.start_search();
            if searching && self.queue.pop() {
                return self.found();
            }
            self.idle.sleep(me, searching);
            if self.queue.is_empty() {
                me.wait();
            }
            let woken = !self.idle.leave(me);
            match (self.queue.pop(), woken) {
                (true, true) => return self.found(),
                (true, false) => return self.submitted(),
                (false, true) => drop(self.idle.end_search()),
                (false, false) => {}
            }
        }
    }

    fn found(&self) {
        if self.idle.end_search() {
            self.submitted();
        }
    }
}

/// A submission is seen by who goes to sleep, or wakes it: else the model deadlocks.
#[test]
fn loom_park_against_submit() {
    loom::model(|| {
        let pool = Pool::new(1);
        let worker = thread::spawn({
            let pool = Arc::clone(&pool);
            move || pool.take_one(&Arc::new(Notify::new()))
        });
        pool.submit();
        worker.join().unwrap();
    });
}

/// Two submissions reach two workers, also when one wake stands for both.
#[test]
fn loom_the_last_searcher_wakes_another() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let pool = Pool::new(2);
        let workers = [(); 2].map(|()| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.take_one(&Arc::new(Notify::new())))
        });
        pool.submit();
        pool.submit();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

/// A timer is seen by the driver, or whoever armed it notifies: else the model deadlocks.
#[test]
fn loom_a_timer_armed_while_the_driver_goes_to_wait() {
    loom::model(|| {
        let shared = Arc::new((Alarm::new(), AtomicU64::new(u64::MAX), Notify::new()));
        let driver = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let (alarm, next, notify) = &*shared;
                let earliest = || {
                    let next = next.load(Ordering::Relaxed);
                    (next != u64::MAX).then(|| Instant::from_nanos(next))
                };
                if alarm.set(Instant::from_nanos(0), earliest).is_none() {
                    notify.wait();
                }
                alarm.clear();
            }
        });
        let (alarm, next, notify) = &*shared;
        next.store(7, Ordering::Relaxed);
        if alarm.is_late_for(Instant::from_nanos(7)) {
            notify.notify();
        }
        driver.join().unwrap();
    });
}
