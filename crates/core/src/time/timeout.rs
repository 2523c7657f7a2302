//! Deadlines for a part of a coroutine.
//!
//! A timeout is a region like a scope, but it makes its job only when something inside asks for
//! one (a scope that is opened there). Without that, a timeout around work that is ready at once
//! neither allocates nor reads the clock.
//!
//! ```text
//! [body] ──(1) Ready──────────────► [draining] ──(3) all inside has ended──► [done]
//!    └─────(2) the deadline passed──────▲
//! ```
//!
//! (1) is looked at first: a result that is ready at the same moment wins. So does the value of a
//! section ([`with_context`](crate::with_context())) that is on its way back to where the section
//! was entered: a coroutine that moves for that *holds off* the timeouts around the section. (2)
//! drops the body in its frame. (3) waits also for the coroutine to be back where the code around the timeout belongs,
//! if a section in the body had moved it.

use std::any::Any;
use std::cell::OnceCell;
use std::mem::ManuallyDrop;
use std::panic::{Location, resume_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project::{pin_project, pinned_drop};

use super::late::tell_if_late;
use super::{Instant, Sleep, now};
use crate::budget::{self, Budget};
use crate::context::ContextInner;
use crate::current::{self, Frame};
use crate::error::{CancelCause, Cancelled, Panic, Who};
use crate::failure::{self, Failure};
use crate::node::cancel::{cancel, cancel_dropped};
use crate::node::side::Policy;
use crate::node::{Node, NodeRef, state, tree};
use crate::scope::region;
use crate::wait::{WaitKind, waiting_on};
use crate::with_context::{come_back, is_astray, is_held_off};

/// The time was up before the work was done.
///
/// The work has been cancelled, and all of it has ended; that of a
/// [`timeout_abandon`](super::timeout_abandon) is left to end by itself.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::prelude::*;
///
/// let late = with_timeout(Duration::from_millis(1), std::future::pending::<()>());
/// let elapsed = run_blocking(late).unwrap_err();
/// assert!(elapsed.to_string().starts_with("not done within 1ms"));
/// assert_eq!(elapsed.place().file(), file!());
/// assert_eq!(std::io::Error::from(elapsed).kind(), std::io::ErrorKind::TimedOut);
/// ```
// Boxed, so that a result with it is two words, which stay in registers where nothing elapses.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("not done {} ({})", .0.limit, .0.place)]
pub struct Elapsed(Box<Details>);

#[derive(Clone, PartialEq, Eq)]
struct Details {
    limit: Given,
    place: &'static Location<'static>,
}

impl Elapsed {
    /// Where the timeout was made.
    pub fn place(&self) -> &'static Location<'static> {
        self.0.place
    }
}

/// With [`TimedOut`](std::io::ErrorKind::TimedOut): for a `?` among calls that do I/O.
impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> Self {
        Self::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}

/// What `unwrap` and `main` print.
impl std::fmt::Debug for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Elapsed({self})")
    }
}

/// How the limit was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    After(Duration),
    Until,
}

impl std::fmt::Display for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::After(duration) => write!(f, "within {duration:?}"),
            Self::Until => f.write_str("by the deadline"),
        }
    }
}

/// Gives `future` the time `limit`.
///
/// When it is up, the work is cancelled and awaited, inner scopes and their children included,
/// before [`Elapsed`] is returned; [`timeout_abandon`](super::timeout_abandon) does not wait. A
/// result that is ready at the same moment wins, also that of a section
/// ([`with_context`](crate::with_context()), [`blocking`](crate::blocking)) that has to move back
/// with it. The time counts from the end of the first poll, or from where the code inside first asks
/// whether it is cancelled. A coroutine that is queued for a busy dispatcher is told of the deadline
/// when it is picked up there.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::prelude::*;
///
/// run_blocking(async {
///     let soon = with_timeout(Duration::from_secs(60), async { 42 }).await;
///     assert_eq!(soon, Ok(42));
///     let late = with_timeout(Duration::from_millis(1), sleep(Duration::from_secs(60))).await;
///     assert!(late.is_err());
/// });
/// ```
///
/// # Errors
///
/// [`Elapsed`] if the time was up first.
///
/// # Panics
///
/// With a panic of the future; and if, with scopes opened inside, it is polled after the coroutine
/// that polled it first has ended.
///
/// # Cancel safety
///
/// Dropping the timeout drops the future; the job that polled it waits for inner scopes.
#[track_caller]
#[inline]
pub fn with_timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    timeout_at(limit, Location::caller(), future)
}

/// [`with_timeout`] for a place other than the caller's.
#[inline]
pub(crate) fn timeout_at<F: Future>(
    limit: Duration,
    place: &'static Location<'static>,
    future: F,
) -> Timeout<F> {
    Timeout::new(Given::After(limit), Sleep::after_at(limit, place), place, future)
}

/// As [`with_timeout`], until an instant.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::prelude::*;
/// use corymb::time::now;
///
/// run_blocking(async {
///     let deadline = now() + Duration::from_millis(5);
///     // Two steps that share one deadline.
///     assert_eq!(with_deadline(deadline, async { 1 }).await, Ok(1));
///     assert!(with_deadline(deadline, std::future::pending::<()>()).await.is_err());
/// });
/// ```
///
/// # Errors
///
/// [`Elapsed`] if `deadline` came first.
///
/// # Panics
///
/// As [`with_timeout`].
///
/// # Cancel safety
///
/// As [`with_timeout`].
#[track_caller]
#[inline]
pub fn with_deadline<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    let place = Location::caller();
    Timeout::new(Given::Until, Sleep::until_at(deadline, place), place, future)
}

/// The future of [`with_timeout`] and [`with_deadline`].
#[must_use = "futures do nothing unless polled"]
#[pin_project(PinnedDrop)]
#[derive(Debug)]
pub struct Timeout<F: Future> {
    #[pin]
    body: Option<F>,
    // These two own nothing while the timer is not registered and the job not made, and are
    // dropped by hand: a timeout around what is ready at once is spared their drop glue.
    #[pin]
    sleep: ManuallyDrop<Sleep>,
    node: ManuallyDrop<OnceCell<NodeRef>>,
    value: Option<F::Output>,
    given: Given,
    place: &'static Location<'static>,
    /// Was pending before its deadline.
    armed: bool,
    expired: bool,
    closed: bool,
    // With one flag more, the compiler clears them by a store that overlaps `node`, and a load of
    // `node` right after it waits for both stores to reach the cache: that doubled the time of a
    // timeout around what is ready.
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The body is there.
    Open,
    /// The body is gone.
    Over,
    /// The value has been given to the caller.
    Taken,
}

/// A timeout, as the frame of its body's poll sees it.
pub(crate) struct Limit<'a> {
    sleep: &'a Sleep,
    node: &'a OnceCell<NodeRef>,
    place: &'static Location<'static>,
}

/// Tells apart timeouts that are there at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeoutId(usize);

impl TimeoutId {
    /// A timeout's sleep is pinned when it is polled.
    fn of(sleep: &Sleep) -> Self {
        Self(std::ptr::from_ref(sleep).addr())
    }
}

impl Limit<'_> {
    pub(crate) fn id(&self) -> TimeoutId {
        TimeoutId::of(self.sleep)
    }

    /// The node, made now under `parent` if there is none yet.
    pub(crate) fn node(
        &self,
        parent: &NodeRef,
        context: Option<Arc<ContextInner>>,
    ) -> NonNull<Node> {
        let open = || {
            let region =
                region::open_in(parent, context, Policy::FailFast, region::Timeout, self.place)
                    .unwrap_or_else(|it| region::open_cancelled(Policy::FailFast, it, self.place));
            region::set_deadline(&region, Some(self.deadline()), self.place);
            region
        };
        self.node.get_or_init(open).as_ptr()
    }

    /// Whether the time is up, by the clock, or the timeout was cancelled otherwise.
    pub(crate) fn is_expired(&self) -> bool {
        self.node.get().is_some_and(|node| current::is_marked(node)) || self.deadline() <= now()
    }

    /// When the time is up. It counts from the first time that somebody asks, at the latest.
    pub(crate) fn deadline(&self) -> Instant {
        self.sleep.fix(now())
    }
}

impl<F: Future> Timeout<F> {
    #[inline]
    fn new(given: Given, sleep: Sleep, place: &'static Location<'static>, body: F) -> Self {
        Self {
            body: Some(body),
            sleep: ManuallyDrop::new(sleep),
            node: ManuallyDrop::new(OnceCell::new()),
            value: None,
            given,
            place,
            armed: false,
            expired: false,
            closed: false,
            stage: Stage::Open,
        }
    }

    /// The body's value, if it came in time; the body is done or gone then.
    #[inline]
    fn poll_body(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let mut this = self.as_mut().project();
        let _held = this.node.get().and_then(begin_known);
        let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let limit = Limit { sleep: &this.sleep, node: this.node, place: this.place };
        let frame = Frame::timeout(&raw const limit);
        let inside = frame.enter();
        if let Poll::Ready(value) = body.poll(cx) {
            return Poll::Ready(Some(value));
        }
        drop(inside);
        self.poll_limit(cx).map(|()| None)
    }

    /// Ready when the time is up, or the timeout cancelled otherwise, and the body dropped.
    fn poll_limit(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let elapsed = pinned_sleep(this.sleep.as_mut()).poll_elapsed(cx).is_ready();
        *this.expired |= elapsed && !is_held_off(TimeoutId::of(&this.sleep));
        *this.armed |= !*this.expired;
        match this.node.get() {
            Some(node) => {
                if *this.expired {
                    let cause = Cancelled::new(CancelCause::Deadline, this.place);
                    // SAFETY: we have a reference.
                    unsafe { cancel(node.as_ptr(), &cause) };
                }
                // Or cancelled by hand, or with what is around it.
                let seen = node.waiter.register(&node.state, cx.waker());
                if !seen.has(state::CANCELLED) || node.is_shielded() {
                    return Poll::Pending;
                }
            }
            None if !*this.expired => return Poll::Pending,
            None => {}
        }
        *this.stage = Stage::Over;
        let limit = Limit { sleep: &this.sleep, node: this.node, place: this.place };
        if let Err(payload) = Frame::timeout(&raw const limit).catch(|| this.body.set(None)) {
            if this.node.get().is_none() && !is_astray() {
                resume_unwind(payload);
            }
            let open = || region::open(Policy::FailFast, region::Timeout, this.place);
            keep_panic(this.node.get_or_init(open), this.place, payload);
        }
        Poll::Ready(())
    }

    /// Waits for the end of what was opened inside, and for the way back from where the body was
    /// dropped, then gives the result.
    #[cold]
    fn poll_end(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<F::Output, Elapsed>> {
        // What it belonged to may be gone, and it has no cause to tell its caller of.
        assert!(
            self.stage != Stage::Taken,
            "the timeout made at {} was polled after it had ended",
            self.place
        );
        let node = self.node.get().cloned();
        if let Some(node) = &node {
            ready!(self.as_mut().poll_drain(node, cx));
        }
        if self.as_mut().project().value.is_none() {
            ready!(come_back(cx, "timeout made", self.place));
        }
        if let Some(node) = node {
            if let Some(Failure::Panic(panic)) = node.side().and_then(|it| it.lock().failure.take())
            {
                panic.resume();
            }
            if !self.expired && self.value.is_none() {
                region::cancel_caller(&node);
                return Poll::Pending;
            }
        }
        let this = self.as_mut().project();
        if this.value.is_none() && budget::is_held() {
            return Poll::Pending;
        }
        let value = this.value.take();
        if value.is_some() {
            *this.stage = Stage::Taken;
        }
        Poll::Ready(value.ok_or_else(|| self.elapsed()))
    }

    #[cold]
    fn elapsed(self: Pin<&mut Self>) -> Elapsed {
        let this = self.project();
        // One that was born late is not late.
        if std::mem::take(this.armed)
            && let Some(deadline) = this.sleep.deadline()
        {
            tell_if_late(this.place, deadline);
        }
        Elapsed(Box::new(Details { limit: *this.given, place: this.place }))
    }

    /// Waits for what was opened inside and is still there.
    fn poll_drain(self: Pin<&mut Self>, node: &NodeRef, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if !std::mem::replace(this.closed, true) {
            tree::close_region(node);
        }
        if node.state.load().has(state::SETTLED) {
            return Poll::Ready(());
        }
        waiting_on(WaitKind::Scope, this.place);
        match node.waiter.register(&node.state, cx.waker()).has(state::SETTLED) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Not by a look at the body: a shared reference to it would end its borrows of itself.
        if *self.as_mut().project().stage != Stage::Open {
            return self.poll_end(cx);
        }
        let value = ready!(self.as_mut().poll_body(cx));
        let mut this = self.as_mut().project();
        match value {
            Some(value) if this.node.get().is_none() => return Poll::Ready(Ok(value)),
            value => *this.value = value,
        }
        *this.stage = Stage::Over;
        this.body.set(None);
        self.poll_end(cx)
    }
}

#[pinned_drop]
impl<F: Future> PinnedDrop for Timeout<F> {
    #[inline]
    fn drop(mut self: Pin<&mut Self>) {
        let this = self.as_mut().project();
        if this.node.get().is_some() || this.sleep.is_registered() {
            drop_armed(self);
        }
    }
}

/// The sleep inside its [`ManuallyDrop`].
fn pinned_sleep(sleep: Pin<&mut ManuallyDrop<Sleep>>) -> Pin<&mut Sleep> {
    // SAFETY: a projection: the sleep is pinned with what it lies in, and `drop_armed` drops it
    // before that goes away, unless it is not registered, when nobody has its address.
    unsafe { sleep.map_unchecked_mut(|sleep| &mut **sleep) }
}

/// Drops what only a timeout has that was pending once.
#[cold]
fn drop_armed<F: Future>(timeout: Pin<&mut Timeout<F>>) {
    /// Dropped also when the body's destructor panics.
    struct Armed<'a, F: Future>(Pin<&'a mut Timeout<F>>);

    impl<F: Future> Drop for Armed<'_, F> {
        fn drop(&mut self) {
            let this = self.0.as_mut().project();
            // SAFETY: the timeout is being dropped, nobody touches the field after this, and the
            // sleep is not moved.
            unsafe { ManuallyDrop::drop(this.sleep.get_unchecked_mut()) };
            // SAFETY: as above.
            unsafe { ManuallyDrop::drop(this.node) };
        }
    }

    let mut armed = Armed(timeout);
    if armed.0.as_mut().project().node.get().is_some() {
        drop_region(armed.0.as_mut());
    }
}

/// Keeps a panic of the body's destructor until what was opened inside has ended, and the coroutine
/// is back.
#[cold]
fn keep_panic(node: &NodeRef, place: &'static Location<'static>, payload: Box<dyn Any + Send>) {
    let Some(side) = node.side() else { resume_unwind(payload) };
    let panic = Panic::new(Who::at(place), payload);
    let later = side.lock().failure.replace(Failure::Panic(panic));
    if let Some(later) = later {
        failure::report_in_context(&later);
    }
}

/// Before the body of a timeout that has a node is polled: if it is cancelled, then for the sake of
/// a shield in it alone.
#[cold]
fn begin_known(node: &NodeRef) -> Option<Budget> {
    check_not_abandoned(node);
    current::is_marked(node).then(Budget::hold)
}

/// The opener's end closes what was moved away, as it does for scopes.
fn check_not_abandoned(node: &Node) {
    assert!(
        !node.state.load().has(state::ABANDONED),
        "the timeout made at {} was polled after the coroutine that opened it had ended: \
         it belongs to the job it was first polled in, so poll it there to its end, or make it in \
         the job that needs it",
        node.site,
    );
}

fn drop_region<F: Future>(timeout: Pin<&mut Timeout<F>>) {
    let mut this = timeout.project();
    let Some(node) = this.node.get() else { return };
    if !node.state.load().has(state::SETTLED) {
        cancel_dropped(node, this.place);
        node.state.set(state::ABANDONED);
    }
    {
        let _close = (!*this.closed).then(|| region::CloseOnDrop(node));
        let frame = Frame::region(node.as_ptr());
        let _inside = frame.enter();
        this.body.set(None);
    }
    // What `keep_panic` has kept.
    let kept = node.side().and_then(|side| side.lock().failure.take());
    if let Some(kept) = kept {
        failure::report_in_context(&kept);
    }
}
