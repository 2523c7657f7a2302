//! Models of the primitives under their locks: no wake-up is lost, whoever comes first.

mod broadcast;
mod channel;
mod watch;

mod locks;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::thread::{self, Thread};

use crate::channel as channels;
use crate::{RecvError, SendError};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A lost wake-up is a deadlock, which loom reports.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// A value that loom sees leak.
type Value = loom::sync::Arc<usize>;

fn value(n: usize) -> Value {
    Value::new(n)
}

#[test]
fn send_against_recv() {
    loom::model(|| {
        let (tx, rx) = channels::bounded(1);
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

/// A receiver gives up while a send may be calling it: the one behind it gets the value.
#[test]
fn cancel_of_a_called_receiver_against_send() {
    loom::model(|| {
        let (tx, rx) = channels::bounded(1);
        let sender = thread::spawn(move || assert!(tx.try_send(value(7)).is_ok()));
        let first = rx.clone();
        let quitter = thread::spawn(move || {
            let mut recv = pin!(first.recv());
            let polled = recv.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            matches!(polled, Poll::Ready(Ok(_)))
        });
        let got = block_on(rx.recv());
        sender.join().unwrap();
        let taken = quitter.join().unwrap();
        assert_eq!(got.is_err(), taken, "the value went to one of the two");
    });
}

/// A sender gives up while a receive may be taking its value: sent or dropped, never both.
#[test]
fn cancel_of_a_waiting_sender_against_recv() {
    loom::model(|| {
        let (tx, rx) = channels::bounded(1);
        assert!(tx.try_send(value(0)).is_ok());
        let receiver = thread::spawn(move || {
            let first = rx.try_recv();
            (first.map(|value| *value), rx)
        });
        let waiting = value(1);
        {
            let mut send = pin!(tx.send(Value::clone(&waiting)));
            let _polled = send.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        let (first, rx) = receiver.join().unwrap();
        assert_eq!(first, Ok(0));
        let second = rx.try_recv();
        assert_eq!(Value::strong_count(&waiting), 1 + usize::from(second.is_ok()));
    });
}

#[test]
fn close_against_recv() {
    loom::model(|| {
        let (tx, rx) = channels::bounded::<Value>(1);
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
        let (tx, rx) = channels::bounded(1);
        let sender = thread::spawn(move || assert!(tx.try_send(value(0)).is_ok()));
        assert_eq!(block_on(rx.recv()).as_deref(), Ok(&0));
        assert!(matches!(block_on(rx.recv()), Err(RecvError::Closed)));
        sender.join().unwrap();
    });
}

#[test]
fn drop_of_the_last_receiver_against_send() {
    loom::model(|| {
        let (tx, rx) = channels::bounded(1);
        assert!(tx.try_send(value(0)).is_ok());
        let receiver = thread::spawn(move || drop(rx));
        let refused = block_on(tx.send(value(1)));
        assert_eq!(refused.map_err(|SendError(v)| *v), Err(1));
        receiver.join().unwrap();
    });
}

mod oneshot {
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
}
