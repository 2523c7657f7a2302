//! `RwLock`: who goes together, who comes first.

use std::sync::Arc;
use std::task::Poll;

use corymb::testing::drop_at_every_poll;
use corymb::yield_now;
use corymb_sync::RwLock;

use crate::common::Task;

#[test]
fn a_writer_that_waits_holds_later_readers_back() {
    let lock = RwLock::new(0);
    let reader = lock.try_read().unwrap();
    let mut writer = Task::waiting(lock.write());
    let mut later = [Task::waiting(lock.read()), Task::waiting(lock.read())];
    assert!(lock.try_read().is_none());
    drop(reader);
    assert!(writer.woken() && !later.iter().any(Task::woken));
    let Poll::Ready(mut guard) = writer.poll() else { panic!("it was woken") };
    *guard = 7;
    drop(guard);
    assert!(later.iter().all(Task::woken), "all readers at once");
    let guards = later.each_mut().map(Task::poll);
    assert!(guards.iter().all(|guard| matches!(guard, Poll::Ready(guard) if **guard == 7)));
}

#[test]
fn a_writer_that_leaves_lets_readers_through() {
    let lock = RwLock::new(());
    let _reader = lock.try_read().unwrap();
    let writer = Task::waiting(lock.write());
    let mut later = Task::waiting(lock.read());
    drop(writer);
    assert!(later.woken() && later.poll().is_ready());
}

#[test]
fn an_upgradable_reader_goes_with_readers_only() {
    let lock = RwLock::new(());
    let _seen = lock.try_upgradable_read().unwrap();
    assert!(lock.try_read().is_some());
    assert!(lock.try_write().is_none() && lock.try_upgradable_read().is_none());
}

#[test]
fn an_upgrade_comes_before_writers_that_wait() {
    let lock = RwLock::new(0);
    let reader = lock.try_read().unwrap();
    let seen = lock.try_upgradable_read().unwrap();
    let mut writer = Task::waiting(lock.write());
    let mut upgrade = Task::waiting(seen.upgrade());
    let late = Task::waiting(lock.read());
    assert_eq!(lock.statistics().waiting, 3);
    drop(reader);
    assert!(upgrade.woken() && !writer.woken());
    let Poll::Ready(mut guard) = upgrade.poll() else { panic!("it was woken") };
    *guard = 1;
    drop(guard);
    assert!(writer.woken() && !late.woken());
    assert!(matches!(writer.poll(), Poll::Ready(guard) if *guard == 1));
}

#[test]
fn readers_that_come_while_an_upgrade_waits_wait_too() {
    let lock = RwLock::new(());
    let reader = lock.try_read().unwrap();
    let mut upgrade = Task::waiting(lock.try_upgradable_read().unwrap().upgrade());
    let mut late = Task::waiting(lock.read());
    assert!(lock.try_read().is_none());
    drop(reader);
    let Poll::Ready(writer) = upgrade.poll() else { panic!("the reader has left") };
    assert!(late.poll().is_pending());
    let seen = writer.downgrade_to_upgradable();
    assert!(late.woken() && late.poll().is_ready());
    drop(seen.downgrade());
    assert!(lock.try_write().is_some());
}

#[test]
fn an_upgrade_that_is_dropped_unlocks() {
    for called in [false, true] {
        let lock = RwLock::new(());
        let reader = lock.try_read().unwrap();
        let upgrade = Task::waiting(lock.try_upgradable_read().unwrap().upgrade());
        let mut writer = Task::waiting(lock.write());
        if called {
            drop(reader);
            assert!(upgrade.woken());
            drop(upgrade);
        } else {
            drop(upgrade);
            assert!(!writer.woken());
            drop(reader);
        }
        assert!(writer.woken() && writer.poll().is_ready());
        assert!(lock.try_write().is_some());
    }
}

#[test]
fn locks_that_are_dropped_at_any_poll_leave_it_free() {
    let lock = Arc::new(RwLock::new(()));
    let is_free = |_| assert!(lock.try_write().is_some());
    drop_at_every_poll(
        |scope| {
            let guard = lock.try_write_owned().unwrap();
            scope.launch(async move {
                yield_now().await;
                drop(guard);
            });
            let read = lock.read_owned();
            async move { drop(read.await) }
        },
        is_free,
    );
    drop_at_every_poll(
        |scope| {
            let guard = lock.try_read_owned().unwrap();
            scope.launch(async move {
                yield_now().await;
                drop(guard);
            });
            let write = lock.write_owned();
            async move { drop(write.await) }
        },
        is_free,
    );
    drop_at_every_poll(
        |scope| {
            let guard = lock.try_read_owned().unwrap();
            scope.launch(async move {
                yield_now().await;
                drop(guard);
            });
            let seen = lock.upgradable_read_owned();
            async move { drop(seen.await.upgrade().await) }
        },
        is_free,
    );
    assert_eq!(Arc::strong_count(&lock), 1);
}

#[test]
fn nothing_is_lost_on_many_threads() {
    let rounds = if cfg!(miri) { 10 } else { 1_000 };
    let lock = RwLock::new(0);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                for _ in 0..rounds {
                    *lock.write_blocking() += 1;
                    let seen = *lock.read_blocking();
                    assert!(seen <= 4 * rounds);
                }
            });
            s.spawn(|| {
                for _ in 0..rounds {
                    let reader = lock.upgradable_read_blocking();
                    let seen = *reader;
                    let mut writer = reader.upgrade_blocking();
                    assert_eq!(*writer, seen, "nobody has written in between");
                    *writer += 1;
                }
            });
        }
    });
    assert_eq!(lock.into_inner(), 4 * rounds);
}
