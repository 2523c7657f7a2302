//! What is promised to, and of, a future that is dropped at any poll.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use corymb::prelude::*;
use corymb::testing::drop_at_every_poll;
use corymb_sync::channel::{bounded, conflated, rendezvous, unbounded};
use corymb_sync::{RecvError, TryRecvError, broadcast, oneshot, watch};

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

/// Both kinds of receive, in a coroutine, with a send from another.
#[test]
fn a_value_is_received_or_left_wherever_a_coroutine_is_dropped() {
    for (tx, rx) in [bounded(1), unbounded(), conflated()] {
        for many in [false, true] {
            let got = Arc::new(AtomicUsize::new(0));
            let polls = drop_at_every_poll(
                |scope| {
                    let (tx, rx, got) = (tx.clone(), rx.clone(), Arc::clone(&got));
                    scope.launch(async move {
                        yield_now().await;
                        tx.try_send(7).unwrap();
                    });
                    async move {
                        let mut into = Vec::new();
                        match many {
                            false => into.push(rx.recv().await.unwrap()),
                            true => assert_eq!(rx.recv_many(&mut into, 9).await, Ok(1)),
                        }
                        got.fetch_add(into[0], Ordering::SeqCst);
                    }
                },
                |_| {
                    let got = got.swap(0, Ordering::SeqCst);
                    assert_eq!(got + rx.try_recv().unwrap_or_default(), 7);
                    assert_eq!(rx.statistics().waiting_receivers, 0);
                },
            );
            assert_eq!(polls, 2);
        }
    }
}

#[test]
fn a_value_is_sent_or_dropped_wherever_a_coroutine_is_dropped() {
    for (tx, rx) in [bounded(1), rendezvous()] {
        let (sent, gone) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let fill = tx.capacity();
        drop_at_every_poll(
            |scope| {
                let (tx, rx) = (tx.clone(), rx.clone());
                let value = Tracked(1, Arc::clone(&gone));
                if fill > 0 {
                    assert!(tx.try_send(Tracked(0, Arc::default())).is_ok());
                }
                scope.launch(async move {
                    yield_now().await;
                    let _first = rx.try_recv();
                });
                async move { assert!(tx.send(value).await.is_ok()) }
            },
            |_| {
                sent.fetch_add(1, Ordering::SeqCst);
                drop(std::iter::from_fn(|| rx.try_recv().ok()).collect::<Vec<_>>());
                assert_eq!(drops(&gone), drops(&sent), "each value once");
                assert_eq!(tx.statistics().waiting_senders, 0);
            },
        );
    }
}

#[test]
fn an_owned_reservation_goes_wherever_a_coroutine_is_dropped() {
    let (tx, rx) = bounded::<u32>(1);
    drop_at_every_poll(
        |scope| {
            let (tx, rx) = (tx.clone(), rx.clone());
            tx.try_send(7).unwrap();
            scope.launch(async move {
                yield_now().await;
                rx.try_recv().unwrap();
            });
            async move {
                let permit = tx.reserve_owned().await.unwrap();
                yield_now().await;
                permit.send(8).unwrap();
            }
        },
        |_| {
            while rx.try_recv().is_ok() {}
            let now = tx.statistics();
            assert_eq!((now.reserved, now.waiting_senders, now.senders), (0, 0, 1));
        },
    );
}

#[test]
fn a_broadcast_receiver_dropped_wherever_leaves_nothing_behind() {
    let (tx, mut rx) = broadcast::channel(4);
    drop_at_every_poll(
        |scope| {
            let (tx, mut rx) = (tx.clone(), tx.subscribe());
            scope.launch(async move {
                yield_now().await;
                tx.send(7).unwrap();
            });
            async move { assert_eq!(rx.recv().await, Ok(7)) }
        },
        |_| {
            assert_eq!(rx.try_recv(), Ok(7));
            let now = tx.statistics();
            assert_eq!((now.waiting, now.receivers, now.len), (0, 1, 0));
        },
    );
}

#[test]
fn nobody_waits_any_more_wherever_a_coroutine_that_watches_is_dropped() {
    let (tx, rx) = watch::channel(0);
    drop_at_every_poll(
        |scope| {
            let (tx, mut rx) = (tx.clone(), rx.clone());
            scope.launch(async move {
                yield_now().await;
                tx.send_modify(|n| *n += 1).unwrap();
            });
            async move {
                let before = *rx.borrow();
                rx.changed().await.unwrap();
                rx.wait_for(|&n| n > before).await.unwrap();
            }
        },
        |_| assert_eq!((tx.statistics().waiting, tx.receiver_count()), (0, 1)),
    );
}
