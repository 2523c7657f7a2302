//! corymb, through its public facade.

use std::future::{pending, ready};
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use corymb::net::TcpListener;
use corymb::sync::channel::bounded;
use corymb::time::{sleep, with_timeout};
use corymb::{
    Deferred, Dispatcher, Runtime, Scope, blocking, detached, scope, scoped_value, with_context,
    yield_now,
};
use corymb_harness::measure::Countdown;
use corymb_harness::sizes::{Draw, ECHO_BYTES, FAR, SCOPE_CHILDREN, SLEEP, SPAWN_BATCH, sum_below};
use futures::io::AsyncWriteExt;

use crate::workloads::{Peer, breathe};

pub(crate) struct Corymb(Runtime);

impl Corymb {
    pub(crate) fn new(workers: usize) -> Self {
        Self(Runtime::builder().parallelism(workers).build().expect("the runtime starts"))
    }
}

impl Peer for Corymb {
    fn version() -> String {
        concat!("corymb ", env!("CARGO_PKG_VERSION")).to_owned()
    }

    fn lacks(&self, _: &str) -> Option<&'static str> {
        None
    }

    fn on_worker<F>(&self, body: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.run_blocking(self.0.detached(body))
    }

    async fn spawn_join(n: usize) -> Duration {
        let t = Instant::now();
        let mut sum = 0;
        let mut children = Vec::with_capacity(SPAWN_BATCH);
        for batch in 0..n / SPAWN_BATCH {
            scope(async |s| {
                for i in 0..SPAWN_BATCH {
                    let x = (batch * SPAWN_BATCH + i) as u64;
                    children.push(s.spawn(async move { x }));
                }
                for child in children.drain(..) {
                    sum += child.await;
                }
            })
            .await;
        }
        assert_eq!(sum, sum_below(n as u64));
        t.elapsed()
    }

    async fn launch_batch(n: usize) -> Duration {
        let t = Instant::now();
        let mut sum = 0;
        for batch in 0..n / SPAWN_BATCH {
            scope(async |s| {
                for (i, slot) in SLOTS.iter().enumerate() {
                    let x = (batch * SPAWN_BATCH + i) as u64;
                    s.launch(async move { slot.store(x, Ordering::Relaxed) });
                }
            })
            .await;
            sum += SLOTS.iter().map(|slot| slot.load(Ordering::Relaxed)).sum::<u64>();
        }
        assert_eq!(sum, sum_below(n as u64));
        t.elapsed()
    }

    async fn spawn_burst(n: usize) -> Duration {
        let t = Instant::now();
        let left = Arc::new(Countdown::new(n));
        scope(async |s| {
            for _ in 0..n {
                let left = left.clone();
                s.launch(async move {
                    left.done();
                });
            }
        })
        .await;
        assert_eq!(left.left(), 0);
        t.elapsed()
    }

    async fn yields(tasks: usize, each: usize) -> Duration {
        let t = Instant::now();
        scope(async |s| {
            for _ in 0..tasks {
                s.launch(async move {
                    for _ in 0..each {
                        yield_now().await;
                    }
                });
            }
        })
        .await;
        t.elapsed()
    }

    async fn ping_pong(n: usize) -> Duration {
        let t = Instant::now();
        let (ping, pinged) = bounded(1);
        let (pong, ponged) = bounded(1);
        scope(async |s| {
            s.launch(async move {
                for i in 0..n {
                    ping.send(i).await.expect("the other side is there");
                    assert_eq!(ponged.recv().await, Ok(i));
                }
            });
            s.launch(async move {
                for _ in 0..n {
                    let x = pinged.recv().await.expect("the other side is there");
                    pong.send(x).await.expect("the other side is there");
                }
            });
        })
        .await;
        t.elapsed()
    }

    async fn skynet(leaves: u64) -> Duration {
        let t = Instant::now();
        let sum = scope(async |s| s.spawn(node(0, leaves)).await).await;
        assert_eq!(sum, sum_below(leaves));
        t.elapsed()
    }

    async fn scope(n: usize) -> Duration {
        let t = Instant::now();
        for _ in 0..n {
            let sum = scope(async |s| {
                let children: [_; SCOPE_CHILDREN] =
                    std::array::from_fn(|i| s.spawn(async move { i as u64 }));
                total(children).await
            })
            .await;
            assert_eq!(sum, sum_below(SCOPE_CHILDREN as u64));
        }
        t.elapsed()
    }

    async fn scope_vec(n: usize) -> Duration {
        let t = Instant::now();
        for _ in 0..n {
            let children: [_; SCOPE_CHILDREN] =
                std::array::from_fn(|i| detached(async move { i as u64 }));
            assert_eq!(total(children).await, sum_below(SCOPE_CHILDREN as u64));
        }
        t.elapsed()
    }

    async fn scope_empty(n: usize) -> Duration {
        let t = Instant::now();
        for i in 0..n {
            scope(async |s| drop(black_box(s))).await;
            breathe(i).await;
        }
        t.elapsed()
    }

    async fn scoped_value(n: usize) -> Duration {
        let reads = async move {
            let t = Instant::now();
            for i in 0..n {
                assert_eq!(black_box(&DEEP).get(), 1);
                breathe(i).await;
            }
            t.elapsed()
        };
        let inner = D.bind(0, E.bind(0, F.bind(0, G.bind(0, reads))));
        DEEP.bind(1, A.bind(0, B.bind(0, C.bind(0, inner)))).await
    }

    async fn million_sleepers(n: usize) -> Duration {
        let t = Instant::now();
        let left = Arc::new(Countdown::new(n));
        scope(async |s| {
            for _ in 0..n {
                let left = left.clone();
                s.launch(async move {
                    sleep(SLEEP).await;
                    left.done();
                });
            }
        })
        .await;
        assert_eq!(left.left(), 0);
        t.elapsed()
    }

    async fn million_sleepers_bare(n: usize) -> Duration {
        let t = Instant::now();
        scope(async |s| {
            for _ in 0..n {
                s.launch(sleep(SLEEP));
            }
        })
        .await;
        assert!(t.elapsed() >= SLEEP, "the scope ended before its children");
        t.elapsed()
    }

    async fn timeout_ready(n: usize) -> Duration {
        let t = Instant::now();
        let mut sum = 0;
        for i in 0..n as u64 {
            sum += with_timeout(FAR, async move { i }).await.expect("it is ready at once");
        }
        assert_eq!(sum, sum_below(n as u64));
        t.elapsed()
    }

    async fn timeout_yield(n: usize) -> Duration {
        let t = Instant::now();
        for _ in 0..n {
            with_timeout(FAR, yield_now()).await.expect("it is ready soon");
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
            with_timeout(FAR, future).await.expect("it is ready soon");
        }
        t.elapsed()
    }

    async fn hop(n: usize) -> Duration {
        let t = Instant::now();
        let mut sum = 0;
        for i in 0..n as u64 {
            sum += with_context(Dispatcher::Io, async move { i }).await;
            yield_now().await;
        }
        assert_eq!(sum, sum_below(n as u64));
        t.elapsed()
    }

    async fn hop_blocking(n: usize) -> Duration {
        let t = Instant::now();
        let mut sum = 0;
        for i in 0..n as u64 {
            blocking(|| sum += i).await;
            yield_now().await;
        }
        assert_eq!(sum, sum_below(n as u64));
        t.elapsed()
    }

    async fn hop_in_place(n: usize) -> Duration {
        Self::hop(n).await
    }

    async fn hop_same(n: usize) -> Duration {
        let t = Instant::now();
        let mut sum = 0;
        for i in 0..n as u64 {
            sum += with_context(Dispatcher::Default, ready(i)).await;
            // Or it would be a poll that is too long.
            if i % 1_000 == 0 {
                yield_now().await;
            }
        }
        assert_eq!(sum, sum_below(n as u64));
        t.elapsed()
    }

    async fn timers_churn(tasks: usize, sleeps: usize) -> (Duration, Duration) {
        let t = Instant::now();
        let late = scope(async |s| {
            let sleepers: Vec<_> = (0..tasks).map(|task| s.spawn(churn(task, sleeps))).collect();
            let mut late = Duration::ZERO;
            for sleeper in sleepers {
                late += sleeper.await;
            }
            late
        })
        .await;
        (late, t.elapsed())
    }

    async fn cancel_tree(parents: usize, children: usize) -> Duration {
        let n = parents * (children + 1);
        let tree = Arc::new(Tree { started: AtomicUsize::new(0), left: Countdown::new(n) });
        scope(async |s| {
            let root = s.launch(grow(tree.clone(), parents, children));
            while tree.started.load(Ordering::Relaxed) < n {
                sleep(Duration::from_millis(1)).await;
            }
            let t = Instant::now();
            root.cancel_and_join().await;
            let took = t.elapsed();
            assert_eq!(tree.left.left(), 0);
            took
        })
        .await
    }

    async fn cancel_scope(children: usize) -> Duration {
        let tree = Arc::new(Tree { started: AtomicUsize::new(0), left: Countdown::new(children) });
        let theirs = tree.clone();
        scope(async |s| {
            let all = s.launch(scope(async move |s| {
                for _ in 0..children {
                    s.launch(wait(theirs.clone()));
                }
            }));
            while tree.started.load(Ordering::Relaxed) < children {
                sleep(Duration::from_millis(1)).await;
            }
            let t = Instant::now();
            all.cancel_and_join().await;
            let took = t.elapsed();
            assert_eq!(tree.left.left(), 0);
            took
        })
        .await
    }

    fn serve(&self, ready: impl FnOnce(u16) + Send + 'static) {
        self.on_worker(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
            ready(listener.local_addr().expect("it is bound").port());
            scope(async |s| accept(&s, &listener).await).await;
        });
    }
}

scoped_value! {
    static DEEP: u64;
    static A: u64;
    static B: u64;
    static C: u64;
    static D: u64;
    static E: u64;
    static F: u64;
    static G: u64;
}

/// Takes the results of children that have no handle.
static SLOTS: [AtomicU64; SPAWN_BATCH] = [const { AtomicU64::new(0) }; SPAWN_BATCH];

/// A node of skynet. The box is for the recursion; a leaf needs none.
fn node(base: u64, size: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    let sub = size / 10;
    Box::pin(scope(async move |s| {
        let children: [_; 10] = std::array::from_fn(|i| {
            let base = base + i as u64 * sub;
            if sub == 1 { s.spawn(async move { base }) } else { s.spawn(node(base, sub)) }
        });
        total(children).await
    }))
}

async fn total<const N: usize>(children: [Deferred<u64>; N]) -> u64 {
    let mut sum = 0;
    for child in children {
        sum += child.await;
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

/// How many tasks of a tree have started, and how many are left.
struct Tree {
    started: AtomicUsize,
    left: Countdown,
}

/// Counts a task of the tree as gone when its future is dropped.
struct Gone(Arc<Tree>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.left.done();
    }
}

/// The root of the tree: its children wait for ever.
async fn grow(tree: Arc<Tree>, parents: usize, children: usize) {
    scope(async |s| {
        for _ in 0..parents {
            let tree = tree.clone();
            s.launch(async move {
                let gone = Gone(tree);
                scope(async |s| {
                    for _ in 0..children {
                        s.launch(wait(gone.0.clone()));
                    }
                    gone.0.started.fetch_add(1, Ordering::Relaxed);
                })
                .await;
            });
        }
    })
    .await;
}

async fn wait(tree: Arc<Tree>) {
    let gone = Gone(tree);
    gone.0.started.fetch_add(1, Ordering::Relaxed);
    pending::<()>().await;
}

async fn accept(s: &Scope, listener: &TcpListener) {
    while let Ok((socket, _)) = listener.accept().await {
        socket.set_nodelay(true).expect("the socket is open");
        s.launch(async move {
            let mut buf = [0; ECHO_BYTES];
            let mut socket = &socket;
            while let Ok(n @ 1..) = socket.read(&mut buf).await {
                if socket.write_all(&buf[..n]).await.is_err() {
                    break;
                }
            }
        });
    }
}
