//! Making a connection.

use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::sync::Arc;

use corymb_dispatchers::reactor::{Direction, Reactor};
use socket2::{Domain, Protocol, Socket, Type};

use super::{TcpStream, reactor};
use crate::addr::AddressesError;

/// Connects to the first of `addresses` that accepts.
pub(super) async fn connect(
    addresses: Vec<SocketAddr>,
    place: &'static Location<'static>,
) -> io::Result<TcpStream> {
    let reactor = reactor()?;
    let mut errors = AddressesError::new("connect to");
    for address in addresses {
        match connect_to(&reactor, address, place).await {
            Ok(stream) => return Ok(stream),
            Err(error) => errors.push(address, error),
        }
    }
    Err(errors.into_io())
}

async fn connect_to(
    reactor: &Arc<Reactor>,
    address: SocketAddr,
    place: &'static Location<'static>,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if !in_progress(&error) => return Err(error),
        _ => {}
    }
    let io = reactor.register(std::net::TcpStream::from(socket))?;
    io.io(Direction::Write, outcome).at(place).await?;
    Ok(TcpStream::registered(io))
}

/// Whether a connection attempt goes on in the background.
fn in_progress(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) {
        return true;
    }
    // One that a signal has interrupted goes on, too.
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// What has become of a connection attempt so far. It asks the socket instead of trusting the
/// event, so a spurious one does no harm.
fn outcome(socket: &std::net::TcpStream) -> io::Result<()> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        Err(error) => Err(error),
    }
}
