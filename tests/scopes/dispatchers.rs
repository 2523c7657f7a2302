//! Contexts, and dispatchers of the program's own.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use corymb::prelude::*;
use corymb::testing::{elapsed, settle, take_failures};
use corymb::{CancelCause, Coroutine, JoinError};

use crate::common::{Trace, ms};

#[test]
fn the_right_side_of_a_context_wins() {
    let context = Name::new("left");
    let context = Context::from(context).and(Dispatcher::Default).and(Name::new("right"));
    assert_eq!(context.name(), Some("right"));
    assert!(context.dispatcher().is_some());
    assert_eq!(context.and(Context::new()).name(), Some("right"));
}

#[corymb::test]
async fn a_name_that_is_inherited_is_not_told_as_one_s_own() {
    let child_of_server = supervisor_scope(async |s| {
        // With a context of its own, which does not name it.
        let child = s.coroutine().on(Dispatcher::Default).spawn(async { panic!("boom") });
        let job = format!("{:?}", child.job());
        assert!(job.contains("name: None"), "{job}");
        let dump = s.job().parent().unwrap();
        let mut text = String::new();
        dump.dump(&mut text).unwrap();
        assert_eq!(text.matches("`server`").count(), 1, "{text}");
        let outcome: Result<(), _> = child.outcome().await;
        outcome.unwrap_err()
    });
    let error = scope(async |s| s.coroutine().name("server").spawn(child_of_server).await).await;
    let JoinError::Panicked(panic) = &error else { panic!("{error:?}") };
    assert_eq!((panic.who().name(), panic.who().below()), (None, Some("server")));
    assert!(error.to_string().starts_with("coroutine below `server` launched at "), "{error}");
}

#[corymb::test]
async fn a_name_is_inherited_and_can_be_replaced() {
    let name = || Context::current().name().map(String::from);
    scope(async |s| {
        assert_eq!(s.spawn(async move { name() }).await, None);
        let names = s.coroutine().name("outer").spawn(scope(async move |s| {
            let inherited = s.spawn(async move { name() }).await;
            let own = s.coroutine().name("inner").spawn(async move { name() }).await;
            [name(), inherited, own].map(Option::unwrap)
        }));
        assert_eq!(&*names.job().name().unwrap(), "outer");
        assert_eq!(names.await, ["outer", "outer", "inner"]);
    })
    .await;
}

#[corymb::test(real)]
async fn a_closure_dispatches_to_a_thread_of_its_own() {
    let (queue, coroutines) = mpsc::channel::<Coroutine>();
    let thread = std::thread::spawn(move || coroutines.into_iter().map(Coroutine::run).count());
    let id = thread.thread().id();
    let own = Dispatcher::custom(move |coroutine| queue.send(coroutine).unwrap());
    let here = move || assert_eq!(std::thread::current().id(), id);
    scope(async move |s| {
        let child = s.coroutine().on(own).spawn(scope(async move |s| {
            here();
            // Inherited by the grandchild.
            let grandchild = s.spawn(async move { here() });
            grandchild.await;
            yield_now().await;
            sleep(ms(1)).await;
            here();
        }));
        child.await;
    })
    .await;
    assert!(thread.join().unwrap() >= 4);
}

/// A dispatcher that drops all coroutines after the first `n`, and runs those in `threads`' stead.
fn dropping_after(n: usize) -> (Dispatcher, mpsc::Receiver<Coroutine>) {
    let (queue, coroutines) = mpsc::channel();
    let seen = AtomicUsize::new(0);
    let dispatcher = Dispatcher::custom(move |coroutine: Coroutine| {
        if seen.fetch_add(1, Ordering::Relaxed) < n {
            queue.send(coroutine).unwrap();
        }
    });
    (dispatcher, coroutines)
}

#[corymb::test]
async fn a_coroutine_that_its_dispatcher_drops_is_cancelled() {
    for runs in 0..2 {
        let trace = Trace::default();
        let (dispatcher, coroutines) = dropping_after(runs);
        let guard = trace.on_drop("dropped");
        scope(async move |s| {
            let child = s.coroutine().on(dispatcher).spawn(async move {
                let _guard = guard;
                sleep(ms(1)).await;
                unreachable!("it was resumed");
            });
            coroutines.try_iter().for_each(Coroutine::run);
            let outcome: Result<(), _> = child.outcome().await;
            let Err(JoinError::Cancelled(cancelled)) = outcome else { panic!("{outcome:?}") };
            assert!(matches!(cancelled.cause(), CancelCause::Shutdown), "{cancelled:?}");
        })
        .await;
        assert_eq!(trace.get(), ["dropped"]);
    }
}

#[corymb::test]
async fn a_coroutine_whose_dispatcher_panics_is_cancelled() {
    scope(async |s| {
        let child =
            s.coroutine().on(Dispatcher::custom(|_| panic!("out of order"))).spawn(pending::<()>());
        let outcome = child.outcome().await;
        let Err(JoinError::Cancelled(cancelled)) = outcome else { panic!("{outcome:?}") };
        assert!(matches!(cancelled.cause(), CancelCause::Shutdown), "{cancelled:?}");
    })
    .await;
    let failures = take_failures();
    assert!(failures.len() == 1 && failures[0].contains("out of order"), "{failures:?}");
}

#[corymb::test]
async fn a_coroutine_that_nobody_resumes_can_still_be_cancelled() {
    let (dispatcher, coroutines) = dropping_after(usize::MAX);
    scope(async move |s| {
        let child = s.coroutine().on(dispatcher).launch(pending());
        settle().await;
        child.cancel();
        settle().await;
        assert!(child.is_cancelled() && !child.is_completed());
        drop(coroutines.recv().unwrap());
        child.join().await;
    })
    .await;
}

#[corymb::test]
async fn a_view_starts_in_order_and_does_not_count_who_sleeps() {
    let trace = Trace::default();
    let view = Dispatcher::Default.limited_parallelism(1);
    scope(async |s| {
        for name in ["one", "two", "three"] {
            let trace = trace.clone();
            s.coroutine().on(view.clone()).launch(async move {
                trace.add(name);
                sleep(ms(10)).await;
                trace.add(name);
            });
        }
    })
    .await;
    assert_eq!(elapsed(), ms(10));
    assert_eq!(trace.get(), ["one", "two", "three", "one", "two", "three"]);
}

#[corymb::test]
async fn a_cancel_reaches_who_queues_in_a_view() {
    let view = Dispatcher::Default.limited_parallelism(1);
    supervisor_scope(async |s| {
        let child = s.coroutine().on(view.clone()).spawn(pending::<()>());
        child.job().cancel();
        assert!(matches!(child.outcome().await, Err(JoinError::Cancelled(_))));
        // Inherited, and of use to the next.
        let child = s.coroutine().on(view).spawn(scope(async |s| s.spawn(async { 7 }).await));
        assert_eq!(child.await, 7);
    })
    .await;
}
