//! What `#[corymb::test(real)]` expands to.

use std::time::Duration;

use corymb_dispatchers::{Runtime, ShutdownReport};

use crate::Verdict;

/// How long what a test leaves behind may take to end, once cancelled.
const GRACE: Duration = Duration::from_secs(10);

/// Runs `future` as the body of a test on a pool of real threads and in real time.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::testing::run_real;
/// use corymb::time::{now, sleep};
///
/// run_real(async {
///     let start = now();
///     sleep(Duration::from_millis(2)).await;
///     assert!(start.elapsed() >= Duration::from_millis(2));
/// });
/// ```
///
/// # Panics
///
/// With a panic of the future, if it returns an error, and if it leaves coroutines behind.
#[track_caller]
pub fn run_real<T, F>(future: F)
where
    T: Verdict,
    F: Future<Output = T> + Send + 'static,
{
    let runtime = start();
    let verdict = runtime.detached(async { future.await.verdict() });
    let verdict = runtime.run_blocking(verdict.outcome());
    let left = Left::of(&runtime);
    let report = runtime.shutdown(GRACE);
    match verdict {
        Ok(verdict) => judge(verdict, &left, &report),
        Err(corymb_core::JoinError::Panicked(panic)) => panic.resume(),
        Err(error) => panic!("the test's coroutine was {error}"),
    }
}

/// As [`run_real`], of a future that stays on this thread, which serves the main loop beside it:
/// what `#[corymb::test(local, real)]` expands to.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use corymb::testing::run_real_local;
///
/// let shared = Rc::new(1);
/// run_real_local(async {
///     corymb::yield_now().await;
///     assert_eq!(*shared, 1);
/// });
/// ```
///
/// # Panics
///
/// As [`run_real`].
#[track_caller]
pub fn run_real_local<T, F>(future: F)
where
    T: Verdict,
    F: Future<Output = T>,
{
    let runtime = start();
    // Looked at before the loop of this thread ends, with what is bound to it.
    let (verdict, left) =
        runtime.run_main_local(async { (future.await.verdict(), Left::of(&runtime)) });
    let report = runtime.shutdown(GRACE);
    judge(verdict, &left, &report);
}

#[track_caller]
fn start() -> Runtime {
    Runtime::new().unwrap_or_else(|error| panic!("#[corymb::test(real)]: {error}"))
}

/// What is alive when the body has ended.
struct Left {
    count: usize,
    tree: String,
}

impl Left {
    fn of(runtime: &Runtime) -> Self {
        Self { count: runtime.metrics().alive, tree: runtime.dump() }
    }
}

#[track_caller]
fn judge(verdict: Result<(), String>, left: &Left, report: &ShutdownReport) {
    if let Err(error) = verdict {
        panic!("the test returned an error: {error}");
    }
    let Left { count: left, tree } = left;
    let coroutines = if *left == 1 { "coroutine" } else { "coroutines" };
    assert!(*left == 0, "the test left {left} {coroutines} behind:\n{tree}");
    assert!(report.is_empty(), "what the test left behind did not end: {report}");
}
