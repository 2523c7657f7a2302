//! A timer: its state word, and who may touch which of its fields when.
//!
//! # The word
//!
//! A pointer. Four small addresses are names of states; any other value is the address of the
//! shard that the node is linked in.
//!
//! | word | state | `deadline` | `waker` | `links` |
//! | --- | --- | --- | --- | --- |
//! | 0 | After | owner's; nanoseconds from the first poll on | not initialised | owner's; `prev` is the place |
//! | 1 | Until | owner's | not initialised | owner's; `prev` is the place or nothing |
//! | 2 | Fired | owner's | not initialised | owner's; `prev` is the place or nothing |
//! | 3 | Closed | owner's | not initialised | owner's; `prev` is nothing |
//! | shard | Linked | read by all, written by the owner holding the shard's lock | the lock's | the lock's |
//!
//! The *owner* is whoever has the [`Sleep`](super::Sleep), by `Pin<&mut Sleep>` or in its drop.
//! The place (of the code that launched the sleep) lives in `prev`, which nobody needs before the
//! node is linked; a node that was linked has forgotten it.
//!
//! # The transitions
//!
//! ```text
//!             ┌──────────── 2 elapse ────────────┐
//!             │                                  ▼
//!   After ─1 settle─▶ Until ───── 2 elapse ──▶ Fired
//!                     ▲ │ ▲                    │ ▲ ▲
//!                     │ │ └──── 7 restart ─────┘ │ │
//!          6 withdraw │ 3 link                   │ │
//!                     │ ▼                        │ │
//!                    Linked ────── 4 finish ─────┘ │
//!                     │ ▲                          │
//!            5 finish │ │ 3 link                   │
//!                     ▼ │                          │
//!                    Closed ────── 2 elapse ───────┘
//! ```
//!
//! | edge | by | where | ordering | afterwards |
//! | --- | --- | --- | --- | --- |
//! | 1 `settle` | owner | first poll | Relaxed | the deadline is a point in time |
//! | 2 `elapse` | owner | a poll that finds the deadline past | Relaxed | done |
//! | 3 `link` | owner | a poll, under the lock | Relaxed | the shard owns waker and links |
//! | 4, 5 `finish` | whoever advances (4) or closes (5) the shard | under the lock | Release | the finisher owns the waker, and never touches the node again |
//! | 6 `withdraw` | owner | reset or drop, under the lock | Relaxed | the owner owns all |
//! | 7 `restart` | owner | reset, from any state but Linked | Relaxed | done |
//!
//! # Invariants
//!
//! - Only the owner makes a node Linked, and only under the lock of the shard that it is linked
//!   in; every way out of Linked is taken under that lock.
//! - So an owner that has seen Linked locks the shard and looks again; and an owner that has seen
//!   anything else needs no lock, because nobody else can reach the node.
//! - A Linked node is in exactly one list of its shard's wheel, and is not freed.
//! - The deadline of a Linked node is not `NEVER`.
//!
//! # Tests
//!
//! `tests/loom.rs`: 4 against 6 (drop), 4 against a change of the waker, 5 against 3 and 6.
//! `tests/sleep.rs`: all edges on one thread. `tests/shard.rs`: 3, 4, 6 against a model.

use std::mem::MaybeUninit;
use std::panic::Location;
use std::ptr::{self, NonNull};

use super::shard::TimerShard;
use crate::prim::UnsafeCell;
use crate::prim::atomic::{AtomicPtr, Ordering};
use crate::waker_word::WakerWord;

/// The deadline that never comes.
pub(super) const NEVER: u64 = u64::MAX;

/// A neighbour in a list.
pub(super) type Link = Option<NonNull<Node>>;

const AFTER: *mut TimerShard = ptr::without_provenance_mut(0);
const UNTIL: *mut TimerShard = ptr::without_provenance_mut(1);
const FIRED: *mut TimerShard = ptr::without_provenance_mut(2);
const CLOSED: *mut TimerShard = ptr::without_provenance_mut(3);
const _: () = assert!(align_of::<TimerShard>() > 3);

/// What the state word says.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// Not polled yet; the deadline counts from the first poll on.
    After,
    /// Has a deadline and is not registered.
    Until,
    /// Registered.
    Linked(&'static TimerShard),
    /// The deadline has passed.
    Fired,
    /// The shard was closed under the node.
    Closed,
}

/// Why a shard lets go of a node.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// It is due.
    Fired,
    /// The shard is being closed.
    Closed,
}

/// A timer that can be linked into a shard.
pub(super) struct Node {
    /// See the module.
    state: AtomicPtr<TimerShard>,
    /// Nanoseconds.
    ///
    /// # Safety
    ///
    /// Written by the owner only, and while Linked under the lock only.
    deadline: UnsafeCell<u64>,
    /// Who is to be woken.
    ///
    /// # Safety
    ///
    /// Initialised while Linked, and then the lock's.
    waker: UnsafeCell<MaybeUninit<WakerWord>>,
    /// The neighbours.
    ///
    /// # Safety
    ///
    /// The lock's while Linked, the owner's otherwise.
    links: UnsafeCell<Links>,
}

// SAFETY: what a node points to is nodes, whose links are the lock's, and a static place.
unsafe impl Send for Links {}
// SAFETY: the links are accessed by the owner, which is one thread at a time, while the node is
// not Linked, and under the lock while it is. So is the waker, which is Send. Shared access reads
// the state, which is atomic, and the deadline, which is written through `Pin<&mut Sleep>` only.
unsafe impl Sync for Node {}

#[derive(Clone, Copy)]
struct Links {
    /// The neighbour before; while the node is not Linked, the address of the place.
    prev: Link,
    next: Link,
}

impl Links {
    fn unused(place: Option<&'static Location<'static>>) -> Self {
        Self { prev: place.map(|place| NonNull::from(place).cast()), next: None }
    }
}

/// What the owner and everybody may do.
impl Node {
    /// A node that is due `nanos` after its first poll.
    pub(super) fn after(nanos: u64, place: &'static Location<'static>) -> Self {
        Self::new(AFTER, nanos, place)
    }

    /// A node that is due at `deadline`.
    pub(super) fn until(deadline: u64, place: &'static Location<'static>) -> Self {
        Self::new(UNTIL, deadline, place)
    }

    fn new(state: *mut TimerShard, deadline: u64, place: &'static Location<'static>) -> Self {
        Self {
            state: AtomicPtr::new(state),
            deadline: UnsafeCell::new(deadline),
            waker: UnsafeCell::new(MaybeUninit::uninit()),
            links: UnsafeCell::new(Links::unused(Some(place))),
        }
    }

    /// The state.
    #[inline]
    pub(super) fn state(&self) -> State {
        // Ordering: Acquire pairs with the Release in `finish`: an owner which sees Fired or
        // Closed may reuse or free the fields that the finisher has read.
        let word = self.state.load(Ordering::Acquire);
        match word.addr() {
            0 => State::After,
            1 => State::Until,
            2 => State::Fired,
            3 => State::Closed,
            // SAFETY: every other word was stored by `link`, from a `&'static TimerShard`.
            _ => State::Linked(unsafe { &*word }),
        }
    }

    /// Whether the node is linked in `shard`, whose lock is held by the caller.
    #[inline]
    pub(super) fn is_linked_in(&self, shard: &'static TimerShard) -> bool {
        // Ordering: Relaxed, because nodes enter and leave Linked(shard) under the held lock.
        ptr::eq(self.state.load(Ordering::Relaxed), shard)
    }

    /// The deadline; in state After, the nanoseconds until it.
    #[inline]
    pub(super) fn deadline(&self) -> u64 {
        // SAFETY: a writer is the owner; it has the node exclusively (then this is not called at
        // the same time by another borrower) or the lock (then this is called by a lock holder,
        // or by a borrower, which the owner's `&mut` excludes).
        self.deadline.with(|deadline| unsafe { *deadline })
    }

    /// Edge 1: turns After into Until, counting from `now`. Gives the deadline.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and the node is not Linked.
    pub(super) unsafe fn settle(&self, now: u64) -> u64 {
        if let State::After = self.state() {
            let deadline = now.saturating_add(self.deadline());
            // SAFETY: not Linked, so the owner has the field to itself.
            self.deadline.with_mut(|field| unsafe { *field = deadline });
            // Ordering: Relaxed, as nobody else knows the node.
            self.state.store(UNTIL, Ordering::Relaxed);
        }
        self.deadline()
    }

    /// Edge 2: the owner has found the deadline past.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and the node is not Linked.
    pub(super) unsafe fn elapse(&self) {
        // Ordering: Relaxed, as nobody else knows the node.
        self.state.store(FIRED, Ordering::Relaxed);
    }

    /// Edge 7: sets a new deadline.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and the node is not Linked.
    pub(super) unsafe fn restart(&self, deadline: u64, place: &'static Location<'static>) {
        // SAFETY: not Linked, so the owner has the field to itself.
        self.deadline.with_mut(|field| unsafe { *field = deadline });
        // SAFETY: as above.
        self.links.with_mut(|links| unsafe { *links = Links::unused(Some(place)) });
        // Ordering: Relaxed, as nobody else knows the node.
        self.state.store(UNTIL, Ordering::Relaxed);
    }

    /// Where the sleep was launched, unless that is forgotten.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and the node is not Linked.
    pub(super) unsafe fn place(&self) -> Option<&'static Location<'static>> {
        // SAFETY: not Linked, so the owner has the field to itself.
        let prev = self.links.with(|links| unsafe { (*links).prev });
        // SAFETY: outside Linked, `prev` is nothing or came from a `&'static Location`.
        prev.map(|place| unsafe { place.cast().as_ref() })
    }
}

/// What the holder of a shard's lock may do.
impl Node {
    /// Edge 3: makes the node Linked. The caller puts it into a list.
    ///
    /// # Safety
    ///
    /// The caller is the owner and holds the lock of `shard`; the node is not Linked.
    pub(super) unsafe fn link(&self, shard: &'static TimerShard, waker: WakerWord) {
        // SAFETY: not Linked, so the owner has the field to itself, and nothing is in it.
        self.waker.with_mut(|field| unsafe { (*field).write(waker) });
        // SAFETY: as above. The place is forgotten here; no destructor is skipped.
        self.links.with_mut(|links| unsafe { *links = Links::unused(None) });
        // Ordering: Relaxed; others find the node through the wheel, under the lock, and the
        // owner's own later reads are its own.
        self.state.store(ptr::from_ref(shard).cast_mut(), Ordering::Relaxed);
    }

    /// Edges 4 and 5: lets go of the node, and gives whom to wake. The node may be freed by its
    /// owner at once, so nothing of it is touched afterwards.
    ///
    /// # Safety
    ///
    /// The caller holds the shard's lock; the node is Linked there and in no list.
    pub(super) unsafe fn finish(this: NonNull<Self>, end: End) -> WakerWord {
        // SAFETY: the node is Linked, thus not freed before the store below.
        let node = unsafe { this.as_ref() };
        // SAFETY: Linked, the lock is held, and the state changes below: it is taken once.
        let waker = unsafe { node.take_waker() };
        let word = match end {
            End::Fired => FIRED,
            End::Closed => CLOSED,
        };
        // Ordering: Release pairs with the Acquire in `state`: the owner that sees the new state
        // without the lock also sees that waker and links have been left alone before.
        node.state.store(word, Ordering::Release);
        waker
    }

    /// Edge 6: the owner takes the node back, and the waker with it.
    ///
    /// # Safety
    ///
    /// The caller is the owner and holds the shard's lock; the node is Linked and in no list.
    pub(super) unsafe fn withdraw(&self) -> WakerWord {
        // SAFETY: Linked, the lock is held, and the state changes below: it is taken once.
        let waker = unsafe { self.take_waker() };
        // Ordering: Relaxed, as only the owner will look.
        self.state.store(UNTIL, Ordering::Relaxed);
        waker
    }

    /// # Safety
    ///
    /// The node is Linked and in no list, the lock is held, and the waker is taken once before the
    /// state changes.
    unsafe fn take_waker(&self) -> WakerWord {
        // SAFETY: the lock is held, so the links are the caller's; the node is in no list.
        self.links.with_mut(|links| unsafe { *links = Links::unused(None) });
        // SAFETY: initialised while Linked; taken once.
        self.waker.with(|field| unsafe { (*field).assume_init_read() })
    }

    /// Moves the deadline of a node that is in no list.
    ///
    /// # Safety
    ///
    /// The caller is the owner and holds the shard's lock; the node is Linked and in no list.
    pub(super) unsafe fn move_to(&self, deadline: u64) {
        debug_assert_ne!(deadline, NEVER, "a node that never fires is not linked");
        // SAFETY: the owner, under the lock.
        self.deadline.with_mut(|field| unsafe { *field = deadline });
    }

    /// Calls `f` with the waker.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of the shard that the node is Linked in, and `f` runs no foreign
    /// code.
    pub(super) unsafe fn with_waker<R>(&self, f: impl FnOnce(&mut WakerWord) -> R) -> R {
        // SAFETY: initialised while Linked; the lock gives exclusive access.
        self.waker.with_mut(|field| f(unsafe { (*field).assume_init_mut() }))
    }

    /// The neighbour behind.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of the shard that the node is Linked in.
    #[inline]
    pub(super) unsafe fn next(&self) -> Link {
        // SAFETY: the links are the lock's.
        self.links.with(|links| unsafe { (*links).next })
    }

    /// The neighbour before.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of the shard that the node is Linked in.
    #[inline]
    pub(super) unsafe fn prev(&self) -> Link {
        // SAFETY: the links are the lock's.
        self.links.with(|links| unsafe { (*links).prev })
    }

    /// Sets the neighbour behind.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of the shard that the node is Linked in.
    #[inline]
    pub(super) unsafe fn set_next(&self, next: Link) {
        // SAFETY: the links are the lock's.
        self.links.with_mut(|links| unsafe { (*links).next = next });
    }

    /// Sets the neighbour before.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of the shard that the node is Linked in.
    #[inline]
    pub(super) unsafe fn set_prev(&self, prev: Link) {
        // SAFETY: the links are the lock's.
        self.links.with_mut(|links| unsafe { (*links).prev = prev });
    }
}
