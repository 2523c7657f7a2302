//! The loop of a thread that blocks on a future.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use corymb_core::internal::UnconfinedLoop;
use corymb_core::internal::prim::atomic::{AtomicBool, Ordering};

use super::{Holding, Serving};

/// Polls `future` on this thread until it is ready, and runs what is at home here.
pub(crate) fn block_on<F: Future>(future: F, holding: &Holding) -> F::Output {
    let unpark = Arc::new(Unpark { thread: thread::current(), woken: AtomicBool::new(true) });
    let waker = Waker::from(Arc::clone(&unpark));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    let serving = Serving::enter();
    let unconfined = UnconfinedLoop::enter();
    loop {
        if unpark.take() {
            let polled = future.as_mut().poll(&mut cx);
            unconfined.run();
            if let Poll::Ready(value) = polled {
                return value;
            }
        }
        // One after each look at the future, so that neither holds up the other.
        if serving.run_one() {
            unconfined.run();
        } else if !unpark.is_woken() {
            holding.park();
        }
    }
}

/// The waker of a thread. The flag is there because anybody may take the thread's own token.
struct Unpark {
    thread: Thread,
    woken: AtomicBool,
}

impl Unpark {
    fn take(&self) -> bool {
        // Ordering: Acquire pairs with the Release in `wake_by_ref`.
        self.is_woken() && self.woken.swap(false, Ordering::Acquire)
    }

    fn is_woken(&self) -> bool {
        // Ordering: Relaxed, `take` is what follows. A wake that this misses comes with an unpark
        // after it, so that the park returns.
        self.woken.load(Ordering::Relaxed)
    }
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Ordering: Release publishes the waker's writes to the poll that follows.
        if !self.woken.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}
