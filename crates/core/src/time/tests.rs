//! Tests of time, and the small runtime that they run in.

#[cfg(not(loom))]
mod instant;
#[cfg(not(loom))]
mod interval;
#[cfg(loom)]
mod loom;
#[cfg(not(loom))]
mod shard;
#[cfg(not(loom))]
mod sleep;

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
#[cfg(not(loom))]
use std::time::Duration;

use futures::task::ArcWake;

use super::{Clock, Instant, Sleep, TimerShard};
use crate::dispatch::Dispatch;
use crate::failure::Failure;
use crate::hooks::{self, Choice, Entered, RuntimeHooks};
use crate::job::Job;

/// A runtime of one shard, whose clock is set by hand.
struct Runtime {
    now: Mutex<Instant>,
    shard: &'static TimerShard,
    /// What it was told of timers that are due before all others.
    told: Mutex<Vec<Instant>>,
    /// What was reported to it.
    reports: Mutex<Vec<String>>,
}

impl Runtime {
    /// Its clock shows zero.
    fn new() -> Arc<Self> {
        Arc::new(Self {
            now: Mutex::new(Instant::from_nanos(0)),
            shard: TimerShard::acquire(),
            told: Mutex::new(Vec::new()),
            reports: Mutex::new(Vec::new()),
        })
    }

    fn enter(self: &Arc<Self>) -> Entered {
        hooks::enter(self.clone())
    }

    /// Sets the clock and fires what is due.
    #[cfg(not(loom))]
    fn advance_to(&self, nanos: u64) -> usize {
        *self.now.lock().unwrap() = Instant::from_nanos(nanos);
        self.shard.advance(Instant::from_nanos(nanos))
    }

    #[cfg(not(loom))]
    fn told(&self) -> Vec<u64> {
        self.told.lock().unwrap().iter().map(|instant| instant.as_nanos()).collect()
    }
}

impl Clock for Runtime {
    fn now(&self) -> Instant {
        *self.now.lock().unwrap()
    }
}

// SAFETY: what the contract is about is never answered.
unsafe impl RuntimeHooks for Runtime {
    fn root(&self) -> Job {
        unreachable!("timers have no jobs")
    }

    fn default_dispatch(&self) -> Arc<dyn Dispatch> {
        unreachable!("timers dispatch nothing")
    }

    fn choose(&self, _: Choice, _: usize) -> usize {
        0
    }

    fn report(&self, failure: &Failure) {
        self.reports.lock().unwrap().push(failure.to_string());
    }

    fn timer_shard(&self) -> &'static TimerShard {
        self.shard
    }

    fn timer_armed(&self, shard: &'static TimerShard, deadline: Instant) {
        assert!(std::ptr::eq(shard, self.shard));
        self.told.lock().unwrap().push(deadline);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.shard.release();
        #[cfg(loom)]
        loom::free(self.shard);
    }
}

/// Counts its wakes.
#[derive(Default)]
struct Wakes(Mutex<usize>);

impl Wakes {
    fn count(&self) -> usize {
        *self.0.lock().unwrap()
    }
}

impl ArcWake for Wakes {
    fn wake_by_ref(this: &Arc<Self>) {
        *this.0.lock().unwrap() += 1;
    }
}

/// A waker, and the count of its wakes.
fn counting() -> (Waker, Arc<Wakes>) {
    let wakes = Arc::new(Wakes::default());
    (futures::task::waker(wakes.clone()), wakes)
}

fn poll(sleep: &mut Pin<Box<Sleep>>, waker: &Waker) -> Poll<()> {
    sleep.as_mut().poll(&mut Context::from_waker(waker))
}

/// A sleep until so many nanoseconds after the clock's beginning.
fn until(nanos: u64) -> Pin<Box<Sleep>> {
    Box::pin(super::sleep_until(Instant::from_nanos(nanos)))
}

#[cfg(not(loom))]
const fn millis(millis: u64) -> u64 {
    millis * 1_000_000
}

#[cfg(not(loom))]
const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
