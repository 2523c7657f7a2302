//! An end of a connection.

use std::fmt;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use corymb_core::internal::{WaitKind, budgeted, waiting_on};
use corymb_core::time::Sleep;
use futures_io::{AsyncRead, AsyncWrite};

use super::pipe::{Direct, Link, Pipe};

/// An end of a connection in memory: of a [`duplex`], or of a [`SimNet`](crate::SimNet).
///
/// Dropped, it closes its direction behind what it has sent, and the other end cannot send any more
/// once it knows, a latency later: until then it sends what nobody reads.
///
/// # Cancel safety
///
/// A read that is dropped has taken nothing, a write has sent nothing. Of `read_exact`, `write_all`
/// and the like parts may be read or sent.
pub struct SimStream {
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
    /// Of a read and of a write.
    timers: [Option<Pin<Box<Sleep>>>; 2],
    /// Where it was made, which is where it waits as far as a dump can tell.
    place: &'static Location<'static>,
}

/// Two ends of a connection in memory, which takes no time; `capacity` bytes may be on their way in
/// each direction.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use corymb::testing::{TestRuntime, duplex};
/// use futures::{AsyncReadExt, AsyncWriteExt};
///
/// TestRuntime::new().run(scope(async |s| {
///     let (mut client, mut server) = duplex(4);
///     s.launch(async move {
///         client.write_all(b"more than fits").await.unwrap();
///     });
///     let mut text = String::new();
///     server.read_to_string(&mut text).await.unwrap();
///     assert_eq!(text, "more than fits");
/// }));
/// ```
///
/// # Panics
///
/// If `capacity` is zero: nothing could ever be sent.
#[track_caller]
pub fn duplex(capacity: usize) -> (SimStream, SimStream) {
    assert!(capacity > 0, "`duplex(0)`: nothing could ever be sent; give it room for a byte");
    let direct: Arc<dyn Link> = Arc::new(Direct);
    SimStream::pair(&direct, capacity, Location::caller())
}

impl SimStream {
    /// The two ends of a connection over `link`.
    pub(super) fn pair(
        link: &Arc<dyn Link>,
        capacity: usize,
        place: &'static Location<'static>,
    ) -> (Self, Self) {
        let pipe = || Pipe::new(Arc::clone(link), capacity);
        let (there, back) = (pipe(), pipe());
        let new = |incoming, outgoing| Self { incoming, outgoing, timers: [None, None], place };
        (new(Arc::clone(&back), Arc::clone(&there)), new(there, back))
    }

    /// The same, made there.
    pub(super) fn at(self, place: &'static Location<'static>) -> Self {
        let mut it = self;
        it.place = place;
        it
    }

    /// Both directions.
    pub(super) fn pipes(&self) -> [Arc<Pipe>; 2] {
        [Arc::clone(&self.incoming), Arc::clone(&self.outgoing)]
    }
}

/// Polls an operation within the budget.
pub(super) fn poll_io<T>(
    cx: &mut Context<'_>,
    place: &'static Location<'static>,
    operation: impl FnOnce(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    let polled = budgeted(cx, (WaitKind::Io, place), operation);
    noted(place, polled)
}

/// Leaves a note if it waits: for this, and not for the timer behind it.
pub(super) fn noted<T>(place: &'static Location<'static>, polled: Poll<T>) -> Poll<T> {
    if polled.is_pending() {
        waiting_on(WaitKind::Io, place);
    }
    polled
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Self { incoming, timers: [timer, _], place, .. } = self.get_mut();
        poll_io(cx, place, |cx| incoming.poll_read(cx, timer, buffer))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { outgoing, timers: [_, timer], place, .. } = self.get_mut();
        poll_io(cx, place, |cx| outgoing.poll_write(cx, timer, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        // Who reads the end knows that nobody is there.
        let end = self.outgoing.close();
        self.incoming.stop_reading(end);
    }
}

impl fmt::Debug for SimStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimStream").finish_non_exhaustive()
    }
}
