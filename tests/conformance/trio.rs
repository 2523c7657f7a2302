//! Cancel scopes, deadlines, shields, strict scopes.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corymb::prelude::*;
use corymb::sync::{channel, oneshot};
use corymb::testing::{advance, elapsed, settle, take_failures};
use corymb::time::{deadline, now};
use corymb::try_scope_all;
use corymb::{CancelCause, Continuation, JobState, check_cancelled, suspend_cancellable};
use futures::FutureExt;
use futures::future::poll_immediate;

use crate::common::{Trace, caught_text, ms};

const SECOND: Duration = Duration::from_secs(1);

type Checkpoint = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What suspends, each in its own way.
fn checkpoints() -> Vec<Checkpoint> {
    let (_sender, closed) = oneshot::channel::<()>();
    let full = channel::bounded::<()>(1);
    full.0.try_send(()).unwrap();
    let ended = Job::new(None);
    ended.cancel();
    vec![
        Box::pin(yield_now()),
        Box::pin(check_cancelled()),
        Box::pin(sleep(ms(1))),
        Box::pin(ended.join()),
        Box::pin(async move {
            let _sender = _sender;
            _ = closed.await;
        }),
        Box::pin(async move {
            let (sender, _receiver) = full;
            _ = sender.send(()).await;
        }),
        Box::pin(scope(async |s| drop(s.launch(yield_now())))),
        Box::pin(async { drop(with_timeout(SECOND, yield_now()).await) }),
        Box::pin(async { drop(cancel_scope(async |_| yield_now().await).await) }),
    ]
}

/// A cancelled body cannot catch it at one checkpoint and meet the next: what it can do is to run
/// behind a shield, and every checkpoint after that is one where it ends.
#[corymb::test]
async fn trio_001_each_checkpoint_in_a_cancelled_scope_is_where_it_ends() {
    for (i, checkpoint) in checkpoints().into_iter().enumerate() {
        let (trace, told) = Trace::twice();
        let ended = cancel_scope(async |c| {
            c.cancel();
            let behind = shield(async {
                yield_now().await;
                trace.add("behind the shield");
            });
            behind.await;
            assert!(is_cancelled());
            checkpoint.await;
            trace.add("after the checkpoint");
        });
        assert!(ended.await.is_err(), "{i}");
        assert_eq!(told.get(), ["behind the shield"], "{i}");
    }
}

#[corymb::test]
async fn trio_002_a_shield_holds_a_cancel_from_outside_off_and_not_one_inside() {
    let (trace, told) = Trace::twice();
    let outer = cancel_scope(async |outer| {
        let inner = async {
            outer.cancel();
            for _ in 0..3 {
                yield_now().await;
                check_cancelled().await;
                assert!(!is_cancelled());
            }
            trace.add("shielded");
            let own = cancel_scope(async |own| {
                own.cancel();
                yield_now().await;
                trace.add("after its own cancel");
            });
            assert!(own.await.is_err());
            trace.add("inside");
        };
        shield(inner).await;
        assert!(is_cancelled());
        yield_now().await;
        trace.add("after the shield");
    });
    assert!(outer.await.is_err());
    assert_eq!(told.get(), ["shielded", "inside"]);
}

#[corymb::test]
async fn trio_006_a_deadline_counts_while_its_scope_is_open_and_can_be_moved() {
    // Left before its deadline.
    let value = cancel_scope(async |c| {
        c.set_deadline(now() + SECOND);
        "in time"
    });
    assert_eq!(value.await.unwrap(), "in time");
    advance(2 * SECOND).await;

    // The clock passes it inside.
    let passed = cancel_scope(async |c| {
        c.set_deadline(now() + SECOND);
        sleep(2 * SECOND).await;
    });
    assert!(matches!(passed.await.unwrap_err().cause(), CancelCause::Deadline));

    // Moved into the past: the very next checkpoint, whichever it is.
    for checkpoint in checkpoints() {
        let moved = cancel_scope(async |c| {
            let begin = now();
            c.set_deadline(begin + 10 * SECOND);
            sleep(5 * SECOND).await;
            assert!(!is_cancelled());
            c.set_deadline(begin + SECOND);
            assert!(is_cancelled());
            checkpoint.await;
            unreachable!("its deadline had passed");
        });
        assert!(matches!(moved.await.unwrap_err().cause(), CancelCause::Deadline));
    }
}

/// A shield is a part of the code and is not switched on and off: two of them stand for that. That
/// a scope is cancelled is told by `is_cancelled`, and is no deadline of minus infinity.
#[corymb::test]
async fn trio_007_the_deadline_in_force_is_the_tightest_up_to_a_shield() {
    let at = |seconds: u32| now() + seconds * SECOND;
    assert_eq!(deadline(), None);
    let outer = cancel_scope(async |outer| {
        outer.set_deadline(at(5));
        let inner = cancel_scope(async |inner| {
            let mut seen = Vec::new();
            for seconds in [10, 3, 10] {
                inner.set_deadline(at(seconds));
                seen.push(deadline());
            }
            assert_eq!(seen, [Some(at(5)), Some(at(3)), Some(at(5))]);
        });
        inner.await.unwrap();
        let shielded = shield(cancel_scope(async |inner| {
            inner.set_deadline(at(10));
            assert_eq!(deadline(), Some(at(10)));
            outer.cancel();
            assert_eq!((deadline(), is_cancelled()), (Some(at(10)), false));
        }));
        shielded.await.unwrap();
        assert!(is_cancelled());
        assert_eq!(deadline(), Some(at(5)));
    });
    outer.await.unwrap(); // it returned without a checkpoint
    assert_eq!(deadline(), None);
}

/// Differs from the case: who comes too late is cancelled, as every launch that is late.
#[corymb::test]
async fn trio_011_children_may_launch_while_one_runs_and_nobody_after_that() {
    let (trace, told) = Trace::twice();
    let ended = scope(async |s| {
        let own = s.clone();
        s.launch(async move {
            yield_now().await;
            assert_eq!(own.job().state(), JobState::Completing);
            own.launch(async move { trace.add("late sibling") });
        });
        s
    })
    .await;
    assert_eq!(told.get(), ["late sibling"]);
    let late = ended.launch(async { unreachable!("it ran") });
    assert!(matches!(late.cause().unwrap().cause(), CancelCause::ScopeEnded));
}

/// Differs from the case: children that were cancelled have not failed, so there is nothing to be
/// filtered out; and who is cancelled sees no error, which is reported then.
#[corymb::test]
async fn trio_013_of_cancelled_children_and_a_failure_the_failure_is_left() {
    let inner = try_scope_all(async |s| {
        for _ in 0..3 {
            let child = s.launch(pending());
            settle().await;
            child.cancel();
        }
        s.launch(async { Err("K") });
        Ok(())
    });
    assert_eq!(inner.await.unwrap_err().into_parts(), ("K", vec![]));

    let (trace, told) = Trace::twice();
    let outer = cancel_scope(async |outer| {
        let inner = try_scope(async |s| {
            for _ in 0..3 {
                s.launch(pending());
            }
            s.launch(shield(async move {
                sleep(ms(1)).await;
                trace.add("fails");
                Err("K")
            }));
            settle().await;
            outer.cancel();
            Ok(())
        });
        _ = inner.await;
        unreachable!("it was cancelled");
    });
    assert!(matches!(outer.await.unwrap_err().cause(), CancelCause::Requested));
    assert_eq!(told.get(), ["fails"]);
    assert_eq!(take_failures().len(), 1);
}

/// Differs from the case in who is told: the outer scope ends what is open in it, and waits; who
/// goes on with the inner one nevertheless gets the panic.
#[corymb::test]
async fn trio_014_an_inner_scope_that_outlives_the_outer_one_is_ended_with_it() {
    let trace = Trace::default();
    let open: [_; 2] = std::array::from_fn(|_| {
        let dropped = trace.on_drop("child");
        let seen = trace.clone();
        scope(async move |s| {
            s.launch(async move {
                let _dropped = dropped;
                pending::<()>().await;
            });
            yield_now().await;
            seen.add("went on");
        })
    });
    let mut open = open.map(Box::pin);
    let outer = scope(async |s| {
        let mine = s.spawn(async move {
            for inner in &mut open {
                assert!(poll_immediate(inner.as_mut()).await.is_none());
            }
            open
        });
        mine.await
    });
    let [polled, left] = outer.await;
    trace.add("outer ended");
    assert_eq!(trace.get(), ["child", "child", "outer ended"]);
    let refused = caught_text(AssertUnwindSafe(polled).catch_unwind().await);
    assert!(refused.contains("scope") && refused.contains(file!()), "{refused}");
    drop(left);
    assert_eq!(trace.get().len(), 3);
}

#[corymb::test]
async fn trio_015_a_wait_behind_a_shield_takes_its_value_before_the_cancel_arrives() {
    let (trace, told) = Trace::twice();
    let kept = Arc::new(Mutex::new(None::<Continuation<u32>>));
    let slot = kept.clone();
    scope(async |s| {
        let child = s.launch(async move {
            let wait = suspend_cancellable(move |cont| *slot.lock().unwrap() = Some(cont));
            trace.add("sleep");
            trace.add(shield(wait).await.unwrap());
            let _end = trace.on_drop("cancelled");
            yield_now().await;
            trace.add("after the checkpoint");
        });
        settle().await;
        child.cancel();
        settle().await;
        assert_eq!(told.get(), ["sleep"]);
        kept.lock().unwrap().take().unwrap().resume(1).unwrap();
        child.join().await;
    })
    .await;
    assert_eq!(told.get(), ["sleep", "1", "cancelled"]);
}

/// Differs from the case, as Kotlin does: what is cancelled before it begins never begins.
#[corymb::test]
async fn trio_017_a_child_of_a_cancelled_scope_never_begins() {
    let (trace, told) = Trace::twice();
    let ended = cancel_scope(async |c| {
        scope(async |s| {
            c.cancel();
            let dropped = trace.on_drop("dropped");
            s.launch(async move {
                let _dropped = dropped;
                unreachable!("it began");
            });
        })
        .await;
    });
    assert!(ended.await.is_err());
    assert_eq!(told.get(), ["dropped"]);
}

/// A `Duration` is neither negative nor no number. The shield is inside of its own deadline where
/// the deadline is inside of the shield.
#[corymb::test]
async fn trio_018_a_deadline_behind_a_shield_passes() {
    let behind = shield(with_timeout(ms(10), pending::<()>()));
    assert!(behind.await.is_err());
    assert_eq!(elapsed(), ms(10));
    let moved_on = shield(cancel_scope(async |c| {
        c.set_deadline(now() + ms(10));
        pending::<()>().await;
    }));
    assert!(moved_on.await.is_err());
    assert_eq!(elapsed(), ms(20));
    // One around the shield waits for its end.
    let around = with_timeout(ms(10), async {
        shield(sleep(ms(30))).await;
        pending::<()>().await;
    });
    assert!(around.await.is_err());
    assert_eq!(elapsed(), ms(50));
}
