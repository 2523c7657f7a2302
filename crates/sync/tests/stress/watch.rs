//! Watch channels: no change is lost, each receiver sees values that only grow, and sees the last.

use corymb::scope;
use corymb_sync::watch::{self, Receiver, Sender};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ground::{Chance, TASKS, dawdle, moved, try_some};

const EACH: usize = 200;
const SENDERS: usize = TASKS / 2;
const RECEIVERS: usize = TASKS - SENDERS;

pub(crate) fn round(chance: Chance) -> BoxFuture<'static, ()> {
    async move {
        let (tx, rx) = watch::channel(0);
        let may_close = chance.one_in(4);
        let sent = scope(async |s| {
            let senders = [(); SENDERS].map(|()| (tx.clone(), chance.fork()));
            let receivers = [(); RECEIVERS].map(|()| (rx.clone(), chance.fork()));
            drop(tx);
            let senders = senders.map(|(tx, chance)| s.spawn(send(tx, chance, may_close)));
            let receivers = receivers.map(|(rx, chance)| s.spawn(receive(rx, chance)));
            let mut sent = 0;
            for sender in senders {
                sent += sender.await;
            }
            for receiver in receivers {
                assert_eq!(receiver.await, sent, "the last value was not seen");
            }
            sent
        })
        .await;
        assert_eq!(*rx.borrow(), sent, "a change is lost");
        assert!(may_close || sent == SENDERS * EACH);
    }
    .boxed()
}

/// Adds one again and again; answers how often it did.
async fn send(tx: Sender<usize>, chance: Chance, may_close: bool) -> usize {
    for sent in 0..EACH {
        if may_close && chance.one_in(EACH) {
            tx.close();
        }
        if tx.send_modify(|n| *n += 1).is_err() {
            return sent;
        }
        moved();
        dawdle(&chance).await;
    }
    EACH
}

/// Watches until the channel is closed; answers what it saw last.
async fn receive(mut rx: Receiver<usize>, chance: Chance) -> usize {
    let mut last = 0;
    loop {
        let result = if chance.one_in(2) {
            try_some(&chance, rx.changed()).await.done()
        } else {
            let above = last + chance.below(20);
            let waited = try_some(&chance, rx.wait_for(|&n| n > above)).await.done();
            waited.map(|result| result.map(|value| assert!(*value > above)))
        };
        match result {
            Some(Ok(())) => {
                let value = *rx.borrow_and_update();
                assert!(value > last, "{value} after {last}");
                last = value;
            }
            Some(Err(_)) => return *rx.borrow(),
            None => {}
        }
        if chance.one_in(50) {
            // To the clone the present value counts as seen.
            rx = rx.clone();
            last = *rx.borrow_and_update();
        }
    }
}
