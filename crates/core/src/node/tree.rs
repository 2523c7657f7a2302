//! Attaching to the tree, failing upwards, and ending, children before parents.
//!
//! # How a node ends
//!
//! ```text
//! body_done ──► open regions are abandoned ──► census.leave ──► last? ──► finish
//!                                                                │
//!                          a child's finish ──► census.leave ────┘
//!
//! finish: unlink ─► ENDED ─► handlers ─► SETTLED ─► output ─► parent's census ─► joiners
//! ```
//!
//! `finish` is a loop, not a recursion: a chain of any depth ends on one stack frame.
//!
//! No two sides are ever locked at once, and no handler, waker, destructor or dispatcher is called
//! under a lock.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr::NonNull;
use std::task::Waker;

use super::cancel::{cancel, cancel_dropped, mark_late};
use super::side::{Handler, Policy, Side};
use super::state::{self, Wake};
use super::{Kind, Node, NodeRef, passive, release, waits};
use crate::cleanup;
use crate::coroutine::Coroutine;
use crate::error::{CancelCause, Cancelled, Who};
use crate::failure::{self, Failure, flight};
use crate::path::JobPath;

/// Counts `region`, which is new, in under `parent`, and links it. False if `parent` has ended;
/// otherwise the region may have been born cancelled.
///
/// # Safety
///
/// `parent` is valid. `region` is a new node whose `parent` is that one, born LINKED.
pub(crate) unsafe fn attach(parent: NonNull<Node>, region: NonNull<Node>) -> bool {
    let parent_ptr = parent;
    // SAFETY: the caller's promise.
    let parent = unsafe { parent.as_ref() };
    let (side, _) = parent.make_side();
    if !side.census.join() {
        return false;
    }
    // A cancel of the grandparent has to find the way down to the region.
    // SAFETY: a child is counted in its census.
    unsafe { list(parent_ptr) };
    let late = {
        let mut inner = side.lock();
        // SAFETY: new, and counted.
        let late = unsafe { mark_late(region, parent) };
        // SAFETY: new, and valid until `settle` has unlinked it.
        unsafe { inner.link(region) };
        late
    };
    if let Some(walk) = late {
        // SAFETY: linked and counted, so it is valid.
        walk.go_on(unsafe { region.as_ref() }, &inherited_cause(parent));
    }
    true
}

/// As [`link`], for who asks nothing.
///
/// # Safety
///
/// As there.
#[inline]
pub(crate) unsafe fn list(node: NonNull<Node>) {
    // SAFETY: unended, by the caller's promise.
    if !unsafe { node.as_ref() }.state.load().has(state::LINKED) {
        // SAFETY: as above.
        unsafe { link(node) };
    }
}

/// Puts a node into its parent's list, unless it is there, and that into its own. Answers false if
/// it is cancelled: what has come to its parent goes on into it, for the walk may have passed.
///
/// # Safety
///
/// The caller holds the node's `Coroutine`, polls it, or is counted in its census, be it as its body.
pub(crate) unsafe fn link(node: NonNull<Node>) -> bool {
    // SAFETY: unended, by the caller's promise.
    let this = unsafe { node.as_ref() };
    let Some(parent) = this.parent else { return true };
    // SAFETY: as above; and its parent does not end before it is linked and has ended.
    unsafe { list(parent) };
    // SAFETY: as above.
    let above = unsafe { parent.as_ref() };
    let late = {
        let (side, _) = above.make_side();
        let mut inner = side.lock();
        // Set under the lock, so that LINKED means: in the list.
        if this.state.load().has(state::LINKED) {
            None
        } else {
            if this.kind() == Kind::Region {
                let is_open = side.census.join();
                debug_assert!(is_open, "an unlisted region is in a poll of its parent");
            }
            // Before it says LINKED, so that nobody finds it linked and unmarked.
            // SAFETY: unended, by the caller's promise.
            let late = unsafe { mark_late(node, above) };
            // SAFETY: unended, so it stays valid until `settle` has unlinked it.
            unsafe { inner.link(node) };
            this.state.set(state::LINKED);
            late
        }
    };
    if let Some(walk) = late {
        walk.go_on(this, &inherited_cause(above));
    }
    !this.state.load().has(state::CANCELLED)
}

/// The body of a coroutine is done: `outcome` is VALUE, PANICKED, FAILED, or 0 for a future that
/// was dropped. Ends the node, or leaves that to its last open region.
///
/// # Safety
///
/// The caller was polling the node, whose future is gone, and uses it no more.
pub(crate) unsafe fn body_done(node: NonNull<Node>, outcome: u64) {
    // SAFETY: polled by the caller, so it is unfinished.
    let seen = unsafe { node.as_ref() }.state.body_done(outcome);
    if seen.has(state::WAITS) {
        // SAFETY: as above.
        waits::after_end(unsafe { node.as_ref() });
    }
    if seen.has(state::SIDE) {
        // Before the end, by which others may take it that they have heard of all failures.
        flight::land(node.as_ptr());
        // SAFETY: as above.
        abandon_regions(unsafe { node.as_ref() });
        // SAFETY: the body has not left until now.
        if !unsafe { leave(node) } {
            return;
        }
    }
    // SAFETY: the body is done, and no child is left.
    unsafe { finish(node) };
}

/// Cancels what regions are still open in a node whose body is done, and ends their bodies on
/// behalf of the futures that were forgotten or moved away.
pub(crate) fn abandon_regions(node: &Node) {
    let Some(side) = node.side() else { return };
    let mut inner = side.lock();
    let open: Vec<NodeRef> = inner
        .children()
        // SAFETY: linked nodes are valid while the lock is held, and keep a tree reference.
        .filter(|child| unsafe { child.as_ref() }.kind() == Kind::Region)
        // SAFETY: as above.
        .map(|child| unsafe { NodeRef::retain(child) })
        .collect();
    let has_cleanups = inner.rest().is_some_and(|rest| rest.cleanups.is_some());
    let owner = has_cleanups.then(|| open.first()?.parent).flatten();
    drop(inner);
    // SAFETY: that is `node`, which has not ended.
    let _together = owner.map(|owner| unsafe { cleanup::Together::begin(owner) });
    for region in open {
        // Its own future may have ended the body already; then only its children are awaited.
        cancel_dropped(&region, region.site);
        region.state.set(state::ABANDONED);
        // Later ones find ABANDONED, under the same lock.
        let failure = region.side().and_then(|side| side.lock().failure.take());
        if let Some(failure) = failure {
            // SAFETY: `node` has not ended, and it is the region's parent, whose context that is.
            failure::report(unsafe { node.context() }, &failure);
        }
        close_region(&region);
    }
}

/// Counts the body or a child of `node` out; true if it was the last. Unless it was, another
/// thread may free the node at once: so no reference to it is an argument here, for these have to
/// be valid until the call returns.
///
/// # Safety
///
/// Who leaves was counted in, and leaves once.
pub(super) unsafe fn leave(node: NonNull<Node>) -> bool {
    // SAFETY: counted in until now, so the node has not ended.
    match unsafe { node.as_ref() }.side() {
        Some(side) => side.census.leave(),
        None => false,
    }
}

/// Ends the body's part of a region: once, whoever comes first. False if somebody was before.
pub(crate) fn close_region(region: &NodeRef) -> bool {
    debug_assert!(region.state.load().has(state::LINKED), "nothing keeps its parent from ending");
    let seen = region.state.body_done(0);
    if seen.has(state::BODY_DONE) {
        return false;
    }
    // A region that is opened in the body announces the side.
    if seen.has(state::SIDE) {
        abandon_regions(region);
    }
    if region.state.load().has(state::FINAL) {
        // SAFETY: the body has not left until now.
        unsafe { cleanup::closed(region) };
    }
    // SAFETY: the body's place, which it leaves here only.
    if unsafe { leave(region.as_ptr()) } {
        // SAFETY: the body is done, the last child has left, and we hold a reference.
        unsafe { finish(region.as_ptr()) };
    }
    true
}

/// Ends `node`, and then each ancestor of which it was the last child.
///
/// # Safety
///
/// The body of `node` is done, its census is empty, and nobody else calls this for it.
pub(crate) unsafe fn finish(node: NonNull<Node>) {
    let mut node = node;
    loop {
        // SAFETY: unfinished, so valid.
        let seen = unsafe { node.as_ref() }.state.load();
        // SAFETY: the caller's promise, or the census's below.
        if seen.has(state::PASSIVES) && unsafe { passive::wind_down(node) } {
            return;
        }
        // SAFETY: as above.
        if seen.has(state::FINAL) && unsafe { cleanup::is_due(node) } {
            return;
        }
        // SAFETY: unfinished, so valid.
        let (parent, site) = unsafe { (node.as_ref().parent, node.as_ref().site) };
        // SAFETY: the caller's promise, or the census's below.
        let waiting = unsafe { settle(node) };
        // Who waited goes on when the node is out of every count, and before its parent ends.
        let last = parent.filter(|parent| match seen.has(state::PASSIVE) {
            // SAFETY: a passive child is in its parent's list of those until here.
            true => unsafe { passive::leave(*parent, node) },
            // SAFETY: any other is counted in its parent's census until here.
            false => unsafe { leave(*parent) },
        });
        waiting.wake(site);
        match last {
            Some(parent) => node = parent,
            None => return,
        }
    }
}

/// # Safety
///
/// As for [`finish`].
unsafe fn settle(node: NonNull<Node>) -> Waiting {
    // SAFETY: the tree's reference is given up at the end of this function only.
    let this = unsafe { node.as_ref() };
    let seen = this.state.load();
    if seen.is_unique() {
        // SAFETY: nobody else has the node; the output falls to us.
        unsafe { drop_output(node, seen) };
        // SAFETY: the tree's reference, given up once.
        unsafe { release(node) };
        return Waiting::default();
    }
    if seen.has(state::LINKED) {
        // SAFETY: still counted in the parent's census.
        if let Some(side) = unsafe { this.pinned_parent() }.and_then(Node::side) {
            // SAFETY: linked, and unlinked here only.
            unsafe { side.lock().unlink(node) };
        }
    }
    record_cause(this);
    let mut waiting = Waiting::default();
    let seen = this.state.settle_alone().unwrap_or_else(|| {
        // Who registers a handler after this sees ENDED, and sees to it alone.
        this.state.end();
        if this.side().is_some_and(|side| side.lock().has_handlers()) {
            end_cancelling_handlers(this);
            run_completion_handlers(this);
        }
        let seen = this.state.settle();
        waiting.joiners = joiners(this);
        seen
    });
    if seen.has(state::WAITER) {
        waiting.owner = this.waiter.take();
    }
    if !seen.has(state::HANDLE) {
        // SAFETY: no `Deferred`, so the output falls to who settles.
        unsafe { drop_output(node, seen) };
    }
    // SAFETY: the tree's reference, given up once.
    unsafe { release(node) };
    waiting
}

/// Who waited for a node that has settled.
#[derive(Default)]
struct Waiting {
    owner: Option<Waker>,
    joiners: Vec<Handler>,
}

impl Waiting {
    #[inline]
    fn wake(self, site: &'static Location<'static>) {
        if let Some(waker) = self.owner {
            wake(site, waker);
        }
        for joiner in self.joiners {
            if let Handler::Join(waker) = joiner {
                wake(site, waker);
            }
        }
    }
}

/// Keeps the cause where a handle can read it once the parent is gone.
pub(crate) fn record_cause(node: &Node) {
    let seen = node.state.load();
    let unseen = !seen.has(state::SIDE) && node.state.refs() == 1;
    // SAFETY: the callers poll or end the node, so it has not left its parent's census.
    if unseen || !unsafe { node.is_cancelled() } {
        return;
    }
    // Also one that returned before it learned of it: who could ask has seen it cancelled.
    node.state.set(state::CANCELLED);
    // A failure needs no other cause.
    if seen.has(state::PANICKED | state::FAILED) {
        return;
    }
    let cause = own_cause(node);
    node.make_side().0.lock().cause.get_or_insert(cause);
}

/// What a child sees that learns of its cancellation from its parent's mark.
pub(crate) fn inherited_from_parent(node: &Node) -> Cancelled {
    // SAFETY: the callers poll or end the node, so it has not left its parent's census.
    match unsafe { node.pinned_parent() } {
        Some(parent) => inherited_cause(parent),
        None => unknown_cause(node),
    }
}

/// The cause of a node that is cancelled and has none recorded: it failed, or everybody who could
/// tell is gone.
pub(crate) fn unknown_cause(node: &Node) -> Cancelled {
    let failed = node.state.load().has(state::PANICKED | state::FAILED);
    let cause = if failed { CancelCause::SiblingFailed } else { CancelCause::Requested };
    Cancelled::new(cause, node.site)
}

/// What the children of a cancelled node see.
pub(crate) fn inherited_cause(node: &Node) -> Cancelled {
    own_cause(node).inherited()
}

/// The cause of a cancelled node that has not left its parent's census.
pub(crate) fn own_cause(node: &Node) -> Cancelled {
    let mut at = node;
    loop {
        if let Some(cause) = at.side().and_then(|side| side.lock().cause.clone()) {
            return if std::ptr::eq(at, node) { cause } else { cause.inherited() };
        }
        // A token's parent may have ended, and its ancestors be gone.
        let unended = at.kind() != Kind::Token;
        // SAFETY: unfinished, and so are the ancestors of an unfinished node.
        match unended.then(|| unsafe { at.pinned_parent() }).flatten() {
            Some(parent) => at = parent,
            None => return unknown_cause(node),
        }
    }
}

fn run_completion_handlers(node: &Node) {
    let Some(side) = node.side() else { return };
    let handlers = side.lock().take(|it| matches!(it, Handler::Completion(_)));
    for handler in handlers {
        if let Handler::Completion(handler) = handler {
            guarded(node, "completion handler", || handler(node));
        }
    }
}

/// Runs the cancelling handlers that a walk has not come to yet, or lets go of them, if the job
/// was not cancelled: they may keep anything, also the job.
fn end_cancelling_handlers(node: &Node) {
    let Some(side) = node.side() else { return };
    let handlers = side.lock().take(|it| matches!(it, Handler::Cancelling(_)));
    if handlers.is_empty() {
        return;
    }
    let cause = node.state.load().has(state::CANCELLED).then(|| own_cause(node));
    for handler in handlers {
        if let Handler::Cancelling(handler) = handler {
            guarded(node, "cancelling handler", || match &cause {
                Some(cause) => handler(cause),
                None => drop(handler),
            });
        }
    }
}

fn joiners(node: &Node) -> Vec<Handler> {
    let Some(side) = node.side() else { return Vec::new() };
    side.lock().take(|it| matches!(it, Handler::Join(_)))
}

/// Wakes who waits for a job launched at `site`; a foreign waker that panics is reported.
pub(crate) fn wake(site: &'static Location<'static>, waker: Waker) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        failure::report_stray("waker", Who::at(site), payload);
    }
}

/// Wakes what a cancellation drops in place: a coroutine, or who polls a region.
pub(crate) fn wake_unit(unit: &NodeRef) {
    if unit.kind() == Kind::Coroutine {
        // SAFETY: the answer is passed on once.
        return unsafe { dispatch_if(unit.as_ptr(), unit.state.wake()) };
    }
    if let Some(waker) = unit.waiter.take() {
        wake(unit.site, waker);
    }
}

/// Calls `f`, and reports a panic in it: it must not stop the node on its way.
pub(crate) fn guarded(node: &Node, what: &str, f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        failure::report_stray(what, node.who(), payload);
    }
}

/// # Safety
///
/// The output or panic that `seen` tells of is the caller's, and is not used again.
pub(crate) unsafe fn drop_output(node: NonNull<Node>, seen: state::Snapshot) {
    // SAFETY: the owner of the output holds a reference.
    let this = unsafe { node.as_ref() };
    if seen.has(state::VALUE) {
        this.state.clear_value();
        // SAFETY: VALUE says that the output is there, and it is the caller's.
        guarded(this, "destructor of an output", || unsafe { (this.vtable.drop_output)(node) });
    } else if seen.has(state::PANICKED) {
        // SAFETY: PANICKED without VALUE says that the panic is there.
        drop(unsafe { (this.vtable.take_panic)(node) });
    }
}

/// Tells the parent that `node`, which is unfinished, has failed. A panic comes back if it should
/// stay with the child.
pub(crate) fn fail(node: &Node, failure: Failure) -> Option<Failure> {
    let Some(parent_ptr) = node.parent else { return Some(failure) };
    // SAFETY: `node` is unfinished, so its parent is.
    let parent = unsafe { parent_ptr.as_ref() };
    match policy(parent) {
        Policy::Supervise if node.state.load().has(state::HANDLE) => Some(failure),
        Policy::Supervise => {
            // SAFETY: unfinished.
            failure::report(unsafe { node.context() }, &failure);
            None
        }
        Policy::FailFast => {
            let (failure, copy) = split(failure);
            // Before the cancellation, which may make others fail that are not the first.
            let late = keep_failure(parent, failure);
            // SAFETY: as above.
            unsafe { cancel(parent_ptr, &Cancelled::new(CancelCause::SiblingFailed, node.site)) };
            if let Some(late) = late {
                fail_late(parent_ptr, node, late);
            }
            copy
        }
    }
}

fn split(failure: Failure) -> (Failure, Option<Failure>) {
    match failure {
        Failure::Panic(panic) => {
            let (panic, copy) = panic.split();
            (Failure::Panic(panic), Some(Failure::Panic(copy)))
        }
        other => (other, None),
    }
}

/// The first panic waits for the region's future, and those that come later travel with it; it
/// comes back if it finds that future gone.
fn keep_failure(region: &Node, failure: Failure) -> Option<Failure> {
    let Some(mut inner) = region.side().map(Side::lock) else { return Some(failure) };
    // Looked at under the lock, under which the region's future looks once more when it goes.
    if region.state.load().has(state::ABANDONED) {
        return Some(failure);
    }
    match &mut inner.failure {
        None => {
            inner.failure = Some(failure);
            None
        }
        Some(Failure::Panic(first)) => {
            first.suppress(failure);
            None
        }
        Some(_) => Some(failure),
    }
}

/// The failure of `child` has come when the future of its `region` was gone: it goes to the handler,
/// or is one of the region's coroutine.
fn fail_late(region: NonNull<Node>, child: &Node, late: Failure) {
    let mut late = late;
    // SAFETY: `child` is unfinished, and so is the region.
    if unsafe { region.as_ref() }.state.load().has(state::FINAL) {
        // SAFETY: as above.
        let owner = unsafe { cleanup::owner(region) };
        match fail_owner(&owner, late) {
            Some(back) => late = back,
            None => return,
        }
    }
    // SAFETY: `child` is unfinished.
    failure::report(unsafe { child.context() }, &late);
}

/// The failure of a cleanup whose region nobody looks at any more is one of its coroutine. It comes
/// back if it should stay there, where it has no place.
fn fail_owner(owner: &Node, failure: Failure) -> Option<Failure> {
    if owner.kind() != Kind::Coroutine {
        return Some(failure);
    }
    let back = fail(owner, failure);
    // SAFETY: unfinished, for its cleanup is.
    let parent = unsafe { owner.pinned_parent() };
    // A scope that has it gives back a copy.
    back.filter(|_| parent.is_none_or(|parent| policy(parent) == Policy::Supervise))
}

fn policy(parent: &Node) -> Policy {
    parent.side().map_or(Policy::Supervise, |side| side.lock().policy)
}

/// A token has been cancelled, which is its end.
pub(crate) fn end_token(node: &Node) {
    if !node.state.set(state::BODY_DONE | state::ENDED).has(state::ENDED) {
        run_completion_handlers(node);
        node.state.set(state::SETTLED);
        Waiting { owner: None, joiners: joiners(node) }.wake(node.site);
    }
}

/// Dispatches a node that was made SCHEDULED by the caller.
///
/// # Safety
///
/// The caller owns the node's schedule: [`Wake::Dispatch`] was answered to it.
pub(crate) unsafe fn dispatch_if(node: NonNull<Node>, wake: Wake) {
    if wake == Wake::Dispatch {
        // SAFETY: the caller's promise.
        unsafe { Coroutine::from_node(node) }.dispatch();
    }
}

impl Node {
    /// The node as errors name it, with its own name if it has one.
    pub(crate) fn who(&self) -> Who {
        let own = self.state.load().has(state::OWN_CONTEXT);
        // SAFETY: the node owns the context.
        let name = own.then(|| unsafe { self.context() }.name_for(true)).flatten();
        Who { name, ..Who::at(self.site) }
    }

    /// As [`who`](Self::who), with the name that it inherits if it has no other.
    ///
    /// # Safety
    ///
    /// As for [`context`](Self::context).
    pub(crate) unsafe fn who_unended(&self) -> Who {
        let own = self.state.load().has(state::OWN_CONTEXT);
        // SAFETY: the caller's promise.
        Who { name: unsafe { self.context() }.name_for(own), ..Who::at(self.site) }
    }

    /// As [`who_unended`](Self::who_unended), with its place in the tree: for failures.
    ///
    /// # Safety
    ///
    /// As for [`JobPath::of`].
    #[cold]
    pub(crate) unsafe fn who_failed(&self) -> Who {
        // SAFETY: the caller's promise.
        unsafe { Who { path: Some(JobPath::of(self)), ..self.who_unended() } }
    }
}
