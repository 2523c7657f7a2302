//! What it costs in production that decisions are the runtime's: a decision alone, beside a switch
//! from one coroutine to another.
//!
//! No switch asks for one: the next coroutine is the first in the queue. `select!` asks once, and a
//! worker that looks for work once for each search.
//!
//!     cargo run --release --manifest-path benches/explore/Cargo.toml --bin choice

use std::hint::black_box;
use std::time::{Duration, Instant};

use corymb::Runtime;
use corymb::prelude::*;
use corymb_core::hooks::{self, Choice};

/// How often it is done in a round, and how many rounds there are.
const TIMES: u32 = 1_000_000;
const ROUNDS: usize = 31;

/// Two coroutines that take turns.
async fn switches() -> Duration {
    let turns = || async {
        for _ in 0..TIMES / 2 {
            yield_now().await;
        }
    };
    let began = Instant::now();
    scope(async |s| {
        s.launch(turns());
        s.launch(turns());
    })
    .await;
    began.elapsed()
}

async fn decisions() -> Duration {
    let began = Instant::now();
    for _ in 0..TIMES {
        black_box(hooks::with(|runtime| runtime.choose(Choice::Next, black_box(2))));
    }
    began.elapsed()
}

fn main() {
    let runtime = Runtime::builder().parallelism(1).build().expect("a runtime");
    let (mut switch, mut decision) = (Vec::new(), Vec::new());
    for number in 0..=ROUNDS {
        let both = [
            runtime.run_blocking(runtime.detached(switches())),
            runtime.run_blocking(runtime.detached(decisions())),
        ];
        // The first round is for warming up.
        if number > 0 {
            let [of_switch, of_decision] =
                both.map(|took| took.as_secs_f64() * 1e9 / f64::from(TIMES));
            switch.push(of_switch);
            decision.push(of_decision);
        }
    }
    println!("{:<12} {:>8} {:>8}", "ns", "least", "median");
    for (name, times) in [("a switch", &mut switch), ("a decision", &mut decision)] {
        times.sort_by(f64::total_cmp);
        println!("{name:<12} {:>8.2} {:>8.2}", times[0], times[ROUNDS / 2]);
    }
}
