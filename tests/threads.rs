//! Dispatchers with threads of their own.

use std::collections::HashSet;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use corymb::prelude::*;
use corymb::{CancelCause, CoroutineBuilder, JoinError, Runtime, Threads, ThreadsError};

fn here() -> ThreadId {
    thread::current().id()
}

fn name() -> String {
    thread::current().name().unwrap_or_default().into()
}

fn on(s: &Scope, threads: &Threads) -> CoroutineBuilder<Scope> {
    s.coroutine().on(threads.dispatcher())
}

fn is_shutdown<T>(outcome: Result<T, JoinError>) -> bool {
    match outcome {
        Err(JoinError::Cancelled(cancelled)) => matches!(cancelled.cause(), CancelCause::Shutdown),
        _ => false,
    }
}

/// Holds a thread of `threads` until the sender is used or dropped; it does so already.
fn hold(s: &Scope, threads: &Threads) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    on(s, threads).launch(async move {
        tell.send(()).unwrap();
        let _released_or_over = released.recv();
    });
    told.recv().unwrap();
    release
}

/// Tells on which thread it is dropped.
struct Tells(mpsc::Sender<ThreadId>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.send(here()).ok();
    }
}

#[test]
fn one_thread_runs_in_the_order_of_the_queue() {
    let threads = Threads::single("one").unwrap();
    let trace = Arc::new(Mutex::new(Vec::new()));
    run_blocking(scope(async |s| {
        let _released_at_the_end = hold(&s, &threads);
        for n in 0..50 {
            let trace = Arc::clone(&trace);
            on(&s, &threads).launch(async move {
                trace.lock().unwrap().push(n);
                yield_now().await; // behind all others
                trace.lock().unwrap().push(100 + n);
            });
        }
    }));
    let expected: Vec<_> = (0..50).chain(100..150).collect();
    assert_eq!(*trace.lock().unwrap(), expected);
}

#[test]
fn the_threads_have_the_name_and_one_alone_has_no_number() {
    let (single, fixed) = (Threads::single("ui-db").unwrap(), Threads::fixed(3, "render").unwrap());
    let names = Arc::new(Mutex::new(HashSet::new()));
    let all = Arc::new(Barrier::new(3));
    run_blocking(scope(async |s| {
        assert_eq!(on(&s, &single).spawn(async { name() }).await, "ui-db");
        for _ in 0..3 {
            let (names, all) = (Arc::clone(&names), Arc::clone(&all));
            on(&s, &fixed).launch(async move {
                all.wait(); // on three threads at once
                names.lock().unwrap().insert(name());
            });
        }
    }));
    let expected = ["render-1", "render-2", "render-3"].map(String::from);
    assert_eq!(*names.lock().unwrap(), HashSet::from(expected));
}

#[test]
fn what_comes_back_from_a_timer_comes_back_to_the_thread() {
    let threads = Threads::single("one").unwrap();
    run_blocking(scope(async |s| {
        let ids = on(&s, &threads).spawn(async {
            let before = here();
            sleep(Duration::from_millis(1)).await;
            (before, here())
        });
        let (before, after) = ids.await;
        assert_eq!(before, after);
    }));
}

#[test]
fn a_section_there_borrows_and_comes_back() {
    let threads = Threads::single("one").unwrap();
    run_blocking(spawn_on(Dispatcher::Default, async move {
        let mut seen = Vec::new();
        let text = String::from("value");
        let length = with_context(threads.dispatcher(), async {
            seen.push(name());
            yield_now().await;
            seen.push(name());
            text.len()
        })
        .await;
        seen.push(name());
        assert_eq!(length, text.len());
        assert_eq!(seen[..2], ["one", "one"]);
        assert_ne!(seen[2], "one");
    }));
}

#[test]
fn a_panic_ends_the_coroutine_and_not_the_thread() {
    let threads = Threads::single("one").unwrap();
    run_blocking(supervisor_scope(async |s| {
        let before = on(&s, &threads).spawn(async { here() }).await;
        let failed = on(&s, &threads).spawn(async { panic!("E") }).outcome().await;
        assert!(matches!(failed, Err::<(), _>(JoinError::Panicked(_))));
        assert_eq!(on(&s, &threads).spawn(async { here() }).await, before);
    }));
}

#[test]
fn a_poll_that_blocks_holds_the_thread_and_a_blocking_section_does_not() {
    let threads = Threads::single("one").unwrap();
    run_blocking(scope(async |s| {
        let release = hold(&s, &threads);
        let (tell, told) = mpsc::channel();
        let next = on(&s, &threads).launch(async move { tell.send(here()).unwrap() });
        // Others run, and it does not.
        s.spawn(yield_now()).await;
        assert!(told.try_recv().is_err() && !next.is_completed());
        release.send(()).unwrap();
        next.join().await;
        let home = told.recv().unwrap();

        let (tell, told) = mpsc::channel();
        let section = on(&s, &threads).spawn(async move {
            // It waits for what only the thread can do.
            let elsewhere = blocking(move || (told.recv().unwrap(), here())).await;
            (elsewhere, here())
        });
        on(&s, &threads).launch(async move { tell.send(()).unwrap() });
        let (((), elsewhere), back) = section.await;
        assert_ne!(elsewhere, home);
        assert_eq!(back, home);
    }));
}

#[test]
fn a_view_limits_them() {
    let threads = Threads::fixed(3, "three").unwrap();
    let one = threads.dispatcher().limited_parallelism(1);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    run_blocking(scope(async |s| {
        for _ in 0..100 {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            s.coroutine().on(one.clone()).launch(async move {
                assert!(name().starts_with("three-"));
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }));
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[test]
fn a_close_from_within_comes_back_and_cancels_what_is_queued() {
    let threads = Arc::new(Threads::single("one").unwrap());
    run_blocking(supervisor_scope(async |s| {
        let (go, gone) = mpsc::channel();
        let inner = Arc::clone(&threads);
        let (tell, told) = mpsc::channel();
        let view = threads.dispatcher().limited_parallelism(1);
        let closer = on(&s, &threads).spawn(async move {
            gone.recv().unwrap(); // all are queued
            inner.close();
            (told.try_iter().count(), told, here())
        });
        let queued: Vec<_> = [threads.dispatcher(), threads.dispatcher(), view]
            .into_iter()
            .map(|dispatcher| {
                let tells = Tells(tell.clone());
                s.coroutine().on(dispatcher).spawn(async move {
                    let _tells = tells;
                    unreachable!("cancelled before its first poll")
                })
            })
            .collect();
        go.send(()).unwrap();
        let (dropped_by_close, told, home) = closer.await;
        assert_eq!(dropped_by_close, 0, "they are dropped after its poll");
        for child in queued {
            assert!(is_shutdown::<()>(child.outcome().await));
        }
        drop(tell);
        assert_eq!(told.into_iter().collect::<Vec<_>>(), [home; 3]);
    }));
}

#[test]
fn a_close_from_outside_waits_for_the_poll_in_progress_and_for_what_is_queued() {
    let threads = Threads::single("one").unwrap();
    run_blocking(supervisor_scope(async |s| {
        let release = hold(&s, &threads);
        let queued = on(&s, &threads).launch(pending());
        thread::scope(|outside| {
            let closing = outside.spawn(|| {
                threads.close();
                assert!(queued.is_completed() && queued.is_cancelled());
            });
            // What is refused is seen to end: then it is closed, and still waits.
            while !on(&s, &threads).launch(pending()).is_completed() {
                thread::yield_now();
            }
            assert!(!queued.is_completed() && !closing.is_finished());
            release.send(()).unwrap();
        });
        threads.close(); // nothing is left to wait for
    }));
}

#[test]
fn the_last_owner_may_be_dropped_on_its_own_thread() {
    let threads = Threads::single("one").unwrap();
    let dispatcher = threads.dispatcher();
    run_blocking(supervisor_scope(async |s| {
        let last = s.coroutine().on(dispatcher.clone()).spawn(async move {
            drop(threads);
            42
        });
        assert_eq!(last.await, 42);
        let late = s.coroutine().on(dispatcher).spawn(async {});
        assert!(is_shutdown(late.outcome().await));
    }));
}

#[test]
fn what_waits_at_the_close_is_cancelled_when_it_is_woken() {
    let threads = Threads::single("one").unwrap();
    run_blocking(supervisor_scope(async |s| {
        let (tell, told) = corymb::sync::oneshot::channel::<()>();
        let (begin, begun) = corymb::sync::oneshot::channel();
        let waiter = on(&s, &threads).spawn(async move {
            begin.send(()).unwrap();
            told.await
        });
        begun.await.unwrap();
        threads.close();
        assert!(!waiter.job().is_completed());
        tell.send(()).unwrap();
        assert!(is_shutdown(waiter.outcome().await));
    }));
}

/// With one processor and no compensation, a worker that kept it would wait for ever.
#[test]
fn a_worker_that_closes_lends_its_processor() {
    let runtime = Runtime::builder().parallelism(1).min_runnable(0).build().unwrap();
    runtime.run_blocking(scope(async |s| {
        let threads = Threads::single("one").unwrap();
        let (tell, told) = mpsc::channel();
        let (begin, begun) = mpsc::channel();
        on(&s, &threads).launch(async move {
            begin.send(()).unwrap();
            told.recv().unwrap();
        });
        begun.recv().unwrap();
        s.launch(async move {
            let other = scope(async |s| s.launch(async move { tell.send(()).unwrap() }));
            let mut other = Box::pin(other);
            // Launched, and queued behind this poll.
            assert!(futures::poll!(&mut other).is_pending());
            threads.close();
            other.await;
        });
    }));
}

#[test]
fn a_runtime_that_ends_takes_its_coroutines_and_leaves_the_threads() {
    let threads = Threads::single("one").unwrap();
    let runtime = Runtime::new().unwrap();
    let (tell, told) = mpsc::channel();
    let (begin, begun) = mpsc::channel();
    let dispatcher = threads.dispatcher();
    let job = runtime.launch_detached(async move {
        // A child there, and a section.
        let (tells, ready) = (Tells(tell), begin.clone());
        let child = spawn_on(dispatcher.clone(), async move {
            let _tells = tells;
            ready.send(here()).unwrap();
            pending::<()>().await;
        });
        let section = with_context(dispatcher, async {
            begin.send(here()).unwrap();
            pending::<()>().await;
        });
        futures::join!(child, section);
    });
    let home = begun.recv().unwrap();
    assert_eq!(begun.recv().unwrap(), home);
    assert!(runtime.shutdown(Duration::from_secs(30)).is_empty());
    assert!(job.is_cancelled());
    assert_eq!(told.recv().unwrap(), home);
    let other = Runtime::new().unwrap();
    let still = other.run_blocking(spawn_on(threads.dispatcher(), async { here() }));
    assert_eq!(still, home);
}

#[test]
fn in_what_its_thread_blocks_on_a_section_of_it_stays() {
    let threads = Threads::single("one").unwrap();
    let dispatcher = threads.dispatcher();
    run_blocking(scope(async |s| {
        let child = on(&s, &threads).spawn(async move {
            run_blocking(with_context(dispatcher, async { here() })) == here()
        });
        assert!(child.await);
    }));
}

#[test]
fn bad_numbers_and_names_are_errors_that_name_the_remedy() {
    let none = Threads::fixed(0, "x").unwrap_err();
    assert!(matches!(none, ThreadsError::Count(0)));
    assert_eq!(none.to_string(), "0 threads were asked for: give a number from 1 to 32768");
    assert!(matches!(Threads::fixed(usize::MAX, "x"), Err(ThreadsError::Count(usize::MAX))));
    let error = Threads::single("a\0b").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the thread name \"a\\0b\" holds a zero byte, which no system takes: leave it out"
    );
}
