//! What a bounded channel promises while nobody gives up.

use std::cell::Cell;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;

use corymb_sync::channel::{Overflow, bounded, with_overflow};
use corymb_sync::{RecvError, SendError, TryRecvError, TrySendError, broadcast, watch};
use futures::executor::{LocalPool, ThreadPool, block_on};
use futures::task::{LocalSpawnExt as _, SpawnExt as _};
use futures::{StreamExt as _, future};

use crate::common::{Task, Tracked, drops};

#[test]
fn channel_001_all_in_order_then_closed() {
    for capacity in [1, 2, 32] {
        let (tx, rx) = bounded(capacity);
        let send = async move {
            for n in 0..20 {
                tx.send(n).await.unwrap();
            }
        };
        let ((), got) = block_on(future::join(send, rx.into_stream().collect::<Vec<_>>()));
        assert_eq!(got, (0..20).collect::<Vec<_>>());
    }
}

#[test]
fn channel_002_try_send_has_three_outcomes() {
    let (tx, rx) = bounded(1);
    assert_eq!((tx.capacity(), tx.len(), tx.is_empty()), (1, 0, true));
    assert_eq!(tx.try_send(1), Ok(()));
    assert_eq!((rx.capacity(), rx.len(), rx.is_empty()), (1, 1, false));
    assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    rx.close();
    assert_eq!(tx.try_send(3), Err(TrySendError::Closed(3)));
}

#[test]
fn channel_003_and_024_close_does_not_fail_a_waiting_send() {
    let (tx, rx) = bounded(1);
    tx.try_send(1).unwrap();
    let mut send = Task::waiting(tx.send(42));
    tx.close();
    assert_eq!(tx.try_send(2), Err(TrySendError::Closed(2)));
    assert!(!send.woken());
    assert!(send.poll().is_pending());
    assert_eq!(rx.try_recv(), Ok(1));
    assert!(send.woken());
    assert_eq!(send.poll(), Poll::Ready(Ok(())));
    assert_eq!(rx.try_recv(), Ok(42));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn channel_010_close_then_drain() {
    let (tx, rx) = bounded(1);
    block_on(tx.send(42)).unwrap();
    tx.close();
    assert!(tx.is_closed() && rx.is_closed());
    assert_eq!(block_on(tx.send(1)), Err(SendError(1)));
    assert_eq!(block_on(rx.recv()), Ok(42));
    assert_eq!(block_on(rx.recv()), Err(RecvError::Closed));
}

#[test]
fn channel_012_a_freed_place_is_filled_by_the_first_sender() {
    let (tx, rx) = bounded(1);
    tx.try_send(1).unwrap();
    let mut second = Task::waiting(tx.send(2));
    let mut third = Task::waiting(tx.send(3));
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!(rx.len(), 1);
    assert_eq!(tx.try_send(4), Err(TrySendError::Full(4)), "no place for who did not wait");
    assert_eq!((second.wakes(), third.wakes()), (1, 0));
    assert_eq!(rx.try_recv(), Ok(2));
    assert_eq!((second.wakes(), third.wakes()), (1, 1));
    assert_eq!(rx.try_recv(), Ok(3));
    assert_eq!(second.poll(), Poll::Ready(Ok(())));
    assert_eq!(third.poll(), Poll::Ready(Ok(())));
}

#[test]
fn each_value_wakes_one_receiver_in_order() {
    let (tx, rx) = bounded(4);
    let mut tasks: Vec<_> = (0..3).map(|_| Task::waiting(rx.recv())).collect();
    for (n, expected) in [[1, 0, 0], [1, 1, 0], [1, 1, 1]].into_iter().enumerate() {
        tx.try_send(n).unwrap();
        assert_eq!(tasks.iter().map(Task::wakes).collect::<Vec<_>>(), expected);
    }
    tx.try_send(3).unwrap();
    for (n, task) in tasks.iter_mut().enumerate() {
        assert_eq!(task.poll(), Poll::Ready(Ok(n)));
        assert_eq!(task.wakes(), 1);
    }
}

#[test]
fn a_receiver_woken_in_vain_keeps_its_place() {
    let (tx, rx) = bounded(4);
    let mut tasks: Vec<_> = (0..4).map(|_| Task::waiting(rx.recv())).collect();
    for n in 0..3 {
        tx.try_send(n).unwrap();
    }
    // All three are called, and others take what they were called for.
    for n in 0..3 {
        assert_eq!(rx.try_recv(), Ok(n));
    }
    // They come back out of order, and are called in order all the same.
    for i in [1, 2, 0] {
        assert!(tasks[i].poll().is_pending());
    }
    for (n, task) in tasks.iter_mut().enumerate() {
        tx.try_send(n).unwrap();
        assert!(task.woken(), "{n} was passed over");
        assert_eq!(task.poll(), Poll::Ready(Ok(n)));
    }
}

#[test]
fn a_call_is_not_repeated_while_it_is_unanswered() {
    let (tx, rx) = bounded(1);
    let mut first = Task::waiting(rx.recv());
    let second = Task::waiting(rx.recv());
    tx.try_send(1).unwrap();
    assert_eq!(rx.try_recv(), Ok(1));
    tx.try_send(2).unwrap();
    assert_eq!((first.wakes(), second.wakes()), (1, 0), "the first is on its way");
    assert_eq!(first.poll(), Poll::Ready(Ok(2)));
}

#[test]
fn the_latest_waker_is_woken() {
    let (tx, rx) = bounded(1);
    let mut recv = Task::waiting(rx.recv());
    let first = recv.change_waker();
    assert!(recv.poll().is_pending());
    tx.try_send(1).unwrap();
    assert_eq!((first(), recv.wakes()), (0, 1));

    let mut send = Task::waiting(tx.send(2));
    let first = send.change_waker();
    assert!(send.poll().is_pending());
    assert_eq!(recv.poll(), Poll::Ready(Ok(1)));
    assert_eq!((first(), send.wakes()), (0, 1));
}

#[test]
fn channel_026_close_wakes_every_receiver() {
    let (tx, rx) = bounded::<i32>(1);
    let mut tasks = [Task::waiting(rx.recv()), Task::waiting(rx.recv())];
    tx.close();
    for task in &mut tasks {
        assert!(task.woken());
        assert_eq!(task.poll(), Poll::Ready(Err(RecvError::Closed)));
    }
    tx.close();
}

#[test]
fn channel_049_ends_with_the_last_sender_and_its_values() {
    let (tx, rx) = bounded(2);
    let other = tx.clone();
    tx.try_send(1).unwrap();
    drop(tx);
    other.try_send(2).unwrap();
    assert!(!other.is_closed());
    drop(other);
    assert!(rx.is_closed());
    assert_eq!(block_on(rx.into_stream().collect::<Vec<_>>()), [1, 2]);
}

#[test]
fn channel_057_the_last_receiver_drops_what_is_left() {
    let count = Arc::new(AtomicUsize::new(0));
    let tracked = |n| Tracked(n, Arc::clone(&count));
    let (tx, rx) = bounded(1);
    let other = rx.clone();
    tx.try_send(tracked(0)).unwrap();
    let mut sends = [1, 2].map(|n| Task::waiting(tx.send(tracked(n))));
    drop(rx);
    assert_eq!(drops(&count), 0);
    drop(other);
    assert_eq!(drops(&count), 1);
    for (send, n) in sends.iter_mut().zip([1, 2]) {
        assert!(send.woken());
        let Poll::Ready(Err(SendError(value))) = send.poll() else { panic!("sent to nobody") };
        assert_eq!(value.0, n);
    }
    assert!(matches!(tx.try_send(tracked(3)), Err(TrySendError::Closed(_))));
    drop(sends);
    drop(tx);
    assert_eq!(drops(&count), 4);
}

#[test]
fn a_channel_frees_its_values() {
    let count = Arc::new(AtomicUsize::new(0));
    let (tx, rx) = bounded(2);
    tx.try_send(Tracked(0, Arc::clone(&count))).unwrap();
    tx.try_send(Tracked(1, Arc::clone(&count))).unwrap();
    drop(tx);
    assert_eq!(drops(&count), 0);
    drop(rx);
    assert_eq!(drops(&count), 2);
}

#[test]
fn misuse_is_named() {
    let payload = catch_unwind(|| drop(with_overflow::<()>(0, Overflow::DropOldest))).unwrap_err();
    let message = payload.downcast_ref::<String>().unwrap();
    assert!(message.contains("channel::with_overflow(0, DropOldest)"), "{message}");

    let (tx, _rx) = bounded(1);
    let payload = catch_unwind(|| {
        let mut send = Task::new(tx.send(1));
        assert!(send.poll().is_ready());
        let _again = send.poll();
    });
    let message = payload.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("polled after it was done"), "{message}");
}

#[test]
fn handles_and_futures_change_threads() {
    fn check<T: Send + Sync>(_: &T) {}

    // `Cell` is Send and not Sync, which is all that is asked of a value.
    let (tx, rx) = bounded::<Cell<u32>>(1);
    check(&tx);
    check(&rx);
    check(&tx.send(Cell::new(1)));
    check(&tx.reserve());
    check(&tx.try_reserve());
    check(&tx.clone().reserve_owned());
    check(&tx.downgrade());
    check(&tx.clone().into_sink());
    check(&rx.recv());
    check(&rx.stream());
    check(&rx.into_stream());

    // These are shared between receivers.
    let (tx, mut rx) = broadcast::channel::<u32>(1);
    check(&tx);
    check(&rx.recv());
    check(&rx.into_stream());
    let (tx, mut rx) = watch::channel(1);
    check(&tx);
    check(&rx.changed());
    check(&rx.wait_for(|_| true));
    check(&rx.into_stream());
}

#[test]
fn ping_pong_on_one_thread() {
    let mut pool = LocalPool::new();
    let (ping, pinged) = bounded(1);
    let (pong, ponged) = bounded(1);
    let echo = async move {
        while let Ok(n) = pinged.recv().await {
            pong.send(n).await.unwrap();
        }
    };
    pool.spawner().spawn_local(echo).unwrap();
    pool.run_until(async {
        for n in 0..100 {
            ping.send(n).await.unwrap();
            assert_eq!(ponged.recv().await, Ok(n));
        }
    });
    drop(ping);
    pool.run();
}

#[test]
#[cfg_attr(miri, ignore = "the pool's threads outlive the test")]
fn ping_pong_between_threads() {
    let pool = ThreadPool::builder().pool_size(2).create().unwrap();
    let (ping, pinged) = bounded(1);
    let (pong, ponged) = bounded(1);
    pool.spawn(async move {
        while let Ok(n) = pinged.recv().await {
            pong.send(n).await.unwrap();
        }
    })
    .unwrap();
    block_on(async {
        for n in 0..1000 {
            ping.send(n).await.unwrap();
            assert_eq!(ponged.recv().await, Ok(n));
        }
    });
}

/// A waker, or the destructor of a value, may use the channel: nothing foreign runs under its
/// lock.
mod reentrancy {
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    use corymb_sync::channel::{Receiver, Sender, bounded};
    use futures::FutureExt as _;

    /// Looks at the channel when it is woken and when it is dropped.
    struct Look(Sender<Peek>);

    impl Wake for Look {
        fn wake(self: Arc<Self>) {
            assert!(self.0.len() <= 1);
        }
    }

    impl Drop for Look {
        fn drop(&mut self) {
            assert!(self.0.len() <= 1);
        }
    }

    /// A value that looks when it is dropped.
    struct Peek(Sender<()>);

    impl Drop for Peek {
        fn drop(&mut self) {
            assert!(self.0.is_empty());
        }
    }

    fn looker(tx: &Sender<Peek>) -> Waker {
        Waker::from(Arc::new(Look(tx.clone())))
    }

    fn channels() -> (Sender<Peek>, Receiver<Peek>, impl Fn() -> Peek) {
        let (tx, rx) = bounded(1);
        let (probe, kept) = bounded(1);
        (tx, rx, move || {
            assert!(!kept.is_closed());
            Peek(probe.clone())
        })
    }

    #[test]
    fn of_a_receiver() {
        let (tx, rx, peek) = channels();
        let mut recv = Box::pin(rx.recv());
        for _ in 0..2 {
            // The second waker replaces the first one.
            assert!(recv.poll_unpin(&mut Context::from_waker(&looker(&tx))).is_pending());
        }
        assert!(tx.try_send(peek()).is_ok());
        drop(recv);
        let mut recv = Box::pin(rx.recv());
        assert!(recv.poll_unpin(&mut Context::from_waker(&looker(&tx))).is_ready());
        assert!(recv.poll_unpin(&mut Context::from_waker(&looker(&tx))).is_pending());
        drop(recv);
        assert!(tx.is_empty());
    }

    #[test]
    fn of_a_sender() {
        let (tx, rx, peek) = channels();
        assert!(tx.try_send(peek()).is_ok());
        let mut sends = [Box::pin(tx.send(peek())), Box::pin(tx.send(peek()))];
        for send in &mut sends {
            assert!(send.poll_unpin(&mut Context::from_waker(&looker(&tx))).is_pending());
            assert!(send.poll_unpin(&mut Context::from_waker(&looker(&tx))).is_pending());
        }
        drop(rx.try_recv());
        let [first, second] = sends;
        drop(second);
        drop(first);
        drop(rx);
        assert!(tx.is_closed());
    }
}
