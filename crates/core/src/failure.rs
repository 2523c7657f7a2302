//! Failures that nobody awaits, and the handlers that get them.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::context::ContextInner;
use crate::current;
pub(crate) use crate::error::Panic;
use crate::error::Who;
use crate::hooks::{self, RuntimeHooks};
use crate::job::Job;
use crate::path::JobPath;

pub(crate) mod flight;

/// A failure that reached nobody's `await`.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use corymb::{Failure, FailureHandler, prelude::*};
///
/// let (tell, told) = mpsc::channel();
/// let handler = FailureHandler::new(move |failure| {
///     if let Failure::Panic(panic) = failure {
///         tell.send(panic.message().to_owned()).unwrap();
///     }
/// });
/// run_blocking(supervisor_scope(async |s| {
///     s.coroutine().context(handler).launch(async { panic!("oh") }); // nobody awaits it
/// }));
/// assert_eq!(told.recv().as_deref(), Ok("oh"));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// A coroutine, a destructor or a handler panicked.
    Panic(Panic),
    /// A child of a `try_scope` returned an error, and the scope's caller is gone or has another
    /// error already.
    Error {
        /// The coroutine that returned it.
        who: Who,
        /// The type of the error.
        type_name: &'static str,
    },
    /// It came after another one, travelled with that ([`Panic::suppressed`]), and was left behind:
    /// the panic that it was with went on in code that has caught it.
    Suppressed {
        /// The coroutine of the panic that it was with.
        by: Who,
        /// It.
        failure: Box<Self>,
    },
    /// Something that is bound to a thread, by
    /// [`spawn_local`](crate::Scope::spawn_local), was leaked: its thread has ended, or runs its
    /// loop no more, and no other thread may drop it.
    Leaked {
        /// The coroutine; for a value, where it was dropped.
        who: Who,
    },
    /// A cleanup, of [`finally`](crate::finally), was dropped before its end.
    CleanupDropped {
        /// Where it was registered.
        registered_at: &'static Location<'static>,
        /// The time that it had and used up; none if the runtime has shut down.
        grace: Option<Duration>,
    },
    /// A `run_blocking` has blocked its thread for more than ten seconds, and holds something that
    /// others wait for. If it waits for one of these, neither ends.
    BlockedRun {
        /// Its name, and its place.
        who: Who,
        /// What it holds.
        holds: String,
    },
}

impl Failure {
    /// Whose failure it is: the coroutine; for a cleanup, where it was registered.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use corymb::{FailureHandler, prelude::*};
    ///
    /// let (tell, told) = mpsc::channel();
    /// let handler = FailureHandler::new(move |failure| tell.send(failure.who()).unwrap());
    /// run_blocking(supervisor_scope(async |s| {
    ///     s.coroutine().name("poller").context(handler).launch(async { panic!("oh") });
    /// }));
    /// let who = told.recv().unwrap();
    /// assert_eq!((who.name(), who.launched_at().file()), (Some("poller"), file!()));
    /// assert_eq!(who.path().unwrap().to_string(), "poller");
    /// ```
    pub fn who(&self) -> Who {
        match self {
            Self::Panic(panic) => panic.who().clone(),
            Self::Error { who, .. } | Self::Leaked { who } | Self::BlockedRun { who, .. } => {
                who.clone()
            }
            Self::Suppressed { failure, .. } => failure.who(),
            Self::CleanupDropped { registered_at, .. } => Who::at(registered_at),
        }
    }

    /// The coroutine's place in the job tree, where that was known; as [`Who::path`].
    pub fn path(&self) -> Option<&JobPath> {
        match self {
            Self::Panic(panic) => panic.path(),
            Self::Error { who, .. } | Self::Leaked { who } | Self::BlockedRun { who, .. } => {
                who.path()
            }
            Self::Suppressed { failure, .. } => failure.path(),
            Self::CleanupDropped { .. } => None,
        }
    }

    /// The failures that came later and travel with it; as [`Panic::suppressed`].
    pub fn suppressed(&self) -> &[Self] {
        match self {
            Self::Panic(panic) => panic.suppressed(),
            _ => &[],
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic(panic) => panic.fmt(f),
            Self::Error { who, type_name } => {
                write!(f, "{who} returned an error of type {type_name} that reached nobody")
            }
            Self::Suppressed { by, failure } => {
                write!(f, "{failure}, and was suppressed by a panic of {by}")
            }
            Self::Leaked { who } => write!(
                f,
                "{who} was leaked: the thread that it is bound to has ended, or runs its loop no \
                 more; let the LocalRuntime or run_blocking there outlive it"
            ),
            Self::CleanupDropped { registered_at, grace: Some(grace) } => write!(
                f,
                "the cleanup registered at {registered_at} was dropped: it had not ended after \
                 {grace:?}; let it end earlier, or, if it is that of a `finally`, give it \
                 more time with Finally::grace"
            ),
            Self::CleanupDropped { registered_at, grace: None } => write!(
                f,
                "the cleanup registered at {registered_at} was dropped before its end: the runtime \
                 has shut down; give the shutdown more time, or, if it is that of a guard which was \
                 dropped later, close the guard before"
            ),
            Self::BlockedRun { who, holds } => write!(
                f,
                "run_blocking at {} blocks for more than 10s and holds {holds}, for which \
                 coroutines of other jobs wait: if it waits for one of them, neither ends; await \
                 there instead of blocking, or block in a coroutine of Dispatcher::Io",
                who.launched_at()
            ),
        }
    }
}

/// How many suppressed failures the text of a failure shows.
const SHOWN: usize = 3;

/// Writes what came after a failure.
pub(crate) fn write_suppressed(f: &mut fmt::Formatter<'_>, later: &[Failure]) -> fmt::Result {
    for failure in later.iter().take(SHOWN) {
        write!(f, "; then {failure}")?;
    }
    match later.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(f, "; and {more} more"),
    }
}

/// What is done with a [`Failure`]: part of a [`Context`](crate::Context).
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use corymb::{FailureHandler, prelude::*};
///
/// let (tell, told) = mpsc::channel();
/// let handler = FailureHandler::new(move |failure| tell.send(failure.to_string()).unwrap());
/// run_blocking(supervisor_scope(async |s| {
///     s.coroutine().context(handler).launch(async { panic!("oh") });
/// }));
/// assert!(told.recv().unwrap().ends_with("panicked: oh"));
/// ```
#[derive(Clone)]
pub struct FailureHandler(Arc<dyn Fn(&Failure) + Send + Sync>);

impl FailureHandler {
    /// A handler that calls `f`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    /// use corymb::{FailureHandler, prelude::*};
    ///
    /// static FAILURES: AtomicUsize = AtomicUsize::new(0);
    ///
    /// let handler = FailureHandler::new(|_failure| {
    ///     FAILURES.fetch_add(1, Ordering::Relaxed);
    /// });
    /// run_blocking(supervisor_scope(async |s| {
    ///     s.coroutine().context(handler).launch(async { panic!("oh") });
    /// }));
    /// assert_eq!(FAILURES.load(Ordering::Relaxed), 1);
    /// ```
    pub fn new(f: impl Fn(&Failure) + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }

    /// Gives it a failure: for handlers that hand on to others.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::FailureHandler;
    ///
    /// fn prefixed(log: FailureHandler) -> FailureHandler {
    ///     FailureHandler::new(move |failure| {
    ///         eprint!("worker 7: ");
    ///         log.handle(failure);
    ///     })
    /// }
    /// ```
    ///
    /// # Panics
    ///
    /// If the handler does.
    pub fn handle(&self, failure: &Failure) {
        (self.0)(failure);
    }
}

impl fmt::Debug for FailureHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FailureHandler")
    }
}

/// Gives `failure` to the context's handler, else to the runtime's.
pub(crate) fn report(context: &ContextInner, failure: &Failure) {
    report_to(context.handler.as_ref(), &*context.runtime, failure);
}

/// As [`report`], by the parts of the context.
fn report_to(handler: Option<&FailureHandler>, runtime: &dyn RuntimeHooks, failure: &Failure) {
    let Some(handler) = handler else { return tell(runtime, failure) };
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| handler.handle(failure))) {
        tell(runtime, failure);
        let who = failure.who().stray("failure handler for the coroutine launched");
        tell(runtime, &Failure::Panic(Panic::new(who, payload)));
    }
}

/// Gives `failure` to the handler of the code that runs here, else to the runtime.
pub(crate) fn report_in_context(failure: &Failure) {
    if current::with_context(|context| report(context, failure)).is_none() {
        report_to_runtime(failure);
    }
}

/// Gives `failure` to the runtime of this thread, if there is one.
pub(crate) fn report_to_runtime(failure: &Failure) {
    // Without a runtime the thread's panic hook has printed the message already.
    let _reported = hooks::try_with(|runtime| tell(runtime, failure));
}

/// A runtime that panics while it is told has nobody to tell that to, and must not stop the job
/// whose end is on its way.
fn tell(runtime: &dyn RuntimeHooks, failure: &Failure) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| runtime.report(failure))) {
        drop_payload(payload);
    }
}

/// Drops the payload of a panic, which may be one whose destructor panics.
pub(crate) fn drop_payload(payload: Box<dyn Any + Send>) {
    let drop_it = |payload| catch_unwind(AssertUnwindSafe(|| drop(payload)));
    // The second one is nearly always a text. There may be a third, and so on: it is leaked.
    if let Err(third) = drop_it(payload).or_else(drop_it) {
        std::mem::forget(third);
    }
}

/// Calls `f`, which runs destructors of values that are not the kernel's, and reports its panic.
pub(crate) fn guard_drop(what: &str, site: &'static Location<'static>, f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        report_stray(what, Who::at(site), payload);
    }
}

/// Reports a panic that has no coroutine to answer for it: of a hook, a waker, a destructor.
pub(crate) fn report_stray(what: &str, who: Who, payload: Box<dyn Any + Send>) {
    let failure = Failure::Panic(Panic::new(who.stray(what), payload));
    report_to_runtime(&failure);
}

/// Wakes all. A foreign waker that panics is reported, and keeps nobody else from being woken.
#[track_caller]
pub fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    let launched_at = Location::caller();
    for waker in wakers {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            report_stray("waker", Who::at(launched_at), payload);
        }
    }
}

/// Reports a panic of something that the code running on this thread has called.
#[track_caller]
pub fn report_here(what: &str, payload: Box<dyn Any + Send>) {
    let who = match current::node() {
        Some(node) => node.who(),
        None => Who::at(Location::caller()),
    };
    report_stray(what, who, payload);
}

/// Reports that what a thread blocks on holds up others.
pub fn report_blocked_run(run: &Job, holds: &str) {
    report_in_context(&Failure::BlockedRun { who: run.who_failed(), holds: holds.into() });
}
