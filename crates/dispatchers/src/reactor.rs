//! The reactor: turns readiness reported by the system into wake-ups.
//!
//! IO objects are [registered](Reactor::register), which makes them [`Registered`]: those try an
//! operation first, and wait for an event only when it would block. One thread at a time, the
//! *driver*, sits in [`Reactor::wait`] and hands out the wakers of whoever an event concerns.
//!
//! ```text
//!   Registered<T>                      Reactor                        driver
//!   look, try, clear, wait ──► Source { read, write: Readiness } ◄── event ◄── poller
//!        (readiness.rs)        in a table; its index is the poller's key
//! ```
//!
//! # Edges, or one shot
//!
//! Where the poller reports edges, a source is registered once, for both directions, and never
//! touched again. Elsewhere each event disarms the source, and a waiter arms its direction: by
//! one more call after it has left its waker. Readiness works alike in both modes, since an
//! event only ever means "try again"; so one that is spurious costs one system call.
//!
//! # Keys
//!
//! A key may be used anew only when no event of its former owner can still be on its way. The
//! poller returns none from a wait that begins after the source was deleted from it; so keys of
//! deleted sources are retired, and freed by the driver before its next wait, when the events of
//! the last one have all been dealt with.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use corymb_core::hooks::{self, RuntimeHooks};
use corymb_core::internal::prim::{Mutex, MutexGuard};
use corymb_core::internal::wake_all;
use polling::{PollMode, Poller};
use slab::Slab;

mod readiness;
mod registered;
mod selector;
mod source;
mod sys;

pub use registered::{Io, Ready, Registered, Waiter};
pub use sys::IoSource;

use selector::{Batch, Selector};
use source::{Interest, Source};
use sys::BorrowedSource;

/// What an operation waits to become possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Reading, or accepting.
    Read,
    /// Writing, or the end of a connection attempt.
    Write,
}

/// Numbers about a reactor, for tests and for debugging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// IO objects registered now.
    pub sources: usize,
    /// Wakers that wait for an event now.
    pub waiting: usize,
}

/// Watches IO objects for readiness.
pub struct Reactor {
    poller: Poller,
    selector: Selector,
    /// [`PollMode::Edge`] or [`PollMode::Oneshot`].
    mode: PollMode,
    sources: Mutex<Sources>,
    /// Held by the driver during a wait.
    batch: Mutex<Batch>,
}

struct Sources {
    table: Slab<Arc<Source>>,
    /// Keys in `table` whose sources were deleted from the poller.
    retired: Vec<usize>,
    closed: bool,
}

impl Reactor {
    /// A reactor without sources.
    ///
    /// # Errors
    ///
    /// Those of the system, for example when the process has no more descriptors.
    pub fn new() -> io::Result<Self> {
        let poller = selector::poller()?;
        let mode = if poller.supports_edge() { PollMode::Edge } else { PollMode::Oneshot };
        Self::build(poller, mode)
    }

    /// A reactor in the mode for systems that report no edges, wherever it runs: for tests.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    #[doc(hidden)]
    pub fn one_shot() -> io::Result<Self> {
        Self::build(selector::poller()?, PollMode::Oneshot)
    }

    fn build(poller: Poller, mode: PollMode) -> io::Result<Self> {
        Ok(Self {
            selector: Selector::new(&poller)?,
            poller,
            mode,
            sources: Mutex::new(Sources { table: Slab::new(), retired: Vec::new(), closed: false }),
            batch: Mutex::new(Batch::new()),
        })
    }

    /// Takes `io`, which is in non-blocking mode, and watches it.
    ///
    /// # Errors
    ///
    /// Those of the system, and one that says so if the reactor is [closed](Self::close). `io`
    /// is dropped then.
    pub fn register<T: IoSource>(self: &Arc<Self>, io: T) -> io::Result<Registered<T>> {
        let source = self.insert(sys::raw(&io))?;
        let interest = source.interest.lock();
        // SAFETY: `io` keeps the descriptor open; it goes into the `Registered`, which deletes
        // the source from the poller (`deregister`) before it lets go of `io`. If adding fails,
        // there is nothing to delete.
        let added =
            unsafe { self.poller.add_with_mode(source.raw, interest.event(source.key), self.mode) };
        drop(interest);
        if let Err(error) = added {
            self.retire(&source);
            return Err(error);
        }
        Ok(Registered::new(Arc::clone(self), source, io))
    }

    /// Waits until a source is ready, [`notify`](Self::notify) is called or `timeout` has
    /// passed, and appends the wakers of all whom that concerns to `wakers`; the caller wakes
    /// them. Gives the number of events.
    ///
    /// It may return early for no reason. On Linux a timeout has the resolution of the system's
    /// timers; see `docs/decisions/0001-reactor-wait.md`.
    ///
    /// # Errors
    ///
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy), at once, while another thread is in here;
    /// and those of the system.
    pub fn wait(&self, timeout: Option<Duration>, wakers: &mut Vec<Waker>) -> io::Result<usize> {
        let Some(mut batch) = self.batch.try_lock() else {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another thread is waiting on this reactor",
            ));
        };
        self.free_retired();
        self.selector.wait(&self.poller, &mut batch, timeout)?;
        let mut events = 0;
        let sources = self.sources.lock();
        for ready in batch.iter() {
            // There is always one: keys are not freed between the poller's wait and here.
            if let Some(source) = sources.table.get(ready.key) {
                events += 1;
                let (readable, writable) = self.disarm(source, ready.readable, ready.writable);
                source.event(readable, writable, wakers);
            }
        }
        Ok(events)
    }

    /// Ends the [`wait`](Self::wait) in progress, else the next one. What the caller did before
    /// is visible to the driver afterwards.
    pub fn notify(&self) {
        self.selector.notify(&self.poller);
    }

    /// Ends all waiting on this reactor, for good: who waits is woken, and operations, pending
    /// and future ones, fail with an error that says that the runtime has shut down.
    pub fn close(&self) {
        let mut wakers = Vec::new();
        let mut sources = self.sources.lock();
        sources.closed = true;
        for (_, source) in &sources.table {
            source.close(&mut wakers);
        }
        drop(sources);
        wake_all(wakers);
        self.notify();
    }

    /// Whether nothing is registered, and no key is waiting to be freed.
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.lock().table.is_empty()
    }

    /// Counts sources and waiters.
    pub fn statistics(&self) -> Statistics {
        let sources = self.sources.lock();
        Statistics {
            sources: sources.table.len() - sources.retired.len(),
            waiting: sources.table.iter().map(|(_, source)| source.waiting()).sum(),
        }
    }

    /// Enters a source into the table.
    fn insert(&self, raw: sys::RawSource) -> io::Result<Arc<Source>> {
        let mut sources = self.sources.lock();
        if sources.closed {
            return Err(closed());
        }
        let entry = sources.table.vacant_entry();
        let source = Arc::new(Source::new(entry.key(), raw, self.mode == PollMode::Edge));
        entry.insert(Arc::clone(&source));
        Ok(source)
    }

    /// Ends what [`register`](Self::register) began: afterwards the IO object may be closed.
    fn deregister(&self, source: &Source) {
        let mut interest = source.interest.lock();
        interest.registered = false;
        // SAFETY: the caller, a `Registered`, still owns the IO object.
        let io = unsafe { BorrowedSource::borrow_raw(source.raw) };
        // It fails only for a source that is not there, and then this is what was wanted.
        drop(self.poller.delete(io));
        drop(interest);
        self.retire(source);
    }

    fn retire(&self, source: &Source) {
        self.sources.lock().retired.push(source.key);
    }

    /// Frees the keys of deleted sources; called by the driver between two waits.
    fn free_retired(&self) {
        let mut sources = self.sources.lock();
        let Sources { table, retired, .. } = &mut *sources;
        if retired.is_empty() {
            return;
        }
        let freed: Vec<_> = retired.drain(..).map(|key| table.remove(key)).collect();
        drop(sources);
        // A source may hold the wakers of leaked waiters, whose destructors are foreign code.
        drop(freed);
    }

    /// Makes the poller watch `source` for `direction`, for which a waker has been left.
    fn arm(&self, source: &Source, direction: Direction) -> io::Result<()> {
        if self.mode == PollMode::Edge {
            return Ok(());
        }
        let mut interest = source.interest.lock();
        if std::mem::replace(interest.flag(direction), true) {
            return Ok(());
        }
        let armed = self.watch(source, &interest);
        if armed.is_err() {
            *interest.flag(direction) = false;
        }
        armed
    }

    /// Notes that an event has disarmed `source`, and arms again the direction that it is not
    /// about, if somebody had armed it. Gives the directions whose waiters are to be woken: those
    /// of the event; both, if arming fails, so that they try, fail to arm and see the error.
    fn disarm(&self, source: &Source, readable: bool, writable: bool) -> (bool, bool) {
        if self.mode == PollMode::Edge {
            return (readable, writable);
        }
        let mut interest = source.interest.lock();
        interest.read &= !readable;
        interest.write &= !writable;
        if (interest.read || interest.write) && self.watch(source, &interest).is_err() {
            interest.read = false;
            interest.write = false;
            return (true, true);
        }
        (readable, writable)
    }

    /// Tells the poller what to watch `source` for.
    fn watch(&self, source: &Source, interest: &MutexGuard<'_, Interest>) -> io::Result<()> {
        if !interest.registered {
            return Ok(());
        }
        // SAFETY: `registered` is unset under this lock before the IO object is closed.
        let io = unsafe { BorrowedSource::borrow_raw(source.raw) };
        self.poller.modify_with_mode(io, interest.event(source.key), self.mode)
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("mode", &self.mode)
            .field("statistics", &self.statistics())
            .finish_non_exhaustive()
    }
}

/// The error of operations on a closed reactor.
fn closed() -> io::Error {
    io::Error::other(
        "the runtime that this socket belongs to has shut down: \
         create the socket in a runtime that outlives it, or close it before the shutdown",
    )
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Reactor>>> = const { RefCell::new(None) };
}

/// Makes `reactor` the [`current`] one of this thread until the guard is dropped.
pub fn enter(reactor: Arc<Reactor>) -> Entered {
    Entered { outer: CURRENT.replace(Some(reactor)), thread_bound: std::marker::PhantomData }
}

/// Ends an [`enter`].
#[derive(Debug)]
#[must_use = "dropping it leaves the reactor at once"]
pub struct Entered {
    outer: Option<Arc<Reactor>>,
    thread_bound: std::marker::PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let left = CURRENT.replace(self.outer.take());
        drop(left);
    }
}

/// The reactor of this thread's runtime, else of the global one.
///
/// # Errors
///
/// [`Unsupported`](io::ErrorKind::Unsupported) if the runtime has none: that of a test in virtual
/// time.
///
/// # Panics
///
/// If there is no runtime, and the global one cannot be started.
pub fn current() -> io::Result<Arc<Reactor>> {
    if let Some(entered) = CURRENT.with_borrow(Clone::clone) {
        return Ok(entered);
    }
    let reactor = hooks::with(RuntimeHooks::reactor).and_then(|it| it.downcast::<Reactor>().ok());
    reactor.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::Unsupported,
            "a runtime in virtual time has no sockets: use #[corymb::test(real)]",
        )
    })
}

#[cfg(all(test, not(miri), not(loom)))]
mod tests;
