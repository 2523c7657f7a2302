//! Asynchronous cleanup: what a coroutine still has to do when a part of it is over, however that
//! came about.
//!
//! A [`finally`] is a region with a *cleanup*. Where another region would end, because its body is
//! gone and its children have ended, this one launches its cleanup first, as a coroutine that takes
//! the place of the last child:
//!
//! ```text
//! [body] ──► [closed] ──► census empty ──► [due] ──► [running] ──► census empty again ──► ended
//!               │                            ▲
//!               └── later ones come first ───┘
//! ```
//!
//! Cleanups of one *owner*, a coroutine or what a thread blocks on, run one after another. Among
//! those whose body is gone the one that was registered last has its turn; it is waited for until
//! it is due. Nothing begins inside a poll of the owner, or while its end closes what was forgotten:
//! what that drops, in whatever order, is all closed before the first cleanup is chosen.
//!
//! A cleanup is shielded: cancellations from above do not reach it. The job that it belongs to waits
//! for it, as for everything below.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project::pin_project;

use crate::context::ContextInner;
use crate::coroutine;
use crate::current;
use crate::failure::{self, Failure};
use crate::job::Job;
use crate::node::side::Inner;
use crate::node::{Kind, Node, NodeRef, state};
use crate::scope::region::{self, Region};
use crate::time::timeout_at;

mod guard;

pub use guard::{AsyncClose, AsyncGuard};

/// How long a cleanup may take, unless it is told otherwise.
const GRACE: Duration = Duration::from_secs(30);

/// Runs `body`, and then `cleanup`, however the body ended.
///
/// The cleanup begins when the body has returned, or was dropped by a cancellation, a timeout or by
/// hand, or has panicked, and when all jobs that were opened in it have ended. It may suspend. If
/// this future is still there, it waits for the end of the cleanup and then gives the body's value;
/// else the job that it belongs to waits: no scope returns before the cleanups in it are over.
///
/// - Cleanups of one coroutine run one after another, the last registered first.
/// - It is a coroutine of its own, on the same dispatcher, and shielded: no cancellation from above
///   reaches it. After half a minute, or [`grace`](Finally::grace), it is dropped and reported.
/// - If it panics, or gives an `Err`, that is a failure of the job it belongs to, and comes out of
///   this future if that is still there. Other cleanups run nevertheless.
/// - If this is never polled, there is nothing to clean up, and the cleanup is dropped uncalled.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::prelude::*;
/// use corymb::{finally, sync::channel};
///
/// let (log, entries) = channel::bounded(1);
/// run_blocking(async move {
///     let transaction = finally(
///         async { std::future::pending::<()>().await },
///         move || async move {
///             yield_now().await; // it may suspend, though the body was dropped
///             log.send("rolled back").await.unwrap();
///         },
///     );
///     with_timeout(Duration::from_millis(1), transaction).await.unwrap_err();
///     assert_eq!(entries.try_recv(), Ok("rolled back")); // it was waited for
/// });
/// ```
///
/// # Panics
///
/// With a panic of the body; else with one of the cleanup, or with a panic that has the text of its
/// error.
///
/// # Cancel safety
///
/// Dropping it drops the body and hands the cleanup to the job that polled it first.
#[track_caller]
pub fn finally<F, C, Fut>(body: F, cleanup: C) -> Finally<F>
where
    F: Future,
    C: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output: CleanupOutput> + Send + 'static,
{
    let site = Location::caller();
    Finally { site, grace: GRACE, stage: Stage::New(body, erase(site, cleanup)) }
}

/// What a cleanup may give: nothing, or an error that counts as its failure.
pub trait CleanupOutput: Send + 'static {
    /// The text of the error.
    fn into_failure(self) -> Option<String>;
}

impl CleanupOutput for () {
    fn into_failure(self) -> Option<String> {
        None
    }
}

impl<E: fmt::Display + Send + 'static> CleanupOutput for Result<(), E> {
    fn into_failure(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// The future of [`finally`].
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct Finally<F: Future> {
    site: &'static Location<'static>,
    grace: Duration,
    #[pin]
    stage: Stage<F>,
}

#[pin_project(project = StageProj, project_replace = StageReplace)]
enum Stage<F: Future> {
    New(F, Launch),
    Open(#[pin] Region<F>),
    Over,
}

impl<F: Future> Finally<F> {
    /// Gives the cleanup so much time instead of half a minute. When that is up, it is dropped, and
    /// reported with the place of the `finally`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::prelude::*;
    /// use corymb::finally;
    ///
    /// let work = finally(async { 42 }, || async { /* tell a server good-bye */ });
    /// assert_eq!(run_blocking(work.grace(Duration::from_secs(1))), 42);
    /// ```
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }
}

impl<F: Future> Future for Finally<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        if let StageProj::New(..) = this.stage.as_mut().project() {
            let StageReplace::New(body, cleanup) = this.stage.as_mut().project_replace(Stage::Over)
            else {
                unreachable!("it was new a line above")
            };
            let context = current::region_context();
            let region = current::with_node_or_root(|parent| {
                open(parent, context, this.site, *this.grace, cleanup)
            });
            this.stage.as_mut().project_replace(Stage::Open(Region::new(region, body)));
        }
        let StageProj::Open(mut region) = this.stage.as_mut().project() else {
            panic!("the finally made at {} was polled after it had ended", this.site)
        };
        let value = ready!(region.as_mut().poll_value(cx));
        this.stage.set(Stage::Over);
        Poll::Ready(value)
    }
}

impl<F: Future> fmt::Debug for Finally<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finally").field("site", &self.site).finish_non_exhaustive()
    }
}

/// Launches a cleanup at the end of the region, with the time that it has.
// Without its type, which would be one of the future's: then code that has a `finally` in it would
// not be seen to be `Send` when the cleanup mentions `&'static` data.
type Launch = Box<dyn FnOnce(&NodeRef, Duration) + Send>;

fn erase<C, Fut>(site: &'static Location<'static>, cleanup: C) -> Launch
where
    C: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output: CleanupOutput> + Send + 'static,
{
    Box::new(move |region, grace| {
        // Made here, so that it tells also of what is never polled.
        let watch = Watch { site, grace: None };
        coroutine::spawn_last(region, site, supervise(watch, grace, cleanup));
    })
}

/// Opens a region in `parent` that ends with `launch`.
fn open(
    parent: &NodeRef,
    context: Option<Arc<ContextInner>>,
    site: &'static Location<'static>,
    grace: Duration,
    launch: Launch,
) -> NodeRef {
    let cleanup = Cleanup { number: None, grace, launch };
    open_under(parent, context, site, None, cleanup)
        .unwrap_or_else(|cleanup| region::open_final_cancelled(cleanup, site))
}

/// Opens a region with a cleanup under `parent`, in a turn that was registered earlier if that was
/// with the same owner. The cleanup comes back if the parent has ended.
fn open_under(
    parent: &NodeRef,
    context: Option<Arc<ContextInner>>,
    site: &'static Location<'static>,
    earlier: Option<&Turn>,
    cleanup: Cleanup,
) -> Result<NodeRef, Cleanup> {
    let mut cleanup = Some(cleanup);
    // What is at the root is not ordered by that.
    let has_owner = parent.kind() != Kind::Root;
    let region = Job::from_node(parent.clone()).pinned(|_| {
        let mut cleanup = cleanup.take()?;
        // SAFETY: unended during the call.
        let owner = has_owner.then(|| unsafe { owner(parent.as_ptr()) });
        cleanup.number = owner.map(|owner| match earlier {
            Some(turn) if turn.owner == owner => turn.number,
            _ => with_owner(&owner, Cleanups::register),
        });
        Some(region::open_final(parent, context, cleanup, site))
    });
    match (region.flatten(), cleanup) {
        (Some(region), _) => region.map_err(|cleanup| Cleanup { number: None, ..cleanup }),
        (None, Some(cleanup)) => Err(cleanup),
        (None, None) => unreachable!("what takes it opens a region with it"),
    }
}

/// The body of the coroutine that a cleanup is.
async fn supervise<C, Fut>(mut watch: Watch, grace: Duration, cleanup: C)
where
    C: FnOnce() -> Fut,
    Fut: Future<Output: CleanupOutput>,
{
    let site = watch.site;
    let ended = timeout_at(grace, site, async { cleanup().await }).await;
    match ended {
        Ok(output) => {
            std::mem::forget(watch);
            if let Some(error) = output.into_failure() {
                panic!("the cleanup registered at {site} failed: {error}");
            }
        }
        Err(_) => watch.grace = Some(grace),
    }
}

/// Tells of a cleanup that was dropped before its end.
struct Watch {
    site: &'static Location<'static>,
    /// If that was up.
    grace: Option<Duration>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let Self { site: registered_at, grace } = *self;
            failure::report_in_context(&Failure::CleanupDropped { registered_at, grace });
        }
    }
}

/// What a region has yet to do before it ends.
pub(crate) struct Cleanup {
    /// By the order of registration in its owner; none before it is put into a region that orders
    /// its own.
    number: Option<u64>,
    grace: Duration,
    launch: Launch,
}

impl Cleanup {
    /// Gives it to a region that nobody else knows yet.
    pub(crate) fn put(mut self, region: &mut Inner) {
        let region = region.rest_mut();
        self.number.get_or_insert_with(|| region.cleanups.get_or_insert_default().register());
        region.cleanup = Some(self);
    }
}

/// When a cleanup has its turn.
struct Turn {
    owner: NodeRef,
    number: u64,
}

impl Turn {
    /// # Safety
    ///
    /// `job` has not ended during the call.
    unsafe fn register(job: NonNull<Node>) -> Self {
        // SAFETY: the caller's promise.
        let owner = unsafe { owner(job) };
        Self { number: with_owner(&owner, Cleanups::register), owner }
    }
}

/// The cleanups of an owner.
#[derive(Default)]
pub(crate) struct Cleanups {
    registered: u64,
    /// Those whose body is gone, by number; with the region when they are due.
    closed: BTreeMap<u64, Option<NodeRef>>,
    running: bool,
    /// Polls of the owner in which a body has gone, and its end while it closes what is open.
    polls: usize,
}

impl Cleanups {
    fn register(&mut self) -> u64 {
        self.registered += 1;
        self.registered
    }

    /// The one whose turn it is, if it may begin.
    fn next(&mut self) -> Option<NodeRef> {
        if self.running || self.polls > 0 {
            return None;
        }
        let mut last = self.closed.last_entry()?;
        let region = last.get_mut().take()?;
        last.remove();
        self.running = true;
        Some(region)
    }
}

/// Whose cleanups take turns with that of `region`: of its coroutine, of what a thread blocks on, or
/// of the outermost region.
///
/// # Safety
///
/// `region` has not ended during the call.
pub(crate) unsafe fn owner(region: NonNull<Node>) -> NodeRef {
    let mut at = region;
    loop {
        // SAFETY: unended, and so are the ancestors of an unended node.
        let this = unsafe { at.as_ref() };
        match this.parent {
            // SAFETY: as above.
            Some(parent) if !is_owner(this) && unsafe { parent.as_ref() }.kind() != Kind::Root => {
                at = parent;
            }
            // SAFETY: as above.
            _ => return unsafe { NodeRef::retain(at) },
        }
    }
}

fn is_owner(node: &Node) -> bool {
    node.kind() == Kind::Coroutine || node.state.load().has(state::BOUND)
}

fn with_owner<R>(owner: &NodeRef, f: impl FnOnce(&mut Cleanups) -> R) -> R {
    f(owner.make_side().0.lock().rest_mut().cleanups.get_or_insert_default())
}

/// The body of `region`, which has a cleanup, is gone.
///
/// # Safety
///
/// `region` has not ended during the call.
#[cold]
pub(crate) unsafe fn closed(region: &NodeRef) {
    let Some(number) = number(region) else { return };
    // SAFETY: the caller's promise.
    let owner = unsafe { owner(region.as_ptr()) };
    let in_poll = current::delay_cleanups(&owner);
    with_owner(&owner, |cleanups| {
        cleanups.closed.insert(number, None);
        cleanups.polls += usize::from(in_poll);
    });
}

fn number(region: &Node) -> Option<u64> {
    region.side().and_then(|side| side.lock().rest()?.cleanup.as_ref()?.number)
}

/// The census of `region`, which has a cleanup, is empty. True if the region goes on for it, and
/// does not end yet.
///
/// # Safety
///
/// Nobody else ends the region, and it has not ended.
#[cold]
pub(crate) unsafe fn is_due(region: NonNull<Node>) -> bool {
    // Both are kept: once the cleanup has begun, all of them may end and be freed.
    // SAFETY: the caller's promise.
    let (region, owner) = unsafe { (NodeRef::retain(region), owner(region)) };
    let number = number(&region);
    // Before the owner knows of it: from then on another thread may begin the cleanup, and end it.
    if let (Some(_), Some(side)) = (number, region.side()) {
        side.census.reopen();
    }
    with_owner(&owner, |cleanups| match number {
        Some(number) => drop(cleanups.closed.insert(number, Some(region.clone()))),
        None => cleanups.running = false,
    });
    go_on(&owner);
    number.is_some()
}

/// A poll of `owner` is over in which bodies have gone.
#[cold]
pub(crate) fn after_poll(owner: &NodeRef) {
    with_owner(owner, |cleanups| cleanups.polls -= 1);
    go_on(owner);
}

/// What is closed while this is there is closed before the next cleanup of the owner is chosen: for
/// what its end closes, which is no part of a poll any more.
pub(crate) struct Together(NodeRef);

impl Together {
    /// # Safety
    ///
    /// `owner`, which has registered cleanups, does not end before this is dropped.
    #[cold]
    pub(crate) unsafe fn begin(owner: NonNull<Node>) -> Self {
        // SAFETY: the caller's promise.
        let owner = unsafe { NodeRef::retain(owner) };
        with_owner(&owner, |cleanups| cleanups.polls += 1);
        Self(owner)
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        after_poll(&self.0);
    }
}

/// Begins the next cleanup, if there is one and may be.
fn go_on(owner: &NodeRef) {
    let Some(region) = with_owner(owner, Cleanups::next) else { return };
    let cleanup = region.side().and_then(|side| side.lock().rest()?.cleanup.take());
    if let Some(Cleanup { launch, grace, .. }) = cleanup {
        launch(&region, grace);
    }
}
