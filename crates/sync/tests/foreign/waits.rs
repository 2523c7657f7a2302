//! How the tasks of a scenario wait.

use std::ops::Range;
use std::pin::pin;
use std::task::Poll;

use futures::channel::oneshot;
use futures::future::RemoteHandle;

use crate::executors::{Tasks, poll_once, yield_now};

/// Polls `future` up to so many times, and drops it.
pub(crate) async fn give_up<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(output) = poll_once(future.as_mut()).await {
            return Some(output);
        }
        yield_now().await;
    }
    None
}

/// Tasks that wait, each before the next one starts.
pub(crate) async fn in_line<F>(
    tasks: &Tasks,
    who: Range<usize>,
    wait: impl Fn(usize) -> F,
) -> Vec<RemoteHandle<F::Output>>
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut line = Vec::new();
    for n in who {
        let (queued, is_queued) = oneshot::channel();
        let future = wait(n);
        line.push(tasks.spawn(async move {
            let mut future = Box::pin(future);
            assert!(poll_once(future.as_mut()).await.is_pending(), "it does not wait");
            queued.send(()).expect("somebody asks");
            future.await
        }));
        is_queued.await.expect("it waits");
    }
    line
}
