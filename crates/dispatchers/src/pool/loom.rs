//! Models of going to sleep: against a submission, against a timer that is armed, against what the
//! watchdog should see; of who holds a processor; and of slots for IO.

use std::sync::Arc;

use corymb_core::internal::prim::UnsafeCell;
use corymb_core::internal::prim::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use corymb_core::time::Instant;
use loom::sync::Notify;
use loom::thread;

use super::alarm::Alarm;
use super::idle::Idle;
use super::io::Side;
use super::owner::{Owner, Tenant};
use super::polled::Polled;
use super::slots::Slots;
use super::watchdog::mode::{ASLEEP, FAST, Mode, SLOW};

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

/// A processor whose holder alone touches what is in it: loom complains of two.
struct Held {
    owner: Owner,
    queue: UnsafeCell<u32>,
}

impl Held {
    fn new() -> Arc<Self> {
        Arc::new(Self { owner: Owner::new(true), queue: UnsafeCell::new(0) })
    }

    fn work(&self) {
        // SAFETY: the model checks it: the caller holds the processor.
        self.queue.with_mut(|queue| unsafe { *queue += 1 });
    }
}

// SAFETY: the model checks it.
unsafe impl Sync for Held {}
// SAFETY: as above.
unsafe impl Send for Held {}

/// A lent processor is taken back by its thread or taken away by another, not both, and each sees
/// what the one before has done. Who saw an earlier lending fails.
#[test]
fn loom_lend_against_take() {
    loom::model(|| {
        let processor = Held::new();
        let mut me = Tenant::new(1);
        assert!(processor.owner.take_free(me));
        processor.work();
        let first = processor.owner.lend(&mut me);
        let takers = [2, 3].map(|number| {
            let processor = Arc::clone(&processor);
            thread::spawn(move || {
                let other = Tenant::new(number);
                let took = processor.owner.take_lent(first, other);
                if took {
                    processor.work();
                    processor.owner.give_up();
                }
                took
            })
        });
        let back = processor.owner.reclaim(me);
        if back {
            processor.work();
            processor.owner.lend(&mut me);
            // Lent again, which is another lending.
            assert!(processor.owner.reclaim(me));
            processor.work();
            processor.owner.give_up();
        }
        let taken = takers.map(|taker| taker.join().unwrap());
        assert_eq!(taken.into_iter().chain([back]).filter(|it| *it).count(), 1);
    });
}

/// Free processors, put into service and taken out, have one holder at most.
#[test]
fn loom_enlist_against_take() {
    loom::model(|| {
        let processor = Held::new();
        let keeper = Tenant::new(1);
        assert!(processor.owner.take_free(keeper));
        processor.work();
        processor.owner.retire();
        let taker = thread::spawn({
            let processor = Arc::clone(&processor);
            move || {
                let me = Tenant::new(2);
                if processor.owner.take_free(me) {
                    processor.work();
                    processor.owner.give_up();
                }
            }
        });
        assert!(processor.owner.enlist());
        if processor.owner.take_free(keeper) {
            processor.work();
            processor.owner.retire();
        } else if processor.owner.delist() {
            assert!(processor.owner.seen().is_spare());
        }
        taker.join().unwrap();
    });
}

/// Two sides of IO, with one slot that the limited one has and the elastic one may borrow.
struct Io {
    slots: Slots,
    queues: [Queue; 2],
    running: AtomicUsize,
    ran: AtomicUsize,
}

impl Io {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            slots: Slots::new(1, 0),
            queues: [(); 2].map(|()| Queue(AtomicUsize::new(0))),
            running: AtomicUsize::new(0),
            ran: AtomicUsize::new(0),
        })
    }

    fn submit(&self, side: Side) {
        self.queues[side as usize].push();
        let mut sent = Vec::new();
        self.slots.submit(side, |side| sent.push(side));
        sent.into_iter().for_each(|side| self.run(side));
    }

    /// As the thread that was sent.
    fn run(&self, side: Side) {
        let (mut next, mut sent) = (Some(side), Vec::new());
        while let Some(side) = next.or_else(|| sent.pop()) {
            assert!(self.queues[side as usize].pop(), "told to pop, and nothing is there");
            self.poll();
            self.ran.fetch_add(1, Ordering::Relaxed);
            next = self.slots.next(side, |side| sent.push(side));
        }
    }

    fn in_place(&self, side: Side) {
        let mut sent = Vec::new();
        if self.slots.try_enter(side, |side| sent.push(side)) {
            self.poll();
            let next = self.slots.next(side, |side| sent.push(side));
            sent.into_iter().chain(next).for_each(|side| self.run(side));
        }
    }

    fn poll(&self) {
        assert_eq!(self.running.fetch_add(1, Ordering::Relaxed), 0, "one slot");
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    fn check(&self, submitted: usize) {
        assert_eq!((self.ran.load(Ordering::Relaxed), self.slots.in_use()), (submitted, 0));
        assert!(self.queues.iter().all(Queue::is_empty));
    }
}

/// Who is told to run an IO coroutine finds one, no more run than there are slots, and none is
/// left in the queue.
#[test]
fn loom_release_against_submit() {
    for (in_place, submitted) in [
        (Side::Limited, [Side::Limited, Side::Limited]),
        (Side::Limited, [Side::Elastic, Side::Limited]),
        (Side::Elastic, [Side::Elastic, Side::Limited]),
        (Side::Elastic, [Side::Elastic, Side::Elastic]),
    ] {
        loom::model(move || {
            let io = Io::new();
            let other = thread::spawn({
                let io = Arc::clone(&io);
                move || io.in_place(in_place)
            });
            let third = thread::spawn({
                let io = Arc::clone(&io);
                move || io.submit(submitted[1])
            });
            io.submit(submitted[0]);
            other.join().unwrap();
            third.join().unwrap();
            io.check(2);
        });
    }
}

/// What is begun while the watchdog goes to sleep is seen by it, or wakes it: else the model
/// deadlocks.
#[test]
fn loom_lend_against_a_watchdog_that_goes_to_sleep() {
    for from in [SLOW, FAST] {
        loom::model(move || {
            let shared = Arc::new((Mode::new(), AtomicBool::new(false), Notify::new()));
            assert!(shared.0.begun(from));
            let watchdog = thread::spawn({
                let shared = Arc::clone(&shared);
                move || {
                    let (mode, lent, notify) = &*shared;
                    mode.lower(from - 1, || lent.load(Ordering::Relaxed));
                    while mode.get() < from {
                        notify.wait();
                    }
                }
            });
            let (mode, lent, notify) = &*shared;
            lent.store(true, Ordering::Relaxed);
            if mode.begun(from) {
                notify.notify();
            }
            watchdog.join().unwrap();
            assert!(mode.get() > ASLEEP);
        });
    }
}

/// The end of a poll that was told of is dealt with, once, also if its worker goes to sleep.
#[test]
fn loom_notice_against_sleep() {
    loom::model(|| {
        let shared = Arc::new((Polled::new(), AtomicBool::new(true)));
        let watchdog = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let (polled, polls) = &*shared;
                polled.notice();
                fence(Ordering::SeqCst);
                !polls.load(Ordering::Relaxed) && polled.settle()
            }
        });
        let (polled, polls) = &*shared;
        // It stands for the site: true while there is one.
        polls.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let worker = polled.is_noticed() && polled.settle();
        assert!(worker != watchdog.join().unwrap(), "one deals with it");
    });
}
