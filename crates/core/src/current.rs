//! What runs on this thread: the runtime, and the frames of the poll in progress.
//!
//! While a coroutine is polled, its stack holds a chain of [`Frame`]s: one for the coroutine, and
//! one for each region (scope, timeout) whose body is being polled inside it. The innermost frame
//! tells whose a newly opened scope is and whether the code that asks is cancelled.

use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task;

use crate::context::ContextInner;
use crate::hooks::{self, RuntimeHooks};
use crate::node::{Node, NodeRef, state};
use crate::time::Limit;
use crate::wait::WaitWord;
use crate::waker_word::WakerWord;

struct Current {
    frame: Cell<*const Frame>,
    runtime: Cell<Option<NonNull<dyn RuntimeHooks>>>,
}

// Without a destructor, so that it works in destructors of other thread-locals, and costs one
// load to reach.
thread_local! {
    static CURRENT: Current =
        const { Current { frame: Cell::new(ptr::null()), runtime: Cell::new(None) } };
}

/// Sets the runtime of this thread and answers the one before. The caller keeps it alive until it
/// sets the other back.
pub(crate) fn set_runtime(
    runtime: Option<NonNull<dyn RuntimeHooks>>,
) -> Option<NonNull<dyn RuntimeHooks>> {
    CURRENT.with(|current| current.runtime.replace(runtime))
}

#[inline]
pub(crate) fn runtime() -> Option<NonNull<dyn RuntimeHooks>> {
    CURRENT.with(|current| current.runtime.get())
}

/// One entry of the chain.
pub(crate) struct Frame {
    up: Cell<*const Self>,
    /// The coroutine in whose poll this is, or null.
    coroutine: *const Node,
    node: FrameNode,
    yielded: Cell<bool>,
}

enum FrameNode {
    Made(NonNull<Node>),
    /// A timeout, which makes its node when one is asked for.
    Lazy(*const Limit<'static>),
}

impl Frame {
    /// The frame of a coroutine's poll.
    #[inline]
    pub(crate) fn coroutine(node: NonNull<Node>) -> Self {
        Self {
            up: Cell::new(ptr::null()),
            coroutine: node.as_ptr(),
            node: FrameNode::Made(node),
            yielded: Cell::new(false),
        }
    }

    /// The frame of a region inside whatever is polled on this thread.
    #[inline]
    pub(crate) fn region(node: NonNull<Node>) -> Self {
        Self {
            up: Cell::new(ptr::null()),
            coroutine: current_coroutine(),
            node: FrameNode::Made(node),
            yielded: Cell::new(false),
        }
    }

    /// The frame of a timeout; `limit` is valid while the frame is entered.
    #[inline]
    pub(crate) fn timeout(limit: *const Limit<'_>) -> Self {
        Self {
            up: Cell::new(ptr::null()),
            coroutine: current_coroutine(),
            node: FrameNode::Lazy(limit.cast()),
            yielded: Cell::new(false),
        }
    }

    /// Makes it the innermost frame until the guard is dropped.
    #[inline]
    pub(crate) fn enter(&self) -> FrameGuard<'_> {
        CURRENT.with(|current| self.up.set(current.frame.replace(self)));
        FrameGuard { frame: self, _here: PhantomData }
    }

    /// Calls `f` in this frame and catches its panic.
    #[inline]
    pub(crate) fn catch<R>(&self, f: impl FnOnce() -> R) -> std::thread::Result<R> {
        let _inside = self.enter();
        catch_unwind(AssertUnwindSafe(f))
    }

    /// Whether the poll asked to go to the end of the queue.
    #[inline]
    pub(crate) fn has_yielded(&self) -> bool {
        self.yielded.get()
    }
}

/// Leaves a [`Frame`].
pub(crate) struct FrameGuard<'a> {
    frame: &'a Frame,
    _here: PhantomData<*const ()>,
}

impl Drop for FrameGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with(|current| current.frame.set(self.frame.up.get()));
    }
}

/// The frames from the innermost outwards.
#[inline]
fn frames<'a>() -> impl Iterator<Item = &'a Frame> {
    // SAFETY: an entered frame outlives its guard, and guards nest: all on the chain are valid
    // until this thread leaves them, which it does not while a caller here looks.
    let first = unsafe { CURRENT.with(|current| current.frame.get()).as_ref() };
    // SAFETY: as above.
    std::iter::successors(first, |frame| unsafe { frame.up.get().as_ref() })
}

#[inline]
fn current_coroutine() -> *const Node {
    frames().next().map_or(ptr::null(), |frame| frame.coroutine)
}

/// The node of the innermost frame, made if need be.
pub(crate) fn node() -> Option<NodeRef> {
    // SAFETY: as in `frames`.
    node_of(unsafe { CURRENT.with(|current| current.frame.get()).as_ref() }?)
}

fn node_of(frame: &Frame) -> Option<NodeRef> {
    let node = match frame.node {
        FrameNode::Made(node) => node,
        FrameNode::Lazy(lazy) => {
            // SAFETY: as in `frames`.
            let parent = match unsafe { frame.up.get().as_ref() } {
                Some(up) => node_of(up)?,
                None => hooks::with(|runtime| runtime.root()).into_node(),
            };
            // SAFETY: valid while the frame is entered.
            unsafe { &*lazy }.node(&parent)
        }
    };
    // SAFETY: whoever entered the frame keeps the node.
    Some(unsafe { NodeRef::retain(node) })
}

/// The node that new regions belong to: the innermost frame's, else the runtime's root.
pub(crate) fn node_or_root() -> NodeRef {
    node().unwrap_or_else(|| hooks::with(|runtime| runtime.root()).into_node())
}

/// Whether a cancellation is due for the code that asks: of its coroutine, or of a region that it
/// runs in.
pub(crate) fn is_cancelled() -> bool {
    frames().any(|frame| match frame.node {
        // SAFETY: the node's body is running in this frame, so the node has not ended.
        FrameNode::Made(node) => unsafe { node.as_ref().is_cancelled() },
        // SAFETY: valid while the frame is entered.
        FrameNode::Lazy(lazy) => unsafe { &*lazy }.is_expired(),
    })
}

/// Notes that the current coroutine gives way, if `waker` is its own; else answers false.
#[inline]
pub(crate) fn yield_to_queue(waker: &task::Waker) -> bool {
    let Some(coroutine) = frames().find(|frame| {
        ptr::eq(
            frame.coroutine,
            match frame.node {
                FrameNode::Made(node) => node.as_ptr(),
                FrameNode::Lazy(_) => return false,
            },
        )
    }) else {
        return false;
    };
    let own = WakerWord::is_cell_of(coroutine.coroutine.cast(), waker);
    if own {
        coroutine.yielded.set(true);
    }
    own
}

/// Calls `f` with the wait word of the current coroutine, or of the region at the root.
#[inline]
pub(crate) fn with_wait_word(f: impl FnOnce(&WaitWord)) {
    let Some(frame) = frames().next() else { return };
    let node = match frame.node {
        _ if !frame.coroutine.is_null() => frame.coroutine,
        FrameNode::Made(node) => node.as_ptr(),
        FrameNode::Lazy(_) => return,
    };
    // SAFETY: the frame keeps its node, and the poll in progress its coroutine.
    f(&unsafe { &*node }.wait);
}

/// Calls `f` with the context in force, if there is one.
pub(crate) fn with_context<R>(f: impl FnOnce(&ContextInner) -> R) -> Option<R> {
    let node = node()?;
    // SAFETY: the innermost frame's node has not ended: its body runs.
    Some(f(unsafe { node.context() }))
}

/// Whether `runtime` is the one of this thread, which keeps it.
#[inline]
pub(crate) fn is_runtime(runtime: &Arc<dyn RuntimeHooks>) -> bool {
    // The address tells runtimes apart; two vtables of one type may differ.
    self::runtime().is_some_and(|here| here.addr() == NonNull::from(&**runtime).addr())
}

/// The runtime, made current for a poll on a thread that is not one of its own.
#[inline]
pub(crate) fn enter_runtime(runtime: &Arc<dyn RuntimeHooks>) -> RuntimeGuard {
    if is_runtime(runtime) {
        return RuntimeGuard(None);
    }
    // The coroutine that is polled may end and free its context, so the guard counts its own.
    RuntimeGuard(Some(hooks::enter(Arc::clone(runtime))))
}

/// Leaves an [`enter_runtime`].
pub(crate) struct RuntimeGuard(
    #[expect(dead_code, reason = "kept for its destructor")] Option<hooks::Entered>,
);

/// Whether `node` is cancelled by its own mark.
pub(crate) fn is_marked(node: &Node) -> bool {
    node.state.load().has(state::CANCELLED)
}
