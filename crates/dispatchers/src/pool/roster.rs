//! The threads of a pool: who is there, and who has nothing to do.
//!
//! A thread with a processor is a *worker*. One without is a *spare*: it does an *errand*, or
//! waits here for one. Errands are handed over under the lock of the list, so none is lost between
//! a spare that goes to sleep and who looks for one. A spare that waits for longer than the
//! keep-alive ends. It is never missed: processors that nobody has are always on their way to a
//! thread. It counts against the limit until it has ended, and makes room then: errands that wait
//! for room are sent again when there may be some, and those for which the system had no thread
//! each time that the watchdog looks.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant as Moment};

use super::Pool;
use super::io::Side;
use super::owner::Seen;
use super::worker;

/// What a spare is sent for.
#[derive(Clone, Copy)]
pub(super) enum Errand {
    /// Take a free processor, and work.
    Work,
    /// Take the processor of this index, if it is still lent as it was then, and work.
    Take(usize, Seen),
    /// Run a coroutine of an IO side; it has a slot.
    Io(Side),
}

/// The list.
pub(super) struct Roster {
    state: Mutex<State>,
    ended: Condvar,
    max_threads: usize,
    keep_alive: Duration,
}

struct State {
    /// Those that have not ended.
    threads: usize,
    /// Those among them that block in a `run_blocking`: they do not count against the limit.
    exempt: usize,
    /// The watchdog, while it runs.
    watchdogs: usize,
    spares: Vec<Arc<Spare>>,
    /// For the next ones that become spare, when there may be no more threads.
    waiting: VecDeque<Errand>,
    closed: bool,
}

/// A thread that waits for an errand.
struct Spare {
    thread: Thread,
    errand: Mutex<Option<Errand>>,
}

impl Roster {
    pub(super) fn new(max_threads: usize, keep_alive: Duration) -> Self {
        let state = State {
            threads: 0,
            exempt: 0,
            watchdogs: 0,
            spares: Vec::new(),
            waiting: VecDeque::new(),
            closed: false,
        };
        Self { state: Mutex::new(state), ended: Condvar::new(), max_threads, keep_alive }
    }

    pub(super) fn max_threads(&self) -> usize {
        self.max_threads
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an errand; none if the thread is to end.
    pub(super) fn wait(&self) -> Option<Errand> {
        let me = {
            let mut state = self.lock();
            if state.closed {
                return None;
            }
            if let Some(errand) = state.waiting.pop_front() {
                return Some(errand);
            }
            let me = Arc::new(Spare { thread: thread::current(), errand: Mutex::new(None) });
            state.spares.push(Arc::clone(&me));
            me
        };
        let until = Moment::now().checked_add(self.keep_alive);
        loop {
            let left = until.map_or(Duration::MAX, |until| until.duration_since(Moment::now()));
            thread::park_timeout(left);
            let mut state = self.lock();
            let errand = me.errand.lock().unwrap_or_else(PoisonError::into_inner).take();
            if errand.is_some() {
                return errand;
            }
            if state.closed || until.is_some_and(|until| until <= Moment::now()) {
                state.spares.retain(|it| !Arc::ptr_eq(it, &me));
                return None;
            }
        }
    }

    /// Ends the spares.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
        for spare in state.spares.drain(..) {
            spare.thread.unpark();
        }
    }

    /// Waits for the end of all threads, `grace` at most; the number that is left.
    pub(super) fn join(&self, grace: Duration) -> usize {
        let until = Moment::now().checked_add(grace);
        let mut state = self.lock();
        while state.threads + state.watchdogs > 0 {
            let left = until.map_or(Duration::MAX, |until| until.duration_since(Moment::now()));
            if left.is_zero() {
                break;
            }
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.threads + state.watchdogs
    }

    /// Whether an errand waits that the system had no thread for.
    pub(super) fn is_refused(&self) -> bool {
        let state = self.lock();
        !state.waiting.is_empty() && state.has_room(self.max_threads)
    }

    /// How many threads there are, and how many of them wait for an errand.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.threads, state.spares.len())
    }
}

impl State {
    fn has_room(&self, max_threads: usize) -> bool {
        self.threads - self.exempt < max_threads
    }

    /// Nobody can be sent on this errand.
    fn keep(&mut self, errand: Errand) {
        if matches!(errand, Errand::Io(_)) {
            self.waiting.push_back(errand);
        }
    }
}

impl Spare {
    /// Sends it, which is off the list. Under the lock: it may be about to look for the last time.
    fn take(&self, errand: Errand, state: MutexGuard<'_, State>) {
        *self.errand.lock().unwrap_or_else(PoisonError::into_inner) = Some(errand);
        drop(state);
        self.thread.unpark();
    }
}

impl Pool {
    /// Sends a spare on an errand, or starts a thread for it. False if there is none to be had:
    /// an errand for IO then waits for one, others are left to who asked.
    pub(super) fn send(&self, errand: Errand) -> bool {
        let mut state = self.roster.lock();
        if state.closed {
            return false;
        }
        if let Some(spare) = state.spares.pop() {
            spare.take(errand, state);
            return true;
        }
        if !state.has_room(self.roster.max_threads) {
            state.keep(errand);
            return false;
        }
        state.threads += 1;
        drop(state);
        let started = self.start_counted(errand).is_ok();
        if !started {
            self.send_later(errand);
        }
        started
    }

    /// There may be room for a thread: sends an errand that waits for it. False if there is none
    /// to be had, or none is needed.
    pub(super) fn send_waiting(&self) -> bool {
        let mut state = self.roster.lock();
        let has_room = state.has_room(self.roster.max_threads);
        let waiting = if has_room { state.waiting.pop_front() } else { None };
        drop(state);
        waiting.is_some_and(|errand| self.send(errand))
    }

    /// No thread could be started. One may have become spare meanwhile; if not, the watchdog tries
    /// again.
    fn send_later(&self, errand: Errand) {
        let mut state = self.roster.lock();
        match state.spares.pop() {
            Some(spare) => spare.take(errand, state),
            None => {
                state.keep(errand);
                drop(state);
                self.watchdog.working(self);
            }
        }
    }

    /// Starts a thread, with an errand to begin with, whatever the limit is.
    pub(super) fn start_thread(&self, errand: Errand) -> io::Result<()> {
        self.roster.lock().threads += 1;
        self.start_counted(errand)
    }

    /// Starts a thread that has been counted.
    fn start_counted(&self, errand: Errand) -> io::Result<()> {
        let gone = || io::Error::other("the runtime is gone");
        let pool = self.this.upgrade().ok_or_else(gone)?;
        let counted = Counted { pool, field: |state| &mut state.threads };
        let hooks = self.runtime().ok_or_else(gone)?;
        self.thread_builder().spawn(move || {
            let pool = Arc::clone(&counted.pool);
            worker::run_thread(&pool, hooks, errand);
            drop(counted);
            let _sent = pool.send_waiting();
        })?;
        Ok(())
    }

    pub(super) fn thread_builder(&self) -> thread::Builder {
        let builder = thread::Builder::new().name(self.hooks.thread_name.clone());
        match self.hooks.stack_size {
            Some(size) => builder.stack_size(size),
            None => builder,
        }
    }
}

/// Counts a thread from before it starts until it has ended.
pub(super) struct Counted {
    pool: Arc<Pool>,
    field: fn(&mut State) -> &mut usize,
}

impl Counted {
    fn new(pool: Arc<Pool>, field: fn(&mut State) -> &mut usize) -> Self {
        *field(&mut pool.roster.lock()) += 1;
        Self { pool, field }
    }

    pub(super) fn watchdog(pool: Arc<Pool>) -> Self {
        Self::new(pool, |state| &mut state.watchdogs)
    }

    /// The calling thread, while it blocks in a `run_blocking`.
    pub(super) fn exempt(pool: Arc<Pool>) -> Self {
        let counted = Self::new(pool, |state| &mut state.exempt);
        let _sent = counted.pool.send_waiting();
        counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        *(self.field)(&mut self.pool.roster.lock()) -= 1;
        self.pool.roster.ended.notify_all();
    }
}
