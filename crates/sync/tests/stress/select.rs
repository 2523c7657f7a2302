//! `select!` over several channels: nothing is lost where a branch loses, on either side.

use std::pin::pin;
use std::sync::Arc;

use corymb::{scope, select, yield_now};
use corymb_sync::channel::{Receiver, Sender, bounded};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ground::{Chance, Ledger, TASKS, Token, moved};

/// Values of one sender.
const EACH: usize = 200;
const SENDERS: usize = TASKS / 2;
const RECEIVERS: usize = TASKS - SENDERS;

pub(crate) fn round(chance: Chance) -> BoxFuture<'static, ()> {
    async move {
        let ledger = Ledger::new(SENDERS * EACH);
        let (a, b) = (bounded(1 + chance.below(2)), bounded(1));
        let sent = scope(async |s| {
            let senders = [(); SENDERS].map(|()| (a.0.clone(), b.0.clone(), chance.fork()));
            let receivers = [(); RECEIVERS].map(|()| (a.1.clone(), b.1.clone(), chance.fork()));
            drop((a, b));
            let mut first = 0;
            let senders = senders.map(|(a, b, chance)| {
                first += EACH;
                s.spawn(send([a, b], chance, ledger.clone(), first - EACH))
            });
            for (a, b, chance) in receivers {
                s.launch(receive(a, b, chance));
            }
            let mut sent = Vec::new();
            for sender in senders {
                sent.extend(sender.await);
            }
            sent
        })
        .await;
        ledger.check(SENDERS * EACH);
        assert!(sent.into_iter().all(|n| ledger.has(n) == 1), "a value that was sent is lost");
    }
    .boxed()
}

/// Sends two values at a time, to whichever channel comes first; answers what was sent.
async fn send(
    [a, b]: [Sender<Token>; 2],
    chance: Chance,
    ledger: Arc<Ledger>,
    first: usize,
) -> Vec<usize> {
    let mut sent = Vec::new();
    for n in (first..first + EACH).step_by(2) {
        moved();
        let patience = chance.below(4);
        select! {
            Ok(()) = a.send(ledger.make(n)) => sent.push(n),
            Ok(()) = b.send(ledger.make(n + 1)) => sent.push(n + 1),
            () = yields(patience), if chance.one_in(2) => {}
        }
    }
    sent
}

async fn yields(n: usize) {
    for _ in 0..n {
        yield_now().await;
    }
}

/// Receives from both until both are closed.
async fn receive(a: Receiver<Token>, b: Receiver<Token>, chance: Chance) {
    let mut got = [const { Vec::new() }; 2];
    let mut is_over = false;
    while !is_over {
        // From one turn to the next it keeps its place.
        let mut kept = pin!(a.recv());
        while !is_over && !chance.one_in(3) {
            moved();
            let patience = chance.below(4);
            select! {
                Ok(token) = &mut kept => {
                    got[0].push(token.had());
                    break;
                }
                Ok(token) = b.recv() => got[1].push(token.had()),
                () = yields(patience), if chance.one_in(2) => {}
                else => is_over = true,
            }
        }
    }
    for got in got {
        for sender in 0..SENDERS {
            let of = |n: &&usize| **n / EACH == sender;
            assert!(got.iter().filter(of).is_sorted(), "out of order");
        }
    }
}
