//! `Dispatcher::Unconfined` on real threads.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use corymb::prelude::*;
use corymb::{CancelCause, JoinError, Runtime};

fn unconfined(s: &Scope) -> corymb::CoroutineBuilder<Scope> {
    s.coroutine().on(Dispatcher::Unconfined)
}

/// Suspends once, and leaves its waker.
async fn suspend(waker: Arc<Mutex<Option<Waker>>>) {
    let mut first = true;
    poll_fn(|cx| {
        if !std::mem::take(&mut first) {
            return Poll::Ready(());
        }
        *waker.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

#[test]
fn a_launch_begins_in_the_caller_and_its_end_is_seen_at_once() {
    let here = thread::current().id();
    run_blocking(scope(async |s| {
        let child = unconfined(&s).spawn(async { thread::current().id() });
        assert!(child.job().is_completed());
        assert_eq!(child.await, here);
    }));
}

#[test]
fn a_launch_begins_in_the_caller_on_a_foreign_thread() {
    run_blocking(scope(async |s| {
        let other = thread::spawn(move || {
            let child = unconfined(&s).spawn(async { thread::current().id() });
            (child, thread::current().id())
        });
        let (child, id) = other.join().unwrap();
        assert_eq!(child.await, id);
    }));
}

/// The channel wakes with its lock held, which the woken one takes too.
#[test]
fn a_wake_under_a_lock_does_not_deadlock() {
    for capacity in [1, 4] {
        let (to, from) = async_channel::bounded::<usize>(capacity);
        let sum = Arc::new(AtomicUsize::new(0));
        run_blocking(scope(async |s| {
            for _ in 0..4 {
                let (from, sum) = (from.clone(), Arc::clone(&sum));
                unconfined(&s).launch(async move {
                    while let Ok(n) = from.recv().await {
                        sum.fetch_add(n, Ordering::Relaxed);
                    }
                });
            }
            for thread in 0..4 {
                let to = to.clone();
                match thread % 2 {
                    0 => drop(s.launch(async move { send_all(&to).await })),
                    _ => drop(unconfined(&s).launch(async move { send_all(&to).await })),
                }
            }
            drop(to);
        }));
        assert_eq!(sum.load(Ordering::Relaxed), 4 * (0..1000).sum::<usize>());
    }
}

async fn send_all(to: &async_channel::Sender<usize>) {
    for n in 0..1000 {
        to.send(n).await.unwrap();
    }
}

#[test]
fn a_wake_in_a_poll_resumes_when_that_has_returned() {
    let waker = Arc::new(Mutex::new(None));
    let resumed = Arc::new(AtomicBool::new(false));
    run_blocking(scope(async |s| {
        let (w, r) = (Arc::clone(&waker), Arc::clone(&resumed));
        let child = unconfined(&s).spawn(async move {
            suspend(w).await;
            r.store(true, Ordering::Relaxed);
            thread::current().id()
        });
        let (waker, resumed) = (Arc::clone(&waker), Arc::clone(&resumed));
        let waking = s.spawn(async move {
            waker.lock().unwrap().take().unwrap().wake();
            assert!(!resumed.load(Ordering::Relaxed), "it was polled inside of the wake");
            thread::current().id()
        });
        assert_eq!(child.await, waking.await, "it goes on where it was woken");
    }));
}

#[test]
fn a_wake_from_a_foreign_thread_goes_to_default() {
    let runtime = Runtime::builder().parallelism(1).thread_name("default").build().unwrap();
    let waker = Arc::new(Mutex::new(None));
    let w = Arc::clone(&waker);
    let name = runtime.run_blocking(scope(async |s| {
        let child = unconfined(&s).spawn(async move {
            suspend(w).await;
            thread::current().name().map(String::from)
        });
        thread::spawn(move || waker.lock().unwrap().take().unwrap().wake()).join().unwrap();
        child.await
    }));
    assert_eq!(name.as_deref(), Some("default"));
}

#[test]
fn nesting_does_not_grow_the_stack() {
    fn nest(s: Scope, depth: usize, deepest: mpsc::Sender<usize>) {
        let inner = s.clone();
        unconfined(&s).launch(async move {
            match depth {
                0 => deepest.send(0).unwrap(),
                _ => nest(inner, depth - 1, deepest),
            }
        });
    }
    let small = thread::Builder::new().stack_size(128 * 1024);
    let run = || {
        let (tell, told) = mpsc::channel();
        run_blocking(scope(async |s| {
            nest(s, 10_000, tell);
            assert_eq!(told.try_recv(), Ok(0), "all have run before the launch returns");
        }));
    };
    small.spawn(run).unwrap().join().unwrap();
}

#[test]
fn a_panic_in_the_caller_s_stack_is_the_child_s() {
    run_blocking(supervisor_scope(async |s| {
        let child = unconfined(&s).spawn(async { panic!("oops") });
        let Err(JoinError::Panicked(panic)) = child.outcome().await else { unreachable!() };
        assert_eq!(panic.message(), "oops");
        assert_eq!(unconfined(&s).spawn(async { 1 }).await, 1);
    }));
}

#[test]
fn a_suspended_one_is_cancelled_wherever_the_cancel_comes_from() {
    for foreign in [false, true] {
        run_blocking(scope(async |s| {
            let child = unconfined(&s).spawn(std::future::pending::<()>());
            let job = child.job();
            match foreign {
                true => thread::spawn(move || job.cancel()).join().map(drop).unwrap(),
                false => drop(job.cancel()),
            }
            let Err(JoinError::Cancelled(cancelled)) = child.outcome().await else {
                unreachable!()
            };
            assert!(matches!(cancelled.cause(), CancelCause::Requested));
        }));
    }
}

#[test]
fn those_who_wake_each_other_for_ever_do_not_keep_the_thread() {
    let runtime = Runtime::builder().parallelism(1).build().unwrap();
    runtime.run_blocking(scope(async |s| {
        let (ping, pong) = (async_channel::bounded::<()>(1), async_channel::bounded::<()>(1));
        let stop = Arc::new(AtomicBool::new(false));
        let (receive, send, flag) = (ping.1.clone(), pong.0.clone(), Arc::clone(&stop));
        unconfined(&s).launch(async move {
            while !flag.load(Ordering::Relaxed) {
                let _closed = receive.recv().await;
                let _closed = send.send(()).await;
            }
            send.close();
            receive.close();
        });
        let (receive, send) = (pong.1.clone(), ping.0.clone());
        unconfined(&s).launch(async move {
            while receive.recv().await.is_ok() && send.send(()).await.is_ok() {}
        });
        let kick = ping.0.clone();
        s.launch(async move { kick.send(()).await.unwrap() });
        s.launch(async move {
            sleep(Duration::from_millis(5)).await;
            stop.store(true, Ordering::Relaxed);
        });
    }));
}

#[test]
fn to_yield_gives_way_to_the_others() {
    let runtime = Runtime::builder().parallelism(1).build().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    runtime.run_blocking(scope(async |s| {
        let flag = Arc::clone(&stop);
        unconfined(&s).launch(async move {
            while !flag.load(Ordering::Relaxed) {
                yield_now().await;
            }
        });
        s.launch(async move { stop.store(true, Ordering::Relaxed) });
    }));
}

#[test]
fn a_section_stays_where_it_is() {
    run_blocking(async {
        let here = thread::current().id();
        // Also in what a thread blocks on, which could not move.
        let there = with_context(Dispatcher::Unconfined, async {
            assert!(matches!(Context::current().dispatcher(), Some(Dispatcher::Unconfined)));
            // Children inherit it.
            let child = scope(async |s| s.spawn(async { thread::current().id() }).await);
            (thread::current().id(), child.await)
        });
        assert_eq!(there.await, (here, here));
    });
}

#[test]
fn it_goes_to_another_dispatcher_and_on_from_there() {
    let runtime = Runtime::builder().parallelism(1).thread_name("default").build().unwrap();
    runtime.run_blocking(scope(async |s| {
        let name = || thread::current().name().map(String::from);
        let child = unconfined(&s).spawn(async move {
            (with_context(Dispatcher::Default, async move { name() }).await, name())
        });
        assert_eq!(child.await, (Some("default".into()), Some("default".into())));
    }));
}
