//! Panics in code that is not the kernel's, wherever it calls such code.

use std::future::pending;
use std::panic::panic_any;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use corymb_core::{
    CancelCause, Deferred, FailureHandler, Job, JobState, JoinError, Scope, cancel_scope, scope,
    supervisor_scope, try_scope, yield_now,
};

use crate::common::Harness;

/// Panics when it is dropped, unless that happens during another panic.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("{}", self.0);
        }
    }
}

fn panicked(outcome: Result<(), JoinError>) -> String {
    match outcome {
        Err(JoinError::Panicked(panic)) => panic.message().to_owned(),
        other => panic!("{other:?}"),
    }
}

/// The runtime still works, and `job` has ended.
fn assert_usable(rt: &Harness, job: &Job) {
    assert!(job.is_completed(), "{job:?}");
    assert_eq!(rt.block_on(scope(async |s| s.spawn(async { 6 }).await)), 6);
}

#[test]
fn in_a_poll() {
    let rt = Harness::new();
    let child = rt.spawn(async {
        yield_now().await;
        panic!("poll");
    });
    let job = child.job();
    assert_eq!(panicked(rt.block_on(child.outcome())), "poll");
    assert_usable(&rt, &job);
    assert_eq!(job.state(), JobState::Cancelled);
}

#[test]
fn in_the_destructor_of_a_future_that_is_ready() {
    let rt = Harness::new();
    let drops = Arc::new(Mutex::new(0));
    let output = OnDrop(Arc::clone(&drops));
    let child = rt.spawn(BadDrop(Some(output), Bomb("destructor")));
    let job = child.job();
    assert_eq!(panicked(rt.block_on(child.outcome()).map(drop)), "destructor");
    assert_eq!(*drops.lock().unwrap(), 1, "the output is dropped");
    assert_usable(&rt, &job);
}

struct OnDrop(Arc<Mutex<usize>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
    }
}

/// Ready at once; its destructor panics.
struct BadDrop(Option<OnDrop>, #[expect(dead_code, reason = "for its destructor")] Bomb);

impl Future for BadDrop {
    type Output = OnDrop;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<OnDrop> {
        Poll::Ready(self.0.take().unwrap())
    }
}

#[test]
fn in_the_destructor_of_a_future_that_is_cancelled() {
    let rt = Harness::new();
    let child = rt.spawn(async {
        let _bomb = Bomb("destructor");
        pending::<()>().await;
    });
    let job = child.job();
    rt.run();
    job.cancel();
    assert_eq!(panicked(rt.block_on(child.outcome())), "destructor");
    assert_usable(&rt, &job);
}

#[test]
fn in_a_poll_and_then_in_the_destructor() {
    let rt = Harness::new();
    struct Twice;
    impl Future for Twice {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            panic!("first");
        }
    }
    impl Drop for Twice {
        fn drop(&mut self) {
            panic!("second");
        }
    }
    let child = rt.spawn(Twice);
    let job = child.job();
    let error = rt.block_on(child.outcome()).unwrap_err();
    let [second] = error.suppressed() else { panic!("{error}") };
    assert!(second.to_string().ends_with("panicked: second"), "{second}");
    assert_eq!(panicked(Err(error)), "first");
    assert_usable(&rt, &job);
}

#[test]
fn in_the_destructor_of_an_output_that_nobody_takes() {
    let rt = Harness::new();
    let [early, late] = [(), ()].map(|()| rt.spawn(async { Bomb("output") }));
    let jobs = [early.job(), late.job()];
    drop(early);
    rt.run();
    assert_eq!(rt.reports().len(), 1);
    drop(late);
    assert_eq!(rt.reports().len(), 1, "outside of the runtime nobody is told");
    for job in &jobs {
        assert_eq!(job.state(), JobState::Completed);
        assert_usable(&rt, job);
    }
}

#[test]
fn in_the_destructor_of_a_panic_s_payload() {
    let rt = Harness::new();
    for supervised in [true, false] {
        let child = rt.spawn(async move {
            if supervised {
                supervisor_scope(async |s| drop(s.launch(async { panic_any(Bomb("payload")) })))
                    .await;
            } else {
                scope(async |s| {
                    s.launch(async { panic_any(Bomb("payload")) });
                    s.launch(async { panic_any(Bomb("payload, too")) });
                })
                .await;
            }
        });
        let job = child.job();
        rt.run();
        drop(child);
        assert_usable(&rt, &job);
    }
    let child = rt.spawn(async { panic_any(Bomb("payload")) });
    let job = child.job();
    rt.run();
    assert!(rt.block_on(child.outcome()).is_err());
    assert_usable(&rt, &job);
}

#[test]
fn in_handlers() {
    let rt = Harness::new();
    let job = rt.spawn(pending::<()>()).job();
    let ran = Arc::new(AtomicUsize::new(0));
    for bad in [true, false] {
        let ran = Arc::clone(&ran);
        let call = move || {
            ran.fetch_add(1, Ordering::SeqCst);
            assert!(!bad, "handler");
        };
        let again = call.clone();
        job.on_cancelling(move |_| call());
        job.on_completion(move |_| again());
    }
    rt.run();
    job.cancel();
    rt.run();
    assert_eq!(ran.load(Ordering::SeqCst), 4);
    assert_usable(&rt, &job);
    job.on_completion(|_| panic!("late"));
    job.on_cancelling(|_| panic!("late"));
}

#[test]
fn in_the_destructor_of_a_handler_that_never_runs() {
    let rt = Harness::new();
    let parent = rt.spawn(async {
        scope(async |s| {
            let bomb = Bomb("captured");
            s.launch(async {}).on_cancelling(move |_| drop(bomb));
        })
        .await;
    });
    let job = parent.job();
    rt.run();
    drop(parent);
    assert_usable(&rt, &job);
    assert!(rt.reports()[0].contains("captured"), "{:?}", rt.reports());
}

#[derive(Debug, thiserror::Error)]
#[error("an error with a bad destructor")]
struct BadError(#[source] std::io::Error, Arc<Mutex<bool>>);

impl Drop for BadError {
    fn drop(&mut self) {
        *self.1.lock().unwrap() = true;
        panic!("error");
    }
}

#[test]
fn in_the_destructor_of_a_cause_or_an_error() {
    let rt = Harness::new();
    let dropped = Arc::new(Mutex::new(false));
    let error = || BadError(std::io::Error::other("inner"), Arc::clone(&dropped));

    let job = rt.spawn(pending::<()>()).job();
    job.cancel_with(CancelCause::Custom(Arc::new(error())));
    rt.run();
    assert!(job.is_completed());
    drop(job);
    assert!(std::mem::take(&mut *dropped.lock().unwrap()));

    // The scope is dropped while it has an error that nobody will see.
    let (one, two) = (error(), Arc::clone(&dropped));
    let job = rt.spawn(async move {
        let mut lost = Box::pin(try_scope::<(), _, _, _>(async |s| {
            s.launch(async move { Err(one) });
            pending().await
        }));
        assert!(futures::poll!(lost.as_mut()).is_pending());
        yield_now().await;
        drop(lost);
        yield_now().await;
    });
    let handle = job.job();
    rt.run();
    drop(job);
    assert!(*two.lock().unwrap());
    assert_usable(&rt, &handle);
}

#[test]
fn in_the_failure_handler_and_in_the_runtime_s_report() {
    let rt = Harness::new();
    let supervise = || {
        let handler = FailureHandler::new(|_| panic!("handler"));
        let job = rt.scope().coroutine().context(handler).launch(async {
            supervisor_scope(async |s| drop(s.launch(async { panic!("unseen") }))).await;
        });
        rt.run();
        job
    };
    let job = supervise();
    let reports = rt.reports();
    assert!(reports[0].contains("unseen") && reports[1].contains("handler"), "{reports:?}");
    assert_usable(&rt, &job);

    rt.on_report(|_| panic!("report"));
    let job = supervise();
    assert_usable(&rt, &job);
    drop(rt.spawn(async { Bomb("output") }));
    rt.run();
}

/// A waker whose functions panic where `what` says so: 1 in `wake`, 2 in `drop`.
fn bad_waker(what: usize) -> Waker {
    fn raw(what: *const ()) -> RawWaker {
        static VTABLE: RawWakerVTable = RawWakerVTable::new(raw, wake, |_| (), dropped);
        RawWaker::new(what, &VTABLE)
    }
    unsafe fn wake(what: *const ()) {
        assert!(what.addr() & 1 == 0, "wake");
        dropping(what);
    }
    unsafe fn dropped(what: *const ()) {
        dropping(what);
    }
    fn dropping(what: *const ()) {
        assert!(what.addr() & 2 == 0 || std::thread::panicking(), "drop");
    }
    // SAFETY: the functions know that the pointer is a number, and need nothing of it.
    unsafe { Waker::from_raw(raw(std::ptr::without_provenance(what))) }
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

#[test]
fn in_a_foreign_waker() {
    let rt = Harness::new();
    for what in [1, 2, 3] {
        // Never dropped itself, for it would panic here.
        let waker = std::mem::ManuallyDrop::new(bad_waker(what));
        let mut value: Deferred<u8> = rt.spawn(async { 5 });
        let job = value.job();
        let mut join = job.join();
        assert!(poll_with(&mut value, &waker).is_pending());
        assert!(poll_with(&mut join, &waker).is_pending());
        rt.run();
        assert_usable(&rt, &job);
        assert_eq!(poll_with(&mut value, &waker), Poll::Ready(5));
        assert!(poll_with(&mut join, &waker).is_ready());
        assert_eq!(rt.reports().len(), 2);
        rt.forget_reports();
    }
}

#[test]
fn in_the_waker_of_a_scope_that_is_cancelled() {
    let rt = Harness::new();
    let job = Arc::new(Mutex::new(None));
    let put = Arc::clone(&job);
    let run = rt.enter();
    let mut future = Box::pin(cancel_scope(async move |c| {
        *put.lock().unwrap() = Some(c.job());
        pending::<()>().await;
    }));
    let waker = bad_waker(1);
    assert!(poll_with(&mut future, &waker).is_pending());
    let job: Job = job.lock().unwrap().take().unwrap();
    assert!(job.cancel());
    assert!(poll_with(&mut future, &waker).is_ready());
    drop(run);
    assert_usable(&rt, &job);
}

#[test]
fn in_the_body_of_a_scope_that_was_dropped() {
    let rt = Harness::new();
    let child = Arc::new(Mutex::new(None));
    let put = Arc::clone(&child);
    let outcome = rt.spawn(async move {
        let mut lost = Box::pin(scope(async move |s: Scope| {
            *put.lock().unwrap() = Some(s.launch(pending()));
            let _bomb = Bomb("body");
            pending::<()>().await;
        }));
        assert!(futures::poll!(lost.as_mut()).is_pending());
        drop(lost);
    });
    let job = outcome.job();
    assert_eq!(panicked(rt.block_on(outcome.outcome())), "body");
    let child: Job = child.lock().unwrap().take().unwrap();
    assert_eq!(child.state(), JobState::Cancelled);
    assert_usable(&rt, &job);
}
