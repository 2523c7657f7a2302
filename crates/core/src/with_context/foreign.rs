//! Asking for a move from inside of something that polls for itself.
//!
//! A section whose waker is not the coroutine's own is polled by something in between. A set of
//! futures (`FuturesUnordered`) passes the wake on, and its coroutine's poll ends: then the move
//! takes place. The `block_on` of another crate polls the section again and again inside the poll
//! that would have to end first. The two are told apart by number and time: a section that has
//! asked [`STRIKES`] times in the same poll, and still does after [`PATIENCE`], panics, where it
//! would hang otherwise. Unless wakes of its kind were seen to reach the coroutine: then a set of
//! futures is polled in a long poll, beside something that is ready again and again. A section that may stay where it is, as that of `blocking`, does that, and
//! without patience: to be wrong does no harm.
//!
//! Nor does the coroutine's count of wakes tell such a section whether its body was woken: what is
//! in between polls it for reasons of its own, and may do so several times in one poll. So the
//! body gets a waker that makes a note.

use std::panic::Location;
use std::sync::Arc;
use std::task::{self, Wake, Waker};
use std::time::Duration;

use super::Call;
use crate::current::Poll;
use crate::prim::Mutex;
use crate::prim::atomic::{AtomicBool, Ordering};
use crate::time::{Instant, real_now};

const STRIKES: u32 = 1_000;
const PATIENCE: Duration = Duration::from_millis(60);

/// How often a poll was asked to end, so that its coroutine can move.
#[derive(Clone, Copy)]
pub(crate) struct Strikes {
    /// The number of the poll.
    asked: u64,
    since: Instant,
    times: u32,
}

impl Strikes {
    pub(crate) fn new(poll: &Poll) -> Self {
        Self { asked: poll.number(), since: real_now(), times: 0 }
    }

    /// Counts one more; whether that poll will not end.
    pub(crate) fn count(&mut self, poll: &Poll) -> bool {
        if self.asked != poll.number() {
            *self = Self::new(poll);
        }
        self.times += 1;
        self.are_many() && real_now().saturating_duration_since(self.since) >= PATIENCE
    }

    /// Whether there were more in the poll that was counted last than a set of futures makes.
    fn are_many(&self) -> bool {
        self.times >= STRIKES
    }
}

/// What a section keeps that something else polls.
pub(super) struct Foreign {
    strikes: Strikes,
    body: Option<Arc<Body>>,
}

impl Foreign {
    pub(super) fn new(poll: &Poll) -> Self {
        Self { strikes: Strikes::new(poll), body: None }
    }

    /// Whether the body was woken since it was polled last. If not, the next wake is for `outer`.
    pub(super) fn is_woken(&self, outer: &Waker) -> bool {
        let Some(body) = &self.body else { return true };
        body.set_outer(outer);
        // Ordering: Acquire pairs with the Release in `wake_by_ref`. Between the two there is the
        // lock: a wake that is not seen here has not looked for its waker yet.
        body.woken.load(Ordering::Acquire)
    }

    /// The waker for a poll of the body, which wakes `outer` too.
    pub(super) fn waker(&mut self, outer: &Waker) -> Waker {
        let body = self.body.get_or_insert_with(|| {
            Arc::new(Body { woken: AtomicBool::new(false), outer: Mutex::new(outer.clone()) })
        });
        body.set_outer(outer);
        // Ordering: Acquire, as in `is_woken`: this poll sees what the waker wrote.
        body.woken.swap(false, Ordering::Acquire);
        Waker::from(Arc::clone(body))
    }

    /// Has the section polled again, when the coroutine has moved at the latest. False if that is in
    /// vain, and the section may stay where it is.
    ///
    /// # Panics
    ///
    /// If it may not stay, and that goes on in the same poll of the coroutine.
    pub(super) fn ask(
        &mut self,
        poll: &Poll,
        cx: &task::Context<'_>,
        call: Call,
        place: &'static Location<'static>,
        may_stay: bool,
    ) -> bool {
        let reached = poll.is_reached_by(cx.waker());
        let in_vain = !reached && self.strikes.count(poll);
        if may_stay && !reached && self.strikes.are_many() {
            return false;
        }
        assert!(
            !in_vain,
            "ForeignExecutor: {} at {place} waits for its coroutine to go on elsewhere, but \
             something in between, such as the `block_on` of another crate, polls it in a loop that \
             does not return to the coroutine; {}",
            call.name(),
            call.remedy(),
        );
        // Each time: a set of futures may poll it again before the coroutine's poll ends.
        poll.wake_through(cx.waker());
        true
    }
}

/// The waker of a section's body.
struct Body {
    woken: AtomicBool,
    outer: Mutex<Waker>,
}

impl Body {
    fn set_outer(&self, outer: &Waker) {
        let mut kept = self.outer.lock();
        if !kept.will_wake(outer) {
            let old = std::mem::replace(&mut *kept, outer.clone());
            drop(kept);
            drop(old);
        }
    }
}

impl Wake for Body {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Ordering: Release publishes what the waker wrote.
        self.woken.store(true, Ordering::Release);
        let outer = self.outer.lock().clone();
        outer.wake();
    }
}
