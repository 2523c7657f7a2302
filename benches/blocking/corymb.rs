//! corymb, through its public facade.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use corymb::time::{MissedTick, interval, now, sleep};
use corymb::{Builder, Dispatcher, Runtime, Scope, blocking, scope, with_context, yield_now};

use crate::work::{Shared, TICK, block, unit};
use crate::workloads::{COMPUTING, HOG_UNITS, HOGS, Peer, SECTION, WORKERS, WRONG};

pub(crate) struct Corymb;

impl Peer for Corymb {
    fn version() -> String {
        concat!("corymb ", env!("CARGO_PKG_VERSION")).to_owned()
    }

    const MOVES_PART: usize = 1;

    fn io_blocking(shared: &Arc<Shared>, blockers: usize) {
        let shared = shared.clone();
        on_worker(builder().io_parallelism(256), async move {
            scope(async |s| {
                compute(&s, &shared);
                for _ in 0..blockers {
                    let shared = shared.clone();
                    s.launch(async move { while blocking(|| shared.block(SECTION)).await {} });
                }
            })
            .await;
        });
    }

    fn wrong_blocking(shared: &Arc<Shared>, blockers: usize) {
        let shared = shared.clone();
        on_worker(builder().max_pool_size(64), async move {
            scope(async |s| {
                compute(&s, &shared);
                s.launch(tick(shared.clone()));
                for _ in 0..blockers {
                    let shared = shared.clone();
                    s.launch(async move {
                        while shared.block(WRONG) {
                            sleep(WRONG).await;
                        }
                    });
                }
            })
            .await;
        });
    }

    fn moves(tasks: usize, moves: usize, wait: bool) -> Duration {
        on_worker(builder(), async move {
            let t = Instant::now();
            scope(async |s| {
                for task in 0..tasks as u64 {
                    s.launch(travel(task, moves as u64, wait));
                }
            })
            .await;
            t.elapsed()
        })
    }

    fn sections_and_hogs(sections: usize, reps: usize) -> Vec<Duration> {
        on_worker(builder(), async move {
            let done = Arc::new(AtomicBool::new(false));
            scope(async |s| {
                for _ in 0..HOGS {
                    let done = done.clone();
                    s.launch(async move {
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
                    scope(async |s| {
                        for _ in 0..sections {
                            s.launch(blocking(|| block(SECTION)));
                        }
                    })
                    .await;
                    walls.push(t.elapsed());
                }
                done.store(true, Ordering::Relaxed);
                walls
            })
            .await
        })
    }
}

fn builder() -> Builder {
    Runtime::builder().parallelism(WORKERS).on_worker_blocked(|_| {})
}

fn on_worker<F>(builder: Builder, body: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let runtime = builder.build().expect("the runtime starts");
    runtime.run_blocking(runtime.detached(body))
}

fn compute(s: &Scope, shared: &Arc<Shared>) {
    for _ in 0..COMPUTING {
        let shared = shared.clone();
        s.launch(async move {
            while shared.compute() {
                yield_now().await;
            }
        });
    }
}

async fn tick(shared: Arc<Shared>) {
    let mut ticks = interval(TICK).with_missed_tick(MissedTick::Burst);
    for _ in 0..shared.ticks {
        let due = ticks.tick().await;
        shared.ticked(now().saturating_duration_since(due));
    }
}

/// Goes to IO and back, with a section at home in between; all of them borrow.
async fn travel(task: u64, moves: u64, wait: bool) {
    let (mut away, mut home) = (0, 0);
    for i in 0..moves {
        with_context(Dispatcher::Io, async {
            away += task + i;
            if wait {
                yield_now().await;
            }
            away += 1;
        })
        .await;
        with_context(Dispatcher::Default, async { home += away }).await;
    }
    let sum = |k: u64| k * task + k * (k + 1) / 2;
    assert_eq!((away, home), (sum(moves), (1..=moves).map(sum).sum()));
}
