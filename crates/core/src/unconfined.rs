//! `Dispatcher::Unconfined`: coroutines that go on wherever they are woken.
//!
//! Who wakes a coroutine may hold a lock that its next poll needs, and who launches one may be
//! unconfined itself. So nothing is polled inside of a wake, and a launch only if no other one
//! further out on this stack can do it: what comes meanwhile waits in a list of its thread.
//!
//! | list | gets | is emptied by |
//! | --- | --- | --- |
//! | `starts` | what is launched while a start or the loop is in progress | that, before it returns |
//! | `woken` | what is woken while the thread has a poll or a loop in progress | the outermost poll when it has returned; a thread's own loop ([`Loop`]) after each poll; a worker that is about to block, which hands it to the default dispatcher ([`hand_on`]) |
//!
//! A thread without either gives what it wakes to the runtime's default dispatcher. Whether there
//! is one is a bit in the number of the thread's innermost [`Level`].

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::ptr;
use std::sync::{Arc, OnceLock};

use crate::coroutine::Coroutine;
use crate::current::{self, Level};
use crate::dispatch::Dispatch;
use crate::prim::thread_local;

/// How many woken coroutines are resumed in a row; the rest goes to the default dispatcher, so that
/// those who wake each other for ever do not keep the thread.
const BUDGET: usize = 256;

/// Coroutines in their order.
///
/// It is a pointer, null while there are none, because thread-locals must do without destructors.
struct List(Cell<*mut VecDeque<Coroutine>>);

impl List {
    fn push(&self, coroutine: Coroutine) {
        if self.0.get().is_null() {
            self.0.set(Box::into_raw(Box::default()));
        }
        // SAFETY: not null, so from the box above, and this thread's; nothing is called meanwhile
        // that comes back here.
        unsafe { &mut *self.0.get() }.push_back(coroutine);
    }

    fn pop(&self) -> Option<Coroutine> {
        // SAFETY: null, or as in `push`.
        let first = unsafe { self.0.get().as_mut() }?.pop_front();
        if first.is_none() {
            // SAFETY: as above, and not used again.
            drop(unsafe { Box::from_raw(self.0.replace(ptr::null_mut())) });
        }
        first
    }
}

struct Here {
    starts: List,
    woken: List,
    /// Something further out on the stack empties `starts`.
    starting: Cell<bool>,
}

thread_local! {
    static HERE: Here = const {
        Here {
            starts: List(Cell::new(ptr::null_mut())),
            woken: List(Cell::new(ptr::null_mut())),
            starting: Cell::new(false),
        }
    };
}

/// What the dispatcher stands for, in every runtime.
pub(crate) fn dispatch() -> Arc<dyn Dispatch> {
    static ONE: OnceLock<Arc<Unconfined>> = OnceLock::new();
    Arc::<Unconfined>::clone(ONE.get_or_init(|| Arc::new(Unconfined)))
}

struct Unconfined;

impl Dispatch for Unconfined {
    fn dispatch(&self, coroutine: Coroutine) {
        if current::has_loop() {
            HERE.with(|here| here.woken.push(coroutine));
            current::set_unconfined(true);
        } else {
            coroutine.dispatch_to_default(|default, it| default.dispatch(it));
        }
    }

    // One that gave way; launches come to `start`.
    fn dispatch_new(&self, coroutine: Coroutine) {
        coroutine.dispatch_to_default(|default, it| default.dispatch_new(it));
    }

    fn dispatch_yield(&self, coroutine: Coroutine) {
        coroutine.dispatch_to_default(|default, it| default.dispatch_yield(it));
    }
}

/// Polls a coroutine that was launched just now, unless something further out does.
pub(crate) fn start(coroutine: Coroutine) {
    if HERE.with(|here| here.starting.get()) || current::is_started_inline() {
        HERE.with(|here| here.starts.push(coroutine));
        return current::set_unconfined(true);
    }
    let _starting = Starting::set(true);
    coroutine.run();
    run_starts();
}

fn run_starts() {
    while let Some(coroutine) = HERE.with(|here| here.starts.pop()) {
        coroutine.run();
    }
}

/// Whether `starts` is emptied further out; as before when it is dropped.
struct Starting(bool);

impl Starting {
    fn set(starting: bool) -> Self {
        Self(HERE.with(|here| here.starting.replace(starting)))
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        HERE.with(|here| here.starting.set(self.0));
    }
}

/// A poll has returned in which, or in a poll around which, something was woken.
#[cold]
pub(crate) fn after_poll(level: &Level) {
    if level.is_outermost() {
        run_woken();
    }
}

/// Hands on to the default dispatcher what was woken in the poll in progress and waits for its end:
/// to be called before the poll blocks its thread, which may be for one of them.
#[inline]
pub fn hand_on() {
    if current::has_unconfined() {
        hand_woken_on();
    }
}

#[cold]
fn hand_woken_on() {
    while let Some(coroutine) = HERE.with(|here| here.woken.pop()) {
        coroutine.dispatch_to_default(|default, it| default.dispatch(it));
    }
}

/// Runs all that waits on this thread.
fn run_woken() {
    let _starting = Starting::set(true);
    run_starts();
    let mut left = BUDGET;
    while let Some(coroutine) = HERE.with(|here| here.woken.pop()) {
        if left == 0 {
            coroutine.dispatch_to_default(|default, it| default.dispatch_new(it));
            continue;
        }
        left -= 1;
        coroutine.run();
        run_starts();
    }
    current::set_unconfined(false);
}

/// The loop of a thread that blocks: what is woken on it in the meantime goes on there.
pub struct Loop {
    level: Level,
    _starting: Starting,
}

impl Loop {
    /// Begins it on this thread, until it is dropped.
    pub fn enter() -> Self {
        Self { level: current::push_loop(), _starting: Starting::set(false) }
    }

    /// Runs what waits; to be called after each poll of what the thread blocks on.
    pub fn run(&self) {
        if current::has_unconfined() {
            run_woken();
        }
    }
}

impl fmt::Debug for Loop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loop")
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        current::restore_runtime(&self.level);
        // By a panic of what the thread blocked on; a loop further out sees to them itself.
        if self.level.is_outermost() {
            hand_woken_on();
            current::set_unconfined(false);
        }
    }
}
