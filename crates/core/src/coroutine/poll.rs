//! One poll of a coroutine, and what becomes of it afterwards.

use std::any::Any;
use std::panic::resume_unwind;
use std::ptr::NonNull;
use std::task;
use std::thread;

use super::{Coroutine, waker};
use crate::budget::Budget;
use crate::current::{Frame, Poll as InPoll};
use crate::error::{CancelCause, Cancelled};
use crate::failure::{Failure, Panic};
use crate::node::state::{self, Snapshot, Suspend};
use crate::node::{Node, Polled, cancel, tree, waits};

/// Polls the body once.
///
/// # Safety
///
/// This thread has begun to poll `node`, whose future is there; the caller uses it no more.
#[inline(always)]
pub(super) unsafe fn run_body(poll: &InPoll, node: NonNull<Node>) {
    // SAFETY: polled, so unfinished.
    let this = unsafe { node.as_ref() };
    let frame = Frame::coroutine(poll);
    let waker = waker::borrowed(node);
    let mut cx = task::Context::from_waker(&waker);
    let polled = frame.catch(|| {
        // SAFETY: this thread polls, and the future is there.
        unsafe { (this.vtable.poll)(node, &mut cx) }
    });
    // SAFETY: polled just now.
    unsafe { polled_to(poll, node, &frame, polled) }
}

/// As [`run_body`], inside of the hooks of the coroutine.
///
/// # Safety
///
/// As there.
#[cold]
unsafe fn run_hooked(poll: &InPoll, node: NonNull<Node>) {
    // SAFETY: polled, so unfinished.
    let this = unsafe { node.as_ref() };
    let frame = Frame::coroutine(poll);
    // SAFETY: this thread polls, and the future is there.
    let poll_it = |cx: &mut task::Context<'_>| unsafe { (this.vtable.poll)(node, cx) };
    let waker = waker::borrowed(node);
    let polled = hooked(this, &frame, false, || poll_it(&mut task::Context::from_waker(&waker)));
    // SAFETY: polled just now.
    unsafe { polled_to(poll, node, &frame, polled) }
}

/// Calls `f` in the frame of the coroutine `node`, inside of its hooks, and catches its panic.
fn hooked<R>(
    node: &Node,
    frame: &Frame,
    is_drop: bool,
    f: impl FnOnce() -> R,
) -> thread::Result<R> {
    // SAFETY: polled by the callers, so unfinished.
    match unsafe { node.context() }.hooks().filter(|_| node.state.load().has(state::HOOKED)) {
        None => frame.catch(f),
        Some(hooks) => {
            let _inside = frame.enter();
            hooks.around(is_drop, f)
        }
    }
}

/// What follows a poll.
///
/// # Safety
///
/// This thread has polled `node` with that result; the caller uses it no more.
#[inline(always)]
unsafe fn polled_to(
    poll: &InPoll,
    node: NonNull<Node>,
    frame: &Frame,
    polled: thread::Result<Polled>,
) {
    match polled {
        // SAFETY: this thread polls, and the future is there.
        Ok(Polled::Pending) => unsafe { suspend(node, poll, frame) },
        // SAFETY: `poll` has put the output in the future's place.
        Ok(Polled::Ready) => unsafe { tree::body_done(node, state::VALUE) },
        // SAFETY: `poll` has dropped the future.
        Ok(Polled::Failed) => unsafe { failed(node) },
        // SAFETY: this thread polls; the stage is as a panicking poll leaves it.
        Err(payload) => unsafe { panicked(node, frame, payload) },
    }
}

/// Polls a coroutine that has moved before or has hooks, or drops one that is cancelled.
///
/// # Safety
///
/// As for [`run_body`]; `seen` is what the poll began with.
#[cold]
pub(super) unsafe fn run_special(poll: &InPoll, node: NonNull<Node>, seen: Snapshot) {
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
    let is_cancelled = seen.has(state::CANCELLED) || unsafe { this.is_cancelled() };
    if is_cancelled && !this.is_shielded() {
        // SAFETY: this thread polls, and the future is there.
        return unsafe { drop_at_home(poll, node, &Frame::coroutine(poll)) };
    }
    let _held = is_cancelled.then(Budget::hold);
    let run = if seen.has(state::HOOKED) { run_hooked } else { run_body };
    // SAFETY: this thread polls, and the future is there.
    unsafe { run(poll, node) };
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
    if seen.has(state::CANCELLED) && !this.is_shielded() {
        // SAFETY: the caller's promise.
        return unsafe { drop_at_home(poll, node, frame) };
    }
    if seen.has(state::WAITS) {
        let is_woken = seen.has(state::SCHEDULED) || poll.has_yielded() || poll.is_moving();
        if waits::after_poll(this, poll.last_wait(), is_woken) {
            poll.give_way();
        }
    }
    if poll.has_wish() {
        // SAFETY: the caller's promise.
        return unsafe { suspend_away(node, poll, frame) };
    }
    if poll.has_yielded() || seen.has(state::SCHEDULED) {
        this.state.requeue(state::WOKEN);
        // SAFETY: `requeue` made it SCHEDULED, for this call.
        let coroutine = unsafe { Coroutine::from_node(node) };
        // Inside of another poll, the dispatcher is not asked for what is next before that is over.
        let is_next = poll.is_outermost();
        return coroutine.dispatch_home(|dispatch, it| match is_next {
            true => dispatch.dispatch_yield(it),
            false => dispatch.dispatch_new(it),
        });
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
    match hooked(this, frame, true, || unsafe { (this.vtable.drop_future)(node) }) {
        Ok(()) => {
            // Before the body is done, for then nobody keeps the ancestors that know it.
            tree::record_cause(this);
            // SAFETY: the future is gone.
            unsafe { tree::body_done(node, 0) }
        }
        Err(payload) => {
            // SAFETY: unfinished.
            let panic = Panic::of_coroutine(|| unsafe { this.who_failed() }, payload);
            // SAFETY: as above; the stage is empty.
            unsafe { keep_panic(node, panic) }
        }
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
    let mut later = None;
    if seen.has(state::VALUE) {
        // SAFETY: `poll` had stored the output before its destructor panicked.
        unsafe { tree::drop_output(node, seen) };
    } else if !seen.has(state::GONE) {
        // SAFETY: the future is there, if in an odd state; its destructor copes with that.
        let dropped = hooked(this, frame, true, || unsafe { (this.vtable.drop_future)(node) });
        if let Err(second) = dropped {
            // SAFETY: as above.
            let who = || unsafe { this.who_failed() };
            later = Some(Failure::Panic(Panic::of_coroutine(who, second)));
        }
    }
    if unwound && later.is_none() {
        cancel::mark_polled(this, || tree::inherited_from_parent(this));
        // SAFETY: the future is gone.
        return unsafe { tree::body_done(node, 0) };
    }
    // SAFETY: the future is gone, or in a destructor that panicked.
    let who = || unsafe { this.who_failed() };
    let panic = match (unwound, later) {
        (true, Some(Failure::Panic(panic))) => panic,
        (_, later) => {
            let mut panic = Panic::of_coroutine(who, payload);
            if let Some(later) = later {
                panic.suppress(later);
            }
            panic
        }
    };
    // SAFETY: the stage is empty now.
    unsafe { keep_panic(node, panic) };
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
unsafe fn keep_panic(node: NonNull<Node>, panic: Panic) {
    // SAFETY: polled, so unfinished.
    let this = unsafe { node.as_ref() };
    // One that was cancelled before keeps that cause.
    tree::record_cause(this);
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
    // One that was cancelled before keeps that cause.
    tree::record_cause(this);
    if let Some(parent) = this.parent {
        // SAFETY: as above.
        unsafe { cancel::cancel(parent, &Cancelled::new(CancelCause::SiblingFailed, this.site)) };
    }
    cancel::mark_polled(this, || Cancelled::new(CancelCause::SiblingFailed, this.site));
    // SAFETY: the future is gone.
    unsafe { tree::body_done(node, state::FAILED) };
}
