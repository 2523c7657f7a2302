//! Latches: nobody goes on before all that held one are done, and then all do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corymb::scope;
use corymb_sync::Latch;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ground::{Asker, Chance, TASKS, dawdle, moved};

const LATCHES: usize = 100;
const WORKERS: usize = TASKS / 2;

/// A latch, and how much was done before it opened.
type Stage = (Arc<Latch>, AtomicUsize);

pub(crate) fn round(chance: Chance) -> BoxFuture<'static, ()> {
    async move {
        let stage = |_| (Arc::new(Latch::new(WORKERS)), AtomicUsize::new(0));
        let stages: Arc<[Stage]> = (0..LATCHES).map(stage).collect();
        scope(async |s| {
            for task in 0..TASKS {
                s.launch(play(stages.clone(), chance.fork(), task));
            }
        })
        .await;
        for (latch, _) in &*stages {
            let end = latch.statistics();
            assert_eq!((end.left, end.waiting), (0, 0));
        }
    }
    .boxed()
}

/// Works for one latch, and waits for the next.
async fn play(stages: Arc<[Stage]>, chance: Chance, task: usize) {
    for (n, (latch, done)) in stages.iter().enumerate() {
        if (n + task).is_multiple_of(TASKS / WORKERS) {
            work(latch, done, &chance).await;
        } else {
            wait(latch, &chance).await;
            assert!(latch.is_open());
            assert_eq!(done.load(Ordering::Relaxed), WORKERS);
        }
        moved();
    }
}

/// Holds the latch a few times more, and counts itself down before or after.
async fn work(latch: &Arc<Latch>, done: &AtomicUsize, chance: &Chance) {
    let holds: Vec<_> = (0..1 + chance.below(3)).map(|_| latch.hold()).collect();
    let first = chance.one_in(2);
    if first {
        latch.count_down();
    }
    dawdle(chance).await;
    done.fetch_add(1, Ordering::Relaxed);
    drop(holds);
    if !first {
        latch.count_down();
    }
}

async fn wait(latch: &Latch, chance: &Chance) {
    let mut asker = Asker::new(chance);
    while asker.look().await.is_none() && asker.ask(latch.wait()).await.is_none() {
        dawdle(chance).await;
    }
}
