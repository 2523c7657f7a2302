//! Cancellation: downwards, at once, without recursion.
//!
//! A cancel marks its node and then walks down: it marks every linked child under the parent's
//! lock, schedules the coroutines among them, and goes on below those that have children of their
//! own. A child that is not linked yet is running or queued; it looks at its parent's mark when it
//! is picked up, suspends for the first time, or opens a region. Mark before lock on this side,
//! link before look on that side: one of the two sees the other.

use std::ptr::NonNull;

use super::side::{Handler, Inner};
use super::state::{self, Wake};
use super::tree::{dispatch_if, end_token, guarded, wake};
use super::{Kind, Node, NodeRef};
use crate::error::Cancelled;

/// Cancels `node` and all below it. The first cause stands; false if there was one, or if the
/// node has ended.
///
/// # Safety
///
/// `node` is valid during the call: the caller has a reference, or is an unfinished child of it.
pub(crate) unsafe fn cancel(node: NonNull<Node>, cause: &Cancelled) -> bool {
    // SAFETY: the caller's promise.
    let this = unsafe { node.as_ref() };
    let (side, seen) = this.make_side();
    if seen.has(state::ENDED) {
        return false;
    }
    {
        let mut inner = side.lock();
        if inner.cause.is_some() || this.state.load().has(state::CANCELLED) {
            return false;
        }
        inner.cause = Some(cause.clone());
    }
    let mut walk = Walk::default();
    walk.mark(node);
    walk.visit(this, cause);
    walk.run();
    true
}

/// Marks a region that was born under a cancelled parent and has no children yet.
pub(crate) fn mark_region(region: &Node, cause: &Cancelled) {
    if let Some(side) = region.side() {
        side.lock().cause.get_or_insert_with(|| cause.clone());
    }
    region.state.set(state::CANCELLED);
}

/// What a walk has found and not yet dealt with.
#[derive(Default)]
struct Walk {
    /// Nodes that are marked and may have children, with the cause that these will see.
    below: Vec<(NodeRef, Cancelled)>,
    /// Coroutines that the walk has made SCHEDULED.
    ready: Vec<NonNull<Node>>,
}

impl Walk {
    fn run(&mut self) {
        loop {
            for node in self.ready.drain(..) {
                // SAFETY: `mark` was answered Dispatch for it.
                unsafe { dispatch_if(node, Wake::Dispatch) };
            }
            let Some((node, cause)) = self.below.pop() else { return };
            self.visit(&node, &cause);
        }
    }

    /// Deals with a node that is marked: its handlers, whoever waits in it, and its children.
    fn visit(&mut self, node: &Node, cause: &Cancelled) {
        let mut handlers = Vec::new();
        if let Some(side) = node.side() {
            let mut inner = side.lock();
            inner.cause.get_or_insert_with(|| cause.clone());
            handlers = inner.take(|it| matches!(it, Handler::Cancelling(_)));
            self.mark_children(&inner, &cause.inherited());
        }
        for handler in handlers {
            if let Handler::Cancelling(handler) = handler {
                guarded(node, "cancelling handler", || handler(cause));
            }
        }
        if let Some(waker) = (node.kind() == Kind::Region).then(|| node.waiter.take()).flatten() {
            wake(node.site, waker);
        }
        if node.kind() == Kind::Token {
            end_token(node);
        }
    }

    fn mark_children(&mut self, inner: &Inner, cause: &Cancelled) {
        for child in inner.children() {
            // SAFETY: linked nodes are valid while the lock is held.
            let kind = unsafe { child.as_ref() }.kind();
            if !self.mark(child) {
                continue;
            }
            let retained = match kind {
                // SAFETY: a token unlinks itself, under this lock, before it is freed.
                Kind::Token => unsafe { NodeRef::try_retain(child) },
                // SAFETY: a linked node has the tree's reference until it has been unlinked.
                _ => Some(unsafe { NodeRef::retain(child) }),
            };
            if let Some(node) = retained {
                self.below.push((node, cause.clone()));
            }
        }
    }

    /// Marks one node; true if that is news and there may be something to do below it.
    fn mark(&mut self, node: NonNull<Node>) -> bool {
        // SAFETY: the caller holds a reference, or the lock of the list that it is in.
        let this = unsafe { node.as_ref() };
        if this.kind() != Kind::Coroutine {
            return !this.state.set(state::CANCELLED).has(state::CANCELLED);
        }
        let (seen, wake) = this.state.cancel();
        if wake == Wake::Dispatch {
            self.ready.push(node);
        }
        !seen.has(state::CANCELLED) && seen.has(state::SIDE)
    }
}
