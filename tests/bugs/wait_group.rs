//! A group counts its workers when they begin: at zero, some have not begun yet.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::{Mutex, watch};

pub(crate) async fn run(fixed: bool) {
    let (count, mut counted) = watch::channel(0);
    let (count, parts) = (Arc::new(count), Arc::new(Mutex::new(Vec::new())));
    let enter = |count: &watch::Sender<i32>| count.send_modify(|n| *n += 1).expect("it is open");
    scope(async |s| {
        enter(&count);
        for n in 0..3 {
            let (count, parts) = (Arc::clone(&count), Arc::clone(&parts));
            if fixed {
                enter(&count);
            }
            s.launch(async move {
                if !fixed {
                    enter(&count);
                }
                for m in 0..2 {
                    parts.lock().await.push((n, m));
                }
                count.send_modify(|n| *n -= 1).expect("it is open");
            });
        }
        parts.lock().await.push((3, 0));
        count.send_modify(|n| *n -= 1).expect("it is open");
        counted.wait_for(|n| *n == 0).await.expect("it is open");
        assert_eq!(parts.lock().await.len(), 7, "not all parts were there");
    })
    .await;
}
