//! What a test runtime has to do with the world outside of it: other threads and sockets.

use std::any::Any;
use std::cell::Cell;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::thread::{self, Thread};
use std::time::Duration;

use corymb_core::internal::prim::Mutex;
use corymb_core::internal::prim::atomic::{AtomicUsize, Ordering};
use corymb_core::internal::wake_all;
use corymb_dispatchers::reactor::Reactor;
use pin_project::pin_project;

use crate::world::World;

thread_local! {
    /// The outside of the runtime that this thread runs.
    static OURS: Cell<*const Outside> = const { Cell::new(std::ptr::null()) };
}

/// Holds of the time, sockets, and the thread that waits for either.
pub(crate) struct Outside {
    holds: AtomicUsize,
    reactor: OnceLock<Option<Arc<Reactor>>>,
    /// The thread that runs the runtime, while one does.
    runner: Mutex<Option<Thread>>,
}

impl Outside {
    pub(crate) fn new() -> Self {
        Self { holds: AtomicUsize::new(0), reactor: OnceLock::new(), runner: Mutex::new(None) }
    }

    /// Makes this thread the one that runs, until the guard is dropped.
    pub(crate) fn run(&self) -> Running<'_> {
        *self.runner.lock() = Some(thread::current());
        Running { outside: self, outer: OURS.replace(self) }
    }

    /// Whether another thread calls than the one that runs, if one does.
    pub(crate) fn is_foreign(&self) -> bool {
        !std::ptr::eq(OURS.get(), self) && self.runner.lock().is_some()
    }

    pub(crate) fn is_held(&self) -> bool {
        // Ordering: Acquire pairs with the Release in the drop of a hold: what its thread did
        // before, a wake say, is seen.
        self.holds.load(Ordering::Acquire) > 0
    }

    /// Something has changed: the thread that runs looks again.
    pub(crate) fn notify(&self) {
        if let Some(Some(reactor)) = self.reactor.get() {
            reactor.notify();
        }
        if let Some(runner) = &*self.runner.lock() {
            runner.unpark();
        }
    }

    /// What sockets are registered with; none if the system has none.
    pub(crate) fn reactor(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        let reactor = self.reactor.get_or_init(|| Reactor::new().map(Arc::new).ok());
        Some(Arc::<Reactor>::clone(reactor.as_ref()?))
    }

    /// Whether somebody waits for a socket.
    pub(crate) fn has_armed(&self) -> bool {
        let reactor = self.reactor.get().and_then(Option::as_ref);
        reactor.is_some_and(|reactor| reactor.statistics().waiting > 0)
    }

    /// Waits for what comes from outside; at most for `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        let Some(Some(reactor)) = self.reactor.get() else {
            return thread::park_timeout(timeout);
        };
        let mut wakers = Vec::new();
        // A wait that a signal has ended is one that nothing has come in.
        let _ended = reactor.wait(Some(timeout), &mut wakers);
        wake_all(wakers);
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if let Some(Some(reactor)) = self.reactor.get() {
            reactor.close();
        }
    }
}

/// Ends an [`Outside::run`].
pub(crate) struct Running<'a> {
    outside: &'a Outside,
    outer: *const Outside,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.outside.runner.lock().take();
        OURS.set(self.outer);
    }
}

/// Stops the clock of a test runtime while something goes on outside of it, until it is dropped.
///
/// Made by [`hold_time`]. It can be sent to the thread that does the work.
#[must_use = "dropped at once, it holds nothing"]
pub struct TimeHold {
    world: Weak<World>,
}

impl TimeHold {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        // Ordering: Relaxed, for the thread that runs makes it.
        world.outside.holds.fetch_add(1, Ordering::Relaxed);
        Self { world: Arc::downgrade(world) }
    }
}

impl Drop for TimeHold {
    fn drop(&mut self) {
        if let Some(world) = self.world.upgrade() {
            // Ordering: as in `is_held`.
            world.outside.holds.fetch_sub(1, Ordering::Release);
            world.outside.notify();
        }
    }
}

impl std::fmt::Debug for TimeHold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TimeHold")
    }
}

/// Stops the clock of the test runtime until the guard is dropped: for work on other threads,
/// which the runtime does not know.
///
/// As long as it is held, a runtime in which nothing is ready waits, instead of moving the clock or
/// reporting a deadlock. A coroutine that is woken from another thread while nothing holds the time
/// fails the test: whether the wake or the clock is first would be left to chance.
///
/// # Examples
///
/// ```
/// use std::thread;
/// use std::time::Duration;
/// use corymb::prelude::*;
/// use corymb::sync::oneshot;
/// use corymb::testing::{TestRuntime, elapsed, hold_time};
///
/// TestRuntime::new().run(async {
///     let (sender, receiver) = oneshot::channel();
///     let hold = hold_time();
///     thread::spawn(move || {
///         sender.send(42).unwrap();
///         drop(hold);
///     });
///     assert_eq!(with_timeout(Duration::from_secs(1), receiver).await, Ok(Ok(42)));
///     assert_eq!(elapsed(), Duration::ZERO);
/// });
/// ```
///
/// # Panics
///
/// Outside of a test runtime.
#[track_caller]
pub fn hold_time() -> TimeHold {
    World::here("hold_time", TimeHold::new)
}

/// Awaits what comes from outside of the test runtime, from a thread, a callback or another
/// executor: from its first poll until it is done or dropped, `future` [holds the time](hold_time).
///
/// # Examples
///
/// A callback from a thread that nobody else knows of:
///
/// ```
/// use std::thread;
/// use std::time::Duration;
/// use corymb::prelude::*;
/// use corymb::suspend_cancellable;
/// use corymb::testing::{TestRuntime, elapsed, external};
///
/// TestRuntime::new().run(async {
///     let answer = external(suspend_cancellable(|cont| {
///         thread::spawn(move || cont.resume(42));
///     }));
///     let answer = with_timeout(Duration::from_secs(1), answer).await;
///     assert_eq!((answer.unwrap().unwrap(), elapsed()), (42, Duration::ZERO));
/// });
/// ```
///
/// # Panics
///
/// Polling panics outside of a test runtime.
///
/// # Cancel safety
///
/// That of `future`.
pub fn external<F: Future>(future: F) -> External<F> {
    External { future, hold: None }
}

/// The future of [`external`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct External<F> {
    #[pin]
    future: F,
    hold: Option<TimeHold>,
}

impl<F: Future> Future for External<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.hold.get_or_insert_with(|| World::here("external", TimeHold::new));
        let polled = this.future.poll(cx);
        if polled.is_ready() {
            *this.hold = None;
        }
        polled
    }
}
