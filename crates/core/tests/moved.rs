//! Scopes whose future leaves the coroutine that opened them.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Waker};
use std::time::Duration;

use corymb_core::time::with_timeout;
use corymb_core::{
    Context, Job, JobState, Name, Scope, cancel_scope, is_cancelled, scope, yield_now,
};

use crate::common::Harness;

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where the future of a scope lies between two coroutines.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Option<Boxed>>>);

impl Shelf {
    fn put(&self, future: Boxed) {
        *self.0.lock().unwrap() = Some(future);
    }

    fn take(&self) -> Boxed {
        self.0.lock().unwrap().take().unwrap()
    }
}

/// Polls `future` once here, and puts it on the shelf.
async fn poll_once_and_put(mut future: Boxed, shelf: &Shelf) {
    assert!(futures::poll!(future.as_mut()).is_pending());
    shelf.put(future);
}

#[test]
fn dropped_after_its_opener_has_ended() {
    let rt = Harness::new();
    let shelf = Shelf::default();
    let here = shelf.clone();
    rt.block_on(async move {
        poll_once_and_put(Box::pin(scope(async |_| pending().await)), &here).await;
    });
    rt.block_on(async move { drop(shelf.take()) });
}

#[test]
fn an_opener_that_waits_for_a_forgotten_scope_can_be_asked() {
    let rt = Harness::new();
    let shelf = Shelf::default();
    let here = shelf.clone();
    let opener = rt.scope().launch(async move {
        let future = scope(async |s| {
            s.launch(pending());
            pending::<()>().await;
        });
        poll_once_and_put(Box::pin(future), &here).await;
    });
    assert!(rt.step());
    assert_eq!(opener.state(), JobState::Completing);
    assert_eq!(opener.parent(), Some(rt.scope().job()));
    rt.run();
    assert_eq!((opener.state(), opener.parent()), (JobState::Completed, None));
    drop(shelf.take());
}

#[test]
fn polled_after_its_opener_has_ended() {
    let rt = Harness::new();
    for drains in [false, true] {
        let shelf = Shelf::default();
        let here = shelf.clone();
        rt.block_on(async move {
            let future = scope(async move |s: Scope| {
                s.launch(pending());
                if !drains {
                    pending::<()>().await;
                }
            });
            poll_once_and_put(Box::pin(future), &here).await;
        });
        let outcome = rt.spawn(async move { shelf.take().await }).outcome();
        let error = rt.block_on(outcome).unwrap_err();
        assert!(error.to_string().contains("after the coroutine that opened it"), "{error}");
    }
}

#[test]
fn polled_elsewhere_while_its_opener_goes_on() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let (shelf, here) = (Shelf::default(), Shelf::default());
        let future: Boxed = Box::pin(scope(async move |s: Scope| {
            yield_now().await;
            assert_eq!(s.spawn(async { 3 }).await, 3);
        }));
        poll_once_and_put(future, &shelf).await;
        here.put(shelf.take());
        s.spawn(async move { here.take().await }).await;
    }));
}

/// Inside of a body, its opener may end: another thread runs it, or, as here, the body does.
#[test]
fn the_opener_ends_in_the_middle_of_a_poll_elsewhere() {
    let rt = Harness::new();
    let run = rt.runner();
    let shelf = Shelf::default();
    let here = shelf.clone();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let see = Arc::clone(&seen);
    let other = Job::new(None);
    let body = async move |_: Scope| {
        yield_now().await;
        // The opener ends here, and is freed.
        run();
        let scope = Job::current().unwrap();
        assert!(scope.is_completed() && is_cancelled());
        assert_eq!(Context::current().name(), None);
        let mut join = other.join();
        assert!(Pin::new(&mut join).poll(&mut TaskContext::from_waker(Waker::noop())).is_pending());
        see.lock().unwrap().push(scope.state());
        // What is opened now has no job to belong to.
        let inner = scope_in_vain();
        inner.await;
    };
    let opener = rt.scope().coroutine().name("opener").spawn(async move {
        poll_once_and_put(Box::pin(scope(body)), &here).await;
        yield_now().await;
    });
    drop(opener);
    let other = rt.spawn(poll_fn(move |cx| {
        let mut future = shelf.take();
        let polled = future.as_mut().poll(cx);
        shelf.put(future);
        polled
    }));
    drop(other);
    rt.run();
    assert_eq!(*seen.lock().unwrap(), [JobState::Cancelled]);
}

async fn scope_in_vain() {
    scope(async |s| drop(s.spawn(async { unreachable!("it is cancelled") }))).await;
}

#[test]
fn a_coroutine_that_is_run_inside_a_cancelled_one_is_not_cancelled() {
    let rt = Harness::new();
    let run = rt.runner();
    let inner = rt.scope();
    let seen = Arc::new(Mutex::new(None));
    let see = Arc::clone(&seen);
    rt.scope().launch(async move {
        Job::current().unwrap().cancel();
        assert!(is_cancelled());
        drop(inner.spawn(async move { *see.lock().unwrap() = Some(is_cancelled()) }));
        run();
    });
    rt.run();
    assert_eq!(*seen.lock().unwrap(), Some(false));
}

#[test]
fn a_closure_that_panics_after_a_launch_cancels_the_child_and_awaits_it() {
    let rt = Harness::new();
    let child = Arc::new(Mutex::new(None));
    let put = Arc::clone(&child);
    let see = Arc::clone(&child);
    let outcome = rt.spawn(async move {
        let caught =
            futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(scope(|s: Scope| {
                *put.lock().unwrap() = Some(s.launch(pending()));
                if true {
                    panic!("no body");
                }
                async {}
            })));
        assert!(caught.await.is_err());
        let child: Job = see.lock().unwrap().take().unwrap();
        assert_eq!(child.state(), JobState::Cancelled);
    });
    assert!(rt.block_on(outcome.outcome()).is_ok());
}

#[test]
fn a_failure_that_waits_for_a_forgotten_scope_is_reported() {
    let rt = Harness::new();
    let shelf = Shelf::default();
    let here = shelf.clone();
    rt.block_on(async move {
        let future = scope(async |s| {
            s.launch(async { panic!("nobody waits") });
            pending::<()>().await;
        });
        poll_once_and_put(Box::pin(future), &here).await;
        yield_now().await;
    });
    let reports = rt.reports();
    assert!(matches!(&reports[..], [one] if one.contains("nobody waits")), "{reports:?}");
    drop(shelf.take());
    assert_eq!(rt.reports().len(), 1);
}

#[test]
fn a_named_context_outlives_its_coroutine_in_a_scope_only_while_that_is_open() {
    let rt = Harness::new();
    let name = rt.block_on(async {
        let named = scope(async |s| {
            let child = s.coroutine().context(Name::new("named")).spawn(scope(async |s| {
                s.spawn(async { Context::current().name().map(String::from) }).await
            }));
            child.await
        });
        let ended = cancel_scope(async |_| named.await).await;
        ended.unwrap()
    });
    assert_eq!(name.as_deref(), Some("named"));
}

/// Of its job nothing may be left, nor of the job that it was opened in.
#[test]
fn a_timeout_that_is_polled_after_its_end() {
    let rt = Harness::new();
    let done = rt.block_on(async {
        let mut timeout = Box::pin(with_timeout(Duration::MAX, scope(async |_| ())));
        assert!(timeout.as_mut().await.is_ok());
        Some(timeout)
    });
    let outcome = rt.spawn(async { drop(done.unwrap().await) }).outcome();
    let error = rt.block_on(outcome).unwrap_err();
    assert!(error.to_string().contains("was polled after it had ended"), "{error}");
}
