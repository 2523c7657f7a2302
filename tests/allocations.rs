//! What allocates nothing once it has run for a while: on the threads of a runtime with two
//! workers, each of which counts for its test, or on the thread of the test.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::{pending, poll_fn, ready};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use corymb::sync::{Barrier, Mutex, Notify, Semaphore, channel};
use corymb::{Runtime, Threads, prelude::*, race, select};
use futures::executor::block_on;

#[global_allocator]
static COUNTING: Counting = Counting;

// Without destructors, and made without an allocation: the allocator may ask for it at any time.
thread_local! {
    /// Where the thread counts how often it allocates.
    static COUNTER: Cell<Option<&'static AtomicUsize>> = const { Cell::new(None) };
}

/// The system's allocator, counted.
struct Counting;

// SAFETY: the system's allocator does all the work, and what is counted beside it neither
// allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Some(counter) = COUNTER.get() {
            counter.fetch_add(1, Relaxed);
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` is of the system's allocator, since `alloc` gave it.
        unsafe { System.dealloc(memory, layout) }
    }
}

const ROUNDS: usize = 10_000;
const HOUR: Duration = Duration::from_hours(1);

/// How often the runtime's threads allocate in two coroutines that do `work` so many times, once
/// both have done it as often before.
fn allocations_of<F>(work: impl Fn() -> F + Clone + Send + Sync + 'static) -> usize
where
    F: Future<Output = ()> + Send,
{
    let counter: &'static AtomicUsize = Box::leak(Box::default());
    // Threads that start allocate, and so does who tells that a thread was blocked, or had to wait
    // for a busy machine.
    let builder = Runtime::builder().parallelism(2).max_pool_size(4).blocked_threshold(HOUR);
    let runtime = builder.on_thread_start(|| COUNTER.set(Some(counter))).build().unwrap();
    runtime.run_blocking(runtime.detached(scope(async move |s| {
        let step = Arc::new(Barrier::new(3));
        for _ in 0..2 {
            let (work, step) = (work.clone(), step.clone());
            s.launch(async move {
                repeat(&work).await;
                step.wait().await; // warm
                step.wait().await; // go
                repeat(&work).await;
                step.wait().await; // done
            });
        }
        step.wait().await;
        let before = counter.load(Relaxed);
        step.wait().await;
        step.wait().await;
        counter.load(Relaxed) - before
    })))
}

/// How often this thread allocates in `work`, which needs no runtime, once it has done it before.
fn allocations_here(work: impl AsyncFn()) -> usize {
    let counter: &'static AtomicUsize = Box::leak(Box::default());
    COUNTER.set(Some(counter));
    block_on(async {
        work().await;
        let before = counter.load(Relaxed);
        work().await;
        counter.load(Relaxed) - before
    })
}

async fn repeat<F: Future<Output = ()>>(work: &impl Fn() -> F) {
    for _ in 0..ROUNDS {
        work().await;
    }
}

/// Asserts that so many allocations are none of the rounds: a thread makes a few when it starts,
/// steals, or has nothing to do for the first time. One for a block of 64 rounds would be more: the
/// two coroutines do twice as many.
#[track_caller]
fn assert_steady(allocations: usize) {
    assert!(allocations < ROUNDS / 40, "{allocations} allocations");
}

#[test]
fn the_count_counts() {
    let count = allocations_of(|| async { drop(std::hint::black_box(Box::new(1))) });
    assert!(count >= 2 * ROUNDS);
    assert_eq!(allocations_here(async || drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn a_wake() {
    let count = allocations_of(|| {
        let mut woken = false;
        poll_fn(move |cx| {
            if std::mem::replace(&mut woken, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    });
    assert_steady(count);
}

#[test]
fn a_wake_by_another_coroutine() {
    let notify = Arc::new(Notify::new());
    let count = allocations_of(move || {
        let notify = notify.clone();
        async move {
            notify.notify_one();
            yield_now().await;
            // If the other one has taken it, its next one comes, or it has ended.
            drop(with_timeout(Duration::from_millis(1), notify.notified()).await);
        }
    });
    assert_steady(count);
}

#[test]
fn a_yield() {
    assert_steady(allocations_of(yield_now));
}

#[test]
fn a_sleep() {
    assert_steady(allocations_of(|| sleep(Duration::from_micros(1))));
}

#[test]
fn a_timeout() {
    let count = allocations_of(|| async {
        with_timeout(HOUR, yield_now()).await.unwrap();
    });
    assert_steady(count);
}

#[test]
fn a_send_and_a_receive() {
    let (tx, rx) = channel::bounded(1);
    let ends = Arc::new((tx, rx));
    let count = allocations_of(move || {
        let ends = ends.clone();
        async move {
            ends.0.send(1).await.unwrap();
            yield_now().await;
            ends.1.recv().await.unwrap();
        }
    });
    assert_steady(count);
}

#[test]
fn locks_and_permits() {
    let both = Arc::new((Mutex::new(0), Semaphore::new(1)));
    let count = allocations_of(move || {
        let both = both.clone();
        async move {
            let _permit = both.1.acquire().await.unwrap();
            yield_now().await;
            *both.0.lock().await += 1;
        }
    });
    assert_steady(count);
}

#[test]
fn a_hop() {
    let count = allocations_of(|| async {
        with_context(Dispatcher::Io, async {}).await;
        yield_now().await;
    });
    assert_steady(count);
}

#[test]
fn a_move() {
    let other = Threads::single("other").unwrap();
    let there = other.dispatcher();
    let count = allocations_of(move || with_context(there.clone(), async {}));
    assert_steady(count);
}

#[test]
fn a_blocking_section() {
    assert_steady(allocations_of(|| blocking(|| ())));
}

#[test]
fn a_select() {
    let (tx, rx) = channel::bounded(1);
    let (_open, silent) = channel::bounded::<u32>(1);
    let mutex = Mutex::new(0);
    let count = allocations_here(async || {
        let mut kept = pin!(silent.recv());
        for round in 0..10 {
            let guard = mutex.lock().await;
            let mut guard = Some(guard);
            let mut send = pin!(tx.send(round));
            loop {
                select! {
                    got = rx.recv() => assert_eq!(got, Ok(round)),
                    _ = &mut kept => unreachable!(),
                    Err(_) = &mut send, if guard.is_some() => unreachable!(),
                    () = ready(()), if guard.take().is_some() => continue,
                    mut total = mutex.lock() => *total += 1,
                }
                break;
            }
            let _left = rx.try_recv();
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn a_race_of_a_tuple_or_an_array() {
    let (_open, silent) = channel::bounded::<u32>(1);
    let count = allocations_here(async || {
        assert_eq!(race((silent.recv(), ready(Ok(2)))).await, Ok(2));
        assert_eq!(race([silent.recv(), silent.recv()].map(|_| ready(3))).await, 3);
        assert_eq!(race((pending(), ready(4))).await, 4);
    });
    assert_eq!(count, 0);
}
