//! Suspensions that wait for nothing but the queue or a cancellation.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::budget;
use crate::current;

/// Lets the other coroutines of this dispatcher go first.
///
/// It always suspends, so it is also a point where a cancellation arrives.
///
/// # Examples
///
/// A long computation that lets others run, and can be cancelled:
///
/// ```
/// use corymb::prelude::*;
///
/// let sum = run_blocking(async {
///     let mut sum = 0_u64;
///     for n in 1..=10_000 {
///         sum += n;
///         if n % 1_000 == 0 {
///             yield_now().await;
///         }
///     }
///     sum
/// });
/// assert_eq!(sum, 50_005_000);
/// ```
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
        if budget::is_held() {
            return Poll::Pending;
        }
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
///
/// # Examples
///
/// ```
/// use corymb::{is_cancelled, prelude::*};
///
/// let mut rounds = 0;
/// let outcome = run_blocking(cancel_scope(async |c| {
///     while !is_cancelled() {
///         rounds += 1;
///         if rounds == 3 {
///             c.cancel();
///         }
///     }
/// }));
/// assert_eq!((outcome.is_ok(), rounds), (true, 3)); // it returned by itself
/// ```
pub fn is_cancelled() -> bool {
    current::is_cancelled()
}

/// A point where a cancellation arrives; without one it goes on at once.
///
/// # Examples
///
/// ```
/// use corymb::{check_cancelled, prelude::*};
///
/// let outcome = run_blocking(cancel_scope(async |c| {
///     check_cancelled().await; // goes on
///     c.cancel();
///     check_cancelled().await; // ends here
///     unreachable!();
/// }));
/// assert!(outcome.map(|()| ()).is_err());
/// ```
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
