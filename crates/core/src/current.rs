//! What runs on this thread: the runtime, and the frames of the poll in progress.
//!
//! While a coroutine is polled, its stack holds a chain of [`Frame`]s: one for the coroutine, and
//! one for each region (scope, timeout) whose body is being polled inside it. The innermost frame
//! tells whose a newly opened scope is and whether the code that asks is cancelled.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task;

use crate::context::ContextInner;
use crate::hooks::{self, RuntimeHooks};
use crate::job::Job;
use crate::node::{Kind, Node, NodeRef, state};
use crate::prim::thread_local;
use crate::time::Limit;
use crate::wait::WaitWord;
use crate::waker_word::WakerWord;

struct Current {
    frame: Cell<*const Frame>,
    runtime: Cell<Option<NonNull<dyn RuntimeHooks>>>,
    /// How many runtimes are entered.
    depth: Cell<usize>,
    /// How many calls of the runtime are on the stack.
    in_use: Cell<usize>,
}

// Without a destructor, so that it works in destructors of other thread-locals, and costs one
// load to reach.
thread_local! {
    static CURRENT: Current = const {
        Current {
            frame: Cell::new(ptr::null()),
            runtime: Cell::new(None),
            depth: Cell::new(0),
            in_use: Cell::new(0),
        }
    };
}

/// Sets the runtime of this thread and answers the one before, and how many are entered now. The
/// caller keeps it alive until [`pop_runtime`] has answered true.
pub(crate) fn push_runtime(
    runtime: NonNull<dyn RuntimeHooks>,
) -> (Option<NonNull<dyn RuntimeHooks>>, usize) {
    CURRENT.with(|current| {
        current.depth.set(current.depth.get() + 1);
        (current.runtime.replace(Some(runtime)), current.depth.get())
    })
}

/// Sets the runtime of this thread back, if it was entered last: false, and no change, if not.
pub(crate) fn pop_runtime(outer: Option<NonNull<dyn RuntimeHooks>>, depth: usize) -> bool {
    CURRENT.with(|current| {
        let last = current.depth.get() == depth;
        if last {
            current.depth.set(depth - 1);
            current.runtime.set(outer);
        }
        last
    })
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

    /// Whether it is the frame of a coroutine itself.
    fn is_coroutine(&self) -> bool {
        match self.node {
            FrameNode::Made(node) => ptr::eq(self.coroutine, node.as_ptr()),
            FrameNode::Lazy(_) => false,
        }
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

/// All frames, from the innermost outwards.
#[inline]
fn frames<'a>() -> impl Iterator<Item = &'a Frame> {
    // SAFETY: an entered frame outlives its guard, and guards nest: all on the chain are valid
    // until this thread leaves them, which it does not while a caller here looks.
    let first = unsafe { CURRENT.with(|current| current.frame.get()).as_ref() };
    // SAFETY: as above.
    std::iter::successors(first, |frame| unsafe { frame.up.get().as_ref() })
}

/// The frames of the innermost coroutine's poll. Those further out are of a coroutine that runs
/// this one in its own poll, and do not concern it.
fn frames_here<'a>() -> impl Iterator<Item = &'a Frame> {
    let mut inside = true;
    frames().take_while(move |frame| {
        let here = inside;
        inside &= !frame.is_coroutine();
        here
    })
}

/// The coroutines in whose polls this is, from the innermost outwards.
pub(crate) fn coroutines() -> impl Iterator<Item = *const Node> {
    frames().filter(|frame| frame.is_coroutine()).map(|frame| frame.coroutine)
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
    frames_here().any(|frame| match frame.node {
        // SAFETY: the frame keeps the node. If it is a coroutine, its body is running here, so it
        // has not ended; if it is a region, it is linked, and its parent is not looked at.
        FrameNode::Made(node) => unsafe { node.as_ref().is_cancelled() },
        // SAFETY: valid while the frame is entered.
        FrameNode::Lazy(lazy) => unsafe { &*lazy }.is_expired(),
    })
}

/// Notes that the current coroutine gives way, if `waker` is its own; else answers false.
#[inline]
pub(crate) fn yield_to_queue(waker: &task::Waker) -> bool {
    let Some(coroutine) = frames().find(|frame| frame.is_coroutine()) else { return false };
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
    // SAFETY: no token has a frame, and unended during the call.
    with_unended(|node| f(unsafe { node.context() }))
}

/// Calls `f` with the node of the innermost frame, kept from ending. None outside of frames, and
/// in a region that another thread has closed because its opener has ended.
pub(crate) fn with_unended<R>(f: impl FnOnce(&Node) -> R) -> Option<R> {
    let node = node()?;
    match node.kind() {
        // Its body runs here.
        Kind::Coroutine => Some(f(&node)),
        _ => Job::from_node(node).pinned(f),
    }
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
    let before = CURRENT.with(|current| (current.runtime.get(), current.depth.get()));
    // The coroutine that is polled may end and free its context, so the guard counts its own.
    let kept = (!is_runtime(runtime)).then(|| Arc::clone(runtime));
    if let Some(runtime) = &kept {
        push_runtime(NonNull::from(&**runtime));
    }
    RuntimeGuard { before, kept: ManuallyDrop::new(kept) }
}

/// Leaves an [`enter_runtime`], and whatever runtimes the poll has entered and not left.
pub(crate) struct RuntimeGuard {
    before: (Option<NonNull<dyn RuntimeHooks>>, usize),
    kept: ManuallyDrop<Option<Arc<dyn RuntimeHooks>>>,
}

impl Drop for RuntimeGuard {
    #[inline]
    fn drop(&mut self) {
        let (runtime, depth) = self.before;
        let entered = usize::from(self.kept.is_some());
        let in_order = CURRENT.with(|current| {
            let in_order = current.depth.get() == depth + entered;
            if !in_order || entered > 0 {
                current.runtime.set(runtime);
                current.depth.set(depth);
            }
            in_order
        });
        // A guard that was left behind may lead back to it.
        if in_order && !is_runtime_in_use() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.kept) };
        }
    }
}

/// The runtime of this thread, with a guard for the time in which it is used.
#[inline]
pub(crate) fn use_runtime() -> Option<(NonNull<dyn RuntimeHooks>, InUse)> {
    let runtime = runtime()?;
    CURRENT.with(|current| current.in_use.set(current.in_use.get() + 1));
    Some((runtime, InUse(PhantomData)))
}

/// Whether a call of the runtime is on this thread's stack.
#[inline]
pub(crate) fn is_runtime_in_use() -> bool {
    CURRENT.with(|current| current.in_use.get() > 0)
}

/// Ends a [`use_runtime`].
pub(crate) struct InUse(PhantomData<*const ()>);

impl Drop for InUse {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with(|current| current.in_use.set(current.in_use.get() - 1));
    }
}

/// Whether `node` is cancelled by its own mark.
pub(crate) fn is_marked(node: &Node) -> bool {
    node.state.load().has(state::CANCELLED)
}
