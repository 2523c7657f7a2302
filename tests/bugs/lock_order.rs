//! Two accounts are locked in the order in which they are named: two transfers that cross each
//! other wait for each other.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::Mutex;

pub(crate) async fn run(fixed: bool) {
    let accounts: Arc<[Mutex<u32>; 3]> = Arc::new([10, 20, 30].map(Mutex::new));
    scope(async |s| {
        for (from, to) in [(0, 1), (2, 1), (1, 0)] {
            let accounts = Arc::clone(&accounts);
            s.launch(async move {
                for _ in 0..2 {
                    transfer(&*accounts, from, to, fixed).await;
                }
            });
        }
    })
    .await;
}

async fn transfer(accounts: &[Mutex<u32>], from: usize, to: usize, fixed: bool) {
    if fixed && to < from {
        let mut to = accounts[to].lock().await;
        *accounts[from].lock().await -= 1;
        *to += 1;
    } else {
        let mut from = accounts[from].lock().await;
        *accounts[to].lock().await += 1;
        *from -= 1;
    }
}
