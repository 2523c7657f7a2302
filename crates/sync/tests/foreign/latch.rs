//! Nobody goes on before all are done.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corymb_sync::Latch;
use futures::future::join_all;

use crate::executors::{Tasks, yield_now};
use crate::times;
use crate::waits::give_up;

const WORKERS: usize = 3;

pub(crate) async fn a_wait_group(tasks: Tasks) {
    for _ in 0..times(60) {
        let shared = Arc::new((Arc::new(Latch::new(1)), AtomicUsize::new(0)));
        let waiting: Vec<_> = (0..3)
            .map(|polls| {
                let shared = shared.clone();
                tasks.spawn(async move {
                    let (group, done) = &*shared;
                    match polls {
                        0 => group.wait().await,
                        _ => while give_up(group.wait(), polls).await.is_none() {},
                    }
                    assert_eq!(done.load(Ordering::Relaxed), WORKERS);
                })
            })
            .collect();
        let work = |_| {
            let (hold, shared) = (shared.0.hold(), shared.clone());
            tasks.spawn(async move {
                yield_now().await;
                shared.1.fetch_add(1, Ordering::Relaxed);
                drop(hold);
            })
        };
        let workers: Vec<_> = (0..WORKERS).map(work).collect();
        shared.0.count_down();
        join_all(workers).await;
        join_all(waiting).await;
        assert!(shared.0.is_open());
    }
}
