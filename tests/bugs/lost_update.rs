//! A value is read, and written later: what others wrote between is lost.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::Mutex;

pub(crate) async fn run(fixed: bool) {
    let hits = Arc::new(Mutex::new(0));
    scope(async |s| {
        for _ in 0..3 {
            let hits = Arc::clone(&hits);
            s.launch(async move {
                for _ in 0..2 {
                    if fixed {
                        *hits.lock().await += 1;
                    } else {
                        let read = *hits.lock().await;
                        *hits.lock().await = read + 1;
                    }
                }
            });
        }
    })
    .await;
    assert_eq!(*hits.lock().await, 6, "an update is lost");
}
