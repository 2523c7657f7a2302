//! Children in the order in which they end.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use corymb_core::time::sleep;
use corymb_core::{JobState, JoinError, scope, supervisor_scope, try_scope, yield_now};
use futures::{FutureExt, StreamExt};

use crate::common::{Harness, Trace, times};

const SECOND: Duration = Duration::from_secs(1);

fn settle(rt: &Harness) {
    for _ in 0..10 {
        rt.run();
        rt.pass(SECOND);
    }
    rt.run();
}

#[test]
fn they_come_in_the_order_of_their_ends_with_their_jobs() {
    let rt = Harness::new();
    let child = rt.spawn(scope(async |s| {
        let mut group = s.group();
        let jobs = [3, 1, 2].map(|n| {
            group.spawn(async move {
                sleep(SECOND * n).await;
                n
            })
        });
        let mut order = Vec::new();
        while let Some((job, outcome)) = group.join_next().await {
            let n = outcome.unwrap();
            assert_eq!(jobs.iter().position(|it| *it == job), [1, 2, 0].get(order.len()).copied());
            assert_eq!(job.state(), JobState::Completed);
            order.push(n);
        }
        assert!(group.is_empty());
        order
    }));
    settle(&rt);
    assert_eq!(rt.block_on(child), [1, 2, 3]);
}

#[test]
fn it_goes_on_when_there_are_new_ones() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let mut group = s.group();
        assert!(group.join_next().await.is_none());
        group.spawn(async { 1 });
        assert_eq!(group.join_next().await.unwrap().1.unwrap(), 1);
        assert!(group.join_next().await.is_none());
        group.spawn(async { 2 });
        assert_eq!(group.map(|(_, outcome)| outcome.unwrap()).collect::<Vec<_>>().await, [2]);
    }));
}

#[test]
fn failures_and_cancellations_are_values() {
    let rt = Harness::new();
    rt.block_on(supervisor_scope(async |s| {
        let mut group = s.group::<()>();
        group.spawn(async { panic!("oh") });
        let (_, outcome) = group.join_next().await.unwrap();
        assert!(matches!(outcome, Err(JoinError::Panicked(_))));
        group.spawn(pending());
        group.cancel_all();
        let (job, outcome) = group.join_next().await.unwrap();
        assert!(matches!(outcome, Err(JoinError::Cancelled(_))));
        assert_eq!(job.state(), JobState::Cancelled);
    }));
}

#[test]
fn what_had_ended_or_was_lazy_when_it_was_added_comes_too() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let mut group = s.group();
        let ended = s.spawn(async { 1 });
        ended.job().join().await;
        group.add(ended);
        group.add(s.coroutine().undispatched().spawn(async { 2 }));
        let mut asked = s.spawn(async {
            yield_now().await;
            3
        });
        assert!((&mut asked).now_or_never().is_none());
        group.add(asked);
        group.add(s.coroutine().lazy().spawn(async { 4 }));
        let mut all = Vec::new();
        while let Some((_, outcome)) = group.join_next().await {
            all.push(outcome.unwrap());
        }
        assert_eq!(all, [1, 2, 4, 3]);
    }));
}

#[test]
fn a_wait_that_is_dropped_loses_nothing() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let mut group = s.group();
        group.spawn(async { 1 });
        {
            let mut wait = pin!(group.join_next());
            assert!(wait.as_mut().now_or_never().is_none());
        }
        yield_now().await;
        assert_eq!(group.join_next().now_or_never().unwrap().unwrap().1.unwrap(), 1);
    }));
}

#[test]
fn dropped_it_leaves_the_children_to_the_scope() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    rt.block_on(async move {
        scope(async |s| {
            let mut group = s.group();
            let t = t.clone();
            group.spawn(async move {
                yield_now().await;
                t.add("child");
                t.on_drop("value")
            });
            drop(group);
        })
        .await;
        t.add("after");
    });
    assert_eq!(trace.get(), ["child", "value", "after"]);
}

#[test]
fn an_error_of_a_try_scope_s_child_goes_to_the_scope() {
    let rt = Harness::new();
    let result = rt.block_on(try_scope(async |s| {
        let mut group = s.group();
        group.spawn(async { Ok(1) });
        assert_eq!(group.join_next().await.unwrap().1.unwrap(), 1);
        group.spawn(async { Err("no") });
        let (_, outcome) = group.join_next().await.unwrap();
        assert!(matches!(outcome, Err(JoinError::Failed(_))));
        yield_now().await;
        unreachable!("the scope has failed")
    }));
    assert_eq!(result, Err::<(), _>("no"));
}

#[test]
fn none_is_lost_or_given_twice_on_threads() {
    for _ in 0..times(400) {
        let rt = Harness::new();
        let job = rt.scope().launch(scope(async |s| {
            let mut group = s.group();
            for n in 0..10_u32 {
                group.spawn(async move { n });
            }
            let mut sum = 0;
            while let Some((_, outcome)) = group.join_next().await {
                sum += outcome.unwrap();
            }
            assert_eq!(sum, 45);
        }));
        rt.run_on(2, &job);
        assert_eq!(job.state(), JobState::Completed);
    }
}
