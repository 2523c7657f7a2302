//! `tokio::sync`.

use std::hint::black_box;

use corymb_harness::sizes::PERMITS;
use tokio::sync::{Mutex, RwLock, Semaphore, broadcast, mpsc, watch};

use crate::executors::Executor;
use crate::workloads::{self, BACKLOG, Body, Lock, Workload};

pub(crate) struct Tokio;

impl workloads::Library for Tokio {
    fn body<E: Executor>(workload: Workload, n: usize) -> Option<Body> {
        Some(match workload {
            Workload::Channel(shape) => workloads::channel::<E, Bounded>(shape, n)
                .or_else(|| workloads::channel::<E, Unbounded>(shape, n))?,
            Workload::Select(capacity) => workloads::select::<E, Bounded>(capacity, n)?,
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

struct Bounded;

impl workloads::Channel for Bounded {
    type Sender = mpsc::Sender<u64>;
    type Receiver = mpsc::Receiver<u64>;

    fn new(capacity: Option<usize>) -> Option<(Self::Sender, Self::Receiver)> {
        capacity.filter(|capacity| *capacity > 0).map(mpsc::channel)
    }

    fn another(_: &Self::Receiver) -> Option<Self::Receiver> {
        None
    }

    async fn send(sender: &Self::Sender, value: u64) {
        sender.send(value).await.expect(THERE);
    }

    async fn recv(receiver: &mut Self::Receiver) -> u64 {
        receiver.recv().await.expect(THERE)
    }

    async fn select(from: &mut [Self::Receiver; 4]) -> u64 {
        let [a, b, c, d] = from;
        let n = tokio::select! {
            n = a.recv() => n,
            n = b.recv() => n,
            n = c.recv() => n,
            n = d.recv() => n,
        };
        n.expect(THERE)
    }
}

struct Unbounded;

impl workloads::Channel for Unbounded {
    type Sender = mpsc::UnboundedSender<u64>;
    type Receiver = mpsc::UnboundedReceiver<u64>;

    fn new(capacity: Option<usize>) -> Option<(Self::Sender, Self::Receiver)> {
        capacity.is_none().then(mpsc::unbounded_channel)
    }

    fn another(_: &Self::Receiver) -> Option<Self::Receiver> {
        None
    }

    async fn send(sender: &Self::Sender, value: u64) {
        sender.send(value).expect(THERE);
    }

    async fn recv(receiver: &mut Self::Receiver) -> u64 {
        receiver.recv().await.expect(THERE)
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
        sender.send_replace(value);
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
