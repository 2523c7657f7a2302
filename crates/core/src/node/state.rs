//! The state word of a job node.
//!
//! # Layout
//!
//! | bits | name | set | cleared |
//! | --- | --- | --- | --- |
//! | 0 | `SCHEDULED` | by a wake, a cancel, or at birth: a [`Coroutine`] exists, or the poll in progress will make one | when the poll begins |
//! | 1 | `RUNNING` | when the poll begins | when the poll has returned `Pending`; never again once the body is done |
//! | 2 | `BODY_DONE` | the future returned or was dropped (a coroutine); the scope's body was (a region) | never |
//! | 3 | `ENDED` | the body is done and all children have ended | never |
//! | 4 | `SETTLED` | the completion handlers have run; joiners may go on | never |
//! | 5 | `CANCELLED` | by the first cancel, or a failure; not after `ENDED` | never |
//! | 6 | `LINKED` | under the parent's lock, when the node enters its list; at birth of a region that enters before anybody knows it, and of a root, which has no list to enter | never |
//! | 7 | `WAITER` | after the waiter's word was stored | never |
//! | 8 | `HANDLE` | at birth: a `Deferred` exists, which owns the output once `SETTLED` | when the `Deferred` is dropped or has taken the output |
//! | 9 | `SIDE` | after the side object was published, by who needs it | never |
//! | 10 | `VALUE` | with `BODY_DONE`: the cell holds the output | when the output is taken |
//! | 11 | `PANICKED` | with `BODY_DONE`: the cell holds a panic | never |
//! | 12 | `FAILED` | with `BODY_DONE`: the error went to the scope, the cell is empty | never |
//! | 13 | `ABANDONED` | nobody will look at a region's result: its future is gone | never |
//! | 14 | `OWN_CONTEXT` | at birth: the node owns a count of its context | never |
//! | 15 | `GONE` | with a panic out of the future's destructor after it was ready: the stage holds no future | never |
//! | 16 | `COUNTED` | at birth with a side, or with `BODY_DONE` if there is one then: the census decides the end | never |
//! | 17 | `REFUSED` | when the node's `Coroutine` was dropped instead of run | never |
//! | 18 | `WOKEN` | by a wake, and a poll that yields: the next poll has a reason other than a move | when a poll begins that saw it |
//! | 19 | `MOVES` | by the polling thread, with the first wish of a section: the [`Moves`](crate::moves::Moves) of the coroutine say where it is dispatched | never |
//! | 20 | `BOUND` | at birth: polled and dropped on one thread alone ([`local`](crate::local)); of a region: a thread blocks on it | never |
//! | 21 | `SHIELD` | at birth: cancellations from above stop here | by [`State::lift`], under the parent's lock |
//! | 22 | `FINAL` | at birth: a [`cleanup`](crate::cleanup) comes before the region's end | never |
//! | 23 | `NEW` | at birth: lazy, and nobody has started it | by [`State::begin`], under the parent's lock |
//! | 24 | `PASSIVE` | at birth: the parent's census does not count it ([`passive`](super::passive)) | with `NEW` |
//! | 25 | `PASSIVES` | under a node's own lock, with the first of its passive children | never |
//! | 26 | `SOFT` | at birth, with `SHIELD`: cancellations with a grace stop here, and others do not | never |
//! | 27 | `FORCED` | with `CANCELLED`, or, if that had a grace, at the end of the grace | never |
//! | 28 | `DEADLINE` | before the region's deadline, which its side has, is set for the first time | never |
//! | 29 | `HOOKED` | at birth: the context has [hooks](crate::poll_hook) around each poll | never |
//! | 30 | `WAITS` | by the polling thread, before the first wait in a queue: its list of [`waits`](super::waits) is looked at | never |
//! | 32.. | references | one per handle and waker, and one, the tree's, from birth until settled | |
//!
//! # States of a coroutine
//!
//! ```text
//!             birth                      wake (5)
//!               |              +------------------------------+
//!               v              v                              |
//!          [SCHEDULED] --(1)--> [RUNNING] --(3) Pending--> [idle, LINKED]
//!               ^                |  |  |
//!               |  (2) Pending,  |  |  | (4) Ready, panic, or future dropped
//!               +---- woken -----+  |  v
//!                                   | [RUNNING BODY_DONE] --(6)--> [.. ENDED] --(7)--> [.. SETTLED]
//!                                   |
//!                                   +-- woken or cancelled meanwhile: [RUNNING SCHEDULED], then (2)
//! ```
//!
//! A lazy coroutine is born idle, with `NEW`. It leaves that state by [`State::begin`], which a wake
//! follows (5), or by a cancel.
//!
//! | edge | function | ordering | responsible afterwards |
//! | --- | --- | --- | --- |
//! | 1 | [`State::start_poll`] | Acquire: sees what wakers wrote | the thread that polls |
//! | 2 | [`State::requeue`] | Release: the next poll sees this one's writes | the queue |
//! | 3 | [`State::suspend`] | `AcqRel` | whoever holds a waker |
//! | 4 | [`State::body_done`] | `AcqRel` | the thread that polled, then the last child |
//! | 5 | [`State::wake`] | `AcqRel`, also when nothing changes: the waker's writes are published | the queue, if it answers [`Wake::Dispatch`] |
//! | 6, 7 | [`State::end`], [`State::settle`]; [`State::settle_alone`] for both at once | `AcqRel` | joiners and handles |
//!
//! # Invariants
//!
//! 1. At most one thread polls: only `start_poll` sets `RUNNING`, and it runs with the one
//!    [`Coroutine`] that `SCHEDULED` stands for.
//! 2. A node with `BODY_DONE` holds no future, and nothing dispatches it: `RUNNING` stays set.
//! 3. `SETTLED` implies `ENDED` implies `BODY_DONE`.
//! 4. The output belongs to the polling thread until `SETTLED`; then to the `Deferred` if `HANDLE`
//!    is set, else to whoever settles.
//! 5. What follows `ENDED` changes no flag that [`Job::state`](crate::Job::state) looks at.
//! 6. A node that is *unique* (one reference, none of `LINKED`, `HANDLE`, `SIDE`) can be reached
//!    by the thread that runs it alone: its transitions are plain stores. (Also from an unlisted
//!    region of it; but the stores are before the poll in which that is opened and after it, when it
//!    is listed, and the node not unique, or has ended.)
//! 7. A region that is *unlisted* (not `LINKED`) is in the first poll of its future, which is in a poll
//!    of its parent, a coroutine: that has not ended, also without a place in its census. Whoever
//!    launches or opens something in the region lists it before.
//! 8. An unlisted region that is *lone* (nobody but the tree and its future has a reference, and
//!    nothing that leaves a flag has happened in it) had no child, and can be reached by the thread
//!    that polls it alone: it ends by a plain store. So does the reference of its only handle, where
//!    that is dropped in the body: all that there are belong to that thread then.
//!
//! [`Coroutine`]: crate::Coroutine

use crate::prim::atomic::{AtomicU64, Ordering};

/// Declares the flags of the table, each a bit of its own, from the lowest one upwards.
macro_rules! flags {
    ($($name:ident)*) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "as the flags")]
        enum Bit {
            $($name,)*
            /// The first bit that is no flag.
            End,
        }
        $(pub(crate) const $name: u64 = 1 << Bit::$name as u32;)*
    };
}

flags! {
    SCHEDULED RUNNING BODY_DONE ENDED SETTLED CANCELLED LINKED WAITER HANDLE SIDE VALUE PANICKED
    FAILED ABANDONED OWN_CONTEXT GONE COUNTED REFUSED WOKEN MOVES BOUND SHIELD FINAL NEW PASSIVE
    PASSIVES SOFT FORCED DEADLINE HOOKED WAITS
}

/// Where the count of references begins.
const REFS_AT: u32 = 32;
const _: () = assert!((Bit::End as u32) < REFS_AT, "flags reach into the count of references");

/// One reference.
const REF: u64 = 1 << REFS_AT;
/// More references than a program can hold without leaking them in a loop.
const MAX_REFS: u64 = 1 << 31;

/// Who else may know a node: one that is unique has none of it, and one reference.
const KNOWN: u64 = LINKED | HANDLE | SIDE | (u64::MAX << REFS_AT);
/// What a node has one of that a wake has no need to dispatch.
const UP_OR_DONE: u64 = SCHEDULED | RUNNING | BODY_DONE;

/// What a lone region is: two references, and nothing that anybody has left.
const LONE: u64 = COUNTED | (2 * REF);
/// What it is while its handle is there, and nobody else's.
const HANDLED: u64 = LONE + REF;
/// What it is when it has ended, which its future alone knows.
const LONE_END: u64 = COUNTED | BODY_DONE | ENDED | SETTLED | REF;

/// How a cancellation comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Urgency {
    /// Soft shields hold it off, until somebody forces it.
    Soft,
    /// Only shields do.
    Forced,
}

impl Urgency {
    /// That of a node which is cancelled.
    pub(crate) fn of(cancelled: Snapshot) -> Self {
        if cancelled.has(FORCED) { Self::Forced } else { Self::Soft }
    }

    /// The flag that says that it was there.
    fn flag(self) -> u64 {
        match self {
            Self::Soft => CANCELLED,
            Self::Forced => FORCED,
        }
    }
}

/// What the state word was at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Snapshot(u64);

impl Snapshot {
    /// Whether any of `flags` is set.
    #[inline(always)]
    pub(crate) fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }

    #[inline(always)]
    pub(super) fn refs(self) -> u64 {
        self.0 >> REFS_AT
    }

    /// Whether a deadline further out does not get here.
    pub(crate) fn has_hard_shield(self) -> bool {
        self.has(SHIELD) && !self.has(SOFT)
    }

    /// Invariant 6.
    #[inline(always)]
    pub(crate) fn is_unique(self) -> bool {
        self.0 & KNOWN == REF
    }

    /// Invariant 8, of a region.
    #[inline(always)]
    pub(crate) fn is_lone(self) -> bool {
        self.0 == LONE
    }

    /// Whether it was lone when it ended: nothing was ever left in it.
    #[inline(always)]
    pub(crate) fn has_ended_lone(self) -> bool {
        (self.0 ^ LONE_END) & (REF - 1) == 0
    }

    /// Whether it is lone but for one reference.
    #[inline(always)]
    pub(super) fn is_handled(self) -> bool {
        self.0 == HANDLED
    }

    /// What setting SCHEDULED on this state calls for.
    #[inline(always)]
    fn woken(self) -> Wake {
        if self.has(UP_OR_DONE) { Wake::Nothing } else { Wake::Dispatch }
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x} x{}", self.0 & 0xffff_ffff, self.refs())
    }
}

/// What is owed after a wake or a cancel.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wake {
    /// The node was idle and is SCHEDULED now: make its `Coroutine` and dispatch it.
    Dispatch,
    /// It is scheduled or running already, or has no future any more.
    Nothing,
}

/// What is owed after a poll that returned `Pending`.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Suspend {
    /// It was woken meanwhile: dispatch it.
    Dispatch,
    /// It sleeps; do not touch it.
    Asleep,
}

/// The word.
#[derive(Debug)]
pub(crate) struct State(AtomicU64);

impl State {
    pub(crate) fn new(flags: u64, refs: u64) -> Self {
        Self(AtomicU64::new(flags | (refs * REF)))
    }

    #[inline(always)]
    pub(crate) fn load(&self) -> Snapshot {
        // Ordering: Acquire pairs with every release of a flag below, so that who sees a flag
        // sees what was written before it.
        Snapshot(self.0.load(Ordering::Acquire))
    }

    /// Sets flags that have no protocol of their own; answers what was there before.
    #[inline]
    pub(crate) fn set(&self, flags: u64) -> Snapshot {
        // Ordering: AcqRel; each caller's flag publishes what it stands for (a link, a side
        // object, a waiter's word) and the answer decides who acts on it.
        Snapshot(self.0.fetch_or(flags, Ordering::AcqRel))
    }

    /// Clears `HANDLE` and, if the output was moved out, `VALUE`.
    #[inline]
    pub(crate) fn drop_handle(&self, and: u64) -> Snapshot {
        // Ordering: AcqRel; against `settle`, the second of the two sees the other's flag, and
        // Acquire makes the output visible if it falls to this side.
        Snapshot(self.0.fetch_and(!(HANDLE | and), Ordering::AcqRel))
    }

    /// Notes that the output is gone.
    pub(crate) fn clear_value(&self) {
        // Ordering: Relaxed, the owner of the output alone asks for this flag.
        self.0.fetch_and(!VALUE, Ordering::Relaxed);
    }

    /// A lazy coroutine is started: its parent's census counts it from now on.
    pub(crate) fn begin(&self) {
        // Ordering: AcqRel; who sees the flags gone, sees it counted.
        self.0.fetch_and(!(NEW | PASSIVE), Ordering::AcqRel);
    }

    /// A shield ends before its region: cancellations from above go on into it.
    pub(crate) fn lift(&self) {
        // Ordering: AcqRel, as in `set`. The lock, not this, decides who sees the mark of a parent.
        self.0.fetch_and(!SHIELD, Ordering::AcqRel);
    }

    /// Edge 1. The caller holds the node's `Coroutine`.
    #[inline(always)]
    pub(crate) fn start_poll(&self) -> Snapshot {
        let seen = self.load();
        debug_assert!(seen.has(SCHEDULED) && !seen.has(RUNNING | BODY_DONE), "{seen:?}");
        if seen.is_unique() {
            // Ordering: Relaxed, by invariant 6 nobody else looks.
            self.0.store((seen.0 & !(SCHEDULED | WOKEN)) | RUNNING, Ordering::Relaxed);
            return seen;
        }
        // Only who polls clears WOKEN. One that is set from now on stands for the next poll too.
        let change = RUNNING.wrapping_sub(SCHEDULED | (seen.0 & WOKEN));
        // Ordering: AcqRel; Acquire sees what the waker wrote before its `wake`, Release keeps
        // the previous poll's writes visible to those who read this word.
        Snapshot(self.0.fetch_add(change, Ordering::AcqRel))
    }

    /// Edge 2: from RUNNING to SCHEDULED, woken or not; `reason` is `WOKEN` unless it goes on only
    /// in order to move.
    #[inline(always)]
    pub(crate) fn requeue(&self, reason: u64) {
        let flags = SCHEDULED | reason;
        let mut seen = self.load();
        debug_assert!(seen.has(RUNNING) && !seen.has(BODY_DONE), "{seen:?}");
        if seen.is_unique() {
            // Ordering: Relaxed, by invariant 6; the queue publishes the node.
            self.0.store((seen.0 & !RUNNING) | flags, Ordering::Relaxed);
            return;
        }
        loop {
            let next = (seen.0 & !RUNNING) | flags;
            // Ordering: as in `start_poll`.
            match self.0.compare_exchange_weak(seen.0, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => seen = Snapshot(now),
            }
        }
    }

    /// Edge 3. After [`Suspend::Asleep`] another thread may run, end and free the node.
    #[inline]
    pub(crate) fn suspend(&self) -> Suspend {
        // Ordering: AcqRel; Release publishes the poll's writes to the next one.
        let seen = Snapshot(self.0.fetch_and(!RUNNING, Ordering::AcqRel));
        debug_assert!(seen.has(RUNNING) && !seen.has(BODY_DONE), "{seen:?}");
        if seen.has(SCHEDULED) { Suspend::Dispatch } else { Suspend::Asleep }
    }

    /// Edge 5.
    #[inline]
    pub(crate) fn wake(&self) -> Wake {
        // Always a read-modify-write: even if SCHEDULED stands already, the poll that will clear
        // it must see what this waker wrote before.
        self.set(SCHEDULED | WOKEN).woken()
    }

    /// Marks a node cancelled. Answers what was there before; nothing if it was marked so already
    /// or has ended, and is left as it was.
    pub(crate) fn cancel(&self, urgency: Urgency) -> Option<Snapshot> {
        self.cancel_and(urgency, 0)
    }

    /// As [`cancel`](Self::cancel), of a coroutine, which is scheduled so that its future is
    /// dropped.
    pub(crate) fn cancel_coroutine(&self, urgency: Urgency) -> Option<(Snapshot, Wake)> {
        self.cancel_and(urgency, SCHEDULED).map(|seen| (seen, seen.woken()))
    }

    fn cancel_and(&self, urgency: Urgency, flags: u64) -> Option<Snapshot> {
        let mut seen = self.load();
        while !seen.has(urgency.flag() | ENDED) {
            let next = seen.0 | CANCELLED | urgency.flag() | flags;
            // Ordering: as in `set`; who links a child looks for the mark after it.
            match self.0.compare_exchange_weak(seen.0, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(seen),
                Err(now) => seen = Snapshot(now),
            }
        }
        None
    }

    /// Edge 4, with one of VALUE, PANICKED, FAILED or none of them. Of several calls for a region
    /// one answers a state without `BODY_DONE`.
    #[inline]
    pub(crate) fn body_done(&self, outcome: u64) -> Snapshot {
        let mut seen = self.load();
        while !seen.has(BODY_DONE) {
            debug_assert!(!seen.has(ENDED), "{seen:?}");
            let counted = if seen.has(SIDE) { COUNTED } else { 0 };
            let next = seen.0 | BODY_DONE | counted | outcome;
            // Ordering: AcqRel; against a SIDE published meanwhile, one of the two sees the other.
            match self.0.compare_exchange_weak(seen.0, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(now) => seen = Snapshot(now),
            }
        }
        seen
    }

    /// Edge 6.
    #[inline]
    pub(crate) fn end(&self) -> Snapshot {
        self.set(ENDED)
    }

    /// Edge 7, after edge 6. Answers whether somebody waits, and whether the output is the
    /// caller's.
    #[inline]
    pub(crate) fn settle(&self) -> Snapshot {
        let seen = self.set(SETTLED);
        debug_assert!(seen.has(ENDED) && !seen.has(SETTLED), "{seen:?}");
        seen
    }

    /// Edges 6 and 7 of a node without a side object: nobody has a handler that would have to run
    /// between the two. None, and no change, if there is one by now.
    #[inline]
    pub(crate) fn settle_alone(&self) -> Option<Snapshot> {
        let mut seen = self.load();
        while !seen.has(SIDE) {
            debug_assert!(seen.has(BODY_DONE) && !seen.has(ENDED), "{seen:?}");
            let next = seen.0 | ENDED | SETTLED;
            // Ordering: as in `set`; against a SIDE published meanwhile, as in `body_done`.
            match self.0.compare_exchange_weak(seen.0, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(seen),
                Err(now) => seen = Snapshot(now),
            }
        }
        None
    }

    /// Edges 4, 6 and 7 of a lone region; with the tree's reference.
    #[inline]
    pub(crate) fn end_lone(&self) {
        debug_assert!(self.load().is_lone(), "{:?}", self.load());
        // Ordering: Relaxed, by invariant 8 nobody else looks.
        self.0.store(LONE_END, Ordering::Relaxed);
    }

    /// Gives up the one reference that keeps an unlisted region from being lone, on the thread that
    /// polls its body.
    #[inline]
    pub(super) fn drop_only_handle(&self) {
        debug_assert!(self.load().is_handled(), "{:?}", self.load());
        // Ordering: Relaxed, for all references are this thread's: by invariant 8 nobody else looks.
        self.0.store(LONE, Ordering::Relaxed);
    }

    /// Takes a reference; the caller has one, or a lock under which one exists.
    #[inline]
    pub(crate) fn add_ref(&self) {
        // Ordering: Relaxed, a new reference comes from one that is already visible here.
        let seen = Snapshot(self.0.fetch_add(REF, Ordering::Relaxed));
        if seen.refs() >= MAX_REFS {
            // A count that wrapped would free a living node: only a leak in a loop gets here.
            std::process::abort();
        }
    }

    /// Takes a reference unless there is none left.
    pub(crate) fn try_add_ref(&self) -> bool {
        let mut seen = self.load();
        while seen.refs() > 0 {
            let next = seen.0 + REF;
            // Ordering: AcqRel, so that who finds the node in a list sees it as it was linked.
            match self.0.compare_exchange_weak(seen.0, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => seen = Snapshot(now),
            }
        }
        false
    }

    /// Gives a reference back; true if it was the last.
    #[inline]
    #[must_use]
    pub(crate) fn drop_ref(&self) -> bool {
        // Ordering: AcqRel; Release orders this holder's accesses before the free, Acquire lets
        // the last one see them all.
        let seen = Snapshot(self.0.fetch_sub(REF, Ordering::AcqRel));
        debug_assert!(seen.refs() > 0);
        seen.refs() == 1
    }

    /// How many references there are.
    pub(crate) fn refs(&self) -> u64 {
        self.load().refs()
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests;
