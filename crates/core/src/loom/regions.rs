//! Scopes: their bodies against their children, their openers, and those who drop them.

use std::future::pending;

use super::*;
use crate::scope::scope;
use crate::{AsyncClose, AsyncGuard, yield_now};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The last child against the body: the scope is ready, or woken when it is.
#[test]
fn last_child_against_the_body() {
    check(|runtime| {
        let wakes = Wakes::new();
        let mut future = Box::pin(scope(async |s| {
            s.launch(async {});
            5
        }));
        let other = runtime.clone();
        // The child is queued by the first poll, on this thread: the other one may be too early
        // for it, and then it is run below.
        let other = thread::spawn(move || other.run());
        let first = poll(future.as_mut(), &wakes);
        other.join().unwrap();
        if first.is_pending() {
            runtime.run();
            assert_eq!(wakes.count(), 1);
            assert_eq!(poll(future.as_mut(), &wakes), Poll::Ready(5));
        }
        drop(future);
        assert_eq!(Arc::strong_count(&wakes), 1);
    });
}

/// The last child against the drop of the scope: the region ends, once.
#[test]
fn last_child_against_the_drop() {
    check(|runtime| {
        let mark = Mark::new(());
        let wakes = Wakes::new();
        let captured = mark.clone();
        let mut future: Boxed<()> = Box::pin(scope(async move |s: Scope| {
            s.launch(async move { drop(captured) });
            pending::<()>().await;
        }));
        assert!(poll(future.as_mut(), &wakes).is_pending());
        let other = runtime.start();
        drop(future);
        other.join().unwrap();
        runtime.run();
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
        assert_eq!(Arc::strong_count(&wakes), 1);
    });
}

/// The end of an empty scope against who finds it in its opener's list: it ends once, and is seen to.
#[test]
fn lone_end_against_listing() {
    check(|runtime| {
        let opener = runtime.scope().launch(async { scope(async |_| ()).await });
        let listed = opener.clone();
        let other = thread::spawn(move || listed.children());
        runtime.run();
        let regions = other.join().unwrap();
        assert!(opener.is_completed() && regions.iter().all(Job::is_completed));
    });
}

/// The end of an empty scope against the cancellation of its opener: it ends once, with its value
/// or without.
#[test]
fn lone_end_against_cancel() {
    check(|runtime| {
        let opener = runtime.scope().launch(async { scope(async |_| ()).await });
        let cancelled = opener.clone();
        let other = thread::spawn(move || cancelled.cancel());
        runtime.run();
        other.join().unwrap();
        runtime.run();
        assert!(opener.is_completed() && opener.children().is_empty());
    });
}

/// A child that looks for its scope and ends, against the end of the scope: what the child has taken
/// or done stands.
fn child_against_the_lone_end(child: fn(Job) -> Option<Job>) {
    check(move |runtime| {
        let shelf = Arc::new(std::sync::Mutex::new(None));
        let put = Arc::clone(&shelf);
        let wakes = Wakes::new();
        let mut future = Box::pin(scope(async |s: Scope| {
            s.launch(async move {
                let scope = Job::current().unwrap().parent().unwrap();
                *put.lock().unwrap() = child(scope);
            });
        }));
        let other = runtime.start();
        let first = poll(future.as_mut(), &wakes);
        other.join().unwrap();
        if first.is_pending() {
            runtime.run();
            assert!(poll(future.as_mut(), &wakes).is_ready());
        }
        drop(future);
        let kept: Option<Job> = shelf.lock().unwrap().take();
        assert!(kept.is_none_or(|scope| scope.is_completed()));
    });
}

#[test]
fn child_that_takes_a_handle_against_the_lone_end() {
    child_against_the_lone_end(Some);
}

#[test]
fn child_that_cancels_against_the_lone_end() {
    child_against_the_lone_end(|scope| {
        scope.cancel();
        None
    });
}

/// The end of the opener against the drop of a scope that was moved out of it.
#[test]
fn opener_against_the_drop_elsewhere() {
    check(|runtime| {
        let shelf = Arc::new(std::sync::Mutex::new(None));
        let put = Arc::clone(&shelf);
        let opener = runtime.scope().launch(async move {
            let mut future: Boxed<()> = Box::pin(scope(async move |_: Scope| pending().await));
            assert!(futures::poll!(future.as_mut()).is_pending());
            *put.lock().unwrap() = Some(future);
            yield_now().await;
        });
        // Its first poll.
        let first = runtime.hooks.queue.0.lock().pop_front();
        first.unwrap().run();
        let moved = shelf.lock().unwrap().take();
        let other = runtime.start();
        drop(moved);
        other.join().unwrap();
        assert!(opener.is_completed());
    });
}

/// Counts how often it was closed.
struct Closing(Arc<AtomicUsize>);

impl AsyncClose for Closing {
    async fn close(self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The end of a guard elsewhere against that of the job that made it: one of the jobs closes it.
#[test]
fn guard_against_the_end_of_its_job() {
    check(|runtime| {
        let closed = Arc::new(AtomicUsize::new(0));
        let value = Closing(Arc::clone(&closed));
        let shelf = Arc::new(std::sync::Mutex::new(None));
        let put = Arc::clone(&shelf);
        let maker = runtime.scope().launch(async move {
            *put.lock().unwrap() = Some(AsyncGuard::new(value));
            yield_now().await;
        });
        // Its first poll.
        let first = runtime.hooks.queue.0.lock().pop_front();
        first.unwrap().run();
        let guard = shelf.lock().unwrap().take();
        let other = runtime.start();
        drop(guard);
        other.join().unwrap();
        runtime.run();
        assert!(maker.is_completed());
        assert_eq!(closed.load(Ordering::Relaxed), 1);
    });
}

/// A launch against the end of the scope: the child runs, or is dropped at once.
#[test]
fn launch_against_the_end() {
    check(|runtime| {
        let mark = Mark::new(());
        let wakes = Wakes::new();
        let mut future = Box::pin(scope(async |s| s));
        let handle = std::sync::Mutex::new(None);
        let mut open = Box::pin(scope(async |s: Scope| {
            *handle.lock().unwrap() = Some(s.clone());
            yield_now().await;
        }));
        assert!(poll(open.as_mut(), &wakes).is_pending());
        let handle: Scope = handle.lock().unwrap().take().unwrap();
        let captured = mark.clone();
        let other = thread::spawn(move || handle.launch(async move { drop(captured) }));
        let mut ended = poll(open.as_mut(), &wakes).is_ready();
        let child = other.join().unwrap();
        runtime.run();
        if !ended {
            ended = poll(open.as_mut(), &wakes).is_ready();
        }
        assert!(ended && child.is_completed());
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
        drop(open);
        // The handle of a scope that has ended.
        let Poll::Ready(late) = poll(future.as_mut(), &wakes) else {
            panic!("nothing to wait for")
        };
        assert!(late.launch(async {}).is_cancelled());
    });
}
