//! Children whose value somebody else gives.

use std::future::pending;
use std::thread;

use corymb_core::{CancelCause, JobState, JoinError, cancel_scope, scope, try_scope, yield_now};

use crate::common::{Harness, Trace};

#[test]
fn the_scope_waits_for_the_value() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    rt.block_on(async move {
        scope(async |s| {
            let (promise, value) = s.promise();
            assert_eq!(s.job().children(), [value.job()]);
            let t = t.clone();
            s.launch(async move {
                yield_now().await;
                t.add("completed");
                promise.complete(42).unwrap();
            });
            drop::<corymb_core::Deferred<u32>>(value);
        })
        .await;
        t.add("after");
    });
    assert_eq!(trace.get(), ["completed", "after"]);
}

#[test]
fn it_is_completed_from_any_thread() {
    let rt = Harness::new();
    let waits = rt.spawn(scope(async |s| {
        let (promise, value) = s.promise();
        thread::spawn(move || promise.complete("there")).join().unwrap().unwrap();
        value.await
    }));
    assert_eq!(rt.block_on(waits), "there");
}

#[test]
fn dropped_uncompleted_it_is_cancelled_alone() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let (promise, value) = s.promise::<u32>();
        let job = promise.job();
        drop(promise);
        let Err(JoinError::Cancelled(cancelled)) = value.outcome().await else { unreachable!() };
        assert!(matches!(cancelled.cause(), CancelCause::Abandoned));
        assert_eq!(cancelled.place(), job.launched_at());
        assert_eq!(job.state(), JobState::Cancelled);
        assert!(s.job().is_active());
    }));
}

#[test]
fn cancelled_with_its_scope_it_gives_the_value_back() {
    let rt = Harness::new();
    let promise = rt.block_on(async {
        let mut kept = None;
        let ended = cancel_scope(async |c| {
            scope(async |s| {
                let (promise, _value) = s.promise::<&str>();
                kept = Some(promise);
                c.cancel();
                pending::<()>().await;
            })
            .await;
        });
        assert!(ended.await.is_err());
        kept.unwrap()
    });
    assert_eq!(promise.job().state(), JobState::Cancelled);
    assert_eq!(promise.complete("late"), Err("late"));
}

#[test]
fn a_value_that_is_not_taken_is_dropped() {
    let rt = Harness::new();
    let trace = Trace::default();
    let value = trace.on_drop("value");
    rt.block_on(scope(async move |s| {
        let (promise, deferred) = s.promise();
        assert!(promise.complete(value).is_ok());
        deferred.job().cancel();
        assert!(deferred.outcome().await.is_err());
    }));
    assert_eq!(trace.get(), ["value"]);
}

#[test]
fn a_try_scope_has_them_too() {
    let rt = Harness::new();
    let result = rt.block_on(try_scope(async |s| {
        let (_promise, value) = s.promise::<u32>();
        s.launch(async { Err("no") });
        Ok(value.await)
    }));
    assert_eq!(result, Err("no"));
}
