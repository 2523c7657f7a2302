//! The workloads: their sizes, the same for all, and what a primitive has to be to run in them.

use std::future::ready;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use corymb_harness::sizes::{LOCKING, LOCKS, MESSAGES, sum_below};
use corymb_harness::{Bench, Budget, Measure, Numbers, Row};
use futures::FutureExt;

use crate::executors::Executor;

/// Where each message has somebody wait.
const WAITS: usize = 500_000;
/// Every so many passes of a lock for readers, one writes.
const WRITES: usize = 20;
const ALONE: usize = 5_000_000;
const UPDATES: usize = 200_000;
const WATCHERS: usize = 4;
const LISTENERS: usize = 8;
/// What a broadcast holds for those who are behind.
pub(crate) const BACKLOG: usize = 128;

/// A body that says how long it took, from its own start to its last result; it checks that
/// result itself.
pub(crate) type Body = Pin<Box<dyn Future<Output = Duration> + Send>>;

/// What is done, in the terms of the primitives.
#[derive(Clone, Copy)]
pub(crate) enum Workload {
    /// Numbers through one channel.
    Channel(Shape),
    /// Numbers through four channels to one task, which selects among them.
    Select(Option<usize>),
    Mutex(Hold),
    Semaphore(Hold),
    RwLock(Hold),
    /// One task locks and unlocks, and nobody else does.
    Alone,
    /// A task changes a value and yields; others read what they see of it, and the last one.
    Watch,
    /// A task sends, and each of the others receives all of it.
    Broadcast,
}

#[derive(Clone, Copy)]
pub(crate) struct Shape {
    senders: usize,
    receivers: usize,
    /// None for no bound.
    capacity: Option<usize>,
}

/// What the holder of a lock does meanwhile.
#[derive(Clone, Copy)]
pub(crate) enum Hold {
    Nothing,
    /// It yields once, so that the others do queue.
    Yield,
}

/// The primitives of a crate.
pub(crate) trait Library {
    /// `n` operations of `workload`; none if there is no such primitive.
    fn body<E: Executor>(workload: Workload, n: usize) -> Option<Body>;
}

const fn row(name: &'static str) -> Row {
    Row::of(name, Measure::TIME, &[Budget::Ratio(1.0)])
}

pub(crate) const ROWS: &[Row] = &[
    row("spsc_0"),
    row("spsc_1"),
    row("spsc_128"),
    row("spsc_unbounded"),
    row("mpsc_0"),
    row("mpsc_1"),
    row("mpsc_128"),
    row("mpsc_unbounded"),
    row("mpmc_0"),
    row("mpmc_1"),
    row("mpmc_128"),
    row("mpmc_unbounded"),
    row("select_1"),
    row("select_128"),
    row("mutex"),
    row("mutex_yield"),
    row("mutex_alone"),
    row("semaphore"),
    row("semaphore_yield"),
    row("rwlock"),
    row("rwlock_yield"),
    row("watch"),
    row("broadcast"),
];

/// A workload, and how many operations it is.
fn named(name: &str) -> Option<(Workload, usize)> {
    let (kind, variant) = name.split_once('_').unwrap_or((name, ""));
    let hold = if variant == "yield" { Hold::Yield } else { Hold::Nothing };
    let capacity = variant.parse().ok();
    let messages = if matches!(capacity, Some(0 | 1)) { WAITS } else { MESSAGES };
    let channel = |senders, receivers| {
        let shape = Shape { senders, receivers, capacity };
        (Workload::Channel(shape), messages)
    };
    Some(match kind {
        "spsc" => channel(1, 1),
        "mpsc" => channel(4, 1),
        "mpmc" => channel(4, 4),
        "select" => (Workload::Select(capacity), messages),
        "mutex" if variant == "alone" => (Workload::Alone, ALONE),
        "mutex" => (Workload::Mutex(hold), LOCKING * LOCKS),
        "semaphore" => (Workload::Semaphore(hold), LOCKING * LOCKS),
        "rwlock" => (Workload::RwLock(hold), LOCKING * LOCKS),
        "watch" => (Workload::Watch, UPDATES),
        "broadcast" => (Workload::Broadcast, UPDATES),
        _ => return None,
    })
}

/// Measures one workload with the primitives that `body` knows.
///
/// # Errors
///
/// Why they have nothing for it.
pub(crate) fn run<E: Executor>(
    body: impl Fn(Workload, usize) -> Option<Body>,
    bench: &Bench,
) -> Result<Numbers, String> {
    let (workload, n) = named(&bench.workload).ok_or("unknown workload")?;
    let n = bench.n(n).next_multiple_of(LOCKING * BACKLOG);
    if body(workload, n).is_none() {
        return Err("it has no such primitive".to_owned());
    }
    let executor = E::start(bench.workers);
    Ok(bench.time(n, || executor.on_worker(body(workload, n).expect("it was there before"))))
}

/// A channel, by its two ends.
pub(crate) trait Channel: 'static {
    type Sender: Clone + Send + Sync + 'static;
    type Receiver: Send + 'static;

    /// None if there is none with that capacity.
    fn new(capacity: Option<usize>) -> Option<(Self::Sender, Self::Receiver)>;
    /// None if there can be but one.
    fn another(receiver: &Self::Receiver) -> Option<Self::Receiver>;
    fn send(sender: &Self::Sender, value: u64) -> impl Future<Output = ()> + Send;
    fn recv(receiver: &mut Self::Receiver) -> impl Future<Output = u64> + Send;

    /// Receives from the first of four that has something.
    fn select(from: &mut [Self::Receiver; 4]) -> impl Future<Output = u64> + Send {
        async {
            let [a, b, c, d] = from;
            let (a, b) = (pin!(Self::recv(a).fuse()), pin!(Self::recv(b).fuse()));
            let (c, d) = (pin!(Self::recv(c).fuse()), pin!(Self::recv(d).fuse()));
            let (mut a, mut b, mut c, mut d) = (a, b, c, d);
            futures::select! { n = a => n, n = b => n, n = c => n, n = d => n }
        }
    }
}

pub(crate) fn channel<E: Executor, C: Channel>(shape: Shape, n: usize) -> Option<Body> {
    let Shape { senders, receivers, capacity } = shape;
    let (tx, rx) = C::new(capacity)?;
    let mut ends: Vec<_> = (1..receivers).map(|_| C::another(&rx)).collect::<Option<_>>()?;
    ends.push(rx);
    Some(Box::pin(async move {
        let t = Instant::now();
        let sum = Arc::new(AtomicU64::new(0));
        let mut tasks: Vec<Task> = Vec::new();
        for rx in ends {
            tasks.push(Box::pin(receive::<C>(rx, n / receivers, sum.clone())));
        }
        for sender in 0..senders {
            tasks.push(Box::pin(send::<C>(tx.clone(), share(sender, senders, n))));
        }
        E::all(tasks).await;
        assert_eq!(sum.load(Ordering::Relaxed), sum_below(n as u64));
        drop(tx);
        t.elapsed()
    }))
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The numbers that one of `of` senders sends.
fn share(one: usize, of: usize, n: usize) -> std::ops::Range<u64> {
    let start = (one * (n / of)) as u64;
    start..start + (n / of) as u64
}

async fn send<C: Channel>(tx: C::Sender, numbers: std::ops::Range<u64>) {
    for number in numbers {
        C::send(&tx, number).await;
    }
}

async fn receive<C: Channel>(mut rx: C::Receiver, n: usize, total: Arc<AtomicU64>) {
    let mut sum = 0;
    for _ in 0..n {
        sum += C::recv(&mut rx).await;
    }
    total.fetch_add(sum, Ordering::Relaxed);
}

pub(crate) fn select<E: Executor, C: Channel>(capacity: Option<usize>, n: usize) -> Option<Body> {
    C::new(capacity)?;
    Some(Box::pin(async move {
        let t = Instant::now();
        let ends = std::array::from_fn(|_| C::new(capacity).expect("it was there before"));
        let (from, mut tasks) = (ends.each_ref().map(|(tx, _)| tx.clone()), Vec::<Task>::new());
        for (sender, tx) in from.iter().enumerate() {
            tasks.push(Box::pin(send::<C>(tx.clone(), share(sender, 4, n))));
        }
        let mut receivers: [_; 4] = ends.map(|(_, rx)| rx);
        tasks.push(Box::pin(async move {
            let mut sum = 0;
            for _ in 0..n {
                sum += C::select(&mut receivers).await;
            }
            assert_eq!(sum, sum_below(n as u64));
        }));
        E::all(tasks).await;
        drop(from);
        t.elapsed()
    }))
}

/// Something that tasks pass through, one or several at a time.
pub(crate) trait Lock: Send + Sync + Sized + 'static {
    fn new() -> Self;

    /// Goes in, awaits `hold` and adds one to what is guarded; one that does not `write` reads it,
    /// where that is a difference.
    fn pass(
        &self,
        write: bool,
        hold: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = ()> + Send;

    /// What is guarded, if anything is.
    fn written(self) -> Option<u64>;
}

pub(crate) fn lock<E: Executor, L: Lock>(hold: Hold, n: usize) -> Body {
    Box::pin(async move {
        let t = Instant::now();
        let lock = Arc::new(L::new());
        let passing = |lock: Arc<L>| async move {
            for pass in 0..n / LOCKING {
                let write = pass % WRITES == 0;
                match hold {
                    Hold::Nothing => lock.pass(write, ready(())).await,
                    Hold::Yield => lock.pass(write, E::yield_now()).await,
                }
            }
        };
        E::all((0..LOCKING).map(|_| passing(lock.clone())).collect()).await;
        let written = Arc::into_inner(lock).expect("all are done").written();
        let writes = (n / LOCKING).div_ceil(WRITES) * LOCKING;
        assert!(written.is_none_or(|sum| [n, writes].contains(&(sum as usize))));
        t.elapsed()
    })
}

pub(crate) fn alone<L: Lock>(n: usize) -> Body {
    Box::pin(async move {
        let t = Instant::now();
        let lock = L::new();
        for _ in 0..n {
            lock.pass(true, ready(())).await;
        }
        assert_eq!(lock.written(), Some(n as u64));
        t.elapsed()
    })
}

/// A value that changes, and is seen by others.
pub(crate) trait Watch: 'static {
    type Sender: Send + Sync + 'static;
    type Receiver: Clone + Send + 'static;

    fn new() -> (Self::Sender, Self::Receiver);
    fn set(sender: &Self::Sender, value: u64);
    /// The value, once it is another than the one seen last.
    fn changed(receiver: &mut Self::Receiver) -> impl Future<Output = u64> + Send;
}

pub(crate) fn watch<E: Executor, W: Watch>(n: usize) -> Body {
    Box::pin(async move {
        let t = Instant::now();
        let (tx, rx) = W::new();
        let mut tasks: Vec<Task> = Vec::new();
        for _ in 0..WATCHERS {
            let mut rx = rx.clone();
            tasks.push(Box::pin(async move {
                let mut last = 0;
                while last < n as u64 {
                    let now = W::changed(&mut rx).await;
                    assert!(last < now);
                    last = now;
                }
            }));
        }
        tasks.push(Box::pin(async move {
            for value in 1..=n as u64 {
                W::set(&tx, value);
                E::yield_now().await;
            }
        }));
        E::all(tasks).await;
        t.elapsed()
    })
}

/// A channel whose receivers all get everything.
pub(crate) trait Broadcast: 'static {
    type Sender: Send + Sync + 'static;
    type Receiver: Send + 'static;

    /// One that holds [`BACKLOG`] values.
    fn new() -> Self::Sender;
    fn subscribe(sender: &Self::Sender) -> Self::Receiver;
    fn send(sender: &Self::Sender, value: u64) -> impl Future<Output = ()> + Send;
    fn recv(receiver: &mut Self::Receiver) -> impl Future<Output = u64> + Send;
}

/// The sender waits before it would get ahead of anybody by more than the backlog.
pub(crate) fn broadcast<E: Executor, B: Broadcast>(n: usize) -> Body {
    Box::pin(async move {
        let t = Instant::now();
        let tx = B::new();
        let seen = Arc::new(AtomicU64::new(0));
        let mut tasks: Vec<Task> = Vec::new();
        for _ in 0..LISTENERS {
            let (mut rx, seen) = (B::subscribe(&tx), seen.clone());
            tasks.push(Box::pin(async move {
                for value in 1..=n as u64 {
                    assert_eq!(B::recv(&mut rx).await, value);
                    if value.is_multiple_of(BACKLOG as u64) {
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }));
        }
        tasks.push(Box::pin(async move {
            for batch in 0..(n / BACKLOG) as u64 {
                for value in 1..=BACKLOG as u64 {
                    B::send(&tx, batch * BACKLOG as u64 + value).await;
                }
                while seen.load(Ordering::Relaxed) < (batch + 1) * LISTENERS as u64 {
                    E::yield_now().await;
                }
            }
        }));
        E::all(tasks).await;
        t.elapsed()
    })
}
