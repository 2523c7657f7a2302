//! What `#[corymb::test]` expands to.

use std::fmt::Debug;

use crate::runtime::{Builder, TestRuntime};

/// What the body of a test may return.
///
/// # Examples
///
/// ```
/// use corymb::testing::Verdict;
///
/// assert_eq!(().verdict(), Ok(()));
/// assert_eq!(Ok::<(), &str>(()).verdict(), Ok(()));
/// assert_eq!(Err::<(), _>("wrong").verdict(), Err(String::from("\"wrong\"")));
/// ```
#[diagnostic::on_unimplemented(
    message = "the body of a test may not return `{Self}`",
    label = "returns `{Self}`",
    note = "it returns `()`, or a `Result` of that whose error is `Debug`"
)]
pub trait Verdict {
    /// Whether the test passed; else why not.
    ///
    /// # Errors
    ///
    /// A text that says why the test failed.
    fn verdict(self) -> Result<(), String>;
}

impl Verdict for () {
    fn verdict(self) -> Result<(), String> {
        Ok(())
    }
}

impl<T: Verdict, E: Debug> Verdict for Result<T, E> {
    fn verdict(self) -> Result<(), String> {
        match self {
            Ok(value) => value.verdict(),
            Err(error) => Err(format!("{error:?}")),
        }
    }
}

/// Runs `future` in a new [`TestRuntime`] as the body of the test `name`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::time::sleep;
/// use corymb::testing::run_test;
///
/// run_test("an hour passes", async {
///     sleep(Duration::from_secs(3600)).await;
///     let number: u32 = "42".parse()?;
///     assert_eq!(number, 42);
///     Ok::<_, std::num::ParseIntError>(())
/// });
/// ```
///
/// # Panics
///
/// As [`TestRuntime::run`], and if `future` returns an error, which is told of first.
#[track_caller]
pub fn run_test<T, F>(name: &'static str, future: F)
where
    T: Verdict,
    F: Future<Output = T> + Send + 'static,
{
    run_test_with(name, TestRuntime::builder(), future);
}

/// As [`run_test`], in a runtime with other settings.
///
/// # Examples
///
/// ```
/// use corymb::testing::{TestRuntime, run_test_with};
///
/// run_test_with("with seed 7", TestRuntime::builder().seed(7).shuffled(), async {
///     corymb::yield_now().await;
/// });
/// ```
///
/// # Panics
///
/// As [`run_test`].
#[track_caller]
pub fn run_test_with<T, F>(name: &'static str, builder: Builder, future: F)
where
    T: Verdict,
    F: Future<Output = T> + Send + 'static,
{
    let runtime = builder.build();
    // The verdict is text, so that errors need not be `Send`.
    let verdict = runtime.run_body(async { future.await.verdict() });
    pass(name, verdict, &runtime);
}

/// As [`run_test`], of a future that is bound to this thread and need not be `Send`: what
/// `#[corymb::test(local)]` expands to.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use corymb::testing::run_test_local;
///
/// run_test_local("shares an Rc", async {
///     let shared = Rc::new(1);
///     corymb::yield_now().await;
///     assert_eq!(*shared, 1);
/// });
/// ```
///
/// # Panics
///
/// As [`run_test`].
#[track_caller]
pub fn run_test_local<T, F>(name: &'static str, future: F)
where
    T: Verdict,
    F: Future<Output = T> + 'static,
{
    run_test_local_with(name, TestRuntime::builder(), future);
}

/// As [`run_test_local`], in a runtime with other settings.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use corymb::testing::{TestRuntime, run_test_local_with};
///
/// run_test_local_with("with seed 7", TestRuntime::builder().seed(7), async {
///     let shared = Rc::new(1);
///     corymb::yield_now().await;
///     assert_eq!(*shared, 1);
/// });
/// ```
///
/// # Panics
///
/// As [`run_test`].
#[track_caller]
pub fn run_test_local_with<T, F>(name: &'static str, builder: Builder, future: F)
where
    T: Verdict,
    F: Future<Output = T> + 'static,
{
    let runtime = builder.build();
    let verdict = runtime.run_body_local(async { future.await.verdict() });
    pass(name, verdict, &runtime);
}

#[track_caller]
fn pass(name: &str, verdict: Result<(), String>, runtime: &TestRuntime) {
    let beside = runtime.check().err().map(|(_, report)| report);
    match (verdict, beside) {
        (Ok(()), None) => {}
        (Ok(()), Some(report)) => panic!("{report}"),
        (Err(error), beside) => {
            let beside = beside.map(|report| and_beside(&report)).unwrap_or_default();
            panic!("{name} returned an error: {error}{beside}")
        }
    }
}

/// Says what is wrong besides the error of a body.
pub(crate) fn and_beside(report: &str) -> String {
    format!("\nand beside that: {report}")
}

/// Says what reached nobody.
pub(crate) fn unseen(failures: &[String]) -> String {
    format!("failures that reached nobody:\n  - {}", failures.join("\n  - "))
}
