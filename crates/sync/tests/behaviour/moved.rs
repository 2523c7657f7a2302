//! What waits to send, with its handle, is moved about or left alone while the channel closes.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;
use std::thread;

use corymb_sync::channel::{Receiver, Sender, bounded, rendezvous};
use corymb_sync::{SendError, TryRecvError};

use crate::common::{Task, Tracked, drops};

/// A full channel, whose places are taken by zeros.
fn full(capacity: usize) -> (Sender<u32>, Receiver<u32>) {
    let (tx, rx) = bounded(capacity);
    (0..capacity).for_each(|_| tx.try_send(0).unwrap());
    (tx, rx)
}

#[test]
fn a_close_does_not_end_a_send_that_waits_in_another_task_since() {
    for capacity in [0, 1, 2] {
        let (tx, rx) = full(capacity);
        let mut send = Task::waiting(async move { tx.send(1).await });
        let before = send.change_waker();
        assert!(send.poll().is_pending());
        assert!(rx.close());
        assert!(!send.woken() && send.poll().is_pending());
        for _ in 0..capacity {
            assert_eq!(rx.try_recv(), Ok(0));
        }
        assert_eq!(rx.try_recv(), Ok(1));
        assert!(send.woken());
        assert_eq!((before(), send.poll()), (0, Poll::Ready(Ok(()))));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    }
}

/// Not even the handle's own thread is needed any more.
#[test]
fn a_send_that_was_moved_to_a_thread_gets_its_value_back_with_the_last_receiver() {
    for closes_first in [false, true] {
        let (tx, rx) = full(1);
        let mut send = Task::waiting(async move { tx.send(1).await });
        if closes_first {
            rx.close();
        }
        let moved = thread::spawn(move || {
            drop(rx);
            assert!(send.woken());
            send.poll()
        });
        assert_eq!(moved.join().unwrap(), Poll::Ready(Err(SendError(1))));
    }
}

#[test]
fn other_handles_that_go_leave_a_send_that_waits_and_its_own_keeps_the_channel_open() {
    let (tx, rx) = full(1);
    let own = tx.clone();
    let mut send = Task::waiting(async move {
        own.send(1).await?;
        own.send(2).await
    });
    thread::spawn(move || drop(tx)).join().unwrap();
    assert!(!rx.is_closed() && !send.woken());
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(0), Ok(1)));
    assert_eq!(send.poll(), Poll::Ready(Ok(())));
    drop(send);
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(2), Err(TryRecvError::Closed)));
}

#[test]
fn a_send_that_is_dropped_after_the_close_drops_its_value_once() {
    let count = Arc::new(AtomicUsize::new(0));
    let (tx, rx) = rendezvous();
    let value = Tracked(1, Arc::clone(&count));
    let send = Task::waiting(async move { tx.send(value).await });
    rx.close();
    assert_eq!(drops(&count), 0);
    thread::spawn(move || drop(send)).join().unwrap();
    assert_eq!(drops(&count), 1);
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Closed)));
}

#[test]
fn a_reservation_that_was_moved_is_refused_by_a_close_and_its_sender_is_gone() {
    let (tx, rx) = full(1);
    let mut reserve = Task::waiting(tx.clone().reserve_owned());
    let before = reserve.change_waker();
    assert!(reserve.poll().is_pending());
    rx.close();
    assert_eq!((before(), reserve.wakes()), (0, 1));
    let refused = thread::spawn(move || matches!(reserve.poll(), Poll::Ready(Err(SendError(())))));
    assert!(refused.join().unwrap());
    assert_eq!(rx.sender_count(), 1);
}
