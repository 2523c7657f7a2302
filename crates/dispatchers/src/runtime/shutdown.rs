//! The end of a runtime.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant as Moment};

use corymb_core::internal::{Root, Unfinished, unfinished};

use super::shared::{lock, report_to_stderr};
use super::{Runtime, ShutdownReport};
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
        let shared = &*self.shared;
        let inside = pool::is_thread_of(&shared.pool)
            || *lock(&shared.shutter) == Some(thread::current().id());
        let _one = (!inside).then(|| lock(&shared.shutting));
        let Some(root) = shared.lock_root().take() else {
            return ShutdownReport::new(shared.ended.is(), Vec::new(), Vec::new());
        };
        *lock(&shared.shutter) = Some(thread::current().id());
        let report = self.end(&root, grace);
        *lock(&shared.shutter) = None;
        report
    }

    fn end(&self, root: &Root, grace: Duration) -> ShutdownReport {
        let until = Moment::now().checked_add(grace);
        let job = root.job().clone();
        let ended = &self.shared.ended;
        let signal = Arc::clone(ended);
        job.on_completion(move |_| signal.set());
        let inside = pool::is_thread_of(&self.shared.pool);
        let (forced, unfinished) = if inside || grace.is_zero() {
            root.close();
            (Vec::new(), if job.is_completed() { Vec::new() } else { unfinished(&job) })
        } else {
            root.close_softly();
            ended.wait(until);
            self.force(root)
        };
        self.shared.pool.close();
        self.shared.pool.reactor().close();
        let left = until.map_or(Duration::MAX, |until| until.duration_since(Moment::now()));
        if !inside && unfinished.is_empty() {
            // They have nothing left to run, so this does not take long.
            self.shared.pool.join(left.max(Duration::from_secs(1)));
        }
        ShutdownReport::new(job.is_completed(), forced, unfinished)
    }

    /// Forces what has not ended by itself; what ended then, and what did not.
    fn force(&self, root: &Root) -> (Vec<Unfinished>, Vec<Unfinished>) {
        let job = root.job();
        if job.is_completed() {
            return (Vec::new(), Vec::new());
        }
        let late = unfinished(job);
        root.force();
        self.shared.ended.wait(Moment::now().checked_add(FORCING));
        let (forced, _) = late.into_iter().partition(|it| it.job.is_completed());
        (forced, if job.is_completed() { Vec::new() } else { unfinished(job) })
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let report = self.shutdown(self.drop_grace);
        for (who, doing) in report.unfinished.iter().zip(&report.doing) {
            let text = format_args!("{who} did not end when its runtime was dropped{doing}");
            report_to_stderr(&text);
        }
    }
}

/// How long a shutdown waits for what it has forced, at most: time for a poll of each.
const FORCING: Duration = Duration::from_secs(1);

/// Whether something has ended, to be waited for by a thread.
#[derive(Default)]
pub(super) struct Ended {
    is: Mutex<bool>,
    changed: Condvar,
}

impl Ended {
    pub(super) fn set(&self) {
        *lock(&self.is) = true;
        self.changed.notify_all();
    }

    pub(super) fn is(&self) -> bool {
        *lock(&self.is)
    }

    pub(super) fn wait(&self, until: Option<Moment>) {
        let mut is = lock(&self.is);
        while !*is {
            let left = until.map_or(Duration::MAX, |until| until.duration_since(Moment::now()));
            if left.is_zero() {
                return;
            }
            is = self.changed.wait_timeout(is, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
