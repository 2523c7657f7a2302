//! Failures that nobody awaits, and those that travel with others.

use std::future::{Ready, pending};
use std::panic::{AssertUnwindSafe, panic_any};

use corymb::prelude::*;
use corymb::testing::{settle, take_failures};
use futures::FutureExt;

use crate::common::{PanicOnDrop, Trace, text};

/// Runs `work` in a coroutine whose failures go to the trace that comes back.
async fn handled<Fut>(work: Fut) -> Vec<String>
where
    Fut: Future<Output = ()> + Send + 'static,
{
    let trace = Trace::default();
    scope(async |s| drop(s.coroutine().context(trace.handler()).launch(work))).await;
    trace.get()
}

#[corymb::test]
async fn a_handler_is_inherited_and_can_be_replaced() {
    let inner = Trace::default();
    let handler = inner.handler();
    let outer = handled(supervisor_scope(async move |s| {
        s.launch(async { panic!("inherited") });
        s.launch(supervisor_scope(async |s| drop(s.launch(async { panic!("by a grandchild") }))));
        s.coroutine().context(handler).launch(async { panic!("replaced") });
    }));
    assert_eq!(outer.await, ["inherited", "by a grandchild"]);
    assert_eq!(inner.get(), ["replaced"]);
}

#[corymb::test]
async fn a_later_panic_whose_first_is_caught_goes_to_the_handler() {
    let reported = handled(async {
        let failed = scope(async |s| {
            let late = PanicOnDrop("later");
            s.launch(async move {
                let _late = late;
                pending::<()>().await;
            });
            settle().await;
            s.launch(async { panic!("first") });
            pending::<()>().await;
        });
        let failed = AssertUnwindSafe(failed).catch_unwind().await;
        assert_eq!(text(&*failed.unwrap_err()), "first");
    });
    assert_suppressed(&reported.await, "later");
}

#[corymb::test]
async fn a_child_s_panic_after_that_of_a_body_which_is_caught_goes_to_the_handler() {
    let reported = handled(async {
        let failed = scope(async |s| {
            let late = PanicOnDrop("child");
            s.launch(async move {
                let _late = late;
                pending::<()>().await;
            });
            settle().await;
            panic!("body");
        });
        let failed = AssertUnwindSafe(failed).catch_unwind().await;
        assert_eq!(text(&*failed.unwrap_err()), "body");
    });
    assert_suppressed(&reported.await, "child");
}

/// It was told of alone, and that it came after another one.
fn assert_suppressed(reported: &[String], text: &str) {
    let [one] = reported else { panic!("{reported:?}") };
    assert!(one.contains(&format!("panicked: {text}, and was suppressed by a panic of")), "{one}");
}

#[corymb::test]
async fn a_later_panic_travels_with_the_first_one_to_who_awaits_the_coroutine() {
    let error = supervisor_scope(async |s| {
        let failing = scope(async |s| {
            let late = PanicOnDrop("later");
            s.launch(async move {
                let _late = late;
                pending::<()>().await;
            });
            s.coroutine().name("inner").launch(async { panic!("first") });
        });
        s.coroutine().name("outer").spawn(failing).outcome().await
    });
    let error = error.await.unwrap_err();
    let (who, later) = (error.who().unwrap(), error.suppressed());
    assert_eq!((who.name(), later.len()), (Some("inner"), 1));
    let text = error.to_string();
    assert!(text.contains("/outer/inner) panicked: first; then coroutine"), "{text}");
    assert_eq!(take_failures(), [""; 0]);
}

#[corymb::test]
async fn a_panic_in_a_scope_that_was_dropped_goes_to_the_handler() {
    let reported = handled(async {
        let mut dropped = scope(async |s| {
            s.launch(async { panic!("unheard") });
            pending::<()>().await;
        })
        .boxed();
        assert!(futures::poll!(&mut dropped).is_pending());
        settle().await;
        drop(dropped);
    });
    assert_eq!(reported.await, ["unheard"]);
}

#[corymb::test]
async fn an_error_in_a_scope_that_was_dropped_goes_to_the_handler() {
    let reported = handled(async {
        let mut dropped = try_scope(async |s| {
            s.launch(async { Err::<(), _>("unheard") });
            pending::<Result<(), _>>().await
        })
        .boxed();
        assert!(futures::poll!(&mut dropped).is_pending());
        settle().await;
        drop(dropped);
    })
    .await;
    assert_eq!(reported.len(), 1, "{reported:?}");
    assert!(reported[0].contains("returned an error of type &str"), "{reported:?}");
}

#[corymb::test]
async fn the_error_of_a_body_whose_scope_was_dropped_goes_to_the_handler() {
    let reported = handled(async {
        let mut dropped = try_scope(async |s| {
            s.launch(async { pending().await });
            settle().await;
            Err::<(), _>("unheard")
        })
        .boxed();
        assert!(futures::poll!(&mut dropped).is_pending());
        settle().await;
        assert!(futures::poll!(&mut dropped).is_pending());
        drop(dropped);
    })
    .await;
    assert_eq!(reported.len(), 1, "{reported:?}");
    assert!(reported[0].contains("returned an error of type &str"), "{reported:?}");
}

#[corymb::test]
async fn the_panic_of_a_body_whose_scope_was_dropped_goes_to_the_handler() {
    let reported = handled(async {
        let mut dropped = scope(async |s| {
            s.launch(pending());
            settle().await;
            panic!("unheard");
        })
        .boxed();
        assert!(futures::poll!(&mut dropped).is_pending());
        settle().await;
        assert!(futures::poll!(&mut dropped).is_pending());
        drop(dropped);
    });
    assert_eq!(reported.await, ["unheard"]);
}

#[corymb::test]
async fn a_panic_wins_over_an_error() {
    let failed = try_scope(async |s| {
        let late = PanicOnDrop("panic");
        s.launch(async move {
            let _late = late;
            pending().await
        });
        settle().await;
        s.launch(async { Err("error") });
        pending::<Result<(), _>>().await
    });
    let failed = AssertUnwindSafe(failed).catch_unwind().await;
    assert_eq!(text(&*failed.unwrap_err()), "panic");
    settle().await;
    // The error was left behind where the panic was caught.
    let [error] = &take_failures()[..] else { unreachable!("it was told of") };
    assert!(error.contains("returned an error of type &str"), "{error}");
}

#[corymb::test]
async fn a_panic_whose_handle_was_dropped_before_goes_to_the_handler() {
    let reported = handled(supervisor_scope(async |s| drop(s.spawn(async { panic!("unheard") }))));
    assert_eq!(reported.await, ["unheard"]);
}

#[corymb::test]
async fn a_panic_in_the_closure_of_a_scope_cancels_what_it_launched() {
    let trace = Trace::default();
    let guard = trace.on_drop("child");
    let failed = scope(|s: Scope| -> Ready<()> {
        s.launch(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        panic!("in the closure");
    });
    let failed = AssertUnwindSafe(failed).catch_unwind().await;
    assert_eq!(text(&*failed.unwrap_err()), "in the closure");
    assert_eq!(trace.get(), ["child"]);
}

#[corymb::test]
async fn a_payload_whose_destructor_panics_harms_nothing() {
    supervisor_scope(async |s| {
        let launched = s.launch(async { panic_any(PanicOnDrop("in the destructor")) });
        launched.join().await;
        let spawned = s.spawn(async { panic_any(PanicOnDrop("in the destructor")) });
        let job = spawned.job();
        drop(spawned);
        job.join().await;
    })
    .await;
    assert!(!take_failures().is_empty());
}
