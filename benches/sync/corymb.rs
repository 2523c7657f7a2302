//! `corymb::sync`.

use std::hint::black_box;

use corymb::select;
use corymb::sync::{Mutex, RwLock, Semaphore, broadcast, channel, watch};
use corymb_harness::sizes::PERMITS;

use crate::executors::Executor;
use crate::workloads::{self, BACKLOG, Body, Lock, Workload};

pub(crate) struct Corymb;

impl workloads::Library for Corymb {
    fn body<E: Executor>(workload: Workload, n: usize) -> Option<Body> {
        Some(match workload {
            Workload::Channel(shape) => workloads::channel::<E, Channel>(shape, n)?,
            Workload::Select(capacity) => workloads::select::<E, Channel>(capacity, n)?,
            Workload::Mutex(hold) => workloads::lock::<E, Mutex<u64>>(hold, n),
            Workload::Semaphore(hold) => workloads::lock::<E, Semaphore>(hold, n),
            Workload::RwLock(hold) => workloads::lock::<E, RwLock<u64>>(hold, n),
            Workload::Alone => workloads::alone::<Mutex<u64>>(n),
            Workload::Watch => workloads::watch::<E, Watch>(n),
            Workload::Broadcast => workloads::broadcast::<E, Broadcast>(n),
        })
    }
}

const THERE: &str = "the other end is there";

struct Channel;

impl workloads::Channel for Channel {
    type Sender = channel::Sender<u64>;
    type Receiver = channel::Receiver<u64>;

    fn new(capacity: Option<usize>) -> Option<(Self::Sender, Self::Receiver)> {
        Some(capacity.map_or_else(channel::unbounded, channel::bounded))
    }

    fn another(receiver: &Self::Receiver) -> Option<Self::Receiver> {
        Some(receiver.clone())
    }

    async fn send(sender: &Self::Sender, value: u64) {
        sender.send(value).await.expect(THERE);
    }

    async fn recv(receiver: &mut Self::Receiver) -> u64 {
        receiver.recv().await.expect(THERE)
    }

    async fn select(from: &mut [Self::Receiver; 4]) -> u64 {
        let [a, b, c, d] = from;
        let n = select! {
            n = a.recv() => n,
            n = b.recv() => n,
            n = c.recv() => n,
            n = d.recv() => n,
        };
        n.expect(THERE)
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
        let _permit = self.acquire().await.expect("it is open");
        hold.await;
    }

    fn written(self) -> Option<u64> {
        assert_eq!(self.available_permits(), PERMITS);
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

struct Watch;

impl workloads::Watch for Watch {
    type Sender = watch::Sender<u64>;
    type Receiver = watch::Receiver<u64>;

    fn new() -> (Self::Sender, Self::Receiver) {
        watch::channel(0)
    }

    fn set(sender: &Self::Sender, value: u64) {
        sender.send(value).expect("it is open");
    }

    async fn changed(receiver: &mut Self::Receiver) -> u64 {
        // The sender ends with the last value.
        let _ended = receiver.changed().await;
        *receiver.borrow_and_update()
    }
}

struct Broadcast;

impl workloads::Broadcast for Broadcast {
    type Sender = broadcast::Sender<u64>;
    type Receiver = broadcast::Receiver<u64>;

    fn new() -> Self::Sender {
        broadcast::channel(BACKLOG).0
    }

    fn subscribe(sender: &Self::Sender) -> Self::Receiver {
        sender.subscribe()
    }

    async fn send(sender: &Self::Sender, value: u64) {
        sender.send(value).expect(THERE);
    }

    async fn recv(receiver: &mut Self::Receiver) -> u64 {
        receiver.recv().await.expect(THERE)
    }
}
