//! A connection goes back to its pool when its query is done, and when that takes too long:
//! sometimes both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use corymb::prelude::*;
use corymb::sync::{Mutex, Semaphore};

struct Lease {
    pool: Arc<Semaphore>,
    log: Arc<Mutex<Vec<&'static str>>>,
    is_returned: AtomicBool,
}

impl Lease {
    async fn give_back(&self, why: &'static str, fixed: bool) {
        let was_returned = match fixed {
            true => self.is_returned.swap(true, SeqCst),
            false => self.is_returned.load(SeqCst),
        };
        if !was_returned {
            self.log.lock().await.push(why);
            self.is_returned.store(true, SeqCst);
            self.pool.add_permits(1);
        }
    }
}

pub(crate) async fn run(fixed: bool) {
    let (pool, log) = (Arc::new(Semaphore::new(2)), Arc::default());
    scope(async |s| {
        for patience in [3, 5] {
            pool.acquire().await.expect("it is open").forget();
            let is_returned = AtomicBool::new(false);
            let (pool, log) = (Arc::clone(&pool), Arc::clone(&log));
            let lease = Arc::new(Lease { pool, log, is_returned });
            let guarded = Arc::clone(&lease);
            s.launch(async move {
                sleep(Duration::from_millis(3)).await;
                lease.log.lock().await.push("an answer");
                lease.give_back("done", fixed).await;
            });
            s.launch(async move {
                sleep(Duration::from_millis(patience)).await;
                guarded.give_back("too late", fixed).await;
            });
        }
    })
    .await;
}
