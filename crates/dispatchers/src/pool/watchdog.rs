//! The watchdog: a thread that sees what workers cannot tell themselves.
//!
//! It looks at the processors now and then, how often depends on what there is to see (`mode`).
//!
//! - Of those that are lent it takes away the ones that somebody could use: when coroutines wait
//!   and nobody sleeps who would run them, or when nobody drives reactor and timers. It sends a
//!   spare, which takes the processor if it is still lent as it was. After [`LONG_LENT`] it does so
//!   in any case: then it need not watch any more.
//! - Polls that hold a processor for longer than the threshold it tells of (`polled`, `blocked`).
//!   It makes up for those that block by processors in addition (`compensation`); those that
//!   compute hold theirs rightly (`samples`).
//! - If the reactor is left alone because its last driver does not come back, it wakes a sleeper,
//!   or looks there itself if all workers are in long polls.
//! - It sends those again for whom the system had no thread.
//!
//! It is started when first there is something to see, and sleeps when all workers do.

use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::Duration;

use corymb_core::internal::prim::Mutex;
use corymb_core::internal::prim::atomic::AtomicUsize;
use corymb_core::internal::{TimerShard, real_now, wake_all};
use corymb_core::time::Instant;

use super::Pool;
use super::blocked::Teller;
use super::counters::SharedCounter;
use super::owner::Seen;
use super::polled;
use super::processor::Processor;
use super::roster::{Counted, Errand};

mod compensation;
pub(super) mod mode;
mod samples;

use mode::{ASLEEP, FAST, Mode, SLOW};
use samples::Samples;

/// The time between two looks at lent processors: when it had to act lately, and at most.
const SHORT_TICK: Duration = Duration::from_micros(50);
const LONG_TICK: Duration = Duration::from_millis(1);
/// The most time between two looks for long polls, and the number of looks within the threshold.
const POLL_TICK: Duration = Duration::from_millis(5);
const LOOKS: u32 = 4;
/// After so many looks without a lent processor it looks for long polls only.
const ROUNDS_WITHOUT_LENDING: u32 = 40;
/// After so many looks at sleeping workers it sleeps too.
const ROUNDS_AT_REST: u32 = 20;
/// After that time a lent processor is taken even if nobody needs it.
const LONG_LENT: Duration = Duration::from_millis(10);
/// How long a spare that was sent may take until another one is.
const ON_THE_WAY: Duration = Duration::from_millis(2);
/// How long the reactor may be left alone.
const DRIVERLESS: Duration = Duration::from_millis(5);

/// What others see of it.
pub(super) struct Watchdog {
    mode: Mode,
    thread: Mutex<Option<Thread>>,
    threshold: Duration,
    min_runnable: usize,
    teller: Teller,
    pub(super) blocked: SharedCounter,
    /// Processors that are in service to make up for others.
    pub(super) compensated: AtomicUsize,
}

impl Watchdog {
    pub(super) fn new(threshold: Duration, min_runnable: usize, teller: Teller) -> Self {
        Self {
            mode: Mode::new(),
            thread: Mutex::new(None),
            threshold,
            min_runnable,
            teller,
            blocked: SharedCounter::new(),
            compensated: AtomicUsize::new(0),
        }
    }

    /// A processor was lent just now.
    #[inline]
    pub(super) fn lent(&self, pool: &Pool) {
        if self.mode.begun(FAST) {
            self.rouse(pool);
        }
    }

    /// A worker has left the list of sleepers, or has begun.
    #[inline]
    pub(super) fn working(&self, pool: &Pool) {
        if self.mode.begun(SLOW) {
            self.rouse(pool);
        }
    }

    /// Wakes it, also from a sleep that is about to begin.
    #[cold]
    fn rouse(&self, pool: &Pool) {
        let mut thread = self.thread.lock();
        match &*thread {
            Some(thread) => thread.unpark(),
            None if pool.is_closed() => {}
            // Without a thread there is no watchdog until the next one begins something that it
            // should see; everything else works.
            None => {
                *thread = start(pool);
                if thread.is_none() {
                    self.mode.reset();
                }
            }
        }
    }

    /// The time between two looks at a poll.
    fn poll_tick(&self) -> Duration {
        POLL_TICK.min(self.threshold / LOOKS)
    }

    pub(super) fn is_this_thread(&self) -> bool {
        self.thread.lock().as_ref().is_some_and(|it| it.id() == thread::current().id())
    }

    pub(super) fn close(&self) {
        if let Some(thread) = &*self.thread.lock() {
            thread.unpark();
        }
    }
}

fn start(pool: &Pool) -> Option<Thread> {
    let pool = pool.this.upgrade()?;
    let hooks = pool.runtime()?;
    let counted = Counted::watchdog(Arc::clone(&pool));
    let builder = thread::Builder::new().name(format!("{}-watchdog", pool.hooks.thread_name));
    let handle = builder.spawn(move || {
        let _counted = counted;
        let _runtime = corymb_core::hooks::enter(hooks);
        Rounds::new(pool).run();
    });
    handle.ok().map(|it| it.thread().clone())
}

/// What it keeps in mind from one look to the next.
struct Rounds {
    pool: Arc<Pool>,
    watched: Vec<Watched>,
    /// Until the next look at what is lent.
    tick: Duration,
    without_lending: u32,
    at_rest: u32,
    driverless_since: Option<Instant>,
    sites: compensation::Sites,
}

/// What it keeps in mind of one processor.
struct Watched {
    owner: Seen,
    poll: (u64, Option<polled::Seen>),
    /// Since when all that has not changed.
    since: Instant,
    /// When a spare was sent for it.
    sent: Option<Instant>,
    told: bool,
    /// It was seen to block.
    blocks: bool,
    samples: Samples,
}

/// What one look has shown.
#[derive(Default)]
struct Look {
    /// A processor is lent, or was since the last look.
    lending: bool,
    /// A spare was sent, or a sleeper woken.
    acted: bool,
}

impl Rounds {
    fn new(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            watched: Vec::new(),
            tick: SHORT_TICK,
            without_lending: 0,
            at_rest: 0,
            driverless_since: None,
            sites: compensation::Sites::default(),
        }
    }

    fn run(mut self) {
        let mut last = ASLEEP;
        while !self.pool.is_closed() {
            let mode = self.pool.watchdog.mode.get();
            if mode != last {
                (self.tick, self.without_lending, self.at_rest) = (SHORT_TICK, 0, 0);
                last = mode;
            }
            match mode {
                ASLEEP => thread::park(),
                SLOW => self.slow_round(),
                _ => self.fast_round(),
            }
        }
    }

    fn slow_round(&mut self) {
        self.look();
        let pool = &*self.pool;
        self.at_rest = if pool.is_at_rest() { self.at_rest + 1 } else { 0 };
        if self.at_rest >= ROUNDS_AT_REST {
            pool.watchdog.mode.lower(ASLEEP, || !pool.is_at_rest());
        }
        if pool.watchdog.mode.get() == SLOW {
            self.sleep(pool.watchdog.poll_tick());
        }
    }

    fn fast_round(&mut self) {
        let look = self.look();
        self.tick = if look.acted { SHORT_TICK } else { LONG_TICK.min(self.tick * 2) };
        self.without_lending = if look.lending { 0 } else { self.without_lending + 1 };
        if self.without_lending >= ROUNDS_WITHOUT_LENDING {
            let pool = &*self.pool;
            pool.watchdog.mode.lower(SLOW, || pool.lent() > 0);
        } else {
            self.sleep(self.tick);
        }
    }

    /// Sleeps; who raises the mode, or closes the pool, cuts it short.
    fn sleep(&self, time: Duration) {
        if !self.pool.is_closed() {
            thread::park_timeout(time);
        }
    }

    fn look(&mut self) -> Look {
        let pool = Arc::clone(&self.pool);
        let now = real_now();
        let mut look = Look::default();
        let mut wanted = None;
        for (index, processor) in pool.processors.iter().enumerate() {
            let seen = processor.owner.seen();
            if self.watched.len() == index {
                self.watched.push(Watched::new(seen, now));
            }
            let watched = &mut self.watched[index];
            if seen != watched.owner {
                *watched = Watched::new(seen, now);
                look.lending = true;
            }
            if seen.is_held() {
                self.look_at_poll(index, processor, now);
            } else if seen.is_lent() {
                look.lending = true;
                let wanted = wanted.get_or_insert_with(|| pool.wanted_workers(&mut look));
                look.acted |= watched.take_away(&pool, index, wanted, now);
            }
        }
        self.compensate();
        look.acted |= self.relieve_driver(now);
        while pool.send_waiting() {}
        look
    }

    /// Wakes a sleeper if the reactor is left alone, or looks there itself if nobody else can.
    fn relieve_driver(&mut self, now: Instant) -> bool {
        let can_wake = self.pool.idle.sleepers() > 0;
        if !self.pool.lacks_driver() || !(can_wake || self.pool.working() == 0) {
            self.driverless_since = None;
            return false;
        }
        let since = *self.driverless_since.get_or_insert(now);
        let is_due = now.saturating_duration_since(since) >= DRIVERLESS;
        if is_due {
            self.driverless_since = None;
            match can_wake {
                true => self.pool.submitted(),
                false => self.pool.drive_once(now),
            }
        }
        is_due && can_wake
    }
}

impl Watched {
    fn new(owner: Seen, now: Instant) -> Self {
        Self {
            owner,
            poll: (0, None),
            since: now,
            sent: None,
            told: false,
            blocks: false,
            samples: Samples::default(),
        }
    }

    /// Sends a spare for a lent processor, if that is `wanted` or has been lent for long.
    fn take_away(&mut self, pool: &Pool, index: usize, wanted: &mut usize, now: Instant) -> bool {
        let lent_for = now.saturating_duration_since(self.since);
        let on_the_way = self.sent.is_some_and(|at| now.saturating_duration_since(at) < ON_THE_WAY);
        let is_due = lent_for >= LONG_LENT || (*wanted > 0 && lent_for >= SHORT_TICK);
        if on_the_way {
            *wanted = wanted.saturating_sub(1);
        }
        if on_the_way || !is_due {
            return false;
        }
        *wanted = wanted.saturating_sub(1);
        self.sent = Some(now);
        pool.send(Errand::Take(index, self.owner))
    }
}

impl Pool {
    /// How many workers more would have something to do, beside those that sleep.
    fn wanted_workers(&self, look: &mut Look) -> usize {
        let waiting = self.work_for_others();
        if waiting > 0 && self.idle.sleepers() > 0 {
            self.submitted();
            look.acted = true;
            return 0;
        }
        let nobody_drives = self.lacks_driver() && self.working() == 0;
        waiting.max(usize::from(nobody_drives))
    }

    /// Processors whose holders are awake, and not in a poll that blocks.
    fn working(&self) -> usize {
        let runs = |it: &&Processor| it.owner.seen().is_held() && !it.figures.polled.is_noticed();
        self.processors.iter().filter(runs).count().saturating_sub(self.idle.sleepers())
    }

    /// Hands out events and timers that are there. What they wake on the pool waits for a worker;
    /// threads that block, and other runtimes, do not.
    fn drive_once(&self, now: Instant) {
        let mut wakers = Vec::new();
        if let Some(role) = self.driver.take() {
            // An error shows again where a worker can wait it out.
            let _events = role.poll(&mut wakers);
        }
        wake_all(wakers);
        for shard in self.shards().filter(|shard| shard.is_due(now)) {
            TimerShard::advance(shard, now);
        }
        // A worker that went to sleep meanwhile has left the driver's role alone.
        self.submitted();
    }

    pub(super) fn lent(&self) -> usize {
        self.processors.iter().filter(|it| it.owner.seen().is_lent()).count()
    }

    /// Whether all workers sleep.
    fn is_at_rest(&self) -> bool {
        let held = self.processors.iter().filter(|it| it.owner.seen().is_held()).count();
        self.idle.sleepers() >= held && self.lent() == 0 && !self.roster.is_refused()
    }
}
