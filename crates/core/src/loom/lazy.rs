//! Lazy coroutines: their start against the end of their scope, and against a cancel. Services: their
//! own end against that of their scope.

use super::*;
use crate::scope::scope;

/// A scope with a lazy child, in a coroutine that has returned by now or will.
fn lazy_in_scope(runtime: &Runtime, mark: &Mark) -> (Job, Job) {
    let place: Arc<Mutex<Option<Job>>> = Arc::new(Mutex::new(None));
    let (theirs, mark) = (place.clone(), mark.clone());
    let outer = runtime.scope().launch(async move {
        scope(|s| {
            let lazy = s.coroutine().lazy().launch(async move { drop(mark) });
            *theirs.lock() = Some(lazy);
            // Holds the census until the next poll.
            crate::yield_now()
        })
        .await;
    });
    let first = runtime.hooks.queue.0.lock().pop_front();
    first.expect("it was launched").run();
    let lazy = place.lock().take().unwrap();
    (outer, lazy)
}

/// A start against the end of the scope: it runs, or it is cancelled, and the scope ends after it.
#[test]
fn start_against_the_end() {
    check(|runtime| {
        let mark = Mark::new(());
        let (outer, lazy) = lazy_in_scope(runtime, &mark);
        let other = {
            let lazy = lazy.clone();
            thread::spawn(move || lazy.start())
        };
        runtime.run();
        let started = other.join().unwrap();
        runtime.run();
        assert!(outer.is_completed() && lazy.is_completed());
        assert_eq!(started, !lazy.is_cancelled());
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
    });
}

/// A start against a cancel of the lazy one itself.
#[test]
fn start_against_cancel() {
    check(|runtime| {
        let mark = Mark::new(());
        let (outer, lazy) = lazy_in_scope(runtime, &mark);
        let other = {
            let lazy = lazy.clone();
            thread::spawn(move || lazy.cancel())
        };
        lazy.start();
        assert!(other.join().unwrap());
        runtime.run();
        assert!(outer.is_completed() && lazy.is_cancelled());
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
    });
}

/// Two services that end by themselves on one thread while their scope ends on another.
#[test]
fn services_against_the_end() {
    check(|runtime| {
        let mark = Mark::new(());
        let held = mark.clone();
        let outer = runtime.scope().launch(async move {
            scope(|s| {
                let second = held.clone();
                s.service(async move { drop(held) });
                s.service(async move { drop(second) });
                crate::yield_now()
            })
            .await;
        });
        let first = runtime.hooks.queue.0.lock().pop_front();
        first.expect("it was launched").run();
        let other = runtime.start();
        runtime.run();
        other.join().unwrap();
        runtime.run();
        assert!(outer.is_completed());
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
    });
}
