//! Scopes right in a coroutine, in the first poll of their future: nobody knows them yet.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use corymb_core::{
    CancelCause, Job, JobState, Scope, TryScope, scope, shield, try_scope, yield_now,
};
use futures::FutureExt as _;

use crate::common::Harness;

/// What a body has put aside.
type Shelf<T> = Arc<Mutex<Option<T>>>;

fn take<T>(shelf: &Shelf<T>) -> T {
    shelf.lock().unwrap().take().expect("the body has run")
}

#[test]
fn it_is_in_no_list_before_it_suspends() {
    Harness::new().block_on(async {
        let opener = Job::current().unwrap();
        let known = || (opener.children().len(), opener.unlisted());
        scope(async |s| {
            assert_eq!(known(), (0, 0));
            assert_eq!(s.job().parent().as_ref(), Some(&opener));
            yield_now().await;
            assert_eq!((opener.children(), opener.unlisted()), (vec![s.job()], 0));
        })
        .await;
        scope(async |s| {
            let child = s.launch(async {});
            assert_eq!(known(), (1, 0));
            child.join().await;
        })
        .await;
        scope(async |_| scope(async |_| assert_eq!(known(), (1, 0))).await).await;
        assert_eq!(known(), (0, 0));
    });
}

/// Calls `look` in a scope, with the job of the scope around its coroutine; none of them has suspended.
fn below<R: Send + 'static>(look: impl FnOnce(&Scope, &Job) -> R + Send + 'static) -> R {
    let runtime = Harness::new();
    let shelf: Shelf<R> = Arc::default();
    let put = Arc::clone(&shelf);
    runtime.scope().launch(scope(async move |outer: Scope| {
        let above = outer.job();
        outer.launch(async move {
            scope(async |s| *put.lock().unwrap() = Some(look(&s, &above))).await;
        });
    }));
    runtime.run();
    take(&shelf)
}

#[test]
fn a_cancel_from_above_is_seen_in_it() {
    let seen = below(|s, above| {
        let before = s.job().state();
        above.cancel();
        (before, s.job().state(), s.job().cancel())
    });
    assert_eq!(seen, (JobState::Active, JobState::Cancelling, false));
}

#[test]
fn a_cancel_from_above_reaches_what_it_has_launched() {
    let seen = below(|s, above| {
        let child = s.launch(pending());
        above.cancel();
        (child.is_cancelled(), s.job().is_cancelled())
    });
    assert_eq!(seen, (true, true));
}

#[test]
fn what_is_launched_after_a_cancel_from_above_is_dropped_unpolled() {
    let (child, cause) = below(|s, above| {
        above.cancel();
        let child = s.launch(async { unreachable!("it is cancelled") });
        (child, s.job().cause())
    });
    assert!(child.is_completed() && child.is_cancelled());
    assert!(matches!(cause.unwrap().cause(), CancelCause::ParentCancelled));
}

#[test]
fn the_cancel_of_the_opener_stands_before_a_failure_that_follows() {
    let runtime = Harness::new();
    let shelf: Shelf<Vec<Job>> = Arc::default();
    let put = Arc::clone(&shelf);
    runtime.scope().launch(async move {
        let opener = &Job::current().unwrap();
        let jobs = &Mutex::new(Vec::new());
        let cancel_in = |job: Job| {
            jobs.lock().unwrap().push(job);
            opener.cancel();
        };
        let panicking = scope(async |s: Scope| {
            cancel_in(s.job());
            panic!("after the cancel");
        });
        assert!(AssertUnwindSafe(panicking).catch_unwind().await.is_err());
        let failing = try_scope(async |s| {
            cancel_in(s.job());
            Err::<(), _>(5)
        });
        assert!(failing.await.is_err());
        scope(async |s: Scope| cancel_in(s.job())).await;
        *put.lock().unwrap() = Some(std::mem::take(&mut *jobs.lock().unwrap()));
    });
    runtime.run();
    for job in take(&shelf) {
        assert_eq!(job.state(), JobState::Cancelled);
        assert!(matches!(job.cause().unwrap().cause(), CancelCause::ParentCancelled));
    }
}

/// The body of a `try_scope` that is dropped with its error.
struct Failing(TryScope<u8>, Shelf<bool>);

impl Future for Failing {
    type Output = Result<(), u8>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Err(1))
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        *self.1.lock().unwrap() = Some(self.0.job().is_cancelled());
    }
}

#[test]
fn an_error_has_cancelled_the_scope_when_its_body_is_dropped() {
    let shelf: Shelf<bool> = Arc::default();
    let put = Arc::clone(&shelf);
    Harness::new().block_on(async move {
        assert_eq!(try_scope(|s| Failing(s, put)).await, Err(1));
    });
    assert!(take(&shelf));
}

#[test]
fn an_empty_one_may_have_room_for_errors() {
    Harness::new().block_on(async {
        assert_eq!(try_scope(async |_| Ok::<_, String>(1)).await, Ok(1));
        assert_eq!(scope(async |_| 2).await, 2);
    });
}

#[test]
fn a_handle_may_come_late() {
    let runtime = Harness::new();
    let handle = runtime.block_on(async { scope(async |s| s).await });
    let job = handle.job();
    assert_eq!(job.state(), JobState::Completed);
    assert!(job.parent().is_none() && job.path().is_none() && !job.cancel());
    assert!(handle.launch(async {}).is_cancelled());
    assert!(!Job::new(Some(&job)).is_cancelled());
    drop(runtime);
    assert!(handle.launch(async {}).is_cancelled());
}

/// Scopes that are left after their first poll.
type Left = Arc<Mutex<Vec<(Job, Pin<Box<dyn Future<Output = ()> + Send>>)>>>;

/// Polls a scope when it is dropped, and leaves it: that outlives the body of its opener.
struct Leaves(Left);

impl Drop for Leaves {
    fn drop(&mut self) {
        let shelf: Shelf<Job> = Arc::default();
        let put = Arc::clone(&shelf);
        let mut left = Box::pin(scope(async move |s: Scope| {
            *put.lock().unwrap() = Some(s.job());
            s.launch(async {});
            pending::<()>().await;
        }));
        assert!(left.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        self.0.lock().unwrap().push((take(&shelf), left));
    }
}

#[test]
fn in_a_destructor_it_may_be_what_ends_its_opener() {
    let runtime = Harness::new();
    let left = Left::default();
    let leaves = Leaves(Arc::clone(&left));
    let opener = runtime.scope().launch(async move { drop(leaves) });
    let leaves = Leaves(Arc::clone(&left));
    let cancelled = runtime.scope().launch(async move {
        let _leaves = leaves;
        pending::<()>().await;
    });
    runtime.run();
    cancelled.cancel();
    runtime.run();
    assert!(opener.is_completed() && cancelled.is_completed());
    let left = std::mem::take(&mut *left.lock().unwrap());
    assert!(left.len() == 2 && left.iter().all(|(job, _)| job.is_completed()));
}

/// What a thread with the handle does.
fn act(number: u64, s: &Scope, kept: &Mutex<Vec<Job>>) {
    let job = s.job();
    match number % 12 {
        0 => kept.lock().unwrap().extend(job.parent()),
        1 => drop(job.path()),
        2 => drop(job.cause()),
        3 => drop(s.launch(pending())),
        4 => drop(s.launch(yield_now())),
        5 => drop(job.cancel()),
        6 => kept.lock().unwrap().push(Job::new(Some(&job))),
        7 => drop(job.on_cancelling(|_| ())),
        8 => assert!(job.parent().is_none_or(|opener| opener.cancel() || opener.is_cancelled())),
        9 => drop(job.cancel_with_grace(Duration::from_secs(1))),
        10 => drop(s.coroutine().lazy().launch(async {})),
        _ => drop(s.coroutine().name("child").launch(scope(async |s| drop(s.launch(async {}))))),
    }
}

/// A body at whose end threads begin to use the handle that it has given away.
async fn give_away(
    s: Scope,
    seed: u64,
    kept: &Arc<Mutex<Vec<Job>>>,
    to: &mpsc::Sender<JoinHandle<()>>,
) {
    let start = Arc::new(Barrier::new(3));
    for thread in 1..3 {
        let (s, kept, start) = (s.clone(), Arc::clone(kept), Arc::clone(&start));
        let act_in_turn = move || {
            start.wait();
            act(seed / 4, &s, &kept);
            act(seed * thread + thread, &s, &kept);
        };
        to.send(thread::spawn(act_in_turn)).unwrap();
    }
    drop(s);
    start.wait();
    match seed % 4 {
        0 => yield_now().await,
        1 => pending().await,
        2 => shield(yield_now()).await,
        _ => {}
    }
}

#[test]
fn handles_elsewhere_against_its_end() {
    for seed in 0..if cfg!(miri) { 24 } else { 2_400 } {
        let runtime = Harness::new();
        let kept: Arc<Mutex<Vec<Job>>> = Arc::default();
        let (to, threads) = mpsc::channel();
        let opener = runtime.scope().launch({
            let kept = Arc::clone(&kept);
            async move {
                scope(async |s| give_away(s, seed, &kept, &to).await).await;
                yield_now().await;
                scope(async |_| ()).await;
            }
        });
        while !opener.is_completed() {
            runtime.run();
            threads.try_iter().for_each(|thread| thread.join().unwrap());
            runtime.run();
            opener.cancel();
        }
        drop(kept);
        assert_eq!(runtime.scope().job().coroutines(), 0, "seed {seed}");
    }
}

/// A waker that runs what is ready when it is cloned.
struct Running {
    held: AtomicIsize,
    run: Box<dyn Fn() + Send + Sync>,
}

static RUNNING: RawWakerVTable = RawWakerVTable::new(
    |this| {
        // SAFETY: the test keeps it.
        let running = unsafe { &*this.cast::<Running>() };
        running.held.fetch_add(1, Ordering::SeqCst);
        (running.run)();
        RawWaker::new(this, &RUNNING)
    },
    let_go,
    |_| (),
    let_go,
);

fn let_go(this: *const ()) {
    // SAFETY: the test keeps it.
    unsafe { &*this.cast::<Running>() }.held.fetch_sub(1, Ordering::SeqCst);
}

#[test]
fn a_waker_that_comes_after_the_end_is_dropped() {
    let runtime = Harness::new();
    let running = Arc::new(Running { held: AtomicIsize::new(1), run: Box::new(runtime.runner()) });
    let kept = Arc::clone(&running);
    runtime.block_on(async move {
        let mut future = Box::pin(scope(async |s: Scope| drop(s.launch(async {}))));
        // SAFETY: as the table says; `kept` outlives it.
        let waker = unsafe { Waker::new(Arc::as_ptr(&kept).cast(), &RUNNING) };
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_ready(), "the child has ended when the waker was cloned");
        drop(future);
        drop(waker);
    });
    assert_eq!(running.held.load(Ordering::SeqCst), 0);
}
