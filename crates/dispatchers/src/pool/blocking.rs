//! Blocking on a worker without holding up what its processor could run.

use std::sync::Arc;

use super::local::current;
use super::roster::Counted;

/// A worker that blocks without its processor, which another thread works on meanwhile.
pub(crate) struct WithoutProcessor {
    /// It had one in hand. If it had lent it before, for the whole of a poll that is known to
    /// block, that stays so.
    held: bool,
    /// Such threads do not count against the limit.
    _exempt: Counted,
}

impl WithoutProcessor {
    /// Lends the processor of the worker that this thread is, if it is one. None for other threads,
    /// for those that run IO, whose slots are for blocking, and where the thread does so already.
    pub(crate) fn enter() -> Option<Self> {
        current(|local| {
            let local =
                local.filter(|local| local.io().is_none() && !local.exempt.replace(true))?;
            let exempt = Counted::exempt(Arc::clone(local.pool()));
            let held = local.held().is_some();
            // If no thread is to be had, the watchdog tries again.
            local.lend_at_once(true);
            Some(Self { held, _exempt: exempt })
        })
    }
}

impl Drop for WithoutProcessor {
    fn drop(&mut self) {
        current(|local| {
            let Some(local) = local else { return };
            local.exempt.set(false);
            // If there is none, the worker becomes a spare after its present coroutine. It does not
            // wait for one: those who have them may wait for what this coroutine holds.
            if self.held {
                local.reclaim();
            }
        });
    }
}
