//! A writer is alone, and an upgrade lets no other writer in between.

use std::sync::Arc;

use corymb_sync::{RwLock, RwLockWriteGuard};
use futures::future::join_all;

use crate::executors::{Tasks, yield_now};
use crate::times;
use crate::waits::{give_up, in_line};

const PASSES: usize = 100;

/// The two are equal, but while somebody writes.
type Twice = (usize, usize);

async fn write(mut value: RwLockWriteGuard<'_, Twice>) {
    value.0 += 1;
    yield_now().await;
    value.1 += 1;
    let value = value.downgrade();
    assert_eq!(value.0, value.1);
}

async fn read(value: &Twice) -> usize {
    assert_eq!(value.0, value.1, "somebody writes");
    let before = value.0;
    yield_now().await;
    assert_eq!(*value, (before, before));
    before
}

pub(crate) async fn readers_and_writers(tasks: Tasks) {
    let lock = Arc::new(RwLock::new((0, 0)));
    let work = |n: usize| {
        let lock = lock.clone();
        tasks.spawn(async move {
            for pass in 0..times(PASSES) {
                match (n + pass) % 3 {
                    0 => write(lock.write().await).await,
                    1 => _ = read(&*lock.read().await).await,
                    _ => {
                        let value = lock.upgradable_read().await;
                        let seen = read(&value).await;
                        let value = value.upgrade().await;
                        assert_eq!(value.0, seen, "somebody wrote in between");
                        write(value).await;
                    }
                }
            }
        })
    };
    join_all((0..4).map(work)).await;
    let writes =
        (0..4 * times(PASSES)).filter(|n| (n / times(PASSES) + n % times(PASSES)) % 3 != 1);
    let writes = writes.count();
    assert_eq!(*lock.read().await, (writes, writes));
}

/// Locks and upgrades that are given up, before they are offered or after, hold up nobody.
pub(crate) async fn writers_given_up(tasks: Tasks) {
    let lock = Arc::new(RwLock::new((0, 0)));
    let work = |polls: usize| {
        let lock = lock.clone();
        tasks.spawn(async move {
            let mut written = 0;
            for pass in 0..times(PASSES) {
                let value = if pass % 2 == 0 {
                    give_up(lock.write(), polls).await
                } else if let Some(seen) = give_up(lock.upgradable_read(), polls).await {
                    give_up(seen.upgrade(), polls).await
                } else {
                    read(&*lock.read().await).await;
                    None
                };
                if let Some(value) = value {
                    write(value).await;
                    written += 1;
                }
            }
            written
        })
    };
    let written: usize = join_all((1..=4).map(work)).await.iter().sum();
    assert_eq!(*lock.read().await, (written, written));
}

pub(crate) async fn readers_behind_a_writer(tasks: Tasks) {
    let lock = Arc::new(RwLock::new(Vec::new()));
    let mut first = lock.write().await;
    let line = in_line(&tasks, 1..6, |n| {
        let lock = lock.clone();
        async move {
            match n % 2 {
                0 => assert_eq!(lock.read().await.len(), n + 1),
                _ => lock.write().await.extend([n, n + 1]),
            }
        }
    });
    let line = line.await;
    first.push(0);
    drop(first);
    join_all(line).await;
    assert!(lock.read().await.iter().copied().eq(0..7));
}
