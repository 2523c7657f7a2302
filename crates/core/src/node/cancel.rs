//! Cancellation: downwards, at once, without recursion.
//!
//! A cancel marks its node and then walks down: it marks every linked child under the parent's
//! lock, schedules the coroutines among them, and goes on below those that have children of their
//! own. A child that is not linked yet is running or queued; it looks at its parent's mark when it
//! is picked up, suspends for the first time, or opens a region, and then marks itself and walks on
//! from there. Mark before lock on this side, link before look on that side: one of the two sees
//! the other.
//!
//! Whoever sets the mark of a node, and nobody else, visits it.

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
    if this.state.load().has(state::ENDED | state::CANCELLED) {
        return false;
    }
    let (side, _) = this.make_side();
    let mut walk = Walk::default();
    {
        // Under the lock, so that who sees the mark and looks for the cause finds it.
        let mut inner = side.lock();
        if !walk.mark(node) {
            return false;
        }
        inner.cause.get_or_insert_with(|| cause.clone());
    }
    walk.visit(this, cause);
    walk.run();
    true
}

/// Marks a coroutine that has found its parent's mark, or has failed. The thread that polls it
/// deals with its future.
pub(crate) fn mark_polled(node: &Node, cause: impl FnOnce() -> Cancelled) {
    // Who makes a side object after this finds the mark.
    if node.state.cancel().is_some_and(|seen| seen.has(state::SIDE)) {
        let mut walk = Walk::default();
        walk.visit(node, &cause());
        walk.run();
    }
}

/// Marks a region that was born under a cancelled parent and has no children yet.
pub(crate) fn mark_region(region: &Node, cause: &Cancelled) {
    if let Some(side) = region.side() {
        side.lock().cause.get_or_insert_with(|| cause.clone());
    }
    let _seen = region.state.cancel();
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
        if let Some(side) = node.side() {
            let mut inner = side.lock();
            let cause = inner.cause.get_or_insert_with(|| cause.clone()).clone();
            let handlers = inner.take(|it| matches!(it, Handler::Cancelling(_)));
            self.mark_children(&inner, &cause.inherited());
            drop(inner);
            for handler in handlers {
                if let Handler::Cancelling(handler) = handler {
                    guarded(node, "cancelling handler", || handler(&cause));
                }
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
            let seen = unsafe { child.as_ref() };
            let kind = seen.kind();
            if seen.state.load().has(state::SHIELD) {
                continue;
            }
            if !self.mark(child) || kind == Kind::Coroutine && seen.side().is_none() {
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

    /// Marks one node; true if that is news.
    fn mark(&mut self, node: NonNull<Node>) -> bool {
        // SAFETY: the caller holds a reference, or the lock of the list that it is in.
        let this = unsafe { node.as_ref() };
        if this.kind() != Kind::Coroutine {
            return this.state.cancel().is_some();
        }
        let Some((_, wake)) = this.state.cancel_coroutine() else { return false };
        if wake == Wake::Dispatch {
            self.ready.push(node);
        }
        true
    }
}
