//! Broadcast channels.

use super::{block_on, thread, value};
use crate::broadcast::{self, Lagged, RecvError};

#[test]
fn send_against_two_who_receive() {
    loom::model(|| {
        let (tx, mut rx) = broadcast::channel(2);
        let mut other = rx.clone();
        let receiver = thread::spawn(move || {
            assert_eq!(block_on(other.recv()).as_deref(), Ok(&7));
        });
        let sender = thread::spawn(move || assert!(tx.send(value(7)).is_ok()));
        assert_eq!(block_on(rx.recv()).as_deref(), Ok(&7));
        assert!(matches!(block_on(rx.recv()), Err(RecvError::Closed)));
        receiver.join().unwrap();
        sender.join().unwrap();
    });
}

#[test]
fn send_against_one_who_is_too_slow() {
    loom::model(|| {
        let (tx, mut rx) = broadcast::channel(1);
        let sender = thread::spawn(move || {
            for n in 0..2 {
                assert!(tx.send(value(n)).is_ok());
            }
        });
        let mut next = 0;
        loop {
            match block_on(rx.recv()) {
                Ok(n) => {
                    assert_eq!(*n, next);
                    next += 1;
                }
                Err(RecvError::Lagged(Lagged(lost))) => {
                    assert_eq!((next, lost), (0, 1));
                    next += 1;
                }
                Err(RecvError::Closed) => break,
            }
        }
        assert_eq!(next, 2);
        sender.join().unwrap();
    });
}

#[test]
fn close_against_recv() {
    loom::model(|| {
        let (tx, mut rx) = broadcast::channel::<usize>(1);
        let closer = tx.clone();
        let closer = thread::spawn(move || closer.close());
        assert!(matches!(block_on(rx.recv()), Err(RecvError::Closed)));
        closer.join().unwrap();
    });
}

/// A value is dropped by whoever is the last that might have got it.
#[test]
fn drop_of_a_receiver_against_recv_and_send() {
    loom::model(|| {
        let (tx, mut rx) = broadcast::channel(1);
        let other = rx.clone();
        assert!(tx.send(value(0)).is_ok());
        let dropper = thread::spawn(move || drop(other));
        assert_eq!(rx.try_recv().as_deref(), Ok(&0));
        assert!(tx.send(value(1)).is_ok());
        dropper.join().unwrap();
        assert_eq!(rx.try_recv().as_deref(), Ok(&1));
        assert_eq!(tx.statistics().len, 0);
    });
}

/// What only the one that goes would still have got goes one by one, and to nobody else.
#[test]
fn drop_of_a_receiver_that_is_behind_against_recv() {
    loom::model(|| {
        let (tx, slow) = broadcast::channel(2);
        let mut rx = slow.clone();
        assert!(tx.send(value(0)).is_ok() && tx.send(value(1)).is_ok());
        assert_eq!(rx.try_recv().as_deref(), Ok(&0));
        let dropper = thread::spawn(move || drop(slow));
        assert_eq!(rx.try_recv().as_deref(), Ok(&1));
        dropper.join().unwrap();
        assert_eq!(tx.statistics().len, 0);
    });
}
