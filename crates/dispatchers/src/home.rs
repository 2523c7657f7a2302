//! The loop of a thread that blocks: beside what the thread blocks on, it runs the coroutines whose
//! place that thread is.
//!
//! A thread that blocks in `run_blocking` or `run_main` is *serving* a [`Home`]. Nested calls serve
//! the same one, and all others further out in turn, so that what a thread waits for in such a call
//! can always go on there:
//!
//! ```text
//!   other threads ──► mailbox of the home ──► the innermost block_on of the thread: run
//!                                   (closed when the outermost one returns)
//! ```
//!
//! A home ends on its thread: with the outermost `block_on`, with its [`LocalRuntime`], or, if that
//! was forgotten, with the thread (`last`). `run_main` adds one of its own, which is Main's and ends
//! with it, whatever lasts longer around it: nothing is bound there. So does a run in the place of a
//! view (`holding`).
//!
//! | file | holds |
//! | --- | --- |
//! | `mailbox` | how the thread sleeps, and is told of a coroutine |
//! | `block_on` | the loop |
//! | `holding` | what others need of a thread that blocks |
//! | `local` | a home that lasts for several runs |
//! | `last` | what the end of a thread does for homes that have not ended |

use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::thread::{self, ThreadId};

use corymb_core::hooks::{self, Garbage};
use corymb_core::internal::prim::Mutex;
use corymb_core::internal::report_here;
use corymb_core::{CancelCause, Coroutine, Dispatch, Job};
use slab::Slab;

mod block_on;
mod holding;
mod last;
mod local;
mod mailbox;

pub(crate) use block_on::block_on;
pub(crate) use holding::Holding;
pub use local::{LocalRuntime, spawn_local};
use mailbox::Mailbox;

/// A thread as a place for coroutines, for as long as it serves them.
pub(crate) struct Home {
    thread: ThreadId,
    mailbox: Mailbox<Letter>,
    /// The jobs whose futures are bound to the thread.
    bound: Mutex<Slab<Option<Job>>>,
}

/// What is sent to a thread.
enum Letter {
    /// To be run.
    Coroutine(Coroutine),
    /// To be dropped.
    Garbage(Garbage),
}

impl Home {
    /// One of this thread.
    fn new() -> Arc<Self> {
        let thread = thread::current().id();
        Arc::new(Self { thread, mailbox: Mailbox::new(), bound: Mutex::new(Slab::new()) })
    }

    /// Runs one coroutine, if one is ready.
    fn run_one(&self) -> bool {
        let letter = self.mailbox.pop();
        letter
            .map(|letter| match letter {
                Letter::Coroutine(coroutine) => coroutine.run(),
                Letter::Garbage(garbage) => bury(garbage),
            })
            .is_some()
    }

    /// Ends what is bound to the thread, which is this one, and refuses what comes later.
    fn close(&self) {
        loop {
            self.end_bound();
            if self.bound.lock().is_empty() {
                break;
            }
            if self.mailbox.is_empty() {
                // Another thread has taken one in a wake, and has not sent it yet.
                thread::park();
            }
        }
        drop(self.mailbox.close());
    }

    /// As [`close`](Self::close), without waiting for anybody: what another thread has taken in a
    /// wake and not sent yet is leaked, and reported by that thread.
    fn close_at_once(&self) {
        self.end_bound();
        self.mailbox.close().into_iter().for_each(Letter::end);
    }

    /// Cancels what is bound to the thread, which is this one, and drops what is there of it.
    fn end_bound(&self) {
        let jobs: Vec<Job> = self.bound.lock().iter().filter_map(|(_, job)| job.clone()).collect();
        for job in jobs {
            job.cancel_with(CancelCause::Shutdown);
        }
        while let Some(letter) = self.mailbox.pop() {
            letter.end();
        }
    }
}

impl Letter {
    /// Drops it, and what it stands for.
    fn end(self) {
        match self {
            Self::Coroutine(coroutine) => coroutine.discard(),
            Self::Garbage(garbage) => bury(garbage),
        }
    }
}

impl Dispatch for Home {
    fn dispatch(&self, coroutine: Coroutine) {
        // Dropping it cancels it.
        drop(self.mailbox.push(Letter::Coroutine(coroutine)));
    }

    fn is_here(&self) -> bool {
        self.thread == thread::current().id()
    }
}

/// A home as `Dispatcher::Main`: it is nowhere when it has ended.
pub(crate) struct MainLoop(Arc<Home>);

impl MainLoop {
    /// Whether a thread serves it.
    pub(crate) fn is_open(&self) -> bool {
        !self.0.mailbox.is_closed()
    }
}

impl Dispatch for MainLoop {
    fn dispatch(&self, coroutine: Coroutine) {
        self.0.dispatch(coroutine);
    }

    fn is_here(&self) -> bool {
        self.0.is_here() && self.is_open()
    }
}

// SAFETY: the thread is a field that never changes, the one that made it. `LocalRuntime` and the
// chain of what a thread serves stay on that thread, and it is from them that futures get bound. The
// mailbox is emptied by that thread alone; what it refuses goes back.
unsafe impl hooks::Home for Home {
    fn bind(&self) -> usize {
        self.bound.lock().insert(None)
    }

    fn bound(&self, number: usize, job: Job) {
        let mut bound = self.bound.lock();
        // A launch into a scope that has ended has dropped its future already.
        let _job = match bound.get_mut(number) {
            Some(place) => place.replace(job),
            None => Some(job),
        };
        drop(bound);
    }

    fn release(&self, number: usize) {
        let _job = self.bound.lock().try_remove(number);
    }

    fn bury(&self, garbage: Garbage) -> Option<Garbage> {
        match self.mailbox.push(Letter::Garbage(garbage)) {
            Some(Letter::Garbage(garbage)) => Some(garbage),
            _ => None,
        }
    }
}

/// Drops a value whose home this is; its panic is reported.
fn bury(garbage: Garbage) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(garbage))) {
        report_here("destructor of a value", payload);
    }
}

/// Where this thread binds futures now: what it serves innermost, but for loops of Main.
pub(crate) fn innermost() -> Option<Arc<dyn hooks::Home>> {
    let binding = links().find(|link| !matches!(link.role, Role::Sidecar))?;
    Some(Arc::<Home>::clone(&binding.home))
}

thread_local! {
    /// What this thread serves.
    static INNERMOST: Cell<*const Link> = const { Cell::new(ptr::null()) };
}

struct Link {
    home: Arc<Home>,
    outer: *const Self,
    role: Role,
}

/// What a link is to its home.
#[derive(Clone, Copy)]
enum Role {
    /// The home is somebody else's.
    Guest,
    /// The home ends with this.
    Owner,
    /// As `Owner`, and nothing is bound to the home.
    Sidecar,
}

/// The links of this thread, from the innermost outwards.
fn links<'a>() -> impl Iterator<Item = &'a Link> {
    // SAFETY: null, or a link that is valid until this thread drops it. They are dropped from the
    // innermost outwards, and not while a caller here looks.
    let first = unsafe { INNERMOST.get().as_ref() };
    // SAFETY: as above.
    std::iter::successors(first, |link| unsafe { link.outer.as_ref() })
}

/// The homes of this thread. The same one is not repeated by calls right inside of each other.
fn homes<'a>() -> impl Iterator<Item = &'a Arc<Home>> {
    let mut last = ptr::null();
    links().map(|link| &link.home).filter(move |home| {
        let next = Arc::as_ptr(home);
        std::mem::replace(&mut last, next) != next
    })
}

/// Notes that this thread serves a home, until it is dropped.
pub(crate) struct Serving {
    link: NonNull<Link>,
    /// How many homes further out the next look begins.
    turn: Cell<usize>,
    _here: PhantomData<*const ()>,
}

impl Serving {
    /// Serves the home that the thread binds to already, or a new one, which is closed in the end.
    pub(crate) fn enter() -> Self {
        let outer = links().find(|link| !matches!(link.role, Role::Sidecar));
        match outer {
            Some(outer) => Self::link(Arc::clone(&outer.home), Role::Guest),
            None => Self::link(Home::new(), Role::Owner),
        }
    }

    /// Serves a home that lasts for several runs.
    fn resume(home: &Arc<Home>) -> Self {
        Self::link(Arc::clone(home), Role::Guest)
    }

    /// Serves a new home beside what is served already. It is closed in the end.
    fn beside() -> (Self, Arc<Home>) {
        let home = Home::new();
        (Self::link(Arc::clone(&home), Role::Sidecar), home)
    }

    /// Serves a main loop, which ends with this.
    pub(crate) fn main() -> (Self, MainLoop) {
        let (serving, home) = Self::beside();
        (serving, MainLoop(home))
    }

    fn link(home: Arc<Home>, role: Role) -> Self {
        let link = Box::into_raw(Box::new(Link { home, outer: INNERMOST.get(), role }));
        INNERMOST.set(link);
        // SAFETY: not null, as it came from a box.
        let link = unsafe { NonNull::new_unchecked(link) };
        Self { link, turn: Cell::new(0), _here: PhantomData }
    }

    /// Runs one coroutine of a home that this thread serves: the homes take turns.
    fn run_one(&self) -> bool {
        let count = homes().count();
        let ready = (0..count).map(|n| (self.turn.get() + n) % count).find(|n| {
            // Those that are there now: what runs in there nests.
            homes().nth(*n).is_some_and(|home| home.run_one())
        });
        ready.inspect(|n| self.turn.set((n + 1) % count)).is_some()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // SAFETY: the link is freed below.
        let link = unsafe { self.link.as_ref() };
        if !matches!(link.role, Role::Guest) {
            // What this runs may look at the link, which is in the chain still.
            link.home.close();
        }
        INNERMOST.set(link.outer);
        // SAFETY: it came from a box, and nobody looks at it when it is out of the chain.
        drop(unsafe { Box::from_raw(self.link.as_ptr()) });
    }
}
