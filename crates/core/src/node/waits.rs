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
//! | a pointer and `LINKED` | the first of a ring of waits |
//! | `ONE` set | as above, and there is no other |
//! | `LOCKED` set | one thread changes the list; others spin |
//!
//! Those that have to be looked at are in *front*: who waits under the coroutine's own waker (few,
//! for the code names each of them), and of the others (in a set of futures there may be thousands)
//! those with an offer.
//!
//! # The life of a wait
//!
//! ```text
//!           (1) begin              (2) offer               (3) note
//!   [out] ─────────────► [waiting] ──────────► [offered] ────────────► [overdue]
//!     ▲                     │ ▲                    │  │                    │
//!     │        (4) end      │ │   (5) decline      │  │                    │
//!     ├─────────────────────┘ └────────────────────┴──┼────────────────────┤
//!     └───────────────────────────────────────────────┴────────────────────┘ (4)
//! ```
//!
//! | edge | by | holding |
//! | --- | --- | --- |
//! | 1 [`Wait::begin`], 4 [`Wait::end`] | who polls or drops the waiting future | the primitive's lock, then the list's |
//! | 2 [`Wait::offer`] | whoever has something to offer | the primitive's lock; the list's, to bring it to the front |
//! | 3 [`after_poll`] | the thread that has polled the coroutine | the list's lock |
//! | 5 [`Wait::decline`], [`Held::retract`] | its own future that queues again, or `after_poll` | both |
//!
//! Where the coroutine has polled one future that waits, and that is the only one in its list, the
//! end of the poll takes no lock: that future was not passed over.
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
//!    goes, and if that was forgotten, the primitive does before it goes itself.
//! 2. A coroutine that ends retracts and unlinks what is left in its list (of futures that were
//!    moved elsewhere) before its memory can be freed. So whoever holds the primitive's lock may
//!    follow the wait to its coroutine.
//! 3. An offer is followed by a wake of the one to whom it was made.
//!
//! # When an offer is let go
//!
//! At the end of a poll that has not taken it. But the offer may be of after the waiting future's
//! turn in that poll, and its wake still on the way. So the end of a poll *notes* it first, and sees
//! to it that there is another poll; what is not taken in that one either is let go. Under the waker
//! of a set of futures, which may not pass that wake on, an offer is let go at once, unless the
//! coroutine has been woken meanwhile. A future that was moved to where its coroutine does not see it
//! is let go likewise.

use std::panic::Location;
use std::ptr::NonNull;
use std::task::Waker;

use super::Node;
use super::state;
use crate::current;
use crate::prim::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering};
use crate::prim::{Backoff, UnsafeCell};
use crate::waker_word::WakerWord;

/// The place of a list's head.
pub(super) type Word = AtomicPtr<()>;

/// The low bits of the word. One that has none of them and is not null leads to a side.
pub(super) const TAGS: usize = LINKED | ONE | LOCKED;
const LINKED: usize = 1;
const ONE: usize = 2;
const LOCKED: usize = 4;
const _: () = assert!(align_of::<Wait>() > TAGS);

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub struct What {
    /// Its address, which tells it from others.
    pub object: usize,
    /// Where it is awaited.
    pub place: &'static Location<'static>,
}

/// What all waits in queues of one type have in common.
#[derive(Debug)]
pub struct Kind {
    /// What is waited for, as people call it.
    pub name: &'static str,
    /// Lets go of an offer.
    pub let_go: LetGo,
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
    linked: UnsafeCell<Linked>,
    /// [`WAITING`], [`OFFERED`] or [`OVERDUE`].
    stage: AtomicU8,
    /// Whether it is always in front; set before it is linked.
    in_front: AtomicBool,
    kind: &'static Kind,
}

const WAITING: u8 = 0;
const OFFERED: u8 = 1;
/// The end of a poll has seen the offer.
const OVERDUE: u8 = 2;

#[derive(Debug)]
struct Linked {
    /// Both are set while it is linked.
    prev: Option<NonNull<Wait>>,
    next: Option<NonNull<Wait>>,
    /// Set when it is linked.
    what: Option<What>,
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
    pub fn new(kind: &'static Kind) -> Self {
        let linked = Linked { prev: None, next: None, what: None };
        Self {
            unit: UnsafeCell::new(None),
            linked: UnsafeCell::new(linked),
            stage: AtomicU8::new(WAITING),
            in_front: AtomicBool::new(false),
            kind,
        }
    }

    /// Edge 1, if this is called in the poll of a coroutine, or of what a thread blocks on; else it
    /// answers false. A wait that is linked elsewhere comes here.
    ///
    /// # Safety
    ///
    /// The caller holds the primitive's lock. The wait is pinned, and [ends](Self::end) before it
    /// or the primitive goes.
    #[inline]
    pub unsafe fn begin(this: NonNull<Self>, waker: &Waker, what: What) -> bool {
        let here = current::unit_that_waits(this);
        // SAFETY: the caller's promise.
        let before = unsafe { Self::unit(this) };
        if before == here {
            return here.is_some();
        }
        if before.is_some() {
            // SAFETY: as above.
            unsafe { Self::end(this) };
        }
        let Some(unit) = here else { return false };
        // SAFETY: as above.
        unsafe { Self::set_unit(this, here) };
        let is_own = WakerWord::is_cell_of(unit.as_ptr().cast_const().cast(), waker);
        // SAFETY: it is being polled.
        let unit = unsafe { unit.as_ref() };
        if !unit.state.load().has(state::WAITS) {
            unit.state.set(state::WAITS);
        }
        // SAFETY: as above. Ordering: Relaxed; who reads it has one of the locks.
        unsafe { this.as_ref() }.in_front.store(is_own, Ordering::Relaxed);
        let mut held = Held::lock(unit);
        held.with(this, |linked| linked.what = Some(what));
        held.link(this, is_own);
        true
    }

    /// Edge 2. False if there is no coroutine that would let go of the offer.
    ///
    /// # Safety
    ///
    /// The caller holds the primitive's lock, and wakes the one who waits.
    #[inline]
    pub unsafe fn offer(this: NonNull<Self>) -> bool {
        // SAFETY: the caller's promise.
        let Some(unit) = (unsafe { Self::unit(this) }) else { return false };
        // SAFETY: as above.
        let wait = unsafe { this.as_ref() };
        if !wait.is_in_front() {
            // SAFETY: invariant 2.
            Held::lock(unsafe { unit.as_ref() }).move_to(this, true);
        }
        // Ordering: Relaxed; the wake that follows publishes it to the poll at whose end it counts.
        wait.stage.store(OFFERED, Ordering::Relaxed);
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
            Held::lock(unsafe { unit.as_ref() }).decline(this);
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
            let mut held = Held::lock(unsafe { unit.as_ref() });
            held.unlink(this);
            held.set_stage(this, WAITING);
            drop(held);
            // SAFETY: the caller's promise.
            unsafe { Self::set_unit(this, None) };
        }
    }

    fn is_in_front(&self) -> bool {
        // Ordering: Relaxed, as in `begin`.
        self.in_front.load(Ordering::Relaxed)
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
    #[inline]
    fn lock(node: &'a Node) -> Self {
        let word = node.side.list();
        // Ordering: Relaxed, for the exchange looks again.
        let seen = unlocked(word.load(Ordering::Relaxed));
        Self::try_lock(word, seen).unwrap_or_else(|seen| Self::lock_slowly(node, word, seen))
    }

    /// Locks if the word is as it was `seen`, and there is no side, else it answers what it is.
    #[inline]
    fn try_lock(word: &'a Word, seen: *mut ()) -> Result<Self, *mut ()> {
        if is_side(seen) {
            return Err(seen);
        }
        let to = seen.map_addr(|addr| addr | LOCKED);
        // Ordering: Acquire pairs with the Release in `drop`: the list is seen as it was left.
        word.compare_exchange(seen, to, Ordering::Acquire, Ordering::Relaxed)?;
        let head = NonNull::new(seen.map_addr(|addr| addr & !TAGS).cast());
        Ok(Self { word, head, over: false })
    }

    #[cold]
    fn lock_slowly(node: &'a Node, mut word: &'a Word, mut seen: *mut ()) -> Self {
        let mut backoff = Backoff::new();
        loop {
            if is_locked(seen) {
                backoff.spin();
            }
            if is_side(seen) {
                // Published since; the list is in there.
                word = node.side.list();
                // Ordering: as in `lock`.
                seen = word.load(Ordering::Relaxed);
            }
            match Self::try_lock(word, unlocked(seen)) {
                Ok(held) => return held,
                Err(now) => seen = now,
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
            self.set_stage(wait, WAITING);
            // SAFETY: the caller's promise.
            unsafe { Wait::set_unit(wait, None) };
        } else {
            self.decline(wait);
        }
        self.over
    }

    /// Links `wait`, which is not linked: in front, or at the end.
    #[inline]
    fn link(&mut self, wait: NonNull<Wait>, in_front: bool) {
        let Some(head) = self.head else {
            self.with(wait, |linked| (linked.prev, linked.next) = (Some(wait), Some(wait)));
            self.head = Some(wait);
            return;
        };
        let last = self.with(head, |head| head.prev.replace(wait));
        self.with(wait, |linked| (linked.prev, linked.next) = (last, Some(head)));
        if let Some(last) = last {
            self.with(last, |last| last.next = Some(wait));
        }
        if in_front {
            self.head = Some(wait);
        }
    }

    #[inline]
    fn unlink(&mut self, wait: NonNull<Wait>) {
        let (prev, next) = self.with(wait, |linked| (linked.prev.take(), linked.next.take()));
        if next == Some(wait) {
            self.head = None;
            return;
        }
        if let Some(prev) = prev {
            self.with(prev, |prev| prev.next = next);
        }
        if let Some(next) = next {
            self.with(next, |next| next.prev = prev);
        }
        if self.head == Some(wait) {
            self.head = next;
        }
    }

    fn move_to(&mut self, wait: NonNull<Wait>, front: bool) {
        self.unlink(wait);
        self.link(wait, front);
    }

    /// Edge 5.
    fn decline(&mut self, wait: NonNull<Wait>) {
        self.set_stage(wait, WAITING);
        // SAFETY: linked here, so alive.
        if !unsafe { wait.as_ref() }.is_in_front() {
            self.move_to(wait, false);
        }
    }

    /// The first that has to let go; if `all` have to, also of an offer that was not noted, unless
    /// its wake is sure to bring another poll.
    fn first_due(&mut self, all: bool) -> Option<NonNull<Wait>> {
        let over = self.over;
        let mut waits = self.in_front();
        loop {
            let wait = waits.next()?;
            // SAFETY: linked here, so alive.
            let is_own = unsafe { wait.as_ref() }.is_in_front();
            let stage = waits.held.stage(wait);
            if over || stage == OVERDUE || all && stage == OFFERED && !is_own {
                return Some(wait);
            }
        }
    }

    /// Edge 3 of all that have an offer; whether there is one.
    fn note(&mut self) -> bool {
        let mut noted = false;
        let mut waits = self.in_front();
        while let Some(wait) = waits.next() {
            if waits.held.stage(wait) == OFFERED {
                noted = true;
                waits.held.set_stage(wait, OVERDUE);
            }
        }
        noted
    }

    fn stage(&self, wait: NonNull<Wait>) -> u8 {
        // SAFETY: linked here, so alive. Ordering: Relaxed, as in `Wait::offer`.
        unsafe { wait.as_ref() }.stage.load(Ordering::Relaxed)
    }

    fn set_stage(&mut self, wait: NonNull<Wait>, to: u8) {
        // SAFETY: alive. Ordering: Relaxed; who makes a new offer at the same time wakes afterwards,
        // and the end of the poll that follows sees it, as overdue at worst.
        unsafe { wait.as_ref() }.stage.store(to, Ordering::Relaxed);
    }

    fn iter<'b>(&'b mut self) -> Iter<'a, 'b> {
        Iter { next: self.head, held: self, all: true }
    }

    /// Those that have to be looked at; all, if the coroutine's future is gone.
    fn in_front<'b>(&'b mut self) -> Iter<'a, 'b> {
        Iter { next: self.head, all: self.over, held: self }
    }

    /// Gives `f` what the list keeps of one that is linked, or is to be. One at a time: no `f` in
    /// this file calls `with`.
    #[inline]
    fn with<R>(&mut self, wait: NonNull<Wait>, f: impl FnOnce(&mut Linked) -> R) -> R {
        // SAFETY: alive, by invariant 1 or by the caller of `Wait::begin`.
        let wait = unsafe { wait.as_ref() };
        // SAFETY: this is the lock, and one at a time is touched.
        wait.linked.with_mut(|linked| f(unsafe { &mut *linked }))
    }
}

/// The waits in a list, from the first on.
struct Iter<'a, 'b> {
    held: &'b mut Held<'a>,
    next: Option<NonNull<Wait>>,
    /// Not only those in front.
    all: bool,
}

impl Iterator for Iter<'_, '_> {
    type Item = NonNull<Wait>;

    fn next(&mut self) -> Option<NonNull<Wait>> {
        let wait = self.next?;
        // SAFETY: linked here, so alive.
        let is_in_front = unsafe { wait.as_ref() }.is_in_front();
        if !self.all && !is_in_front && self.held.stage(wait) == WAITING {
            return None;
        }
        let next = self.held.with(wait, |linked| linked.next);
        self.next = next.filter(|_| next != self.held.head);
        Some(wait)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let word = match self.head {
            None => std::ptr::null_mut(),
            Some(head) => {
                let is_one = self.with(head, |linked| linked.next) == Some(head);
                let tags = if is_one { LINKED | ONE } else { LINKED };
                head.as_ptr().cast::<()>().map_addr(|addr| addr | tags)
            }
        };
        // Ordering: Release pairs with the Acquire in `lock`.
        self.word.store(word, Ordering::Release);
    }
}

/// Whether a word is the address of a side.
pub(super) fn is_side(word: *mut ()) -> bool {
    word.addr() & TAGS == 0 && !word.is_null()
}

/// A word as it is when the list is not locked.
fn unlocked(word: *mut ()) -> *mut () {
    word.map_addr(|addr| addr & !LOCKED)
}

/// Whether a word has been locked, and may not be replaced.
pub(super) fn is_locked(word: *mut ()) -> bool {
    word.addr() & LOCKED != 0
}

/// Edges 3 and 5 at the end of a poll of `node`, which has `WAITS`: lets go of what was offered and
/// not taken. The `last` wait that was polled is compared, and not followed. `is_woken` says that
/// the node will be polled again anyway. True if it has to be, because offers have been noted of
/// which the poll may not have known.
#[inline]
pub(crate) fn after_poll(node: &Node, last: *const Wait, is_woken: bool) -> bool {
    // Ordering: Relaxed; this thread has linked those that it polled, and who offers something to
    // another one now, wakes later.
    let word = node.side.list().load(Ordering::Relaxed);
    let alone = last.map_addr(|addr| addr | LINKED | ONE);
    !word.is_null() && word.addr() != alone.addr() && let_go(node, !is_woken, false)
}

/// Lets go of all that is left in the list of `node`, whose future is gone.
#[cold]
pub(crate) fn after_end(node: &Node) {
    let_go(node, true, true);
}

#[cold]
fn let_go(node: &Node, all: bool, over: bool) -> bool {
    let mut backoff = Backoff::new();
    loop {
        let mut held = Held::lock(node);
        held.over = over;
        let Some(wait) = held.first_due(all) else { return held.note() };
        // SAFETY: linked here, so alive.
        let let_go = unsafe { wait.as_ref() }.kind.let_go;
        // SAFETY: linked in this list.
        if !unsafe { let_go(wait, held) } {
            backoff.spin();
        }
    }
}

/// What `node` waits for in queues, for dumps.
pub(crate) fn list(node: &Node) -> Vec<(&'static str, What)> {
    if !node.state.load().has(state::WAITS) {
        return Vec::new();
    }
    let mut held = Held::lock(node);
    let mut waits = held.iter();
    let mut list = Vec::new();
    while let Some(wait) = waits.next() {
        // SAFETY: linked here, so alive.
        let name = unsafe { wait.as_ref() }.kind.name;
        list.extend(waits.held.with(wait, |linked| linked.what).map(|what| (name, what)));
    }
    list
}
