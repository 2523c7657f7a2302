//! Counting, in memory that does not grow with what is counted.

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All backends answered.
    Ok,
    /// A backend failed, or there was no proper answer at all.
    Failed,
    /// The deadline passed.
    TimedOut,
    /// The client went away before the answer.
    HungUp,
}

/// A number that anybody may count up.
///
/// Everybody who reads it does so for show, or has joined those who count.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Counts one, and gives the number after it.
    pub(crate) fn add(&self) -> u64 {
        // Ordering: Relaxed, only the number matters.
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn get(&self) -> u64 {
        // Ordering: Relaxed, as above; a join orders the counts of those who have ended.
        self.0.load(Ordering::Relaxed)
    }
}

/// Requests by what became of them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) started: Count,
    by_outcome: [Count; 4],
    ended: Count,
}

impl Tally {
    /// Counts the end of a request, and gives the number of those that have ended.
    pub(crate) fn end(&self, outcome: Outcome) -> u64 {
        self.by_outcome[outcome as usize].add();
        self.ended.add()
    }

    pub(crate) fn get(&self, outcome: Outcome) -> u64 {
        self.by_outcome[outcome as usize].get()
    }

    pub(crate) fn ended(&self) -> u64 {
        self.ended.get()
    }

    /// Requests that were cut off by a shutdown.
    pub(crate) fn interrupted(&self) -> u64 {
        self.started.get().saturating_sub(self.ended())
    }
}

/// The children of requests: how many were launched, and how many of them did not get to their
/// end.
#[derive(Debug, Default)]
pub(crate) struct Children {
    pub(crate) launched: Count,
    pub(crate) cancelled: Count,
}

impl Children {
    /// Counts `work` as a child; and as cancelled if it is dropped before it has returned, be it
    /// before its first poll.
    pub(crate) fn track<F: Future>(
        self: &Arc<Self>,
        work: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        self.launched.add();
        let unfinished = CancelledOnDrop(Some(Arc::clone(self)));
        async move {
            let output = work.await;
            unfinished.disarm();
            output
        }
    }
}

struct CancelledOnDrop(Option<Arc<Children>>);

impl CancelledOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CancelledOnDrop {
    fn drop(&mut self) {
        if let Some(children) = &self.0 {
            children.cancelled.add();
        }
    }
}

/// Buckets for each power of two: a value is told to within a thirty-second of itself.
const STEPS: u64 = 32;
/// Powers of two above [`STEPS`]: up to 2^37 microseconds, more than a day.
const OCTAVES: u64 = 32;
const BUCKETS: usize = (STEPS * (OCTAVES + 1)) as usize;

/// Durations, as counts in buckets whose width grows with the duration.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: Box<[Count; BUCKETS]>,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { buckets: Box::new(array::from_fn(|_| Count::default())) }
    }

    pub(crate) fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)].add();
    }

    /// The duration, in microseconds, that `percent` of all do not exceed; none if there are none.
    pub(crate) fn percentile(&self, percent: u64) -> Option<u64> {
        let total: u64 = self.buckets.iter().map(Count::get).sum();
        let rank = (total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count.get();
            seen >= rank
        });
        found.map(highest_of)
    }
}

/// The bucket of a number: the first ones are of width 1, and `STEPS` of each width follow.
fn bucket(value: u64) -> usize {
    let octave = (value / STEPS).checked_ilog2().map_or(0, |log| u64::from(log) + 1);
    let step = if octave == 0 { value } else { (value >> (octave - 1)) - STEPS };
    let index = usize::try_from(octave * STEPS + step).unwrap_or(BUCKETS);
    index.min(BUCKETS - 1)
}

/// The highest number of a bucket.
fn highest_of(bucket: usize) -> u64 {
    let (octave, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    if octave == 0 { step } else { ((STEPS + step + 1) << (octave - 1)) - 1 }
}

/// The resident memory of this process, in KiB, where the system tells it.
pub(crate) fn resident_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
