//! What others need of a thread that blocks.
//!
//! A thread that blocks in the middle of a poll keeps the places of views in which it is, and the
//! program's own main loop does not turn if it is that one's thread. What the thread blocks on may
//! need them: coroutines below that run are sent to a home beside the others, and run there. Those of
//! other jobs wait until the run is over. If it waits for one of these in turn, neither ends; so a
//! run that holds up others for long is reported.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use corymb_core::internal::{Occupied, occupy, report_blocked_run};
use corymb_core::{Dispatch, Job};

use super::{Home, Serving, last};
use crate::main_loop::{self, OccupiedMain};

/// A run that holds up others for so long is told of.
const PATIENCE: Duration =
    if cfg!(test) { Duration::from_millis(1) } else { Duration::from_secs(10) };

/// What the calling thread holds while it blocks; to be kept during that.
pub(crate) struct Holding {
    run: Job,
    // Nothing is sent any more when the home is closed: these come before it.
    views: Option<Occupied>,
    main: Option<OccupiedMain>,
    _serving: Option<Serving>,
    /// When to look whether others wait.
    look: Cell<Option<Instant>>,
}

impl Holding {
    /// The thread is about to block on `run`.
    pub(crate) fn enter(run: &Job) -> Self {
        let home = OnceCell::new();
        let beside = || &home.get_or_init(Serving::beside).1;
        let views = occupy(run, || -> Arc<dyn Dispatch> { Arc::<Home>::clone(beside()) });
        let main = main_loop::occupy(run, || Arc::clone(beside()));
        let holds = views.is_some() || main.is_some() || last::has_open();
        let look = Cell::new(holds.then(|| Instant::now() + PATIENCE));
        let serving = home.into_inner().map(|(serving, _)| serving);
        Self { run: run.clone(), views, main, _serving: serving, look }
    }

    /// Parks the thread, which has nothing to do.
    pub(super) fn park(&self) {
        let Some(look) = self.look.get() else { return thread::park() };
        match look.saturating_duration_since(Instant::now()) {
            Duration::ZERO => self.look(),
            left => thread::park_timeout(left),
        }
    }

    /// Reports once that others wait.
    fn look(&self) {
        let holds = self.held_up();
        self.look.set(holds.is_none().then(|| Instant::now() + PATIENCE));
        if let Some(holds) = holds {
            report_blocked_run(&self.run, &holds);
        }
    }

    /// What others wait for.
    fn held_up(&self) -> Option<String> {
        let view = self.views.as_ref().and_then(Occupied::held_up);
        view.or_else(|| self.main.as_ref().and_then(OccupiedMain::held_up))
            .or_else(|| last::rests_with_work().then(|| "the thread of a LocalRuntime".into()))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
