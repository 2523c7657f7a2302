//! The barrier: nobody goes on before all have arrived, each round has one leader, and whoever
//! leaves has not arrived, unless its round was full.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corymb::scope;
use corymb_sync::Barrier;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ground::{Chance, TASKS, dawdle, moved, try_some};

const ROUNDS: usize = 150;

struct Shared {
    barrier: Barrier,
    /// How many rounds each is done with: what is to be seen by all.
    done: [AtomicUsize; TASKS],
    leaders: [AtomicUsize; ROUNDS],
}

pub(crate) fn round(chance: Chance) -> BoxFuture<'static, ()> {
    async move {
        let shared = Arc::new(Shared {
            barrier: Barrier::new(TASKS),
            done: [const { AtomicUsize::new(0) }; TASKS],
            leaders: [const { AtomicUsize::new(0) }; ROUNDS],
        });
        scope(async |s| {
            for task in 0..TASKS {
                s.launch(work(shared.clone(), chance.fork(), task));
            }
        })
        .await;
        let end = shared.barrier.statistics();
        assert_eq!((end.arrived, end.rounds), (0, ROUNDS));
        assert!(shared.leaders.iter().all(|leaders| leaders.load(Ordering::Relaxed) == 1));
    }
    .boxed()
}

async fn work(shared: Arc<Shared>, chance: Chance, task: usize) {
    for round in 0..ROUNDS {
        dawdle(&chance).await;
        shared.done[task].store(round + 1, Ordering::Relaxed);
        arrive(&shared, &chance, round).await;
        moved();
        for done in &shared.done {
            let done = done.load(Ordering::Relaxed) - round;
            assert!((1..=2).contains(&done), "somebody is not in this round");
        }
    }
}

/// Arrives in `round`, however often it leaves before that.
async fn arrive(shared: &Shared, chance: &Chance, round: usize) {
    loop {
        if let Some(result) = try_some(chance, shared.barrier.wait()).await.done() {
            let leaders = usize::from(result.is_leader());
            shared.leaders[round].fetch_add(leaders, Ordering::Relaxed);
            return;
        }
        // Without this one the round cannot have ended.
        if shared.barrier.statistics().rounds > round {
            return;
        }
    }
}
