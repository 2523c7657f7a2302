//! Broadcast channels: each receiver gets all values, in one order for all, or is told exactly how
//! many it has lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corymb::scope;
use corymb_sync::broadcast::{self, Lagged, Receiver, Sender, TryRecvError};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ground::{Chance, TASKS, dawdle, moved, try_some};

const EACH: usize = 200;
const SENDERS: usize = TASKS / 2;
const RECEIVERS: usize = TASKS - SENDERS;

/// A number, and what counts the values that are alive.
type Value = (usize, Arc<()>);

/// The values in the order in which they were sent, as far as somebody has got them.
struct Order(Vec<AtomicUsize>);

impl Order {
    const UNKNOWN: usize = usize::MAX;

    fn new() -> Arc<Self> {
        Arc::new(Self((0..SENDERS * EACH).map(|_| AtomicUsize::new(Self::UNKNOWN)).collect()))
    }

    /// Somebody got `value` at `place`.
    fn got(&self, place: usize, value: usize) {
        moved();
        let before = self.0[place].swap(value, Ordering::SeqCst);
        assert!(before == Self::UNKNOWN || before == value, "{before} and {value} at {place}");
    }

    /// Whether those of each sender come in their order.
    fn check(&self) {
        let values: Vec<_> = self.0.iter().map(|value| value.load(Ordering::SeqCst)).collect();
        for sender in 0..SENDERS {
            let of = |n: &&usize| **n / EACH == sender;
            assert!(values.iter().filter(of).is_sorted_by(|a, b| a < b), "out of order");
        }
    }
}

pub(crate) fn round(chance: Chance) -> BoxFuture<'static, ()> {
    async move {
        let alive = Arc::new(());
        let order = Order::new();
        let capacity = 1 + chance.below(16);
        let (tx, rx) = broadcast::with_replay(capacity, chance.below(capacity + 1));
        let may_close = chance.one_in(4);
        scope(async |s| {
            let senders = [(); SENDERS].map(|()| (tx.clone(), chance.fork(), alive.clone()));
            let receivers = [(); RECEIVERS].map(|()| (rx.clone(), chance.fork(), order.clone()));
            drop((tx, rx));
            let mut first = 0;
            let senders = senders.map(|(tx, chance, alive)| {
                first += EACH;
                s.spawn(send(tx, chance, alive, first - EACH, may_close))
            });
            let receivers =
                receivers.map(|(rx, chance, order)| s.spawn(receive(rx, chance, order)));
            let mut sent = 0;
            for sender in senders {
                sent += sender.await;
            }
            for receiver in receivers {
                assert_eq!(receiver.await, sent, "what was received and what was lost");
            }
        })
        .await;
        order.check();
        assert_eq!(Arc::strong_count(&alive), 1, "a value is left over");
    }
    .boxed()
}

/// Sends until it has sent all or the channel is closed; answers how many.
async fn send(
    tx: Sender<Value>,
    chance: Chance,
    alive: Arc<()>,
    first: usize,
    may_close: bool,
) -> usize {
    for sent in 0..EACH {
        if may_close && chance.one_in(EACH) {
            tx.close();
        }
        if tx.send((first + sent, alive.clone())).is_err() {
            return sent;
        }
        dawdle(&chance).await;
    }
    EACH
}

/// Receives until the channel is closed; answers how many it got or has lost.
async fn receive(mut rx: Receiver<Value>, chance: Chance, order: Arc<Order>) -> usize {
    let mut place = 0;
    loop {
        let received = if chance.one_in(4) {
            Some(rx.try_recv())
        } else {
            try_some(&chance, rx.recv()).await.done().map(|got| got.map_err(TryRecvError::from))
        };
        match received {
            Some(Ok((value, _))) => {
                order.got(place, value);
                place += 1;
            }
            Some(Err(TryRecvError::Lagged(Lagged(lost)))) => place += lost as usize,
            Some(Err(TryRecvError::Closed)) => return place,
            _ => dawdle(&chance).await,
        }
        if chance.one_in(50) {
            // The clone goes on from there.
            rx = rx.clone();
        }
    }
}
