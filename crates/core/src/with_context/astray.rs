//! What timeouts and scopes ask about sections in their bodies: whether one has a value, and is on
//! its way back with it; and the way back to where code belongs, after one was dropped.

use std::panic::Location;
use std::task::{Context, Poll};

use crate::current::{self, Place};
use crate::moves::is_same;
use crate::time::TimeoutId;

/// Whether a dropped section has left the current coroutine where it was.
pub(crate) fn is_astray() -> bool {
    matches!(current::place(), Place::Coroutine(poll) if poll.is_astray())
}

/// Whether a section in the body of that timeout has a value, and moves the current coroutine back
/// with it.
#[cold]
pub(crate) fn is_held_off(timeout: TimeoutId) -> bool {
    matches!(current::place(), Place::Coroutine(poll) if poll.is_held_off(timeout))
}

/// Ready when the coroutine is where the code that asks belongs, if a section was dropped that had
/// moved it. What had that section in its body, and dropped it in place, asks before it returns.
///
/// # Panics
///
/// If the coroutine has to move, and something between it and the code at `place` keeps polling.
#[cold]
pub(crate) fn come_back(
    cx: &Context<'_>,
    what: &str,
    place: &'static Location<'static>,
) -> Poll<()> {
    let Place::Coroutine(poll) = current::place() else { return Poll::Ready(()) };
    if !poll.is_astray() {
        return Poll::Ready(());
    }
    let to = current::belongs_to(poll);
    if !is_same(poll.here(), &to) {
        if !poll.hop(&to) {
            poll.turn_back(&to);
            if !poll.is_woken_by(cx.waker()) {
                assert!(
                    poll.is_reached_by(cx.waker()) || !poll.strike(),
                    "ForeignExecutor: the {what} at {place} waits for its coroutine to come back \
                     from a section that it has dropped, but something in between, such as the \
                     `block_on` of another crate, polls it in a loop that does not return to the \
                     coroutine; await it in the coroutine instead",
                );
                poll.wake_through(cx.waker());
            }
            return Poll::Pending;
        }
        poll.stay_at(&to);
    }
    poll.is_back();
    Poll::Ready(())
}
