//! Scopes whose end and result a policy decides.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corymb_core::joiner::{
    AllOk, AllUntil, AnyOk, AwaitAll, Flow, Hedged, Joiner, PartialOk, Quorum, Reason, Start,
    Subtask, Unmet,
};
use corymb_core::time::{now, sleep};
use corymb_core::{CancelCause, Job, JobState, finally, join_scope, scope, yield_now};
use futures::FutureExt;

use crate::common::{Harness, Trace};

const SECOND: Duration = Duration::from_secs(1);

/// Runs `future` to its end, letting up to a minute pass.
fn run<F>(rt: &Harness, future: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let child = rt.spawn(future);
    for _ in 0..60 {
        rt.run();
        rt.pass(SECOND);
    }
    rt.block_on(child)
}

async fn after<T>(seconds: u32, value: T) -> T {
    sleep(SECOND * seconds).await;
    value
}

type Number = Result<u32, &'static str>;

#[test]
fn all_values_come_in_the_order_of_the_forks() {
    let rt = Harness::new();
    let all = run(
        &rt,
        join_scope(AllOk::<_, ()>::new(), async |s| {
            s.fork(after(2, Ok(1)));
            s.fork(after(1, Ok(2)));
            sleep(SECOND * 3).await;
            s.fork(async { Ok(3) });
        }),
    );
    assert_eq!(all, Ok(vec![1, 2, 3]));
    let none = run(&rt, join_scope(AllOk::<(), ()>::new(), async |_| ()));
    assert_eq!(none, Ok(vec![]));
}

#[test]
fn the_first_failure_cancels_the_rest_and_the_body_and_waits_for_them() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let straggler: Arc<Mutex<Option<Job>>> = Arc::default();
    let place = straggler.clone();
    let result = run(&rt, async move {
        let result = join_scope(AllOk::new(), async |s| {
            let _body = t.on_drop("body");
            let cleanup = t.clone();
            let slow = finally(pending(), move || async move {
                sleep(SECOND * 5).await;
                cleanup.add("straggler");
            });
            *place.lock().unwrap() = Some(s.fork(slow));
            s.fork(after(1, Number::Err("no")));
            pending::<()>().await;
        })
        .await;
        t.add("after");
        result
    });
    let Err(unmet) = result else { unreachable!() };
    assert_eq!((unmet.reason(), unmet.into_errors()), (Reason::Failed, vec!["no"]));
    assert_eq!(trace.get(), ["body", "straggler", "after"]);
    let job = straggler.lock().unwrap().clone().unwrap();
    assert_eq!(job.state(), JobState::Cancelled);
    let cause = job.cause().unwrap();
    assert!(matches!(cause.cause(), CancelCause::Decided));
    assert_eq!(cause.place().file(), file!());
}

#[test]
fn the_first_value_wins_and_without_one_there_are_all_errors() {
    let rt = Harness::new();
    let any = || AnyOk::<u32, &str>::new();
    let value = run(
        &rt,
        join_scope(any(), async |s| {
            s.fork(after(1, Err("no")));
            s.fork(after(2, Ok(2)));
            s.fork(after(3, Ok(3)));
        }),
    );
    assert_eq!(value, Ok(2));
    let unmet = run(
        &rt,
        join_scope(any(), async |s| {
            s.fork(after(2, Err("b")));
            s.fork(after(1, Err("a")));
        }),
    );
    assert_eq!(unmet.unwrap_err().into_errors(), ["a", "b"]);
    let none = run(&rt, join_scope(any(), async |_| ()));
    assert_eq!(none.unwrap_err().reason(), Reason::NoForks);
}

#[test]
fn a_quorum_of_more_than_there_are_forks_says_so() {
    let rt = Harness::new();
    let of_three = |forks: usize| {
        join_scope(Quorum::<u32, ()>::new(3), async move |s| {
            (0..forks).for_each(|_| drop(s.fork(async { Ok(1) })));
        })
    };
    let reasons = [0, 2].map(|forks| run(&rt, of_three(forks)).unwrap_err().reason());
    assert_eq!(reasons, [Reason::NoForks, Reason::TooFewForks]);
    assert_eq!(run(&rt, of_three(3)), Ok(vec![1; 3]));
}

#[test]
fn a_fork_that_is_cancelled_by_itself_is_unavailable() {
    let rt = Harness::new();
    let results = run(
        &rt,
        join_scope(AwaitAll::<u32, ()>::new(), async |s| {
            let job = s.fork(pending());
            s.fork(async { Ok(1) });
            yield_now().await;
            job.cancel();
        }),
    );
    assert_eq!(results, [Subtask::Unavailable, Subtask::Ok(1)]);
    let unmet = run(
        &rt,
        join_scope(AllOk::<u32, ()>::new(), async |s| {
            s.fork(pending()).cancel();
        }),
    );
    assert_eq!(unmet.unwrap_err().reason(), Reason::Cancelled);
}

#[test]
fn a_predicate_ends_it() {
    let rt = Harness::new();
    let mut seen = 0;
    let two = AllUntil::new(move |_: &Subtask<u32, &str>| {
        seen += 1;
        seen == 2
    });
    let results = run(
        &rt,
        join_scope(two, async |s| {
            s.fork(after(2, Ok(1)));
            s.fork(after(1, Err("no")));
            s.fork(pending());
        }),
    );
    assert_eq!(results, [Subtask::Ok(1), Subtask::Err("no"), Subtask::Unavailable]);
}

#[test]
fn a_quorum_ends_when_it_is_there_and_as_soon_as_it_cannot_be() {
    let rt = Harness::new();
    let reached = run(
        &rt,
        join_scope(Quorum::new(2), async |s| {
            s.fork(after(3, Number::Ok(3)));
            s.fork(after(2, Ok(2)));
            s.fork(after(1, Ok(1)));
            s.fork(pending());
        }),
    );
    assert_eq!(reached, Ok(vec![1, 2]));
    let (unmet, took) = run(&rt, async {
        let start = now();
        let unmet = join_scope(Quorum::new(2), async |s| {
            s.fork(after(1, Number::Err("a")));
            s.fork(after(2, Err("b")));
            s.fork(after(30, Ok(3)));
        });
        (unmet.await, now() - start)
    });
    assert_eq!(unmet.unwrap_err().into_errors(), ["a", "b"]);
    assert_eq!(took, SECOND * 2);
}

#[test]
fn a_quorum_of_none_is_refused() {
    let refused = std::panic::catch_unwind(|| Quorum::<(), ()>::new(0)).unwrap_err();
    assert!(refused.downcast_ref::<&str>().unwrap().starts_with("Quorum::new(0): "));
}

#[test]
fn hedged_forks_start_after_a_delay_or_a_failure() {
    let rt = Harness::new();
    let trace = Trace::default();
    let begin = |t: &Trace, what| {
        let t = t.clone();
        async move { t.add(what) }
    };
    let t = trace.clone();
    let (value, took) = run(&rt, async move {
        let start = now();
        let value = join_scope(Hedged::new(SECOND * 2), async |s| {
            let [first, second, third] = ["first", "second", "third"].map(|it| begin(&t, it));
            s.fork(async {
                first.await;
                after(1, Err("no")).await
            });
            s.fork(async {
                second.await;
                after(9, Ok(2)).await
            });
            s.fork(async {
                third.await;
                after(1, Ok(3)).await
            });
        });
        (value.await, now() - start)
    });
    assert_eq!(value, Ok::<_, Unmet<&str>>(3));
    // The second at the failure, a second after the first; the third after two delays.
    assert_eq!(took, SECOND * 5);
    assert_eq!(trace.get(), ["first", "second", "third"]);
}

#[test]
fn hedged_forks_that_are_not_needed_never_start() {
    let rt = Harness::new();
    let value = run(
        &rt,
        join_scope(Hedged::new(SECOND), async |s| {
            s.fork(async { Number::Ok(1) });
            s.fork(async { unreachable!("the first was in time") });
        }),
    );
    assert_eq!(value, Ok(1));
}

/// Starts each fork when the one before has failed.
struct OneByOne(Vec<&'static str>);

impl Joiner for OneByOne {
    type Value = u32;
    type Error = &'static str;
    type Output = Vec<&'static str>;

    fn on_fork(&mut self, fork: usize) -> Start {
        if fork == 0 { Start::Now } else { Start::OnFailure }
    }

    fn on_complete(&mut self, _: usize, ended: Subtask<u32, &'static str>) -> Flow {
        self.0.push(match ended {
            Subtask::Err(error) => error,
            _ => "ok",
        });
        Flow::GoOn
    }

    fn result(self) -> Self::Output {
        self.0
    }
}

#[test]
fn a_failure_starts_the_next_one_and_what_never_starts_is_cancelled() {
    let rt = Harness::new();
    let trace = Trace::default();
    let gone = trace.on_drop("the last one");
    let results = run(
        &rt,
        join_scope(OneByOne(Vec::new()), async |s| {
            s.fork(async { Err("a") });
            s.fork(async { Ok(1) });
            s.fork(async move {
                let _gone = gone;
                Err("b")
            });
        }),
    );
    assert_eq!(results, ["a", "ok"]);
    assert_eq!(trace.get(), ["the last one"]);
}

#[test]
fn a_time_limit_gives_what_there_is() {
    let rt = Harness::new();
    let limit = SECOND * 2;
    let found = run(
        &rt,
        join_scope(PartialOk::new().within(limit), async |s| {
            s.fork(after(1, Ok(1)));
            s.fork(async { Err("no") });
            s.fork(after(3, Ok(3)));
        }),
    );
    assert_eq!((found.values, found.errors, found.unavailable), (vec![1], vec!["no"], 1));
    let all = run(
        &rt,
        join_scope(AllOk::<_, ()>::new().within(limit), async |s| {
            s.fork(after(1, Ok(1)));
            s.fork(after(3, Ok(3)));
        }),
    );
    assert_eq!(all.unwrap_err().reason(), Reason::TimedOut);
    let any = run(
        &rt,
        join_scope(AnyOk::new().within(limit), async |s| {
            s.fork(after(1, Number::Err("no")));
            s.fork(pending());
        }),
    );
    let unmet = any.unwrap_err();
    assert_eq!((unmet.reason(), unmet.errors()), (Reason::TimedOut, ["no"].as_slice()));
}

#[test]
fn a_panic_is_no_result() {
    let rt = Harness::new();
    let failing = join_scope(AwaitAll::<(), ()>::new(), async |s| {
        s.fork(async { panic!("oh") });
        s.fork(pending());
    });
    let payload = run(&rt, AssertUnwindSafe(failing).catch_unwind()).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"oh"));
}

#[test]
fn a_fork_may_fork_while_the_body_is_there_and_not_after_it() {
    let rt = Harness::new();
    let late: Arc<Mutex<Option<Job>>> = Arc::default();
    let place = late.clone();
    let results = run(
        &rt,
        join_scope(AwaitAll::<u32, ()>::new(), async |s| {
            let s = Arc::new(s);
            let inside = s.clone();
            s.fork(async move {
                inside.fork(async { Ok(2) });
                sleep(SECOND * 2).await;
                *place.lock().unwrap() = Some(inside.fork(async { Ok(3) }));
                Ok(1)
            });
            sleep(SECOND).await;
        }),
    );
    assert_eq!(results, [Subtask::Ok(1), Subtask::Ok(2)]);
    let late = late.lock().unwrap().clone().unwrap();
    assert!(matches!(late.cause().unwrap().cause(), CancelCause::ScopeEnded));
}

#[test]
fn dropped_it_ends_as_a_scope_does() {
    let rt = Harness::new();
    let trace = Trace::default();
    let (t, gone) = (trace.clone(), trace.on_drop("fork"));
    run(&rt, async move {
        scope(async |_| {
            let mut dropped = Box::pin(join_scope(AwaitAll::<(), ()>::new(), async |s| {
                s.fork(async move {
                    let _gone = gone;
                    pending().await
                });
            }));
            assert!((&mut dropped).now_or_never().is_none());
            yield_now().await;
            drop(dropped);
        })
        .await;
        t.add("after");
    });
    assert_eq!(trace.get(), ["fork", "after"]);
}
