//! The handle of a job, whatever it is: a coroutine, a scope, a token, the root of a runtime.

use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::budget::budgeted;
use crate::context::ContextInner;
use crate::current;
use crate::error::{CancelCause, Cancelled, NameOf, Who};
use crate::failure;
use crate::node::cancel::cancel;
use crate::node::side::{Handler, Policy, Side};
use crate::node::state::{self, State};
use crate::node::{Kind, Node, NodeRef, VTable, no_future, tree};
use crate::prim::atomic::{AtomicU64, Ordering};
use crate::wait::{WaitKind, waiting_on};

/// Where a job is in its life.
///
/// # Examples
///
/// ```
/// use corymb::{Job, JobState};
///
/// let token = Job::new(None);
/// assert_eq!(token.state(), JobState::Active);
/// token.cancel();
/// assert_eq!(token.state(), JobState::Cancelled);
/// assert!(token.state().is_cancelled() && token.state().is_completed());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobState {
    /// It runs, or is ready to.
    Active,
    /// Its body has returned, its children have not.
    Completing,
    /// It failed or was cancelled; its children and cleanup have not ended yet.
    Cancelling,
    /// It failed or was cancelled, and all of it has ended.
    Cancelled,
    /// It returned, and all of it has ended.
    Completed,
}

impl JobState {
    /// Active or completing.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Active | Self::Completing)
    }

    /// Cancelled or completed.
    pub fn is_completed(self) -> bool {
        matches!(self, Self::Cancelled | Self::Completed)
    }

    /// Cancelling or cancelled.
    pub fn is_cancelled(self) -> bool {
        matches!(self, Self::Cancelling | Self::Cancelled)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Completing => "completing",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Completed => "completed",
        })
    }
}

/// The number of a job, unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A handle of a node of the job tree; clones are handles of the same job.
///
/// A handle owns nothing: dropping it neither cancels nor detaches the job.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
///
/// run_blocking(scope(async |s| {
///     let job: Job = s.launch(std::future::pending());
///     assert!(job.is_active());
///     job.cancel_and_join().await;
///     assert!(job.is_cancelled() && job.is_completed());
/// }));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Job(NodeRef);

impl Job {
    /// A job without code, under `parent`: a cancellation token.
    ///
    /// It is cancelled with its parent, or by itself, and its own tokens with it. It keeps no
    /// parent from ending, and ends itself when it is cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::Job;
    ///
    /// let all = Job::new(None);
    /// let one = Job::new(Some(&all));
    /// all.cancel();
    /// assert!(one.is_cancelled());
    /// ```
    #[track_caller]
    pub fn new(parent: Option<&Self>) -> Self {
        Self(token(parent.map(|job| &job.0), Location::caller()))
    }

    pub(crate) fn from_node(node: NodeRef) -> Self {
        Self(node)
    }

    pub(crate) fn into_node(self) -> NodeRef {
        self.0
    }

    pub(crate) fn node(&self) -> &NodeRef {
        &self.0
    }

    /// The job of the code that asks: of the innermost scope, timeout or coroutine that it runs
    /// in.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// assert!(Job::current().is_none());
    /// run_blocking(scope(async |s| assert_eq!(Job::current(), Some(s.job()))));
    /// ```
    pub fn current() -> Option<Self> {
        current::node().map(Self)
    }

    /// Cancels the job and all below it; false if it was cancelled before or has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// run_blocking(scope(async |s| {
    ///     let job = s.launch(std::future::pending());
    ///     assert!(job.cancel());
    ///     assert!(!job.cancel()); // that was done before
    /// }));
    /// ```
    #[track_caller]
    pub fn cancel(&self) -> bool {
        self.cancel_with(CancelCause::Requested)
    }

    /// As [`cancel`](Self::cancel), for a reason.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use corymb::{CancelCause, Job};
    ///
    /// let job = Job::new(None);
    /// job.cancel_with(CancelCause::Custom(Arc::new(std::io::Error::other("no power"))));
    /// assert_eq!(job.cause().unwrap().cause().to_string(), "because no power");
    /// ```
    #[track_caller]
    pub fn cancel_with(&self, cause: CancelCause) -> bool {
        let cause = Cancelled::new(cause, Location::caller());
        // If a cancel of the parent came first, then this is no news.
        self.list();
        // SAFETY: the handle is a reference.
        unsafe { cancel(self.0.as_ptr(), &cause) }
    }

    /// Waits until the job and all below it have ended, whatever became of it.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// run_blocking(scope(async |s| {
    ///     let job = s.launch(yield_now());
    ///     job.join().await;
    ///     assert!(job.is_completed());
    /// }));
    /// ```
    ///
    /// # Panics
    ///
    /// If the job is the one that waits, or one of its ancestors: that would never end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up nothing but the wait.
    #[track_caller]
    pub fn join(&self) -> Join {
        Join { job: self.clone(), number: None, place: Location::caller() }
    }

    /// Cancels the job and waits for its end.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{JobState, prelude::*};
    ///
    /// run_blocking(scope(async |s| {
    ///     let job = s.launch(std::future::pending());
    ///     job.cancel_and_join().await;
    ///     assert_eq!(job.state(), JobState::Cancelled);
    /// }));
    /// ```
    ///
    /// # Panics
    ///
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    ///
    /// The job is cancelled by the call. Dropping the future gives up nothing but the wait.
    #[track_caller]
    pub fn cancel_and_join(&self) -> Join {
        self.cancel();
        self.join()
    }

    /// Where the job is in its life.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{JobState, prelude::*};
    ///
    /// run_blocking(scope(async |s| {
    ///     let job = s.launch(std::future::pending());
    ///     assert_eq!(job.state(), JobState::Active);
    ///     job.cancel_and_join().await;
    ///     assert_eq!(job.state(), JobState::Cancelled);
    /// }));
    /// ```
    pub fn state(&self) -> JobState {
        let seen = self.0.state.load();
        let bad = seen.has(state::CANCELLED | state::PANICKED | state::FAILED);
        if seen.has(state::ENDED) {
            return if bad { JobState::Cancelled } else { JobState::Completed };
        }
        if bad || self.parent_is_cancelled(seen) {
            return JobState::Cancelling;
        }
        if seen.has(state::BODY_DONE) { JobState::Completing } else { JobState::Active }
    }

    /// A coroutine that has not been linked yet is cancelled by its parent's mark.
    fn parent_is_cancelled(&self, seen: state::Snapshot) -> bool {
        !seen.has(state::LINKED)
            && self.parent().is_some_and(|parent| parent.0.state.load().has(state::CANCELLED))
    }

    /// Whether the job is active; see [`JobState::is_active`].
    pub fn is_active(&self) -> bool {
        self.state().is_active()
    }

    /// Whether the job and all below it have ended.
    pub fn is_completed(&self) -> bool {
        self.state().is_completed()
    }

    /// Whether the job was cancelled or has failed.
    pub fn is_cancelled(&self) -> bool {
        self.state().is_cancelled()
    }

    /// Why it was cancelled, if it was.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{CancelCause, Job};
    ///
    /// let job = Job::new(None);
    /// assert!(job.cause().is_none());
    /// job.cancel();
    /// assert!(matches!(job.cause().unwrap().cause(), CancelCause::Requested));
    /// ```
    pub fn cause(&self) -> Option<Cancelled> {
        let recorded = || self.0.side().and_then(|side| side.lock().cause.clone());
        if let Some(cause) = recorded() {
            return Some(cause);
        }
        if !self.is_cancelled() {
            return None;
        }
        // What was recorded meanwhile, at its end, is told before what is made up.
        let cause = self.pinned(tree::own_cause).or_else(recorded);
        Some(cause.unwrap_or_else(|| tree::unknown_cause(&self.0)))
    }

    /// A number that tells this job from all others of the process.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::Job;
    ///
    /// let (one, other) = (Job::new(None), Job::new(None));
    /// assert_ne!(one.id(), other.id());
    /// assert_eq!(one.id(), one.clone().id());
    /// ```
    pub fn id(&self) -> JobId {
        static NEXT: std::sync::OnceLock<AtomicU64> = std::sync::OnceLock::new();
        let (side, _) = self.0.make_side();
        let mut inner = side.lock();
        if inner.id == 0 {
            // Ordering: Relaxed, only the numbers matter.
            inner.id = NEXT.get_or_init(|| AtomicU64::new(1)).fetch_add(1, Ordering::Relaxed);
        }
        JobId(inner.id)
    }

    /// The job's name: its own, or one that it inherits and has not ended yet. A job without code
    /// has none.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// run_blocking(scope(async |s| {
    ///     let job = s.coroutine().name("poller").launch(std::future::pending());
    ///     assert_eq!(job.name().as_deref(), Some("poller"));
    ///     job.cancel();
    /// }));
    /// ```
    pub fn name(&self) -> Option<Arc<str>> {
        self.name_of().map(NameOf::into_name)
    }

    fn name_of(&self) -> Option<NameOf> {
        if self.0.state.load().has(state::OWN_CONTEXT) {
            // SAFETY: owned by the node.
            return unsafe { self.0.context() }.name_for(true);
        }
        self.with_context(|context| context.name_for(false)).flatten()
    }

    /// Calls `f` with the job's context; none for a token, and once the job has ended.
    pub(crate) fn with_context<R>(&self, f: impl FnOnce(&ContextInner) -> R) -> Option<R> {
        let token = self.0.kind() == Kind::Token;
        // SAFETY: no token, and unended during the call.
        (!token).then(|| self.pinned(|node| f(unsafe { node.context() }))).flatten()
    }

    /// The job as errors name it.
    pub(crate) fn who(&self) -> Who {
        Who { name: self.name_of(), launched_at: self.0.site }
    }

    /// Where the job was launched or opened.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::Job;
    ///
    /// let job = Job::new(None);
    /// assert_eq!(job.launched_at().file(), file!());
    /// ```
    pub fn launched_at(&self) -> &'static Location<'static> {
        self.0.site
    }

    /// The parent; none once the job has ended, and for a root.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// run_blocking(scope(async |s| {
    ///     let job = s.launch(std::future::pending());
    ///     assert_eq!(job.parent(), Some(s.job()));
    ///     job.cancel_and_join().await;
    ///     assert_eq!(job.parent(), None);
    /// }));
    /// ```
    pub fn parent(&self) -> Option<Self> {
        if self.0.state.load().has(state::ENDED) {
            return None;
        }
        self.pinned(|node| {
            // SAFETY: `node` has not ended during the call, so its parent has not.
            node.parent.map(|parent| Self(unsafe { NodeRef::retain(parent) }))
        })
        .flatten()
    }

    /// The children that have suspended once, the oldest first. A coroutine that has not is only
    /// counted, by [`unlisted`](Self::unlisted): it costs less.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use corymb::testing::{TestRuntime, settle};
    ///
    /// TestRuntime::new().run(scope(async |s| {
    ///     let child = s.launch(std::future::pending());
    ///     settle().await; // it runs, and suspends
    ///     assert_eq!(s.job().children(), [child.clone()]);
    ///     child.cancel();
    /// }));
    /// ```
    pub fn children(&self) -> Vec<Self> {
        let Some(side) = self.0.side() else { return Vec::new() };
        let inner = side.lock();
        let mut children: Vec<_> = inner
            .children()
            // SAFETY: linked nodes are valid while the lock is held; a token may be on its way
            // out.
            .filter_map(|child| unsafe { NodeRef::try_retain(child) })
            .map(Self)
            .collect();
        drop(inner);
        children.reverse();
        children
    }

    /// How many children there are that [`children`](Self::children) does not list yet.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use corymb::testing::{TestRuntime, settle};
    ///
    /// TestRuntime::new().run(scope(async |s| {
    ///     let child = s.launch(std::future::pending());
    ///     let job = s.job();
    ///     assert_eq!(job.children().len() + job.unlisted(), 1);
    ///     settle().await; // it runs, and suspends
    ///     assert_eq!(job.unlisted(), 0);
    ///     child.cancel();
    /// }));
    /// ```
    pub fn unlisted(&self) -> usize {
        let Some(side) = self.0.side() else { return 0 };
        let body = usize::from(!self.0.state.load().has(state::BODY_DONE));
        let linked = side.lock().linked;
        side.census.count().saturating_sub(linked + body)
    }

    /// Calls `f` once, when the job and all below it have ended and before anybody who joins it
    /// goes on; at once if that is past.
    ///
    /// A panic in `f` is reported and harms nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use corymb::{Completion, prelude::*};
    ///
    /// let (tell, told) = mpsc::channel();
    /// run_blocking(scope(async |s| {
    ///     let job = s.launch(async {});
    ///     job.on_completion(move |how| tell.send(matches!(how, Completion::Completed)).unwrap());
    /// }));
    /// assert_eq!(told.recv(), Ok(true));
    /// ```
    pub fn on_completion(&self, f: impl FnOnce(&Completion) + Send + 'static) -> Registration {
        let call = move |node: &Node| f(&Completion::of(node));
        self.register(Handler::Completion(Box::new(call)), state::ENDED)
    }

    /// Calls `f` once, with the cause, as soon as the job is cancelled or fails; at once if that
    /// is past. It never runs if the job completes.
    ///
    /// A panic in `f` is reported and harms nothing. `f` runs in the middle of the cancellation,
    /// on whatever thread that happens: it should be short.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use corymb::Job;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let job = Job::new(None);
    /// job.on_cancelling(move |cancelled| tell.send(cancelled.cause().to_string()).unwrap());
    /// job.cancel();
    /// assert_eq!(told.recv().as_deref(), Ok("on request"));
    /// ```
    pub fn on_cancelling(&self, f: impl FnOnce(&Cancelled) + Send + 'static) -> Registration {
        self.register(Handler::Cancelling(Box::new(f)), state::CANCELLED)
    }

    /// Keeps `handler`, or runs it if `late` has happened.
    fn register(&self, handler: Handler, late: u64) -> Registration {
        let (side, _) = self.0.make_side();
        if matches!(handler, Handler::Cancelling(_)) {
            self.list();
        }
        let number = side.lock().register(handler);
        // Whoever sets `late` looks at the handlers afterwards, if it sees SIDE; so look at
        // `late` after SIDE and the handler are there. After its end it looks no more.
        if self.0.state.set(state::SIDE).has(late | state::ENDED) {
            let handler = side.lock().remove(number);
            self.run_late(handler);
        }
        Registration { job: self.clone(), number }
    }

    fn run_late(&self, handler: Option<Handler>) {
        match handler {
            Some(Handler::Completion(f)) => {
                tree::guarded(&self.0, "completion handler", || f(&self.0));
            }
            Some(Handler::Cancelling(f)) => {
                let cause = self.0.state.load().has(state::CANCELLED).then(|| self.cause());
                tree::guarded(&self.0, "cancelling handler", || match cause.flatten() {
                    Some(cause) => f(&cause),
                    None => drop(f),
                });
            }
            Some(Handler::Join(_)) | None => {}
        }
    }

    /// Puts a coroutine that has not suspended yet into its parent's list, so that a cancel finds
    /// it at once.
    fn list(&self) {
        if self.0.kind() == Kind::Coroutine && !self.0.state.load().has(state::LINKED) {
            self.pinned(|node| {
                // SAFETY: counted in its census.
                if !unsafe { tree::link(self.0.as_ptr()) } {
                    // SAFETY: the handle is a reference.
                    unsafe { cancel(self.0.as_ptr(), &tree::inherited_from_parent(node)) };
                }
            });
        }
    }

    /// Calls `f` while the job is kept from ending; none if it has ended.
    pub(crate) fn pinned<R>(&self, f: impl FnOnce(&Node) -> R) -> Option<R> {
        if self.0.kind() == Kind::Token {
            // A token keeps its parent by a reference.
            return Some(f(&self.0));
        }
        let seen = self.0.state.load();
        if seen.has(state::ENDED) {
            return None;
        }
        // To be counted as a child for a moment is what keeps a job from ending. A body that is
        // done and has not looked at the census ends the job without it.
        let (side, seen) = self.0.make_side();
        if seen.has(state::BODY_DONE) && !seen.has(state::COUNTED) || !side.census.join() {
            return None;
        }
        let result = f(&self.0);
        debug_assert!(!self.0.state.load().has(state::ENDED), "it ended while it was counted in");
        if side.census.leave() {
            // SAFETY: the body is done and we were the last; the handle is a reference.
            unsafe { tree::finish(self.0.as_ptr()) };
        }
        Some(result)
    }

    /// Whether this job is `node` or an ancestor of it.
    ///
    /// # Safety
    ///
    /// `node` does not end during the call.
    unsafe fn is_ancestor_of(&self, node: &Node) -> bool {
        let mut at = Some(node);
        while let Some(node) = at {
            if std::ptr::eq(node, &raw const *self.0) {
                return true;
            }
            // SAFETY: unended, and so are the ancestors of an unended node.
            at = unsafe { node.pinned_parent() };
        }
        false
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("state", &self.state())
            .field("name", &self.who().name())
            .field("launched_at", &format_args!("{}", self.0.site))
            .finish_non_exhaustive()
    }
}

/// How a job ended.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use corymb::{Completion, prelude::*};
///
/// let (tell, told) = mpsc::channel();
/// run_blocking(scope(async |s| {
///     let job = s.launch(std::future::pending());
///     job.on_completion(move |how| tell.send(how.clone()).unwrap());
///     job.cancel();
/// }));
/// assert!(matches!(told.recv(), Ok(Completion::Cancelled(_))));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Completion {
    /// It returned.
    Completed,
    /// It was cancelled.
    Cancelled(Cancelled),
    /// It returned an error to its scope, or panicked.
    Failed(Who),
}

impl Completion {
    fn of(node: &Node) -> Self {
        let seen = node.state.load();
        if seen.has(state::FAILED | state::PANICKED) {
            return Self::Failed(node.who());
        }
        if !seen.has(state::CANCELLED) {
            return Self::Completed;
        }
        let cause = node.side().and_then(|side| side.lock().cause.clone());
        Self::Cancelled(cause.unwrap_or_else(|| Cancelled::new(CancelCause::Requested, node.site)))
    }
}

/// A handler's registration. Dropping it changes nothing; [`dispose`](Self::dispose) ends it.
///
/// # Examples
///
/// ```
/// use corymb::Job;
///
/// let job = Job::new(None);
/// let registration = job.on_cancelling(|_| unreachable!("it was taken back"));
/// assert!(registration.dispose());
/// job.cancel();
/// ```
#[derive(Clone, Debug)]
pub struct Registration {
    job: Job,
    number: u64,
}

impl Registration {
    /// Takes the handler back; false if it has run or is about to.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::Job;
    ///
    /// let job = Job::new(None);
    /// let registration = job.on_cancelling(|_| {});
    /// job.cancel();
    /// assert!(!registration.dispose()); // it has run
    /// ```
    pub fn dispose(self) -> bool {
        let removed = self.job.0.side().and_then(|side| side.lock().remove(self.number));
        // Dropped here, outside of the lock.
        removed.is_some()
    }
}

/// The future of [`Job::join`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Join {
    job: Job,
    /// The number of the registered waker.
    number: Option<u64>,
    place: &'static Location<'static>,
}

impl Join {
    /// Registers or replaces the waker; true if the job had settled before that.
    fn register(&mut self, cx: &Context<'_>) -> bool {
        let (side, _) = self.job.0.make_side();
        let fresh = Handler::Join(cx.waker().clone());
        let mut inner = side.lock();
        let stale = match self.number.and_then(|number| inner.handler_mut(number)) {
            Some(Handler::Join(waker)) if waker.will_wake(cx.waker()) => Some(fresh),
            Some(handler) => Some(std::mem::replace(handler, fresh)),
            None => {
                self.number = Some(inner.register(fresh));
                None
            }
        };
        drop(inner);
        drop(stale);
        // As in `Job::register`.
        self.job.0.state.set(state::SIDE).has(state::SETTLED)
    }
}

impl Future for Join {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        budgeted(cx, |cx| self.poll_settled(cx))
    }
}

impl Join {
    fn poll_settled(&mut self, cx: &Context<'_>) -> Poll<()> {
        // A job that failed has cancelled its scope before it settled: who is being cancelled
        // never sees the join return.
        if current::is_cancelled() {
            return Poll::Pending;
        }
        if self.job.0.state.load().has(state::SETTLED) {
            // The job may have failed since the look above.
            return if current::is_cancelled() { Poll::Pending } else { Poll::Ready(()) };
        }
        if self.number.is_none() {
            // SAFETY: unended during the call.
            let own = current::with_unended(|here| unsafe { self.job.is_ancestor_of(here) });
            assert!(
                own != Some(true),
                "join of the job launched at {} by itself or one of its own children at {}: it \
                 would wait for ever; join it from outside, or let the scope wait",
                self.job.0.site,
                self.place,
            );
        }
        waiting_on(WaitKind::Join, self.place);
        if self.register(cx) && !current::is_cancelled() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Join {
    fn drop(&mut self) {
        if let (Some(number), Some(side)) = (self.number, self.job.0.side()) {
            let waker = side.lock().remove(number);
            drop(waker);
        }
    }
}

/// A token's allocation.
#[repr(C)]
struct Token {
    node: Node,
    side: Side,
}

static TOKEN: VTable = VTable {
    kind: Kind::Token,
    poll: no_future::poll,
    drop_future: no_future::nothing,
    put_panic: no_future::put_panic,
    take_panic: no_future::take_panic,
    drop_output: no_future::nothing,
    take_output: no_future::take_output,
    dealloc: dealloc_token,
};

/// A token owns a reference to its parent, and stands in its list without one of its own.
fn token(parent: Option<&NodeRef>, site: &'static Location<'static>) -> NodeRef {
    let parent = parent.cloned();
    let node = Node::new(
        State::new(state::SIDE | state::COUNTED, 1),
        &TOKEN,
        std::ptr::null(),
        parent.as_ref().map(NodeRef::as_ptr),
        site,
    );
    let token = Box::into_raw(Box::new(Token { node, side: Side::new(Policy::Supervise) }));
    // SAFETY: just allocated; the place lives as long as the node.
    unsafe { (*token).node.side.init(NonNull::new_unchecked(&raw mut (*token).side)) };
    // SAFETY: as above; the one reference that it was born with.
    let token = unsafe { NodeRef::from_owned(NonNull::new_unchecked(token.cast())) };
    if let Some(parent) = parent {
        let owner = Job(parent);
        owner.list();
        {
            let (side, _) = owner.0.make_side();
            let mut inner = side.lock();
            // SAFETY: unlinked under the same lock before it is freed.
            unsafe { inner.link(token.as_ptr()) };
            token.state.set(state::LINKED);
        }
        if let Some(cause) = owner.cause() {
            // SAFETY: we have a reference.
            unsafe { cancel(token.as_ptr(), &cause.inherited()) };
        }
        // The parent's reference now belongs to the token.
        owner.0.into_owned();
    }
    token
}

unsafe fn dealloc_token(node: NonNull<Node>) {
    let mut last = node;
    // A token may be the last to keep its parent, and that one its own: a loop, for they may be
    // many.
    loop {
        // SAFETY: its last reference is gone, but it may still be in its parent's list.
        let (parent, site) = unsafe { (last.as_ref().parent, last.as_ref().site) };
        // SAFETY: the token's reference to its parent.
        if let Some(side) = parent.as_ref().and_then(|it| unsafe { it.as_ref() }.side()) {
            // SAFETY: linked at birth, unlinked once.
            unsafe { side.lock().unlink(last) };
        }
        // SAFETY: came from a box of this type.
        let token = unsafe { Box::from_raw(last.cast::<Token>().as_ptr()) };
        failure::guard_drop("cause or handler", site, || drop(token));
        let Some(parent) = parent else { return };
        // SAFETY: the token's reference, given up here, and not used again.
        let parent = ManuallyDrop::new(unsafe { NodeRef::from_owned(parent) });
        if parent.kind() != Kind::Token {
            return drop(ManuallyDrop::into_inner(parent));
        }
        if !parent.state.drop_ref() {
            return;
        }
        last = parent.as_ptr();
    }
}
