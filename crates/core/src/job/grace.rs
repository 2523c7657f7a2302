//! Cancellation in two phases.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::Job;
use crate::coroutine::Coroutine;
use crate::error::{CancelCause, Cancelled};
use crate::node::cancel::{cancel, cancel_softly};
use crate::time::sleep;

impl Job {
    /// Cancels the job and all below it, and lets what is behind a
    /// [`soft_shield`](crate::soft_shield) go on for `grace`; after that it is cancelled by force.
    ///
    /// Everything else is cancelled at once, as by [`cancel`](Self::cancel), which ends the grace if
    /// it is called meanwhile. False, and no grace is begun, if the job was cancelled before or has
    /// ended.
    ///
    /// # Examples
    ///
    /// See [`soft_shield`](crate::soft_shield).
    #[track_caller]
    pub fn cancel_with_grace(&self, grace: Duration) -> bool {
        let cause = Cancelled::new(CancelCause::Requested, Location::caller());
        self.list();
        // SAFETY: the handle is a reference.
        let news = unsafe { cancel_softly(self.node().as_ptr(), &cause) };
        if news {
            self.force_after(grace, cause);
        }
        news
    }

    /// Forces the cancellation at the end of the grace, unless the job has ended by then.
    fn force_after(&self, grace: Duration, cause: Cancelled) {
        let node = self.node().clone();
        let place = cause.place();
        let Some(context) = self.with_context(|context| Arc::new(context.clone())) else {
            // A token, which has ended with that.
            return;
        };
        let timer = Coroutine::orphan(context, place, async move {
            sleep(grace).await;
            // SAFETY: we have a reference.
            unsafe { cancel(node.as_ptr(), &cause) };
        });
        let kept = timer.reference();
        timer.dispatch();
        self.on_completion(move |_| Coroutine::end_orphan(kept));
    }
}
