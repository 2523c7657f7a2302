//! What it costs in production that decisions are the runtime's: a switch from one coroutine to
//! another, as it is, and with a decision that the runtime is asked for at each.
//!
//! In production no switch asks: the next coroutine is the first in the queue. `select!` asks once,
//! a worker that looks for work once for each search. So this is more than there is.
//!
//!     cargo run --release --manifest-path benches/explore/Cargo.toml --bin choice

use std::hint::black_box;
use std::time::{Duration, Instant};

use corymb::Runtime;
use corymb::prelude::*;
use corymb_core::hooks::{self, Choice};

/// How often two coroutines take turns in a round, and how many rounds there are.
const SWITCHES: u32 = 1_000_000;
const ROUNDS: usize = 31;

/// The time of a switch.
fn round(runtime: &Runtime, between: fn()) -> f64 {
    let turns = move || async move {
        for _ in 0..SWITCHES / 2 {
            between();
            yield_now().await;
        }
    };
    let took: Duration = runtime.run_blocking(runtime.detached(async move {
        let began = Instant::now();
        scope(async |s| {
            s.launch(turns());
            s.launch(turns());
        })
        .await;
        began.elapsed()
    }));
    took.as_secs_f64() * 1e9 / f64::from(SWITCHES)
}

fn ask() {
    black_box(hooks::with(|runtime| runtime.choose(Choice::Next, black_box(2))));
}

fn main() {
    let runtime = Runtime::builder().parallelism(1).build().expect("a runtime");
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for number in 0..=ROUNDS {
        let both = (round(&runtime, || ()), round(&runtime, ask));
        // The first round is for warming up.
        if number > 0 {
            without.push(both.0);
            with.push(both.1);
        }
    }
    let mut differences: Vec<_> = without.iter().zip(&with).map(|(a, b)| b - a).collect();
    println!("{:<24} {:>8} {:>8}", "ns", "least", "median");
    for (name, times) in
        [("a switch", &mut without), ("with a decision", &mut with), ("apart", &mut differences)]
    {
        times.sort_by(f64::total_cmp);
        println!("{name:<24} {:>8.2} {:>8.2}", times[0], times[ROUNDS / 2]);
    }
}
