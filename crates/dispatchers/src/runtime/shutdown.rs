//! The end of a runtime.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant as Moment};

use corymb_core::Who;
use corymb_core::internal::{Root, Unfinished, late, unfinished};

use super::shared::{lock, report_to_stderr};
use super::{Runtime, Shared, ShutdownReport};
use crate::pool;

impl Runtime {
    /// Cancels everything, waits for the end of it, `grace` at most, and ends the workers.
    ///
    /// What is behind a [`soft_shield`](corymb_core::soft_shield) goes on, and is dropped when the
    /// grace is over: with a grace of zero, and on one of the runtime's own threads, at once. For
    /// that it waits a second more, at most.
    ///
    /// Nothing runs after it has returned an empty report. Otherwise the polls and destructors
    /// that it lists run on in their threads, and no coroutine is polled again. On one of the
    /// runtime's own threads it cannot wait for itself: it cancels, and reports what there is.
    ///
    /// A second shutdown waits for the first, unless that has called it, and reports only whether
    /// everything has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::{CancelCause, Runtime};
    ///
    /// let runtime = Runtime::new()?;
    /// let job = runtime.detached(std::future::pending::<()>()).job();
    /// let report = runtime.shutdown(Duration::from_secs(1));
    /// assert!(report.is_empty(), "{report}");
    /// assert!(matches!(job.cause().unwrap().cause(), CancelCause::Shutdown));
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn shutdown(&self, grace: Duration) -> ShutdownReport {
        self.shared.shutdown(grace)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let report = self.shutdown(self.drop_grace);
        for (who, doing) in report.unfinished.iter() {
            let text = format_args!("{who} did not end when its runtime was dropped{doing}");
            report_to_stderr(&text);
        }
    }
}

impl Shared {
    /// See [`Runtime::shutdown`].
    pub(crate) fn shutdown(&self, grace: Duration) -> ShutdownReport {
        let inside =
            pool::is_thread_of(&self.pool) || *lock(&self.shutter) == Some(thread::current().id());
        let _one = (!inside).then(|| lock(&self.shutting));
        let Some(root) = self.lock_root().take() else {
            return ShutdownReport { ended: self.end.is_there(), ..ShutdownReport::default() };
        };
        *lock(&self.shutter) = Some(thread::current().id());
        let report = self.end(&root, grace);
        *lock(&self.shutter) = None;
        report
    }

    /// Ends the grace of the shutdown that is in progress, or of one that comes later.
    pub(crate) fn hurry(&self) {
        self.end.hurry();
    }

    /// A coroutine has come to its end behind a shield.
    pub(super) fn note_drained(&self, who: &Who) {
        if self.lock_root().is_none() {
            lock(&self.drained).push(who.clone());
        }
    }

    fn end(&self, root: &Root, grace: Duration) -> ShutdownReport {
        let until = Moment::now().checked_add(grace);
        let job = root.job().clone();
        let end = Arc::clone(&self.end);
        job.on_completion(move |_| end.set());
        let inside = pool::is_thread_of(&self.pool);
        let (forced, unfinished) = if inside || grace.is_zero() {
            root.close();
            (Vec::new(), if job.is_completed() { Vec::new() } else { unfinished(&job) })
        } else {
            root.close_softly();
            self.end.wait(until, true);
            self.force(root)
        };
        self.pool.close();
        self.pool.reactor().close();
        let left = self.end.left(until);
        if !inside && unfinished.is_empty() {
            // They have nothing left to run, so this does not take long.
            self.pool.join(left.max(FORCING));
        }
        let drained = mem::take(&mut *lock(&self.drained));
        ShutdownReport {
            ended: job.is_completed(),
            drained,
            forced: forced.into(),
            unfinished: unfinished.into(),
        }
    }

    /// Forces what has not ended by itself; what ended then, and what did not.
    fn force(&self, root: &Root) -> (Vec<Unfinished>, Vec<Unfinished>) {
        let job = root.job();
        if job.is_completed() {
            return (Vec::new(), Vec::new());
        }
        let mut forced = late(job);
        root.force();
        self.end.wait(Moment::now().checked_add(FORCING), false);
        forced.retain(Unfinished::was_forced);
        (forced, if job.is_completed() { Vec::new() } else { unfinished(job) })
    }
}

/// How long a shutdown waits for what it has forced, at most: time for a poll of each.
pub(crate) const FORCING: Duration = Duration::from_secs(1);

/// The end of all that a runtime has, to be waited for by a thread.
#[derive(Default)]
pub(super) struct End {
    state: Mutex<EndState>,
    changed: Condvar,
}

#[derive(Default)]
struct EndState {
    is_there: bool,
    /// There is no grace any more.
    hurried: bool,
}

impl End {
    fn set(&self) {
        lock(&self.state).is_there = true;
        self.changed.notify_all();
    }

    fn hurry(&self) {
        lock(&self.state).hurried = true;
        self.changed.notify_all();
    }

    fn is_there(&self) -> bool {
        lock(&self.state).is_there
    }

    /// Waits for the end, until then at most; for as long as nobody is in a hurry, if it is for the
    /// `grace`.
    fn wait(&self, until: Option<Moment>, grace: bool) {
        let mut state = lock(&self.state);
        while !state.is_there {
            let left = state.left(until, grace);
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The time until then, if nobody is in a hurry.
    fn left(&self, until: Option<Moment>) -> Duration {
        lock(&self.state).left(until, true)
    }
}

impl EndState {
    fn left(&self, until: Option<Moment>, grace: bool) -> Duration {
        match until {
            _ if grace && self.hurried => Duration::ZERO,
            Some(until) => until.duration_since(Moment::now()),
            None => Duration::MAX,
        }
    }
}
