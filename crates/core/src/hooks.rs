//! The seam between the kernel and a runtime.
//!
//! The kernel knows no thread, no queue and no clock. What it needs of them it asks a
//! [`RuntimeHooks`] object: the one whose coroutine runs on this thread, else the one that this
//! thread has [`enter`]ed, else the global one.

use std::any::Any;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use crate::current;
use crate::dispatch::Dispatch;
use crate::error::Who;
use crate::failure::Failure;
use crate::job::Job;
pub use crate::local::{Garbage, Home};
use crate::time::{Clock, Instant, LateTimeout, TimerShard};

/// A decision that the runtime makes while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice {
    /// Which of the ready coroutines is next.
    Next,
    /// Whom an idle worker steals from first.
    Victim,
    /// Which branch of a `select!` is looked at first.
    Branch,
    /// How long something is on its way, in a network of a test.
    Latency,
}

/// What the kernel asks of a runtime. It is [`Any`], for the crate that knows its type.
///
/// # Safety
///
/// The kernel keeps pointers on the strength of these answers:
///
/// - [`default_dispatch`](Self::default_dispatch) gives the same object each time, and this one
///   keeps it for as long as it lives itself. So does [`io_dispatch`](Self::io_dispatch), and
///   [`io_ptr`](Self::io_ptr) is what is in its `Arc`.
/// - [`root`](Self::root) and [`try_root`](Self::try_root) give the job of a
///   [`Root`](crate::internal::Root), and that of this runtime, if they return.
pub unsafe trait RuntimeHooks: Clock + Any {
    /// The job under which coroutines without a parent live.
    fn root(&self) -> Job;

    /// The root, unless the runtime has shut down.
    fn try_root(&self) -> Option<Job> {
        Some(self.root())
    }

    /// What [`Dispatcher::Default`](crate::Dispatcher::Default) stands for: always the same object,
    /// which lives as long as this one does. A coroutine that is dispatched on a thread of the
    /// runtime relies on that instead of counting it.
    fn default_dispatch(&self) -> Arc<dyn Dispatch>;

    /// What [`Dispatcher::Io`](crate::Dispatcher::Io) stands for, under the same conditions.
    fn io_dispatch(&self) -> Arc<dyn Dispatch> {
        self.default_dispatch()
    }

    /// [`io_dispatch`](Self::io_dispatch) for who does not count it, so that not all threads of a
    /// pool write to one count. The pointer is used when the `Arc` that it was taken from is gone.
    fn io_ptr(&self) -> *const dyn Dispatch {
        Arc::as_ptr(&self.io_dispatch())
    }

    /// What [`Dispatcher::Main`](crate::Dispatcher::Main) stands for; none if there is no such loop.
    fn main_dispatch(&self) -> Option<Arc<dyn Dispatch>> {
        None
    }

    /// The calling thread as a place for coroutines that are bound to it; none if it has no loop.
    fn home(&self) -> Option<Arc<dyn Home>> {
        None
    }

    /// As [`io_dispatch`](Self::io_dispatch), without its limit: for views of it that have limits
    /// of their own.
    fn elastic_io_dispatch(&self) -> Arc<dyn Dispatch> {
        self.io_dispatch()
    }

    /// The shard that timers registered on this thread go to.
    fn timer_shard(&self) -> &'static TimerShard;

    /// A timer was registered in `shard` that is due before all others there: whoever sleeps
    /// until a later time must be told.
    fn timer_armed(&self, shard: &'static TimerShard, deadline: Instant);

    /// One of `0..n`.
    fn choose(&self, choice: Choice, n: usize) -> usize;

    /// A failure that reached nobody.
    fn report(&self, failure: &Failure);

    /// A timeout has returned long after its deadline; told once each. Unless it is told otherwise,
    /// a runtime writes a line to the standard error stream.
    #[expect(clippy::print_stderr, reason = "there is nobody else to tell")]
    fn timeout_late(&self, late: &LateTimeout) {
        eprintln!("corymb: {late}");
    }

    /// A coroutine whose cancellation a shield held off has ended before it was forced.
    fn drained(&self, _who: &Who) {}

    /// Whether coroutines are put into the tree's lists at their launch, and not only when they
    /// suspend for the first time: it costs a lock, and shows them from the start.
    fn lists_at_launch(&self) -> bool {
        false
    }

    /// What the runtime's sockets are registered with, for the crate that knows its type; none
    /// for runtimes without IO.
    fn reactor(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }
}

/// What makes the global runtime when it is first needed.
static GLOBAL: OnceLock<fn() -> Arc<dyn RuntimeHooks>> = OnceLock::new();

/// Sets what the kernel calls when it needs a runtime on a thread that has none; the first call
/// counts.
pub fn install_global(start: fn() -> Arc<dyn RuntimeHooks>) {
    let _first = GLOBAL.set(start);
}

/// Makes `hooks` the runtime of this thread until the guard is dropped.
pub fn enter(hooks: Arc<dyn RuntimeHooks>) -> Entered {
    let level = current::push_runtime(NonNull::from(&*hooks));
    Entered { level, hooks: ManuallyDrop::new(hooks) }
}

/// Ends an [`enter`] when it is dropped.
///
/// Guards of one thread are to be dropped in the reverse order of their making, and not by code
/// that the runtime itself has called, nor in the poll of a coroutine that began after it was made.
/// One that is not ends nothing: its runtime is never freed.
#[must_use = "dropping it leaves the runtime at once"]
pub struct Entered {
    level: current::Level,
    hooks: ManuallyDrop<Arc<dyn RuntimeHooks>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // If it is not the last one, guards that are still there lead back to its runtime. If it
        // is dropped by what the runtime has called, that call is still on the stack.
        if current::pop_runtime(&self.level) && !current::is_runtime_in_use() {
            // SAFETY: dropped once, here, and the thread does not lead to it any more.
            unsafe { ManuallyDrop::drop(&mut self.hooks) };
        }
    }
}

impl fmt::Debug for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entered")
    }
}

/// Calls `f` with the runtime of this thread, else with the global one.
///
/// # Panics
///
/// If there is neither.
#[inline]
pub fn with<R>(f: impl FnOnce(&dyn RuntimeHooks) -> R) -> R {
    match current::use_runtime() {
        // SAFETY: whoever set it keeps the runtime until it is set back, on this thread, and for
        // ever if that happens while it is in use.
        Some((hooks, _in_use)) => f(unsafe { hooks.as_ref() }),
        None => f(&*global()),
    }
}

/// Whether `hooks` is the runtime of this thread.
pub fn is_current(hooks: &Arc<dyn RuntimeHooks>) -> bool {
    current::is_runtime(hooks)
}

/// Calls `f` with the runtime of this thread, if there is one.
#[inline]
pub fn try_with<R>(f: impl FnOnce(&dyn RuntimeHooks) -> R) -> Option<R> {
    let (hooks, _in_use) = current::use_runtime()?;
    // SAFETY: as in `with`.
    Some(f(unsafe { hooks.as_ref() }))
}

#[cold]
fn global() -> Arc<dyn RuntimeHooks> {
    match GLOBAL.get() {
        Some(start) => start(),
        None => panic!(
            "no corymb runtime on this thread: run inside #[corymb::main], \
             corymb::run_blocking or Runtime::run_blocking, which start one"
        ),
    }
}
