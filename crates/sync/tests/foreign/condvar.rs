//! A bounded buffer.

use std::collections::VecDeque;
use std::sync::Arc;

use corymb_sync::{Condvar, Mutex};
use futures::future::join_all;

use crate::executors::Tasks;
use crate::times;
use crate::waits::{give_up, in_line};

const N: usize = 100;
const CAPACITY: usize = 2;

#[derive(Default)]
struct Buffer {
    values: Mutex<VecDeque<Option<usize>>>,
    filled: Condvar,
    freed: Condvar,
}

impl Buffer {
    async fn push(&self, value: Option<usize>) {
        let is_full = |values: &mut VecDeque<_>| values.len() == CAPACITY;
        let values = self.values.lock().await;
        self.freed.wait_while(values, is_full).await.push_back(value);
        self.filled.notify_one();
    }

    /// Gives up after so many polls, if that is not 0.
    async fn pop(&self, polls: usize) -> Option<Option<usize>> {
        let values = self.values.lock().await;
        let wait = self.filled.wait_while(values, |values| values.is_empty());
        let values = match polls {
            0 => Some(wait.await),
            _ => give_up(wait, polls).await,
        };
        let value = values?.pop_front();
        self.freed.notify_one();
        value
    }
}

/// Some of those who wait give up; the ends are told by `None`.
pub(crate) async fn a_bounded_buffer(tasks: Tasks) {
    let buffer = Arc::new(Buffer::default());
    let receivers: Vec<_> = (0..3)
        .map(|polls| {
            let buffer = buffer.clone();
            tasks.spawn(async move {
                let mut got = Vec::new();
                loop {
                    match buffer.pop(polls).await {
                        Some(Some(n)) => got.push(n),
                        Some(None) => return got,
                        None => {}
                    }
                }
            })
        })
        .collect();
    let senders = (0..2).map(|sender| {
        let buffer = buffer.clone();
        tasks.spawn(async move {
            for n in 0..times(N) {
                buffer.push(Some(sender * times(N) + n)).await;
            }
        })
    });
    join_all(senders).await;
    for _ in 0..receivers.len() {
        buffer.push(None).await;
    }
    let mut got = join_all(receivers).await.concat();
    got.sort_unstable();
    assert!(got.into_iter().eq(0..2 * times(N)));
}

pub(crate) async fn conditions_in_order(tasks: Tasks) {
    let shared = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
    let line = in_line(&tasks, 0..4, |n| {
        let shared = shared.clone();
        async move { shared.1.wait(shared.0.lock().await).await.push(n) }
    });
    for one in line.await {
        shared.1.notify_one();
        one.await;
    }
    assert_eq!(*shared.0.lock().await, [0, 1, 2, 3]);
}
