//! Connections in memory, in virtual time, with what networks do to them.

mod net;
mod pipe;
mod stream;

pub use net::{SimHost, SimListener, SimNet};
pub use stream::{SimStream, duplex};
