//! The handle of a job, whatever it is: a coroutine, a scope, a token, the root of a runtime.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use crate::context::ContextInner;
use crate::coroutine::Coroutine;
use crate::current;
use crate::error::{CancelCause, Cancelled, NameOf, Who};
use crate::node::cancel::cancel;
use crate::node::state::Wake;
use crate::node::{Kind, Node, NodeRef, passive, state, tree};
use crate::path::JobPath;
use crate::prim::atomic::{AtomicU64, Ordering};

mod grace;
mod handlers;
mod join;
mod token;

pub(crate) use grace::tell_when_drained;
pub use handlers::{Completion, Registration};
pub use join::Join;
use token::token;

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
    /// It is lazy, and nobody has started it.
    New,
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
            Self::New => "new",
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

impl JobId {
    /// The number that a job was given, which is zero if it was given none.
    pub(crate) fn given(number: u64) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }
}

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
        self.cancel_for(&Cancelled::new(cause, Location::caller()))
    }

    pub(crate) fn cancel_for(&self, cause: &Cancelled) -> bool {
        // If a cancel of the parent came first, then this is no news.
        self.list();
        // SAFETY: the handle is a reference.
        unsafe { cancel(self.0.as_ptr(), cause) }
    }

    /// Starts a lazy coroutine: true if this call did it, false if it was started or cancelled
    /// before, if its scope has ended, and for every other job.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{JobState, prelude::*};
    ///
    /// run_blocking(scope(async |s| {
    ///     let job = s.coroutine().lazy().launch(async {});
    ///     assert_eq!(job.state(), JobState::New);
    ///     assert!(job.start());
    ///     assert!(!job.start()); // that was done before
    /// }));
    /// ```
    pub fn start(&self) -> bool {
        let is_new = self.0.state.load().has(state::NEW);
        // SAFETY: unended during the call.
        let started = is_new && self.pinned(|node| unsafe { passive::start(node) }) == Some(true);
        if started && self.0.state.wake() == Wake::Dispatch {
            // SAFETY: it was idle, and has been left to this call.
            unsafe { Coroutine::from_node(self.0.as_ptr()) }.begin();
        }
        started
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
        let first = self.0.state.load();
        let is_to_be =
            !first.has(state::CANCELLED | state::ENDED) && self.parent_is_cancelled(first);
        // It may have been linked, marked and ended before its parent was looked for.
        let seen = self.0.state.load();
        let bad = seen.has(state::CANCELLED | state::PANICKED | state::FAILED);
        if seen.has(state::ENDED) {
            return if bad { JobState::Cancelled } else { JobState::Completed };
        }
        if bad || is_to_be {
            return JobState::Cancelling;
        }
        match seen {
            _ if seen.has(state::BODY_DONE) => JobState::Completing,
            _ if seen.has(state::NEW) => JobState::New,
            _ => JobState::Active,
        }
    }

    /// What has not been linked yet is cancelled by its parent's mark, which may not be linked either.
    fn parent_is_cancelled(&self, seen: state::Snapshot) -> bool {
        !seen.has(state::LINKED)
            && self.parent().is_some_and(|parent| {
                let seen = parent.0.state.load();
                seen.has(state::CANCELLED) || parent.parent_is_cancelled(seen)
            })
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
        let id = &mut inner.rest_mut().id;
        if *id == 0 {
            // Ordering: Relaxed, only the numbers matter.
            *id = NEXT.get_or_init(|| AtomicU64::new(1)).fetch_add(1, Ordering::Relaxed);
        }
        JobId(*id)
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
        Who { name: self.name_of(), ..Who::at(self.0.site) }
    }

    /// As [`who`](Self::who), with its place in the tree, unless it has ended.
    pub(crate) fn who_failed(&self) -> Who {
        Who { path: self.path(), ..self.who() }
    }

    /// Where it is in the tree; none once it has ended, and for a job without code.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let path = run_blocking(scope(async |s| {
    ///     let server = s.coroutine().name("server").spawn(scope(async |s| {
    ///         let reader = s.coroutine().name("reader").launch(std::future::pending());
    ///         let path = reader.path();
    ///         reader.cancel();
    ///         path
    ///     }));
    ///     server.await
    /// }));
    /// assert_eq!(path.unwrap().to_string(), "server/reader");
    /// ```
    pub fn path(&self) -> Option<JobPath> {
        let token = self.0.kind() == Kind::Token;
        // SAFETY: no token, and unended during the call.
        (!token).then(|| self.pinned(|node| unsafe { JobPath::of(node) })).flatten()
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
    /// counted, by [`unlisted`](Self::unlisted): it costs less. A scope that is opened right in a
    /// coroutine is neither listed nor counted before it suspends, launches or opens something.
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

    /// How many coroutines among the children [`children`](Self::children) does not list yet.
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

    /// Puts a job that has not suspended yet into its parent's list, so that a cancel finds it at
    /// once.
    pub(crate) fn list(&self) {
        if !self.0.state.load().has(state::LINKED) {
            // SAFETY: counted in its census.
            self.pinned(|_| unsafe { tree::list(self.0.as_ptr()) });
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
