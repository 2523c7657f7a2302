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

/// A scope right in a coroutine, on whose handle another thread calls `act` while its body runs, ends
/// or, if it `waits`, suspends. Then everything is cancelled, and has ended. Where `act` looks at much,
/// two preemptions take minutes.
fn handle_elsewhere(preemptions: usize, act: fn(Scope), waits: bool) {
    check_within(preemptions, move |runtime| {
        let mark = Mark::new(());
        let captured = mark.clone();
        let threads = Arc::new(std::sync::Mutex::new(None));
        let put = Arc::clone(&threads);
        let opener = runtime.scope().launch(async move {
            let _mark = captured;
            scope(async |s: Scope| {
                *put.lock().unwrap() = Some(thread::spawn(move || act(s)));
                if waits {
                    pending::<()>().await;
                }
            })
            .await;
        });
        runtime.run();
        let other: Option<thread::JoinHandle<()>> = threads.lock().unwrap().take();
        other.unwrap().join().unwrap();
        opener.cancel();
        runtime.run();
        assert!(opener.is_completed() && opener.children().is_empty());
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
    });
}

#[test]
fn handle_that_is_dropped_against_the_first_poll() {
    handle_elsewhere(2, drop, false);
    handle_elsewhere(2, drop, true);
}

#[test]
fn launch_against_the_first_poll() {
    handle_elsewhere(2, |s| drop(s.launch(async {})), false);
    handle_elsewhere(2, |s| drop(s.launch(pending())), false);
}

#[test]
fn launch_against_the_first_suspension() {
    handle_elsewhere(2, |s| drop(s.launch(pending())), true);
}

#[test]
fn cancel_against_the_first_poll() {
    fn cancel(s: Scope) {
        s.job().cancel();
    }
    handle_elsewhere(1, cancel, false);
    handle_elsewhere(1, cancel, true);
}

/// Who looks upwards from a scope that may not be listed keeps the opener from going.
#[test]
fn looks_upwards_against_the_first_poll() {
    fn look(s: Scope) {
        assert!(s.job().cause().is_none());
        drop(s.job().path());
    }
    handle_elsewhere(1, look, false);
    handle_elsewhere(1, look, true);
}

/// A cancel of the opener, on the thread that polls it, against the launch by which a scope is listed
/// elsewhere.
#[test]
fn cancel_of_the_opener_against_the_first_launch() {
    check(|runtime| {
        let mark = Mark::new(());
        let captured = mark.clone();
        let threads = Arc::new(std::sync::Mutex::new(None));
        let put = Arc::clone(&threads);
        let opener = runtime.scope().launch(async move {
            let opener = Job::current().unwrap();
            scope(async |s: Scope| {
                *put.lock().unwrap() = Some(thread::spawn(move || {
                    s.launch(async move {
                        let _mark = captured;
                        pending::<()>().await;
                    });
                }));
                opener.cancel();
                pending::<()>().await;
            })
            .await;
        });
        runtime.run();
        let other: Option<thread::JoinHandle<()>> = threads.lock().unwrap().take();
        other.unwrap().join().unwrap();
        runtime.run();
        assert!(opener.is_completed() && opener.is_cancelled());
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
    });
}

#[test]
fn cancel_of_the_opener_against_the_first_suspension() {
    handle_elsewhere(
        2,
        |s| {
            let opener = s.job().parent().unwrap();
            drop(s);
            opener.cancel();
        },
        true,
    );
}

/// A scope that is cancelled by its opener is seen so at each moment of the poll that ends it.
#[test]
fn questions_against_the_first_poll() {
    check_within(1, |runtime| {
        let threads = Arc::new(std::sync::Mutex::new(None));
        let put = Arc::clone(&threads);
        runtime.scope().launch(async move {
            scope(async |s: Scope| {
                let job = s.job();
                job.parent().unwrap().cancel();
                assert!(job.is_cancelled());
                drop(s);
                *put.lock().unwrap() = Some(thread::spawn(move || assert!(job.is_cancelled())));
                pending::<()>().await;
            })
            .await;
        });
        runtime.run();
        let other: Option<thread::JoinHandle<()>> = threads.lock().unwrap().take();
        other.unwrap().join().unwrap();
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
