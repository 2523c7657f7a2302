//! The side object of a node: what only some nodes need.
//!
//! A region has one from birth, inside its own allocation; a coroutine gets one when a
//! region in it is listed, when it is cancelled by name, or when somebody registers a handler or joins it. It is published
//! in the node's `side` word by the first who needs it, then announced by the `SIDE` flag, also in
//! a region: by who opens another one in it, links a child, registers or joins. The node's
//! completion, which sets its flags with read-modify-writes of the same state word, either
//! sees `SIDE`, or is seen by whoever sets it.
//!
//! # The census
//!
//! `census` counts the body and the children that have not ended, but for unlisted scopes; the one who counts it down to
//! zero ends the node. It is never raised from zero, but by that one, for a cleanup that comes first.

use std::collections::BTreeMap;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::task::Waker;

use super::{Kind, Node, NodeRef, state, waits};
use crate::cleanup::{Cleanup, Cleanups};
use crate::error::Cancelled;
use crate::failure::Failure;
use crate::moves::Moves;
use crate::prim::atomic::{AtomicUsize, Ordering};
use crate::prim::{Backoff, Mutex, MutexGuard, UnsafeCell};
use crate::time::Instant;

/// Counts a node's body and its children.
#[derive(Debug)]
pub(crate) struct Census(AtomicUsize);

impl Census {
    /// The body alone.
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(1))
    }

    /// Counts a child in; false if the node has ended.
    #[inline]
    #[must_use]
    pub(crate) fn join(&self) -> bool {
        // Ordering: Relaxed for the child, which is published by what it is handed to, and whoever
        // counts down sees it by the release there; Acquire, so that who finds nobody left sees what
        // they did.
        let mut now = self.0.load(Ordering::Acquire);
        while now != 0 {
            match self.0.compare_exchange_weak(now, now + 1, Ordering::Relaxed, Ordering::Acquire) {
                Ok(_) => return true,
                Err(other) => now = other,
            }
        }
        false
    }

    /// Counts a child or the body out; true if it was the last, who then ends the node.
    #[inline]
    #[must_use]
    pub(crate) fn leave(&self) -> bool {
        // Ordering: AcqRel; Release publishes what the leaver did, Acquire shows all of it to
        // the last one.
        let before = self.0.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "a census was left twice");
        before == 1
    }

    /// Counts one in where nobody was left: whoever would end the node has that done by what is
    /// counted.
    pub(crate) fn reopen(&self) {
        // Ordering: Relaxed, as in `join`.
        self.0.store(1, Ordering::Relaxed);
    }

    /// The body and children there are now.
    pub(crate) fn count(&self) -> usize {
        // Ordering: Relaxed, a figure for people.
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts the shields that hold off the drop of a body.
#[derive(Debug, Default)]
pub(crate) struct Shields(AtomicUsize);

impl Shields {
    pub(crate) fn raise(&self) {
        // Ordering: Relaxed, the thread that polls the body raises and looks.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// True if it was the last one.
    #[must_use]
    pub(crate) fn lower(&self) -> bool {
        // Ordering: Relaxed; elsewhere than where the body is polled, a wake follows, which
        // publishes this.
        self.0.fetch_sub(1, Ordering::Relaxed) == 1
    }

    pub(crate) fn are_up(&self) -> bool {
        // Ordering: as in `lower`.
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// What is done when a child fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Policy {
    /// Cancel the other children and the body.
    FailFast,
    /// Nothing: who awaits the child gets its failure, else the failure handler.
    Supervise,
}

/// What is called or woken at a turn of a node's life.
pub(crate) enum Handler {
    Completion(Box<dyn FnOnce(&Node) + Send>),
    Cancelling(Box<dyn FnOnce(&Cancelled) + Send>),
    Join(Waker),
}

/// What the lock guards.
pub(crate) struct Inner {
    /// The list of linked children, the youngest first.
    head: Option<NonNull<Node>>,
    /// How many of them are in the census too: all but the tokens and the passive ones.
    pub(crate) linked: usize,
    /// Set once, with the first cancel.
    pub(crate) cause: Option<Cancelled>,
    pub(crate) policy: Policy,
    /// The first failure of a child, for a fail-fast region, until the region's future takes it.
    pub(crate) failure: Option<Failure>,
    /// By the number of their registration.
    handlers: BTreeMap<u64, Handler>,
    registered: u64,
    rest: Option<Box<Rest>>,
}

/// What few nodes have.
#[derive(Default)]
pub(crate) struct Rest {
    /// Children that the census does not count, in the order of their launch.
    pub(crate) passive: Vec<NodeRef>,
    /// The census is empty, and the last of the passive children ends the node.
    pub(crate) winding: bool,
    pub(crate) id: u64,
    /// Of a timeout, or of a cancel scope that was given one: when it is, and where that was said.
    pub(crate) deadline: Option<(Instant, &'static Location<'static>)>,
    /// Of a region that has one: what it does before it ends.
    pub(crate) cleanup: Option<Cleanup>,
    /// Of a coroutine: a shield has held off its cancellation and is over.
    pub(crate) held: bool,
    /// Of a coroutine in which there is a region with a cleanup.
    pub(crate) cleanups: Option<Box<Cleanups>>,
}

/// The side object.
pub(crate) struct Side {
    pub(crate) census: Census,
    /// The shields in force in the body, those in regions of it included, but not the soft ones.
    pub(crate) shields: Shields,
    /// The soft ones: they hold until the cancellation is forced.
    pub(crate) soft_shields: Shields,
    /// The head of what the node waits for.
    waits: waits::Word,
    inner: Mutex<Inner>,
    /// # Safety
    ///
    /// Of the thread that polls the coroutine or owns its schedule.
    moves: UnsafeCell<Option<Box<Moves>>>,
}

// SAFETY: the list's pointers are only followed under the lock, and lead to linked nodes, which
// unlink themselves under it before they can be freed. Handlers are Send, and so are the moves,
// which one thread at a time has.
#[expect(clippy::non_send_fields_in_send_ty, reason = "the pointers of the list, as said")]
unsafe impl Send for Side {}
// SAFETY: as above.
unsafe impl Sync for Side {}

impl Side {
    #[inline(always)]
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            census: Census::new(),
            shields: Shields::default(),
            soft_shields: Shields::default(),
            waits: waits::Word::new(ptr::null_mut()),
            inner: Mutex::new(Inner {
                head: None,
                linked: 0,
                cause: None,
                policy,
                failure: None,
                handlers: BTreeMap::new(),
                registered: 0,
                rest: None,
            }),
            moves: UnsafeCell::new(None),
        }
    }

    /// Calls `f` with the coroutine's moves.
    ///
    /// # Safety
    ///
    /// The caller polls the coroutine or owns its schedule; `f` does not call this.
    pub(crate) unsafe fn with_moves<R>(&self, f: impl FnOnce(&Moves) -> R) -> R {
        // SAFETY: the caller's promise.
        if self.moves.with(|moves| unsafe { &*moves }.is_none()) {
            // SAFETY: as above, and nothing leads into what is not there yet.
            self.moves.with_mut(|moves| unsafe { *moves = Some(Box::default()) });
        }
        // SAFETY: as above.
        self.moves.with(|moves| f(unsafe { &*moves }.as_ref().expect("made above")))
    }

    /// As [`with_moves`](Self::with_moves), if the coroutine has ever moved.
    ///
    /// # Safety
    ///
    /// As there.
    pub(crate) unsafe fn with_moves_if_any<R>(&self, f: impl FnOnce(&Moves) -> R) -> Option<R> {
        // SAFETY: the caller's promise.
        self.moves.with(|moves| unsafe { &*moves }.as_deref().map(f))
    }

    /// Whether there is nothing that a drop of it would have to free.
    pub(crate) fn has_nothing(&mut self) -> bool {
        let inner = self.inner.get_mut();
        inner.cause.is_none()
            && inner.failure.is_none()
            // The map keeps memory when its last handler has been removed.
            && inner.registered == 0
            && inner.rest.is_none()
            && self.moves.with_mut(|moves| {
                // SAFETY: nobody else has the side.
                unsafe { &*moves }.is_none()
            })
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

impl Inner {
    /// Puts `child` at the head of the list.
    ///
    /// # Safety
    ///
    /// `child` is a node whose parent owns this side, is in no list, and stays valid until it
    /// has been unlinked.
    pub(crate) unsafe fn link(&mut self, child: NonNull<Node>) {
        let old = self.head.replace(child);
        // SAFETY: valid by the caller's promise; its links belong to whoever holds this lock.
        let (links, counted) = unsafe { (&child.as_ref().links, child.as_ref().is_counted()) };
        self.linked += usize::from(counted);
        // SAFETY: as above.
        links.with_mut(|links| unsafe { (*links).next = old });
        if let Some(old) = old {
            // SAFETY: a linked node is valid.
            let links = unsafe { &old.as_ref().links };
            // SAFETY: guarded by this lock.
            links.with_mut(|links| unsafe { (*links).prev = Some(child) });
        }
    }

    /// Takes `child` out of the list.
    ///
    /// # Safety
    ///
    /// `child` was linked here and has not been unlinked.
    pub(crate) unsafe fn unlink(&mut self, child: NonNull<Node>) {
        // SAFETY: valid by the caller's promise, and guarded by this lock.
        let (links, counted) = unsafe { (&child.as_ref().links, child.as_ref().is_counted()) };
        self.linked -= usize::from(counted);
        // SAFETY: as above.
        let links = links.with(|links| unsafe { *links });
        match links.prev {
            Some(prev) => {
                // SAFETY: neighbours in the list are valid.
                let prev = unsafe { &prev.as_ref().links };
                // SAFETY: guarded by this lock.
                prev.with_mut(|it| unsafe { (*it).next = links.next });
            }
            None => self.head = links.next,
        }
        if let Some(next) = links.next {
            // SAFETY: neighbours in the list are valid.
            let next = unsafe { &next.as_ref().links };
            // SAFETY: guarded by this lock.
            next.with_mut(|it| unsafe { (*it).prev = links.prev });
        }
    }

    /// The linked children, the youngest first; valid while the lock is held.
    pub(crate) fn children(&self) -> impl Iterator<Item = NonNull<Node>> {
        std::iter::successors(self.head, |child| {
            // SAFETY: a linked node is valid, and its links are guarded by this lock.
            unsafe { child.as_ref() }.links.with(|links| unsafe { (*links).next })
        })
    }

    /// What few nodes have, made if there is none of it.
    pub(crate) fn rest_mut(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    /// What few nodes have, if this one has any of it.
    pub(crate) fn rest(&mut self) -> Option<&mut Rest> {
        self.rest.as_deref_mut()
    }

    /// Takes a child out of those that the census does not count.
    pub(crate) fn take_passive(&mut self, child: NonNull<Node>) -> Option<NodeRef> {
        let passive = &mut self.rest()?.passive;
        let place = passive.iter().position(|it| it.as_ptr() == child)?;
        Some(passive.remove(place))
    }

    /// Keeps `handler` until it is taken or removed by the number that is answered.
    pub(crate) fn register(&mut self, handler: Handler) -> u64 {
        self.registered += 1;
        self.handlers.insert(self.registered, handler);
        self.registered
    }

    /// Whether there are handlers.
    pub(crate) fn has_handlers(&self) -> bool {
        !self.handlers.is_empty()
    }

    /// Changes a handler that is still registered.
    pub(crate) fn handler_mut(&mut self, number: u64) -> Option<&mut Handler> {
        self.handlers.get_mut(&number)
    }

    /// Takes a handler out, unless it was taken already.
    pub(crate) fn remove(&mut self, number: u64) -> Option<Handler> {
        self.handlers.remove(&number)
    }

    /// Takes out the handlers that `pick` chooses, in the order of their registration.
    pub(crate) fn take(&mut self, pick: impl Fn(&Handler) -> bool) -> Vec<Handler> {
        self.handlers.extract_if(.., |_, handler| pick(handler)).map(|(_, it)| it).collect()
    }
}

/// The node's word for it: a box of its own, or a place in a region's own allocation. As long as
/// there is none, the head of what the node [waits](super::waits) for.
#[derive(Debug)]
pub(crate) struct SideSlot(waits::Word);

impl SideSlot {
    pub(crate) fn new() -> Self {
        Self(waits::Word::new(ptr::null_mut()))
    }

    #[inline]
    pub(super) fn get(&self) -> Option<&Side> {
        // Ordering: Acquire pairs with the release that published it.
        let word = self.0.load(Ordering::Acquire);
        // SAFETY: a side, published and freed with the node, which `self` is a part of.
        waits::is_side(word).then(|| unsafe { &*word.cast::<Side>() })
    }

    /// Where the head of the node's waits is, unless a side is published now.
    pub(super) fn list(&self) -> &waits::Word {
        self.get().map_or(&self.0, |side| &side.waits)
    }

    /// Sets the side of a node that may have none yet, and answers the one that it has.
    fn publish(&self, fresh: Box<Side>) -> &Side {
        let fresh = Box::into_raw(fresh);
        let mut backoff = Backoff::new();
        loop {
            // Ordering: Acquire sees another's.
            let word = self.0.load(Ordering::Acquire);
            if waits::is_side(word) {
                // SAFETY: `fresh` was not published.
                drop(unsafe { Box::from_raw(fresh) });
                // SAFETY: published by another thread, freed with the node.
                return unsafe { &*word.cast::<Side>() };
            }
            if waits::is_locked(word) {
                backoff.spin();
                continue;
            }
            // SAFETY: not published yet. Ordering: Relaxed, as it is published below.
            unsafe { &*fresh }.waits.store(word, Ordering::Relaxed);
            // Ordering: Release publishes the object; with what it has taken over, which a thread
            // has released into `word`: Acquire.
            let won =
                self.0.compare_exchange(word, fresh.cast(), Ordering::AcqRel, Ordering::Relaxed);
            if won.is_ok() {
                // SAFETY: published just now, freed with the node.
                return unsafe { &*fresh };
            }
        }
    }

    /// Sets the side of a node that nobody else knows yet.
    pub(crate) fn init(&self, side: NonNull<Side>) {
        // Ordering: Relaxed, the node itself is published later.
        self.0.store(side.as_ptr().cast(), Ordering::Relaxed);
    }
}

impl Node {
    /// Whether its parent's census counts it; for a coroutine under the parent's lock.
    fn is_counted(&self) -> bool {
        self.kind() != Kind::Token && !self.state.load().has(state::PASSIVE)
    }

    /// The side object, made if there is none. The state that is answered tells the caller what
    /// it came too late for.
    pub(crate) fn make_side(&self) -> (&Side, state::Snapshot) {
        if let Some(side) = self.side.get() {
            let seen = self.state.load();
            return (side, if seen.has(state::SIDE) { seen } else { self.state.set(state::SIDE) });
        }
        let fresh = Box::new(Side::new(Policy::Supervise));
        let side = self.side.publish(fresh);
        (side, self.state.set(state::SIDE))
    }

    /// Frees the side object of a coroutine.
    ///
    /// # Safety
    ///
    /// The node is being freed, and its side was made by [`make_side`](Self::make_side).
    pub(crate) unsafe fn free_side(&self) {
        // Ordering: Relaxed, the last reference's drop has synchronized.
        let word = self.side.0.load(Ordering::Relaxed);
        debug_assert!(waits::is_side(word) || word.is_null(), "its waits were not ended");
        if waits::is_side(word) {
            // SAFETY: made by `make_side` as a box, and nobody uses the node any more.
            drop(unsafe { Box::from_raw(word.cast::<Side>()) });
        }
    }
}
