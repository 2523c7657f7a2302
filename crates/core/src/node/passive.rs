//! Children that the census of their parent does not count: lazy ones that nobody has started, and
//! services.
//!
//! They are linked, so that they show and are cancelled as others are, and their parent does not end
//! before they have: what its census does not count is in the list `passive` of its side. Where a
//! node with such children would end, because its census is empty, it *winds down*: it cancels the
//! lazy ones, then the services, each when the one launched after it has ended; and the last of them
//! ends it.
//!
//! A service is `PASSIVE` and never `NEW`. It has a `SHIELD`, so that a cancellation from above leaves
//! it alone.
//!
//! ```text
//! [NEW, PASSIVE] ──start──► counted, as all others
//!       │
//!       ├──cancel──────────────────────┐
//!       │                              ▼
//!       └──census of the parent empty──► [cancelled, PASSIVE] ──► ended, out of the list
//!                                                                 the last one: the parent ends
//! ```
//!
//! A start counts the child in under the parent's lock, and so either comes before the census is
//! empty, or not at all.

use std::ptr::NonNull;

use super::cancel::cancel;
use super::{Node, NodeRef, state, tree};
use crate::error::{CancelCause, Cancelled};

/// Links a new child of `region` that is born `PASSIVE`, and counts it out of the census.
///
/// # Safety
///
/// `node` is counted in the census of `region`, its parent, and nobody else knows it.
pub(crate) unsafe fn enlist(region: &NodeRef, node: NonNull<Node>) {
    {
        let (side, _) = region.make_side();
        let mut inner = side.lock();
        // SAFETY: it is valid until it has ended, and is unlinked by that.
        unsafe { inner.link(node) };
        // SAFETY: as above.
        let node = unsafe { NodeRef::retain(node) };
        node.state.set(state::LINKED);
        inner.rest_mut().passive.push(node);
        region.state.set(state::PASSIVES);
    }
    // As for all that is linked: a walk that came before has left a mark.
    // SAFETY: the caller has a reference to it.
    let shielded = unsafe { node.as_ref() }.state.load().has(state::SHIELD);
    if !shielded && region.state.load().has(state::CANCELLED) {
        // SAFETY: the caller has a reference to it.
        unsafe { cancel(node, &tree::inherited_cause(region)) };
    }
    // SAFETY: the place that the caller has for it.
    if unsafe { tree::leave(region.as_ptr()) } {
        // SAFETY: the last one has left.
        unsafe { tree::finish(region.as_ptr()) };
    }
}

/// Counts a lazy child in, which the caller then wakes: false if it was started or cancelled
/// before, or if its parent winds down.
///
/// # Safety
///
/// `node` does not end during the call.
pub(crate) unsafe fn start(node: &Node) -> bool {
    // SAFETY: unended, so its parent is too.
    let Some(side) = unsafe { node.pinned_parent() }.and_then(Node::side) else { return false };
    let mut inner = side.lock();
    let seen = node.state.load();
    if !seen.has(state::NEW) || seen.has(state::CANCELLED) || !side.census.join() {
        return false;
    }
    inner.linked += 1;
    node.state.begin();
    let _entry = inner.take_passive(NonNull::from(node));
    drop(inner);
    true
}

/// The census of `node` is empty. True if there are passive children: the last of them ends it.
///
/// # Safety
///
/// Nobody else ends the node, and it has not ended.
#[cold]
pub(super) unsafe fn wind_down(node: NonNull<Node>) -> bool {
    // Once the lock is free, the last child may end and free it.
    // SAFETY: the caller's promise.
    let node = unsafe { NodeRef::retain(node) };
    let Some(side) = node.side() else { return false };
    let due = {
        let mut inner = side.lock();
        let rest = inner.rest_mut();
        rest.winding = true;
        due(&rest.passive)
    };
    cancel_all(&node, &due);
    !due.is_empty()
}

/// A passive child has settled. True if its parent ends with it, which the caller sees to.
///
/// # Safety
///
/// `node` is in the list of `parent`, and leaves it once.
#[cold]
pub(super) unsafe fn leave(parent: NonNull<Node>, node: NonNull<Node>) -> bool {
    // As in `wind_down`.
    // SAFETY: `node` keeps it from ending until it is out of the list.
    let parent = unsafe { NodeRef::retain(parent) };
    let Some(side) = parent.side() else { return false };
    let mut inner = side.lock();
    // Dropped after the lock: it may be the last reference.
    let _entry = inner.take_passive(node);
    let rest = inner.rest_mut();
    let ends = rest.winding && rest.passive.is_empty();
    let due = if rest.winding { due(&rest.passive) } else { Vec::new() };
    drop(inner);
    cancel_all(&parent, &due);
    ends
}

/// Which of a node's passive children are to end, once it winds down: again and again the same
/// until they have.
fn due(passive: &[NodeRef]) -> Vec<NodeRef> {
    let is_new = |it: &&NodeRef| it.state.load().has(state::NEW);
    match passive.iter().any(|it| is_new(&it)) {
        true => passive.iter().filter(is_new).cloned().collect(),
        false => passive.last().cloned().into_iter().collect(),
    }
}

fn cancel_all(parent: &NodeRef, due: &[NodeRef]) {
    let cause = Cancelled::new(CancelCause::ScopeEnded, parent.site);
    for child in due {
        // SAFETY: we have a reference.
        unsafe { cancel(child.as_ptr(), &cause) };
    }
}
