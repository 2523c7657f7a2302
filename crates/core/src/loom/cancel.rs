//! Cancels against nodes on their way into the tree.

use std::future::pending;
use std::panic::Location;

use super::*;
use crate::node::cancel::lift_shield;
use crate::node::state;
use crate::scope::{region, scope};

/// A scope at the root, with `child` in it, queued.
fn with_child(
    child: impl Future<Output = ()> + Send + 'static,
) -> (Pin<Box<dyn Future<Output = ()>>>, Job, Job) {
    let jobs = Arc::new(std::sync::Mutex::new(None));
    let put = Arc::clone(&jobs);
    let mut future = Box::pin(scope(async move |s: Scope| {
        *put.lock().unwrap() = Some((s.job(), s.launch(child)));
        pending::<()>().await;
    }));
    assert!(poll(future.as_mut(), &Wakes::new()).is_pending());
    let (scope, child) = jobs.lock().unwrap().take().unwrap();
    (future, scope, child)
}

/// A cancel against 3 for the first time: the child is found, or finds the mark.
#[test]
fn cancel_against_link() {
    check(|runtime| {
        let mark = Mark::new(());
        let captured = mark.clone();
        let (future, scope, child) = with_child(async move {
            let _mark = captured;
            pending::<()>().await;
        });
        let other = runtime.start();
        scope.cancel();
        other.join().unwrap();
        runtime.run();
        assert!(child.is_completed() && child.is_cancelled());
        assert!(child.cause().is_some());
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
        drop(future);
    });
}

/// A cancel against a child that opens a scope: when the cancel has returned, and the scope is
/// open, that is cancelled; and the grandchild is found too.
#[test]
fn cancel_against_attach() {
    check(|runtime| {
        let mark = Mark::new(());
        let captured = mark.clone();
        let inner = Arc::new(Mutex::new(None));
        let put = Arc::clone(&inner);
        let (future, outer, child) = with_child(async move {
            scope(async move |s: Scope| {
                *put.lock() = Some(s.job());
                s.launch(async move {
                    let _mark = captured;
                    pending::<()>().await;
                });
                pending::<()>().await;
            })
            .await;
        });
        let other = runtime.start();
        outer.cancel();
        let opened: Option<Job> = inner.lock().clone();
        assert!(opened.is_none_or(|inner| inner.is_cancelled()));
        other.join().unwrap();
        runtime.run();
        *inner.lock() = None;
        assert!(child.is_completed() && child.is_cancelled());
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
        drop(future);
    });
}

/// A cancel against the registration of a handler with a child that has not suspended, and runs:
/// the handler runs once.
#[test]
fn cancel_against_listing() {
    check(|runtime| {
        let mark = Mark::new(());
        let captured = mark.clone();
        let (future, scope, child) = with_child(async { pending().await });
        let there = (runtime.clone(), scope);
        let other = thread::spawn(move || {
            there.1.cancel();
            there.0.run();
        });
        let ran = loom::sync::Arc::new(AtomicUsize::new(0));
        let count = ran.clone();
        child.on_cancelling(move |_| {
            drop(captured);
            count.fetch_add(1, Ordering::Relaxed);
        });
        other.join().unwrap();
        assert_eq!(ran.load(Ordering::Relaxed), 1);
        runtime.run();
        assert!(child.is_completed());
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
        drop(future);
    });
}

/// 3 for the first time against the registration of a handler: the child is linked once.
#[test]
fn link_against_listing() {
    check(|runtime| {
        let (future, scope, child) = with_child(pending());
        let other = runtime.start();
        let ran = loom::sync::Arc::new(AtomicUsize::new(0));
        let count = ran.clone();
        child.on_cancelling(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        other.join().unwrap();
        assert_eq!((scope.children().len(), scope.unlisted()), (1, 0));
        scope.cancel();
        assert_eq!(ran.load(Ordering::Relaxed), 1);
        runtime.run();
        assert!(child.is_completed());
        drop(future);
        assert!(scope.is_completed() && scope.children().is_empty());
    });
}

/// Two cancels: one of them is news, and its cause stands.
#[test]
fn cancel_against_cancel() {
    check(|runtime| {
        let (future, scope, child) = with_child(pending());
        runtime.run();
        let mine = child.clone();
        let other = thread::spawn(move || mine.cancel_with(crate::CancelCause::Deadline));
        let news = scope.cancel();
        assert!(news);
        let first = other.join().unwrap();
        let cause = child.cause().unwrap();
        assert_eq!(matches!(cause.cause(), crate::CancelCause::Deadline), first);
        runtime.run();
        assert!(child.is_completed());
        assert!(child.cause().unwrap().to_string() == cause.to_string());
        drop(future);
    });
}

/// A cancel against the lift of a shield below it: whoever comes second sees to it that it goes on
/// into what was shielded.
#[test]
fn cancel_against_the_lift_of_a_shield() {
    check(|_| {
        let opened = Arc::new(std::sync::Mutex::new(None));
        let put = Arc::clone(&opened);
        let mut future = Box::pin(scope(async move |s: Scope| {
            let shield = region::open_shield(state::SHIELD, Location::caller());
            *put.lock().unwrap() = Some((s.job(), shield));
            pending::<()>().await;
        }));
        assert!(poll(future.as_mut(), &Wakes::new()).is_pending());
        let (around, shield) = opened.lock().unwrap().take().unwrap();
        let other = thread::spawn(move || around.cancel());
        lift_shield(&shield);
        other.join().unwrap();
        let shield = Job::from_node(shield);
        assert!(shield.is_cancelled() && shield.cause().is_some());
        drop(future);
        assert!(shield.is_completed());
    });
}
