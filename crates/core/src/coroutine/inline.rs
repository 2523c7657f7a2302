//! The undispatched start: the first poll is a part of the code that launches.
//!
//! It is polled in a frame of its own, so what is current in it, its job, its name, its
//! cancellation, is its own. The thread is what it was: it runs as nothing that a section could
//! leave in the middle of the poll, for the code that launches goes on there afterwards. So a
//! section that has to be elsewhere goes there by a queue, as every later poll does.

use std::cell::Cell;
use std::sync::Arc;

use super::Coroutine;
use crate::dispatch::Dispatch;
use crate::node::state;
use crate::prim::thread_local;

/// How many undispatched launches may be inside each other on one stack. The next one is
/// dispatched: a recursion of them needs stack for so many polls, and no more.
const DEPTH: usize = 32;

thread_local! {
    static HERE: Cell<usize> = const { Cell::new(0) };
}

/// One launch further inside, until it is dropped.
struct Inside(usize);

impl Inside {
    fn enter() -> Option<Self> {
        let outer = HERE.with(Cell::get);
        (outer < DEPTH).then(|| {
            HERE.with(|here| here.set(outer + 1));
            Self(outer)
        })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        HERE.with(|here| here.set(self.0));
    }
}

/// The thread of the code that launches, as what the first poll is at. There is no way from it in
/// place, and the way back to it leads home.
struct Caller {
    home: Arc<dyn Dispatch>,
}

impl Dispatch for Caller {
    fn dispatch(&self, coroutine: Coroutine) {
        self.home.dispatch(coroutine);
    }

    fn dispatch_new(&self, coroutine: Coroutine) {
        self.home.dispatch_new(coroutine);
    }
}

impl Coroutine {
    /// Polls one that was launched just now, in the code that has launched it.
    pub(super) fn begin_here(self) {
        let Some(_inside) = Inside::enter() else { return self.begin() };
        // SAFETY: unfinished, as it was not polled yet.
        let this = unsafe { self.0.as_ref() };
        if this.state.load().has(state::BOUND) {
            return self.run();
        }
        // SAFETY: as above.
        let home = Arc::clone(&unsafe { this.context() }.dispatch);
        let caller: Arc<dyn Dispatch> = Arc::new(Caller { home });
        self.run_as(Some(&caller));
    }
}
