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
///
/// # Examples
///
/// With the traits of `futures`:
///
/// ```
/// use corymb::net::{TcpListener, TcpStream};
/// use futures::{AsyncReadExt as _, AsyncWriteExt as _};
///
/// #[corymb::main]
/// async fn main() -> std::io::Result<()> {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
///     let (mut server, _peer) = listener.accept().await?;
///     client.write_all(b"hello").await?;
///     client.close().await?; // the end of the stream
///     let mut text = String::new();
///     server.read_to_string(&mut text).await?;
///     assert_eq!(text, "hello");
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct TcpStream {
    io: Registered<std::net::TcpStream>,
}

impl TcpStream {
    /// Connects to the first of the addresses that `addr` stands for which accepts.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    ///     Ok(())
    /// }
    /// ```
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
    /// # Examples
    ///
    /// ```
    /// use corymb::net::TcpStream;
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
    ///     let stream = TcpStream::from_std(stream)?;
    ///     assert_eq!(stream.write(b"hello").await?, 5);
    ///     Ok(())
    /// }
    /// ```
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
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     let stream: std::net::TcpStream = stream.into_std()?;
    ///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    ///     Ok(())
    /// }
    /// ```
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
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (server, _peer) = listener.accept().await?;
    ///     client.write(b"hello").await?;
    ///     let mut buffer = [0; 16];
    ///     let read = server.read(&mut buffer).await?;
    ///     assert!(b"hello".starts_with(&buffer[..read]) && read > 0);
    ///     drop(client);
    ///     Ok(())
    /// }
    /// ```
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
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (server, _peer) = listener.accept().await?;
    ///     client.write(b"!").await?;
    ///     let mut byte = [0];
    ///     assert_eq!((server.peek(&mut byte).await?, byte), (1, *b"!"));
    ///     assert_eq!((server.read(&mut byte).await?, byte), (1, *b"!")); // still there
    ///     Ok(())
    /// }
    /// ```
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
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (server, _peer) = listener.accept().await?;
    ///     let text = b"hello";
    ///     let mut written = 0;
    ///     while written < text.len() {
    ///         written += client.write(&text[written..]).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
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
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (server, _peer) = listener.accept().await?;
    ///     client.write(b"!").await?;
    ///     let mut byte = [0];
    ///     loop {
    ///         server.readable().await?;
    ///         match server.try_read(&mut byte) {
    ///             Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
    ///             read => break assert_eq!(read?, 1),
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
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
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (server, _peer) = listener.accept().await?;
    ///     client.writable().await?;
    ///     assert_eq!(client.try_write(b"!")?, 1); // an empty buffer has room
    ///     Ok(())
    /// }
    /// ```
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
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (server, _peer) = listener.accept().await?;
    ///     let error = server.try_read(&mut [0; 16]).unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock); // nothing was sent
    ///     Ok(())
    /// }
    /// ```
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
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (server, _peer) = listener.accept().await?;
    ///     assert_eq!(client.try_write(b"hello")?, 5); // an empty buffer has room
    ///     Ok(())
    /// }
    /// ```
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
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (server, _peer) = listener.accept().await?;
    ///     client.shutdown(std::net::Shutdown::Write)?;
    ///     assert_eq!(server.read(&mut [0; 16]).await?, 0); // the end of the stream
    ///     assert_eq!(server.write(b"bye").await?, 3); // the other direction is open
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.io.get_ref().shutdown(how)
    }

    /// The address of this side.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (server, _peer) = listener.accept().await?;
    ///     assert_eq!(client.local_addr()?, server.peer_addr()?);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    /// The address of the peer.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (server, _peer) = listener.accept().await?;
    ///     assert_eq!(client.peer_addr()?, server.local_addr()?);
    ///     Ok(())
    /// }
    /// ```
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
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (server, _peer) = listener.accept().await?;
    ///     client.set_nodelay(true)?;
    ///     assert!(client.nodelay()?);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.io.get_ref().set_nodelay(nodelay)
    }

    /// The time to live of packets from this socket, in hops.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn ttl(&self) -> io::Result<u32> {
        self.io.get_ref().ttl()
    }

    /// Sets the time to live of packets from this socket, in hops.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (server, _peer) = listener.accept().await?;
    ///     client.set_ttl(7)?;
    ///     assert_eq!(client.ttl()?, 7);
    ///     Ok(())
    /// }
    /// ```
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
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (server, _peer) = listener.accept().await?;
    ///     client.set_linger(Some(std::time::Duration::ZERO))?;
    ///     drop(client); // resets the connection
    ///     let error = server.read(&mut [0; 16]).await.unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    ///     Ok(())
    /// }
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (server, _peer) = listener.accept().await?;
    ///     let (mut reader, mut writer) = client.split();
    ///     server.write(b"?").await?;
    ///     let mut byte = [0];
    ///     assert_eq!(reader.read(&mut byte).await?, 1);
    ///     assert_eq!(writer.write(b"!").await?, 1);
    ///     Ok(())
    /// }
    /// ```
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        split::borrowed(self)
    }

    /// Takes the two directions apart, for two tasks. When the write half is dropped, the
    /// stream ends in that direction.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (server, _peer) = listener.accept().await?;
    ///     let (mut reader, mut writer) = client.into_split();
    ///     corymb::scope(async |s| {
    ///         s.launch(async move { drop(writer.write(b"?").await) });
    ///         let mut byte = [0];
    ///         assert_eq!(server.read(&mut byte).await?, 1);
    ///         assert_eq!(server.read(&mut byte).await?, 0); // the write half was dropped
    ///         server.write(b"!").await?;
    ///         assert_eq!(reader.read(&mut byte).await?, 1);
    ///         Ok::<_, std::io::Error>(())
    ///     })
    ///     .await?;
    ///     Ok(())
    /// }
    /// ```
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
