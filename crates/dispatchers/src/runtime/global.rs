//! The runtime that serves where there is no other.

use std::sync::{Arc, OnceLock};

use corymb_core::hooks::{self, RuntimeHooks};
use corymb_core::internal::scope_of;
use corymb_core::{Cancelled, Deferred, Job};

use super::Runtime;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

pub(super) fn runtime() -> &'static Runtime {
    RUNTIME.get_or_init(|| {
        Runtime::new().unwrap_or_else(|error| panic!("corymb's global runtime: {error}"))
    })
}

/// Tells the kernel how to start the global runtime.
extern "C" fn install() {
    hooks::install_global(|| -> Arc<dyn RuntimeHooks> { runtime().shared.hooks() });
}

/// Runs before `main`: the kernel, which must not know this crate, has to find the runtime also
/// in a program that has called nothing of this crate before. It stores a pointer and no more.
/// Systems without such a section get the kernel's panic, which names the remedy.
#[used]
// SAFETY: the section holds pointers to functions of this type, called once by the loader;
// `install` needs nothing that is not there before `main`.
#[cfg_attr(
    any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "netbsd"),
    unsafe(link_section = ".init_array")
)]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
#[cfg_attr(windows, unsafe(link_section = ".CRT$XCU"))]
static INSTALL: extern "C" fn() = install;

/// Runs `future` on this thread, under the job that is current here, in the runtime of this thread
/// or the global one; see [`Runtime::run_blocking`].
///
/// # Examples
///
/// From code that is not `async`, wherever it runs:
///
/// ```
/// use corymb::prelude::*;
///
/// fn sum(numbers: &[u32]) -> u32 {
///     run_blocking(async {
///         yield_now().await;
///         numbers.iter().sum()
///     })
/// }
/// assert_eq!(sum(&[1, 2, 3]), 6);
/// ```
///
/// # Panics
///
/// As [`Runtime::run_blocking`].
#[track_caller]
pub fn run_blocking<F: Future>(future: F) -> F::Output {
    super::uncancelled(try_run_blocking(future))
}

/// As [`run_blocking`], with an error for a shutdown; see [`Runtime::try_run_blocking`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::{Runtime, try_run_blocking};
///
/// assert_eq!(try_run_blocking(async { 1 }).unwrap(), 1);
/// let runtime = Runtime::new()?;
/// let _inside = runtime.enter();
/// let _report = runtime.shutdown(Duration::from_secs(1));
/// assert!(try_run_blocking(async { 1 }).is_err());
/// # Ok::<(), corymb::BuildError>(())
/// ```
///
/// # Errors
///
/// As [`Runtime::try_run_blocking`].
///
/// # Panics
///
/// As [`Runtime::try_run_blocking`].
#[track_caller]
pub fn try_run_blocking<F: Future>(future: F) -> Result<F::Output, Cancelled> {
    if let Some(runtime) = super::current() {
        return runtime.try_run_blocking(future);
    }
    // Of a foreign executor's coroutine, or of a runtime for tests.
    match Job::current().or_else(|| hooks::try_with(|runtime| runtime.root())) {
        Some(job) => super::run_blocking_in(&job, future),
        None => runtime().try_run_blocking(future),
    }
}

/// Launches a coroutine under the runtime itself; see [`Runtime::detached`].
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
///
/// let answer = run_blocking(async {
///     let outliving = scope(async |_| detached(async { 42 })).await; // the scope does not wait
///     outliving.await
/// });
/// assert_eq!(answer, 42);
/// ```
///
/// # Panics
///
/// As [`Runtime::detached`].
#[track_caller]
pub fn detached<F>(future: F) -> Deferred<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    scope_of(&hooks::with(|runtime| runtime.root())).spawn(future)
}

/// Launches a coroutine without a value under the runtime itself; see
/// [`Runtime::launch_detached`].
///
/// # Panics
///
/// As [`Runtime::launch_detached`].
///
/// # Examples
///
/// ```
/// # mod corymb { pub use corymb_core::*; pub use corymb_dispatchers::*; }
/// # corymb::run_blocking(async {
/// let job = corymb::launch_detached(async { println!("nobody waits for this") });
/// // Unless somebody does.
/// job.join().await;
/// # });
/// ```
#[track_caller]
pub fn launch_detached<F>(future: F) -> Job
where
    F: Future<Output = ()> + Send + 'static,
{
    scope_of(&hooks::with(|runtime| runtime.root())).launch(future)
}
