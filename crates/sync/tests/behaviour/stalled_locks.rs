//! As in `stalled`, for the locks and signals: one who waits, and whose coroutine no longer polls
//! it, does not hold up the next.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use corymb::prelude::*;
use corymb::testing::{TestRuntime, elapsed};
use corymb_sync::{
    Barrier, Condvar, Latch, Mutex, Notify, OnceCell, RateLimiter, RwLock, Semaphore, oneshot,
};

/// Waits for `future`, and does not poll it again.
async fn stall<F: Future>(future: F) {
    let mut stalled = Box::pin(future);
    assert!(poll_once(stalled.as_mut()).await.is_pending(), "it does not wait");
    pending::<()>().await;
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

type Waiter<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The second of two who wait gets what `give` gives, though the first is not polled again.
async fn the_second_comes<T: Send + 'static>(
    stalled: Waiter<T>,
    second: Waiter<T>,
    give: impl FnOnce(),
) -> T {
    scope(async |s| {
        let stalled = s.launch(stall(stalled));
        yield_now().await;
        let second = s.spawn(second);
        yield_now().await;
        give();
        let got = second.await;
        stalled.cancel();
        got
    })
    .await
}

#[test]
fn a_semaphore() {
    TestRuntime::new().run(async {
        let semaphore = Arc::new(Semaphore::new(2));
        let held = semaphore.try_acquire_many_owned(1).unwrap();
        let acquire = |permits| Box::pin(semaphore.acquire_many_owned(permits));
        let got = the_second_comes(acquire(2), acquire(1), || drop(held)).await;
        assert_eq!(got.unwrap().num_permits(), 1);
    });
}

#[test]
fn an_rwlock() {
    TestRuntime::new().run(async {
        let lock = Arc::new(RwLock::new(7));
        let held = lock.try_read_owned().unwrap();
        let write: Waiter<()> = {
            let write = lock.write_owned();
            Box::pin(async move { drop(write.await) })
        };
        let read = lock.read_owned();
        let read = Box::pin(async move { assert_eq!(*read.await, 7) });
        the_second_comes(write, read, || drop(held)).await;
    });
}

/// It has the upgradable lock, and keeps writers out; but readers come.
#[test]
fn an_upgrade() {
    TestRuntime::new().run(async {
        let lock = Arc::new(RwLock::new(7));
        let held = lock.try_read_owned().unwrap();
        let upgradable = lock.upgradable_read_owned().await;
        let upgrade: Waiter<()> = Box::pin(async move { drop(upgradable.upgrade().await) });
        let read = lock.read_owned();
        let read = Box::pin(async move { assert_eq!(*read.await, 7) });
        the_second_comes(upgrade, read, || drop(held)).await;
    });
}

#[test]
fn a_notify() {
    TestRuntime::new().run(async {
        let notify = Arc::new(Notify::new());
        let notified = || -> Waiter<()> {
            let notify = Arc::clone(&notify);
            Box::pin(async move { notify.notified().await })
        };
        the_second_comes(notified(), notified(), || notify.notify_one()).await;
    });
}

#[test]
fn a_condvar() {
    TestRuntime::new().run(async {
        let shared = Arc::new((Mutex::new(()), Condvar::new()));
        let wait = || -> Waiter<()> {
            let shared = Arc::clone(&shared);
            Box::pin(async move { drop(shared.1.wait(shared.0.lock().await).await) })
        };
        the_second_comes(wait(), wait(), || shared.1.notify_one()).await;
    });
}

/// Each of two who are not polled for a while is told when it looks again.
#[test]
fn a_condvar_that_nobody_else_waits_for() {
    TestRuntime::new().run(async {
        let (mutex, condvar) = (Mutex::new(()), Condvar::new());
        let mut waits = [(); 2].map(|()| {
            Box::pin(async {
                drop(condvar.wait(mutex.lock().await).await);
            })
        });
        for wait in &mut waits {
            assert!(poll_once(wait.as_mut()).await.is_pending());
        }
        for _ in 0..2 {
            condvar.notify_one();
            yield_now().await;
        }
        for wait in waits {
            wait.await;
        }
        // Nothing is kept for those who come later.
        let mut late = Box::pin(condvar.wait(mutex.lock().await));
        assert!(poll_once(late.as_mut()).await.is_pending());
    });
}

/// It has arrived.
#[test]
fn a_barrier() {
    TestRuntime::new().run(async {
        let barrier = Arc::new(Barrier::new(3));
        let wait = || -> Waiter<bool> {
            let barrier = Arc::clone(&barrier);
            Box::pin(async move { barrier.wait().await.is_leader() })
        };
        let third = barrier.wait();
        let leads = scope(async |s| {
            let stalled = s.launch(stall(wait()));
            let second = s.spawn(wait());
            yield_now().await;
            let leads = (third.await.is_leader(), second.await);
            stalled.cancel();
            leads
        });
        assert_eq!(leads.await, (true, false));
    });
}

#[test]
fn a_latch() {
    TestRuntime::new().run(async {
        let latch = Arc::new(Latch::new(1));
        let wait = || -> Waiter<()> {
            let latch = Arc::clone(&latch);
            Box::pin(async move { latch.wait().await })
        };
        the_second_comes(wait(), wait(), || latch.count_down()).await;
    });
}

#[test]
fn a_once_cell_whose_initialiser_is_shared() {
    TestRuntime::new().run(async {
        let cell = Arc::new(OnceCell::new());
        let (tx, rx) = oneshot::channel();
        let stalled: Waiter<u32> = {
            let cell = Arc::clone(&cell);
            Box::pin(async move { *cell.get_or_init_shared(async { rx.await.unwrap() }).await })
        };
        let second = {
            let cell = Arc::clone(&cell);
            Box::pin(async move { *cell.get_or_init(pending()).await })
        };
        assert_eq!(the_second_comes(stalled, second, || tx.send(7).unwrap()).await, 7);
    });
}

#[test]
fn one_who_waits_for_a_once_cell() {
    TestRuntime::new().run(async {
        let cell = Arc::new(OnceCell::new());
        let (fail, failed) = oneshot::channel::<()>();
        let running = Arc::clone(&cell);
        scope(async |s| {
            let first = s.spawn(async move {
                running.get_or_try_init(async { failed.await.map(|()| 0) }).await.is_err()
            });
            yield_now().await;
            let get = |value| -> Waiter<u32> {
                let cell = Arc::clone(&cell);
                Box::pin(async move { *cell.get_or_init(async move { value }).await })
            };
            assert_eq!(the_second_comes(get(1), get(2), || drop(fail)).await, 2);
            assert!(first.await);
        })
        .await;
    });
}

/// It comes when its time would have come after the other.
#[test]
fn a_rate_limiter() {
    TestRuntime::new().run(async {
        let limiter = Arc::new(RateLimiter::new(10, Duration::from_secs(1)));
        assert!(limiter.try_acquire_many(10));
        let acquire = |tokens| -> Waiter<()> {
            let limiter = Arc::clone(&limiter);
            Box::pin(async move { limiter.acquire_many(tokens).await })
        };
        the_second_comes(acquire(3), acquire(1), || ()).await;
        assert_eq!(elapsed(), Duration::from_millis(400));
    });
}
