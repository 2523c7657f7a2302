//! async-channel and async-lock, the primitives of smol.

use std::hint::black_box;

use async_channel::{Receiver, Sender, bounded, unbounded};
use async_lock::{Mutex, RwLock, Semaphore};
use corymb_harness::sizes::PERMITS;

use crate::executors::Executor;
use crate::workloads::{self, Body, Lock, Workload};

pub(crate) struct Smol;

impl workloads::Library for Smol {
    fn body<E: Executor>(workload: Workload, n: usize) -> Option<Body> {
        Some(match workload {
            Workload::Channel(shape) => workloads::channel::<E, Channel>(shape, n)?,
            Workload::Select(capacity) => workloads::select::<E, Channel>(capacity, n)?,
            Workload::Mutex(hold) => workloads::lock::<E, Mutex<u64>>(hold, n),
            Workload::Semaphore(hold) => workloads::lock::<E, Semaphore>(hold, n),
            Workload::RwLock(hold) => workloads::lock::<E, RwLock<u64>>(hold, n),
            Workload::Alone => workloads::alone::<Mutex<u64>>(n),
            Workload::Watch | Workload::Broadcast => return None,
        })
    }
}

struct Channel;

impl workloads::Channel for Channel {
    type Sender = Sender<u64>;
    type Receiver = Receiver<u64>;

    fn new(capacity: Option<usize>) -> Option<(Self::Sender, Self::Receiver)> {
        match capacity {
            Some(0) => None,
            Some(capacity) => Some(bounded(capacity)),
            None => Some(unbounded()),
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

impl Lock for Semaphore {
    fn new() -> Self {
        Self::new(PERMITS)
    }

    async fn pass(&self, _: bool, hold: impl Future<Output = ()> + Send) {
        let _permit = self.acquire().await;
        hold.await;
    }

    fn written(self) -> Option<u64> {
        None
    }
}

impl Lock for RwLock<u64> {
    fn new() -> Self {
        Self::new(0)
    }

    async fn pass(&self, write: bool, hold: impl Future<Output = ()> + Send) {
        if write {
            let mut value = self.write().await;
            hold.await;
            *value += 1;
        } else {
            let value = self.read().await;
            hold.await;
            black_box(*value);
        }
    }

    fn written(self) -> Option<u64> {
        Some(self.into_inner())
    }
}
