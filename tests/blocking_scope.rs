//! Scopes that block, on the pool.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use corymb::Runtime;
use corymb::prelude::*;

const LONG: Duration = Duration::from_secs(30);

fn runtime(parallelism: usize) -> Runtime {
    Runtime::builder().parallelism(parallelism).build().unwrap()
}

#[test]
fn children_run_in_parallel() {
    let runtime = runtime(2);
    let _inside = runtime.enter();
    let both = Barrier::new(2);
    let words = ["one".to_owned(), "three".to_owned()];
    let lengths = blocking_scope(|s| {
        // Each blocks its thread until the other one is there.
        words
            .each_ref()
            .map(|word| {
                s.spawn(async {
                    both.wait();
                    word.len()
                })
            })
            .map(corymb::ScopedDeferred::join)
    });
    assert_eq!(lengths, [3, 5]);
}

#[test]
fn on_a_worker_it_gives_its_processor_back() {
    let runtime = runtime(1);
    let sum = runtime.run_blocking(scope(async |s| {
        let child = s.spawn(async {
            let numbers = [1, 2, 3];
            blocking_scope(|s| {
                let parts = numbers.iter().map(|it| s.spawn(async move { *it }));
                let parts: Vec<_> = parts.collect();
                parts.into_iter().map(|part| part.join()).sum::<i32>()
            })
        });
        child.await
    }));
    assert_eq!(sum, 6);
}

#[test]
fn nested_ones_on_the_only_worker() {
    fn depth(left: u32) -> u32 {
        match left {
            0 => 0,
            left => blocking_scope(|s| s.spawn(async { depth(left - 1) }).join()) + 1,
        }
    }
    let runtime = runtime(1);
    let child = runtime.detached(async { depth(5) });
    assert_eq!(runtime.run_blocking(child), 5);
}

#[test]
fn a_join_without_a_value_names_its_place() {
    let line = line!() + 5;
    let joined = std::panic::catch_unwind(|| {
        blocking_scope(|s| {
            let child = s.spawn(std::future::pending::<()>());
            child.job().cancel();
            child.join();
        });
    });
    let payload = joined.unwrap_err();
    let text = payload.downcast_ref::<String>().unwrap();
    let place = format!("was awaited for its value at {}:{line}:", file!());
    assert!(text.contains(&place), "{text}");
}

#[test]
fn outside_of_a_runtime_there_is_the_global_one() {
    let text = String::from("borrowed");
    assert_eq!(blocking_scope(|s| s.spawn(async { text.len() }).join()), 8);
}

#[test]
fn a_shutdown_waits_for_it_and_it_for_its_children() {
    let runtime = runtime(1);
    let (begun, has_begun) = channel();
    thread::scope(|t| {
        let blocked = t.spawn(|| {
            let _inside = runtime.enter();
            let text = String::from("borrowed");
            let dropped = AtomicBool::new(false);
            let value = blocking_scope(|s| {
                let (text, dropped) = (&text, &dropped);
                s.launch(async move {
                    let _end = OnDrop(|| {
                        assert_eq!(text, "borrowed");
                        dropped.store(true, Ordering::SeqCst);
                    });
                    begun.send(()).unwrap();
                    std::future::pending::<()>().await;
                });
                1
            });
            (value, dropped.into_inner())
        });
        has_begun.recv().unwrap();
        let report = runtime.shutdown(LONG);
        assert!(report.is_empty(), "{report:?}");
        assert_eq!(blocked.join().unwrap(), (1, true));
    });
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}
