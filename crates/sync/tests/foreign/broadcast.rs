//! Every receiver gets all values in their order, or is told how many it has lost.

use corymb_sync::broadcast::{self, Lagged, Receiver, RecvError};
use futures::future::join_all;

use crate::executors::{Tasks, yield_now};
use crate::times;
use crate::waits::give_up;

const N: usize = 200;

/// Receives, giving up after so many polls if that is not 0; answers how many it got, and has lost.
async fn receive_all(mut rx: Receiver<usize>, polls: usize) -> (usize, usize) {
    let (mut got, mut lost) = (0, 0);
    loop {
        let received = match polls {
            0 => Some(rx.recv().await),
            _ => give_up(rx.recv(), polls).await,
        };
        match received {
            None => {}
            Some(Ok(n)) => {
                assert_eq!(n, got + lost);
                got += 1;
            }
            Some(Err(RecvError::Lagged(Lagged(n)))) => lost += usize::try_from(n).unwrap(),
            Some(Err(_)) => return (got, lost),
        }
    }
}

async fn send_to_three(tasks: Tasks, capacity: usize) -> Vec<(usize, usize)> {
    let (tx, rx) = broadcast::channel(capacity);
    let receivers: Vec<_> = (0..3).map(|n| tasks.spawn(receive_all(rx.clone(), n))).collect();
    drop(rx);
    for n in 0..times(N) {
        assert_eq!(tx.send(n), Ok(3));
        if n % 3 == 0 {
            yield_now().await;
        }
    }
    drop(tx);
    join_all(receivers).await
}

pub(crate) async fn all_get_all(tasks: Tasks) {
    assert_eq!(send_to_three(tasks, times(N)).await, [(times(N), 0); 3]);
}

pub(crate) async fn what_is_lost_is_counted(tasks: Tasks) {
    for (got, lost) in send_to_three(tasks, 2).await {
        assert_eq!(got + lost, times(N));
    }
}

pub(crate) async fn senders_nobody_hears(tasks: Tasks) {
    for closes in [false, true] {
        let (tx, rx) = broadcast::channel::<u32>(1);
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
