//! The mutex: one at a time, and each that asks and stays gets it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use corymb::{scope, yield_now};
use corymb_sync::{Mutex, MutexGuard};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ground::{Chance, TASKS, Tried, moved, poll_once, try_some};

const EACH: usize = 300;

pub(crate) fn round(chance: Chance) -> BoxFuture<'static, ()> {
    async move {
        let mutex = Arc::new((Mutex::new(0), AtomicBool::new(false)));
        let passed = scope(async |s| {
            let tasks = [(); TASKS].map(|()| s.spawn(pass(mutex.clone(), chance.fork())));
            let mut passed = 0;
            for task in tasks {
                passed += task.await;
            }
            passed
        })
        .await;
        let (mutex, _) = Arc::into_inner(mutex).expect("all are gone");
        assert!(!mutex.is_locked(), "the permit is lost");
        assert_eq!(mutex.into_inner(), passed);
    }
    .boxed()
}

/// Locks again and again; answers how often it did.
async fn pass(mutex: Arc<(Mutex<usize>, AtomicBool)>, chance: Chance) -> usize {
    let (mutex, is_held) = &*mutex;
    let mut kept: Option<Pin<Box<dyn Future<Output = MutexGuard<'_, usize>> + Send>>> = None;
    let mut passed = 0;
    for _ in 0..EACH {
        if chance.one_in(4)
            && let Some(guard) = mutex.try_lock()
        {
            passed += hold(guard, is_held, &chance).await;
        }
        if chance.one_in(4)
            && let Some(mut before) = kept.take()
            && let Poll::Ready(guard) = poll_once(before.as_mut()).await
        {
            passed += hold(guard, is_held, &chance).await;
        }
        match try_some(&chance, mutex.lock()).await {
            Tried::Done(guard) => passed += hold(guard, is_held, &chance).await,
            Tried::GivenUp => {}
            Tried::Kept(future) => kept = Some(future),
        }
    }
    passed
}

async fn hold(mut guard: MutexGuard<'_, usize>, is_held: &AtomicBool, chance: &Chance) -> usize {
    moved();
    assert!(!is_held.swap(true, Ordering::Relaxed), "two have it");
    for _ in 0..chance.below(3) {
        yield_now().await;
    }
    is_held.store(false, Ordering::Relaxed);
    *guard += 1;
    1
}
