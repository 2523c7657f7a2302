//! Two that need two locks give the first one back if the second is taken, and try again: in step.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::Mutex;

pub(crate) async fn run(fixed: bool) {
    let locks: Arc<[Mutex<u32>; 2]> = Arc::default();
    scope(async |s| {
        for me in 0..2 {
            let locks = Arc::clone(&locks);
            s.launch(async move {
                for _ in 0..2 {
                    match fixed {
                        true => in_order(&*locks).await,
                        false => back_off(&locks[me], &locks[1 - me]).await,
                    }
                }
            });
        }
    })
    .await;
}

async fn in_order(locks: &[Mutex<u32>]) {
    let mut first = locks[0].lock().await;
    *locks[1].lock().await += 1;
    *first += 1;
}

async fn back_off(first: &Mutex<u32>, second: &Mutex<u32>) {
    loop {
        let mut first = first.lock().await;
        yield_now().await;
        if let Some(mut second) = second.try_lock() {
            *second += 1;
            *first += 1;
            return;
        }
        drop(first);
        yield_now().await;
    }
}
