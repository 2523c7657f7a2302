//! Each notification for one wakes one.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use corymb_sync::Notify;
use futures::future::join_all;

use crate::executors::{Tasks, yield_now};
use crate::times;
use crate::waits::{give_up, in_line};

const N: usize = 200;

#[derive(Default)]
struct Queue {
    values: Mutex<Vec<usize>>,
    pushed: Notify,
    left: AtomicUsize,
}

/// The first takes one when it is woken, the others give up and come back.
async fn pop_all(queue: Arc<Queue>, polls: usize) -> Vec<usize> {
    let mut got = Vec::new();
    while queue.left.load(Ordering::SeqCst) > 0 {
        let mut pushed = Box::pin(queue.pushed.notified());
        pushed.as_mut().enable().await;
        let value = queue.values.lock().unwrap().pop();
        if let Some(value) = value {
            got.push(value);
            if queue.left.fetch_sub(1, Ordering::SeqCst) == 1 {
                queue.pushed.notify_all();
            }
        } else if queue.left.load(Ordering::SeqCst) > 0 {
            match polls {
                0 => pushed.await,
                _ => _ = give_up(pushed, polls).await,
            }
        }
    }
    got
}

pub(crate) async fn a_queue_with_notifications(tasks: Tasks) {
    let queue = Arc::new(Queue { left: AtomicUsize::new(times(N)), ..Queue::default() });
    let receivers: Vec<_> = (0..3).map(|n| tasks.spawn(pop_all(queue.clone(), n))).collect();
    for n in 0..times(N) {
        queue.values.lock().unwrap().push(n);
        queue.pushed.notify_one();
        if n % 3 == 0 {
            yield_now().await;
        }
    }
    let mut got = join_all(receivers).await.concat();
    got.sort_unstable();
    assert!(got.into_iter().eq(0..times(N)));
}

pub(crate) async fn notifications_in_order(tasks: Tasks) {
    let notify = Arc::new(Notify::new());
    let line = in_line(&tasks, 0..4, |_| {
        let notify = notify.clone();
        async move { notify.notified().await }
    });
    for (n, one) in line.await.into_iter().enumerate() {
        assert_eq!(notify.statistics().waiting, 4 - n);
        notify.notify_one();
        one.await;
    }
    assert!(!notify.statistics().is_notified);
}

pub(crate) async fn a_notification_of_all(tasks: Tasks) {
    let notify = Arc::new(Notify::new());
    let line = in_line(&tasks, 0..4, |_| {
        let notify = notify.clone();
        async move { notify.notified().await }
    });
    let line = line.await;
    let made = notify.notified();
    notify.notify_all();
    join_all(line).await;
    made.await;
    assert!(!notify.statistics().is_notified);
}
