//! Views: dispatchers that run a limited number of another one's coroutines at once.
//!
//! A view has a queue and *places*, as many as its limit, and no thread. A place that is taken is
//! served by a *runner*, an invisible coroutine of the dispatcher underneath: it polls what is
//! queued, a number in a row, and goes behind that dispatcher's other work.
//!
//! | file | holds |
//! | --- | --- |
//! | `places` | who queues, who has a place, who rests |
//! | `runner` | what serves a place, and how code finds the runners around it |
//!
//! # Leaving and coming back within a poll
//!
//! A coroutine may leave the view in the middle of its poll ([`hop`]), and only that poll's end
//! brings the thread back to the runner. Meanwhile the runner has no place: another one serves it.
//!
//! ```text
//!   runner, with a place ── switch ──► runner, without ── the poll returns ──► rests
//!            ▲                               │
//!            └──── enter: a place is free, ──┘
//!                  and the queue is empty
//! ```
//!
//! A view is left first underneath, then here, so that the place is free only when the coroutine
//! is out; it is entered here first, so that the place is taken before the coroutine is in. Both
//! are for the runner right around the coroutine's poll, or right around that runner's, and so on
//! for views of views; a coroutine that runs in there by other ways has no part in the place.
//!
//! # Blocking within a poll
//!
//! A thread that blocks in the middle of a poll keeps its places, so that nobody else comes in
//! between. What it waits for may need one of them: a coroutine below the job of that run, at any
//! depth, which finds no place free. That one is handed to the thread (`occupy`), which has nothing
//! else to do, and polls it in its own place.

use std::cell::Cell;
use std::fmt;
use std::mem;
use std::panic::Location;
use std::ptr;
use std::sync::Arc;

use super::{Dispatch, hop};
use crate::context::{ContextInner, Dispatcher};
use crate::coroutine::Coroutine;
use crate::hooks;

mod places;
mod runner;

use places::Places;
pub use runner::{Occupied, occupy};

impl Dispatcher {
    /// A view of this dispatcher that runs `n` coroutines at once, at most.
    ///
    /// They are started in the order in which they became ready. With `n == 1` they exclude each
    /// other between two suspensions, and each sees what those before it have written: state that
    /// only they touch needs no lock.
    ///
    /// That holds for a coroutine's own code, and for sections
    /// ([`with_context`](crate::with_context())). It does not hold for a plain branch that `join!` or
    /// `select!` polls beside a section for another dispatcher; nor, until the next suspension, for
    /// code after such a section that lost a `select!` or was dropped by hand. Both run where the
    /// section has brought the coroutine. A timeout or a scope that drops one comes back first.
    ///
    /// Each call makes a view of its own; clones of what it returns share one. A view has no
    /// threads. One of [`Default`](Self::Default) runs within that one's limit; one of
    /// [`Io`](Self::Io) beyond `io_parallelism`, with as many threads as it needs and
    /// `max_pool_size` has; one of a view within both limits.
    ///
    /// The view belongs to the current runtime, or to the global one, and keeps it in memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// # async fn store(_: u32) {}
    /// async fn store_all(rows: Vec<u32>) {
    ///     let connections = Dispatcher::Io.limited_parallelism(4);
    ///     scope(async |s| {
    ///         for row in rows {
    ///             s.coroutine().on(connections.clone()).launch(store(row));
    ///         }
    ///     })
    ///     .await;
    /// }
    /// ```
    ///
    /// # Fairness
    ///
    /// After 16 polls in a row a view lets other work of the dispatcher go first.
    ///
    /// # Panics
    ///
    /// If `n` is 0, if there is no runtime, of `Unconfined`, and of `Main` where there is none.
    #[must_use]
    #[track_caller]
    pub fn limited_parallelism(&self, n: usize) -> Self {
        assert!(
            n > 0,
            "limited_parallelism(0): a view without a place would never run what it is given; \
             use 1 or more"
        );
        assert!(
            !matches!(self, Self::Unconfined),
            "Dispatcher::Unconfined has no threads that could be limited: make the view of \
             Dispatcher::Default"
        );
        let root = hooks::with(|runtime| runtime.root());
        // SAFETY: a root owns its context.
        let runtime = Arc::clone(&unsafe { root.node().context() }.runtime);
        let context = Arc::new(ContextInner::of_view(runtime, self));
        let places = Arc::new(Places::new(n, context, Location::caller()));
        Self::Custom(Arc::new(View { of: self.clone(), places }))
    }
}

/// A dispatcher with a limit; see the [module](self).
pub struct View {
    of: Dispatcher,
    places: Arc<Places>,
}

impl View {
    /// What serves this view's runners.
    fn inner(&self) -> &dyn Dispatch {
        &*self.places.context().dispatch
    }

    /// The way back for a coroutine that has left this view on this stack; see [`hop`].
    pub(super) fn enter(&self, from: &dyn Dispatch) -> bool {
        let enter = |has_place: &Cell<bool>| {
            if has_place.get() || !self.places.try_take() {
                return false;
            }
            let taken = Taken(self);
            let entered = self.is_inner(from) || hop(from, self.inner());
            // Unless the program's own `switch` has come here too, and brought a place.
            if entered && !has_place.replace(true) {
                mem::forget(taken);
            }
            entered
        };
        runner::with_place_of_poll(&self.places, enter).unwrap_or(false)
    }

    fn is_inner(&self, other: &dyn Dispatch) -> bool {
        ptr::addr_eq(self.inner(), other)
    }

    /// Lets somebody else have a place that this thread has.
    fn give_place_away(&self) {
        if let Some(runner) = self.places.give_away() {
            // To where others find it: the poll that goes on here may last.
            runner.dispatch_by(|inner, runner| inner.dispatch_new(runner));
        }
    }
}

/// A place that this thread has taken for its poll; given away when dropped, also by a panic of the
/// program's own `switch`.
struct Taken<'a>(&'a View);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.give_place_away();
    }
}

impl Dispatch for View {
    fn dispatch(&self, coroutine: Coroutine) {
        if let Some(runner) = self.places.push(coroutine) {
            runner.dispatch_by(|inner, runner| inner.dispatch(runner));
        }
    }

    fn dispatch_new(&self, coroutine: Coroutine) {
        if let Some(runner) = self.places.push(coroutine) {
            runner.dispatch_by(|inner, runner| inner.dispatch_new(runner));
        }
    }

    fn dispatch_yield(&self, coroutine: Coroutine) {
        if runner::is_polled_for(&self.places) {
            return self.places.push_for_runner(coroutine);
        }
        // It was polled elsewhere, and so was what is to run it here.
        self.dispatch_new(coroutine);
    }

    fn switch(&self, to: &dyn Dispatch) -> bool {
        let leave = |has_place: &Cell<bool>| {
            if !has_place.get() || !(self.is_inner(to) || hop(self.inner(), to)) {
                return false;
            }
            // Unless the program's own `switch` has come here too, and has given it away.
            if has_place.replace(false) {
                self.give_place_away();
            }
            true
        };
        runner::with_place_of_poll(&self.places, leave).unwrap_or(false)
    }

    fn is_for_blocking(&self) -> bool {
        // In a test in virtual time what is underneath is not for blocking, and acts as if it were.
        matches!(self.of, Dispatcher::Io) || self.inner().is_for_blocking()
    }

    fn polls_inside(&self, coroutine: &Coroutine) -> bool {
        self.inner().polls_inside(coroutine)
    }

    fn as_view(&self) -> Option<&View> {
        Some(self)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}.limited_parallelism({})", self.of, self.places.limit())
    }
}
