//! The loop of a thread that blocks: beside what the thread blocks on, it runs the coroutines whose
//! place that thread is.
//!
//! A thread that blocks in `run_blocking` or `run_main` is *serving* a [`Home`]. Nested calls serve
//! the same one, and all others further out, so that what a thread waits for in such a call can
//! always go on there:
//!
//! ```text
//!   other threads ──► mailbox of the home ──► the innermost block_on of the thread: run
//!                                   (closed when the outermost one returns)
//! ```
//!
//! | file | holds |
//! | --- | --- |
//! | `mailbox` | how the thread sleeps, and is told of a coroutine |
//! | `block_on` | the loop |

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::thread::{self, ThreadId};

use corymb_core::{Coroutine, Dispatch};

mod block_on;
mod mailbox;

pub(crate) use block_on::block_on;
use mailbox::Mailbox;

/// A thread as a place for coroutines, for as long as it serves them.
pub(crate) struct Home {
    thread: ThreadId,
    mailbox: Mailbox<Coroutine>,
}

impl Home {
    /// One of this thread.
    fn new() -> Arc<Self> {
        Arc::new(Self { thread: thread::current().id(), mailbox: Mailbox::new() })
    }

    /// Whether the thread serves it no more.
    pub(crate) fn is_closed(&self) -> bool {
        self.mailbox.is_closed()
    }

    /// Runs one coroutine, if one is ready.
    fn run_one(&self) -> bool {
        self.mailbox.pop().map(Coroutine::run).is_some()
    }

    /// Refuses what comes from now on, and lets go of what is there.
    fn close(&self) {
        drop(self.mailbox.close());
    }
}

impl Dispatch for Home {
    fn dispatch(&self, coroutine: Coroutine) {
        // Dropping it cancels it.
        drop(self.mailbox.push(coroutine));
    }

    fn is_here(&self) -> bool {
        self.thread == thread::current().id()
    }
}

thread_local! {
    /// What this thread serves.
    static INNERMOST: Cell<*const Link> = const { Cell::new(ptr::null()) };
}

struct Link {
    home: Arc<Home>,
    outer: *const Self,
    /// The home ends with this.
    owned: bool,
}

/// Notes that this thread serves a home, until it is dropped.
pub(crate) struct Serving(NonNull<Link>, PhantomData<*const ()>);

impl Serving {
    /// Serves the home that the thread serves already, or a new one, which is closed in the end.
    pub(crate) fn enter() -> Self {
        // SAFETY: null, or a link that is valid until this thread drops it.
        let outer = unsafe { INNERMOST.get().as_ref() };
        match outer {
            Some(outer) => Self::link(Arc::clone(&outer.home), false),
            None => Self::link(Home::new(), true),
        }
    }

    fn link(home: Arc<Home>, owned: bool) -> Self {
        let link = Box::into_raw(Box::new(Link { home, outer: INNERMOST.get(), owned }));
        INNERMOST.set(link);
        // SAFETY: not null, as it came from a box.
        Self(unsafe { NonNull::new_unchecked(link) }, PhantomData)
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        // SAFETY: the link is freed when this is dropped.
        &unsafe { self.0.as_ref() }.home
    }

    /// Runs one coroutine of a home that this thread serves.
    fn run_one(&self) -> bool {
        // SAFETY: links further out are dropped after this one.
        let outer = |link: &&Link| unsafe { link.outer.as_ref() };
        // SAFETY: as in `home`.
        let innermost = unsafe { self.0.as_ref() };
        let mut links = std::iter::successors(Some(innermost), outer);
        links.any(|link| link.home.run_one())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // SAFETY: it came from a box, and nobody looks at it when it is out of the chain.
        let link = unsafe { Box::from_raw(self.0.as_ptr()) };
        if link.owned {
            link.home.close();
        }
        INNERMOST.set(link.outer);
    }
}
