//! tokio: multi-thread with two workers, or `current_thread`.

use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use corymb_harness::measure::{Countdown, pinned};
use corymb_harness::sizes::{Draw, ECHO_BYTES, FAR, SCOPE_CHILDREN, SLEEP, SPAWN_BATCH, sum_below};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime, RuntimeFlavor};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet, block_in_place, spawn_blocking, yield_now};
use tokio::time::{sleep, timeout};

use crate::workloads::{Peer, is_corymbs_own};

pub(crate) struct Tokio(Runtime);

impl Tokio {
    pub(crate) fn multi_thread(workers: usize) -> Self {
        Self::build(Builder::new_multi_thread().worker_threads(workers))
    }

    pub(crate) fn current_thread() -> Self {
        Self::build(&mut Builder::new_current_thread())
    }

    fn build(builder: &mut Builder) -> Self {
        Self(builder.enable_all().build().expect("the runtime starts"))
    }
}

impl Peer for Tokio {
    fn version() -> String {
        pinned("tokio")
    }

    fn lacks(&self, workload: &str) -> Option<&'static str> {
        let flavor = self.0.handle().runtime_flavor();
        match workload {
            _ if is_corymbs_own(workload) => Some("only corymb has it"),
            "hop_in_place" if flavor == RuntimeFlavor::CurrentThread => {
                Some("its only thread would block")
            }
            _ => None,
        }
    }

    fn on_worker<F>(&self, body: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.block_on(async { tokio::spawn(body).await.expect(FINE) })
    }

    async fn spawn_join(n: usize) -> Duration {
        let t = Instant::now();
        let mut sum = 0;
        let mut handles = Vec::with_capacity(SPAWN_BATCH);
        for batch in 0..n / SPAWN_BATCH {
            for i in 0..SPAWN_BATCH {
                let x = (batch * SPAWN_BATCH + i) as u64;
                handles.push(tokio::spawn(async move { x }));
            }
            for handle in handles.drain(..) {
                sum += handle.await.expect(FINE);
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
            tokio::spawn(async move { last.one() });
        }
        done.await.expect(FINE);
        t.elapsed()
    }

    async fn yields(tasks: usize, each: usize) -> Duration {
        let t = Instant::now();
        let handles: Vec<_> = (0..tasks).map(|_| tokio::spawn(yielding(each))).collect();
        for handle in handles {
            handle.await.expect(FINE);
        }
        t.elapsed()
    }

    async fn ping_pong(n: usize) -> Duration {
        let t = Instant::now();
        let (ping, mut pinged) = mpsc::channel(1);
        let (pong, mut ponged) = mpsc::channel(1);
        let a = tokio::spawn(async move {
            for i in 0..n {
                ping.send(i).await.expect(FINE);
                assert_eq!(ponged.recv().await, Some(i));
            }
        });
        let b = tokio::spawn(async move {
            for _ in 0..n {
                let x = pinged.recv().await.expect(FINE);
                pong.send(x).await.expect(FINE);
            }
        });
        a.await.expect(FINE);
        b.await.expect(FINE);
        t.elapsed()
    }

    async fn skynet(leaves: u64) -> Duration {
        let t = Instant::now();
        let sum = tokio::spawn(node(0, leaves)).await.expect(FINE);
        assert_eq!(sum, sum_below(leaves));
        t.elapsed()
    }

    async fn scope(n: usize) -> Duration {
        let t = Instant::now();
        for _ in 0..n {
            let mut set = JoinSet::new();
            for i in 0..SCOPE_CHILDREN as u64 {
                set.spawn(async move { i });
            }
            let mut sum = 0;
            while let Some(x) = set.join_next().await {
                sum += x.expect(FINE);
            }
            assert_eq!(sum, sum_below(SCOPE_CHILDREN as u64));
        }
        t.elapsed()
    }

    async fn scope_vec(n: usize) -> Duration {
        let t = Instant::now();
        for _ in 0..n {
            let handles: [_; SCOPE_CHILDREN] =
                std::array::from_fn(|i| tokio::spawn(async move { i as u64 }));
            assert_eq!(total(handles).await, sum_below(SCOPE_CHILDREN as u64));
        }
        t.elapsed()
    }

    async fn million_sleepers(n: usize) -> Duration {
        let t = Instant::now();
        let (last, done) = Last::of(n);
        for _ in 0..n {
            let last = last.clone();
            tokio::spawn(async move {
                sleep(SLEEP).await;
                last.one();
            });
        }
        done.await.expect(FINE);
        t.elapsed()
    }

    async fn timeout_ready(n: usize) -> Duration {
        let t = Instant::now();
        let mut sum = 0;
        for i in 0..n as u64 {
            sum += timeout(FAR, async move { i }).await.expect(FINE);
        }
        assert_eq!(sum, sum_below(n as u64));
        t.elapsed()
    }

    async fn timeout_yield(n: usize) -> Duration {
        let t = Instant::now();
        for _ in 0..n {
            timeout(FAR, yield_now()).await.expect(FINE);
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
            timeout(FAR, future).await.expect(FINE);
        }
        t.elapsed()
    }

    async fn hop(n: usize) -> Duration {
        let t = Instant::now();
        let mut sum = 0;
        for i in 0..n as u64 {
            sum += spawn_blocking(move || i).await.expect(FINE);
            yield_now().await;
        }
        assert_eq!(sum, sum_below(n as u64));
        t.elapsed()
    }

    async fn hop_in_place(n: usize) -> Duration {
        let t = Instant::now();
        let mut sum = 0;
        for i in 0..n as u64 {
            sum += block_in_place(|| i);
            yield_now().await;
        }
        assert_eq!(sum, sum_below(n as u64));
        t.elapsed()
    }

    async fn timers_churn(tasks: usize, sleeps: usize) -> (Duration, Duration) {
        let t = Instant::now();
        let handles: Vec<_> = (0..tasks).map(|task| tokio::spawn(churn(task, sleeps))).collect();
        let mut late = Duration::ZERO;
        for handle in handles {
            late += handle.await.expect(FINE);
        }
        (late, t.elapsed())
    }

    async fn cancel_tree(parents: usize, children: usize) -> Duration {
        let n = parents * (children + 1);
        let (last, done) = Last::of(n);
        let tree = Arc::new(Tree { started: AtomicUsize::new(0), last });
        let mut root = JoinSet::new();
        for _ in 0..parents {
            root.spawn(parent(tree.clone(), children));
        }
        while tree.started.load(Ordering::Relaxed) < n {
            sleep(Duration::from_millis(1)).await;
        }
        let t = Instant::now();
        root.shutdown().await;
        done.await.expect(FINE);
        t.elapsed()
    }

    async fn cancel_scope(children: usize) -> Duration {
        let (last, done) = Last::of(children);
        let tree = Arc::new(Tree { started: AtomicUsize::new(0), last });
        let mut set = JoinSet::new();
        for _ in 0..children {
            set.spawn(wait(tree.clone()));
        }
        while tree.started.load(Ordering::Relaxed) < children {
            sleep(Duration::from_millis(1)).await;
        }
        let t = Instant::now();
        set.shutdown().await;
        done.await.expect(FINE);
        t.elapsed()
    }

    fn serve(&self, ready: impl FnOnce(u16) + Send + 'static) {
        self.0.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
            ready(listener.local_addr().expect("it is bound").port());
            tokio::spawn(accept(listener)).await.expect(FINE);
        });
    }
}

const FINE: &str = "nothing fails here";

/// Counts tasks down; the last one wakes who waits for all.
struct Last(Countdown, Mutex<Option<oneshot::Sender<()>>>);

impl Last {
    fn of(n: usize) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (done, all) = oneshot::channel();
        (Arc::new(Self(Countdown::new(n), Mutex::new(Some(done)))), all)
    }

    fn one(&self) {
        if self.0.done() {
            let done = self.1.lock().unwrap_or_else(PoisonError::into_inner).take();
            done.expect("there is one last").send(()).expect(FINE);
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
            if sub == 1 { tokio::spawn(async move { base }) } else { tokio::spawn(node(base, sub)) }
        });
        total(children).await
    })
}

async fn total<const N: usize>(handles: [JoinHandle<u64>; N]) -> u64 {
    let mut sum = 0;
    for handle in handles {
        sum += handle.await.expect(FINE);
    }
    sum
}

/// Sleeps one time after the other; gives how late it woke.
async fn churn(task: usize, sleeps: usize) -> Duration {
    let mut draw = Draw::new(task);
    let mut late = Duration::ZERO;
    for _ in 0..sleeps {
        let asked = draw.sleep();
        let from = Instant::now();
        sleep(asked).await;
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

async fn parent(tree: Arc<Tree>, children: usize) {
    let gone = Gone(tree);
    let mut set = JoinSet::new();
    for _ in 0..children {
        set.spawn(wait(gone.0.clone()));
    }
    gone.0.started.fetch_add(1, Ordering::Relaxed);
    set.join_next().await;
}

async fn wait(tree: Arc<Tree>) {
    let gone = Gone(tree);
    gone.0.started.fetch_add(1, Ordering::Relaxed);
    pending::<()>().await;
}

async fn accept(listener: TcpListener) {
    while let Ok((mut socket, _)) = listener.accept().await {
        socket.set_nodelay(true).expect("the socket is open");
        tokio::spawn(async move {
            let mut buf = [0; ECHO_BYTES];
            while let Ok(n @ 1..) = socket.read(&mut buf).await {
                if socket.write_all(&buf[..n]).await.is_err() {
                    break;
                }
            }
        });
    }
}
