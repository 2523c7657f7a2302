//! TCP for coroutines.
//!
//! Sockets wait on the reactor of the runtime in which they are made, and on no thread: any
//! number of them costs a slot each. They can be used from every executor as long as that
//! runtime lives; afterwards their operations fail with an error that says so.
//!
//! # Examples
//!
//! ```
//! use corymb::net::{TcpListener, TcpStream};
//!
//! #[corymb::main]
//! async fn main() -> std::io::Result<()> {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let client = TcpStream::connect(listener.local_addr()?).await?;
//!     let (server, _peer) = listener.accept().await?;
//!     client.write(b"!").await?;
//!     let mut byte = [0];
//!     assert_eq!((server.read(&mut byte).await?, byte), (1, *b"!"));
//!     Ok(())
//! }
//! ```
//!
//! # Cancel safety
//!
//! Values are *pulled*: bytes and connections stay in the system until the very poll that gives
//! them to the caller. A read, write or accept that is dropped while pending has transferred
//! nothing, holds no place in a queue that would matter, and leaves no waker behind. What
//! consists of several such operations (`read_exact`, `write_all` of `futures`) may be
//! cancelled between them.

mod addr;
mod backoff;
mod helper;
mod tcp;

pub use addr::{AddressesError, ToSocketAddrs, lookup_host};
pub use tcp::{
    Accept, Incoming, OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, TcpListener,
    TcpStream, WriteHalf,
};
