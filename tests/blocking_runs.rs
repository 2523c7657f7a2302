//! `run_blocking` inside of coroutines.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use corymb::prelude::*;
use corymb::{Runtime, RuntimeHandle};

/// The spare that is sent for the processor does not get there before the run is over: then the
/// coroutine goes on with what it has lent, and not without.
#[test]
fn after_a_nested_run_the_worker_has_its_processor_again() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let threads = AtomicUsize::new(0);
    let runtime = Runtime::builder().parallelism(1).on_thread_start(move || {
        // The first one is the worker.
        if threads.fetch_add(1, Ordering::SeqCst) > 0 {
            let _ended = released.lock().unwrap_or_else(PoisonError::into_inner).recv();
        }
    });
    let runtime = Arc::new(runtime.build().unwrap());
    let lent = || RuntimeHandle::current().map(|runtime| runtime.metrics().lent);
    let seen = runtime.run_blocking(runtime.detached(async move {
        let inside = run_blocking(async { lent() });
        (inside, lent())
    }));
    drop(release);
    assert_eq!(seen, (Some(1), Some(0)));
}
