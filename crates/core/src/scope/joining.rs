//! Scopes whose end and result a policy decides.
//!
//! The body of the region is a driver. It polls the body that the caller gave, starts what that has
//! forked, and hands what has ended to the joiner, one after another: a joiner is called by nobody
//! else, and needs no lock. Forks are lazy children until the driver starts them.
//!
//! ```text
//! fork ──► [forked] ──on_fork──► Now ──────────────────────► [running] ──► on_complete ──► go on
//!                       ├──────► After ──timer, a failure──►     ▲                   └──► stop
//!                       └──────► OnFailure ──a failure───────────┘
//! ```
//!
//! When the joiner says stop, when nothing is left that could start, or when the time is up, the
//! driver cancels what is left and returns. The scope then waits for its children, as every scope,
//! and the joiner is asked for the result after that.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::group::Endings;
use super::joiners::{Flow, Joiner, Start, Subtask};
use super::plain::{self, Scope};
use crate::context;
use crate::deferred::Deferred;
use crate::error::{CancelCause, Cancelled, JoinError};
use crate::job::Job;
use crate::prim::Mutex;
use crate::time::{Instant, Sleep, now, sleep, sleep_until};

/// Runs `body`, which forks children, and gives what `joiner` makes of their results.
///
/// The joiner says when each fork starts, and whether those that have ended are enough. Then the
/// body and the forks that go on, the *stragglers*, are cancelled, with the cause
/// [`Decided`](CancelCause::Decided), and awaited. See [`joiner`](crate::joiner) for what there is.
///
/// A panic of the body or of a fork is no result: it cancels all and goes on in the caller.
///
/// # Examples
///
/// The first answer of three, with the errors of all if there is none:
///
/// ```
/// use corymb::joiner::AnyOk;
/// use corymb::prelude::*;
///
/// async fn ask(mirror: u32) -> Result<u32, String> {
///     if mirror == 2 { Ok(mirror) } else { Err(format!("{mirror} is down")) }
/// }
///
/// let answer = run_blocking(join_scope(AnyOk::new(), async |s| {
///     for mirror in 1..=3 {
///         s.fork(ask(mirror));
///     }
/// }));
/// assert_eq!(answer, Ok(2));
/// ```
///
/// # Panics
///
/// With the first panic of the body or of a fork.
///
/// # Cancel safety
///
/// As for [`scope`](crate::scope()).
#[track_caller]
pub fn join_scope<J, F, Fut>(joiner: J, body: F) -> impl Future<Output = J::Output>
where
    J: Joiner<Value: Send + 'static, Error: Send + 'static>,
    F: FnOnce(JoinScope<J::Value, J::Error>) -> Fut,
    Fut: Future<Output = ()>,
{
    let site = Location::caller();
    async move {
        let driven = plain::scope_at(site, |scope| drive(scope, joiner, body));
        match driven.await {
            (joiner, End::TimedOut) => joiner.on_timeout(),
            (joiner, End::Decided) => joiner.result(),
        }
    }
}

/// The handle of a [`join_scope`]: forks children. Clones are handles of the same scope.
pub struct JoinScope<T, E> {
    scope: Scope,
    forks: Arc<Forks<T, E>>,
}

impl<T, E> Clone for JoinScope<T, E> {
    fn clone(&self) -> Self {
        Self { scope: self.scope.clone(), forks: Arc::clone(&self.forks) }
    }
}

/// What has been forked and not been looked at by the driver; none once the body is gone.
struct Forks<T, E>(Mutex<New<T, E>>);

struct New<T, E> {
    forks: Option<Vec<Fork<T, E>>>,
    driver: Option<Waker>,
}

type Fork<T, E> = Deferred<Result<T, E>>;

impl<T: Send + 'static, E: Send + 'static> JoinScope<T, E> {
    /// Forks a child, which starts when the joiner says so: at once with most.
    ///
    /// When the body has returned there are no more forks: one that comes then is cancelled, with
    /// the cause [`ScopeEnded`](CancelCause::ScopeEnded).
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::joiner::AllOk;
    /// use corymb::prelude::*;
    ///
    /// let both = run_blocking(join_scope(AllOk::new(), async |s| {
    ///     s.fork(async { "1".parse::<u32>() });
    ///     s.fork(async { "2".parse::<u32>() });
    /// }));
    /// assert_eq!(both, Ok(vec![1, 2])); // in the order of the forks
    /// ```
    #[track_caller]
    pub fn fork<F>(&self, future: F) -> Job
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.add(self.scope.coroutine().lazy().spawn(future))
    }

    /// As [`fork`](Self::fork), with a name, a dispatcher or another context of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::joiner::AwaitAll;
    /// use corymb::prelude::*;
    ///
    /// run_blocking(join_scope(AwaitAll::new(), async |s| {
    ///     let job = s.fork_in(Name::new("first"), async { Ok::<_, ()>(1) });
    ///     assert_eq!(job.name().as_deref(), Some("first"));
    /// }));
    /// ```
    #[track_caller]
    pub fn fork_in<F>(&self, context: impl Into<context::Context>, future: F) -> Job
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.add(self.scope.coroutine().context(context).lazy().spawn(future))
    }

    fn add(&self, fork: Fork<T, E>) -> Job {
        let job = fork.job();
        let mut new = self.forks.0.lock();
        let Some(open) = &mut new.forks else {
            drop(new);
            job.cancel_for(&Cancelled::new(CancelCause::ScopeEnded, self.scope.node().site));
            return job;
        };
        open.push(fork);
        let driver = new.driver.take();
        drop(new);
        if let Some(driver) = driver {
            driver.wake();
        }
        job
    }

    /// The scope's job.
    pub fn job(&self) -> Job {
        self.scope.job()
    }
}

impl<T, E> fmt::Debug for JoinScope<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JoinScope").field(&self.scope.job()).finish()
    }
}

impl<T, E> Forks<T, E> {
    /// Those that are new; `driver` is woken by the next one.
    fn take(&self, driver: &Waker) -> Vec<Fork<T, E>> {
        // Foreign code, which is not called under the lock.
        let mut driver = Some(driver.clone());
        let mut new = self.0.lock();
        std::mem::swap(&mut new.driver, &mut driver);
        let forks = new.forks.as_mut().map(std::mem::take).unwrap_or_default();
        drop(new);
        forks
    }

    fn close(&self) -> Vec<Fork<T, E>> {
        self.0.lock().forks.take().unwrap_or_default()
    }
}

/// Why the driver has come to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Decided,
    TimedOut,
}

async fn drive<J, F, Fut>(scope: Scope, joiner: J, body: F) -> (J, End)
where
    J: Joiner<Value: Send + 'static, Error: Send + 'static>,
    F: FnOnce(JoinScope<J::Value, J::Error>) -> Fut,
    Fut: Future<Output = ()>,
{
    let forks = Arc::new(Forks(Mutex::new(New { forks: Some(Vec::new()), driver: None })));
    let limit = joiner.time_limit().map(sleep);
    let mut limit = pin!(limit);
    let mut driver = Driver::new(scope.node().site, joiner, Arc::clone(&forks));
    let end = {
        let mut body = pin!(Some(body(JoinScope { scope, forks })));
        let end = poll_fn(|cx| {
            if let Some(running) = body.as_mut().as_pin_mut()
                && running.poll(cx).is_ready()
            {
                body.set(None);
            }
            match driver.poll(body.is_none(), cx) {
                Poll::Pending => match limit.as_mut().as_pin_mut() {
                    Some(limit) => limit.poll(cx).map(|()| End::TimedOut),
                    None => Poll::Pending,
                },
                Poll::Ready(()) => Poll::Ready(End::Decided),
            }
        });
        let end = end.await;
        driver.cancel(end);
        end
    };
    (driver.joiner, end)
}

struct Driver<J: Joiner> {
    site: &'static Location<'static>,
    joiner: J,
    forks: Arc<Forks<J::Value, J::Error>>,
    forked: usize,
    running: Endings<Result<J::Value, J::Error>>,
    /// The fork that each of those is, by the order of their starts.
    started: Vec<usize>,
    waiting: BTreeMap<usize, Waiting<J::Value, J::Error>>,
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
}

/// A fork that has not been started.
struct Waiting<T, E> {
    fork: Fork<T, E>,
    /// None if only a failure starts it.
    due: Option<Instant>,
}

impl<J: Joiner> Driver<J> {
    fn new(
        site: &'static Location<'static>,
        joiner: J,
        forks: Arc<Forks<J::Value, J::Error>>,
    ) -> Self {
        Self {
            site,
            joiner,
            forks,
            forked: 0,
            running: Endings::new(),
            started: Vec::new(),
            waiting: BTreeMap::new(),
            timer: None,
        }
    }

    /// Ready when nothing more has to be waited for.
    fn poll(&mut self, body_is_gone: bool, cx: &mut Context<'_>) -> Poll<()> {
        let new = if body_is_gone { self.forks.close() } else { self.forks.take(cx.waker()) };
        for fork in new {
            self.forked(fork);
        }
        self.poll_timer(cx);
        if self.poll_endings(cx) == Flow::Stop {
            return Poll::Ready(());
        }
        if !body_is_gone {
            return Poll::Pending;
        }
        let left = self.running.len() + self.waiting.len();
        let may_go_on = self.running.len() > 0 || self.waiting.values().any(|it| it.due.is_some());
        if may_go_on && self.joiner.is_possible(left) { Poll::Pending } else { Poll::Ready(()) }
    }

    fn forked(&mut self, fork: Fork<J::Value, J::Error>) {
        let number = self.forked;
        self.forked += 1;
        let due = match self.joiner.on_fork(number) {
            Start::Now => return self.start(number, fork),
            Start::After(delay) => Some(now() + delay),
            Start::OnFailure => None,
        };
        self.waiting.insert(number, Waiting { fork, due });
    }

    fn start(&mut self, number: usize, fork: Fork<J::Value, J::Error>) {
        self.started.push(number);
        self.running.add(fork.outcome());
    }

    /// Starts those whose time has come.
    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        loop {
            let first = self.waiting.iter().filter_map(|(fork, it)| Some((it.due?, *fork))).min();
            let Some((due, fork)) = first else { return self.timer = None };
            if self.timer.as_ref().is_none_or(|(armed, _)| *armed != due) {
                self.timer = Some((due, Box::pin(sleep_until(due))));
            }
            let Some((_, timer)) = &mut self.timer else { return };
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
            self.timer = None;
            if let Some(waiting) = self.waiting.remove(&fork) {
                self.start(fork, waiting.fork);
            }
        }
    }

    fn poll_endings(&mut self, cx: &mut Context<'_>) -> Flow {
        while let Poll::Ready(Some((number, (_, outcome)))) = self.running.poll_next(cx) {
            let fork = self.started[usize::try_from(number).expect("as many as there were starts")];
            let ended = match outcome {
                Ok(Ok(value)) => Subtask::Ok(value),
                Ok(Err(error)) => Subtask::Err(error),
                Err(JoinError::Cancelled(_)) => Subtask::Unavailable,
                // It has cancelled the scope, and this is dropped at its next suspension.
                Err(_) => continue,
            };
            let has_failed = !ended.is_ok();
            if self.joiner.on_complete(fork, ended) == Flow::Stop {
                return Flow::Stop;
            }
            if has_failed && let Some((fork, waiting)) = self.waiting.pop_first() {
                self.start(fork, waiting.fork);
            }
        }
        Flow::GoOn
    }

    fn cancel(&self, end: End) {
        let waiting = self.waiting.values().map(|it| it.fork.job());
        let cause = match end {
            End::Decided => CancelCause::Decided,
            End::TimedOut => CancelCause::Deadline,
        };
        let cause = Cancelled::new(cause, self.site);
        for job in self.running.jobs().chain(waiting) {
            job.cancel_for(&cause);
        }
    }
}
