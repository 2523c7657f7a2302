//! One who is woken does not look again: another one has been faster.

use std::collections::VecDeque;
use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::{Condvar, Mutex};

#[derive(Default)]
struct Queue {
    items: Mutex<VecDeque<u32>>,
    pushed: Condvar,
}

impl Queue {
    async fn push(&self, item: u32) {
        self.items.lock().await.push_back(item);
        self.pushed.notify_one();
    }

    async fn pop(&self, fixed: bool) -> u32 {
        let mut items = self.items.lock().await;
        while items.is_empty() {
            items = self.pushed.wait(items).await;
            if !fixed {
                break;
            }
        }
        items.pop_front().expect("woken, and nothing there")
    }
}

pub(crate) async fn run(fixed: bool) {
    let queue = Arc::new(Queue::default());
    scope(async |s| {
        for _ in 0..2 {
            let queue = Arc::clone(&queue);
            s.launch(async move {
                for _ in 0..2 {
                    queue.pop(fixed).await;
                }
            });
        }
        for item in 0..4 {
            queue.push(item).await;
        }
    })
    .await;
}
