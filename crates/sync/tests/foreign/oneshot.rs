//! One value, to another task.

use corymb_sync::{RecvError, oneshot};

use crate::executors::Tasks;
use crate::times;

pub(crate) async fn there_and_back(tasks: Tasks) {
    for n in 0..times(100) {
        let (there, asked) = oneshot::channel();
        let (back, answer) = oneshot::channel();
        let other = tasks.spawn(async move { back.send(asked.await.unwrap() + 1) });
        there.send(n).unwrap();
        assert_eq!(answer.await, Ok(n + 1));
        assert_eq!(other.await, Ok(()));
    }
}

pub(crate) async fn gone(tasks: Tasks) {
    let (tx, rx) = oneshot::channel::<u32>();
    let receiver = tasks.spawn(rx);
    drop(tx);
    assert_eq!(receiver.await, Err(RecvError::Closed));
    let (mut tx, rx) = oneshot::channel::<u32>();
    let sender = tasks.spawn(async move { tx.closed().await });
    drop(rx);
    sender.await;
}
