//! The IO sides of a pool: what runs coroutines that block.
//!
//! There are two, alike but for their limit: the one behind `Dispatcher::Io`, and an elastic one
//! for views of it, which has the threads that the first one may not have or does not use. A
//! coroutine that is dispatched here waits in a queue for a slot, and is then
//! polled by a spare; the thread that ends a poll takes the next one, with the same slot. A
//! coroutine that comes in the middle of a poll (`switch`) brings its thread along, see `lending`.

use std::ptr;
use std::sync::Weak;

use corymb_core::internal::prim::atomic::{Ordering, fence};
use corymb_core::internal::real_now;
use corymb_core::{Coroutine, Dispatch};

use super::Pool;
use super::local::{self, Local};
use super::queue::Injector;
use super::roster::Errand;

/// Which one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// `Dispatcher::Io`.
    Limited,
    /// For views with limits of their own.
    Elastic,
}

/// One side.
pub(crate) struct Io {
    pool: Weak<Pool>,
    side: Side,
    queue: Injector,
}

impl Io {
    pub(super) fn new(pool: Weak<Pool>, side: Side) -> Self {
        Self { pool, side, queue: Injector::new() }
    }

    pub(super) fn is(&self, dispatch: &dyn Dispatch) -> bool {
        ptr::addr_eq(ptr::from_ref(self), ptr::from_ref(dispatch))
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Drops what is queued: the pool has closed.
    pub(super) fn discard_queued(&self) {
        while let Some(coroutine) = self.queue.pop() {
            coroutine.discard();
        }
    }

    fn submit(&self, pool: &Pool, coroutine: Coroutine) {
        self.queue.push(coroutine);
        pool.slots.submit(self.side, |side| pool.send_for_io(side));
        self.look_for_end(pool);
    }

    /// Either this sees the end, or the last look at the queue, which comes after it, sees what
    /// was pushed.
    fn look_for_end(&self, pool: &Pool) {
        fence(Ordering::SeqCst);
        if pool.is_closed() {
            self.discard_queued();
        }
    }

    /// Takes a slot for the coroutine that the calling thread polls.
    #[inline]
    pub(super) fn try_enter(&self, pool: &Pool) -> bool {
        pool.slots.try_enter(self.side, |side| pool.send_for_io(side))
    }

    /// The calling thread, which keeps its processor, is done with its slot.
    #[inline]
    pub(super) fn leave(&self, pool: &Pool) {
        if let Some(side) = self.next(pool) {
            pool.send_for_io(side);
        }
    }

    /// The calling thread has ended a poll. The side on which it has a slot now, to pop the next
    /// coroutine there.
    #[inline]
    pub(super) fn next(&self, pool: &Pool) -> Option<Side> {
        pool.slots.next(self.side, |side| pool.send_for_io(side))
    }
}

impl Dispatch for Io {
    fn dispatch(&self, coroutine: Coroutine) {
        local::current(|local| match local.filter(|local| local.pool().io(self.side).is(self)) {
            Some(local) => self.submit(local.pool(), coroutine),
            // If the pool is gone, the coroutine is dropped, and so cancelled.
            None => match self.pool.upgrade() {
                Some(pool) => self.submit(&pool, coroutine),
                None => drop(coroutine),
            },
        });
    }

    fn dispatch_yield(&self, coroutine: Coroutine) {
        local::current(|local| match local.filter(|local| local.is_in(self)) {
            Some(local) => {
                self.queue.push(coroutine);
                local.pool().slots.submit_behind(self.side);
                self.look_for_end(local.pool());
            }
            None => self.dispatch(coroutine),
        });
    }

    fn is_for_blocking(&self) -> bool {
        true
    }

    fn switch(&self, to: &dyn Dispatch) -> bool {
        local::current(|local| local.is_some_and(|local| local.switch_from_io(self, to)))
    }
}

impl Pool {
    /// Sends a thread that pops a coroutine of this side, which has a slot.
    pub(super) fn send_for_io(&self, side: Side) {
        self.send(Errand::Io(side));
    }
}

impl Local {
    /// Runs coroutines of the side in which this thread has a slot, until there are none, or one
    /// of them has brought this thread a processor.
    pub(super) fn run_io(&self) {
        while let Some(io) = self.io() {
            let Some(coroutine) = io.queue.pop() else {
                // The pool has closed.
                self.set_io(None);
                return io.leave(self.pool());
            };
            if self.pool().is_closed() {
                coroutine.discard();
                continue;
            }
            let before = real_now();
            coroutine.run();
            self.pool().lending.polled(real_now().saturating_duration_since(before));
            self.come_back();
            if self.held().is_some() {
                return;
            }
        }
    }
}
