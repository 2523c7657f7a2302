//! Children that end after the others.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use corymb_core::time::sleep;
use corymb_core::{
    CancelCause, JobState, Scope, cancel_scope, finally, scope, supervisor_scope, try_scope,
    yield_now,
};
use futures::FutureExt;

use crate::common::{Harness, Trace, times};

const SECOND: Duration = Duration::from_secs(1);

fn settle(rt: &Harness) {
    for _ in 0..10 {
        rt.run();
        rt.pass(SECOND);
    }
    rt.run();
}

/// A service that needs a second for its end.
fn serve(s: &Scope, trace: &Trace, what: &'static str) {
    let trace = trace.clone();
    s.service(finally(pending(), move || async move {
        sleep(SECOND).await;
        trace.add(what);
    }));
}

#[test]
fn they_end_after_the_others_the_last_one_first() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    rt.scope().launch(async move {
        scope(async |s| {
            serve(&s, &t, "first service");
            serve(&s, &t, "second service");
            let child = t.clone();
            s.launch(async move {
                sleep(SECOND * 3).await;
                child.add("child");
            });
            t.add("body");
        })
        .await;
        t.add("after");
    });
    settle(&rt);
    assert_eq!(trace.get(), ["body", "child", "second service", "first service", "after"]);
}

#[test]
fn a_cancelled_scope_cleans_up_before_its_services_end() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(scope(async move |s| {
        serve(&s, &t, "first service");
        serve(&s, &t, "second service");
        let child = t.clone();
        s.launch(finally(pending(), move || async move {
            sleep(SECOND * 2).await;
            child.add("cleanup of a child");
        }));
        let _body = t.on_drop("body");
        pending::<()>().await;
    }));
    rt.run();
    job.cancel();
    settle(&rt);
    assert_eq!(job.state(), JobState::Cancelled);
    assert_eq!(trace.get(), ["body", "cleanup of a child", "second service", "first service"]);
}

#[test]
fn it_runs_though_the_scope_is_cancelled() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let child = rt.spawn(async move {
        let ended = cancel_scope(async |c| {
            scope(async |s| {
                let service = t.clone();
                s.service(async move {
                    sleep(SECOND).await;
                    service.add("still served");
                    pending::<()>().await;
                });
                s.launch(finally(pending(), || sleep(SECOND * 2)));
                yield_now().await;
                c.cancel();
                pending::<()>().await;
            })
            .await;
        });
        assert!(ended.await.is_err());
        t.add("after");
    });
    settle(&rt);
    rt.block_on(child);
    assert_eq!(trace.get(), ["still served", "after"]);
}

#[test]
fn one_may_end_by_itself_or_be_cancelled_by_its_job() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let jobs = rt.block_on(scope(async move |s| {
        let own = s.service(async {});
        let asked = s.service(pending());
        let last = s.service(pending());
        own.join().await;
        asked.cancel_and_join().await;
        t.add("body");
        [own, asked, last]
    }));
    let [own, asked, last] = jobs;
    assert_eq!(own.state(), JobState::Completed);
    assert!(matches!(asked.cause().unwrap().cause(), CancelCause::Requested));
    assert!(matches!(last.cause().unwrap().cause(), CancelCause::ScopeEnded));
    assert_eq!(trace.get(), ["body"]);
}

#[test]
fn its_failure_is_one_of_the_scope() {
    let rt = Harness::new();
    let result = rt.block_on(try_scope(async |s| {
        s.service(async { Err("no") });
        pending::<Result<(), _>>().await
    }));
    assert_eq!(result, Err("no"));

    let failing = scope(async |s| {
        s.service(finally(pending(), || async { Err("at its end") }));
        yield_now().await;
    });
    let payload = rt.block_on(AssertUnwindSafe(failing).catch_unwind()).unwrap_err();
    assert!(payload.downcast_ref::<String>().unwrap().contains("at its end"));

    rt.block_on(supervisor_scope(async |s| {
        s.service(async { panic!("alone") });
        yield_now().await;
        assert!(s.job().is_active());
    }));
    assert_eq!(rt.reports().len(), 1);
}

#[test]
fn what_it_launches_too_late_is_cancelled() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    rt.block_on(scope(async move |s| {
        let (inner, early) = (s.clone(), t.clone());
        s.service(finally(pending(), move || async move {
            let late = inner.launch(async { unreachable!("the scope has ended") });
            assert_eq!(late.state(), JobState::Cancelled);
            early.add("service");
        }));
        yield_now().await;
    }));
    assert_eq!(trace.get(), ["service"]);
}

#[test]
fn lazy_children_that_nobody_started_go_before_the_services() {
    let rt = Harness::new();
    let trace = Trace::default();
    let (t, gone) = (trace.clone(), trace.on_drop("lazy"));
    let child = rt.spawn(scope(async move |s| {
        serve(&s, &t, "service");
        s.coroutine().lazy().launch(async move { drop(gone) });
        yield_now().await;
    }));
    settle(&rt);
    rt.block_on(child);
    assert_eq!(trace.get(), ["lazy", "service"]);
}

#[test]
fn it_is_listed_and_counted_as_a_child() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let service = s.service(pending());
        let children = s.job().children();
        assert_eq!((children, s.job().unlisted()), (vec![service], 0));
    }));
}

#[test]
fn services_and_children_end_on_threads() {
    for _ in 0..times(200) {
        let rt = Harness::new();
        let trace = Trace::default();
        let t = trace.clone();
        let job = rt.scope().launch(scope(async move |s| {
            for what in ["first", "second", "third"] {
                let gone = t.on_drop(what);
                s.service(async move {
                    let _gone = gone;
                    pending::<()>().await;
                });
            }
            for _ in 0..4 {
                s.launch(yield_now());
            }
            yield_now().await;
        }));
        rt.run_on(2, &job);
        assert_eq!(job.state(), JobState::Completed);
        assert_eq!(trace.get(), ["third", "second", "first"]);
    }
}

#[test]
fn one_begins_in_the_call_and_so_is_never_ended_unbegun() {
    let rt = Harness::new();
    let trace = Trace::default();
    let (t, service) = (trace.clone(), trace.clone());
    rt.scope().launch(scope(async move |s| {
        s.service(finally(
            {
                let trace = service.clone();
                async move {
                    trace.add("begins");
                    pending::<()>().await;
                }
            },
            move || async move { service.add("cleans up") },
        ));
        t.add("body");
    }));
    rt.run();
    assert_eq!(trace.get(), ["begins", "body", "cleans up"]);
}
