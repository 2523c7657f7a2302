//! Coroutines whose first poll is a part of their launch.

use std::cell::Cell;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use corymb_core::{
    Context, Coroutine, Dispatcher, Job, JobState, Scope, cancel_scope, is_cancelled, scope,
    supervisor_scope, with_context, yield_now,
};
use futures::FutureExt;

use crate::common::{Harness, Trace, times};

#[test]
fn it_begins_in_the_launch_and_goes_on_by_its_dispatcher() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    rt.block_on(scope(async move |s| {
        t.add("1");
        let inside = t.clone();
        let child = s.coroutine().undispatched().spawn(async move {
            inside.add("2");
            yield_now().await;
            inside.add("4");
        });
        t.add("3");
        child.await;
        t.add("5");
    }));
    assert_eq!(trace.get(), ["1", "2", "3", "4", "5"]);
}

#[test]
fn one_that_does_not_suspend_has_completed_after_the_launch() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let child = s.coroutine().undispatched().spawn(async { 42 });
        assert_eq!(child.job().state(), JobState::Completed);
        assert_eq!(child.await, 42);
    }));
}

#[test]
fn its_job_its_context_and_its_place_in_the_tree_are_its_own() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let own = Job::current();
        let seen: Arc<Mutex<Option<Job>>> = Arc::default();
        let place = seen.clone();
        let child = s.coroutine().name("child").undispatched().launch(async move {
            assert_eq!(Context::current().name(), Some("child"));
            *place.lock().unwrap() = Job::current();
            pending::<()>().await;
        });
        assert_eq!(*seen.lock().unwrap(), Some(child.clone()));
        assert_eq!(Job::current(), own);
        assert_eq!(Context::current().name(), None);
        assert_eq!(s.job().children(), std::slice::from_ref(&child));
        child.cancel();
    }));
}

#[test]
fn a_panic_stays_out_of_the_launch_and_fails_the_scope() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let failing = async move {
        scope(async move |s| {
            let job = s.coroutine().undispatched().launch(async { panic!("oh") });
            t.add("launched");
            assert!(job.is_completed() && is_cancelled());
            yield_now().await;
            t.add("after the suspension");
        })
        .await;
    };
    let payload = rt.block_on(AssertUnwindSafe(failing).catch_unwind()).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"oh"));
    assert_eq!(trace.get(), ["launched"]);
}

#[test]
fn a_panic_in_a_supervisor_s_child_is_that_child_s() {
    let rt = Harness::new();
    rt.block_on(supervisor_scope(async |s| {
        let child = s.coroutine().undispatched().spawn(async { panic!("oh") });
        assert!(!is_cancelled());
        let outcome: Result<(), _> = child.outcome().await;
        assert!(outcome.unwrap_err().to_string().ends_with("panicked: oh"));
    }));
    assert_eq!(rt.reports(), [""; 0]);
}

#[test]
fn in_a_cancelled_scope_it_does_not_begin() {
    let rt = Harness::new();
    let trace = Trace::default();
    let gone = trace.on_drop("future");
    rt.block_on(async move {
        let ended = cancel_scope(async |c| {
            scope(async |s| {
                c.cancel();
                s.coroutine().undispatched().launch(async move {
                    let _gone = gone;
                    unreachable!("the scope is cancelled")
                });
            })
            .await;
        });
        assert!(ended.await.is_err());
    });
    assert_eq!(trace.get(), ["future"]);
}

#[test]
fn one_that_cancels_its_scope_is_dropped_at_its_suspension() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    rt.block_on(async move {
        let ended = cancel_scope(async |c| {
            scope(async |s| {
                let t = t.clone();
                s.coroutine().undispatched().launch(async move {
                    let _gone = t.on_drop("future");
                    c.cancel();
                    t.add("cancelled");
                    yield_now().await;
                    t.add("after");
                });
                pending::<()>().await;
            })
            .await;
        });
        assert!(ended.await.is_err());
    });
    assert_eq!(trace.get(), ["cancelled", "future"]);
}

/// Launches one inside of the other, `left` deep.
fn nest(s: &Scope, left: usize, deepest: &Arc<AtomicUsize>) {
    thread_local!(static NOW: Cell<usize> = const { Cell::new(0) });
    let (next, most) = (s.clone(), deepest.clone());
    s.coroutine().undispatched().launch(async move {
        NOW.set(NOW.get() + 1);
        most.fetch_max(NOW.get(), Ordering::Relaxed);
        if left > 0 {
            nest(&next, left - 1, &most);
        }
        NOW.set(NOW.get() - 1);
    });
}

#[test]
fn nested_ones_begin_at_once_and_a_recursion_is_cut_by_the_queue() {
    let rt = Harness::new();
    let deepest = Arc::new(AtomicUsize::new(0));
    let most = deepest.clone();
    rt.block_on(scope(async move |s| {
        nest(&s, 20, &most);
        assert_eq!(most.load(Ordering::Relaxed), 21);
        nest(&s, 20 * times(500), &most);
        assert_eq!(most.load(Ordering::Relaxed), 32);
    }));
    assert_eq!(deepest.load(Ordering::Relaxed), 33);
}

#[test]
fn a_section_in_it_leaves_by_the_queue_and_comes_home() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let queue: Arc<Mutex<Vec<Coroutine>>> = Arc::default();
    let queued = queue.clone();
    let other = Dispatcher::custom(move |coroutine| queued.lock().unwrap().push(coroutine));
    rt.block_on(scope(async move |s| {
        let (launcher, inside) = (thread::current().id(), t.clone());
        let child = s.coroutine().undispatched().spawn(async move {
            inside.add("begun");
            let there = with_context(other, async { thread::current().id() }).await;
            assert_ne!(launcher, there);
            assert_eq!(launcher, thread::current().id());
            inside.add("back");
        });
        t.add("launched");
        let there = queue.lock().unwrap().pop().expect("it has left by the queue");
        thread::spawn(move || there.run()).join().unwrap();
        t.add("served");
        child.await;
    }));
    assert_eq!(trace.get(), ["begun", "launched", "served", "back"]);
}

#[test]
fn a_launch_outside_of_all_coroutines_polls_too() {
    let rt = Harness::new();
    let _inside = rt.enter();
    let trace = Trace::default();
    let inner = trace.clone();
    let launched = catch_unwind(AssertUnwindSafe(|| {
        let child = rt.scope().coroutine().undispatched();
        child.launch(async move {
            inner.add("first poll");
            yield_now().await;
            inner.add("second poll");
        })
    }));
    assert_eq!(trace.get(), ["first poll"]);
    rt.run();
    assert_eq!(trace.get(), ["first poll", "second poll"]);
    assert!(launched.unwrap().is_completed());
}
