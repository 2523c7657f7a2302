//! Timeouts that return long after their deadlines.

use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::time::Duration;

use super::{Instant, now};
use crate::failure::drop_payload;
use crate::hooks;

/// What a busy machine and a destructor may take.
const TOLERANCE: Duration = Duration::from_secs(1);

/// A timeout has returned long after its deadline, because what is inside could not be dropped in
/// time: a section that blocks, or a long poll, held it; or because its coroutine was queued for a
/// dispatcher that had no room.
///
/// Its text names the place, how late it was, and the remedy.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LateTimeout {
    /// Where the timeout was made.
    pub place: &'static Location<'static>,
    /// How long after its deadline it returned.
    pub late: Duration,
}

impl fmt::Display for LateTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, late } = self;
        write!(
            f,
            "the timeout made at {place} returned {late:.1?} after its deadline: something that \
             blocks or computes for long could not be dropped sooner, or the coroutine was queued \
             for a dispatcher that is busy. Give such work to timeout_abandon(..), make its steps \
             shorter, or wait for a permit before a section of a dispatcher with a limit"
        )
    }
}

/// Tells the runtime of the timeout made at `place`, which returns now, if it is late.
#[cold]
pub(super) fn tell_if_late(place: &'static Location<'static>, deadline: Instant) {
    let late = now().saturating_duration_since(deadline);
    if late <= TOLERANCE {
        return;
    }
    let late = LateTimeout { place, late };
    let told = catch_unwind(AssertUnwindSafe(|| {
        // Without a runtime on this thread there is nobody to tell.
        hooks::try_with(|runtime| runtime.timeout_late(&late));
    }));
    if let Err(payload) = told {
        drop_payload(payload);
    }
}
