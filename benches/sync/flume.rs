//! flume, by its asynchronous methods.

use flume::{Receiver, Sender, bounded, unbounded};

use crate::executors::Executor;
use crate::workloads::{self, Body, Workload};

pub(crate) struct Flume;

impl workloads::Library for Flume {
    fn body<E: Executor>(workload: Workload, n: usize) -> Option<Body> {
        match workload {
            Workload::Channel(shape) => workloads::channel::<E, Channel>(shape, n),
            Workload::Select(capacity) => workloads::select::<E, Channel>(capacity, n),
            _ => None,
        }
    }
}

struct Channel;

impl workloads::Channel for Channel {
    type Sender = Sender<u64>;
    type Receiver = Receiver<u64>;

    fn new(capacity: Option<usize>) -> Option<(Self::Sender, Self::Receiver)> {
        Some(capacity.map_or_else(unbounded, bounded))
    }

    fn another(receiver: &Self::Receiver) -> Option<Self::Receiver> {
        Some(receiver.clone())
    }

    async fn send(sender: &Self::Sender, value: u64) {
        sender.send_async(value).await.expect("a receiver is there");
    }

    async fn recv(receiver: &mut Self::Receiver) -> u64 {
        receiver.recv_async().await.expect("a sender is there")
    }
}
