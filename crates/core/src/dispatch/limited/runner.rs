//! What serves a place of a view.
//!
//! A runner is polled with a place, and polls up to [`IN_A_ROW`] coroutines. It lives as long as
//! the view, and rests while it is not needed. One that is dropped unrun, because the dispatcher
//! underneath does not want it, takes with it what is queued at that time; the place is free then,
//! and the next push tries again.
//!
//! The dispatcher underneath is told of each coroutine before its poll (`polls_inside`), and may
//! have the runner give way before its turn is over.
//!
//! To what it runs a runner is invisible: completion handlers, say, find what is around it, and
//! what a coroutine has woken unconfined goes on before the runner's next one.
//!
//! # Finding the runners around a poll
//!
//! Each poll of a runner is noted on a chain of this thread. Its coroutines run right inside of
//! it: the frame around a coroutine's is its runner's, hidden from the code inside. Code in between
//! that runs other coroutines, by a loop of its own, has a frame there too, and breaks the match.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::ptr;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use super::places::Places;
use crate::current;
use crate::dispatch::Dispatch;
use crate::job::Job;
use crate::node::Node;
use crate::prim::thread_local;

/// So many coroutines are polled before other work of the dispatcher goes first.
const IN_A_ROW: usize = 16;

/// See the [module](self).
pub(super) struct Runner {
    places: Weak<Places>,
    /// False only during a poll whose coroutine has left the view. One that rests needs none, but
    /// has one when it is polled again.
    has_place: Cell<bool>,
}

impl Runner {
    /// One that is given a place.
    pub(super) fn new(places: &Arc<Places>) -> Self {
        Self { places: Arc::downgrade(places), has_place: Cell::new(true) }
    }
}

impl Future for Runner {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &*self;
        // The place keeps them.
        let (Some(places), Some(node)) = (this.places.upgrade(), current::node()) else {
            return Poll::Ready(());
        };
        let entry = Entry::new(&places, &node, &this.has_place);
        let _noted = entry.note();
        let dispatch = &places.context().dispatch;
        for _ in 0..IN_A_ROW {
            let Some(coroutine) = places.next(Some(&node)) else { return Poll::Pending };
            let is_last = dispatch.polls_inside(&coroutine);
            current::outside(|| coroutine.run());
            if !this.has_place.replace(true) {
                places.rest(&node);
                return Poll::Pending;
            }
            if is_last {
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // Without a view there is no place, and nobody queues.
        let Some(places) = self.places.upgrade().filter(|_| self.has_place.get()) else { return };
        while let Some(coroutine) = places.next(None) {
            current::outside(|| coroutine.discard());
        }
    }
}

thread_local! {
    static INNERMOST: Cell<*const Entry> = const { Cell::new(ptr::null()) };
}

/// A poll of a runner on this thread.
struct Entry {
    up: *const Self,
    places: *const Places,
    runner: *const Node,
    has_place: *const Cell<bool>,
}

impl Entry {
    fn new(places: &Arc<Places>, runner: &Node, has_place: &Cell<bool>) -> Self {
        Self { up: INNERMOST.with(Cell::get), places: Arc::as_ptr(places), runner, has_place }
    }

    fn has_place(&self) -> bool {
        // SAFETY: the mark of a runner that is being polled on this stack.
        unsafe { &*self.has_place }.get()
    }

    fn places(&self) -> Arc<Places> {
        // SAFETY: from an `Arc` that the runner holds during its poll.
        unsafe {
            Arc::increment_strong_count(self.places);
            Arc::from_raw(self.places)
        }
    }

    fn note(&self) -> Noted<'_> {
        INNERMOST.with(|innermost| innermost.set(self));
        Noted(self)
    }
}

/// Takes a note back.
struct Noted<'a>(&'a Entry);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        INNERMOST.with(|innermost| innermost.set(self.0.up));
    }
}

/// The runners in whose polls `coroutines` are polled, one right inside of the other.
fn around<'a>(coroutines: impl Iterator<Item = *const Node>) -> impl Iterator<Item = &'a Entry> {
    entries()
        .zip(coroutines)
        .take_while(|(entry, coroutine)| ptr::eq(entry.runner, *coroutine))
        .map(|(entry, _)| entry)
}

/// The entries of this thread, from the innermost outwards.
fn entries<'a>() -> impl Iterator<Item = &'a Entry> {
    // SAFETY: a noted entry outlives its note, and notes nest: all on the chain are valid until
    // this thread leaves them, which it does not while a caller here looks.
    let first = unsafe { INNERMOST.with(Cell::get).as_ref() };
    // SAFETY: as above.
    std::iter::successors(first, |entry| unsafe { entry.up.as_ref() })
}

/// The places that this thread has while it blocks; what it blocks on may need them. Until this is
/// dropped, coroutines below that are handed to the thread's loop where they find no place free.
#[must_use = "dropping it ends it"]
pub struct Occupied {
    run: Job,
    places: Vec<Arc<Places>>,
}

/// The thread is about to block on `run`. None if it has no place of a view; else `serve` gives the
/// loop that it runs meanwhile, at least until what is answered has been dropped.
pub fn occupy(run: &Job, serve: impl FnOnce() -> Arc<dyn Dispatch>) -> Option<Occupied> {
    let places: Vec<_> = entries().filter(|entry| entry.has_place()).map(Entry::places).collect();
    if places.is_empty() {
        return None;
    }
    let thread = serve();
    places.iter().for_each(|places| places.block(run, &thread));
    Some(Occupied { run: run.clone(), places })
}

impl Occupied {
    /// A view in which others wait for a place.
    pub fn held_up(&self) -> Option<String> {
        let (limit, site) =
            self.places.iter().find_map(|places| Some((places.limit(), places.held_up()?)))?;
        Some(format!("a place of the view limited_parallelism({limit}) made at {site}"))
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.places.iter().for_each(|places| places.unblock(&self.run));
    }
}

impl fmt::Debug for Occupied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Occupied").field(&self.places.len()).finish()
    }
}

/// Calls `f` with the mark of the runner of these places in whose poll the current coroutine is;
/// none, if it is in none.
pub(super) fn with_place_of_poll<R>(
    places: &Arc<Places>,
    f: impl FnOnce(&Cell<bool>) -> R,
) -> Option<R> {
    let entry = around(current::coroutines().skip(1))
        .find(|entry| ptr::eq(entry.places, Arc::as_ptr(places)))?;
    // SAFETY: the mark of a runner that is being polled on this stack.
    Some(f(unsafe { &*entry.has_place }))
}

/// Whether the caller was polled by a runner of these places that will look at the queue next.
pub(super) fn is_polled_for(places: &Arc<Places>) -> bool {
    around(current::coroutines()).next().is_some_and(|entry| {
        // SAFETY: as in `with_place_of_poll`.
        ptr::eq(entry.places, Arc::as_ptr(places)) && unsafe { &*entry.has_place }.get()
    })
}
