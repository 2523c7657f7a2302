//! Parts of a coroutine under another context.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use corymb::prelude::*;
use corymb::testing::{settle, take_failures};
use corymb::{CancelCause, Coroutine, JobState, JoinError};
use futures::FutureExt;

use crate::common::{Oops, Trace, caught_text, custom, custom_text, thread_of_its_own};

/// A dispatcher that moves by the queue.
fn by_the_queue() -> Dispatcher {
    Dispatcher::Default.limited_parallelism(1)
}

/// A dispatcher whose coroutines the test runs.
fn by_hand() -> (Dispatcher, Receiver<Coroutine>) {
    let (queue, accepted) = channel();
    (Dispatcher::custom(move |coroutine| queue.send(coroutine).unwrap()), accepted)
}

#[corymb::test(real)]
async fn dispatch_028_a_section_runs_on_its_own_thread_and_comes_back() {
    let (first, first_id) = thread_of_its_own();
    let (second, second_id) = thread_of_its_own();
    scope(async |s| {
        s.coroutine().on(first).launch(async move {
            let here = || thread::current().id();
            let mut seen = vec![here()];
            with_context(second, async {
                seen.push(here());
                yield_now().await;
                seen.push(here());
            })
            .await;
            seen.push(here());
            assert_eq!(seen, [first_id, second_id, second_id, first_id]);
        });
    })
    .await;
}

/// The coroutine's own dispatcher runs what it left; nobody else has to.
#[corymb::test]
async fn dispatch_026_who_is_refused_the_way_back_is_cancelled() {
    let (trace, told) = Trace::twice();
    let asked = AtomicUsize::new(0);
    let (queue, accepted) = channel();
    let seen = trace.clone();
    let once = Dispatcher::custom(move |coroutine: Coroutine| {
        seen.add("asked");
        if asked.fetch_add(1, Ordering::SeqCst) == 0 {
            queue.send(coroutine).unwrap();
        }
    });
    scope(async move |s| {
        let seen = trace.clone();
        let child = s.coroutine().on(once).spawn(async move {
            let _cleanup = seen.on_drop("cleanup");
            with_context(Dispatcher::Default, async { seen.add("on Default") }).await;
            seen.add("back");
        });
        accepted.recv().unwrap().run();
        let outcome: Result<(), _> = child.outcome().await;
        let Err(JoinError::Cancelled(cancelled)) = outcome else { panic!("{outcome:?}") };
        assert!(matches!(cancelled.cause(), CancelCause::Shutdown), "{cancelled:?}");
    })
    .await;
    assert_eq!(told.get(), ["asked", "on Default", "asked", "cleanup"]);
}

/// There are no elements with hooks, so the dispatcher is what fails: at the launch, at a move, and
/// at the way back.
#[corymb::test]
async fn dispatch_033_a_dispatcher_that_panics_is_reported_and_hangs_nobody() {
    let panics_after = |n| {
        let (queue, accepted) = channel();
        let asked = AtomicUsize::new(0);
        let dispatcher = Dispatcher::custom(move |coroutine: Coroutine| {
            assert!(asked.fetch_add(1, Ordering::SeqCst) < n, "out of order");
            queue.send(coroutine).unwrap();
        });
        (dispatcher, accepted)
    };
    for (launched_there, n) in [(true, 0), (false, 0), (true, 1)] {
        let (trace, told) = Trace::twice();
        let (broken, accepted) = panics_after(n);
        let elsewhere = if launched_there { Dispatcher::Default } else { broken.clone() };
        let home = if launched_there { broken } else { Dispatcher::Default };
        scope(async move |s| {
            let guard = trace.on_drop("dropped");
            let context = Context::from(home).and(trace.handler());
            let child = s.coroutine().context(context).spawn(async move {
                let _guard = guard;
                with_context(elsewhere, async {}).await;
                unreachable!("it came back");
            });
            accepted.try_iter().for_each(Coroutine::run);
            let outcome: Result<(), _> = child.outcome().await;
            assert!(matches!(outcome, Err(JoinError::Cancelled(_))), "{outcome:?}");
        })
        .await;
        let mut told = told.get();
        told.extend(take_failures());
        let panics = told.iter().filter(|it| it.contains("out of order")).count();
        assert_eq!(panics, 1, "{told:?}");
        assert_eq!(told.iter().filter(|it| *it == "dropped").count(), 1, "{told:?}");
    }
}

/// A section launches nothing, a scope in it does: its failure is the section's.
#[corymb::test]
async fn scope_038_a_failure_inside_comes_out_and_can_be_caught() {
    let failed = with_context(
        by_the_queue(),
        try_scope(async |s| {
            s.launch(async { Err(Oops("E")) });
            Ok("OK")
        }),
    );
    assert_eq!(failed.await, Err(Oops("E")));
    let panicked = with_context(by_the_queue(), async {
        scope(async |s| drop(s.spawn(async { panic!("E") }))).await;
    });
    assert_eq!(caught_text(AssertUnwindSafe(panicked).catch_unwind().await), "E");
}

#[corymb::test]
async fn cancel_034_a_failure_in_a_section_outranks_a_cancel_of_the_caller() {
    let trace = Trace::default();
    scope(async |s| {
        let seen = trace.clone();
        let child = s.launch(async move {
            let outer = Job::current().unwrap();
            let result = with_context(Dispatcher::Default, async {
                outer.cancel();
                Err::<(), _>("E")
            });
            seen.add(result.await.unwrap_err());
        });
        child.join().await;
    })
    .await;
    assert_eq!(trace.get(), ["E"]);
}

/// The way back by the queue is a suspension.
#[corymb::test]
async fn cancel_036_the_value_of_a_section_elsewhere_does_not_outrank_a_cancel() {
    let (trace, told) = Trace::twice();
    let (elsewhere, accepted) = by_hand();
    scope(async move |s| {
        let seen = trace.clone();
        let child = s.spawn(async move {
            let value = with_context(elsewhere, async {
                Job::current().unwrap().cancel();
                seen.add("inside");
                seen.on_drop("value dropped")
            });
            let _value = value.await;
            seen.add("back");
        });
        settle().await;
        accepted.recv().unwrap().run();
        assert!(matches!(child.outcome().await, Err(JoinError::Cancelled(_))));
    })
    .await;
    assert_eq!(told.get(), ["inside", "value dropped"]);
}

#[corymb::test]
async fn cancel_038_a_cancel_on_the_way_back_arrives() {
    let (trace, told) = Trace::twice();
    let (elsewhere, accepted) = by_hand();
    scope(async move |s| {
        let seen = trace.clone();
        let child = s.launch(async move {
            let _cleanup = seen.on_drop("cleanup");
            with_context(elsewhere, async { seen.add("inside") }).await;
            seen.add("back");
        });
        settle().await;
        // The body ends, and the way back is queued behind this.
        accepted.recv().unwrap().run();
        assert_eq!(trace.get(), ["inside"]);
        child.cancel();
        child.join().await;
        assert_eq!(child.state(), JobState::Cancelled);
    })
    .await;
    assert_eq!(told.get(), ["inside", "cleanup"]);
}

#[corymb::test]
async fn cancel_039_the_first_cause_is_kept_by_who_is_away() {
    scope(async |s| {
        let child = s.spawn(async {
            with_context(by_the_queue(), async {
                Job::current().unwrap().cancel_with(custom("C1"));
                Job::current().unwrap().cancel_with(custom("C2"));
                pending::<()>().await;
            })
            .await;
        });
        let Err(JoinError::Cancelled(cancelled)) = child.outcome().await else {
            panic!("it was not cancelled");
        };
        assert_eq!(custom_text(&cancelled), "C1");
    })
    .await;
}

/// Dumps show the name that the coroutine was launched with.
#[corymb::test]
async fn debug_011_a_section_has_a_name_of_its_own_and_the_job_of_its_coroutine() {
    let seen = || (Context::current().name().map(String::from), Job::current().unwrap());
    scope(async |s| {
        let child = s.coroutine().name("outer").spawn(async move {
            let before = seen();
            let inside = with_context(Name::new("inner"), async move {
                yield_now().await;
                seen()
            });
            [before, inside.await, seen()]
        });
        let job = child.job();
        let [before, inside, after] = child.await;
        assert_eq!(before, (Some("outer".into()), job.clone()));
        assert_eq!(inside, (Some("inner".into()), job));
        assert_eq!(after, before);
    })
    .await;
}
