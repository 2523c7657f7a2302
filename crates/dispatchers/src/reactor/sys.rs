//! The names that differ between systems, and which types may be registered.

#[cfg(unix)]
mod imp {
    pub(crate) use std::os::fd::{BorrowedFd as BorrowedSource, RawFd as RawSource};

    use std::os::fd::AsRawFd;

    /// The descriptor of `io`.
    pub(crate) fn raw(io: &impl polling::AsSource) -> RawSource {
        io.source().as_raw_fd()
    }
}

#[cfg(windows)]
mod imp {
    pub(crate) use std::os::windows::io::{
        BorrowedSocket as BorrowedSource, RawSocket as RawSource,
    };

    use std::os::windows::io::AsRawSocket;

    /// The socket of `io`.
    pub(crate) fn raw(io: &impl polling::AsSource) -> RawSource {
        io.source().as_raw_socket()
    }
}

pub(crate) use imp::{BorrowedSource, RawSource, raw};

/// An IO object that can be registered with a reactor.
///
/// # Safety
///
/// From its registration until it is dropped or taken back, the object answers with one and the
/// same open descriptor (socket on Windows), and that cannot be closed through `&self`.
pub unsafe trait IoSource: polling::AsSource {}

/// Implements [`IoSource`] for types of the standard library.
macro_rules! io_source {
    ($($(#[$attribute:meta])* $type:ty),* $(,)?) => {$(
        $(#[$attribute])*
        // SAFETY: the type owns its descriptor, hands out no other, and closes it when dropped.
        unsafe impl IoSource for $type {}
    )*};
}

io_source! {
    std::net::TcpListener,
    std::net::TcpStream,
    std::net::UdpSocket,
    #[cfg(unix)]
    std::os::fd::OwnedFd,
    #[cfg(unix)]
    std::os::unix::net::UnixListener,
    #[cfg(unix)]
    std::os::unix::net::UnixStream,
    #[cfg(unix)]
    std::os::unix::net::UnixDatagram,
}
