//! One initialiser comes to its end, whoever gives up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corymb_sync::OnceCell;
use futures::future::join_all;

use crate::executors::{Tasks, yield_now};
use crate::times;
use crate::waits::give_up;

/// Makes the number of initialisers that have ended.
async fn make(ended: Arc<AtomicUsize>) -> usize {
    for _ in 0..3 {
        yield_now().await;
    }
    ended.fetch_add(1, Ordering::SeqCst) + 1
}

pub(crate) async fn initialisers_given_up(tasks: Tasks) {
    for _ in 0..times(60) {
        let shared = Arc::new((OnceCell::new(), Arc::new(AtomicUsize::new(0))));
        let get = |polls| {
            let shared = shared.clone();
            tasks.spawn(async move {
                let (cell, ended) = &*shared;
                loop {
                    match give_up(cell.get_or_init(make(ended.clone())), polls).await {
                        Some(value) => return *value,
                        None => yield_now().await,
                    }
                }
            })
        };
        assert_eq!(join_all((2..6).map(get)).await, [1; 4]);
        assert_eq!(shared.1.load(Ordering::SeqCst), 1);
    }
}

/// Nobody polls it often enough for its end, but all together do.
pub(crate) async fn an_initialiser_of_all(tasks: Tasks) {
    for _ in 0..times(60) {
        let shared = Arc::new((OnceCell::new(), Arc::new(AtomicUsize::new(0))));
        let get = |polls| {
            let shared = shared.clone();
            tasks.spawn(async move {
                let (cell, ended) = &*shared;
                loop {
                    let init = make(ended.clone());
                    if let Some(value) = give_up(cell.get_or_init_shared(init), polls).await {
                        return *value;
                    }
                }
            })
        };
        assert_eq!(join_all([1, 1, 2].map(get)).await, [1; 3]);
        assert_eq!(shared.1.load(Ordering::SeqCst), 1);
    }
}
