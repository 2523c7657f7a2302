//! Values arrive once and in order, whoever runs the two ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corymb_sync::channel::{Receiver, Sender, bounded};
use corymb_sync::{RecvError, SendError};
use futures::future::join_all;

use crate::executors::{Tasks, yield_now};
use crate::times;
use crate::waits::{give_up, in_line};

const N: usize = 400;

async fn send_all<T>(tx: Sender<T>, value: impl Fn(usize) -> T) {
    for n in 0..times(N) {
        assert!(tx.send(value(n)).await.is_ok());
    }
}

async fn receive_all<T>(rx: Receiver<T>) -> Vec<T> {
    let mut got = Vec::new();
    while let Ok(value) = rx.recv().await {
        got.push(value);
    }
    got
}

pub(crate) async fn one_to_one(tasks: Tasks) {
    for capacity in [1, 3, 64] {
        let (tx, rx) = bounded(capacity);
        let sender = tasks.spawn(send_all(tx, |n| n));
        let got = tasks.spawn(receive_all(rx)).await;
        sender.await;
        assert!(got.into_iter().eq(0..times(N)), "capacity {capacity}");
    }
}

pub(crate) async fn many_to_many(tasks: Tasks) {
    for capacity in [1, 7] {
        let (tx, rx) = bounded(capacity);
        let send = |sender| tasks.spawn(send_all(tx.clone(), move |n| (sender, n)));
        let senders: Vec<_> = (0..4).map(send).collect();
        drop(tx);
        let receivers = join_all((0..4).map(|_| tasks.spawn(receive_all(rx.clone())))).await;
        join_all(senders).await;
        for sender in 0..4 {
            let by = |got: &Vec<(usize, usize)>| -> Vec<usize> {
                got.iter().filter(|(from, _)| *from == sender).map(|(_, n)| *n).collect()
            };
            let parts: Vec<_> = receivers.iter().map(by).collect();
            assert!(parts.iter().all(|part| part.is_sorted()), "out of order");
            let mut all = parts.concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..times(N)), "lost, or there twice");
        }
    }
}

pub(crate) async fn receives_given_up(tasks: Tasks) {
    for polls in 1..4 {
        let (tx, rx) = bounded(1);
        let sender = tasks.spawn(send_all(tx, |n| n));
        let receiver = tasks.spawn(async move {
            let mut got = Vec::new();
            loop {
                match give_up(rx.recv(), polls).await {
                    Some(Ok(n)) => got.push(n),
                    Some(Err(_)) => return got,
                    None => {}
                }
            }
        });
        sender.await;
        assert!(receiver.await.into_iter().eq(0..times(N)), "after {polls} polls");
    }
}

pub(crate) async fn sends_given_up(tasks: Tasks) {
    for polls in 1..4 {
        let drops = Arc::new(AtomicUsize::new(0));
        let (tx, rx) = bounded(1);
        let receiver = tasks.spawn(receive_all(rx));
        let counted = drops.clone();
        let sent = tasks.spawn(async move {
            let mut sent = Vec::new();
            for n in 0..times(N) {
                if give_up(tx.send(Counted(n, counted.clone())), polls).await.is_some() {
                    sent.push(n);
                }
            }
            sent
        });
        let (sent, got) = (sent.await, receiver.await);
        let got: Vec<_> = got.into_iter().map(|value| value.0).collect();
        assert!(got.is_sorted_by(|a, b| a < b), "out of order, or there twice");
        assert!(sent.iter().all(|n| got.binary_search(n).is_ok()), "a value that was sent is lost");
        assert_eq!(drops.load(Ordering::SeqCst), times(N));
    }
}

/// A value that counts its drop.
struct Counted(usize, Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) async fn closed_while_receivers_wait(tasks: Tasks) {
    let (tx, rx) = bounded::<()>(1);
    let waiting = [(); 3].map(|()| {
        let rx = rx.clone();
        tasks.spawn(async move { rx.recv().await })
    });
    yield_now().await;
    tx.close();
    assert_eq!(join_all(waiting).await, [Err(RecvError::Closed); 3]);
}

pub(crate) async fn closed_while_senders_wait(tasks: Tasks) {
    let (tx, rx) = bounded(1);
    tx.send(0).await.unwrap();
    let waiting = in_line(&tasks, 1..4, |n| {
        let tx = tx.clone();
        async move { tx.send(n).await }
    });
    let waiting = waiting.await;
    rx.close();
    assert_eq!(tx.send(4).await, Err(SendError(4)));
    // Those who waited before are served.
    assert_eq!((rx.recv().await, rx.recv().await), (Ok(0), Ok(1)));
    drop(rx);
    let results = join_all(waiting).await;
    assert_eq!(results, [Ok(()), Ok(()), Err(SendError(3))]);
}

pub(crate) async fn senders_are_served_in_order(tasks: Tasks) {
    let (tx, rx) = bounded(1);
    tx.send(0).await.unwrap();
    let waiting = in_line(&tasks, 1..6, |n| {
        let tx = tx.clone();
        async move { tx.send(n).await }
    });
    let waiting = waiting.await;
    for n in 0..6 {
        assert_eq!(rx.recv().await, Ok(n));
    }
    assert_eq!(join_all(waiting).await, [Ok(()); 5]);
}

/// A value for each who waits: which one, is up to who is polled first.
pub(crate) async fn receivers_all_get_one(tasks: Tasks) {
    let (tx, rx) = bounded(1);
    let waiting = in_line(&tasks, 0..5, |_| {
        let rx = rx.clone();
        async move { rx.recv().await.unwrap() }
    });
    let waiting = waiting.await;
    for n in 0..5 {
        tx.send(n).await.unwrap();
    }
    let mut got = join_all(waiting).await;
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2, 3, 4]);
}

pub(crate) async fn senders_nobody_receives_from(tasks: Tasks) {
    for closes in [false, true] {
        let (tx, rx) = bounded::<u32>(1);
        let senders = [(); 2].map(|()| {
            let tx = tx.clone();
            tasks.spawn(async move { tx.closed().await })
        });
        yield_now().await;
        if closes {
            tx.close();
        } else {
            drop(rx);
        }
        join_all(senders).await;
    }
}
