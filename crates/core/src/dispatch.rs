//! The contract between a coroutine and what resumes it.

use crate::coroutine::Coroutine;

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

    /// Takes a coroutine that was launched just now: it goes behind all that wait already.
    fn dispatch_new(&self, coroutine: Coroutine) {
        self.dispatch(coroutine);
    }

    /// Takes a coroutine that gave way to others, on the thread that has just polled it: it goes
    /// behind all that wait already.
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
    /// `to.switch(self)` is the way back, and may fail too.
    fn switch(&self, _to: &dyn Dispatch) -> bool {
        false
    }
}

impl<F: Fn(Coroutine) + Send + Sync + 'static> Dispatch for F {
    fn dispatch(&self, coroutine: Coroutine) {
        self(coroutine);
    }
}
