//! Asking for a move from inside of something that polls for itself.
//!
//! A section whose waker is not the coroutine's own is polled by something in between. A set of
//! futures (`FuturesUnordered`) passes the wake on, and its coroutine's poll ends: then the move
//! takes place. The `block_on` of another crate polls the section again and again inside the poll
//! that would have to end first. The two are told apart by number and time: a section that has
//! asked [`STRIKES`] times in the same poll, and still does after [`PATIENCE`], panics, where it
//! would hang otherwise.

use std::panic::Location;
use std::task;
use std::time::Duration;

use crate::current::Poll;
use crate::time::{Instant, real_now};

const STRIKES: u32 = 1_000;
const PATIENCE: Duration = Duration::from_millis(60);

/// Since when it has been asked.
pub(super) struct Foreign {
    /// The number of the poll in which it was.
    asked: u64,
    since: Instant,
    times: u32,
}

impl Foreign {
    pub(super) fn new(poll: &Poll) -> Self {
        Self { asked: poll.number(), since: real_now(), times: 0 }
    }

    /// Has the section polled again, when the coroutine has moved at the latest.
    ///
    /// # Panics
    ///
    /// If that goes on in the same poll of the coroutine.
    pub(super) fn ask(
        &mut self,
        poll: &Poll,
        cx: &task::Context<'_>,
        place: &'static Location<'static>,
    ) {
        if self.asked != poll.number() {
            *self = Self::new(poll);
        }
        self.times += 1;
        assert!(
            self.times < STRIKES || real_now().saturating_duration_since(self.since) < PATIENCE,
            "ForeignExecutor: with_context at {place} waits for its coroutine to go on elsewhere, \
             but something in between, such as the `block_on` of another crate, polls it in a loop \
             that does not return to the coroutine; launch the work there with corymb::spawn_on \
             instead",
        );
        // Each time: a set of futures may poll it again before the coroutine's poll ends.
        cx.waker().wake_by_ref();
    }
}
