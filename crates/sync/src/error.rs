//! The errors of all channels.

use std::fmt;
use std::sync::Arc;

/// A value that could not be sent, because the channel is closed.
///
/// # Examples
///
/// ```
/// use corymb::sync::{SendError, channel};
///
/// let (tx, _) = channel::bounded(1);
/// let SendError(value) = corymb::run_blocking(tx.send("lost")).unwrap_err();
/// assert_eq!(value, "lost");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sending on a closed channel")]
pub struct SendError<T>(
    /// The value, unsent.
    pub T,
);

impl<T> SendError<T> {
    /// Of a value that nobody else has seen.
    pub(crate) fn of(value: Arc<T>) -> Self {
        Self(Arc::into_inner(value).expect("it has one owner"))
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").finish_non_exhaustive()
    }
}

/// A value that could not be sent without waiting.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError<T> {
    /// The channel has no free place at present.
    #[error("sending on a full channel")]
    Full(T),
    /// The channel is closed.
    #[error("sending on a closed channel")]
    Closed(T),
}

impl<T> TrySendError<T> {
    /// The value, unsent.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::channel;
    ///
    /// let (tx, _rx) = channel::bounded(1);
    /// assert_eq!(tx.try_send("first"), Ok(()));
    /// assert_eq!(tx.try_send("second").unwrap_err().into_inner(), "second");
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
        }
    }

    /// The same of another value.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> TrySendError<U> {
        match self {
            Self::Full(value) => TrySendError::Full(f(value)),
            Self::Closed(value) => TrySendError::Closed(f(value)),
        }
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.debug_tuple("Full").finish_non_exhaustive(),
            Self::Closed(_) => f.debug_tuple("Closed").finish_non_exhaustive(),
        }
    }
}

/// There is nothing to receive, and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The channel is closed, and everything that was sent has been received.
    #[error("receiving on a closed channel")]
    Closed,
}

/// There is nothing to receive without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryRecvError {
    /// The channel is empty at present.
    #[error("receiving on an empty channel")]
    Empty,
    /// The channel is closed, and everything that was sent has been received.
    #[error("receiving on a closed channel")]
    Closed,
}
