//! Where one worker sleeps: on its own, or in the reactor.

use std::thread::{self, Thread};
use std::time::Duration;

use corymb_core::internal::prim::atomic::{AtomicU32, Ordering};

use super::driver::Driver;

const AWAKE: u32 = 0;
/// Woken, or about to be: the next sleep ends at once.
const WOKEN: u32 = 1;
const PARKED: u32 = 2;
const IN_REACTOR: u32 = 3;

/// ```text
///            sleep                 wake: unpark / notify
///   AWAKE ──────────► PARKED, IN_REACTOR ──────────► WOKEN
///     ▲ │ wake                    │ timeout, event      │
///     │ └──────────────► WOKEN ◄──┼─────────────────────┘
///     └────────────────────┴──────┘ the sleeper goes on
/// ```
pub(crate) struct Parker {
    state: AtomicU32,
    thread: Thread,
}

impl Parker {
    /// The parker of the calling thread.
    pub(crate) fn new() -> Self {
        Self { state: AtomicU32::new(AWAKE), thread: thread::current() }
    }

    /// Sleeps on its own thread until woken, or for `timeout`.
    pub(crate) fn park(&self, timeout: Option<Duration>) {
        self.sleep(PARKED, || match timeout {
            Some(timeout) => thread::park_timeout(timeout),
            // It may return for no reason, or because of an earlier token: the worker looks for
            // work and comes back.
            None => thread::park(),
        });
    }

    /// Sleeps in `wait`, which a [`Driver::notify`] ends.
    pub(crate) fn drive(&self, wait: impl FnOnce()) {
        self.sleep(IN_REACTOR, wait);
    }

    fn sleep(&self, state: u32, wait: impl FnOnce()) {
        // Ordering: AcqRel; Acquire pairs with the Release of a wake that came first.
        let slept = self.state.compare_exchange(AWAKE, state, Ordering::AcqRel, Ordering::Acquire);
        if slept.is_ok() {
            wait();
        }
        // Ordering: AcqRel, as above.
        self.state.swap(AWAKE, Ordering::AcqRel);
    }

    /// Ends the sleep, or the next one.
    pub(crate) fn wake(&self, driver: &Driver) {
        // Ordering: AcqRel; Release publishes what the waker did to the worker that wakes.
        match self.state.swap(WOKEN, Ordering::AcqRel) {
            PARKED => self.thread.unpark(),
            IN_REACTOR => driver.notify(),
            _ => {}
        }
    }
}
