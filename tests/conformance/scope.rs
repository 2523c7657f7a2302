//! Scopes: nesting, supervision, and what becomes of failures.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Barrier, Mutex};

use corymb::prelude::*;
use corymb::testing::{settle, take_failures};
use corymb::{Failures, JoinError, Runtime, try_scope_all};
use futures::FutureExt;

use crate::common::{ACTIVE, CANCELLED, PanicOnDrop, Trace, custom, custom_text, flags, ms, text};

#[corymb::test]
async fn scope_001_a_scope_returns_after_children_and_grandchildren() {
    let trace = Trace::default();
    let value = scope(async |s| {
        let (a, b) = (trace.clone(), trace.clone());
        s.launch(async move { a.add("a") });
        let siblings = s.clone();
        s.launch(async move {
            b.add("b");
            let c = b.clone();
            siblings.launch(async move { c.add("c") });
            yield_now().await;
            b.add("rest of b");
        });
        trace.add("body");
        42
    })
    .await;
    trace.add("caller");
    assert_eq!(value, 42);
    // c was queued before b gave way.
    assert_eq!(trace.get(), ["body", "a", "b", "c", "rest of b", "caller"]);
    assert!(Job::current().unwrap().is_active());
}

#[corymb::test]
async fn scope_002_an_error_cancels_the_siblings() {
    let trace = Trace::default();
    let result: Result<(), _> = try_scope(async |s| {
        let guard = trace.on_drop("sleeper");
        s.launch(async move {
            let _guard = guard;
            pending().await
        });
        s.launch(async {
            yield_now().await;
            Err("E2")
        });
        Ok(())
    })
    .await;
    assert_eq!(result, Err("E2"));
    assert_eq!(trace.get(), ["sleeper"]);
    yield_now().await;
    assert!(Job::current().unwrap().is_active());
}

/// The scope's caller is dropped instead of being told; its end is that of its job.
#[corymb::test]
async fn scope_004_children_clean_up_before_a_cancelled_caller_has_ended() {
    let trace = Trace::default();
    supervisor_scope(async |s| {
        let in_child = trace.clone();
        let outer = s.spawn(scope(async move |s| {
            s.launch(async move {
                let _cleanup = in_child.on_drop("cleanup");
                pending::<()>().await;
            });
            pending::<()>().await;
        }));
        settle().await;
        outer.job().cancel();
        let outcome = outer.outcome().await;
        trace.add("outer has ended");
        assert!(matches!(outcome, Err(JoinError::Cancelled(_))), "{outcome:?}");
    })
    .await;
    assert_eq!(trace.get(), ["cleanup", "outer has ended"]);
}

/// The sibling is launched first, so that it has started when the other one fails.
#[corymb::test]
async fn scope_005_a_failure_that_is_awaited_comes_after_the_siblings_cleanup() {
    let trace = Trace::default();
    let result: Result<(), _> = try_scope(async |s| {
        let (one, two) = (trace.clone(), trace.clone());
        let second: Deferred<()> = s.spawn(async move {
            two.add("two");
            let _cleanup = two.on_drop("two's cleanup");
            pending().await
        });
        let first: Deferred<()> = s.spawn(async move {
            one.add("one");
            Err("E1")
        });
        trace.add("body");
        first.await;
        second.await;
        unreachable!("a failed child gave a value");
    })
    .await;
    trace.add("caller");
    assert_eq!(result, Err("E1"));
    assert_eq!(trace.get(), ["body", "two", "one", "two's cleanup", "caller"]);
}

#[corymb::test]
async fn scope_007_a_failure_outranks_a_cancellation() {
    let trace = Trace::default();
    let seen = trace.clone();
    scope(async move |s| {
        s.launch(async move {
            let me = Job::current().unwrap();
            let result: Result<(), _> = try_scope(async |_| {
                me.cancel();
                Err("E1")
            })
            .await;
            seen.add(result.unwrap_err());
            yield_now().await;
            seen.add("after");
        });
    })
    .await;
    assert_eq!(trace.get(), ["E1"]);
}

#[corymb::test]
async fn scope_009_a_scope_in_a_cancelled_coroutine_runs_to_its_first_suspension() {
    let trace = Trace::default();
    scope(async |s| {
        let in_child = trace.clone();
        let child = s.launch(async move {
            Job::current().unwrap().cancel();
            scope(async |_| {
                in_child.add("body");
                yield_now().await;
                in_child.add("after");
            })
            .await;
            in_child.add("caller");
        });
        child.join().await;
        assert_eq!(flags(&child), CANCELLED);
    })
    .await;
    assert_eq!(trace.get(), ["body"]);
}

#[corymb::test]
async fn scope_012_a_launch_in_a_cancelled_scope_completes_and_tells_its_handlers() {
    let trace = Trace::default();
    let ended = cancel_scope(async |c| {
        scope(async |s| {
            c.cancel();
            let plain = s.launch(async { unreachable!("it ran") });
            let named = s.coroutine().name("named").launch(async { unreachable!("it ran") });
            let lazy = s.coroutine().lazy().launch(async { unreachable!("it ran") });
            let undispatched = s.coroutine().undispatched();
            let undispatched = undispatched.launch(async { unreachable!("it ran") });
            for job in [plain, named, lazy, undispatched] {
                let seen = trace.clone();
                job.on_completion(move |_| seen.add("completed"));
            }
            pending::<()>().await;
        })
        .await;
    })
    .await;
    ended.unwrap_err();
    assert_eq!(trace.get(), ["completed"; 4]);
}

#[corymb::test]
async fn scope_013_a_supervisor_reports_failures_and_goes_on() {
    supervisor_scope(async |s| {
        let children = [s.launch(async { panic!("E1") }), s.launch(async { panic!("E2") })];
        settle().await;
        assert_eq!(children.each_ref().map(flags), [CANCELLED; 2]);
        assert_eq!(flags(&s.job()), ACTIVE);
        let failures = take_failures();
        assert!(failures[0].contains("E1") && failures[1].contains("E2"), "{failures:?}");
    })
    .await;
}

#[corymb::test]
async fn scope_014_a_supervisor_gives_its_value_whatever_became_of_its_children() {
    let value = supervisor_scope(async |s| {
        s.launch(async { panic!("E1") });
        s.launch(async { panic!("E2") });
        "OK"
    });
    assert_eq!(value.await, "OK");
    assert_eq!(take_failures().len(), 2);
}

#[corymb::test]
async fn scope_015_a_supervisor_s_children_do_not_harm_each_other() {
    supervisor_scope(async |s| {
        let sleeper = s.launch(pending());
        s.launch(async { panic!("failed") });
        settle().await;
        assert_eq!(flags(&sleeper), ACTIVE);
        sleeper.cancel_and_join().await;
        assert_eq!(flags(&sleeper), CANCELLED);
    })
    .await;
    assert_eq!(take_failures().len(), 1);
}

#[corymb::test]
async fn scope_017_a_supervisor_s_own_failure_wins_and_its_children_s_is_reported() {
    let failed = supervisor_scope(async |s| {
        let late = PanicOnDrop("E2");
        s.launch(async move {
            let _late = late;
            pending::<()>().await;
        });
        settle().await;
        panic!("E1");
    });
    let failed = AssertUnwindSafe(failed).catch_unwind().await;
    assert_eq!(text(&*failed.unwrap_err()), "E1");
    let failures = take_failures();
    assert!(failures.len() == 1 && failures[0].contains("E2"), "{failures:?}");
}

#[corymb::test]
async fn scope_019_children_of_a_supervisor_that_is_cancelled_see_its_cause() {
    let child = Mutex::new(None);
    let ended = cancel_scope(async |_| {
        supervisor_scope(async |s| {
            *child.lock().unwrap() = Some(s.spawn(pending::<()>()));
            settle().await;
            s.job().cancel_with(custom("E1"));
            pending::<()>().await;
        })
        .await;
    })
    .await;
    assert_eq!(custom_text(&ended.unwrap_err()), "E1");
    let child = child.into_inner().unwrap().unwrap();
    let Err(JoinError::Cancelled(cancelled)) = child.outcome().await else {
        panic!("the child went on");
    };
    assert_eq!(custom_text(&cancelled), "E1");
}

#[corymb::test]
async fn scope_022_a_cancelled_child_of_a_supervisor_is_no_failure() {
    let job = supervisor_scope(async |s| {
        let child = s.launch(pending());
        settle().await;
        child.cancel_and_join().await;
        s.job()
    })
    .await;
    assert!(job.is_completed() && !job.is_cancelled());
    assert!(take_failures().is_empty());
}

/// Launches into `s` a child of each kind, whose own child does `work`.
fn parents_of<Fut>(s: &Scope, work: fn() -> Fut) -> [Job; 3]
where
    Fut: Future<Output = ()> + Send + 'static,
{
    let inner = move || scope(async move |s| drop(s.launch(work())));
    [s.launch(inner()), s.spawn(inner()).job(), s.coroutine().name("named").launch(inner())]
}

async fn fail() {
    yield_now().await;
    panic!("failed");
}

#[corymb::test]
async fn scope_023_a_failing_grandchild_ends_everything() {
    for kind in 0..3 {
        let top = Mutex::new(None);
        let failed = scope(async |s| {
            *top.lock().unwrap() = Some(s.job());
            for (i, parent) in parents_of(&s, fail).into_iter().enumerate() {
                if i != kind {
                    parent.cancel();
                }
            }
            pending::<()>().await;
        });
        let failed = AssertUnwindSafe(failed).catch_unwind().await;
        assert_eq!(text(&*failed.unwrap_err()), "failed");
        assert_eq!(flags(&top.into_inner().unwrap().unwrap()), CANCELLED);
    }
    assert!(take_failures().is_empty());
}

#[corymb::test]
async fn scope_024_a_failing_grandchild_below_a_supervisor_is_reported() {
    scope(async |s| {
        let supervisor = || supervisor_scope(async |s| drop(s.launch(fail())));
        let parents = [
            s.launch(supervisor()),
            s.spawn(supervisor()).job(),
            s.coroutine().name("named").launch(supervisor()),
        ];
        for parent in &parents {
            parent.join().await;
            assert!(!parent.is_cancelled());
        }
        assert_eq!(flags(&s.job()), ACTIVE);
    })
    .await;
    assert_eq!(take_failures().len(), 3);
}

#[corymb::test]
async fn scope_026_a_grandchild_that_cancels_itself_has_not_failed() {
    async fn cancel_oneself() {
        Job::current().unwrap().cancel();
        yield_now().await;
    }
    scope(async |s| {
        for parent in parents_of(&s, cancel_oneself) {
            parent.join().await;
            assert!(!parent.is_cancelled());
        }
        assert_eq!(flags(&s.job()), ACTIVE);
    })
    .await;
    assert!(take_failures().is_empty());
}

/// On threads, where several can fail at once: which one is first is left to them.
#[test]
fn scope_027_errors_that_come_at_once_are_all_kept() {
    let rt = Runtime::builder().parallelism(3).build().unwrap();
    for _ in 0..100 {
        let failures = rt.run_blocking(rt.detached(async {
            let together = Arc::new(Barrier::new(3));
            let result: Result<(), _> = try_scope_all(async |s| {
                for name in ["A", "B", "C"] {
                    let together = together.clone();
                    s.launch(async move {
                        together.wait();
                        Err(name)
                    });
                }
                pending().await
            })
            .await;
            result.unwrap_err()
        }));
        let (first, mut all) = failures.into_parts();
        all.push(first);
        all.sort_unstable();
        assert_eq!(all, ["A", "B", "C"]);
    }
}

/// A child that runs when the scope is cancelled stands in for one that runs in spite of it.
#[corymb::test]
async fn scope_029_a_cancel_does_not_swallow_a_later_error() {
    let result: Result<(), _> = try_scope(async |s| {
        let job = s.job();
        s.launch(async move {
            job.cancel();
            Err("E")
        });
        pending().await
    })
    .await;
    assert_eq!(result, Err("E"));
}

/// An error, with those that came after it.
#[derive(Debug, PartialEq)]
struct Nested(&'static str, Vec<Self>);

impl From<Failures<Self>> for Nested {
    fn from(failures: Failures<Self>) -> Self {
        let (Self(first, mut later), suppressed) = failures.into_parts();
        later.extend(suppressed);
        Self(first, later)
    }
}

/// Children behind a shield stand in for those that run in spite of a cancel.
#[corymb::test]
async fn scope_034_errors_of_all_depths_are_kept_where_they_belong() {
    let result: Result<(), _> = try_scope_all(async |s| {
        s.launch(shield(async {
            yield_now().await; // the outer one fails meanwhile
            let inner: Result<(), _> = try_scope_all(async |s| {
                s.coroutine().undispatched().launch(shield(async {
                    yield_now().await; // and its parent
                    Err(Nested("C", vec![]))
                }));
                Err(Nested("B", vec![]))
            })
            .await;
            inner.map_err(Nested::from)
        }));
        yield_now().await;
        Err(Nested("A", vec![]))
    })
    .await;
    let leaf = Nested("C", vec![]);
    assert_eq!(Nested::from(result.unwrap_err()), Nested("A", vec![Nested("B", vec![leaf])]));
}

#[corymb::test]
async fn scope_035_to_catch_a_child_s_failure_does_not_save_its_scope() {
    let result = try_scope(async |s| {
        let outer = s.spawn(try_scope(async |s| {
            let inner = s.spawn(async { Err::<u32, _>("E") });
            Ok(inner.outcome().await.unwrap_or(42))
        }));
        Ok(outer.await)
    });
    assert_eq!(result.await, Err("E"));
}

#[corymb::test]
async fn scope_037_nobody_goes_on_after_a_grandchild_s_failure() {
    let trace = Trace::default();
    let result: Result<(), _> = try_scope(async |s| {
        let parent = trace.clone();
        s.launch(try_scope(async move |s| {
            s.launch(async { Err("E") });
            yield_now().await;
            parent.add("parent");
            Ok(())
        }));
        yield_now().await;
        sleep(ms(0)).await;
        yield_now().await;
        trace.add("root");
        Ok(())
    })
    .await;
    assert_eq!(result, Err("E"));
    assert_eq!(trace.get(), Vec::<String>::new());
}
