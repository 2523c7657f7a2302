//! How a coroutine goes on under another dispatcher than its own.
//!
//! A *section* ([`with_context`](crate::with_context())) moves the whole coroutine: a part of a
//! state machine cannot be polled by itself. To be away is a *wish* that a section renews in each
//! poll, not a lasting change: a section that was dropped or forgotten keeps nobody away.
//!
//! ```text
//!   [home] ──(1) a section asks──► [queued at D] ──(2)──► [polled at D] ──(3) Pending, wish renewed──► [idle, away]
//!      ▲                                                     │    ▲                                      │
//!      │   (4) no section asks, or one asks to go back       │    └──────────── (5) wake ────────────────┘
//!      └─────────────────────────────────────────────────────┘
//! ```
//!
//! | edge | what happens |
//! | --- | --- |
//! | 1 | the poll returns `Pending` with a wish for now: the coroutine is queued there, without `WOKEN` |
//! | 2 | the poll takes `wish` for the place where it `is` |
//! | 3 | a section whose body is pending wishes for its own dispatcher |
//! | 4 | without a wish the next wake, or the move itself, goes to the coroutine's own dispatcher |
//! | 5 | the wake dispatches to `wish` |
//!
//! The first wish sets the flag `MOVES`, for good: from then on each poll and each dispatch of the
//! coroutine looks here.
//!
//! A coroutine that is cancelled while it is away is queued at home before it is dropped, so that
//! what it owns is dropped where it belongs.
//!
//! # A section that is dropped
//!
//! Code that goes on in the poll that has dropped a section is where that section had brought the
//! coroutine: it is *astray*, until it is polled at home or something sees to it. What corymb drops
//! in place (the body of a timeout, of a scope) it sees to: `come_back` moves the coroutine to where
//! the code after it belongs, before that is polled. A move that the section had asked for leads
//! there as well.
//!
//! # Several sections in one coroutine
//!
//! `join!` polls all of its branches wherever the coroutine is. A section that finds itself
//! elsewhere asks for a move only if its body has not been polled since the last *wake*: `wakes`
//! counts polls that have another reason than a move (the flag `WOKEN`). So sections on different
//! dispatchers cost a move each for a wake, and no wake is lost: one that comes while the
//! coroutine is queued for a move sets `WOKEN` as well.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{RawWakerVTable, Waker};

use crate::current::Poll;
use crate::dispatch::Dispatch;
use crate::failure;
use crate::node::side::Side;
use crate::node::{Node, state};
use crate::time::TimeoutId;
use crate::with_context::Strikes;

/// Where a coroutine is, and where it wants to be; of the thread that polls it, or owns its
/// schedule. In cells, as a pointer leads to the place during a poll.
#[derive(Default)]
pub(crate) struct Moves {
    /// Where it is dispatched next; none for its own dispatcher.
    wish: Cell<Option<Arc<dyn Dispatch>>>,
    /// Where it is polled, if that is not at its own dispatcher.
    is: Cell<Option<Arc<dyn Dispatch>>>,
    /// How many polls had another reason than a move.
    wakes: Cell<u64>,
    /// How often it came to another place.
    visits: Cell<u64>,
    /// A section has asked for the last move, and was not polled there yet.
    unserved: Cell<bool>,
    /// A section was dropped elsewhere than where the code around it belongs, and the coroutine has
    /// not been brought back since.
    astray: Cell<bool>,
    /// What few polls need.
    notes: Cell<Option<Box<Notes>>>,
}

/// What a poll notes about ways back.
#[derive(Default)]
struct Notes {
    /// How often it was asked to end for one.
    strikes: Option<Strikes>,
    /// The timeouts around a value that waits for one.
    held_off: Vec<TimeoutId>,
    /// The number of a poll, and what was seen in it to pass a wake on to the coroutine.
    passes_on: Option<(u64, &'static RawWakerVTable)>,
}

impl Moves {
    fn wish(&self) -> Option<Arc<dyn Dispatch>> {
        let wish = self.wish.take();
        self.wish.set(wish.clone());
        wish
    }

    /// Takes `timeout` from those that are held off; whether it was among them.
    fn release(&self, timeout: TimeoutId) -> bool {
        let Some(mut notes) = self.notes.take() else { return false };
        let at = notes.held_off.iter().position(|it| *it == timeout);
        let held = at.map(|at| notes.held_off.swap_remove(at)).is_some();
        self.notes.set(Some(notes));
        held
    }

    /// Sets the place; answers where it is kept until it is set again, and the one before.
    fn come_to(
        &self,
        place: Option<Arc<dyn Dispatch>>,
    ) -> (*const Arc<dyn Dispatch>, Option<Arc<dyn Dispatch>>) {
        let before = self.is.replace(place);
        // SAFETY: one thread has the moves, and the reference ends here.
        let kept = unsafe { &*self.is.as_ptr() }.as_ref();
        (kept.map_or(std::ptr::null(), std::ptr::from_ref), before)
    }
}

/// Where a section wants its coroutine to be.
pub(crate) struct Wish {
    /// None for the coroutine's own dispatcher.
    to: Option<Arc<dyn Dispatch>>,
    now: bool,
}

impl Wish {
    pub(crate) fn to<'a>(&'a self, poll: &'a Poll) -> &'a Arc<dyn Dispatch> {
        self.to.as_ref().unwrap_or_else(|| poll.home())
    }

    pub(crate) fn is_now(&self) -> bool {
        self.now
    }
}

impl Poll {
    fn with_moves<R>(&self, f: impl FnOnce(&Moves) -> R) -> R {
        let (side, _) = self.node().make_side();
        // SAFETY: this is the poll; what is called with the moves calls nothing else.
        unsafe { side.with_moves(f) }
    }

    /// Wishes to go on at `to`: at once, or at the next wake.
    pub(crate) fn wish_for(&self, to: &Arc<dyn Dispatch>, now: bool) {
        let to = (!is_same(to, self.home())).then(|| Arc::clone(to));
        if to.is_some() || now || self.has_wish() {
            self.put_wish(Some(Wish { to, now }));
        }
    }

    /// Asks for a move to `to`, unless it is another section's turn: the one that has asked in this
    /// poll, or before the last move and was not polled yet. In a set of futures that takes a few
    /// polls; a section that was here twice in one visit has seen all the others, so the one that
    /// has asked is gone. `turn` is what this has answered before.
    pub(crate) fn ask(&self, to: &Arc<dyn Dispatch>, turn: Option<u64>) -> Option<u64> {
        if self.is_moving() {
            return turn;
        }
        let (visits, unserved) =
            self.with_moves(|moves| (moves.visits.get(), moves.unserved.get()));
        if unserved && turn != Some(visits) {
            self.wish_for(&Arc::clone(self.here()), true);
            return Some(visits);
        }
        self.wish_for(to, true);
        self.with_moves(|moves| moves.unserved.set(true));
        None
    }

    /// A section is polled where it belongs.
    pub(crate) fn serve(&self) {
        if let Some(side) = self.node().side() {
            // SAFETY: as in `with_moves`.
            unsafe { side.with_moves_if_any(|moves| moves.unserved.set(false)) };
        }
    }

    /// A section is dropped elsewhere than where the code around it belongs.
    #[cold]
    pub(crate) fn stray(&self) {
        self.with_moves(|moves| moves.astray.set(true));
    }

    /// Whether a dropped section has left the coroutine where it was.
    pub(crate) fn is_astray(&self) -> bool {
        // SAFETY: as in `with_moves`.
        let astray = |side: &Side| unsafe { side.with_moves_if_any(|moves| moves.astray.get()) };
        self.node().side().and_then(astray).unwrap_or(false)
    }

    /// The coroutine is where the code that runs belongs.
    pub(crate) fn is_back(&self) {
        self.with_moves(|moves| moves.astray.set(false));
    }

    /// Has the coroutine go on at `to` at once, or, if a move was asked for in this poll, after that.
    pub(crate) fn turn_back(&self, to: &Arc<dyn Dispatch>) {
        if !self.is_moving() {
            self.wish_for(to, true);
        }
    }

    /// Something with a waker that is not the coroutine's own waits for the end of this poll; whether
    /// that was noted too often.
    pub(crate) fn strike(&self) -> bool {
        self.with_notes(|notes| notes.strikes.get_or_insert_with(|| Strikes::new(self)).count(self))
    }

    /// Wakes `waker`, which is not the coroutine's own; notes whether that has reached the coroutine.
    ///
    /// A wake from another thread at the same moment looks like that, and what polls in a loop is
    /// not found out then.
    pub(crate) fn wake_through(&self, waker: &Waker) {
        let is_woken = || self.node().state.load().has(state::WOKEN);
        let before = is_woken();
        waker.wake_by_ref();
        if !before && is_woken() {
            self.with_notes(|notes| notes.passes_on = Some((self.number(), waker.vtable())));
        }
    }

    /// Whether wakers of this one's kind were seen in this poll to reach the coroutine. A poll that
    /// such a waker waits for may be long, but it ends.
    ///
    /// By the kind, for a set of futures passes on the first wake only, of whichever future.
    pub(crate) fn is_reached_by(&self, waker: &Waker) -> bool {
        self.with_notes(|notes| {
            notes.passes_on.is_some_and(|(poll, kind)| {
                poll == self.number() && std::ptr::eq(kind, waker.vtable())
            })
        })
    }

    /// A value is on its way out of those timeouts: they do not expire in this poll.
    pub(crate) fn hold_off(&self, timeouts: impl Iterator<Item = TimeoutId>) {
        self.with_notes(|notes| {
            for timeout in timeouts {
                if !notes.held_off.contains(&timeout) {
                    notes.held_off.push(timeout);
                }
            }
        });
    }

    /// Whether a value is on its way out of that timeout. The answer is given once: in the next poll
    /// the value asks again.
    pub(crate) fn is_held_off(&self, timeout: TimeoutId) -> bool {
        // SAFETY: as in `with_moves`.
        let held = |side: &Side| unsafe { side.with_moves_if_any(|moves| moves.release(timeout)) };
        self.node().side().and_then(held).unwrap_or(false)
    }

    fn with_notes<R>(&self, f: impl FnOnce(&mut Notes) -> R) -> R {
        self.with_moves(|moves| {
            let mut notes = moves.notes.take().unwrap_or_default();
            let result = f(&mut notes);
            moves.notes.set(Some(notes));
            result
        })
    }

    /// Wishes to go on at `to` at the next wake, unless there is a wish.
    pub(crate) fn wish_unless(&self, to: &Arc<dyn Dispatch>) {
        if !self.has_wish() {
            self.wish_for(to, false);
        }
    }

    /// Takes back what this poll has wished for so far.
    pub(crate) fn take_wish(&self) -> Option<Wish> {
        let now = self.is_moving();
        self.forget_wish().then(|| Wish { to: self.with_moves(|moves| moves.wish.take()), now })
    }

    /// Sets the wish, if there is one.
    pub(crate) fn put_wish(&self, wish: Option<Wish>) {
        let Some(Wish { to, now }) = wish else { return };
        let old = self.with_moves(|moves| moves.wish.replace(to));
        self.wish(now);
        let_go(self.node(), old);
    }

    /// The thread runs as `at` for the rest of the poll.
    pub(crate) fn stay_at(&self, at: &Arc<dyn Dispatch>) {
        if is_same(at, self.home()) {
            // SAFETY: home is always there.
            return unsafe { self.set_at(std::ptr::null()) };
        }
        let at = Some(Arc::clone(at));
        let (kept, old) = self.with_moves(|moves| moves.come_to(at));
        // SAFETY: the node keeps the moves, and what is there is changed by this function alone,
        // until the next poll.
        unsafe { self.set_at(kept) };
        let_go(self.node(), old);
    }

    /// How many polls had another reason than a move, this one included.
    pub(crate) fn wakes(&self) -> u64 {
        // SAFETY: as in `with_moves`.
        let wakes = |side: &Side| unsafe { side.with_moves_if_any(|moves| moves.wakes.get()) };
        self.node().side().and_then(wakes).unwrap_or(0)
    }

    /// Edge 2.
    #[cold]
    pub(crate) fn arrive(&self, seen: state::Snapshot) {
        let (at, old) = self.with_moves(|moves| {
            moves.wakes.set(moves.wakes.get() + u64::from(seen.has(state::WOKEN)));
            let wish = moves.wish.take();
            let address =
                |it: &Option<Arc<dyn Dispatch>>| it.as_ref().map(|it| Arc::as_ptr(it).addr());
            let there = address(&wish);
            let (at, old) = moves.come_to(wish);
            moves.visits.set(moves.visits.get() + u64::from(there != address(&old)));
            if there.is_none() {
                moves.astray.set(false);
            }
            if let Some(mut notes) = moves.notes.take() {
                notes.held_off.clear();
                moves.notes.set(Some(notes));
            }
            (at, old)
        });
        // SAFETY: as in `stay_at`.
        unsafe { self.set_at(at) };
        let_go(self.node(), old);
    }
}

/// Drops a dispatcher that `node` has been at, or has wished for. It may be the last who has it, and
/// then its destructor runs: foreign code, outside of the coroutine's own, which must not be stopped
/// by a panic.
pub(crate) fn let_go(node: &Node, dispatch: Option<Arc<dyn Dispatch>>) {
    if let Some(dispatch) = dispatch {
        failure::guard_drop("destructor of a dispatcher", node.site, || drop(dispatch));
    }
}

/// Whether two dispatchers are the same object.
#[inline]
pub(crate) fn is_same(a: &Arc<dyn Dispatch>, b: &Arc<dyn Dispatch>) -> bool {
    // One type may have several vtables, so addresses alone tell.
    std::ptr::addr_eq(Arc::as_ptr(a), Arc::as_ptr(b))
}

/// What a coroutine that is away is dispatched to; none for its own dispatcher.
///
/// # Safety
///
/// The caller owns the schedule of `node`, which has `MOVES`.
#[cold]
pub(crate) unsafe fn destination(
    node: NonNull<Node>,
    seen: state::Snapshot,
) -> Option<Arc<dyn Dispatch>> {
    // SAFETY: unfinished while it is scheduled.
    let this = unsafe { node.as_ref() };
    let side = this.side()?;
    if seen.has(state::CANCELLED) && !this.is_shielded() {
        // SAFETY: the caller owns the schedule.
        let wish = unsafe { side.with_moves(|moves| moves.wish.take()) };
        let_go(this, wish);
        return None;
    }
    // SAFETY: as above.
    unsafe { side.with_moves(Moves::wish) }
}
