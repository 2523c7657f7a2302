//! What a receiver of a broadcast channel may be told in the place of a value.

/// How many values a receiver has lost, because it was too far behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("receiving too slowly: {0} values are lost")]
pub struct Lagged(
    /// The number.
    pub u64,
);

/// There is no value for this receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// Some were lost; the next receive gives the oldest there is.
    #[error(transparent)]
    Lagged(#[from] Lagged),
    /// The channel is closed, and the receiver has got everything.
    #[error("receiving on a closed channel")]
    Closed,
}

/// There is no value for this receiver without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryRecvError {
    /// It has got everything that was sent so far.
    #[error("receiving on an empty channel")]
    Empty,
    /// Some were lost; the next receive gives the oldest there is.
    #[error(transparent)]
    Lagged(#[from] Lagged),
    /// The channel is closed, and the receiver has got everything.
    #[error("receiving on a closed channel")]
    Closed,
}

impl From<RecvError> for TryRecvError {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Lagged(lagged) => Self::Lagged(lagged),
            RecvError::Closed => Self::Closed,
        }
    }
}
