//! may: stackful coroutines, two workers, its default stacks (32 KiB).
//!
//! Every stack is its own mapping with a guard page, so the kernel's default limit
//! on mappings (65 530) allows about 32 000 coroutines at once; workloads that need
//! more of them run smaller here, and their rows carry the smaller `n`.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corymb_harness::measure::{Countdown, count, cpu_time, memory, nanos, pinned_in};
use corymb_harness::sizes::{
    CANCEL_CHILDREN, CHURN_SLEEPS, CHURN_TASKS, Draw, ECHO_BYTES, LOCKING, LOCKS, MESSAGES,
    PERMITS, PING_PONG, SCOPE_CHILDREN, SCOPES, SLEEP, SPAWN_BATCH, SPAWN_N, YIELD_ONE,
    YIELD_TASKS, YIELDS, skynet_leaves, sum_below, tree_nodes,
};
use corymb_harness::{Absent, Bench, Line, Numbers};
use may::coroutine::{self, JoinHandle, yield_now};
use may::net::TcpListener;
use may::sync::{Mutex, Semphore, mpmc, mpsc, spsc};

/// Coroutines alive at once, where the workload is about that.
const MANY: usize = 20_000;
const CANCEL_PARENTS_MAY: usize = 20;
/// It has room for so small a part of skynet.
const SKYNET_PART: f64 = 100.0;

fn main() -> ExitCode {
    let b = match Bench::from_environment() {
        Ok(bench) => bench,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    may::config().set_workers(b.workers);
    if b.workload == "tcp_echo" {
        tcp_echo();
    } else {
        tell(&b.workload, run(&b));
    }
    ExitCode::SUCCESS
}

fn tell(workload: &str, result: Result<Numbers, String>) {
    let version = pinned_in(include_str!("../Cargo.toml"), "may");
    let (peer, workload) = ("may".to_owned(), workload.to_owned());
    println!("{}", Line { peer, version, workload, result: result.map_err(Absent::Skipped) });
}

fn run(b: &Bench) -> Result<Numbers, String> {
    let each = |n, one: fn(usize) -> Duration| b.time(n, || on_worker(move || one(n)));
    Ok(match b.workload.as_str() {
        "spawn_join" => each(b.n(SPAWN_N), spawn_join),
        "spawn_burst" => each(b.n(MANY), spawn_burst),
        "yield_many" => {
            let times = b.n(YIELD_TASKS * YIELDS) / YIELD_TASKS;
            b.time(YIELD_TASKS * times, || on_worker(move || yields(YIELD_TASKS, times)))
        }
        "yield_one" => each(b.n(YIELD_ONE), |n| yields(1, n)),
        "ping_pong" => each(b.n(PING_PONG), ping_pong),
        "skynet" => {
            let leaves = skynet_leaves(b.scale / SKYNET_PART);
            b.time(tree_nodes(leaves), || on_worker(move || skynet_root(leaves)))
        }
        "million_sleepers" => million_sleepers(b.n(MANY)),
        "timers_churn" => {
            let sleeps = b.n(CHURN_TASKS * CHURN_SLEEPS) / CHURN_TASKS;
            let n = CHURN_TASKS * sleeps;
            b.time_with(n, ["mean_late_us", "wall_ms"], || {
                let cpu = cpu_time();
                let (late, wall) = on_worker(move || timers_churn(sleeps));
                let late_us = late.as_secs_f64() * 1e6 / count(n);
                (cpu_time() - cpu, [late_us, wall.as_secs_f64() * 1e3])
            })
        }
        "timeout_ready" | "timeout_yield" | "timeout_wake" => {
            return Err("may has no timeout around an arbitrary piece of work".to_owned());
        }
        "channel_spsc" => each(b.n(MESSAGES), channel_spsc),
        "channel_mpsc" => each(b.n(MESSAGES), |n| channel_mpsc(n, 4)),
        "channel_mpmc" => each(b.n(MESSAGES), |n| channel_mpmc(n, 4, 4)),
        "mutex" => locks(b, |each| mutex(each, false)),
        "mutex_yield" => locks(b, |each| mutex(each, true)),
        "semaphore" => locks(b, |each| semaphore(each, false)),
        "semaphore_yield" => locks(b, |each| semaphore(each, true)),
        "cancel_tree" => {
            let parents = CANCEL_PARENTS_MAY;
            let children = b.n(parents * CANCEL_CHILDREN) / parents;
            b.time(parents * (children + 1), || on_worker(move || cancel_tree(parents, children)))
        }
        "hop" | "hop_in_place" => return Err("may has no pool for blocking work".to_owned()),
        "scope" => each(b.n(SCOPES), scope),
        "scope_vec" => each(b.n(SCOPES), scope_vec),
        other => return Err(format!("unknown workload {other}")),
    })
}

fn locks(b: &Bench, one: fn(usize) -> Duration) -> Numbers {
    let each = b.n(LOCKS);
    b.time(LOCKING * each, || on_worker(move || one(each)))
}

/// Starts a coroutine. Every body here keeps may's two rules: a small stack, and no
/// thread-local storage across a suspension.
fn go<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    // SAFETY: see above.
    unsafe { coroutine::spawn(f) }
}

fn on_worker<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    go(f).join().unwrap()
}

fn spawn_join(n: usize) -> Duration {
    let t = Instant::now();
    let mut sum = 0;
    let mut handles = Vec::with_capacity(SPAWN_BATCH);
    for batch in 0..n / SPAWN_BATCH {
        for i in 0..SPAWN_BATCH {
            let x = (batch * SPAWN_BATCH + i) as u64;
            handles.push(go(move || x));
        }
        for h in handles.drain(..) {
            sum += h.join().unwrap();
        }
    }
    assert_eq!(sum, sum_below(n as u64));
    t.elapsed()
}

fn spawn_burst(n: usize) -> Duration {
    let t = Instant::now();
    let (tx, rx) = mpsc::channel();
    let state = Arc::new((Countdown::new(n), tx));
    for _ in 0..n {
        let state = state.clone();
        go(move || {
            if state.0.done() {
                state.1.send(()).unwrap();
            }
        });
    }
    rx.recv().unwrap();
    t.elapsed()
}

fn yields(tasks: usize, each: usize) -> Duration {
    let t = Instant::now();
    let handles: Vec<_> = (0..tasks)
        .map(|_| {
            go(move || {
                for _ in 0..each {
                    yield_now();
                }
            })
        })
        .collect();
    for h in handles {
        h.join().unwrap();
    }
    t.elapsed()
}

/// Over unbounded channels; may has no bounded one.
fn ping_pong(n: usize) -> Duration {
    let t = Instant::now();
    let (ping, pinged) = spsc::channel();
    let (pong, ponged) = spsc::channel();
    let a = go(move || {
        for i in 0..n {
            ping.send(i).unwrap();
            assert_eq!(ponged.recv(), Ok(i));
        }
    });
    let b = go(move || {
        for _ in 0..n {
            let x = pinged.recv().unwrap();
            pong.send(x).unwrap();
        }
    });
    a.join().unwrap();
    b.join().unwrap();
    t.elapsed()
}

fn skynet_root(leaves: u64) -> Duration {
    let t = Instant::now();
    let sum = go(move || skynet(0, leaves)).join().unwrap();
    assert_eq!(sum, sum_below(leaves));
    t.elapsed()
}

fn skynet(base: u64, size: u64) -> u64 {
    if size == 1 {
        return base;
    }
    let sub = size / 10;
    let children: [JoinHandle<u64>; 10] =
        std::array::from_fn(|i| go(move || skynet(base + i as u64 * sub, sub)));
    children.into_iter().map(|c| c.join().unwrap()).sum()
}

fn million_sleepers(n: usize) -> Numbers {
    let before = memory("VmRSS");
    let cpu = cpu_time();
    let wall = on_worker(move || {
        let t = Instant::now();
        let (tx, rx) = mpsc::channel();
        let state = Arc::new((Countdown::new(n), tx));
        for _ in 0..n {
            let state = state.clone();
            go(move || {
                coroutine::sleep(SLEEP);
                if state.0.done() {
                    state.1.send(()).unwrap();
                }
            });
        }
        rx.recv().unwrap();
        t.elapsed()
    });
    let cpu = cpu_time() - cpu;
    let bytes = memory("VmHWM").saturating_sub(before);
    let mut numbers = Numbers::of(n, vec![nanos(cpu) / count(n)]);
    numbers.add("bytes_per_task", bytes as f64 / count(n));
    numbers.add("cpu_ms", cpu.as_secs_f64() * 1e3);
    numbers.add("wall_ms", wall.as_secs_f64() * 1e3);
    numbers
}

fn timers_churn(sleeps: usize) -> (Duration, Duration) {
    let t = Instant::now();
    let handles: Vec<_> = (0..CHURN_TASKS)
        .map(|task| {
            go(move || {
                let mut draw = Draw::new(task);
                let mut late = Duration::ZERO;
                for _ in 0..sleeps {
                    let d = draw.sleep();
                    let from = Instant::now();
                    coroutine::sleep(d);
                    late += from.elapsed().saturating_sub(d);
                }
                late
            })
        })
        .collect();
    let mut late = Duration::ZERO;
    for h in handles {
        late += h.join().unwrap();
    }
    (late, t.elapsed())
}

/// Unbounded, as all of may's channels.
fn channel_spsc(n: usize) -> Duration {
    let t = Instant::now();
    let (tx, rx) = spsc::channel();
    let sender = go(move || {
        for i in 0..n as u64 {
            tx.send(i).unwrap();
        }
    });
    let receiver = go(move || (0..n).map(|_| rx.recv().unwrap()).sum::<u64>());
    sender.join().unwrap();
    assert_eq!(receiver.join().unwrap(), sum_below(n as u64));
    t.elapsed()
}

fn channel_mpsc(n: usize, producers: usize) -> Duration {
    let t = Instant::now();
    let (tx, rx) = mpsc::channel();
    let each = n / producers;
    let senders: Vec<_> = (0..producers)
        .map(|_| {
            let tx = tx.clone();
            go(move || {
                for i in 0..each as u64 {
                    tx.send(i).unwrap();
                }
            })
        })
        .collect();
    let receiver = go(move || (0..each * producers).map(|_| rx.recv().unwrap()).sum::<u64>());
    for s in senders {
        s.join().unwrap();
    }
    assert_eq!(receiver.join().unwrap(), sum_below(each as u64) * producers as u64);
    t.elapsed()
}

fn channel_mpmc(n: usize, producers: usize, consumers: usize) -> Duration {
    let t = Instant::now();
    let (tx, rx) = mpmc::channel();
    let each = n / producers;
    let senders: Vec<_> = (0..producers)
        .map(|_| {
            let tx = tx.clone();
            go(move || {
                for i in 0..each as u64 {
                    tx.send(i).unwrap();
                }
            })
        })
        .collect();
    let receivers: Vec<_> = (0..consumers)
        .map(|_| {
            let rx = rx.clone();
            let share = each * producers / consumers;
            go(move || (0..share).map(|_| rx.recv().unwrap()).sum::<u64>())
        })
        .collect();
    for s in senders {
        s.join().unwrap();
    }
    let sum: u64 = receivers.into_iter().map(|r| r.join().unwrap()).sum();
    assert_eq!(sum, sum_below(each as u64) * producers as u64);
    t.elapsed()
}

fn mutex(each: usize, yielding: bool) -> Duration {
    let t = Instant::now();
    let m = Arc::new(Mutex::new(0));
    let handles: Vec<_> = (0..LOCKING)
        .map(|_| {
            let m = m.clone();
            go(move || {
                for _ in 0..each {
                    let mut held = m.lock().unwrap();
                    *held += 1;
                    if yielding {
                        yield_now();
                    }
                }
            })
        })
        .collect();
    for h in handles {
        h.join().unwrap();
    }
    assert_eq!(*m.lock().unwrap(), LOCKING * each);
    t.elapsed()
}

fn semaphore(each: usize, yielding: bool) -> Duration {
    let t = Instant::now();
    let s = Arc::new((Semphore::new(PERMITS), AtomicUsize::new(0)));
    let handles: Vec<_> = (0..LOCKING)
        .map(|_| {
            let s = s.clone();
            go(move || {
                for _ in 0..each {
                    s.0.wait();
                    s.1.fetch_add(1, Ordering::Relaxed);
                    if yielding {
                        yield_now();
                    }
                    s.0.post();
                }
            })
        })
        .collect();
    for h in handles {
        h.join().unwrap();
    }
    assert_eq!(s.1.load(Ordering::Relaxed), LOCKING * each);
    t.elapsed()
}

/// Counts a cancelled coroutine when its stack unwinds.
struct Gone(Arc<Tree>);

struct Tree {
    started: AtomicUsize,
    gone: Countdown,
    last: mpsc::Sender<()>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        if self.0.gone.done() {
            self.0.last.send(()).unwrap();
        }
    }
}

/// A parent cancels its children when its own stack unwinds.
struct Children(Vec<JoinHandle<()>>);

impl Drop for Children {
    fn drop(&mut self) {
        for c in &self.0 {
            // SAFETY: the children hold nothing that a cancellation could leave broken.
            unsafe { c.coroutine().cancel() };
        }
    }
}

fn cancel_tree(parents: usize, children: usize) -> Duration {
    let n = parents * (children + 1);
    let (last, rx) = mpsc::channel();
    let started = AtomicUsize::new(0);
    let tree = Arc::new(Tree { started, gone: Countdown::new(n), last });
    let root: Vec<_> = (0..parents)
        .map(|_| {
            let tree = tree.clone();
            go(move || {
                let _gone = Gone(tree.clone());
                let _set = Children(
                    (0..children)
                        .map(|_| {
                            let tree = tree.clone();
                            go(move || {
                                let gone = Gone(tree);
                                gone.0.started.fetch_add(1, Ordering::Relaxed);
                                loop {
                                    coroutine::park();
                                }
                            })
                        })
                        .collect(),
                );
                tree.started.fetch_add(1, Ordering::Relaxed);
                loop {
                    coroutine::park();
                }
            })
        })
        .collect();
    while tree.started.load(Ordering::Relaxed) < n {
        coroutine::sleep(Duration::from_millis(1));
    }
    coroutine::sleep(Duration::from_millis(10));
    let t = Instant::now();
    drop(Children(root));
    rx.recv().unwrap();
    t.elapsed()
}

fn scope(n: usize) -> Duration {
    let t = Instant::now();
    for _ in 0..n {
        let sum: u64 = coroutine::scope(|s| {
            // SAFETY: as in `go`.
            let children: [_; SCOPE_CHILDREN] =
                std::array::from_fn(|i| unsafe { s.spawn(move || i as u64) });
            children.into_iter().map(|c| c.join()).sum()
        });
        assert_eq!(sum, sum_below(SCOPE_CHILDREN as u64));
    }
    t.elapsed()
}

fn scope_vec(n: usize) -> Duration {
    let t = Instant::now();
    for _ in 0..n {
        let handles: [JoinHandle<u64>; SCOPE_CHILDREN] =
            std::array::from_fn(|i| go(move || i as u64));
        let sum: u64 = handles.into_iter().map(|h| h.join().unwrap()).sum();
        assert_eq!(sum, sum_below(SCOPE_CHILDREN as u64));
    }
    t.elapsed()
}

fn tcp_echo() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut numbers = Numbers::default();
    numbers.add("port", listener.local_addr().unwrap().port().into());
    tell("tcp_echo", Ok(numbers));
    go(move || {
        loop {
            let (mut socket, _) = listener.accept().unwrap();
            socket.set_nodelay(true).unwrap();
            go(move || {
                let mut buf = [0; ECHO_BYTES];
                while let Ok(n @ 1..) = socket.read(&mut buf) {
                    if socket.write_all(&buf[..n]).is_err() {
                        break;
                    }
                }
            });
        }
    })
    .join()
    .unwrap();
}
