//! Mutex, semaphore, rwlock, notify, barrier, once cell.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::{
    AcquireError, Barrier, Condvar, Mutex, Notify, OnceCell, RwLock, Semaphore, TryAcquireError,
};
use corymb::testing::settle;
use futures::FutureExt;

use crate::common::{Oops, Trace};

#[corymb::test]
async fn sync_001_an_unlock_does_not_run_the_next_holder_inline() {
    let (trace, told) = Trace::twice();
    let mutex = Arc::new(Mutex::new(()));
    scope(async |s| {
        trace.add(1);
        let child = (Arc::clone(&mutex), trace.clone());
        s.launch(async move {
            child.1.add(4);
            let guard = child.0.lock().await;
            child.1.add(7);
            drop(guard);
            child.1.add(8);
        });
        trace.add(2);
        let guard = mutex.lock().await;
        trace.add(3);
        yield_now().await;
        trace.add(5);
        drop(guard);
        trace.add(6);
        yield_now().await;
        trace.add(9);
    })
    .await;
    assert_eq!(told.get(), ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

#[corymb::test]
async fn sync_002_to_try_locks_once() {
    let mutex = Mutex::new(());
    let guard = mutex.try_lock();
    assert!(guard.is_some() && mutex.is_locked());
    assert!(mutex.try_lock().is_none());
    drop(guard);
    assert!(!mutex.is_locked());
    assert!(mutex.try_lock().is_some());
}

#[corymb::test]
async fn sync_003_a_failure_with_the_lock_in_hand_unlocks() {
    let mutex = Mutex::new(());
    let failed = async {
        let _guard = mutex.lock().await;
        Err::<(), _>(Oops("failed"))
    };
    assert_eq!(failed.await, Err(Oops("failed")));
    assert!(!mutex.is_locked());
}

/// Differs from the case: only the guard unlocks, so nobody does that is not the owner.
#[corymb::test]
async fn sync_006_an_unlock_hands_the_lock_to_who_waits() {
    let mutex = Arc::new(Mutex::new(()));
    let guard = mutex.lock().await;
    scope(async |s| {
        let waiter = Arc::clone(&mutex);
        s.launch(async move { drop(waiter.lock().await) });
        yield_now().await;
        drop(guard);
        assert!(mutex.is_locked(), "it is the waiter's before that runs");
        assert!(mutex.try_lock().is_none());
    })
    .await;
    assert!(!mutex.is_locked());
}

#[corymb::test]
async fn sync_008_a_holder_that_is_cancelled_lets_the_lock_go() {
    let mutex = Arc::new(Mutex::new(()));
    scope(async |s| {
        let held = Arc::clone(&mutex);
        let holder = s.launch(async move {
            let _guard = held.lock().await;
            pending::<()>().await;
        });
        yield_now().await;
        let waiter = Arc::clone(&mutex);
        let waiter = s.launch(async move { drop(waiter.lock().await) });
        yield_now().await;
        assert!(waiter.is_active());
        holder.cancel();
        waiter.join().await;
        assert!(!mutex.is_locked());
    })
    .await;
}

#[corymb::test]
async fn sync_010_a_third_of_two_permits_waits() {
    let (trace, told) = Trace::twice();
    let semaphore = Arc::new(Semaphore::new(2));
    scope(async |s| {
        let one = semaphore.acquire_owned().await;
        trace.add(1);
        let _other = semaphore.acquire().await;
        trace.add(2);
        let t = trace.clone();
        s.launch(async move {
            t.add(3);
            drop(one);
            t.add(4);
        });
        let _third = semaphore.acquire().await;
        trace.add(5);
    })
    .await;
    assert_eq!(told.get(), ["1", "2", "3", "4", "5"]);
}

#[corymb::test]
async fn sync_010_a_semaphore_of_one_is_a_mutex() {
    let (trace, told) = Trace::twice();
    let semaphore = Arc::new(Semaphore::new(1));
    scope(async |s| {
        trace.add(1);
        let child = (Arc::clone(&semaphore), trace.clone());
        s.launch(async move {
            child.1.add(4);
            let permit = child.0.acquire().await;
            child.1.add(7);
            drop(permit);
            child.1.add(8);
        });
        trace.add(2);
        let permit = semaphore.acquire().await;
        trace.add(3);
        yield_now().await;
        trace.add(5);
        drop(permit);
        trace.add(6);
        yield_now().await;
        trace.add(9);
    })
    .await;
    assert_eq!(told.get(), ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

#[corymb::test]
async fn sync_011_to_try_takes_what_is_there() {
    let semaphore = Semaphore::new(2);
    let (one, other) = (semaphore.try_acquire(), semaphore.try_acquire());
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
    assert_eq!(semaphore.available_permits(), 0);
    drop(one);
    assert_eq!(semaphore.available_permits(), 1);
    let _again = semaphore.try_acquire().unwrap();
    assert_eq!(semaphore.available_permits(), 0);
}

#[corymb::test]
async fn sync_013_who_waits_gets_its_permit_in_the_order_of_arrival() {
    let (trace, told) = Trace::twice();
    let semaphore = Arc::new(Semaphore::with_max(1, 2));
    scope(async |s| {
        let held = semaphore.acquire().await;
        trace.add(1);
        for [comes, goes_on] in [[2, 6], [3, 9]] {
            let (semaphore, trace) = (Arc::clone(&semaphore), trace.clone());
            s.launch(async move {
                trace.add(comes);
                semaphore.acquire().await.unwrap().forget();
                trace.add(goes_on);
            });
        }
        yield_now().await;
        trace.add(4);
        drop(held);
        trace.add(5);
        yield_now().await;
        trace.add(7);
        semaphore.add_permits(1);
        trace.add(8);
        yield_now().await;
        trace.add(10);
    })
    .await;
    assert_eq!(told.get(), ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]);
}

#[corymb::test]
async fn sync_014_a_cancelled_waiter_swallows_no_permit() {
    let semaphore = Arc::new(Semaphore::new(1));
    let held = semaphore.acquire().await;
    scope(async |s| {
        let waiter = Arc::clone(&semaphore);
        let waiter = s.launch(async move { drop(waiter.acquire().await) });
        yield_now().await;
        waiter.cancel();
        waiter.join().await;
        assert_eq!(semaphore.available_permits(), 0);
        drop(held);
        assert_eq!(semaphore.available_permits(), 1);
    })
    .await;
}

#[corymb::test]
async fn sync_015_to_cancel_a_waiter_is_no_release() {
    let semaphore = Arc::new(Semaphore::new(1));
    let _held = semaphore.acquire().await;
    scope(async |s| {
        let [first, second] = [(); 2].map(|()| {
            let semaphore = Arc::clone(&semaphore);
            s.launch(async move {
                let _permit = semaphore.acquire().await;
                unreachable!("there is no permit");
            })
        });
        yield_now().await;
        second.cancel();
        yield_now().await;
        first.cancel();
    })
    .await;
}

#[corymb::test]
async fn sync_018_a_permit_is_the_waiter_s_before_that_runs() {
    let semaphore = Arc::new(Semaphore::with_max(0, 1));
    scope(async |s| {
        let waiter = Arc::clone(&semaphore);
        s.launch(async move { drop(waiter.acquire().await) });
        yield_now().await;
        semaphore.add_permits(1);
        assert_eq!(semaphore.available_permits(), 0);
        assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
    })
    .await;
}

#[corymb::test]
async fn sync_020_a_closed_semaphore_fails_who_comes_and_who_waits() {
    let semaphore = Semaphore::new(5);
    semaphore.close();
    assert_eq!(semaphore.acquire().await.unwrap_err(), AcquireError);
    let empty = Arc::new(Semaphore::with_max(0, 1));
    scope(async |s| {
        let waiter = Arc::clone(&empty);
        let waiter = s.spawn(async move { waiter.acquire().await.map(drop) });
        yield_now().await;
        empty.close();
        assert_eq!(waiter.await, Err(AcquireError));
    })
    .await;
}

#[corymb::test]
async fn sync_022_a_reader_waits_behind_a_writer_that_waits() {
    let lock = RwLock::new(());
    let reader = lock.read().await;
    let (mut writer, mut second) = (pin!(lock.write()), pin!(lock.read()));
    assert!(writer.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    drop(reader);
    drop(writer.await);
    let _second = second.await;
}

#[corymb::test]
async fn sync_024_a_writer_waits_for_the_last_reader() {
    let lock = Arc::new(RwLock::new(()));
    scope(async |s| {
        let readers = [lock.read_owned().await, lock.read_owned().await];
        let waiter = Arc::clone(&lock);
        let writer = s.launch(async move { drop(waiter.write().await) });
        for reader in readers {
            settle().await;
            assert!(writer.is_active());
            drop(reader);
        }
        writer.join().await;
    })
    .await;
}

#[corymb::test]
async fn sync_025_one_notification_is_kept() {
    let notify = Notify::new();
    notify.notify_one();
    notify.notified().await;
    assert!(notify.notified().now_or_never().is_none());
}

#[corymb::test]
async fn sync_026_the_earlier_of_two_is_notified() {
    let notify = Notify::new();
    let (mut first, mut second) = (pin!(notify.notified()), pin!(notify.notified()));
    assert!(!first.as_mut().enable().await && !second.as_mut().enable().await);
    notify.notify_one();
    assert!(first.as_mut().enable().await && !second.as_mut().enable().await);
}

#[corymb::test]
async fn sync_027_a_notified_one_that_is_dropped_passes_it_on() {
    let notify = Notify::new();
    let (mut first, mut second) = (Box::pin(notify.notified()), pin!(notify.notified()));
    assert!(!first.as_mut().enable().await && !second.as_mut().enable().await);
    notify.notify_one();
    drop(first);
    second.await;
}

#[corymb::test]
async fn sync_030_a_barrier_lets_nobody_on_before_the_last_and_has_one_leader() {
    const PARTIES: usize = 10;
    const ROUNDS: usize = 50;
    let barrier = Arc::new(Barrier::new(PARTIES));
    let leaders = scope(async |s| {
        let parts = [(); PARTIES].map(|()| {
            let barrier = Arc::clone(&barrier);
            s.spawn(async move {
                let mut leads = 0;
                for round in 0..ROUNDS {
                    assert_eq!(barrier.statistics().rounds, round);
                    leads += usize::from(barrier.wait().await.is_leader());
                    assert_eq!(barrier.statistics().rounds, round + 1);
                }
                leads
            })
        });
        let mut leaders = 0;
        for part in parts {
            leaders += part.await;
        }
        leaders
    });
    assert_eq!(leaders.await, ROUNDS);
}

#[corymb::test]
async fn sync_031_the_first_of_two_initialisers_gives_the_value() {
    let cell = Arc::new(OnceCell::new());
    scope(async |s| {
        let values = [5, 10].map(|value| {
            let cell = Arc::clone(&cell);
            let init = async move {
                yield_now().await;
                value
            };
            s.spawn(async move { *cell.get_or_init(init).await })
        });
        for value in values {
            assert_eq!(value.await, 5);
        }
    })
    .await;
}

#[corymb::test]
async fn sync_033_an_initialiser_s_error_goes_to_its_caller_alone() {
    let cell = Arc::new(OnceCell::new());
    scope(async |s| {
        let [first, second] = [Err(Oops("first")), Ok(10)].map(|made| {
            let cell = Arc::clone(&cell);
            let init = async move {
                yield_now().await;
                made
            };
            s.spawn(async move { cell.get_or_try_init(init).await.copied() })
        });
        assert_eq!(first.await, Err(Oops("first")));
        assert_eq!(second.await, Ok(10));
    })
    .await;
    assert_eq!(cell.get(), Some(&10));
}

/// Differs from the case: a notification needs no lock, and a waiter that is cancelled is dropped
/// where it waits. Its notification goes to the next.
#[corymb::test]
async fn sync_034_a_notified_waiter_holds_the_lock_again() {
    let (trace, told) = Trace::twice();
    let shared = Arc::new((Mutex::new(()), Condvar::new()));
    scope(async |s| {
        let waiters = [0, 1, 2].map(|n| {
            let (shared, trace) = (Arc::clone(&shared), trace.clone());
            s.launch(async move {
                let guard = shared.1.wait(shared.0.lock().await).await;
                assert!(shared.0.try_lock().is_none(), "it has the lock");
                trace.add(n);
                drop(guard);
            })
        });
        settle().await;
        shared.1.notify_one();
        settle().await;
        assert_eq!(trace.get(), ["0"]);
        shared.1.notify_one();
        waiters[1].cancel();
        settle().await;
        assert_eq!(trace.get(), ["0", "2"]);
        let last = Arc::clone(&shared);
        s.launch(async move { drop(last.1.wait(last.0.lock().await).await) });
        settle().await;
        shared.1.notify_all();
    })
    .await;
    assert_eq!(told.get(), ["0", "2"]);
    assert!(!shared.0.is_locked());
}

#[corymb::test]
async fn sync_038_lockers_take_turns_in_the_order_of_arrival() {
    let mutex = Arc::new(Mutex::new(Vec::new()));
    scope(async |s| {
        for n in 0..3 {
            let mutex = Arc::clone(&mutex);
            s.launch(async move {
                for _ in 0..4 {
                    mutex.lock().await.push(n);
                    yield_now().await;
                }
            });
        }
    })
    .await;
    assert_eq!(*mutex.lock().await, [0, 1, 2].repeat(4));
}
