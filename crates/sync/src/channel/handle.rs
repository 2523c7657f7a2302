//! What both ends of a channel tell, and can do to it.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::{Cause, Receiver, Sender, Statistics};

macro_rules! handle {
    ($Handle:ident) => {
        impl<T> $Handle<T> {
            /// Closes the channel: no send is accepted any more. What was sent, waiting sends
            /// included, can be received, and so can what is sent with permits that are out; to
            /// drop it, drop the receivers. Reservations that wait are refused.
            ///
            /// Tells whether it was open.
            ///
            /// # Examples
            ///
            /// ```
            /// use corymb::sync::{TryRecvError, TrySendError, channel};
            ///
            /// let (tx, rx) = channel::bounded(2);
            /// assert_eq!(tx.try_send(1), Ok(()));
            /// assert!(tx.close());
            /// assert!(!rx.close());
            /// assert_eq!(tx.try_send(2), Err(TrySendError::Closed(2)));
            /// assert_eq!(rx.try_recv(), Ok(1)); // sent before
            /// assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
            /// ```
            pub fn close(&self) -> bool {
                self.channel.close(None)
            }

            /// Closes the channel as [`close`](Self::close) does, for a reason, which both ends can
            /// [read](Self::close_cause). That of the first close stands.
            ///
            /// # Examples
            ///
            /// ```
            /// use corymb::sync::{RecvError, channel};
            /// # corymb::run_blocking(async {
            /// let (tx, rx) = channel::bounded::<u32>(1);
            /// assert!(tx.close_with(std::fmt::Error));
            /// assert_eq!(rx.recv().await, Err(RecvError::Closed));
            /// let cause = rx.close_cause().expect("it was given one");
            /// assert!(cause.is::<std::fmt::Error>());
            /// # });
            /// ```
            pub fn close_with(
                &self,
                cause: impl Error + std::marker::Send + Sync + 'static,
            ) -> bool {
                self.channel.close(Some(Arc::new(cause)))
            }

            /// Why the channel was closed, if it was with [`close_with`](Self::close_with).
            #[must_use]
            pub fn close_cause(&self) -> Option<Arc<dyn Error + std::marker::Send + Sync>> {
                self.channel.0.lock().cause.as_ref().map(Cause::clone)
            }

            /// Whether the channel is closed, so that a send fails. What was sent before can still
            /// be received.
            #[must_use]
            pub fn is_closed(&self) -> bool {
                self.channel.0.lock().closed
            }

            /// How many values the channel holds at present.
            #[must_use]
            pub fn len(&self) -> usize {
                self.channel.0.lock().len()
            }

            /// Whether the channel holds no value at present.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// How many values the channel can hold: 0 if it is a rendezvous, `usize::MAX` if there
            /// is no limit.
            #[must_use]
            pub fn capacity(&self) -> usize {
                self.channel.0.lock().capacity()
            }

            /// How many senders there are; weak ones and permits of senders do not count.
            #[must_use]
            pub fn sender_count(&self) -> usize {
                self.channel.0.lock().senders
            }

            /// How many receivers there are.
            #[must_use]
            pub fn receiver_count(&self) -> usize {
                self.channel.0.lock().receivers
            }

            /// Whether `other` is of the same channel.
            #[must_use]
            pub fn same_channel(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.channel, &other.channel)
            }

            /// The figures of the channel.
            #[must_use]
            pub fn statistics(&self) -> Statistics {
                self.channel.0.lock().statistics()
            }
        }

        impl<T> fmt::Debug for $Handle<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($Handle)).field(&self.channel).finish()
            }
        }
    };
}

handle!(Sender);
handle!(Receiver);
