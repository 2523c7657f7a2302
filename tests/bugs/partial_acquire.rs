//! Two permits are taken one by one: each holds the one that the other lacks.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::{Mutex, Semaphore};

pub(crate) async fn run(fixed: bool) {
    let (memory, done) = (Arc::new(Semaphore::new(3)), Arc::new(Mutex::new(0)));
    scope(async |s| {
        for _ in 0..3 {
            let (memory, done) = (Arc::clone(&memory), Arc::clone(&done));
            s.launch(async move {
                for _ in 0..2 {
                    let _pages = if fixed {
                        memory.acquire_many(2).await
                    } else {
                        let first = memory.acquire().await;
                        memory.acquire().await.and_then(|mut pages| {
                            pages.merge(first?);
                            Ok(pages)
                        })
                    };
                    *done.lock().await += 1;
                }
            });
        }
    })
    .await;
}
