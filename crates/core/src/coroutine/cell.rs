//! The coroutine cell: a state machine, and later its output, behind a job node.
//!
//! One allocation holds the [`Node`], which is also the waker, and the *stage*: the future until
//! the body is done, then the output or the caught panic, in the same place.
//!
//! # Who may touch the stage
//!
//! - Before `BODY_DONE`: the thread that holds the node's [`Coroutine`] or polls it. There is one
//!   at most (invariant 1 of [`state`](crate::node::state)).
//! - After: the owner of the output (invariant 4 there).

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{self, Poll};

use super::Coroutine;
use crate::context::ContextInner;
use crate::error::{CancelCause, Cancelled};
use crate::failure::{self, Panic};
use crate::node::state::{self, State};
use crate::node::{Kind, Node, NodeRef, Polled, VTable, free_own_context, passive, tree};
use crate::prim::UnsafeCell;
use crate::unconfined;

/// What becomes of a future's output.
pub(crate) trait Settle<Output>: 'static {
    /// What the cell keeps for a `Deferred`.
    type Value: Send;

    /// Splits the output into a value, or a failure that `node`'s parent has now.
    ///
    /// # Safety
    ///
    /// `node` is a cell that was made with this policy, in a region that suits it.
    unsafe fn settle(node: &Node, output: Output) -> Option<Self::Value>;
}

/// Every output is a value.
pub(crate) struct Plain;

impl<T: Send + 'static> Settle<T> for Plain {
    type Value = T;

    unsafe fn settle(_: &Node, output: T) -> Option<T> {
        Some(output)
    }
}

union Stage<F, T> {
    future: ManuallyDrop<F>,
    output: ManuallyDrop<T>,
    panic: ManuallyDrop<Box<Panic>>,
}

/// The cell.
#[repr(C)]
struct Cell<F: Future, S: Settle<F::Output>> {
    node: Node,
    stage: UnsafeCell<Stage<F, S::Value>>,
    settle: PhantomData<S>,
}

impl<F: Future, S: Settle<F::Output>> Cell<F, S> {
    const VTABLE: VTable = VTable {
        kind: Kind::Coroutine,
        name: "coroutine",
        poll: Self::poll,
        drop_future: Self::drop_future,
        put_panic: Self::put_panic,
        take_panic: Self::take_panic,
        drop_output: Self::drop_output,
        take_output: Self::take_output,
        dealloc: Self::dealloc,
    };

    /// The stage of the cell that `node` heads.
    fn stage(node: NonNull<Node>) -> *mut Stage<F, S::Value> {
        // SAFETY: `node` heads a living cell of this type, by the vtable's contract.
        let stage = unsafe { &(*node.cast::<Self>().as_ptr()).stage };
        stage.with_mut(|stage| stage)
    }

    unsafe fn poll(node: NonNull<Node>, cx: &mut task::Context<'_>) -> Polled {
        let stage = Self::stage(node);
        // SAFETY: the stage holds the future, this thread alone has it, and it never moves.
        let future = unsafe { Pin::new_unchecked(&mut *(*stage).future) };
        let Poll::Ready(output) = future.poll(cx) else { return Polled::Pending };
        // SAFETY: made with S, by the vtable's contract.
        let value = unsafe { S::settle(node.as_ref(), output) };
        let polled = if value.is_some() { Polled::Ready } else { Polled::Failed };
        let put = PutOnDrop::<F, S> { node, value };
        // SAFETY: the future is there; whatever its destructor does, it is gone afterwards.
        unsafe { ManuallyDrop::drop(&mut (*stage).future) };
        put.put();
        polled
    }

    unsafe fn drop_future(node: NonNull<Node>) {
        // SAFETY: the stage holds the future, and it is this thread's.
        unsafe { ManuallyDrop::drop(&mut (*Self::stage(node)).future) };
    }

    unsafe fn put_panic(node: NonNull<Node>, panic: Box<Panic>) {
        let stage = Self::stage(node);
        // SAFETY: the stage is empty and this thread's.
        unsafe { (*stage).panic = ManuallyDrop::new(panic) };
    }

    unsafe fn take_panic(node: NonNull<Node>) -> Box<Panic> {
        // SAFETY: the stage holds a panic, and it is the caller's.
        unsafe { ManuallyDrop::take(&mut (*Self::stage(node)).panic) }
    }

    unsafe fn drop_output(node: NonNull<Node>) {
        // SAFETY: the stage holds the output, and it is the caller's.
        unsafe { ManuallyDrop::drop(&mut (*Self::stage(node)).output) };
    }

    unsafe fn take_output(node: NonNull<Node>, to: *mut ()) {
        // SAFETY: the stage holds the output, and it is the caller's.
        let output = unsafe { ManuallyDrop::take(&mut (*Self::stage(node)).output) };
        // SAFETY: `to` leads to room for a value of this type.
        unsafe { to.cast::<S::Value>().write(output) };
    }

    unsafe fn dealloc(node: NonNull<Node>) {
        // SAFETY: the last reference is gone.
        let (this, site) = unsafe { (node.as_ref(), node.as_ref().site) };
        let seen = this.state.load();
        if seen.has(state::SIDE) {
            // SAFETY: made by `make_side`.
            failure::guard_drop("cause or handler", site, || unsafe { this.free_side() });
        }
        // SAFETY: as above.
        unsafe { free_own_context(this) };
        if seen.has(state::WAITER) {
            // Taken out now: what is left has no destructor of somebody else's.
            failure::guard_drop("waker", site, || drop(this.waiter.take()));
        }
        // SAFETY: came from a box of this type; the stage is empty and a union has no drop glue.
        drop(unsafe { Box::from_raw(node.cast::<Self>().as_ptr()) });
    }
}

/// Puts the output where the future was, also if the future's destructor panics: GONE and VALUE
/// tell [`panicked`] so.
struct PutOnDrop<F: Future, S: Settle<F::Output>> {
    node: NonNull<Node>,
    value: Option<S::Value>,
}

impl<F: Future, S: Settle<F::Output>> PutOnDrop<F, S> {
    #[inline]
    fn put(mut self) {
        self.store();
        std::mem::forget(self);
    }

    #[inline]
    fn store(&mut self) -> bool {
        let Some(value) = self.value.take() else { return false };
        // SAFETY: the future is gone, so the stage is empty and this thread's.
        unsafe { (*Cell::<F, S>::stage(self.node)).output = ManuallyDrop::new(value) };
        true
    }
}

impl<F: Future, S: Settle<F::Output>> Drop for PutOnDrop<F, S> {
    fn drop(&mut self) {
        let value = if self.store() { state::VALUE } else { 0 };
        // SAFETY: being polled, so unfinished.
        unsafe { self.node.as_ref() }.state.set(state::GONE | value);
    }
}

/// When a coroutine is polled first.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    /// When its dispatcher comes to it.
    #[default]
    Dispatched,
    /// When somebody has started it.
    Lazy,
    /// In the code that launches it.
    Undispatched,
    /// As `Undispatched`; it serves the others, and ends after them.
    Service,
}

/// Makes a coroutine in `region` and starts it. The reference that comes back is counted; with
/// `HANDLE` in `flags` it is for a `Deferred`.
pub(crate) fn spawn<F, S>(
    region: &NodeRef,
    context: Option<Arc<ContextInner>>,
    (flags, start): (u64, Start),
    site: &'static Location<'static>,
    future: F,
) -> NodeRef
where
    F: Future + Send + 'static,
    S: Settle<F::Output>,
{
    if !region.side().is_some_and(|side| side.census.join()) {
        return stillborn::<F, S>(region, flags, site, future);
    }
    // SAFETY: the child is counted from here on.
    unsafe { tree::list(region.as_ptr()) };
    // SAFETY: the region's, which is there while a child is counted.
    let (context, own) = match child_context(unsafe { region.context() }, context) {
        Some(context) => (Arc::into_raw(context), state::OWN_CONTEXT),
        None => (region.context, 0),
    };
    let born = match start {
        Start::Dispatched | Start::Undispatched => state::SCHEDULED,
        Start::Lazy => state::NEW | state::PASSIVE,
        Start::Service => state::SCHEDULED | state::PASSIVE | state::SHIELD,
    };
    // SAFETY: the region's context, which is there while the child is, or our own.
    let state = State::new(born | flags | own | unsafe { (*context).flags }, 2);
    let parent = Some(region.as_ptr());
    let node =
        new_cell::<F, S>(Node::new(state, &Cell::<F, S>::VTABLE, context, parent, site), future);
    // SAFETY: the second of the two references that it was born with.
    let reference = unsafe { NodeRef::from_owned(node) };
    if matches!(start, Start::Lazy | Start::Service) {
        // SAFETY: born so, counted above, and nobody else's yet.
        unsafe { passive::enlist(region, node) };
    }
    if start == Start::Lazy {
        return reference;
    }
    // SAFETY: the region's context, which is there while the child is, or our own.
    let is_listed = start == Start::Undispatched || unsafe { (*context).lists_at_launch };
    if start != Start::Service && (own != 0 || is_listed) {
        // Named ones show in the tree from the start.
        // SAFETY: never dispatched yet, so it is this thread's, and counted in its region's census.
        unsafe { tree::link(node) };
    }
    // SAFETY: born SCHEDULED.
    let coroutine = unsafe { Coroutine::from_node(node) };
    match start {
        // A service is ended by the end of the others, which may come before any dispatch.
        Start::Undispatched | Start::Service => coroutine.begin_here(),
        _ => coroutine.begin(),
    }
    reference
}

/// The context of a child, unless it is the region's.
#[inline]
fn child_context(
    region: &ContextInner,
    own: Option<Arc<ContextInner>>,
) -> Option<Arc<ContextInner>> {
    if !own.as_deref().unwrap_or(region).changes_for_child() {
        return own;
    }
    Some(Arc::new(own.as_deref().unwrap_or(region).for_child(own.is_some())))
}

/// Makes the coroutine that a region ends with: it is counted already, no cancellation from above
/// reaches it, and it shows in the tree.
pub(crate) fn spawn_last<F>(region: &NodeRef, site: &'static Location<'static>, future: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    // SAFETY: the region's, which is there while a child is counted.
    let flags = unsafe { region.context() }.flags;
    let state = State::new(state::SCHEDULED | state::SHIELD | flags, 1);
    let vtable = &Cell::<F, Plain>::VTABLE;
    let node = Node::new(state, vtable, region.context, Some(region.as_ptr()), site);
    let node = new_cell::<F, Plain>(node, future);
    // SAFETY: never dispatched yet, so it is this thread's, and counted in its region's census.
    unsafe { tree::link(node) };
    // SAFETY: born SCHEDULED.
    unsafe { Coroutine::from_node(node) }.dispatch();
}

/// A coroutine launched into a region that has ended: cancelled, its future dropped unpolled.
#[cold]
fn stillborn<F, S>(
    region: &Node,
    flags: u64,
    site: &'static Location<'static>,
    future: F,
) -> NodeRef
where
    F: Future + Send + 'static,
    S: Settle<F::Output>,
{
    failure::guard_drop("future", site, || drop(future));
    let flags = flags | state::BODY_DONE | state::ENDED | state::SETTLED | state::CANCELLED;
    let node = Node::new(State::new(flags, 1), &Cell::<F, S>::VTABLE, std::ptr::null(), None, site);
    let cell = Box::new(Cell::<F, S> {
        node,
        // SAFETY: a stage may be empty; the flags say that it is.
        stage: UnsafeCell::new(unsafe { std::mem::MaybeUninit::uninit().assume_init() }),
        settle: PhantomData,
    });
    let cause = match region.kind() {
        Kind::Root => CancelCause::Shutdown,
        _ => CancelCause::ScopeEnded,
    };
    let cause = Cancelled::new(cause, region.site);
    cell.node.make_side().0.lock().cause = Some(cause);
    // SAFETY: the one reference that it was born with.
    unsafe { NodeRef::from_owned(NonNull::from(Box::leak(cell)).cast()) }
}

fn new_cell<F: Future, S: Settle<F::Output>>(node: Node, future: F) -> NonNull<Node> {
    let stage = UnsafeCell::new(Stage { future: ManuallyDrop::new(future) });
    NonNull::from(Box::leak(Box::new(Cell::<F, S> { node, stage, settle: PhantomData }))).cast()
}

impl Coroutine {
    /// Has one that was never polled begin: by its dispatcher, or here, if that is its way.
    pub(crate) fn begin(self) {
        // SAFETY: unfinished, as it was not polled yet.
        let context = unsafe { self.0.as_ref().context() };
        if context.starts_inline && context.starts_here() {
            unconfined::start(self);
        } else {
            self.dispatch_by(|dispatch, it| dispatch.dispatch_new(it));
        }
    }

    /// A coroutine outside of the tree: nobody sees it, cancels it from above or awaits it. Whoever
    /// keeps a reference to it resumes it by [`wake_orphan`](Self::wake_orphan).
    pub(crate) fn orphan<F>(
        context: Arc<ContextInner>,
        site: &'static Location<'static>,
        future: F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let state = State::new(state::SCHEDULED | state::OWN_CONTEXT, 1);
        let vtable = &Cell::<F, Plain>::VTABLE;
        let node = Node::new(state, vtable, Arc::into_raw(context), None, site);
        // SAFETY: born SCHEDULED.
        unsafe { Self::from_node(new_cell::<F, Plain>(node, future)) }
    }
}
