//! The channel: each value is received, given back or dropped, once; what was sent is received as
//! long as there is a receiver; the values of one sender come in their order.

use std::sync::Arc;

use corymb::scope;
use corymb_sync::channel::{Receiver, Sender, bounded};
use corymb_sync::{RecvError, SendError, TryRecvError, TrySendError};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ground::{Asker, Chance, Ledger, TASKS, Token};

/// Values of one sender.
const EACH: usize = 200;
const SENDERS: usize = TASKS / 2;
const RECEIVERS: usize = TASKS / 2;

/// A round, in which all receivers may go, or somebody may close the channel.
pub(crate) fn round(chance: Chance) -> BoxFuture<'static, ()> {
    async move {
        let ledger = Ledger::new(SENDERS * EACH);
        let (tx, rx) = bounded(1 + chance.below(3));
        let stays = chance.one_in(2);
        let (sent, received) = scope(async |s| {
            let senders = [(); SENDERS].map(|()| (tx.clone(), chance.fork(), ledger.clone()));
            let receivers = [(); RECEIVERS].map(|()| (rx.clone(), chance.fork()));
            drop((tx, rx));
            let mut first = 0;
            let senders = senders.map(|(tx, chance, ledger)| {
                first += EACH;
                s.spawn(send(tx, chance, ledger, first - EACH))
            });
            let receivers = receivers.map(|(rx, chance)| s.spawn(receive(rx, chance, stays)));
            let (mut sent, mut received) = (Vec::new(), Vec::new());
            for sender in senders {
                sent.extend(sender.await);
            }
            for receiver in receivers {
                received.push(receiver.await);
            }
            (sent, received)
        })
        .await;
        ledger.check(SENDERS * EACH);
        for got in &received {
            for sender in 0..SENDERS {
                let of = |n: &&usize| **n / EACH == sender;
                assert!(got.iter().filter(of).is_sorted(), "out of order");
            }
        }
        if stays {
            assert!(sent.into_iter().all(|n| ledger.has(n) == 1), "a value that was sent is lost");
        }
    }
    .boxed()
}

/// Sends what it has; answers what was sent.
async fn send(tx: Sender<Token>, chance: Chance, ledger: Arc<Ledger>, first: usize) -> Vec<usize> {
    let mut sent = Vec::new();
    let mut asker = Asker::new(&chance);
    let mut done = |(n, result): (usize, Result<(), SendError<Token>>)| match result {
        Ok(()) => sent.push(n),
        Err(SendError(token)) => assert_eq!(token.had(), n),
    };
    let shared = tx.clone();
    for n in first..first + EACH {
        let token = ledger.make(n);
        if chance.one_in(500) {
            tx.close();
        }
        if chance.one_in(4) {
            match shared.clone().try_send(token) {
                Ok(()) => done((n, Ok(()))),
                Err(TrySendError::Full(token) | TrySendError::Closed(token)) => {
                    assert_eq!(token.had(), n);
                }
                Err(_) => unreachable!("there is no other"),
            }
            continue;
        }
        if let Some(result) = asker.look().await {
            done(result);
        }
        if let Some(result) = asker.ask(tx.send(token).map(move |result| (n, result))).await {
            done(result);
        }
    }
    sent
}

/// Receives until the channel is closed; answers what it got. One that does not stay may go before.
async fn receive(rx: Receiver<Token>, chance: Chance, stays: bool) -> Vec<usize> {
    let mut got = Vec::new();
    let mut asker: Asker<'_, Result<Token, RecvError>> = Asker::new(&chance);
    loop {
        if !stays && chance.one_in(300) {
            return got;
        }
        if chance.one_in(500) {
            rx.close();
        }
        if chance.one_in(4) {
            match rx.clone().try_recv() {
                Ok(token) => got.push(token.had()),
                Err(TryRecvError::Closed) => return got,
                Err(_) => {}
            }
        }
        if let Some(Ok(token)) = asker.look().await {
            got.push(token.had());
        }
        match asker.ask(rx.recv()).await {
            Some(Ok(token)) => got.push(token.had()),
            Some(Err(_)) => return got,
            None => {}
        }
    }
}
