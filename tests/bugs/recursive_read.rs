//! A reader reads again while a writer waits: the writer waits for the first of the two, and lets
//! no other in before it.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::{Mutex, RwLock};

#[derive(Default)]
struct Directory {
    names: RwLock<Vec<u32>>,
    seen: Mutex<usize>,
}

impl Directory {
    async fn list(&self, fixed: bool) {
        let names = self.names.read().await;
        *self.seen.lock().await += names.len();
        let count = if fixed { names.len() } else { self.count().await };
        assert_eq!(count, names.len());
    }

    async fn count(&self) -> usize {
        self.names.read().await.len()
    }
}

pub(crate) async fn run(fixed: bool) {
    let directory = Arc::new(Directory::default());
    scope(async |s| {
        for _ in 0..2 {
            let directory = Arc::clone(&directory);
            s.launch(async move {
                for _ in 0..2 {
                    directory.list(fixed).await;
                }
            });
        }
        for name in 0..2 {
            directory.names.write().await.push(name);
            *directory.seen.lock().await = 0;
        }
    })
    .await;
}
