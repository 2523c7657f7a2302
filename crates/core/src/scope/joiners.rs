//! Policies of a [`join_scope`](crate::join_scope): when forks start, when they are enough, and what
//! comes of them.
//!
//! | joiner | ends | gives |
//! | --- | --- | --- |
//! | [`AllOk`] | at the first failure | all values, in the order of the forks |
//! | [`AnyOk`] | at the first value | that value, or all errors |
//! | [`Hedged`] | as `AnyOk` | as `AnyOk`; the next fork starts after a delay, or at a failure |
//! | [`Quorum`] | at so many values, or when they cannot be reached | these values, in the order of their ends, or all errors |
//! | [`AwaitAll`] | when all have ended | each one's result |
//! | [`AllUntil`] | when a predicate is true of a result | as `AwaitAll` |
//! | [`PartialOk`] | when all have ended | values and errors, each for itself |
//!
//! Each has a time limit by [`Joiner::within`]. Other policies are other implementations of
//! [`Joiner`].

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// When a fork starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At once.
    Now,
    /// After so long, or when a fork has failed. Each failure starts the first of those that wait.
    After(Duration),
    /// When a fork has failed, as with `After`. If none does, it never starts.
    OnFailure,
}

/// Whether a scope goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// There may be more to come.
    GoOn,
    /// The result is clear: what is left is cancelled.
    Stop,
}

/// What became of a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subtask<T, E> {
    /// It gave a value.
    Ok(T),
    /// It gave an error.
    Err(E),
    /// It gave nothing: it was cancelled, or never started.
    Unavailable,
}

impl<T, E> Subtask<T, E> {
    /// Whether it gave a value.
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Ok(_))
    }

    /// The value, if it gave one.
    pub fn ok(self) -> Option<T> {
        match self {
            Self::Ok(value) => Some(value),
            _ => None,
        }
    }
}

/// A policy of a [`join_scope`](crate::join_scope).
///
/// Its functions are called one after another, in the coroutine of the scope, with the number of the
/// fork in the order of the forks. A fork that ends after [`Flow::Stop`] or the time limit is told
/// to nobody.
///
/// # Examples
///
/// The best of what there is, until one is good enough:
///
/// ```
/// use corymb::joiner::{Flow, Joiner, Subtask};
/// use corymb::prelude::*;
///
/// #[derive(Default)]
/// struct Best(u32);
///
/// impl Joiner for Best {
///     type Value = u32;
///     type Error = ();
///     type Output = u32;
///
///     fn on_complete(&mut self, _fork: usize, ended: Subtask<u32, ()>) -> Flow {
///         self.0 = self.0.max(ended.ok().unwrap_or(0));
///         if self.0 >= 90 { Flow::Stop } else { Flow::GoOn }
///     }
///
///     fn result(self) -> u32 {
///         self.0
///     }
/// }
///
/// let best = run_blocking(join_scope(Best::default(), async |s| {
///     s.fork(async { Ok(95) });
///     s.fork(std::future::pending()); // cancelled, and awaited
/// }));
/// assert_eq!(best, 95);
/// ```
pub trait Joiner: Sized {
    /// What a fork gives.
    type Value;
    /// What it fails with.
    type Error;
    /// What the scope gives.
    type Output;

    /// A fork is new: when shall it start?
    fn on_fork(&mut self, _fork: usize) -> Start {
        Start::Now
    }

    /// A fork has ended.
    fn on_complete(&mut self, fork: usize, ended: Subtask<Self::Value, Self::Error>) -> Flow;

    /// Whether the goal can be reached with `left` more results. It is asked when the body has
    /// returned, so that there are no more forks; false ends the scope.
    fn is_possible(&self, _left: usize) -> bool {
        true
    }

    /// The time that the scope has.
    fn time_limit(&self) -> Option<Duration> {
        None
    }

    /// The time was up: what there is, all forks having ended.
    fn on_timeout(self) -> Self::Output {
        self.result()
    }

    /// What the scope gives, all forks having ended.
    fn result(self) -> Self::Output;

    /// The same policy with a time limit.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::joiner::{AwaitAll, Joiner, Subtask};
    /// use corymb::prelude::*;
    /// use corymb::testing::TestRuntime; // in virtual time
    ///
    /// let soon = AwaitAll::new().within(Duration::from_millis(1));
    /// let results = TestRuntime::new().run(join_scope(soon, async |s| {
    ///     s.fork(async { Ok::<_, ()>(1) });
    ///     s.fork(std::future::pending());
    /// }));
    /// assert_eq!(results, [Subtask::Ok(1), Subtask::Unavailable]);
    /// ```
    fn within(self, limit: Duration) -> Within<Self> {
        Within { joiner: self, limit }
    }
}

/// A joiner with a time limit; see [`Joiner::within`].
#[derive(Clone, Debug)]
pub struct Within<J> {
    joiner: J,
    limit: Duration,
}

impl<J: Joiner> Joiner for Within<J> {
    type Value = J::Value;
    type Error = J::Error;
    type Output = J::Output;

    fn on_fork(&mut self, fork: usize) -> Start {
        self.joiner.on_fork(fork)
    }

    fn on_complete(&mut self, fork: usize, ended: Subtask<J::Value, J::Error>) -> Flow {
        self.joiner.on_complete(fork, ended)
    }

    fn is_possible(&self, left: usize) -> bool {
        self.joiner.is_possible(left)
    }

    fn time_limit(&self) -> Option<Duration> {
        Some(self.joiner.time_limit().map_or(self.limit, |inner| inner.min(self.limit)))
    }

    fn on_timeout(self) -> J::Output {
        self.joiner.on_timeout()
    }

    fn result(self) -> J::Output {
        self.joiner.result()
    }
}

/// Why a joiner has not reached its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Too many forks failed.
    Failed,
    /// A fork that was needed was cancelled by itself.
    Cancelled,
    /// There were no forks.
    NoForks,
    /// There were fewer forks than values are needed.
    TooFewForks,
    /// The time was up.
    TimedOut,
}

/// The error of a joiner that has not reached its goal: the reason, and the errors of the forks.
///
/// # Examples
///
/// ```
/// use corymb::joiner::{AnyOk, Reason};
/// use corymb::prelude::*;
/// use corymb::testing::TestRuntime; // one after the other
///
/// let unmet = TestRuntime::new().run(join_scope(AnyOk::<(), _>::new(), async |s| {
///     s.fork(async { Err("a is down") });
///     s.fork(async { Err("b is down") });
/// }))
/// .unwrap_err();
/// assert_eq!(unmet.reason(), Reason::Failed);
/// assert_eq!(unmet.errors(), ["a is down", "b is down"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet<E> {
    reason: Reason,
    errors: Vec<E>,
}

impl<E> Unmet<E> {
    /// The reason.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The errors of the forks, in the order in which they came.
    pub fn errors(&self) -> &[E] {
        &self.errors
    }

    /// The errors by value.
    pub fn into_errors(self) -> Vec<E> {
        self.errors
    }
}

impl<E: fmt::Display> fmt::Display for Unmet<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reason {
            Reason::Failed => "too many forks failed",
            Reason::Cancelled => "a fork was cancelled",
            Reason::NoForks => "there were no forks",
            Reason::TooFewForks => "there were fewer forks than values are needed",
            Reason::TimedOut => "the time was up",
        })?;
        let mut before = ": ";
        for error in &self.errors {
            write!(f, "{before}{error}")?;
            before = "; ";
        }
        Ok(())
    }
}

impl<E: Error + 'static> Error for Unmet<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let first: &(dyn Error + 'static) = self.errors.first()?;
        Some(first)
    }
}

/// All values in the order of the forks, or the first failure, which cancels the rest.
#[derive(Clone, Debug)]
pub struct AllOk<T, E> {
    values: Vec<Option<T>>,
    failure: Option<Unmet<E>>,
}

impl<T, E> AllOk<T, E> {
    /// The policy.
    pub fn new() -> Self {
        Self { values: Vec::new(), failure: None }
    }
}

impl<T, E> Default for AllOk<T, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, E> Joiner for AllOk<T, E> {
    type Value = T;
    type Error = E;
    type Output = Result<Vec<T>, Unmet<E>>;

    fn on_fork(&mut self, _: usize) -> Start {
        self.values.push(None);
        Start::Now
    }

    fn on_complete(&mut self, fork: usize, ended: Subtask<T, E>) -> Flow {
        let (reason, errors) = match ended {
            Subtask::Ok(value) => {
                self.values[fork] = Some(value);
                return Flow::GoOn;
            }
            Subtask::Err(error) => (Reason::Failed, vec![error]),
            Subtask::Unavailable => (Reason::Cancelled, Vec::new()),
        };
        self.failure = Some(Unmet { reason, errors });
        Flow::Stop
    }

    fn on_timeout(self) -> Self::Output {
        Err(Unmet { reason: Reason::TimedOut, errors: Vec::new() })
    }

    fn result(self) -> Self::Output {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.values.into_iter().flatten().collect()),
        }
    }
}

/// The first value, or all errors if there is none.
#[derive(Clone, Debug)]
pub struct AnyOk<T, E> {
    forks: usize,
    value: Option<T>,
    errors: Vec<E>,
}

impl<T, E> AnyOk<T, E> {
    /// The policy.
    pub fn new() -> Self {
        Self { forks: 0, value: None, errors: Vec::new() }
    }

    fn unmet(self, reason: Reason) -> Result<T, Unmet<E>> {
        self.value.ok_or(Unmet { reason, errors: self.errors })
    }
}

impl<T, E> Default for AnyOk<T, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, E> Joiner for AnyOk<T, E> {
    type Value = T;
    type Error = E;
    type Output = Result<T, Unmet<E>>;

    fn on_fork(&mut self, _: usize) -> Start {
        self.forks += 1;
        Start::Now
    }

    fn on_complete(&mut self, _: usize, ended: Subtask<T, E>) -> Flow {
        match ended {
            Subtask::Ok(value) => {
                self.value = Some(value);
                return Flow::Stop;
            }
            Subtask::Err(error) => self.errors.push(error),
            Subtask::Unavailable => {}
        }
        Flow::GoOn
    }

    fn on_timeout(self) -> Self::Output {
        self.unmet(Reason::TimedOut)
    }

    fn result(self) -> Self::Output {
        let reason = match (self.forks, self.errors.len()) {
            (0, _) => Reason::NoForks,
            (_, 0) => Reason::Cancelled,
            _ => Reason::Failed,
        };
        self.unmet(reason)
    }
}

/// As [`AnyOk`], with forks that start one after another: each after a delay, or as soon as one
/// before it has failed.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::joiner::Hedged;
/// use corymb::testing::TestRuntime;
/// use corymb::prelude::*;
///
/// let answer = TestRuntime::new().run(join_scope(Hedged::new(Duration::from_secs(1)), async |s| {
///     s.fork(async { Ok::<_, ()>(sleep(Duration::from_secs(60)).await) }); // slow today
///     s.fork(async { Ok(sleep(Duration::from_secs(1)).await) }); // starts a second later
/// }));
/// assert!(answer.is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct Hedged<T, E> {
    delay: Duration,
    any: AnyOk<T, E>,
}

impl<T, E> Hedged<T, E> {
    /// The policy, with the time between two starts.
    pub fn new(delay: Duration) -> Self {
        Self { delay, any: AnyOk::new() }
    }
}

impl<T, E> Joiner for Hedged<T, E> {
    type Value = T;
    type Error = E;
    type Output = Result<T, Unmet<E>>;

    fn on_fork(&mut self, fork: usize) -> Start {
        let first = self.any.on_fork(fork);
        let times = u32::try_from(fork).unwrap_or(u32::MAX);
        if fork == 0 { first } else { Start::After(self.delay.saturating_mul(times)) }
    }

    fn on_complete(&mut self, fork: usize, ended: Subtask<T, E>) -> Flow {
        self.any.on_complete(fork, ended)
    }

    fn on_timeout(self) -> Self::Output {
        self.any.on_timeout()
    }

    fn result(self) -> Self::Output {
        self.any.result()
    }
}

/// So many values, in the order in which they came; all errors as soon as they cannot be reached.
///
/// # Examples
///
/// ```
/// use corymb::joiner::Quorum;
/// use corymb::prelude::*;
///
/// let written = run_blocking(join_scope(Quorum::new(2), async |s| {
///     s.fork(async { Ok::<_, &str>("a") });
///     s.fork(async { Err("b is down") });
///     s.fork(async { Ok("c") });
/// }));
/// assert_eq!(written.map(|replicas| replicas.len()), Ok(2));
/// ```
#[derive(Clone, Debug)]
pub struct Quorum<T, E> {
    needed: usize,
    values: Vec<T>,
    rest: AnyOk<(), E>,
}

impl<T, E> Quorum<T, E> {
    /// The policy, with the number of values that are needed.
    ///
    /// # Panics
    ///
    /// If it is zero.
    #[track_caller]
    pub fn new(needed: usize) -> Self {
        assert!(
            needed > 0,
            "Quorum::new(0): a quorum is one value at least; use PartialOk where none is needed"
        );
        Self { needed, values: Vec::new(), rest: AnyOk::new() }
    }
}

impl<T, E> Joiner for Quorum<T, E> {
    type Value = T;
    type Error = E;
    type Output = Result<Vec<T>, Unmet<E>>;

    fn on_fork(&mut self, fork: usize) -> Start {
        self.rest.on_fork(fork)
    }

    fn on_complete(&mut self, fork: usize, ended: Subtask<T, E>) -> Flow {
        let ended = match ended {
            Subtask::Ok(value) => {
                self.values.push(value);
                return if self.values.len() == self.needed { Flow::Stop } else { Flow::GoOn };
            }
            Subtask::Err(error) => Subtask::Err(error),
            Subtask::Unavailable => Subtask::Unavailable,
        };
        self.rest.on_complete(fork, ended)
    }

    fn is_possible(&self, left: usize) -> bool {
        self.values.len() + left >= self.needed
    }

    fn on_timeout(self) -> Self::Output {
        self.rest.on_timeout().map(|()| self.values)
    }

    fn result(self) -> Self::Output {
        if self.values.len() >= self.needed {
            return Ok(self.values);
        }
        let reason = match self.rest.forks {
            0 => Reason::NoForks,
            forks if forks < self.needed => Reason::TooFewForks,
            _ => Reason::Failed,
        };
        Err(Unmet { reason, errors: self.rest.errors })
    }
}

/// Each fork's result, in the order of the forks. Nothing is cancelled.
#[derive(Clone, Debug)]
pub struct AwaitAll<T, E>(Vec<Subtask<T, E>>);

impl<T, E> AwaitAll<T, E> {
    /// The policy.
    pub fn new() -> Self {
        Self(Vec::new())
    }
}

impl<T, E> Default for AwaitAll<T, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, E> Joiner for AwaitAll<T, E> {
    type Value = T;
    type Error = E;
    type Output = Vec<Subtask<T, E>>;

    fn on_fork(&mut self, _: usize) -> Start {
        self.0.push(Subtask::Unavailable);
        Start::Now
    }

    fn on_complete(&mut self, fork: usize, ended: Subtask<T, E>) -> Flow {
        self.0[fork] = ended;
        Flow::GoOn
    }

    fn result(self) -> Self::Output {
        self.0
    }
}

/// As [`AwaitAll`], until a predicate is true of a result: then the rest is cancelled.
///
/// # Examples
///
/// ```
/// use corymb::joiner::{AllUntil, Subtask};
/// use corymb::prelude::*;
///
/// let until_error = AllUntil::new(|ended: &Subtask<u32, &str>| !ended.is_ok());
/// let results = run_blocking(join_scope(until_error, async |s| {
///     s.fork(async { Err("no") });
///     s.fork(std::future::pending());
/// }));
/// assert_eq!(results, [Subtask::Err("no"), Subtask::Unavailable]);
/// ```
#[derive(Clone)]
pub struct AllUntil<T, E, P> {
    all: AwaitAll<T, E>,
    is_enough: P,
}

impl<T, E, P: FnMut(&Subtask<T, E>) -> bool> AllUntil<T, E, P> {
    /// The policy, with what is asked of each result.
    pub fn new(is_enough: P) -> Self {
        Self { all: AwaitAll::new(), is_enough }
    }
}

impl<T, E, P> fmt::Debug for AllUntil<T, E, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllUntil").field("forks", &self.all.0.len()).finish_non_exhaustive()
    }
}

impl<T, E, P: FnMut(&Subtask<T, E>) -> bool> Joiner for AllUntil<T, E, P> {
    type Value = T;
    type Error = E;
    type Output = Vec<Subtask<T, E>>;

    fn on_fork(&mut self, fork: usize) -> Start {
        self.all.on_fork(fork)
    }

    fn on_complete(&mut self, fork: usize, ended: Subtask<T, E>) -> Flow {
        let is_enough = (self.is_enough)(&ended);
        let flow = self.all.on_complete(fork, ended);
        if is_enough { Flow::Stop } else { flow }
    }

    fn result(self) -> Self::Output {
        self.all.result()
    }
}

/// What there is: values and errors, each in the order of the forks. With a time limit those that
/// were in time.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::joiner::{Joiner, PartialOk};
/// use corymb::prelude::*;
/// use corymb::testing::TestRuntime; // in virtual time
///
/// let soon = PartialOk::new().within(Duration::from_millis(1));
/// let found = TestRuntime::new().run(join_scope(soon, async |s| {
///     s.fork(async { Ok("a hit") });
///     s.fork(async { Err("a shard is down") });
///     s.fork(std::future::pending());
/// }));
/// assert_eq!(found.values, ["a hit"]);
/// assert_eq!((found.errors, found.unavailable), (vec!["a shard is down"], 1));
/// ```
#[derive(Clone, Debug)]
pub struct PartialOk<T, E>(AwaitAll<T, E>);

impl<T, E> PartialOk<T, E> {
    /// The policy.
    pub fn new() -> Self {
        Self(AwaitAll::new())
    }
}

impl<T, E> Default for PartialOk<T, E> {
    fn default() -> Self {
        Self::new()
    }
}

/// What [`PartialOk`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partial<T, E> {
    /// The values, in the order of the forks.
    pub values: Vec<T>,
    /// The errors, in the order of the forks.
    pub errors: Vec<E>,
    /// How many forks gave neither.
    pub unavailable: usize,
}

impl<T, E> Joiner for PartialOk<T, E> {
    type Value = T;
    type Error = E;
    type Output = Partial<T, E>;

    fn on_fork(&mut self, fork: usize) -> Start {
        self.0.on_fork(fork)
    }

    fn on_complete(&mut self, fork: usize, ended: Subtask<T, E>) -> Flow {
        self.0.on_complete(fork, ended)
    }

    fn result(self) -> Self::Output {
        let mut partial = Partial { values: Vec::new(), errors: Vec::new(), unavailable: 0 };
        for ended in self.0.result() {
            match ended {
                Subtask::Ok(value) => partial.values.push(value),
                Subtask::Err(error) => partial.errors.push(error),
                Subtask::Unavailable => partial.unavailable += 1,
            }
        }
        partial
    }
}
