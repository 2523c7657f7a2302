//! The end of a coroutine against those who wait for it, or look at it.

use super::*;

/// 7 against a registration: the value, once, at once or after a wake.
#[test]
fn deferred_against_the_end() {
    check(|runtime| {
        let mark = Mark::new(());
        let output = mark.clone();
        let mut deferred = runtime.scope().spawn(async move { output });
        let other = runtime.start();
        let wakes = Wakes::new();
        let mut first = poll(Pin::new(&mut deferred), &wakes);
        other.join().unwrap();
        if first.is_pending() {
            assert_eq!(wakes.count(), 1);
            first = poll(Pin::new(&mut deferred), &wakes);
        }
        assert!(first.is_ready());
        drop((first, deferred));
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
        assert_eq!(Arc::strong_count(&wakes), 1);
    });
}

/// As above, from two tasks in turn: the later one is woken.
#[test]
fn deferred_of_two_tasks_against_the_end() {
    check(|runtime| {
        let mut deferred = runtime.scope().spawn(async { 1 });
        let [one, two] = [Wakes::new(), Wakes::new()];
        assert!(poll(Pin::new(&mut deferred), &one).is_pending());
        let other = runtime.start();
        let second = poll(Pin::new(&mut deferred), &two);
        other.join().unwrap();
        match second {
            Poll::Ready(value) => assert_eq!(value, 1),
            Poll::Pending => {
                assert_eq!(two.count(), 1);
                assert_eq!(poll(Pin::new(&mut deferred), &two), Poll::Ready(1));
            }
        }
        assert_eq!((Arc::strong_count(&one), Arc::strong_count(&two)), (1, 1));
    });
}

/// 7 against the drop of the handle: the output is dropped once, by one of the two.
#[test]
fn drop_of_the_handle_against_the_end() {
    check(|runtime| {
        let mark = Mark::new(());
        let output = mark.clone();
        let mut deferred = runtime.scope().spawn(async move { output });
        let wakes = Wakes::new();
        assert!(poll(Pin::new(&mut deferred), &wakes).is_pending());
        let other = runtime.start();
        drop(deferred);
        other.join().unwrap();
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
        assert_eq!(Arc::strong_count(&wakes), 1);
    });
}

/// 7 against a join.
#[test]
fn join_against_the_end() {
    check(|runtime| {
        let job = runtime.scope().launch(async {});
        let other = runtime.start();
        let wakes = Wakes::new();
        let mut join = Box::pin(job.join());
        let first = poll(join.as_mut(), &wakes);
        other.join().unwrap();
        if first.is_pending() {
            assert_eq!(wakes.count(), 1);
            assert!(poll(join.as_mut(), &wakes).is_ready());
        }
        drop(join);
        assert_eq!(Arc::strong_count(&wakes), 1);
    });
}

/// 6 and 7 against the registration of a handler: it runs once, and before a join returns that
/// began after the registration, unless it was too late to run anywhere else than in that.
#[test]
fn completion_handler_against_the_end() {
    check(|runtime| {
        let mark = Mark::new(());
        let captured = mark.clone();
        let job = runtime.scope().launch(async {});
        let other = runtime.start();
        let ran = loom::sync::Arc::new(AtomicUsize::new(0));
        let count = ran.clone();
        job.on_completion(move |_| {
            drop(captured);
            count.fetch_add(1, Ordering::Relaxed);
        });
        let mut join = Box::pin(job.join());
        if poll(join.as_mut(), &Wakes::new()).is_ready() {
            assert_eq!(ran.load(Ordering::Relaxed), 1);
        }
        drop(join);
        other.join().unwrap();
        assert_eq!(ran.load(Ordering::Relaxed), 1);
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
    });
}

/// The registration of a cancelling handler against a cancel and the end: it runs once if the job
/// was cancelled, and is let go of in any case.
#[test]
fn cancelling_handler_against_cancel_and_end() {
    check(|runtime| {
        let mark = Mark::new(());
        let captured = mark.clone();
        let job = runtime.scope().launch(async {});
        let there = (runtime.clone(), job.clone());
        let other = thread::spawn(move || {
            there.1.cancel();
            there.0.run();
        });
        let ran = loom::sync::Arc::new(AtomicUsize::new(0));
        let count = ran.clone();
        job.on_cancelling(move |_| {
            drop(captured);
            count.fetch_add(1, Ordering::Relaxed);
        });
        other.join().unwrap();
        assert_eq!(ran.load(Ordering::Relaxed), usize::from(job.is_cancelled()));
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
    });
}

/// Looking at a job against its end: the parent, or none once it has ended, and the end comes
/// once, whoever is the last to leave the census.
#[test]
fn questions_against_the_end() {
    check(|runtime| {
        let job = runtime.scope().launch(async {});
        let other = runtime.start();
        let parent = job.parent();
        assert!(parent.as_ref().is_none_or(|parent| *parent == runtime.root));
        assert_eq!(job.cause().map(|_| ()), None);
        other.join().unwrap();
        assert!(job.is_completed() && job.parent().is_none());
    });
}

/// As above, when nothing but the child keeps its parent: who is told of that one has it.
#[test]
fn questions_against_the_end_of_both() {
    check(|runtime| {
        let child = Arc::new(std::sync::Mutex::new(None));
        let put = Arc::clone(&child);
        let mut future = Box::pin(crate::scope::scope(async move |s: Scope| {
            *put.lock().unwrap() = Some(s.launch(async {}));
            std::future::pending::<()>().await;
        }));
        assert!(poll(future.as_mut(), &Wakes::new()).is_pending());
        drop(future);
        let child: Job = child.lock().unwrap().take().unwrap();
        let other = runtime.start();
        if let Some(parent) = child.parent() {
            assert!(parent.is_cancelled());
        }
        other.join().unwrap();
        assert!(child.is_completed());
    });
}
