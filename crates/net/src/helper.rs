//! A few threads for calls that the system offers in blocking form only.
//!
//! They come when there is work for them, up to [`THREADS`], and go after [`KEEP_ALIVE`] without.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use corymb_core::internal::{WaitKind, waiting_on};

/// How many calls run at a time; further ones queue. Name servers answer four at once without
/// throttling, and a thread that waits for one costs its stack.
const THREADS: usize = 4;

/// How long an idle thread waits for work.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

type Call = Box<dyn FnOnce() + Send>;

struct Helpers {
    queue: VecDeque<Call>,
    threads: usize,
    idle: usize,
}

static HELPERS: Mutex<Helpers> =
    Mutex::new(Helpers { queue: VecDeque::new(), threads: 0, idle: 0 });
static WORK: Condvar = Condvar::new();

/// Locks; what a panicking holder leaves is consistent, for no foreign code runs under the locks
/// of this file.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Performs `call` on a helper thread; `place` is what waits for it, for dumps.
///
/// A call whose future is dropped is not begun any more; one that has begun runs to its end, and
/// its result is dropped by the helper thread.
///
/// # Errors
///
/// If there is no helper thread and none can be started.
pub(crate) fn run<R: Send + 'static>(
    place: &'static Location<'static>,
    call: impl FnOnce() -> R + Send + 'static,
) -> io::Result<Answer<R>> {
    let slot = Arc::new(Mutex::new(Slot::Open(None)));
    let asker = Arc::downgrade(&slot);
    enqueue(Box::new(move || answer(&asker, call)))?;
    Ok(Answer { slot, place })
}

fn enqueue(call: Call) -> io::Result<()> {
    let mut helpers = lock(&HELPERS);
    helpers.queue.push_back(call);
    if helpers.queue.len() <= helpers.idle || helpers.threads == THREADS {
        drop(helpers);
        WORK.notify_one();
        return Ok(());
    }
    match thread::Builder::new().name("corymb-net".to_owned()).spawn(help) {
        Ok(_) => helpers.threads += 1,
        // The others will come to it.
        Err(_) if helpers.threads > 0 => {}
        Err(error) => {
            let refused = helpers.queue.pop_back();
            drop(helpers);
            drop(refused);
            return Err(error);
        }
    }
    Ok(())
}

/// What a helper thread does.
fn help() {
    let mut helpers = lock(&HELPERS);
    loop {
        while let Some(call) = helpers.queue.pop_front() {
            drop(helpers);
            // What may panic here is foreign: a waker, or the destructor of a result that nobody
            // waits for. The panic hook has reported it; the thread goes on.
            drop(catch_unwind(AssertUnwindSafe(call)));
            helpers = lock(&HELPERS);
        }
        helpers.idle += 1;
        let (guard, wait) =
            WORK.wait_timeout(helpers, KEEP_ALIVE).unwrap_or_else(PoisonError::into_inner);
        helpers = guard;
        helpers.idle -= 1;
        if wait.timed_out() && helpers.queue.is_empty() {
            helpers.threads -= 1;
            return;
        }
    }
}

/// Performs `call` and delivers its result, as far as somebody still waits for it.
fn answer<R>(asker: &Weak<Mutex<Slot<R>>>, call: impl FnOnce() -> R) {
    if asker.strong_count() == 0 {
        return;
    }
    let result = catch_unwind(AssertUnwindSafe(call));
    let Some(slot) = asker.upgrade() else { return };
    let before = std::mem::replace(&mut *lock(&slot), Slot::Done(result));
    if let Slot::Open(Some(waker)) = before {
        waker.wake();
    }
}

/// Where a result is handed over.
enum Slot<R> {
    /// The call has not ended; who waits for it.
    Open(Option<Waker>),
    /// The call has ended, perhaps by a panic.
    Done(Result<R, Box<dyn Any + Send>>),
    /// The result was taken.
    Taken,
}

/// The future of [`run`].
pub(crate) struct Answer<R> {
    slot: Arc<Mutex<Slot<R>>>,
    place: &'static Location<'static>,
}

impl<R> Future for Answer<R> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let waker = cx.waker().clone();
        let mut slot = lock(&self.slot);
        let before = match &mut *slot {
            Slot::Open(waiting) => {
                let replaced = waiting.replace(waker);
                drop(slot);
                drop(replaced);
                waiting_on(WaitKind::Io, self.place);
                return Poll::Pending;
            }
            ended => std::mem::replace(ended, Slot::Taken),
        };
        drop(slot);
        match before {
            Slot::Done(result) => Poll::Ready(result.unwrap_or_else(|panic| resume_unwind(panic))),
            Slot::Open(_) | Slot::Taken => panic!("polled after it was ready"),
        }
    }
}

#[cfg(test)]
mod tests;
