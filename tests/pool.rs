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
    assert!(matches!(refused, Err(BuildError::Setting { .. })), "{refused:?}");
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

#[test]
fn a_shutdown_reports_what_does_not_end() {
    let rt = runtime();
    let (started, start) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let stuck = rt.detached(async move {
        started.send(()).unwrap();
        released.recv().unwrap();
    });
    start.recv().unwrap();
    let report = rt.shutdown(Duration::ZERO);
    assert_eq!(report.unfinished().len(), 1, "{report}");
    assert!(!rt.shutdown(Duration::ZERO).is_empty(), "it has still not ended");
    release.send(()).unwrap();
    futures::executor::block_on(stuck);
}

#[test]
#[should_panic(expected = "has shut down")]
fn a_runtime_that_has_shut_down_refuses() {
    let rt = runtime();
    assert!(rt.shutdown(Duration::from_secs(5)).is_empty());
    rt.run_blocking(async {});
}

#[test]
fn run_blocking_on_a_worker_hands_its_processor_on() {
    let rt = Runtime::builder().parallelism(1).build().unwrap();
    // The one worker blocks in a child's own run_blocking, which needs that worker.
    let value = rt.run_blocking(rt.detached(async {
        scope(async |s| {
            let (tx, rx) = corymb::sync::oneshot::channel();
            s.launch(async move { tx.send(9).unwrap() });
            run_blocking(rx).unwrap()
        })
        .await
    }));
    assert_eq!(value, 9);
    assert!(rt.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn a_shutdown_drops_what_is_suspended_and_ends_what_is_queued() {
    let rt = runtime();
    let dropped = Arc::new(AtomicUsize::new(0));
    struct Count(Arc<AtomicUsize>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    for i in 0..100 {
        let count = Count(dropped.clone());
        drop(rt.detached(async move {
            let _count = count;
            if i % 2 == 0 {
                std::future::pending::<()>().await;
            }
            loop {
                yield_now().await;
            }
        }));
    }
    assert!(rt.shutdown(Duration::from_secs(10)).is_empty());
    assert_eq!(dropped.load(Ordering::Relaxed), 100);
}

#[test]
fn a_dump_shows_the_tree_with_tokens_and_places() {
    let rt = runtime();
    let _token = Job::new(Some(&rt.job()));
    let (started, start) = std::sync::mpsc::channel();
    let job = rt.detached(async move {
        scope(async |s| {
            s.coroutine().name("sleeper").launch(async move {
                started.send(()).unwrap();
                sleep(Duration::from_secs(3600)).await;
            });
        })
        .await;
    });
    start.recv().unwrap();
    let dump = rt.dump();
    assert!(dump.starts_with("runtime"), "{dump}");
    assert!(dump.contains("token") && dump.contains("coroutine `sleeper`"), "{dump}");
    assert!(dump.contains("tests/pool.rs"), "{dump}");
    drop(job);
    assert!(rt.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn run_blocking_in_a_cancelled_coroutine_ends_it() {
    let rt = runtime();
    let (started, start) = std::sync::mpsc::channel();
    let job = rt.detached(async move {
        run_blocking(async move {
            started.send(()).unwrap();
            std::future::pending::<()>().await;
        });
        unreachable!("nothing comes back from a wait that was cancelled");
    });
    start.recv().unwrap();
    job.job().cancel();
    let outcome = rt.run_blocking(job.outcome());
    assert!(matches!(outcome, Err(corymb::JoinError::Cancelled(_))), "{outcome:?}");
    assert!(rt.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn timers_of_other_threads_fire_while_all_workers_are_busy() {
    let rt = Runtime::builder().parallelism(1).build().unwrap();
    let busy = rt.detached(async {
        loop {
            yield_now().await;
        }
    });
    rt.run_blocking(sleep(Duration::from_millis(2)));
    drop(busy);
    assert!(rt.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn sockets_learn_of_the_shutdown() {
    let rt = runtime();
    let listener = {
        let _inside = rt.enter();
        futures::executor::block_on(corymb::net::TcpListener::bind("127.0.0.1:0")).unwrap()
    };
    assert!(rt.shutdown(Duration::from_secs(5)).is_empty());
    let error = futures::executor::block_on(listener.accept()).unwrap_err();
    assert!(error.to_string().contains("shut down"), "{error}");
}

#[test]
fn a_driver_that_is_held_up_does_not_stop_the_timers() {
    let rt = runtime();
    for _ in 0..3 {
        let (release, released) = std::sync::mpsc::channel::<()>();
        rt.run_blocking(async {
            scope(async |s| {
                s.launch(async move {
                    sleep(Duration::from_millis(1)).await;
                    // The worker that has fired the timer, and so was the driver, blocks here
                    // until another one has fired the next.
                    released.recv().unwrap();
                });
                s.launch(async move {
                    sleep(Duration::from_millis(5)).await;
                    release.send(()).unwrap();
                });
            })
            .await;
        });
    }
}

#[test]
fn a_shutdown_from_within_a_shutdown_comes_back() {
    let rt = Arc::new(runtime());
    let job = rt.detached(std::future::pending::<()>()).job();
    let (inner, seen) = (Arc::downgrade(&rt), std::sync::mpsc::channel());
    let _kept = job.on_cancelling(move |_| {
        let report = inner.upgrade().unwrap().shutdown(Duration::ZERO);
        seen.0.send(report.is_empty()).unwrap();
    });
    assert!(rt.shutdown(Duration::from_secs(5)).is_empty());
    assert!(!seen.1.recv().unwrap(), "the first one had not ended");
}

#[test]
fn a_report_is_not_empty_while_a_blocking_run_goes_on() {
    let rt = Arc::new(runtime());
    let (started, start) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let run = std::thread::spawn({
        let rt = rt.clone();
        move || {
            rt.try_run_blocking(async move {
                started.send(()).unwrap();
                released.recv().unwrap();
                yield_now().await;
            })
        }
    });
    start.recv().unwrap();
    assert!(!rt.shutdown(Duration::from_millis(1)).is_empty());
    release.send(()).unwrap();
    assert!(run.join().unwrap().is_err());
    assert!(rt.shutdown(Duration::ZERO).is_empty());
}

#[test]
fn guards_that_coroutines_leave_behind_do_no_harm() {
    let rt = Runtime::builder().parallelism(1).build().unwrap();
    let other = Arc::new(runtime());
    for _ in 0..3 {
        let other = other.clone();
        rt.run_blocking(rt.detached(async move { std::mem::forget(other.enter()) }));
    }
    assert!(rt.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn a_waker_that_panics_keeps_nobody_else_asleep() {
    struct Boom;
    impl std::task::Wake for Boom {
        fn wake(self: Arc<Self>) {
            panic!("boom");
        }
    }
    let rt = runtime();
    let _inside = rt.enter();
    let boom = Arc::new(Boom).into();
    let mut cx = std::task::Context::from_waker(&boom);
    let mut sleeps: Vec<_> = (0..3).map(|_| Box::pin(sleep(Duration::from_millis(2)))).collect();
    for sleep in &mut sleeps {
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
    }
    rt.run_blocking(sleep(Duration::from_millis(3)));
    assert!(rt.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn thread_hooks_that_panic_cost_no_worker() {
    struct Spiteful;
    impl Drop for Spiteful {
        fn drop(&mut self) {
            panic!("again");
        }
    }
    let rt = Runtime::builder()
        .parallelism(1)
        .on_thread_start(|| std::panic::panic_any(Spiteful))
        .on_thread_stop(|| panic!("stop"))
        .build()
        .unwrap();
    assert_eq!(rt.run_blocking(rt.detached(async { 3 })), 3);
    assert!(rt.shutdown(Duration::from_secs(5)).is_empty());
}
