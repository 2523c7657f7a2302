//! Coroutines that begin when somebody starts them.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corymb_core::time::sleep;
use corymb_core::{
    CancelCause, Completion, Deferred, Job, JobState, JoinError, cancel_scope, scope, try_scope,
    yield_now,
};

use crate::common::{Harness, Trace, times};

#[test]
fn it_is_new_and_listed_until_it_is_started() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let job = s.coroutine().lazy().launch(yield_now());
        yield_now().await;
        assert_eq!(job.state(), JobState::New);
        assert!(!job.is_active() && !job.is_completed() && !job.is_cancelled());
        assert_eq!((s.job().children(), s.job().unlisted()), (vec![job.clone()], 0));
        assert_eq!(job.parent(), Some(s.job()));
        let mut dump = String::new();
        job.dump(&mut dump).unwrap();
        assert!(dump.starts_with("coroutine, new, "), "{dump}");

        assert!(job.start());
        assert!(!job.start());
        assert_eq!(job.state(), JobState::Active);
        assert_eq!((s.job().children(), s.job().unlisted()), (vec![job.clone()], 0));
        job.join().await;
        assert_eq!(job.state(), JobState::Completed);
        assert!(!job.start());
    }));
}

#[test]
fn joining_and_awaiting_start_it() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let lazy = || s.coroutine().lazy();
        let joined = lazy().launch(async {});
        joined.join().await;
        assert_eq!(joined.state(), JobState::Completed);
        assert_eq!(lazy().spawn(async { 1 }).await, 1);
        assert_eq!(lazy().spawn(async { 2 }).outcome().await.unwrap(), 2);
        let bound = lazy().launch_local(async {});
        bound.join().await;
        assert_eq!(bound.state(), JobState::Completed);
    }));
}

#[test]
fn a_scope_ends_without_those_that_nobody_started() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let lazy = rt.block_on(async move {
        let lazy = scope(async |s| {
            let (first, second) = (t.on_drop("first"), t.on_drop("second"));
            let first = s.coroutine().lazy().spawn(async move { drop(first) });
            let second = s.coroutine().lazy().launch(async move { drop(second) });
            let t = t.clone();
            s.launch(async move {
                sleep(Duration::ZERO).await;
                yield_now().await;
                t.add("child");
            });
            (first.job(), second)
        })
        .await;
        t.add("after");
        lazy
    });
    assert_eq!(trace.get(), ["child", "first", "second", "after"]);
    for job in [lazy.0, lazy.1] {
        assert_eq!(job.state(), JobState::Cancelled);
        assert!(matches!(job.cause().unwrap().cause(), CancelCause::ScopeEnded));
    }
}

#[test]
fn one_that_was_started_is_waited_for_and_the_rest_goes_after_it() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    rt.block_on(scope(async move |s| {
        let started = t.clone();
        let (first, other) = (t.clone(), t.on_drop("other"));
        let _other = s.coroutine().lazy().launch(async move { drop(other) });
        let job = s.coroutine().lazy().launch(async move {
            yield_now().await;
            started.add("started");
        });
        job.start();
        first.add("body");
    }));
    assert_eq!(trace.get(), ["body", "started", "other"]);
}

#[test]
fn one_that_is_cancelled_never_begins() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let how = Arc::new(Mutex::new(None));
        let child = s.coroutine().lazy().spawn(async { unreachable!("it was cancelled") });
        let told = how.clone();
        child.job().on_completion(move |end| *told.lock().unwrap() = Some(end.clone()));
        assert!(child.job().cancel());
        assert!(!child.job().start());
        let outcome: Result<(), _> = child.outcome().await;
        assert!(matches!(outcome, Err(JoinError::Cancelled(_))));
        assert!(matches!(*how.lock().unwrap(), Some(Completion::Cancelled(_))));
    }));
}

#[test]
fn it_is_cancelled_with_its_scope() {
    let rt = Harness::new();
    let job = rt.block_on(async {
        let mut lazy = None;
        let ended = cancel_scope(async |c| {
            scope(async |s| {
                lazy = Some(s.coroutine().lazy().launch(pending()));
                c.cancel();
                pending::<()>().await;
            })
            .await;
        });
        assert!(ended.await.is_err());
        lazy.unwrap()
    });
    assert_eq!(job.state(), JobState::Cancelled);
    assert!(matches!(job.cause().unwrap().cause(), CancelCause::ParentCancelled));
}

#[test]
fn launched_into_a_cancelled_scope_it_ends() {
    let rt = Harness::new();
    let job = rt.block_on(async {
        let mut lazy = None;
        let ended = cancel_scope(async |c| {
            c.cancel();
            scope(async |s| lazy = Some(s.coroutine().lazy().launch(pending()))).await;
        });
        assert!(ended.await.is_err());
        lazy.unwrap()
    });
    assert_eq!(job.state(), JobState::Cancelled);
    assert!(!job.start());
}

#[test]
fn launched_into_a_scope_that_has_ended_it_is_cancelled() {
    let rt = Harness::new();
    rt.block_on(async {
        let ended = scope(async |s| s).await;
        let job = ended.coroutine().lazy().launch(pending());
        assert_eq!(job.state(), JobState::Cancelled);
        assert!(!job.start());
    });
}

#[test]
fn a_failure_once_it_is_started_is_as_any_other() {
    let rt = Harness::new();
    let result: Result<(), &str> = rt.block_on(try_scope(async |s| {
        let failing = s.coroutine().lazy().launch(async { Err("no") });
        failing.join().await;
        unreachable!("the scope has failed")
    }));
    assert_eq!(result, Err("no"));
}

#[test]
fn another_coroutine_may_start_it_while_its_scope_ends() {
    for seed in 0..times(200) as u64 {
        let rt = Harness::in_random_order(seed);
        let place: Arc<Mutex<Option<Job>>> = Arc::default();
        let theirs = place.clone();
        let ended = rt.spawn(scope(async move |s| {
            *theirs.lock().unwrap() = Some(s.coroutine().lazy().launch(yield_now()));
            s.launch(yield_now());
        }));
        let job = ended.job();
        let starter: Deferred<bool> = rt.spawn(async move {
            loop {
                let lazy = place.lock().unwrap().clone();
                match lazy {
                    Some(lazy) => return lazy.start(),
                    None => yield_now().await,
                }
            }
        });
        rt.run();
        assert!(job.is_completed(), "seed {seed}");
        assert!(rt.block_on(async { starter.outcome().await }).is_ok());
    }
}

#[test]
fn starts_race_with_the_end_on_threads() {
    for _ in 0..times(200) {
        let rt = Harness::new();
        let place: Arc<Mutex<Option<Job>>> = Arc::default();
        let theirs = place.clone();
        let trace = Trace::default();
        let gone = trace.on_drop("future");
        let outer = rt.scope().launch(async move {
            scope(async move |s| {
                let lazy = s.coroutine().lazy().launch(async move {
                    let _gone = gone;
                    yield_now().await;
                });
                *theirs.lock().unwrap() = Some(lazy);
            })
            .await;
        });
        let starter = rt.scope().launch(async move {
            while place.lock().unwrap().is_none() {}
            let lazy = place.lock().unwrap().take().unwrap();
            let started = lazy.start();
            lazy.join().await;
            assert!(!started || lazy.state() == JobState::Completed);
            assert!(started || lazy.state() == JobState::Cancelled);
        });
        rt.run_on(2, &outer);
        rt.run_on(2, &starter);
        assert_eq!(trace.get(), ["future"]);
        assert_eq!(rt.reports(), [""; 0]);
    }
}
