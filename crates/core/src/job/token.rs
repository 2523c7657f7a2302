//! A job without code: a cancellation token.

use std::mem::ManuallyDrop;
use std::panic::Location;
use std::ptr::NonNull;

use super::Job;
use crate::failure;
use crate::node::cancel::cancel;
use crate::node::side::{Policy, Side};
use crate::node::state::{self, State};
use crate::node::{Kind, Node, NodeRef, VTable};

/// A token's allocation.
#[repr(C)]
struct Token {
    node: Node,
    side: Side,
}

static TOKEN: VTable = VTable::without_future(Kind::Token, "token", dealloc_token);

/// A token owns a reference to its parent, and stands in its list without one of its own.
pub(super) fn token(parent: Option<&NodeRef>, site: &'static Location<'static>) -> NodeRef {
    let parent = parent.cloned();
    let node = Node::new(
        State::new(state::SIDE | state::COUNTED, 1),
        &TOKEN,
        std::ptr::null(),
        parent.as_ref().map(NodeRef::as_ptr),
        site,
    );
    let token = Box::into_raw(Box::new(Token { node, side: Side::new(Policy::Supervise) }));
    // SAFETY: just allocated; the place lives as long as the node.
    unsafe { (*token).node.side.init(NonNull::new_unchecked(&raw mut (*token).side)) };
    // SAFETY: as above; the one reference that it was born with.
    let token = unsafe { NodeRef::from_owned(NonNull::new_unchecked(token.cast())) };
    if let Some(parent) = parent {
        let owner = Job(parent);
        owner.list();
        {
            let (side, _) = owner.0.make_side();
            let mut inner = side.lock();
            // SAFETY: unlinked under the same lock before it is freed.
            unsafe { inner.link(token.as_ptr()) };
            token.state.set(state::LINKED);
        }
        if let Some(cause) = owner.cause() {
            // SAFETY: we have a reference.
            unsafe { cancel(token.as_ptr(), &cause.inherited()) };
        }
        // The parent's reference now belongs to the token.
        owner.0.into_owned();
    }
    token
}

unsafe fn dealloc_token(node: NonNull<Node>) {
    let mut last = node;
    // A token may be the last to keep its parent, and that one its own: a loop, for they may be
    // many.
    loop {
        // SAFETY: its last reference is gone, but it may still be in its parent's list.
        let (parent, site) = unsafe { (last.as_ref().parent, last.as_ref().site) };
        // SAFETY: the token's reference to its parent.
        if let Some(side) = parent.as_ref().and_then(|it| unsafe { it.as_ref() }.side()) {
            // SAFETY: linked at birth, unlinked once.
            unsafe { side.lock().unlink(last) };
        }
        // SAFETY: came from a box of this type.
        let token = unsafe { Box::from_raw(last.cast::<Token>().as_ptr()) };
        failure::guard_drop("cause or handler", site, || drop(token));
        let Some(parent) = parent else { return };
        // SAFETY: the token's reference, given up here, and not used again.
        let parent = ManuallyDrop::new(unsafe { NodeRef::from_owned(parent) });
        if parent.kind() != Kind::Token {
            return drop(ManuallyDrop::into_inner(parent));
        }
        if !parent.state.drop_ref() {
            return;
        }
        last = parent.as_ptr();
    }
}
