//! Watch channels.

use super::{block_on, thread, value};
use crate::{RecvError, watch};

#[test]
fn send_against_two_who_wait() {
    loom::model(|| {
        let (tx, mut rx) = watch::channel(value(0));
        let mut other = rx.clone();
        let receiver = thread::spawn(move || {
            assert!(block_on(other.changed()).is_ok());
            assert_eq!(**other.borrow(), 1);
        });
        let sender = thread::spawn(move || {
            assert!(tx.send(value(1)).is_ok());
            tx
        });
        assert!(block_on(rx.changed()).is_ok());
        assert_eq!(**rx.borrow(), 1);
        receiver.join().unwrap();
        drop(sender.join().unwrap());
    });
}

#[test]
fn sends_against_wait_for() {
    loom::model(|| {
        let (tx, mut rx) = watch::channel(0);
        let sender = thread::spawn(move || {
            assert!(tx.send(1).is_ok());
            assert!(tx.send(2).is_ok());
        });
        assert_eq!(block_on(rx.wait_for(|&n| n == 2)).as_deref(), Ok(&2));
        sender.join().unwrap();
    });
}

#[test]
fn close_against_changed() {
    loom::model(|| {
        let (tx, mut rx) = watch::channel(0);
        let sender = thread::spawn(move || drop(tx));
        assert!(matches!(block_on(rx.changed()), Err(RecvError::Closed)));
        sender.join().unwrap();
    });
}

#[test]
fn no_modification_is_lost() {
    loom::model(|| {
        let (tx, rx) = watch::channel(0);
        let other = tx.clone();
        let thread = thread::spawn(move || assert!(other.send_modify(|n| *n += 1).is_ok()));
        assert!(tx.send_modify(|n| *n += 1).is_ok());
        thread.join().unwrap();
        assert_eq!(*rx.borrow(), 2);
    });
}

#[test]
fn the_last_receiver_goes_against_one_that_waits_for_the_end() {
    loom::model(|| {
        let (tx, rx) = watch::channel(0);
        let other = rx.clone();
        let goes = thread::spawn(move || drop(other));
        drop(rx);
        block_on(tx.closed());
        assert_eq!(tx.receiver_count(), 0);
        goes.join().unwrap();
    });
}
