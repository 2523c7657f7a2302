//! The contract between a coroutine and what resumes it.

use crate::coroutine::Coroutine;

mod limited;

use limited::View;
pub use limited::{Occupied, occupy};

/// Decides which thread resumes a coroutine, and when.
///
/// Any `Fn(Coroutine) + Send + Sync + 'static` is one.
///
/// # Examples
///
/// ```
/// use std::thread;
/// use corymb::{Coroutine, Dispatch, prelude::*};
///
/// /// Runs each poll on a thread of its own.
/// struct Threads;
///
/// impl Dispatch for Threads {
///     fn dispatch(&self, coroutine: Coroutine) {
///         thread::spawn(move || coroutine.run());
///     }
/// }
///
/// let sum = run_blocking(scope(async |s| {
///     s.coroutine().on(Dispatcher::custom(Threads)).spawn(async { 1 + 1 }).await
/// }));
/// assert_eq!(sum, 2);
/// ```
///
/// # For implementers
///
/// - Each coroutine that is handed over must be [`run`](Coroutine::run) once, on any thread, but
///   never inside `dispatch` itself: the caller may hold locks of its own.
/// - `dispatch` may be called from any thread, also from inside `run`.
/// - A coroutine that is dropped instead is cancelled, with the cause
///   [`Shutdown`](crate::CancelCause::Shutdown); so it is if `dispatch` panics.
pub trait Dispatch: Send + Sync + 'static {
    /// Takes a coroutine that is ready to go on.
    fn dispatch(&self, coroutine: Coroutine);

    /// Takes a coroutine that was launched just now, or that gave way inside of another poll of this
    /// thread: it goes behind all that wait already.
    fn dispatch_new(&self, coroutine: Coroutine) {
        self.dispatch(coroutine);
    }

    /// Takes a coroutine that gave way to others, on the thread that has just polled it, and does
    /// not poll anything further out: it goes behind all that wait already.
    fn dispatch_yield(&self, coroutine: Coroutine) {
        self.dispatch(coroutine);
    }

    /// Whether the calling thread is the one that runs this dispatcher's coroutines: for those that
    /// have one thread.
    fn is_here(&self) -> bool {
        false
    }

    /// Makes the calling thread, which runs a coroutine as one of this dispatcher's, one of `to`'s
    /// in the middle of the poll, without a queue; false, and no change, if that cannot be done.
    /// `to.switch(self)` is the way back, and may fail too. It is not in the coroutine: a section
    /// that it polls itself finds none. Callers go through `hop`, which knows
    /// about views.
    fn switch(&self, _to: &dyn Dispatch) -> bool {
        false
    }

    /// Whether its coroutines may block their threads.
    #[doc(hidden)]
    fn is_for_blocking(&self) -> bool {
        false
    }

    /// Something that this dispatcher has resumed, on the thread that calls, polls `coroutine`
    /// next, in its own poll. True if it should return after that.
    #[doc(hidden)]
    fn polls_inside(&self, _coroutine: &Coroutine) -> bool {
        false
    }

    /// This dispatcher as a view of another one.
    #[doc(hidden)]
    fn as_view(&self) -> Option<&View> {
        None
    }
}

/// Takes the calling thread, in the middle of the poll of one of `from`'s coroutines, over to `to`,
/// without a queue; false, and no change, if that cannot be done.
///
/// - A coroutine leaves a view by this if it could leave what the view is of. Its place is free
///   then, and the next of the view's coroutines starts.
/// - It comes back into a view that it left on this stack, if a place is free and nobody queues for
///   one. Into any other view there is no way but the queue.
/// - A view and what it is of share their threads: between them nothing else is asked.
/// - All other pairs are left to [`Dispatch::switch`].
///
/// After true, the thread may have lost its place in views further out as well: those around a view
/// that was left. Who was refused the way back hands the coroutine to `to.dispatch` when the poll
/// has returned.
pub fn hop(from: &dyn Dispatch, to: &dyn Dispatch) -> bool {
    to.as_view().is_some_and(|view| view.enter(from)) || from.switch(to)
}

impl<F: Fn(Coroutine) + Send + Sync + 'static> Dispatch for F {
    fn dispatch(&self, coroutine: Coroutine) {
        self(coroutine);
    }
}
