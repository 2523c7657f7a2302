//! What makes no allocation. A test target of its own, for its allocator.

#![cfg(not(loom))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::{pending, ready};
use std::pin::pin;

use corymb::select;
use corymb_sync::{Mutex, channel, race};
use futures::executor::block_on;

#[global_allocator]
static COUNTING: Counting = Counting;

// Without destructors, and made without an allocation: the allocator may ask for it at any time.
thread_local! {
    /// How often this thread has allocated.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counted.
struct Counting;

// SAFETY: the system's allocator does all the work, and what is counted beside it neither
// allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` is of the system's allocator, since `alloc` gave it.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// How often `work` allocates, once it has run before.
fn allocations_of(work: impl AsyncFn()) -> usize {
    block_on(async {
        work().await;
        let before = ALLOCATIONS.get();
        work().await;
        ALLOCATIONS.get() - before
    })
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations_of(async || drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn a_select_allocates_nothing() {
    let (tx, rx) = channel::bounded(1);
    let (_open, silent) = channel::bounded::<u32>(1);
    let mutex = Mutex::new(0);
    let count = allocations_of(async || {
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
fn a_race_of_a_tuple_or_an_array_allocates_nothing() {
    let (_open, silent) = channel::bounded::<u32>(1);
    let count = allocations_of(async || {
        assert_eq!(race((silent.recv(), ready(Ok(2)))).await, Ok(2));
        assert_eq!(race([silent.recv(), silent.recv()].map(|_| ready(3))).await, 3);
        assert_eq!(race((pending(), ready(4))).await, 4);
    });
    assert_eq!(count, 0);
}
