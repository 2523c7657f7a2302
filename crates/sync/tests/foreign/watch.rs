//! Values that only grow, and the last is seen.

use corymb_sync::RecvError;
use corymb_sync::watch::{self, Receiver};
use futures::future::join_all;

use crate::executors::{Tasks, yield_now};
use crate::times;
use crate::waits::give_up;

const N: usize = 200;
const SENDERS: usize = 2;

/// Waits for changes, giving up after so many polls if that is not 0; answers the last value.
async fn last_of(mut rx: Receiver<usize>, polls: usize) -> usize {
    let mut last = 0;
    loop {
        let changed = match polls {
            0 => Some(rx.changed().await),
            _ => give_up(rx.changed(), polls).await,
        };
        match changed {
            None => {}
            Some(Ok(())) => {
                let value = *rx.borrow_and_update();
                assert!(value > last, "{value} after {last}");
                last = value;
            }
            Some(Err(error)) => {
                assert_eq!(error, RecvError::Closed);
                return last;
            }
        }
    }
}

pub(crate) async fn each_sees_the_last(tasks: Tasks) {
    let (tx, rx) = watch::channel(0);
    let receivers: Vec<_> = (0..3).map(|n| tasks.spawn(last_of(rx.clone(), n))).collect();
    let senders = (0..SENDERS).map(|_| {
        let tx = tx.clone();
        tasks.spawn(async move {
            for n in 0..times(N) {
                tx.send_modify(|value| *value += 1).unwrap();
                if n % 3 == 0 {
                    yield_now().await;
                }
            }
        })
    });
    join_all(senders).await;
    drop(tx);
    assert_eq!(join_all(receivers).await, [SENDERS * times(N); 3]);
}

pub(crate) async fn a_value_that_is_waited_for(tasks: Tasks) {
    let (tx, rx) = watch::channel(0);
    let wait = |from: usize| {
        let mut rx = rx.clone();
        tasks.spawn(async move { *rx.wait_for(|&n| n >= from).await.unwrap() >= from })
    };
    let waiting: Vec<_> = (1..5).map(wait).collect();
    for n in 1..5 {
        tx.send(n).unwrap();
        yield_now().await;
    }
    assert_eq!(join_all(waiting).await, [true; 4]);
}

pub(crate) async fn senders_nobody_watches(tasks: Tasks) {
    for closes in [false, true] {
        let (tx, rx) = watch::channel(1);
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
