//! What it costs to go over to IO in place and back, and what computing loses beside coroutines
//! that block.
//!
//! `cargo bench -p corymb-dispatchers --bench sharing`, or with a number of coroutines that block:
//! `-- 200`.
#![expect(clippy::print_stdout, reason = "this is its output")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use corymb_core::{Dispatch, Dispatcher, hooks, scope, yield_now};
use corymb_dispatchers::Runtime;

fn dispatchers() -> (Arc<dyn Dispatch>, Arc<dyn Dispatch>) {
    hooks::with(|runtime| (runtime.default_dispatch(), runtime.io_dispatch()))
}

/// Nanoseconds for there and back.
fn hop(rounds: u32) -> f64 {
    let rt = Runtime::builder().parallelism(1).build().unwrap();
    rt.run_blocking(rt.detached(async move {
        let (pool, io) = dispatchers();
        let (mut hops, mut time) = (0u32, Duration::ZERO);
        while hops < rounds {
            let began = Instant::now();
            for _ in 0..1_000 {
                hops += u32::from(pool.switch(&*io) && io.switch(&*pool));
            }
            time += began.elapsed();
            yield_now().await;
        }
        time.as_nanos() as f64 / f64::from(hops)
    }))
}

#[expect(clippy::disallowed_methods, reason = "it stands for a call that blocks")]
fn block(time: Duration) {
    std::thread::sleep(time);
}

/// Units of computing in a second, beside `blockers` that block for 50 ms at a time.
fn computing(blockers: usize) -> (u64, u64) {
    let rt = Runtime::builder().parallelism(2).io_parallelism(256).build().unwrap();
    let (units, sections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let (units2, sections2) = (units.clone(), sections.clone());
    rt.run_blocking(scope(async |s| {
        for _ in 0..blockers {
            let (stop, sections) = (stop.clone(), sections2.clone());
            s.launch(async move {
                let (pool, io) = dispatchers();
                while !stop.load(Ordering::Relaxed) {
                    if pool.switch(&*io) {
                        block(Duration::from_millis(50));
                        io.switch(&*pool);
                    } else {
                        // What the kernel does then: the coroutine goes over by the queue.
                        scope(async |s| {
                            s.coroutine().context(Dispatcher::Io).launch(async {
                                block(Duration::from_millis(50));
                            });
                        })
                        .await;
                    }
                    sections.fetch_add(1, Ordering::Relaxed);
                    yield_now().await;
                }
            });
        }
        for _ in 0..4 {
            let (stop, units) = (stop.clone(), units2.clone());
            s.launch(async move {
                while !stop.load(Ordering::Relaxed) {
                    for i in 0..20_000u32 {
                        black_box(i);
                    }
                    units.fetch_add(1, Ordering::Relaxed);
                    yield_now().await;
                }
            });
        }
        let stop = stop.clone();
        s.coroutine().context(Dispatcher::Io).launch(async move {
            block(Duration::from_secs(2));
            stop.store(true, Ordering::Relaxed);
        });
    }));
    (units.load(Ordering::Relaxed) / 2, sections.load(Ordering::Relaxed) / 2)
}

fn main() {
    if let Some(blockers) = std::env::args().find_map(|it| it.parse().ok()) {
        println!("{:?}", computing(blockers));
        return;
    }
    println!("hop in place, there and back: {:.1} ns", hop(10_000_000));
    for _ in 0..3 {
        for blockers in [0, 200] {
            let (units, sections) = computing(blockers);
            println!("{blockers} blockers: {units} units/s, {sections} sections/s");
        }
    }
}
