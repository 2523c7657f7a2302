//! Coroutines that are bound to a thread, on a runtime that is driven by hand.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use corymb_core::{CancelCause, Coroutine, try_scope};

use crate::common::Harness;

/// Counts its drops; shares a count that is not atomic, which miri watches.
struct Counted(Rc<Cell<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn it_is_woken_and_cancelled_from_elsewhere_and_stays() {
    let harness = Harness::new();
    let dropped = Rc::new(Cell::new(0));
    let slot = Arc::new(Mutex::new(None::<Waker>));
    let _inside = harness.enter();
    let (counted, woken) = (Counted(dropped.clone()), slot.clone());
    let child = harness.scope().spawn_local(async move {
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            *woken.lock().unwrap() = Some(cx.waker().clone());
            if polls == 2 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        counted
    });
    let never = harness.scope().spawn_local(pending::<Counted>());
    harness.run();
    let job = never.job();
    thread::spawn(move || {
        slot.lock().unwrap().take().unwrap().wake();
        job.cancel();
    })
    .join()
    .unwrap();
    assert!(!child.job().is_completed() && !never.job().is_completed());
    harness.run();
    assert!(child.job().is_completed() && never.job().is_completed());
    drop(child);
    assert_eq!(dropped.get(), 1);
}

/// The value is at home, and the error is moved out of what is.
#[test]
fn a_try_scope_takes_the_error_and_leaves_the_value() {
    let harness = Harness::new();
    let dropped = Rc::new(Cell::new(0));
    let _inside = harness.enter();
    let (result, counts) = (Rc::new(Cell::new(None)), dropped.clone());
    let trying = try_scope(async move |s| {
        let value = Counted(counts.clone());
        let kept = s.spawn_local(async move { Ok(value) }).await;
        assert_eq!(counts.get(), 0);
        let (value, none) = (Counted(counts.clone()), Counted(counts.clone()));
        drop(s.spawn_local(async move { Ok(value) }));
        let never = s.spawn_local(async move {
            let _none = none;
            Err::<Counted, _>(vec![1])
        });
        drop(never.await);
        drop(kept);
        Ok(())
    });
    let put = Rc::clone(&result);
    harness.scope().launch_local(async move { put.set(Some(trying.await)) });
    harness.run();
    assert_eq!(result.take(), Some(Err(vec![1])));
    assert_eq!(dropped.get(), 3);
}

#[test]
fn what_is_run_elsewhere_panics_and_goes_home() {
    let harness = Harness::new();
    let dropped = Rc::new(Cell::new(0));
    let _inside = harness.enter();
    let counted = Counted(dropped.clone());
    let job = harness.scope().launch_local(async move { drop(counted) });
    let coroutine = harness.pop().unwrap();
    thread::spawn(move || {
        assert!(catch_unwind(AssertUnwindSafe(|| coroutine.run())).is_err());
    })
    .join()
    .unwrap();
    assert!(!job.is_completed() && dropped.get() == 0);
    harness.run();
    assert!(job.is_completed() && job.is_cancelled() && dropped.get() == 1);
}

#[test]
fn what_is_dropped_elsewhere_goes_home() {
    let harness = Harness::new();
    let dropped = Rc::new(Cell::new(0));
    let _inside = harness.enter();
    let counted = Counted(dropped.clone());
    let job = harness.scope().launch_local(async move { drop(counted) });
    let coroutine: Coroutine = harness.pop().unwrap();
    thread::spawn(move || drop(coroutine)).join().unwrap();
    assert_eq!(dropped.get(), 0);
    harness.run();
    assert!(job.is_cancelled() && dropped.get() == 1);
}

/// In place of a thread that has ended in the middle of a wake, its home refuses.
#[test]
#[cfg_attr(miri, ignore = "what is leaked here would be a fault elsewhere")]
fn what_is_woken_when_its_thread_is_gone_is_leaked_and_reported_once() {
    let harness = Harness::new();
    let dropped = Rc::new(Cell::new(0));
    let slot = Arc::new(Mutex::new(None::<Waker>));
    let _inside = harness.enter();
    let (counted, woken) = (Counted(dropped.clone()), slot.clone());
    let launch = harness.scope().coroutine().name("left behind");
    let job = launch.launch_local(async move {
        let _counted = counted;
        poll_fn(|cx| {
            *woken.lock().unwrap() = Some(cx.waker().clone());
            Poll::<()>::Pending
        })
        .await;
    });
    harness.run();
    harness.refuse();
    thread::spawn(move || {
        let waker = slot.lock().unwrap().take().unwrap();
        waker.wake_by_ref();
        waker.wake();
    })
    .join()
    .unwrap();
    assert!(job.is_completed() && matches!(job.cause().unwrap().cause(), CancelCause::Shutdown));
    assert_eq!(dropped.get(), 0);
    let reports = harness.reports();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(reports[0].starts_with("coroutine `left behind` launched at"), "{reports:?}");
    assert!(reports[0].contains("was leaked"), "{reports:?}");
    harness.forget_reports();
}

#[test]
fn a_launch_into_a_scope_that_has_ended_is_dropped_here() {
    let harness = Harness::new();
    let dropped = Rc::new(Cell::new(0));
    let ended = harness.block_on(corymb_core::scope(async |s| s));
    let _inside = harness.enter();
    let counted = Counted(dropped.clone());
    let child = ended.spawn_local(async move { counted });
    assert!(child.job().is_cancelled() && dropped.get() == 1);
}
