//! Cancellation: downwards, at once, without recursion.
//!
//! A cancel marks its node and then walks down: it marks every linked child under the parent's
//! lock, schedules the coroutines among them, and goes on below those that have children of their
//! own. A child that is not linked yet is running or queued. It looks at its parent's mark when it is
//! picked up, and again under the lock when it is linked: then it is marked before that shows, and
//! the walk goes on from there. (Tokens and passive children are cancelled right after.) Mark before
//! lock on this side, lock before look on that side: one of the two sees the other.
//!
//! Whoever sets the mark of a node, and nobody else, visits it.

use std::panic::Location;
use std::ptr::NonNull;

use super::side::{Handler, Inner};
use super::state::{self, Snapshot, Urgency, Wake};
use super::tree::{dispatch_if, end_token, guarded, inherited_cause, wake};
use super::{Kind, Node, NodeRef};
use crate::error::{CancelCause, Cancelled};
use crate::job::Job;

/// Cancels `node` and all below it. The first cause stands; false if there was one, or if the
/// node has ended.
///
/// # Safety
///
/// `node` is valid during the call: the caller has a reference, or is an unfinished child of it.
pub(crate) unsafe fn cancel(node: NonNull<Node>, cause: &Cancelled) -> bool {
    // SAFETY: the caller's promise.
    unsafe { cancel_with(node, cause, Urgency::Forced) }
}

/// As [`cancel`], but soft shields hold it off. A later [`cancel`] forces what is left then.
///
/// # Safety
///
/// As there.
pub(crate) unsafe fn cancel_softly(node: NonNull<Node>, cause: &Cancelled) -> bool {
    // SAFETY: the caller's promise.
    unsafe { cancel_with(node, cause, Urgency::Soft) }
}

/// Cancels a region whose future is gone. If that is for a cancellation with a grace, then what is
/// inside has the grace too.
pub(crate) fn cancel_dropped(region: &NodeRef, place: &'static Location<'static>) {
    let above = Job::from_node(region.clone()).pinned(|region| {
        // SAFETY: unended during the call.
        unsafe { region.pinned_parent() }.map(|parent| parent.state.load())
    });
    let is_soft = |it: &Snapshot| it.has(state::CANCELLED) && !it.has(state::FORCED);
    let here = region.state.load();
    let urgency = match is_soft(&here) || above.flatten().as_ref().is_some_and(is_soft) {
        true => Urgency::Soft,
        false => Urgency::Forced,
    };
    // SAFETY: the caller has a reference.
    unsafe { cancel_with(region.as_ptr(), &Cancelled::new(CancelCause::Dropped, place), urgency) };
}

/// Ends the shield that `region` is: cancellations from above go on into it, and so do those that it
/// has held off.
pub(crate) fn lift_shield(region: &NodeRef) {
    Job::from_node(region.clone()).pinned(|here| {
        // SAFETY: unended during the call.
        let Some(parent) = (unsafe { here.pinned_parent() }) else { return };
        {
            // A walk marks the parent first and takes its lock then: it finds the shield gone, or
            // its mark is found below.
            let _walks = parent.make_side().0.lock();
            here.state.lift();
        }
        let above = parent.state.load();
        if above.has(state::CANCELLED) {
            let cause = inherited_cause(parent);
            // SAFETY: the caller has a reference.
            unsafe { cancel_with(region.as_ptr(), &cause, Urgency::of(above)) };
        }
    });
}

/// # Safety
///
/// As for [`cancel`].
unsafe fn cancel_with(node: NonNull<Node>, cause: &Cancelled, urgency: Urgency) -> bool {
    // SAFETY: the caller's promise.
    let this = unsafe { node.as_ref() };
    let seen = this.state.load();
    if seen.has(state::ENDED | state::FORCED)
        || seen.has(state::CANCELLED) && urgency == Urgency::Soft
    {
        return false;
    }
    let (side, _) = this.make_side();
    let mut walk = Walk::new(urgency);
    let before = {
        // Under the lock, so that who sees the mark and looks for the cause finds it.
        let mut inner = side.lock();
        let Some(before) = walk.mark(node) else { return false };
        inner.cause.get_or_insert_with(|| cause.clone());
        before
    };
    walk.go_on(this, cause);
    !before.has(state::CANCELLED)
}

/// Marks a coroutine that has found its parent's mark, or has failed. The thread that polls it
/// deals with its future.
pub(crate) fn mark_polled(node: &Node, cause: impl FnOnce() -> Cancelled) {
    if node.state.load().has(state::CANCELLED) {
        return;
    }
    // SAFETY: polled by the caller, so it has not left its parent's census.
    let parent = unsafe { node.pinned_parent() }.map(|parent| parent.state.load());
    let urgency = parent.filter(|it| it.has(state::CANCELLED)).map_or(Urgency::Forced, Urgency::of);
    // Who makes a side object after this finds the mark.
    if node.state.cancel(urgency).is_some_and(|seen| seen.has(state::SIDE)) {
        Walk::new(urgency).go_on(node, &cause());
    }
}

/// Marks a node that enters the list of `parent` if the walk of a cancel may have passed there. That
/// marks the parent first and takes its lock then, which the caller has: so if the mark is not there
/// now, the walk will find the link. The caller lets what is answered go on without the lock.
///
/// # Safety
///
/// `node` is valid, and a child of `parent`.
pub(super) unsafe fn mark_late(node: NonNull<Node>, parent: &Node) -> Option<Walk> {
    let above = parent.state.load();
    // SAFETY: the caller's promise.
    let here = unsafe { node.as_ref() }.state.load();
    if !above.has(state::CANCELLED) || holds_off(here, Urgency::of(above)) {
        return None;
    }
    let mut walk = Walk::new(Urgency::of(above));
    walk.mark(node)?;
    Some(walk)
}

/// What a walk has found and not yet dealt with.
pub(super) struct Walk {
    urgency: Urgency,
    /// Nodes that are marked and may have children, with the cause that these will see.
    below: Vec<(NodeRef, Cancelled)>,
    /// Coroutines that the walk has made SCHEDULED.
    ready: Vec<NonNull<Node>>,
}

impl Walk {
    fn new(urgency: Urgency) -> Self {
        Self { urgency, below: Vec::new(), ready: Vec::new() }
    }

    /// Deals with `node`, which it has marked, and all below.
    pub(super) fn go_on(mut self, node: &Node, cause: &Cancelled) {
        self.visit(node, cause);
        self.run();
    }

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
            if holds_off(seen.state.load(), self.urgency) {
                continue;
            }
            if self.mark(child).is_none() || kind == Kind::Coroutine && seen.side().is_none() {
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

    /// Marks one node; what it was before, if that is news.
    fn mark(&mut self, node: NonNull<Node>) -> Option<Snapshot> {
        // SAFETY: the caller holds a reference, or the lock of the list that it is in.
        let this = unsafe { node.as_ref() };
        if this.kind() != Kind::Coroutine {
            return this.state.cancel(self.urgency);
        }
        let (before, wake) = this.state.cancel_coroutine(self.urgency)?;
        if wake == Wake::Dispatch {
            self.ready.push(node);
        }
        Some(before)
    }
}

/// Whether a cancellation from above stops at a node.
pub(crate) fn holds_off(node: Snapshot, urgency: Urgency) -> bool {
    node.has(state::SHIELD) && !(urgency == Urgency::Forced && node.has(state::SOFT))
}
