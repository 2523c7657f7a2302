//! `closed()`: senders that wait until nobody receives what they send.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use corymb::local_scope;
use corymb::prelude::*;
use corymb::testing::{TestRuntime, drop_at_every_poll};
use corymb_sync::channel::{bounded, rendezvous, unbounded};
use corymb_sync::{TryRecvError, broadcast, watch};

use crate::common::Task;

/// What is the same for each kind of channel that has senders which can be shared.
macro_rules! of_each {
    ($($module:ident: $channel:expr;)*) => {$(
        mod $module {
            use super::*;

            #[test]
            fn it_ends_with_the_last_receiver() {
                let (tx, rx) = $channel;
                let other = rx.clone();
                let mut closed = Task::waiting(tx.closed());
                drop(other);
                assert!(!closed.woken() && closed.poll().is_pending());
                drop(rx);
                assert!(closed.woken());
                assert_eq!(closed.poll(), Poll::Ready(()));
                assert_eq!(Task::new(tx.closed()).poll(), Poll::Ready(()));
            }

            #[test]
            fn a_close_tells_all_who_wait_in_order() {
                TestRuntime::new().run(async {
                    let order = Mutex::new(Vec::new());
                    local_scope(|s| {
                        let order = &order;
                        async move {
                            let (tx, _rx) = $channel;
                            for n in 0..3 {
                                let tx = tx.clone();
                                s.launch(async move {
                                    tx.closed().await;
                                    order.lock().unwrap().push(n);
                                });
                            }
                            yield_now().await;
                            assert!(tx.close());
                        }
                    })
                    .await;
                    assert_eq!(order.into_inner().unwrap(), [0, 1, 2]);
                });
            }

            #[test]
            fn one_that_is_dropped_at_any_poll_leaves_nothing_behind() {
                let ends = Arc::new(AtomicUsize::new(0));
                let polls = drop_at_every_poll(
                    |scope| {
                        let ((tx, rx), ends) = ($channel, Arc::clone(&ends));
                        scope.launch(async move {
                            yield_now().await;
                            drop(rx);
                        });
                        async move {
                            tx.closed().await;
                            ends.fetch_add(1, Ordering::SeqCst);
                        }
                    },
                    |_| {},
                );
                assert_eq!((polls, ends.load(Ordering::SeqCst)), (2, 1));
                let (tx, rx) = $channel;
                for polls in 0..=2 {
                    let mut closed = Task::new(tx.closed());
                    for _ in 0..polls {
                        assert!(closed.poll().is_pending());
                    }
                }
                let mut last = Task::waiting(tx.closed());
                drop(rx);
                assert_eq!(last.poll(), Poll::Ready(()));
            }

            /// Nothing is given to it that another could miss.
            #[test]
            fn one_that_is_kept_holds_nobody_up() {
                TestRuntime::new().run(scope(async |s| {
                    let (tx, rx) = $channel;
                    let kept = s.launch({
                        let tx = tx.clone();
                        async move {
                            let mut kept = Box::pin(tx.closed());
                            assert!(futures::poll!(kept.as_mut()).is_pending());
                            yield_now().await;
                            std::future::pending::<()>().await;
                        }
                    });
                    let second = s.launch(async move { tx.closed().await });
                    yield_now().await;
                    drop(rx);
                    second.join().await;
                    kept.cancel();
                }));
            }

            #[test]
            fn it_waits_where_it_is_awaited() {
                let (tx, _rx) = $channel;
                assert!(format!("{:?}", tx.closed()).contains("closed.rs"));
            }
        }
    )*};
}

of_each! {
    bounded_one: bounded::<u32>(1);
    rendezvous_one: rendezvous::<u32>();
    unbounded_one: unbounded::<u32>();
    broadcast_one: broadcast::channel::<u32>(1);
    watch_one: watch::channel(0);
}

#[test]
fn a_close_from_the_other_end_ends_it_while_values_are_left() {
    let (tx, rx) = bounded(1);
    let (mut closed, mut send) = (Task::waiting(tx.closed()), Task::new(tx.send(1)));
    assert_eq!(send.poll(), Poll::Ready(Ok(())));
    assert!(!closed.woken());
    rx.close();
    assert_eq!(closed.poll(), Poll::Ready(()));
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(1), Err(TryRecvError::Closed)));
}

#[test]
fn those_who_send_and_those_who_wait_for_the_end_do_not_disturb_each_other() {
    let (tx, rx) = bounded(1);
    let mut closed = Task::waiting(tx.closed());
    tx.try_send(1).unwrap();
    let mut send = Task::waiting(tx.send(2));
    let mut recv = Task::new(rx.recv());
    assert_eq!(recv.poll(), Poll::Ready(Ok(1)));
    assert_eq!(send.poll(), Poll::Ready(Ok(())));
    assert!(!closed.woken());
    assert_eq!(tx.statistics().waiting_senders, 0);
    drop(recv);
    drop(rx);
    assert_eq!(closed.poll(), Poll::Ready(()));
}

#[test]
fn a_receiver_that_comes_back_in_time_has_it_wait_on() {
    let (tx, rx) = watch::channel(0);
    let mut closed = Task::waiting(tx.closed());
    drop(rx);
    assert!(closed.woken());
    let rx = tx.subscribe();
    assert!(closed.poll().is_pending());
    drop(rx);
    assert!(closed.woken());
    assert_eq!(closed.poll(), Poll::Ready(()));
    assert!(!tx.is_closed());

    let (tx, rx) = broadcast::channel::<u32>(1);
    let mut closed = Task::waiting(tx.closed());
    drop(rx);
    let rx = tx.subscribe();
    assert!(closed.poll().is_pending());
    drop(rx);
    assert_eq!(closed.poll(), Poll::Ready(()));
}

#[test]
fn a_producer_ends_as_soon_as_nobody_wants_any_more() {
    TestRuntime::new().run(scope(async |s| {
        let (tx, rx) = bounded(2);
        let producer = s.spawn(async move {
            let mut sent = 0;
            loop {
                corymb::select! {
                    biased,
                    () = tx.closed() => return sent,
                    Ok(()) = tx.send(sent) => sent += 1,
                }
            }
        });
        assert_eq!(rx.recv().await, Ok(0));
        drop(rx);
        assert!(producer.await >= 1);
    }));
}
