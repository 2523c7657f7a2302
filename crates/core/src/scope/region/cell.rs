//! A region's allocation.
//!
//! Each thread keeps the memory of one region that has ended lone, for the next one that is opened there:
//! scopes come and go one after another, and to get memory and give it back is a third of what an
//! empty one costs.

use std::cell::Cell;
use std::mem::{self, MaybeUninit};
use std::ptr::NonNull;

use super::{Part, PlainScope};
use crate::failure;
use crate::node::side::{Policy, Side};
use crate::node::{Kind, Node, VTable, free_own_context};
use crate::prim::Mutex;

/// The node, its side, and what its kind of scope needs.
#[repr(C)]
pub(super) struct RegionCell<X> {
    node: Node,
    pub(super) side: Side,
    pub(super) extra: X,
}

impl<X: Part> RegionCell<X> {
    pub(super) const VTABLE: VTable = VTable::without_future(Kind::Region, X::NAME, Self::dealloc);

    /// A new one, with its node.
    #[inline(always)]
    pub(super) fn new(node: impl FnOnce() -> Node, policy: Policy, extra: X) -> NonNull<Self> {
        let cell = NonNull::from(Box::leak(Self::place())).cast::<Self>();
        let place = cell.as_ptr();
        // Made in their places: a copy would wait for what has been written a moment ago.
        // SAFETY: the places are those of fields in memory of our own; the side's lives as long as
        // the node.
        unsafe {
            (&raw mut (*place).node).write(node());
            (&raw mut (*place).side).write(Side::new(policy));
            (&raw mut (*place).extra).write(extra);
            (*place).node.side.init(NonNull::new_unchecked(&raw mut (*place).side));
        }
        cell
    }

    /// # Safety
    ///
    /// `node` is the one of a cell of this type, of which nobody else knows.
    pub(super) unsafe fn from_node(node: NonNull<Node>) -> Box<Self> {
        // SAFETY: the caller's promise.
        unsafe { Box::from_raw(node.cast().as_ptr()) }
    }

    unsafe fn dealloc(node: NonNull<Node>) {
        // SAFETY: the last reference is gone.
        unsafe { free_own_context(node.as_ref()) };
        // SAFETY: as above.
        let ended_lone = unsafe { node.as_ref() }.state.load().has_ended_lone();
        // SAFETY: as above.
        let mut cell = unsafe { Self::from_node(node) };
        if cfg!(debug_assertions) && ended_lone {
            assert!(cell.has_nothing(), "what it has would leak");
        }
        // In a model, loom looks at the end of each part.
        if ended_lone && Self::IS_KEPT && !cfg!(loom) {
            return Self::keep(cell);
        }
        let site = cell.node.site;
        failure::guard_drop("cause, handler or error", site, || drop(cell));
    }

    /// Whether there is nothing in node and side that a drop would have to free: all that comes to a
    /// region leaves a flag, or came while it was waited for, and one that has ended lone has none and
    /// was not.
    fn has_nothing(&mut self) -> bool {
        self.node.waiter.has_none() && self.side.has_nothing()
    }

    /// Whether it has the layout of those that are kept. Where a lock has memory of its own, none is.
    const IS_KEPT: bool = size_of::<Self>() == size_of::<RegionCell<PlainScope>>()
        && align_of::<Self>() == align_of::<RegionCell<PlainScope>>()
        && !mem::needs_drop::<X>()
        && !mem::needs_drop::<Mutex<()>>();

    /// Memory for a new one.
    fn place() -> Box<MaybeUninit<Self>> {
        let kept = if Self::IS_KEPT { KEPT.try_with(Cell::take).ok().flatten() } else { None };
        // SAFETY: of the same layout, and it may hold anything.
        let kept = kept.map(|place| unsafe { Box::from_raw(Box::into_raw(place).cast()) });
        kept.unwrap_or_else(Box::new_uninit)
    }

    /// Keeps the memory of one that has nothing to drop.
    fn keep(cell: Box<Self>) {
        // SAFETY: of the same layout, and it may hold anything.
        let place: Box<Place> = unsafe { Box::from_raw(Box::into_raw(cell).cast()) };
        // Where the thread ends it is freed.
        let _ended = KEPT.try_with(|kept| kept.set(Some(place)));
    }
}

type Place = MaybeUninit<RegionCell<PlainScope>>;

thread_local! {
    static KEPT: Cell<Option<Box<Place>>> = const { Cell::new(None) };
}
