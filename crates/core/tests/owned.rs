//! Scopes that lie in a struct.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corymb_core::time::{sleep, with_timeout};
use corymb_core::{
    CancelCause, Deferred, FailureHandler, Job, JobState, JoinError, OwnedScope, Scope,
    cancel_scope, finally, scope, shield, soft_shield, supervisor_scope, yield_now,
};
use futures::FutureExt;

use crate::common::{Harness, Trace};

const SECOND: Duration = Duration::from_secs(1);

/// A child that tells when it is dropped, and needs a second for its cleanup.
fn serve(s: &Scope, trace: &Trace) -> Job {
    let (end, cleanup) = (trace.on_drop("child"), trace.clone());
    s.launch(finally(
        async move {
            let _end = end;
            pending::<()>().await;
        },
        move || async move {
            sleep(SECOND).await;
            cleanup.add("cleanup");
        },
    ))
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

#[test]
fn closing_waits_for_all_and_cancels_nothing() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let done = rt.spawn(async move {
        let owned = OwnedScope::new();
        let handle = owned.clone();
        let (first, second) = (t.clone(), t.clone());
        owned.launch(async move {
            sleep(SECOND).await;
            first.add("child");
            // Those that run may launch more.
            handle.launch(async move {
                sleep(SECOND).await;
                second.add("sibling");
            });
        });
        let job = owned.job();
        let closed = owned.close().await;
        assert_eq!(job.state(), JobState::Completed);
        t.add("closed");
        closed
    });
    assert_eq!(seconds_to_the_end(&rt, &done.job()), 2);
    assert!(rt.block_on(done).is_ok());
    assert_eq!(trace.get(), ["child", "sibling", "closed"]);
}

#[test]
fn an_empty_one_closes_at_once_and_takes_no_more() {
    let rt = Harness::new();
    rt.block_on(async {
        let owned = OwnedScope::new();
        let handle = owned.clone();
        assert!(owned.close().await.is_ok());
        let late = handle.spawn(async { unreachable!("it is not polled") });
        let Err(JoinError::Cancelled(cancelled)) = late.outcome().await else { panic!() };
        assert!(matches!(cancelled.cause(), CancelCause::ScopeEnded));
    });
}

#[test]
fn scope_041_ready_exactly_when_closed_and_empty() {
    for close_at in 0..=5 {
        let rt = Harness::new();
        let (ends, waits): (Vec<_>, Vec<_>) =
            (0..5).map(|_| futures::channel::oneshot::channel::<()>()).unzip();
        let mut owned = {
            let _inside = rt.enter();
            let owned = OwnedScope::new();
            for wait in waits {
                owned.launch(async move { wait.await.unwrap() });
            }
            Some(owned)
        };
        let mut closing = None;
        for (number, end) in ends.into_iter().enumerate() {
            if number == close_at {
                let owned = owned.take().unwrap();
                closing = Some(rt.spawn(owned.close()));
            }
            rt.run();
            assert!(closing.as_ref().is_none_or(|it: &Deferred<_>| !it.job().is_completed()));
            end.send(()).unwrap();
            rt.run();
        }
        let closing = closing.unwrap_or_else(|| rt.spawn(owned.take().unwrap().close()));
        rt.run();
        assert!(closing.job().is_completed(), "closed before the {close_at}th end");
        assert!(rt.block_on(closing).is_ok());
    }
}

#[test]
fn scope_039_closing_waits_for_the_last_child() {
    let rt = Harness::new();
    let (end, wait) = futures::channel::oneshot::channel::<()>();
    let closing = rt.spawn(async {
        let owned = OwnedScope::new();
        owned.launch(async { wait.await.unwrap() });
        owned.close().await.is_ok()
    });
    rt.run();
    assert!(!closing.job().is_completed());
    end.send(()).unwrap();
    assert!(rt.block_on(closing));
}

#[test]
fn the_first_failure_cancels_the_others_and_is_what_close_gives() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let closing = rt.spawn(async move {
        let owned = OwnedScope::new();
        serve(&owned, &t);
        owned.launch(async {
            yield_now().await;
            panic!("first");
        });
        owned.launch(async {
            yield_now().await;
            yield_now().await;
            panic!("second");
        });
        let Err(JoinError::Panicked(panic)) = owned.close().await else { panic!("no failure") };
        t.add("closed");
        panic.message().to_owned()
    });
    assert_eq!(seconds_to_the_end(&rt, &closing.job()), 1);
    assert_eq!(rt.block_on(closing), "first");
    assert_eq!(trace.get(), ["child", "cleanup", "closed"]);
}

#[test]
fn one_that_failed_and_is_dropped_tells_the_failure_handler() {
    let rt = Harness::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let (tell, seen) = (told.clone(), told.clone());
    let handler = FailureHandler::new(move |it| tell.lock().unwrap().push(it.to_string()));
    let maker = rt.scope().coroutine().context(handler).spawn(async move {
        let owned = OwnedScope::new();
        owned.launch(async { panic!("unseen") });
        yield_now().await;
        assert!(owned.job().is_cancelled());
        drop(owned);
        // And what fails later.
        let owned = OwnedScope::new();
        owned.launch(async {
            struct Bomb;
            impl Drop for Bomb {
                fn drop(&mut self) {
                    panic!("later");
                }
            }
            let _bomb = Bomb;
            pending::<()>().await;
        });
        yield_now().await;
        drop(owned);
        yield_now().await;
        assert_eq!(seen.lock().unwrap().len(), 2, "told at once");
        "the maker is unharmed"
    });
    assert_eq!(rt.block_on(maker), "the maker is unharmed");
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].ends_with("panicked: unseen") && told[1].ends_with("panicked: later"));
    assert_eq!(rt.reports(), [""; 0]);
}

#[test]
fn in_a_supervised_one_failures_stay_where_they_are() {
    let rt = Harness::new();
    rt.block_on(async {
        let owned = OwnedScope::new().supervised();
        let bad = owned.spawn(async { panic!("kept") });
        owned.launch(async { panic!("reported") });
        let good = owned.spawn(async {
            yield_now().await;
            1
        });
        assert!(bad.outcome().await.is_err());
        assert_eq!(good.await, 1);
        assert!(owned.close().await.is_ok());
    });
    let reports = rt.reports();
    assert!(reports.len() == 1 && reports[0].ends_with("panicked: reported"), "{reports:?}");
}

#[test]
fn dropped_unclosed_it_cancels_and_its_job_waits() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let maker = rt.scope().launch(async move {
        let owned = OwnedScope::new();
        let child = serve(&owned, &t);
        yield_now().await;
        drop(owned);
        t.add("went on");
        yield_now().await;
        assert!(matches!(child.cause().unwrap().cause(), CancelCause::Dropped));
    });
    assert_eq!(seconds_to_the_end(&rt, &maker), 1);
    assert_eq!(maker.state(), JobState::Completed);
    assert_eq!(trace.get(), ["went on", "child", "cleanup"]);
}

#[test]
fn it_lies_in_a_struct_that_its_coroutine_holds() {
    struct Client {
        _scope: OwnedScope,
        _field: crate::common::OnDrop,
    }
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let maker = rt.scope().launch(async move {
        let client = Client { _scope: OwnedScope::new(), _field: t.on_drop("field") };
        serve(&client._scope, &t);
        pending::<()>().await;
    });
    rt.run();
    maker.cancel();
    assert_eq!(seconds_to_the_end(&rt, &maker), 1);
    assert_eq!(trace.get(), ["field", "child", "cleanup"]);
}

/// At each poll of the maker it can be cancelled, and no child is left over.
#[test]
fn a_cancelled_maker_leaves_no_child() {
    for polls in 0..10 {
        let rt = Harness::new();
        let trace = Trace::default();
        let t = trace.clone();
        let maker = rt.scope().launch(async move {
            yield_now().await;
            let owned = OwnedScope::new();
            let in_one = owned.clone();
            let nested = t.on_drop("grandchild");
            owned.launch(async move {
                in_one.launch(async move {
                    let _nested = nested;
                    pending::<()>().await;
                });
                pending::<()>().await;
            });
            yield_now().await;
            drop(with_timeout(SECOND, owned.close()).await);
        });
        for _ in 0..polls {
            rt.step();
        }
        maker.cancel();
        rt.run();
        assert!(maker.is_completed(), "after {polls} polls");
        assert_eq!(rt.scope().job().coroutines(), 0);
        let dropped = trace.get();
        assert!(dropped.is_empty() || dropped == ["grandchild"], "{dropped:?}");
    }
}

#[test]
fn a_close_that_is_dropped_drops_the_scope() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let maker = rt.scope().launch(async move {
        let owned = OwnedScope::new();
        serve(&owned, &t);
        with_timeout(SECOND, owned.close()).await.unwrap_err();
        t.add("elapsed");
        let owned = OwnedScope::new();
        let end = t.on_drop("second");
        owned.launch(async move {
            let _end = end;
            pending::<()>().await;
        });
        yield_now().await;
        drop(owned.close()); // not polled
    });
    assert_eq!(seconds_to_the_end(&rt, &maker), 2);
    assert_eq!(trace.get(), ["elapsed", "child", "second", "cleanup"]);
}

#[test]
fn cancelled_by_itself_it_says_so() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let closed = rt.spawn(async move {
        let owned = OwnedScope::new();
        serve(&owned, &t);
        yield_now().await;
        assert!(owned.cancel());
        assert!(!owned.cancel_with(CancelCause::Deadline), "that was done before");
        let late = owned.spawn(async {});
        assert!(late.outcome().await.is_err());
        owned.close().await
    });
    assert_eq!(seconds_to_the_end(&rt, &closed.job()), 1);
    let Err(JoinError::Cancelled(cancelled)) = rt.block_on(closed) else { panic!() };
    assert!(matches!(cancelled.cause(), CancelCause::Requested));
    assert_eq!(trace.get(), ["child", "cleanup"]);
}

#[test]
fn a_shutdown_cancels_and_waits() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let ended = rt.spawn(async move {
        let owned = OwnedScope::new();
        serve(&owned, &t);
        yield_now().await;
        owned.shutdown(Duration::ZERO).await.unwrap();
        t.add("ended");
        let owned = OwnedScope::new();
        let (polite, rude) = (t.clone(), t.clone());
        owned.launch(soft_shield(async move {
            sleep(SECOND).await;
            polite.add("in the grace");
        }));
        owned.launch(soft_shield(async move {
            let _end = rude.on_drop("forced");
            pending::<()>().await;
        }));
        yield_now().await;
        owned.shutdown(2 * SECOND).await.unwrap();
        let owned = OwnedScope::new();
        owned.launch(async { panic!("a failure") });
        yield_now().await;
        owned.shutdown(Duration::ZERO).await.unwrap_err().message().to_owned()
    });
    assert_eq!(seconds_to_the_end(&rt, &ended.job()), 3);
    assert_eq!(rt.block_on(ended), "a failure");
    assert_eq!(trace.get(), ["child", "cleanup", "ended", "in the grace", "forced"]);
}

#[test]
fn the_end_of_its_maker_ends_it_wherever_it_is() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let maker = rt.spawn(async move {
        let owned = OwnedScope::new();
        serve(&owned, &t);
        yield_now().await;
        owned // a trap: the maker ends here
    });
    rt.run();
    assert!(!maker.job().is_completed(), "it waits for the cleanup");
    rt.pass(SECOND);
    let owned = rt.block_on(maker);
    assert_eq!(trace.get(), ["child", "cleanup"]);
    assert!(owned.job().is_completed());
    let late = rt.block_on(async move {
        let late = owned.spawn(async {}).outcome().await;
        (late, owned.close().await)
    });
    assert!(matches!(late.0, Err(JoinError::Cancelled(_))));
    let Err(JoinError::Cancelled(cancelled)) = late.1 else { panic!() };
    assert!(matches!(cancelled.cause(), CancelCause::Dropped));
}

#[test]
fn a_detached_one_outlives_its_maker() {
    let rt = Harness::new();
    let maker = rt.spawn(async {
        let owned = OwnedScope::detached();
        let child = owned.spawn(async {
            sleep(SECOND).await;
            42
        });
        (child, owned)
    });
    let (child, owned) = rt.block_on(maker);
    let closing = rt.spawn(owned.close());
    assert_eq!(seconds_to_the_end(&rt, &closing.job()), 1);
    assert_eq!(rt.block_on(child), 42);
    assert!(rt.block_on(closing).is_ok());
}

/// The harness checks that the runtime ends when it is dropped.
#[test]
fn a_shutdown_of_the_runtime_ends_what_is_held_elsewhere() {
    let trace = Trace::default();
    let owned = {
        let rt = Harness::new();
        let _inside = rt.enter();
        let owned = OwnedScope::detached();
        let end = trace.on_drop("child");
        owned.launch(async move {
            let _end = end;
            pending::<()>().await;
        });
        let service = trace.on_drop("service");
        owned.service(async move {
            let _end = service;
            pending::<()>().await;
        });
        rt.run();
        owned
    };
    assert_eq!(trace.get(), ["child", "service"]);
    assert!(owned.job().is_completed());
    assert!(matches!(owned.job().cause().unwrap().cause(), CancelCause::Shutdown));
}

#[test]
fn a_forgotten_one_ends_with_its_maker() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let leaked = Arc::new(Mutex::new(None));
    let leak = leaked.clone();
    let maker = rt.scope().launch(async move {
        let owned = OwnedScope::new();
        serve(&owned, &t);
        yield_now().await;
        *leak.lock().unwrap() = Some(Box::leak(Box::new(owned)));
        sleep(SECOND).await;
        t.add("maker");
    });
    assert_eq!(seconds_to_the_end(&rt, &maker), 2);
    assert_eq!(trace.get(), ["maker", "child", "cleanup"]);
    let owned: &mut OwnedScope = leaked.lock().unwrap().take().unwrap();
    // SAFETY: it came from a box, and nobody else has it; freed for the leak check alone.
    drop(unsafe { Box::from_raw(owned) });
}

#[test]
fn it_belongs_to_the_innermost_part_that_it_was_made_in() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let done = rt.spawn(async move {
        let mut outside = None;
        let inner = t.clone();
        cancel_scope(async |_| {
            let owned = OwnedScope::new();
            serve(&owned, &inner);
            yield_now().await;
            outside = Some(owned);
        })
        .await
        .unwrap();
        t.add("after");
        let gone = outside.unwrap().close().await;
        assert!(matches!(gone, Err(JoinError::Cancelled(_))));
    });
    assert_eq!(seconds_to_the_end(&rt, &done.job()), 1);
    rt.block_on(done);
    assert_eq!(trace.get(), ["child", "cleanup", "after"]);
}

#[test]
fn in_a_shield_a_cancellation_does_not_reach_it() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let maker = rt.scope().launch(shield(async move {
        let owned = OwnedScope::new();
        owned.launch(async move {
            sleep(SECOND).await;
            t.add("child");
        });
        owned.close().await.unwrap();
    }));
    rt.run();
    maker.cancel();
    assert_eq!(seconds_to_the_end(&rt, &maker), 1);
    assert_eq!(trace.get(), ["child"]);
}

#[test]
fn one_that_begins_cancelled_takes_no_children() {
    let rt = Harness::new();
    let maker = rt.scope().launch(async {
        Job::current().unwrap().cancel();
        let owned = OwnedScope::new();
        assert!(owned.job().is_cancelled());
        owned.launch(async { unreachable!("it is not polled") });
        pending::<()>().await;
    });
    rt.run();
    assert!(maker.is_completed());
}

#[test]
fn its_own_child_may_drop_it_and_may_not_close_it() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    rt.block_on(async move {
        let owned = OwnedScope::new();
        let handle = owned.clone();
        let end = t.clone();
        let child = handle.launch(async move {
            drop(owned);
            end.add("dropped");
            let _end = end.on_drop("child");
            pending::<()>().await;
        });
        child.join().await;

        let owned = OwnedScope::new().supervised();
        let handle = owned.clone();
        let child = handle.spawn(async move {
            let close = AssertUnwindSafe(owned.close()).catch_unwind().await;
            let panic = close.unwrap_err();
            assert!(panic.downcast_ref::<String>().unwrap().contains("would wait for ever"));
        });
        assert!(child.outcome().await.is_ok());
    });
    assert_eq!(trace.get(), ["dropped", "child"]);
}

#[test]
fn it_can_be_shared_and_moved_between_threads() {
    fn check<T: Send + Sync + 'static>(_: &T) {}
    let rt = Harness::new();
    let (owned, child) = {
        let _inside = rt.enter();
        let owned = OwnedScope::detached();
        check(&owned);
        let owned = std::thread::spawn(move || {
            owned.launch(async {});
            owned
        });
        let owned = owned.join().unwrap();
        let child = owned.spawn(async { 42 });
        (owned, child)
    };
    assert_eq!(rt.block_on(child), 42);
    let closed = rt.spawn(async move {
        let close = owned.close();
        check_send(&close);
        close.await
    });
    assert!(rt.block_on(closed).is_ok());
    fn check_send<T: Send>(_: &T) {}
}

#[test]
fn its_children_end_on_other_threads() {
    let rt = Harness::new();
    let all = rt.spawn(async {
        for round in 0..if cfg!(miri) { 4 } else { 200 } {
            let owned = OwnedScope::new();
            for _ in 0..3 {
                let handle = owned.clone();
                owned.launch(async move {
                    handle.launch(yield_now());
                    yield_now().await;
                });
            }
            yield_now().await;
            match round % 4 {
                0 => owned.close().await.unwrap(),
                1 => owned.shutdown(Duration::ZERO).await.unwrap(),
                2 => drop(owned),
                _ => {
                    owned.cancel();
                    let _outcome = owned.close().await;
                }
            }
        }
    });
    rt.run_on(2, &all.job());
    rt.block_on(async { all.outcome().await.unwrap() });
}

#[test]
fn it_stands_in_the_tree_below_its_maker() {
    let rt = Harness::new();
    rt.block_on(supervisor_scope(async |s| {
        let child = s.spawn(async {
            let owned = OwnedScope::new();
            assert_eq!(owned.job().parent(), Job::current());
            let detached = OwnedScope::detached();
            assert_ne!(detached.job().parent(), Job::current());
            let text = scope(async |_| format!("{owned:?}")).await;
            assert!(text.starts_with("OwnedScope(Job"), "{text}");
        });
        child.await;
    }));
}
