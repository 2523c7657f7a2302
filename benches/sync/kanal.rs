//! kanal's asynchronous channels.

use kanal::{AsyncReceiver, AsyncSender, bounded_async, unbounded_async};

use crate::executors::Executor;
use crate::workloads::{self, Body, Workload};

pub(crate) struct Kanal;

impl workloads::Library for Kanal {
    fn body<E: Executor>(workload: Workload, n: usize) -> Option<Body> {
        match workload {
            Workload::Channel(shape) => workloads::channel::<E, Channel>(shape, n),
            // A receive that is dropped loses the value that was on the way to it.
            _ => None,
        }
    }
}

struct Channel;

impl workloads::Channel for Channel {
    type Sender = AsyncSender<u64>;
    type Receiver = AsyncReceiver<u64>;

    fn new(capacity: Option<usize>) -> Option<(Self::Sender, Self::Receiver)> {
        Some(capacity.map_or_else(unbounded_async, bounded_async))
    }

    fn another(receiver: &Self::Receiver) -> Option<Self::Receiver> {
        Some(receiver.clone())
    }

    async fn send(sender: &Self::Sender, value: u64) {
        sender.send(value).await.expect("a receiver is there");
    }

    async fn recv(receiver: &mut Self::Receiver) -> u64 {
        receiver.recv().await.expect("a sender is there")
    }
}
