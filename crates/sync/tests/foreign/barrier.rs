//! All arrive, then all go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corymb_sync::Barrier;
use futures::future::join_all;

use crate::executors::{Tasks, yield_now};
use crate::times;
use crate::waits::give_up;

const PARTIES: usize = 3;
const ROUNDS: usize = 60;

/// Some leave their round, and come back; each round has a leader.
pub(crate) async fn rounds(tasks: Tasks) {
    let shared = Arc::new((Barrier::new(PARTIES), AtomicUsize::new(0)));
    let work = |polls: usize| {
        let shared = shared.clone();
        tasks.spawn(async move {
            let (barrier, arrived) = &*shared;
            let mut leads = 0;
            for round in 0..times(ROUNDS) {
                arrived.fetch_add(1, Ordering::SeqCst);
                // Without this one the round cannot end.
                while barrier.statistics().rounds == round {
                    let result = match polls {
                        0 => Some(barrier.wait().await),
                        _ => give_up(barrier.wait(), polls).await,
                    };
                    leads += usize::from(result.is_some_and(|result| result.is_leader()));
                    yield_now().await;
                }
                assert!(arrived.load(Ordering::SeqCst) >= PARTIES * (round + 1));
            }
            leads
        })
    };
    let leads = join_all((0..PARTIES).map(work)).await;
    assert_eq!(leads.iter().sum::<usize>(), times(ROUNDS));
    assert_eq!(shared.0.statistics().arrived, 0);
}
