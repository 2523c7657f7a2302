//! Trees of scopes and coroutines.

use std::any::type_name;
use std::future::pending;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use corymb_core::internal::prim::Mutex;
use corymb_core::time::{sleep, with_timeout};
use corymb_core::{
    Failure, FailureHandler, JoinError, Scope, TryScope, supervisor_scope, try_scope, yield_now,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::smaller::{Shrunk, Smaller};

/// After so long, what still waits is cancelled. No tree sleeps for that long.
const LIMIT: Duration = Duration::from_secs(3600);
/// No sleep and no limit of time is longer, in milliseconds.
const LONGEST: u8 = 50;

/// A program of scopes and coroutines: what the body of a scope does, one act after the other.
///
/// Drawn by `any::<JobTree>()`. Smaller are those with less to do; what is in a scope or a coroutine
/// comes out of it when it need not be there.
///
/// # Examples
///
/// ```
/// use corymb::testing::TestRuntime;
/// use corymb::testing::programs::{Act, Ended, JobTree};
///
/// // A child that would wait for ever, beside one that fails.
/// let tree = JobTree(vec![
///     Act::Launch(JobTree(vec![Act::Wait])),
///     Act::Launch(JobTree(vec![Act::Sleep(5), Act::Fail])),
/// ]);
/// let runtime = TestRuntime::new();
/// assert_eq!(runtime.run(tree.run(|| async {})), Ended::Failed);
/// assert_eq!(runtime.elapsed().as_millis(), 5);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobTree(pub Vec<Act>);

/// What a body of a [`JobTree`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Act {
    /// What the test has given to [`JobTree::run`].
    Work,
    /// Gives way to the others.
    Yield,
    /// Sleeps for so many milliseconds.
    Sleep(u8),
    /// Launches a coroutine in the scope around it.
    Launch(JobTree),
    /// Opens a scope whose first failure ends it, and then the body.
    Scope(JobTree),
    /// Opens one that is cancelled after so many milliseconds.
    Timeout(u8, JobTree),
    /// Opens one whose children fail alone.
    Supervisor(JobTree),
    /// Returns an error.
    Fail,
    /// Panics.
    Panic,
    /// Waits until it is cancelled.
    Wait,
}

/// How a [`JobTree`] has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// To its end.
    Done,
    /// By an [`Act::Fail`].
    Failed,
    /// By an [`Act::Panic`].
    Panicked,
    /// Something waited for ever, and was cancelled after an hour.
    Cancelled,
}

/// The error of [`Act::Fail`].
#[derive(Debug)]
struct Planned;

/// The text of [`Act::Panic`].
const PLANNED: &str = "a panic of a job tree";

impl JobTree {
    /// Runs it: where it says [`Act::Work`], it awaits what `work` gives.
    ///
    /// Errors and panics that the tree itself has planned reach nobody else. What still waits after
    /// an hour is cancelled, so each tree ends.
    ///
    /// # Panics
    ///
    /// If work has panicked, wherever in the tree, also where its panic was one too many for anybody
    /// to get it.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it cancels all that is alive in it.
    pub async fn run<W, F>(self, work: W) -> Ended
    where
        W: Fn() -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let failures = Arc::new(Mutex::new(Vec::new()));
        let unseen = Arc::clone(&failures);
        let handler = FailureHandler::new(move |failure| unseen.lock().extend(unplanned(failure)));
        let outcome = supervisor_scope(async move |s| {
            let tree = with_timeout(LIMIT, failing(self, work));
            s.coroutine().context(handler).spawn(tree).outcome().await
        });
        let ended = match outcome.await {
            Ok(Ok(Ok(()))) => Ended::Done,
            Ok(Ok(Err(Planned))) | Err(JoinError::Failed(_)) => Ended::Failed,
            Err(JoinError::Panicked(panic)) => {
                failures.lock().extend(unplanned(&Failure::Panic(panic)));
                Ended::Panicked
            }
            _ => Ended::Cancelled,
        };
        let failures = std::mem::take(&mut *failures.lock());
        assert!(failures.is_empty(), "the work of a job tree has failed:\n{}", failures.join("\n"));
        ended
    }
}

/// What of a failure, and of those that travel with it, is none of the tree's own.
fn unplanned(failure: &Failure) -> Vec<String> {
    let is_planned = match failure {
        Failure::Panic(panic) => panic.message() == PLANNED,
        Failure::Error { type_name: name, .. } => *name == type_name::<Planned>(),
        Failure::Suppressed { failure, .. } => return unplanned(failure),
        _ => false,
    };
    let own = (!is_planned).then(|| failure.to_string());
    own.into_iter().chain(failure.suppressed().iter().flat_map(unplanned)).collect()
}

/// Where a body launches.
#[derive(Clone)]
enum Place {
    Failing(TryScope<Planned>),
    Supervised(Scope),
}

impl Place {
    fn launch(&self, body: Body) {
        match self {
            Self::Failing(scope) => drop(scope.launch(body)),
            // Nobody wants its error.
            Self::Supervised(scope) => drop(scope.launch(async { drop(body.await) })),
        }
    }
}

type Body = Pin<Box<dyn Future<Output = Result<(), Planned>> + Send>>;

/// What a tree does in a scope of that kind.
fn body<W, F>(tree: JobTree, place: Place, work: W) -> Body
where
    W: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let for_so_long = |ms: u8| Duration::from_millis(ms.into());
    Box::pin(async move {
        for act in tree.0 {
            match act {
                Act::Work => work().await,
                Act::Yield => yield_now().await,
                Act::Sleep(ms) => sleep(for_so_long(ms)).await,
                Act::Launch(tree) => place.launch(body(tree, place.clone(), work.clone())),
                Act::Scope(tree) => failing(tree, work.clone()).await?,
                Act::Timeout(ms, tree) => {
                    let limited = with_timeout(for_so_long(ms), failing(tree, work.clone()));
                    limited.await.unwrap_or(Ok(()))?;
                }
                Act::Supervisor(tree) => {
                    let work = work.clone();
                    let supervised =
                        async move |s| drop(body(tree, Place::Supervised(s), work).await);
                    supervisor_scope(supervised).await;
                }
                Act::Fail => return Err(Planned),
                // Planned, so it is not printed.
                Act::Panic => resume_unwind(Box::new(PLANNED)),
                Act::Wait => pending().await,
            }
        }
        Ok(())
    })
}

async fn failing<W, F>(tree: JobTree, work: W) -> Result<(), Planned>
where
    W: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    try_scope(async move |s| body(tree, Place::Failing(s), work).await).await
}

impl Arbitrary for JobTree {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let leaf = prop_oneof![
            6 => Just(Act::Work),
            3 => Just(Act::Yield),
            2 => (0..=LONGEST).prop_map(Act::Sleep),
            1 => Just(Act::Fail),
            1 => Just(Act::Panic),
            1 => Just(Act::Wait),
        ];
        let act = leaf.prop_recursive(4, 24, 4, |act| {
            let tree = vec(act, 0..4).prop_map(Self);
            prop_oneof![
                3 => tree.clone().prop_map(Act::Launch),
                1 => tree.clone().prop_map(Act::Scope),
                1 => (0..=LONGEST, tree.clone()).prop_map(|(ms, tree)| Act::Timeout(ms, tree)),
                1 => tree.prop_map(Act::Supervisor),
            ]
        });
        Shrunk(vec(act, 0..6).prop_map(Self)).boxed()
    }
}

/// With less to do, or with what is in a scope or a coroutine out of it.
impl Smaller for JobTree {
    fn smaller(&self) -> Vec<Self> {
        let out = self.0.iter().enumerate().filter_map(|(at, act)| {
            let mut smaller = self.0.clone();
            smaller.splice(at..=at, act.inside()?.0.clone());
            Some(smaller)
        });
        out.chain(self.0.smaller()).map(Self).collect()
    }
}

impl Act {
    /// What is in the scope or coroutine that it makes.
    fn inside(&self) -> Option<&JobTree> {
        match self {
            Self::Launch(tree)
            | Self::Scope(tree)
            | Self::Timeout(_, tree)
            | Self::Supervisor(tree) => Some(tree),
            _ => None,
        }
    }
}

impl Smaller for Act {
    fn smaller(&self) -> Vec<Self> {
        fn all<T: Smaller, A>(it: &T, make: impl Fn(T) -> A) -> Vec<A> {
            it.smaller().into_iter().map(make).collect()
        }
        match self {
            Self::Sleep(ms) => all(ms, Self::Sleep),
            Self::Launch(tree) => all(tree, Self::Launch),
            Self::Scope(tree) => all(tree, Self::Scope),
            Self::Supervisor(tree) => all(tree, Self::Supervisor),
            Self::Timeout(ms, tree) => {
                let mut smaller = all(ms, |ms| Self::Timeout(ms, tree.clone()));
                smaller.extend(all(tree, |tree| Self::Timeout(*ms, tree)));
                smaller
            }
            _ => Vec::new(),
        }
    }
}
