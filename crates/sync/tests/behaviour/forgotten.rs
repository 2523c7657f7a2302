//! Futures that were forgotten while they waited, or moved out of their coroutine, and what they
//! waited for.

use std::future::{pending, poll_fn};
use std::mem::forget;
use std::pin::Pin;
use std::sync::{Arc, Mutex as StdMutex};
use std::task::{Context, Poll, Wake, Waker};

use corymb::prelude::*;
use corymb::testing::{TestRuntime, settle};
use corymb_sync::{Latch, Mutex, OwnedSemaphoreAcquire, Semaphore, channel};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

#[test]
#[cfg_attr(miri, ignore = "it leaks what it forgets")]
fn the_primitive_goes_before_the_coroutine_ends() {
    TestRuntime::new().run(scope(async |s| {
        s.launch(async {
            let mutex = Box::new(Mutex::new(0));
            let guard = mutex.try_lock().unwrap();
            let mut lock = Box::pin(mutex.lock());
            assert!(poll_once(lock.as_mut()).await.is_pending());
            forget(lock);
            drop(guard); // offered
            drop(mutex);
            yield_now().await;
            yield_now().await;
        });
    }));
}

#[test]
#[cfg_attr(miri, ignore = "it leaks what it forgets")]
fn the_primitive_is_moved() {
    TestRuntime::new().run(scope(async |s| {
        s.launch(async {
            let latch = Latch::new(1);
            let mut wait = Box::pin(latch.wait());
            assert!(poll_once(wait.as_mut()).await.is_pending());
            forget(wait);
            let moved = Box::new(latch);
            yield_now().await;
            drop(moved);
        });
    }));
}

#[test]
#[cfg_attr(miri, ignore = "miri has no reactor")]
fn in_what_a_thread_blocks_on() {
    run_blocking(async {
        let latch = Box::new(Latch::new(1));
        let mut wait = Box::pin(latch.wait());
        assert!(poll_once(wait.as_mut()).await.is_pending());
        forget(wait);
        drop(latch);
    });
}

type Acquire = Pin<Box<OwnedSemaphoreAcquire>>;

/// A waker that drops the futures, and with the last of them what they wait for.
#[derive(Default)]
struct DropAll(StdMutex<Vec<Acquire>>);

impl Wake for DropAll {
    fn wake(self: Arc<Self>) {
        let all = std::mem::take(&mut *self.0.lock().unwrap());
        drop(all);
    }
}

#[test]
fn the_primitive_goes_while_an_offer_is_passed_on() {
    let all = Arc::new(DropAll::default());
    let kept = Arc::clone(&all);
    TestRuntime::new().run(scope(async move |s| {
        let semaphore = Arc::new(Semaphore::new(8));
        let permit = semaphore.try_acquire_many_owned(8).unwrap();
        let (its, here) = (Arc::clone(&semaphore), Arc::clone(&all));
        let first = s.launch(async move {
            let mut acquire: Acquire = Box::pin(its.acquire_many_owned(8));
            drop(its);
            assert!(poll_once(acquire.as_mut()).await.is_pending());
            here.0.lock().unwrap().push(acquire);
            yield_now().await;
            yield_now().await;
        });
        yield_now().await;
        let waker = Waker::from(Arc::clone(&all));
        for _ in 0..8 {
            let mut acquire: Acquire = Box::pin(semaphore.acquire_owned());
            assert!(acquire.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            all.0.lock().unwrap().push(acquire);
        }
        drop(semaphore);
        drop(permit); // offered to the first, which is not polled
        first.join().await;
    }));
    assert!(kept.0.lock().unwrap().is_empty());
}

#[test]
fn a_set_that_was_moved_out_of_its_coroutine_is_woken() {
    TestRuntime::new().run(scope(async |s| {
        let (tx, rx) = channel::bounded::<u32>(1);
        let set = s.spawn(async move {
            let mut set = FuturesUnordered::new();
            set.push(async move { rx.recv().await });
            assert!(poll_once(Box::pin(set.next()).as_mut()).await.is_pending());
            set
        });
        let mut set = set.await;
        assert!(poll_once(Box::pin(set.next()).as_mut()).await.is_pending());
        tx.send(7).await.unwrap();
        assert_eq!(set.next().await, Some(Ok(7)));
    }));
}

#[test]
fn one_that_is_shared_outlives_the_coroutine_that_polled_it_last() {
    TestRuntime::new().run(scope(async |s| {
        let (tx, rx) = channel::bounded::<u32>(1);
        let shared = async move { rx.recv().await }.boxed().shared();
        let second = s.spawn(shared.clone());
        yield_now().await;
        let first = s.launch(shared.map(drop));
        yield_now().await;
        first.cancel_and_join().await;
        yield_now().await;
        tx.send(7).await.unwrap();
        assert_eq!(second.await, Ok(7));
    }));
}

#[test]
fn an_offer_to_one_kept_in_a_coroutine_that_sleeps_elsewhere() {
    TestRuntime::new().run(scope(async |s| {
        let mutex = Arc::new(Mutex::new(7));
        let guard = mutex.lock_owned().await;
        let its = Arc::clone(&mutex);
        let stalled = s.launch(async move {
            let mut kept = Box::pin(its.lock());
            assert!(poll_once(kept.as_mut()).await.is_pending());
            let elsewhere = Dispatcher::Default.limited_parallelism(1);
            with_context(elsewhere, pending::<()>()).await;
        });
        settle().await;
        let second = s.spawn(async move { *mutex.lock().await });
        settle().await;
        drop(guard);
        assert_eq!(second.await, 7);
        stalled.cancel();
    }));
}

/// The second of two waits of one coroutine is polled, and is ahead of another coroutine's.
#[test]
fn an_offer_that_passes_from_one_wait_of_a_coroutine_to_the_next_is_not_let_go() {
    TestRuntime::new().run(scope(async |s| {
        let mutex = Arc::new(Mutex::new(Vec::new()));
        let guard = mutex.lock_owned().await;
        let its = Arc::clone(&mutex);
        let first = s.launch(async move {
            let mut kept = Box::pin(its.lock());
            assert!(poll_once(kept.as_mut()).await.is_pending());
            its.lock().await.push(1);
            drop(kept);
        });
        yield_now().await;
        let its = Arc::clone(&mutex);
        let second = s.launch(async move { its.lock().await.push(2) });
        yield_now().await;
        drop(guard);
        first.join().await;
        second.join().await;
        assert_eq!(*mutex.lock().await, [1, 2]);
    }));
}
