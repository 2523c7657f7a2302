//! Children of which there are so many at once.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corymb_core::time::{now, sleep};
use corymb_core::{JobState, finally, scope, try_scope, yield_now};
use futures::FutureExt;

use crate::common::{Harness, Trace, times};

const SECOND: Duration = Duration::from_secs(1);

fn settle(rt: &Harness) {
    for _ in 0..20 {
        rt.run();
        rt.pass(SECOND);
    }
    rt.run();
}

#[test]
fn the_next_one_waits_for_a_free_place() {
    let rt = Harness::new();
    let child = rt.spawn(scope(async |s| {
        let start = now();
        let limited = s.limit(2).unwrap();
        let mut launched = Vec::new();
        for _ in 0..5 {
            drop(limited.spawn(sleep(SECOND)).await);
            launched.push((now() - start).as_secs());
        }
        launched
    }));
    settle(&rt);
    assert_eq!(rt.block_on(child), [0, 0, 1, 1, 2]);
}

#[test]
fn a_place_is_free_when_all_below_the_child_has_ended() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let child = rt.spawn(scope(async move |s| {
        let one = s.limit(1).unwrap();
        let cleanup = t.clone();
        let first = one.spawn(finally(std::future::pending::<()>(), move || async move {
            sleep(SECOND).await;
            cleanup.add("cleaned up");
        }));
        let first = first.await;
        yield_now().await;
        first.job().cancel();
        let second = t.clone();
        one.spawn(async move { second.add("second") }).await.await;
    }));
    settle(&rt);
    rt.block_on(child);
    assert_eq!(trace.get(), ["cleaned up", "second"]);
}

#[test]
fn first_come_first_served_and_who_gives_up_is_passed_over() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let child = rt.spawn(scope(async move |s| {
        let one = s.limit(1).unwrap();
        drop(one.spawn(sleep(SECOND)).await);
        let waits = |what| {
            let (one, t) = (one.clone(), t.clone());
            s.launch(async move { one.spawn(async move { t.add(what) }).await.await })
        };
        let (_first, second, _third) = (waits("first"), waits("second"), waits("third"));
        yield_now().await;
        second.cancel();
    }));
    settle(&rt);
    rt.block_on(child);
    assert_eq!(trace.get(), ["first", "third"]);
}

#[test]
fn a_place_that_was_given_and_not_taken_goes_to_the_next() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let one = s.limit(1).unwrap();
        let holds = one.spawn(yield_now()).await;
        let mut next = Box::pin(one.spawn(async {}));
        let mut last = pin!(one.spawn(async { 42 }));
        assert!((&mut next).now_or_never().is_none());
        assert!((&mut last).now_or_never().is_none());
        holds.await; // and gives its place to the next
        assert!((&mut last).now_or_never().is_none());
        drop(next);
        assert_eq!(last.await.await, 42);
    }));
}

#[test]
fn a_limit_of_zero_is_refused() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let refused = s.limit(0).unwrap_err().to_string();
        assert!(refused.starts_with("Scope::limit(0) at ") && refused.contains(file!()));
    }));
}

#[test]
fn an_error_of_a_limited_child_ends_the_scope() {
    let rt = Harness::new();
    let result = rt.block_on(try_scope(async |s| {
        let one = s.limit(1).unwrap();
        drop(one.spawn(async { Err::<(), _>("no") }).await);
        drop(one.spawn(async { Ok(()) }).await);
        std::future::pending::<Result<(), _>>().await
    }));
    assert_eq!(result, Err("no"));
}

#[test]
fn values_of_all_come_in_the_order_of_the_futures() {
    let rt = Harness::new();
    let sum = rt.block_on(try_scope(async |s| {
        let mut all = Vec::new();
        for value in s.spawn_all((0..3).map(async |n| Ok::<_, ()>(n))) {
            all.push(value.await);
        }
        Ok(all)
    }));
    assert_eq!(sum, Ok(vec![0, 1, 2]));
}

#[test]
fn it_holds_on_threads() {
    let rt = Harness::new();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let job = rt.scope().launch(scope(async move |s| {
        let two = s.limit(2).unwrap();
        for _ in 0..times(500) {
            let (now, most) = (now.clone(), most.clone());
            let child = two.spawn(async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
            });
            drop(child.await);
        }
    }));
    rt.run_on(3, &job);
    assert_eq!(job.state(), JobState::Completed);
    assert!((1..=2).contains(&seen.load(Ordering::SeqCst)));
}
