//! As `local_scope.rs`, of children that are not `Send`.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use corymb_core::{cancel_scope, local_scope_unsend, yield_now};
use futures::FutureExt;

use crate::common::{Harness, Trace};

#[test]
fn children_of_a_bound_coroutine_borrow_what_is_not_send() {
    let rt = Harness::new();
    let _inside = rt.enter();
    let job = rt.scope().launch_local(async {
        let order = RefCell::new(Vec::new());
        let last = local_scope_unsend(async |s| {
            for number in 0..2 {
                let order = &order;
                s.launch(async move {
                    order.borrow_mut().push(number);
                    yield_now().await;
                    order.borrow_mut().push(number + 10);
                });
            }
            let last = s.spawn(async { Rc::new(order.borrow().len()) });
            *last.await
        })
        .await;
        assert_eq!(last, 2);
        assert_eq!(order.into_inner(), [0, 1, 10, 11]);
    });
    rt.run();
    assert!(job.is_completed() && !job.is_cancelled());
}

#[test]
fn a_child_is_woken_from_another_thread_and_polled_on_its_own() {
    let rt = Harness::new();
    let _inside = rt.enter();
    let slot = Arc::new(Mutex::new(None::<Waker>));
    let theirs = Arc::clone(&slot);
    let here = thread::current().id();
    let job = rt.scope().launch_local(async move {
        let polls = Cell::new(0);
        local_scope_unsend(async |s| {
            let child = s.spawn(poll_fn(|cx| {
                assert_eq!(thread::current().id(), here);
                *theirs.lock().unwrap() = Some(cx.waker().clone());
                polls.set(polls.get() + 1);
                if polls.get() == 2 { Poll::Ready(()) } else { Poll::Pending }
            }));
            child.await;
        })
        .await;
        assert_eq!(polls.get(), 2);
    });
    rt.run();
    let waker = slot.lock().unwrap().take().unwrap();
    thread::spawn(move || waker.wake()).join().unwrap();
    rt.run();
    assert!(job.is_completed() && !job.is_cancelled());
}

#[test]
fn a_cancel_and_a_panic_drop_all_in_place() {
    for fails in [false, true] {
        let rt = Harness::new();
        let _inside = rt.enter();
        let trace = Trace::default();
        let t = trace.clone();
        let job = rt.scope().launch_local(async move {
            let shared = Rc::new(Cell::new(0));
            let inner = cancel_scope(async |c| {
                local_scope_unsend(async |s| {
                    let _body = t.on_drop("body");
                    s.launch(async {
                        let (_child, _shared) = (t.on_drop("child"), Rc::clone(&shared));
                        pending::<()>().await;
                    });
                    s.launch(async {
                        yield_now().await;
                        assert!(!fails, "oh");
                        c.cancel();
                    });
                    pending::<()>().await;
                })
                .await;
            });
            let ended = AssertUnwindSafe(inner).catch_unwind().await;
            assert_eq!(ended.is_err(), fails);
            assert_eq!(Rc::strong_count(&shared), 1);
            t.add("caller");
        });
        rt.run();
        assert!(job.is_completed() && !job.is_cancelled());
        assert_eq!(trace.get(), ["body", "child", "caller"]);
    }
}

/// A pointer that is kept where a leak check finds it.
struct Kept(#[expect(dead_code, reason = "it is there to be found")] *const ());

// SAFETY: nothing is done with it.
unsafe impl Send for Kept {}

static FORGOTTEN: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

#[test]
fn forgotten_after_some_polls_it_touches_nothing_again() {
    for polls in 0..4 {
        let rt = Harness::new();
        let _inside = rt.enter();
        let trace = Trace::default();
        let t = trace.clone();
        let job = rt.scope().launch_local(async move {
            let data = Rc::new(Cell::new(0));
            let (lent, t1) = (&*data, &t);
            let mut future = Box::pin(local_scope_unsend(async move |s| {
                s.launch(async move {
                    let _end = t1.on_drop("never dropped");
                    while lent.replace(lent.get() + 1) < 100 {
                        yield_now().await;
                    }
                });
                pending::<()>().await;
            }));
            for _ in 0..polls {
                let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending()));
                assert!(polled.await);
                yield_now().await;
            }
            // SAFETY: nobody uses it again.
            let raw = Box::into_raw(unsafe { Pin::into_inner_unchecked(future) });
            FORGOTTEN.lock().unwrap().push(Kept(raw.cast_const().cast()));
            drop(data);
            t.add("data dropped");
        });
        rt.run();
        assert!(job.is_completed());
        assert_eq!(trace.get(), ["data dropped"], "after {polls} polls");
    }
}
