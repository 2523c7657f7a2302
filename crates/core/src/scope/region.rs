//! The one mechanism under scopes, cancel scopes and timeouts: a part of a coroutine's future that
//! has a job of its own.
//!
//! # States
//!
//! ```text
//!   open ──► [body] ──(1) Ready, panic──────────► [draining] ──(3) settled──► [done]
//!               │                                     ▲   │
//!               ├──(2) cancelled after a Pending──────┘   │
//!               │                                         │
//!               └──(4) dropped: children are cancelled, the opener's job waits ◄──┘
//! ```
//!
//! - (1) and (2) drop the body in place, inside the region's frame, and close the region: regions
//!   nested in it that are still open are abandoned, and the body leaves the census.
//! - (3): all children have ended; and if a section in a body that was dropped had moved the
//!   coroutine, that is back where the code around the region belongs.
//! - (4): the same as (2), but nobody waits here; failures that come later go to the failure
//!   handler.
//! - The opener's end (of its body, that is) closes what was forgotten or moved away: then the
//!   flag `ABANDONED` is set, and a poll of this future panics.

mod cell;

use std::any::Any;
use std::panic::Location;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use cell::RegionCell;
use pin_project::{pin_project, pinned_drop};

use crate::budget::Budget;
use crate::cleanup::Cleanup;
use crate::context::ContextInner;
use crate::coroutine::is_cancellation;
use crate::current::{self, Frame};
use crate::error::{CancelCause, Cancelled, Panic};
use crate::failure::{self, Failure};
use crate::hooks;
use crate::job::Job;
use crate::node::cancel::{cancel, cancel_dropped};
use crate::node::side::{Policy, Side};
use crate::node::state::{self, State};
use crate::node::{Node, NodeRef, free_own_context, tree};
use crate::time::Instant;
use crate::wait::{WaitKind, waiting_on};
use crate::with_context::come_back;

/// What a region has beside its node, if anything, and what it is, for dumps.
pub(crate) trait Part: Send + Sync + 'static {
    const NAME: &'static str;
}

/// Parts that have nothing.
macro_rules! parts {
    ($($part:ident is $name:literal;)+) => {$(
        pub(crate) struct $part;

        impl Part for $part {
            const NAME: &'static str = $name;
        }
    )+};
}

parts! {
    PlainScope is "scope";
    SupervisorScope is "supervisor scope";
    CancelScope is "cancel scope";
    OwnedScope is "owned scope";
    Timeout is "timeout";
    Shield is "shield";
    Final is "finally";
    Move is "spawn_on";
    Run is "run_blocking";
}

/// Opens a region in the job that is current, which owns it from now on.
pub(crate) fn open<X: Part>(policy: Policy, extra: X, site: &'static Location<'static>) -> NodeRef {
    let open = |parent: &_| open_in(parent, current::region_context(), policy, extra, site);
    current::with_node_or_root(open).unwrap_or_else(|extra| open_cancelled(policy, extra, site))
}

/// Opens the region of a scope in the first poll of its future; for the future, and for the handle.
/// Right in a coroutine it is unlisted.
pub(crate) fn open_scope<X: Part>(
    policy: Policy,
    extra: X,
    site: &'static Location<'static>,
) -> [NodeRef; 2] {
    let Some(opener) = current::coroutine() else {
        let region = open(policy, extra, site);
        return [region.clone(), region];
    };
    let node = || {
        // SAFETY: it is polled here. Right in a coroutine its own context is in force.
        let context = unsafe { opener.as_ref() }.context;
        let state = State::new(state::COUNTED, 3);
        Node::new(state, &RegionCell::<X>::VTABLE, context, Some(opener), site)
    };
    let node = RegionCell::new(node, policy, extra).cast();
    // SAFETY: two of the three references that it was born with.
    [(); 2].map(|()| unsafe { NodeRef::from_owned(node) })
}

/// Opens one at which cancellations from above stop.
pub(crate) fn open_shield(flags: u64, site: &'static Location<'static>) -> NodeRef {
    let context = current::region_context();
    let open =
        |parent: &_| open_flagged(flags, parent, context, Policy::FailFast, Shield, site, |_| ());
    current::with_node_or_root(open)
        .unwrap_or_else(|_| open_cancelled(Policy::FailFast, Shield, site))
}

/// Opens a region for code whose own job has ended already: it runs in a region that was
/// abandoned. The new one is given to the root, cancelled, so that it ends at its first suspension.
pub(crate) fn open_cancelled<X: Part>(
    policy: Policy,
    extra: X,
    site: &'static Location<'static>,
) -> NodeRef {
    open_cancelled_flagged(0, policy, extra, site, |_| ())
}

fn open_cancelled_flagged<X: Part>(
    flags: u64,
    policy: Policy,
    extra: X,
    site: &'static Location<'static>,
    prepare: impl FnOnce(&Side),
) -> NodeRef {
    let root = hooks::with(|runtime| runtime.root()).into_node();
    let region = open_flagged(flags, &root, None, policy, extra, site, prepare)
        .unwrap_or_else(|_| panic!("a scope was opened after its runtime had ended: {site}"));
    // SAFETY: we have a reference.
    unsafe { cancel(region.as_ptr(), &Cancelled::new(CancelCause::Dropped, site)) };
    region
}

/// Says when a region is to end at the latest, and wakes who sees to that.
pub(crate) fn set_deadline(
    region: &NodeRef,
    deadline: Option<Instant>,
    place: &'static Location<'static>,
) {
    let Some(side) = region.side() else { return };
    region.state.set(state::DEADLINE);
    side.lock().rest_mut().deadline = deadline.map(|at| (at, place));
    tree::wake_unit(region);
}

/// As [`set_deadline`], unless it was said before.
pub(crate) fn set_first_deadline(
    region: &NodeRef,
    deadline: Instant,
    place: &'static Location<'static>,
) {
    let Some(side) = region.side() else { return };
    region.state.set(state::DEADLINE);
    side.lock().rest_mut().deadline.get_or_insert((deadline, place));
    tree::wake_unit(region);
}

/// Opens one that has a cleanup before its end; that comes back if the parent has ended.
pub(crate) fn open_final(
    parent: &NodeRef,
    context: Option<Arc<ContextInner>>,
    cleanup: Cleanup,
    site: &'static Location<'static>,
) -> Result<NodeRef, Cleanup> {
    // Before it is linked: the end of its parent may close it at once.
    let prepare = |side: &Side| cleanup.put(&mut side.lock());
    let region =
        open_flagged(state::FINAL, parent, context, Policy::FailFast, Final, site, prepare);
    region
        .map_err(|cell| cell.side.lock().rest_mut().cleanup.take().expect("it was put there above"))
}

/// As [`open_cancelled`], of one that has a cleanup before its end.
pub(crate) fn open_final_cancelled(cleanup: Cleanup, site: &'static Location<'static>) -> NodeRef {
    let prepare = |side: &Side| cleanup.put(&mut side.lock());
    open_cancelled_flagged(state::FINAL, Policy::FailFast, Final, site, prepare)
}

/// Opens a region under `parent`, with its context if there is no other; the extra comes back if
/// the parent has ended.
pub(crate) fn open_in<X: Part>(
    parent: &NodeRef,
    context: Option<Arc<ContextInner>>,
    policy: Policy,
    extra: X,
    site: &'static Location<'static>,
) -> Result<NodeRef, X> {
    open_flagged(0, parent, context, policy, extra, site, |_| ()).map_err(|cell| cell.extra)
}

/// Opens one that is bound to what a thread blocks on.
pub(crate) fn open_bound(
    parent: &NodeRef,
    context: Option<Arc<ContextInner>>,
    site: &'static Location<'static>,
) -> Option<NodeRef> {
    open_flagged(state::BOUND, parent, context, Policy::FailFast, Run, site, |_| ()).ok()
}

/// Opens a region that `prepare` has made ready for others; it comes back if the parent has ended.
fn open_flagged<X: Part>(
    flags: u64,
    parent: &NodeRef,
    context: Option<Arc<ContextInner>>,
    policy: Policy,
    extra: X,
    site: &'static Location<'static>,
    prepare: impl FnOnce(&Side),
) -> Result<NodeRef, Box<RegionCell<X>>> {
    let own = if context.is_some() { state::OWN_CONTEXT } else { 0 };
    let node = || {
        let state = State::new(state::COUNTED | state::LINKED | own | flags, 2);
        let context = context.map_or(parent.context, Arc::into_raw);
        Node::new(state, &RegionCell::<X>::VTABLE, context, Some(parent.as_ptr()), site)
    };
    let cell = RegionCell::new(node, policy, extra);
    // SAFETY: new.
    prepare(unsafe { &cell.as_ref().side });
    let node = cell.cast();
    // SAFETY: new, with that parent, which is valid.
    if unsafe { tree::attach(parent.as_ptr(), node) } {
        // SAFETY: the second of the two references that it was born with.
        return Ok(unsafe { NodeRef::from_owned(node) });
    }
    // SAFETY: it is going to be freed.
    unsafe { free_own_context(node.as_ref()) };
    // SAFETY: made above, and nobody else knows it.
    Err(unsafe { RegionCell::from_node(node) })
}

/// The extra part of a region that was opened with one of this type.
///
/// # Safety
///
/// `region` was opened with an `X`, and outlives the borrow.
pub(crate) unsafe fn extra<'a, X>(region: NonNull<Node>) -> &'a X {
    // SAFETY: the caller's promise; the pointer came from the whole cell.
    unsafe { &(*region.cast::<RegionCell<X>>().as_ptr()).extra }
}

/// How a region ended.
pub(crate) enum End<T> {
    Value(T),
    /// Of the body, or the first of a child.
    Panicked(Panic),
    /// The body was dropped; a `try_scope` looks for its error then.
    Cancelled,
}

/// How far the future of a region has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    New,
    /// The body was polled.
    Started,
    /// The body is gone.
    Over,
    /// And the region knows it.
    Closed,
    /// The end was told.
    Done,
}

/// The future of a region whose body is `F`.
#[pin_project(PinnedDrop)]
pub(crate) struct Region<F: Future> {
    node: NodeRef,
    #[pin]
    body: Option<F>,
    value: Option<F::Output>,
    panic: Option<Panic>,
    stage: Stage,
    /// Called when the future is dropped, for what its kind of scope has left.
    give_up: fn(&NodeRef),
}

impl<F: Future> Region<F> {
    pub(crate) fn new(node: NodeRef, body: F) -> Self {
        Self::with(node, Some(body), None, |_| ())
    }

    fn with(node: NodeRef, body: Option<F>, panic: Option<Panic>, give_up: fn(&NodeRef)) -> Self {
        let stage = if body.is_none() { Stage::Over } else { Stage::New };
        Self { node, body, value: None, panic, stage, give_up }
    }

    /// Calls the closure that makes the body, in the region's frame; its panic is the body's.
    pub(crate) fn start(node: NodeRef, make: impl FnOnce() -> F, give_up: fn(&NodeRef)) -> Self {
        let (body, panic) = match Frame::region(node.as_ptr()).catch(make) {
            Ok(body) => (Some(body), None),
            Err(payload) => (None, Some(panic_of(&node, payload))),
        };
        Self::with(node, body, panic, give_up)
    }

    pub(crate) fn node(&self) -> &NodeRef {
        &self.node
    }

    /// As [`node`](Self::node), while the body is there: a shared reference to that would end its
    /// borrows of itself.
    pub(crate) fn node_in_use(self: Pin<&mut Self>) -> &NodeRef {
        self.project().node
    }

    /// Polls the body, then waits for the children. `settle` gets the body's value when it
    /// returns, while the children may still run; what it answers is the value of the scope.
    ///
    /// # Panics
    ///
    /// If the coroutine that opened the region has ended.
    pub(crate) fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        settle: impl FnOnce(&NodeRef, F::Output) -> Option<F::Output>,
    ) -> Poll<End<F::Output>> {
        let this = self.as_mut().project();
        check_not_abandoned(this.node);
        // Not by a look at the body: a shared reference to it would end its borrows of itself.
        if *this.stage < Stage::Over {
            ready!(self.as_mut().poll_body(cx, settle));
        }
        let this = self.project();
        if *this.stage < Stage::Closed {
            *this.stage = Stage::Closed;
            if this.node.state.load().is_lone() {
                this.node.state.end_lone();
            } else {
                // SAFETY: the body is counted in until it is closed.
                unsafe { tree::list(this.node.as_ptr()) };
                tree::close_region(this.node);
            }
        }
        if !this.node.state.load().has(state::SETTLED) {
            waiting_on(WaitKind::Scope, this.node.site);
            let seen = this.node.waiter.register(&this.node.state, cx.waker());
            if !seen.has(state::SETTLED) {
                return Poll::Pending;
            }
        }
        if this.value.is_none() {
            ready!(come_back(cx, "scope opened", this.node.site));
        }
        *this.stage = Stage::Done;
        Poll::Ready(take_end(this.node, this.value, this.panic))
    }

    /// As [`poll`](Self::poll), for what gives its caller the body's value and nothing else.
    pub(crate) fn poll_value(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match ready!(self.as_mut().poll(cx, |_, value| Some(value))) {
            End::Value(value) => Poll::Ready(value),
            End::Panicked(panic) => panic.resume(),
            End::Cancelled => {
                cancel_caller(self.node());
                Poll::Pending
            }
        }
    }

    /// Ready when the body is gone.
    fn poll_body(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        settle: impl FnOnce(&NodeRef, F::Output) -> Option<F::Output>,
    ) -> Poll<()> {
        let this = self.as_mut().project();
        // The part up to the first suspension runs also in a cancelled scope.
        let is_cancelled = *this.stage == Stage::Started && current::is_marked(this.node);
        if is_cancelled && !this.node.is_shielded() {
            self.drop_body();
            return Poll::Ready(());
        }
        *this.stage = Stage::Started;
        let (mut body, stage, place) = (this.body, this.stage, this.value);
        let polled = {
            let _held = is_cancelled.then(Budget::hold);
            Frame::region(this.node.as_ptr()).catch(|| {
                let Some(future) = body.as_mut().as_pin_mut() else { return };
                if let Poll::Ready(value) = future.poll(cx) {
                    *place = settle(this.node, value);
                    *stage = Stage::Over;
                    body.set(None);
                }
            })
        };
        match polled {
            Ok(()) if *stage == Stage::Over => return Poll::Ready(()),
            Ok(()) => {
                // SAFETY: the body is counted in until it is closed.
                unsafe { tree::list(this.node.as_ptr()) };
                let seen = this.node.waiter.register(&this.node.state, cx.waker());
                if !seen.has(state::CANCELLED) || this.node.is_shielded() {
                    return Poll::Pending;
                }
            }
            Err(payload) => self.as_mut().fail(payload),
        }
        self.drop_body();
        Poll::Ready(())
    }

    /// Drops the body in its frame; a panic in that is one of the body.
    fn drop_body(mut self: Pin<&mut Self>) {
        let mut this = self.as_mut().project();
        *this.stage = Stage::Over;
        let dropped = Frame::region(this.node.as_ptr()).catch(|| this.body.set(None));
        if let Err(payload) = dropped {
            self.fail(payload);
        }
    }

    /// A panic of the body cancels the children. The first panic stands.
    fn fail(self: Pin<&mut Self>, payload: Box<dyn Any + Send>) {
        let this = self.project();
        if is_cancellation(&*payload) {
            let cause = Cancelled::new(CancelCause::ParentCancelled, this.node.site);
            Job::from_node(this.node.clone()).cancel_for(&cause);
            return;
        }
        let panic = panic_of(this.node, payload);
        match this.panic {
            None => *this.panic = Some(panic),
            Some(first) => first.suppress(Failure::Panic(panic)),
        }
    }
}

/// The opener's end closes what was moved away.
fn check_not_abandoned(node: &Node) {
    assert!(
        !node.state.load().has(state::ABANDONED),
        "the scope opened at {} was polled after the coroutine that opened it had ended: \
         a scope belongs to the job it was first polled in, so poll it there to its end, or \
         open it in the job that needs it",
        node.site,
    );
}

/// The panic of a region's body, for which the region is cancelled.
fn panic_of(region: &NodeRef, payload: Box<dyn Any + Send>) -> Panic {
    let job = Job::from_node(region.clone());
    job.cancel_for(&Cancelled::new(CancelCause::SiblingFailed, region.site));
    // By another thread the region may have been ended.
    Panic::new(job.who_failed(), payload)
}

/// The end of a region that has settled: a panic first, then a value.
#[inline]
fn take_end<T>(node: &Node, value: &mut Option<T>, panic: &mut Option<Panic>) -> End<T> {
    if (panic.is_some() || may_have_failed(node))
        && let Some(panic) = take_panic(node, panic)
    {
        // Who catches that and polls again does not get it after all.
        *value = None;
        return End::Panicked(panic);
    }
    value.take().map_or(End::Cancelled, End::Value)
}

/// The body's panic, which came first or at the same time, with those of children, or one of these.
#[cold]
fn take_panic(node: &Node, panic: &mut Option<Panic>) -> Option<Panic> {
    match (panic.take(), take_failure(node)) {
        (Some(mut panic), later) => {
            if let Some(later) = later {
                panic.suppress(later);
            }
            Some(panic)
        }
        (None, Some(Failure::Panic(panic))) => Some(panic),
        (None, _) => None,
    }
}

/// A child that fails cancels the region before it ends.
fn may_have_failed(region: &Node) -> bool {
    region.state.load().has(state::CANCELLED)
}

/// The first failure of a child, if it was not taken before.
fn take_failure(region: &Node) -> Option<Failure> {
    may_have_failed(region).then(|| region.side()?.lock().failure.take()).flatten()
}

#[pinned_drop]
impl<F: Future> PinnedDrop for Region<F> {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        if *this.stage < Stage::Done {
            if *this.stage < Stage::Closed || !this.node.state.load().has(state::SETTLED) {
                cancel_dropped(this.node, this.node.site);
                this.node.state.set(state::ABANDONED);
            }
            // Before the body, whose destructor may panic. Later ones find ABANDONED, under the
            // same lock.
            if let Some(late) = take_failure(this.node) {
                failure::report_in_context(&late);
            }
            if let Some(panic) = this.panic.take() {
                failure::report_in_context(&Failure::Panic(panic));
            }
        }
        (this.give_up)(this.node);
        if *this.stage < Stage::Closed {
            // Closes also if the body's destructor panics.
            let _close = CloseOnDrop(this.node);
            let frame = Frame::region(this.node.as_ptr());
            let _inside = frame.enter();
            this.body.set(None);
        }
    }
}

/// Closes a region, also when a destructor panics.
pub(crate) struct CloseOnDrop<'a>(pub(crate) &'a NodeRef);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        tree::close_region(self.0);
    }
}

/// A region has been cancelled by itself, and its caller wants a value that it cannot have: the
/// caller's own region or coroutine is cancelled for the same reason, and dropped at the end of
/// this poll.
///
/// # Panics
///
/// Outside of any job, where nobody would drop the caller.
pub(crate) fn cancel_caller(region: &Node) {
    if current::is_cancelled() {
        return;
    }
    let cause = tree::own_cause(region);
    match current::node() {
        // SAFETY: we have a reference.
        Some(caller) => drop(unsafe { cancel(caller.as_ptr(), &cause) }),
        None => panic!(
            "the scope opened at {} was {cause}, and has no value for its caller, which is no \
             coroutine: use cancel_scope to get this as a value",
            region.site,
        ),
    }
}
