//! `Dispatcher::Main`, by `run_main` and by an event loop of the program's own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use corymb::prelude::*;
use corymb::{CancelCause, Coroutine, JoinError, LocalRuntime, Main, Runtime, spawn_local};

fn here() -> ThreadId {
    thread::current().id()
}

fn on_main(s: &Scope) -> corymb::CoroutineBuilder<Scope> {
    s.coroutine().on(Dispatcher::Main)
}

#[test]
fn main_is_the_thread_that_runs_it_and_the_body_is_elsewhere() {
    let runtime = Runtime::new().unwrap();
    let main = here();
    runtime.run_main(async move {
        assert_ne!(here(), main);
        let child = scope(async |s| {
            on_main(&s)
                .spawn(async {
                    let before = here();
                    sleep(Duration::from_millis(1)).await;
                    yield_now().await;
                    (before, here())
                })
                .await
        });
        assert_eq!(child.await, (main, main));
        assert_eq!(with_context(Dispatcher::Main, async { here() }).await, main);
        assert_eq!(spawn_on(Dispatcher::Main, async { here() }).await, main);
        // From Main to what blocks, and back.
        with_context(Dispatcher::Main, async move {
            assert_eq!(blocking(|| 2).await, 2);
            assert_eq!(here(), main);
        })
        .await;
    });
}

#[test]
fn an_immediate_launch_begins_inside_on_main_and_queues_elsewhere() {
    let runtime = Runtime::new().unwrap();
    let main = here();
    runtime.run_main(scope(async move |s| {
        let immediate = |s: &Scope| s.coroutine().on(Dispatcher::MainImmediate);
        assert_eq!(immediate(&s).spawn(async { here() }).await, main);
        let outer = s.clone();
        on_main(&s).launch(async move {
            let (inner, slot) = (outer.clone(), Arc::new(Mutex::new(None)));
            let nested = Arc::clone(&slot);
            let child = immediate(&outer).launch(async move {
                let job = immediate(&inner).launch(async {});
                assert!(!job.is_completed(), "what is nested queues up");
                *nested.lock().unwrap() = Some(job);
            });
            assert!(child.is_completed());
            assert!(slot.lock().unwrap().take().unwrap().is_completed());
        });
    }));
}

#[test]
fn a_blocking_run_on_main_serves_main() {
    let runtime = Runtime::new().unwrap();
    let main = here();
    runtime.run_main(async move {
        with_context(Dispatcher::Main, async move {
            let inner = run_blocking(scope(async |s| on_main(&s).spawn(async { here() }).await));
            assert_eq!(inner, main);
        })
        .await;
    });
}

#[test]
fn in_what_main_blocks_on_a_section_of_main_stays() {
    let runtime = Runtime::new().unwrap();
    let main = here();
    runtime.run_main(async move {
        with_context(Dispatcher::Main, async move {
            run_blocking(with_context(Dispatcher::Main, async { assert_eq!(here(), main) }));
        })
        .await;
    });
}

#[test]
fn what_is_given_to_main_after_its_end_is_cancelled() {
    let runtime = Runtime::new().unwrap();
    let (left, waker) = runtime.run_main(async {
        let (tell, told) = corymb::sync::oneshot::channel::<()>();
        let (begin, begun) = corymb::sync::oneshot::channel::<()>();
        let left = detached_on_main(begin, told);
        begun.await.unwrap(); // it waits on Main now
        (left, tell)
    });
    waker.send(()).unwrap(); // dispatches it to a loop that has ended
    assert!(is_shutdown(&runtime.run_blocking(left.outcome())));
    assert!(is_shutdown(&try_on(&runtime, Dispatcher::Main).0));
}

fn is_shutdown<T>(outcome: &Result<T, JoinError>) -> bool {
    match outcome {
        Err(JoinError::Cancelled(cancelled)) => matches!(cancelled.cause(), CancelCause::Shutdown),
        _ => false,
    }
}

/// The outcome of a coroutine that is launched here, which tells if it begins.
fn try_on(runtime: &Runtime, dispatcher: Dispatcher) -> (Result<(), JoinError>, bool) {
    let begun = Arc::new(AtomicBool::new(false));
    let inside = Arc::clone(&begun);
    let outcome = runtime.run_blocking(supervisor_scope(async |s| {
        let child = async move { inside.store(true, Ordering::SeqCst) };
        s.coroutine().on(dispatcher).spawn(child).outcome().await
    }));
    (outcome, begun.load(Ordering::SeqCst))
}

#[test]
fn an_immediate_launch_after_the_end_of_main_is_cancelled_too() {
    let runtime = Runtime::new().unwrap();
    runtime.run_main(async {});
    for dispatcher in [Dispatcher::Main, Dispatcher::MainImmediate] {
        let (outcome, begun) = try_on(&runtime, dispatcher);
        assert!(is_shutdown(&outcome) && !begun, "{outcome:?}");
    }
}

#[test]
fn main_ends_with_its_run_and_not_with_what_lasts_around_it() {
    let runtime = Runtime::new().unwrap();
    let local = LocalRuntime::new();
    let begun = Arc::new(AtomicBool::new(false));
    let begin = Arc::clone(&begun);
    let left = local.run_blocking(async {
        runtime.run_main_local(async {
            let (tell, told) = mpsc::channel();
            drop(detached(supervisor_scope(async move |s| {
                let queued = async move { begin.store(true, Ordering::SeqCst) };
                tell.send(on_main(&s).spawn(queued)).unwrap();
            })));
            // It is queued when this returns, in its first poll.
            told.recv().ok()
        })
    });
    let left = left.unwrap();
    // `local` rests, and is dropped after this.
    assert!(is_shutdown(&runtime.run_blocking(left.outcome())));
    assert!(!begun.load(Ordering::SeqCst));
    let there = thread::scope(|threads| {
        let other = threads.spawn(|| try_on(&runtime, Dispatcher::Main));
        other.join().unwrap()
    });
    assert!(is_shutdown(&there.0) && !there.1);
    // Nor do further runs bring it back.
    assert!(is_shutdown(&local.run_blocking(async { try_on(&runtime, Dispatcher::Main) }).0));
}

#[test]
fn a_nested_run_of_main_leaves_it_to_the_outer_one() {
    let runtime = Runtime::new().unwrap();
    runtime.run_main_local(async {
        runtime.run_main(async {});
        assert_eq!(spawn_on(Dispatcher::Main, async { here() }).await, here());
    });
    assert!(is_shutdown(&try_on(&runtime, Dispatcher::Main).0));
}

#[test]
fn what_is_bound_in_a_main_run_belongs_to_the_local_runtime_around_it() {
    let runtime = Runtime::new().unwrap();
    let local = LocalRuntime::new();
    let value = local.run_blocking(async {
        let launch = async {
            let value = async {
                yield_now().await;
                Rc::new(42)
            };
            Some(spawn_local(value))
        };
        runtime.run_main_local(launch)
    });
    assert_eq!(*local.run_blocking(value.unwrap()), 42);
}

fn detached_on_main(
    begin: corymb::sync::oneshot::Sender<()>,
    told: corymb::sync::oneshot::Receiver<()>,
) -> Deferred<()> {
    // Under the runtime itself, on Main.
    let (tell, deferred) = mpsc::channel();
    drop(detached(supervisor_scope(async move |s| {
        let child = on_main(&s).spawn(async move {
            begin.send(()).unwrap();
            told.await.unwrap_or(());
        });
        tell.send(child).unwrap();
    })));
    deferred.recv().unwrap()
}

#[test]
fn the_panic_of_a_body_goes_on_and_main_has_ended() {
    let runtime = Runtime::new().unwrap();
    for _ in 0..2 {
        let panicked = catch_unwind(AssertUnwindSafe(|| runtime.run_main(async { panic!("E") })));
        assert!(panicked.is_err());
    }
    assert_eq!(runtime.run_main(async { 1 }), 1);
}

#[test]
fn a_second_thread_is_refused_as_main() {
    let runtime = Arc::new(Runtime::new().unwrap());
    let (running, ended) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let first = {
        let (runtime, running, ended) = (runtime.clone(), running.clone(), ended.clone());
        thread::spawn(move || {
            runtime.run_main(async move {
                running.wait();
                ended.wait();
            });
        })
    };
    running.wait();
    let second = catch_unwind(AssertUnwindSafe(|| runtime.run_main(async {})));
    ended.wait();
    first.join().unwrap();
    let message = *second.unwrap_err().downcast::<&str>().unwrap();
    assert!(message.contains("use run_blocking"), "{message}");
}

#[corymb::test]
async fn the_test_runtime_serves_main() {
    let order = Arc::new(Mutex::new(Vec::new()));
    scope(async |s| {
        let (seen, inner) = (Arc::clone(&order), s.clone());
        on_main(&s).launch(async move {
            seen.lock().unwrap().push("main");
            let also = Arc::clone(&seen);
            let immediate = inner.coroutine().on(Dispatcher::MainImmediate);
            immediate.launch(async move { also.lock().unwrap().push("immediate") });
            sleep(Duration::from_secs(60)).await;
            seen.lock().unwrap().push("a minute later");
        });
        let seen = Arc::clone(&order);
        let immediate = s.coroutine().on(Dispatcher::MainImmediate);
        immediate.launch(async move { seen.lock().unwrap().push("queued") });
        order.lock().unwrap().push("body");
    })
    .await;
    let order = order.lock().unwrap();
    assert_eq!(*order, ["body", "main", "immediate", "queued", "a minute later"]);
}

/// In one test, as a process has one such loop.
#[test]
fn a_program_installs_its_own_loop_once() {
    let (proxy, events) = mpsc::channel::<Coroutine>();
    Main::install(move |coroutine| drop(proxy.send(coroutine))).unwrap();
    let again = Main::install(drop).unwrap_err();
    assert!(again.to_string().contains("installed before"), "{again}");
    assert!(Main::is_here());
    assert!(!thread::spawn(Main::is_here).join().unwrap());

    let main = here();
    let shown = detached(async move {
        assert_ne!(here(), main);
        with_context(Dispatcher::Main, async { here() }).await
    });
    events.recv().unwrap().run();
    assert_eq!(run_blocking(shown), main);

    // On its thread, an immediate launch begins at once, from plain code too.
    run_blocking(scope(async |s| {
        let child = s.coroutine().on(Dispatcher::MainImmediate).spawn(async { here() });
        assert!(child.job().is_completed());
        assert_eq!(child.await, main);
    }));

    // What the thread blocks on is run there, though the loop does not turn; all else is not.
    let other = detached(spawn_on(Dispatcher::Main, async { here() }));
    assert_eq!(run_blocking(spawn_on(Dispatcher::Main, async { here() })), main);
    let deep = async { run_blocking(spawn_on(Dispatcher::Main, async { here() })) };
    assert_eq!(run_blocking(spawn_on(Dispatcher::Default, deep)), main);
    assert!(!other.job().is_completed());
    events.recv().unwrap().run();
    assert_eq!(run_blocking(other), main);

    // A loop of a runtime's own comes first.
    let runtime = Runtime::new().unwrap();
    let other = thread::spawn(move || {
        let main = here();
        runtime.run_main(async move {
            assert_eq!(with_context(Dispatcher::Main, async { here() }).await, main);
        });
    });
    other.join().unwrap();

    assert!(Main::uninstall() && !Main::uninstall());
    let late =
        detached(supervisor_scope(async |s| on_main(&s).spawn(async {}).outcome().await.is_err()));
    assert!(run_blocking(late));
    assert!(!Main::is_here(), "its thread is that of no loop any more");
    let immediate = run_blocking(supervisor_scope(async |s| {
        s.coroutine().on(Dispatcher::MainImmediate).spawn(async {}).outcome().await
    }));
    assert!(is_shutdown(&immediate));
    assert!(Main::install(drop).is_err());
}
