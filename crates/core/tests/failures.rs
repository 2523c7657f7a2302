//! Whose a failure is, what travels with it, and where it says that it was.

use std::future::pending;
use std::panic::{AssertUnwindSafe, panic_any, resume_unwind};
use std::sync::{Arc, Mutex};

use corymb_core::{
    Coroutine, Dispatcher, Failure, FailureHandler, JoinError, Name, Panic, scope,
    supervisor_scope, try_scope, with_context, yield_now,
};
use futures::FutureExt;

use crate::common::Harness;

/// Panics when it is dropped, and is dropped when its coroutine is cancelled.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

async fn until_cancelled(bomb: Bomb) {
    let _bomb = bomb;
    pending::<()>().await;
}

fn panic_of<T>(outcome: Result<T, JoinError>) -> Panic {
    match outcome {
        Err(JoinError::Panicked(panic)) => panic,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it gave a value"),
    }
}

fn texts(failures: &[Failure]) -> Vec<&str> {
    failures
        .iter()
        .map(|failure| match failure {
            Failure::Panic(panic) => panic.message(),
            _ => "no panic",
        })
        .collect()
}

/// A scope whose first panic is followed by two more.
async fn three() {
    scope(async |s| {
        // A cancel comes to the youngest first.
        s.coroutine().name("third").launch(until_cancelled(Bomb("third")));
        s.coroutine().name("second").launch(until_cancelled(Bomb("second")));
        s.coroutine().name("first").launch(async { panic!("first") });
        pending::<()>().await;
    })
    .await;
}

#[test]
fn later_panics_travel_with_the_first_to_the_coroutine_that_it_ends() {
    let rt = Harness::new();
    let child = rt.scope().coroutine().name("outer").spawn(scope(async |_| three().await));
    let error = rt.block_on(child.outcome()).unwrap_err();
    let JoinError::Panicked(panic) = &error else { panic!("{error}") };
    assert_eq!(panic.message(), "first");
    assert_eq!(
        (panic.who().name(), error.who().and_then(|it| it.name())),
        (Some("first"), Some("first"))
    );
    assert_eq!(texts(error.suppressed()), ["second", "third"]);
    assert_eq!(error.suppressed()[0].who().name(), Some("second"));
    let text = error.to_string();
    assert!(text.contains("panicked: first; then coroutine `second`"), "{text}");
    assert!(text.ends_with("(outer/third) panicked: third"), "{text}");
    assert!(rt.reports().is_empty(), "{:?}", rt.reports());
}

#[test]
fn what_fails_by_the_cancellation_is_not_the_first() {
    let rt = Harness::new();
    let inline = Dispatcher::custom(|coroutine: Coroutine| coroutine.run());
    let child = rt.spawn(scope(async move |s| {
        let bombs = s.coroutine().on(inline);
        bombs.launch(until_cancelled(Bomb("by the cancellation")));
        s.launch(async { panic!("first") });
        pending::<()>().await;
    }));
    let panic = panic_of(rt.block_on(child.outcome()));
    assert_eq!(panic.message(), "first");
    assert_eq!(texts(panic.suppressed()), ["by the cancellation"]);
}

#[test]
fn panics_of_children_travel_with_that_of_the_body() {
    let rt = Harness::new();
    let child = rt.scope().coroutine().name("outer").spawn(scope(async |s| {
        s.launch(until_cancelled(Bomb("one")));
        s.launch(until_cancelled(Bomb("two")));
        let _body = Bomb("destructor of the body");
        pending::<()>().await;
    }));
    rt.run();
    child.job().cancel();
    let panic = panic_of(rt.block_on(child.outcome()));
    assert_eq!(panic.message(), "destructor of the body");
    assert_eq!(panic.who().name(), Some("outer"), "a body is a part of its coroutine");
    // The scope's future was dropped, and they had nobody to travel with.
    assert_eq!(rt.reports().len(), 2, "{:?}", rt.reports());

    let child = rt.scope().coroutine().name("outer").spawn(scope(async |s| {
        s.launch(until_cancelled(Bomb("one")));
        s.launch(until_cancelled(Bomb("two")));
        panic!("body");
    }));
    let panic = panic_of(rt.block_on(child.outcome()));
    assert_eq!((panic.message(), panic.who().name()), ("body", Some("outer")));
    assert_eq!(texts(panic.suppressed()), ["one", "two"]);
    assert_eq!(rt.reports().len(), 2, "{:?}", rt.reports());
}

#[test]
fn what_is_suppressed_by_a_panic_that_is_caught_is_reported_before_its_coroutine_has_ended() {
    let rt = Harness::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (by_handler, by_end) = (Arc::clone(&seen), Arc::clone(&seen));
    let handler = FailureHandler::new(move |failure| {
        let Failure::Suppressed { by, failure } = failure else { panic!("{failure}") };
        let text = format!("{} by {}", failure.who().name().unwrap(), by.name().unwrap());
        by_handler.lock().unwrap().push(text);
    });
    let child = rt.scope().coroutine().context(handler).spawn(async {
        let payload = AssertUnwindSafe(three()).catch_unwind().await.unwrap_err();
        *payload.downcast::<&str>().unwrap()
    });
    let count = move || by_end.lock().unwrap().push("the end".into());
    let _registered = child.job().on_completion(move |_| count());
    assert_eq!(rt.block_on(child), "first");
    assert_eq!(*seen.lock().unwrap(), ["second by first", "third by first", "the end"]);
}

#[test]
fn what_is_suppressed_by_a_panic_that_is_caught_is_reported_when_the_poll_is_over() {
    let rt = Harness::new();
    let child = rt.spawn(async {
        AssertUnwindSafe(three()).catch_unwind().await.unwrap_err();
        pending::<()>().await;
    });
    rt.run();
    let reports = rt.reports();
    assert_eq!(reports.len(), 2, "{reports:?}");
    assert!(
        reports[0].contains("panicked: second, and was suppressed by a panic of coroutine `first`")
    );
    drop(child);
}

#[test]
fn a_panic_that_is_caught_is_not_taken_for_the_next_one() {
    let rt = Harness::new();
    let child = rt.scope().coroutine().name("outer").spawn(async {
        AssertUnwindSafe(three()).catch_unwind().await.unwrap_err();
        panic!("a new one");
    });
    let panic = panic_of::<()>(rt.block_on(child.outcome()));
    assert_eq!((panic.message(), panic.who().name()), ("a new one", Some("outer")));
    assert!(panic.suppressed().is_empty());
    assert_eq!(rt.reports().len(), 2, "{:?}", rt.reports());
}

#[test]
fn two_panics_in_the_air_are_told_apart() {
    let rt = Harness::new();
    /// Runs a scope of its own while another panic goes past.
    struct Beside(Arc<Mutex<Option<Panic>>>);
    impl Drop for Beside {
        fn drop(&mut self) {
            let work = supervisor_scope(async |s| {
                let inner = async {
                    scope(async |s| {
                        s.coroutine()
                            .name("beside")
                            .undispatched()
                            .launch(async { panic!("beside") });
                    })
                    .await;
                };
                let child = s.coroutine().undispatched().spawn(inner);
                panic_of(child.outcome().await)
            });
            *self.0.lock().unwrap() = work.now_or_never();
        }
    }
    let kept = Arc::new(Mutex::new(None));
    let beside = Beside(Arc::clone(&kept));
    let child = rt.spawn(async move {
        let _beside = beside;
        three().await;
    });
    let panic = panic_of(rt.block_on(child.outcome()));
    assert_eq!((panic.message(), panic.who().name()), ("first", Some("first")));
    assert_eq!(texts(panic.suppressed()), ["second", "third"]);
    let beside = kept.lock().unwrap().take().expect("it ran in the destructor");
    assert_eq!((beside.message(), beside.who().name()), ("beside", Some("beside")));
}

/// The section gives its panic out in a later poll, when the coroutine is back.
#[test]
fn a_panic_that_comes_out_of_a_section_elsewhere_is_still_the_same() {
    let rt = Harness::new();
    let threads = Dispatcher::custom(|coroutine: Coroutine| {
        std::thread::spawn(move || coroutine.run()).join().unwrap();
    });
    let child = rt.scope().coroutine().name("outer").spawn(with_context(threads, three()));
    let panic = panic_of(rt.block_on(child.outcome()));
    assert_eq!((panic.message(), panic.who().name()), ("first", Some("first")));
    assert_eq!(texts(panic.suppressed()), ["second", "third"]);
    assert!(rt.reports().is_empty(), "{:?}", rt.reports());
}

#[test]
fn payloads_are_kept() {
    #[derive(Debug, PartialEq)]
    struct Own(u32);
    let rt = Harness::new();
    let child = rt.spawn(scope(async |_| {
        scope(async |s| {
            s.launch(async {
                struct Late;
                impl Drop for Late {
                    fn drop(&mut self) {
                        resume_unwind(Box::new(Own(2)));
                    }
                }
                let _late = Late;
                pending::<()>().await;
            });
            yield_now().await;
            s.launch(async { panic_any(Own(1)) });
            pending::<()>().await;
        })
        .await;
    }));
    let mut panic = panic_of(rt.block_on(child.outcome()));
    let later = panic.take_suppressed().pop().unwrap();
    let Failure::Panic(later) = later else { panic!("{later}") };
    assert_eq!(later.into_payload().downcast_ref(), Some(&Own(2)));
    assert_eq!(panic.into_payload().downcast_ref(), Some(&Own(1)));
}

#[test]
fn a_payload_without_a_size_tells_of_nothing_else() {
    struct Unit;
    let rt = Harness::new();
    let child = rt.scope().coroutine().name("outer").spawn(scope(async |s| {
        s.launch(until_cancelled(Bomb("later")));
        s.launch(async { panic_any(Unit) });
        pending::<()>().await;
    }));
    let panic = panic_of(rt.block_on(child.outcome()));
    assert_eq!(panic.who().name(), Some("outer"));
    assert!(panic.into_payload().is::<Unit>());
    assert_eq!(rt.reports().len(), 1, "{:?}", rt.reports());
    assert!(rt.reports()[0].contains("later, and was suppressed"), "{:?}", rt.reports());
}

#[test]
fn errors_travel_with_a_panic_that_wins_over_them() {
    let rt = Harness::new();
    let child = rt.spawn(async {
        let failed = try_scope(async |s| {
            s.coroutine().name("bomb").launch(async {
                until_cancelled(Bomb("panic")).await;
                Ok(())
            });
            yield_now().await;
            s.coroutine().name("error").launch(async { Err(7_u32) });
            pending::<Result<(), _>>().await
        });
        failed.await.unwrap();
    });
    let panic = panic_of(rt.block_on(child.outcome()));
    assert_eq!((panic.message(), panic.who().name()), ("panic", Some("bomb")));
    let [error] = panic.suppressed() else { panic!("{panic}") };
    assert_eq!(error.who().name(), Some("error"));
    assert!(error.to_string().contains("returned an error of type u32"), "{error}");
    assert!(rt.reports().is_empty(), "{:?}", rt.reports());
}

#[test]
fn each_error_of_a_scope_that_was_dropped_is_reported_by_its_child() {
    let rt = Harness::new();
    let child = rt.spawn(async {
        let mut lost = Box::pin(try_scope(async |s| {
            for name in ["one", "two"] {
                s.coroutine().name(name).launch(async { Err::<(), _>("lost") });
            }
            pending::<Result<(), _>>().await
        }));
        assert!(futures::poll!(lost.as_mut()).is_pending());
        yield_now().await;
    });
    rt.run();
    drop(child);
    let reports = rt.reports();
    // The second may have been cancelled before it began.
    assert!(reports[0].starts_with("coroutine `one` launched at"), "{reports:?}");
    assert!(reports[0].contains("returned an error of type &str"), "{reports:?}");
}

#[test]
fn failures_of_a_scope_that_was_dropped_are_reported_also_if_its_body_panics_by_that() {
    let rt = Harness::new();
    let child = rt.spawn(async {
        let mut lost = Box::pin(scope(async |s| {
            s.launch(async { panic!("child") });
            until_cancelled(Bomb("body")).await;
        }));
        assert!(futures::poll!(lost.as_mut()).is_pending());
        yield_now().await; // the child fails, and the scope has not seen it yet
    });
    let panic = panic_of(rt.block_on(child.outcome()));
    assert_eq!((panic.message(), panic.suppressed().len()), ("body", 0));
    let reports = rt.reports();
    assert!(reports.len() == 1 && reports[0].ends_with("panicked: child"), "{reports:?}");
}

#[test]
fn a_payload_whose_destructor_panics_harms_no_other_that_travels_with_it() {
    let rt = Harness::new();
    let child = rt.spawn(scope(async |s| {
        for _ in 0..2 {
            s.launch(async {
                struct Late;
                impl Drop for Late {
                    fn drop(&mut self) {
                        resume_unwind(Box::new(Bomb("payload")));
                    }
                }
                let _late = Late;
                pending::<()>().await;
            });
        }
        yield_now().await;
        panic!("first");
    }));
    let job = child.job();
    let panic = panic_of(rt.block_on(child.outcome()));
    assert_eq!(panic.suppressed().len(), 2);
    drop(panic);
    assert!(job.is_completed());
}

#[test]
fn a_failure_names_the_path_of_its_job() {
    let rt = Harness::new();
    let server = rt.scope().coroutine().name("server").spawn(supervisor_scope(async |s| {
        let conn = s.coroutine().name("conn").spawn(supervisor_scope(async |s| {
            let id = s.job().parent().unwrap().id();
            let reader = s.coroutine().name("reader").spawn(async {
                yield_now().await;
                panic!("oh")
            });
            (id, panic_of::<()>(reader.outcome().await))
        }));
        conn.await
    }));
    let (id, panic) = rt.block_on(server);
    let path = panic.path().unwrap();
    assert_eq!(path.to_string(), format!("server/conn{id}/reader"));
    let (who, site) = (panic.who(), panic.who().launched_at());
    let text = format!("coroutine `reader` launched at {site} (server/conn{id}/reader)");
    assert_eq!(who.to_string(), text);
    assert_eq!(panic.to_string(), text + " panicked: oh");

    let coroutines = path.steps().filter(|step| step.is_coroutine());
    let names: Vec<_> = coroutines.map(|step| (step.name().unwrap(), step.id())).collect();
    assert_eq!(names, [("server", None), ("conn", Some(id)), ("reader", None)]);
    assert!(path.steps().all(|step| step.launched_at().file().ends_with(".rs")));
    // The root, a scope and a coroutine at each level but the last.
    assert_eq!((path.steps().len(), path.is_elided()), (6, false));
}

#[test]
fn a_job_without_a_name_is_named_by_its_place() {
    let rt = Harness::new();
    let outer = rt.scope().spawn(supervisor_scope(async |s| {
        let inner = s.coroutine().context(Name::new("inner"));
        panic_of::<()>(inner.spawn(async { panic!("oh") }).outcome().await)
    }));
    let line = outer.job().launched_at().line();
    let panic = rt.block_on(outer);
    assert_eq!(panic.path().unwrap().to_string(), format!("failures.rs:{line}/inner"));
}

#[test]
fn an_error_names_the_path_of_its_child() {
    let rt = Harness::new();
    let outer = rt.scope().coroutine().name("outer").spawn(supervisor_scope(async |s| {
        let child = s.coroutine().name("scope").spawn(async {
            let mut failed = None;
            let result = try_scope(async |s| {
                failed = Some(s.coroutine().name("child").spawn(async { Err::<(), _>(7) }));
                pending::<Result<(), _>>().await
            });
            assert_eq!(result.await, Err(7));
            failed.unwrap().outcome().await
        });
        child.await
    }));
    let error = rt.block_on(outer).unwrap_err();
    let JoinError::Failed(who) = &error else { panic!("{error}") };
    assert_eq!(who.path().unwrap().to_string(), "outer/scope/child");
    assert_eq!(error.who().and_then(|who| who.name()), Some("child"));
}

/// Launches coroutines inside of each other, so many levels deep; the innermost one panics.
fn nested(levels: usize) -> futures::future::BoxFuture<'static, ()> {
    scope(async move |s| {
        if levels == 0 {
            panic!("deep");
        }
        s.coroutine().name(format!("{levels}")).launch(nested(levels - 1));
    })
    .boxed()
}

#[test]
fn a_long_path_leaves_out_its_middle() {
    let rt = Harness::new();
    let path_of = |levels| {
        let top = rt.scope().coroutine().name("top").spawn(nested(levels));
        let panic = panic_of(rt.block_on(top.outcome()));
        panic.path().unwrap().clone()
    };
    let whole = path_of(5);
    assert_eq!(whole.to_string(), "top/5/4/3/2/1");
    let middle = path_of(40);
    assert!(middle.is_elided());
    assert_eq!(middle.steps().len(), 24);
    let text = middle.to_string();
    assert!(text.starts_with("top/40/39/38/.../"), "{text}");
    assert!(text.ends_with("/3/2/1"), "{text}");
    let far = path_of(if cfg!(miri) { 80 } else { 1000 });
    assert_eq!(far.steps().len(), 16);
    let text = far.to_string();
    assert!(text.starts_with(".../") && text.ends_with("/3/2/1"), "{text}");
}

#[test]
fn paths_are_made_while_others_end() {
    let rt = Harness::new();
    let rounds = if cfg!(miri) { 1 } else { 300 };
    let job = rt.spawn(supervisor_scope(async move |s| {
        for _ in 0..rounds {
            let failing = s.spawn(supervisor_scope(async |s| {
                let children: Vec<_> = (0..4)
                    .map(|n| {
                        s.coroutine().name("child").spawn(async move {
                            if n % 2 == 0 {
                                yield_now().await;
                            }
                            three().await;
                        })
                    })
                    .collect();
                for child in children {
                    let path = panic_of(child.outcome().await).path().unwrap().to_string();
                    assert!(path.ends_with("child/first"), "{path}");
                }
            }));
            failing.await;
        }
    }));
    let handle = job.job();
    rt.run_on(3, &handle);
    rt.block_on(job);
}
