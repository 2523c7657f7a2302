//! Permits are conserved, and given out in the order of arrival.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corymb_sync::{AcquireError, Semaphore};
use futures::future::join_all;

use crate::executors::{Tasks, yield_now};
use crate::times;
use crate::waits::{give_up, in_line};

const PERMITS: usize = 3;
const PASSES: usize = 100;

/// Each asks for a number of its own; half of them give up after some polls.
pub(crate) async fn permits_are_conserved(tasks: Tasks) {
    let semaphore = Arc::new(Semaphore::new(PERMITS));
    let held = Arc::new(AtomicUsize::new(0));
    let work = |n: usize| {
        let (semaphore, held) = (semaphore.clone(), held.clone());
        tasks.spawn(async move {
            let permits = 1 + n % PERMITS;
            for _ in 0..times(PASSES) {
                let acquire = semaphore.acquire_many(permits);
                let permit = match n % 2 {
                    0 => Some(acquire.await),
                    _ => give_up(acquire, n).await,
                };
                let Some(permit) = permit else { continue };
                assert!(held.fetch_add(permits, Ordering::SeqCst) + permits <= PERMITS);
                yield_now().await;
                held.fetch_sub(permits, Ordering::SeqCst);
                drop(permit.unwrap());
            }
        })
    };
    join_all((0..6).map(work)).await;
    assert_eq!(semaphore.available_permits(), PERMITS);
}

/// One that needs many is not passed over.
pub(crate) async fn permits_in_order(tasks: Tasks) {
    let semaphore = Arc::new(Semaphore::new(PERMITS));
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let held = semaphore.acquire_many(2).await.unwrap();
    let line = in_line(&tasks, 0..4, |n| {
        let (semaphore, order) = (semaphore.clone(), order.clone());
        async move {
            let _permits = semaphore.acquire_many(PERMITS - n % 2).await.unwrap();
            order.lock().unwrap().push(n);
        }
    });
    let line = line.await;
    assert!(semaphore.try_acquire().is_err(), "somebody waits");
    drop(held);
    join_all(line).await;
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
}

pub(crate) async fn a_semaphore_that_grows(tasks: Tasks) {
    let semaphore = Arc::new(Semaphore::with_max(0, PERMITS));
    let line = in_line(&tasks, 0..PERMITS, |_| {
        let semaphore = semaphore.clone();
        async move { semaphore.acquire_owned().await.unwrap() }
    });
    let line = line.await;
    semaphore.add_permits(1);
    semaphore.set_permits(PERMITS);
    let permits = join_all(line).await;
    assert_eq!(semaphore.available_permits(), 0);
    drop(permits);
    assert_eq!(semaphore.available_permits(), PERMITS);
}

pub(crate) async fn a_semaphore_closed_while_tasks_wait(tasks: Tasks) {
    let semaphore = Arc::new(Semaphore::new(1));
    let held = semaphore.acquire().await.unwrap();
    let line = in_line(&tasks, 0..3, |_| {
        let semaphore = semaphore.clone();
        async move { semaphore.acquire().await.map(drop) }
    });
    let line = line.await;
    semaphore.close();
    assert_eq!(join_all(line).await, [Err(AcquireError); 3]);
    drop(held);
    assert_eq!(semaphore.available_permits(), 1);
}
