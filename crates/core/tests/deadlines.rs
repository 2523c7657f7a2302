//! Deadlines of cancel scopes, and what code knows of those around it.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use corymb_core::time::{deadline, now, sleep, time_left, with_deadline, with_timeout};
use corymb_core::{CancelCause, cancel_scope, is_cancelled, scope, shield, soft_shield, yield_now};

use crate::common::{Harness, Trace};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn it_ends_what_is_inside_with_cause_and_place() {
    let rt = Harness::new();
    let child = rt.spawn(async {
        let ended = cancel_scope(async |c| {
            c.set_deadline(now() + SECOND);
            pending::<()>().await;
        })
        .await
        .unwrap_err();
        assert!(matches!(ended.cause(), CancelCause::Deadline));
        assert_eq!(ended.place().file(), file!());
        now()
    });
    let begin = rt.hooks_now();
    rt.run();
    rt.pass(SECOND);
    assert_eq!(rt.block_on(child), begin + SECOND);
}

#[test]
fn it_can_be_moved_and_removed_while_it_runs() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let child = rt.spawn(async move {
        cancel_scope(async |c| {
            c.set_deadline(now() + SECOND);
            scope(async |s| {
                s.launch(async move {
                    sleep(SECOND / 2).await;
                    c.set_deadline(now() + 2 * SECOND);
                    sleep(SECOND).await;
                    c.set_deadline(None);
                    assert_eq!((c.deadline(), deadline()), (None, None));
                    sleep(5 * SECOND).await;
                    t.add("nothing came");
                    c.set_deadline(now() + SECOND / 4);
                    pending::<()>().await;
                });
                pending::<()>().await;
            })
            .await;
        })
        .await
        .unwrap_err();
        now()
    });
    let begin = rt.hooks_now();
    for _ in 0..40 {
        rt.run();
        rt.pass(SECOND / 4);
    }
    assert_eq!(trace.get(), ["nothing came"]);
    let end = rt.block_on(child);
    assert_eq!(end, begin + 6 * SECOND + 3 * (SECOND / 4));
}

#[test]
fn one_that_has_passed_ends_it_at_the_next_suspension() {
    let rt = Harness::new();
    rt.block_on(async {
        let ended = cancel_scope(async |c| {
            c.set_deadline(now());
            assert!(is_cancelled());
            yield_now().await;
            unreachable!("it was cancelled");
        });
        ended.await.unwrap_err();
        let value = cancel_scope(async |c| {
            c.set_deadline(now());
            "no suspension"
        });
        assert_eq!(value.await.unwrap(), "no suspension");
    });
}

#[test]
fn an_inner_one_is_told_apart_from_an_outer_one() {
    let rt = Harness::new();
    let child = rt.spawn(async {
        let outer = cancel_scope(async |outer| {
            outer.set_deadline(now() + SECOND);
            let inner = cancel_scope(async |inner| {
                inner.set_deadline(now() + 2 * SECOND);
                pending::<()>().await;
            });
            inner.await.unwrap_err();
            unreachable!("the outer one came first");
        });
        outer.await.unwrap_err();
        let outer = cancel_scope(async |outer| {
            outer.set_deadline(now() + 2 * SECOND);
            let inner = cancel_scope(async |inner| {
                inner.set_deadline(now() + SECOND);
                pending::<()>().await;
            });
            inner.await.unwrap_err();
            "went on"
        });
        outer.await.unwrap()
    });
    for _ in 0..3 {
        rt.run();
        rt.pass(SECOND);
    }
    assert_eq!(rt.block_on(child), "went on");
}

#[test]
fn the_tightest_one_in_force_is_known_below_and_not_behind_a_shield() {
    let rt = Harness::new();
    rt.block_on(async {
        assert_eq!((deadline(), time_left()), (None, None));
        let near = now() + SECOND;
        let far = now() + 9 * SECOND;
        let inside = with_deadline(
            near,
            with_timeout(9 * SECOND, async move {
                assert_eq!((deadline(), time_left()), (Some(near), Some(SECOND)));
                let below = scope(async |s| {
                    let child = async move || {
                        assert_eq!(deadline(), Some(near));
                        let part = cancel_scope(async |c| {
                            c.set_deadline(near - SECOND / 2);
                            scope(async |s| s.spawn(async { deadline() }).await).await
                        });
                        assert_eq!(part.await.unwrap(), Some(near - SECOND / 2));
                        shield(async { scope(async |s| s.spawn(async { deadline() }).await).await })
                            .await
                    };
                    s.spawn(async move { child().await }).await
                });
                assert_eq!(below.await, None);
                shield(with_deadline(far, async { deadline() })).await.unwrap()
            }),
        );
        assert_eq!(inside.await, Ok(Ok(Some(far))));
    });
}

#[test]
fn code_that_computes_sees_it_pass() {
    let rt = Harness::new();
    let hooks = Arc::clone(&rt.hooks);
    let rounds = rt.block_on(async move {
        let mut rounds = 0;
        let ended = cancel_scope(async |c| {
            c.set_deadline(now() + 3 * SECOND);
            while !is_cancelled() {
                rounds += 1;
                hooks.pass(SECOND);
                assert_eq!(time_left(), Some(3 * SECOND - SECOND * rounds));
            }
            yield_now().await;
        });
        ended.await.unwrap_err();
        rounds
    });
    assert_eq!(rounds, 3);
}

/// It holds off what has a grace, which a deadline has not.
#[test]
fn a_soft_shield_lets_deadlines_be_seen() {
    let rt = Harness::new();
    let hooks = Arc::clone(&rt.hooks);
    let inner = async move || {
        assert_eq!(time_left(), Some(2 * SECOND));
        shield(async { assert_eq!((time_left(), is_cancelled()), (None, false)) }).await;
        sleep(SECOND).await;
        assert_eq!((time_left(), is_cancelled()), (Some(SECOND), false));
        hooks.pass(SECOND);
        assert!(is_cancelled());
        shield(async { assert!(!is_cancelled()) }).await;
    };
    let child = rt.spawn(async move {
        let lazy = with_timeout(2 * SECOND, soft_shield(inner())).await;
        let made = with_timeout(2 * SECOND, scope(async |_| soft_shield(inner()).await)).await;
        let scoped = cancel_scope(async |c| {
            c.set_deadline(now() + 2 * SECOND);
            soft_shield(inner()).await;
        })
        .await;
        (lazy.is_ok(), made.is_ok(), scoped.is_ok())
    });
    for _ in 0..10 {
        rt.run();
        rt.pass(SECOND);
    }
    assert_eq!(rt.block_on(child), (true, true, true));
}
