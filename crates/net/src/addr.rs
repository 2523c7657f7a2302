//! Addresses: what stands for them, looking them up, and failing at each of them.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs as _,
};
use std::panic::Location;

use crate::helper;

/// What stands for one or more socket addresses: the addresses themselves, pairs of host and
/// port, and strings such as `"localhost:80"`.
///
/// Addresses, also those in strings, are taken as they are. A host name is looked up by the
/// system on a helper thread; at most four such calls run at a time.
///
/// The trait is sealed.
///
/// # Examples
///
/// ```
/// use std::net::{Ipv4Addr, SocketAddr};
/// use corymb::net::{ToSocketAddrs, lookup_host};
///
/// async fn first(host: impl ToSocketAddrs) -> std::io::Result<SocketAddr> {
///     Ok(lookup_host(host).await?[0])
/// }
///
/// let text = corymb::run_blocking(first("127.0.0.1:80")).unwrap();
/// let pair = corymb::run_blocking(first((Ipv4Addr::LOCALHOST, 80))).unwrap();
/// assert_eq!(text, pair);
/// ```
pub trait ToSocketAddrs: sealed::Target {}

impl<T: sealed::Target + ?Sized> ToSocketAddrs for T {}

/// Finds the addresses that `host` stands for, in the order in which to try them.
///
/// # Examples
///
/// ```
/// use corymb::net::lookup_host;
///
/// #[corymb::main]
/// async fn main() -> std::io::Result<()> {
///     let found = lookup_host("127.0.0.1:80").await?;
///     assert_eq!(found, ["127.0.0.1:80".parse().unwrap()]);
///     let refused = lookup_host("no port").await.unwrap_err();
///     assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
///     Ok(())
/// }
/// ```
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for a string that is not of the form
/// `host:port`, and those of the lookup.
///
/// # Cancel safety
///
/// A lookup that is dropped is not begun, or its result is thrown away.
#[track_caller]
pub fn lookup_host(
    host: impl ToSocketAddrs,
) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send {
    resolve(host.target(), Location::caller())
}

/// Where a lookup begins.
#[derive(Debug)]
pub enum Target {
    /// Nothing has to be looked up.
    Known(Vec<SocketAddr>),
    /// The name of a host, and a port.
    Name(String, u16),
}

/// Ends the lookup that `target` begins.
pub(crate) async fn resolve(
    target: io::Result<Target>,
    place: &'static Location<'static>,
) -> io::Result<Vec<SocketAddr>> {
    match target? {
        Target::Known(addresses) => Ok(addresses),
        Target::Name(host, port) => {
            helper::run(place, move || (host, port).to_socket_addrs())?.await.map(Iterator::collect)
        }
    }
}

mod sealed {
    use super::{
        IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, Target as Found, io,
    };

    pub trait Target {
        #[doc(hidden)]
        fn target(&self) -> io::Result<Found>;
    }

    /// Types that convert into an address.
    macro_rules! addresses {
        ($($address:ty),* $(,)?) => {$(
            impl Target for $address {
                fn target(&self) -> io::Result<Found> {
                    Ok(Found::Known(vec![(*self).into()]))
                }
            }
        )*};
    }

    addresses!(
        SocketAddr,
        SocketAddrV4,
        SocketAddrV6,
        (IpAddr, u16),
        (Ipv4Addr, u16),
        (Ipv6Addr, u16),
    );

    impl Target for [SocketAddr] {
        fn target(&self) -> io::Result<Found> {
            Ok(Found::Known(self.to_vec()))
        }
    }

    impl<const N: usize> Target for [SocketAddr; N] {
        fn target(&self) -> io::Result<Found> {
            self.as_slice().target()
        }
    }

    impl Target for Vec<SocketAddr> {
        fn target(&self) -> io::Result<Found> {
            self.as_slice().target()
        }
    }

    impl Target for (&str, u16) {
        fn target(&self) -> io::Result<Found> {
            let &(host, port) = self;
            Ok(match host.parse::<IpAddr>() {
                Ok(ip) => Found::Known(vec![(ip, port).into()]),
                Err(_) => Found::Name(host.to_owned(), port),
            })
        }
    }

    impl Target for (String, u16) {
        fn target(&self) -> io::Result<Found> {
            (self.0.as_str(), self.1).target()
        }
    }

    impl Target for str {
        fn target(&self) -> io::Result<Found> {
            if let Ok(address) = self.parse() {
                return Ok(Found::Known(vec![address]));
            }
            match self.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
                Some((host, Ok(port))) => (host, port).target(),
                _ => Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{self:?} is not of the form host:port"),
                )),
            }
        }
    }

    impl Target for String {
        fn target(&self) -> io::Result<Found> {
            self.as_str().target()
        }
    }

    impl<T: Target + ?Sized> Target for &T {
        fn target(&self) -> io::Result<Found> {
            (**self).target()
        }
    }
}

/// What went wrong at each of several addresses: the inner error, to be had by
/// [`io::Error::get_ref`], of a `bind` or `connect` that failed at all of them.
///
/// # Examples
///
/// ```
/// use corymb::net::{AddressesError, TcpListener};
///
/// #[corymb::main]
/// async fn main() -> std::io::Result<()> {
///     let taken = TcpListener::bind("127.0.0.1:0").await?;
///     let error = TcpListener::bind(taken.local_addr()?).await.unwrap_err();
///     let inner = error.get_ref().and_then(|it| it.downcast_ref::<AddressesError>());
///     assert_eq!(inner.unwrap().attempts()[0].0, taken.local_addr()?);
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct AddressesError {
    operation: &'static str,
    attempts: Vec<(SocketAddr, io::Error)>,
}

impl AddressesError {
    pub(crate) fn new(operation: &'static str) -> Self {
        Self { operation, attempts: Vec::new() }
    }

    pub(crate) fn push(&mut self, address: SocketAddr, error: io::Error) {
        self.attempts.push((address, error));
    }

    /// An error of the same kind as that of the last attempt.
    pub(crate) fn into_io(self) -> io::Error {
        let kind =
            self.attempts.last().map_or(io::ErrorKind::InvalidInput, |(_, error)| error.kind());
        io::Error::new(kind, self)
    }

    /// The addresses that were tried, in this order, and what went wrong there.
    pub fn attempts(&self) -> &[(SocketAddr, io::Error)] {
        &self.attempts
    }
}

impl fmt::Display for AddressesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.operation)?;
        if self.attempts.is_empty() {
            f.write_str(": no address was given")?;
        }
        let mut separator = " ";
        for (address, error) in &self.attempts {
            write!(f, "{separator}{address}: {error}")?;
            separator = "; ";
        }
        Ok(())
    }
}

impl Error for AddressesError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let (_, error) = self.attempts.last()?;
        Some(error)
    }
}
