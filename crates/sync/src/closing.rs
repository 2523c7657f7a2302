//! Waiting until what is sent reaches nobody, for senders. All who wait are released, so that none
//! of them can hold up another.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::monitor::{Owner, State};
use crate::waiters::{Queue, WaitList};
use crate::waiting::Waiting;

/// The state of a channel.
pub(crate) trait Closes: State {
    /// It is closed, or nobody receives.
    fn reaches_nobody(&self) -> bool;

    fn closing(&mut self) -> &mut WaitList<Closing<Self>>;
}

/// The queue of the senders that wait for it.
pub(crate) struct Closing<S>(PhantomData<fn() -> S>);

impl<S: Closes> Queue for Closing<S> {
    type State = S;
    type Payload = ();

    fn waiters(state: &mut S) -> &mut WaitList<Self> {
        state.closing()
    }
}

/// Releases one of them, if it is time.
pub(crate) fn offer_closed<S: Closes>(state: &mut S) -> Option<Waker> {
    if !state.reaches_nobody() {
        return None;
    }
    state.closing().release(|()| ()).map(|(waker, ())| waker)
}

/// What one who waits does when it is polled.
pub(crate) fn poll_closed<O, S>(
    waiting: Pin<&mut Waiting<O, Closing<S>>>,
    cx: &mut Context<'_>,
) -> Poll<()>
where
    O: Owner<State = S>,
    S: Closes,
{
    waiting.poll(cx, |state, _, ()| match state.reaches_nobody() {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
}

/// Declares the future of a sender's `closed`.
macro_rules! closed_future {
    ($channel:ident, $core:ident) => {
        /// The future of [`Sender::closed`].
        #[must_use = "futures do nothing unless polled"]
        #[derive(Debug)]
        #[pin_project::pin_project]
        pub struct Closed<'a, T> {
            #[pin]
            waiting: $crate::waiting::Waiting<&'a $channel<T>, $crate::closing::Closing<$core<T>>>,
        }

        impl<T> Future for Closed<'_, T> {
            type Output = ();

            fn poll(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<()> {
                $crate::closing::poll_closed(self.project().waiting, cx)
            }
        }
    };
}
pub(crate) use closed_future;
