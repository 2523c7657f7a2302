//! TCP: listeners and streams.

use std::io;
use std::sync::Arc;

use corymb_dispatchers::reactor::{self, Reactor};

mod connect;
mod listener;
mod split;
mod stream;

pub use listener::{Accept, Incoming, TcpListener};
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use stream::TcpStream;

/// The reactor that a socket made here belongs to.
fn reactor() -> io::Result<Arc<Reactor>> {
    reactor::current()
}
