//! What is promised to, and of, a future that is dropped at any poll.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;

use corymb_sync::channel::bounded;
use corymb_sync::{RecvError, TryRecvError, oneshot};

use crate::common::{Task, Tracked, drops};

#[test]
fn a_receive_dropped_at_any_poll_loses_nothing() {
    for polls in 0..=3 {
        let (tx, rx) = bounded(1);
        let mut recv = Task::new(rx.recv());
        for _ in 0..polls.min(2) {
            assert!(recv.poll().is_pending());
        }
        tx.try_send(7).unwrap();
        assert_eq!(recv.woken(), polls > 0);
        if polls == 3 {
            assert_eq!(recv.poll(), Poll::Ready(Ok(7)));
        }
        drop(recv);
        let left = if polls == 3 { Err(TryRecvError::Empty) } else { Ok(7) };
        assert_eq!(rx.try_recv(), left, "dropped after {polls} polls");
    }
}

#[test]
fn a_send_dropped_at_any_poll_delivers_or_drops() {
    for polls in 0..=2 {
        for received_before in [false, true] {
            let count = Arc::new(AtomicUsize::new(0));
            let tracked = |n| Tracked(n, Arc::clone(&count));
            let (tx, rx) = bounded(1);
            tx.try_send(tracked(0)).unwrap();
            let mut send = Task::new(tx.send(tracked(1)));
            for _ in 0..polls {
                assert!(send.poll().is_pending());
            }
            let first = received_before.then(|| rx.try_recv().unwrap());
            drop(send);
            let delivered = polls > 0 && received_before;
            assert_eq!(drops(&count), usize::from(!delivered));
            let first = first.unwrap_or_else(|| rx.try_recv().unwrap());
            assert_eq!(first.0, 0);
            assert_eq!(rx.try_recv().ok().map(|value| value.0), delivered.then_some(1));
            drop(first);
            assert_eq!(drops(&count), 2);
        }
    }
}

#[test]
fn a_called_receiver_that_is_dropped_passes_it_on() {
    let (tx, rx) = bounded(1);
    let [first, second] = [(); 2].map(|()| Task::waiting(rx.recv()));
    let mut third = Task::waiting(rx.recv());
    tx.try_send(7).unwrap();
    assert_eq!([&first, &second, &third].map(Task::wakes), [1, 0, 0]);
    drop(first);
    assert_eq!([&second, &third].map(Task::wakes), [1, 0]);
    drop(second);
    assert_eq!(third.wakes(), 1);
    assert_eq!(third.poll(), Poll::Ready(Ok(7)));
}

#[test]
fn a_called_receiver_that_is_dropped_for_nothing_wakes_nobody() {
    let (tx, rx) = bounded(1);
    let first = Task::waiting(rx.recv());
    let second = Task::waiting(rx.recv());
    tx.try_send(7).unwrap();
    assert_eq!(rx.try_recv(), Ok(7));
    drop(first);
    assert_eq!(second.wakes(), 0);
}

#[test]
fn a_waiter_dropped_in_the_middle_leaves_the_others_in_order() {
    for gone in 0..3 {
        let (tx, rx) = bounded(1);
        let mut receivers: Vec<_> = (0..3).map(|_| Task::waiting(rx.recv())).collect();
        drop(receivers.remove(gone));
        for task in &mut receivers {
            tx.try_send(7).unwrap();
            assert_eq!(task.poll(), Poll::Ready(Ok(7)));
        }

        tx.try_send(100).unwrap();
        let mut senders: Vec<_> = (0..3).map(|n| Task::waiting(tx.send(n))).collect();
        drop(senders.remove(gone));
        assert_eq!(rx.try_recv(), Ok(100));
        for n in (0..3).filter(|&n| n != gone) {
            assert_eq!(rx.try_recv(), Ok(n));
        }
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    }
}

#[test]
fn a_stream_dropped_while_called_passes_it_on() {
    use futures::StreamExt as _;

    let (tx, rx) = bounded(1);
    let mut stream = Box::pin(rx.clone().into_stream());
    let mut second = {
        let mut next = Task::new(stream.next());
        assert!(next.poll().is_pending());
        // The place is the stream's and outlives the `next`.
        drop(next);
        Task::waiting(rx.recv())
    };
    tx.try_send(7).unwrap();
    assert!(!second.woken());
    drop(stream);
    assert!(second.woken());
    assert_eq!(second.poll(), Poll::Ready(Ok(7)));
}

#[test]
fn a_oneshot_receiver_dropped_at_any_poll_refuses_the_value() {
    for polls in 0..=2 {
        let (tx, rx) = oneshot::channel();
        let mut rx = Task::new(rx);
        for _ in 0..polls {
            assert!(rx.poll().is_pending());
        }
        drop(rx);
        assert_eq!(tx.send(7), Err(7), "dropped after {polls} polls");
    }
}

#[test]
fn a_oneshot_receiver_awaited_by_reference_loses_nothing() {
    for polls in 0..=2 {
        let (tx, mut rx) = oneshot::channel();
        let mut recv = Task::new(&mut rx);
        for _ in 0..polls {
            assert!(recv.poll().is_pending());
        }
        tx.send(7).unwrap();
        assert_eq!(recv.woken(), polls > 0);
        drop(recv);
        assert_eq!(Task::new(rx).poll(), Poll::Ready(Ok(7)));
    }
}

#[test]
fn closed_dropped_at_any_poll_changes_nothing() {
    for polls in 0..=2 {
        let (mut tx, rx) = oneshot::channel::<()>();
        let mut closed = Task::new(tx.closed());
        for _ in 0..polls {
            assert!(closed.poll().is_pending());
        }
        drop(closed);
        let mut again = Task::waiting(tx.closed());
        drop(rx);
        assert!(again.woken());
        assert_eq!(again.poll(), Poll::Ready(()));
    }
}

#[test]
fn a_receiver_that_outlives_the_sender_is_told() {
    let (tx, rx) = bounded::<()>(1);
    let mut recv = Task::waiting(rx.recv());
    drop(tx);
    assert!(recv.woken());
    assert_eq!(recv.poll(), Poll::Ready(Err(RecvError::Closed)));
}
