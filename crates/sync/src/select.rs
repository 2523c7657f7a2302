//! `select!`: what it is, and what it expands to needs.

use std::pin::Pin;
use std::task::{Context, Poll};

use corymb_core::hooks::{self, Choice};
use corymb_core::internal::{below, times_used_up};

/// Waits for several futures, drops all but the first to end, and runs the body beside that one.
///
/// ```text
/// select! {
///     biased,                                     // optional
///     pattern = future => body,
///     pattern = future, if condition => { .. }
///     else => body,                               // optional
/// }
/// ```
///
/// It is an expression, of the type of its bodies, in any `async` code under any executor. It makes
/// no allocation. Its rules:
///
/// 1. The guards (`if condition`) are evaluated first, then the futures, both in the order written.
///    A future whose guard is false is not evaluated.
/// 2. The futures are polled until one has ended with a value that its pattern takes. A branch whose
///    pattern does not take the value is out: the others go on without it.
/// 3. All futures are dropped, the losers too. So their locks, their places in queues and what they
///    have borrowed are free, also for the body.
/// 4. The body of the winner runs, outside of any closure or loop: `?`, `break`, `continue`,
///    `return` and `.await` mean what they mean around the `select!`. What the pattern does not bind
///    of the value is dropped after it.
/// 5. If all branches are out, or have guards that are false, the body of `else` runs.
///
/// A future can be given as `&mut future`, if it is pinned (`std::pin::pin!`) or `Unpin`: then what
/// is dropped is the reference, and the future goes on in the next round of a loop.
///
/// A temporary that a future borrows from has to be put into a variable before the `select!`, as it
/// is dropped when the future has been made.
///
/// # Examples
///
/// Two channels, until both are closed; the second one counts only up to a hundred:
///
/// ```
/// use corymb::select;
/// use corymb::sync::channel::Receiver;
///
/// async fn merge(a: Receiver<u32>, b: Receiver<u32>) -> Vec<u32> {
///     let mut got = Vec::new();
///     loop {
///         select! {
///             Ok(n) = a.recv() => got.push(n),
///             Ok(n) = b.recv(), if got.len() < 100 => got.push(n),
///             else => break got,
///         }
///     }
/// }
/// # let (tx, a) = corymb::sync::channel::bounded(1);
/// # let (other, b) = corymb::sync::channel::bounded(1);
/// # assert!(tx.try_send(1).is_ok() && other.try_send(1).is_ok());
/// # drop((tx, other));
/// # corymb::run_blocking(async {
/// #     assert_eq!(merge(a, b).await, [1, 1]);
/// # });
/// ```
///
/// One operation that takes many rounds, and keeps its place in the queue:
///
/// ```
/// use std::pin::pin;
/// use corymb::prelude::*;
/// use corymb::select;
/// use corymb::sync::{channel, Mutex};
///
/// # corymb::run_blocking(async {
/// # let (tx, rx) = channel::bounded(2);
/// # let _ = (tx.try_send(1), tx.try_send(2));
/// # let mutex = Mutex::new(0);
/// # let guard = mutex.lock().await;
/// # let mut guard = Some(guard);
/// let mut sum = 0;
/// let mut lock = pin!(mutex.lock());
/// loop {
///     select! {
///         mut total = &mut lock => {
///             *total += sum;
///             break;
///         }
///         Ok(n) = rx.recv() => sum += n, // meanwhile
///     }
/// #   if sum == 3 { guard.take(); }
/// }
/// # assert_eq!(sum, 3);
/// # });
/// ```
///
/// # Panics
///
/// If all branches are out and there is no `else`.
///
/// # Cancel safety
///
/// A branch that loses is dropped, and loses what its future says under this heading: mostly the
/// place in a queue, and no value. What was offered to it (a value, a lock, a permit) goes to the
/// next. A `recv()` in a loop is a new one in each round, at the end of the queue; one that is kept,
/// and given as `&mut`, stays where it is. While the body runs, nobody polls it: what it is offered
/// then goes to those behind it, and it keeps its place. `docs/select.md` has the list.
///
/// The `select!` itself has nothing to lose: dropped while it waits, it drops its futures.
///
/// # Fairness
///
/// Which branch is polled first is drawn when the `select!` is polled for the first time, then
/// which of the others is second, and so on: so each of those that are ready is as likely as the
/// others to win. The order stays for as long as the `select!` waits.
///
/// It is drawn once, and not for each poll, as one `select!` has one winner: fairness is about many
/// of them. A test runtime records each draw ([`Choice::Branch`](corymb_core::hooks::Choice)) and
/// repeats it for the same seed; so there are no more of them than branches that were polled, none
/// once all have been, and none for a branch behind one that was ready at once. Outside of runtimes
/// a generator of the thread's own is asked.
///
/// With `biased` the order is the one written, in each poll: the first that is ready wins, and one
/// that always is starves those below it. No draw is made.
///
/// A `select!` in a loop gives way as its operations do: a branch that has used up the budget of the
/// poll ends it for the others, though not twice in a row.
#[macro_export]
macro_rules! select {
    ($($branches:tt)*) => {
        $crate::__private::select! { $crate; $($branches)* }
    };
}

/// The order in which the branches are polled that are not out, as far as it is drawn.
#[derive(Debug)]
pub struct Order<const N: usize> {
    branches: [u8; N],
    /// How many are not out: they come first.
    left: usize,
    /// How many places are settled.
    drawn: usize,
    /// The last poll ended with a branch that had used up the budget.
    gave_way: bool,
}

impl<const N: usize> Order<N> {
    /// One that is drawn in the first poll.
    pub fn drawn(enabled: [bool; N]) -> Self {
        let mut branches = [0; N];
        let mut left = 0;
        for (branch, _) in (0..=u8::MAX).zip(enabled).filter(|(_, enabled)| *enabled) {
            branches[left] = branch;
            left += 1;
        }
        Self { branches, left, drawn: 0, gave_way: false }
    }

    /// That of the program's text.
    pub fn as_written(enabled: [bool; N]) -> Self {
        Self { drawn: N, ..Self::drawn(enabled) }
    }

    /// Polls branches until one has won, which `poll` answers by `Some`; by `None` that it is out.
    /// Ready without a winner if all are out.
    ///
    /// A branch that has used up the budget ends the poll: the others would have a whole one, and a
    /// loop of such polls would not give way. If that happens again in the next poll, the others are
    /// polled nevertheless: the branch may be one that works for ever.
    pub fn poll<R>(&mut self, mut poll: impl FnMut(usize) -> Poll<Option<R>>) -> Poll<Option<R>> {
        let patient = std::mem::take(&mut self.gave_way);
        let mut place = 0;
        while place < self.left {
            self.draw(place);
            let used_up = times_used_up();
            match poll(self.branches[place].into()) {
                Poll::Ready(Some(output)) => return Poll::Ready(Some(output)),
                Poll::Ready(None) => self.remove(place),
                Poll::Pending if !patient && times_used_up() != used_up => {
                    self.gave_way = true;
                    return Poll::Pending;
                }
                Poll::Pending => place += 1,
            }
        }
        if self.left == 0 { Poll::Ready(None) } else { Poll::Pending }
    }

    /// Settles who has `place`.
    fn draw(&mut self, place: usize) {
        let others = self.left - place;
        if place >= self.drawn && others > 1 {
            self.branches.swap(place, place + draw(others));
        }
        self.drawn = self.drawn.max(place + 1);
    }

    fn remove(&mut self, place: usize) {
        self.branches.copy_within(place + 1..self.left, place);
        self.left -= 1;
        self.drawn -= 1;
    }
}

/// One of `0..n`: the runtime's choice, so that tests repeat it.
fn draw(n: usize) -> usize {
    hooks::try_with(|runtime| runtime.choose(Choice::Branch, n)).unwrap_or_else(|| below(n))
}

/// Polls the future of a branch that is not out, and drops it when it has ended.
///
/// # Panics
///
/// If it is out.
#[inline]
pub fn poll_branch<F: Future>(
    mut branch: Pin<&mut Option<F>>,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    let future = branch.as_mut().as_pin_mut().expect("a branch that is not out has a future");
    let polled = future.poll(cx);
    if polled.is_ready() {
        branch.set(None);
    }
    polled
}

/// What stands for an `else` that is not there.
///
/// # Panics
///
/// Always.
#[cold]
#[track_caller]
pub fn no_branch_left() -> ! {
    panic!(
        "no branch of this `select!` is left: each was disabled by its guard, or ended with a value \
         that its pattern does not take; say by an `else` branch what is to happen then"
    )
}
