//! Models of the locks and signals: no permit and no notification is lost, whoever comes first.

use std::pin::pin;
use std::task::{Context, Waker};

use loom::sync::Arc;
use loom::thread;

use super::{block_on, poll_and_drop};
use crate::{Barrier, Condvar, Mutex, Notify, OnceCell, RwLock, Semaphore};

/// A permit is put back without the lock while somebody sets `QUEUED` and looks for it.
#[test]
fn put_against_queueing() {
    loom::model(|| {
        let mutex = Arc::new(Mutex::new(0));
        let other = Arc::clone(&mutex);
        let thread = thread::spawn(move || *block_on(other.lock()) += 1);
        *block_on(mutex.lock()) += 1;
        thread.join().unwrap();
        assert_eq!(*mutex.try_lock().expect("both are gone"), 2);
    });
}

#[test]
fn cancel_of_a_called_waiter_against_put() {
    loom::model(|| {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.try_lock().unwrap();
        let other = Arc::clone(&mutex);
        let quitter = thread::spawn(move || drop(poll_and_drop(other.lock())));
        drop(guard);
        drop(block_on(mutex.lock()));
        quitter.join().unwrap();
        assert!(mutex.try_lock().is_some());
    });
}

#[test]
fn a_writer_against_readers_that_leave() {
    loom::model(|| {
        let lock = Arc::new(RwLock::new(0));
        let reader = Arc::clone(&lock);
        let thread = thread::spawn(move || drop(block_on(reader.read())));
        *block_on(lock.write()) += 1;
        thread.join().unwrap();
        assert!(lock.try_write().is_some_and(|value| *value == 1));
    });
}

/// The upgrade waits outside of the queue, while a writer waits in it.
#[test]
fn an_upgrade_against_a_reader_that_leaves_and_a_writer_that_comes() {
    loom::model(|| {
        let lock = Arc::new(RwLock::new(0));
        let reader = lock.try_read().unwrap();
        let other = Arc::clone(&lock);
        let seen = block_on(lock.upgradable_read());
        let writer = thread::spawn(move || *block_on(other.write()) += 1);
        let mut upgrade = pin!(seen.upgrade());
        let polled = upgrade.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        drop(reader);
        let mut guard = block_on(upgrade);
        assert_eq!(*guard, 0, "it comes before the writer");
        *guard += 1;
        drop(guard);
        writer.join().unwrap();
        assert!(lock.try_write().is_some_and(|value| *value == 2));
    });
}

#[test]
fn a_shrink_against_a_permit_that_comes_back() {
    loom::model(|| {
        let semaphore = Arc::new(Semaphore::new(2));
        let held = semaphore.try_acquire_many(2).unwrap();
        let other = Arc::clone(&semaphore);
        let thread = thread::spawn(move || other.set_permits(1));
        drop(held);
        drop(block_on(semaphore.acquire()).unwrap());
        thread.join().unwrap();
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn a_close_against_an_acquire() {
    loom::model(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let held = semaphore.try_acquire().unwrap();
        let other = Arc::clone(&semaphore);
        let thread = thread::spawn(move || other.close());
        assert!(block_on(semaphore.acquire()).is_err());
        thread.join().unwrap();
        drop(held);
        assert_eq!(semaphore.available_permits(), 1);
    });
}

/// The notification goes to one of the two, or is kept.
#[test]
fn notify_one_against_the_drop_of_the_notified() {
    loom::model(|| {
        let notify = Arc::new(Notify::new());
        let other = Arc::clone(&notify);
        let quitter = thread::spawn(move || poll_and_drop(other.notified()).is_ready());
        notify.notify_one();
        let taken = quitter.join().unwrap();
        assert_eq!(notify.statistics().is_notified, !taken);
    });
}

#[test]
fn notify_all_against_a_look() {
    loom::model(|| {
        let state = Arc::new((Notify::new(), loom::sync::atomic::AtomicBool::new(false)));
        let other = Arc::clone(&state);
        let thread = thread::spawn(move || {
            other.1.store(true, loom::sync::atomic::Ordering::Relaxed);
            other.0.notify_all();
        });
        loop {
            let notified = state.0.notified();
            if state.1.load(loom::sync::atomic::Ordering::Relaxed) {
                break;
            }
            block_on(notified);
        }
        thread.join().unwrap();
    });
}

#[test]
fn a_condvar_s_wait_against_its_notification() {
    loom::model(|| {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let other = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            *block_on(other.0.lock()) = true;
            other.1.notify_one();
        });
        let guard = block_on(shared.0.lock());
        drop(block_on(shared.1.wait_while(guard, |done| !*done)));
        thread.join().unwrap();
    });
}

#[test]
fn a_once_cell_s_cancel_against_one_who_waits() {
    loom::model(|| {
        let cell = Arc::new(OnceCell::new());
        let other = Arc::clone(&cell);
        let quitter = thread::spawn(move || {
            let _polled = poll_and_drop(other.get_or_init(std::future::pending()));
        });
        assert_eq!(*block_on(cell.get_or_init(async { 7 })), 7);
        quitter.join().unwrap();
    });
}

/// One brings an initialiser, polls it and goes; the other drives it on, or runs its own.
#[test]
fn a_shared_initialiser_s_driver_that_goes_against_one_who_waits() {
    loom::model(|| {
        let cell = Arc::new(OnceCell::new());
        let other = Arc::clone(&cell);
        let quitter = thread::spawn(move || {
            let mut polled = false;
            let init = std::future::poll_fn(move |cx| {
                if std::mem::replace(&mut polled, true) {
                    return std::task::Poll::Ready(1);
                }
                // The one that polls it may be about to go.
                cx.waker().wake_by_ref();
                std::task::Poll::Pending
            });
            let _polled = poll_and_drop(other.get_or_init_shared(init));
        });
        let value = *block_on(cell.get_or_init(async { 2 }));
        assert!(value == 1 || value == 2);
        quitter.join().unwrap();
        assert_eq!(cell.get(), Some(&value));
    });
}

#[test]
fn a_barrier_has_one_leader() {
    loom::model(|| {
        let barrier = Arc::new(Barrier::new(2));
        let other = Arc::clone(&barrier);
        let thread = thread::spawn(move || block_on(other.wait()).is_leader());
        let leads = block_on(barrier.wait()).is_leader();
        assert_ne!(leads, thread.join().unwrap());
    });
}

#[test]
fn a_barrier_against_one_that_leaves() {
    loom::model(|| {
        let barrier = Arc::new(Barrier::new(2));
        let other = Arc::clone(&barrier);
        let quitter = thread::spawn(move || poll_and_drop(other.wait()).is_ready());
        let _polled = poll_and_drop(barrier.wait());
        let was_last = quitter.join().unwrap();
        let statistics = barrier.statistics();
        assert_eq!(statistics.arrived, 0);
        assert!(!was_last || statistics.rounds == 1);
    });
}
