//! What a oneshot channel promises.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;
use std::thread;

use corymb_sync::{RecvError, TryRecvError, oneshot};
use futures::executor::block_on;

use crate::common::{Task, Tracked, drops};

#[test]
fn a_value_is_received_once() {
    let (tx, mut rx) = oneshot::channel();
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    assert!(!tx.is_closed());
    tx.send(7).unwrap();
    assert_eq!(block_on(&mut rx), Ok(7));
    assert_eq!(block_on(&mut rx), Err(RecvError::Closed));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn between_threads() {
    for n in 0..if cfg!(miri) { 10 } else { 1000 } {
        let (tx, rx) = oneshot::channel();
        let sender = thread::spawn(move || tx.send(n));
        assert_eq!(block_on(rx), Ok(n));
        sender.join().unwrap().unwrap();
    }
}

#[test]
fn channel_062_a_dropped_sender_wakes_the_receiver() {
    let (tx, rx) = oneshot::channel::<()>();
    let mut rx = Task::waiting(rx);
    drop(tx);
    assert!(rx.woken());
    assert_eq!(rx.poll(), Poll::Ready(Err(RecvError::Closed)));
}

#[test]
fn channel_064_the_latest_waker_is_woken() {
    let (tx, rx) = oneshot::channel();
    let mut rx = Task::waiting(rx);
    let first = rx.change_waker();
    assert!(rx.poll().is_pending());
    tx.send(7).unwrap();
    assert_eq!((first(), rx.wakes()), (0, 1));
    assert_eq!(rx.poll(), Poll::Ready(Ok(7)));
}

#[test]
fn a_value_sent_before_close_is_received() {
    let (tx, mut rx) = oneshot::channel();
    tx.send(7).unwrap();
    rx.close();
    rx.close();
    assert_eq!(block_on(rx), Ok(7));

    let (tx, mut rx) = oneshot::channel();
    rx.close();
    assert!(tx.is_closed());
    assert_eq!(tx.send(7), Err(7));
    assert_eq!(block_on(rx), Err(RecvError::Closed));
}

#[test]
fn closed_waits_for_the_receiver() {
    let (mut tx, mut rx) = oneshot::channel::<()>();
    let mut closed = Task::waiting(tx.closed());
    let first = closed.change_waker();
    assert!(closed.poll().is_pending());
    rx.close();
    assert_eq!((first(), closed.wakes()), (0, 1));
    assert_eq!(closed.poll(), Poll::Ready(()));
    drop((closed, first));
    assert_eq!(Task::new(tx.closed()).poll(), Poll::Ready(()));
}

#[test]
fn an_unreceived_value_is_dropped_with_the_receiver() {
    let count = Arc::new(AtomicUsize::new(0));
    let (tx, rx) = oneshot::channel();
    tx.send(Tracked(0, Arc::clone(&count))).unwrap();
    assert_eq!(drops(&count), 0);
    drop(rx);
    assert_eq!(drops(&count), 1);
}
