//! `std::sync`, for threads. Nothing here is ever pending: it blocks its thread instead.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, RwLock};

use corymb_harness::sizes::PERMITS;
use smol::future::block_on;

use crate::executors::Executor;
use crate::workloads::{self, Body, Lock, Workload};

pub(crate) struct Threads;

impl workloads::Library for Threads {
    fn body<E: Executor>(workload: Workload, n: usize) -> Option<Body> {
        Some(match workload {
            Workload::Channel(shape) => workloads::channel::<E, Channel>(shape, n)?,
            Workload::Mutex(hold) => workloads::lock::<E, Mutex<u64>>(hold, n),
            Workload::Semaphore(hold) => workloads::lock::<E, Semaphore>(hold, n),
            Workload::RwLock(hold) => workloads::lock::<E, RwLock<u64>>(hold, n),
            Workload::Alone => workloads::alone::<Mutex<u64>>(n),
            Workload::Select(_) | Workload::Watch | Workload::Broadcast => return None,
        })
    }
}

const FINE: &str = "nothing panics, and the other end is there";

struct Channel;

impl workloads::Channel for Channel {
    type Sender = SyncSender<u64>;
    type Receiver = Receiver<u64>;

    fn new(capacity: Option<usize>) -> Option<(Self::Sender, Self::Receiver)> {
        capacity.map(sync_channel)
    }

    fn another(_: &Self::Receiver) -> Option<Self::Receiver> {
        None
    }

    async fn send(sender: &Self::Sender, value: u64) {
        sender.send(value).expect(FINE);
    }

    async fn recv(receiver: &mut Self::Receiver) -> u64 {
        receiver.recv().expect(FINE)
    }
}

impl Lock for Mutex<u64> {
    fn new() -> Self {
        Self::new(0)
    }

    async fn pass(&self, _: bool, hold: impl Future<Output = ()> + Send) {
        let mut value = self.lock().expect(FINE);
        block_on(hold);
        *value += 1;
    }

    fn written(self) -> Option<u64> {
        Some(self.into_inner().expect(FINE))
    }
}

impl Lock for RwLock<u64> {
    fn new() -> Self {
        Self::new(0)
    }

    async fn pass(&self, write: bool, hold: impl Future<Output = ()> + Send) {
        if write {
            let mut value = self.write().expect(FINE);
            block_on(hold);
            *value += 1;
        } else {
            let value = self.read().expect(FINE);
            block_on(hold);
            std::hint::black_box(*value);
        }
    }

    fn written(self) -> Option<u64> {
        Some(self.into_inner().expect(FINE))
    }
}

/// `std` has none: that of the textbooks.
struct Semaphore {
    permits: Mutex<usize>,
    freed: Condvar,
}

impl Lock for Semaphore {
    fn new() -> Self {
        Self { permits: Mutex::new(PERMITS), freed: Condvar::new() }
    }

    async fn pass(&self, _: bool, hold: impl Future<Output = ()> + Send) {
        {
            let permits = self.permits.lock().expect(FINE);
            let mut permits = self.freed.wait_while(permits, |permits| *permits == 0).expect(FINE);
            *permits -= 1;
        }
        block_on(hold);
        *self.permits.lock().expect(FINE) += 1;
        self.freed.notify_one();
    }

    fn written(self) -> Option<u64> {
        assert_eq!(self.permits.into_inner().expect(FINE), PERMITS);
        None
    }
}
