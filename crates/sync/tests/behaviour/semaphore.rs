//! `Semaphore`: order, sizes, closing.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::task::Poll;

use corymb::testing::drop_at_every_poll;
use corymb::yield_now;
use corymb_sync::{AcquireError, Semaphore, TryAcquireError};

use crate::common::Task;

#[test]
fn a_big_request_is_not_starved_by_small_ones() {
    let semaphore = Semaphore::new(3);
    let mut held = semaphore.try_acquire_many(3).unwrap();
    let mut big = Task::waiting(semaphore.acquire_many(3));
    let mut small = Task::waiting(semaphore.acquire());
    drop(held.split(2));
    assert_eq!(semaphore.available_permits(), 2);
    assert!(!big.woken() && !small.woken());
    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
    drop(held);
    assert!(big.woken() && !small.woken());
    let Poll::Ready(Ok(got)) = big.poll() else { panic!("it was woken") };
    drop(got);
    assert!(matches!(small.poll(), Poll::Ready(Ok(_))));
}

#[test]
fn a_big_request_that_leaves_lets_small_ones_through() {
    let semaphore = Semaphore::new(2);
    let one = semaphore.try_acquire().unwrap();
    let big = Task::waiting(semaphore.acquire_many(2));
    let small = Task::waiting(semaphore.acquire());
    drop(big);
    assert!(small.woken());
    drop((small, one));
    assert_eq!(semaphore.available_permits(), 2);
}

#[test]
fn what_is_out_when_it_shrinks_vanishes_when_it_comes_back() {
    let semaphore = Semaphore::with_max(4, 8);
    let mut held = semaphore.try_acquire_many(3).unwrap();
    semaphore.set_permits(2);
    assert_eq!((semaphore.available_permits(), semaphore.statistics().permits), (0, 2));
    let mut waiter = Task::waiting(semaphore.acquire());
    drop(held.split(1));
    assert!(!waiter.woken(), "that one has vanished");
    drop(held.split(1));
    assert!(waiter.woken());
    drop((held, waiter.poll()));
    assert_eq!(semaphore.available_permits(), 2);
    semaphore.set_permits(8);
    assert_eq!(semaphore.available_permits(), 8);
}

#[test]
fn to_grow_before_all_came_back_settles_the_debt_first() {
    let semaphore = Semaphore::with_max(4, 8);
    let held = semaphore.try_acquire_many(4).unwrap();
    semaphore.set_permits(1);
    semaphore.add_permits(5);
    assert_eq!((semaphore.available_permits(), semaphore.statistics().permits), (2, 6));
    drop(held);
    assert_eq!(semaphore.available_permits(), 6);
}

#[test]
fn forgotten_permits_pay_a_debt_first() {
    let semaphore = Semaphore::new(5);
    let held = semaphore.try_acquire_many(5).unwrap();
    semaphore.set_permits(1);
    held.forget();
    assert_eq!(semaphore.statistics().permits, 0);
    semaphore.set_permits(5);
    assert_eq!(semaphore.available_permits(), 5);
}

#[test]
fn closing_fails_those_who_wait_and_those_who_were_offered() {
    let semaphore = Semaphore::new(1);
    let held = semaphore.try_acquire().unwrap();
    let mut called = Task::waiting(semaphore.acquire());
    let mut queued = Task::waiting(semaphore.acquire());
    drop(held);
    assert!(called.woken() && !queued.woken());
    semaphore.close();
    assert!(queued.woken());
    assert!(matches!(called.poll(), Poll::Ready(Err(AcquireError))));
    assert!(matches!(queued.poll(), Poll::Ready(Err(AcquireError))));
    assert_eq!(semaphore.available_permits(), 1);
    assert!(matches!(Task::new(semaphore.acquire()).poll(), Poll::Ready(Err(AcquireError))));
    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::Closed);
}

#[test]
fn what_there_can_never_be_is_refused() {
    let message = |panicked: std::thread::Result<()>| {
        panicked.unwrap_err().downcast_ref::<String>().unwrap().clone()
    };
    let semaphore = Semaphore::new(2);
    let many = catch_unwind(|| drop(semaphore.acquire_many(3)));
    assert!(message(many).starts_with("3 permits of a semaphore that has 2 at most"));
    let more = catch_unwind(|| semaphore.add_permits(1));
    assert!(message(more).contains("more permits than the 2"));
    assert_eq!(semaphore.statistics().permits, 2);
    drop(catch_unwind(|| semaphore.set_permits(3)).unwrap_err());
    drop(catch_unwind(|| Semaphore::new(usize::MAX)).unwrap_err());
}

#[test]
#[should_panic(expected = "permits of two semaphores cannot be merged")]
fn permits_of_two_semaphores_are_not_merged() {
    let [one, other] = [Semaphore::new(1), Semaphore::new(1)];
    one.try_acquire().unwrap().merge(other.try_acquire().unwrap());
}

#[test]
fn an_acquire_that_is_dropped_at_any_poll_gives_all_back() {
    let semaphore = Arc::new(Semaphore::new(3));
    let polls = drop_at_every_poll(
        |scope| {
            let held = semaphore.try_acquire_many_owned(2).unwrap();
            scope.launch(async move {
                yield_now().await;
                drop(held);
            });
            let acquire = semaphore.acquire_many_owned(2);
            async move { drop(acquire.await) }
        },
        |_| assert_eq!(semaphore.available_permits(), 3),
    );
    assert_eq!(polls, 2);
}

#[test]
fn no_permit_is_lost_on_many_threads() {
    let rounds = if cfg!(miri) { 10 } else { 1_000 };
    let semaphore = Semaphore::with_max(4, 8);
    std::thread::scope(|s| {
        for permits in 1..=4 {
            let semaphore = &semaphore;
            s.spawn(move || {
                for _ in 0..rounds {
                    drop(semaphore.acquire_many_blocking(permits).expect("nobody closes it"));
                }
            });
        }
        s.spawn(|| {
            for round in 0..rounds {
                semaphore.set_permits(4 + round % 5);
            }
            semaphore.set_permits(6);
        });
    });
    assert_eq!(semaphore.available_permits(), 6);
}
