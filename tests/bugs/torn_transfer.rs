//! A transfer is given so much time: when it is up, half of it has been done.

use std::sync::Arc;
use std::time::Duration;

use corymb::prelude::*;
use corymb::sync::Mutex;

pub(crate) async fn run(fixed: bool) {
    let accounts: Arc<[Mutex<i32>; 4]> = Arc::default();
    scope(async |s| {
        for (from, patience) in [(0, 1), (1, 2), (2, 3)] {
            let accounts = Arc::clone(&accounts);
            s.launch(async move {
                let transfer = async {
                    *accounts[from].lock().await -= 5;
                    let mut to = accounts[3].lock().await;
                    sleep(Duration::from_millis(1)).await;
                    *to += 5;
                };
                let limit = Duration::from_millis(patience);
                drop(match fixed {
                    true => with_timeout(limit, shield(transfer)).await,
                    false => with_timeout(limit, transfer).await,
                });
            });
        }
    })
    .await;
    let mut sum = 0;
    for account in accounts.iter() {
        sum += *account.lock().await;
    }
    assert_eq!(sum, 0, "money went missing");
}
