//! Channels: reservations, meetings, closes.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::{Value, block_on, thread, value};
use crate::channel::{bounded, rendezvous};
use crate::{RecvError, SendError, TryRecvError};

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
        {
            let mut reserve = pin!(tx.reserve());
            let _permit = reserve.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
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
        let quitter = thread::spawn(move || {
            let mut reserve = pin!(first.reserve());
            let _permit = reserve.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        });
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

#[test]
fn rendezvous_of_send_and_recv() {
    loom::model(|| {
        let (tx, rx) = rendezvous();
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

/// A receiver gives up while a sender may be meeting it: the other receiver gets the value.
#[test]
fn rendezvous_of_send_and_recv_against_a_cancel() {
    loom::model(|| {
        let (tx, rx) = rendezvous();
        let sender = thread::spawn(move || assert!(block_on(tx.send(value(7))).is_ok()));
        let first = rx.clone();
        let quitter = thread::spawn(move || {
            let mut recv = pin!(first.recv());
            let polled = recv.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            matches!(polled, Poll::Ready(Ok(_)))
        });
        let got = block_on(rx.recv());
        sender.join().unwrap();
        assert_eq!(got.is_err(), quitter.join().unwrap(), "the value went to one of the two");
    });
}

/// A sender gives up while a receiver may be meeting it: sent or dropped, never both.
#[test]
fn cancel_of_a_rendezvous_against_recv() {
    loom::model(|| {
        let (tx, rx) = rendezvous();
        let receiver = thread::spawn(move || block_on(rx.recv()).is_ok());
        let sent = value(1);
        let polled = {
            let mut send = pin!(tx.send(Value::clone(&sent)));
            send.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
        };
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
