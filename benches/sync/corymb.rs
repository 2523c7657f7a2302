//! `corymb::sync`.

use corymb::sync::{Mutex, channel};

use crate::executors::Executor;
use crate::workloads::{self, Body, Lock, Workload};

pub(crate) struct Corymb;

impl workloads::Library for Corymb {
    fn body<E: Executor>(workload: Workload, n: usize) -> Option<Body> {
        Some(match workload {
            Workload::Channel(shape) => workloads::channel::<E, Channel>(shape, n)?,
            Workload::Select(capacity) => workloads::select::<E, Channel>(capacity, n)?,
            Workload::Mutex(hold) => workloads::lock::<E, Mutex<u64>>(hold, n),
            Workload::Alone => workloads::alone::<Mutex<u64>>(n),
            _ => return None,
        })
    }
}

struct Channel;

impl workloads::Channel for Channel {
    type Sender = channel::Sender<u64>;
    type Receiver = channel::Receiver<u64>;

    fn new(capacity: Option<usize>) -> Option<(Self::Sender, Self::Receiver)> {
        match capacity {
            None | Some(0) => None,
            Some(capacity) => Some(channel::bounded(capacity)),
        }
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

impl Lock for Mutex<u64> {
    fn new() -> Self {
        Self::new(0)
    }

    async fn pass(&self, _: bool, hold: impl Future<Output = ()> + Send) {
        let mut value = self.lock().await;
        hold.await;
        *value += 1;
    }

    fn written(self) -> Option<u64> {
        Some(self.into_inner())
    }
}
