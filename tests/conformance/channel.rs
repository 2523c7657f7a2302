//! Channels: of every kind, closed, overflowing, with permits; broadcasts and oneshots.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use corymb::prelude::*;
use corymb::sync::broadcast::{self, Lagged};
use corymb::sync::channel::{
    Overflow, Sender, bounded, conflated, rendezvous, unbounded, with_overflow,
};
use corymb::sync::{RecvError, SendError, TryRecvError, TrySendError, oneshot};
use corymb::testing::settle;

use crate::common::{Oops, Trace};

/// A value that says when it is dropped: what an undelivered-element hook is here.
struct Element(&'static str, Trace);

impl Drop for Element {
    fn drop(&mut self) {
        self.1.add(self.0);
    }
}

#[corymb::test]
async fn channel_001_all_values_in_order_and_then_the_end() {
    for conflates in [false, true] {
        let kinds = match conflates {
            false => vec![rendezvous(), bounded(1), bounded(7), unbounded()],
            true => vec![conflated(), with_overflow(3, Overflow::DropLatest)],
        };
        for (tx, rx) in kinds {
            let got = scope(async |s| {
                s.launch(async move {
                    for n in 0..20 {
                        tx.send(n).await.unwrap();
                    }
                });
                let mut got = Vec::new();
                while let Ok(n) = rx.recv().await {
                    got.push(n);
                }
                got
            })
            .await;
            match conflates {
                false => assert_eq!(got, (0..20).collect::<Vec<_>>()),
                true => assert!(!got.is_empty() && got.is_sorted_by(|a, b| a < b), "{got:?}"),
            }
        }
    }
}

#[corymb::test]
async fn channel_002_a_try_send_to_a_full_channel() {
    let (tx, rx) = bounded(1);
    tx.send(1).await.unwrap();
    assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    assert!(!rx.is_closed() && rx.close_cause().is_none());
}

#[corymb::test]
async fn channel_003_a_close_is_not_a_cancel() {
    for (tx, rx) in [rendezvous(), bounded(1)] {
        scope(async |s| {
            let sender = tx.clone();
            let sent = s.spawn(async move { sender.send(42).await });
            settle().await;
            tx.close();
            assert_eq!(tx.try_send(2), Err(TrySendError::Closed(2)));
            assert_eq!(rx.recv().await, Ok(42));
            assert_eq!(sent.await, Ok(()));
        })
        .await;
    }
}

#[corymb::test]
async fn channel_004_a_send_on_a_closed_channel_is_a_failure() {
    let (tx, rx) = bounded(1);
    rx.close();
    let result = try_scope(async |s| {
        s.launch(async move { tx.send(7).await });
        Ok(())
    });
    assert_eq!(result.await, Err(SendError(7)));
}

/// There are no hooks: who waits is told.
#[corymb::test]
async fn channel_006_who_waits_is_told_of_a_close_with_its_cause() {
    let trace = Trace::default();
    let (tx, rx) = bounded(1);
    scope(async |s| {
        let told = trace.clone();
        s.launch(async move {
            while rx.recv().await.is_ok() {}
            told.add(rx.close_cause().expect("there is one"));
        });
        settle().await;
        tx.try_send(1).unwrap();
        assert!(tx.close_with(Oops("E")) && !tx.close_with(Oops("later")));
    })
    .await;
    assert_eq!(trace.get(), ["E"]);
}

#[corymb::test]
async fn channel_009_a_cause_comes_through_unchanged() {
    let (tx, rx) = bounded::<u32>(1);
    rx.close_with(Oops("timeout"));
    drop(rx);
    let cause = tx.close_cause().unwrap();
    assert_eq!(cause.downcast_ref::<Oops>(), Some(&Oops("timeout")));
}

#[corymb::test]
async fn channel_010_what_was_sent_before_a_close_is_received() {
    let (tx, rx) = bounded(1);
    tx.send(42).await.unwrap();
    tx.close();
    assert_eq!(tx.send(1).await, Err(SendError(1)));
    assert_eq!(rx.recv().await, Ok(42));
    assert_eq!(rx.recv().await, Err(RecvError::Closed));
}

#[corymb::test]
async fn channel_011_empty_is_what_holds_no_value() {
    let (tx, rx) = bounded::<u32>(1);
    tx.close();
    assert!(rx.is_empty() && rx.is_closed());
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

#[corymb::test]
async fn channel_012_a_place_that_is_freed_goes_to_the_sender_that_waits() {
    let trace = Trace::default();
    scope(async |s| {
        let (tx, rx) = bounded(1);
        let sender = trace.clone();
        s.launch(async move {
            for n in 1..=2 {
                sender.add(format_args!("send {n}"));
                tx.send(n).await.unwrap();
            }
            sender.add("sent");
        });
        yield_now().await;
        assert_eq!(rx.recv().await, Ok(1));
        assert!(!rx.is_empty());
        trace.add("got 1");
        assert_eq!(rx.recv().await, Ok(2));
        trace.add("got 2");
    })
    .await;
    assert_eq!(trace.get(), ["send 1", "send 2", "got 1", "got 2", "sent"]);
}

/// A value takes a place until it is received, also where a receiver waits for it.
#[corymb::test]
async fn channel_013_a_value_has_a_place_until_it_is_received() {
    scope(async |s| {
        let (tx, rx) = bounded(1);
        let receiver = rx.clone();
        let got = s.spawn(async move { receiver.recv().await });
        settle().await;
        assert_eq!(tx.try_send(2), Ok(()));
        assert_eq!(tx.try_send(3), Err(TrySendError::Full(3)));
        assert_eq!(got.await, Ok(2));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    })
    .await;
}

/// They are told, and not cancelled: the channel is no job.
#[corymb::test]
async fn channel_014_without_receivers_values_are_dropped_and_senders_told() {
    let trace = Trace::default();
    let (tx, rx) = bounded(5);
    scope(async |s| {
        let sends: Vec<_> = (0..10)
            .map(|n| {
                let (tx, trace) = (tx.clone(), trace.clone());
                let name = if n < 5 { "buffered" } else { "waiting" };
                s.spawn(async move { tx.send(Element(name, trace)).await.is_ok() })
            })
            .collect();
        settle().await;
        drop(rx);
        assert_eq!(trace.get(), ["buffered"; 5]);
        for (n, send) in sends.into_iter().enumerate() {
            assert_eq!(send.await, n < 5);
        }
        assert!(tx.is_closed());
    })
    .await;
}

#[corymb::test]
async fn channel_018_the_oldest_are_dropped() {
    let (tx, rx) = with_overflow(2, Overflow::DropOldest);
    (1..=4).for_each(|n| tx.try_send(n).unwrap());
    assert_eq!(rx.recv().await, Ok(3));
    (5..=6).for_each(|n| tx.try_send(n).unwrap());
    assert_eq!((rx.recv().await, rx.recv().await), (Ok(5), Ok(6)));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
}

#[corymb::test]
async fn channel_020_a_close_keeps_the_latest() {
    let (tx, rx) = conflated();
    (1..=2).for_each(|n| tx.try_send(n).unwrap());
    tx.close();
    assert_eq!((rx.recv().await, rx.recv().await), (Ok(2), Err(RecvError::Closed)));
}

#[corymb::test]
async fn channel_023_a_rendezvous() {
    let trace = Trace::default();
    scope(async |s| {
        let (tx, rx) = rendezvous();
        let (sender, receiver) = (trace.clone(), trace.clone());
        s.launch(async move {
            for n in 1..=2 {
                sender.add(format_args!("send {n}"));
                tx.send(n).await.unwrap();
                sender.add(format_args!("sent {n}"));
            }
        });
        s.launch(async move {
            for n in 1..=2 {
                receiver.add(format_args!("receive {n}"));
                assert_eq!(rx.recv().await, Ok(n));
                receiver.add(format_args!("received {n}"));
            }
        });
    })
    .await;
    let first = ["send 1", "receive 1", "received 1", "receive 2"];
    let then = ["sent 1", "send 2", "sent 2", "received 2"];
    assert_eq!(trace.get(), [first, then].concat());
}

#[corymb::test]
async fn channel_024_a_close_does_not_fail_a_send_that_waits() {
    let trace = Trace::default();
    scope(async |s| {
        let (tx, rx) = rendezvous();
        let (sender, closes) = (trace.clone(), tx.clone());
        s.launch(async move {
            tx.send(42).await.unwrap();
            sender.add("sent");
        });
        settle().await;
        closes.close();
        settle().await;
        trace.add("receive");
        assert_eq!((rx.recv().await, rx.recv().await), (Ok(42), Err(RecvError::Closed)));
        trace.add("closed");
    })
    .await;
    assert_eq!(trace.get(), ["receive", "closed", "sent"]);
}

#[corymb::test]
async fn channel_025_a_rendezvous_without_waiting() {
    let (tx, rx) = rendezvous();
    assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
    scope(async |s| {
        let receiver = rx.clone();
        let got = s.spawn(async move { (receiver.recv().await, receiver.try_recv()) });
        settle().await;
        assert_eq!(tx.try_send(2), Ok(()));
        assert_eq!(got.await, (Ok(2), Err(TryRecvError::Empty)));
        let sent = s.spawn(async move { tx.send(3).await });
        settle().await;
        assert_eq!(rx.try_recv(), Ok(3));
        assert_eq!(sent.await, Ok(()));
    })
    .await;
}

#[corymb::test]
async fn channel_026_a_close_tells_all_receivers_in_order() {
    let trace = Trace::default();
    scope(async |s| {
        let (tx, rx) = rendezvous::<u32>();
        for n in 1..=2 {
            let (trace, rx) = (trace.clone(), rx.clone());
            s.launch(async move {
                assert_eq!(rx.recv().await, Err(RecvError::Closed));
                trace.add(n);
            });
        }
        settle().await;
        tx.close();
    })
    .await;
    assert_eq!(trace.get(), ["1", "2"]);
}

/// Sends `element` in a coroutine that is cancelled while it waits.
async fn cancel_a_send(tx: &Sender<Element>, element: Element) {
    scope(async |s| {
        let tx = tx.clone();
        let job = s.launch(async move { tx.send(element).await.unwrap() });
        settle().await;
        job.cancel();
    })
    .await;
}

#[corymb::test]
async fn channel_028_the_value_of_a_send_that_is_cancelled_is_dropped_once() {
    let trace = Trace::default();
    let (tx, rx) = rendezvous();
    cancel_a_send(&tx, Element("value", trace.clone())).await;
    assert_eq!(trace.get(), ["value"]);
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
}

#[corymb::test]
async fn channel_029_a_cancelled_send_and_then_the_channel() {
    let trace = Trace::default();
    let (tx, rx) = bounded(1);
    tx.send(Element("A", trace.clone())).await.unwrap();
    cancel_a_send(&tx, Element("B", trace.clone())).await;
    assert_eq!(trace.get(), ["B"]);
    drop(rx);
    assert_eq!(trace.get(), ["B", "A"]);
}

#[corymb::test]
async fn channel_032_a_send_to_a_closed_channel_gives_its_value_back() {
    for (tx, rx) in [rendezvous(), bounded(1), unbounded(), conflated()] {
        let trace = Trace::default();
        rx.close();
        let refused = tx.send(Element("value", trace.clone())).await;
        assert_eq!(trace.get(), [""; 0]);
        drop(refused);
        assert_eq!(trace.get(), ["value"]);
    }
}

#[corymb::test]
async fn channel_033_what_is_delivered_is_the_receiver_s() {
    let trace = Trace::default();
    let (tx, rx) = bounded(1);
    tx.send(Element("value", trace.clone())).await.unwrap();
    let received = rx.recv().await.unwrap();
    drop((tx, rx));
    assert_eq!(trace.get(), [""; 0]);
    drop(received);
}

/// The destructor is the hook: also what a `try_send` drops itself is dropped.
#[corymb::test]
async fn channel_034_what_does_not_fit_is_dropped() {
    let cases = [(Overflow::DropOldest, ["1", "2"]), (Overflow::DropLatest, ["3", "4"])];
    for (overflow, dropped) in cases {
        let trace = Trace::default();
        let (tx, _rx) = with_overflow(2, overflow);
        for n in ["1", "2", "3"] {
            tx.send(Element(n, trace.clone())).await.unwrap();
        }
        tx.try_send(Element("4", trace.clone())).unwrap();
        assert_eq!(trace.get(), dropped);
    }
}

/// There is no value on its way: it stays in the channel, for whoever comes.
#[corymb::test]
async fn channel_036_a_receiver_that_is_cancelled_when_it_was_woken_loses_nothing() {
    let (tx, rx) = bounded(1);
    scope(async |s| {
        let receiver = rx.clone();
        let job = s.launch(async move { assert_eq!(receiver.recv().await, Ok(7)) });
        settle().await;
        tx.try_send(7).unwrap();
        job.cancel();
    })
    .await;
    assert_eq!(rx.try_recv(), Ok(7));
}

/// To consume a channel is to own its receiver.
#[corymb::test]
async fn channel_038_a_channel_that_was_consumed_is_closed() {
    let (tx, rx) = bounded(2);
    tx.send(1).await.unwrap();
    tx.send(2).await.unwrap();
    let consume = async move { rx.recv().await };
    assert_eq!(consume.await, Ok(1));
    assert_eq!(tx.send(3).await, Err(SendError(3)));
}

/// A send that fails is told: the producer ends by its error, with the value that it gets back.
#[corymb::test]
async fn channel_040_a_consumer_that_cancels_itself_closes_the_channel() {
    let trace = Trace::default();
    scope(async |s| {
        let (tx, rx) = bounded(2);
        let producer = trace.clone();
        let produced = s.spawn(async move {
            for name in ["0", "1", "2"] {
                tx.send(Element(name, producer.clone())).await.unwrap();
            }
            settle().await;
            tx.send(Element("3", producer.clone())).await.is_ok()
        });
        let consumer = trace.clone();
        s.launch(async move {
            while let Ok(element) = rx.recv().await {
                consumer.add(format_args!("seen {}", element.0));
                Job::current().unwrap().cancel();
                yield_now().await;
            }
        });
        assert!(!produced.await);
    })
    .await;
    let mut seen = trace.get();
    assert_eq!(seen.remove(0), "seen 0");
    seen.sort();
    assert_eq!(seen, ["0", "1", "2", "3"]);
}

#[corymb::test]
async fn channel_041_a_coroutine_that_produces() {
    let trace = Trace::default();
    scope(async |s| {
        let (tx, rx) = rendezvous();
        let producer = trace.clone();
        s.launch(async move {
            for n in 1..=2 {
                producer.add(format_args!("send {n}"));
                tx.send(n).await.unwrap();
            }
            producer.add("end");
        });
        for n in 1..=2 {
            assert_eq!(rx.recv().await, Ok(n));
            trace.add(format_args!("received {n}"));
        }
        assert_eq!(rx.recv().await, Err(RecvError::Closed));
        trace.add("closed");
    })
    .await;
    assert_eq!(trace.get(), ["send 1", "send 2", "received 1", "received 2", "end", "closed"]);
}

/// Who fails says so to the channel.
#[corymb::test]
async fn channel_043_what_was_sent_before_a_failure_comes_first() {
    let (tx, rx) = unbounded();
    let failed: Result<(), Oops> = try_scope(async |s| {
        s.launch(async move {
            for n in 0..5 {
                tx.send(n).await.unwrap();
            }
            tx.close_with(Oops("E"));
            Err(Oops("E"))
        });
        Ok(())
    })
    .await;
    assert_eq!(failed, Err(Oops("E")));
    for n in 0..5 {
        assert_eq!(rx.recv().await, Ok(n));
    }
    assert_eq!(rx.recv().await, Err(RecvError::Closed));
    assert_eq!(rx.close_cause().unwrap().to_string(), "E");
}

/// The reader is told that the channel is closed: its sender is gone.
#[corymb::test]
async fn channel_045_a_send_that_need_not_wait_does_not_look_for_a_cancel() {
    let (tx, rx) = unbounded();
    scope(async |s| {
        s.launch(async move {
            for n in 0..5 {
                tx.send(n).await.unwrap();
            }
            Job::current().unwrap().cancel();
            tx.send(-1).await.unwrap();
            yield_now().await;
            unreachable!("a yield looks for it");
        });
    })
    .await;
    for n in [0, 1, 2, 3, 4, -1] {
        assert_eq!(rx.recv().await, Ok(n));
    }
    assert_eq!(rx.recv().await, Err(RecvError::Closed));
}

#[corymb::test]
async fn channel_046_a_producer_that_only_waits_is_told_that_nobody_receives() {
    let (trace, told) = Trace::twice();
    scope(async |s| {
        let (tx, rx) = bounded::<u32>(1);
        let (action, completed) = (trace.clone(), trace);
        let producer = s.launch(async move {
            tx.closed().await;
            action.add("action");
        });
        producer.on_completion(move |_| completed.add("completed"));
        settle().await;
        assert_eq!(told.get(), Vec::<String>::new());
        drop(rx);
        producer.join().await;
    })
    .await;
    assert_eq!(told.get(), ["action", "completed"]);
}

#[corymb::test]
async fn channel_048_the_mailbox_of_an_actor_that_has_ended_is_closed() {
    let (tx, rx) = bounded(1);
    scope(async |s| {
        let actor = s.spawn(async move { rx.recv().await });
        tx.send("message").await.unwrap();
        assert_eq!(actor.await, Ok("message"));
        assert_eq!(tx.send("late").await, Err(SendError("late")));
    })
    .await;
}

#[corymb::test]
async fn channel_049_the_end_comes_with_the_last_of_several_producers() {
    let (tx, rx) = bounded(1);
    let mut got = scope(async |s| {
        for start in [0, 10, 20] {
            let tx = tx.clone();
            s.launch(async move {
                for n in 0..start {
                    tx.send(start + n).await.unwrap();
                }
            });
        }
        drop(tx);
        let mut got = Vec::new();
        while let Ok(n) = rx.recv().await {
            got.push(n);
        }
        got
    })
    .await;
    got.sort_unstable();
    assert_eq!(got, (10..20).chain(20..40).collect::<Vec<_>>());
}

/// A wake-up reserves nothing: who is polled first gets the value, and who waits keeps its place.
#[corymb::test]
async fn channel_050_who_was_woken_in_vain_is_the_next() {
    scope(async |s| {
        let (tx, rx) = bounded(1);
        let [first, second] = [(); 2].map(|()| {
            let rx = rx.clone();
            s.spawn(async move { rx.recv().await })
        });
        settle().await;
        tx.try_send(1).unwrap();
        assert_eq!(rx.try_recv(), Ok(1));
        settle().await;
        tx.send(2).await.unwrap();
        tx.send(3).await.unwrap();
        assert_eq!((first.await, second.await), (Ok(2), Ok(3)));
    })
    .await;
}

#[corymb::test]
async fn channel_054_a_permit_that_is_dropped_goes_to_the_next() {
    let (tx, rx) = bounded(1);
    scope(async |s| {
        let permit = tx.reserve().await.unwrap();
        let sender = tx.clone();
        let second = s.spawn(async move { sender.reserve().await.unwrap().send(2) });
        settle().await;
        assert_eq!(tx.statistics().waiting_senders, 1);
        drop(permit);
        assert_eq!(second.await, Ok(()));
        assert_eq!(rx.recv().await, Ok(2));
    })
    .await;
}

#[corymb::test]
async fn channel_055_a_close_waits_for_places_that_are_reserved() {
    let (tx, rx) = bounded(1);
    scope(async |s| {
        let permit = tx.reserve().await.unwrap();
        let sender = tx.clone();
        let second = s.spawn(async move { sender.reserve().await.is_ok() });
        settle().await;
        rx.close();
        assert!(!second.await);
        let received = s.spawn(async move { (rx.recv().await, rx.recv().await) });
        settle().await;
        assert!(received.job().is_active());
        permit.send(123).unwrap();
        assert_eq!(received.await, (Ok(123), Err(RecvError::Closed)));
    })
    .await;
}

#[corymb::test]
async fn channel_057_the_last_receiver_drops_what_it_has_not_received() {
    let message = Arc::new(());
    let (tx, rx) = bounded(2);
    tx.send(Arc::clone(&message)).await.unwrap();
    drop(rx);
    assert_eq!(Arc::strong_count(&message), 1);
    assert!(tx.reserve().await.is_err());
}

#[corymb::test]
async fn channel_059_a_receiver_that_is_too_slow_is_told_how_much_it_lost() {
    let (tx, mut rx) = broadcast::channel(2);
    for n in [10, 20, 30] {
        tx.send(n).unwrap();
    }
    assert_eq!(rx.recv().await, Err(Lagged(1).into()));
    assert_eq!((rx.recv().await, rx.recv().await), (Ok(20), Ok(30)));
}

#[corymb::test]
async fn channel_062_a_oneshot_receiver_is_told_that_the_sender_is_gone() {
    scope(async |s| {
        let (tx, rx) = oneshot::channel::<u32>();
        let received = s.spawn(rx);
        settle().await;
        drop(tx);
        assert_eq!(received.await, Err(RecvError::Closed));
    })
    .await;
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[corymb::test]
async fn channel_064_the_task_that_polled_last_is_woken() {
    let (tx, rx) = oneshot::channel();
    let mut rx = pin!(rx);
    let tasks = [(); 2].map(|()| Arc::new(Wakes::default()));
    for task in &tasks {
        let waker = Waker::from(Arc::clone(task));
        assert!(rx.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    tx.send(7).unwrap();
    assert_eq!(tasks.map(|task| task.0.load(Ordering::Relaxed)), [0, 1]);
    assert_eq!(rx.await, Ok(7));
}
