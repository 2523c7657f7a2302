//! What the tasks of both runtimes do: compute, block, tick, and count what they have done.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) const TICK: Duration = Duration::from_millis(1);

/// About 20 microseconds of computing.
pub(crate) fn unit() {
    let step = |x: u64, _| {
        let x = x ^ (x << 13);
        let x = x ^ (x >> 7);
        x ^ (x << 17)
    };
    black_box((0..10_000).fold(black_box(1), step));
}

#[expect(clippy::disallowed_methods, reason = "it stands for a call that blocks")]
pub(crate) fn block(time: Duration) {
    thread::sleep(time);
}

/// What the tasks of a run share with the thread that watches them.
pub(crate) struct Shared {
    units: AtomicU64,
    sections: AtomicU64,
    stop: AtomicBool,
    late: Mutex<Vec<Duration>>,
    /// How many there are, however late: none is left out.
    pub(crate) ticks: u128,
}

/// What was done in a second of the time that was watched, and how late the ticks were.
pub(crate) struct Seen {
    pub(crate) units: f64,
    pub(crate) sections: f64,
    pub(crate) late: Vec<Duration>,
}

impl Shared {
    /// A unit is computed; false when it is time to end.
    pub(crate) fn compute(&self) -> bool {
        unit();
        self.units.fetch_add(1, Ordering::Relaxed);
        self.goes_on()
    }

    /// Blocks; false when it is time to end.
    pub(crate) fn block(&self, time: Duration) -> bool {
        block(time);
        self.sections.fetch_add(1, Ordering::Relaxed);
        self.goes_on()
    }

    pub(crate) fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn ticked(&self, late: Duration) {
        self.late.lock().unwrap_or_else(PoisonError::into_inner).push(late);
    }

    fn done(&self) -> [u64; 2] {
        [&self.units, &self.sections].map(|count| count.load(Ordering::Relaxed))
    }
}

/// Lets `run` run for `time`, and counts what is done after `warm`.
pub(crate) fn watch(warm: Duration, time: Duration, run: impl FnOnce(&Arc<Shared>)) -> Seen {
    let shared = Arc::new(Shared {
        units: AtomicU64::new(0),
        sections: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        late: Mutex::default(),
        ticks: time.as_nanos() / TICK.as_nanos(),
    });
    let end = Instant::now() + time;
    let watcher = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            block(warm);
            let (before, from) = (shared.done(), Instant::now());
            block(end.saturating_duration_since(from));
            let (after, took) = (shared.done(), from.elapsed().as_secs_f64());
            shared.stop.store(true, Ordering::Relaxed);
            [0, 1].map(|i| (after[i] - before[i]) as f64 / took)
        })
    };
    run(&shared);
    let [units, sections] = watcher.join().expect("it does not panic");
    let late = std::mem::take(&mut *shared.late.lock().unwrap_or_else(PoisonError::into_inner));
    Seen { units, sections, late }
}
