//! Several threads, as fast as they can.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::thread;

use corymb_sync::channel::bounded;
use futures::executor::block_on;
use futures::future::poll_immediate;

const EACH: usize = if cfg!(miri) { 30 } else { 3_000 };

/// Each value arrives once, those of one sender in order.
#[test]
fn two_senders_two_receivers() {
    for capacity in [1, 3, 64] {
        let (tx, rx) = bounded(capacity);
        let received = thread::scope(|s| {
            for sender in 0..2 {
                let tx = tx.clone();
                s.spawn(move || {
                    block_on(async {
                        for n in 0..EACH {
                            tx.send((sender, n)).await.unwrap();
                        }
                    });
                });
            }
            drop(tx);
            let receivers: Vec<_> = (0..2)
                .map(|_| {
                    let rx = rx.clone();
                    s.spawn(move || {
                        block_on(async {
                            let mut got = [Vec::new(), Vec::new()];
                            while let Ok((sender, n)) = rx.recv().await {
                                got[sender].push(n);
                            }
                            got
                        })
                    })
                })
                .collect();
            receivers.into_iter().map(|r| r.join().unwrap()).collect::<Vec<_>>()
        });
        for sender in 0..2 {
            let mut all: Vec<usize> = Vec::new();
            for got in &received {
                assert!(got[sender].is_sorted(), "a receiver saw a sender's values out of order");
                all.extend(&got[sender]);
            }
            all.sort_unstable();
            assert_eq!(all, (0..EACH).collect::<Vec<_>>());
        }
    }
}

/// As above, while other waits on both sides are given up all the time: each value is received or
/// dropped by its sender, once, and those of the sender that never gives up all arrive.
#[test]
fn waits_given_up_lose_nothing() {
    let dropped = AtomicUsize::new(0);
    let (tx, rx) = bounded(1);
    let (reliable, flighty) = thread::scope(|s| {
        let reliable = tx.clone();
        let dropped = &dropped;
        s.spawn(move || {
            block_on(async {
                for n in 0..EACH {
                    reliable.send((Some(n), OnDrop(dropped))).await.unwrap();
                }
            });
        });
        s.spawn(move || {
            for _ in 0..EACH {
                let mut send = pin!(tx.send((None, OnDrop(dropped))));
                if send.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                    thread::yield_now();
                }
            }
        });
        let receivers = [false, true].map(|gives_up| {
            let rx = rx.clone();
            s.spawn(move || {
                let (mut reliable, mut flighty) = (Vec::new(), 0);
                let mut got = |n: Option<usize>| match n {
                    Some(n) => reliable.push(n),
                    None => flighty += 1,
                };
                block_on(async {
                    loop {
                        if gives_up && let Some(Ok((n, _))) = poll_immediate(rx.recv()).await {
                            got(n);
                        }
                        let Ok((n, _)) = rx.recv().await else { break };
                        got(n);
                    }
                });
                (reliable, flighty)
            })
        });
        let [a, b] = receivers.map(|receiver| receiver.join().unwrap());
        ([a.0, b.0], a.1 + b.1)
    });
    for received in &reliable {
        assert!(received.is_sorted());
    }
    let mut all = reliable.concat();
    all.sort_unstable();
    assert_eq!(all, (0..EACH).collect::<Vec<_>>());
    assert!(flighty <= EACH);
    assert_eq!(dropped.load(Ordering::Relaxed), 2 * EACH);
}

/// Counts its drop.
struct OnDrop<'a>(&'a AtomicUsize);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
