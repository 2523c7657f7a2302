//! What was read under a read lock is acted on under a write lock.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::{Mutex, RwLock};

pub(crate) async fn run(fixed: bool) {
    let (stock, orders) = (Arc::new(RwLock::new(4)), Arc::new(Mutex::new(0)));
    scope(async |s| {
        for _ in 0..3 {
            let (stock, orders) = (Arc::clone(&stock), Arc::clone(&orders));
            s.launch(async move {
                for _ in 0..2 {
                    if buy(&stock, fixed).await {
                        *orders.lock().await += 1;
                    }
                }
            });
        }
    })
    .await;
}

async fn buy(stock: &RwLock<i32>, fixed: bool) -> bool {
    if fixed {
        let left = stock.upgradable_read().await;
        if *left == 0 {
            return false;
        }
        *left.upgrade().await -= 1;
        return true;
    }
    let left = *stock.read().await;
    if left == 0 {
        return false;
    }
    let mut stock = stock.write().await;
    *stock -= 1;
    assert!(*stock >= 0, "sold more than there was");
    true
}
