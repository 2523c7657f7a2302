//! The job node: the one header of everything in the job tree.
//!
//! A coroutine cell, a scope, a timeout and a cancellation token all begin with a [`Node`]. Nodes
//! form a tree: a coroutine's children are the regions (scopes, timeouts) that it opened, a
//! region's children are the coroutines launched into it and the regions nested in its body.
//!
//! # Layout
//!
//! | offset | field | bytes | who may touch it, and when |
//! | --- | --- | --- | --- |
//! | 0 | `state` | 8 | anybody, atomically ([`state`]) |
//! | 8 | `vtable` | 8 | constant |
//! | 16 | `context` | 8 | constant; what it points to is kept alive by the node itself (`OWN_CONTEXT`) or by an ancestor until the node has ended; null for tokens |
//! | 24 | `parent` | 8 | constant; may be followed only while this node keeps the parent from ending: until its `finish` |
//! | 32 | `links` | 16 | under the lock of the parent's side |
//! | 48 | `waiter` | 8 | anybody, atomically ([`waiter`]) |
//! | 56 | `side` | 8 | anybody, atomically ([`side`]; until there is one, [`waits`]) |
//! | 64 | `site` | 8 | constant |
//! | 72 | `wait` | 8 | anybody, relaxed ([`wait`](crate::wait)) |
//!
//! A coroutine's future, later its output, follows the header in the same allocation.
//!
//! # Lifetime
//!
//! The reference count lives in the state word. One reference, the *tree's*, lasts from birth
//! until the node is settled; handles and wakers have one each. Memory is therefore valid for
//! whoever holds a handle, for the thread that holds the node's `Coroutine` (an unsettled node),
//! and for a child that has not left its parent's census yet (an unsettled parent).

use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task;

use crate::context::ContextInner;
use crate::current;
use crate::failure::{self, Panic};
use crate::prim::UnsafeCell;
use crate::time::Instant;
use crate::wait::WaitWord;

pub(crate) mod cancel;
pub(crate) mod passive;
pub(crate) mod side;
pub(crate) mod state;
pub(crate) mod tree;
pub(crate) mod waiter;
pub(crate) mod waits;

use side::{Side, SideSlot};
use state::State;
use waiter::Waiter;

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A cell with a future, polled by a dispatcher.
    Coroutine,
    /// A part of its opener's future: a scope, a cancel scope, a timeout.
    Region,
    /// No code at all: `Job::new`. It does not keep its parent from ending.
    Token,
    /// The root of a runtime.
    Root,
}

/// What one poll of a coroutine's future gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Polled {
    Pending,
    /// The output is in the cell.
    Ready,
    /// The error went to the scope; the cell is empty.
    Failed,
}

/// What the type of the future decides.
pub(crate) struct VTable {
    pub(crate) kind: Kind,
    /// What it is, as people call it.
    pub(crate) name: &'static str,
    /// Polls the future; when it is ready, drops it and stores the output in its place.
    pub(crate) poll: unsafe fn(NonNull<Node>, &mut task::Context<'_>) -> Polled,
    pub(crate) drop_future: unsafe fn(NonNull<Node>),
    /// Stores a panic where the future was.
    pub(crate) put_panic: unsafe fn(NonNull<Node>, Box<Panic>),
    pub(crate) take_panic: unsafe fn(NonNull<Node>) -> Box<Panic>,
    pub(crate) drop_output: unsafe fn(NonNull<Node>),
    /// Moves the output to where the pointer leads.
    pub(crate) take_output: unsafe fn(NonNull<Node>, *mut ()),
    /// Frees the cell, which holds neither future nor output any more.
    pub(crate) dealloc: unsafe fn(NonNull<Node>),
}

impl VTable {
    /// That of nodes that have no future.
    pub(crate) const fn without_future(
        kind: Kind,
        name: &'static str,
        dealloc: unsafe fn(NonNull<Node>),
    ) -> Self {
        Self {
            kind,
            name,
            poll: no_future::poll,
            drop_future: no_future::nothing,
            put_panic: no_future::put_panic,
            take_panic: no_future::take_panic,
            drop_output: no_future::nothing,
            take_output: no_future::take_output,
            dealloc,
        }
    }
}

/// The neighbours in the parent's list.
#[derive(Clone, Copy, Default)]
pub(crate) struct Links {
    pub(crate) prev: Option<NonNull<Node>>,
    pub(crate) next: Option<NonNull<Node>>,
}

/// The header; see the [module](self).
#[repr(C)]
pub(crate) struct Node {
    pub(crate) state: State,
    pub(crate) vtable: &'static VTable,
    pub(crate) context: *const ContextInner,
    pub(crate) parent: Option<NonNull<Self>>,
    pub(crate) links: UnsafeCell<Links>,
    pub(crate) waiter: Waiter,
    pub(crate) side: SideSlot,
    pub(crate) site: &'static Location<'static>,
    pub(crate) wait: WaitWord,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Node>() == 80);

// SAFETY: each field is atomic, constant, or guarded as the table in the module docs says; what
// `context` points to is Send and Sync.
#[expect(clippy::non_send_fields_in_send_ty, reason = "its pointers, as said")]
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

impl Node {
    #[inline(always)]
    pub(crate) fn new(
        state: State,
        vtable: &'static VTable,
        context: *const ContextInner,
        parent: Option<NonNull<Self>>,
        site: &'static Location<'static>,
    ) -> Self {
        Self {
            state,
            vtable,
            context,
            parent,
            links: UnsafeCell::new(Links::default()),
            waiter: Waiter::new(),
            side: SideSlot::new(),
            site,
            wait: WaitWord::new(),
        }
    }

    #[inline]
    pub(crate) fn kind(&self) -> Kind {
        self.vtable.kind
    }

    /// The side object, if it was published.
    #[inline]
    pub(crate) fn side(&self) -> Option<&Side> {
        self.side.get()
    }

    /// The parent, for code that runs while this node keeps it from ending.
    ///
    /// # Safety
    ///
    /// This node has not left the parent's census, and will not before the borrow ends; for a
    /// token: the token is alive.
    #[inline]
    pub(crate) unsafe fn pinned_parent(&self) -> Option<&Self> {
        // SAFETY: the caller keeps the parent from ending, so its tree reference stands; a
        // token has a reference of its own.
        self.parent.map(|parent| unsafe { parent.as_ref() })
    }

    /// Whether a cancel has reached this node, be it only its parent: the walk of a cancel marks a
    /// scope first and its linked children one by one, and one of them must not take the failure
    /// of another for news meanwhile.
    ///
    /// # Safety
    ///
    /// As for [`pinned_parent`](Self::pinned_parent).
    #[inline]
    pub(crate) unsafe fn is_cancelled(&self) -> bool {
        let seen = self.state.load();
        // SAFETY: the caller's promise.
        let parent = || unsafe { self.pinned_parent() };
        let is_marked = |node: &Self| node.state.load().has(state::CANCELLED);
        seen.has(state::CANCELLED) || !seen.has(state::SHIELD) && parent().is_some_and(is_marked)
    }

    /// When the region is to end at the latest, as it was told itself.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let has_one = self.state.load().has(state::DEADLINE);
        has_one.then(|| self.side()?.lock().rest()?.deadline.map(|(at, _)| at)).flatten()
    }

    /// Whether a cancellation of the body waits for the end of a shield in it.
    pub(crate) fn is_shielded(&self) -> bool {
        let is_soft = || !self.state.load().has(state::FORCED);
        self.side()
            .is_some_and(|side| side.shields.are_up() || side.soft_shields.are_up() && is_soft())
    }

    /// The context, for code that runs before the node has ended, or if the node owns it.
    ///
    /// # Safety
    ///
    /// The node is no token, which has none. It does not end during the borrow, or it has
    /// `OWN_CONTEXT`.
    #[inline]
    pub(crate) unsafe fn context(&self) -> &ContextInner {
        // SAFETY: see the table: the node or an unended ancestor owns a count of it.
        unsafe { &*self.context }
    }
}

/// An owned reference to a node.
pub(crate) struct NodeRef(NonNull<Node>);

// SAFETY: a counted pointer to a `Node`, which is Send and Sync.
unsafe impl Send for NodeRef {}
// SAFETY: as above.
unsafe impl Sync for NodeRef {}

impl NodeRef {
    /// Takes over a reference that was counted already.
    ///
    /// # Safety
    ///
    /// The caller owns one reference to `node` and gives it up.
    pub(crate) unsafe fn from_owned(node: NonNull<Node>) -> Self {
        Self(node)
    }

    /// Counts a new reference.
    ///
    /// # Safety
    ///
    /// `node` is valid, and stays so until the count has been taken.
    pub(crate) unsafe fn retain(node: NonNull<Node>) -> Self {
        // SAFETY: valid by the caller's promise.
        unsafe { node.as_ref() }.state.add_ref();
        Self(node)
    }

    /// Counts a new reference unless the last one is gone: what a list that owns no references
    /// needs.
    ///
    /// # Safety
    ///
    /// The memory of `node` is valid during the call.
    pub(crate) unsafe fn try_retain(node: NonNull<Node>) -> Option<Self> {
        // SAFETY: valid by the caller's promise.
        let counted = unsafe { node.as_ref() }.state.try_add_ref();
        // Made only then: its drop gives a reference back.
        counted.then(|| Self(node))
    }

    pub(crate) fn as_ptr(&self) -> NonNull<Node> {
        self.0
    }

    /// Gives the reference up without ending it.
    pub(crate) fn into_owned(self) -> NonNull<Node> {
        let node = self.0;
        std::mem::forget(self);
        node
    }
}

impl std::ops::Deref for NodeRef {
    type Target = Node;

    #[inline]
    fn deref(&self) -> &Node {
        // SAFETY: this reference keeps the node's memory.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for NodeRef {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: `self` keeps it valid.
        unsafe { Self::retain(self.0) }
    }
}

impl Drop for NodeRef {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the reference is ours and is not used again.
        unsafe { release(self.0) };
    }
}

impl std::fmt::Debug for NodeRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("NodeRef").field(&self.state.load()).finish()
    }
}

impl PartialEq for NodeRef {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for NodeRef {}

/// Gives one reference up, and frees the node if it was the last.
///
/// # Safety
///
/// The caller owns the reference and uses the node no more.
#[inline]
pub(crate) unsafe fn release(node: NonNull<Node>) {
    // SAFETY: our reference keeps it valid until the count goes down.
    let this = unsafe { node.as_ref() };
    let seen = this.state.load();
    if seen.is_handled() && current::is_in_body_of(node) {
        return this.state.drop_only_handle();
    }
    // Nobody can take one from a list, but of a token.
    let is_alone = seen.refs() == 1 && this.kind() != Kind::Token;
    if is_alone || this.state.drop_ref() {
        // SAFETY: nobody else has a reference. The tree's is gone, so the node was settled (or
        // is a token) and holds neither future nor output.
        unsafe { (node.as_ref().vtable.dealloc)(node) };
    }
}

/// Gives back a context that the node owns.
///
/// # Safety
///
/// The node is being freed.
pub(crate) unsafe fn free_own_context(node: &Node) {
    if node.state.load().has(state::OWN_CONTEXT) {
        // SAFETY: the count that was put there when the node was made.
        let context = unsafe { Arc::from_raw(node.context) };
        failure::guard_drop("context", node.site, || drop(context));
    }
}

/// The entries of a vtable for nodes that have no future.
mod no_future {
    use super::{Node, NonNull, Panic, Polled, task};

    pub(super) unsafe fn poll(_: NonNull<Node>, _: &mut task::Context<'_>) -> Polled {
        unreachable!("a region has no future of its own")
    }

    pub(super) unsafe fn nothing(_: NonNull<Node>) {}

    pub(super) unsafe fn put_panic(_: NonNull<Node>, _: Box<Panic>) {
        unreachable!("a region's panic is kept in its future")
    }

    pub(super) unsafe fn take_panic(_: NonNull<Node>) -> Box<Panic> {
        unreachable!("a region's panic is kept in its future")
    }

    pub(super) unsafe fn take_output(_: NonNull<Node>, _: *mut ()) {
        unreachable!("a region's output is kept in its future")
    }
}
