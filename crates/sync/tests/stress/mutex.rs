//! The mutex: one at a time, each that asks and stays gets it, and nobody gets ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use corymb::scope;
use corymb_sync::{Mutex, MutexGuard};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ground::{Asker, Chance, TASKS, dawdle, in_line, moved};

const EACH: usize = 300;

pub(crate) fn round(chance: Chance) -> BoxFuture<'static, ()> {
    async move {
        let mutex = Arc::new(Mutex::new(0));
        let is_held = Arc::new(AtomicBool::new(false));
        let passed = scope(async |s| {
            let tasks =
                [(); TASKS].map(|()| s.spawn(pass(mutex.clone(), is_held.clone(), chance.fork())));
            let mut passed = 0;
            for task in tasks {
                passed += task.await;
            }
            passed
        })
        .await;
        let mutex = Arc::into_inner(mutex).expect("all are gone");
        assert!(!mutex.is_locked(), "the permit is lost");
        assert_eq!(mutex.into_inner(), passed);
    }
    .boxed()
}

/// Locks again and again; answers how often it did.
async fn pass(mutex: Arc<Mutex<usize>>, is_held: Arc<AtomicBool>, chance: Chance) -> usize {
    let mut asker = Asker::new(&chance);
    let mut passed = 0;
    for _ in 0..EACH {
        if chance.one_in(4)
            && let Some(guard) = mutex.try_lock()
        {
            passed += hold(guard, &is_held, &chance).await;
        }
        if let Some(guard) = asker.look().await {
            passed += hold(guard, &is_held, &chance).await;
        }
        if let Some(guard) = asker.ask(mutex.lock()).await {
            passed += hold(guard, &is_held, &chance).await;
        }
        if chance.one_in(16) {
            in_line(|| mutex.lock_owned()).await;
        }
    }
    passed
}

async fn hold(mut guard: MutexGuard<'_, usize>, is_held: &AtomicBool, chance: &Chance) -> usize {
    moved();
    assert!(!is_held.swap(true, Ordering::Relaxed), "two have it");
    dawdle(chance).await;
    is_held.store(false, Ordering::Relaxed);
    *guard += 1;
    1
}
