//! Dropping a future wherever it can be dropped.

use std::pin::Pin;
use std::task::{Context, Poll};

use corymb_core::Scope;

use crate::runtime::TestRuntime;

/// How many polls a future may need: each of them is a run, in which all those before are repeated.
const POLLS: usize = 1_000;

/// When a future is dropped, once it has been polled often enough.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Right after the poll: it has begun to wait.
    Waiting,
    /// Instead of the next poll: what it waited for may have come.
    Woken,
}

/// Drops a future after each of its polls, and calls `check` each time.
///
/// `make` makes the future anew for each run, in a [`TestRuntime`] of its own. The scope that it
/// gets is the runtime's: what the future needs of other coroutines is launched there, and
/// cancelled after the check.
///
/// After `k` polls a future is dropped in two runs: right away, and when it has been woken and
/// would be polled again, so that what came for it has to go elsewhere. Then all that is ready
/// runs, without a move of the clock, and `check(k)` looks at what is left. The first run drops the
/// future unpolled; in the last one it completes. Gives the number of polls that this takes.
///
/// Any future will do, of corymb or not.
///
/// # Examples
///
/// A ticket that is given back, wherever its holder is dropped:
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use corymb::yield_now;
/// use corymb::testing::drop_at_every_poll;
///
/// #[derive(Clone)]
/// struct Tickets(Arc<Mutex<u32>>);
/// struct Ticket(Tickets);
///
/// impl Tickets {
///     fn take(&self) -> Ticket {
///         *self.0.lock().unwrap() -= 1;
///         Ticket(self.clone())
///     }
/// }
///
/// impl Drop for Ticket {
///     fn drop(&mut self) {
///         *self.0.0.lock().unwrap() += 1;
///     }
/// }
///
/// let tickets = Tickets(Arc::new(Mutex::new(3)));
/// let polls = drop_at_every_poll(
///     |_scope| {
///         let tickets = tickets.clone();
///         async move {
///             let _ticket = tickets.take();
///             yield_now().await;
///         }
///     },
///     |_polls| assert_eq!(*tickets.0.lock().unwrap(), 3),
/// );
/// assert_eq!(polls, 2);
/// ```
///
/// # Panics
///
/// With a panic of `make`, `check` or the future; if the future waits for ever, or needs more than
/// a thousand polls; if a failure reaches nobody.
#[track_caller]
pub fn drop_at_every_poll<F>(
    mut make: impl FnMut(Scope) -> F,
    mut check: impl FnMut(usize),
) -> usize
where
    F: Future + Send + 'static,
{
    for polls in 0..POLLS {
        for when in [When::Waiting, When::Woken] {
            let completed = run(&mut make, &mut check, polls, when);
            if completed {
                return polls;
            }
        }
    }
    panic!("the future needs more than {POLLS} polls: give it less to do");
}

/// One run; true if the future has completed.
#[track_caller]
fn run<F>(
    make: &mut impl FnMut(Scope) -> F,
    check: &mut impl FnMut(usize),
    polls: usize,
    when: When,
) -> bool
where
    F: Future + Send + 'static,
{
    let runtime = TestRuntime::new();
    let future = {
        let _inside = runtime.enter();
        Box::pin(make(runtime.scope()))
    };
    let completed = runtime
        .run_body(async move { DropAfter { future: Some(future), polls, when }.await.is_some() });
    runtime.settle();
    check(polls);
    if let Err(report) = runtime.check_failures() {
        panic!("{report}");
    }
    completed
}

/// Polls a future so many times and drops it; gives what it has given by then.
pub(crate) struct DropAfter<F> {
    pub(crate) future: Option<Pin<Box<F>>>,
    pub(crate) polls: usize,
    pub(crate) when: When,
}

impl<F: Future> Future for DropAfter<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { future, polls, when } = &mut *self;
        let polled = match future {
            Some(future) if *polls > 0 => {
                *polls -= 1;
                future.as_mut().poll(cx)
            }
            _ => {
                *future = None;
                return Poll::Ready(None);
            }
        };
        if polled.is_pending() && (*polls > 0 || *when == When::Woken) {
            return Poll::Pending;
        }
        *future = None;
        match polled {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        }
    }
}
