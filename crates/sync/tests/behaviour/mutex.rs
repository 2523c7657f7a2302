//! `Mutex`: order, cancellation, guards.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use corymb::testing::drop_at_every_poll;
use corymb::yield_now;
use corymb_sync::{Mutex, MutexGuard};

use crate::common::Task;

#[test]
fn it_is_locked_in_the_order_of_arrival() {
    let mutex = Mutex::new(Vec::new());
    let guard = mutex.try_lock().unwrap();
    let mut tasks: Vec<_> = (0..4).map(|_| Task::waiting(mutex.lock())).collect();
    let statistics = mutex.statistics();
    assert_eq!((statistics.locked, statistics.waiting, statistics.max_waiting), (true, 4, 4));
    drop(guard);
    for n in 0..4 {
        assert_eq!(tasks.iter().filter(|task| task.woken()).count(), 1);
        assert!(mutex.try_lock().is_none(), "it is another one's");
        let Poll::Ready(mut guard) = tasks.remove(0).poll() else { panic!("it was woken") };
        guard.push(n);
    }
    assert_eq!(*mutex.try_lock().unwrap(), [0, 1, 2, 3]);
}

#[test]
fn one_that_is_dropped_while_it_is_called_passes_the_lock_on() {
    let mutex = Mutex::new(());
    let guard = mutex.try_lock().unwrap();
    let first = Task::waiting(mutex.lock());
    let mut second = Task::waiting(mutex.lock());
    drop(guard);
    assert!(first.woken() && !second.woken());
    drop(first);
    assert!(second.woken());
    assert!(second.poll().is_ready());
    assert!(!mutex.is_locked());
}

#[test]
fn a_lock_that_is_dropped_at_any_poll_leaves_it_free() {
    let mutex = Arc::new(Mutex::new(()));
    let polls = drop_at_every_poll(
        |scope| {
            let (held, holder) = (Arc::clone(&mutex), Arc::clone(&mutex));
            let guard = holder.try_lock_owned().unwrap();
            scope.launch(async move {
                yield_now().await;
                drop(guard);
            });
            async move { drop(held.lock().await) }
        },
        |_| assert!(mutex.try_lock().is_some()),
    );
    assert_eq!(polls, 2);
}

#[test]
fn an_owned_lock_that_is_dropped_at_any_poll_leaves_it_free() {
    let mutex = Arc::new(Mutex::new(()));
    drop_at_every_poll(
        |scope| {
            let guard = mutex.try_lock_owned().unwrap();
            scope.launch(async move {
                yield_now().await;
                drop(guard);
            });
            let lock = mutex.lock_owned();
            async move { drop(lock.await) }
        },
        |_| assert!(mutex.try_lock().is_some()),
    );
    assert_eq!(Arc::strong_count(&mutex), 1);
}

#[test]
fn a_holder_that_panics_unlocks() {
    let mutex = Mutex::new(1);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        *mutex.try_lock().unwrap() += 1;
        let _guard = mutex.try_lock().unwrap();
        panic!("oops");
    }));
    assert!(panicked.is_err());
    assert_eq!(*mutex.try_lock().unwrap(), 2);
}

#[test]
fn a_mapped_guard_holds_the_lock() {
    let mutex = Mutex::new([1, 2]);
    let mut second = MutexGuard::map(mutex.try_lock().unwrap(), |pair| &mut pair[1]);
    let mut waiter = Task::waiting(mutex.lock());
    *second = 3;
    assert_eq!(format!("{mutex:?} {second:?}"), "Mutex { value: <locked> } 3");
    drop(second);
    assert!(matches!(waiter.poll(), Poll::Ready(guard) if *guard == [1, 3]));
}

#[test]
fn an_owned_guard_keeps_it_alive() {
    let mutex = Arc::new(Mutex::new(7));
    let mut lock = Task::new(mutex.lock_owned());
    drop(mutex);
    let Poll::Ready(guard) = lock.poll() else { panic!("nobody has it") };
    drop(lock);
    assert_eq!(*guard, 7);
}

#[test]
#[cfg_attr(miri, ignore = "miri has no reactor")]
fn it_excludes_on_many_threads() {
    let mutex = Mutex::new(0);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for _ in 0..1_000 {
                    let mut guard = mutex.lock_blocking();
                    let seen = *guard;
                    *guard = seen + 1;
                }
            });
        }
    });
    assert_eq!(mutex.into_inner(), 4_000);
}

#[test]
fn to_block_in_a_coroutine_is_refused() {
    let runtime = corymb::testing::TestRuntime::new();
    runtime.run(async {
        let mutex = Mutex::new(());
        drop(mutex.lock_blocking()); // it need not wait
        let _locked = mutex.try_lock();
        let panicked = catch_unwind(AssertUnwindSafe(|| drop(mutex.lock_blocking())));
        let message = panicked.unwrap_err();
        assert!(message.downcast_ref::<String>().unwrap().contains("await `lock` there"));
    });
}
