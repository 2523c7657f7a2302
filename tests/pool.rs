//! The pool on real threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corymb::prelude::*;
use corymb::{
    BuildError, CancelCause, JobState, JoinError, Runtime, RuntimeHandle, try_run_blocking,
};

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
    let error = refused.unwrap_err();
    assert!(matches!(error, BuildError::Setting { .. }));
    assert_eq!(format!("{error:?}"), format!("BuildError({error})"));
}

#[test]
fn the_smallest_stack_is_enough_for_sections_and_panics() {
    let rt = Runtime::builder().parallelism(1).stack_size(64 * 1024).build().unwrap();
    let child = rt.detached(async {
        sleep(Duration::from_micros(1)).await;
        assert_eq!(blocking(|| 7).await, 7);
        assert_eq!(
            with_context(Dispatcher::Io, async {
                yield_now().await;
                7
            })
            .await,
            7
        );
        panic!("as it has to")
    });
    let outcome: Result<(), _> = rt.run_blocking(child.outcome());
    assert!(matches!(outcome, Err(JoinError::Panicked(_))), "{outcome:?}");
}

#[test]
fn metrics_show_the_limits_that_hold() {
    let rt = Runtime::builder().parallelism(2).io_parallelism(9).max_pool_size(6).build().unwrap();
    let metrics = rt.metrics();
    assert_eq!((metrics.io_parallelism, metrics.max_pool_size), (4, 6));
    let text = metrics.to_string();
    assert!(
        text.starts_with("parallelism 2: 2 permits, 0 lent, 0 compensated\nthreads "),
        "{text}"
    );
    assert!(text.contains("\nio_parallelism 4: 0 running, 0 queued\n"), "{text}");
    assert_eq!(text.lines().count(), 5, "{text}");
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
fn a_dump_and_a_shutdown_report_show_the_section_that_blocks() {
    let rt = runtime();
    let (tell, told) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let line = line!() + 3;
    rt.launch_detached(scope(async move |s| {
        s.coroutine().name("reader").launch(async move {
            blocking(move || {
                tell.send(()).unwrap();
                released.recv().unwrap();
            })
            .await;
        });
    }));
    told.recv().unwrap();
    let doing = format!("running, last in the section at {}:{line}:", file!());
    let dump = rt.dump();
    let reader = dump.lines().find(|it| it.contains("`reader`")).unwrap();
    assert!(reader.contains(&doing), "{dump}");
    let report = rt.shutdown(Duration::ZERO);
    let text = report.to_string();
    assert!(text.contains(&doing) && text.contains("`reader`"), "{text}");
    release.send(()).unwrap();
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
fn a_runtime_that_has_shut_down_says_so() {
    let rt = runtime();
    assert_eq!(rt.try_run_blocking(async { 7 }).unwrap(), 7);
    let _inside = rt.enter();
    assert!(rt.shutdown(Duration::from_secs(5)).is_empty());
    for refused in [rt.try_run_blocking(async { 7 }), try_run_blocking(async { 7 })] {
        let cancelled = refused.unwrap_err();
        assert!(matches!(cancelled.cause(), CancelCause::Shutdown), "{cancelled}");
        assert_eq!(cancelled.place().file(), file!());
    }
}

#[test]
fn a_blocking_run_learns_of_the_shutdown() {
    let rt = runtime();
    let cancelled = rt.try_run_blocking(async {
        let _report = rt.shutdown(Duration::ZERO);
        std::future::pending::<()>().await;
    });
    assert!(matches!(cancelled.unwrap_err().cause(), CancelCause::Shutdown));
}

#[test]
fn a_blocking_run_without_a_runtime_has_the_global_one() {
    assert_eq!(try_run_blocking(async { sleep(Duration::from_millis(1)).await }).ok(), Some(()));
}

#[test]
fn code_in_a_runtime_looks_at_it() {
    let look = || {
        let handle = RuntimeHandle::current().unwrap();
        (handle.metrics().parallelism, handle.metrics().alive, handle.dump())
    };
    let rt = Runtime::builder().parallelism(3).name("mine").build().unwrap();
    let (parallelism, alive, dump) = rt.run_blocking(rt.detached(async move { look() }));
    assert_eq!((parallelism, alive), (3, 1));
    assert!(dump.contains("`mine`"), "{dump}");
    assert_eq!(rt.run_blocking(async { look() }).0, 3);
    let inside = rt.enter();
    assert_eq!(look().0, 3);
    drop(inside);
    assert!(RuntimeHandle::current().is_none());
}

#[test]
fn a_handle_keeps_no_runtime() {
    let rt = runtime();
    let waiting = rt.detached(std::future::pending::<()>());
    let handle = rt.handle();
    assert_eq!(handle.clone().metrics().alive, 1);
    drop(rt);
    assert!(waiting.job().is_cancelled());
    assert_eq!(handle.metrics().alive, 0);
    assert_eq!(handle.dump(), "the runtime has shut down\n");
}

#[test]
fn detached_work_without_a_value() {
    let rt = runtime();
    let (tx, rx) = corymb::sync::oneshot::channel();
    let outer = rt.launch_detached(async {
        drop(launch_detached(async move { tx.send(Job::current().unwrap().parent()).unwrap() }));
    });
    assert_eq!(rt.run_blocking(rx), Ok(Some(rt.job())));
    rt.run_blocking(outer.join());
    assert_eq!(outer.state(), JobState::Completed);
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
    assert!(matches!(outcome, Err(JoinError::Cancelled(_))), "{outcome:?}");
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

/// A number that only the coroutines of one view touch.
#[derive(Default)]
struct Unlocked(std::cell::Cell<usize>);

// SAFETY: a view with one place lets one thread at a time in, after the one before.
unsafe impl Sync for Unlocked {}
// SAFETY: as above.
unsafe impl Send for Unlocked {}

#[test]
fn views_keep_their_limits() {
    let rt = Runtime::builder().parallelism(4).build().unwrap();
    rt.run_blocking(rt.detached(async {
        for of in [Dispatcher::Default, Dispatcher::Io, Dispatcher::Default.limited_parallelism(3)]
        {
            for n in 1..=3 {
                crowd(&of.limited_parallelism(n), n).await;
            }
        }
    }));
    assert!(rt.shutdown(Duration::from_secs(5)).is_empty());
}

/// Coroutines that count how many of them are polled at once.
async fn crowd(view: &Dispatcher, n: usize) {
    let [inside, most] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let exact = Arc::new(Unlocked::default());
    scope(async |s| {
        for i in 0..200 {
            let [inside, most] = [&inside, &most].map(Arc::clone);
            let exact = exact.clone();
            s.coroutine().on(view.clone()).launch(async move {
                for round in 0..20 {
                    most.fetch_max(inside.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    if n == 1 {
                        let exact = &exact;
                        exact.0.set(exact.0.get() + 1);
                    }
                    inside.fetch_sub(1, Ordering::Relaxed);
                    if (i + round) % 7 == 0 {
                        sleep(Duration::from_micros(10)).await;
                    } else {
                        yield_now().await;
                    }
                }
            });
        }
    })
    .await;
    assert!(most.load(Ordering::Relaxed) <= n, "{view:?}");
    assert!(n > 1 || exact.0.get() == 200 * 20);
}

#[test]
fn a_view_of_a_runtime_that_was_shut_down_cancels() {
    let rt = runtime();
    let view = rt.run_blocking(async { Dispatcher::Default.limited_parallelism(1) });
    assert!(rt.shutdown(Duration::from_secs(5)).is_empty());
    let other = runtime();
    other.run_blocking(async move {
        supervisor_scope(async |s| {
            let children = [(); 3].map(|()| s.coroutine().on(view.clone()).spawn(yield_now()));
            for child in children {
                let error = child.outcome().await.unwrap_err();
                assert!(matches!(error, JoinError::Cancelled(_)), "{error:?}");
            }
        })
        .await;
    });
    assert!(other.shutdown(Duration::from_secs(5)).is_empty());
}
