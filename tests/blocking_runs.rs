//! `run_blocking` inside of coroutines.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use corymb::prelude::*;
use corymb::{FailureHandler, LocalRuntime, Runtime, RuntimeHandle, spawn_local};

const LONG: Duration = Duration::from_secs(30);

fn here() -> ThreadId {
    thread::current().id()
}

/// What the code that asks launches on.
fn dispatcher() -> String {
    format!("{:?}", Context::current().dispatcher().unwrap())
}

/// A view of the current runtime, with one place.
fn view_of_one() -> Dispatcher {
    Dispatcher::Default.limited_parallelism(1)
}

/// The spare that is sent for the processor does not get there before the run is over: then the
/// coroutine goes on with what it has lent, and not without.
#[test]
fn after_a_nested_run_the_worker_has_its_processor_again() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let threads = AtomicUsize::new(0);
    let runtime = Runtime::builder().parallelism(1).on_thread_start(move || {
        // The first one is the worker.
        if threads.fetch_add(1, Ordering::SeqCst) > 0 {
            let _ended = released.lock().unwrap_or_else(PoisonError::into_inner).recv();
        }
    });
    let runtime = Arc::new(runtime.build().unwrap());
    let lent = || RuntimeHandle::current().map(|runtime| runtime.metrics().lent);
    let seen = runtime.run_blocking(runtime.detached(async move {
        let inside = run_blocking(async { lent() });
        (inside, lent())
    }));
    drop(release);
    assert_eq!(seen, (Some(1), Some(0)));
}

#[test]
fn what_a_run_launches_is_on_default_wherever_the_run_is() {
    let launch = || run_blocking(scope(async |s| s.spawn(async { dispatcher() }).await));
    run_blocking(scope(async |s| {
        for on in [Dispatcher::Default, Dispatcher::Io, Dispatcher::Unconfined, view_of_one()] {
            let inside = s.coroutine().on(on.clone()).spawn(async move { launch() }).await;
            assert_eq!(inside, "Dispatcher::Default", "{on:?}");
            // A section has a context, too.
            let section = s.spawn(with_context(on.clone(), async move { launch() })).await;
            assert_eq!(section, "Dispatcher::Default", "{on:?}");
        }
        assert_eq!(s.spawn_local(async move { launch() }).await, "Dispatcher::Default");
        // Unless it is told otherwise.
        let told = s.coroutine().on(view_of_one()).spawn(async {
            run_blocking(scope(async |s| {
                s.coroutine().on(Dispatcher::Io).spawn(async { dispatcher() }).await
            }))
        });
        assert_eq!(told.await, "Dispatcher::Io");
    }));
}

#[test]
fn what_a_run_launches_inherits_the_rest() {
    let (tell, told) = mpsc::channel();
    let handler = FailureHandler::new(move |failure| tell.send(failure.to_string()).unwrap());
    run_blocking(supervisor_scope(async |s| {
        let named = s.coroutine().on(view_of_one()).name("parent").context(handler);
        let name = named.spawn(async {
            run_blocking(supervisor_scope(async |s| {
                s.launch(async { panic!("E") });
                s.spawn(async { Context::current().name().map(String::from) }).await
            }))
        });
        assert_eq!(name.await.as_deref(), Some("parent"));
    }));
    let failure = told.recv().unwrap();
    assert!(failure.contains("below `parent`") && failure.ends_with(": E"), "{failure}");
}

#[test]
fn a_run_in_a_view_of_one_runs_what_it_needs_of_that_view() {
    let ran = run_blocking(scope(async |s| {
        let view = view_of_one();
        let inner = view.clone();
        let run = s.coroutine().on(view).spawn(async move {
            let by_launch = run_blocking(spawn_on(inner.clone(), async {
                yield_now().await;
                here()
            }));
            let by_section = run_blocking(spawn_on(Dispatcher::Default, async move {
                let away = with_context(inner, async { here() }).await;
                assert_ne!(here(), away, "the way back is to the pool");
                away
            }));
            assert_eq!((by_launch, by_section), (here(), here()));
        });
        run.outcome().await
    }));
    ran.unwrap();
}

/// Each level blocks a thread, and the last one needs the place of the first.
#[test]
fn a_run_in_a_view_of_one_runs_what_is_needed_further_down() {
    run_blocking(scope(async |s| {
        let (view, elsewhere) = (view_of_one(), view_of_one());
        let inner = view.clone();
        s.coroutine().on(view).launch(async move {
            let home = here();
            let second = inner.clone();
            let deep = async move {
                let third = second.clone();
                let deepest = run_blocking(spawn_on(second, async move {
                    assert_eq!(here(), home);
                    run_blocking(spawn_on(third, async { here() }))
                }));
                assert_eq!(deepest, home);
                assert_ne!(here(), home);
            };
            run_blocking(spawn_on(elsewhere, deep));
        });
    }));
}

#[test]
fn a_run_in_views_of_views_serves_each_of_them() {
    run_blocking(scope(async |s| {
        let outer = view_of_one();
        let inner = outer.limited_parallelism(1);
        let views = [outer, inner.clone()];
        s.coroutine().on(inner).launch(async move {
            for view in views {
                assert_eq!(run_blocking(spawn_on(view, async { here() })), here());
            }
        });
    }));
}

#[test]
fn runs_in_all_places_of_a_view_serve_what_is_their_own() {
    let runtime = Runtime::builder().parallelism(2).build().unwrap();
    runtime.run_blocking(scope(async |s| {
        let view = Dispatcher::Default.limited_parallelism(2);
        let both = Arc::new(Barrier::new(2));
        for _ in 0..2 {
            let (inner, both) = (view.clone(), both.clone());
            s.coroutine().on(view.clone()).launch(async move {
                both.wait();
                run_blocking(spawn_on(inner, async move {
                    both.wait(); // each is run by the thread of its own run
                }));
            });
        }
    }));
}

/// A place that blocks is a place still.
#[test]
fn nobody_else_comes_into_the_view_while_a_run_blocks_there() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |text: &'static str| {
        let order = Arc::clone(&order);
        move || order.lock().unwrap().push(text)
    };
    run_blocking(scope(async |s| {
        let view = view_of_one();
        let (inner, siblings) = (view.clone(), s.clone());
        let [begin, own, end, other] = ["begin", "own", "end", "other"].map(note);
        s.coroutine().on(view.clone()).launch(async move {
            begin();
            run_blocking(async {
                siblings.coroutine().on(view).launch(async move { other() });
                let needed = async move {
                    yield_now().await;
                    own();
                };
                spawn_on(inner, needed).await;
            });
            end();
        });
    }));
    assert_eq!(*order.lock().unwrap(), ["begin", "own", "end", "other"]);
}

#[test]
fn after_a_run_that_panicked_the_view_goes_on() {
    run_blocking(scope(async |s| {
        let view = view_of_one();
        let inner = view.clone();
        let left = s.coroutine().on(view.clone()).spawn(async move {
            let (tell, told) = mpsc::channel();
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                run_blocking(scope(async move |s| {
                    tell.send(s.coroutine().on(inner).launch(pending())).unwrap();
                    yield_now().await;
                    panic!("E");
                }))
            }));
            assert!(panicked.is_err());
            told.recv().unwrap()
        });
        assert!(left.await.is_completed());
        assert_eq!(s.coroutine().on(view).spawn(async { 1 }).await, 1);
    }));
}

/// The loop for the view is not where futures get bound.
#[test]
fn what_is_bound_in_a_run_in_a_view_is_bound_to_the_thread() {
    run_blocking(scope(async |s| {
        s.coroutine().on(view_of_one()).launch(async {
            let local = LocalRuntime::new();
            let value = local.run_blocking(async { Some(spawn_local(yield_now())) });
            local.run_blocking(value.unwrap());
        });
    }));
}

#[corymb::test]
async fn in_virtual_time_a_run_serves_its_view_too() {
    let view = view_of_one();
    let inner = view.clone();
    spawn_on(view, async move {
        assert_eq!(run_blocking(spawn_on(inner, async { 42 })), 42);
    })
    .await;
}

/// How a level of a nest blocks.
#[derive(Clone, Copy)]
enum Blocks {
    ByRun,
    ByScope,
}

/// Blocks in a coroutine, `depth` levels deep: each launches two children that need the processor,
/// and the first of them is the next level. How many coroutines there were.
fn nest(depth: usize, how: fn(usize) -> Blocks) -> usize {
    if depth == 0 {
        return 0;
    }
    let below = move || nest(depth - 1, how);
    let children = match how(depth) {
        Blocks::ByRun => run_blocking(scope(async |s| {
            let (next, other) =
                (s.spawn(async move { below() }), s.spawn(async { yield_now().await }));
            other.await;
            next.await
        })),
        Blocks::ByScope => blocking_scope(|s| {
            let (next, other) = (s.spawn(async { below() }), s.spawn(async { yield_now().await }));
            other.join();
            next.join()
        }),
    };
    children + 2
}

/// Each level gives the only processor back, and what it waits for takes it.
#[test]
fn sixty_four_levels_on_the_only_worker() {
    let ways: [fn(usize) -> Blocks; 3] = [
        |_| Blocks::ByRun,
        |_| Blocks::ByScope,
        |depth| if depth % 2 == 0 { Blocks::ByRun } else { Blocks::ByScope },
    ];
    for how in ways {
        // The threads that block do not count against the limit.
        let runtime = Runtime::builder().parallelism(1).max_pool_size(2).build().unwrap();
        let nested = runtime.detached(async move { nest(64, how) });
        assert_eq!(runtime.run_blocking(nested), 128);
        let report = runtime.shutdown(LONG);
        assert!(report.is_empty(), "{report}");
    }
}

/// Eight nests at once, which take the only processor from each other on their way up and down.
#[test]
fn nests_beside_each_other_on_the_only_worker() {
    let runtime = Runtime::builder().parallelism(1).max_pool_size(2).build().unwrap();
    let ran = runtime.run_blocking(scope(async |s| {
        let nests: Vec<_> = (0..8).map(|_| s.spawn(async { nest(8, |_| Blocks::ByRun) })).collect();
        let mut ran = 0;
        for nest in nests {
            ran += nest.await;
        }
        ran
    }));
    assert_eq!(ran, 8 * 16);
    // The processor is there for what comes then.
    assert_eq!(runtime.run_blocking(runtime.detached(async { 1 })), 1);
    assert_eq!(runtime.metrics().permits, 1);
}
