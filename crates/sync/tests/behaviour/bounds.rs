//! What may go to another thread, and be shared by several.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use corymb::time::with_timeout;
use corymb_sync::channel::bounded;
use corymb_sync::{
    Barrier, BarrierWait, Condvar, CondvarWait, GetOrInitShared, GetOrTryInitShared, Latch,
    LatchHold, LatchWait, MappedMutexGuard, Mutex, MutexGuard, MutexLock, Notified, Notify,
    OnceCell, OwnedMutexGuard, OwnedMutexLock, OwnedRwLockReadGuard, OwnedRwLockUpgrade,
    OwnedSemaphorePermit, RateAcquire, RateLimiter, RwLock, RwLockReadGuard, RwLockUpgrade,
    RwLockWrite, RwLockWriteGuard, Semaphore, SemaphoreAcquire, SemaphorePermit, race,
};

fn send<T: Send>() {}
fn sync<T: Sync>() {}

#[test]
fn whatever_waits_or_holds_may_go_to_another_thread() {
    send::<MutexGuard<'_, u32>>();
    send::<MutexGuard<'_, Cell<u32>>>();
    send::<MappedMutexGuard<'_, str>>();
    send::<OwnedMutexGuard<u32>>();
    send::<MutexLock<'_, Cell<u32>>>();
    send::<OwnedMutexLock<u32>>();
    send::<RwLockReadGuard<'_, u32>>();
    send::<RwLockWriteGuard<'_, u32>>();
    send::<OwnedRwLockReadGuard<u32>>();
    send::<RwLockWrite<'_, u32>>();
    send::<RwLockUpgrade<'_, u32>>();
    send::<OwnedRwLockUpgrade<u32>>();
    send::<SemaphorePermit<'_>>();
    send::<OwnedSemaphorePermit>();
    send::<SemaphoreAcquire<'_>>();
    send::<Notified<'_>>();
    send::<CondvarWait<'_, &Mutex<u32>>>();
    send::<BarrierWait<'_>>();
    send::<LatchWait<'_>>();
    send::<LatchHold>();
    send::<GetOrInitShared<'_, u32>>();
    send::<GetOrTryInitShared<'_, u32, String>>();
    send::<RateAcquire<'_>>();
}

#[test]
fn primitives_may_be_shared() {
    sync::<Mutex<Cell<u32>>>();
    sync::<RwLock<u32>>();
    sync::<OnceCell<u32>>();
    sync::<(Semaphore, Notify, Condvar, Barrier, Latch, RateLimiter)>();
    sync::<(MutexGuard<'_, u32>, RwLockWriteGuard<'_, u32>, OwnedMutexGuard<u32>)>();
}

/// Of types with lifetimes in them the compiler has to show this for every lifetime, in a wrapper
/// too.
#[test]
fn waits_for_borrowed_values_may_go_to_another_thread_in_a_wrapper() {
    fn check(_: impl Send) {}
    async fn wrapped<F: Future>(future: F) -> F::Output {
        with_timeout(Duration::from_secs(1), future).await.expect("nothing is in the way")
    }
    let names = Arc::new(Mutex::new(vec!["a name"]));
    let lock = Arc::new(RwLock::new(vec!["a name"]));
    let changed = Condvar::new();
    let (sender, receiver) = bounded::<&'static str>(1);
    check(async {
        wrapped(names.lock()).await.push("one");
        wrapped(names.lock_owned()).await.push("another");
        wrapped(changed.wait(names.lock().await)).await.clear();
        race([names.lock(), names.lock()]).await.clear();
        wrapped(lock.read()).await.len();
        wrapped(lock.write_owned()).await.clear();
        wrapped(lock.upgradable_read().await.upgrade()).await.clear();
        wrapped(sender.send("a value")).await.ok();
        wrapped(sender.reserve()).await.ok();
        wrapped(receiver.recv()).await.ok();
    });
}

/// Answers for types whether they are `Sync`, or `Send`, where a bound would not compile.
macro_rules! is {
    ($bound:ident, $type:ty) => {{
        trait Otherwise {
            const IS: bool = false;
        }
        impl<T: ?Sized> Otherwise for T {}
        struct Ask<T: ?Sized>(std::marker::PhantomData<T>);
        #[expect(dead_code, reason = "used where the bound holds, and it holds nowhere")]
        impl<T: ?Sized + $bound> Ask<T> {
            const IS: bool = true;
        }
        <Ask<$type>>::IS
    }};
}

#[test]
fn what_is_not_to_be_shared_is_not() {
    assert!(!is!(Sync, RwLock<Cell<u32>>));
    assert!(!is!(Sync, MutexGuard<'static, Cell<u32>>));
    assert!(!is!(Sync, OwnedMutexGuard<Cell<u32>>));
    assert!(!is!(Sync, MappedMutexGuard<'static, Cell<u32>>));
    assert!(!is!(Sync, OnceCell<Cell<u32>>));
    assert!(!is!(Sync, Mutex<std::rc::Rc<u32>>));
    assert!(!is!(Send, MutexGuard<'static, std::rc::Rc<u32>>));
    assert!(!is!(Send, MappedMutexGuard<'static, std::rc::Rc<u32>>));
    assert!(!is!(Send, OwnedRwLockReadGuard<Cell<u32>>));
    assert!(!is!(Send, Arc<OnceCell<std::rc::Rc<u32>>>));
}
