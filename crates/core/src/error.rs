//! The errors that jobs end with.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use crate::failure;

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
    /// The [`Promise`](crate::Promise) of its value was dropped uncompleted.
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
            Self::Abandoned => "because the promise of its value was dropped",
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
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
pub struct Who {
    pub(crate) name: Option<NameOf>,
    pub(crate) launched_at: &'static Location<'static>,
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

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(NameOf::Itself(name)) => write!(f, "coroutine `{name}`")?,
            Some(NameOf::Ancestor(name)) => write!(f, "coroutine below `{name}`")?,
            Some(NameOf::Stray(what)) => return write!(f, "the {what} at {}", self.launched_at),
            None => f.write_str("coroutine")?,
        }
        write!(f, " launched at {}", self.launched_at)
    }
}

/// A panic that was caught in a coroutine.
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
}

// SAFETY: the payload, the only part that is not Sync, is reached by value alone.
unsafe impl Sync for Panic {}

impl Panic {
    pub(crate) fn new(who: Who, payload: Box<dyn Any + Send>) -> Self {
        let message = match payload.downcast_ref::<&str>() {
            Some(text) => Arc::from(*text),
            None => match payload.downcast_ref::<String>() {
                Some(text) => Arc::from(&**text),
                None => Arc::from("a panic whose payload is no text"),
            },
        };
        Self { who, message, payload: Some(payload) }
    }

    /// A second report of the same panic, without the payload.
    pub(crate) fn split(self) -> (Self, Self) {
        let copy =
            Self { who: self.who.clone(), message: Arc::clone(&self.message), payload: None };
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

    /// The payload, as [`std::panic::catch_unwind`] gave it. If the scope of the coroutine took
    /// the payload to resume the panic, the text of the panic stands in for it.
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
        match self.payload.take() {
            Some(payload) => payload,
            None => Box::new(String::from(&*self.message)),
        }
    }

    /// Goes on with the panic in the calling thread.
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
        std::panic::resume_unwind(self.into_payload())
    }
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
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} panicked: {}", self.who, self.message)
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
