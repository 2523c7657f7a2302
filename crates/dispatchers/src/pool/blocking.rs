//! Blocking on a worker without holding up what its processor could run.

use super::worker::{Local, current, start};

/// A worker that blocks without its processor, which another thread works on meanwhile.
pub(crate) struct WithoutProcessor;

impl WithoutProcessor {
    /// Hands on the processor of the worker that this thread is, if it is one.
    pub(crate) fn enter() -> Option<Self> {
        current(|local| {
            let local = local.filter(|local| local.holds())?;
            local.vacate();
            if start(local.pool(), local.hooks()).is_err() {
                // No thread is to be had: it goes on with its processor, and others wait.
                local.hold();
                return None;
            }
            Some(Self)
        })
    }
}

impl Drop for WithoutProcessor {
    fn drop(&mut self) {
        // If there is none, the worker ends after its present coroutine.
        current(|local| local.map(Local::hold));
    }
}
