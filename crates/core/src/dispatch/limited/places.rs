//! The queue of a view and its places.
//!
//! # Invariants
//!
//! 1. At most `limit` places are taken. Each belongs to one runner that is scheduled or polled, or
//!    for a moment to a thread that asks for the way back.
//! 2. Who gives a place up has found the queue empty under the same lock; so while somebody queues,
//!    a place is taken and its runner will look again. A push that finds a place free takes it.
//!    (One that comes from a runner itself leaves that to the runner. It needs no other one: a
//!    place comes free only when the queue is empty, and each push since then has brought a runner
//!    that will look, or comes from one.)
//! 3. A runner that rests has no place. Who takes it out of the list gives it one and wakes it,
//!    once, be it that its last poll has not quite returned.
//! 4. While a place is taken the places are kept alive, whoever drops the view. Callers have a
//!    count besides.
//! 5. Each entry of `blocked` is of a thread that has a place, and that runs what it is given until
//!    the entry is gone.
//!
//! A place passes from runner to runner through the lock: with one place, what a coroutine wrote
//! is visible to the next.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::Arc;

use super::runner::Runner;
use crate::context::ContextInner;
use crate::coroutine::Coroutine;
use crate::dispatch::Dispatch;
use crate::job::Job;
use crate::node::NodeRef;
use crate::prim::{Mutex, MutexGuard};

/// See the [module](self).
pub(super) struct Places {
    limit: usize,
    /// That of the runners.
    context: Arc<ContextInner>,
    site: &'static Location<'static>,
    state: Mutex<State>,
}

struct State {
    queue: VecDeque<Coroutine>,
    taken: usize,
    /// Runners without a place: no more than there ever were on the stacks of threads at once.
    resting: Vec<NodeRef>,
    /// Invariant 4.
    keep: Option<Arc<Places>>,
    /// Invariant 5; the later ones are further inside, if they are of one thread.
    blocked: Vec<Blocked>,
}

/// A thread that has a place and blocks.
struct Blocked {
    /// What it blocks on.
    run: Job,
    /// Its loop.
    thread: Arc<dyn Dispatch>,
}

impl Places {
    pub(super) fn new(
        limit: usize,
        context: Arc<ContextInner>,
        site: &'static Location<'static>,
    ) -> Self {
        let state = State {
            queue: VecDeque::new(),
            taken: 0,
            resting: Vec::new(),
            keep: None,
            blocked: Vec::new(),
        };
        Self { limit, context, site, state: Mutex::new(state) }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn context(&self) -> &ContextInner {
        &self.context
    }

    /// Queues a coroutine. A runner that comes back is to be dispatched.
    pub(super) fn push(self: &Arc<Self>, coroutine: Coroutine) -> Option<Coroutine> {
        let mut state = self.state.lock();
        if state.taken == self.limit
            && let Some(blocked) = state.blocked_on(&coroutine)
        {
            // Under the lock, as the loop may end when the entry is gone.
            blocked.thread.dispatch(coroutine);
            return None;
        }
        state.queue.push_back(coroutine);
        self.staff(state)
    }

    /// A thread that has a place blocks on `run`, and runs what `thread` is given.
    pub(super) fn block(&self, run: &Job, thread: &Arc<dyn Dispatch>) {
        let blocked = Blocked { run: run.clone(), thread: Arc::clone(thread) };
        self.state.lock().blocked.push(blocked);
    }

    /// Where the view was made, if somebody queues for a place.
    pub(super) fn held_up(&self) -> Option<&'static Location<'static>> {
        (!self.state.lock().queue.is_empty()).then_some(self.site)
    }

    /// The last [`block`](Self::block) on `run` is over.
    pub(super) fn unblock(&self, run: &Job) {
        let mut state = self.state.lock();
        let last = state.blocked.iter().rposition(|blocked| blocked.run == *run);
        let gone = last.map(|index| state.blocked.remove(index));
        drop(state);
        drop(gone);
    }

    /// As [`push`](Self::push), by a runner that has a place and will look at the queue next.
    pub(super) fn push_for_runner(&self, coroutine: Coroutine) {
        self.state.lock().queue.push_back(coroutine);
    }

    /// Takes a place for a runner, if one is free.
    fn staff(self: &Arc<Self>, mut state: MutexGuard<'_, State>) -> Option<Coroutine> {
        if state.taken == self.limit {
            return None;
        }
        self.take(&mut state);
        self.runner(state)
    }

    fn take(self: &Arc<Self>, state: &mut State) {
        state.keep.get_or_insert_with(|| Arc::clone(self));
        state.taken += 1;
    }

    /// Gives the caller's place to a runner.
    fn runner(self: &Arc<Self>, mut state: MutexGuard<'_, State>) -> Option<Coroutine> {
        let rested = state.resting.pop();
        drop(state);
        match rested {
            Some(runner) => Coroutine::wake_orphan(runner),
            None => {
                let runner = Runner::new(self);
                Some(Coroutine::orphan(Arc::clone(&self.context), self.site, runner))
            }
        }
    }

    /// The next coroutine for a runner that has a place. If there is none, it has the place no
    /// more, and rests if it can.
    pub(super) fn next(&self, runner: Option<&NodeRef>) -> Option<Coroutine> {
        let mut state = self.state.lock();
        let next = state.queue.pop_front();
        if next.is_none() {
            state.resting.extend(runner.cloned());
            Self::free(state);
        }
        next
    }

    fn free(mut state: MutexGuard<'_, State>) {
        state.taken -= 1;
        if state.taken == 0 {
            // Not the last count: the caller has one.
            state.keep = None;
        }
    }

    /// A runner that has lost its place rests.
    pub(super) fn rest(&self, runner: &NodeRef) {
        self.state.lock().resting.push(runner.clone());
    }

    /// Gives up the caller's place, to a runner if somebody queues. A runner that comes back is to
    /// be dispatched.
    pub(super) fn give_away(self: &Arc<Self>) -> Option<Coroutine> {
        let state = self.state.lock();
        if state.queue.is_empty() {
            Self::free(state);
            return None;
        }
        self.runner(state)
    }

    /// Takes a place without a runner of its own, if nobody queues for one.
    pub(super) fn try_take(self: &Arc<Self>) -> bool {
        let mut state = self.state.lock();
        let free = state.taken < self.limit && state.queue.is_empty();
        if free {
            self.take(&mut state);
        }
        free
    }
}

impl State {
    /// The thread that blocks on `coroutine`, among others; the innermost one.
    fn blocked_on(&self, coroutine: &Coroutine) -> Option<&Blocked> {
        self.blocked.iter().rev().find(|blocked| coroutine.is_below(&blocked.run))
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let runners = std::mem::take(&mut self.state.lock().resting);
        for runner in runners {
            Coroutine::end_orphan(runner);
        }
    }
}
