//! The pool on real threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corymb::prelude::*;
use corymb::{BuildError, Runtime};

fn runtime() -> Runtime {
    Runtime::builder().parallelism(2).build().unwrap()
}

#[test]
fn ten_thousand_children_run_once_each() {
    let rt = runtime();
    let sum = rt.run_blocking(rt.detached(async {
        scope(async |s| {
            let children: Vec<_> = (0..10_000u64).map(|i| s.spawn(async move { i })).collect();
            let mut sum = 0;
            for child in children {
                sum += child.await;
            }
            sum
        })
        .await
    }));
    assert_eq!(sum, 10_000 * 9_999 / 2);
    assert_eq!(rt.metrics().alive, 0);
    assert!(rt.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn sleepers_and_yielders() {
    let rt = runtime();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    rt.run_blocking(async move {
        scope(async |s| {
            for i in 0..1000 {
                let count = count.clone();
                s.launch(async move {
                    sleep(Duration::from_micros(i)).await;
                    for _ in 0..10 {
                        yield_now().await;
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                });
            }
        })
        .await;
    });
    assert_eq!(seen.load(Ordering::Relaxed), 1000);
}

#[test]
fn zero_workers_are_refused() {
    let refused = Runtime::builder().parallelism(0).build();
    assert!(matches!(refused, Err(BuildError::ZeroParallelism)));
}

#[test]
fn a_foreign_executor_uses_the_global_runtime() {
    let value = futures::executor::block_on(scope(async |s| {
        let child = s.spawn(async {
            sleep(Duration::from_millis(1)).await;
            7
        });
        child.await
    }));
    assert_eq!(value, 7);
}

#[test]
fn a_runtime_inside_a_runtime() {
    let rt = runtime();
    let value = rt.run_blocking(rt.detached(async {
        let inner = runtime();
        inner.run_blocking(async { scope(async |s| s.spawn(async { 5 }).await).await })
    }));
    assert_eq!(value, 5);
}
