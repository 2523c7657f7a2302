//! Channels: values, reservations, meetings, closes.

use std::task::Poll;

use super::{Value, block_on, poll_and_drop, thread, value};
use crate::channel::{Receiver, Sender, bounded, rendezvous};
use crate::{RecvError, SendError, TryRecvError};

type Ends = (Sender<Value>, Receiver<Value>);

fn model_of_send_against_recv(channel: fn() -> Ends) {
    loom::model(move || {
        let (tx, rx) = channel();
        let sender = thread::spawn(move || {
            for n in 0..2 {
                assert!(block_on(tx.send(value(n))).is_ok());
            }
        });
        for n in 0..2 {
            assert_eq!(block_on(rx.recv()).as_deref(), Ok(&n));
        }
        sender.join().unwrap();
    });
}

#[test]
fn send_against_recv() {
    model_of_send_against_recv(|| bounded(1));
}

#[test]
fn rendezvous_of_send_and_recv() {
    model_of_send_against_recv(rendezvous);
}

/// A receiver gives up while a send may be calling it: the one behind it gets the value.
fn model_of_send_against_a_cancel(channel: fn() -> Ends) {
    loom::model(move || {
        let (tx, rx) = channel();
        let sender = thread::spawn(move || assert!(block_on(tx.send(value(7))).is_ok()));
        let first = rx.clone();
        let quitter =
            thread::spawn(move || matches!(poll_and_drop(first.recv()), Poll::Ready(Ok(_))));
        let got = block_on(rx.recv());
        sender.join().unwrap();
        let taken = quitter.join().unwrap();
        assert_eq!(got.is_err(), taken, "the value went to one of the two");
    });
}

#[test]
fn cancel_of_a_called_receiver_against_send() {
    model_of_send_against_a_cancel(|| bounded(1));
}

#[test]
fn cancel_of_a_called_receiver_against_a_rendezvous() {
    model_of_send_against_a_cancel(rendezvous);
}

/// A sender gives up while a receive may be taking its value: sent or dropped, never both.
#[test]
fn cancel_of_a_waiting_sender_against_recv() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        assert!(tx.try_send(value(0)).is_ok());
        let receiver = thread::spawn(move || {
            let first = rx.try_recv();
            (first.map(|value| *value), rx)
        });
        let waiting = value(1);
        drop(poll_and_drop(tx.send(Value::clone(&waiting))));
        let (first, rx) = receiver.join().unwrap();
        assert_eq!(first, Ok(0));
        let second = rx.try_recv();
        assert_eq!(Value::strong_count(&waiting), 1 + usize::from(second.is_ok()));
    });
}

#[test]
fn close_against_recv() {
    loom::model(|| {
        let (tx, rx) = bounded::<Value>(1);
        let closer = rx.clone();
        let closer = thread::spawn(move || closer.close());
        assert!(matches!(block_on(rx.recv()), Err(RecvError::Closed)));
        closer.join().unwrap();
        assert_eq!(tx.try_send(value(0)).map_err(|e| *e.into_inner()), Err(0));
    });
}

#[test]
fn drop_of_the_last_sender_against_recv() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        let sender = thread::spawn(move || assert!(tx.try_send(value(0)).is_ok()));
        assert_eq!(block_on(rx.recv()).as_deref(), Ok(&0));
        assert!(matches!(block_on(rx.recv()), Err(RecvError::Closed)));
        sender.join().unwrap();
    });
}

#[test]
fn drop_of_the_last_receiver_against_send() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        assert!(tx.try_send(value(0)).is_ok());
        let receiver = thread::spawn(move || drop(rx));
        let refused = block_on(tx.send(value(1)));
        assert_eq!(refused.map_err(|SendError(v)| *v), Err(1));
        receiver.join().unwrap();
    });
}

/// A reservation is given up while a receive may be offering it the place: the place is not lost.
#[test]
fn cancel_of_a_reservation_against_recv() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        assert!(tx.try_send(value(0)).is_ok());
        let receiver = thread::spawn(move || {
            assert!(rx.try_recv().is_ok());
            rx
        });
        drop(poll_and_drop(tx.reserve()));
        assert!(block_on(tx.send(value(1))).is_ok(), "the place is free");
        assert_eq!(receiver.join().unwrap().try_recv().as_deref(), Ok(&1));
        assert_eq!(tx.statistics().reserved, 0);
    });
}

/// Behind a reservation that is given up waits another: one of them gets the place.
#[test]
fn cancel_of_a_reservation_against_one_behind_it() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        assert!(tx.try_send(value(0)).is_ok());
        let first = tx.clone();
        let quitter = thread::spawn(move || drop(poll_and_drop(first.reserve())));
        let receiver = thread::spawn(move || {
            assert!(rx.try_recv().is_ok());
            rx
        });
        let permit = block_on(tx.reserve()).unwrap();
        assert!(permit.send(value(1)).is_ok());
        quitter.join().unwrap();
        assert_eq!(receiver.join().unwrap().try_recv().as_deref(), Ok(&1));
    });
}

#[test]
fn a_permit_against_recv_after_a_close() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        let permit = tx.try_reserve_owned().unwrap_or_else(|_| panic!("it is free"));
        rx.close();
        let sender = thread::spawn(move || assert!(permit.send(value(7)).is_ok()));
        assert_eq!(block_on(rx.recv()).as_deref(), Ok(&7));
        assert!(matches!(block_on(rx.recv()), Err(RecvError::Closed)));
        sender.join().unwrap();
    });
}

#[test]
fn close_against_reserve() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        assert!(tx.try_send(value(0)).is_ok());
        let closer = thread::spawn(move || {
            rx.close();
            rx
        });
        assert!(matches!(block_on(tx.reserve()), Err(SendError(()))));
        assert!(closer.join().unwrap().try_recv().is_ok());
    });
}

/// A sender gives up while a receiver may be meeting it: sent or dropped, never both.
#[test]
fn cancel_of_a_rendezvous_against_recv() {
    loom::model(|| {
        let (tx, rx) = rendezvous();
        let receiver = thread::spawn(move || block_on(rx.recv()).is_ok());
        let sent = value(1);
        let polled = poll_and_drop(tx.send(Value::clone(&sent))).is_ready();
        drop(tx);
        let received = receiver.join().unwrap();
        assert!(received || !polled, "it was sent");
        assert_eq!(Value::strong_count(&sent), 1);
    });
}

#[test]
fn close_against_a_rendezvous() {
    loom::model(|| {
        let (tx, rx) = rendezvous();
        let sender = thread::spawn(move || block_on(tx.send(value(7))).is_ok());
        rx.close();
        // A send that waits already comes through; one that comes later is refused.
        let mut received = false;
        loop {
            match rx.try_recv() {
                Ok(_) => received = true,
                Err(TryRecvError::Closed) => break,
                Err(TryRecvError::Empty) => thread::yield_now(),
            }
        }
        assert_eq!(sender.join().unwrap(), received);
    });
}

#[test]
fn the_last_receiver_goes_against_two_who_wait_for_the_end() {
    loom::model(|| {
        let (tx, rx) = bounded::<Value>(1);
        let other = tx.clone();
        let waits = thread::spawn(move || block_on(other.closed()));
        let goes = thread::spawn(move || drop(rx));
        block_on(tx.closed());
        assert!(tx.is_closed());
        waits.join().unwrap();
        goes.join().unwrap();
    });
}

#[test]
fn a_wait_for_the_end_that_gives_up_against_a_close() {
    loom::model(|| {
        let (tx, rx) = bounded::<Value>(1);
        let other = tx.clone();
        let gives_up = thread::spawn(move || {
            let _ended = poll_and_drop(other.closed());
        });
        let closes = thread::spawn(move || assert!(rx.close()));
        block_on(tx.closed());
        gives_up.join().unwrap();
        closes.join().unwrap();
    });
}
