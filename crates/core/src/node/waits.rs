//! What a coroutine waits for in queues, and the offers that it was made there.
//!
//! A primitive that others queue at (a lock, a channel) keeps its waiters in a list of its own. Each
//! of them has a [`Wait`], a part of the pinned future, which is linked here as well: in the list of
//! the coroutine that polled it. So a dump can say what a coroutine waits for; and at the end of a
//! poll, what was offered to a future that was not polled in it goes on to the next in the queue.
//! Without that, a future that is kept and no longer polled would hold up all behind it.
//!
//! # The word
//!
//! The list's head is the node's side word, as long as that leads to no side, else a word in the
//! side: a pointer with flags in the bits that its alignment leaves free.
//!
//! | word | what |
//! | --- | --- |
//! | null | nothing is linked |
//! | a pointer and `LINKED` | the first of a ring of waits; those with an offer come first |
//! | `OFFERED` set | as above, and the first has an offer |
//! | `LOCKED` set | one thread changes the list; others spin |
//!
//! # The life of a wait
//!
//! ```text
//!           (1) begin              (2) offer               (3) seen
//!   [out] ─────────────► [linked] ───────────► [offered] ────────────► [overdue]
//!     ▲                     │ ▲                    │  │                    │
//!     │        (4) end      │ │   (5) retract      │  │                    │
//!     ├─────────────────────┘ └────────────────────┴──┼────────────────────┘
//!     └───────────────────────────────────────────────┘ (4) end
//! ```
//!
//! | edge | by | holding |
//! | --- | --- | --- |
//! | 1 [`Wait::begin`], 4 [`Wait::end`] | who polls or drops the waiting future | the primitive's lock, then the list's |
//! | 2 [`Wait::offer`] | whoever has something to offer | the same |
//! | 3, 5 [`after_poll`] | the thread that has polled the coroutine, or ended it | the list's lock; for 5 the primitive's too |
//!
//! # Locks
//!
//! The primitive's lock comes first, and the list's is taken inside of it, for a few instructions.
//! [`after_poll`] comes the other way: it has to find out from the list which primitive it is. So it
//! only *tries* for the primitive's lock, and lets go of the list in between; then it gives up the
//! list before it passes the offer on, which may take that of another coroutine.
//!
//! # Invariants
//!
//! 1. A wait is linked exactly if it names a coroutine, and that changes under the primitive's
//!    lock. A linked wait is alive, and so is the primitive: its future ends the wait before it
//!    goes.
//! 2. A coroutine that ends retracts and unlinks what is left in its list (of futures that were
//!    moved elsewhere) before its memory can be freed. So whoever holds the primitive's lock may
//!    follow the wait to its coroutine.
//! 3. An offer is followed by a wake of the one to whom it was made.
//!
//! # When an offer is let go
//!
//! At the end of a poll, unless the coroutine has been woken meanwhile: then the offer may be of
//! after the waiting future's turn, and only such as the end of another poll has seen already are
//! let go. A future that was moved to where its coroutine does not see it is let go likewise.

use std::panic::Location;
use std::ptr::NonNull;

use super::Node;
use super::state;
use crate::current;
use crate::prim::atomic::{AtomicPtr, Ordering};
use crate::prim::{Backoff, UnsafeCell};

/// The place of a list's head.
pub(super) type Word = AtomicPtr<()>;

/// The low bits of the word. One that has none of them and is not null leads to a side.
pub(super) const TAGS: usize = LINKED | OFFERED | LOCKED;
const LINKED: usize = 1;
const OFFERED: usize = 2;
const LOCKED: usize = 4;
const _: () = assert!(align_of::<Wait>() > TAGS);

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub struct What {
    /// The kind of thing, as people call it.
    pub name: &'static str,
    /// Its address, which tells it from others.
    pub object: usize,
    /// Where it is awaited.
    pub place: &'static Location<'static>,
}

/// One wait in the queue of a primitive: a part of the pinned future that waits.
#[derive(Debug)]
#[repr(align(8))]
pub struct Wait {
    /// The coroutine, or what a thread blocks on, in whose list this is.
    ///
    /// # Safety
    ///
    /// The primitive's lock.
    unit: UnsafeCell<Option<NonNull<Node>>>,
    /// # Safety
    ///
    /// While linked, the list's lock; else the primitive's.
    linked: UnsafeCell<Option<Linked>>,
    let_go: LetGo,
}

#[derive(Clone, Copy, Debug)]
struct Linked {
    prev: NonNull<Wait>,
    next: NonNull<Wait>,
    stage: Stage,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Offered,
    /// The end of a poll has seen the offer.
    Overdue,
}

/// Makes a wait let go of its offer: takes its primitive's lock if that is free, else answers
/// false; calls [`Held::retract`], and then passes on what was offered.
///
/// # Safety
///
/// The wait is linked in the list that is held.
pub type LetGo = unsafe fn(NonNull<Wait>, Held<'_>) -> bool;

// SAFETY: what it points to is reached under the locks that its fields name.
#[expect(clippy::non_send_fields_in_send_ty, reason = "its pointers, as said")]
unsafe impl Send for Wait {}
// SAFETY: as above.
unsafe impl Sync for Wait {}

impl Wait {
    /// One that is not linked.
    pub fn new(let_go: LetGo) -> Self {
        Self { unit: UnsafeCell::new(None), linked: UnsafeCell::new(None), let_go }
    }

    /// Edge 1, if this is called in the poll of a coroutine, or of what a thread blocks on; else it
    /// answers false. A wait that is linked elsewhere comes here.
    ///
    /// # Safety
    ///
    /// The caller holds the primitive's lock. The wait is pinned, and [ends](Self::end) before it
    /// or the primitive goes.
    pub unsafe fn begin(this: NonNull<Self>, what: What) -> bool {
        let here = current::unit();
        // SAFETY: the caller's promise.
        if unsafe { Self::unit(this) } == here {
            return here.is_some();
        }
        // SAFETY: as above.
        unsafe { Self::end(this) };
        let Some(unit) = here else { return false };
        // SAFETY: as above.
        unsafe { Self::set_unit(this, here) };
        // SAFETY: it is being polled.
        let unit = unsafe { unit.as_ref() };
        if !unit.state.load().has(state::WAITS) {
            unit.state.set(state::WAITS);
        }
        Held::lock(unit).link(this, Stage::Waiting, what);
        true
    }

    /// Edge 2. False if there is no coroutine that would let go of the offer.
    ///
    /// # Safety
    ///
    /// The caller holds the primitive's lock, and wakes the one who waits.
    pub unsafe fn offer(this: NonNull<Self>) -> bool {
        // SAFETY: the caller's promise, and invariant 2.
        let Some(unit) = (unsafe { Self::unit(this) }) else { return false };
        // SAFETY: invariant 2.
        Held::lock(unsafe { unit.as_ref() }).restage(this, Stage::Offered);
        true
    }

    /// Edge 5 by the one who waits, and goes on waiting.
    ///
    /// # Safety
    ///
    /// The caller holds the primitive's lock.
    pub unsafe fn decline(this: NonNull<Self>) {
        // SAFETY: the caller's promise.
        if let Some(unit) = unsafe { Self::unit(this) } {
            // SAFETY: invariant 2.
            Held::lock(unsafe { unit.as_ref() }).restage(this, Stage::Waiting);
        }
    }

    /// Edge 4, if it is linked.
    ///
    /// # Safety
    ///
    /// The caller holds the primitive's lock.
    pub unsafe fn end(this: NonNull<Self>) {
        // SAFETY: the caller's promise.
        if let Some(unit) = unsafe { Self::unit(this) } {
            // SAFETY: invariant 2.
            Held::lock(unsafe { unit.as_ref() }).unlink(this);
            // SAFETY: the caller's promise.
            unsafe { Self::set_unit(this, None) };
        }
    }

    /// # Safety
    ///
    /// The wait is alive, and the caller holds the primitive's lock.
    unsafe fn unit(this: NonNull<Self>) -> Option<NonNull<Node>> {
        // SAFETY: the caller's promise.
        unsafe { this.as_ref() }.unit.with(|unit| unsafe { *unit })
    }

    /// # Safety
    ///
    /// As for [`unit`](Self::unit).
    unsafe fn set_unit(this: NonNull<Self>, to: Option<NonNull<Node>>) {
        // SAFETY: the caller's promise.
        unsafe { this.as_ref() }.unit.with_mut(|unit| unsafe { *unit = to });
    }
}

/// A list that is locked, and unlocked when this is dropped.
#[derive(Debug)]
pub struct Held<'a> {
    word: &'a Word,
    head: Option<NonNull<Wait>>,
    /// The coroutine's future is gone.
    over: bool,
}

impl<'a> Held<'a> {
    fn lock(node: &'a Node) -> Self {
        let unlocked = |word: *mut ()| word.map_addr(|addr| addr & !LOCKED);
        let mut backoff = Backoff::new();
        let mut word = node.side.list();
        // Ordering: Relaxed, for the exchange looks again.
        let mut seen = unlocked(word.load(Ordering::Relaxed));
        loop {
            if is_side(seen) {
                // Published since; the list is in there.
                word = node.side.list();
                seen = unlocked(word.load(Ordering::Relaxed));
                continue;
            }
            let to = seen.map_addr(|addr| addr | LOCKED);
            // Ordering: Acquire pairs with the Release in `drop`: the list is seen as it was left.
            match word.compare_exchange(seen, to, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => {
                    let head = NonNull::new(seen.map_addr(|addr| addr & !TAGS).cast());
                    return Self { word, head, over: false };
                }
                Err(now) => {
                    if is_locked(now) {
                        backoff.spin();
                    }
                    seen = unlocked(now);
                }
            }
        }
    }

    /// Edge 5, or 4 if the coroutine has ended, which is answered; and gives up the list.
    ///
    /// # Safety
    ///
    /// `wait` is linked here, and the caller holds its primitive's lock.
    pub unsafe fn retract(mut self, wait: NonNull<Wait>) -> bool {
        if self.over {
            self.unlink(wait);
            // SAFETY: the caller's promise.
            unsafe { Wait::set_unit(wait, None) };
        } else {
            self.restage(wait, Stage::Waiting);
        }
        self.over
    }

    /// Links `wait`, which is not linked: in front if it has an offer, else at the end.
    fn link(&mut self, wait: NonNull<Wait>, stage: Stage, what: What) {
        let (prev, next) = match self.head {
            None => (wait, wait),
            Some(head) => (self.linked(head).prev, head),
        };
        self.set(wait, Some(Linked { prev, next, stage, what }));
        if self.head.is_some() {
            self.change(prev, |linked| linked.next = wait);
            self.change(next, |linked| linked.prev = wait);
        }
        if self.head.is_none() || stage != Stage::Waiting {
            self.head = Some(wait);
        }
    }

    fn unlink(&mut self, wait: NonNull<Wait>) -> Linked {
        let linked = self.linked(wait);
        if linked.next == wait {
            self.head = None;
        } else {
            self.change(linked.prev, |prev| prev.next = linked.next);
            self.change(linked.next, |next| next.prev = linked.prev);
            if self.head == Some(wait) {
                self.head = Some(linked.next);
            }
        }
        self.set(wait, None);
        linked
    }

    /// Moves `wait` to where those of `stage` are.
    fn restage(&mut self, wait: NonNull<Wait>, stage: Stage) {
        let what = self.unlink(wait).what;
        self.link(wait, stage, what);
    }

    /// The first that has to let go. Unless `all` have to, offers that are seen for the first time
    /// are noted; `noted` says whether there were any.
    fn first_due(&mut self, all: bool, noted: &mut bool) -> Option<NonNull<Wait>> {
        let head = self.head?;
        let mut wait = head;
        loop {
            let linked = self.linked(wait);
            match linked.stage {
                _ if self.over => return Some(wait),
                Stage::Waiting => return None,
                Stage::Offered if !all => {
                    *noted = true;
                    self.change(wait, |linked| linked.stage = Stage::Overdue);
                }
                Stage::Offered | Stage::Overdue => return Some(wait),
            }
            wait = linked.next;
            if wait == head {
                return None;
            }
        }
    }

    fn linked(&self, wait: NonNull<Wait>) -> Linked {
        // SAFETY: linked here, so alive; and this is the lock.
        let linked = unsafe { wait.as_ref() }.linked.with(|linked| unsafe { *linked });
        linked.expect("a wait in a list is linked")
    }

    fn change(&mut self, wait: NonNull<Wait>, f: impl FnOnce(&mut Linked)) {
        let mut linked = self.linked(wait);
        f(&mut linked);
        self.set(wait, Some(linked));
    }

    fn set(&mut self, wait: NonNull<Wait>, to: Option<Linked>) {
        // SAFETY: alive, by invariant 1 or by the caller of `Wait::begin`; and this is the lock.
        unsafe { wait.as_ref() }.linked.with_mut(|linked| unsafe { *linked = to });
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let tags = self.head.map_or(0, |head| match self.linked(head).stage {
            Stage::Waiting => LINKED,
            Stage::Offered | Stage::Overdue => LINKED | OFFERED,
        });
        let head = self.head.map_or(std::ptr::null_mut(), |head| head.as_ptr().cast::<()>());
        // Ordering: Release pairs with the Acquire in `lock`.
        self.word.store(head.map_addr(|addr| addr | tags), Ordering::Release);
    }
}

/// Whether a word is the address of a side.
pub(super) fn is_side(word: *mut ()) -> bool {
    word.addr() & TAGS == 0 && !word.is_null()
}

/// Whether a word has been locked, and may not be replaced.
pub(super) fn is_locked(word: *mut ()) -> bool {
    word.addr() & LOCKED != 0
}

/// Edges 3 and 5 at the end of a poll of `node`, which has `WAITS`: lets go of what was offered and
/// not taken. `is_woken` says that it will be polled again anyway. True if it has to be, because it
/// has noted offers that it may not have known.
#[inline]
pub(crate) fn after_poll(node: &Node, is_woken: bool) -> bool {
    // Ordering: Relaxed; who offers something now, wakes later.
    let word = node.side.list().load(Ordering::Relaxed);
    word.addr() & OFFERED != 0 && let_go(node, !is_woken, false)
}

/// Lets go of all that is left in the list of `node`, whose future is gone.
#[cold]
pub(crate) fn after_end(node: &Node) {
    let_go(node, true, true);
}

#[cold]
fn let_go(node: &Node, all: bool, over: bool) -> bool {
    let mut backoff = Backoff::new();
    let mut noted = false;
    loop {
        let mut held = Held::lock(node);
        held.over = over;
        let Some(wait) = held.first_due(all, &mut noted) else { return noted };
        // SAFETY: linked here, so alive.
        let let_go = unsafe { wait.as_ref() }.let_go;
        // SAFETY: linked in this list.
        if !unsafe { let_go(wait, held) } {
            backoff.spin();
        }
    }
}

/// What `node` waits for in queues, for dumps.
pub(crate) fn list(node: &Node) -> Vec<What> {
    if !node.state.load().has(state::WAITS) {
        return Vec::new();
    }
    let held = Held::lock(node);
    let Some(head) = held.head else { return Vec::new() };
    let next = |wait: &NonNull<Wait>| {
        let next = held.linked(*wait).next;
        (next != head).then_some(next)
    };
    std::iter::successors(Some(head), next).map(|wait| held.linked(wait).what).collect()
}
