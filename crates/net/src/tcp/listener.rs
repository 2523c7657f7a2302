//! Waiting for connections.

use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use corymb_core::time::Sleep;
use corymb_dispatchers::reactor::{Direction, Registered, Waiter};
use futures_core::Stream;
use socket2::{Domain, Protocol, Socket, Type};

use super::{TcpStream, reactor};
use crate::addr::{AddressesError, ToSocketAddrs, resolve};
use crate::backoff::Backoff;

/// How many connections the system keeps for `accept`; it may have a limit of its own below.
const BACKLOG: i32 = 1024;

/// A TCP socket that accepts connections.
///
/// Any number of tasks may accept on one listener, by reference. All of them are woken when a
/// connection comes.
///
/// # Examples
///
/// A server that answers each connection in a coroutine of its own, and a client:
///
/// ```
/// use corymb::net::{TcpListener, TcpStream};
/// use corymb::prelude::*;
///
/// #[corymb::main]
/// async fn main() -> std::io::Result<()> {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let address = listener.local_addr()?;
///     scope(async |s| {
///         let server = s.launch(scope(async move |s| {
///             while let Ok((stream, _peer)) = listener.accept().await {
///                 s.launch(async move { drop(stream.write(b"hello").await) });
///             }
///         }));
///         let mut greeting = [0; 5];
///         let read = TcpStream::connect(address).await?.read(&mut greeting).await?;
///         assert_eq!(&greeting[..read], b"hello");
///         server.cancel();
///         Ok(())
///     })
///     .await
/// }
/// ```
///
/// # Errors of `accept`
///
/// A connection that ended before it was accepted is passed over. Every other failure is given
/// to the caller, and makes the next attempt on this listener wait: five milliseconds at first,
/// twice as long each time, up to a second, until an attempt succeeds. So a loop that logs
/// errors and goes on does not spin when, say, the process has run out of descriptors (`EMFILE`):
/// the connection stays in the system's queue meanwhile.
#[derive(Debug)]
pub struct TcpListener {
    io: Registered<std::net::TcpListener>,
    backoff: Backoff,
}

impl TcpListener {
    /// Listens at the first of the addresses that `addr` stands for where that is possible; at a
    /// port chosen by the system if it is 0. On Unix, the address may still be in use by
    /// connections that are being closed (`SO_REUSEADDR`).
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::net::TcpListener;
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     assert_ne!(listener.local_addr()?.port(), 0); // the system has chosen one
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the lookup; else one with an [`AddressesError`] inside, of the kind of its last
    /// attempt. One that says so, if there is no runtime.
    ///
    /// # Cancel safety
    ///
    /// It waits only for the lookup of a host name; nothing is bound before.
    #[track_caller]
    pub fn bind(addr: impl ToSocketAddrs) -> impl Future<Output = io::Result<Self>> + Send {
        let addresses = resolve(addr.target(), Location::caller());
        async move {
            let mut errors = AddressesError::new("listen at");
            for address in addresses.await? {
                match listen(address) {
                    Ok(socket) => return Self::register(socket),
                    Err(error) => errors.push(address, error),
                }
            }
            Err(errors.into_io())
        }
    }

    /// Takes a listener of the standard library.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::net::TcpListener;
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    ///     let address = listener.local_addr()?;
    ///     assert_eq!(TcpListener::from_std(listener)?.local_addr()?, address);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the system, and one that says so if there is no runtime.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Self::register(listener)
    }

    /// Gives a listener of the standard library, in blocking mode.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::net::TcpListener;
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let address = listener.local_addr()?;
    ///     let listener: std::net::TcpListener = listener.into_std()?;
    ///     assert_eq!(listener.local_addr()?, address);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        let listener = self.io.into_inner();
        listener.set_nonblocking(false)?;
        Ok(listener)
    }

    fn register(listener: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self { io: reactor()?.register(listener)?, backoff: Backoff::new() })
    }

    /// Waits for a connection; gives it with the address of its peer.
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
    ///     let (_server, peer) = listener.accept().await?;
    ///     assert_eq!(peer, client.local_addr()?);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the system, for example when the process has no more descriptors: see
    /// [above](Self#errors-of-accept). One that says that the runtime has shut down.
    ///
    /// # Cancel safety
    ///
    /// A connection stays in the system's queue until the poll that gives it: an accept that is
    /// dropped while pending loses none.
    #[track_caller]
    pub fn accept(&self) -> Accept<'_> {
        Accept {
            listener: self,
            waiter: self.io.waiter(Direction::Read),
            pause: None,
            place: Location::caller(),
        }
    }

    /// The connections as a stream, which never ends. Its items are the results of
    /// [`accept`](Self::accept); what is said there holds here.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    /// use futures::StreamExt as _;
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (_server, peer) = listener.incoming().next().await.expect("it never ends")?;
    ///     assert_eq!(peer, client.local_addr()?);
    ///     Ok(())
    /// }
    /// ```
    #[track_caller]
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming(self.accept())
    }

    /// The address at which this socket listens.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::net::TcpListener;
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     assert!(listener.local_addr()?.ip().is_loopback());
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
    /// use corymb::net::TcpListener;
    ///
    /// #[corymb::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     listener.set_ttl(7)?;
    ///     assert_eq!(listener.ttl()?, 7);
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

    fn admit(&self, stream: std::net::TcpStream, peer: SocketAddr) -> io::Result<Connection> {
        Ok((TcpStream::registered(self.io.reactor().register(stream)?), peer))
    }
}

/// What an accept gives.
type Connection = (TcpStream, SocketAddr);

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // On Windows the option means that others may take the address away.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Takes a connection from the system's queue, past those that have ended there. Each of the
/// errors passed over takes its connection out of the queue, so this comes to an end.
fn take(listener: &std::net::TcpListener) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(true)?;
                return Ok((stream, peer));
            }
            Err(error) if concerns_connection(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether an error of `accept` is about the connection, not about the listener or the process.
/// Linux reports errors that were pending on the new socket, too.
fn concerns_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
    )
}

/// The future of [`TcpListener::accept`].
#[must_use = "futures do nothing unless awaited"]
pub struct Accept<'a> {
    listener: &'a TcpListener,
    waiter: Waiter<'a, std::net::TcpListener>,
    pause: Option<Pin<Box<Sleep>>>,
    place: &'static Location<'static>,
}

impl Accept<'_> {
    /// Waits until the listener may be tried.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match self.listener.backoff.until() {
                Some(until) => self.pause = Some(Box::pin(Sleep::until_at(until, self.place))),
                None => return Poll::Ready(()),
            }
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        ready!(self.poll_pause(cx));
        let accepted = ready!(self.waiter.poll_io(cx, take))
            .and_then(|(stream, peer)| self.listener.admit(stream, peer));
        match accepted {
            Ok(_) => self.listener.backoff.succeeded(),
            Err(_) => self.listener.backoff.failed(),
        }
        Poll::Ready(accepted)
    }
}

impl Future for Accept<'_> {
    type Output = io::Result<Connection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().poll_accept(cx)
    }
}

impl std::fmt::Debug for Accept<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accept").field("waiter", &self.waiter).finish_non_exhaustive()
    }
}

/// The stream of [`TcpListener::incoming`].
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct Incoming<'a>(Accept<'a>);

impl Stream for Incoming<'_> {
    type Item = io::Result<Connection>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().0.poll_accept(cx).map(Some)
    }
}
