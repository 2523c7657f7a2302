//! An end of a connection.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use corymb_core::internal::budgeted;
use corymb_core::time::Sleep;
use futures_io::{AsyncRead, AsyncWrite};

use super::pipe::{Direct, Link, Pipe};

/// An end of a connection in memory: of a [`duplex`], or of a [`SimNet`](crate::SimNet).
///
/// Dropped, it closes its direction behind what it has sent, and the other end cannot send any more.
///
/// # Cancel safety
///
/// A read that is dropped has taken nothing, a write has sent nothing. Of `read_exact`, `write_all`
/// and the like parts may be read or sent.
pub struct SimStream {
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
    timer: Option<Pin<Box<Sleep>>>,
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
pub fn duplex(capacity: usize) -> (SimStream, SimStream) {
    assert!(capacity > 0, "`duplex(0)`: nothing could ever be sent; give it room for a byte");
    let direct: Arc<dyn Link> = Arc::new(Direct);
    SimStream::pair(&direct, capacity)
}

impl SimStream {
    /// The two ends of a connection over `link`.
    pub(super) fn pair(link: &Arc<dyn Link>, capacity: usize) -> (Self, Self) {
        let pipe = || Pipe::new(Arc::clone(link), capacity);
        let (there, back) = (pipe(), pipe());
        let near = Self::new(Arc::clone(&back), Arc::clone(&there));
        (near, Self::new(there, back))
    }

    fn new(incoming: Arc<Pipe>, outgoing: Arc<Pipe>) -> Self {
        Self { incoming, outgoing, timer: None }
    }

    /// Both directions.
    pub(super) fn pipes(&self) -> [Arc<Pipe>; 2] {
        [Arc::clone(&self.incoming), Arc::clone(&self.outgoing)]
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Self { incoming, timer, .. } = self.get_mut();
        budgeted(cx, None, |cx| incoming.poll_read(cx, timer, buffer))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        budgeted(cx, None, |cx| self.outgoing.poll_write(cx, bytes))
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
        self.outgoing.close();
        self.incoming.stop_reading();
    }
}

impl fmt::Debug for SimStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimStream").finish_non_exhaustive()
    }
}
