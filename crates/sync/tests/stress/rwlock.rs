//! The reader-writer lock: a writer is alone, an upgrade lets no other writer in between, and nobody
//! gets ahead.

use std::sync::Arc;

use corymb::scope;
use corymb_sync::{RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ground::{Asker, Chance, TASKS, dawdle, in_line, moved, try_some};

const EACH: usize = 200;

/// The two are equal, but while somebody writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Twice(usize, usize);

enum Guard<'a> {
    Read(RwLockReadGuard<'a, Twice>),
    Seen(RwLockUpgradableReadGuard<'a, Twice>),
    Write(RwLockWriteGuard<'a, Twice>),
}

pub(crate) fn round(chance: Chance) -> BoxFuture<'static, ()> {
    async move {
        let lock = Arc::new(RwLock::new(Twice::default()));
        let writes = scope(async |s| {
            let tasks = [(); TASKS].map(|()| s.spawn(work(lock.clone(), chance.fork())));
            let mut writes = 0;
            for task in tasks {
                writes += task.await;
            }
            writes
        })
        .await;
        let end = lock.statistics();
        assert_eq!((end.readers, end.has_writer, end.waiting), (0, false, 0));
        let lock = Arc::into_inner(lock).expect("all are gone");
        assert_eq!(lock.into_inner(), Twice(writes, writes));
    }
    .boxed()
}

/// Locks again and again; answers how often it wrote.
async fn work(lock: Arc<RwLock<Twice>>, chance: Chance) -> usize {
    let mut asker = Asker::new(&chance);
    let mut writes = 0;
    for _ in 0..EACH {
        if chance.one_in(4)
            && let Some(guard) = try_lock(&lock, &chance)
        {
            writes += hold(guard, &chance).await;
        }
        if let Some(guard) = asker.look().await {
            writes += hold(guard, &chance).await;
        }
        if let Some(guard) = asker.ask(acquire(&lock, &chance)).await {
            writes += hold(guard, &chance).await;
        }
        if chance.one_in(16) {
            in_line(|| lock.write_owned()).await;
        }
    }
    writes
}

fn try_lock<'a>(lock: &'a RwLock<Twice>, chance: &Chance) -> Option<Guard<'a>> {
    match chance.below(3) {
        0 => lock.try_read().map(Guard::Read),
        1 => lock.try_upgradable_read().map(Guard::Seen),
        _ => lock.try_write().map(Guard::Write),
    }
}

fn acquire<'a>(lock: &'a RwLock<Twice>, chance: &Chance) -> BoxFuture<'a, Guard<'a>> {
    match chance.below(4) {
        0..2 => lock.read().map(Guard::Read).boxed(),
        2 => lock.upgradable_read().map(Guard::Seen).boxed(),
        _ => lock.write().map(Guard::Write).boxed(),
    }
}

/// Does what the guard allows; answers how often it wrote.
async fn hold(guard: Guard<'_>, chance: &Chance) -> usize {
    moved();
    match guard {
        Guard::Read(guard) => {
            look(&guard, chance).await;
            0
        }
        Guard::Seen(guard) => upgrade(guard, chance).await,
        Guard::Write(guard) => write(guard, chance).await,
    }
}

/// Nobody writes meanwhile.
async fn look(value: &Twice, chance: &Chance) -> usize {
    let seen = *value;
    assert_eq!(seen.0, seen.1, "somebody writes");
    dawdle(chance).await;
    assert_eq!(*value, seen);
    seen.0
}

async fn upgrade(guard: RwLockUpgradableReadGuard<'_, Twice>, chance: &Chance) -> usize {
    let seen = look(&guard, chance).await;
    let upgraded = match chance.below(4) {
        0 => {
            assert_eq!(guard.downgrade().0, seen);
            return 0;
        }
        1 => guard.try_upgrade().ok(),
        _ => try_some(chance, guard.upgrade()).await.done(),
    };
    let Some(guard) = upgraded else { return 0 };
    assert_eq!(guard.0, seen, "somebody wrote in between");
    Box::pin(write(guard, chance)).await
}

async fn write(mut guard: RwLockWriteGuard<'_, Twice>, chance: &Chance) -> usize {
    let written = look(&guard, chance).await + 1;
    guard.0 = written;
    dawdle(chance).await;
    guard.1 = written;
    match chance.below(4) {
        0 => assert_eq!(look(&guard.downgrade(), chance).await, written),
        1 => {
            let guard = guard.downgrade_to_upgradable();
            assert_eq!(guard.0, written);
            return 1 + upgrade(guard, chance).await;
        }
        _ => {}
    }
    1
}
