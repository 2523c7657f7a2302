//! The clock, the process's counters, and the line that a measurement prints.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What one child process measures: a workload, how large and how often.
pub(crate) struct Bench {
    pub(crate) workload: String,
    pub(crate) scale: f64,
    pub(crate) reps: usize,
}

impl Bench {
    /// `n`, scaled, in whole multiples of 1,000 where it was one.
    pub(crate) fn n(&self, n: usize) -> usize {
        let scaled = (n as f64 * self.scale) as usize;
        let unit = if n.is_multiple_of(1_000) { 1_000 } else { 1 };
        (scaled / unit * unit).max(unit)
    }

    /// Runs `one` to warm up and then for the measured repetitions. It does `ops` operations and
    /// says how long they took.
    pub(crate) fn time(&self, ops: usize, mut one: impl FnMut() -> Duration) -> Numbers {
        self.time_with(ops, [], || (one(), []))
    }

    /// As [`time`](Self::time), for a `one` that gives further numbers: their medians are in the
    /// line, by `names`.
    pub(crate) fn time_with<const N: usize>(
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

/// The numbers of a measurement, in the order in which they are printed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Numbers(Vec<(String, f64)>);

impl Numbers {
    /// What every line has: `ns` has the time of an operation for each repetition.
    pub(crate) fn of(ops: usize, ns: Vec<f64>) -> Self {
        let low = ns.iter().copied().fold(f64::MAX, f64::min);
        let high = ns.iter().copied().fold(0.0, f64::max);
        let reps = ns.len();
        let mid = median(ns);
        let mut numbers = Self::default();
        numbers.add("n", count(ops));
        numbers.add("ns_per_op", mid);
        numbers.add("ns_min", low);
        numbers.add("ns_max", high);
        numbers.add("reps", count(reps));
        numbers.add("ops_per_s", (1e9 / mid).round());
        numbers
    }

    pub(crate) fn add(&mut self, name: &str, value: f64) {
        self.0.push((name.to_owned(), value));
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| *value)
    }
}

/// One measurement; printed, a line of JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) peer: String,
    pub(crate) version: String,
    pub(crate) workload: String,
    /// The numbers, or why there are none.
    pub(crate) result: Result<Numbers, String>,
}

impl Line {
    /// Reads what [`fmt::Display`] wrote: one flat object, no quotes inside its strings.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let inside = line.trim().strip_prefix("{\"")?.strip_suffix('}')?;
        let mut this = Self {
            peer: String::new(),
            version: String::new(),
            workload: String::new(),
            result: Ok(Numbers::default()),
        };
        for field in inside.split(", \"") {
            let (name, value) = field.split_once("\": ")?;
            let text = || value.trim_matches('"').to_owned();
            match name {
                "peer" => this.peer = text(),
                "version" => this.version = text(),
                "workload" => this.workload = text(),
                "skipped" => this.result = Err(text()),
                number => this.result.as_mut().ok()?.add(number, value.parse().ok()?),
            }
        }
        Some(this)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, version, workload, result } = self;
        write!(f, r#"{{"peer": "{peer}", "version": "{version}", "workload": "{workload}""#)?;
        match result {
            Ok(numbers) => numbers.0.iter().try_for_each(|(name, value)| {
                let digits = if value.fract() == 0.0 { 0 } else { 2 };
                write!(f, r#", "{name}": {value:.digits$}"#)
            })?,
            Err(why) => write!(f, r#", "skipped": "{why}""#)?,
        }
        f.write_str("}")
    }
}

/// The exact version that the manifest pins.
pub(crate) fn pinned(name: &str) -> String {
    let manifest = include_str!("../../Cargo.toml");
    let mut lines = manifest.lines().filter_map(|line| line.strip_prefix(name));
    let version = lines.find_map(|line| line.trim_start().strip_prefix('=')?.split_once("\"="));
    let (_, version) = version.expect("it is pinned");
    format!("{name} {}", version.split('"').next().unwrap_or_default())
}

/// What the machine and this process have done so far.
pub(crate) struct Load {
    at: Instant,
    own: Duration,
    all: f64,
}

impl Load {
    pub(crate) fn now() -> Self {
        Self { at: Instant::now(), own: cpu_time(), all: busy_seconds() }
    }

    /// The share of the machine, 0 to 1, that other processes have taken since.
    pub(crate) fn foreign(&self) -> f64 {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let own = (cpu_time() - self.own).as_secs_f64();
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

/// User and system time of a process, in steps of the system's tick.
pub(crate) fn cpu_seconds_of(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let (_, after_name) = stat.rsplit_once(") ").expect("the name is in parentheses");
    seconds(after_name.split(' ').skip(11).take(2))
}

fn seconds<'a>(ticks: impl Iterator<Item = &'a str>) -> f64 {
    let ticks: f64 = ticks.map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// User and system time of this process so far.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("time is not negative")
}

/// A field of /proc/self/status in bytes, such as `VmRSS` or `VmHWM`.
pub(crate) fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is readable");
    let line = status.lines().find(|line| line.starts_with(field)).expect("a known field");
    let kilobytes = line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
    kilobytes.expect("a number of kilobytes") * 1_024
}

/// Counts finished tasks; `done` is true for exactly one of them, the last.
pub(crate) struct Countdown(AtomicUsize);

impl Countdown {
    pub(crate) const fn new(n: usize) -> Self {
        Self(AtomicUsize::new(n))
    }

    pub(crate) fn done(&self) -> bool {
        // Ordering: whoever is last sees what all others did.
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// How many are left.
    pub(crate) fn left(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

pub(crate) fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

pub(crate) const fn count(n: usize) -> f64 {
    n as f64
}

pub(crate) fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    let mid = all.len() / 2;
    if all.len() % 2 == 1 { all[mid] } else { f64::midpoint(all[mid - 1], all[mid]) }
}
