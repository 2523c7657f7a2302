//! What holds off a cancellation, and for how long.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use corymb_core::time::{sleep, with_timeout};
use corymb_core::{
    CancelCause, Coroutine, Dispatcher, Job, cancel_scope, cancelled, is_cancelled, scope, shield,
    supervisor_scope, with_context, yield_now,
};
use futures::future::{join, poll_fn, select};
use futures::stream::{FuturesUnordered, StreamExt};

use crate::common::{Harness, Trace};

/// Polls what stays pending.
async fn poll_once(mut future: Pin<&mut impl Future>) {
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Pending => Poll::Ready(()),
        Poll::Ready(_) => panic!("it is ready"),
    })
    .await;
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_cancelled_coroutine_goes_on_to_the_end_of_its_shield_and_no_further() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        let _end = t.on_drop("dropped");
        shield(async {
            t.add("in");
            yield_now().await;
            assert!(!is_cancelled());
            sleep(SECOND).await;
            t.add("out");
        })
        .await;
        t.add("after");
        assert!(is_cancelled());
        yield_now().await;
        t.add("never");
    });
    rt.step();
    assert!(job.cancel());
    rt.run();
    assert_eq!(trace.get(), ["in"]);
    assert!(job.is_cancelled() && !job.is_completed());
    rt.pass(SECOND);
    rt.run();
    assert_eq!(trace.get(), ["in", "out", "after", "dropped"]);
    assert!(job.is_completed());
}

#[test]
fn one_that_begins_in_the_last_poll_holds_too() {
    let rt = Harness::new();
    let done = rt.block_on(scope(async |s| {
        let child = s.spawn(async {
            Job::current().unwrap().cancel();
            shield(async {
                yield_now().await;
                1
            })
            .await
        });
        child.outcome().await
    }));
    assert_eq!(done.unwrap(), 1);
}

#[test]
fn what_is_opened_inside_knows_of_nothing() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        shield(scope(async |s| {
            let (a, b) = (t.clone(), t.clone());
            s.launch(async move {
                sleep(SECOND).await;
                a.add("child");
            });
            with_timeout(2 * SECOND, sleep(SECOND)).await.unwrap();
            cancel_scope(async |_| sleep(SECOND).await).await.unwrap();
            b.add("body");
            // Opened after the cancellation.
            scope(async |s| s.launch(async move { b.add("late child") })).await;
        }))
        .await;
    });
    rt.run();
    job.cancel();
    for _ in 0..2 {
        rt.run();
        rt.pass(SECOND);
    }
    rt.run();
    assert_eq!(trace.get(), ["child", "body", "late child"]);
    assert!(job.is_completed() && job.is_cancelled());
}

#[test]
fn other_branches_stay_where_they_are() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        let other = async {
            let _end = t.on_drop("other");
            sleep(SECOND).await;
            t.add("never");
        };
        let yielding = async {
            loop {
                yield_now().await;
                assert!(!is_cancelled(), "polled on");
            }
        };
        let timed = async {
            with_timeout(SECOND, pending::<()>()).await.unwrap_err();
            t.add("never");
        };
        let shielded = shield(async {
            sleep(3 * SECOND).await;
            t.add("shielded");
        });
        join(join(other, yielding), join(timed, shielded)).await;
    });
    for _ in 0..3 {
        rt.step();
    }
    job.cancel();
    rt.run();
    for _ in 0..3 {
        rt.pass(SECOND);
        rt.run();
    }
    assert_eq!(trace.get(), ["shielded", "other"]);
    assert!(job.is_completed());
}

#[test]
fn a_timeout_and_a_cancel_scope_around_it_wait() {
    let rt = Harness::new();
    let child = rt.spawn(async {
        let late = with_timeout(SECOND, async {
            shield(sleep(3 * SECOND)).await;
            yield_now().await;
        })
        .await;
        assert!(late.is_err());
        let late = with_timeout(
            SECOND,
            shield(async {
                sleep(3 * SECOND).await;
                "a value"
            }),
        );
        assert_eq!(late.await, Ok("a value"));
        let ended = cancel_scope(async |c| {
            c.cancel();
            shield(sleep(3 * SECOND)).await;
            pending::<()>().await;
        });
        assert!(matches!(ended.await.unwrap_err().cause(), CancelCause::Requested));
        "the end"
    });
    for _ in 0..9 {
        rt.run();
        assert!(!child.job().is_completed());
        rt.pass(SECOND);
    }
    rt.run();
    assert!(child.job().is_completed() && !child.job().is_cancelled());
}

#[test]
fn the_job_of_a_timeout_beside_a_shield_does_not_wait_for_that() {
    let rt = Harness::new();
    let timeouts = Arc::new(Mutex::new(None));
    let seen = timeouts.clone();
    let job = rt.scope().launch(async move {
        let timed = with_timeout(9 * SECOND, async {
            *seen.lock().unwrap() = Job::current();
            pending::<()>().await;
        });
        drop(join(timed, shield(sleep(SECOND))).await);
    });
    rt.run();
    let inner = timeouts.lock().unwrap().take().unwrap();
    job.cancel();
    rt.run();
    assert!(inner.is_completed(), "its body is gone");
    assert!(!job.is_completed());
    rt.pass(SECOND);
    rt.run();
    assert!(job.is_completed());
}

#[test]
fn a_shield_that_is_cancelled_by_itself_holds_nothing_any_more() {
    let rt = Harness::new();
    let shields = Arc::new(Mutex::new(None));
    let seen = shields.clone();
    let job = rt.scope().launch(shield(async move {
        *seen.lock().unwrap() = Job::current();
        pending::<()>().await;
    }));
    rt.run();
    let inner = shields.lock().unwrap().take().unwrap();
    assert!(inner.cancel());
    rt.run();
    assert!(inner.is_completed());
    assert!(job.is_completed() && job.is_cancelled(), "it has no value for its caller");
}

#[test]
fn only_the_part_that_is_cancelled_is_held() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let child = rt.spawn(async move {
        let part = cancel_scope(async |c| {
            c.cancel();
            let held = async {
                yield_now().await;
                t.add("never");
            };
            join(shield(sleep(2 * SECOND)), held).await;
        });
        let free = async {
            sleep(SECOND).await;
            t.add("free");
        };
        join(part, free).await.0.unwrap_err();
        t.add("after");
    });
    for _ in 0..2 {
        rt.run();
        rt.pass(SECOND);
    }
    rt.run();
    assert_eq!(trace.get(), ["free", "after"]);
    drop(child);
}

#[test]
fn a_drop_by_hand_is_no_cancellation() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    rt.block_on(async move {
        let shielded = pin!(shield(async {
            let _end = t.on_drop("dropped");
            pending::<()>().await;
        }));
        let mut turns = 0;
        let other = poll_fn(|cx| {
            turns += 1;
            cx.waker().wake_by_ref();
            if turns == 2 { Poll::Ready(()) } else { Poll::Pending }
        });
        select(shielded, other).await;
        t.add("went on");
        // Nothing is left that would hold this.
        let ended = cancel_scope(async |c| {
            {
                let mut shielded = pin!(shield(pending::<()>()));
                poll_once(shielded.as_mut()).await;
                c.cancel();
            }
            pending::<()>().await;
        });
        ended.await.unwrap_err();
    });
    assert_eq!(trace.get(), ["went on", "dropped"]);
}

#[test]
fn the_end_of_a_shield_elsewhere_wakes_what_it_held() {
    let rt = Harness::new();
    let moved = Arc::new(Mutex::new(None));
    let slot = moved.clone();
    let job = rt.scope().launch(async move {
        let mut shielded = Box::pin(shield(pending::<()>()));
        poll_once(shielded.as_mut()).await;
        *slot.lock().unwrap() = Some(shielded);
        pending::<()>().await;
    });
    rt.run();
    job.cancel();
    rt.run();
    assert!(!job.is_completed());
    drop(moved.lock().unwrap().take());
    rt.run();
    assert!(job.is_completed());
}

#[test]
fn a_failure_inside_comes_out_and_cancels_inside() {
    let rt = Harness::new();
    let outcome = rt.block_on(supervisor_scope(async |s| {
        let child = s.spawn(shield(scope(async |s| {
            s.launch(async { panic!("inside") });
            pending::<()>().await;
        })));
        child.outcome().await
    }));
    assert!(outcome.unwrap_err().to_string().ends_with("panicked: inside"));
}

#[test]
fn cancelled_tells_of_what_the_shield_holds_off() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(shield(async move {
        // Its own wakers: a wake of the coroutine alone does not reach what is in there.
        let mut branches: FuturesUnordered<_> = (0..2)
            .map(|_| async {
                cancelled().await;
                t.add("told");
                yield_now().await;
            })
            .collect();
        while branches.next().await.is_some() {}
        // By a timeout around it, too.
        with_timeout(SECOND, shield(cancelled())).await.unwrap();
        t.add("told at once");
    }));
    let unshielded = rt.scope().launch(async {
        cancelled().await;
        unreachable!("it is dropped");
    });
    rt.run();
    assert!(trace.get().is_empty());
    job.cancel();
    unshielded.cancel();
    rt.run();
    assert_eq!(trace.get(), ["told", "told", "told at once"]);
    assert!(job.is_completed() && unshielded.is_completed());
}

#[test]
fn shields_nest_and_each_ends_for_itself() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        shield(async {
            let part = cancel_scope(async |c| {
                c.cancel();
                shield(sleep(SECOND)).await;
                t.add("inner");
                pending::<()>().await;
            });
            part.await.unwrap_err();
            yield_now().await;
            t.add("outer");
        })
        .await;
        pending::<()>().await;
    });
    rt.run();
    job.cancel();
    rt.run();
    rt.pass(SECOND);
    rt.run();
    assert_eq!(trace.get(), ["inner", "outer"]);
    assert!(job.is_completed());
}

#[test]
fn a_section_inside_goes_where_it_has_to() {
    let rt = Harness::new();
    let elsewhere = Arc::new(Mutex::new(VecDeque::new()));
    let queue = elsewhere.clone();
    let other = Dispatcher::custom(move |it: Coroutine| queue.lock().unwrap().push_back(it));
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        let _end = t.on_drop("dropped");
        shield(async {
            yield_now().await;
            with_context(other, async {
                yield_now().await;
                t.add("there");
            })
            .await;
            t.add("back");
        })
        .await;
        pending::<()>().await;
    });
    rt.step();
    job.cancel();
    let step = || {
        let next = elsewhere.lock().unwrap().pop_front();
        next.map(Coroutine::run).is_some()
    };
    while rt.run() > 0 || step() {}
    assert_eq!(trace.get(), ["there", "back", "dropped"]);
    assert!(job.is_completed());
}
