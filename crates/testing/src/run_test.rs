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
/// As [`TestRuntime::run`], and if `future` returns an error.
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
    pass(name, runtime.run(async { future.await.verdict() }));
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
    pass(name, runtime.run_local(async { future.await.verdict() }));
}

#[track_caller]
fn pass(name: &str, verdict: Result<(), String>) {
    if let Err(error) = verdict {
        panic!("{name} returned an error: {error}");
    }
}
