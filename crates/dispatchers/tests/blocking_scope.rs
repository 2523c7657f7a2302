//! Children that borrow and run in parallel, while the thread that lends blocks.

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::thread;

use corymb_core::{Job, is_cancelled, scope, yield_now};
use corymb_dispatchers::{BlockingScope, blocking_scope};

#[path = "../../core/tests/common/mod.rs"]
#[expect(dead_code, reason = "what the kernel's own tests use")]
mod common;

use common::{Harness, Trace};

/// Runs what is queued, on a thread of its own, while `f` runs here.
fn driven<R>(rt: &Harness, f: impl FnOnce() -> R) -> R {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let stop = AtomicBool::new(false);
    thread::scope(|t| {
        t.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                if rt.run() == 0 {
                    thread::yield_now();
                }
            }
        });
        let _stop = Stop(&stop);
        f()
    })
}

#[test]
fn children_read_and_write_what_the_caller_has() {
    let rt = Harness::new();
    let _inside = rt.enter();
    let words = [String::from("one"), String::from("three")];
    let mut counts = [0, 0];
    let last = driven(&rt, || {
        blocking_scope(|s| {
            for (word, count) in words.iter().zip(&mut counts) {
                s.launch(async {
                    yield_now().await;
                    *count = word.len();
                });
            }
            s.spawn(async { words.last().map(String::as_str) }).join()
        })
    });
    assert_eq!(last, Some("three"));
    assert_eq!(counts, [3, 5]);
}

#[test]
fn it_returns_after_the_children() {
    let rt = Harness::new();
    let trace = Trace::default();
    let (returned, has_returned) = channel();
    thread::scope(|t| {
        t.spawn(|| {
            let _inside = rt.enter();
            let value = blocking_scope(|s| {
                s.launch(async {
                    yield_now().await;
                    trace.add("child");
                });
                trace.add("body");
                returned.send(()).unwrap();
                1
            });
            trace.add("returned");
            assert_eq!(value, 1);
        });
        has_returned.recv().unwrap();
        assert_eq!(trace.get(), ["body"]);
        assert!(rt.step());
        assert_eq!(trace.get(), ["body"]);
        rt.run();
    });
    assert_eq!(trace.get(), ["body", "child", "returned"]);
}

#[test]
fn a_coroutine_that_nobody_runs_holds_it() {
    let rt = Harness::new();
    let trace = Trace::default();
    let (returned, has_returned) = channel();
    thread::scope(|t| {
        t.spawn(|| {
            let _inside = rt.enter();
            blocking_scope(|s| {
                let _job = s.launch(async {
                    let _end = trace.on_drop("never begun");
                    pending::<()>().await;
                });
                let _captured = trace.on_drop("body");
                s.job().cancel();
                returned.send(()).unwrap();
            });
            trace.add("returned");
        });
        has_returned.recv().unwrap();
        let kept = rt.pop().unwrap();
        trace.add("let go");
        kept.run();
        assert_eq!(rt.run(), 0);
    });
    let mut all = trace.get();
    // The body ends beside this thread.
    all.retain(|it| *it != "body");
    assert_eq!(all, ["let go", "returned"]);
}

#[test]
fn the_futures_are_gone_when_it_returns() {
    let rt = Harness::new();
    let trace = Trace::default();
    let _inside = rt.enter();
    let run = rt.runner();
    let text = String::from("borrowed");
    driven(&rt, || {
        blocking_scope(|s| {
            let captured = trace.on_drop("dropped");
            let job = s.launch(async {
                let _captured = captured;
                pending::<()>().await;
                assert!(text.is_empty());
            });
            run();
            job.cancel();
        });
        trace.add("returned");
    });
    drop(text);
    assert_eq!(trace.get(), ["dropped", "returned"]);
}

#[test]
fn a_panic_of_a_child_cancels_the_others_and_goes_on_in_the_caller() {
    let rt = Harness::new();
    let trace = Trace::default();
    let _inside = rt.enter();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        driven(&rt, || {
            blocking_scope(|s| {
                s.launch(async {
                    let _end = trace.on_drop("sibling");
                    pending::<()>().await;
                });
                s.launch(async {
                    yield_now().await;
                    panic!("oh")
                });
                let never = s.spawn(pending::<()>());
                never.join();
                trace.add("never");
            });
        });
    }));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"oh"));
    assert_eq!(trace.get(), ["sibling"]);
    assert_eq!(rt.reports(), [""; 0]);
}

#[test]
fn a_panic_of_the_body_cancels_the_children() {
    let rt = Harness::new();
    let trace = Trace::default();
    let _inside = rt.enter();
    let run = rt.runner();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        driven(&rt, || {
            blocking_scope(|s| {
                let (begun, has_begun) = channel();
                let end = trace.on_drop("child");
                s.launch(async move {
                    let _end = end;
                    begun.send(()).unwrap();
                    pending::<()>().await;
                });
                run();
                has_begun.recv().unwrap();
                panic!("oh");
            });
        });
    }));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"oh"));
    assert_eq!(trace.get(), ["child"]);
}

#[test]
fn a_shutdown_meanwhile_cancels_the_children_and_the_value_is_there() {
    let rt = Harness::new();
    let trace = Trace::default();
    let _inside = rt.enter();
    let root = rt.scope().job();
    let value = driven(&rt, || {
        let value = blocking_scope(|s| {
            let end = trace.on_drop("child");
            s.launch(async {
                let _end = end;
                root.cancel();
                pending::<()>().await;
            });
            1
        });
        trace.add("returned");
        value
    });
    assert_eq!(value, 1);
    assert_eq!(trace.get(), ["child", "returned"]);
}

#[test]
fn in_a_cancelled_coroutine_it_returns_and_a_join_in_it_unwinds() {
    for joins in [false, true] {
        let rt = Harness::new();
        let trace = Trace::default();
        let (t, run) = (trace.clone(), rt.runner());
        let job = rt.scope().launch(async move {
            let _end = t.on_drop("caller");
            let here = Job::current().unwrap();
            blocking_scope(|s| {
                assert_eq!(s.job().parent(), Some(here.clone()));
                let child = s.spawn(async {
                    let _end = t.on_drop("child");
                    pending::<()>().await;
                });
                run();
                assert!(!is_cancelled());
                here.cancel();
                assert!(is_cancelled());
                run();
                if joins {
                    child.join();
                }
                t.add("body");
            });
            t.add("returned");
            yield_now().await;
            t.add("never");
        });
        rt.run();
        assert!(job.is_completed() && job.is_cancelled());
        match joins {
            true => assert_eq!(trace.get(), ["child", "caller"]),
            false => assert_eq!(trace.get(), ["child", "body", "returned", "caller"]),
        }
    }
}

#[test]
fn siblings_launch_and_await_each_other() {
    fn grow<'scope>(s: &'scope BlockingScope<'scope, '_>, depth: usize, seen: &'scope AtomicUsize) {
        s.launch(async move {
            yield_now().await;
            seen.fetch_add(1, Ordering::SeqCst);
            if depth > 0 {
                grow(s, depth - 1, seen);
                grow(s, depth - 1, seen);
            }
        });
    }
    let rt = Harness::new();
    let _inside = rt.enter();
    let seen = AtomicUsize::new(0);
    let sum = driven(&rt, || {
        blocking_scope(|s| {
            grow(s, 3, &seen);
            let (one, two) = (s.spawn(async { 1 }), s.spawn(async { 2 }));
            s.spawn(async { one.await + two.await }).join()
        })
    });
    assert_eq!(sum, 3);
    assert_eq!(seen.into_inner(), 15);
}

/// A pointer that is kept where a leak check finds it.
struct Kept(#[expect(dead_code, reason = "it is there to be found")] *const ());

// SAFETY: nothing is done with it.
unsafe impl Send for Kept {}

static FORGOTTEN: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

#[test]
fn what_a_child_owns_may_be_forgotten() {
    let rt = Harness::new();
    let trace = Trace::default();
    let _inside = rt.enter();
    let text = String::from("borrowed");
    driven(&rt, || {
        blocking_scope(|s| {
            let (text, trace) = (&text, &trace);
            s.launch(async move {
                let mut inner = Box::pin(scope(async move |s| {
                    let _never_dropped = (trace.on_drop("never dropped"), text.as_str());
                    s.launch(pending());
                    pending::<()>().await;
                }));
                let once = poll_fn(|cx| Poll::Ready(inner.as_mut().poll(cx).is_pending()));
                assert!(once.await);
                // SAFETY: nobody uses it again.
                let raw = Box::into_raw(unsafe { Pin::into_inner_unchecked(inner) });
                FORGOTTEN.lock().unwrap().push(Kept(raw.cast_const().cast()));
            });
        });
        trace.add("returned");
    });
    drop(text);
    assert_eq!(trace.get(), ["returned"]);
}

#[test]
fn a_value_with_a_destructor_is_dropped_before_it_returns() {
    let rt = Harness::new();
    let trace = Trace::default();
    let _inside = rt.enter();
    driven(&rt, || {
        blocking_scope(|s| {
            let unused = s.spawn(async { trace.on_drop("value") });
            drop(unused);
        });
        trace.add("returned");
    });
    assert_eq!(trace.get(), ["value", "returned"]);
}

#[test]
fn what_is_launched_after_a_cancel_is_dropped() {
    let rt = Harness::new();
    let trace = Trace::default();
    let _inside = rt.enter();
    driven(&rt, || {
        blocking_scope(|s| {
            s.job().cancel();
            let end = trace.on_drop("unpolled");
            s.launch(async {
                let _end = end;
                pending::<()>().await;
            });
        });
        trace.add("returned");
    });
    assert_eq!(trace.get(), ["unpolled", "returned"]);
}

#[test]
fn one_whose_job_is_ended_meanwhile_waits_for_its_children_too() {
    type Sent = Pin<Box<dyn Future<Output = ()> + Send>>;
    let rt = Harness::new();
    let trace = Trace::default();
    let (send, sent) = channel::<Sent>();
    let (blocks, has_blocked) = channel();
    let (end, may_end) = futures::channel::oneshot::channel::<()>();
    let t = trace.clone();
    let opener = rt.scope().launch(async move {
        let mut future: Sent = Box::pin(scope(async move |_| {
            yield_now().await;
            let _lent = t.on_drop("lent");
            blocking_scope(|s| {
                let end = t.on_drop("child");
                s.launch(async {
                    let _end = end;
                    pending::<()>().await;
                });
                blocks.send(()).unwrap();
            });
        }));
        let once = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending()));
        assert!(once.await);
        send.send(future).unwrap();
        may_end.await.unwrap();
    });
    rt.run();
    let mut future = sent.recv().unwrap();
    thread::scope(|threads| {
        let rt = &rt;
        threads.spawn(move || {
            let _inside = rt.enter();
            let cx = &mut Context::from_waker(Waker::noop());
            // The run in it panics; whether that comes out here depends on who is faster.
            let _polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        });
        has_blocked.recv().unwrap();
        let child = rt.pop().unwrap();
        end.send(()).unwrap();
        rt.run();
        assert!(!opener.is_completed(), "its child is there");
        for _ in 0..100 {
            thread::yield_now();
        }
        trace.add("let go");
        child.run();
    });
    rt.run();
    assert!(opener.is_completed());
    assert_eq!(trace.get(), ["let go", "child", "lent"]);
}
