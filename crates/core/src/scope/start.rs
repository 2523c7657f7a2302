//! Children that say when they are ready.
//!
//! The child is launched into its scope as any other. Until it has said that it is ready, what it
//! fails with is kept from the scope, by [`Initial`], and left in the [`Slot`] for who waits:
//!
//! ```text
//! [waiting] ──done(value)──► [said] ──taken──► [adopted]: an ordinary child
//!     │  │
//!     │  ├──panic, error──► [failed] ──the child's end──► told to who waits
//!     │  └──`Ready` dropped──► [silent] ──► cancelled, and at its end told to who waits
//!     └──who waits is dropped──► [refused]: cancelled; what it fails with goes to a report
//! ```

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use pin_project::{pin_project, pinned_drop};

use super::builder::{self, CoroutineBuilder, Plan};
use super::errors::Attempt;
use super::plain::Scope;
use super::trying::TryScope;
use crate::budget::{poll_budget, spend_budget};
use crate::coroutine::{Plain, is_cancellation};
use crate::current;
use crate::error::{CancelCause, Cancelled, Panic, Who};
use crate::failure::{self, Failure};
use crate::job::{Job, Join};
use crate::node::{NodeRef, tree};
use crate::prim::Mutex;
use crate::wait::WaitKind;

/// By which a child says that it is ready; see [`Scope::start`].
///
/// Dropped unused, it cancels the child, with the cause [`Abandoned`](CancelCause::Abandoned).
#[must_use = "dropping it cancels the child"]
pub struct Ready<T> {
    /// None once it was said.
    slot: Option<Arc<Slot<T>>>,
}

impl<T> Ready<T> {
    /// Gives who started the child its value. From now on it is a child as all others.
    ///
    /// If nobody waits any more, the value is dropped: the child is being cancelled.
    ///
    /// # Examples
    ///
    /// See [`Scope::start`].
    pub fn done(mut self, value: T) {
        if let Some(slot) = self.slot.take() {
            slot.say(value);
        }
    }
}

impl<T> Drop for Ready<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.fall_silent();
        }
    }
}

impl<T> fmt::Debug for Ready<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ready")
    }
}

/// What the child and who waits for it share.
struct Slot<T> {
    stage: Mutex<Stage<T>>,
    site: &'static Location<'static>,
}

enum Stage<T> {
    Waiting {
        waker: Option<Waker>,
        /// It will never be said.
        silent: bool,
        /// None until it has been launched.
        child: Option<Job>,
    },
    Said(T),
    Failed(Failed),
    /// Who waited has the value.
    Adopted,
    /// Who waited is gone, or knows that there is no value.
    Refused,
}

/// What a child failed with.
enum Failed {
    Panic(Panic),
    /// Of the scope's type.
    Error(Box<dyn Any + Send>, &'static str),
}

impl Failed {
    fn error<E: Send + 'static>(error: E) -> Self {
        Self::Error(Box::new(error), std::any::type_name::<E>())
    }

    /// Tells of what reaches nobody.
    fn report(self, who: Who) {
        match self {
            Self::Panic(panic) => failure::report_in_context(&Failure::Panic(panic)),
            Self::Error(error, type_name) => {
                let place = who.launched_at();
                failure::report_in_context(&Failure::Error { who, type_name });
                failure::guard_drop("destructor of an error", place, || drop(error));
            }
        }
    }
}

impl<T> Slot<T> {
    fn say(&self, value: T) {
        let mut stage = self.stage.lock();
        let before = match &*stage {
            Stage::Waiting { .. } => std::mem::replace(&mut *stage, Stage::Said(value)),
            // Dropped outside of the lock.
            _ => Stage::Said(value),
        };
        drop(stage);
        if let Stage::Waiting { waker, .. } = before {
            self.wake(waker);
        }
    }

    fn fall_silent(&self) {
        let mut stage = self.stage.lock();
        let Stage::Waiting { silent, child, .. } = &mut *stage else { return };
        *silent = true;
        let child = child.clone();
        drop(stage);
        // A poll of the child sees to that at its end: by then that may have returned, or failed.
        if let Some(child) = child.filter(|it| !is_polled_here(it)) {
            self.abandon(&child);
        }
    }

    /// The child was launched; it may have run, and ended, by now.
    fn launched(&self, job: &Job) {
        let mut stage = self.stage.lock();
        let Stage::Waiting { silent, child, .. } = &mut *stage else { return };
        let is_silent = *silent;
        *child = Some(job.clone());
        drop(stage);
        if is_silent {
            self.abandon(job);
        }
    }

    fn abandon(&self, child: &Job) {
        child.cancel_for(&Cancelled::new(CancelCause::Abandoned, self.site));
    }

    fn wake(&self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            tree::wake(self.site, waker);
        }
    }

    /// Whether the child's failures are those of its scope.
    fn is_adopted(&self) -> bool {
        matches!(&*self.stage.lock(), Stage::Said(_) | Stage::Adopted)
    }

    /// Whether it will never be said.
    fn is_silent(&self) -> bool {
        matches!(&*self.stage.lock(), Stage::Waiting { silent: true, .. })
    }

    /// Keeps what the child failed with for who waits; the first failure stands. It comes back if it
    /// is one of the scope: elsewhere it was said meanwhile that the child is ready.
    fn fail(&self, failed: Failed) -> Option<Failed> {
        let mut stage = self.stage.lock();
        match &*stage {
            Stage::Waiting { .. } => {
                // The child's end wakes who waits.
                let before = std::mem::replace(&mut *stage, Stage::Failed(failed));
                drop(stage);
                drop(before);
                return None;
            }
            Stage::Said(_) | Stage::Adopted => return Some(failed),
            Stage::Failed(_) | Stage::Refused => {}
        }
        drop(stage);
        failed.report(Who::at(self.site));
        None
    }

    /// The value, if it was said.
    fn poll_said(&self, waker: &Waker) -> Option<T> {
        let fresh = waker.clone();
        let mut stage = self.stage.lock();
        if let Stage::Said(_) = &*stage {
            return match std::mem::replace(&mut *stage, Stage::Adopted) {
                Stage::Said(value) => Some(value),
                _ => unreachable!("it was said a line above"),
            };
        }
        let Stage::Waiting { waker, .. } = &mut *stage else { return None };
        let stale = waker.replace(fresh);
        drop(stage);
        drop(stale);
        None
    }

    /// What it is when the child has ended, or who waited is gone.
    fn close(&self) -> Stage<T> {
        let mut stage = self.stage.lock();
        let next = match &*stage {
            Stage::Said(_) | Stage::Adopted => Stage::Adopted,
            _ => Stage::Refused,
        };
        std::mem::replace(&mut *stage, next)
    }
}

/// The future of a child that may not be ready yet.
#[pin_project(PinnedDrop)]
struct Initial<F, T> {
    #[pin]
    future: Option<F>,
    slot: Arc<Slot<T>>,
    adopted: bool,
}

impl<F, T, E> Future for Initial<F, T>
where
    F: Future<Output = Result<(), E>>,
    E: Send + 'static,
{
    type Output = Result<(), E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        let this = self.project();
        let Some(future) = this.future.as_pin_mut() else { return Poll::Ready(Ok(())) };
        if *this.adopted {
            return future.poll(cx);
        }
        let polled = catch_unwind(AssertUnwindSafe(|| future.poll(cx)));
        *this.adopted = this.slot.is_adopted();
        let failed = match polled {
            Ok(polled) if *this.adopted => return polled,
            Ok(Poll::Ready(Err(error))) => Failed::error(error),
            Ok(polled) => {
                if polled.is_pending() && this.slot.is_silent() {
                    cancel_here(CancelCause::Abandoned, this.slot.site);
                }
                return polled;
            }
            Err(payload) if *this.adopted || is_cancellation(&*payload) => resume_unwind(payload),
            Err(payload) => Failed::Panic(Panic::new(who_here(this.slot.site), payload)),
        };
        let Some(failed) = this.slot.fail(failed) else {
            // It has failed, though not for its scope.
            cancel_here(CancelCause::SiblingFailed, this.slot.site);
            return Poll::Ready(Ok(()));
        };
        *this.adopted = true;
        match failed {
            Failed::Panic(panic) => panic.resume(),
            Failed::Error(error, _) => {
                Poll::Ready(Err(*error.downcast().expect("it was one of this type above")))
            }
        }
    }
}

/// Whether this is in a poll of `child`.
fn is_polled_here(child: &Job) -> bool {
    current::poll_here().is_some_and(|poll| poll.is_of(child.node()))
}

/// The coroutine that is polled here.
fn who_here(site: &'static Location<'static>) -> Who {
    let here = current::node().map(|node| Job::from_node(node).who_failed());
    here.unwrap_or_else(|| Who::at(site))
}

/// Cancels the coroutine that is polled here.
fn cancel_here(cause: CancelCause, site: &'static Location<'static>) {
    if let Some(node) = current::node() {
        Job::from_node(node).cancel_for(&Cancelled::new(cause, site));
    }
}

#[pinned_drop]
impl<F, T> PinnedDrop for Initial<F, T> {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        if *this.adopted || this.slot.is_adopted() {
            return;
        }
        let dropped = catch_unwind(AssertUnwindSafe(|| this.future.set(None)));
        let Err(payload) = dropped else { return };
        let panic = Panic::new(who_here(this.slot.site), payload);
        match this.slot.fail(Failed::Panic(panic)) {
            Some(Failed::Panic(panic)) if !std::thread::panicking() => panic.resume(),
            back => drop(back.map(|failed| failed.report(Who::at(this.slot.site)))),
        }
    }
}

/// Why a child did not get ready; see [`Scope::start`].
///
/// # Examples
///
/// ```
/// use corymb::{StartError, prelude::*};
///
/// let started = run_blocking(scope(async |s| {
///     let server = s.start::<u16, _, _>(async |_ready| panic!("the port is taken"));
///     server.await
/// }));
/// let Err(StartError::Panicked(panic)) = started else { unreachable!() };
/// assert_eq!(panic.message(), "the port is taken");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// It panicked.
    Panicked(Panic),
    /// It was cancelled.
    Cancelled(Cancelled),
    /// It ended, or dropped its [`Ready`], and had not said that it was ready.
    NotReady(Who),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panic) => panic.fmt(f),
            Self::Cancelled(cancelled) => write!(f, "{cancelled} before it was ready"),
            Self::NotReady(who) => write!(
                f,
                "{who} ended, or dropped its `Ready`, without a word: call `Ready::done` when it \
                 is ready"
            ),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Cancelled(cancelled) => cancelled.source(),
            Self::Panicked(_) | Self::NotReady(_) => None,
        }
    }
}

/// Why there is no value: by a failure, or otherwise.
enum Reason {
    Error(Box<dyn Any + Send>),
    Start(StartError),
}

/// What waits for a child to be ready. Dropped before that, it cancels the child.
struct Waiting<T> {
    slot: Arc<Slot<T>>,
    job: Job,
    join: Join,
    over: bool,
}

impl<T> Waiting<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Reason>> {
        ready!(poll_budget(cx, (WaitKind::Join, self.slot.site)));
        assert!(!self.over, "the child started at {} was awaited again", self.slot.site);
        if let Some(value) = self.slot.poll_said(cx.waker()) {
            spend_budget();
            self.over = true;
            return Poll::Ready(Ok(value));
        }
        ready!(Pin::new(&mut self.join).poll(cx));
        self.over = true;
        Poll::Ready(match self.slot.close() {
            Stage::Said(value) => Ok(value),
            Stage::Failed(Failed::Panic(panic)) => Err(Reason::Start(StartError::Panicked(panic))),
            Stage::Failed(Failed::Error(error, _)) => Err(Reason::Error(error)),
            _ => Err(Reason::Start(self.why_silent())),
        })
    }

    fn why_silent(&self) -> StartError {
        let is_own = |cause: &Cancelled| {
            matches!(cause.cause(), CancelCause::Abandoned) && cause.place() == self.slot.site
        };
        match self.job.cause().filter(|cause| !is_own(cause)) {
            Some(cause) => StartError::Cancelled(cause),
            None => StartError::NotReady(self.job.who()),
        }
    }
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let left = self.slot.close();
        self.job.cancel_for(&Cancelled::new(CancelCause::Dropped, self.slot.site));
        match left {
            Stage::Failed(failed) => failed.report(self.job.who()),
            value => failure::guard_drop("value of a child", self.slot.site, || drop(value)),
        }
    }
}

/// A child that is on its way: awaited, it gives the value with which that said that it was ready.
/// See [`Scope::start`].
#[must_use = "dropping it cancels the child"]
pub struct Starting<T>(Waiting<T>);

/// As [`Starting`], of a child that returns a `Result`. See [`TryScope::start`].
#[must_use = "dropping it cancels the child"]
pub struct TryStarting<T, E>(Waiting<T>, PhantomData<fn() -> E>);

impl<T> Starting<T> {
    /// The child's job.
    pub fn job(&self) -> Job {
        self.0.job.clone()
    }
}

impl<T, E> TryStarting<T, E> {
    /// The child's job.
    pub fn job(&self) -> Job {
        self.0.job.clone()
    }
}

impl<T> Unpin for Starting<T> {}

impl<T, E> Unpin for TryStarting<T, E> {}

impl<T> Future for Starting<T> {
    type Output = Result<T, StartError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(self.0.poll(cx)).map_err(|reason| match reason {
            Reason::Start(error) => error,
            Reason::Error(_) => unreachable!("a child of a `scope` returns no error"),
        }))
    }
}

impl<T, E: 'static> Future for TryStarting<T, E> {
    type Output = Result<T, E>;

    // The caller is the `.await`, or the combinator that polls it.
    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let awaited = Location::caller();
        Poll::Ready(ready!(self.0.poll(cx)).map_err(|reason| match reason {
            Reason::Error(error) => *error.downcast().expect("the error of the scope's type"),
            Reason::Start(StartError::Panicked(panic)) => panic.resume(),
            Reason::Start(error) => panic!(
                "the child started at {} was awaited at {awaited}, and did not get ready: {error}",
                self.0.slot.site,
            ),
        }))
    }
}

impl<T> fmt::Debug for Starting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Starting").field(&self.0.job).finish()
    }
}

impl<T, E> fmt::Debug for TryStarting<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TryStarting").field(&self.0.job).finish()
    }
}

/// Launches a child by `launch`, whose future `make` makes.
fn start<T, F>(
    site: &'static Location<'static>,
    make: impl FnOnce(Ready<T>) -> F,
    launch: impl FnOnce(Initial<F, T>) -> Job,
) -> Waiting<T> {
    let stage = Mutex::new(Stage::Waiting { waker: None, silent: false, child: None });
    let slot = Arc::new(Slot { stage, site });
    let future = Some(make(Ready { slot: Some(Arc::clone(&slot)) }));
    let job = launch(Initial { future, slot: Arc::clone(&slot), adopted: false });
    slot.launched(&job);
    let join = job.join();
    Waiting { slot, job, join, over: false }
}

fn start_plain<T, F, Fut>(
    region: &NodeRef,
    plan: Plan,
    site: &'static Location<'static>,
    body: F,
) -> Starting<T>
where
    F: FnOnce(Ready<T>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
    T: Send + 'static,
{
    let make = |ready| {
        let future = body(ready);
        async move {
            future.await;
            Ok::<_, std::convert::Infallible>(())
        }
    };
    let launch = |it| builder::launch::<_, Plain>(region, plan, site, it);
    Starting(start(site, make, launch))
}

fn start_attempt<T, E, F, Fut>(
    region: &NodeRef,
    plan: Plan,
    site: &'static Location<'static>,
    body: F,
) -> TryStarting<T, E>
where
    F: FnOnce(Ready<T>) -> Fut,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let launch = |it| builder::launch::<_, Attempt<(), E>>(region, plan, site, it);
    TryStarting(start(site, body, launch), PhantomData)
}

impl Scope {
    /// Launches a child, and waits until it says that it is ready.
    ///
    /// The child runs from the call on. It says that it is ready by [`Ready::done`], with a value
    /// that awaiting this gives; from then on it is a child as all others. What goes wrong before is
    /// told here, and is no failure of the scope; the child has ended by then.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::net::{TcpListener, TcpStream};
    /// use corymb::prelude::*;
    ///
    /// run_blocking(scope(async |s| {
    ///     let server = s.start(async |ready| {
    ///         let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    ///         ready.done(listener.local_addr().unwrap());
    ///         listener.accept().await.unwrap();
    ///     });
    ///     let address = server.await.unwrap();
    ///     TcpStream::connect(address).await.unwrap(); // somebody listens there
    /// }));
    /// ```
    ///
    /// # Errors
    ///
    /// [`StartError`] says why the child did not get ready: it panicked, was cancelled, alone or
    /// because the scope had ended, or never said so.
    ///
    /// # Cancel safety
    ///
    /// Dropping it before it has given the value cancels the child, which its scope waits for.
    #[track_caller]
    pub fn start<T, F, Fut>(&self, body: F) -> Starting<T>
    where
        F: FnOnce(Ready<T>) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
        T: Send + 'static,
    {
        start_plain(self.node(), Plan::default(), Location::caller(), body)
    }
}

impl<E: Send + 'static> TryScope<E> {
    /// As [`Scope::start`], of a child that returns a `Result`: an error before it is ready comes out
    /// here, and one after that fails the scope.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let port = |text: &'static str| {
    ///     run_blocking(try_scope(async |s| -> Result<u16, std::num::ParseIntError> {
    ///         let server = s.start(async move |ready| {
    ///             ready.done(text.parse()?);
    ///             Ok(()) // when it has served
    ///         });
    ///         Ok(server.await.unwrap_or(80)) // an error of `parse` comes out here
    ///     }))
    /// };
    /// assert_eq!(port("8080"), Ok(8080));
    /// assert_eq!(port("any"), Ok(80));
    /// ```
    ///
    /// # Errors
    ///
    /// The error that the child returned before it was ready.
    ///
    /// # Panics
    ///
    /// With a panic of the child before it was ready; and if it was cancelled, or never said that it
    /// was, and the caller is not cancelled itself.
    ///
    /// # Cancel safety
    ///
    /// As [`Scope::start`].
    #[track_caller]
    pub fn start<T, F, Fut>(&self, body: F) -> TryStarting<T, E>
    where
        F: FnOnce(Ready<T>) -> Fut,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        T: Send + 'static,
    {
        start_attempt(self.node(), Plan::default(), Location::caller(), body)
    }
}

impl CoroutineBuilder<Scope> {
    /// Launches the child, and waits until it is ready; see [`Scope::start`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let name = run_blocking(scope(async |s| {
    ///     let server = s.coroutine().name("server").start(async |ready| {
    ///         ready.done(Context::current().name().map(String::from));
    ///     });
    ///     server.await.unwrap()
    /// }));
    /// assert_eq!(name.as_deref(), Some("server"));
    /// ```
    #[track_caller]
    pub fn start<T, F, Fut>(self, body: F) -> Starting<T>
    where
        F: FnOnce(Ready<T>) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
        T: Send + 'static,
    {
        let (scope, plan) = self.into_parts();
        start_plain(scope.node(), plan, Location::caller(), body)
    }
}

impl<E: Send + 'static> CoroutineBuilder<TryScope<E>> {
    /// Launches the child, and waits until it is ready; see [`TryScope::start`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let port = run_blocking(try_scope(async |s| {
    ///     let server = s.coroutine().name("server").start(async |ready| {
    ///         ready.done(80);
    ///         Err("the port was closed") // a failure of the scope, now
    ///     });
    ///     server.await
    /// }));
    /// assert_eq!(port, Err("the port was closed"));
    /// ```
    ///
    /// # Panics
    ///
    /// As [`TryScope::start`].
    #[track_caller]
    pub fn start<T, F, Fut>(self, body: F) -> TryStarting<T, E>
    where
        F: FnOnce(Ready<T>) -> Fut,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        T: Send + 'static,
    {
        let (scope, plan) = self.into_parts();
        start_attempt(scope.node(), plan, Location::caller(), body)
    }
}
