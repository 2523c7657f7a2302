//! A thousand coroutines, each with a connection and transactions on it, are cancelled wherever
//! they are. Every transaction that is open then is rolled back, the inner one first, and the
//! connection closed, before the scope returns.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corymb::prelude::*;
use corymb::sync::{channel, oneshot};
use corymb::testing::TestRuntime;
use corymb::{AsyncClose, AsyncGuard};

const COROUTINES: usize = 1_000;
const DEEPEST: usize = 4;

/// The `SplitMix64` generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

/// What happens on a connection. Transactions are called by their depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Began(usize),
    Committed(usize),
    RollingBack(usize),
    RolledBack(usize),
    Closed,
}

type Log = Arc<Mutex<Vec<Event>>>;

/// The client's end of a connection to the server, a coroutine that answers requests.
struct Connection {
    number: usize,
    log: Log,
    requests: channel::Sender<oneshot::Sender<()>>,
    steps: AtomicUsize,
    /// At which step it asks to be cancelled.
    cancel_at: usize,
    canceller: channel::Sender<usize>,
}

impl Connection {
    fn note(&self, event: Event) {
        self.log.lock().unwrap().push(event);
    }

    /// A request and its answer.
    async fn ask(&self) {
        let (reply, answer) = oneshot::channel();
        self.requests.send(reply).await.expect("the server outlives its clients");
        answer.await.expect("the server answers");
    }

    /// A suspension of one kind or the other.
    async fn step(&self, random: &mut Random) {
        if self.steps.fetch_add(1, Ordering::Relaxed) == self.cancel_at {
            self.canceller.try_send(self.number).expect("there is room for all");
        }
        match random.below(3) {
            0 => yield_now().await,
            1 => sleep(Duration::from_micros(random.below(300))).await,
            _ => self.ask().await,
        }
    }

    async fn roll_back(&self, depth: usize) {
        self.note(Event::RollingBack(depth));
        self.ask().await;
        yield_now().await;
        self.note(Event::RolledBack(depth));
    }
}

/// Closes the connection at its end.
struct Link(Arc<Connection>);

impl AsyncClose for Link {
    async fn close(self) {
        self.0.ask().await;
        self.0.note(Event::Closed);
    }
}

/// Rolls the transaction back, unless it is taken out of its guard.
struct Open(Arc<Connection>, usize);

impl AsyncClose for Open {
    async fn close(self) {
        self.0.roll_back(self.1).await;
    }
}

/// A transaction with steps and further transactions in it. The outermost one never ends.
fn transaction(
    connection: Arc<Connection>,
    mut random: Random,
    depth: usize,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        connection.note(Event::Began(depth));
        let by_guard = random.below(2) == 0;
        let body = work(connection.clone(), random, depth);
        if by_guard {
            let open = AsyncGuard::new(Open(connection, depth));
            body.await;
            let Open(connection, depth) = open.into_inner();
            connection.note(Event::Committed(depth));
        } else {
            let committed = Arc::new(AtomicBool::new(false));
            let (undo, done) = (connection.clone(), committed.clone());
            let body = async move {
                body.await;
                connection.note(Event::Committed(depth));
                committed.store(true, Ordering::Relaxed);
            };
            let cleanup = move || async move {
                if !done.load(Ordering::Relaxed) {
                    undo.roll_back(depth).await;
                }
            };
            finally(body, cleanup).await;
        }
    })
}

async fn work(connection: Arc<Connection>, mut random: Random, depth: usize) {
    loop {
        match random.below(6) {
            0 if depth < DEEPEST => {
                transaction(connection.clone(), random.fork(), depth + 1).await;
            }
            1 if depth > 1 => return,
            _ => connection.step(&mut random).await,
        }
    }
}

/// Runs and cancels them all. The logs are those of the moment in which the scope has returned.
async fn cancel_each_somewhere(seed: u64) -> Vec<Vec<Event>> {
    let logs: Vec<Log> = (0..COROUTINES).map(|_| Log::default()).collect();
    let of_clients = logs.clone();
    scope(async move |s| {
        let (requests, waiting) = channel::bounded::<oneshot::Sender<()>>(16);
        s.service(async move {
            while let Ok(reply) = waiting.recv().await {
                _ = reply.send(()); // its client may have been cancelled
            }
        });
        let mut random = Random(seed);
        let (canceller, asked) = channel::bounded(COROUTINES);
        let client = |(number, log)| {
            let (requests, canceller) = (requests.clone(), canceller.clone());
            let cancel_at = random.below(60) as usize;
            let steps = AtomicUsize::new(0);
            let connection = Connection { number, log, requests, steps, cancel_at, canceller };
            let (connection, random) = (Arc::new(connection), random.fork());
            s.launch(async move {
                let _link = AsyncGuard::new(Link(connection.clone()));
                transaction(connection, random, 1).await;
            })
        };
        let clients: Vec<Job> = of_clients.into_iter().enumerate().map(client).collect();
        for _ in 0..COROUTINES {
            let number = asked.recv().await.expect("each client asks once");
            assert!(clients[number].cancel());
        }
    })
    .await;
    logs.iter().map(|log| log.lock().unwrap().clone()).collect()
}

/// How many transactions were rolled back, each awaited before the next one, the inner ones first.
fn rolled_back(log: &[Event]) -> usize {
    let mut open = Vec::new();
    let mut count = 0;
    for (i, event) in log.iter().enumerate() {
        match *event {
            Event::Began(depth) => open.push(depth),
            Event::Committed(depth) => assert_eq!(open.pop(), Some(depth), "{log:?}"),
            Event::RollingBack(depth) => {
                assert_eq!(open.last(), Some(&depth), "{log:?}");
                assert_eq!(log.get(i + 1), Some(&Event::RolledBack(depth)), "{log:?}");
            }
            Event::RolledBack(depth) => {
                assert_eq!(open.pop(), Some(depth), "{log:?}");
                count += 1;
            }
            Event::Closed => assert_eq!(i, log.len() - 1, "{log:?}"),
        }
    }
    assert_eq!(open, [0; 0], "left open: {log:?}");
    assert_eq!(log.last(), Some(&Event::Closed));
    count
}

fn check(logs: &[Vec<Event>]) {
    let outermost = logs.iter().flatten().filter(|it| **it == Event::RolledBack(1)).count();
    assert_eq!(outermost, COROUTINES);
    let mut with_so_many = [0; DEEPEST + 1];
    for log in logs {
        with_so_many[rolled_back(log)] += 1;
    }
    assert_eq!(with_so_many[0], 0);
    assert!(with_so_many[1..].iter().all(|n| *n > 0), "cancelled at all depths: {with_so_many:?}");
}

#[corymb::test]
async fn what_is_cancelled_anywhere_is_rolled_back_before_the_scope_returns() {
    check(&cancel_each_somewhere(0).await);
}

#[test]
fn and_in_any_order_of_the_coroutines() {
    for seed in 1..3 {
        let runtime = TestRuntime::builder().seed(seed).shuffled().build();
        check(&runtime.run(cancel_each_somewhere(seed)));
    }
}

#[corymb::test(real)]
async fn and_on_threads() {
    check(&cancel_each_somewhere(0).await);
}
