//! How many schedules a second are explored: corymb's explorer beside shuttle, on one program.
//!
//! Three coroutines lock a mutex twice each and add to what is in it. The two take turns, round by
//! round; the table has the medians, and how far the rounds are apart.
//!
//!     cargo run --release --manifest-path benches/explore/Cargo.toml

use std::time::Instant;

use corymb::testing::Explorer;

/// How many schedules a round has, and how many rounds there are.
const SCHEDULES: u64 = 50_000;
const ROUNDS: usize = 7;

mod ours {
    use std::sync::Arc;

    use corymb::prelude::*;
    use corymb::sync::Mutex;

    pub(super) async fn program() {
        let total = Arc::new(Mutex::new(0));
        scope(async |s| {
            for _ in 0..3 {
                let total = Arc::clone(&total);
                s.launch(async move {
                    for _ in 0..2 {
                        *total.lock().await += 1;
                    }
                });
            }
        })
        .await;
        assert_eq!(*total.lock().await, 6);
    }
}

mod theirs {
    use std::sync::Arc;

    use shuttle::future;
    use shuttle::sync::Mutex;

    pub(super) fn program() {
        future::block_on(async {
            let total = Arc::new(Mutex::new(0));
            let tasks = [(); 3].map(|()| {
                let total = Arc::clone(&total);
                future::spawn(async move {
                    for _ in 0..2 {
                        *total.lock().unwrap() += 1;
                    }
                })
            });
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(*total.lock().unwrap(), 6);
        });
    }
}

type Run = fn(u64);

/// Each with what does so many schedules of it.
const RUNS: [(&str, Run); 5] = [
    ("corymb, random", |n| drop(Explorer::new().random().schedules(n).run(ours::program))),
    ("corymb, pct(3)", |n| drop(Explorer::new().pct(3).schedules(n).run(ours::program))),
    ("corymb, both", |n| drop(Explorer::new().schedules(n).run(ours::program))),
    ("shuttle, random", |n| shuttle::check_random(theirs::program, n.try_into().unwrap())),
    ("shuttle, pct(3)", |n| shuttle::check_pct(theirs::program, n.try_into().unwrap(), 3)),
];

fn main() {
    let mut rates = RUNS.map(|_| Vec::new());
    for round in 0..=ROUNDS {
        eprint!("\rround {round} of {ROUNDS}");
        for ((_, run), rates) in RUNS.iter().zip(&mut rates) {
            // The first round is for warming up.
            let schedules = if round == 0 { SCHEDULES / 10 } else { SCHEDULES };
            let began = Instant::now();
            run(schedules);
            if round > 0 {
                rates.push(schedules as f64 / began.elapsed().as_secs_f64());
            }
        }
    }
    eprintln!();
    let medians = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        let median = rates[ROUNDS / 2];
        (median, (rates[ROUNDS - 1] - rates[0]) / median)
    });
    let best_of_shuttle = medians[3].0.max(medians[4].0);
    println!("{:<16} {:>12} {:>8} {:>12}", "", "schedules/s", "spread", "to shuttle");
    for ((name, _), (rate, spread)) in RUNS.iter().zip(medians) {
        println!("{name:<16} {rate:>12.0} {spread:>8.2} {:>12.2}", rate / best_of_shuttle);
    }
}
