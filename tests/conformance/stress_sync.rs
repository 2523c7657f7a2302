//! Invariants of channels, locks and waits under races, on real threads.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use corymb::prelude::*;
use corymb::select;
use corymb::sync::channel::{
    Overflow, Receiver, Sender, bounded, conflated, rendezvous, unbounded, with_overflow,
};
use corymb::sync::{Mutex, Notify, Semaphore, broadcast, watch};
use futures::StreamExt as _;

type Channel<T> = (Sender<T>, Receiver<T>);

/// Those that keep what was sent.
fn keeping<T>() -> Vec<Channel<T>> {
    vec![rendezvous(), bounded(1), bounded(7), unbounded()]
}

/// Those that replace what does not fit.
fn conflating<T>() -> Vec<Channel<T>> {
    vec![conflated(), with_overflow(3, Overflow::DropOldest)]
}

/// Receives to the end, in one of four ways.
async fn receive<T>(rx: Receiver<T>, way: usize) -> Vec<T> {
    let mut got = Vec::new();
    match way {
        0 => {
            while let Ok(value) = rx.recv().await {
                got.push(value);
            }
        }
        1 => while rx.recv_many(&mut got, 3).await.is_ok() {},
        2 => got = rx.into_stream().collect().await,
        _ => loop {
            select! {
                received = rx.recv() => match received {
                    Ok(value) => got.push(value),
                    Err(_) => break,
                },
                () = pending() => {}
            }
        },
    }
    got
}

const SENDERS: usize = 3;
const RECEIVERS: usize = 4;

/// What each of the receivers got, who receive in ways of their own.
async fn send_and_receive(
    (tx, rx): Channel<(usize, usize)>,
    each: usize,
) -> Vec<Vec<(usize, usize)>> {
    scope(async |s| {
        for sender in 0..SENDERS {
            let tx = tx.clone();
            s.launch(async move {
                for n in 0..each {
                    tx.send((sender, n)).await.expect("somebody receives");
                }
            });
        }
        drop(tx);
        let receivers: Vec<_> =
            (0..RECEIVERS).map(|way| s.spawn(receive(rx.clone(), way))).collect();
        drop(rx);
        let mut got = Vec::new();
        for receiver in receivers {
            got.push(receiver.await);
        }
        got
    })
    .await
}

/// In the order of their sender, as far as one receiver sees it.
fn are_in_order(got: &[(usize, usize)]) -> bool {
    (0..SENDERS).all(|sender| {
        let of_one = got.iter().filter(|(of, _)| *of == sender);
        of_one.is_sorted_by(|a, b| a.1 < b.1)
    })
}

#[corymb::test(real)]
async fn stress_003_each_element_reaches_one_receiver_in_its_sender_s_order() {
    const EACH: usize = 300;
    for channel in keeping() {
        let got = send_and_receive(channel, EACH).await;
        assert!(got.iter().all(|got| are_in_order(got)), "{got:?}");
        let mut all = got.concat();
        all.sort_unstable();
        let sent = (0..SENDERS).flat_map(|sender| (0..EACH).map(move |n| (sender, n)));
        assert!(all.into_iter().eq(sent));
    }
    for channel in conflating() {
        let got = send_and_receive(channel, EACH).await;
        assert!(got.iter().all(|got| are_in_order(got)), "{got:?}");
        let mut all = got.concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert!(count > 0 && all.len() == count, "one was received twice");
    }
}

/// What became of an element: the index into its counts.
#[derive(Clone, Copy)]
enum Fate {
    /// It was dropped with the channel, or with a send that was cancelled.
    Undelivered,
    Received,
    GivenBack,
}

struct Element {
    fates: Arc<Vec<[AtomicUsize; 3]>>,
    n: usize,
    fate: Fate,
}

impl Element {
    fn ends_as(mut self, fate: Fate) {
        self.fate = fate;
    }
}

impl Drop for Element {
    fn drop(&mut self) {
        self.fates[self.n][self.fate as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Senders, receivers and the channel are ended at different times; gives the number of sends that
/// succeeded, and how many elements met each fate.
async fn send_with_cancels((tx, rx): Channel<Element>, round: usize) -> (usize, [usize; 3]) {
    const EACH: usize = 20;
    let fates = (0..SENDERS * EACH).map(|_| Default::default()).collect();
    let fates: Arc<Vec<[AtomicUsize; 3]>> = Arc::new(fates);
    let (made, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    scope(async |s| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (tx, fates) = (tx.clone(), fates.clone());
                let (made, sent) = (made.clone(), sent.clone());
                s.launch(async move {
                    for n in sender * EACH..(sender + 1) * EACH {
                        made.fetch_add(1, Ordering::Relaxed);
                        let fates = fates.clone();
                        match tx.send(Element { fates, n, fate: Fate::Undelivered }).await {
                            Ok(()) => drop(sent.fetch_add(1, Ordering::Relaxed)),
                            Err(error) => error.0.ends_as(Fate::GivenBack),
                        }
                    }
                })
            })
            .collect();
        let receivers: Vec<_> = (0..2)
            .map(|way| {
                let rx = rx.clone();
                s.launch(async move {
                    if way == 0 {
                        while let Ok(element) = rx.recv().await {
                            element.ends_as(Fate::Received);
                        }
                    } else {
                        let mut elements = pin!(rx.into_stream());
                        while let Some(element) = elements.next().await {
                            element.ends_as(Fate::Received);
                        }
                    }
                })
            })
            .collect();
        let [cancels_sender, cancels_receiver, closes] = [round % 5, round % 7, round % 11];
        for step in 0..11 {
            if step == cancels_sender {
                senders[0].cancel();
            }
            if step == cancels_receiver {
                receivers[round % 2].cancel();
            }
            if step == closes {
                tx.close();
            }
            yield_now().await;
        }
        drop(rx);
        if round.is_multiple_of(3) {
            receivers[1 - round % 2].cancel();
        }
    })
    .await;
    drop(tx);
    let mut counts = [0; 3];
    for (n, fates) in fates.iter().enumerate() {
        let fates = fates.each_ref().map(|count| count.load(Ordering::Relaxed));
        assert!(fates.iter().sum::<usize>() <= 1, "element {n}: {fates:?}");
        counts.iter_mut().zip(fates).for_each(|(count, fate)| *count += fate);
    }
    assert_eq!(counts.iter().sum::<usize>(), made.load(Ordering::Relaxed), "one has no end");
    (sent.load(Ordering::Relaxed), counts)
}

#[corymb::test(real)]
async fn stress_004_each_element_is_received_given_back_or_dropped_once() {
    for round in 0..120 {
        for channel in keeping().into_iter().chain(conflating()) {
            let (sent, [undelivered, received, _]) = send_with_cancels(channel, round).await;
            assert!(sent <= received + undelivered, "what was sent is in the channel");
        }
    }
}

#[corymb::test(real)]
async fn stress_013_an_unlock_that_races_with_a_cancel_of_who_waits() {
    let mutex = Arc::new(Mutex::new(0));
    for round in 0..500 {
        scope(async |s| {
            let guard = mutex.lock().await;
            let [waiter, other] = [(); 2].map(|()| {
                let mutex = mutex.clone();
                s.launch(async move { *mutex.lock().await += 1 })
            });
            for _ in 0..round % 4 {
                yield_now().await;
            }
            let cancel = s.launch(async move {
                waiter.cancel();
            });
            drop(guard);
            cancel.join().await;
            other.join().await;
        })
        .await;
        assert!(!mutex.is_locked());
        assert_eq!(mutex.statistics().waiting, 0);
    }
    let total = *mutex.lock().await;
    assert!((500..=1000).contains(&total), "{total}");
}

#[corymb::test(real)]
async fn stress_015_no_more_are_inside_than_there_are_permits() {
    const PERMITS: usize = 5;
    let semaphore = Arc::new(Semaphore::new(PERMITS));
    let inside = Arc::new(AtomicUsize::new(0));
    let passed = Arc::new(AtomicUsize::new(0));
    scope(async |s| {
        for n in 0..100 {
            let (semaphore, inside) = (semaphore.clone(), inside.clone());
            let passed = passed.clone();
            s.launch(async move {
                for _ in 0..10 {
                    let needed = 1 + n % 2;
                    let permits = semaphore.acquire_many(needed).await.expect("it is open");
                    let before = inside.fetch_add(needed, Ordering::SeqCst);
                    assert!(before + needed <= PERMITS);
                    yield_now().await;
                    inside.fetch_sub(needed, Ordering::SeqCst);
                    drop(permits);
                    passed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    })
    .await;
    assert_eq!(passed.load(Ordering::Relaxed), 1000);
    assert_eq!(semaphore.available_permits(), PERMITS);
}

/// Emitters change their own part of the value.
#[corymb::test(real)]
async fn stress_018_collectors_see_each_emitter_s_values_grow_and_the_last() {
    const EMITTERS: usize = 10;
    const LAST: u32 = 100;
    let (tx, rx) = watch::channel([0; EMITTERS]);
    scope(async |s| {
        for emitter in 0..EMITTERS {
            let tx = tx.clone();
            s.launch(async move {
                for _ in 0..LAST {
                    tx.send_modify(|values| values[emitter] += 1).expect("it is open");
                    yield_now().await;
                }
            });
        }
        drop(tx);
        for _ in 0..10 {
            let mut rx = rx.clone();
            s.launch(async move {
                let mut before = *rx.borrow();
                while rx.changed().await.is_ok() {
                    let values = *rx.borrow_and_update();
                    assert!(values.iter().zip(before).all(|(now, before)| *now >= before));
                    before = values;
                }
                assert_eq!(before, [LAST; EMITTERS]);
            });
        }
    })
    .await;
}

/// Not so many in a second, but so many in all: nobody is left behind.
#[corymb::test(real)]
async fn stress_020_consumers_come_and_go_and_each_gets_what_it_waits_for() {
    const TURNS: usize = 50;
    for (capacity, replay) in [(1, 1), (2, 1), (3, 2)] {
        let (tx, _) = broadcast::with_replay(capacity, replay);
        let produced = Arc::new(AtomicUsize::new(0));
        let consumers_left = scope(async |s| {
            let producer = s.launch({
                let (tx, produced) = (tx.clone(), produced.clone());
                async move {
                    while tx.send(produced.fetch_add(1, Ordering::Relaxed)).is_ok() {
                        yield_now().await;
                    }
                }
            });
            let consumers = [0, 1, 2].map(|residue| {
                let tx = tx.clone();
                s.spawn(async move {
                    let mut last = None;
                    for _ in 0..TURNS {
                        let mut rx = tx.subscribe();
                        last = loop {
                            match rx.recv().await {
                                Ok(n) if n % 3 == residue && Some(n) > last => break Some(n),
                                Ok(_) | Err(broadcast::RecvError::Lagged(_)) => {}
                                Err(error) => panic!("{error}"),
                            }
                        };
                    }
                })
            });
            for consumer in consumers {
                consumer.await;
            }
            producer.cancel_and_join().await;
            tx.receiver_count()
        })
        .await;
        assert_eq!(consumers_left, 0);
        assert!(produced.load(Ordering::Relaxed) > 3 * (TURNS - 1), "{produced:?}");
    }
}

/// How often `future` was polled when it had its value.
async fn polls_of<F: Future>(future: F, polls: &AtomicUsize) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        polls.fetch_add(1, Ordering::Relaxed);
        future.as_mut().poll(cx)
    })
    .await
}

/// In virtual time, where a timer that is left behind would fire.
#[corymb::test]
async fn stress_027_the_timer_of_a_wait_that_is_over_wakes_no_later_one() {
    for notified_in_time in [true, false] {
        let (notify, polls) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        scope(async |s| {
            let waiter = s.spawn({
                let (notify, polls) = (notify.clone(), polls.clone());
                async move {
                    let timed = with_timeout(Duration::from_secs(1), notify.notified()).await;
                    assert_eq!(timed.is_ok(), notified_in_time);
                    polls_of(notify.notified(), &polls).await;
                }
            });
            sleep(Duration::from_millis(500)).await;
            if notified_in_time {
                notify.notify_one();
            }
            sleep(Duration::from_secs(10)).await;
            assert_eq!(polls.load(Ordering::Relaxed), 1, "something woke it");
            notify.notify_one();
            waiter.await;
            assert_eq!(polls.load(Ordering::Relaxed), 2);
        })
        .await;
        assert!(futures::poll!(pin!(notify.notified())).is_pending(), "one too many");
    }
}

/// The same of threads' races: a wait that is given up takes nobody's notification along.
#[corymb::test(real)]
async fn stress_027_a_wait_that_times_out_loses_no_wake_up() {
    let notify = Arc::new(Notify::new());
    for round in 0..300 {
        scope(async |s| {
            let waiter = s.spawn({
                let notify = notify.clone();
                async move {
                    let limit = Duration::from_micros(20 * (round % 5));
                    if with_timeout(limit, notify.notified()).await.is_err() {
                        notify.notified().await;
                    }
                }
            });
            for _ in 0..round % 3 {
                yield_now().await;
            }
            notify.notify_one();
            waiter.await;
        })
        .await;
        assert_eq!(Poll::Pending, futures::poll!(pin!(notify.notified())));
    }
}
