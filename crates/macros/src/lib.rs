//! The attributes of corymb: `#[corymb::main]` and `#[corymb::test]`; and what `select!` is made of.
//!
//! Both attributes turn an `async fn` without parameters into a plain one that runs its body.
//!
//! # The option `crate`
//!
//! What the attributes expand to is looked up in the crate `corymb`. A program that knows that by
//! another name, or a crate that has only a part of it, says where to look:
//! `crate = "path"`, with the path of a module that stands for `corymb`. It has to have
//!
//! - for `#[test]`: `testing::{run_test, run_test_with, TestRuntime}`, as `corymb_testing` does, and
//!   for `#[test(local)]` `run_test_local` and `run_test_local_with` there;
//! - for `#[test(real)]`: `__private::test_real`, and `test_real_local` for `#[test(local, real)]`;
//! - for `#[main]`: `__private::{main, main_local, Options}`.

#![forbid(unsafe_code)]

mod args;
mod function;
mod main_attribute;
mod select;
mod test_attribute;

use proc_macro::TokenStream;

/// Runs an `async fn main` as the program's first coroutine.
///
/// What it returns is reported as that of any `main`, and need not be `Send`. The runtime is shut
/// down when it has returned: what is left is cancelled, and has the grace to end.
///
/// | option | |
/// | --- | --- |
/// | `parallelism = 4` | the number of processors, by default the machine's |
/// | `name = "x"` | the name of the runtime, for dumps, errors and threads |
/// | `grace = "2s"` | how long what is left has to end, in `ms`, `s` or `min`; by default one second |
/// | `signals = false` | Ctrl-C is not handled |
/// | `local` | the body stays on the thread that called `main`, and need not be `Send` |
/// | `crate = "path"` | the module that stands for `corymb`: see the page of `corymb_macros` |
///
/// Without `local` the body is a coroutine of the pool. Either way the thread that called `main`
/// serves `Dispatcher::Main`.
///
/// # Ctrl-C
///
/// Ctrl-C (`SIGINT`), and on Unix `SIGTERM`, shuts the runtime down: the body and all else is
/// cancelled with the cause `Shutdown`, and what is behind a `soft_shield` goes on, until it is done
/// or the grace is over. A second one ends the grace at once, and the program within a second or two,
/// whatever its code does. What did not end at once is told on stderr, as a `ShutdownReport`:
/// drained, forced, or still there, with the place of its launch.
///
/// The exit code is the body's if that has returned, behind a shield for example; else 128 and the
/// number of the signal, so 130 after Ctrl-C and 143 after `SIGTERM`. On Windows Ctrl-Break is as
/// Ctrl-C.
///
/// A signal that comes when the body has returned ends the grace of what that has left behind.
///
/// With `signals = false` nothing is handled, and the program may handle what it likes. A handler that
/// it sets nevertheless takes the place of this one on Unix, if it goes by `sigaction` (`ctrlc` does).
/// No other way to run a runtime handles signals.
///
/// # Examples
///
/// ```
/// #[corymb::main(parallelism = 4)]
/// async fn main() -> Result<(), std::num::ParseIntError> {
///     let answer: u32 = "42".parse()?;
///     assert_eq!(answer, 42);
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    main_attribute::expand(args.into(), item.into()).into()
}

/// Makes an `async fn` a test, which runs in virtual time.
///
/// It may return what a test of the standard library may: `()`, or a `Result` whose error is
/// `Debug`. Attributes such as `#[should_panic]` and `#[ignore]` work as usual.
///
/// | option | |
/// | --- | --- |
/// | `seed = 7` | what is left to chance is drawn from this seed |
/// | `shuffled` | ready coroutines run in a random order |
/// | `explore` | runs in many schedules: what `corymb::testing::explore` does |
/// | `schedules = 5000` | in so many of them; goes with `explore` |
/// | `time_limit = "10s"` | fails after so much real time, and not after a minute; with `explore`, begins no further schedule then |
/// | `real` | runs on the pool and in real time instead; goes with none of the above |
/// | `local` | the body stays on the test's thread, and need not be `Send`; goes with all others but `explore` |
/// | `crate = "path"` | the module that stands for `corymb`: see the page of `corymb_macros` |
///
/// Without `real` there is one thread. What blocks it, `run_blocking` or a `blocking_scope`, waits
/// for ever if it needs a timer, or a coroutine from outside of it: use `real` for such tests.
///
/// # Examples
///
/// ```test_harness
/// use std::time::Duration;
/// use corymb::testing::elapsed;
/// use corymb::time::sleep;
///
/// #[corymb::test]
/// async fn an_hour_takes_no_time() {
///     sleep(Duration::from_secs(3600)).await;
///     assert_eq!(elapsed(), Duration::from_secs(3600));
/// }
/// ```
///
/// With what is not `Send`, held across an `await`:
///
/// ```test_harness
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use corymb::prelude::*;
///
/// #[corymb::test(local)]
/// async fn a_count_is_shared() {
///     let count = Rc::new(Cell::new(0));
///     scope(async |s| {
///         let count = Rc::clone(&count);
///         s.launch_local(async move { count.set(1) });
///     })
///     .await;
///     assert_eq!(count.get(), 1);
/// }
/// ```
#[proc_macro_attribute]
pub fn test(args: TokenStream, item: TokenStream) -> TokenStream {
    test_attribute::expand(args.into(), item.into()).into()
}

/// What `corymb::select!` expands to: see there. The tokens begin with the path of the crate that has
/// its support, and a semicolon.
#[doc(hidden)]
#[proc_macro]
pub fn select(tokens: TokenStream) -> TokenStream {
    select::expand(tokens.into()).into()
}
