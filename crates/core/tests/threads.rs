//! Two threads and one queue: what one of them alone cannot get wrong.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Waker};

use corymb_core::{
    Context, Job, JobState, Scope, cancel_scope, is_cancelled, scope, supervisor_scope, yield_now,
};

use crate::common::Harness;

const ROUNDS: usize = if cfg!(miri) { 4 } else { 400 };

/// Counts those that there are.
struct Live(Arc<AtomicUsize>);

impl Live {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs `future` on two threads, to its end and that of the runtime.
fn run<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let rt = Harness::new();
    let value = Arc::new(Mutex::new(None));
    let put = Arc::clone(&value);
    let job = rt.scope().launch(async move { *put.lock().unwrap() = Some(future.await) });
    rt.run_on(2, &job);
    assert_eq!(rt.reports(), [""; 0]);
    let value = value.lock().unwrap().take();
    value.expect("it was cancelled")
}

fn sum(depth: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(scope(async move |s: Scope| {
        if depth == 0 {
            yield_now().await;
            return 1;
        }
        let children: Vec<_> = (0..2).map(|_| s.spawn(sum(depth - 1))).collect();
        let mut all = 0;
        for child in children {
            all += child.await;
        }
        all
    }))
}

#[test]
fn a_tree_of_scopes() {
    let depth = if cfg!(miri) { 3 } else { 10 };
    assert_eq!(run(sum(depth)), 1 << depth);
}

#[test]
fn cancels_against_everything_that_a_child_does() {
    let live = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&live);
    let told = run(async move {
        let told = Arc::new(AtomicUsize::new(0));
        for round in 0..ROUNDS {
            let ended = cancel_scope(async |c| {
                scope(async |s| {
                    for i in 0..3 {
                        let guard = Live::new(&count);
                        let child = s.launch(async move {
                            let _guard = guard;
                            for _ in 0..i {
                                yield_now().await;
                            }
                            scope(async |s| {
                                drop(s.spawn(pending::<()>()));
                                s.launch(yield_now());
                                yield_now().await;
                            })
                            .await;
                        });
                        let told = Arc::clone(&told);
                        child.on_cancelling(move |_| {
                            told.fetch_add(1, Ordering::SeqCst);
                        });
                    }
                    for _ in 0..round % 5 {
                        yield_now().await;
                    }
                    c.cancel();
                    pending::<()>().await;
                })
                .await;
            });
            assert!(ended.await.is_err());
            assert_eq!(count.load(Ordering::SeqCst), 0);
        }
        told.load(Ordering::SeqCst)
    });
    // None of them can end by itself.
    assert_eq!(told, ROUNDS * 3);
    assert_eq!(live.load(Ordering::SeqCst), 0);
}

#[test]
fn questions_to_a_job_that_ends() {
    run(async {
        for _ in 0..ROUNDS {
            let job = supervisor_scope(async |s| {
                let child = s.launch(async { scope(async |s| s.spawn(yield_now()).await).await });
                for _ in 0..6 {
                    let name = child.name();
                    assert!(name.is_none() && child.cause().is_none());
                    let above = child.parent();
                    assert!(above.is_none_or(|above| above == s.job()));
                    for grandchild in child.children() {
                        assert!(format!("{grandchild:?}").contains("launched_at"));
                    }
                    let token = Job::new(Some(&child));
                    yield_now().await;
                    assert!(!token.is_cancelled());
                }
                child
            });
            let job = job.await;
            assert_eq!((job.state(), job.parent()), (JobState::Completed, None));
        }
    });
}

#[test]
fn values_and_joins() {
    let live = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&live);
    run(async move {
        for _ in 0..ROUNDS {
            scope(async |s| {
                let values: Vec<_> = (0..4)
                    .map(|_| {
                        let value = Live::new(&count);
                        s.spawn(async move { value })
                    })
                    .collect();
                let joins: Vec<_> = values.iter().map(|value| value.job().join()).collect();
                for (number, value) in values.into_iter().enumerate() {
                    if number % 2 == 0 {
                        drop(value.await);
                    }
                }
                for join in joins {
                    join.await;
                }
            })
            .await;
            assert_eq!(count.load(Ordering::SeqCst), 0);
        }
    });
    assert_eq!(live.load(Ordering::SeqCst), 0);
}

/// A scope whose body runs on one thread while its opener ends on the other.
#[test]
fn a_scope_that_was_sent_away_against_the_end_of_its_opener() {
    let live = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&live);
    run(async move {
        for round in 0..ROUNDS {
            let count = Arc::clone(&count);
            supervisor_scope(async |s| {
                let opener = s.coroutine().name("opener").spawn({
                    let (count, other) = (Arc::clone(&count), s.clone());
                    async move {
                        let mut sent = Box::pin(scope(async move |s: Scope| {
                            let _guard = Live::new(&count);
                            for _ in 0..4 {
                                yield_now().await;
                                drop(Context::current());
                                let guard = Live::new(&count);
                                s.launch(async move { drop(guard) });
                            }
                        }));
                        assert!(futures::poll!(sent.as_mut()).is_pending());
                        let elsewhere = other.spawn(sent);
                        for _ in 0..round % 6 {
                            yield_now().await;
                        }
                        [elsewhere]
                    }
                });
                // It panics, or was in time.
                let [elsewhere] = opener.await;
                let _outcome = elsewhere.outcome().await;
            })
            .await;
            assert_eq!(count.load(Ordering::SeqCst), 0);
        }
    });
    assert_eq!(live.load(Ordering::SeqCst), 0);
}

/// The parent of a scope that was moved may be gone at any moment: whether the scope is cancelled
/// is a question about the scope alone. Under miri a look at the parent is an error, if it switches
/// threads seldom: see `ci/miri.sh`.
#[test]
fn the_end_of_the_opener_against_a_look_for_a_cancellation_elsewhere() {
    let rt = Harness::new();
    for _ in 0..32 {
        let shelf = Arc::new(Mutex::new(None));
        let put = Arc::clone(&shelf);
        let opener = rt.scope().launch(async move {
            let mut moved = Box::pin(scope(async |_| {
                yield_now().await;
                while !is_cancelled() {}
            }));
            assert!(futures::poll!(moved.as_mut()).is_pending());
            *put.lock().unwrap() = Some(moved);
            yield_now().await;
        });
        drop(opener);
        assert!(rt.step());
        let mut moved = shelf.lock().unwrap().take().unwrap();
        std::thread::scope(|s| {
            let elsewhere = s.spawn(|| {
                let _inside = rt.enter();
                let mut cx = TaskContext::from_waker(Waker::noop());
                // It panics if the opener ended before the poll, or gives nothing.
                drop(catch_unwind(AssertUnwindSafe(|| moved.as_mut().poll(&mut cx).is_ready())));
            });
            std::thread::yield_now();
            assert!(rt.step());
            elsewhere.join().unwrap();
        });
    }
}
