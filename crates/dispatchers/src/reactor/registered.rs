//! IO objects whose operations wait on a reactor.

use std::fmt;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use corymb_core::internal::{WaitKind, budgeted, waiting_on};

use super::readiness::{Look, Slot, Snapshot, Wait};
use super::source::Source;
use super::{Direction, IoSource, Reactor, closed};

/// An IO object that a reactor watches.
///
/// Operations are closures around the object's own, non-blocking ones. They are tried first; one
/// that gives [`WouldBlock`](io::ErrorKind::WouldBlock) is repeated after the next event.
pub struct Registered<T> {
    // Dropped before `io`: the poller lets go of a descriptor that is still open.
    registration: Registration,
    io: T,
}

/// The reactor's side of a [`Registered`], with the slots of its `poll_` functions.
struct Registration {
    reactor: Arc<Reactor>,
    source: Arc<Source>,
    read: Slot,
    write: Slot,
}

impl<T> Registered<T> {
    pub(super) fn new(reactor: Arc<Reactor>, source: Arc<Source>, io: T) -> Self
    where
        T: IoSource,
    {
        let registration = Registration { reactor, source, read: Slot::new(), write: Slot::new() };
        Self { registration, io }
    }

    /// The object.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// The reactor that watches the object.
    pub fn reactor(&self) -> &Arc<Reactor> {
        &self.registration.reactor
    }

    /// What the reactor keeps for the object.
    #[cfg(all(test, not(miri), not(loom)))]
    pub(super) fn source(&self) -> &Source {
        &self.registration.source
    }

    /// Takes the object back, still in non-blocking mode.
    pub fn into_inner(self) -> T {
        let Self { registration, io } = self;
        drop(registration);
        io
    }

    /// Performs `f`, as soon as it does not block.
    ///
    /// # Errors
    ///
    /// Those of `f`, [`WouldBlock`](io::ErrorKind::WouldBlock) and
    /// [`Interrupted`](io::ErrorKind::Interrupted) excepted; and one that says that the runtime
    /// has shut down.
    ///
    /// # Cancel safety
    ///
    /// `f` is performed at most once with another result than those two, and then in the poll
    /// that gives the result: a future that is dropped while pending has done nothing.
    #[track_caller]
    pub fn io<R, F>(&self, direction: Direction, f: F) -> Io<'_, T, F>
    where
        F: FnMut(&T) -> io::Result<R>,
    {
        Io { waiter: self.waiter(direction), f }
    }

    /// Waits until an operation is worth trying. That it then does not block is likely, not
    /// certain.
    ///
    /// # Errors
    ///
    /// Only that the runtime has shut down.
    ///
    /// # Cancel safety
    ///
    /// A wait takes nothing: it may be dropped at any time.
    #[track_caller]
    pub fn ready(&self, direction: Direction) -> Ready<'_, T> {
        Ready { waiter: self.waiter(direction) }
    }

    /// A waiter of its own, for futures written by hand.
    #[track_caller]
    pub fn waiter(&self, direction: Direction) -> Waiter<'_, T> {
        Waiter { registered: self, direction, slot: Slot::new(), place: Location::caller() }
    }

    /// Performs `f` if that does not block.
    ///
    /// # Errors
    ///
    /// Those of `f`; a [`WouldBlock`](io::ErrorKind::WouldBlock) makes the next wait in this
    /// direction wait for an event. And one that says that the runtime has shut down.
    pub fn try_io<R>(
        &self,
        direction: Direction,
        f: impl FnOnce(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        let readiness = self.registration.source.readiness(direction);
        let look = readiness.look();
        if matches!(look, Look::Closed) {
            return Err(closed());
        }
        let result = f(&self.io);
        if let (Look::Ready(snapshot), Err(error)) = (look, &result)
            && error.kind() == io::ErrorKind::WouldBlock
        {
            readiness.clear(snapshot);
        }
        result
    }

    /// Performs `f`, as soon as it does not block; of the callers in one direction, the last one
    /// to get [`Poll::Pending`] is woken.
    ///
    /// # Errors
    ///
    /// As [`io`](Self::io).
    #[track_caller]
    pub fn poll_io<R>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        f: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let slot = match direction {
            Direction::Read => &self.registration.read,
            Direction::Write => &self.registration.write,
        };
        self.poll_slot(cx, direction, slot, Location::caller(), f)
    }

    fn poll_slot<R>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        slot: &Slot,
        place: &'static Location<'static>,
        mut f: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        budgeted(cx, (WaitKind::Io, place), |cx| {
            loop {
                let snapshot = ready!(self.registration.poll_ready(cx, direction, slot, place))?;
                match f(&self.io) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.registration.source.readiness(direction).clear(snapshot);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => return Poll::Ready(result),
                }
            }
        })
    }
}

impl Registration {
    /// Steps 1 and 4 of the protocol in `readiness.rs`.
    fn poll_ready(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        slot: &Slot,
        place: &'static Location<'static>,
    ) -> Poll<io::Result<Snapshot>> {
        let readiness = self.source.readiness(direction);
        loop {
            match readiness.look() {
                Look::Ready(snapshot) => return Poll::Ready(Ok(snapshot)),
                Look::Closed => return Poll::Ready(Err(closed())),
                Look::Empty => {}
            }
            if readiness.wait(slot, cx.waker()) == Wait::Waiting {
                self.reactor.arm(&self.source, direction)?;
                waiting_on(WaitKind::Io, place);
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.reactor.deregister(&self.source);
        self.source.readiness(Direction::Read).leave(&mut self.read);
        self.source.readiness(Direction::Write).leave(&mut self.write);
    }
}

impl<T: fmt::Debug> fmt::Debug for Registered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered")
            .field("io", &self.io)
            .field("source", &self.registration.source)
            .finish_non_exhaustive()
    }
}

/// One that waits for a direction of a [`Registered`]; see [`Registered::waiter`].
///
/// Dropping it leaves nothing behind.
#[derive(Debug)]
#[must_use = "a waiter waits only when it is polled"]
pub struct Waiter<'a, T> {
    registered: &'a Registered<T>,
    direction: Direction,
    slot: Slot,
    place: &'static Location<'static>,
}

impl<T> Waiter<'_, T> {
    /// As [`Registered::poll_io`], but among several waiters each is woken.
    ///
    /// # Errors
    ///
    /// As [`Registered::io`].
    pub fn poll_io<R>(
        &mut self,
        cx: &mut Context<'_>,
        f: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.registered.poll_slot(cx, self.direction, &self.slot, self.place, f)
    }

    /// As [`Registered::ready`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let registration = &self.registered.registration;
        let before = (WaitKind::Io, self.place);
        budgeted(cx, before, |cx| {
            registration.poll_ready(cx, self.direction, &self.slot, self.place)
        })
        .map_ok(|Snapshot { .. }| ())
    }

    /// Names `place` as the one that waits, instead of where the waiter was made.
    pub fn at(mut self, place: &'static Location<'static>) -> Self {
        self.place = place;
        self
    }
}

impl<T> Drop for Waiter<'_, T> {
    fn drop(&mut self) {
        self.registered.registration.source.readiness(self.direction).leave(&mut self.slot);
    }
}

/// The future of [`Registered::io`].
#[must_use = "futures do nothing unless awaited"]
pub struct Io<'a, T, F> {
    waiter: Waiter<'a, T>,
    f: F,
}

impl<T, F> Io<'_, T, F> {
    /// Names `place` as the one that waits, instead of the caller of [`Registered::io`].
    pub fn at(mut self, place: &'static Location<'static>) -> Self {
        self.waiter = self.waiter.at(place);
        self
    }
}

// Nothing in it is ever pinned: the closure is called through `&mut`.
impl<T, F> Unpin for Io<'_, T, F> {}

impl<T, R, F> Future for Io<'_, T, F>
where
    F: FnMut(&T) -> io::Result<R>,
{
    type Output = io::Result<R>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { waiter, f } = self.get_mut();
        waiter.poll_io(cx, f)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for Io<'_, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("waiter", &self.waiter).finish_non_exhaustive()
    }
}

/// The future of [`Registered::ready`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Ready<'a, T> {
    waiter: Waiter<'a, T>,
}

impl<T> Future for Ready<'_, T> {
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().waiter.poll_ready(cx)
    }
}
