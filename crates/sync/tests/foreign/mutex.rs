//! One task at a time, in the order of arrival.

use std::sync::Arc;

use corymb_sync::Mutex;
use futures::future::join_all;

use crate::executors::{Tasks, yield_now};
use crate::times;
use crate::waits::{give_up, in_line};

const TASKS: usize = 4;
const PASSES: usize = 200;

pub(crate) async fn counter(tasks: Tasks) {
    let mutex = Arc::new(Mutex::new(0));
    let count = |_| {
        let mutex = mutex.clone();
        tasks.spawn(async move {
            for pass in 0..times(PASSES) {
                let mut value = mutex.lock().await;
                let seen = *value;
                if pass % 3 == 0 {
                    yield_now().await;
                }
                *value = seen + 1;
            }
        })
    };
    join_all((0..TASKS).map(count)).await;
    assert_eq!(*mutex.lock().await, TASKS * times(PASSES));
}

/// A lock that is given up, before it is offered or after, goes to the next.
pub(crate) async fn locks_given_up(tasks: Tasks) {
    let mutex = Arc::new(Mutex::new(0));
    let count = |polls| {
        let mutex = mutex.clone();
        tasks.spawn(async move {
            let mut passed = 0;
            for _ in 0..times(PASSES) {
                if let Some(mut value) = give_up(mutex.lock(), polls).await {
                    yield_now().await;
                    *value += 1;
                    passed += 1;
                }
            }
            passed
        })
    };
    let passed = join_all((1..=TASKS).map(count)).await;
    assert_eq!(*mutex.lock().await, passed.iter().sum::<usize>());
}

pub(crate) async fn in_order(tasks: Tasks) {
    let mutex = Arc::new(Mutex::new(Vec::new()));
    let mut first = mutex.lock().await;
    let line = in_line(&tasks, 1..6, |n| {
        let mutex = mutex.clone();
        async move { mutex.lock().await.push(n) }
    });
    let line = line.await;
    first.push(0);
    drop(first);
    join_all(line).await;
    assert!(mutex.lock().await.iter().copied().eq(0..6));
}
