//! The two directions of a connection, apart.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;

use super::TcpStream;

/// Implements `AsyncRead` for a type by that of the `&TcpStream` in it.
macro_rules! delegate_read {
    ($type:ty, |$this:ident| $stream:expr) => {
        impl futures_io::AsyncRead for $type {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &mut [u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                let $this = &*self;
                let mut stream: &TcpStream = $stream;
                std::pin::Pin::new(&mut stream).poll_read(cx, buf)
            }

            fn poll_read_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bufs: &mut [std::io::IoSliceMut<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                let $this = &*self;
                let mut stream: &TcpStream = $stream;
                std::pin::Pin::new(&mut stream).poll_read_vectored(cx, bufs)
            }
        }
    };
}

/// Implements `AsyncWrite` for a type by that of the `&TcpStream` in it.
macro_rules! delegate_write {
    ($type:ty, |$this:ident| $stream:expr) => {
        impl futures_io::AsyncWrite for $type {
            fn poll_write(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                let $this = &*self;
                let mut stream: &TcpStream = $stream;
                std::pin::Pin::new(&mut stream).poll_write(cx, buf)
            }

            fn poll_write_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bufs: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                let $this = &*self;
                let mut stream: &TcpStream = $stream;
                std::pin::Pin::new(&mut stream).poll_write_vectored(cx, bufs)
            }

            fn poll_flush(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                let $this = &*self;
                let mut stream: &TcpStream = $stream;
                std::pin::Pin::new(&mut stream).poll_flush(cx)
            }

            fn poll_close(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                let $this = &*self;
                let mut stream: &TcpStream = $stream;
                std::pin::Pin::new(&mut stream).poll_close(cx)
            }
        }
    };
}

pub(super) use {delegate_read, delegate_write};

/// The reading side of a [`TcpStream`], from [`TcpStream::split`].
#[derive(Debug)]
pub struct ReadHalf<'a>(&'a TcpStream);

/// The writing side of a [`TcpStream`], from [`TcpStream::split`].
#[derive(Debug)]
pub struct WriteHalf<'a>(&'a TcpStream);

/// The reading side of a [`TcpStream`], from [`TcpStream::into_split`].
#[derive(Debug)]
pub struct OwnedReadHalf(Arc<TcpStream>);

/// The writing side of a [`TcpStream`], from [`TcpStream::into_split`].
///
/// Dropping it ends the stream in its direction: the peer reads the end of the stream.
#[derive(Debug)]
pub struct OwnedWriteHalf {
    /// `None` once reunited: then the drop has nothing to end.
    stream: Option<Arc<TcpStream>>,
}

pub(super) fn borrowed(stream: &TcpStream) -> (ReadHalf<'_>, WriteHalf<'_>) {
    (ReadHalf(stream), WriteHalf(stream))
}

pub(super) fn owned(stream: Arc<TcpStream>) -> (OwnedReadHalf, OwnedWriteHalf) {
    (OwnedReadHalf(Arc::clone(&stream)), OwnedWriteHalf { stream: Some(stream) })
}

impl AsRef<TcpStream> for ReadHalf<'_> {
    fn as_ref(&self) -> &TcpStream {
        self.0
    }
}

impl AsRef<TcpStream> for WriteHalf<'_> {
    fn as_ref(&self) -> &TcpStream {
        self.0
    }
}

impl AsRef<TcpStream> for OwnedReadHalf {
    fn as_ref(&self) -> &TcpStream {
        &self.0
    }
}

impl AsRef<TcpStream> for OwnedWriteHalf {
    fn as_ref(&self) -> &TcpStream {
        self.stream.as_ref().expect("the stream is taken out only where the half is consumed")
    }
}

/// The functions of a reading half.
macro_rules! reading {
    ($type:ty) => {
        impl $type {
            /// As [`TcpStream::read`].
            ///
            /// # Errors
            ///
            /// As there.
            ///
            /// # Cancel safety
            ///
            /// As there: nothing is lost.
            #[track_caller]
            pub fn read(
                &mut self,
                buf: &mut [u8],
            ) -> impl Future<Output = io::Result<usize>> + Send {
                Self::as_ref(self).read(buf)
            }

            /// As [`TcpStream::peek`].
            ///
            /// # Errors
            ///
            /// As there.
            ///
            /// # Cancel safety
            ///
            /// It takes nothing.
            #[track_caller]
            pub fn peek(
                &mut self,
                buf: &mut [u8],
            ) -> impl Future<Output = io::Result<usize>> + Send {
                Self::as_ref(self).peek(buf)
            }
        }

        delegate_read!($type, |half| half.as_ref());
    };
}

/// The functions of a writing half.
macro_rules! writing {
    ($type:ty) => {
        impl $type {
            /// As [`TcpStream::write`].
            ///
            /// # Errors
            ///
            /// As there.
            ///
            /// # Cancel safety
            ///
            /// As there: a write that is dropped while pending has written nothing.
            #[track_caller]
            pub fn write(&mut self, buf: &[u8]) -> impl Future<Output = io::Result<usize>> + Send {
                Self::as_ref(self).write(buf)
            }

            /// Ends the stream in this direction, as [`TcpStream::shutdown`].
            ///
            /// # Errors
            ///
            /// Those of the system.
            pub fn shutdown(&mut self) -> io::Result<()> {
                Self::as_ref(self).shutdown(Shutdown::Write)
            }
        }

        delegate_write!($type, |half| half.as_ref());
    };
}

reading!(ReadHalf<'_>);
reading!(OwnedReadHalf);
writing!(WriteHalf<'_>);
writing!(OwnedWriteHalf);

impl OwnedReadHalf {
    /// Puts the stream together again.
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
    ///     let (reader, writer) = client.into_split();
    ///     let client = reader.reunite(writer).expect("two halves of one stream");
    ///     assert_eq!(client.peer_addr()?, server.local_addr()?);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Gives both halves back, if they are not of the same stream.
    pub fn reunite(self, other: OwnedWriteHalf) -> Result<TcpStream, ReuniteError> {
        other.reunite(self)
    }
}

impl OwnedWriteHalf {
    /// Puts the stream together again.
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
    ///     let (_reader, writer) = client.into_split();
    ///     let (other, _writer) = server.into_split();
    ///     let error = writer.reunite(other).unwrap_err();
    ///     assert_eq!(error.to_string(), "the halves are not of the same stream");
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Gives both halves back, if they are not of the same stream.
    #[expect(clippy::missing_panics_doc, reason = "a stream has two halves, and here are both")]
    pub fn reunite(mut self, other: OwnedReadHalf) -> Result<TcpStream, ReuniteError> {
        match self.stream.take_if(|stream| Arc::ptr_eq(stream, &other.0)) {
            Some(stream) => {
                drop(other);
                Ok(Arc::into_inner(stream).expect("a stream has two halves"))
            }
            None => Err(ReuniteError(other, self)),
        }
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            // It fails for a connection that has ended already.
            drop(stream.shutdown(Shutdown::Write));
        }
    }
}

/// Two halves that are not of the same stream.
#[derive(Debug)]
pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

impl fmt::Display for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are not of the same stream")
    }
}

impl Error for ReuniteError {}
