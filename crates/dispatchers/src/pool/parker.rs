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

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use std::sync::{Arc, mpsc};

    use corymb_core::internal::prim::atomic::AtomicBool;

    use super::*;

    #[test]
    fn who_parks_sleeps_until_somebody_wakes() {
        let driver = Driver::new().unwrap();
        let (tell, told) = mpsc::channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let sleeper = thread::spawn(move || {
            let parker = Arc::new(Parker::new());
            tell.send(Arc::clone(&parker)).unwrap();
            parker.park(None);
            assert!(seen.load(Ordering::Acquire), "it has slept for no time");
        });
        let parker = told.recv().unwrap();
        while parker.state.load(Ordering::Acquire) != PARKED {
            thread::yield_now();
        }
        is_over.store(true, Ordering::Release);
        parker.wake(&driver);
        sleeper.join().unwrap();
    }

    #[test]
    fn a_wake_that_comes_first_ends_the_next_sleep_alone() {
        let driver = Driver::new().unwrap();
        let parker = Parker::new();
        parker.wake(&driver);
        parker.park(None);
        parker.wake(&driver);
        parker.drive(|| panic!("it was woken"));
        let mut has_slept = false;
        parker.drive(|| has_slept = true);
        assert!(has_slept);
    }
}
