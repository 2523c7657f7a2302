//! Reservations, permits, and the sink that is made of them.

use std::pin::pin;
use std::task::Poll;

use corymb::prelude::*;
use corymb::testing::{TestRuntime, drop_at_every_poll};
use corymb_sync::channel::{Overflow, bounded, rendezvous, unbounded, with_overflow};
use corymb_sync::{SendError, TryRecvError, TrySendError};
use futures::executor::block_on;
use futures::{SinkExt as _, StreamExt as _, stream};

use crate::common::Task;

#[test]
fn a_permit_keeps_its_place() {
    let (tx, rx) = bounded(2);
    let permit = block_on(tx.reserve()).unwrap();
    assert_eq!(tx.try_send(1), Ok(()));
    assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    permit.send(3).unwrap();
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(1), Ok(3)));
    assert_eq!(tx.statistics().reserved, 0);
}

#[test]
fn channel_054_a_permit_that_is_dropped_gives_its_place_to_the_next() {
    let (tx, _rx) = bounded::<u32>(1);
    let permit = block_on(tx.reserve()).unwrap();
    let mut second = Task::waiting(tx.reserve());
    drop(permit);
    assert!(second.woken());
    assert!(matches!(second.poll(), Poll::Ready(Ok(_))));
}

#[test]
fn channel_055_a_close_waits_for_permits_and_refuses_reservations() {
    let (tx, rx) = bounded(1);
    let permit = block_on(tx.reserve()).unwrap();
    let mut second = Task::waiting(tx.reserve());
    rx.close();
    assert!(second.woken());
    assert_eq!(second.poll().map(Result::err), Poll::Ready(Some(SendError(()))));
    let mut recv = Task::waiting(rx.recv());
    permit.send(123).unwrap();
    assert_eq!(recv.poll(), Poll::Ready(Ok(123)));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn a_close_refuses_reservations_behind_values() {
    let (tx, rx) = bounded(1);
    tx.try_send(0).unwrap();
    let first = Task::waiting(tx.send(1));
    let mut places = [(); 6].map(|()| Task::waiting(tx.reserve()));
    let last = Task::waiting(tx.send(2));
    tx.close();
    for place in &mut places {
        assert!(place.woken());
        assert!(matches!(place.poll(), Poll::Ready(Err(SendError(())))));
    }
    assert!(!first.woken() && !last.woken());
    assert_eq!([(); 3].map(|()| rx.try_recv()), [Ok(0), Ok(1), Ok(2)]);
}

#[test]
fn a_permit_that_is_dropped_after_a_close_ends_the_receivers() {
    let (tx, rx) = bounded::<u32>(1);
    let permit = block_on(tx.reserve()).unwrap();
    tx.close();
    let mut recv = Task::waiting(rx.recv());
    drop(permit);
    assert!(recv.woken());
    assert!(recv.poll().map(|got| got.is_err()).is_ready());
}

#[test]
fn channel_057_a_permit_gives_the_value_back_if_nobody_is_left() {
    let (tx, rx) = bounded(1);
    let permit = block_on(tx.reserve()).unwrap();
    drop(rx);
    assert_eq!(permit.send(7), Err(SendError(7)));
    assert!(block_on(tx.reserve()).is_err());
    assert_eq!(tx.try_reserve().unwrap_err(), TrySendError::Closed(()));
}

#[test]
fn sends_and_reservations_wait_in_one_queue() {
    let (tx, rx) = bounded(1);
    tx.try_send(0).unwrap();
    let first = Task::waiting(tx.send(1));
    let mut second = Task::waiting(tx.reserve());
    let third = Task::waiting(tx.send(3));
    let wakes = |second: &Task<_>| [first.wakes(), second.wakes(), third.wakes()];
    assert_eq!(rx.try_recv(), Ok(0));
    assert_eq!(wakes(&second), [1, 0, 0]);
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!(wakes(&second), [1, 1, 0]);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty), "the place is reserved");
    assert_eq!(tx.try_send(4), Err(TrySendError::Full(4)));
    let Poll::Ready(Ok(permit)) = second.poll() else { panic!("it is its turn") };
    permit.send(2).unwrap();
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(2), Ok(3)));
}

#[test]
fn a_permit_of_a_rendezvous_is_for_a_receiver_that_waits() {
    let (tx, rx) = rendezvous();
    assert_eq!(tx.try_reserve().unwrap_err(), TrySendError::Full(()));
    let mut reserve = Task::waiting(tx.reserve());
    let mut recv = Task::waiting(rx.recv());
    assert!(reserve.woken() && !recv.woken());
    assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
    let Poll::Ready(Ok(permit)) = reserve.poll() else { panic!("a receiver waits") };
    permit.send(2).unwrap();
    assert_eq!(recv.poll(), Poll::Ready(Ok(2)));
}

#[test]
fn permits_of_channels_that_are_never_full() {
    let (tx, rx) = unbounded();
    let permits = [(); 3].map(|()| tx.try_reserve().unwrap());
    assert_eq!(tx.try_send(0), Ok(()));
    for (n, permit) in (1..).zip(permits) {
        permit.send(n).unwrap();
    }
    assert_eq!(block_on(rx.stream().take(4).collect::<Vec<_>>()), [0, 1, 2, 3]);

    let (tx, rx) = with_overflow(1, Overflow::DropOldest);
    let permits = [(); 2].map(|()| tx.try_reserve().unwrap());
    assert_eq!(tx.try_send(0), Ok(()));
    for (n, permit) in (1..).zip(permits) {
        permit.send(n).unwrap();
    }
    assert_eq!((rx.try_recv(), tx.statistics().dropped), (Ok(2), 2));
}

#[test]
fn an_owned_permit_is_a_sender() {
    let (tx, rx) = bounded(1);
    let permit = block_on(tx.reserve_owned()).unwrap();
    assert_eq!((rx.sender_count(), rx.is_closed()), (1, false));
    let tx = permit.send(1).unwrap();
    assert_eq!(rx.try_recv(), Ok(1));
    let tx = tx.try_reserve_owned().unwrap().release();
    let permit = tx.clone().try_reserve_owned().unwrap();
    let Err(TrySendError::Full(tx)) = tx.try_reserve_owned() else { panic!("it is full") };
    drop(permit);
    assert_eq!(tx.try_send(2), Ok(()));
    drop(tx);
    assert!(rx.is_closed());
}

#[test]
fn a_reservation_dropped_at_every_poll_keeps_no_place() {
    let (tx, rx) = bounded::<u32>(1);
    let polls = drop_at_every_poll(
        |scope| {
            let (tx, rx) = (tx.clone(), rx.clone());
            tx.try_send(7).unwrap();
            scope.launch(async move {
                yield_now().await;
                rx.try_recv().unwrap();
            });
            async move {
                let permit = tx.reserve().await.unwrap();
                yield_now().await;
                drop(permit);
            }
        },
        |_| {
            let _taken = rx.try_recv();
            assert_eq!((tx.statistics().reserved, tx.statistics().waiting_senders), (0, 0));
            tx.try_send(1).unwrap();
            rx.try_recv().unwrap();
        },
    );
    assert_eq!(polls, 3);
}

#[test]
fn a_called_reservation_that_is_dropped_passes_the_place_on() {
    let (tx, rx) = bounded(1);
    tx.try_send(0).unwrap();
    let first = Task::waiting(tx.reserve());
    let mut second = Task::waiting(tx.send(1));
    assert_eq!(rx.try_recv(), Ok(0));
    assert!(first.woken() && !second.woken());
    drop(first);
    assert!(second.woken());
    assert_eq!(second.poll(), Poll::Ready(Ok(())));
    assert_eq!(rx.try_recv(), Ok(1));
}

#[test]
fn a_sink_reserves_and_closes() {
    let (tx, rx) = bounded(1);
    let mut sink = pin!(tx.into_sink());
    assert_eq!(block_on(sink.feed(1)), Ok(()));
    {
        let mut second = Task::waiting(sink.send(2));
        assert_eq!(rx.try_recv(), Ok(1));
        assert!(second.woken());
        assert_eq!(second.poll(), Poll::Ready(Ok(())));
    }
    assert_eq!(rx.try_recv(), Ok(2));
    assert_eq!(block_on(sink.close()), Ok(()));
    assert!(rx.is_closed());
    assert_eq!(block_on(sink.send(3)), Err(SendError(())));
}

#[test]
fn a_sink_keeps_its_place_in_the_queue_until_it_is_dropped() {
    let (tx, rx) = bounded(1);
    tx.try_send(0).unwrap();
    let mut sink = Box::pin(tx.clone().into_sink());
    drop(Task::waiting(sink.send(1)));
    let second = Task::waiting(tx.send(2));
    assert_eq!(rx.try_recv(), Ok(0));
    assert!(!second.woken());
    drop(sink);
    assert!(second.woken());
    assert_eq!(rx.try_recv(), Ok(2));
}

#[test]
fn a_stream_is_forwarded_between_coroutines() {
    let got = TestRuntime::new().run(scope(async |s| {
        let (tx, rx) = bounded(2);
        s.launch(async move {
            stream::iter((0..20).map(Ok)).forward(tx.into_sink()).await.unwrap();
        });
        rx.into_stream().collect::<Vec<_>>().await
    }));
    assert_eq!(got, (0..20).collect::<Vec<_>>());
}

#[test]
#[should_panic(expected = "`start_send` on the sink made at")]
fn a_sink_that_was_not_asked_whether_it_is_ready() {
    let (tx, _rx) = bounded(1);
    let mut sink = pin!(tx.into_sink());
    let _sent = futures::Sink::start_send(sink.as_mut(), 1);
}
