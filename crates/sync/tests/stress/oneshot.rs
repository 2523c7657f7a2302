//! Oneshot channels: the value is received, given back or dropped, once.

use std::pin::pin;

use corymb::{scope, yield_now};
use corymb_sync::oneshot;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ground::{Chance, Ledger, TASKS, Token, poll_once, try_some};

const EACH: usize = 100;

pub(crate) fn round(chance: Chance) -> BoxFuture<'static, ()> {
    async move {
        let ledger = Ledger::new(TASKS / 2 * EACH);
        scope(async |s| {
            for pair in 0..TASKS / 2 {
                let values = pair * EACH..(pair + 1) * EACH;
                let (tx, rx) = values.map(|n| (ledger.make(n), oneshot::channel())).fold(
                    (Vec::new(), Vec::new()),
                    |mut all, (token, (tx, rx))| {
                        all.0.push((token, tx));
                        all.1.push(rx);
                        all
                    },
                );
                s.launch(send(tx, chance.fork()));
                s.launch(receive(rx, chance.fork()));
            }
        })
        .await;
        ledger.check(TASKS / 2 * EACH);
    }
    .boxed()
}

async fn send(senders: Vec<(Token, oneshot::Sender<Token>)>, chance: Chance) {
    for (token, mut tx) in senders {
        let n = token.n;
        if chance.one_in(8) {
            continue;
        }
        if chance.one_in(4) {
            let _ready = poll_once(pin!(tx.closed())).await;
            yield_now().await;
        }
        if let Err(token) = tx.send(token) {
            assert_eq!(token.had(), n);
        }
    }
}

async fn receive(receivers: Vec<oneshot::Receiver<Token>>, chance: Chance) {
    for mut rx in receivers {
        if chance.one_in(8) {
            rx.close();
        }
        if let Some(Ok(token)) = try_some(&chance, rx).await.done() {
            token.had();
        }
    }
}
