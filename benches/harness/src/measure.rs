//! The clock, and the counters of the process and of the machine.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::Numbers;

/// Threads of a runtime, if nothing else is asked for.
pub const WORKERS: usize = 2;

/// The version of the compiler, and so of `std`.
pub const RUSTC: &str = env!("RUSTC_VERSION");

/// What one child process measures: a workload, how large and how often.
#[derive(Clone, Debug)]
pub struct Bench {
    /// Its name.
    pub workload: String,
    /// Sizes are times this.
    pub scale: f64,
    /// Measured repetitions.
    pub reps: usize,
    /// Threads of the runtime.
    pub workers: usize,
}

impl Bench {
    /// What a program is told that is started by a workload's name, like those in other languages:
    /// the rest is in the environment.
    ///
    /// # Errors
    ///
    /// If no workload is named.
    pub fn from_environment() -> Result<Self, String> {
        let workload = std::env::args().nth(1).ok_or("usage: <program> <workload>")?;
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<f64>().ok());
        Ok(Self {
            workload,
            scale: number("PEERS_SCALE").unwrap_or(1.0),
            reps: number("PEERS_REPS").map_or(5, |reps| reps as usize),
            workers: number("PEERS_WORKERS").map_or(WORKERS, |workers| workers as usize),
        })
    }

    /// `n`, scaled, in whole multiples of 1,000 where it was one.
    pub fn n(&self, n: usize) -> usize {
        let scaled = (n as f64 * self.scale) as usize;
        let unit = if n.is_multiple_of(1_000) { 1_000 } else { 1 };
        (scaled / unit * unit).max(unit)
    }

    /// Runs `one` to warm up and then for the measured repetitions. It does `ops` operations and
    /// says how long they took.
    pub fn time(&self, ops: usize, mut one: impl FnMut() -> Duration) -> Numbers {
        self.time_with(ops, [], || (one(), []))
    }

    /// As [`time`](Self::time), for a `one` that gives further numbers: their medians are in the
    /// line, by `names`.
    pub fn time_with<const N: usize>(
        &self,
        ops: usize,
        names: [&str; N],
        mut one: impl FnMut() -> (Duration, [f64; N]),
    ) -> Numbers {
        let _warm = one();
        let start = Load::now();
        let runs: Vec<_> = (0..self.reps.max(1)).map(|_| one()).collect();
        let foreign = start.foreign();
        let ns = runs.iter().map(|(took, _)| nanos(*took) / count(ops)).collect();
        let mut numbers = Numbers::of(ops, ns);
        for (i, name) in names.into_iter().enumerate() {
            numbers.add(name, median(runs.iter().map(|(_, more)| more[i]).collect()));
        }
        numbers.add("foreign_cpu", foreign);
        numbers
    }
}

/// The exact version of `name` that corymb's manifest pins.
pub fn pinned(name: &str) -> String {
    pinned_in(include_str!("../../../Cargo.toml"), name)
}

/// The exact version of `name` that `manifest` pins.
///
/// # Panics
///
/// If it pins none.
pub fn pinned_in(manifest: &str, name: &str) -> String {
    let mut lines = manifest.lines().filter_map(|line| line.strip_prefix(name));
    let version = lines.find_map(|line| line.trim_start().strip_prefix('=')?.split_once("\"="));
    let (_, version) = version.expect("it is pinned");
    format!("{name} {}", version.split('"').next().unwrap_or_default())
}

/// What the machine has done so far, and this process with the children that it has waited for.
#[derive(Debug)]
pub struct Load {
    at: Instant,
    own: f64,
    all: f64,
}

impl Load {
    /// Up to now.
    pub fn now() -> Self {
        Self { at: Instant::now(), own: own_seconds(), all: busy_seconds() }
    }

    /// The share of the machine, 0 to 1, that other processes have taken since.
    pub fn foreign(&self) -> f64 {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let own = own_seconds() - self.own;
        let others = (busy_seconds() - self.all - own).max(0.0);
        (others / self.at.elapsed().as_secs_f64() / count(processors)).min(1.0)
    }
}

/// Seconds that all processors together have worked.
fn busy_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").expect("/proc/stat is readable");
    let fields = stat.lines().next().expect("it has a line").split_whitespace().skip(1);
    // user, nice, system, (idle, iowait), irq, softirq, steal
    let ticks = fields.take(8).enumerate().filter(|(i, _)| !matches!(i, 3 | 4));
    seconds(ticks.map(|(_, ticks)| ticks))
}

/// Of this process and of the children that it has waited for.
fn own_seconds() -> f64 {
    cpu_time().as_secs_f64() + stat_seconds("self", 13)
}

/// User and system time of a process, in steps of the system's tick.
///
/// # Panics
///
/// If there is no such process.
pub fn cpu_seconds_of(pid: u32) -> f64 {
    stat_seconds(&pid.to_string(), 11)
}

/// Two fields of a process, user and system time, the first of them so far after its name.
fn stat_seconds(pid: &str, field: usize) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let (_, after_name) = stat.rsplit_once(") ").expect("the name is in parentheses");
    seconds(after_name.split(' ').skip(field).take(2))
}

fn seconds<'a>(ticks: impl Iterator<Item = &'a str>) -> f64 {
    let ticks: f64 = ticks.map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// User and system time of this process so far.
///
/// # Panics
///
/// Not on Linux.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("time is not negative")
}

/// A field of /proc/self/status in bytes, such as `VmRSS` or `VmHWM`.
///
/// # Panics
///
/// If there is no such field.
pub fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is readable");
    let line = status.lines().find(|line| line.starts_with(field)).expect("a known field");
    let kilobytes = line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
    kilobytes.expect("a number of kilobytes") * 1_024
}

/// Counts finished tasks; `done` is true for exactly one of them, the last.
#[derive(Debug)]
pub struct Countdown(AtomicUsize);

impl Countdown {
    /// Of `n`.
    pub const fn new(n: usize) -> Self {
        Self(AtomicUsize::new(n))
    }

    /// One has finished.
    pub fn done(&self) -> bool {
        // Ordering: whoever is last sees what all others did.
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// How many are left.
    pub fn left(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// A time in nanoseconds.
pub fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// A number of things, to calculate with.
pub const fn count(n: usize) -> f64 {
    n as f64
}

/// The middle one, or the mean of the two in the middle.
///
/// # Panics
///
/// If there is none.
pub fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    let mid = all.len() / 2;
    if all.len() % 2 == 1 { all[mid] } else { f64::midpoint(all[mid - 1], all[mid]) }
}
