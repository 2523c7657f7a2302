//! The poller's own wait.

use std::io;
use std::num::NonZeroUsize;
use std::time::Duration;

use polling::{Events, Poller};

use super::{BATCH, Ready};

/// What a wait needs beside the poller: nothing.
#[derive(Debug)]
pub(crate) struct Selector;

/// The events of one wait.
pub(crate) struct Batch(Events);

impl Batch {
    pub(crate) fn new() -> Self {
        Self(Events::with_capacity(const { NonZeroUsize::new(BATCH).unwrap() }))
    }

    /// The events that the last wait fetched.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Ready> {
        self.0.iter().map(|event| Ready {
            key: event.key,
            readable: event.readable,
            writable: event.writable,
        })
    }
}

impl Selector {
    pub(crate) fn new(_: &Poller) -> io::Result<Self> {
        Ok(Self)
    }

    /// Waits for events, a notification or the timeout, whichever comes first; it may also
    /// return early for no reason.
    pub(crate) fn wait(
        &self,
        poller: &Poller,
        batch: &mut Batch,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        batch.0.clear();
        poller.wait(&mut batch.0, timeout).map(drop)
    }

    /// Ends the wait in progress, else the next one.
    pub(crate) fn notify(&self, poller: &Poller) {
        poller.notify().expect("a notification is a write to a descriptor that the poller owns");
    }
}
