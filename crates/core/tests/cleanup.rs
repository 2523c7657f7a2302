//! What is done when a part of a coroutine is over, however that came about.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corymb_core::time::{sleep, with_timeout};
use corymb_core::{
    AsyncClose, AsyncGuard, Job, JobState, cancel_scope, finally, is_cancelled, scope, shield,
    supervisor_scope, try_scope, yield_now,
};
use futures::FutureExt;
use futures::future::{join, join3};

use crate::common::{Harness, Trace};

const SECOND: Duration = Duration::from_secs(1);

/// A cleanup that suspends.
fn adds(trace: &Trace, what: &'static str) -> impl FnOnce() -> CleanupFuture + Send + use<> {
    let trace = trace.clone();
    move || {
        async move {
            assert!(!is_cancelled());
            yield_now().await;
            sleep(SECOND).await;
            trace.add(what);
        }
        .boxed()
    }
}

type CleanupFuture = futures::future::BoxFuture<'static, ()>;

/// Lets everything end that needs no more than ten seconds.
fn settle(rt: &Harness) {
    for _ in 0..10 {
        rt.run();
        rt.pass(SECOND);
    }
    rt.run();
}

#[test]
fn it_runs_after_a_body_that_returns_and_before_the_code_after_it() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let child = rt.spawn(async move {
        let body = async {
            t.add("body");
            42
        };
        let value = finally(body, adds(&t, "cleanup")).await;
        t.add("after");
        value
    });
    settle(&rt);
    assert_eq!(trace.get(), ["body", "cleanup", "after"]);
    assert_eq!(rt.block_on(child), 42);
}

#[test]
fn the_last_one_registered_is_the_first() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        let nested = finally(
            finally(finally(pending::<()>(), adds(&t, "innermost")), adds(&t, "inner")),
            adds(&t, "outer"),
        );
        let side_by_side = join3(
            finally(pending::<()>(), adds(&t, "first")),
            finally(pending::<()>(), adds(&t, "second")),
            finally(pending::<()>(), adds(&t, "third")),
        );
        join(nested, side_by_side).await;
    });
    rt.run();
    job.cancel();
    rt.run();
    assert_eq!(job.state(), JobState::Cancelling);
    settle(&rt);
    assert_eq!(trace.get(), ["third", "second", "first", "innermost", "inner", "outer"]);
    assert_eq!(job.state(), JobState::Cancelled);
}

#[test]
fn one_at_a_time() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        let span = |begin: &'static str, end: &'static str| {
            let t = t.clone();
            move || async move {
                t.add(begin);
                sleep(SECOND).await;
                t.add(end);
            }
        };
        join(
            finally(pending::<()>(), span("first begins", "first ends")),
            finally(pending::<()>(), span("second begins", "second ends")),
        )
        .await;
    });
    rt.run();
    job.cancel();
    settle(&rt);
    assert_eq!(trace.get(), ["second begins", "second ends", "first begins", "first ends"]);
}

#[test]
fn it_waits_for_the_jobs_of_its_body_and_the_scope_for_it() {
    let rt = Harness::new();
    let trace = Trace::default();
    let (t, u) = (trace.clone(), trace.clone());
    let end = rt.spawn(async move {
        let ended = cancel_scope(async |c| {
            let body = scope(async |s| {
                let (deep, t) = (t.clone(), t.clone());
                s.launch(async move {
                    // Goes on after the cancellation.
                    shield(sleep(3 * SECOND)).await;
                    deep.add("child");
                });
                yield_now().await;
                t.add("cancel");
                c.cancel();
                pending::<()>().await;
            });
            finally(body, adds(&t, "cleanup")).await;
        })
        .await;
        assert!(ended.is_err());
        t.add("after");
    });
    settle(&rt);
    assert_eq!(u.get(), ["cancel", "child", "cleanup", "after"]);
    drop(end);
}

#[test]
fn a_later_one_that_still_drains_is_waited_for() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        let slow = scope(async |s| {
            s.launch(shield(sleep(3 * SECOND)));
        });
        join(finally(pending::<()>(), adds(&t, "first")), finally(slow, adds(&t, "second"))).await;
    });
    rt.run();
    job.cancel();
    settle(&rt);
    assert_eq!(trace.get(), ["second", "first"]);
    assert!(job.is_completed());
}

#[test]
fn one_whose_body_goes_on_is_not_waited_for() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let child = rt.spawn(async move {
        let long = finally(sleep(5 * SECOND), adds(&t, "long"));
        let short = async {
            finally(sleep(SECOND), adds(&t, "short")).await;
            t.add("went on");
        };
        join(short, long).await;
    });
    settle(&rt);
    assert_eq!(trace.get(), ["short", "went on", "long"]);
    drop(child);
}

#[test]
fn a_half_run_cleanup_survives_a_drop() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        // The cleanup takes longer than the timeout around it.
        let late = with_timeout(SECOND / 2, finally(async {}, adds(&t, "cleanup"))).await;
        assert!(late.is_err());
        t.add("after the timeout");
    });
    settle(&rt);
    assert_eq!(trace.get(), ["cleanup", "after the timeout"]);
    // By hand, the coroutine goes on, and ends after it.
    let t = trace.clone();
    let by_hand = rt.scope().launch(async move {
        let mut work = Box::pin(finally(async {}, adds(&t, "cleanup again")));
        assert!(futures::poll!(work.as_mut()).is_pending());
        drop(work);
        t.add("went on");
    });
    settle(&rt);
    assert_eq!(trace.get()[2..], ["went on", "cleanup again"]);
    assert!(job.is_completed() && by_hand.is_completed());
}

#[test]
fn a_forgotten_one_runs_when_its_coroutine_ends_and_an_unpolled_one_never() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let forgotten = Arc::new(Mutex::new(Vec::new()));
    let kept = forgotten.clone();
    let job = rt.scope().launch(async move {
        drop(finally(pending::<()>(), adds(&t, "never")));
        for what in ["first", "second"] {
            let mut work = Box::pin(finally(pending::<()>(), adds(&t, what)));
            assert!(futures::poll!(work.as_mut()).is_pending());
            // Nobody touches it before all is over.
            kept.lock().unwrap().push(work);
        }
        sleep(SECOND).await;
        t.add("the end");
    });
    settle(&rt);
    assert_eq!(trace.get(), ["the end", "second", "first"]);
    assert!(job.is_completed());
}

#[test]
fn forgotten_ones_take_turns_wherever_they_are() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let forgotten = Arc::new(Mutex::new(Vec::new()));
    let kept = forgotten.clone();
    rt.scope().launch(async move {
        let third = finally(pending::<()>(), adds(&t, "third"));
        let body = async {
            futures::pending!();
            third.await;
        };
        let mut first = Box::pin(finally(body, adds(&t, "first")));
        assert!(futures::poll!(first.as_mut()).is_pending());
        let mut second = Box::pin(finally(pending(), adds(&t, "second")));
        assert!(futures::poll!(second.as_mut()).is_pending());
        assert!(futures::poll!(first.as_mut()).is_pending());
        // Nobody touches them before all is over.
        let both: [CleanupFuture; 2] = [first, second];
        kept.lock().unwrap().extend(both);
    });
    settle(&rt);
    assert_eq!(trace.get(), ["third", "second", "first"]);
}

#[test]
fn a_panic_of_the_body_comes_after_the_cleanup() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let outcome = rt.spawn(supervisor_scope(async move |s| {
        let child = s.spawn(async move {
            let body = async { panic!("the body") };
            finally(body, adds(&t, "cleanup")).await;
        });
        child.outcome().await
    }));
    settle(&rt);
    assert_eq!(trace.get(), ["cleanup"]);
    let outcome = rt.block_on(outcome);
    assert!(outcome.unwrap_err().to_string().ends_with("panicked: the body"));
}

#[test]
fn one_that_fails_skips_no_other_and_is_a_failure_of_its_job() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let outcome = rt.spawn(supervisor_scope(async move |s| {
        let all = s.spawn(scope(async move |s| {
            let job = s.launch(async move {
                let failing = || async {
                    yield_now().await;
                    Err("the disk is full")
                };
                let panicking = || async { assert!(is_cancelled(), "in the cleanup") };
                let inner = finally(finally(pending::<()>(), failing), adds(&t, "between"));
                finally(finally(inner, panicking), adds(&t, "outermost")).await;
            });
            yield_now().await;
            job.cancel();
            pending::<()>().await;
        }));
        all.outcome().await
    }));
    settle(&rt);
    assert_eq!(trace.get(), ["between", "outermost"]);
    // The first failure is that of the scope; the later one travels with it.
    let error = rt.block_on(outcome).unwrap_err();
    let [later] = error.suppressed() else { panic!("{error}") };
    assert!(later.to_string().ends_with("panicked: in the cleanup"), "{error}");
    assert!(error.to_string().contains("failed: the disk is full"), "{error}");
    assert!(rt.reports().is_empty(), "{:?}", rt.reports());
}

#[test]
fn an_inline_failure_comes_out_at_once() {
    let rt = Harness::new();
    let outcome = rt.block_on(supervisor_scope(async |s| {
        let child = s.spawn(async {
            finally(async {}, || async { Err::<(), _>("no space") }).await;
            unreachable!("the cleanup has failed")
        });
        child.outcome().await
    }));
    assert!(outcome.unwrap_err().to_string().contains("failed: no space"));
}

#[test]
fn one_that_takes_too_long_is_dropped_and_told_of() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        let hangs = move || async move {
            let _end = t.on_drop("dropped");
            pending::<()>().await;
        };
        finally(async {}, hangs).grace(3 * SECOND).await;
    });
    for _ in 0..3 {
        rt.run();
        assert!(!job.is_completed());
        rt.pass(SECOND);
    }
    rt.run();
    assert!(job.is_completed() && !job.is_cancelled());
    assert_eq!(trace.get(), ["dropped"]);
    assert!(rt.reports()[0].contains("had not ended after 3s"), "{:?}", rt.reports());
    rt.forget_reports();
}

#[test]
fn one_has_scopes_and_children_of_its_own() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        let rollback = move || async move {
            let name = Job::current().unwrap();
            assert!(name.is_active());
            let sum = try_scope(async |s| {
                let one = s.spawn(async { Ok::<_, ()>(1) });
                let two = s.spawn(async {
                    sleep(SECOND).await;
                    Ok(2)
                });
                Ok(one.await + two.await)
            });
            assert_eq!(sum.await, Ok(3));
            finally(async {}, adds(&t, "inside")).await;
            t.add("rolled back");
        };
        finally(pending::<()>(), rollback).await;
    });
    rt.run();
    job.cancel();
    settle(&rt);
    assert_eq!(trace.get(), ["inside", "rolled back"]);
    assert!(job.is_completed());
}

/// Says what becomes of it.
struct Connection(Trace, &'static str);

impl AsyncClose for Connection {
    async fn close(self) {
        yield_now().await;
        self.0.add(self.1);
    }
}

#[test]
fn a_guard_is_closed_by_the_job_that_made_it() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        let _first = AsyncGuard::new(Connection(t.clone(), "first"));
        let inner = scope(async |s| {
            let owned = AsyncGuard::new(Connection(t.clone(), "of the scope"));
            s.launch(async move {
                yield_now().await;
                drop(owned);
            });
        });
        inner.await;
        t.add("after the scope");
        AsyncGuard::new(Connection(t.clone(), "by hand")).close().await;
        t.add("closed");
        drop(AsyncGuard::new(Connection(t.clone(), "never")).into_inner());
        let _second = AsyncGuard::new(Connection(t.clone(), "second"));
        pending::<()>().await;
    });
    rt.run();
    job.cancel();
    settle(&rt);
    let expected = ["of the scope", "after the scope", "by hand", "closed", "second", "first"];
    assert_eq!(trace.get(), expected);
    assert!(job.is_completed());
}

#[test]
fn a_guard_whose_job_has_ended_goes_to_an_ancestor_and_at_last_to_nobody() {
    let rt = Harness::new();
    let trace = Trace::default();
    let (t, slot) = (trace.clone(), Arc::new(Mutex::new(None)));
    let kept = slot.clone();
    let outer = rt.scope().launch(async move {
        let made = scope(async |s| {
            let t = t.clone();
            s.spawn(async move { AsyncGuard::new(Connection(t, "closed")) }).await
        });
        let guard = made.await;
        *kept.lock().unwrap() = Some(AsyncGuard::new(Connection(t.clone(), "never")));
        drop(guard);
        t.add("dropped");
    });
    rt.run();
    assert!(outer.is_completed());
    assert_eq!(trace.get(), ["dropped", "closed"]);
    let last = slot.lock().unwrap().take();
    let hooks = rt.hooks.clone();
    drop(rt);
    let _inside = corymb_core::hooks::enter(hooks.clone());
    drop(last);
    assert_eq!(trace.get(), ["dropped", "closed"]);
    assert!(hooks.reports().iter().any(|it| it.contains("has shut down")), "{:?}", hooks.reports());
}
