//! A timeout that does not wait for the end of its work.

use std::future::pending;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::timeout::{Elapsed, timeout_at};
use crate::current;
use crate::deferred::Outcome;
use crate::error::{CancelCause, Cancelled, JoinError};
use crate::hooks;
use crate::job::Job;
use crate::node::cancel::cancel;
use crate::scope::spawn_at;

/// Gives `future` the time `limit`, and leaves it behind when that is up.
///
/// For work that cannot be dropped promptly, such as a blocking call:
/// [`with_timeout`](super::with_timeout) would return only when that ends. The work is launched as
/// a detached child of the runtime. At the deadline it is cancelled, and [`Elapsed`] is returned at
/// once; the work ends when it can, and the runtime's shutdown waits for that, and reports it if it
/// does not end. A panic that comes after the deadline goes to the failure handler.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use std::time::Duration;
/// use corymb::time::timeout_abandon;
/// use corymb::{blocking, run_blocking};
///
/// let (answer, answered) = mpsc::channel::<u32>();
/// run_blocking(async {
///     let call = blocking(move || answered.recv());
///     let late = timeout_abandon(Duration::from_millis(5), call).await;
///     assert!(late.is_err()); // the call still blocks its thread
/// });
/// answer.send(42).unwrap();
/// ```
///
/// # Errors
///
/// [`Elapsed`] if the time was up first.
///
/// # Panics
///
/// With a panic of the future; and if the work is cancelled otherwise, as by the shutdown of the
/// runtime, and the caller is not.
///
/// # Cancel safety
///
/// Dropping it cancels the work, and waits for nothing.
#[track_caller]
pub fn timeout_abandon<F>(
    limit: Duration,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> + Send + use<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let place = Location::caller();
    async move {
        let mut work = Work::launch(place, future);
        let outcome = match timeout_at(limit, place, &mut work).await {
            Ok(outcome) => outcome,
            Err(elapsed) => {
                work.cause = CancelCause::Deadline;
                return Err(elapsed);
            }
        };
        match outcome {
            Ok(value) => Ok(value),
            Err(JoinError::Panicked(panic)) => panic.resume(),
            // The caller is dropped at the end of this poll.
            Err(_) if current::is_cancelled() => pending().await,
            Err(error) => panic!("the work of the timeout made at {place} has no value: {error}"),
        }
    }
}

/// The detached child, cancelled when this is dropped.
struct Work<T> {
    outcome: Outcome<T>,
    job: Job,
    cause: CancelCause,
    place: &'static Location<'static>,
}

impl<T: Send + 'static> Work<T> {
    fn launch<F>(place: &'static Location<'static>, future: F) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        let root = hooks::with(|runtime| runtime.root());
        let child = spawn_at(&root, place, future);
        let job = child.job();
        Self { outcome: child.outcome(), job, cause: CancelCause::Dropped, place }
    }
}

impl<T> Future for Work<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome).poll(cx)
    }
}

impl<T> Drop for Work<T> {
    fn drop(&mut self) {
        let cause = Cancelled::new(self.cause.clone(), self.place);
        // SAFETY: we have a reference.
        unsafe { cancel(self.job.node().as_ptr(), &cause) };
    }
}
