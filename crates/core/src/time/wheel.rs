//! A hierarchical timer wheel.
//!
//! # Shape
//!
//! Time is cut into ticks of 2^16 ns. Eight levels of 64 slots each: a slot of level 0 is one tick
//! wide, one of level 1 is 64 ticks wide, and so on. As 16 + 8 × 6 = 64, the wheel is as wide as
//! the clock: no deadline lies beyond it, none needs clamping, and no level ever wraps around.
//!
//! The *position* is the time up to which the wheel has been advanced. A node's place follows from
//! the position and its deadline alone: the highest group of six bits in which their ticks differ
//! is the level, and that group of the deadline is the slot. Equal ticks are level 0; a deadline
//! before the position counts as the position.
//!
//! That gives the invariants which everything below relies on:
//!
//! 1. The nodes of a slot agree with the position in all groups above their level, and have a
//!    greater group at their level (at level 0: not a smaller one). So the first occupied slot of
//!    the lowest occupied level holds the earliest deadline, and two bit scans find it: empty time
//!    costs nothing, however long.
//! 2. While the position moves within the time before the first occupied slot, no node's place
//!    changes. Before it enters a slot of a level above 0, that slot is taken apart ("cascaded")
//!    and its nodes go to lower levels. So at every release of the lock, each node is in the slot
//!    that position and deadline name, and can be unlinked from it in constant time.
//! 3. The lists are in order of registration: a slot can only be reached directly after everything
//!    that was to cascade into it has done so.
//!
//! # When a node is due
//!
//! When its deadline, to the nanosecond, is not after `now`. Slots are filled by the tick in which
//! the deadline lies (rounded down), so a slot whose tick is over is due as a whole, and one whose
//! tick contains `now` is due up to the first node that is not. A virtual clock that stops at
//! exactly a node's deadline fires exactly that node. A real clock wants to be woken once for all
//! nodes of a tick: [`Wheel::next_wake`] gives the last nanosecond of the tick, the deadline
//! rounded up, and then all of them are due.
//!
//! Nodes leave in order of deadline, and of registration where deadlines are equal. Slots of level
//! 0 note when a node is appended out of order, and are sorted before they are emptied.
//!
//! # Why this tick
//!
//! A timer on the real clock is late by a tick at most, by half of one on average: 65 µs and 33 µs.
//! The budget is a mean of 150 µs with the thread's wake-up included, and no tick above 128 µs;
//! half of that leaves room, and it is the width with which eight levels cover the clock.

use std::ptr::NonNull;

use super::node::{Link, NEVER, Node};

const TICK_BITS: u32 = 16;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 8;
const _: () = assert!(TICK_BITS + SLOT_BITS * LEVELS as u32 == u64::BITS);

/// The longest list that is searched for its earliest deadline when the next wake-up is computed.
/// Above, a wake-up too early is cheaper than the search, which takes place at every advance.
const SCAN: usize = 16;

/// The last nanosecond of the tick in which `deadline` lies: when the real clock looks at it.
pub(super) const fn end_of_tick(deadline: u64) -> u64 {
    let end = deadline | ((1 << TICK_BITS) - 1);
    // The last tick of all ends at NEVER, which is no point in time.
    if end == NEVER { NEVER - 1 } else { end }
}

/// See the module.
pub(super) struct Wheel {
    /// Nanoseconds.
    position: u64,
    /// The number of nodes.
    len: usize,
    /// The slots of level 0 that are not known to be in order of deadline.
    unsorted: u64,
    /// Where a slot is sorted; empty at other times, and kept for its memory.
    sorting: Sorting,
    levels: [Level; LEVELS],
}

struct Sorting(Vec<(u64, NonNull<Node>)>);

// SAFETY: as for `List`; there are pointers in it only while the lock is held.
unsafe impl Send for Sorting {}

struct Level {
    /// A bit for each slot that is not empty.
    occupied: u64,
    slots: [List; SLOTS],
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    level: usize,
    index: usize,
}

/// The unsafe functions of a wheel share a contract: the caller holds the lock of the shard that
/// the wheel belongs to; nodes that are handed in are Linked in that shard, and stay where they
/// are until they are taken out.
impl Wheel {
    pub(super) const fn new() -> Self {
        const { assert!(SLOTS == u64::BITS as usize) };
        Self {
            position: 0,
            len: 0,
            unsorted: 0,
            sorting: Sorting(Vec::new()),
            levels: [const { Level { occupied: 0, slots: [const { List::new() }; SLOTS] } };
                LEVELS],
        }
    }

    /// The number of nodes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Forgets the time, for a clock that begins anew.
    ///
    /// # Panics
    ///
    /// If there are nodes: the position decides where they are.
    pub(super) fn rewind(&mut self) {
        assert_eq!(self.len, 0, "a shard was released twice");
        self.position = 0;
    }

    /// Puts `node` in.
    ///
    /// # Safety
    ///
    /// The contract of the wheel; the node is in no list.
    pub(super) unsafe fn insert(&mut self, node: NonNull<Node>) {
        self.len += 1;
        // SAFETY: the caller's promise.
        unsafe { self.place(node) };
    }

    /// Takes `node` out.
    ///
    /// # Safety
    ///
    /// The contract of the wheel; the node is in this wheel.
    pub(super) unsafe fn remove(&mut self, node: NonNull<Node>) {
        // SAFETY: a node in the wheel is valid.
        let slot = self.slot_of(unsafe { node.as_ref() }.deadline());
        self.len -= 1;
        let level = &mut self.levels[slot.level];
        let list = &mut level.slots[slot.index];
        // SAFETY: by invariant 2 the node is in this list.
        unsafe { list.remove(node) };
        if list.head.is_none() {
            level.occupied &= !(1 << slot.index);
        }
    }

    /// Takes out the first node that is due at `now`. When there is none, the wheel stands at
    /// `now`. A time before the position is taken for the position.
    ///
    /// # Safety
    ///
    /// The contract of the wheel.
    pub(super) unsafe fn pop_due(&mut self, now: u64) -> Link {
        let now = now.max(self.position);
        while let Some((slot, start)) = self.first() {
            if start > now {
                break;
            }
            self.position = self.position.max(start);
            if slot.level > 0 {
                // SAFETY: the caller's promise; the position is in the slot.
                unsafe { self.cascade(slot) };
                continue;
            }
            // SAFETY: the caller's promise.
            unsafe { self.sort(slot.index) };
            let head = self.levels[0].slots[slot.index].head?;
            // SAFETY: a node in the wheel is valid.
            if unsafe { head.as_ref() }.deadline() > now {
                break;
            }
            // SAFETY: it is in the wheel.
            unsafe { self.remove(head) };
            return Some(head);
        }
        self.position = now;
        None
    }

    /// Takes out any node.
    ///
    /// # Safety
    ///
    /// The contract of the wheel.
    pub(super) unsafe fn pop(&mut self) -> Link {
        let (slot, _) = self.first()?;
        let head = self.levels[slot.level].slots[slot.index].head?;
        // SAFETY: it is in the wheel.
        unsafe { self.remove(head) };
        Some(head)
    }

    /// The earliest deadline.
    ///
    /// # Safety
    ///
    /// The contract of the wheel.
    pub(super) unsafe fn earliest(&self) -> Option<u64> {
        // SAFETY: the caller's promise.
        unsafe { self.earliest_within(usize::MAX) }
    }

    /// When a real clock has to advance the wheel next: never later than the end of the earliest
    /// deadline's tick. It can be earlier, when a long list makes the exact answer costly.
    ///
    /// # Safety
    ///
    /// The contract of the wheel.
    pub(super) unsafe fn next_wake(&self) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { self.earliest_within(SCAN) }.map_or(NEVER, end_of_tick)
    }

    /// The earliest deadline; where that needs a look at more than `limit` nodes, the beginning
    /// of its slot.
    ///
    /// # Safety
    ///
    /// The contract of the wheel.
    unsafe fn earliest_within(&self, limit: usize) -> Option<u64> {
        let (slot, start) = self.first()?;
        let mut earliest = NEVER;
        let mut link = self.levels[slot.level].slots[slot.index].head;
        let mut seen = 0;
        while let Some(node) = link {
            if seen == limit {
                return Some(start);
            }
            seen += 1;
            // SAFETY: a node in the wheel is valid.
            let node = unsafe { node.as_ref() };
            earliest = earliest.min(node.deadline());
            // SAFETY: the lock is held.
            link = unsafe { node.next() };
        }
        Some(earliest)
    }

    /// Where a node with this deadline belongs.
    fn slot_of(&self, deadline: u64) -> Slot {
        let tick = deadline.max(self.position) >> TICK_BITS;
        let differ = tick ^ (self.position >> TICK_BITS);
        let level = differ.checked_ilog2().map_or(0, |bit| bit / SLOT_BITS);
        let index = (tick >> (level * SLOT_BITS)) as usize % SLOTS;
        Slot { level: level as usize, index }
    }

    /// The first occupied slot (invariant 1), and when it begins.
    fn first(&self) -> Option<(Slot, u64)> {
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        let index = self.levels[level].occupied.trailing_zeros();
        let shift = TICK_BITS + SLOT_BITS * level as u32;
        // What the position and the slot have in common: the groups above. None at the top.
        let above = u64::MAX.checked_shl(shift + SLOT_BITS).unwrap_or(0);
        let start = self.position & above | u64::from(index) << shift;
        Some((Slot { level, index: index as usize }, start))
    }

    /// Appends `node` to the list where it belongs.
    ///
    /// # Safety
    ///
    /// As for `insert`.
    unsafe fn place(&mut self, node: NonNull<Node>) {
        // SAFETY: the caller's promise.
        let deadline = unsafe { node.as_ref() }.deadline();
        let slot = self.slot_of(deadline);
        let level = &mut self.levels[slot.level];
        let list = &mut level.slots[slot.index];
        // SAFETY: a node in the wheel is valid.
        let ordered = list.tail.is_none_or(|tail| unsafe { tail.as_ref() }.deadline() <= deadline);
        if slot.level == 0 && !ordered {
            self.unsorted |= 1 << slot.index;
        }
        // SAFETY: the caller's promise.
        unsafe { list.push_back(node) };
        level.occupied |= 1 << slot.index;
    }

    /// Empties a slot into the levels below.
    ///
    /// # Safety
    ///
    /// The contract of the wheel; the position is in the slot, and its level is above 0.
    unsafe fn cascade(&mut self, slot: Slot) {
        let level = &mut self.levels[slot.level];
        level.occupied &= !(1 << slot.index);
        let mut list = std::mem::replace(&mut level.slots[slot.index], List::new());
        // SAFETY: the nodes are in the list until they are taken out, and in none afterwards.
        while let Some(node) = unsafe { list.pop_front() } {
            debug_assert!(
                // SAFETY: a node in the wheel is valid.
                self.slot_of(unsafe { node.as_ref() }.deadline()).level < slot.level,
                "a node cascades downwards"
            );
            // SAFETY: as above.
            unsafe { self.place(node) };
        }
    }

    /// Brings a slot of level 0 into the order of deadlines, if it is not.
    ///
    /// # Safety
    ///
    /// The contract of the wheel.
    unsafe fn sort(&mut self, index: usize) {
        if self.unsorted & (1 << index) == 0 {
            return;
        }
        self.unsorted &= !(1 << index);
        let list = &mut self.levels[0].slots[index];
        let nodes = &mut self.sorting.0;
        // SAFETY: the nodes are in the list until they are taken out.
        while let Some(node) = unsafe { list.pop_front() } {
            // SAFETY: a node that was in the wheel is valid.
            nodes.push((unsafe { node.as_ref() }.deadline(), node));
        }
        // Stable, so that registration decides between equal deadlines.
        nodes.sort_by_key(|(deadline, _)| *deadline);
        for (_, node) in nodes.drain(..) {
            // SAFETY: the node has been taken out.
            unsafe { list.push_back(node) };
        }
    }
}

/// A doubly linked list of nodes.
///
/// Its functions share the contract of the wheel.
struct List {
    head: Link,
    tail: Link,
}

// SAFETY: the pointers lead to nodes, which are touched only under the lock that the wheel is in;
// nodes are Send and Sync.
unsafe impl Send for List {}

impl List {
    const fn new() -> Self {
        Self { head: None, tail: None }
    }

    /// # Safety
    ///
    /// The contract of the wheel; the node is in no list.
    unsafe fn push_back(&mut self, node: NonNull<Node>) {
        // SAFETY: the caller's promise.
        let new = unsafe { node.as_ref() };
        // SAFETY: the lock is held.
        unsafe { new.set_prev(self.tail) };
        // SAFETY: as above.
        unsafe { new.set_next(None) };
        match self.tail.replace(node) {
            // SAFETY: a node in the list is valid, and the lock is held.
            Some(tail) => unsafe { tail.as_ref().set_next(Some(node)) },
            None => self.head = Some(node),
        }
    }

    /// # Safety
    ///
    /// The contract of the wheel; the node is in this list.
    unsafe fn remove(&mut self, node: NonNull<Node>) {
        // SAFETY: a node in the list is valid.
        let node = unsafe { node.as_ref() };
        // SAFETY: the lock is held.
        let (prev, next) = unsafe { (node.prev(), node.next()) };
        match prev {
            // SAFETY: a node in the list is valid, and the lock is held.
            Some(prev) => unsafe { prev.as_ref().set_next(next) },
            None => self.head = next,
        }
        match next {
            // SAFETY: a node in the list is valid, and the lock is held.
            Some(next) => unsafe { next.as_ref().set_prev(prev) },
            None => self.tail = prev,
        }
    }

    /// # Safety
    ///
    /// The contract of the wheel.
    unsafe fn pop_front(&mut self) -> Link {
        let head = self.head?;
        // SAFETY: it is in this list.
        unsafe { self.remove(head) };
        Some(head)
    }
}
