//! Waiting for events: the one function in which the driver sleeps, and the means to end that.
//!
//! `docs/decisions/0001-reactor-wait.md` says why Linux has its own.

use polling::Poller;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(any(all(test, not(miri), not(loom)), not(any(target_os = "linux", target_os = "android"))))]
mod portable;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux::{Batch, Selector};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use portable::{Batch, Selector};

/// How many events one wait fetches at most; the rest come with the next one.
const BATCH: usize = 256;

/// An event of a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) key: usize,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// A new poller.
pub(crate) fn poller() -> std::io::Result<Poller> {
    Poller::new()
}

#[cfg(all(test, not(miri), not(loom)))]
mod tests;
