//! Waiting for the end of a job.

use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Job;
use crate::budget::budgeted;
use crate::current;
use crate::node::side::Handler;
use crate::node::{Node, state};
use crate::wait::{WaitKind, waiting_on};

/// The future of [`Job::join`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Join {
    job: Job,
    /// The number of the registered waker.
    number: Option<u64>,
    place: &'static Location<'static>,
}

impl Future for Join {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let before = (WaitKind::Join, self.place);
        budgeted(cx, before, |cx| self.poll_settled(cx))
    }
}

impl Join {
    /// Registers or replaces the waker; true if the job had settled before that.
    fn register(&mut self, cx: &Context<'_>) -> bool {
        let (side, _) = self.job.0.make_side();
        let fresh = Handler::Join(cx.waker().clone());
        let mut inner = side.lock();
        let stale = match self.number.and_then(|number| inner.handler_mut(number)) {
            Some(Handler::Join(waker)) if waker.will_wake(cx.waker()) => Some(fresh),
            Some(handler) => Some(std::mem::replace(handler, fresh)),
            None => {
                self.number = Some(inner.register(fresh));
                None
            }
        };
        drop(inner);
        drop(stale);
        // As in `Job::register`.
        self.job.0.state.set(state::SIDE).has(state::SETTLED)
    }

    fn poll_settled(&mut self, cx: &Context<'_>) -> Poll<()> {
        // A job that failed has cancelled its scope before it settled: who is being cancelled
        // never sees the join return.
        if current::is_cancelled() {
            return Poll::Pending;
        }
        if self.job.0.state.load().has(state::SETTLED) {
            // The job may have failed since the look above.
            return if current::is_cancelled() { Poll::Pending } else { Poll::Ready(()) };
        }
        if self.number.is_none() {
            // SAFETY: unended during the call.
            let own = current::with_unended(|here| unsafe { self.job.is_ancestor_of(here) });
            assert!(
                own != Some(true),
                "join of the job launched at {} by itself or one of its own children at {}: it \
                 would wait for ever; join it from outside, or let the scope wait",
                self.job.0.site,
                self.place,
            );
        }
        self.job.start();
        waiting_on(WaitKind::Join, self.place);
        if self.register(cx) && !current::is_cancelled() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Join {
    fn drop(&mut self) {
        if let (Some(number), Some(side)) = (self.number, self.job.0.side()) {
            let waker = side.lock().remove(number);
            drop(waker);
        }
    }
}

impl Job {
    /// Waits until the job and all below it have ended, whatever became of it. A lazy one that was
    /// not started is started by this.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// run_blocking(scope(async |s| {
    ///     let job = s.launch(yield_now());
    ///     job.join().await;
    ///     assert!(job.is_completed());
    /// }));
    /// ```
    ///
    /// # Panics
    ///
    /// If the job is the one that waits, or one of its ancestors: that would never end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up nothing but the wait.
    #[track_caller]
    pub fn join(&self) -> Join {
        Join { job: self.clone(), number: None, place: Location::caller() }
    }

    /// Cancels the job and waits for its end.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{JobState, prelude::*};
    ///
    /// run_blocking(scope(async |s| {
    ///     let job = s.launch(std::future::pending());
    ///     job.cancel_and_join().await;
    ///     assert_eq!(job.state(), JobState::Cancelled);
    /// }));
    /// ```
    ///
    /// # Panics
    ///
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    ///
    /// The job is cancelled by the call. Dropping the future gives up nothing but the wait.
    #[track_caller]
    pub fn cancel_and_join(&self) -> Join {
        self.cancel();
        self.join()
    }

    /// Whether this job is `node` or an ancestor of it.
    ///
    /// # Safety
    ///
    /// `node` does not end during the call.
    unsafe fn is_ancestor_of(&self, node: &Node) -> bool {
        let mut at = Some(node);
        while let Some(node) = at {
            if std::ptr::eq(node, &raw const *self.0) {
                return true;
            }
            // SAFETY: unended, and so are the ancestors of an unended node.
            at = unsafe { node.pinned_parent() };
        }
        false
    }
}
