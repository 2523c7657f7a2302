//! The errors that jobs end with.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use crate::coroutine::is_cancellation;
use crate::failure::{self, Failure, flight};
use crate::path::JobPath;

/// Why something was cancelled.
///
/// # Examples
///
/// ```
/// use std::io;
/// use std::sync::Arc;
/// use corymb::{CancelCause, Job};
///
/// let job = Job::new(None);
/// job.cancel_with(CancelCause::Custom(Arc::new(io::Error::other("the disk is full"))));
/// let cancelled = job.cause().unwrap();
/// assert_eq!(cancelled.cause().to_string(), "because the disk is full");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CancelCause {
    /// Somebody called `cancel`.
    Requested,
    /// The parent was cancelled.
    ParentCancelled,
    /// The scope had ended: when the coroutine was launched into it, or before a lazy one was
    /// started, so that it never ran; or all that a service was there for had.
    ScopeEnded,
    /// A sibling failed, and the scope needs all of its children.
    SiblingFailed,
    /// A deadline passed.
    Deadline,
    /// The future that the job was a part of was dropped or forgotten.
    Dropped,
    /// The [`join_scope`](crate::join_scope) that it was forked in had its result.
    Decided,
    /// The [`Promise`](crate::Promise) of its value was dropped uncompleted, or the
    /// [`Ready`](crate::Ready) by which it was to say that it is ready.
    Abandoned,
    /// The runtime or the dispatcher shut down.
    Shutdown,
    /// A cause of the program's own.
    Custom(Arc<dyn Error + Send + Sync>),
}

impl fmt::Display for CancelCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "on request",
            Self::ParentCancelled => "with its parent",
            Self::ScopeEnded => "because its scope had ended",
            Self::SiblingFailed => "because a sibling failed",
            Self::Deadline => "at its deadline",
            Self::Dropped => "because its future was dropped",
            Self::Decided => "because its scope had its result without it",
            Self::Abandoned => "because nobody will give its value: the promise of it was dropped",
            Self::Shutdown => "by a shutdown",
            Self::Custom(error) => return write!(f, "because {error}"),
        })
    }
}

/// The error of work that was cancelled: the cause, and the place it came from.
///
/// It is a value about what was awaited. That the awaiting coroutine itself is cancelled is never
/// told by a value: its future is dropped.
///
/// # Examples
///
/// ```
/// use corymb::{CancelCause, prelude::*};
///
/// let outcome = run_blocking(cancel_scope(async |c| {
///     c.cancel();
///     yield_now().await; // dropped here
/// }));
/// let cancelled = outcome.unwrap_err();
/// assert!(matches!(cancelled.cause(), CancelCause::Requested));
/// assert_eq!(cancelled.place().file(), file!()); // where `cancel` was called
/// ```
#[derive(Clone)]
pub struct Cancelled {
    cause: CancelCause,
    place: &'static Location<'static>,
}

impl Cancelled {
    pub(crate) fn new(cause: CancelCause, place: &'static Location<'static>) -> Self {
        Self { cause, place }
    }

    /// The cause.
    pub fn cause(&self) -> &CancelCause {
        &self.cause
    }

    /// Where the cancellation came from: the call of `cancel`, the launch of the child that
    /// failed, the timeout, the scope that was dropped or had ended.
    pub fn place(&self) -> &'static Location<'static> {
        self.place
    }

    /// What a child of the cancelled job sees.
    pub(crate) fn inherited(&self) -> Self {
        let cause = match &self.cause {
            CancelCause::Requested => CancelCause::ParentCancelled,
            other => other.clone(),
        };
        Self { cause, place: self.place }
    }
}

impl fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancelled({self})")
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cancelled {} ({})", self.cause, self.place)
    }
}

/// What became of work that a runtime did not take, since it has shut down.
#[track_caller]
pub fn refused_by_shutdown() -> Cancelled {
    Cancelled::new(CancelCause::Shutdown, Location::caller())
}

impl Error for Cancelled {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            CancelCause::Custom(error) => Some(&**error),
            _ => None,
        }
    }
}

/// A coroutine, as an error names it.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
///
/// run_blocking(scope(async |s| {
///     let child = s.coroutine().name("poller").launch(std::future::pending());
///     let who = &child.unfinished()[0];
///     assert_eq!(who.name(), Some("poller"));
///     assert_eq!(who.launched_at().file(), file!());
///     child.cancel();
/// }));
/// ```
#[derive(Clone)]
pub struct Who {
    pub(crate) name: Option<NameOf>,
    pub(crate) launched_at: &'static Location<'static>,
    pub(crate) path: Option<JobPath>,
}

/// Whose name is known.
#[derive(Clone, Debug)]
pub(crate) enum NameOf {
    Itself(Arc<str>),
    Ancestor(Arc<str>),
    /// Not of a coroutine: of what the code at the place has called.
    Stray(Arc<str>),
}

impl Who {
    /// What is known by its place alone.
    pub(crate) fn at(launched_at: &'static Location<'static>) -> Self {
        Self { name: None, launched_at, path: None }
    }

    /// Not a coroutine: `what` the code at the place has called.
    pub(crate) fn stray(self, what: &str) -> Self {
        Self { name: Some(NameOf::Stray(what.into())), ..self }
    }

    /// Its name, if it was given one of its own.
    pub fn name(&self) -> Option<&str> {
        match &self.name {
            Some(NameOf::Itself(name) | NameOf::Stray(name)) => Some(name),
            _ => None,
        }
    }

    /// The name that it inherits, if it has none of its own: some coroutine above it has it.
    pub fn below(&self) -> Option<&str> {
        match &self.name {
            Some(NameOf::Ancestor(name)) => Some(name),
            _ => None,
        }
    }

    /// Where it was launched.
    pub fn launched_at(&self) -> &'static Location<'static> {
        self.launched_at
    }

    /// Where it was in the job tree, if this is of a failure: made when the coroutine failed, it
    /// stands when all of them have ended.
    ///
    /// # Examples
    ///
    /// See [`JobPath`].
    pub fn path(&self) -> Option<&JobPath> {
        self.path.as_ref()
    }
}

impl NameOf {
    pub(crate) fn into_name(self) -> Arc<str> {
        match self {
            Self::Itself(name) | Self::Ancestor(name) | Self::Stray(name) => name,
        }
    }
}

impl From<&str> for NameOf {
    fn from(name: &str) -> Self {
        Self::Itself(name.into())
    }
}

impl fmt::Debug for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Who({self})")
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(NameOf::Itself(name)) => write!(f, "coroutine `{name}` launched")?,
            Some(NameOf::Ancestor(name)) => write!(f, "coroutine below `{name}` launched")?,
            Some(NameOf::Stray(what)) => write!(f, "the {what}")?,
            None => f.write_str("coroutine launched")?,
        }
        write!(f, " at {}", self.launched_at)?;
        match &self.path {
            Some(path) if path.is_telling() => write!(f, " ({path})"),
            _ => Ok(()),
        }
    }
}

/// A panic that was caught in a coroutine.
///
/// One that a scope has given to its caller, and that has ended the coroutine of that, is still the
/// panic of the coroutine where it began.
///
/// # Examples
///
/// ```
/// use corymb::{JoinError, prelude::*};
///
/// let outcome = run_blocking(supervisor_scope(async |s| {
///     let child = s.coroutine().name("parser");
///     child.spawn(async { "x".parse::<u32>().expect("a number") }).outcome().await
/// }));
/// let Err(JoinError::Panicked(panic)) = outcome else { unreachable!() };
/// assert_eq!(panic.who().name(), Some("parser"));
/// assert!(panic.message().starts_with("a number"));
/// ```
pub struct Panic {
    who: Who,
    message: Arc<str>,
    payload: Option<Box<dyn Any + Send>>,
    suppressed: Vec<Failure>,
    /// `who` is the coroutine where it began, and not a part of one.
    is_located: bool,
}

// SAFETY: the payload, the only part that is not Sync, is reached by value alone.
unsafe impl Sync for Panic {}

impl Panic {
    /// A panic that was caught just now in `who`, unless it is known to have begun in a coroutine
    /// further inside.
    pub(crate) fn new(who: Who, payload: Box<dyn Any + Send>) -> Self {
        Self::caught(false, || who, payload)
    }

    /// As [`new`](Self::new), of the coroutine that `who` gives.
    pub(crate) fn of_coroutine(who: impl FnOnce() -> Who, payload: Box<dyn Any + Send>) -> Self {
        Self::caught(true, who, payload)
    }

    fn caught(is_located: bool, who: impl FnOnce() -> Who, payload: Box<dyn Any + Send>) -> Self {
        let known = flight::arrive(&*payload);
        if let Some(mut panic) = known {
            if !panic.is_located {
                panic.who = who();
                panic.is_located = is_located;
            }
            panic.payload = Some(payload);
            return panic;
        }
        let message = text_of(&*payload).unwrap_or("a panic whose payload is no text").into();
        Self { who: who(), message, payload: Some(payload), suppressed: Vec::new(), is_located }
    }

    /// A second report of the same panic, without the payload and what is suppressed.
    pub(crate) fn split(self) -> (Self, Self) {
        let copy = Self {
            who: self.who.clone(),
            message: Arc::clone(&self.message),
            payload: None,
            suppressed: Vec::new(),
            is_located: self.is_located,
        };
        (self, copy)
    }

    /// The text of the panic.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The coroutine that panicked.
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// The coroutine's place in the job tree; as [`Who::path`].
    pub fn path(&self) -> Option<&JobPath> {
        self.who.path()
    }

    /// The failures that came after this one and were to go where it went: of other children of
    /// its scope, of the body, of destructors. In the order in which they came; none of them has
    /// suppressed ones of its own.
    ///
    /// They are with the panic that the scope's caller is given, and with that of the coroutine
    /// which this ends. The outcome of the child itself has none.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{JoinError, prelude::*};
    ///
    /// struct Connection;
    /// impl Drop for Connection {
    ///     fn drop(&mut self) {
    ///         panic!("the other end is gone");
    ///     }
    /// }
    ///
    /// let outcome = run_blocking(supervisor_scope(async |s| {
    ///     let both = scope(async |s| {
    ///         let connection = Connection;
    ///         s.launch(async move {
    ///             std::future::pending::<()>().await; // dropped here, for the other one fails
    ///             drop(connection);
    ///         });
    ///         s.launch(async { panic!("no power") });
    ///     });
    ///     s.spawn(both).outcome().await
    /// }));
    /// let Err(JoinError::Panicked(first)) = outcome else { unreachable!() };
    /// assert_eq!(first.message(), "no power");
    /// assert!(first.suppressed()[0].to_string().ends_with("panicked: the other end is gone"));
    /// ```
    pub fn suppressed(&self) -> &[Failure] {
        &self.suppressed
    }

    /// Takes [`suppressed`](Self::suppressed) out, with their payloads.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{Failure, Panic};
    ///
    /// /// The payloads of a panic and of those that came later.
    /// fn payloads(mut first: Panic) -> Vec<Box<dyn std::any::Any + Send>> {
    ///     let later = first.take_suppressed().into_iter().filter_map(|failure| match failure {
    ///         Failure::Panic(panic) => Some(panic.into_payload()),
    ///         _ => None,
    ///     });
    ///     let mut all: Vec<_> = later.collect();
    ///     all.insert(0, first.into_payload());
    ///     all
    /// }
    /// ```
    pub fn take_suppressed(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.suppressed)
    }

    /// Whether it is no panic, but how plain code is cancelled.
    pub(crate) fn is_cancellation(&self) -> bool {
        self.payload.as_deref().is_some_and(is_cancellation)
    }

    /// Has `later`, and what came after that, travel with this one.
    pub(crate) fn suppress(&mut self, mut later: Failure) {
        let after = match &mut later {
            Failure::Panic(panic) => panic.take_suppressed(),
            _ => Vec::new(),
        };
        self.suppressed.push(later);
        self.suppressed.extend(after);
    }

    /// The payload, as [`std::panic::catch_unwind`] gave it. If the scope of the coroutine took
    /// the payload to resume the panic, the text of the panic stands in for it.
    ///
    /// What is suppressed is lost, unless it was [taken](Self::take_suppressed) before.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{JoinError, prelude::*};
    ///
    /// let outcome = run_blocking(supervisor_scope(async |s| {
    ///     s.spawn(async { std::panic::panic_any(7) }).outcome().await
    /// }));
    /// let Err(JoinError::Panicked(panic)) = outcome.map(|()| ()) else { unreachable!() };
    /// assert_eq!(panic.into_payload().downcast_ref(), Some(&7));
    /// ```
    pub fn into_payload(mut self) -> Box<dyn Any + Send> {
        self.take_payload()
    }

    pub(crate) fn take_payload(&mut self) -> Box<dyn Any + Send> {
        match self.payload.take() {
            Some(payload) => payload,
            None => Box::new(String::from(&*self.message)),
        }
    }

    /// Goes on with the panic in the calling thread.
    ///
    /// What is suppressed travels with it to the coroutine that runs here, if nobody catches it
    /// before; else it goes to the failure handler, as [`Failure::Suppressed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{JoinError, prelude::*};
    ///
    /// let caught = std::panic::catch_unwind(|| {
    ///     let child = supervisor_scope(async |s| {
    ///         s.spawn(async { "x".parse::<u32>().unwrap() }).outcome().await
    ///     });
    ///     match run_blocking(child) {
    ///         Err(JoinError::Panicked(panic)) => panic.resume(),
    ///         outcome => outcome.ok(),
    ///     }
    /// });
    /// assert!(caught.is_err());
    /// ```
    pub fn resume(self) -> ! {
        std::panic::resume_unwind(flight::depart(self))
    }
}

/// The text of a payload that has one.
pub fn text_of(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
}

/// The payload's own destructor may panic: what that would unwind is the end of a job.
impl Drop for Panic {
    fn drop(&mut self) {
        if let Some(payload) = self.payload.take() {
            failure::drop_payload(payload);
        }
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panic")
            .field("who", &self.who)
            .field("message", &self.message)
            .field("suppressed", &self.suppressed)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} panicked: {}", self.who, self.message)?;
        failure::write_suppressed(f, &self.suppressed)
    }
}

impl Error for Panic {}

/// Why a coroutine gave no value.
///
/// # Examples
///
/// ```
/// use corymb::{JoinError, prelude::*};
///
/// fn told(error: JoinError) -> &'static str {
///     match error {
///         JoinError::Cancelled(_) => "cancelled",
///         JoinError::Failed(_) => "failed: its scope has the error",
///         JoinError::Panicked(_) => "panicked",
///         _ => "something newer",
///     }
/// }
///
/// let outcome = run_blocking(scope(async |s| {
///     let child = s.spawn(std::future::pending::<u32>());
///     child.job().cancel();
///     child.outcome().await
/// }));
/// assert_eq!(outcome.map_err(told), Err("cancelled"));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// It was cancelled before it returned.
    Cancelled(Cancelled),
    /// It returned an error, which went to its scope.
    Failed(Who),
    /// It panicked.
    Panicked(Panic),
}

impl JoinError {
    /// The coroutine that failed; none for one that was cancelled.
    pub fn who(&self) -> Option<&Who> {
        match self {
            Self::Cancelled(_) => None,
            Self::Failed(who) => Some(who),
            Self::Panicked(panic) => Some(panic.who()),
        }
    }

    /// The failures that came after this one and travel with it; see [`Panic::suppressed`]. Those
    /// of a child that returned an error are with its scope.
    pub fn suppressed(&self) -> &[Failure] {
        match self {
            Self::Panicked(panic) => panic.suppressed(),
            Self::Cancelled(_) | Self::Failed(_) => &[],
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled(cancelled) => cancelled.fmt(f),
            Self::Failed(who) => write!(f, "{who} returned an error, which its scope has"),
            Self::Panicked(panic) => panic.fmt(f),
        }
    }
}

impl Error for JoinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Cancelled(cancelled) => cancelled.source(),
            Self::Failed(_) | Self::Panicked(_) => None,
        }
    }
}
