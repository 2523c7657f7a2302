//! `select!` over channels: what a branch loses, stays.

use corymb::select;
use corymb_sync::channel::bounded;
use futures::future::join_all;

use crate::executors::{Tasks, yield_now};
use crate::times;

const N: usize = 200;

/// Several that each receive from both: every value arrives once.
pub(crate) async fn two_channels(tasks: Tasks) {
    let channels = [bounded(1), bounded(1)];
    let receivers: Vec<_> = (0..3)
        .map(|_| {
            let [a, b] = channels.each_ref().map(|(_, rx)| rx.clone());
            tasks.spawn(async move {
                let mut got = [const { Vec::new() }; 2];
                loop {
                    select! {
                        Ok(n) = a.recv() => got[0].push(n),
                        Ok(n) = b.recv() => got[1].push(n),
                        else => return got,
                    }
                }
            })
        })
        .collect();
    let senders = channels.map(|(tx, _)| {
        tasks.spawn(async move {
            for n in 0..times(N) {
                tx.send(n).await.unwrap();
            }
        })
    });
    join_all(senders).await;
    let got = join_all(receivers).await;
    for from in 0..2 {
        let mut all: Vec<usize> = Vec::new();
        for got in &got {
            assert!(got[from].is_sorted(), "out of order");
            all.extend(&got[from]);
        }
        all.sort_unstable();
        assert!(all.into_iter().eq(0..times(N)), "lost, or there twice");
    }
}

/// A value goes to one of two channels, or to none if that takes too long.
pub(crate) async fn sends_that_lose(tasks: Tasks) {
    let (a, from_a) = bounded(1);
    let (b, from_b) = bounded(1);
    let receivers = [from_a, from_b].map(|rx| {
        tasks.spawn(async move {
            let mut got = Vec::new();
            while let Ok(n) = rx.recv().await {
                got.push(n);
                yield_now().await;
            }
            got
        })
    });
    let sent = tasks.spawn(async move {
        let mut sent = Vec::new();
        for n in (0..times(N)).step_by(2) {
            select! {
                Ok(()) = a.send(n) => sent.push(n),
                Ok(()) = b.send(n + 1) => sent.push(n + 1),
                () = yield_now() => {}
            }
        }
        sent
    });
    let sent = sent.await;
    let got = join_all(receivers).await;
    assert!(got.iter().all(|got| got.is_sorted_by(|a, b| a < b)), "out of order, or there twice");
    assert!(sent.iter().all(|n| got[n % 2].contains(n)), "a value that was sent is lost");
}
