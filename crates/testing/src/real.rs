//! What `#[corymb::test(real)]` expands to.

use std::sync::Arc;
use std::time::Duration;

use corymb_core::internal::prim::Mutex;
use corymb_core::{FailureHandler, JoinError};
use corymb_dispatchers::{Runtime, ShutdownReport};

use crate::Verdict;
use crate::run_test::unseen;

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
/// With a panic of the future, if it returns an error, if it leaves coroutines behind, and for a
/// failure that reaches nobody: one that is meant to goes to a
/// [`FailureHandler`](corymb_core::FailureHandler) of the test's own.
#[track_caller]
pub fn run_real<T, F>(future: F)
where
    T: Verdict,
    F: Future<Output = T> + Send + 'static,
{
    let (runtime, failures) = start();
    let verdict = runtime.detached(async { future.await.verdict() });
    let verdict = runtime.run_blocking(verdict.outcome());
    let left = Left::of(&runtime);
    let report = runtime.shutdown(GRACE);
    match verdict {
        Ok(verdict) => judge(verdict, &left, &report, &failures),
        Err(JoinError::Panicked(panic)) => {
            failures.print();
            panic.resume()
        }
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
    let (runtime, failures) = start();
    // Looked at before the loop of this thread ends, with what is bound to it.
    let (verdict, left) =
        runtime.run_main_local(async { (future.await.verdict(), Left::of(&runtime)) });
    let report = runtime.shutdown(GRACE);
    judge(verdict, &left, &report, &failures);
}

/// What reached nobody, as text.
#[derive(Clone, Default)]
struct Failures(Arc<Mutex<Vec<String>>>);

impl Failures {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }

    /// Tells of them where the test fails for something else.
    #[expect(clippy::print_stderr, reason = "a second panic would hide the first one")]
    fn print(&self) {
        for failure in self.take() {
            eprintln!("while the test was failing: {failure}");
        }
    }
}

#[track_caller]
fn start() -> (Runtime, Failures) {
    let failures = Failures::default();
    let kept = failures.clone();
    let handler = FailureHandler::new(move |failure| kept.0.lock().push(failure.to_string()));
    let runtime = Runtime::builder().failure_handler(handler).build();
    let runtime = runtime.unwrap_or_else(|error| panic!("#[corymb::test(real)]: {error}"));
    (runtime, failures)
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
fn judge(verdict: Result<(), String>, left: &Left, report: &ShutdownReport, failures: &Failures) {
    if let Err(error) = verdict {
        failures.print();
        panic!("the test returned an error: {error}");
    }
    let Left { count: left, tree } = left;
    let coroutines = if *left == 1 { "coroutine" } else { "coroutines" };
    assert!(*left == 0, "the test left {left} {coroutines} behind:\n{tree}");
    assert!(report.is_empty(), "what the test left behind did not end: {report}");
    let failures = failures.take();
    assert!(
        failures.is_empty(),
        "{}\nAwait what failed, or take them with a `FailureHandler`.",
        unseen(&failures)
    );
}
