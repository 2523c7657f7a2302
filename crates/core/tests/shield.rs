//! What holds off a cancellation, and for how long.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use corymb_core::time::{sleep, time_left, with_timeout};
use corymb_core::{
    CancelCause, Coroutine, Dispatcher, Job, Scope, cancel_scope, cancelled, finally, is_cancelled,
    scope, shield, shield_for, soft_shield, supervisor_scope, with_context, yield_now,
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

/// Lets seconds pass until the job has ended; answers how many.
fn seconds_to_the_end(rt: &Harness, job: &Job) -> u32 {
    for seconds in 0..20 {
        rt.run();
        if job.is_completed() {
            return seconds;
        }
        rt.pass(SECOND);
    }
    panic!("it does not end: {job:?}");
}

/// Lets one minute pass, in which the job does not end.
fn a_minute(rt: &Harness, job: &Job) {
    for _ in 0..3 {
        rt.run();
        rt.pass(20 * SECOND);
    }
    rt.run();
    assert!(!job.is_completed());
}

#[test]
fn a_limit_counts_from_the_cancellation() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        let _end = t.on_drop("coroutine");
        shield_for(2 * SECOND, async {
            let _end = t.on_drop("shielded");
            assert_eq!(time_left(), None, "no time runs");
            cancelled().await;
            assert!(!is_cancelled());
            assert_eq!(time_left(), Some(2 * SECOND));
            sleep(SECOND).await;
            t.add("a second later");
            pending::<()>().await;
        })
        .await;
    });
    a_minute(&rt, &job);
    job.cancel();
    assert_eq!(seconds_to_the_end(&rt, &job), 2);
    assert_eq!(trace.get(), ["a second later", "shielded", "coroutine"]);
}

#[test]
fn a_dump_says_who_holds_what_is_cancelled() {
    let rt = Harness::new();
    // A future of others leaves no note.
    let (end, ended) = futures::channel::oneshot::channel::<()>();
    let job = rt.scope().launch(scope(async move |s| {
        s.launch(shield(async { ended.await.unwrap() }));
        s.launch(shield(sleep(SECOND)));
        pending::<()>().await;
    }));
    rt.run();
    job.cancel();
    rt.run();
    let mut dump = String::new();
    job.dump(&mut dump).unwrap();
    let waits: Vec<_> = dump.lines().map(|line| line.rsplit(", ").next().unwrap()).collect();
    assert_eq!(waits[0], "waiting for its children", "{dump}");
    assert_eq!(waits.iter().filter(|it| **it == "behind a shield").count(), 1, "{dump}");
    assert!(waits.iter().any(|it| it.starts_with("waiting for a timer at ")), "{dump}");
    end.send(()).unwrap();
    assert_eq!(seconds_to_the_end(&rt, &job), 1);
}

#[test]
fn the_time_left_is_known_with_the_cancellation() {
    let rt = Harness::new();
    let child = rt.spawn(async {
        let told = async {
            cancelled().await;
            time_left()
        };
        let of_timeout = async {
            let late = with_timeout(SECOND, shield_for(3 * SECOND, told));
            late.await.expect("a value stands")
        };
        let of_first_poll = cancel_scope(async |c| {
            shield_for(2 * SECOND, async {
                c.cancel();
                cancelled().await;
                time_left()
            })
            .await
        });
        (of_timeout.await, of_first_poll.await.unwrap())
    });
    seconds_to_the_end(&rt, &child.job());
    let left = rt.block_on(child);
    let [of_timeout, of_first_poll] = [left.0, left.1].map(Option::unwrap);
    // A timer is late by a tick at most.
    assert!(of_timeout <= 3 * SECOND && of_timeout > 2 * SECOND, "{of_timeout:?}");
    assert_eq!(of_first_poll, 2 * SECOND);
}

#[test]
fn who_computes_past_its_limit_does_not_go_on() {
    let rt = Harness::new();
    let (trace, hooks) = (Trace::default(), rt.hooks.clone());
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        shield_for(2 * SECOND, async {
            cancelled().await;
            hooks.compute(2 * SECOND);
            assert!(is_cancelled());
            t.add("its time is up");
            yield_now().await;
            t.add("never");
        })
        .await;
        t.add("never");
    });
    rt.run();
    job.cancel();
    rt.run();
    assert!(job.is_completed());
    assert_eq!(trace.get(), ["its time is up"]);
}

#[test]
fn a_limit_that_is_not_reached_changes_nothing() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        shield_for(3 * SECOND, sleep(2 * SECOND)).await;
        t.add("in time");
        assert!(is_cancelled());
        yield_now().await;
        t.add("never");
    });
    rt.run();
    job.cancel();
    assert_eq!(seconds_to_the_end(&rt, &job), 2);
    assert_eq!(trace.get(), ["in time"]);
    assert_eq!(rt.block_on(shield_for(SECOND, async { 7 })), 7);
    let untouched = rt.spawn(shield_for(SECOND, sleep(9 * SECOND)));
    assert_eq!(seconds_to_the_end(&rt, &untouched.job()), 9);
    assert!(!untouched.job().is_cancelled());
}

#[test]
fn a_value_that_is_ready_at_the_limit_wins() {
    let rt = Harness::new();
    let child = rt.spawn(async { shield_for(2 * SECOND, sleep(2 * SECOND)).await });
    rt.run();
    child.job().cancel();
    assert_eq!(seconds_to_the_end(&rt, &child.job()), 2);
    rt.block_on(async { child.outcome().await.unwrap() });
}

#[test]
fn a_limit_that_begins_cancelled_counts_from_its_first_poll() {
    let rt = Harness::new();
    let job = rt.scope().launch(async {
        Job::current().unwrap().cancel();
        shield(sleep(3 * SECOND)).await;
        shield_for(2 * SECOND, pending::<()>()).await;
    });
    assert_eq!(seconds_to_the_end(&rt, &job), 5);
}

#[test]
fn limits_of_nothing_and_of_all_time() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(shield_for(Duration::ZERO, async move {
        let _end = t.on_drop("dropped");
        yield_now().await;
        t.add("polled on");
        pending::<()>().await;
    }));
    rt.run();
    job.cancel();
    assert_eq!(seconds_to_the_end(&rt, &job), 0);
    assert_eq!(trace.get(), ["polled on", "dropped"]);

    let job = rt.scope().launch(shield_for(Duration::MAX, async {
        cancelled().await;
        sleep(9 * SECOND).await;
    }));
    rt.run();
    job.cancel();
    assert_eq!(seconds_to_the_end(&rt, &job), 9);
}

#[test]
fn at_its_limit_other_branches_are_dropped_too() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        let other = async {
            let _end = t.on_drop("other");
            sleep(SECOND).await;
            t.add("never");
        };
        let shielded = shield_for(2 * SECOND, async {
            let _end = t.on_drop("shielded");
            pending::<()>().await;
        });
        join(shielded, other).await;
    });
    rt.run();
    job.cancel();
    assert_eq!(seconds_to_the_end(&rt, &job), 2);
    assert_eq!(trace.get(), ["shielded", "other"]);
}

#[test]
fn at_its_limit_what_is_inside_is_cancelled_and_awaited() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        shield_for(
            2 * SECOND,
            scope(async |s| {
                let child = t.clone();
                s.launch(async move {
                    let cleanup = child.clone();
                    finally(pending::<()>(), move || async move {
                        sleep(SECOND).await;
                        cleanup.add("cleanup");
                    })
                    .await;
                });
                let cause = t.clone();
                s.job().on_cancelling(move |cancelled| {
                    assert!(matches!(cancelled.cause(), CancelCause::ParentCancelled));
                    cause.add("told");
                });
                pending::<()>().await;
            }),
        )
        .await;
    });
    rt.run();
    job.cancel();
    assert_eq!(seconds_to_the_end(&rt, &job), 3);
    assert_eq!(trace.get(), ["told", "cleanup"]);
}

#[test]
fn a_shield_inside_one_that_is_over_holds_on() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        shield_for(SECOND, async {
            let between = async {
                sleep(2 * SECOND).await;
                t.add("never");
            };
            let inner = shield(async {
                sleep(3 * SECOND).await;
                assert!(!is_cancelled());
                t.add("inner");
            });
            join(between, inner).await;
        })
        .await;
        t.add("never");
    });
    rt.run();
    job.cancel();
    assert_eq!(seconds_to_the_end(&rt, &job), 3);
    assert_eq!(trace.get(), ["inner"]);
}

#[test]
fn a_limit_inside_a_shield_is_not_for_what_that_holds_off() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        shield(async {
            shield_for(SECOND, sleep(3 * SECOND)).await;
            t.add("all of it");
            // What ends inside of the outer one does.
            let part = cancel_scope(async |c| {
                c.cancel();
                shield_for(SECOND, pending::<()>()).await;
            });
            part.await.unwrap_err();
            t.add("part");
        })
        .await;
    });
    rt.run();
    job.cancel();
    assert_eq!(seconds_to_the_end(&rt, &job), 4);
    assert_eq!(trace.get(), ["all of it", "part"]);
}

#[test]
fn limits_inside_each_other_count_one_after_the_other() {
    let rt = Harness::new();
    let job = rt.scope().launch(async {
        shield_for(SECOND, shield_for(2 * SECOND, pending::<()>())).await;
    });
    rt.run();
    job.cancel();
    assert_eq!(seconds_to_the_end(&rt, &job), 3);
}

#[test]
fn a_timeout_and_a_cancel_scope_around_a_limit_wait_for_it() {
    let rt = Harness::new();
    let child = rt.spawn(async {
        let late = with_timeout(SECOND, shield_for(2 * SECOND, pending::<()>()));
        assert!(late.await.is_err());
        let ended = cancel_scope(async |c| {
            c.cancel();
            shield_for(3 * SECOND, pending::<()>()).await;
        });
        assert!(matches!(ended.await.unwrap_err().cause(), CancelCause::Requested));
        "went on"
    });
    assert_eq!(seconds_to_the_end(&rt, &child.job()), 6);
    assert_eq!(rt.block_on(child), "went on");
}

#[test]
fn of_several_cancellations_the_first_counts() {
    let rt = Harness::new();
    let part = Arc::new(Mutex::new(None));
    let put = part.clone();
    let job = rt.scope().launch(async move {
        let ended = cancel_scope(async |c| {
            *put.lock().unwrap() = Some(c);
            shield_for(3 * SECOND, pending::<()>()).await;
        });
        ended.await.unwrap_err();
        pending::<()>().await;
    });
    rt.run();
    part.lock().unwrap().take().unwrap().cancel();
    rt.pass(SECOND);
    job.cancel(); // before the first one has been looked at
    assert_eq!(seconds_to_the_end(&rt, &job), 2);
}

#[test]
fn a_limit_is_reached_behind_wakers_of_others() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        let mut branches: FuturesUnordered<_> = (1..=2)
            .map(|seconds| {
                let t = t.clone();
                shield_for(seconds * SECOND, async move {
                    let _end = t.on_drop("dropped");
                    pending::<()>().await;
                })
            })
            .collect();
        while branches.next().await.is_some() {}
    });
    rt.run();
    job.cancel();
    rt.run();
    rt.pass(SECOND);
    rt.run();
    assert_eq!(trace.get(), ["dropped"]);
    assert!(!job.is_completed());
    assert_eq!(seconds_to_the_end(&rt, &job), 1);
}

#[test]
fn a_cancellation_with_a_grace_stays_one_inside() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        shield_for(SECOND, async {
            let _end = t.on_drop("dropped");
            soft_shield(async {
                sleep(2 * SECOND).await;
                t.add("in the grace");
                pending::<()>().await;
            })
            .await;
        })
        .await;
    });
    rt.run();
    job.cancel_with_grace(4 * SECOND);
    assert_eq!(seconds_to_the_end(&rt, &job), 4);
    assert_eq!(trace.get(), ["in the grace", "dropped"]);
}

#[test]
fn what_computes_sees_the_limit_pass() {
    let rt = Arc::new(Harness::new());
    let clock = Arc::downgrade(&rt);
    let child = rt.spawn(shield_for(2 * SECOND, async move {
        Job::current().unwrap().parent().unwrap().cancel();
        yield_now().await;
        let pass = |time| clock.upgrade().unwrap().pass(time);
        pass(SECOND);
        assert!(!is_cancelled());
        assert_eq!(time_left(), Some(SECOND));
        pass(SECOND);
        assert!(is_cancelled());
        "returned"
    }));
    rt.run();
    assert_eq!(rt.block_on(async { child.outcome().await.unwrap() }), "returned");
}

#[test]
fn a_limit_dropped_by_hand_is_no_more() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        {
            let mut shielded = pin!(shield_for(SECOND, async {
                let _end = t.on_drop("dropped");
                pending::<()>().await;
            }));
            poll_once(shielded.as_mut()).await;
        }
        t.add("went on");
        shield(cancelled()).await;
        t.add("told");
        pending::<()>().await;
    });
    rt.run();
    job.cancel();
    assert_eq!(seconds_to_the_end(&rt, &job), 0);
    assert_eq!(trace.get(), ["dropped", "went on", "told"]);
}

#[test]
fn one_with_a_limit_that_is_forgotten_holds_as_any_other() {
    let rt = Harness::new();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = kept.clone();
    let ends = rt.scope().launch(async move {
        let mut forgotten = Box::pin(shield_for(SECOND, pending::<()>()));
        poll_once(forgotten.as_mut()).await;
        keep.lock().unwrap().push(Box::leak(Box::new(forgotten)));
        sleep(2 * SECOND).await;
    });
    rt.run();
    ends.cancel();
    a_minute(&rt, &ends);
    // As if it had been dropped: what is leaked is freed for the sake of the leak check alone.
    let forgotten = kept.lock().unwrap().pop().unwrap();
    // SAFETY: it came from a box, and nobody else has it.
    drop(unsafe { Box::from_raw(forgotten) });
    assert_eq!(seconds_to_the_end(&rt, &ends), 0);
}

#[test]
fn a_limit_that_was_moved_ends_where_it_is_polled() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let (give, take) = futures::channel::oneshot::channel();
    let maker = rt.scope().launch(async move {
        let mut shielded = Box::pin(shield_for(2 * SECOND, async move {
            let _end = t.on_drop("dropped");
            pending::<()>().await;
        }));
        poll_once(shielded.as_mut()).await;
        give.send(shielded).ok().unwrap();
        pending::<()>().await;
    });
    let host = rt.scope().launch(async { take.await.unwrap().await });
    rt.run();
    maker.cancel();
    assert_eq!(seconds_to_the_end(&rt, &maker), 2);
    // It has no value, and so its new owner is cancelled too.
    assert_eq!(seconds_to_the_end(&rt, &host), 0);
    assert!(host.is_cancelled());
    assert_eq!(trace.get(), ["dropped"]);
}

#[test]
fn a_panic_of_what_is_dropped_at_the_limit_is_one_of_the_coroutine() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    let rt = Harness::new();
    let child = rt.spawn(shield_for(SECOND, async {
        let _bomb = Bomb;
        pending::<()>().await;
    }));
    rt.run();
    child.job().cancel();
    assert_eq!(seconds_to_the_end(&rt, &child.job()), 1);
    let error = rt.block_on(child.outcome()).unwrap_err();
    assert!(error.to_string().ends_with("panicked: in a destructor"), "{error}");
}

#[test]
fn a_limit_holds_at_each_poll_of_a_coroutine() {
    for polls in 0..12 {
        let rt = Harness::new();
        let trace = Trace::default();
        let t = trace.clone();
        let job = rt.scope().launch(async move {
            yield_now().await;
            yield_now().await;
            shield_for(SECOND, async {
                t.add("in");
                let _end = t.on_drop("out");
                scope(async |s: Scope| {
                    s.launch(async {
                        for _ in 0..3 {
                            yield_now().await;
                        }
                    });
                    yield_now().await;
                })
                .await;
                pending::<()>().await;
            })
            .await;
        });
        for _ in 0..polls {
            rt.step();
        }
        job.cancel();
        let begun = trace.get() == ["in"];
        assert_eq!(seconds_to_the_end(&rt, &job), u32::from(begun), "after {polls} polls");
        let entered: &[_] = if begun { &["in", "out"] } else { &[] };
        assert_eq!(trace.get(), entered);
    }
}

#[test]
fn a_coroutine_with_a_limit_in_it_may_move() {
    let rt = Harness::new();
    let child = rt.spawn(async {
        let text = String::from("borrowed");
        let shielded = shield_for(SECOND, async {
            yield_now().await;
            text.len()
        });
        with_timeout(SECOND, shielded).await.unwrap()
    });
    assert_eq!(rt.block_on(child), 8);
}
