//! Connections.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use corymb_dispatchers::reactor::{Direction, Registered};
use futures_io::{AsyncRead, AsyncWrite};
use socket2::SockRef;

use super::connect::connect;
use super::reactor;
use super::split::{self, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use crate::addr::{ToSocketAddrs, resolve};

/// A TCP connection.
///
/// All operations take `&self`: one task may read while another writes. The traits
/// [`AsyncRead`] and [`AsyncWrite`] are implemented too, also for `&TcpStream`; with them, of
/// several tasks in one direction only the last to wait is woken, whereas each of several
/// [`read`](Self::read)s or [`write`](Self::write)s is.
///
/// Dropping it closes the connection.
#[derive(Debug)]
pub struct TcpStream {
    io: Registered<std::net::TcpStream>,
}

impl TcpStream {
    /// Connects to the first of the addresses that `addr` stands for which accepts.
    ///
    /// # Errors
    ///
    /// Those of the lookup; else one with an [`AddressesError`](crate::AddressesError) inside,
    /// which has what went wrong at each address, of the kind of the last one. One that says so,
    /// if there is no runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping it while pending closes the socket of the attempt; the peer may have seen a
    /// connection.
    #[track_caller]
    pub fn connect(addr: impl ToSocketAddrs) -> impl Future<Output = io::Result<Self>> + Send {
        let place = Location::caller();
        let addresses = resolve(addr.target(), place);
        async move { connect(addresses.await?, place).await }
    }

    /// Takes a connection of the standard library.
    ///
    /// # Errors
    ///
    /// Those of the system, and one that says so if there is no runtime.
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::registered(reactor()?.register(stream)?))
    }

    /// Gives a connection of the standard library, in blocking mode.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        let stream = self.io.into_inner();
        stream.set_nonblocking(false)?;
        Ok(stream)
    }

    pub(super) fn registered(io: Registered<std::net::TcpStream>) -> Self {
        Self { io }
    }

    /// Reads what is there, at least one byte; 0 at the end of the stream, or if `buf` is empty.
    ///
    /// # Errors
    ///
    /// Those of the system, and one that says that the runtime has shut down.
    ///
    /// # Cancel safety
    ///
    /// Bytes stay in the system until the poll that gives them: a read that is dropped while
    /// pending loses none.
    #[track_caller]
    pub fn read(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
        self.io.io(Direction::Read, move |io| receive(io, buf))
    }

    /// Reads as [`read`](Self::read) does, and leaves the bytes for the next one.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    ///
    /// # Cancel safety
    ///
    /// It takes nothing.
    #[track_caller]
    pub fn peek(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
        self.io.io(Direction::Read, move |io| if buf.is_empty() { Ok(0) } else { io.peek(buf) })
    }

    /// Writes a part of `buf`, at least one byte unless it is empty.
    ///
    /// # Errors
    ///
    /// Those of the system, and one that says that the runtime has shut down.
    ///
    /// # Cancel safety
    ///
    /// Bytes are handed over in the poll that says how many: a write that is dropped while
    /// pending has written none.
    #[track_caller]
    pub fn write(&self, buf: &[u8]) -> impl Future<Output = io::Result<usize>> + Send {
        self.io.io(Direction::Write, move |mut io| io.write(buf))
    }

    /// Waits until there is likely to be something to read; it may be mistaken.
    ///
    /// # Errors
    ///
    /// Only that the runtime has shut down.
    ///
    /// # Cancel safety
    ///
    /// It takes nothing.
    #[track_caller]
    pub fn readable(&self) -> impl Future<Output = io::Result<()>> + Send {
        self.io.ready(Direction::Read)
    }

    /// Waits until there is likely to be room to write; it may be mistaken.
    ///
    /// # Errors
    ///
    /// Only that the runtime has shut down.
    ///
    /// # Cancel safety
    ///
    /// It takes nothing.
    #[track_caller]
    pub fn writable(&self) -> impl Future<Output = io::Result<()>> + Send {
        self.io.ready(Direction::Write)
    }

    /// Reads what is there.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nothing is: then
    /// [`readable`](Self::readable) waits for something. Else as [`read`](Self::read).
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.io.try_io(Direction::Read, |io| receive(io, buf))
    }

    /// Writes as much of `buf` as there is room for.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is none: then
    /// [`writable`](Self::writable) waits for some. Else as [`write`](Self::write).
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.io.try_io(Direction::Write, |mut io| io.write(buf))
    }

    /// Ends the stream in one direction, or in both. The peer reads the end of the stream after
    /// the bytes that were written.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.io.get_ref().shutdown(how)
    }

    /// The address of this side.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    /// The address of the peer.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().peer_addr()
    }

    /// Whether small packets are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.io.get_ref().nodelay()
    }

    /// Sets whether small packets are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.io.get_ref().set_nodelay(nodelay)
    }

    /// The time to live of packets from this socket.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn ttl(&self) -> io::Result<u32> {
        self.io.get_ref().ttl()
    }

    /// Sets the time to live of packets from this socket.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.io.get_ref().set_ttl(ttl)
    }

    /// How long closing waits for unsent bytes (`SO_LINGER`).
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        SockRef::from(self.io.get_ref()).linger()
    }

    /// Sets how long closing waits for unsent bytes (`SO_LINGER`); whole seconds count. Zero
    /// discards them and resets the connection. A longer one makes the drop of the stream block
    /// its thread.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        SockRef::from(self.io.get_ref()).set_linger(linger)
    }

    /// Lends out the two directions, for two branches of one task.
    ///
    /// Where `AsyncReadExt` of `futures` is in scope, which has a `split` that takes the stream
    /// and puts a lock around it, write `TcpStream::split(&mut stream)`.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        split::borrowed(self)
    }

    /// Takes the two directions apart, for two tasks. When the write half is dropped, the
    /// stream ends in that direction.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        split::owned(Arc::new(self))
    }
}

/// Reads; nothing, at once, into an empty buffer, for which the system would wait.
fn receive(mut io: &std::net::TcpStream, buf: &mut [u8]) -> io::Result<usize> {
    if buf.is_empty() { Ok(0) } else { io.read(buf) }
}

impl AsyncRead for &TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.io.poll_io(cx, Direction::Read, |io| receive(io, buf))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io.poll_io(cx, Direction::Read, |mut io| io.read_vectored(bufs))
    }
}

impl AsyncWrite for &TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io.poll_io(cx, Direction::Write, |mut io| io.write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io.poll_io(cx, Direction::Write, |mut io| io.write_vectored(bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The system sends by itself what was written.
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown(Shutdown::Write))
    }
}

split::delegate_read!(TcpStream, |stream| stream);
split::delegate_write!(TcpStream, |stream| stream);
