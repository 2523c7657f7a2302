//! The budget of a poll: so many operations in a row find what they want without waiting.
//!
//! The next one gives `Pending` once, without having taken anything, and its coroutine goes to the
//! end of the queue. So work that never has to wait starves nobody, and a timeout or a
//! cancellation around it gets its turn. The budget is full again then, also in the same poll: the
//! other branches of a `join!` go on, and so does a loop that polls for itself.
//!
//! Only what is ready is counted. A poll that finds a thousand branches pending gives nothing way,
//! for it would have to come back at once.
//!
//! What is cancelled and polled on for the sake of a [shield](crate::shield) elsewhere in it is
//! *held*: it has no budget at all, so its operations stay pending.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use crate::current;
use crate::prim::thread_local;

/// The number of operations.
const OPERATIONS: i32 = 128;
/// In place of what is left: held.
const HELD: i32 = -1;

// What is left of it in the innermost poll; counted outside of polls too, where it means nothing.
// Not in the poll's own record, which takes longer to find.
thread_local! {
    static LEFT: Cell<i32> = const { Cell::new(OPERATIONS) };
}

// How often it was used up on this thread.
thread_local! {
    static USED_UP: Cell<u32> = const { Cell::new(0) };
}

/// How often a budget was used up on this thread: for what polls many futures, and is to end its
/// own poll with the first of them that has.
pub fn times_used_up() -> u32 {
    USED_UP.with(Cell::get)
}

/// The budget of a poll that has begun. Dropped, it leaves that of the poll around it as it was.
pub(crate) struct Budget {
    outer: i32,
}

impl Budget {
    #[inline]
    pub(crate) fn begin() -> Self {
        Self::set(OPERATIONS)
    }

    /// Holds what is polled until the guard is dropped.
    pub(crate) fn hold() -> Self {
        Self::set(HELD)
    }

    /// Lets what a shield protects go on, if it is in something that is held.
    pub(crate) fn lift() -> Option<Self> {
        is_held().then(Self::begin)
    }

    #[inline]
    fn set(operations: i32) -> Self {
        Self { outer: LEFT.with(|left| left.replace(operations)) }
    }
}

impl Drop for Budget {
    #[inline]
    fn drop(&mut self) {
        LEFT.with(|left| left.set(self.outer));
    }
}

/// Whether the code that asks is polled only for the sake of a shield elsewhere.
#[inline]
pub(crate) fn is_held() -> bool {
    LEFT.with(Cell::get) < 0
}

/// Ready unless the poll of the coroutine has used up its budget: for an operation that is about to
/// look whether it must wait. Outside of coroutines there is no budget.
#[inline]
pub fn poll_budget(cx: &Context<'_>) -> Poll<()> {
    match LEFT.with(Cell::get) {
        ..=0 => give_way(cx),
        _ => Poll::Ready(()),
    }
}

/// Counts an operation that need not wait.
#[inline]
pub fn spend_budget() {
    LEFT.with(|left| left.set((left.get() - 1).max(0)));
}

/// The coroutine goes to the end of the queue, or what polls inside of it is woken.
#[cold]
fn give_way(cx: &Context<'_>) -> Poll<()> {
    if is_held() {
        return Poll::Pending;
    }
    LEFT.with(|left| left.set(OPERATIONS));
    if !current::is_in_coroutine() {
        return Poll::Ready(());
    }
    USED_UP.with(|times| times.set(times.get().wrapping_add(1)));
    if !current::yield_to_queue(cx.waker()) {
        cx.waker().wake_by_ref();
    }
    Poll::Pending
}

/// Polls `operation` within the budget.
// The closure is not always inlined: what is hot calls the two functions above.
#[inline]
pub fn budgeted<T>(
    cx: &mut Context<'_>,
    operation: impl FnOnce(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    ready!(poll_budget(cx));
    let polled = operation(cx);
    if polled.is_ready() {
        spend_budget();
    }
    polled
}

/// Counts as an operation that need not wait: now and then it lets others go first.
///
/// For loops that compute: cheaper than [`yield_now`](crate::yield_now()), which suspends each
/// time. A poll of a coroutine may do 128 operations that find what they want at once (receive a
/// value that is there, read bytes that have come); the next one lets the other coroutines of the
/// dispatcher go first, and is a point where a cancellation arrives. In the body of
/// `run_blocking`, and in other executors, there is no budget, and this does nothing.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::prelude::*;
/// use corymb::consume_budget;
///
/// let endless = async {
///     loop {
///         std::hint::black_box(6 * 7);
///         consume_budget().await;
///     }
/// };
/// let timeout = scope(async |s| s.spawn(with_timeout(Duration::from_millis(5), endless)).await);
/// assert!(run_blocking(timeout).is_err());
/// ```
///
/// # Cancel safety
///
/// Dropping it does nothing.
pub async fn consume_budget() {
    poll_fn(|cx| budgeted(cx, |_| Poll::Ready(()))).await;
}
