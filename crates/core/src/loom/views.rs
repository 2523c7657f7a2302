//! Views: a push against a place that is given up, places that two take, and the way out and back.
//!
//! `inside` is touched by the coroutines of a view with one place only: loom sees two at once, and
//! a second that does not see what the first has written.

use std::sync::Weak;

use super::*;
use crate::dispatch::hop;
use crate::{Dispatcher, yield_now};

/// A count that nothing but a place protects.
#[derive(Clone)]
struct Inside(loom::sync::Arc<loom::cell::Cell<usize>>);

// SAFETY: loom checks it.
#[expect(clippy::non_send_fields_in_send_ty, reason = "what the models are about")]
unsafe impl Send for Inside {}
// SAFETY: as above.
unsafe impl Sync for Inside {}

impl Inside {
    fn new() -> Self {
        Self(loom::sync::Arc::new(loom::cell::Cell::new(0)))
    }

    fn add(&self) {
        self.0.set(self.0.get() + 1);
    }
}

fn launch(
    runtime: &Runtime,
    view: &Dispatcher,
    f: impl Future<Output = ()> + Send + 'static,
) -> Job {
    runtime.scope().coroutine().on(view.clone()).launch(f)
}

fn dispatch_of(dispatcher: &Dispatcher) -> Arc<dyn Dispatch> {
    match dispatcher {
        Dispatcher::Custom(dispatch) => Arc::clone(dispatch),
        other => panic!("{other:?} is not a custom one"),
    }
}

/// A push while the runner finds nothing and gives its place up: one of the two sees the other.
#[test]
fn push_against_the_end_of_a_runner() {
    check(|runtime| {
        let view = Dispatcher::Default.limited_parallelism(1);
        let inside = Inside::new();
        let [first, second] = [inside.clone(), inside.clone()];
        let one = launch(runtime, &view, async move { first.add() });
        let other = runtime.start();
        let two = launch(runtime, &view, async move { second.add() });
        runtime.run();
        other.join().unwrap();
        runtime.run();
        assert!(one.is_completed() && two.is_completed());
        assert_eq!(inside.0.get(), 2);
    });
}

/// Two threads push, and run what that gives, in a view with one place and in one with two.
#[test]
fn two_that_push() {
    for places in 1..=2 {
        check(move |runtime| {
            let view = Dispatcher::Default.limited_parallelism(places);
            let within = Arc::new(AtomicUsize::new(0));
            let polls = Arc::new(AtomicUsize::new(0));
            let body = |within: &Arc<AtomicUsize>, polls: &Arc<AtomicUsize>| {
                let (within, polls) = (Arc::clone(within), Arc::clone(polls));
                async move {
                    assert!(within.fetch_add(1, Ordering::SeqCst) < places);
                    polls.fetch_add(1, Ordering::SeqCst);
                    within.fetch_sub(1, Ordering::SeqCst);
                }
            };
            let (there, on, child) = (runtime.clone(), view.clone(), body(&within, &polls));
            let other = thread::spawn(move || {
                launch(&there, &on, child);
                there.run();
            });
            launch(runtime, &view, body(&within, &polls));
            runtime.run();
            other.join().unwrap();
            runtime.run();
            assert_eq!(polls.load(Ordering::SeqCst), 2);
        });
    }
}

/// A coroutine that yields in a view with one place against another that is pushed.
#[test]
fn yield_against_push() {
    check(|runtime| {
        let view = Dispatcher::Default.limited_parallelism(1);
        let inside = Inside::new();
        let [first, second] = [inside.clone(), inside.clone()];
        launch(runtime, &view, async move {
            first.add();
            yield_now().await;
            first.add();
        });
        let other = runtime.start();
        launch(runtime, &view, async move { second.add() });
        runtime.run();
        other.join().unwrap();
        runtime.run();
        assert_eq!(inside.0.get(), 3);
    });
}

/// The way out and back in one poll, against another that queues for the place.
#[test]
fn leaving_and_coming_back_against_push() {
    check(|runtime| {
        let view = Dispatcher::Default.limited_parallelism(1);
        let inside = Inside::new();
        let [first, second] = [inside.clone(), inside.clone()];
        let (on, out) = (dispatch_of(&view), runtime.hooks.queue.clone());
        let back = Arc::new(AtomicUsize::new(0));
        let came = Arc::clone(&back);
        launch(runtime, &view, async move {
            first.add();
            assert!(hop(&*on, &*out));
            if hop(&*out, &*on) {
                first.add();
                came.store(1, Ordering::SeqCst);
            }
        });
        let other = runtime.start();
        launch(runtime, &view, async move { second.add() });
        runtime.run();
        other.join().unwrap();
        runtime.run();
        assert_eq!(inside.0.get(), 2 + back.load(Ordering::SeqCst));
    });
}

/// The view is dropped while its runner comes to its end.
#[test]
fn drop_of_the_view_against_the_end_of_a_runner() {
    check(|runtime| {
        let view = Dispatcher::Default.limited_parallelism(1);
        let weak: Weak<dyn Dispatch> = Arc::downgrade(&dispatch_of(&view));
        let mark = Mark::new(());
        let held = mark.clone();
        let job = launch(runtime, &view, async move { drop(held) });
        let other = runtime.start();
        drop(view);
        other.join().unwrap();
        runtime.run();
        assert!(job.is_completed());
        drop(job);
        assert_eq!(weak.strong_count(), 0);
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
    });
}
