//! An initialiser that belongs to the cell: one of those who wait for its value polls it, and if
//! that one goes, or stays away, another.
//!
//! Its wakers lead to the [`Ping`] and not to who polled it last: a wake-up is an offer to the first
//! who waits, and goes on to the next if that one does not come. Whoever comes for another reason
//! polls it too.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use pin_project::{pin_project, pinned_drop};

use super::{OnceCell, Phase};
use crate::monitor::{Monitor, Owner, State};
use crate::waiters::{Queue, WaitList};
use crate::waiting::Waiting;

/// What the wakers of a shared initialiser lead to, and where those wait who drive it.
pub(crate) struct Ping {
    monitor: Box<Monitor<Turns>>,
}

/// What the lock guards.
pub(crate) struct Turns {
    line: WaitList<Line>,
    /// It was woken.
    due: bool,
    /// Somebody polls it, and may reach it.
    polled: bool,
    /// It has ended.
    over: bool,
}

pub(crate) struct Line;

impl Queue for Line {
    type State = Turns;
    type Payload = ();

    fn waiters(state: &mut Turns) -> &mut WaitList<Self> {
        &mut state.line
    }
}

impl State for Turns {
    type Shared = ();

    const NAME: &'static str = "once_cell";

    fn offer(&mut self, (): &()) -> Option<Waker> {
        if self.over {
            return self.line.release(|()| ()).map(|(waker, ())| waker);
        }
        if self.due && !self.polled && self.line.called() == 0 { self.line.call() } else { None }
    }
}

// SAFETY: it is in the place of `self`.
unsafe impl Owner for Ping {
    type State = Turns;

    fn monitor(&self) -> &Monitor<Turns> {
        &self.monitor
    }
}

impl Ping {
    pub(super) fn new() -> Self {
        let turns = Turns { line: WaitList::new(), due: false, polled: false, over: false };
        Self { monitor: Box::new(Monitor::new(turns, ())) }
    }

    pub(super) fn waiters(&self) -> usize {
        let state = self.monitor.lock();
        state.line.len() + state.line.called()
    }
}

impl fmt::Debug for Ping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ping")
    }
}

impl Wake for Ping {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.monitor.lock().due = true;
    }
}

/// Waits for the end of a cell's initialiser, and polls it.
#[pin_project(PinnedDrop)]
pub(super) struct Drive<'a, T> {
    cell: &'a OnceCell<T>,
    ping: Arc<Ping>,
    #[pin]
    waiting: Waiting<Arc<Ping>, Line>,
    /// It has polled: the initialiser may count on this coroutine.
    drove: bool,
}

impl<'a, T> Drive<'a, T> {
    pub(super) fn new(
        cell: &'a OnceCell<T>,
        ping: Arc<Ping>,
        place: &'static Location<'static>,
    ) -> Self {
        let waiting = Waiting::new(Arc::clone(&ping), (), place);
        Self { cell, ping, waiting, drove: false }
    }

    pub(super) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let mut may_poll = true;
        loop {
            let polled = this.waiting.as_mut().poll(cx, |state, _, ()| {
                if state.over {
                    return Poll::Ready(false);
                }
                if state.polled || !may_poll {
                    return Poll::Pending;
                }
                state.polled = true;
                state.due = false;
                Poll::Ready(true)
            });
            match polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(false) => return Poll::Ready(()),
                Poll::Ready(true) => {
                    *this.drove = true;
                    // SAFETY: `polled` was set here.
                    may_poll = unsafe { poll_shared(this.cell, this.ping) };
                }
            }
        }
    }
}

#[pinned_drop]
impl<T> PinnedDrop for Drive<'_, T> {
    fn drop(self: Pin<&mut Self>) {
        // What the initialiser waits for may have been bound to this coroutine: the next one has it
        // look again.
        if self.drove {
            self.ping.monitor.lock().due = true;
        }
    }
}

impl<T> fmt::Debug for Drive<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drive").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

/// Polls the initialiser; true if it has ended.
///
/// # Safety
///
/// The caller has set `polled` in `ping`, which is that of the cell's phase.
unsafe fn poll_shared<T>(cell: &OnceCell<T>, ping: &Arc<Ping>) -> bool {
    let panicked = Panicked { cell, ping };
    let waker = Waker::from(Arc::clone(ping));
    let polled = cell.shared.with_mut(|shared| {
        // SAFETY: who has set `polled` reaches it, and nobody else.
        let shared = unsafe { &mut *shared };
        let init = shared.as_mut().expect("it stays until it has ended");
        init.as_mut().poll(&mut Context::from_waker(&waker))
    });
    std::mem::forget(panicked);
    let Poll::Ready(made) = polled else {
        ping.monitor.lock().polled = false;
        return false;
    };
    // SAFETY: the caller's promise.
    unsafe { end(cell, ping, made) };
    true
}

/// Ends the initialiser when it unwinds.
struct Panicked<'a, T> {
    cell: &'a OnceCell<T>,
    ping: &'a Arc<Ping>,
}

impl<T> Drop for Panicked<'_, T> {
    fn drop(&mut self) {
        // SAFETY: it stands for the right to poll.
        unsafe { end(self.cell, self.ping, None) };
    }
}

/// The initialiser has ended, with a value or without one.
///
/// # Safety
///
/// As for [`poll_shared`].
unsafe fn end<T>(cell: &OnceCell<T>, ping: &Ping, made: Option<T>) {
    // SAFETY: as in `poll_shared`.
    let init = cell.shared.with_mut(|shared| unsafe { (*shared).take() });
    let phase = if let Some(value) = made {
        // SAFETY: who has polled the cell's initialiser to its end may end the phase.
        unsafe { cell.put(value) };
        Phase::Set
    } else {
        Phase::Empty
    };
    let old = std::mem::replace(&mut cell.monitor.lock().phase, phase);
    ping.monitor.lock().over = true;
    drop((old, init));
}
