//! Cancellations that let some of the work come to its end.

use std::future::pending;
use std::time::Duration;

use corymb_core::time::sleep;
use corymb_core::{
    CancelCause, Job, cancelled, is_cancelled, scope, shield, soft_shield, yield_now,
};
use futures::future::join;

use crate::common::{Harness, Trace};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_asked_for_it_goes_on_and_the_rest_is_dropped_at_once() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(scope(async move |s| {
        let (quick, slow, plain, hard) = (t.clone(), t.clone(), t.clone(), t.clone());
        s.launch(async move {
            soft_shield(async {
                sleep(SECOND).await;
                assert!(!is_cancelled());
                scope(async |s| s.launch(async { yield_now().await })).await;
            })
            .await;
            quick.add("drained");
            yield_now().await;
            quick.add("never");
        });
        s.launch(async move {
            let _end = slow.on_drop("forced");
            soft_shield(scope(async |s| {
                let _child = slow.on_drop("its body");
                s.launch(pending());
                pending::<()>().await;
            }))
            .await;
        });
        s.launch(async move {
            let _end = plain.on_drop("dropped");
            pending::<()>().await;
        });
        s.launch(async move {
            shield(sleep(5 * SECOND)).await;
            hard.add("shielded");
        });
    }));
    rt.run();
    assert!(job.cancel_with_grace(3 * SECOND));
    assert!(!job.cancel_with_grace(SECOND));
    rt.run();
    assert_eq!(trace.get(), ["dropped"]);
    rt.pass(SECOND);
    rt.run();
    assert_eq!(trace.get(), ["dropped", "drained"]);
    rt.pass(2 * SECOND);
    rt.run();
    assert_eq!(trace.get()[2..], ["its body", "forced"]);
    assert!(!job.is_completed());
    rt.pass(2 * SECOND);
    rt.run();
    assert_eq!(trace.get()[4..], ["shielded"]);
    assert!(job.is_completed());
    assert!(matches!(job.cause().unwrap().cause(), CancelCause::Requested));
}

#[test]
fn a_cancel_ends_the_grace_and_no_grace_holds_a_cancel_off() {
    let rt = Harness::new();
    let graceful = rt.scope().launch(soft_shield(pending()));
    let plain = rt.scope().launch(soft_shield(pending()));
    rt.run();
    graceful.cancel_with_grace(9 * SECOND);
    plain.cancel();
    rt.run();
    assert!(plain.is_completed() && !graceful.is_completed());
    // It was cancelled before; this is no news but ends the grace.
    assert!(!graceful.cancel());
    rt.run();
    assert!(graceful.is_completed());
}

#[test]
fn the_signal_is_there_at_once() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(soft_shield(async move {
        cancelled().await;
        t.add("told");
        sleep(SECOND).await;
        t.add("done");
    }));
    rt.run();
    job.cancel_with_grace(2 * SECOND);
    rt.run();
    assert_eq!(trace.get(), ["told"]);
    rt.pass(SECOND);
    rt.run();
    assert_eq!(trace.get(), ["told", "done"]);
    assert!(job.is_completed());
}

#[test]
fn one_that_begins_late_has_what_is_left_of_the_grace() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let (soft, forced) = (t.clone(), t.clone());
    let late = rt.scope().launch(async move {
        Job::current().unwrap().cancel_with_grace(2 * SECOND);
        soft_shield(async {
            sleep(SECOND).await;
            soft.add("in time");
            sleep(9 * SECOND).await;
            soft.add("never");
        })
        .await;
    });
    let too_late = rt.scope().launch(async move {
        Job::current().unwrap().cancel();
        soft_shield(async {
            forced.add("up to the first suspension");
            yield_now().await;
            forced.add("never");
        })
        .await;
    });
    rt.run();
    assert!(too_late.is_completed());
    for _ in 0..2 {
        rt.pass(SECOND);
        rt.run();
    }
    assert_eq!(trace.get(), ["up to the first suspension", "in time"]);
    assert!(late.is_completed());
}

#[test]
fn both_kinds_in_one_coroutine() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        let soft = soft_shield(async {
            let _end = t.on_drop("soft");
            pending::<()>().await;
        });
        let hard = shield(async {
            sleep(4 * SECOND).await;
            t.add("hard");
        });
        join(soft, hard).await;
    });
    rt.run();
    job.cancel_with_grace(SECOND);
    for _ in 0..4 {
        rt.run();
        assert!(!job.is_completed());
        rt.pass(SECOND);
    }
    rt.run();
    assert_eq!(trace.get(), ["soft", "hard"]);
    assert!(job.is_completed());
}

#[test]
fn the_end_of_the_job_is_that_of_the_grace() {
    let rt = Harness::new();
    let job = rt.scope().launch(soft_shield(sleep(SECOND)));
    rt.run();
    job.cancel_with_grace(Duration::from_secs(3600));
    rt.run();
    rt.pass(SECOND);
    rt.run();
    assert!(job.is_completed());
    let token = Job::new(None);
    assert!(token.cancel_with_grace(SECOND));
    assert!(token.is_completed());
}
