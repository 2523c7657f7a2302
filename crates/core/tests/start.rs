//! Children that say when they are ready.

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corymb_core::time::{sleep, with_timeout};
use corymb_core::{
    CancelCause, Context, Deferred, JobState, Name, OwnedScope, Ready, Scope, StartError, Starting,
    TryScope, TryStarting, cancel_scope, check_cancelled, finally, scope, shield, supervisor_scope,
    try_scope, yield_now,
};
use futures::FutureExt;

use crate::common::{Harness, Trace};

const SECOND: Duration = Duration::from_secs(1);

/// Panics when it is dropped.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

#[test]
fn trio_009_the_caller_gets_what_the_child_reports() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let value = rt.block_on(scope(async move |s| {
        let child = t.clone();
        let value = s.start(async move |ready| {
            yield_now().await;
            child.add("initialises");
            ready.done(42);
            yield_now().await;
            child.add("goes on");
        });
        let value = value.await.unwrap();
        t.add("started");
        value
    }));
    assert_eq!(value, 42);
    assert_eq!(trace.get(), ["initialises", "started", "goes on"]);
}

#[test]
fn trio_009_a_child_that_ends_without_reporting_is_an_error() {
    let rt = Harness::new();
    let error = rt.block_on(scope(async |s| {
        let error = s.start::<u32, _, _>(async |_ready| yield_now().await).await.unwrap_err();
        yield_now().await; // nothing has become of the scope
        error
    }));
    assert!(matches!(error, StartError::NotReady(_)), "{error:?}");
    assert!(error.to_string().contains("without a word: call `Ready::done`"), "{error}");
}

#[test]
fn trio_009_a_failure_before_comes_out_of_start_and_not_of_the_scope() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let sibling = s.spawn(async {
            sleep(SECOND).await;
            "unharmed"
        });
        let child = s.start::<u32, _, _>(async |_ready| panic!("no port"));
        let job = child.job();
        let Err(StartError::Panicked(panic)) = child.await else { panic!("it did not fail") };
        assert_eq!(panic.message(), "no port");
        assert_eq!(panic.who().launched_at().file(), file!());
        assert_eq!(job.state(), JobState::Cancelled);
        assert!(sibling.job().is_active() && s.job().is_active());
        sibling.job().cancel();
    }));
    assert_eq!(rt.reports(), [""; 0]);
}

#[test]
fn a_failure_afterwards_is_one_of_the_scope() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let failed = rt.spawn(scope(async move |s| {
        s.start(async |ready| {
            ready.done(());
            yield_now().await;
            panic!("while it serves");
        })
        .await
        .unwrap();
        t.add("started");
        let _end = t.on_drop("body");
        pending::<()>().await;
    }));
    rt.run();
    let error = rt.block_on(failed.outcome()).unwrap_err();
    assert!(error.to_string().ends_with("panicked: while it serves"), "{error}");
    assert_eq!(trace.get(), ["started", "body"]);
}

/// In the same poll, and before the caller has looked.
#[test]
fn a_failure_right_after_it_said_so_is_one_of_the_scope() {
    let rt = Harness::new();
    let error = rt.block_on(async {
        let all = supervisor_scope(async |s| {
            let inner = s.spawn(scope(async |s| {
                let child = s.start(async |ready| {
                    ready.done(1);
                    panic!("at once");
                });
                child.await.map(|_| ()).unwrap();
                pending::<()>().await;
            }));
            inner.outcome().await
        });
        all.await.unwrap_err()
    });
    assert!(error.to_string().ends_with("panicked: at once"), "{error}");
}

#[test]
fn a_supervised_child_that_fails_afterwards_is_reported() {
    let rt = Harness::new();
    rt.block_on(supervisor_scope(async |s| {
        let child = s.start(async |ready| {
            ready.done(1);
            panic!("at once");
        });
        assert_eq!(child.await.unwrap(), 1);
    }));
    let reports = rt.reports();
    assert!(reports.len() == 1 && reports[0].ends_with("panicked: at once"), "{reports:?}");
}

#[test]
fn the_child_has_ended_when_its_failure_is_told() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let child = rt.spawn(scope(async move |s| {
        let inner = t.clone();
        let started = s.start::<(), _, _>(async move |_ready| {
            let cleanup = inner.clone();
            let mut work = pin!(finally(pending::<()>(), move || async move {
                sleep(SECOND).await;
                cleanup.add("cleaned up");
            }));
            assert!(futures::poll!(work.as_mut()).is_pending());
            panic!("after a part of it");
        });
        started.await.unwrap_err();
        t.add("told");
    }));
    rt.run();
    assert!(trace.get().is_empty());
    rt.pass(SECOND);
    rt.run();
    assert_eq!(trace.get(), ["cleaned up", "told"]);
    drop(child);
}

#[test]
fn a_child_that_is_cancelled_before_it_is_ready() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let child = s.start::<u32, _, _>(async |_ready| pending().await);
        child.job().cancel();
        let error = child.await.unwrap_err();
        let StartError::Cancelled(cancelled) = &error else { panic!("{error:?}") };
        assert!(matches!(cancelled.cause(), CancelCause::Requested));
        assert!(error.to_string().ends_with("before it was ready"), "{error}");
    }));
}

#[test]
fn one_that_drops_its_word_is_cancelled() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    rt.block_on(scope(async move |s| {
        let child = s.start::<u32, _, _>(async move |ready| {
            let _end = t.on_drop("child");
            drop(ready);
            pending::<()>().await;
        });
        let job = child.job();
        let error = child.await.unwrap_err();
        assert!(matches!(error, StartError::NotReady(_)), "{error:?}");
        assert!(matches!(job.cause().unwrap().cause(), CancelCause::Abandoned));
    }));
    assert_eq!(trace.get(), ["child"]);
}

/// Also if nobody awaits it yet, and wherever the word is dropped.
#[test]
fn one_whose_word_is_dropped_is_cancelled_though_nobody_looks() {
    for elsewhere in [false, true] {
        let rt = Harness::new();
        let (give, take) = futures::channel::oneshot::channel::<Ready<u32>>();
        let error = rt.spawn(scope(async move |s| {
            let child = s.start(async move |ready| {
                drop(give.send(ready));
                pending::<()>().await;
            });
            child.job().join().await;
            assert!(matches!(child.job().cause().unwrap().cause(), CancelCause::Abandoned));
            child.await.unwrap_err()
        }));
        if elsewhere {
            rt.run();
            assert!(!error.job().is_completed());
        }
        drop(take);
        rt.run();
        assert!(error.job().is_completed(), "elsewhere: {elsewhere}");
        let error = rt.block_on(error);
        assert!(matches!(error, StartError::NotReady(_)), "{error:?}");
    }
}

/// Says that it is ready when it is dropped, and panics.
struct LastWord(Option<Ready<u32>>);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.take().unwrap().done(5);
        panic!("too late");
    }
}

#[test]
fn what_fails_in_the_drop_that_said_so_is_one_of_the_scope() {
    let rt = Harness::new();
    let failed = rt.spawn(scope(async |s| {
        let child = s.start(async |ready| {
            let _word = LastWord(Some(ready));
            pending::<()>().await;
        });
        yield_now().await;
        child.job().cancel();
        let _value = child.await;
        pending::<()>().await;
    }));
    let error = rt.block_on(failed.outcome()).unwrap_err();
    assert!(error.to_string().ends_with("panicked: too late"), "{error}");
    assert_eq!(rt.reports(), [""; 0]);
}

#[test]
fn a_scope_that_has_ended_starts_nothing() {
    let rt = Harness::new();
    let error = rt.block_on(async {
        let ended = scope(async |s| s).await;
        ended.start::<u32, _, _>(async |_ready| unreachable!("it is not polled")).await.unwrap_err()
    });
    let StartError::Cancelled(cancelled) = &error else { panic!("{error:?}") };
    assert!(matches!(cancelled.cause(), CancelCause::ScopeEnded));
}

#[test]
fn a_caller_that_is_dropped_cancels_the_child() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    rt.block_on(scope(async move |s| {
        let child = t.clone();
        let mut started = Box::pin(s.start::<u32, _, _>(async move |_ready| {
            let _end = child.on_drop("child");
            pending::<()>().await;
        }));
        let job = started.job();
        assert!(futures::poll!(started.as_mut()).is_pending());
        yield_now().await;
        drop(started);
        job.join().await;
        assert!(matches!(job.cause().unwrap().cause(), CancelCause::Dropped));
        t.add("after");
    }));
    assert_eq!(trace.get(), ["child", "after"]);
}

#[test]
fn one_that_is_dropped_unpolled_cancels_it_too() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let started = s.start::<u32, _, _>(async |_ready| pending().await);
        let job = started.job();
        drop(started);
        job.join().await;
        assert!(job.is_cancelled());
    }));
}

/// At each poll of the child: either it was said in time, or the child is gone.
#[test]
fn a_caller_that_is_cancelled_cancels_the_child() {
    for polls in 0..14 {
        let rt = Harness::new();
        let trace = Trace::default();
        let t = trace.clone();
        let scope_of_child = rt.scope();
        let child = t.clone();
        let caller = rt.scope().launch(async move {
            let started = scope_of_child.start(async move |ready| {
                let _end = child.on_drop("child");
                for _ in 0..3 {
                    yield_now().await;
                }
                ready.done(child.on_drop("the value"));
                yield_now().await;
                child.add("served");
            });
            let value = started.await.unwrap();
            t.add("started");
            drop(value);
            pending::<()>().await;
        });
        for _ in 0..polls {
            rt.step();
        }
        caller.cancel();
        rt.run();
        assert!(caller.is_completed());
        let got = trace.get();
        let fine: &[&[&str]] = &[
            &[],
            &["child"],
            &["the value", "child"],
            &["started", "the value", "served", "child"],
        ];
        assert!(fine.contains(&got.as_slice()), "after {polls} polls: {got:?}");
        assert_eq!(rt.scope().job().coroutines(), 0);
    }
}

#[test]
fn a_value_that_nobody_waits_for_is_dropped() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let (go, gone) = futures::channel::oneshot::channel();
    let s = rt.scope();
    let child = t.clone();
    let started = {
        let _inside = rt.enter();
        s.start(async move |ready| {
            shield(async {
                gone.await.unwrap();
                ready.done(child.on_drop("value"));
                child.add("said");
            })
            .await;
        })
    };
    rt.run();
    let job = started.job();
    drop(started);
    rt.run();
    assert!(!job.is_completed(), "it is shielded");
    go.send(()).unwrap();
    rt.run();
    assert!(job.is_completed());
    assert_eq!(trace.get(), ["value", "said"]);
}

#[test]
fn what_fails_when_nobody_waits_is_reported() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let started = s.start::<(), _, _>(async |_ready| {
            let _bomb = Bomb("when it is dropped");
            pending::<()>().await;
        });
        yield_now().await;
        let job = started.job();
        drop(started);
        job.join().await;
        assert!(s.job().is_active(), "it was no failure of the scope");
        // It fails before it is dropped, and nobody looks.
        let started = s.start::<(), _, _>(async |_ready| panic!("unseen"));
        yield_now().await;
        drop(started);
    }));
    let reports = rt.reports();
    assert_eq!(reports.len(), 2, "{reports:?}");
    assert!(reports[0].ends_with("panicked: when it is dropped"), "{reports:?}");
    assert!(reports[1].ends_with("panicked: unseen"), "{reports:?}");
}

#[test]
fn an_error_that_nobody_gets_is_reported() {
    let rt = Harness::new();
    let result = rt.block_on(try_scope(async |s: TryScope<&str>| {
        let started = s.start::<(), _, _>(async |_ready| Err("unseen"));
        yield_now().await;
        drop(started);
        Ok(())
    }));
    assert_eq!(result, Ok(()));
    let reports = rt.reports();
    assert!(reports.len() == 1 && reports[0].contains("an error of type &str"), "{reports:?}");
}

#[test]
fn a_destructor_that_panics_before_the_child_is_ready_is_told_to_the_caller() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let cancelled = s.start::<(), _, _>(async |_ready| {
            let _bomb = Bomb("dropped when cancelled");
            pending::<()>().await;
        });
        yield_now().await;
        cancelled.job().cancel();
        let Err(StartError::Panicked(panic)) = cancelled.await else { panic!() };
        assert_eq!(panic.message(), "dropped when cancelled");
        let ended = s.start::<(), _, _>(async |_ready| {
            let _bomb = Bomb("dropped at its end");
        });
        let Err(StartError::Panicked(panic)) = ended.await else { panic!() };
        assert_eq!(panic.message(), "dropped at its end");
        assert!(s.job().is_active());
    }));
    assert_eq!(rt.reports(), [""; 0]);
}

#[test]
fn the_error_of_a_try_scopes_child_comes_out_of_start() {
    let rt = Harness::new();
    let result = rt.block_on(try_scope(async |s| {
        let sibling = s.spawn(async {
            yield_now().await;
            Ok("unharmed")
        });
        let child = s.start(async |ready| {
            let port: u16 = Err("taken")?;
            ready.done(port);
            Ok(())
        });
        let job = child.job();
        assert_eq!(child.await, Err("taken"));
        assert_eq!(job.state(), JobState::Cancelled);
        Ok(sibling.await)
    }));
    assert_eq!(result, Ok("unharmed"));
}

#[test]
fn the_error_of_a_started_child_fails_its_scope() {
    let rt = Harness::new();
    let result = rt.block_on(try_scope(async |s| {
        let port = s.start(async |ready| {
            ready.done(80);
            yield_now().await;
            Err("while it serves")
        });
        assert_eq!(port.await?, 80);
        pending::<Result<(), _>>().await
    }));
    assert_eq!(result, Err("while it serves"));
}

#[test]
fn a_panic_in_a_try_scopes_child_goes_on_in_the_caller() {
    let rt = Harness::new();
    rt.block_on(async {
        let caught = try_scope(async |s: TryScope<Infallible>| {
            let child = s.start::<u16, _, _>(async |_ready| panic!("no port"));
            let caught = std::panic::AssertUnwindSafe(child).catch_unwind().await.unwrap_err();
            assert_eq!(caught.downcast_ref(), Some(&"no port"));
            // One without a word panics, and says so.
            let child = s.start::<u16, _, _>(async |_ready| Ok(()));
            let caught = std::panic::AssertUnwindSafe(child).catch_unwind().await.unwrap_err();
            let text = caught.downcast_ref::<String>().unwrap();
            assert!(text.contains("did not get ready: coroutine launched at"), "{text}");
            Ok(())
        });
        assert!(caught.await.is_ok());
    });
}

#[test]
fn a_child_that_said_so_and_ended_before_anybody_looked() {
    let rt = Harness::new();
    let value = rt.block_on(scope(async |s| {
        let child = s.start(async |ready| ready.done(42));
        yield_now().await;
        assert!(child.job().is_completed());
        child.await.unwrap()
    }));
    assert_eq!(value, 42);
}

#[test]
fn the_word_may_be_given_from_elsewhere() {
    let rt = Harness::new();
    let (give, take) = futures::channel::oneshot::channel::<Ready<u32>>();
    let child = rt.spawn(scope(async move |s| {
        s.start(async move |ready| {
            give.send(ready).unwrap();
            yield_now().await;
        })
        .await
        .unwrap()
    }));
    rt.run();
    // The child has ended meanwhile, and said nothing.
    drop(take);
    let error = rt.block_on(child.outcome()).unwrap_err();
    assert!(error.to_string().contains("NotReady"), "{error}");

    let (give, take) = futures::channel::oneshot::channel::<Ready<u32>>();
    let child = rt.spawn(scope(async move |s| {
        let started = s.start(async move |ready| {
            give.send(ready).unwrap();
            sleep(SECOND).await;
        });
        started.await.unwrap()
    }));
    rt.run();
    let ready = take.now_or_never().unwrap().unwrap();
    std::thread::spawn(move || ready.done(7)).join().unwrap();
    rt.pass(SECOND);
    assert_eq!(rt.block_on(child), 7);
}

#[test]
fn it_gives_a_name_and_waits_in_whatever_scope() {
    let rt = Harness::new();
    let names = rt.block_on(async {
        let name = || Context::current().name().map(String::from);
        let owned = OwnedScope::new();
        let first = owned
            .coroutine()
            .context(Name::new("first"))
            .start(async move |ready| ready.done(name()))
            .await;
        let second = try_scope(async |s: TryScope<()>| {
            let child = s.coroutine().name("second").start(async move |ready| {
                ready.done(name());
                Ok(())
            });
            child.await
        });
        (first.unwrap(), second.await.unwrap())
    });
    assert_eq!(names, (Some("first".into()), Some("second".into())));
}

#[test]
fn a_lazy_one_begins_when_it_is_awaited() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    rt.block_on(scope(async move |s| {
        let child = t.clone();
        let lazy = s.coroutine().lazy().start(async move |ready| {
            child.add("child");
            ready.done(());
        });
        yield_now().await;
        t.add("caller");
        lazy.await.unwrap();
    }));
    assert_eq!(trace.get(), ["caller", "child"]);
}

#[test]
fn a_timeout_around_it_cancels_the_child() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let done = rt.spawn(scope(async move |s| {
        let child = t.clone();
        let slow = s.start::<(), _, _>(async move |_ready| {
            let _end = child.on_drop("child");
            pending::<()>().await;
        });
        with_timeout(SECOND, slow).await.unwrap_err();
        t.add("elapsed");
    }));
    rt.run();
    rt.pass(SECOND);
    rt.run();
    assert!(done.job().is_completed());
    assert_eq!(trace.get(), ["elapsed", "child"]);
}

#[test]
fn the_scopes_own_cancellation_takes_both() {
    let rt = Harness::new();
    let ended = rt.block_on(cancel_scope(async |c| {
        scope(async |s| {
            let child = s.start::<(), _, _>(async move |_ready| {
                yield_now().await;
                c.cancel();
                check_cancelled().await;
            });
            child.await.unwrap();
            unreachable!("it is dropped");
        })
        .await;
    }));
    assert!(ended.is_err());
}

#[test]
fn a_forgotten_caller_leaves_an_ordinary_child() {
    let rt = Harness::new();
    let kept: Arc<Mutex<Vec<Starting<u32>>>> = Arc::default();
    let keep = kept.clone();
    let trace = Trace::default();
    let t = trace.clone();
    rt.block_on(scope(async move |s| {
        let started = s.start(async move |ready| {
            yield_now().await;
            ready.done(1);
            t.add("child");
        });
        keep.lock().unwrap().push(started);
    }));
    assert_eq!(trace.get(), ["child"]);
    let started = kept.lock().unwrap().pop().unwrap();
    assert_eq!(rt.block_on(started).unwrap(), 1);
}

/// What is written in coroutines is to be `Send`, also with borrows across the wait.
#[test]
fn callers_are_coroutines_as_any_others() {
    async fn serve(s: &Scope, name: &str) -> Result<usize, StartError> {
        let name = name.to_owned();
        s.start(async move |ready| ready.done(name.len())).await
    }
    let rt = Harness::new();
    let child: Deferred<usize> = rt.spawn(async {
        let name = String::from("a name");
        scope(async |s| serve(&s, &name).await.unwrap()).await
    });
    assert_eq!(rt.block_on(child), 6);
    fn check<T: Send>() {}
    check::<Starting<u32>>();
    check::<TryStarting<u32, &str>>();
    check::<Ready<u32>>();
    fn check_sync<T: Sync>() {}
    check_sync::<Ready<u32>>();
    check_sync::<StartError>();
}

/// The word, the child's failure and the end of who waits, in any order, on two threads.
#[test]
fn all_may_come_at_once() {
    let rt = Harness::new();
    let values = Arc::new(());
    let counted = Arc::clone(&values);
    let all = rt.spawn(async move {
        for round in 0..if cfg!(miri) { 8 } else { 400 } {
            let value = Arc::clone(&counted);
            supervisor_scope(async |s| {
                let started = s.start(async move |ready| {
                    for _ in 0..round % 3 {
                        yield_now().await;
                    }
                    match round % 4 {
                        0 => drop(ready),
                        1 => panic!("before"),
                        _ => ready.done(value),
                    }
                    yield_now().await;
                });
                let mut started = pin!(started);
                for _ in 0..round % 5 {
                    if futures::poll!(started.as_mut()).is_ready() {
                        break;
                    }
                    yield_now().await;
                }
            })
            .await;
        }
    });
    rt.run_on(2, &all.job());
    rt.block_on(async { all.outcome().await.unwrap() });
    assert_eq!(Arc::strong_count(&values), 1, "no value is left anywhere");
}
