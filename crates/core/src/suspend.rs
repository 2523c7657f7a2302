//! Suspensions that wait for nothing but the queue or a cancellation.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::current;

/// Lets the other coroutines of this dispatcher go first.
///
/// It always suspends, so it is also a point where a cancellation arrives.
///
/// # Cancel safety
///
/// Dropping it does nothing.
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.yielded, true) {
            return Poll::Ready(());
        }
        if !current::yield_to_queue(cx.waker()) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// Whether a cancellation is due for the code that asks: its coroutine is dropped at the next
/// suspension, or the scope that it runs in is.
///
/// It works in loops that compute, and in blocking code that a coroutine calls.
pub fn is_cancelled() -> bool {
    current::is_cancelled()
}

/// A point where a cancellation arrives; without one it goes on at once.
///
/// # Cancel safety
///
/// Dropping it does nothing.
pub async fn check_cancelled() {
    if current::is_cancelled() {
        // The enclosing scope or coroutine is dropped at the end of this poll.
        std::future::pending::<()>().await;
    }
}
