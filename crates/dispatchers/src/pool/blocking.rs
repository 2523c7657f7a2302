//! Blocking on a worker without holding up what its processor could run.

use std::sync::Arc;

use super::local::{Local, current};
use super::roster::Counted;

/// A worker that blocks without its processor, which another thread works on meanwhile.
pub(crate) struct WithoutProcessor {
    /// Such threads do not count against the limit.
    _exempt: Counted,
}

impl WithoutProcessor {
    /// Lends the processor of the worker that this thread is, if it is one.
    pub(crate) fn enter() -> Option<Self> {
        current(|local| {
            let local = local.filter(|local| local.held().is_some())?;
            let exempt = Counted::exempt(Arc::clone(local.pool()));
            // If no thread is to be had, the watchdog tries again.
            local.lend_at_once(true);
            Some(Self { _exempt: exempt })
        })
    }
}

impl Drop for WithoutProcessor {
    fn drop(&mut self) {
        // If there is none, the worker becomes a spare after its present coroutine.
        current(|local| local.map(Local::reclaim));
    }
}
