//! Asking for a move from inside of something that polls for itself.
//!
//! A section whose waker is not the coroutine's own is polled by something in between. A set of
//! futures (`FuturesUnordered`) passes the wake on, and its coroutine's poll ends: then the move
//! takes place. The `block_on` of another crate waits for the section inside the poll that would
//! have to end first. The two are told apart by waiting: if the poll has not ended after
//! [`PATIENCE`], the section is woken, and when that has happened a few times in one poll, it
//! panics instead of hanging.

use std::panic::Location;
use std::pin::Pin;
use std::task;
use std::time::Duration;

use crate::current::Poll;
use crate::time::{Sleep, now};

const PATIENCE: Duration = Duration::from_millis(20);
const STRIKES: u32 = 3;

/// The state of the question.
pub(super) struct Foreign {
    /// The number of the poll in which it was asked.
    asked: u64,
    strikes: u32,
    sleep: Pin<Box<Sleep>>,
}

impl Foreign {
    pub(super) fn new(place: &'static Location<'static>) -> Self {
        let sleep = Box::pin(Sleep::until_at(now(), place));
        Self { asked: 0, strikes: 0, sleep }
    }

    /// Has the section polled again when the coroutine has moved.
    ///
    /// # Panics
    ///
    /// If it is polled again and again in the same poll of the coroutine.
    pub(super) fn ask(
        &mut self,
        poll: &Poll,
        cx: &mut task::Context<'_>,
        place: &'static Location<'static>,
    ) {
        if self.asked != poll.number() {
            self.asked = poll.number();
            self.strikes = 0;
            self.sleep.as_mut().reset(now() + PATIENCE);
        }
        // Each time: a set of futures may poll it again before the coroutine's poll ends.
        cx.waker().wake_by_ref();
        while self.sleep.as_mut().poll_elapsed(cx).is_ready() {
            self.strikes += 1;
            assert!(
                self.strikes < STRIKES,
                "ForeignExecutor: with_context at {place} waits for its coroutine to go on \
                 elsewhere, but something in between, such as the `block_on` of another crate, \
                 polls it in a loop that does not return to the coroutine; launch the work there \
                 with corymb::spawn_on instead",
            );
            self.sleep.as_mut().reset(now() + PATIENCE);
        }
    }
}
