//! The pool, its end, and executors that refuse.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use corymb::prelude::*;
use corymb::sync::channel;
use corymb::{CancelCause, Coroutine, JobState, Runtime};

use crate::common::Trace;

const LONG: Duration = Duration::from_secs(30);

#[test]
fn dispatch_018_what_blocks_as_io_starves_nobody() {
    let runtime = Runtime::builder().parallelism(2).io_parallelism(100).build().unwrap();
    let all = Arc::new(Barrier::new(101));
    runtime.run_blocking(scope(async |s| {
        for _ in 0..100 {
            let all = all.clone();
            s.launch(async move {
                blocking(|| {
                    all.wait();
                    all.wait();
                })
                .await;
            });
        }
        all.wait();
        // All of them block now.
        assert_eq!(s.spawn(async { 42 }).await, 42);
        all.wait();
    }));
}

#[test]
fn dispatch_021_what_a_busy_worker_has_queued_is_stolen() {
    let started = Arc::new(AtomicUsize::new(0));
    let count = started.clone();
    let runtime = Runtime::builder()
        .parallelism(2)
        .min_runnable(0)
        .on_thread_start(move || {
            count.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    runtime.run_blocking(runtime.detached(scope(async |s| {
        let flag = Arc::new(AtomicBool::new(false));
        let set = flag.clone();
        s.launch(async move { set.store(true, Ordering::SeqCst) });
        while !flag.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
    })));
    assert_eq!(started.load(Ordering::SeqCst), 2);
}

#[corymb::test]
async fn dispatch_023_who_is_refused_at_its_launch_is_cancelled() {
    let trace = Trace::default();
    let seen = trace.clone();
    let refuses = Dispatcher::custom(move |_: Coroutine| seen.add("asked"));
    let job = scope(async |s| {
        let seen = trace.clone();
        s.coroutine().on(refuses).launch(async move { seen.add("ran") })
    })
    .await;
    assert_eq!(job.state(), JobState::Cancelled);
    assert!(matches!(job.cause().unwrap().cause(), CancelCause::Shutdown));
    assert_eq!(trace.get(), ["asked"]);
}

/// Differs from the case: there is no other dispatcher to fall back on. What begins in its launch
/// begins there, and is cancelled where its dispatcher was to resume it.
#[corymb::test]
async fn dispatch_024_who_begins_in_its_launch_is_refused_when_it_is_to_go_on() {
    struct Cleanup(Trace);
    impl Drop for Cleanup {
        fn drop(&mut self) {
            self.0.add(format_args!("cleanup, cancelled: {}", is_cancelled()));
        }
    }
    let trace = Trace::default();
    let seen = trace.clone();
    let refuses = Dispatcher::custom(move |_: Coroutine| seen.add("asked"));
    let job = scope(async |s| {
        let seen = trace.clone();
        s.coroutine().on(refuses).undispatched().launch(async move {
            let _cleanup = Cleanup(seen.clone());
            seen.add("began");
            yield_now().await;
            seen.add("went on");
        })
    })
    .await;
    assert!(matches!(job.cause().unwrap().cause(), CancelCause::Shutdown));
    assert_eq!(trace.get(), ["began", "asked", "cleanup, cancelled: true"]);
}

/// A shutdown cancels. A scope is what waits.
#[test]
fn dispatch_034_what_a_scope_has_launched_runs_before_the_shutdown() {
    for parallelism in 1..8 {
        let runtime = Runtime::builder().parallelism(parallelism).build().unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        runtime.run_blocking(scope(async |s| {
            for _ in 0..1000 {
                let ran = ran.clone();
                s.launch(async move {
                    ran.fetch_add(1, Ordering::SeqCst);
                });
            }
        }));
        assert!(runtime.shutdown(LONG).is_empty());
        assert_eq!(ran.load(Ordering::SeqCst), 1000);
    }
}

/// It cannot wait for itself, and reports the coroutine that has called it.
#[test]
fn dispatch_035_a_runtime_that_is_shut_down_from_within_comes_back() {
    let runtime = Arc::new(Runtime::builder().parallelism(1).build().unwrap());
    let (tell, told) = mpsc::channel();
    let own = runtime.clone();
    let child = runtime.detached(async move { tell.send(own.shutdown(LONG).is_empty()) });
    assert_eq!(told.recv_timeout(LONG), Ok(false));
    let sent = futures::executor::block_on(child.outcome()).unwrap();
    assert_eq!(sent, Ok(()));
}

/// The two wake each other for ever, and each wake goes into the slot.
#[test]
fn dispatch_036_two_that_wake_each_other_starve_nobody() {
    fn ping_pong(s: &Scope) {
        let (to_left, from_right) = channel::bounded(1);
        let (to_right, from_left) = channel::bounded(1);
        to_right.try_send(()).unwrap();
        for (to, from) in [(to_left, from_left), (to_right, from_right)] {
            s.launch(
                async move { while from.recv().await.is_ok() && to.send(()).await.is_ok() {} },
            );
        }
    }
    let runtime = Runtime::builder().parallelism(1).build().unwrap();
    // Whether the children end first or the body is left open.
    let _ended = runtime.run_blocking(cancel_scope(async |c| {
        scope(async |s| {
            ping_pong(&s);
            let (tell, told) = mpsc::channel();
            s.launch(async move { tell.send(()).unwrap() });
            told.recv_timeout(LONG).unwrap();
            c.cancel();
        })
        .await;
    }));
}

#[test]
fn dispatch_039_a_runtime_drops_what_is_pending_once() {
    let trace = Trace::default();
    let runtime = Runtime::builder().parallelism(1).build().unwrap();
    let (tell, told) = mpsc::channel();
    let guard = trace.on_drop("dropped");
    let job = runtime
        .detached(async move {
            let _guard = guard;
            tell.send(()).unwrap();
            pending::<()>().await;
        })
        .job();
    told.recv().unwrap();
    drop(runtime);
    assert_eq!(trace.get(), ["dropped"]);
    assert_eq!(job.state(), JobState::Cancelled);
}

/// A coroutine that returns though it was cancelled gives its value.
#[test]
fn dispatch_041_work_that_blocks_is_waited_for_by_a_shutdown_and_refused_after_it() {
    let runtime = Runtime::builder().parallelism(1).build().unwrap();
    let (tell, told) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let _opener = runtime.detached(scope(async move |s| {
        let begins = tell.clone();
        let child = s.coroutine().on(Dispatcher::Io).spawn(async move {
            begins.send(None).unwrap();
            released.recv().unwrap();
            42
        });
        tell.send(Some(child)).unwrap();
    }));
    // One of the two says that it has begun.
    let child = told.iter().take(2).flatten().last().unwrap();
    let job = child.job();
    let ends = std::thread::spawn(move || {
        while !job.is_cancelled() {
            std::thread::yield_now();
        }
        release.send(()).unwrap();
    });
    assert!(runtime.shutdown(LONG).is_empty());
    ends.join().unwrap();
    assert_eq!(futures::executor::block_on(child.outcome()).unwrap(), 42);
    let late = runtime.try_run_blocking(async { blocking(|| 42).await });
    assert!(late.is_err(), "{late:?}");
}
