//! The workloads: their sizes, the same for both, and what a runtime brings to run them.

use std::sync::Arc;
use std::time::Duration;

use corymb_harness::Numbers;

use crate::measure::{Load, count, median, memory, nanos};
use crate::work::{Seen, Shared, watch};

pub(crate) const WORKERS: usize = 2;
/// Tasks that compute beside those that block.
pub(crate) const COMPUTING: usize = 2;
const IO_BLOCKERS: usize = 200;
/// With them and without in turns, as the machine may become quicker or slower.
const IO_TURNS: u32 = 4;
/// How long a section blocks.
pub(crate) const SECTION: Duration = Duration::from_millis(50);
const WRONG_BLOCKERS: usize = 16;
/// How long a task blocks in the wrong place, and then does not.
pub(crate) const WRONG: Duration = Duration::from_secs(1);
const MOVERS: usize = 10_000;
const MOVES: usize = 100;
const SECTIONS: usize = 32;
pub(crate) const HOGS: usize = 4;
/// Units in a poll of a hog, about a millisecond.
pub(crate) const HOG_UNITS: usize = 50;

/// How long and how much.
pub(crate) struct Size {
    pub(crate) name: &'static str,
    io: Duration,
    wrong: Duration,
    /// Before that, `wrong_blocking` does not count what is computed.
    wrong_from: Duration,
    movers: usize,
    reps: usize,
}

pub(crate) const SIZES: [Size; 3] = [
    Size {
        name: "full",
        io: Duration::from_secs(5),
        wrong: Duration::from_secs(30),
        wrong_from: Duration::from_secs(5),
        movers: MOVERS,
        reps: 9,
    },
    Size {
        name: "quick",
        io: Duration::from_secs(2),
        wrong: Duration::from_secs(8),
        wrong_from: Duration::from_secs(5),
        movers: MOVERS / 5,
        reps: 3,
    },
    Size {
        name: "test",
        io: Duration::from_millis(200),
        wrong: Duration::from_millis(300),
        wrong_from: Duration::from_millis(100),
        movers: MOVERS / 100,
        reps: 1,
    },
];

/// A runtime that runs the workloads.
pub(crate) trait Peer {
    /// The name and version of what is measured.
    fn version() -> String;

    /// How many moves this one has time for, as a part of corymb's.
    const MOVES_PART: usize;

    /// Computes, beside `blockers` that block for a [`SECTION`] again and again where that is
    /// allowed.
    fn io_blocking(shared: &Arc<Shared>, blockers: usize);

    /// Computes and ticks, beside `blockers` that block where they must not.
    fn wrong_blocking(shared: &Arc<Shared>, blockers: usize);

    /// `tasks` go to the threads for blocking work and back `moves` times each; whether what they
    /// do there has to `wait` for its next turn. All results are checked.
    fn moves(tasks: usize, moves: usize, wait: bool) -> Duration;

    /// The time of `sections` that block for a [`SECTION`], beside [`HOGS`] that compute; as often
    /// as `reps` says.
    fn sections_and_hogs(sections: usize, reps: usize) -> Vec<Duration>;
}

/// Measures one workload of one runtime.
pub(crate) fn run<P: Peer>(workload: &str, size: &Size) -> Result<Numbers, String> {
    let start = Load::now();
    let mut numbers = match workload {
        "io_blocking" => io_blocking::<P>(size),
        "wrong_blocking" => wrong_blocking::<P>(size),
        "moves" => moves::<P>(size, false),
        "moves_and_wait" => moves::<P>(size, true),
        "sections_and_hogs" => {
            let walls = P::sections_and_hogs(SECTIONS, size.reps);
            let walls = walls.into_iter().map(|wall| wall.as_secs_f64() * 1e3).collect::<Vec<_>>();
            let mut numbers = Numbers::default();
            numbers.add("n", count(SECTIONS));
            numbers.add("max_wall_ms", walls.iter().copied().fold(0.0, f64::max));
            numbers.add("wall_ms", median(walls));
            numbers
        }
        _ => return Err("unknown workload".to_owned()),
    };
    numbers.add("foreign_cpu", start.foreign());
    Ok(numbers)
}

fn io_blocking<P: Peer>(size: &Size) -> Numbers {
    let slice = size.io / IO_TURNS;
    let once = |blockers| watch(slice / 5, slice, |shared| P::io_blocking(shared, blockers));
    let [mut alone, mut units, mut sections] = [0.0; 3];
    for _ in 0..IO_TURNS {
        alone += once(0).units / f64::from(IO_TURNS);
        let beside = once(IO_BLOCKERS);
        units += beside.units / f64::from(IO_TURNS);
        sections += beside.sections / f64::from(IO_TURNS);
    }
    let mut numbers = kept(alone, units);
    numbers.add("sections_per_s", sections);
    numbers
}

fn wrong_blocking<P: Peer>(size: &Size) -> Numbers {
    let Size { wrong, wrong_from, .. } = *size;
    // Before and after, as the machine may become quicker or slower.
    let alone = || watch(wrong_from / 5, wrong / 5, |shared| P::wrong_blocking(shared, 0)).units;
    let before = alone();
    let Seen { units, mut late, .. } =
        watch(wrong_from, wrong, |shared| P::wrong_blocking(shared, WRONG_BLOCKERS));
    let alone = f64::midpoint(before, alone());
    let mut numbers = kept(alone, units);
    late.sort_unstable();
    let ms = |late: Duration| late.as_secs_f64() * 1e3;
    let mean = ms(late.iter().sum()) / count(late.len());
    let at = |part: usize| late.get(late.len() * part / 100).map_or(f64::NAN, |late| ms(*late));
    numbers.add("ticks", count(late.len()));
    numbers.add("mean_late_ms", mean);
    numbers.add("p50_late_ms", at(50));
    numbers.add("p99_late_ms", at(99));
    numbers.add("max_late_ms", late.last().map_or(f64::NAN, |late| ms(*late)));
    numbers
}

/// Units in a second without those that block and with them, and the share that is left.
fn kept(alone: f64, beside: f64) -> Numbers {
    let mut numbers = Numbers::default();
    numbers.add("units_per_s_alone", alone.round());
    numbers.add("units_per_s", beside.round());
    numbers.add("kept_percent", beside / alone * 100.0);
    numbers
}

fn moves<P: Peer>(size: &Size, wait: bool) -> Numbers {
    let moves = MOVES / P::MOVES_PART;
    let n = size.movers * moves;
    let before = memory("VmRSS");
    let took = P::moves(size.movers, moves, wait);
    let bytes = memory("VmHWM").saturating_sub(before);
    let mut numbers = Numbers::of(n, vec![nanos(took) / count(n)]);
    numbers.add("bytes_per_task", bytes as f64 / count(size.movers));
    numbers
}
