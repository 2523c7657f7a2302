//! `Notify` and `Condvar`.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use corymb::testing::drop_at_every_poll;
use corymb::yield_now;
use corymb_sync::{Condvar, Mutex, Notified, Notify};

use crate::common::Task;

#[test]
fn one_notification_is_kept() {
    let notify = Notify::new();
    notify.notify_one();
    notify.notify_one();
    assert!(notify.statistics().is_notified);
    assert!(Task::new(notify.notified()).poll().is_ready());
    assert!(Task::new(notify.notified()).poll().is_pending());
}

#[test]
fn all_who_wait_are_notified_and_nothing_is_kept() {
    let notify = Notify::new();
    // More than are woken in one go.
    let mut tasks: Vec<_> = (0..9).map(|_| Task::waiting(notify.notified())).collect();
    let mut unpolled = Task::new(notify.notified());
    notify.notify_all();
    assert!(tasks.iter().all(Task::woken));
    assert!(tasks.iter_mut().all(|task| task.poll().is_ready()));
    assert!(unpolled.poll().is_ready(), "it was made before");
    assert!(Task::new(notify.notified()).poll().is_pending());
}

#[test]
fn a_notified_one_that_is_dropped_passes_it_on() {
    let notify = Notify::new();
    let first = Task::waiting(notify.notified());
    let second = Task::waiting(notify.notified());
    notify.notify_one();
    assert!(first.woken() && !second.woken());
    drop(first);
    assert!(second.woken());
    drop(second);
    assert!(Task::new(notify.notified()).poll().is_ready(), "kept for the next");
}

fn is_notified(notified: Pin<&mut Notified<'_>>) -> Poll<bool> {
    Task::new(notified.enable()).poll()
}

#[test]
fn what_is_enabled_waits_without_being_polled() {
    let notify = Notify::new();
    let (mut one, mut other) = (pin!(notify.notified()), pin!(notify.notified()));
    assert_eq!(is_notified(one.as_mut()), Poll::Ready(false));
    assert_eq!(is_notified(other.as_mut()), Poll::Ready(false));
    notify.notify_one();
    notify.notify_one();
    assert!(!notify.statistics().is_notified);
    assert_eq!(is_notified(one.as_mut()), Poll::Ready(true));
    assert!(Task::new(one).poll().is_ready() && Task::new(other).poll().is_ready());
}

#[test]
fn a_notified_that_is_dropped_at_any_poll_loses_no_notification() {
    let notify = Arc::new(Notify::new());
    drop_at_every_poll(
        |scope| {
            let [waiter, notifier] = [(); 2].map(|()| Arc::clone(&notify));
            scope.launch(async move {
                yield_now().await;
                notifier.notify_one();
            });
            async move {
                waiter.notified().await;
                waiter.notify_one();
            }
        },
        |_| {
            assert!(notify.statistics().is_notified);
            assert!(Task::new(notify.notified()).poll().is_ready());
        },
    );
}

#[test]
fn a_wait_unlocks_and_locks_again() {
    let (mutex, condvar) = (Mutex::new(0), Condvar::new());
    let mut wait = Task::waiting(condvar.wait(mutex.try_lock().unwrap()));
    let mut guard = mutex.try_lock().expect("the wait has unlocked it");
    *guard += 1;
    condvar.notify_one();
    assert!(wait.woken() && wait.poll().is_pending(), "the lock is held");
    drop(guard);
    assert!(wait.woken());
    let Poll::Ready(guard) = wait.poll() else { panic!("the lock is free") };
    assert_eq!(*guard, 1);
    assert!(mutex.is_locked());
}

#[test]
fn a_condvar_keeps_nothing() {
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    condvar.notify_one();
    condvar.notify_all();
    let wait = Task::waiting(condvar.wait(mutex.try_lock().unwrap()));
    assert!(!wait.woken());
}

#[test]
fn a_wait_that_is_dropped_passes_its_notification_on() {
    for polled in [false, true] {
        let (mutex, condvar) = (Mutex::new(()), Condvar::new());
        let mut first = Task::waiting(condvar.wait(mutex.try_lock().unwrap()));
        let second = Task::waiting(condvar.wait(mutex.try_lock().unwrap()));
        let guard = mutex.try_lock().unwrap();
        condvar.notify_one();
        assert!(first.woken() && !second.woken());
        if polled {
            assert!(first.poll().is_pending(), "it waits for the lock");
        }
        drop(first);
        assert!(second.woken());
        drop(guard);
        drop(second);
        assert!(!mutex.is_locked());
    }
}

#[test]
fn it_waits_while_the_condition_holds() {
    let (mutex, condvar) = (Mutex::new(0), Condvar::new());
    let mut wait = Task::waiting(condvar.wait_while(mutex.try_lock().unwrap(), |count| *count < 2));
    for woken_to_the_end in [false, true] {
        *mutex.try_lock().unwrap() += 1;
        condvar.notify_all();
        assert!(wait.woken());
        assert_eq!(wait.poll().is_ready(), woken_to_the_end);
    }
    assert!(!mutex.is_locked());
}

#[test]
fn a_wait_with_an_owned_guard_that_is_dropped_at_any_poll_unlocks() {
    let shared = Arc::new((Arc::new(Mutex::new(false)), Condvar::new()));
    drop_at_every_poll(
        |scope| {
            let [waiter, notifier] = [(); 2].map(|()| Arc::clone(&shared));
            *shared.0.try_lock().unwrap() = false;
            scope.launch(async move {
                yield_now().await;
                *notifier.0.lock().await = true;
                notifier.1.notify_one();
            });
            async move {
                let guard = waiter.0.lock_owned().await;
                drop(waiter.1.wait_while(guard, |done| !*done).await);
            }
        },
        |_| assert!(!shared.0.is_locked()),
    );
}

#[test]
fn a_notification_that_enable_has_told_of_is_passed_on_by_the_drop() {
    let notify = Notify::new();
    notify.notify_one();
    let mut first = Box::pin(notify.notified());
    assert_eq!(Task::new(first.as_mut().enable()).poll(), Poll::Ready(true));
    let mut second = Task::waiting(notify.notified());
    drop(first);
    assert_eq!(second.poll(), Poll::Ready(()));
}
