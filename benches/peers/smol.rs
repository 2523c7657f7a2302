//! smol: two threads that poll one `async_executor::Executor`, each inside of
//! `async_io::block_on`, which also drives timers and sockets.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use async_executor::{Executor, Task};
use async_io::Timer;
use corymb_harness::measure::{Countdown, pinned};
use corymb_harness::sizes::{Draw, ECHO_BYTES, FAR, SCOPE_CHILDREN, SLEEP, SPAWN_BATCH, sum_below};
use smol::channel::{Receiver, Sender, bounded};
use smol::future::{block_on, or, yield_now};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpListener;
use smol::unblock;

use crate::workloads::{Peer, is_corymbs_own};

static EX: Executor<'static> = Executor::new();

pub(crate) struct Smol;

impl Smol {
    pub(crate) fn new(workers: usize) -> Self {
        for _ in 0..workers {
            std::thread::spawn(|| async_io::block_on(EX.run(pending::<()>())));
        }
        Self
    }
}

impl Peer for Smol {
    fn version() -> String {
        ["smol", "async-executor", "async-io"].map(pinned).join(", ")
    }

    fn lacks(&self, workload: &str) -> Option<&'static str> {
        match workload {
            "scope" => Some("it has no structured scope: see scope_vec"),
            "hop_in_place" => Some("it has no block_in_place"),
            _ if is_corymbs_own(workload) => Some("only corymb has it"),
            _ => None,
        }
    }

    fn on_worker<F>(&self, body: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        block_on(EX.spawn(body))
    }

    async fn spawn_join(n: usize) -> Duration {
        let t = Instant::now();
        let mut sum = 0;
        let mut tasks = Vec::with_capacity(SPAWN_BATCH);
        for batch in 0..n / SPAWN_BATCH {
            for i in 0..SPAWN_BATCH {
                let x = (batch * SPAWN_BATCH + i) as u64;
                tasks.push(EX.spawn(async move { x }));
            }
            for task in tasks.drain(..) {
                sum += task.await;
            }
        }
        assert_eq!(sum, sum_below(n as u64));
        t.elapsed()
    }

    async fn spawn_burst(n: usize) -> Duration {
        let t = Instant::now();
        let (last, done) = Last::of(n);
        for _ in 0..n {
            let last = last.clone();
            EX.spawn(async move { last.one() }).detach();
        }
        done.recv().await.expect(FINE);
        t.elapsed()
    }

    async fn yields(tasks: usize, each: usize) -> Duration {
        let t = Instant::now();
        let tasks: Vec<_> = (0..tasks).map(|_| EX.spawn(yielding(each))).collect();
        for task in tasks {
            task.await;
        }
        t.elapsed()
    }

    async fn ping_pong(n: usize) -> Duration {
        let t = Instant::now();
        let (ping, pinged) = bounded(1);
        let (pong, ponged) = bounded(1);
        let a = EX.spawn(async move {
            for i in 0..n {
                ping.send(i).await.expect(FINE);
                assert_eq!(ponged.recv().await, Ok(i));
            }
        });
        let b = EX.spawn(async move {
            for _ in 0..n {
                let x = pinged.recv().await.expect(FINE);
                pong.send(x).await.expect(FINE);
            }
        });
        a.await;
        b.await;
        t.elapsed()
    }

    async fn skynet(leaves: u64) -> Duration {
        let t = Instant::now();
        let sum = EX.spawn(node(0, leaves)).await;
        assert_eq!(sum, sum_below(leaves));
        t.elapsed()
    }

    async fn scope_vec(n: usize) -> Duration {
        let t = Instant::now();
        for _ in 0..n {
            let tasks: [_; SCOPE_CHILDREN] =
                std::array::from_fn(|i| EX.spawn(async move { i as u64 }));
            assert_eq!(total(tasks).await, sum_below(SCOPE_CHILDREN as u64));
        }
        t.elapsed()
    }

    async fn million_sleepers(n: usize) -> Duration {
        let t = Instant::now();
        let (last, done) = Last::of(n);
        for _ in 0..n {
            let last = last.clone();
            EX.spawn(async move {
                Timer::after(SLEEP).await;
                last.one();
            })
            .detach();
        }
        done.recv().await.expect(FINE);
        t.elapsed()
    }

    async fn timeout_ready(n: usize) -> Duration {
        let t = Instant::now();
        let mut sum = 0;
        for i in 0..n as u64 {
            sum += timeout(async move { i }).await.expect(FINE);
        }
        assert_eq!(sum, sum_below(n as u64));
        t.elapsed()
    }

    async fn timeout_yield(n: usize) -> Duration {
        let t = Instant::now();
        for _ in 0..n {
            timeout(yield_now()).await.expect(FINE);
        }
        t.elapsed()
    }

    async fn timeout_wake(n: usize) -> Duration {
        let t = Instant::now();
        for _ in 0..n {
            let mut woken = false;
            let future = std::future::poll_fn(move |cx| {
                if std::mem::replace(&mut woken, true) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            });
            timeout(future).await.expect(FINE);
        }
        t.elapsed()
    }

    async fn hop(n: usize) -> Duration {
        let t = Instant::now();
        let mut sum = 0;
        for i in 0..n as u64 {
            sum += unblock(move || i).await;
            yield_now().await;
        }
        assert_eq!(sum, sum_below(n as u64));
        t.elapsed()
    }

    async fn timers_churn(tasks: usize, sleeps: usize) -> (Duration, Duration) {
        let t = Instant::now();
        let tasks: Vec<_> = (0..tasks).map(|task| EX.spawn(churn(task, sleeps))).collect();
        let mut late = Duration::ZERO;
        for task in tasks {
            late += task.await;
        }
        (late, t.elapsed())
    }

    async fn cancel_tree(parents: usize, children: usize) -> Duration {
        let n = parents * (children + 1);
        let (last, done) = Last::of(n);
        let tree = Arc::new(Tree { started: AtomicUsize::new(0), last });
        let root: Vec<_> = (0..parents).map(|_| EX.spawn(parent(tree.clone(), children))).collect();
        while tree.started.load(Ordering::Relaxed) < n {
            Timer::after(Duration::from_millis(1)).await;
        }
        let t = Instant::now();
        drop(root);
        done.recv().await.expect(FINE);
        t.elapsed()
    }

    async fn cancel_scope(children: usize) -> Duration {
        let (last, done) = Last::of(children);
        let tree = Arc::new(Tree { started: AtomicUsize::new(0), last });
        let set: Vec<_> = (0..children).map(|_| EX.spawn(wait(tree.clone()))).collect();
        while tree.started.load(Ordering::Relaxed) < children {
            Timer::after(Duration::from_millis(1)).await;
        }
        let t = Instant::now();
        drop(set);
        done.recv().await.expect(FINE);
        t.elapsed()
    }

    fn serve(&self, ready: impl FnOnce(u16) + Send + 'static) {
        self.on_worker(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
            ready(listener.local_addr().expect("it is bound").port());
            accept(listener).await;
        });
    }
}

const FINE: &str = "nothing fails here";

/// Counts tasks down; the last one wakes who waits for all.
struct Last(Countdown, Sender<()>);

impl Last {
    fn of(n: usize) -> (Arc<Self>, Receiver<()>) {
        let (done, all) = bounded(1);
        (Arc::new(Self(Countdown::new(n), done)), all)
    }

    fn one(&self) {
        if self.0.done() {
            self.1.try_send(()).expect("there is one last");
        }
    }
}

async fn yielding(times: usize) {
    for _ in 0..times {
        yield_now().await;
    }
}

/// A node of skynet. The box is for the recursion; a leaf needs none.
fn node(base: u64, size: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    let sub = size / 10;
    Box::pin(async move {
        let children: [_; 10] = std::array::from_fn(|i| {
            let base = base + i as u64 * sub;
            if sub == 1 { EX.spawn(async move { base }) } else { EX.spawn(node(base, sub)) }
        });
        total(children).await
    })
}

async fn total<const N: usize>(tasks: [Task<u64>; N]) -> u64 {
    let mut sum = 0;
    for task in tasks {
        sum += task.await;
    }
    sum
}

/// smol has no timeout: its documentation writes one as a race with a timer.
async fn timeout<T>(future: impl Future<Output = T>) -> Option<T> {
    or(async { Some(future.await) }, async {
        Timer::after(FAR).await;
        None
    })
    .await
}

/// Sleeps one time after the other; gives how late it woke.
async fn churn(task: usize, sleeps: usize) -> Duration {
    let mut draw = Draw::new(task);
    let mut late = Duration::ZERO;
    for _ in 0..sleeps {
        let asked = draw.sleep();
        let from = Instant::now();
        Timer::after(asked).await;
        late += from.elapsed().saturating_sub(asked);
    }
    late
}

struct Tree {
    started: AtomicUsize,
    last: Arc<Last>,
}

/// Counts a task of the tree as gone when its future is dropped.
struct Gone(Arc<Tree>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.last.one();
    }
}

/// Owns the `Task`s of its children, which are cancelled when it is dropped.
async fn parent(tree: Arc<Tree>, children: usize) {
    let gone = Gone(tree);
    let _children: Vec<_> = (0..children).map(|_| EX.spawn(wait(gone.0.clone()))).collect();
    gone.0.started.fetch_add(1, Ordering::Relaxed);
    pending::<()>().await;
}

async fn wait(tree: Arc<Tree>) {
    let gone = Gone(tree);
    gone.0.started.fetch_add(1, Ordering::Relaxed);
    pending::<()>().await;
}

async fn accept(listener: TcpListener) {
    while let Ok((mut socket, _)) = listener.accept().await {
        socket.set_nodelay(true).expect("the socket is open");
        EX.spawn(async move {
            let mut buf = [0; ECHO_BYTES];
            while let Ok(n @ 1..) = socket.read(&mut buf).await {
                if socket.write_all(&buf[..n]).await.is_err() {
                    break;
                }
            }
        })
        .detach();
    }
}
