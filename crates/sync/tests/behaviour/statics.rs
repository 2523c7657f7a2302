//! Primitives that are made in a constant, and locks of values without a known size.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use corymb_sync::{
    Barrier, Condvar, Latch, Mutex, MutexGuard, Notify, OnceCell, RateLimiter, RwLock, Semaphore,
};
use futures::executor::block_on;
use futures::join;

use crate::common::times;

static MUTEX: Mutex<Vec<u32>> = Mutex::new(Vec::new());
static RWLOCK: RwLock<u32> = RwLock::new(7);
static SEMAPHORE: Semaphore = Semaphore::new(2);
static GROWING: Semaphore = Semaphore::with_max(0, 2);
static NOTIFY: Notify = Notify::new();
static CONDVAR: Condvar = Condvar::new();
static BARRIER: Barrier = Barrier::new(2);
static LATCH: Latch = Latch::new(1);
static CELL: OnceCell<u32> = OnceCell::new();
static LIMITER: RateLimiter = RateLimiter::new(2, Duration::from_secs(3600));

#[test]
fn locks_in_statics_lock() {
    block_on(async {
        let held = MUTEX.lock().await;
        assert!(MUTEX.try_lock().is_none());
        let changed = async {
            let mut list = MUTEX.lock().await;
            list.push(7);
        };
        join!(changed, async move { drop(held) });
        assert_eq!(*MUTEX.lock().await, [7]);

        let reader = RWLOCK.upgradable_read().await;
        assert!(RWLOCK.try_read().is_some() && RWLOCK.try_write().is_none());
        *reader.upgrade().await += 1;
        assert_eq!(*RWLOCK.read().await, 8);
    });
}

#[test]
fn permits_in_statics_are_counted() {
    block_on(async {
        let both = SEMAPHORE.acquire_many(2).await.unwrap();
        assert_eq!(SEMAPHORE.statistics().permits, 2);
        let (third, ()) = join!(SEMAPHORE.acquire(), async move { drop(both) });
        assert_eq!((third.unwrap().num_permits(), GROWING.available_permits()), (1, 0));
        GROWING.add_permits(2);
        GROWING.acquire_many(2).await.unwrap().forget();

        assert!(LIMITER.try_acquire_many(2) && !LIMITER.try_acquire());
    });
}

#[test]
fn signals_in_statics_wake() {
    static READY: Mutex<bool> = Mutex::new(false);
    block_on(async {
        join!(NOTIFY.notified(), async { NOTIFY.notify_one() });
        let ready = CONDVAR.wait_while(READY.lock().await, |ready| !*ready);
        let notifier = async {
            *READY.lock().await = true;
            CONDVAR.notify_one();
        };
        assert!(*join!(ready, notifier).0);
        let (one, other) = join!(BARRIER.wait(), BARRIER.wait());
        assert!(one.is_leader() ^ other.is_leader());
        join!(LATCH.wait(), async { LATCH.count_down() });
    });
}

#[test]
fn a_cell_in_a_static_is_set_once() {
    assert_eq!(CELL.get(), None);
    block_on(async {
        assert_eq!(CELL.get_or_init(async { 7 }).await, &7);
        assert_eq!(CELL.get_or_init(async { 8 }).await, &7);
    });
}

/// Two threads that need it at once make one, or each would lock its own.
#[test]
fn what_is_used_first_by_several_threads_is_one() {
    for _ in 0..times(200) {
        let lock = Mutex::new(0);
        let barrier = std::sync::Barrier::new(2);
        thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    barrier.wait();
                    for _ in 0..10 {
                        let mut value = lock.lock_blocking();
                        let before = *value;
                        std::hint::black_box(&mut value);
                        *value = before + 1;
                    }
                });
            }
        });
        assert_eq!(lock.into_inner(), 20);
    }
}

#[test]
fn what_was_never_used_can_be_looked_at_and_dropped() {
    let lock = RwLock::new(String::from("kept"));
    assert_eq!(format!("{lock:?}"), r#"RwLock { value: "kept" }"#);
    assert_eq!(lock.statistics().readers, 0);
    drop(Mutex::new(String::from("dropped")));
    drop(OnceCell::<String>::new());
}

#[test]
fn a_lock_of_a_trait_object_is_locked_through_each_pointer() {
    let shared: Arc<Mutex<dyn fmt::Write + Send>> = Arc::new(Mutex::new(String::new()));
    block_on(async {
        shared.lock().await.write_str("a").unwrap();
        let mut guard = Arc::clone(&shared).lock_owned().await;
        assert!(shared.try_lock().is_none());
        let (waited, written) = join!(shared.lock(), async move { guard.write_str("b") });
        written.unwrap();
        drop(waited);
    });
    let lock = Mutex::new([3, 1, 2]);
    let slice: &Mutex<[u32]> = &lock;
    slice.lock_blocking().sort_unstable();
    {
        let mut first = MutexGuard::map(slice.lock_blocking(), |slice| &mut slice[0]);
        *first += 10;
    }
    assert_eq!(format!("{slice:?}"), "Mutex { value: [11, 2, 3] }");
    let mut boxed: Box<Mutex<[u32]>> = Box::new(lock);
    boxed.get_mut()[1] = 20;
    assert_eq!(*boxed.lock_blocking(), [11, 20, 3]);
}

#[test]
fn an_rwlock_of_a_slice_is_read_written_and_upgraded() {
    let lock: Arc<RwLock<[u32]>> = Arc::new(RwLock::new([1, 2, 3]));
    block_on(async {
        {
            let (one, other) = (lock.read().await, lock.read_owned().await);
            assert_eq!(one.len() + other.len(), 6);
        }
        let seen = lock.upgradable_read_owned().await;
        let mut writer = seen.upgrade().await;
        writer[0] = 4;
        assert_eq!(*writer.downgrade(), [4, 2, 3]);
    });
    assert_eq!(format!("{lock:?}"), "RwLock { value: [4, 2, 3] }");
}

#[test]
fn a_condvar_waits_with_a_lock_of_a_trait_object() {
    trait Door: Send {
        fn open(&mut self);
        fn is_open(&self) -> bool;
    }
    impl Door for bool {
        fn open(&mut self) {
            *self = true;
        }
        fn is_open(&self) -> bool {
            *self
        }
    }
    let (door, opened): (Arc<Mutex<dyn Door>>, _) = (Arc::new(Mutex::new(false)), Condvar::new());
    block_on(async {
        let waits = opened.wait_while(door.lock().await, |door| !door.is_open());
        let opens = async {
            door.lock().await.open();
            opened.notify_all();
        };
        assert!(join!(waits, opens).0.is_open());
    });
}

/// Each of them is the first, or comes while another one is.
#[test]
fn who_is_there_first_at_once_finds_what_is_free() {
    for _ in 0..times(300) {
        let (semaphore, together) = (Semaphore::new(2), std::sync::Barrier::new(2));
        let taken = || {
            together.wait();
            semaphore.try_acquire().map(drop)
        };
        thread::scope(|s| {
            let other = s.spawn(taken);
            assert_eq!((taken(), other.join().unwrap()), (Ok(()), Ok(())));
        });
        assert_eq!(semaphore.available_permits(), 2);
    }
}
