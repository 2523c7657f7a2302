//! Scopes in scopes, and who may launch where.

use std::any::Any;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Mutex;

use corymb::prelude::*;
use corymb::testing::{elapsed, settle};
use corymb::{CancelCause, JobState, JoinError};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use crate::common::{Trace, ms, text};

#[corymb::test]
async fn an_inner_scope_ends_before_the_outer_one() {
    let trace = Trace::default();
    scope(async |outer| {
        let (a, b) = (trace.clone(), trace.clone());
        outer.launch(async move {
            sleep(ms(20)).await;
            a.add("outer child");
        });
        scope(async |inner| {
            inner.launch(async move {
                sleep(ms(10)).await;
                b.add("inner child");
            });
        })
        .await;
        trace.add("inner scope");
    })
    .await;
    trace.add("outer scope");
    assert_eq!(trace.get(), ["inner child", "inner scope", "outer child", "outer scope"]);
}

#[corymb::test]
async fn a_scope_in_a_child_in_a_scope() {
    let sum = scope(async |s| {
        let child = s.spawn(scope(async |s| {
            let grandchild = s.spawn(scope(async |s| s.spawn(async { 1 }).await + 1));
            grandchild.await + 1
        }));
        child.await + 1
    });
    assert_eq!(sum.await, 4);
}

#[corymb::test]
async fn a_child_launches_siblings_when_the_body_has_ended() {
    let trace = Trace::default();
    scope(async |s| {
        let (siblings, seen) = (s.clone(), trace.clone());
        s.launch(async move {
            sleep(ms(10)).await;
            assert_eq!(siblings.job().state(), JobState::Completing);
            let sibling = seen.clone();
            siblings.launch(async move {
                sleep(ms(10)).await;
                sibling.add("sibling");
            });
            seen.add("child");
        });
        trace.add("body");
    })
    .await;
    assert_eq!(trace.get(), ["body", "child", "sibling"]);
    assert_eq!(elapsed(), ms(20));
}

#[corymb::test]
async fn a_launch_into_an_ended_scope_is_cancelled_and_dropped_unpolled() {
    let trace = Trace::default();
    let ended = scope(async |s| s).await;
    for named in [false, true] {
        let guard = trace.on_drop("dropped");
        let future = async move {
            let _guard = guard;
            unreachable!("it was polled");
        };
        let child = match named {
            true => ended.coroutine().name("late").spawn(future),
            false => ended.spawn(future),
        };
        assert_eq!(trace.get().len(), 1 + usize::from(named));
        let job = child.job();
        assert_eq!(job.state(), JobState::Cancelled);
        assert_eq!(job.parent(), None);
        job.join().await;
        let outcome: Result<(), _> = child.outcome().await;
        let Err(JoinError::Cancelled(cancelled)) = outcome else { panic!("{outcome:?}") };
        assert!(matches!(cancelled.cause(), CancelCause::ScopeEnded));
        assert!(cancelled.to_string().contains("its scope had ended"), "{cancelled}");
    }
}

#[corymb::test]
async fn a_cancel_scope_awaits_the_children_of_the_scopes_inside() {
    let trace = Trace::default();
    let ended = cancel_scope(async |c| {
        scope(async |s| {
            for _ in 0..2 {
                let guard = trace.on_drop("child");
                s.launch(scope(async move |s| {
                    s.launch(async move {
                        let _guard = guard;
                        pending::<()>().await;
                    });
                }));
            }
            settle().await;
            assert!(c.cancel() && c.is_cancelled() && !c.cancel());
            yield_now().await;
            unreachable!("a cancelled body went on");
        })
        .await;
    })
    .await;
    trace.add("caller");
    assert!(matches!(ended.unwrap_err().cause(), CancelCause::Requested));
    assert_eq!(trace.get(), ["child", "child", "caller"]);
}

#[corymb::test]
async fn trio_004_of_nested_cancel_scopes_the_outermost_that_was_cancelled_catches() {
    let third = Mutex::new(None);
    let first = cancel_scope(async |c1| {
        let second = cancel_scope(async |c2| {
            let inner = cancel_scope(async |c3| {
                *third.lock().unwrap() = Some(c3.clone());
                c3.cancel();
                c2.cancel();
                pending::<()>().await;
            });
            drop(inner.await);
            unreachable!("the inner scope has caught what the outer one was to");
        })
        .await;
        assert!(second.is_err());
        assert!(!c1.is_cancelled());
    })
    .await;
    assert!(first.is_ok());
    assert!(third.into_inner().unwrap().unwrap().is_cancelled());
}

#[corymb::test]
async fn an_inner_cancel_scope_catches_its_own() {
    let outer = cancel_scope(async |outer| {
        let inner = cancel_scope(async |inner| {
            inner.cancel();
            yield_now().await;
        });
        inner.await.unwrap_err();
        assert!(!outer.is_cancelled());
        yield_now().await;
        42
    });
    assert_eq!(outer.await.ok(), Some(42));
}

#[corymb::test]
async fn an_outer_cancel_ends_an_inner_scope_that_waits_for_its_children() {
    let trace = Trace::default();
    let outer = cancel_scope(async |outer| {
        let inner = cancel_scope(async |inner| {
            scope(async |s| {
                let guard = trace.on_drop("child");
                s.launch(async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
                settle().await;
                inner.cancel();
                outer.cancel();
            })
            .await;
        });
        drop(inner.await);
        trace.add("after");
    })
    .await;
    outer.unwrap_err();
    assert_eq!(trace.get(), ["child"]);
}

#[corymb::test]
async fn scopes_run_side_by_side_in_one_coroutine() {
    let scopes: FuturesUnordered<_> = [30, 10, 20]
        .into_iter()
        .map(|millis| {
            scope(async move |s| {
                s.launch(sleep(ms(millis)));
                millis
            })
        })
        .collect();
    assert_eq!(scopes.collect::<Vec<_>>().await, [10, 20, 30]);
    assert_eq!(elapsed(), ms(30));
}

#[corymb::test]
async fn results_are_mere_values_to_a_plain_scope() {
    let results = scope(async |s| {
        let failing = s.spawn(async { Err::<(), _>("a value") });
        let other = s.spawn(async {
            yield_now().await;
            Ok::<_, ()>(42)
        });
        (failing.await, other.await)
    });
    assert_eq!(results.await, (Err("a value"), Ok(42)));
}

/// Looks at its context when it is dropped.
struct Look(Trace);

impl Drop for Look {
    fn drop(&mut self) {
        self.0.add(format_args!("{:?}", Context::current().name().map(str::len)));
    }
}

/// Has a coroutine with a context of its own poll `future` once and end, and gives it back.
#[expect(clippy::async_yields_async, reason = "the future is moved away, not awaited")]
async fn left_open<F: Future<Output: Send> + Send + 'static>(future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    scope(async |s| {
        let opener = s.coroutine().name("opener").spawn(async move {
            assert!(futures::poll!(future.as_mut()).is_pending());
            yield_now().await;
            future
        });
        opener.await
    })
    .await
}

#[track_caller]
fn assert_refused(refused: &(dyn Any + Send)) {
    let refused = text(refused);
    assert!(
        refused.contains("polled after the coroutine that opened it had ended")
            && refused.contains(file!()),
        "{refused}"
    );
}

#[corymb::test]
async fn a_scope_that_its_opener_left_open_refuses_to_be_polled() {
    let trace = Trace::default();
    let (guard, look) = (trace.on_drop("child"), Look(trace.clone()));
    let mut moved = left_open(scope(async move |s| {
        let _look = look;
        s.launch(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        pending::<()>().await;
    }))
    .await;
    // The opener has ended, and so have its children.
    assert_eq!(trace.get(), ["child"]);
    let refused = AssertUnwindSafe(moved.as_mut()).catch_unwind().await;
    assert_refused(&*refused.unwrap_err());
    drop(moved);
    assert_eq!(trace.get().len(), 2);
}

#[corymb::test]
async fn a_scope_that_its_opener_left_open_can_be_dropped() {
    let trace = Trace::default();
    let look = Look(trace.clone());
    let moved = left_open(scope(async move |_| {
        let _look = look;
        pending::<()>().await;
    }));
    drop(moved.await);
    assert_eq!(trace.get().len(), 1);
}

#[corymb::test]
async fn a_timeout_that_its_opener_left_open_refuses_to_be_polled() {
    let mut moved =
        left_open(with_timeout(ms(10), scope(async |s| drop(s.launch(pending()))))).await;
    let refused = AssertUnwindSafe(moved.as_mut()).catch_unwind().await;
    assert_refused(&*refused.unwrap_err());
}

/// Launches a child that does the same, `depth` times.
fn chain(depth: usize) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    match depth {
        0 => Box::pin(pending()),
        _ => Box::pin(scope(async move |s| drop(s.launch(chain(depth - 1))))),
    }
}

#[corymb::test]
async fn a_chain_of_any_depth_is_cancelled() {
    scope(async |s| {
        let first = s.launch(chain(10_000));
        settle().await;
        first.cancel_and_join().await;
        assert_eq!(first.state(), JobState::Cancelled);
    })
    .await;
}

#[test]
#[should_panic(expected = "use cancel_scope")]
fn a_scope_that_was_cancelled_by_itself_has_no_value_for_a_foreign_executor() {
    futures::executor::block_on(scope(async |s| {
        s.job().cancel();
        yield_now().await;
    }));
}

#[corymb::test]
async fn a_cancel_scope_is_cancelled_by_another_coroutine() {
    let ended = scope(async |s| {
        let canceller = s.clone();
        let inner = cancel_scope(async move |c| {
            canceller.launch(async move {
                sleep(ms(10)).await;
                c.cancel();
            });
            sleep(ms(1000)).await;
        });
        inner.await
    });
    assert!(matches!(ended.await.unwrap_err().cause(), CancelCause::Requested));
    assert_eq!(elapsed(), ms(10));
}
