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
use std::panic::Location;
use std::task::{Context, Poll, ready};

use crate::current;
use crate::prim::thread_local;
use crate::wait::{WaitKind, waiting_on};

/// The number of operations.
const OPERATIONS: u8 = 128;
/// In place of what is left: held.
const HELD: i32 = -1;

/// The budgets of a thread.
struct Purse {
    /// What is left in the innermost poll; counted outside of polls too, where it means nothing.
    /// Not in the poll's own record, which takes longer to find.
    left: Cell<i32>,
    /// What a poll begins with.
    allowance: Cell<i32>,
    /// How often a budget was used up.
    used_up: Cell<u32>,
    /// The same when the allowance was set.
    before: Cell<u32>,
}

impl Purse {
    /// What there is after a budget was used up. An explorer may begin a poll with nothing: the
    /// branches of a `join!` all get on then, and so does a loop over several operations, though
    /// only after many rounds.
    fn refill(&self) {
        let times = self.used_up.get().wrapping_sub(self.before.get());
        let goes_round = times > u32::from(OPERATIONS);
        self.left.set(if goes_round { OPERATIONS.into() } else { self.allowance.get().max(1) });
    }
}

thread_local! {
    static PURSE: Purse = const {
        Purse {
            left: Cell::new(OPERATIONS as i32),
            allowance: Cell::new(OPERATIONS as i32),
            used_up: Cell::new(0),
            before: Cell::new(0),
        }
    };
}

/// How often a budget was used up on this thread: for what polls many futures, and is to end its
/// own poll with the first of them that has.
pub fn times_used_up() -> u32 {
    PURSE.with(|purse| purse.used_up.get())
}

/// Has each poll of `f` begin with a budget of so many operations: for explorers of schedules,
/// which let others in between any two of them.
pub fn with_allowance<R>(operations: u8, f: impl FnOnce() -> R) -> R {
    struct Reset(i32, u32);
    impl Drop for Reset {
        fn drop(&mut self) {
            PURSE.with(|purse| {
                purse.allowance.set(self.0);
                purse.before.set(self.1);
            });
        }
    }
    let _reset = PURSE.with(|purse| {
        let before = purse.before.replace(purse.used_up.get());
        Reset(purse.allowance.replace(operations.into()), before)
    });
    f()
}

/// Has `f`, which is a part of a poll, begin with a full budget, whatever is left of that poll's:
/// for assertions on whether it waits.
pub fn with_full_budget<R>(f: impl FnOnce() -> R) -> R {
    if is_held() {
        return f();
    }
    with_allowance(OPERATIONS, || {
        let _full = Budget::begin();
        f()
    })
}

/// The budget of a poll that has begun. Dropped, it leaves that of the poll around it as it was.
pub(crate) struct Budget {
    outer: i32,
}

impl Budget {
    #[inline]
    pub(crate) fn begin() -> Self {
        PURSE.with(|purse| Self { outer: purse.left.replace(purse.allowance.get()) })
    }

    /// Holds what is polled until the guard is dropped.
    pub(crate) fn hold() -> Self {
        PURSE.with(|purse| Self { outer: purse.left.replace(HELD) })
    }

    /// Lets what a shield protects go on, if it is in something that is held.
    pub(crate) fn lift() -> Option<Self> {
        is_held().then(Self::begin)
    }
}

impl Drop for Budget {
    #[inline]
    fn drop(&mut self) {
        PURSE.with(|purse| purse.left.set(self.outer));
    }
}

/// Whether the code that asks is polled only for the sake of a shield elsewhere.
#[inline]
pub(crate) fn is_held() -> bool {
    PURSE.with(|purse| purse.left.get()) < 0
}

/// What an operation would wait for, and where it is awaited: for the note that a coroutine leaves
/// when it gives way before it.
pub type Operation = (WaitKind, &'static Location<'static>);

/// Ready unless the poll of the coroutine has used up its budget: for an operation that is about to
/// look whether it must wait. Outside of coroutines there is no budget.
#[inline]
pub fn poll_budget(cx: &Context<'_>, before: impl Into<Option<Operation>>) -> Poll<()> {
    match PURSE.with(|purse| purse.left.get()) {
        ..=0 => give_way(cx, before.into()),
        _ => Poll::Ready(()),
    }
}

/// Counts an operation that need not wait.
#[inline]
pub fn spend_budget() {
    PURSE.with(|purse| purse.left.set((purse.left.get() - 1).max(0)));
}

/// The coroutine goes to the end of the queue, or what polls inside of it is woken.
#[cold]
fn give_way(cx: &Context<'_>, before: Option<Operation>) -> Poll<()> {
    if is_held() {
        return Poll::Pending;
    }
    PURSE.with(Purse::refill);
    if !current::is_in_coroutine() {
        return Poll::Ready(());
    }
    PURSE.with(|purse| purse.used_up.set(purse.used_up.get().wrapping_add(1)));
    if let Some((kind, place)) = before {
        waiting_on(kind, place);
    }
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
    before: impl Into<Option<Operation>>,
    operation: impl FnOnce(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    ready!(poll_budget(cx, before));
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
    poll_fn(|cx| budgeted(cx, None, |_| Poll::Ready(()))).await;
}
