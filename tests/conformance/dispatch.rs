//! Dispatchers: where coroutines go on, and in which order.

use corymb::Runtime;
use corymb::prelude::*;

use crate::common::{CANCELLED, Trace, flags, text};

#[corymb::test]
async fn dispatch_001_nested_unconfined_launches_queue_up_in_their_order() {
    let trace = Trace::default();
    scope(async |s| {
        let launch = |f: Box<dyn FnOnce() + Send>| {
            s.coroutine().on(Dispatcher::Unconfined).launch(async move { f() })
        };
        trace.add(1);
        let (t, scope) = (trace.clone(), s.clone());
        launch(Box::new(move || {
            t.add(2);
            let (t2, inner) = (t.clone(), scope.clone());
            scope.coroutine().on(Dispatcher::Unconfined).launch(async move {
                t2.add(4);
                for n in [6, 7] {
                    let t2 = t2.clone();
                    let child = async move { t2.add(n) };
                    inner.coroutine().on(Dispatcher::Unconfined).launch(child);
                }
                t2.add(5);
            });
            t.add(3);
        }));
        trace.add(8);
    })
    .await;
    assert_eq!(trace.get(), ["1", "2", "3", "4", "5", "6", "7", "8"]);
}

#[corymb::test]
async fn dispatch_002_to_yield_lets_the_nested_unconfined_launch_run() {
    let trace = Trace::default();
    let t = trace.clone();
    scope(async |s| {
        let inner = s.clone();
        s.coroutine().on(Dispatcher::Unconfined).launch(async move {
            t.add(2);
            yield_now().await;
            let t4 = t.clone();
            inner.coroutine().on(Dispatcher::Unconfined).launch(async move { t4.add(4) });
            t.add(3);
            yield_now().await;
            t.add(5);
        });
    })
    .await;
    assert_eq!(trace.get(), ["2", "3", "4", "5"]);
}

/// Without the ATOMIC start: the launch has begun before the failure anyway.
#[corymb::test]
async fn dispatch_003_an_unconfined_section_fails_after_its_launch_has_run() {
    let trace = Trace::default();
    let t = trace.clone();
    let failing = async {
        scope(async move |s| {
            with_context(Dispatcher::Unconfined, async {
                t.add(2);
                with_context(Dispatcher::Unconfined, async { t.add(3) }).await;
                t.add(4);
                let t5 = t.clone();
                s.coroutine().on(Dispatcher::Unconfined).launch(async move { t5.add(5) });
                panic!("E");
            })
            .await;
        })
        .await;
    };
    let failure = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(failing)).await;
    assert_eq!(text(&*failure.unwrap_err()), "E");
    assert_eq!(trace.get(), ["2", "3", "4", "5"]);
}

#[corymb::test]
async fn dispatch_005_the_line_after_a_nested_unconfined_launch_comes_first() {
    let trace = Trace::default();
    let t = trace.clone();
    scope(async |s| {
        let inner = s.clone();
        s.coroutine().on(Dispatcher::Unconfined).launch(async move {
            t.add(2);
            let t4 = t.clone();
            inner.coroutine().on(Dispatcher::Unconfined).launch(async move { t4.add(4) });
            t.add(3);
        });
    })
    .await;
    assert_eq!(trace.get(), ["2", "3", "4"]);
}

/// A channel of one permit in the place of the mutex.
#[corymb::test]
async fn dispatch_006_a_chain_of_unconfined_wakes_does_not_grow_the_stack() {
    const WAITERS: usize = 10_000;
    let (unlock, lock) = async_channel::bounded::<usize>(1);
    let counter = scope(async |s| {
        for _ in 0..WAITERS {
            let (unlock, lock) = (unlock.clone(), lock.clone());
            s.coroutine().on(Dispatcher::Unconfined).launch(async move {
                let counter = lock.recv().await.unwrap();
                unlock.send(counter + 1).await.unwrap();
            });
        }
        unlock.send(0).await.unwrap();
    });
    counter.await;
    assert_eq!(lock.recv().await, Ok(WAITERS));
}

/// The loop of the main thread is the dispatcher that may run at once.
#[test]
fn dispatch_008_to_yield_goes_through_the_queue_of_what_may_run_at_once() {
    let (trace, told) = Trace::twice();
    let runtime = Runtime::builder().parallelism(1).build().unwrap();
    runtime.run_main(with_context(Dispatcher::Main, async move {
        scope(async move |s| {
            trace.add(1);
            let seen = trace.clone();
            s.coroutine().on(Dispatcher::MainImmediate).launch(async move {
                seen.add(2);
                yield_now().await;
                seen.add(4);
            });
            trace.add(3);
            yield_now().await;
            trace.add(5);
        })
        .await;
    }));
    assert_eq!(told.get(), ["1", "2", "3", "4", "5"]);
}

#[corymb::test]
async fn cancel_029_an_unconfined_launch_under_a_cancelled_parent_never_runs() {
    let trace = Trace::default();
    let t = trace.clone();
    let ended = cancel_scope(async |c| {
        scope(async |s| {
            c.cancel();
            let job = s.coroutine().on(Dispatcher::Unconfined).launch(async move { t.add("ran") });
            assert_eq!(flags(&job), CANCELLED);
            std::future::pending::<()>().await;
        })
        .await;
    });
    assert!(ended.await.is_err());
    assert!(trace.get().is_empty());
}

#[test]
fn dispatch_031_main_that_is_missing_is_an_error_at_once() {
    let ran = Trace::default();
    let message = |f: &dyn Fn(Trace)| {
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f(ran.clone())));
        text(&*panicked.unwrap_err()).to_owned()
    };
    let launch = message(&|ran| {
        run_blocking(scope(async |s| {
            s.coroutine().on(Dispatcher::Main).launch(async move { ran.add("launched") });
        }));
    });
    let spawn = message(&|ran| {
        run_blocking(scope(async |s| {
            let immediate = s.coroutine().on(Dispatcher::MainImmediate);
            immediate.spawn(async move { ran.add("spawned") }).await;
        }));
    });
    let section = message(&|ran| {
        run_blocking(scope(async |s| {
            let section = with_context(Dispatcher::Main, async move { ran.add("section") });
            s.spawn(section).await;
        }));
    });
    for message in [launch, spawn, section] {
        assert!(message.contains("no main loop") && message.contains("Main::install"), "{message}");
    }
    assert!(ran.get().is_empty());
}
