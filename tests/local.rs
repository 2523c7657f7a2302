//! Coroutines that are bound to a thread.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context as TaskContext, Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use corymb::prelude::*;
use corymb::{
    CancelCause, Failure, FailureHandler, JoinError, LocalRuntime, spawn_local, try_scope_all,
};

fn here() -> ThreadId {
    thread::current().id()
}

/// Looks in each poll, and when it is dropped, whether it is at home.
struct AtHome<F> {
    future: Pin<Box<F>>,
    home: ThreadId,
    dropped: Rc<Cell<usize>>,
}

impl<F: Future> AtHome<F> {
    fn new(dropped: &Rc<Cell<usize>>, future: F) -> Self {
        Self { future: Box::pin(future), home: here(), dropped: Rc::clone(dropped) }
    }
}

impl<F: Future> Future for AtHome<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        assert_eq!(here(), self.home);
        self.future.as_mut().poll(cx)
    }
}

impl<F> Drop for AtHome<F> {
    fn drop(&mut self) {
        if here() != self.home {
            std::process::abort(); // no test may catch it
        }
        self.dropped.set(self.dropped.get() + 1);
    }
}

type Slot = Arc<Mutex<Option<Waker>>>;

/// Suspends `times` times, and leaves its waker.
async fn suspend(slot: Slot, times: usize) {
    let mut left = times;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        *slot.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

#[test]
fn a_child_shares_what_is_not_send_and_is_awaited_with_its_scope() {
    let count = Rc::new(Cell::new(0));
    run_blocking(scope(async |s| {
        for _ in 0..10 {
            let count = Rc::clone(&count);
            s.launch_local(async move {
                yield_now().await;
                sleep(Duration::from_millis(1)).await;
                count.set(count.get() + 1);
            });
        }
    }));
    assert_eq!(count.get(), 10);
}

#[test]
fn values_that_are_not_send_are_given_and_failures_too() {
    run_blocking(supervisor_scope(async |s| {
        assert_eq!(*s.spawn_local(async { Rc::new(1) }).await, 1);
        let failed =
            s.spawn_local(async { if here() == here() { panic!("oops") } else { Rc::new(1) } });
        let Err(JoinError::Panicked(panic)) = failed.outcome().await else { unreachable!() };
        assert_eq!(panic.message(), "oops");
        let child = s.coroutine().name("child").spawn_local(pending::<Rc<()>>());
        assert_eq!(child.job().name().as_deref(), Some("child"));
        child.job().cancel();
        assert!(matches!(child.outcome().await, Err(JoinError::Cancelled(_))));
    }));
}

#[test]
fn a_try_scope_gets_values_that_are_not_send_and_the_first_error() {
    let dropped = Rc::new(Cell::new(0));
    let home = here();
    run_blocking(async {
        let sum = try_scope(async |s| {
            let one = s.spawn_local(async { Ok::<_, &str>(Rc::new(1)) });
            let two = s.coroutine().name("two").spawn_local(async { Ok(Rc::new(2)) });
            assert_eq!(two.job().name().as_deref(), Some("two"));
            Ok(*one.await + *two.await)
        });
        assert_eq!(sum.await, Ok(3));
        let failed = try_scope(async |s| {
            s.launch_local(AtHome::new(&dropped, pending()));
            let never = s.spawn_local(AtHome::new(&dropped, pending::<Result<Rc<()>, _>>()));
            s.coroutine().launch_local(async move {
                yield_now().await;
                assert_eq!(here(), home);
                Err("E")
            });
            drop(never.await);
            Ok(())
        });
        assert_eq!(failed.await, Err("E"));
    });
    assert_eq!(dropped.get(), 2);
}

#[test]
fn errors_of_bound_children_are_collected_and_their_panics_go_on() {
    let failures = run_blocking(try_scope_all(async |s| {
        let (tell, told) = mpsc::channel();
        let (begin, begun) = mpsc::channel();
        // The other one fails during its poll.
        s.launch_local(async move {
            begin.send(()).unwrap();
            told.recv().map_err(|_| 0).and(Err(2))
        });
        let other = s.launch(async move { begun.recv().map_err(|_| 0).and(Err(1)) });
        other.on_completion(move |_| tell.send(()).unwrap());
        pending::<Result<(), i32>>().await
    }));
    assert_eq!(failures.unwrap_err().into_parts(), (1, vec![2]));
    let panicked = catch_unwind(|| {
        run_blocking(try_scope(async |s| {
            let shared = Rc::new(1);
            s.launch_local(async move { if *shared == 1 { panic!("E") } else { Err(()) } });
            pending::<Result<(), ()>>().await
        }))
    });
    assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"E"));
}

/// The scope is a coroutine's of the pool: the error goes there, and the value never does.
#[test]
fn a_bound_child_of_a_scope_elsewhere_stays_at_home_and_its_error_does_not() {
    let dropped = Rc::new(Cell::new(0));
    run_blocking(async {
        let (tell, told) = corymb::sync::oneshot::channel();
        let elsewhere = detached(try_scope(async move |s: TryScope<ThreadId>| {
            tell.send(s).expect("it waits");
            pending::<Result<(), _>>().await
        }));
        let s = told.await.unwrap();
        let value = AtHome::new(&dropped, pending::<()>());
        let unawaited = s.spawn_local(async move { Ok(value) });
        unawaited.job().join().await;
        s.launch_local(async { Err(here()) });
        assert_eq!(elsewhere.await, Err(here()));
        drop(unawaited);
    });
    assert_eq!(dropped.get(), 1);
}

/// The child drops the future of its scope, and then fails: nobody is left to return the error.
#[test]
fn an_error_after_its_scope_was_dropped_is_reported() {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&reports);
    let handler = FailureHandler::new(move |failure| {
        seen.lock().unwrap().push(matches!(failure, Failure::Error { .. }));
    });
    run_blocking(async {
        type Slot = Rc<RefCell<Option<Pin<Box<dyn Future<Output = Result<(), ()>>>>>>>;
        let slot = Slot::default();
        let inner = Rc::clone(&slot);
        let mut trying = Box::pin(try_scope(async move |s| {
            s.coroutine().context(handler).launch_local(async move {
                drop(inner.take());
                Err(())
            });
            pending().await
        }));
        assert!(futures::poll!(&mut trying).is_pending());
        *slot.borrow_mut() = Some(trying);
        while slot.borrow().is_some() {
            yield_now().await;
        }
    });
    assert_eq!(*reports.lock().unwrap(), [true]);
}

#[test]
fn a_bound_coroutine_launches_bound_ones_and_others() {
    let home = here();
    run_blocking(scope(async |s| {
        s.spawn_local(scope(async move |s| {
            assert_eq!(s.spawn_local(async { Rc::new(here()) }).await.as_ref(), &home);
            assert_eq!(s.spawn(async { here() }).await, home, "children stay");
            let pool = s.coroutine().on(Dispatcher::Default);
            assert_ne!(pool.spawn(async { here() }).await, home);
            assert_ne!(spawn_on(Dispatcher::Default, async { here() }).await, home);
            assert_eq!(blocking(here).await, home);
        }))
        .await;
    }));
}

#[test]
fn a_section_elsewhere_is_refused_and_names_the_remedy() {
    let failed = run_blocking(supervisor_scope(async |s| {
        let section = with_context(Dispatcher::Default, async {});
        s.spawn_local(section).outcome().await.unwrap_err()
    }));
    let JoinError::Panicked(panic) = failed else { unreachable!() };
    assert!(panic.message().contains("spawn_on"), "{panic:?}");
}

#[test]
fn without_a_loop_the_panic_names_the_remedy() {
    let failed = run_blocking(supervisor_scope(async |s| {
        let inner = s.clone();
        s.spawn(async move { drop(inner.launch_local(async {})) }).outcome().await.unwrap_err()
    }));
    let JoinError::Panicked(panic) = failed else { unreachable!() };
    assert!(panic.message().contains("inside of run_blocking"), "{panic:?}");
}

#[test]
fn the_end_of_the_outermost_loop_drops_what_is_left() {
    let dropped = Rc::new(Cell::new(0));
    let child = run_blocking(async {
        let child = spawn_local(AtHome::new(&dropped, pending::<Rc<()>>()));
        // A nested loop ends nothing.
        run_blocking(async {});
        assert_eq!(dropped.get(), 0);
        Some(child)
    });
    assert_eq!(dropped.get(), 1);
    let child = child.unwrap();
    let Err(JoinError::Cancelled(cancelled)) = run_blocking(child.outcome()) else {
        unreachable!()
    };
    assert!(matches!(cancelled.cause(), CancelCause::Shutdown));
}

#[test]
fn a_local_runtime_lasts_for_several_runs() {
    let dropped = Rc::new(Cell::new(0));
    let slot = Slot::default();
    let local = LocalRuntime::new();
    let job = local.run_blocking(async {
        let _never = spawn_local(AtHome::new(&dropped, pending::<()>()));
        spawn_local(AtHome::new(&dropped, suspend(Arc::clone(&slot), 1))).job()
    });
    local.run_blocking(async {
        while slot.lock().unwrap().is_none() {
            yield_now().await;
        }
    });
    assert_eq!(dropped.get(), 0);
    thread::spawn(move || slot.lock().unwrap().take().unwrap().wake()).join().unwrap();
    local.run_blocking(job.join());
    assert_eq!(dropped.get(), 1);
    drop(local);
    assert_eq!(dropped.get(), 2);
}

/// Tells on which thread it is dropped.
struct Tells(mpsc::Sender<ThreadId>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.send(here()).unwrap();
    }
}

/// Launches one that waits for a wake, and one that is queued.
fn launch_two(local: &LocalRuntime, slot: &Slot, tell: &mpsc::Sender<ThreadId>) -> [Job; 2] {
    let tells = || (Tells(tell.clone()), Rc::new(()));
    local.run_blocking(async {
        let (slot, held, queued) = (Arc::clone(slot), tells(), tells());
        let waits = spawn_local(async move {
            suspend(slot, 1).await;
            drop(held);
        });
        yield_now().await;
        yield_now().await;
        let queued = spawn_local(async move { drop(queued) });
        [waits.job(), queued.job()]
    })
}

#[test]
fn the_end_of_the_thread_drops_what_a_forgotten_runtime_has() {
    let (slot, (tell, told)) = (Slot::default(), mpsc::channel());
    let inside = Arc::clone(&slot);
    let thread = thread::spawn(move || {
        let local = LocalRuntime::new();
        let jobs = launch_two(&local, &inside, &tell);
        std::mem::forget(local);
        jobs
    });
    let home = thread.thread().id();
    let jobs = thread.join().unwrap();
    run_blocking(jobs[0].join());
    assert!(jobs.iter().all(|job| matches!(job.cause().unwrap().cause(), CancelCause::Shutdown)));
    // The wake that comes afterwards finds nothing.
    slot.lock().unwrap().take().unwrap().wake();
    assert_eq!(told.into_iter().collect::<Vec<_>>(), [home; 2]);
}

/// The thread-local was there before its `LocalRuntime`, so it outlives what ends that.
#[test]
fn a_runtime_in_a_thread_local_ends_with_the_thread_too() {
    thread_local!(static LOCAL: RefCell<Option<LocalRuntime>> = const { RefCell::new(None) });
    let (slot, (tell, told)) = (Slot::default(), mpsc::channel());
    let thread = thread::spawn(move || {
        LOCAL.with_borrow_mut(|local| {
            let local = local.insert(LocalRuntime::new());
            launch_two(local, &slot, &tell)
        })
    });
    let home = thread.thread().id();
    let jobs = thread.join().unwrap();
    assert!(jobs.iter().all(Job::is_completed));
    assert_eq!(told.into_iter().collect::<Vec<_>>(), [home; 2]);
}

/// Whatever comes first: it is dropped at home, or leaked and reported, and its job ends.
#[test]
fn a_wake_against_the_end_of_the_thread_loses_no_job() {
    let leaked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&leaked);
    let handler = FailureHandler::new(move |failure| {
        assert!(matches!(failure, Failure::Leaked { who } if who.name() == Some("left")));
        count.fetch_add(1, Ordering::Relaxed);
    });
    let mut dropped = 0;
    for _ in 0..100 {
        let ((tell, told), slot) = (mpsc::channel(), Slot::default());
        let (handler, inside) = (handler.clone(), Arc::clone(&slot));
        run_blocking(supervisor_scope(async |s| {
            let launch = s.coroutine().name("left").context(handler);
            let thread = thread::spawn(move || {
                let local = LocalRuntime::new();
                let held = (Tells(tell), Rc::new(()));
                let job = local.run_blocking(async {
                    let job = launch.launch_local(async move {
                        let _held = held;
                        suspend(inside, usize::MAX).await;
                    });
                    yield_now().await;
                    yield_now().await;
                    job
                });
                std::mem::forget(local);
                job
            });
            let home = thread.thread().id();
            while !thread.is_finished() {
                let waker = slot.lock().unwrap().clone();
                waker.inspect(Waker::wake_by_ref);
            }
            let job = thread.join().unwrap();
            job.join().await;
            assert!(job.is_cancelled());
            let ids: Vec<_> = told.try_iter().collect();
            assert!(ids.iter().all(|id| *id == home));
            dropped += ids.len();
        }));
    }
    assert_eq!(dropped + leaked.load(Ordering::Relaxed), 100);
}

/// The destructors of thread-locals run inside of `exit`, with the coroutine on the stack.
#[test]
fn a_bound_coroutine_may_end_the_process() {
    const CHILD: &str = "CORYMB_TEST_ENDS_THE_PROCESS";
    if std::env::var_os(CHILD).is_some() {
        let local = LocalRuntime::new();
        local.run_blocking(async {
            drop(spawn_local(pending::<()>()));
            spawn_local(async { std::process::exit(7) }).await
        });
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "a_bound_coroutine_may_end_the_process"]).env(CHILD, "1");
    assert_eq!(child.status().unwrap().code(), Some(7));
}

/// The value of a child that nobody takes is dropped when the last grandchild ends: on the pool.
#[test]
fn a_value_that_nobody_takes_is_dropped_at_home() {
    let dropped = Rc::new(Cell::new(0));
    let local = LocalRuntime::new();
    let slot = Slot::default();
    let job = local.run_blocking(async {
        let value = AtHome::new(&dropped, async {});
        let slot = Arc::clone(&slot);
        let child = spawn_local(async move {
            let mut open = Box::pin(scope(async |s| {
                s.coroutine().on(Dispatcher::Default).launch(async move {
                    let _held = blocking(|| suspend_thread(slot)).await;
                });
                pending::<()>().await;
            }));
            poll_fn(|cx| {
                assert!(open.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            Some(value)
        });
        yield_now().await;
        child.job()
    });
    local.run_blocking(job.join());
    local.run_blocking(yield_now());
    drop(local);
    assert_eq!(dropped.get(), 1);
}

fn suspend_thread(_: Slot) {
    let (tell, told) = mpsc::channel::<()>();
    assert!(told.recv_timeout(Duration::from_millis(20)).is_err());
    drop(tell);
}

#[test]
fn a_panic_of_the_body_ends_what_is_bound() {
    let dropped = Rc::new(Cell::new(0));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        run_blocking(scope(async |s| {
            s.launch_local(AtHome::new(&dropped, pending()));
            yield_now().await;
            panic!("E");
        }));
    }));
    assert!(panicked.is_err());
    assert_eq!(dropped.get(), 1);
}

/// Wakes from other threads, cancels and shutdowns, in a random order.
#[test]
fn whatever_happens_a_bound_future_stays_at_home() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |n: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    for _ in 0..200 {
        let dropped = Rc::new(Cell::new(0));
        let runtime = corymb::Runtime::builder().parallelism(1).build().unwrap();
        let (count, shut) = (1 + next(6), next(3) == 0);
        let plan: Vec<_> = (0..count).map(|_| (next(4) as usize, next(3))).collect();
        let waking = thread::scope(|threads| {
            let run = runtime.try_run_blocking(supervisor_scope(async |s| {
                for (times, fate) in plan {
                    let slot = Slot::default();
                    let child = s.spawn_local(AtHome::new(&dropped, suspend(slot.clone(), times)));
                    let job = child.job();
                    threads.spawn(move || {
                        for _ in 0..8 {
                            let waker = slot.lock().unwrap().take();
                            waker.inspect(Waker::wake_by_ref);
                            thread::yield_now();
                        }
                        if fate == 0 {
                            job.cancel();
                        }
                        while !job.is_completed() {
                            let waker = slot.lock().unwrap().take();
                            waker.inspect(Waker::wake_by_ref);
                            thread::yield_now();
                        }
                    });
                    drop(child);
                }
                if shut {
                    let runtime = &runtime;
                    threads.spawn(move || drop(runtime.shutdown(Duration::from_secs(5))));
                }
            }));
            run.is_ok()
        });
        assert!(waking || shut);
        assert_eq!(dropped.get() as u64, count);
    }
}

#[corymb::test]
async fn the_test_runtime_has_bound_ones_too() {
    scope(async |s| {
        // What is awaited must not be held by a body that is `Send`.
        let done = s.launch_local(async {
            let count = Rc::new(Cell::new(1));
            sleep(Duration::from_secs(60)).await;
            count.set(2);
        });
        done.join().await;
    })
    .await;
    assert_eq!(corymb::testing::elapsed(), Duration::from_secs(60));
}
