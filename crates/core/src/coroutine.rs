//! A coroutine that is ready to be resumed.

use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::cleanup;
use crate::current::{self, Poll as InPoll};
use crate::dispatch::Dispatch;
use crate::error::{CancelCause, Cancelled, Who};
use crate::failure::{self, Failure, flight};
use crate::job::Job;
use crate::moves;
use crate::node::state::{self, Snapshot, Urgency, Wake};
use crate::node::{Node, NodeRef, cancel, tree};
use crate::unconfined;

mod cell;
mod inline;
mod poll;
mod waker;

pub(crate) use cell::{Plain, Settle, Start, spawn, spawn_last};
pub(crate) use poll::is_cancellation;
pub use poll::unwind_cancelled;
pub(crate) use waker::WAKER_VTABLE;
pub use waker::is_own_waker;

/// What makes a poll another one than most.
const SPECIAL: u64 = state::CANCELLED | state::MOVES | state::BOUND | state::HOOKED;

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
        self.run_as(None);
    }

    /// As [`run`](Self::run), on a thread that runs as `at` if that is not the coroutine's own
    /// dispatcher.
    #[inline]
    fn run_as(self, at: Option<&Arc<dyn Dispatch>>) {
        let node = ManuallyDrop::new(self).0;
        // SAFETY: an unfinished node is valid, and only who runs it can finish it.
        let this = unsafe { node.as_ref() };
        let seen = this.state.start_poll();
        // SAFETY: unfinished.
        let runtime = current::enter_runtime(unsafe { &this.context().runtime });
        let poll = InPoll::new(node, &runtime);
        if let Some(at) = at {
            // SAFETY: it is borrowed for longer than the poll lasts.
            unsafe { poll.set_at(at) };
        }
        // SAFETY: unfinished. (A coroutine that is linked has been marked by the cancel itself.)
        let is_cancelled = unsafe { this.is_cancelled() };
        if is_cancelled || seen.has(SPECIAL) {
            // SAFETY: this thread polls, and the future is there.
            unsafe { poll::run_special(&poll, node, seen) };
        } else {
            // SAFETY: this thread polls, and the future is there.
            unsafe { poll::run_body(&poll, node) };
        }
        if poll.is_followed() {
            after_poll(&poll);
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

    /// Its job.
    #[doc(hidden)]
    pub fn job(&self) -> Job {
        Job::from_node(self.reference())
    }

    /// Whether its job is `ancestor`, or one below it.
    #[doc(hidden)]
    pub fn is_below(&self, ancestor: &Job) -> bool {
        let ancestor = ancestor.node().as_ptr();
        let parent = |node: &NonNull<Node>| {
            // SAFETY: an unfinished node keeps its parent from finishing, and so on upwards.
            unsafe { node.as_ref() }.parent
        };
        std::iter::successors(Some(self.0), parent).any(|node| node == ancestor)
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
        let site = self.launched_at();
        // SAFETY: it is scheduled, and this object stands for that.
        match unsafe { moves::destination(self.0, seen) } {
            Some(to) => {
                // SAFETY: kept until it is dropped.
                unsafe { self.deliver(NonNull::from(&*to), f) };
                // The coroutine may have left there, or ended, by now.
                failure::guard_drop("destructor of a dispatcher", site, || drop(to));
            }
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
            failure::report_stray(DISPATCHER, Who::at(launched_at), payload);
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

    /// A reference for who is to resume or to end an orphan.
    pub(crate) fn reference(&self) -> NodeRef {
        // SAFETY: unfinished while its `Coroutine` exists.
        unsafe { NodeRef::retain(self.0) }
    }

    /// Wakes an orphan: to be dispatched, unless it is scheduled or the poll in progress sees to it.
    pub(crate) fn wake_orphan(node: NodeRef) -> Option<Self> {
        let wake = node.state.wake();
        // SAFETY: `wake` has set SCHEDULED and left the node to us.
        (wake == Wake::Dispatch).then(|| unsafe { Self::from_node(node.as_ptr()) })
    }

    /// Drops the future of an idle orphan here, or has the poll in progress do it.
    pub(crate) fn end_orphan(node: NodeRef) {
        if let Some((_, Wake::Dispatch)) = node.state.cancel_coroutine(Urgency::Forced) {
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
        // SAFETY: unfinished.
        let (context, who) = unsafe { (this.context(), this.who_failed()) };
        failure::report(context, &Failure::Leaked { who });
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

/// What a poll has left to be done at its end.
#[cold]
fn after_poll(poll: &InPoll) {
    if poll.take_panics() {
        flight::land(poll.address());
    }
    if let Some(owner) = poll.take_cleanups() {
        cleanup::after_poll(&owner);
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
