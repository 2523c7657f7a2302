//! The semaphore: no permit is lost and none is made, whoever asks for how many, gives up, forgets
//! some, or resizes it; and nobody gets ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corymb::{scope, yield_now};
use corymb_sync::{Semaphore, SemaphorePermit, TryAcquireError};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ground::{Asker, Chance, TASKS, dawdle, in_line, moved};

const MAX: usize = 5;
const EACH: usize = 200;

struct Shared {
    semaphore: Arc<Semaphore>,
    /// How many permits are with somebody.
    held: AtomicUsize,
}

/// What happens in a round besides.
#[derive(Clone, Copy)]
struct Style {
    resizes: bool,
    closes: bool,
}

pub(crate) fn round(chance: Chance) -> BoxFuture<'static, ()> {
    async move {
        let semaphore = Arc::new(Semaphore::new(MAX));
        let shared = Arc::new(Shared { semaphore, held: AtomicUsize::new(0) });
        let style = Style { resizes: chance.one_in(2), closes: chance.one_in(4) };
        scope(async |s| {
            for _ in 0..TASKS {
                s.launch(work(shared.clone(), chance.fork(), style));
            }
            if style.resizes {
                s.launch(resize(shared.clone(), chance.fork()));
            }
        })
        .await;
        let end = shared.semaphore.statistics();
        assert_eq!((end.permits, end.available, end.waiting), (MAX, MAX, 0));
    }
    .boxed()
}

async fn resize(shared: Arc<Shared>, chance: Chance) {
    for _ in 0..EACH {
        shared.semaphore.set_permits(chance.below(MAX + 1));
        yield_now().await;
    }
    shared.semaphore.set_permits(MAX);
}

/// Acquires again and again, until the semaphore is closed.
async fn work(shared: Arc<Shared>, chance: Chance, style: Style) {
    let semaphore = &shared.semaphore;
    let mut asker = Asker::new(&chance);
    for _ in 0..EACH {
        if style.closes && chance.one_in(2 * EACH) {
            semaphore.close();
            assert!(semaphore.acquire().await.is_err(), "it is closed");
        }
        if chance.one_in(4) {
            match semaphore.try_acquire_many(chance.below(MAX + 1)) {
                Ok(permit) => hold(&shared, permit, &chance, style).await,
                Err(TryAcquireError::Closed) => return,
                Err(_) => {}
            }
        }
        if let Some(Ok(permit)) = asker.look().await {
            hold(&shared, permit, &chance, style).await;
        }
        match asker.ask(semaphore.acquire_many(chance.below(MAX + 1))).await {
            Some(Ok(permit)) => hold(&shared, permit, &chance, style).await,
            Some(Err(_)) => return,
            None => {}
        }
        if !style.closes && chance.one_in(16) {
            in_line(|| semaphore.acquire_many_owned(MAX)).await;
        }
    }
}

/// Has permits, and gives them back in one of several ways.
async fn hold(shared: &Shared, mut permit: SemaphorePermit<'_>, chance: &Chance, style: Style) {
    moved();
    let permits = permit.num_permits();
    let held = shared.held.fetch_add(permits, Ordering::Relaxed) + permits;
    assert!(held <= MAX, "{held} permits of {MAX}");
    dawdle(chance).await;
    shared.held.fetch_sub(permits, Ordering::Relaxed);
    match chance.below(4) {
        0 => {
            let part = permit.split(chance.below(permits + 1)).expect("it has as many");
            yield_now().await;
            permit.merge(part);
        }
        1 => drop(permit.split(chance.below(permits + 1))),
        // Another who resizes it would not know of these.
        2 if !style.resizes => {
            permit.forget();
            shared.semaphore.add_permits(permits);
        }
        _ => {}
    }
}
