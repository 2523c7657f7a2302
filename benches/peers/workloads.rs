//! The workloads: their sizes, the same for all, and what a peer brings to run them.

use std::cell::Cell;
use std::hint::black_box;
use std::pin::Pin;
use std::time::{Duration, Instant};

use corymb_harness::measure::{count, cpu_time, memory, nanos};
use corymb_harness::sizes::{
    BURST_N, CANCEL_CHILDREN, CANCEL_PARENTS, CHURN_SLEEPS, CHURN_TASKS, HOPS, PING_PONG, SCOPES,
    SLEEPERS, SPAWN_N, TIMEOUTS, YIELD_ONE, YIELD_TASKS, YIELDS, skynet_leaves, tree_nodes,
};
use corymb_harness::{Bench, Numbers};

const EMPTY_SCOPES: usize = 10_000_000;
const VALUE_READS: usize = 10_000_000;
const SAME_HOPS: usize = 10_000_000;
const ONE_SCOPE: usize = 10_000;

/// A runtime that runs the workloads.
///
/// Each workload is the body of a task and says how long it took, from its own start to its last
/// result; it checks that result itself. What takes a size runs `n` operations.
pub(crate) trait Peer {
    /// The name and version of what is measured.
    fn version() -> String;

    /// Why this peer has nothing for `workload`, if so.
    fn lacks(&self, workload: &str) -> Option<&'static str>;

    /// It has time, or room, for so small a part of the tasks of `workload`.
    fn part(_workload: &str) -> usize {
        1
    }

    /// Runs `body` as a task on a worker; this thread only waits for it.
    fn on_worker<F>(&self, body: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    /// Batches of tasks that return their index; each is awaited in turn.
    fn spawn_join(n: usize) -> impl Future<Output = Duration> + Send + 'static;

    /// The same without a handle for each: the end of the batch is awaited.
    fn launch_batch(_: usize) -> impl Future<Output = Duration> + Send + 'static {
        lacking()
    }

    /// Tasks spawned in one loop, of which the last wakes the parent.
    fn spawn_burst(n: usize) -> impl Future<Output = Duration> + Send + 'static;

    /// `tasks` yield `each` times.
    fn yields(tasks: usize, each: usize) -> impl Future<Output = Duration> + Send + 'static;

    /// Two tasks pass numbers there and back over two channels of capacity 1.
    fn ping_pong(n: usize) -> impl Future<Output = Duration> + Send + 'static;

    /// A tree of tasks with `leaves` leaves and ten children to a node.
    fn skynet(leaves: u64) -> impl Future<Output = Duration> + Send + 'static;

    /// Scopes with ten children that return a number, one after the other.
    fn scope(_: usize) -> impl Future<Output = Duration> + Send + 'static {
        lacking()
    }

    /// The same with plain handles in an array.
    fn scope_vec(n: usize) -> impl Future<Output = Duration> + Send + 'static;

    /// Scopes without children; where there are none, futures in a box that do nothing.
    fn scope_empty(n: usize) -> impl Future<Output = Duration> + Send + 'static {
        async move {
            let t = Instant::now();
            for i in 0..n {
                let nothing: Boxed = Box::pin(async {});
                black_box(nothing).await;
                breathe(i).await;
            }
            t.elapsed()
        }
    }

    /// Reads of a value that is bound eight bindings further out; where there are none, three
    /// reads of thread-locals for each.
    fn scoped_value(n: usize) -> impl Future<Output = Duration> + Send + 'static {
        async move {
            let t = Instant::now();
            for i in 0..n {
                let read = || black_box(&LOCAL).with(Cell::get);
                assert_eq!(black_box(read() + read() + read()), 0);
                breathe(i).await;
            }
            t.elapsed()
        }
    }

    /// Tasks that sleep for `SLEEP`, all at once.
    fn million_sleepers(n: usize) -> impl Future<Output = Duration> + Send + 'static;

    /// Tasks that are nothing but such a sleep.
    fn million_sleepers_bare(_: usize) -> impl Future<Output = Duration> + Send + 'static {
        lacking()
    }

    /// A timeout of `FAR` around work that is finished at once.
    fn timeout_ready(_: usize) -> impl Future<Output = Duration> + Send + 'static {
        lacking()
    }

    /// The same around work that yields once.
    fn timeout_yield(_: usize) -> impl Future<Output = Duration> + Send + 'static {
        lacking()
    }

    /// The same around work that wakes itself once, which leaves out the cost of the yield.
    fn timeout_wake(_: usize) -> impl Future<Output = Duration> + Send + 'static {
        lacking()
    }

    /// Trips to the threads for blocking work and back, one after the other, with a yield between
    /// them. What is done there is next to nothing.
    fn hop(_: usize) -> impl Future<Output = Duration> + Send + 'static {
        lacking()
    }

    /// The same with a closure that borrows.
    fn hop_blocking(_: usize) -> impl Future<Output = Duration> + Send + 'static {
        lacking()
    }

    /// The same with what a peer has to block where the task is.
    fn hop_in_place(_: usize) -> impl Future<Output = Duration> + Send + 'static {
        lacking()
    }

    /// Sections on the dispatcher where the coroutine is anyway.
    fn hop_same(_: usize) -> impl Future<Output = Duration> + Send + 'static {
        lacking()
    }

    /// `tasks` sleep `sleeps` times each, as [`Draw`] says. Gives how late they woke, all together,
    /// and how long it took.
    fn timers_churn(
        tasks: usize,
        sleeps: usize,
    ) -> impl Future<Output = (Duration, Duration)> + Send + 'static;

    /// A tree of tasks that wait for ever. The clock runs from the cancellation of its root until
    /// the last future has been dropped.
    fn cancel_tree(
        _parents: usize,
        _children: usize,
    ) -> impl Future<Output = Duration> + Send + 'static {
        lacking()
    }

    /// Tasks of one scope, or set, that wait for ever. The clock runs from its cancellation until
    /// the last future has been dropped.
    fn cancel_scope(_: usize) -> impl Future<Output = Duration> + Send + 'static {
        lacking()
    }

    /// Serves echoes, a task for each connection, once it has told `ready` its port. Never ends.
    fn serve(&self, ready: impl FnOnce(u16) + Send + 'static);
}

/// For what [`Peer::lacks`] names.
fn lacking() -> impl Future<Output = Duration> + Send {
    std::future::poll_fn(|_| unreachable!("it is lacking"))
}

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

thread_local! {
    static LOCAL: Cell<u64> = const { Cell::new(0) };
}

/// Suspends once in a thousand operations, so that none of them has a poll that is too long.
pub(crate) async fn breathe(operation: usize) {
    if operation.is_multiple_of(1_000) {
        smol::future::yield_now().await;
    }
}

/// What only corymb runs; beside some of it the table has another workload of the peers.
pub(crate) fn is_corymbs_own(workload: &str) -> bool {
    matches!(workload, "launch_batch" | "million_sleepers_bare" | "hop_blocking" | "hop_same")
}

/// Measures one workload of one peer.
///
/// # Errors
///
/// Why the peer has nothing for it.
pub(crate) fn run<P: Peer>(peer: &P, b: &Bench) -> Result<Numbers, String> {
    let name = b.workload.as_str();
    let tasks = |n: usize| b.n(n / P::part(name));
    if let Some(why) = peer.lacks(name) {
        return Err(why.to_owned());
    }
    Ok(match name {
        "spawn_join" => each(peer, b, tasks(SPAWN_N), P::spawn_join),
        "launch_batch" => each(peer, b, b.n(SPAWN_N), P::launch_batch),
        "spawn_burst" => each(peer, b, tasks(BURST_N), P::spawn_burst),
        "yield_many" => {
            let times = b.n(YIELDS * YIELD_TASKS) / YIELD_TASKS;
            b.time(YIELD_TASKS * times, || peer.on_worker(P::yields(YIELD_TASKS, times)))
        }
        "yield_one" => each(peer, b, b.n(YIELD_ONE), |n| P::yields(1, n)),
        "ping_pong" => each(peer, b, b.n(PING_PONG), P::ping_pong),
        "skynet" => {
            let leaves = skynet_leaves(b.scale / count(P::part(name)));
            b.time(tree_nodes(leaves), || peer.on_worker(P::skynet(leaves)))
        }
        "scope" => each(peer, b, tasks(SCOPES), P::scope),
        "scope_vec" => each(peer, b, tasks(SCOPES), P::scope_vec),
        "scope_empty" => each(peer, b, b.n(EMPTY_SCOPES), P::scope_empty),
        "scoped_value" => each(peer, b, b.n(VALUE_READS), P::scoped_value),
        "million_sleepers" => sleepers(peer, tasks(SLEEPERS), P::million_sleepers),
        "million_sleepers_bare" => sleepers(peer, b.n(SLEEPERS), P::million_sleepers_bare),
        "timeout_ready" => each(peer, b, b.n(TIMEOUTS), P::timeout_ready),
        "timeout_yield" => each(peer, b, b.n(TIMEOUTS), P::timeout_yield),
        "timeout_wake" => each(peer, b, b.n(TIMEOUTS), P::timeout_wake),
        "hop" => each(peer, b, b.n(HOPS), P::hop),
        "hop_blocking" => each(peer, b, b.n(HOPS), P::hop_blocking),
        "hop_in_place" => each(peer, b, b.n(HOPS), P::hop_in_place),
        "hop_same" => each(peer, b, b.n(SAME_HOPS), P::hop_same),
        "timers_churn" => timers_churn(peer, b),
        "cancel_tree" => {
            let children = b.n(CANCEL_PARENTS * CANCEL_CHILDREN) / CANCEL_PARENTS;
            let tasks = CANCEL_PARENTS * (children + 1);
            b.time(tasks, || peer.on_worker(P::cancel_tree(CANCEL_PARENTS, children)))
        }
        "cancel_scope" => each(peer, b, b.n(ONE_SCOPE), P::cancel_scope),
        _ => return Err("unknown workload".to_owned()),
    })
}

/// `n` operations of `workload`.
fn each<P: Peer, F>(peer: &P, b: &Bench, n: usize, workload: impl Fn(usize) -> F) -> Numbers
where
    F: Future<Output = Duration> + Send + 'static,
{
    b.time(n, || peer.on_worker(workload(n)))
}

/// Memory and processor time of a task that sleeps. Measured once: the peak of the resident set
/// is never taken back.
fn sleepers<P: Peer, F>(peer: &P, n: usize, workload: impl FnOnce(usize) -> F) -> Numbers
where
    F: Future<Output = Duration> + Send + 'static,
{
    let before = memory("VmRSS");
    let cpu = cpu_time();
    let wall = peer.on_worker(workload(n));
    let cpu = cpu_time() - cpu;
    let bytes = memory("VmHWM").saturating_sub(before);
    let mut numbers = Numbers::of(n, vec![nanos(cpu) / count(n)]);
    numbers.add("bytes_per_task", bytes as f64 / count(n));
    numbers.add("cpu_ms", cpu.as_secs_f64() * 1e3);
    numbers.add("wall_ms", wall.as_secs_f64() * 1e3);
    numbers
}

/// Processor time of a sleep, and how late it ends on average.
fn timers_churn<P: Peer>(peer: &P, b: &Bench) -> Numbers {
    let sleeps = b.n(CHURN_TASKS * CHURN_SLEEPS) / CHURN_TASKS;
    let n = CHURN_TASKS * sleeps;
    b.time_with(n, ["mean_late_us", "wall_ms"], || {
        let cpu = cpu_time();
        let (late, wall) = peer.on_worker(P::timers_churn(CHURN_TASKS, sleeps));
        let late_us = late.as_secs_f64() * 1e6 / count(n);
        (cpu_time() - cpu, [late_us, wall.as_secs_f64() * 1e3])
    })
}
