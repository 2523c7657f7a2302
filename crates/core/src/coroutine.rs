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

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{self, Poll};

use crate::context::ContextInner;
use crate::current::{self, Frame, Poll as InPoll};
use crate::dispatch::Dispatch;
use crate::error::{CancelCause, Cancelled, Who};
use crate::failure::{self, Failure, Panic};
use crate::local;
use crate::moves;
use crate::node::state::{self, Snapshot, State, Suspend, Wake};
use crate::node::{Kind, Node, NodeRef, Polled, VTable, cancel, free_own_context, tree};
use crate::prim::UnsafeCell;
use crate::unconfined;

mod waker;

pub(crate) use waker::WAKER_VTABLE;

/// What has panicked if a dispatcher has.
const DISPATCHER: &str = "dispatcher of the coroutine launched";

/// A coroutine that is ready to be resumed: what dispatchers hand on and [`run`](Self::run).
///
/// Dropping it instead cancels it, with the cause [`Shutdown`](CancelCause::Shutdown): its future
/// is dropped by the runtime's default dispatcher, or here if that is gone.
///
/// # Examples
///
/// A dispatcher that leaves coroutines to the main thread:
///
/// ```
/// use std::sync::mpsc;
/// use std::thread;
/// use corymb::{Coroutine, prelude::*};
///
/// let (queue, ready) = mpsc::channel();
/// let here = Dispatcher::custom(move |coroutine: Coroutine| queue.send(coroutine).unwrap());
/// let other = thread::spawn(|| {
///     run_blocking(scope(async |s| {
///         s.coroutine().on(here).spawn(async { thread::current().id() }).await
///     }))
/// });
/// ready.recv().unwrap().run(); // polls it on this thread
/// assert_eq!(other.join().unwrap(), thread::current().id());
/// ```
#[must_use = "dropping it cancels the coroutine"]
pub struct Coroutine(NonNull<Node>);

// SAFETY: `spawn` takes only Send futures with Send outputs; the node is Send and Sync.
unsafe impl Send for Coroutine {}
// SAFETY: nothing can be done with a shared reference but look at constant fields of the node.
unsafe impl Sync for Coroutine {}

impl Coroutine {
    /// # Safety
    ///
    /// The caller owns the schedule of `node`: it set SCHEDULED, and makes one `Coroutine` of it.
    pub(crate) unsafe fn from_node(node: NonNull<Node>) -> Self {
        Self(node)
    }

    /// Polls the coroutine once.
    ///
    /// A panic in it is caught and becomes its failure.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{Coroutine, prelude::*};
    ///
    /// let threads = Dispatcher::custom(|coroutine: Coroutine| {
    ///     std::thread::spawn(move || coroutine.run());
    /// });
    /// let sum = run_blocking(scope(async |s| s.coroutine().on(threads).spawn(async { 2 }).await));
    /// assert_eq!(sum, 2);
    /// ```
    pub fn run(self) {
        let node = ManuallyDrop::new(self).0;
        // SAFETY: an unfinished node is valid, and only who runs it can finish it.
        let this = unsafe { node.as_ref() };
        let seen = this.state.start_poll();
        // SAFETY: unfinished.
        let runtime = current::enter_runtime(unsafe { &this.context().runtime });
        let poll = InPoll::new(node, &runtime);
        // SAFETY: unfinished. (A coroutine that is linked has been marked by the cancel itself.)
        let is_cancelled = unsafe { this.is_cancelled() };
        if is_cancelled || seen.has(state::CANCELLED | state::MOVES | state::BOUND) {
            // SAFETY: this thread polls, and the future is there.
            unsafe { run_special(&poll, node, seen) };
        } else {
            // SAFETY: this thread polls, and the future is there.
            unsafe { run_body(&poll, node) };
        }
        if current::has_unconfined() {
            unconfined::after_poll(runtime.level());
        }
    }

    /// Drops the coroutine's future here and completes it as cancelled: for dispatchers that
    /// have shut down.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use corymb::{CancelCause, Coroutine, JoinError, prelude::*};
    ///
    /// let (queue, ready) = mpsc::channel();
    /// let closed = Dispatcher::custom(move |coroutine: Coroutine| queue.send(coroutine).unwrap());
    /// let outcome = run_blocking(scope(async |s| {
    ///     let child = s.coroutine().on(closed).spawn(async {});
    ///     ready.recv().unwrap().discard();
    ///     child.outcome().await
    /// }));
    /// let Err(JoinError::Cancelled(cancelled)) = outcome else { unreachable!() };
    /// assert!(matches!(cancelled.cause(), CancelCause::Shutdown));
    /// ```
    pub fn discard(self) {
        self.mark_shutdown();
        self.run();
    }

    /// The coroutine, as errors name it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{Coroutine, prelude::*};
    ///
    /// let named = Dispatcher::custom(|coroutine: Coroutine| {
    ///     assert_eq!(coroutine.who().name(), Some("child"));
    ///     std::thread::spawn(move || coroutine.run());
    /// });
    /// run_blocking(scope(async |s| {
    ///     s.coroutine().on(named).name("child").launch(async {});
    /// }));
    /// ```
    pub fn who(&self) -> Who {
        // SAFETY: unfinished while its `Coroutine` exists.
        unsafe { self.0.as_ref().who_unended() }
    }

    /// Where it was launched, without what [`who`](Self::who) costs.
    #[doc(hidden)]
    #[inline]
    pub fn launched_at(&self) -> &'static Location<'static> {
        // SAFETY: unfinished while its `Coroutine` exists.
        unsafe { self.0.as_ref().site }
    }

    /// What [`into_raw`](Self::into_raw) would give, for comparing.
    #[doc(hidden)]
    #[inline]
    pub fn address(&self) -> *const () {
        self.0.as_ptr().cast_const().cast()
    }

    /// A pointer that stands for this object, to be stored where a type with a destructor cannot
    /// be.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{Coroutine, prelude::*};
    ///
    /// let threads = Dispatcher::custom(|coroutine: Coroutine| {
    ///     let raw = coroutine.into_raw().expose_provenance();
    ///     std::thread::spawn(move || {
    ///         // SAFETY: it came from `into_raw`, and is taken back once.
    ///         unsafe { Coroutine::from_raw(std::ptr::with_exposed_provenance(raw)) }.run();
    ///     });
    /// });
    /// let sum = run_blocking(scope(async |s| s.coroutine().on(threads).spawn(async { 2 }).await));
    /// assert_eq!(sum, 2);
    /// ```
    pub fn into_raw(self) -> *const () {
        ManuallyDrop::new(self).0.as_ptr().cast_const().cast()
    }

    /// Takes back what [`into_raw`](Self::into_raw) gave.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{Coroutine, prelude::*};
    ///
    /// let threads = Dispatcher::custom(|coroutine: Coroutine| {
    ///     let again = coroutine.into_raw();
    ///     // SAFETY: it came from `into_raw`, and is taken back once.
    ///     let coroutine = unsafe { Coroutine::from_raw(again) };
    ///     std::thread::spawn(move || coroutine.run());
    /// });
    /// let sum = run_blocking(scope(async |s| s.coroutine().on(threads).spawn(async { 2 }).await));
    /// assert_eq!(sum, 2);
    /// ```
    ///
    /// # Safety
    ///
    /// `raw` came from `into_raw` and is taken back once.
    pub unsafe fn from_raw(raw: *const ()) -> Self {
        // SAFETY: `into_raw` gave the address of a node.
        Self(unsafe { NonNull::new_unchecked(raw.cast::<Node>().cast_mut()) })
    }

    /// Hands it to its dispatcher.
    #[inline]
    pub(crate) fn dispatch(self) {
        self.dispatch_by(|dispatch, coroutine| dispatch.dispatch(coroutine));
    }

    #[inline]
    pub(crate) fn dispatch_by(self, f: impl FnOnce(&dyn Dispatch, Self)) {
        // SAFETY: unfinished.
        let seen = unsafe { self.0.as_ref() }.state.load();
        if seen.has(state::MOVES) { self.dispatch_away(seen, f) } else { self.dispatch_home(f) }
    }

    #[cold]
    fn dispatch_away(self, seen: Snapshot, f: impl FnOnce(&dyn Dispatch, Self)) {
        // SAFETY: it is scheduled, and this object stands for that.
        match unsafe { moves::destination(self.0, seen) } {
            // SAFETY: kept until this returns.
            Some(to) => unsafe { self.deliver(NonNull::from(&*to), f) },
            None => self.dispatch_home(f),
        }
    }

    #[inline]
    fn dispatch_home(self, f: impl FnOnce(&dyn Dispatch, Self)) {
        // SAFETY: unfinished.
        let context = unsafe { self.0.as_ref().context() };
        // The coroutine may run, end and free its context before the dispatcher has returned.
        // The runtime that is current on this thread is kept while it is in use, and with it its
        // own dispatcher; any other one is counted.
        let counted;
        let is_own = context.is_default() && current::is_runtime(&context.runtime);
        let _in_use = is_own.then(current::use_runtime);
        let dispatch = if is_own {
            NonNull::from(&*context.dispatch)
        } else {
            counted = Arc::clone(&context.dispatch);
            NonNull::from(&*counted)
        };
        // SAFETY: kept as said.
        unsafe { self.deliver(dispatch, f) };
    }

    /// # Safety
    ///
    /// `dispatch` is valid during the call.
    #[inline]
    unsafe fn deliver(self, dispatch: NonNull<dyn Dispatch>, f: impl FnOnce(&dyn Dispatch, Self)) {
        // SAFETY: unfinished.
        let launched_at = unsafe { self.0.as_ref() }.site;
        // SAFETY: the caller's promise.
        let dispatched = catch_unwind(AssertUnwindSafe(|| f(unsafe { dispatch.as_ref() }, self)));
        if let Err(payload) = dispatched {
            // The coroutine was dropped by the unwinding, and so cancelled.
            let who = Who { name: None, launched_at };
            failure::report_stray(DISPATCHER, who, payload);
        }
    }

    /// Hands it to the runtime's default dispatcher, whatever its own is.
    pub(crate) fn dispatch_to_default(self, f: impl FnOnce(&dyn Dispatch, Self)) {
        // SAFETY: unfinished.
        let this = unsafe { self.0.as_ref() };
        let site = this.site;
        // SAFETY: unfinished.
        let default = unsafe { this.context() }.runtime.default_dispatch();
        failure::guard_drop(DISPATCHER, site, || f(&*default, self));
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

    /// Wakes an orphan: to be dispatched, unless it is scheduled or the poll in progress sees to it.
    pub(crate) fn wake_orphan(node: NodeRef) -> Option<Self> {
        let wake = node.state.wake();
        // SAFETY: `wake` has set SCHEDULED and left the node to us.
        (wake == Wake::Dispatch).then(|| unsafe { Self::from_node(node.as_ptr()) })
    }

    /// Drops the future of an idle orphan here, or has the poll in progress do it.
    pub(crate) fn end_orphan(node: NodeRef) {
        if let Some((_, Wake::Dispatch)) = node.state.cancel_coroutine() {
            // SAFETY: scheduled just now, and left to us; so it is unfinished until it is run.
            let coroutine = unsafe { Self::from_node(node.as_ptr()) };
            drop(node);
            coroutine.run();
        }
    }

    /// Completes a bound one whose home is gone, and leaks its future.
    #[cold]
    fn lose(self) {
        let node = ManuallyDrop::new(self).0;
        // SAFETY: unfinished.
        let this = unsafe { node.as_ref() };
        let _polling = this.state.start_poll();
        // SAFETY: unfinished.
        let _runtime = current::enter_runtime(unsafe { &this.context().runtime });
        local::report_lost();
        tree::record_cause(this);
        // SAFETY: polled by this thread; nobody touches the future any more.
        unsafe { tree::body_done(node, 0) };
    }

    fn mark_shutdown(&self) {
        // SAFETY: unfinished.
        let this = unsafe { self.0.as_ref() };
        // The node is SCHEDULED, so this dispatches nothing.
        let cause = Cancelled::new(CancelCause::Shutdown, this.site);
        // SAFETY: unfinished.
        unsafe { cancel::cancel(self.0, &cause) };
    }
}

impl Drop for Coroutine {
    fn drop(&mut self) {
        self.mark_shutdown();
        // SAFETY: unfinished.
        let this = unsafe { self.0.as_ref() };
        let again = Self(self.0);
        // SAFETY: unfinished.
        let context = unsafe { this.context() };
        let seen = this.state.set(state::REFUSED);
        if seen.has(state::REFUSED) || context.is_default() {
            // The fallback does not want it.
            return match seen.has(state::BOUND) && !context.dispatch.is_here() {
                true => again.lose(),
                false => again.run(),
            };
        }
        let site = this.site;
        let fallback = match seen.has(state::BOUND) {
            true => Arc::clone(&context.dispatch),
            false => context.runtime.default_dispatch(),
        };
        // If this panics, the coroutine comes here again.
        failure::guard_drop(DISPATCHER, site, || fallback.dispatch(again));
    }
}

impl fmt::Debug for Coroutine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Coroutine").field(&self.who()).finish()
    }
}

/// Polls the body once.
///
/// # Safety
///
/// This thread has begun to poll `node`, whose future is there; the caller uses it no more.
#[inline(always)]
unsafe fn run_body(poll: &InPoll, node: NonNull<Node>) {
    // SAFETY: polled, so unfinished.
    let this = unsafe { node.as_ref() };
    let frame = Frame::coroutine(poll);
    let waker = waker::borrowed(node);
    let mut cx = task::Context::from_waker(&waker);
    let polled = frame.catch(|| {
        // SAFETY: this thread polls, and the future is there.
        unsafe { (this.vtable.poll)(node, &mut cx) }
    });
    match polled {
        // SAFETY: this thread polls, and the future is there.
        Ok(Polled::Pending) => unsafe { suspend(node, poll, &frame) },
        // SAFETY: `poll` has put the output in the future's place.
        Ok(Polled::Ready) => unsafe { tree::body_done(node, state::VALUE) },
        // SAFETY: `poll` has dropped the future.
        Ok(Polled::Failed) => unsafe { failed(node) },
        // SAFETY: this thread polls; the stage is as a panicking poll leaves it.
        Err(payload) => unsafe { panicked(node, &frame, payload) },
    }
}

/// Polls a coroutine that has moved before, or drops one that is cancelled.
///
/// # Safety
///
/// As for [`run_body`]; `seen` is what the poll began with.
#[cold]
unsafe fn run_special(poll: &InPoll, node: NonNull<Node>, seen: Snapshot) {
    // SAFETY: polled, so unfinished.
    let this = unsafe { node.as_ref() };
    // SAFETY: unfinished.
    if seen.has(state::BOUND) && !unsafe { this.context() }.dispatch.is_here() {
        this.state.requeue(state::WOKEN);
        // SAFETY: `requeue` made it SCHEDULED, for this call.
        let coroutine = unsafe { Coroutine::from_node(node) };
        let who = coroutine.who();
        drop(coroutine);
        panic!("{who} is bound to a thread by spawn_local, and was run on another one");
    }
    if seen.has(state::MOVES) {
        poll.arrive(seen);
    }
    // SAFETY: unfinished.
    if seen.has(state::CANCELLED) || unsafe { this.is_cancelled() } {
        // SAFETY: this thread polls, and the future is there.
        return unsafe { drop_at_home(poll, node, &Frame::coroutine(poll)) };
    }
    // SAFETY: this thread polls, and the future is there.
    unsafe { run_body(poll, node) };
}

/// Drops the future of a cancelled coroutine where its own dispatcher has it.
///
/// # Safety
///
/// As for [`drop_future`].
#[cold]
unsafe fn drop_at_home(poll: &InPoll, node: NonNull<Node>, frame: &Frame) {
    if !poll.is_away() {
        // SAFETY: the caller's promise.
        return unsafe { drop_future(node, frame) };
    }
    // SAFETY: polled, so unfinished.
    let this = unsafe { node.as_ref() };
    // The cancellation may only be the parent's so far, and the next poll has to know it.
    cancel::mark_polled(this, || tree::inherited_from_parent(this));
    this.state.requeue(state::WOKEN);
    // SAFETY: `requeue` made it SCHEDULED, for this call. Cancelled, it is dispatched at home.
    unsafe { Coroutine::from_node(node) }.dispatch();
}

/// The poll returned `Pending`.
///
/// # Safety
///
/// This thread was polling `node`, whose future is there; the caller uses it no more.
#[inline]
unsafe fn suspend(node: NonNull<Node>, poll: &InPoll, frame: &Frame) {
    // SAFETY: polled, so unfinished.
    let this = unsafe { node.as_ref() };
    let seen = this.state.load();
    if seen.has(state::CANCELLED) {
        // SAFETY: the caller's promise.
        return unsafe { drop_at_home(poll, node, frame) };
    }
    if poll.has_wish() {
        // SAFETY: the caller's promise.
        return unsafe { suspend_away(node, poll, frame) };
    }
    if poll.has_yielded() || seen.has(state::SCHEDULED) {
        this.state.requeue(state::WOKEN);
        // SAFETY: `requeue` made it SCHEDULED, for this call.
        let coroutine = unsafe { Coroutine::from_node(node) };
        return coroutine.dispatch_home(|dispatch, it| dispatch.dispatch_yield(it));
    }
    // SAFETY: this thread polls it, and it is not linked.
    if !seen.has(state::LINKED) && !unsafe { tree::link(node) } {
        // SAFETY: the caller's promise.
        return unsafe { drop_at_home(poll, node, frame) };
    }
    if this.state.suspend() == Suspend::Dispatch {
        // SAFETY: a waker has left the dispatch to the thread that polled.
        unsafe { Coroutine::from_node(node) }.dispatch();
    }
}

/// The poll returned `Pending`, and a section wishes to go on elsewhere.
///
/// # Safety
///
/// As for [`suspend`].
#[cold]
unsafe fn suspend_away(node: NonNull<Node>, poll: &InPoll, frame: &Frame) {
    // SAFETY: polled, so unfinished.
    let this = unsafe { node.as_ref() };
    // SAFETY: this thread polls it, and it is not linked.
    if !this.state.set(state::MOVES).has(state::LINKED) && !unsafe { tree::link(node) } {
        // SAFETY: the caller's promise.
        return unsafe { drop_at_home(poll, node, frame) };
    }
    if poll.has_yielded() || poll.is_moving() {
        this.state.requeue(if poll.has_yielded() { state::WOKEN } else { 0 });
    } else if this.state.suspend() == Suspend::Asleep {
        return;
    }
    // SAFETY: it was made SCHEDULED for this call, or left to the thread that polled.
    unsafe { Coroutine::from_node(node) }.dispatch();
}

/// Drops the future of a cancelled coroutine and completes it.
///
/// # Safety
///
/// This thread was polling `node`, whose future is there; the caller uses it no more.
#[cold]
unsafe fn drop_future(node: NonNull<Node>, frame: &Frame) {
    // SAFETY: polled, so unfinished.
    let this = unsafe { node.as_ref() };
    cancel::mark_polled(this, || tree::inherited_from_parent(this));
    // SAFETY: the caller's promise.
    match frame.catch(|| unsafe { (this.vtable.drop_future)(node) }) {
        Ok(()) => {
            // Before the body is done, for then nobody keeps the ancestors that know it.
            tree::record_cause(this);
            // SAFETY: the future is gone.
            unsafe { tree::body_done(node, 0) }
        }
        // SAFETY: as above; the stage is empty.
        Err(payload) => unsafe { keep_panic(node, payload) },
    }
}

/// The poll panicked, or the destructor of a future that was ready did.
///
/// # Safety
///
/// This thread was polling `node`; the caller uses it no more.
#[cold]
unsafe fn panicked(node: NonNull<Node>, frame: &Frame, payload: Box<dyn Any + Send>) {
    // SAFETY: polled, so unfinished.
    let this = unsafe { node.as_ref() };
    let seen = this.state.load();
    let unwound = payload.is::<Unwound>();
    if seen.has(state::VALUE) {
        // SAFETY: `poll` had stored the output before its destructor panicked.
        unsafe { tree::drop_output(node, seen) };
    } else if !seen.has(state::GONE) {
        // SAFETY: the future is there, if in an odd state; its destructor copes with that.
        if let Err(second) = frame.catch(|| unsafe { (this.vtable.drop_future)(node) }) {
            // SAFETY: as above.
            let who = unsafe { this.who_unended() };
            failure::report_stray("destructor of a future", who, second);
        }
    }
    if unwound {
        cancel::mark_polled(this, || tree::inherited_from_parent(this));
        // SAFETY: the future is gone.
        return unsafe { tree::body_done(node, 0) };
    }
    // SAFETY: the stage is empty now.
    unsafe { keep_panic(node, payload) };
}

/// The payload of an unwinding that is a cancellation, not a panic: plain code that blocked in a
/// coroutine has no other way to end with it.
struct Unwound;

/// Ends the plain code that runs in a coroutine or scope that is cancelled; it is then as if that
/// had been dropped at a suspension.
pub fn unwind_cancelled() -> ! {
    resume_unwind(Box::new(Unwound))
}

/// Whether a caught unwinding was a cancellation.
pub(crate) fn is_cancellation(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Unwound>()
}

/// Hands a panic to the parent, keeps what is left of it, and completes the coroutine.
///
/// # Safety
///
/// This thread was polling `node`, whose stage is empty; the caller uses it no more.
unsafe fn keep_panic(node: NonNull<Node>, payload: Box<dyn Any + Send>) {
    // SAFETY: polled, so unfinished.
    let this = unsafe { node.as_ref() };
    // SAFETY: as above.
    let panic = Panic::new(unsafe { this.who_unended() }, payload);
    let kept = match tree::fail(this, Failure::Panic(panic)) {
        Some(Failure::Panic(panic)) => panic,
        _ => Panic::new(this.who(), Box::new("its failure was reported")),
    };
    cancel::mark_polled(this, || Cancelled::new(CancelCause::SiblingFailed, this.site));
    // SAFETY: the stage is empty.
    unsafe { (this.vtable.put_panic)(node, Box::new(kept)) };
    // SAFETY: the future is gone.
    unsafe { tree::body_done(node, state::PANICKED) };
}

/// The future of a child of a `try_scope` returned an error, which the scope has.
///
/// # Safety
///
/// This thread was polling `node`, whose stage is empty; the caller uses it no more.
#[cold]
unsafe fn failed(node: NonNull<Node>) {
    // SAFETY: polled, so unfinished; and so is its parent.
    let this = unsafe { node.as_ref() };
    if let Some(parent) = this.parent {
        // SAFETY: as above.
        unsafe { cancel::cancel(parent, &Cancelled::new(CancelCause::SiblingFailed, this.site)) };
    }
    cancel::mark_polled(this, || Cancelled::new(CancelCause::SiblingFailed, this.site));
    // SAFETY: the future is gone.
    unsafe { tree::body_done(node, state::FAILED) };
}

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
        // Taken out now: what is left has no destructor of somebody else's.
        failure::guard_drop("waker", site, || drop(this.waiter.take()));
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

/// Makes a coroutine in `region` and dispatches it. The reference that comes back is counted; with
/// `HANDLE` in `flags` it is for a `Deferred`.
pub(crate) fn spawn<F, S>(
    region: &NodeRef,
    context: Option<Arc<ContextInner>>,
    flags: u64,
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
    let (context, own) = match context {
        Some(context) => (Arc::into_raw(context), state::OWN_CONTEXT),
        None => (region.context, 0),
    };
    let state = State::new(state::SCHEDULED | flags | own, 2);
    let parent = Some(region.as_ptr());
    let node =
        new_cell::<F, S>(Node::new(state, &Cell::<F, S>::VTABLE, context, parent, site), future);
    // SAFETY: the region's context, which is there while a child is counted, or our own.
    if own != 0 || unsafe { (*context).lists_at_launch } {
        // Named ones show in the tree from the start.
        // SAFETY: never dispatched yet, so it is this thread's, and counted in its region's census.
        unsafe {
            if !tree::link(node) {
                let this = node.as_ref();
                cancel::mark_polled(this, || tree::inherited_from_parent(this));
            }
        }
    }
    // SAFETY: born SCHEDULED.
    let coroutine = unsafe { Coroutine::from_node(node) };
    // SAFETY: the region's, or the node's own; nobody has polled the coroutine.
    if unsafe { (*context).starts_inline && (*context).starts_here() } {
        unconfined::start(coroutine);
    } else {
        coroutine.dispatch_by(|dispatch, it| dispatch.dispatch_new(it));
    }
    // SAFETY: the second of the two references that it was born with.
    unsafe { NodeRef::from_owned(node) }
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
