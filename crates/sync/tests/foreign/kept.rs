//! A future that waits in a queue and is kept without being polled holds up nobody behind it.

use std::pin::pin;
use std::sync::Arc;

use corymb_sync::{Mutex, channel, oneshot};

use crate::channel::in_line;
use crate::executors::{Tasks, poll_once};

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

pub(crate) async fn a_receive_in_another_task(tasks: Tasks) {
    let (tx, rx) = channel::bounded(1);
    let (go, gone) = oneshot::channel::<()>();
    let (waits, it_waits) = oneshot::channel();
    let kept = tasks.spawn({
        let rx = rx.clone();
        async move {
            let mut kept = pin!(rx.recv());
            assert!(poll_once(kept.as_mut()).await.is_pending());
            waits.send(()).unwrap();
            gone.await.unwrap();
            kept.await
        }
    });
    it_waits.await.unwrap();
    let second = in_line(&tasks, 0..1, |_| {
        let rx = rx.clone();
        async move { rx.recv().await }
    });
    let second = second.await.remove(0);
    tx.send(7).await.unwrap();
    assert_eq!(second.await, Ok(7));
    go.send(()).unwrap();
    tx.send(8).await.unwrap();
    assert_eq!(kept.await, Ok(8));
}

pub(crate) async fn a_lock_in_another_task(tasks: Tasks) {
    let mutex = Arc::new(Mutex::new(0));
    let held = mutex.lock().await;
    let (go, gone) = oneshot::channel::<()>();
    let (waits, it_waits) = oneshot::channel();
    let kept = tasks.spawn({
        let mutex = mutex.clone();
        async move {
            let mut kept = pin!(mutex.lock());
            assert!(poll_once(kept.as_mut()).await.is_pending());
            waits.send(()).unwrap();
            gone.await.unwrap();
            *kept.await
        }
    });
    it_waits.await.unwrap();
    let second = in_line(&tasks, 0..1, |_| {
        let mutex = mutex.clone();
        async move { *mutex.lock().await = 7 }
    });
    let second = second.await.remove(0);
    drop(held);
    second.await;
    go.send(()).unwrap();
    assert_eq!(kept.await, 7);
}
