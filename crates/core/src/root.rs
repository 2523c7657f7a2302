//! The root of a runtime's job tree.

use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::context::ContextInner;
use crate::error::{CancelCause, Cancelled};
use crate::hooks::RuntimeHooks;
use crate::job::Job;
use crate::node::cancel::{cancel, cancel_softly};
use crate::node::side::{Policy, Side};
use crate::node::state::{self, State};
use crate::node::{Kind, Node, NodeRef, VTable, free_own_context, tree};

#[repr(C)]
struct RootCell {
    node: Node,
    side: Side,
}

static ROOT: VTable = VTable::without_future(Kind::Root, "runtime", dealloc);

unsafe fn dealloc(node: NonNull<Node>) {
    // SAFETY: the last reference is gone.
    unsafe { free_own_context(node.as_ref()) };
    // SAFETY: came from a box of this type.
    drop(unsafe { Box::from_raw(node.cast::<RootCell>().as_ptr()) });
}

/// The root of a runtime: what its coroutines, scopes and detached work end up under.
#[derive(Debug)]
pub struct Root(Job);

impl Root {
    /// The root of `runtime`. It keeps the runtime until [`close`](Self::close) and the end of
    /// all coroutines.
    #[track_caller]
    pub fn new(runtime: Arc<dyn RuntimeHooks>, name: Option<Arc<str>>) -> Self {
        let context = Arc::into_raw(Arc::new(ContextInner::root(runtime, name)));
        let state =
            State::new(state::SIDE | state::COUNTED | state::LINKED | state::OWN_CONTEXT, 2);
        let node = Node::new(state, &ROOT, context, None, Location::caller());
        let cell = Box::into_raw(Box::new(RootCell { node, side: Side::new(Policy::Supervise) }));
        // SAFETY: just allocated; the place lives as long as the node.
        unsafe { (*cell).node.side.init(NonNull::new_unchecked(&raw mut (*cell).side)) };
        // SAFETY: the second of the two references that it was born with.
        let node = unsafe { NodeRef::from_owned(NonNull::new_unchecked(cell.cast())) };
        Self(Job::from_node(node))
    }

    /// The root's job.
    pub fn job(&self) -> &Job {
        &self.0
    }

    /// Cancels all that the runtime has, with the cause `Shutdown`, and lets the root end when
    /// the last of it has.
    pub fn close(&self) {
        self.force();
        self.end_body();
    }

    /// As [`close`](Self::close), but what is behind a soft shield goes on until
    /// [`force`](Self::force).
    pub fn close_softly(&self) {
        // SAFETY: we hold a reference.
        unsafe { cancel_softly(self.0.node().as_ptr(), &self.shutdown()) };
        self.end_body();
    }

    /// Cancels what there is, soft shields or not.
    pub fn force(&self) {
        // SAFETY: we hold a reference.
        unsafe { cancel(self.0.node().as_ptr(), &self.shutdown()) };
    }

    fn shutdown(&self) -> Cancelled {
        Cancelled::new(CancelCause::Shutdown, self.0.node().site)
    }

    fn end_body(&self) {
        let node = self.0.node();
        if !node.state.body_done(0).has(state::BODY_DONE)
            && node.side().is_some_and(|side| side.census.leave())
        {
            // SAFETY: the body is done, and no child is left.
            unsafe { tree::finish(node.as_ptr()) };
        }
    }

    /// How many scopes and coroutines are right under the root.
    pub fn children(&self) -> usize {
        self.0.children().len() + self.0.unlisted()
    }
}
