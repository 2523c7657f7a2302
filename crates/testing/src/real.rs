//! What `#[corymb::test(real)]` expands to.

use std::time::Duration;

use corymb_dispatchers::Runtime;

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
    let runtime = Runtime::new().unwrap_or_else(|error| panic!("#[corymb::test(real)]: {error}"));
    let verdict = runtime.detached(async { future.await.verdict() });
    let verdict = runtime.run_blocking(verdict.outcome());
    let left = runtime.metrics().alive;
    let tree = runtime.dump();
    let report = runtime.shutdown(GRACE);
    match verdict {
        Ok(Ok(())) => {}
        Ok(Err(error)) => panic!("the test returned an error: {error}"),
        Err(corymb_core::JoinError::Panicked(panic)) => panic.resume(),
        Err(error) => panic!("the test's coroutine was {error}"),
    }
    let coroutines = if left == 1 { "coroutine" } else { "coroutines" };
    assert!(left == 0, "the test left {left} {coroutines} behind:\n{tree}");
    assert!(report.is_empty(), "what the test left behind did not end: {report}");
}
