//! A semaphore whose waiters take their permit without looking again: by the time they run, a
//! newcomer has taken it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

use corymb::prelude::*;
use corymb::sync::{Mutex, Notify};

struct Naive {
    permits: AtomicI32,
    released: Notify,
}

impl Naive {
    async fn acquire(&self, fixed: bool) {
        while self.permits.load(SeqCst) == 0 {
            self.released.notified().await;
            if !fixed {
                break;
            }
        }
        self.permits.fetch_sub(1, SeqCst);
    }

    fn release(&self) {
        self.permits.fetch_add(1, SeqCst);
        self.released.notify_one();
    }
}

pub(crate) async fn run(fixed: bool) {
    let naive = Arc::new(Naive { permits: AtomicI32::new(1), released: Notify::new() });
    let (inside, log) = (Arc::new(AtomicI32::new(0)), Arc::new(Mutex::new(0)));
    scope(async |s| {
        for _ in 0..3 {
            let (naive, inside, log) = (naive.clone(), inside.clone(), log.clone());
            s.launch(async move {
                for _ in 0..2 {
                    *log.lock().await += 1;
                    naive.acquire(fixed).await;
                    let others = inside.fetch_add(1, SeqCst);
                    assert_eq!(others, 0, "more at once than there are permits");
                    *log.lock().await += 1;
                    inside.fetch_sub(1, SeqCst);
                    naive.release();
                }
            });
        }
    })
    .await;
}
