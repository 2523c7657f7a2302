//! A child is awaited under a lock that it takes itself.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::Mutex;

pub(crate) async fn run(fixed: bool) {
    let totals = Arc::new(Mutex::new(Vec::new()));
    scope(async |s| {
        for n in 0..2 {
            let totals = Arc::clone(&totals);
            s.launch(async move {
                for m in 0..3 {
                    report(n * 10 + m, &totals, fixed).await;
                }
            });
        }
    })
    .await;
}

async fn report(n: u32, totals: &Arc<Mutex<Vec<u32>>>, fixed: bool) {
    scope(async |s| {
        let child = Arc::clone(totals);
        let part = s.spawn(async move {
            child.lock().await.push(n);
            n
        });
        if fixed {
            let part = part.await;
            totals.lock().await.push(part);
        } else {
            let mut totals = totals.lock().await;
            totals.push(part.await);
        }
    })
    .await;
}
