//! Channels that are not just bounded: rendezvous, unbounded, conflated, those that drop; and what
//! all of them can do.

use std::error::Error;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;
use std::thread;

use corymb_sync::channel::{
    Overflow, Sender, bounded, conflated, rendezvous, unbounded, with_overflow,
};
use corymb_sync::{RecvError, SendError, TryRecvError, TrySendError};
use futures::StreamExt as _;
use futures::executor::block_on;

use crate::common::{Task, Tracked, drops};

#[test]
fn a_rendezvous_holds_nothing() {
    let (tx, rx) = rendezvous();
    assert_eq!((tx.capacity(), tx.len()), (0, 0));
    assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
    let mut send = Task::waiting(tx.send(2));
    assert_eq!(rx.try_recv(), Ok(2));
    assert!(send.woken());
    assert_eq!(send.poll(), Poll::Ready(Ok(())));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn a_rendezvous_has_a_place_for_each_receiver_that_waits() {
    let (tx, rx) = rendezvous();
    let mut receivers = [(); 2].map(|()| Task::waiting(rx.recv()));
    assert_eq!((tx.try_send(1), tx.try_send(2)), (Ok(()), Ok(())));
    assert_eq!(tx.try_send(3), Err(TrySendError::Full(3)));
    let mut third = Task::waiting(tx.send(3));
    let [first, second] = &mut receivers;
    assert_eq!((first.poll(), second.poll()), (Poll::Ready(Ok(1)), Poll::Ready(Ok(2))));
    assert!(third.poll().is_pending(), "nobody waits for it");
    assert_eq!(block_on(rx.recv()), Ok(3));
    assert_eq!(third.poll(), Poll::Ready(Ok(())));
}

#[test]
fn a_value_on_its_way_to_a_receiver_that_gave_up_goes_to_the_next() {
    let (tx, rx) = rendezvous();
    let gone = Task::waiting(rx.recv());
    assert_eq!(tx.try_send(1), Ok(()));
    drop(gone);
    assert_eq!(rx.len(), 1);
    assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    let second = Task::waiting(tx.send(2));
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(1), Ok(2)));
    assert!(second.woken());
}

#[test]
fn senders_of_a_rendezvous_meet_receivers_in_order() {
    let (tx, rx) = rendezvous();
    let mut sends: Vec<_> = (0..3).map(|n| Task::waiting(tx.send(n))).collect();
    for (n, send) in sends.iter_mut().enumerate() {
        assert!(!send.woken());
        assert_eq!(block_on(rx.recv()), Ok(n));
        assert_eq!(send.poll(), Poll::Ready(Ok(())));
    }
}

#[test]
fn a_rendezvous_on_threads() {
    let (tx, rx) = rendezvous();
    let count = if cfg!(miri) { 10 } else { 1000 };
    thread::scope(|s| {
        for start in [0, 1] {
            let tx = tx.clone();
            s.spawn(move || {
                for n in (start..count).step_by(2) {
                    tx.send_blocking(n).unwrap();
                }
            });
        }
        drop(tx);
        let mut got: Vec<_> = std::iter::from_fn(|| rx.recv_blocking().ok()).collect();
        got.sort_unstable();
        assert_eq!(got, (0..count).collect::<Vec<_>>());
    });
}

#[test]
fn an_unbounded_channel_is_never_full() {
    let (tx, rx) = unbounded();
    for n in 0..100 {
        assert_eq!(Task::new(tx.send(n)).poll(), Poll::Ready(Ok(())));
    }
    drop(tx);
    assert_eq!(block_on(rx.into_stream().collect::<Vec<_>>()), (0..100).collect::<Vec<_>>());
}

#[test]
fn channel_020_a_conflated_channel_keeps_the_last_after_a_close() {
    let (tx, rx) = conflated();
    assert_eq!((tx.try_send(1), tx.try_send(2)), (Ok(()), Ok(())));
    tx.close();
    assert_eq!(rx.try_recv(), Ok(2));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn channel_018_and_034_what_does_not_fit_is_dropped_and_counted() {
    for (overflow, kept) in [(Overflow::DropOldest, [3, 4]), (Overflow::DropLatest, [1, 2])] {
        let count = Arc::new(AtomicUsize::new(0));
        let (tx, rx) = with_overflow(2, overflow);
        for n in 1..=3 {
            let mut send = Task::new(tx.send(Tracked(n, Arc::clone(&count))));
            assert!(matches!(send.poll(), Poll::Ready(Ok(()))), "it waits");
        }
        assert!(tx.try_send(Tracked(4, Arc::clone(&count))).is_ok());
        assert_eq!((drops(&count), tx.statistics().dropped), (2, 2));
        let got = [(); 2].map(|()| rx.try_recv().unwrap().0);
        assert_eq!(got, kept, "{overflow:?}");
    }
}

/// Looks at its channel when it is dropped, which nobody could who has it locked.
#[derive(Debug)]
struct Looks(Sender<Self>);

impl Drop for Looks {
    fn drop(&mut self) {
        let _len = self.0.len();
    }
}

#[test]
fn values_are_dropped_without_the_lock() {
    for overflow in [Overflow::DropOldest, Overflow::DropLatest] {
        let (tx, rx) = with_overflow(1, overflow);
        for _ in 0..2 {
            tx.try_send(Looks(tx.clone())).unwrap();
            tx.try_reserve().unwrap().send(Looks(tx.clone())).unwrap();
            assert!(block_on(tx.send(Looks(tx.clone()))).is_ok());
        }
        drop(rx);
    }
}

#[test]
fn recv_many_takes_what_is_there() {
    let (tx, rx) = bounded(4);
    let mut got = Vec::new();
    {
        let mut recv = Task::waiting(rx.recv_many(&mut got, 3));
        for n in 0..4 {
            tx.try_send(n).unwrap();
        }
        let fifth = Task::waiting(tx.send(4));
        assert_eq!(recv.poll(), Poll::Ready(Ok(3)));
        assert!(fifth.woken());
    }
    assert_eq!(got, [0, 1, 2]);
    assert_eq!(block_on(rx.recv_many(&mut got, 9)), Ok(2));
    assert_eq!(got, [0, 1, 2, 3, 4]);
    assert_eq!(block_on(rx.recv_many(&mut got, 0)), Ok(0));
    tx.close();
    assert_eq!(block_on(rx.recv_many(&mut got, 1)), Err(RecvError::Closed));
}

#[test]
fn recv_many_frees_places_for_all_who_wait() {
    let (tx, rx) = bounded(2);
    assert_eq!([0, 1].map(|n| tx.try_send(n)), [Ok(()); 2]);
    let sends = [2, 3, 4].map(|n| Task::waiting(tx.send(n)));
    let mut got = Vec::new();
    assert_eq!(block_on(rx.recv_many(&mut got, 9)), Ok(2));
    assert_eq!(sends.each_ref().map(Task::woken), [true, true, false]);
    assert_eq!(block_on(rx.recv_many(&mut got, 9)), Ok(2));
    assert_eq!(block_on(rx.recv_many(&mut got, 9)), Ok(1));
    assert_eq!(got, [0, 1, 2, 3, 4]);
}

#[test]
fn a_weak_sender_does_not_keep_the_channel_open() {
    let (tx, rx) = bounded::<u32>(1);
    let weak = tx.downgrade();
    let again = weak.upgrade().unwrap();
    assert!(again.same_channel(&tx));
    assert_eq!(rx.sender_count(), 2);
    drop((tx, again));
    assert!(rx.is_closed() && weak.upgrade().is_none());
    assert_eq!(block_on(rx.recv()), Err(RecvError::Closed));
    drop(rx);
    assert!(weak.clone().upgrade().is_none());
}

#[derive(Debug)]
struct Reason(u32);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reason {}", self.0)
    }
}

impl Error for Reason {}

#[test]
fn the_cause_of_the_first_close_stands() {
    let (tx, rx) = bounded::<u32>(1);
    assert!(tx.close_cause().is_none());
    assert!(rx.close_with(Reason(1)));
    assert!(!tx.close_with(Reason(2)) && !tx.close());
    let causes = [tx.close_cause(), rx.close_cause()].map(|cause| cause.unwrap().to_string());
    assert_eq!(causes, ["reason 1", "reason 1"]);

    let (tx, rx) = bounded::<u32>(1);
    drop(tx);
    assert!(!rx.close_with(Reason(3)) && rx.close_cause().is_none());
}

#[test]
fn handles_are_counted_and_compared() {
    let (tx, rx) = bounded::<u32>(1);
    let (other_tx, other_rx) = bounded::<u32>(1);
    let handles = (tx.clone(), rx.clone(), rx.clone());
    assert_eq!((rx.sender_count(), tx.receiver_count()), (2, 3));
    assert!(handles.0.same_channel(&tx) && handles.1.same_channel(&rx));
    assert!(!other_tx.same_channel(&tx) && !other_rx.same_channel(&rx));
    drop(handles);
    assert_eq!((tx.sender_count(), rx.receiver_count()), (1, 1));
}

#[test]
fn statistics_tell_who_waits() {
    let (tx, rx) = bounded(1);
    let receives = [(); 2].map(|()| Task::waiting(rx.recv()));
    assert_eq!(rx.statistics().waiting_receivers, 2);
    drop(receives);
    tx.try_send(0).unwrap();
    let sends = [1, 2, 3].map(|n| Task::waiting(tx.send(n)));
    assert_eq!(rx.try_recv(), Ok(0));
    let now = tx.statistics();
    assert_eq!((now.len, now.waiting_senders, now.max_waiting_senders), (1, 2, 3));
    assert_eq!((now.waiting_receivers, now.max_waiting_receivers), (0, 2));
    drop(sends);
}

#[test]
fn a_borrowed_stream_leaves_the_rest() {
    let (tx, rx) = bounded(3);
    assert_eq!([1, 2, 3].map(|n| tx.try_send(n)), [Ok(()); 3]);
    {
        let mut stream = pin!(rx.stream());
        assert_eq!(block_on(stream.next()), Some(1));
    }
    tx.close();
    assert_eq!(block_on(rx.stream().collect::<Vec<_>>()), [2, 3]);
    assert_eq!(block_on(pin!(rx.stream()).next()), None);
}

/// Each kind, by one and by several threads: every value once, and those of a sender in order.
#[test]
fn every_value_once_on_threads() {
    let (threads, each) = (2, if cfg!(miri) { 5 } else { 500 });
    for (tx, rx) in [rendezvous(), bounded(1), bounded(3), unbounded()] {
        let mut got = thread::scope(|s| {
            for thread in 0..threads {
                let tx = tx.clone();
                s.spawn(move || {
                    for n in 0..each {
                        assert_eq!(tx.send_blocking(thread * each + n), Ok(()));
                    }
                });
            }
            drop(tx);
            let readers = [(); 2].map(|()| {
                let rx = rx.clone();
                s.spawn(move || {
                    let mut got = Vec::new();
                    while rx.recv_blocking().map(|n| got.push(n)).is_ok() {}
                    for thread in 0..threads {
                        let of_one = got.iter().filter(|&&n| n / each == thread);
                        assert!(of_one.is_sorted(), "out of order");
                    }
                    got
                })
            });
            readers.map(|reader| reader.join().unwrap()).concat()
        });
        got.sort_unstable();
        assert_eq!(got, (0..threads * each).collect::<Vec<_>>());
    }
}

#[test]
fn channel_032_and_033_a_value_is_dropped_once_or_delivered() {
    for (tx, rx) in [rendezvous(), bounded(1), unbounded(), conflated()] {
        let count = Arc::new(AtomicUsize::new(0));
        let tracked = |n| Tracked(n, Arc::clone(&count));
        let mut recv = Task::waiting(rx.recv());
        assert!(tx.try_send(tracked(0)).is_ok());
        let Poll::Ready(Ok(value)) = recv.poll() else { panic!("it is there") };
        tx.close();
        assert_eq!(drops(&count), 0);
        let Err(SendError(refused)) = block_on(tx.send(tracked(1))) else { panic!("sent") };
        drop(refused);
        assert_eq!(drops(&count), 1);
        drop(value);
    }
}

#[test]
fn a_send_that_blocks_in_a_coroutine_is_refused() {
    use corymb::testing::TestRuntime;

    let (tx, _rx) = bounded(1);
    let run = || {
        TestRuntime::new().run(async move {
            assert_eq!(tx.send_blocking(1), Ok(())); // it need not wait
            tx.send_blocking(2)
        })
    };
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_err();
    let message = payload.downcast::<String>().unwrap();
    assert!(
        message.contains("`send_blocking` at") && message.contains("await `send`"),
        "{message}"
    );
}
