//! Long polls: seen, told of, and, unless they compute, made up for.

use std::collections::HashMap;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use corymb_core::Coroutine;
use corymb_core::internal::prim::atomic::{Ordering, fence};
use corymb_core::internal::{name_of_cell, real_now};
use corymb_core::time::Instant;

use super::super::Pool;
use super::super::blocked::Record;
use super::super::local::Local;
use super::super::polled::Seen as Polled;
use super::super::processor::Processor;
use super::super::roster::Errand;
use super::super::system_thread;
use super::samples::Samples;
use super::{LOOKS, Rounds, Watchdog, Watched};

/// How many launch sites are remembered.
const MAX_SITES: usize = 64;

/// Where coroutines were launched that have blocked, and how often.
#[derive(Default)]
pub(super) struct Sites(HashMap<&'static Location<'static>, u32>);

impl Sites {
    /// A coroutine of this site has blocked; true from the second time on.
    fn blocked(&mut self, site: &'static Location<'static>) -> bool {
        if self.0.len() >= MAX_SITES && !self.0.contains_key(site) {
            return false;
        }
        let times = self.0.entry(site).or_default();
        *times = times.saturating_add(1);
        *times > 1
    }
}

impl Rounds {
    /// Looks whether the poll in progress is the one it was at the last look, and tells of it when
    /// it has been for too long.
    pub(super) fn look_at_poll(&mut self, index: usize, processor: &Processor, now: Instant) {
        let watched = &mut self.watched[index];
        let poll = processor.figures.poll();
        if poll != watched.poll {
            (watched.poll, watched.since) = (poll, now);
            (watched.told, watched.blocks, watched.samples) = (false, false, Samples::default());
            return;
        }
        let Some(Polled { site, cell, .. }) = poll.1 else { return };
        let Watchdog { threshold, min_runnable, .. } = self.pool.watchdog;
        let elapsed = now.saturating_duration_since(watched.since);
        watched.look_at_thread(processor, elapsed, now, &self.pool.watchdog);
        if elapsed < threshold {
            return;
        }
        let computes = watched.samples.computes();
        let begins_to_block = !watched.blocks && computes != Some(true);
        if begins_to_block {
            watched.blocks = true;
            if self.sites.blocked(site) && min_runnable > 0 {
                self.pool.known.insert(site);
                // From now on, every worker looks at what it is about to poll.
                self.pool.processors.iter().for_each(|it| it.figures.polled.countdown.cut_short());
            }
        }
        if !watched.told {
            watched.told = true;
            let name = self.pool.name_of(cell);
            let record = Record { name, site, since: watched.since, computes, lined: false };
            self.pool.tell_of(processor, poll, record);
        } else if begins_to_block && let Some(record) = &mut processor.blocked.lock().record {
            record.computes = computes;
        }
        self.pool.look_after(processor);
    }

    /// Puts processors into service for those that are in polls that block.
    pub(super) fn compensate(&self) {
        let pool = &*self.pool;
        if !self.watched.iter().any(|it| it.told) {
            return;
        }
        for processor in pool.processors.iter().filter(|it| it.is_blocked()) {
            if pool.runnable() >= pool.watchdog.min_runnable {
                return;
            }
            pool.compensate_for(processor);
        }
    }
}

impl Watched {
    /// Looks whether the thread computes, if that will be asked soon.
    fn look_at_thread(
        &mut self,
        processor: &Processor,
        elapsed: Duration,
        now: Instant,
        watchdog: &Watchdog,
    ) {
        let tick = watchdog.poll_tick();
        let is_soon = elapsed + tick * LOOKS >= watchdog.threshold;
        if is_soon && self.samples.is_due(now, tick) {
            // Ordering: Relaxed; if another thread holds it by now, the poll is another one too.
            let thread = processor.figures.thread.load(Ordering::Relaxed);
            self.samples.note(now, system_thread::computes(thread));
        }
    }
}

impl Pool {
    /// The name of the coroutine whose cell is there, if it has one.
    fn name_of(&self, cell: usize) -> Option<Arc<str>> {
        let root = self.runtime()?.try_root()?;
        name_of_cell(&root, cell)
    }

    /// Tells of a poll, and asks its worker to tell of the end.
    fn tell_of(&self, processor: &Processor, poll: (u64, Option<Polled>), mut record: Record) {
        self.watchdog.blocked.increment();
        record.lined = self.watchdog.teller.begun(&record.event(real_now(), false));
        processor.blocked.lock().record = Some(record);
        processor.figures.polled.notice();
        fence(Ordering::SeqCst);
        if processor.figures.poll() != poll {
            self.tell_of_end(self.blocked_poll_ended(processor));
        }
    }

    /// In a long poll nobody is called for what that has woken last, and the driver is not told of
    /// the timers that it has armed.
    fn look_after(&self, processor: &Processor) {
        if processor.has_work_for_others() {
            self.submitted();
        }
        if let Some(deadline) = processor.shard().next_deadline() {
            self.driver.armed(deadline);
        }
    }

    /// The poll that was told of has ended: its record, for the one who asks first.
    fn blocked_poll_ended(&self, processor: &Processor) -> Option<Record> {
        let is_first = processor.figures.polled.settle();
        is_first.then(|| processor.blocked.lock().record.take()).flatten()
    }

    /// Calls foreign code, which may block, and so cost the thread its processor.
    fn tell_of_end(&self, record: Option<Record>) {
        if let Some(record) = record {
            self.watchdog.teller.ended(&record.event(real_now(), true), record.lined);
        }
    }

    /// Processors in service that are not in long polls that block.
    fn runnable(&self) -> usize {
        let runs = |it: &&Processor| {
            let seen = it.owner.seen();
            !(seen.is_spare() || seen.is_held() && it.is_blocked())
        };
        self.processors.iter().filter(runs).count()
    }

    fn compensate_for(&self, processor: &Processor) {
        let mut blocked = processor.blocked.lock();
        if blocked.record.is_none() || blocked.compensated {
            return;
        }
        let Some(added) = self.processors.enlist() else { return };
        blocked.compensated = true;
        // Ordering: Relaxed, a figure for people.
        self.watchdog.compensated.fetch_add(1, Ordering::Relaxed);
        // Under the lock, so that who gives up the other one does it afterwards.
        if !self.send(Errand::Work) && added.owner.delist() {
            blocked.compensated = false;
            self.watchdog.compensated.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Local {
    /// The watchdog has told of a poll on the processor that is held, and that is over.
    #[cold]
    pub(in super::super) fn was_noticed(&self) {
        let Some(processor) = self.held() else { return };
        let ended = self.pool().blocked_poll_ended(processor);
        processor.figures.polled.retire_now();
        if std::mem::take(&mut processor.blocked.lock().compensated) {
            self.retire();
        }
        self.pool().tell_of_end(ended);
    }

    /// The same, where a coroutine that is still being polled goes on to poll another one. True if
    /// the processor is to be given up when that coroutine returns.
    #[cold]
    pub(in super::super) fn was_noticed_inside(&self) -> bool {
        let Some(processor) = self.held() else { return true };
        let ended = self.pool().blocked_poll_ended(processor);
        let retires = processor.blocked.lock().compensated;
        if retires {
            processor.figures.polled.retire_later();
        }
        self.pool().tell_of_end(ended);
        retires || self.held().is_none()
    }

    /// Takes the processor that is held out of service, and becomes a spare.
    fn retire(&self) {
        let Some(processor) = self.held() else { return };
        self.tell_driver_of_timer();
        self.set_held(None);
        let mut left = Vec::<Coroutine>::new();
        // SAFETY: held until `retire`.
        unsafe { processor.drain(|coroutine| left.push(coroutine)) };
        processor.figures.polled.clear();
        processor.owner.retire();
        // Ordering: Relaxed, a figure for people.
        self.pool().watchdog.compensated.fetch_sub(1, Ordering::Relaxed);
        for coroutine in left {
            self.pool().inject(coroutine);
        }
    }
}
