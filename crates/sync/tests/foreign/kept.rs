//! A future that waits in a queue and is kept without being polled holds up nobody behind it.

use std::pin::pin;
use std::sync::Arc;

use corymb_sync::{
    Condvar, Latch, Mutex, Notify, OnceCell, RwLock, Semaphore, broadcast, channel, oneshot, watch,
};

use crate::executors::{Tasks, poll_once};
use crate::waits::in_line;

pub(crate) async fn a_receive_beside_another_of_its_task(tasks: Tasks) {
    let (tx, rx) = channel::bounded(1);
    let mut kept = pin!(rx.recv());
    assert!(poll_once(kept.as_mut()).await.is_pending());
    let sender = tasks.spawn(async move { tx.send(7).await });
    assert_eq!(rx.recv().await, Ok(7));
    assert_eq!(sender.await, Ok(()));
}

pub(crate) async fn a_lock_beside_another_of_its_task(tasks: Tasks) {
    let mutex = Arc::new(Mutex::new(0));
    let (go, gone) = oneshot::channel();
    let (has, it_has) = oneshot::channel();
    let holder = tasks.spawn({
        let mutex = mutex.clone();
        async move {
            let mut value = mutex.lock().await;
            has.send(()).unwrap();
            gone.await.unwrap();
            *value = 7;
        }
    });
    it_has.await.unwrap();
    let mut kept = pin!(mutex.lock());
    assert!(poll_once(kept.as_mut()).await.is_pending());
    go.send(()).unwrap();
    assert_eq!(*mutex.lock().await, 7);
    holder.await;
}

/// Two tasks wait, one behind the other, and the first keeps its future without polling it: what is
/// given goes to the second, and then to the first.
async fn in_another_task<F>(tasks: Tasks, wait: impl Fn() -> F, mut give: impl FnMut())
where
    F: Future<Output: Send> + Send + 'static,
{
    let (go, gone) = oneshot::channel();
    let (waits, it_waits) = oneshot::channel();
    let mut kept = Box::pin(wait());
    let kept = tasks.spawn(async move {
        assert!(poll_once(kept.as_mut()).await.is_pending());
        waits.send(()).unwrap();
        gone.await.unwrap();
        drop(kept.await);
    });
    it_waits.await.unwrap();
    let second = in_line(&tasks, 0..1, |_| wait()).await.remove(0);
    give();
    drop(second.await);
    go.send(()).unwrap();
    give();
    kept.await;
}

pub(crate) async fn a_receive_in_another_task(tasks: Tasks) {
    let (tx, rx) = channel::bounded(1);
    let receive = || {
        let rx = rx.clone();
        async move { assert_eq!(rx.recv().await, Ok(7)) }
    };
    in_another_task(tasks, receive, || tx.try_send(7).unwrap()).await;
}

pub(crate) async fn a_lock_in_another_task(tasks: Tasks) {
    let mutex = Arc::new(Mutex::new(()));
    let mut held = mutex.try_lock();
    in_another_task(tasks, || mutex.lock_owned(), || drop(held.take())).await;
}

pub(crate) async fn a_permit_in_another_task(tasks: Tasks) {
    let semaphore = Arc::new(Semaphore::new(1));
    let mut held = semaphore.try_acquire().ok();
    in_another_task(tasks, || semaphore.acquire_owned(), || drop(held.take())).await;
}

pub(crate) async fn a_writer_in_another_task(tasks: Tasks) {
    let lock = Arc::new(RwLock::new(()));
    let mut held = lock.try_read();
    in_another_task(tasks, || lock.write_owned(), || drop(held.take())).await;
}

pub(crate) async fn a_notified_one_in_another_task(tasks: Tasks) {
    let notify = Arc::new(Notify::new());
    let wait = || {
        let notify = notify.clone();
        async move { notify.notified().await }
    };
    in_another_task(tasks, wait, || notify.notify_one()).await;
}

pub(crate) async fn a_condition_in_another_task(tasks: Tasks) {
    let (mutex, changed) = (Arc::new(Mutex::new(())), Arc::new(Condvar::new()));
    let wait = || {
        let (mutex, changed) = (mutex.clone(), changed.clone());
        async move { drop(changed.wait(mutex.lock().await).await) }
    };
    in_another_task(tasks, wait, || changed.notify_one()).await;
}

/// It has polled the initialiser, and the second goes on with it.
pub(crate) async fn an_initialiser_in_another_task(tasks: Tasks) {
    let cell = Arc::new(OnceCell::new());
    let (tx, rx) = channel::bounded(1);
    let get = || {
        let (cell, rx) = (cell.clone(), rx.clone());
        async move {
            let value = cell.get_or_init_shared(async move { rx.recv().await }).await;
            assert_eq!(*value, Ok(7));
        }
    };
    let mut sender = Some(tx);
    in_another_task(tasks, get, || {
        if let Some(tx) = sender.take() {
            tx.try_send(7).unwrap();
        }
    })
    .await;
}

pub(crate) async fn a_latch_in_another_task(tasks: Tasks) {
    let latch = Arc::new(Latch::new(1));
    let wait = || {
        let latch = latch.clone();
        async move { latch.wait().await }
    };
    in_another_task(tasks, wait, || latch.count_down()).await;
}

pub(crate) async fn a_watch_in_another_task(tasks: Tasks) {
    let (tx, rx) = watch::channel(0);
    let changed = || {
        let mut rx = rx.clone();
        async move { assert_eq!(rx.changed().await, Ok(())) }
    };
    in_another_task(tasks, changed, || tx.send(7).unwrap()).await;
}

pub(crate) async fn a_broadcast_in_another_task(tasks: Tasks) {
    let (tx, rx) = broadcast::channel(2);
    let receive = || {
        let mut rx = rx.clone();
        async move { assert_eq!(rx.recv().await, Ok(7)) }
    };
    in_another_task(tasks, receive, || assert!(tx.send(7).is_ok())).await;
}
