use std::collections::BTreeMap;
use std::thread;

use futures::task::noop_waker;
use proptest::prelude::*;

use super::*;

const TICK: u64 = 1 << 16;
const YEAR: u64 = 365 * 24 * 3600 * 1_000_000_000;

/// Notes in which order tasks are woken.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<usize>>>);

impl Log {
    fn waker(&self, id: usize) -> Waker {
        struct Entry(Log, usize);
        impl ArcWake for Entry {
            fn wake_by_ref(this: &Arc<Self>) {
                this.0.0.lock().unwrap().push(this.1);
            }
        }
        futures::task::waker(Arc::new(Entry(self.clone(), id)))
    }

    fn take(&self) -> Vec<usize> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Waits for each of the deadlines, under the waker of its index.
fn wait_for(log: &Log, deadlines: impl IntoIterator<Item = u64>) -> Vec<Pin<Box<Sleep>>> {
    let sleep = |(id, deadline)| {
        let mut sleep = until(deadline);
        assert_eq!(poll(&mut sleep, &log.waker(id)), Poll::Pending);
        sleep
    };
    deadlines.into_iter().enumerate().map(sleep).collect()
}

#[test]
fn wakes_in_order_of_deadline_then_of_registration() {
    let (runtime, log) = (Runtime::new(), Log::default());
    let _entered = runtime.enter();
    let deadlines = [9 * TICK, 500, 300, 500, 400, YEAR, 300, 9 * TICK - 1, 70 * TICK];
    let _sleeps = wait_for(&log, deadlines);
    assert_eq!(runtime.advance_to(2 * YEAR), deadlines.len());
    assert_eq!(log.take(), [2, 6, 4, 1, 3, 7, 0, 8, 5]);
}

#[test]
fn more_than_a_batch_keeps_the_order() {
    let (runtime, log) = (Runtime::new(), Log::default());
    let _entered = runtime.enter();
    let count = 150;
    let _sleeps = wait_for(&log, (1..=count).rev());
    assert_eq!(runtime.advance_to(count), 150);
    assert_eq!(log.take(), (0..150).rev().collect::<Vec<_>>());
}

#[test]
fn a_tick_is_fired_in_parts() {
    let (runtime, log) = (Runtime::new(), Log::default());
    let _entered = runtime.enter();
    let _sleeps = wait_for(&log, [1_000_003, 1_000_001, 1_000_002]);
    for (now, fired) in [(1_000_000, vec![]), (1_000_001, vec![1]), (1_000_003, vec![2, 0])] {
        runtime.advance_to(now);
        assert_eq!(log.take(), fired);
    }
}

#[test]
fn time_does_not_go_back() {
    let (runtime, log) = (Runtime::new(), Log::default());
    let _entered = runtime.enter();
    runtime.advance_to(100 * TICK);
    let _sleeps = wait_for(&log, [100 * TICK + 5, 200 * TICK]);
    assert_eq!(runtime.shard.advance(Instant::from_nanos(7)), 0);
    assert_eq!(runtime.shard.earliest(), Some(Instant::from_nanos(100 * TICK + 5)));
    assert_eq!(runtime.advance_to(200 * TICK), 2);
}

#[test]
fn a_clock_that_is_behind_the_shard_delays_nothing() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    runtime.shard.advance(Instant::from_nanos(100 * TICK));
    // The runtime's clock still shows zero: as a thread that has read it long ago.
    let mut late = until(50 * TICK);
    assert_eq!(poll(&mut late, &noop_waker()), Poll::Pending);
    assert!(runtime.shard.is_due(Instant::from_nanos(51 * TICK)));
    assert_eq!(runtime.shard.earliest(), Some(Instant::from_nanos(50 * TICK)));
    assert_eq!(runtime.shard.advance(Instant::from_nanos(51 * TICK)), 1);
}

#[test]
fn the_next_wake_up_is_exact_while_lists_are_short() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let deadline = 1_000_000 * TICK;
    let log = Log::default();
    let sleeps = wait_for(&log, [1, deadline, deadline + 5 * TICK]);
    runtime.advance_to(1);
    let exact = Instant::from_nanos(deadline + TICK - 1);
    assert_eq!(runtime.shard.next_deadline(), Some(exact));
    let many = wait_for(&log, (1..20).map(|n| deadline + n).chain([2]));
    runtime.advance_to(2);
    let next = runtime.shard.next_deadline().unwrap();
    assert!(Instant::from_nanos(2) < next && next < exact, "{next:?}");
    // It is kept when timers go, and corrected by the next look.
    drop((sleeps, many));
    assert_eq!(runtime.shard.next_deadline(), Some(next));
    runtime.advance_to(next.as_nanos());
    assert_eq!(runtime.shard.next_deadline(), None);
}

#[test]
fn timers_are_fired_and_dropped_by_several_threads() {
    let rounds = if cfg!(miri) { 20 } else { 2_000 };
    let runtime = Runtime::new();
    let (waker, wakes) = counting();
    let mut fired = 0;
    thread::scope(|threads| {
        let advancer = threads.spawn(|| {
            let mut woken = 0;
            for _ in 0..rounds {
                let now = runtime.now() + Duration::from_nanos(TICK);
                woken += runtime.advance_to(now.as_nanos());
                thread::yield_now();
            }
            woken
        });
        let _entered = runtime.enter();
        for round in 0..rounds {
            let mut kept = until((runtime.now() + Duration::from_nanos(round)).as_nanos() + TICK);
            let mut dropped = until(kept.deadline().unwrap().as_nanos());
            let waiting = poll(&mut kept, &waker).is_pending();
            let _ = poll(&mut dropped, &waker);
            drop(dropped);
            let _ = poll(&mut kept, &noop_waker());
            fired += usize::from(waiting && kept.is_elapsed());
        }
        let woken = advancer.join().unwrap();
        assert!(woken >= fired && wakes.count() <= woken, "{woken} {fired}");
    });
    assert_eq!(runtime.shard.armed(), 0);
}

/// What can be done with a shard.
#[derive(Clone, Debug)]
enum Op {
    /// Registers a timer, so far after now.
    Insert(u64),
    /// Drops one of the timers.
    Remove(prop::sample::Index),
    /// Gives one of the timers another deadline, so far after now, and polls it.
    Reset(prop::sample::Index, u64),
    /// Moves the clock.
    Advance(u64),
    /// Moves the clock to the earliest deadline.
    AdvanceToEarliest,
    /// Advances with a time in the past.
    Backwards(u64),
}

/// From nothing to years, each order of magnitude as likely as the others.
fn distance() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..58u32, any::<u64>()).prop_map(|(bits, any)| any & ((1 << bits) - 1)),
        2 => (0..4u64, 0..3u64).prop_map(|(ticks, more)| (ticks * TICK + more).saturating_sub(1)),
        1 => Just(3 * YEAR),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => distance().prop_map(Op::Insert),
        2 => any::<prop::sample::Index>().prop_map(Op::Remove),
        2 => (any::<prop::sample::Index>(), distance()).prop_map(|(i, d)| Op::Reset(i, d)),
        3 => distance().prop_map(Op::Advance),
        2 => Just(Op::AdvanceToEarliest),
        1 => distance().prop_map(Op::Backwards),
    ];
    prop::collection::vec(op, 1..if cfg!(miri) { 30 } else { 200 })
}

/// The shard, and a sorted map that says what it has to do.
struct Model {
    runtime: Arc<Runtime>,
    log: Log,
    now: u64,
    sleeps: BTreeMap<usize, Pin<Box<Sleep>>>,
    /// (deadline, registration) and the sleep's number.
    armed: BTreeMap<(u64, usize), usize>,
    registrations: usize,
}

impl Model {
    fn apply(&mut self, op: Op) {
        match op {
            Op::Insert(distance) => self.register(self.registrations, distance),
            Op::Remove(index) => {
                if let Some(id) = self.pick(index) {
                    self.sleeps.remove(&id);
                    self.armed.retain(|_, armed| *armed != id);
                }
            }
            Op::Reset(index, distance) => {
                if let Some(id) = self.pick(index) {
                    self.register(id, distance);
                }
            }
            Op::Advance(distance) => self.advance(self.now.saturating_add(distance)),
            Op::AdvanceToEarliest => {
                self.advance(self.armed.keys().next().map_or(self.now, |first| first.0));
            }
            Op::Backwards(distance) => {
                let past = self.now.saturating_sub(distance);
                assert_eq!(self.runtime.shard.advance(Instant::from_nanos(past)), 0);
            }
        }
        self.check();
    }

    fn pick(&self, index: prop::sample::Index) -> Option<usize> {
        let ids: Vec<_> = self.sleeps.keys().copied().collect();
        (!ids.is_empty()).then(|| *index.get(&ids))
    }

    /// Makes or resets the sleep of this number, and polls it.
    fn register(&mut self, id: usize, distance: u64) {
        let deadline = self.now.saturating_add(distance);
        let sleep = self.sleeps.entry(id).or_insert_with(|| until(u64::MAX));
        sleep.as_mut().reset(Instant::from_nanos(deadline));
        self.log.take();
        let waiting = poll(sleep, &self.log.waker(id)).is_pending();
        assert_eq!(waiting, distance > 0);
        self.armed.retain(|_, armed| *armed != id);
        if waiting && deadline != u64::MAX {
            self.armed.insert((deadline, self.registrations), id);
        }
        self.registrations += 1;
    }

    fn advance(&mut self, now: u64) {
        // The last nanosecond would make what never fires due.
        self.now = now.min(u64::MAX - 1);
        let rest = self.armed.split_off(&(self.now + 1, 0));
        let due: Vec<_> = std::mem::replace(&mut self.armed, rest).into_values().collect();
        assert_eq!(self.runtime.advance_to(self.now), due.len());
        assert_eq!(self.log.take(), due);
        for id in due {
            assert!(self.sleeps[&id].is_elapsed());
        }
    }

    fn check(&self) {
        let shard = self.runtime.shard;
        let earliest = self.armed.keys().next().map(|first| first.0);
        assert_eq!(shard.armed(), self.armed.len());
        assert_eq!(shard.earliest().map(Instant::as_nanos), earliest);
        if let Some(earliest) = earliest {
            let next = shard.next_deadline().expect("a wake-up").as_nanos();
            assert!(next <= (earliest | (TICK - 1)).min(u64::MAX - 1));
        }
        for id in self.armed.values() {
            assert!(!self.sleeps[id].is_elapsed());
        }
    }
}

fn config() -> ProptestConfig {
    if cfg!(miri) {
        ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() }
    } else {
        ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn behaves_as_a_sorted_map(start in distance(), ops in ops()) {
        let runtime = Runtime::new();
        let _entered = runtime.enter();
        let mut model = Model {
            runtime,
            log: Log::default(),
            now: 0,
            sleeps: BTreeMap::new(),
            armed: BTreeMap::new(),
            registrations: 0,
        };
        model.advance(start);
        for op in ops {
            model.apply(op);
        }
        model.advance(u64::MAX);
        prop_assert_eq!(model.runtime.shard.armed(), 0);
    }
}
