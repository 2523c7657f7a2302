//! The time is up at the moment at which the result comes: it was given away, and nobody looks.

use std::sync::Arc;
use std::time::Duration;

use corymb::prelude::*;
use corymb::select;
use corymb::sync::{Mutex, oneshot};

const LIMIT: Duration = Duration::from_millis(10);

pub(crate) async fn run(fixed: bool) {
    let charged = Arc::new(Mutex::new(Vec::new()));
    scope(async |s| {
        for card in 0..2 {
            let charged = Arc::clone(&charged);
            s.launch(async move {
                let is_charged = pay(card, Arc::clone(&charged), fixed).await;
                let was_charged = charged.lock().await.contains(&card);
                assert_eq!(is_charged, was_charged, "charged, and told that it failed");
            });
        }
    })
    .await;
}

/// Whether `card` was charged in time.
async fn pay(card: u32, charged: Arc<Mutex<Vec<u32>>>, fixed: bool) -> bool {
    scope(async |s| {
        let (tx, mut rx) = oneshot::channel();
        s.launch(async move {
            sleep(LIMIT).await;
            if tx.send(()).is_ok() {
                charged.lock().await.push(card);
            }
        });
        select! {
            receipt = &mut rx => receipt.is_ok(),
            _ = sleep(LIMIT) => {
                rx.close();
                fixed && rx.try_recv().is_ok()
            }
        }
    })
    .await
}
