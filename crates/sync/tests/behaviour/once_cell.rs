//! `OnceCell`: whose initialiser runs, and what becomes of it.

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use corymb::prelude::*;
use corymb::testing::{TestRuntime, drop_at_every_poll};
use corymb_sync::{OnceCell, SetError, channel, oneshot};

use crate::common::{Task, Tracked, drops};

#[test]
fn one_initialiser_runs_and_all_get_its_value() {
    let cell = OnceCell::new();
    let (tx, rx) = oneshot::channel();
    let mut first = Task::waiting(cell.get_or_init(async { rx.await.unwrap() }));
    let mut others: Vec<_> =
        (0..9).map(|_| Task::waiting(cell.get_or_init(async { unreachable!() }))).collect();
    assert_eq!(cell.set(8), Err(SetError::Initialising(8)));
    assert_eq!(cell.statistics().waiting, 9);
    tx.send(7).unwrap();
    assert_eq!(first.poll(), Poll::Ready(&7));
    assert!(others.iter_mut().all(|task| task.woken() && task.poll() == Poll::Ready(&7)));
    assert_eq!(cell.set(8), Err(SetError::AlreadySet(8)));
}

#[test]
fn a_caller_that_is_dropped_lets_the_next_run_its_own() {
    let cell = OnceCell::new();
    let first = Task::waiting(cell.get_or_init(pending()));
    let mut second = Task::waiting(cell.get_or_init(async { 2 }));
    let third = Task::waiting(cell.get_or_init(async { 3 }));
    drop(first);
    assert!(second.woken() && !third.woken());
    assert_eq!(second.poll(), Poll::Ready(&2));
    assert!(third.woken());
}

#[test]
fn an_error_goes_to_its_caller_alone() {
    let cell = OnceCell::new();
    let mut first = Task::new(cell.get_or_try_init(async {
        yield_now().await;
        Err("no")
    }));
    assert!(first.poll().is_pending());
    let mut second = Task::waiting(cell.get_or_try_init(async { Ok::<_, &str>(2) }));
    assert_eq!(first.poll(), Poll::Ready(Err("no")));
    assert!(second.woken());
    assert_eq!(second.poll(), Poll::Ready(Ok(&2)));
}

#[test]
fn a_panic_leaves_the_cell_empty() {
    let cell = OnceCell::new();
    let mut first = Task::new(cell.get_or_init(async { panic!("oops") }));
    assert!(catch_unwind(AssertUnwindSafe(|| first.poll().is_ready())).is_err());
    assert_eq!(cell.get(), None);
    // Also while the one that has panicked is still there.
    assert_eq!(Task::new(cell.get_or_init(async { 2 })).poll(), Poll::Ready(&2));
}

#[test]
fn a_value_can_be_taken_out() {
    let mut cell = OnceCell::from(7);
    assert_eq!(cell.get_mut(), Some(&mut 7));
    assert_eq!((cell.take(), cell.get()), (Some(7), None));
    assert_eq!(cell.set(8), Ok(()));
    assert_eq!(format!("{cell:?}"), "OnceCell(8)");
    assert_eq!(cell.into_inner(), Some(8));
}

/// Ready after so many polls, which are counted.
async fn counting(polls: Arc<AtomicUsize>, ready_after: usize) -> usize {
    poll_fn(|cx| {
        let so_far = polls.fetch_add(1, Ordering::SeqCst);
        cx.waker().wake_by_ref();
        if so_far < ready_after { Poll::Pending } else { Poll::Ready(so_far) }
    })
    .await
}

#[test]
fn a_shared_initialiser_outlives_the_caller_that_brought_it() {
    let cell = OnceCell::new();
    let polls = Arc::new(AtomicUsize::new(0));
    drop(Task::waiting(cell.get_or_init_shared(counting(Arc::clone(&polls), 2))));
    assert_eq!(polls.load(Ordering::SeqCst), 1);
    let mut second = Task::waiting(cell.get_or_init(async { unreachable!() }));
    assert!(second.woken());
    assert_eq!(second.poll(), Poll::Ready(&2), "no poll is lost");
}

#[test]
fn whichever_waiter_is_polled_drives_it() {
    let cell = OnceCell::new();
    let (tx, rx) = oneshot::channel();
    let mut first = Task::waiting(cell.get_or_init_shared(async { rx.await.unwrap() }));
    let mut second = Task::waiting(cell.get_or_init_shared(async { 0 }));
    tx.send(7).unwrap();
    assert!(first.woken() && !second.woken());
    assert_eq!(second.poll(), Poll::Ready(&7));
    assert_eq!(first.poll(), Poll::Ready(&7));
}

#[test]
fn a_driver_that_was_woken_and_is_dropped_passes_it_on() {
    let cell = OnceCell::new();
    let (tx, rx) = oneshot::channel();
    let first = Task::waiting(cell.get_or_init_shared(async { rx.await.unwrap() }));
    let mut second = Task::waiting(cell.get_or_init_shared(async { 0 }));
    tx.send(7).unwrap();
    drop(first);
    assert!(second.woken());
    assert_eq!(second.poll(), Poll::Ready(&7));
}

#[test]
fn a_shared_initialiser_that_panics_leaves_the_cell_to_the_next() {
    let cell = OnceCell::new();
    let (tx, rx) = oneshot::channel::<()>();
    let mut first = Task::waiting(cell.get_or_init_shared(async {
        rx.await.unwrap();
        panic!("oops")
    }));
    let mut second = Task::waiting(cell.get_or_init_shared(async { 2 }));
    tx.send(()).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| second.poll().is_ready())).unwrap_err();
    assert_eq!(panicked.downcast_ref(), Some(&"oops"));
    let refused = catch_unwind(AssertUnwindSafe(|| first.poll().is_ready())).unwrap_err();
    assert!(refused.downcast_ref::<String>().unwrap().contains("while another caller drove it"));
    assert_eq!(Task::new(cell.get_or_init(async { 3 })).poll(), Poll::Ready(&3));
}

#[test]
fn the_error_of_a_shared_initialiser_goes_to_whom_it_came_from() {
    let cell = OnceCell::new();
    let (tx, rx) = oneshot::channel::<()>();
    let mut first = Task::waiting(cell.get_or_try_init_shared(async {
        rx.await.unwrap();
        Err::<u32, _>("no")
    }));
    let mut second = Task::waiting(cell.get_or_init_shared(async { 2 }));
    let third = Task::waiting(cell.get_or_init(pending()));
    tx.send(()).unwrap();
    assert!(first.woken());
    assert_eq!(second.poll(), Poll::Ready(&2), "it drives the first, and then its own");
    assert_eq!(first.poll(), Poll::Ready(Err("no")));
    assert!(third.woken());
    drop((first, third));
    assert_eq!(cell.statistics().waiting, 0);
}

#[test]
fn whom_it_came_from_does_not_wait_for_the_next_initialiser() {
    let cell = OnceCell::new();
    let (tx, rx) = oneshot::channel::<()>();
    let mut first = Task::waiting(cell.get_or_try_init_shared(async {
        rx.await.unwrap();
        Err::<u32, _>("no")
    }));
    let (next, started) = oneshot::channel::<()>();
    let mut second = Task::waiting(cell.get_or_init(async {
        started.await.unwrap();
        2
    }));
    tx.send(()).unwrap();
    assert!(second.poll().is_pending(), "its own runs");
    assert_eq!(first.poll(), Poll::Ready(Err("no")));
    assert_eq!(cell.statistics().waiting, 0, "and it waits for nothing any more");
    next.send(()).unwrap();
    assert_eq!(second.poll(), Poll::Ready(&2));
}

#[test]
fn one_whose_own_failed_leaves_the_cell_to_those_who_wait() {
    let cell = OnceCell::new();
    let mut first = Task::waiting(cell.get_or_try_init_shared(async {
        yield_now().await;
        yield_now().await; // the second one polls it too
        Err::<u32, _>("no")
    }));
    let mut second = Task::waiting(cell.get_or_init(async { 2 }));
    assert_eq!(first.poll(), Poll::Ready(Err("no")));
    assert!(second.woken());
    // Also while the one that has failed is still there.
    assert_eq!(second.poll(), Poll::Ready(&2));
    assert_eq!(
        Task::new(cell.get_or_try_init_shared(async { Err::<u32, _>("never runs") })).poll(),
        Poll::Ready(Ok(&2))
    );
}

#[test]
fn an_error_whose_caller_is_gone_is_dropped() {
    let (cell, count) = (OnceCell::new(), Arc::new(AtomicUsize::new(0)));
    let (tx, rx) = oneshot::channel::<()>();
    let error = Tracked(0, Arc::clone(&count));
    drop(Task::waiting(cell.get_or_try_init_shared(async {
        rx.await.unwrap();
        Err::<u32, _>(error)
    })));
    assert_eq!(drops(&count), 0);
    tx.send(()).unwrap();
    assert_eq!(Task::new(cell.get_or_init(async { 2 })).poll(), Poll::Ready(&2));
    assert_eq!(drops(&count), 1);
}

#[test]
fn an_initialiser_that_rests_is_dropped_with_the_cell() {
    let count = Arc::new(AtomicUsize::new(0));
    let mut cell = OnceCell::new();
    for taken in [true, false] {
        let tracked = Tracked(0, Arc::clone(&count));
        drop(Task::waiting(cell.get_or_init_shared(async {
            let _tracked = tracked;
            pending::<()>().await;
        })));
        if taken {
            assert_eq!(cell.take(), None);
        }
    }
    drop(cell);
    assert_eq!(drops(&count), 2);
}

#[test]
fn a_get_or_init_that_is_dropped_at_any_poll_leaves_it_to_the_next() {
    let cell = Arc::new(OnceCell::new());
    let mut runs = 0;
    let polls = drop_at_every_poll(
        |_scope| {
            let cell = Arc::clone(&cell);
            runs += 1;
            async move {
                cell.get_or_init(async {
                    yield_now().await;
                    7
                })
                .await;
            }
        },
        |polls| match polls {
            2 => assert_eq!(cell.get(), Some(&7)),
            _ => assert_eq!((cell.get(), cell.statistics().waiting), (None, 0)),
        },
    );
    assert_eq!(polls, 2);
}

#[test]
fn a_shared_one_that_is_dropped_at_any_poll_loses_no_progress() {
    let count = Arc::new(AtomicUsize::new(0));
    let cell = Arc::new(std::sync::Mutex::new(Arc::new(OnceCell::new())));
    drop_at_every_poll(
        |_scope| {
            *cell.lock().unwrap() = Arc::default();
            count.store(0, Ordering::SeqCst);
            let (cell, count) = (Arc::clone(&cell.lock().unwrap()), Arc::clone(&count));
            async move {
                cell.get_or_init_shared(counting(count, 3)).await;
            }
        },
        |polls| {
            assert_eq!(count.load(Ordering::SeqCst), polls);
            let cell = Arc::clone(&cell.lock().unwrap());
            let mut next = Task::new(cell.get_or_init_shared(counting(Arc::clone(&count), 3)));
            while next.poll().is_pending() {}
            assert_eq!(cell.get(), Some(&3));
        },
    );
}

/// Whoever goes on with it meets its error at the poll at which its own caller would have.
#[test]
fn one_that_may_fail_and_is_dropped_at_any_poll_loses_no_progress() {
    for fails in [false, true] {
        let made = move |polls: usize| if fails { Err(polls) } else { Ok(polls) };
        let count = Arc::new(AtomicUsize::new(0));
        let cell = Arc::new(std::sync::Mutex::new(Arc::new(OnceCell::new())));
        drop_at_every_poll(
            |_scope| {
                *cell.lock().unwrap() = Arc::default();
                count.store(0, Ordering::SeqCst);
                let (cell, count) = (Arc::clone(&cell.lock().unwrap()), Arc::clone(&count));
                async move {
                    let init = async move { made(counting(count, 3).await) };
                    let result = cell.get_or_try_init_shared(init).await;
                    assert_eq!(result.copied(), made(3));
                }
            },
            |polls| {
                assert_eq!(count.load(Ordering::SeqCst), polls);
                let cell = Arc::clone(&cell.lock().unwrap());
                let mut next = Task::new(cell.get_or_try_init_shared(async { Ok::<_, ()>(100) }));
                let value = loop {
                    if let Poll::Ready(value) = next.poll() {
                        break *value.unwrap();
                    }
                };
                let own = polls == 0 || fails;
                assert_eq!(value, if own { 100 } else { 3 });
                assert_eq!(cell.statistics().waiting, 0);
            },
        );
    }
}

/// What it waits for is linked to the coroutine that polled it last, and comes when that has ended.
#[test]
fn a_shared_initialiser_survives_the_end_of_its_driver() {
    TestRuntime::new().run(scope(async |s| {
        let cell = Arc::new(OnceCell::new());
        let (tx, rx) = channel::bounded(1);
        let brought = Arc::clone(&cell);
        let driver = s.launch(async move {
            brought.get_or_init_shared(async move { rx.recv().await.unwrap() }).await;
        });
        yield_now().await;
        let other = Arc::clone(&cell);
        let other = s.spawn(async move { *other.get_or_init(pending()).await });
        yield_now().await;
        let last = Arc::clone(&cell);
        let last = s.launch(async move {
            last.get_or_init(pending()).await;
            pending::<()>().await;
        });
        yield_now().await;
        driver.cancel();
        driver.join().await;
        tx.send(7).await.unwrap();
        assert_eq!(other.await, 7);
        last.cancel();
    }));
}
