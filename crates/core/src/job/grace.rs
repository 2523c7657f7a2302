//! Cancellation in two phases.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::Job;
use crate::coroutine::Coroutine;
use crate::error::{CancelCause, Cancelled};
use crate::node::cancel::{cancel, cancel_softly};
use crate::node::side::Handler;
use crate::node::{Kind, Node, NodeRef, state};
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

/// A shield has held off the cancellation of `unit` and is over. If that is a coroutine, its runtime
/// is told when it has ended, unless it had to be forced.
pub(crate) fn tell_when_drained(unit: &NodeRef) {
    let is_forced = |seen: state::Snapshot| seen.has(state::FORCED);
    if unit.kind() != Kind::Coroutine || is_forced(unit.state.load()) {
        return;
    }
    let (side, _) = unit.make_side();
    if std::mem::replace(&mut side.lock().rest_mut().held, true) {
        return;
    }
    let job = Job::from_node(unit.clone());
    let Some(runtime) = job.with_context(|context| Arc::clone(&context.runtime)) else { return };
    let who = job.who();
    let tell = move |node: &Node| {
        if !is_forced(node.state.load()) {
            runtime.drained(&who);
        }
    };
    job.register(Handler::Completion(Box::new(tell)), state::ENDED);
}
