//! tokio, multi-thread with two workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::task::{JoinSet, spawn_blocking, yield_now};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::measure::pinned;
use crate::work::{Shared, TICK, block, unit};
use crate::workloads::{COMPUTING, HOG_UNITS, HOGS, Peer, SECTION, WORKERS, WRONG};

pub(crate) struct Tokio;

impl Peer for Tokio {
    fn version() -> String {
        pinned("tokio")
    }

    const MOVES_PART: usize = 10;

    fn io_blocking(shared: &Arc<Shared>, blockers: usize) {
        let shared = shared.clone();
        on_worker(async move {
            let mut tasks = JoinSet::new();
            compute(&mut tasks, &shared);
            for _ in 0..blockers {
                let shared = shared.clone();
                tasks.spawn(async move {
                    while shared.goes_on() {
                        let shared = shared.clone();
                        spawn_blocking(move || shared.block(SECTION)).await.expect(FINE);
                    }
                });
            }
            join(tasks).await;
        });
    }

    fn wrong_blocking(shared: &Arc<Shared>, blockers: usize) {
        let shared = shared.clone();
        on_worker(async move {
            let mut tasks = JoinSet::new();
            compute(&mut tasks, &shared);
            tasks.spawn(tick(shared.clone()));
            for _ in 0..blockers {
                let shared = shared.clone();
                tasks.spawn(async move {
                    while shared.block(WRONG) {
                        sleep(WRONG).await;
                    }
                });
            }
            join(tasks).await;
        });
    }

    fn moves(tasks: usize, moves: usize, _: bool) -> Duration {
        on_worker(async move {
            let t = Instant::now();
            let mut all = JoinSet::new();
            for task in 0..tasks as u64 {
                all.spawn(travel(task, moves as u64));
            }
            join(all).await;
            t.elapsed()
        })
    }

    fn sections_and_hogs(sections: usize, reps: usize) -> Vec<Duration> {
        on_worker(async move {
            let done = Arc::new(AtomicBool::new(false));
            let mut hogs = JoinSet::new();
            for _ in 0..HOGS {
                let done = done.clone();
                hogs.spawn(async move {
                    while !done.load(Ordering::Relaxed) {
                        (0..HOG_UNITS).for_each(|_| unit());
                        yield_now().await;
                    }
                });
            }
            let mut walls = Vec::new();
            for _ in 0..reps {
                sleep(SECTION).await;
                let t = Instant::now();
                let mut all = JoinSet::new();
                for _ in 0..sections {
                    all.spawn_blocking(|| block(SECTION));
                }
                join(all).await;
                walls.push(t.elapsed());
            }
            done.store(true, Ordering::Relaxed);
            join(hogs).await;
            walls
        })
    }
}

const FINE: &str = "nothing fails here";

fn on_worker<F>(body: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let runtime = runtime.expect("the runtime starts");
    runtime.block_on(async { tokio::spawn(body).await.expect(FINE) })
}

async fn join(mut tasks: JoinSet<()>) {
    while let Some(task) = tasks.join_next().await {
        task.expect(FINE);
    }
}

fn compute(tasks: &mut JoinSet<()>, shared: &Arc<Shared>) {
    for _ in 0..COMPUTING {
        let shared = shared.clone();
        tasks.spawn(async move {
            while shared.compute() {
                yield_now().await;
            }
        });
    }
}

async fn tick(shared: Arc<Shared>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..shared.ticks {
        let due = ticks.tick().await.into_std();
        shared.ticked(due.elapsed());
    }
}

async fn travel(task: u64, moves: u64) {
    let mut sum = 0;
    for i in 0..moves {
        sum += spawn_blocking(move || task + i + 1).await.expect(FINE);
    }
    assert_eq!(sum, moves * task + moves * (moves + 1) / 2);
}
