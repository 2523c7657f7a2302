//! An allocator that counts what each thread holds of the heap.
//!
//! The counts are a thread's own: tests that run beside each other do not disturb them. Memory
//! that is freed by another thread than made it upsets both counts, so they are for tests of one
//! thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::panic::{set_hook, take_hook};
use std::sync::Once;

#[global_allocator]
static COUNTING: Counting = Counting;

// Without destructors, and made without an allocation: the allocator may ask for them at any time.
thread_local! {
    static HELD: Cell<Held> = const { Cell::new(NOTHING) };
    /// Whether the thread is in [`kept_by`].
    static COMPARED: Cell<bool> = const { Cell::new(false) };
}

/// What was allocated on a thread, less what was freed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    allocations: isize,
    bytes: isize,
}

pub(crate) const NOTHING: Held = Held { allocations: 0, bytes: 0 };

/// Calls `f`, and tells how much of what it allocated it has not freed.
///
/// Panics that it catches print nothing: a test's output is collected in its thread's memory.
pub(crate) fn kept_by<R>(f: impl FnOnce() -> R) -> (R, Held) {
    silence_where_compared();
    let _compared = Compared::begin();
    let before = HELD.get();
    let result = f();
    let after = HELD.get();
    let kept = Held {
        allocations: after.allocations - before.allocations,
        bytes: after.bytes - before.bytes,
    };
    (result, kept)
}

fn silence_where_compared() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = take_hook();
        set_hook(Box::new(move |panic| {
            if !COMPARED.get() {
                print(panic);
            }
        }));
    });
}

struct Compared;

impl Compared {
    fn begin() -> Self {
        COMPARED.set(true);
        Self
    }
}

impl Drop for Compared {
    fn drop(&mut self) {
        COMPARED.set(false);
    }
}

/// The system's allocator, counted. A reallocation is an allocation, a copy and a free.
struct Counting;

impl Counting {
    fn count(allocations: isize, layout: Layout) {
        let Held { allocations: before, bytes } = HELD.get();
        // No layout is larger than `isize::MAX`.
        let change = allocations * layout.size().cast_signed();
        HELD.set(Held { allocations: before + allocations, bytes: bytes + change });
    }
}

// SAFETY: the system's allocator does all the work, and what is counted around it neither
// allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: what the caller owes here, it owes there.
        let memory = unsafe { System.alloc(layout) };
        if !memory.is_null() {
            Self::count(1, layout);
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` is of the system's allocator, since `alloc` gave it.
        unsafe { System.dealloc(memory, layout) };
        Self::count(-1, layout);
    }
}

#[test]
fn what_is_kept_is_counted() {
    let (boxed, kept) = kept_by(|| black_box(Box::new(1_u64)));
    assert_eq!(kept, Held { allocations: 1, bytes: 8 });
    let ((), kept) = kept_by(|| drop(black_box(boxed)));
    assert_eq!(kept, Held { allocations: -1, bytes: -8 });
    let ((), kept) = kept_by(|| drop(black_box(vec![Box::new(1_u64)])));
    assert_eq!(kept, NOTHING);
}
