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
    fn shutdown(&self, grace: Duration) -> ShutdownReport {
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
            self.end.wait(until);
            self.force(root)
        };
        self.pool.close();
        self.pool.reactor().close();
        let left = until.map_or(Duration::MAX, |until| until.duration_since(Moment::now()));
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
        self.end.wait(Moment::now().checked_add(FORCING));
        forced.retain(Unfinished::was_forced);
        (forced, if job.is_completed() { Vec::new() } else { unfinished(job) })
    }
}

/// How long a shutdown waits for what it has forced, at most: time for a poll of each.
const FORCING: Duration = Duration::from_secs(1);

/// The end of all that a runtime has, to be waited for by a thread.
#[derive(Default)]
pub(super) struct End {
    is_there: Mutex<bool>,
    changed: Condvar,
}

impl End {
    fn set(&self) {
        *lock(&self.is_there) = true;
        self.changed.notify_all();
    }

    fn is_there(&self) -> bool {
        *lock(&self.is_there)
    }

    fn wait(&self, until: Option<Moment>) {
        let mut is_there = lock(&self.is_there);
        while !*is_there {
            let left = until.map_or(Duration::MAX, |until| until.duration_since(Moment::now()));
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(is_there, left);
            is_there = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
