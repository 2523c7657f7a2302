//! A worker finds the queue empty, then the pool closed, and ends: the last job came between.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use corymb::prelude::*;
use corymb::sync::Mutex;

#[derive(Default)]
struct Pool {
    jobs: Mutex<VecDeque<u32>>,
    closed: Mutex<bool>,
    done: Mutex<Vec<u32>>,
}

impl Pool {
    async fn work(&self, fixed: bool) {
        loop {
            let was_closed = fixed && self.is_closed().await;
            let job = self.jobs.lock().await.pop_front();
            match job {
                Some(job) => self.done.lock().await.push(job),
                None if was_closed || (!fixed && self.is_closed().await) => break,
                None => sleep(Duration::from_millis(1)).await,
            }
        }
    }

    async fn is_closed(&self) -> bool {
        *self.closed.lock().await
    }
}

pub(crate) async fn run(fixed: bool) {
    let pool = Arc::new(Pool::default());
    scope(async |s| {
        let worker = Arc::clone(&pool);
        s.launch(async move { worker.work(fixed).await });
        scope(async |s| {
            for job in [10, 20, 30] {
                let pool = Arc::clone(&pool);
                s.launch(async move { pool.jobs.lock().await.push_back(job) });
            }
        })
        .await;
        *pool.closed.lock().await = true;
    })
    .await;
    assert!(pool.jobs.lock().await.is_empty(), "jobs were left behind");
}
