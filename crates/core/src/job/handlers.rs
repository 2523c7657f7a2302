//! What is called at a turn of a job's life.

use super::Job;
use crate::error::{CancelCause, Cancelled, Who};
use crate::node::side::Handler;
use crate::node::{Node, state, tree};

/// How a job ended.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use corymb::{Completion, prelude::*};
///
/// let (tell, told) = mpsc::channel();
/// run_blocking(scope(async |s| {
///     let job = s.launch(std::future::pending());
///     job.on_completion(move |how| tell.send(how.clone()).unwrap());
///     job.cancel();
/// }));
/// assert!(matches!(told.recv(), Ok(Completion::Cancelled(_))));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Completion {
    /// It returned.
    Completed,
    /// It was cancelled.
    Cancelled(Cancelled),
    /// It returned an error to its scope, or panicked.
    Failed(Who),
}

impl Completion {
    fn of(node: &Node) -> Self {
        let seen = node.state.load();
        if seen.has(state::FAILED | state::PANICKED) {
            return Self::Failed(node.who());
        }
        if !seen.has(state::CANCELLED) {
            return Self::Completed;
        }
        let cause = node.side().and_then(|side| side.lock().cause.clone());
        Self::Cancelled(cause.unwrap_or_else(|| Cancelled::new(CancelCause::Requested, node.site)))
    }
}

/// A handler's registration. Dropping it changes nothing; [`dispose`](Self::dispose) ends it.
///
/// # Examples
///
/// ```
/// use corymb::Job;
///
/// let job = Job::new(None);
/// let registration = job.on_cancelling(|_| unreachable!("it was taken back"));
/// assert!(registration.dispose());
/// job.cancel();
/// ```
#[derive(Clone, Debug)]
pub struct Registration {
    job: Job,
    number: u64,
}

impl Registration {
    /// Takes the handler back; false if it has run or is about to.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::Job;
    ///
    /// let job = Job::new(None);
    /// let registration = job.on_cancelling(|_| {});
    /// job.cancel();
    /// assert!(!registration.dispose()); // it has run
    /// ```
    pub fn dispose(self) -> bool {
        let removed = self.job.0.side().and_then(|side| side.lock().remove(self.number));
        // Dropped here, outside of the lock.
        removed.is_some()
    }
}

impl Job {
    /// Calls `f` once, when the job and all below it have ended and before anybody who joins it
    /// goes on; at once if that is past.
    ///
    /// A panic in `f` is reported and harms nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use corymb::{Completion, prelude::*};
    ///
    /// let (tell, told) = mpsc::channel();
    /// run_blocking(scope(async |s| {
    ///     let job = s.launch(async {});
    ///     job.on_completion(move |how| tell.send(matches!(how, Completion::Completed)).unwrap());
    /// }));
    /// assert_eq!(told.recv(), Ok(true));
    /// ```
    pub fn on_completion(&self, f: impl FnOnce(&Completion) + Send + 'static) -> Registration {
        let call = move |node: &Node| f(&Completion::of(node));
        self.register(Handler::Completion(Box::new(call)), state::ENDED)
    }

    /// Calls `f` once, with the cause, as soon as the job is cancelled or fails; at once if that
    /// is past. It never runs if the job completes.
    ///
    /// A panic in `f` is reported and harms nothing. `f` runs in the middle of the cancellation,
    /// on whatever thread that happens: it should be short.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use corymb::Job;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let job = Job::new(None);
    /// job.on_cancelling(move |cancelled| tell.send(cancelled.cause().to_string()).unwrap());
    /// job.cancel();
    /// assert_eq!(told.recv().as_deref(), Ok("on request"));
    /// ```
    pub fn on_cancelling(&self, f: impl FnOnce(&Cancelled) + Send + 'static) -> Registration {
        self.register(Handler::Cancelling(Box::new(f)), state::CANCELLED)
    }

    /// Keeps `handler`, or runs it if `late` has happened.
    pub(super) fn register(&self, handler: Handler, late: u64) -> Registration {
        let (side, _) = self.0.make_side();
        if matches!(handler, Handler::Cancelling(_)) {
            self.list();
        }
        let number = side.lock().register(handler);
        // Whoever sets `late` looks at the handlers afterwards, if it sees SIDE; so look at
        // `late` after SIDE and the handler are there. After its end it looks no more.
        if self.0.state.set(state::SIDE).has(late | state::ENDED) {
            let handler = side.lock().remove(number);
            self.run_late(handler);
        }
        Registration { job: self.clone(), number }
    }

    fn run_late(&self, handler: Option<Handler>) {
        match handler {
            Some(Handler::Completion(f)) => {
                tree::guarded(&self.0, "completion handler", || f(&self.0));
            }
            Some(Handler::Cancelling(f)) => {
                let cause = self.0.state.load().has(state::CANCELLED).then(|| self.cause());
                tree::guarded(&self.0, "cancelling handler", || match cause.flatten() {
                    Some(cause) => f(&cause),
                    None => drop(f),
                });
            }
            Some(Handler::Join(_)) | None => {}
        }
    }
}
