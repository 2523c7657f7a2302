//! A sender as a sink.

use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_sink::Sink;
use pin_project::pin_project;

use super::state::{Channel, Claim, Senders};
use super::{OwnedPermit, Sender};
use crate::SendError;
use crate::waiting::Waiting;

/// The sink of [`Sender::into_sink`].
#[must_use = "sinks do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct IntoSink<T> {
    #[pin]
    waiting: Waiting<Arc<Channel<T>>, Senders<T>>,
    end: End<T>,
}

/// The sender, and whether a place is reserved.
#[derive(Debug)]
enum End<T> {
    Idle(Sender<T>),
    Ready(OwnedPermit<T>),
    Closed,
}

impl<T> IntoSink<T> {
    pub(super) fn new(sender: Sender<T>, place: &'static Location<'static>) -> Self {
        let waiting = Waiting::new(Arc::clone(&sender.channel), Claim::Place, place);
        Self { waiting, end: End::Idle(sender) }
    }
}

impl<T> Sink<T> for IntoSink<T> {
    type Error = SendError<()>;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError<()>>> {
        let this = self.project();
        match this.end {
            End::Ready(_) => return Poll::Ready(Ok(())),
            End::Closed => return Poll::Ready(Err(SendError(()))),
            End::Idle(_) => {}
        }
        ready!(this.waiting.poll(cx, |core, turn, _| core.poll_reserve(turn)))?;
        if let End::Idle(sender) = std::mem::replace(this.end, End::Closed) {
            *this.end = End::Ready(OwnedPermit::new(sender));
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, value: T) -> Result<(), SendError<()>> {
        let this = self.project();
        let End::Ready(permit) = std::mem::replace(this.end, End::Closed) else {
            panic!(
                "`start_send` on the sink made at {}, which was not ready: call it once after each \
                 `poll_ready` that has answered `Ok`",
                this.waiting.place()
            );
        };
        let sender = permit.send(value).map_err(|_| SendError(()))?;
        *this.end = End::Idle(sender);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), SendError<()>>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), SendError<()>>> {
        let mut this = self.project();
        this.waiting.as_mut().leave();
        *this.end = End::Closed;
        Poll::Ready(Ok(()))
    }
}
