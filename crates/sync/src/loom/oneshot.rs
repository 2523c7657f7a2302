//! Oneshot channels.

use super::{Value, block_on, thread, value};
use crate::{RecvError, oneshot};

#[test]
fn send_against_recv() {
    loom::model(|| {
        let (tx, rx) = oneshot::channel::<Value>();
        let sender = thread::spawn(move || assert!(tx.send(value(7)).is_ok()));
        assert_eq!(block_on(rx).as_deref(), Ok(&7));
        sender.join().unwrap();
    });
}

#[test]
fn drop_of_the_sender_against_recv() {
    loom::model(|| {
        let (tx, rx) = oneshot::channel::<Value>();
        let sender = thread::spawn(move || drop(tx));
        assert!(matches!(block_on(rx), Err(RecvError::Closed)));
        sender.join().unwrap();
    });
}

#[test]
fn drop_of_the_receiver_against_closed() {
    loom::model(|| {
        let (mut tx, rx) = oneshot::channel::<Value>();
        let receiver = thread::spawn(move || drop(rx));
        block_on(tx.closed());
        assert!(tx.send(value(7)).is_err());
        receiver.join().unwrap();
    });
}
