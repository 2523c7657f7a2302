//! Waiting for a primitive by blocking the thread, for code that is not asynchronous.

use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use corymb_core::internal::may_block;

/// Wakes by unparking.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls `future`, that of `operation`, to its end, and parks the thread meanwhile.
///
/// # Panics
///
/// If it has to wait in a coroutine whose thread others wait for.
#[track_caller]
pub(crate) fn block_on<F: Future>(operation: &str, future: F) -> F::Output {
    let place = Location::caller();
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(value) => return value,
            // Whoever else unparks this thread has it poll in vain.
            Poll::Pending if may_block() => thread::park(),
            Poll::Pending => panic!(
                "`{operation}_blocking` at {place} has to wait, and would block a thread that polls \
                 coroutines, maybe the one it waits for: await `{operation}` there, or call it in \
                 `blocking(..)`; a test in virtual time has one thread, so there use \
                 `#[corymb::test(real)]`"
            ),
        }
    }
}
