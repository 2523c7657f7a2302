//! As in `stalled.rs`, for the other operations that wait: one that is kept and no longer polled
//! holds up nobody.
//!
//! A sender cannot: its value is in its waiter, and whoever frees a place moves it there. Receivers
//! of broadcast and watch channels share nothing: each is released by itself.

use std::future::pending;
use std::task::Poll;

use corymb::prelude::*;
use corymb::testing::TestRuntime;
use corymb_sync::channel::{bounded, rendezvous};
use corymb_sync::{broadcast, watch};
use futures::poll;

/// Polls `$future` once in a coroutine of `$scope`, and keeps it there.
macro_rules! keep {
    ($scope:expr, $future:expr) => {{
        let future = $future;
        let job = $scope.launch(async move {
            let mut kept = Box::pin(future);
            assert!(poll!(kept.as_mut()).is_pending());
            pending::<()>().await;
        });
        yield_now().await;
        job
    }};
}

#[test]
fn a_sender() {
    TestRuntime::new().run(scope(async |s| {
        let (tx, rx) = bounded(1);
        tx.send(0).await.unwrap();
        let kept = keep!(s, {
            let tx = tx.clone();
            async move { tx.send(1).await }
        });
        let second = s.spawn(async move { tx.send(2).await });
        yield_now().await;
        for n in 0..3 {
            assert_eq!(rx.recv().await, Ok(n));
        }
        assert_eq!(second.await, Ok(()));
        kept.cancel();
    }));
}

#[test]
fn a_reservation_which_keeps_its_place_in_the_queue() {
    TestRuntime::new().run(scope(async |s| {
        let (tx, rx) = bounded(1);
        tx.send(0).await.unwrap();
        let (go, gone) = bounded::<()>(1);
        let kept = s.spawn({
            let tx = tx.clone();
            async move {
                let mut kept = Box::pin(tx.reserve());
                assert!(poll!(kept.as_mut()).is_pending());
                gone.recv().await.unwrap();
                kept.await.unwrap().send(2)
            }
        });
        yield_now().await;
        let second = s.spawn({
            let tx = tx.clone();
            async move { tx.reserve().await.unwrap().send(1) }
        });
        yield_now().await;
        assert_eq!(rx.recv().await, Ok(0));
        assert_eq!(second.await, Ok(()));
        let third = s.spawn(async move { tx.send(3).await });
        yield_now().await;
        go.send(()).await.unwrap();
        yield_now().await;
        for n in 1..=3 {
            assert_eq!(rx.recv().await, Ok(n));
        }
        assert_eq!((kept.await, third.await), (Ok(()), Ok(())));
    }));
}

#[test]
fn a_receiver_of_many() {
    TestRuntime::new().run(scope(async |s| {
        let (tx, rx) = bounded(2);
        let kept = keep!(s, {
            let rx = rx.clone();
            async move { rx.recv_many(&mut Vec::new(), 2).await }
        });
        let second = s.spawn(async move { rx.recv().await });
        yield_now().await;
        tx.send(7).await.unwrap();
        assert_eq!(second.await, Ok(7));
        kept.cancel();
    }));
}

#[test]
fn a_receiver_that_has_been_met() {
    TestRuntime::new().run(scope(async |s| {
        let (tx, rx) = rendezvous();
        let kept = keep!(s, {
            let rx = rx.clone();
            async move { rx.recv().await }
        });
        tx.send(7).await.unwrap();
        yield_now().await;
        assert_eq!(rx.recv().await, Ok(7), "it is there for who comes");
        kept.cancel();
    }));
}

#[test]
fn a_receiver_of_a_broadcast() {
    TestRuntime::new().run(scope(async |s| {
        let (tx, mut rx) = broadcast::channel(1);
        let kept = keep!(s, {
            let mut rx = rx.clone();
            async move { rx.recv().await }
        });
        let second = s.spawn(async move { (rx.recv().await, rx.recv().await) });
        yield_now().await;
        for n in 0..2 {
            assert_eq!(tx.send(n), Ok(2));
            yield_now().await;
        }
        assert_eq!(second.await, (Ok(0), Ok(1)));
        kept.cancel();
    }));
}

#[test]
fn a_receiver_of_a_watch() {
    TestRuntime::new().run(scope(async |s| {
        let (tx, mut rx) = watch::channel(0);
        let kept = keep!(s, {
            let mut rx = rx.clone();
            async move { rx.changed().await }
        });
        let second = s.spawn(async move {
            rx.changed().await.unwrap();
            rx.wait_for(|&n| n == 2).await.map(|n| *n)
        });
        yield_now().await;
        for n in 1..=2 {
            tx.send(n).unwrap();
            yield_now().await;
        }
        assert_eq!(second.await, Ok(2));
        kept.cancel();
    }));
}

/// It gets the offer that it let go of when it is polled again.
#[test]
fn one_that_is_polled_again_in_time() {
    TestRuntime::new().run(async {
        let (tx, rx) = bounded::<u32>(1);
        let permit = tx.try_reserve().unwrap();
        let mut kept = Box::pin(tx.reserve());
        assert!(poll!(kept.as_mut()).is_pending());
        drop(permit);
        for _ in 0..3 {
            yield_now().await;
        }
        assert!(tx.try_reserve().is_ok(), "nobody else wants it");
        assert!(matches!(poll!(kept.as_mut()), Poll::Ready(Ok(_))));
        drop(rx);
    });
}
