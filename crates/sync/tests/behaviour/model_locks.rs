//! Sequences of operations against sequential models of the semaphore and of the lock for readers
//! and writers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use corymb_sync::{
    AcquireError, OwnedRwLockReadGuard, OwnedRwLockUpgradableReadGuard, OwnedRwLockWriteGuard,
    OwnedSemaphoreAcquire, OwnedSemaphorePermit, RwLock, Semaphore,
};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::common::Task;

const MAX: usize = 5;

#[derive(Clone, Debug)]
enum Op {
    Acquire(usize),
    TryAcquire(usize),
    Poll(Index),
    Cancel(Index),
    Release(Index),
    Forget(Index),
    Resize(usize),
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..=MAX).prop_map(Op::Acquire),
        3 => (0..=MAX).prop_map(Op::TryAcquire),
        6 => any::<Index>().prop_map(Op::Poll),
        3 => any::<Index>().prop_map(Op::Cancel),
        8 => any::<Index>().prop_map(Op::Release),
        1 => any::<Index>().prop_map(Op::Forget),
        2 => (0..=MAX).prop_map(Op::Resize),
        1 => Just(Op::Close),
    ]
}

struct Waiter {
    task: Task<OwnedSemaphoreAcquire>,
    granted: bool,
}

/// The semaphore, and what it should be.
struct Permits {
    semaphore: Arc<Semaphore>,
    waiting: Vec<(usize, Waiter)>,
    held: Vec<OwnedSemaphorePermit>,
    available: usize,
    total: usize,
    owed: usize,
    closed: bool,
}

impl Permits {
    fn new(permits: usize) -> Self {
        Self {
            semaphore: Arc::new(Semaphore::with_max(permits, MAX)),
            waiting: Vec::new(),
            held: Vec::new(),
            available: permits,
            total: permits,
            owed: 0,
            closed: false,
        }
    }

    fn back(&mut self, permits: usize) {
        self.available += permits;
        self.settle();
    }

    fn settle(&mut self) {
        let vanish = self.owed.min(self.available);
        self.owed -= vanish;
        self.available -= vanish;
        if self.owed > 0 || self.closed {
            return;
        }
        for (permits, waiter) in self.waiting.iter_mut().filter(|(_, waiter)| !waiter.granted) {
            if *permits > self.available {
                return;
            }
            self.available -= *permits;
            waiter.granted = true;
        }
    }

    fn nobody_waits(&self) -> bool {
        self.owed == 0 && self.waiting.iter().all(|(_, waiter)| waiter.granted)
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Acquire(permits) => {
                let mut task = Task::new(self.semaphore.acquire_many_owned(permits));
                match task.poll() {
                    Poll::Ready(Ok(held)) => {
                        assert!(!self.closed && self.nobody_waits() && permits <= self.available);
                        self.available -= permits;
                        self.held.push(held);
                    }
                    Poll::Ready(Err(AcquireError)) => assert!(self.closed),
                    Poll::Pending => {
                        assert!(!self.closed);
                        assert!(!self.nobody_waits() || permits > self.available);
                        self.waiting.push((permits, Waiter { task, granted: false }));
                    }
                }
            }
            Op::TryAcquire(permits) => {
                let expected = !self.closed && self.nobody_waits() && permits <= self.available;
                let got = self.semaphore.try_acquire_many_owned(permits);
                assert_eq!(got.is_ok(), expected);
                self.available -= if expected { permits } else { 0 };
                self.held.extend(got);
            }
            Op::Poll(index) => self.poll(index),
            Op::Cancel(index) if !self.waiting.is_empty() => {
                let (permits, waiter) = self.waiting.remove(index.index(self.waiting.len()));
                drop(waiter.task);
                self.back(if waiter.granted { permits } else { 0 });
            }
            Op::Release(index) if !self.held.is_empty() => {
                let held = self.held.swap_remove(index.index(self.held.len()));
                let permits = held.num_permits();
                drop(held);
                self.back(permits);
            }
            Op::Forget(index) if !self.held.is_empty() => {
                let held = self.held.swap_remove(index.index(self.held.len()));
                let paid = held.num_permits().min(self.owed);
                self.owed -= paid;
                self.total -= held.num_permits() - paid;
                held.forget();
                self.settle();
            }
            Op::Resize(permits) => {
                self.semaphore.set_permits(permits);
                let out = self.total + self.owed - self.available;
                self.total = permits;
                self.available = permits.saturating_sub(out);
                self.owed = out.saturating_sub(permits);
                self.settle();
            }
            Op::Close => {
                self.semaphore.close();
                self.closed = true;
            }
            Op::Cancel(_) | Op::Release(_) | Op::Forget(_) => {}
        }
    }

    fn poll(&mut self, index: Index) {
        if self.waiting.is_empty() {
            return;
        }
        let index = index.index(self.waiting.len());
        let (permits, waiter) = &mut self.waiting[index];
        let (permits, granted) = (*permits, waiter.granted);
        match waiter.task.poll() {
            Poll::Pending => assert!(!granted && !self.closed),
            Poll::Ready(Ok(held)) => {
                assert!(granted && !self.closed);
                self.held.push(held);
                drop(self.waiting.remove(index));
            }
            Poll::Ready(Err(AcquireError)) => {
                assert!(self.closed);
                drop(self.waiting.remove(index));
                self.back(if granted { permits } else { 0 });
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.semaphore.available_permits(), self.available);
        assert_eq!(self.semaphore.statistics().permits, self.total);
        for (_, waiter) in &self.waiting {
            assert_eq!(waiter.task.woken(), waiter.granted || self.closed);
        }
    }
}

#[derive(Clone, Debug)]
enum RwOp {
    Read,
    Write,
    Upgradable,
    Poll(Index),
    Cancel(Index),
    Release(Index),
    Upgrade,
    TryUpgrade,
    Downgrade(Index),
}

fn rw_op() -> impl Strategy<Value = RwOp> {
    prop_oneof![
        6 => Just(RwOp::Read),
        3 => Just(RwOp::Write),
        3 => Just(RwOp::Upgradable),
        6 => any::<Index>().prop_map(RwOp::Poll),
        2 => any::<Index>().prop_map(RwOp::Cancel),
        6 => any::<Index>().prop_map(RwOp::Release),
        3 => Just(RwOp::Upgrade),
        1 => Just(RwOp::TryUpgrade),
        2 => any::<Index>().prop_map(RwOp::Downgrade),
    ]
}

enum Held {
    Read(OwnedRwLockReadGuard<()>),
    Upgradable(OwnedRwLockUpgradableReadGuard<()>),
    Write(OwnedRwLockWriteGuard<()>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Upgradable,
    Write,
}

impl Held {
    fn access(&self) -> Access {
        match self {
            Self::Read(_) => Access::Read,
            Self::Upgradable(_) => Access::Upgradable,
            Self::Write(_) => Access::Write,
        }
    }
}

/// One who waits for `wants`, and `has` something already if it upgrades.
struct Locker {
    wants: Access,
    has: Option<Access>,
    task: Task<Pin<Box<dyn Future<Output = Held>>>>,
}

impl Locker {
    fn is_granted(&self) -> bool {
        self.has == Some(self.wants)
    }
}

/// The lock, and who should have it.
#[derive(Default)]
struct Locks {
    lock: Arc<RwLock<()>>,
    waiting: Vec<Locker>,
    held: Vec<Held>,
}

impl Locks {
    /// Whether one that has not locked it yet could, if nobody waited.
    fn is_free_for(&self, wants: Access) -> bool {
        let held = self.held.iter().map(Held::access);
        let mut all = held.chain(self.waiting.iter().filter_map(|waiter| waiter.has));
        match wants {
            Access::Read => all.all(|has| has != Access::Write),
            Access::Upgradable => all.all(|has| has == Access::Read),
            Access::Write => all.next().is_none(),
        }
    }

    fn settle(&mut self) {
        if let Some(upgrade) =
            self.waiting.iter().position(|waiter| waiter.has.is_some() && !waiter.is_granted())
        {
            self.waiting[upgrade].has = None;
            let is_free = self.is_free_for(Access::Write);
            self.waiting[upgrade].has =
                Some(if is_free { Access::Write } else { Access::Upgradable });
            return;
        }
        for index in 0..self.waiting.len() {
            let wants = self.waiting[index].wants;
            if self.waiting[index].has.is_none() {
                if !self.is_free_for(wants) {
                    return;
                }
                self.waiting[index].has = Some(wants);
            }
        }
    }

    fn wait(
        &mut self,
        wants: Access,
        has: Option<Access>,
        future: impl Future<Output = Held> + 'static,
    ) {
        let mut task: Task<Pin<Box<dyn Future<Output = Held>>>> = Task::new(Box::pin(future));
        let polled = task.poll();
        self.waiting.push(Locker { wants, has, task });
        self.settle();
        let index = self.waiting.len() - 1;
        assert_eq!(polled.is_ready(), self.waiting[index].is_granted());
        if let Poll::Ready(held) = polled {
            drop(self.waiting.pop());
            self.held.push(held);
        }
    }

    /// Takes the upgradable guard out of those that are held.
    fn upgradable(&mut self) -> Option<OwnedRwLockUpgradableReadGuard<()>> {
        let index = self.held.iter().position(|held| held.access() == Access::Upgradable)?;
        match self.held.swap_remove(index) {
            Held::Upgradable(guard) => Some(guard),
            _ => None,
        }
    }

    fn apply(&mut self, op: &RwOp) {
        match op {
            RwOp::Read => {
                let read = self.lock.read_owned();
                self.wait(Access::Read, None, async { Held::Read(read.await) });
            }
            RwOp::Write => {
                let write = self.lock.write_owned();
                self.wait(Access::Write, None, async { Held::Write(write.await) });
            }
            RwOp::Upgradable => {
                let read = self.lock.upgradable_read_owned();
                self.wait(Access::Upgradable, None, async { Held::Upgradable(read.await) });
            }
            RwOp::Upgrade => {
                if let Some(guard) = self.upgradable() {
                    let upgrade = async { Held::Write(guard.upgrade().await) };
                    self.wait(Access::Write, Some(Access::Upgradable), upgrade);
                }
            }
            RwOp::TryUpgrade => {
                if let Some(guard) = self.upgradable() {
                    let is_free = self.is_free_for(Access::Write);
                    let got = guard.try_upgrade();
                    assert_eq!(got.is_ok(), is_free);
                    self.held.push(got.map_or_else(Held::Upgradable, Held::Write));
                }
            }
            RwOp::Downgrade(index) if !self.held.is_empty() => {
                let held = match self.held.swap_remove(index.index(self.held.len())) {
                    Held::Write(guard) => Held::Upgradable(guard.downgrade_to_upgradable()),
                    Held::Upgradable(guard) => Held::Read(guard.downgrade()),
                    Held::Read(guard) => Held::Read(guard),
                };
                self.held.push(held);
                self.settle();
            }
            RwOp::Poll(index) if !self.waiting.is_empty() => {
                let index = index.index(self.waiting.len());
                let polled = self.waiting[index].task.poll();
                assert_eq!(polled.is_ready(), self.waiting[index].is_granted());
                if let Poll::Ready(held) = polled {
                    drop(self.waiting.remove(index));
                    self.held.push(held);
                }
            }
            RwOp::Cancel(index) if !self.waiting.is_empty() => {
                drop(self.waiting.remove(index.index(self.waiting.len())));
                self.settle();
            }
            RwOp::Release(index) if !self.held.is_empty() => {
                drop(self.held.swap_remove(index.index(self.held.len())));
                self.settle();
            }
            RwOp::Poll(_) | RwOp::Cancel(_) | RwOp::Release(_) | RwOp::Downgrade(_) => {}
        }
    }

    fn check(&self) {
        for waiter in &self.waiting {
            assert_eq!(waiter.task.woken(), waiter.is_granted(), "for {:?}", waiter.wants);
        }
        let nobody_waits = self.waiting.iter().all(Locker::is_granted);
        let expected = nobody_waits && self.is_free_for(Access::Read);
        assert_eq!(self.lock.try_read().is_some(), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_semaphore_does_what_the_model_does(
        permits in 0..=MAX,
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 40 } else { 120 }),
    ) {
        let mut model = Permits::new(permits);
        for op in ops {
            model.apply(op);
            model.check();
        }
    }

    #[test]
    fn the_rwlock_does_what_the_model_does(
        ops in prop::collection::vec(rw_op(), 1..if cfg!(miri) { 40 } else { 120 }),
    ) {
        let mut model = Locks::default();
        for op in &ops {
            model.apply(op);
            model.check();
        }
    }
}
