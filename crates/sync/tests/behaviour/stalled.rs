//! One who waits in a queue and is no longer polled holds up nobody behind it: what it is offered
//! goes on at the end of its coroutine's next poll. It keeps its place.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::Poll;

use corymb::prelude::*;
use corymb::testing::TestRuntime;
use corymb_sync::channel::{self, Receiver};
use corymb_sync::{Mutex, oneshot};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

/// Polls `future` once.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Waits in the queue, and is not polled again.
async fn stall(rx: Receiver<u32>) {
    let mut stalled = Box::pin(rx.recv());
    assert!(poll_once(stalled.as_mut()).await.is_pending());
    pending::<()>().await;
}

#[test]
fn a_receiver_that_is_kept_in_a_coroutine_that_waits_for_something_else() {
    TestRuntime::new().run(scope(async |s| {
        let (tx, rx) = channel::bounded(1);
        let stalled = s.launch(stall(rx.clone()));
        yield_now().await;
        let second = s.spawn(async move { rx.recv().await });
        yield_now().await;
        tx.send(7).await.unwrap();
        assert_eq!(second.await, Ok(7));
        stalled.cancel();
    }));
}

#[test]
#[cfg_attr(miri, ignore = "miri has no reactor")]
fn a_receiver_that_is_kept_in_what_a_thread_blocks_on() {
    run_blocking(scope(async |s| {
        let (tx, rx) = channel::bounded(1);
        let mut stalled = Box::pin(rx.recv());
        assert!(poll_once(stalled.as_mut()).await.is_pending());
        let (queued, is_queued) = oneshot::channel();
        let second = s.spawn({
            let rx = rx.clone();
            async move {
                let mut second = Box::pin(rx.recv());
                assert!(poll_once(second.as_mut()).await.is_pending());
                queued.send(()).unwrap();
                second.await
            }
        });
        is_queued.await.unwrap();
        let sender = tx.clone();
        s.spawn(async move { sender.send(7).await }).await.unwrap();
        assert_eq!(second.await, Ok(7));
        drop(tx); // not before: that wakes all
    }));
}

#[test]
fn a_receiver_in_a_coroutine_that_yields_for_ever() {
    TestRuntime::new().run(scope(async |s| {
        let (tx, rx) = channel::bounded(1);
        let stalled = s.launch({
            let rx = rx.clone();
            async move {
                let mut stalled = Box::pin(rx.recv());
                assert!(poll_once(stalled.as_mut()).await.is_pending());
                loop {
                    yield_now().await;
                }
            }
        });
        yield_now().await;
        let second = s.spawn(async move { rx.recv().await });
        yield_now().await;
        tx.send(7).await.unwrap();
        assert_eq!(second.await, Ok(7));
        stalled.cancel();
    }));
}

/// It is in the set's queue of those to be polled, and the set is not polled.
#[test]
fn a_receiver_in_a_set_that_is_not_polled() {
    TestRuntime::new().run(scope(async |s| {
        let (tx, rx) = channel::bounded(1);
        let (go, gone) = channel::bounded::<()>(1);
        let stalled = s.spawn({
            let rx = rx.clone();
            async move {
                let mut set: FuturesUnordered<_> =
                    [&rx, &rx].map(Receiver::recv).into_iter().collect();
                assert!(poll_once(Box::pin(set.next()).as_mut()).await.is_pending());
                gone.recv().await.unwrap();
                set.next().await
            }
        });
        yield_now().await;
        let second = s.spawn(async move { rx.recv().await });
        yield_now().await;
        tx.send(7).await.unwrap();
        assert_eq!(second.await, Ok(7));
        go.send(()).await.unwrap();
        tx.send(8).await.unwrap();
        assert_eq!(stalled.await, Some(Ok(8)));
    }));
}

static RX: OnceLock<Receiver<u32>> = OnceLock::new();

#[test]
fn a_receiver_that_was_moved_out_of_its_coroutine() {
    TestRuntime::new().run(scope(async |s| {
        let (tx, rx) = channel::bounded(1);
        let rx = RX.get_or_init(|| rx);
        let moved = s.spawn(async move {
            let mut moved = Box::pin(rx.recv());
            assert!(poll_once(moved.as_mut()).await.is_pending());
            Some(moved)
        });
        let moved = moved.await.unwrap();
        let second = s.spawn(async move { rx.recv().await });
        yield_now().await;
        tx.send(7).await.unwrap();
        assert_eq!(second.await, Ok(7));
        tx.send(8).await.unwrap();
        assert_eq!(moved.await, Ok(8));
    }));
}

/// It queues again where it was.
#[test]
fn it_keeps_its_place() {
    TestRuntime::new().run(scope(async |s| {
        let (tx, rx) = channel::bounded(1);
        let (go, gone) = channel::bounded::<()>(1);
        let stalled = s.spawn({
            let rx = rx.clone();
            async move {
                let mut stalled = Box::pin(rx.recv());
                assert!(poll_once(stalled.as_mut()).await.is_pending());
                gone.recv().await.unwrap();
                stalled.await
            }
        });
        yield_now().await;
        let [second, third] = [(); 2].map(|()| {
            let rx = rx.clone();
            s.spawn(async move { rx.recv().await })
        });
        yield_now().await;
        tx.send(1).await.unwrap();
        assert_eq!(second.await, Ok(1));
        go.send(()).await.unwrap();
        yield_now().await;
        tx.send(2).await.unwrap();
        tx.send(3).await.unwrap();
        assert_eq!((stalled.await, third.await), (Ok(2), Ok(3)));
    }));
}

#[test]
fn a_dump_says_what_a_coroutine_waits_for() {
    TestRuntime::new().run(scope(async |s| {
        let (_tx, rx) = channel::bounded::<u32>(1);
        let job = s.launch(async move {
            let both = futures::future::join(rx.recv(), rx.recv());
            both.await.0.unwrap();
        });
        yield_now().await;
        let mut dump = String::new();
        job.dump(&mut dump).unwrap();
        let (_, waits) = dump.split_once(", waiting for channel 0x").expect(&dump);
        let file = concat!(" at ", file!(), ":");
        assert_eq!(waits.matches(file).count(), 2, "{dump}");
        assert_eq!(waits.matches(", and for channel 0x").count(), 1, "{dump}");
        job.cancel();
    }));
}

static MUTEX: OnceLock<Mutex<u32>> = OnceLock::new();

#[test]
fn a_lock_that_is_offered_to_one_who_is_kept() {
    TestRuntime::new().run(scope(async |s| {
        let mutex = MUTEX.get_or_init(Mutex::default);
        let guard = mutex.lock().await;
        let (go, gone) = channel::bounded::<()>(1);
        let stalled = s.spawn(async move {
            let mut stalled = Box::pin(mutex.lock());
            assert!(poll_once(stalled.as_mut()).await.is_pending());
            gone.recv().await.unwrap();
            *stalled.await
        });
        yield_now().await;
        let second = s.spawn(async move {
            let mut value = mutex.lock().await;
            yield_now().await;
            *value += 1;
        });
        yield_now().await;
        drop(guard);
        assert!(mutex.try_lock().is_none(), "it is the first one's");
        second.await;
        go.send(()).await.unwrap();
        assert_eq!(stalled.await, 1);
    }));
}
