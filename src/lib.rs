//! Structured concurrency: coroutines that end before the code that started them goes on.
//!
//! A [`scope`] waits for all that was launched in it. The first failure cancels the rest, and
//! reaches the caller. What is cancelled is dropped at its next suspension, and awaited.
//!
//! ```
//! use std::time::Duration;
//! use corymb::prelude::*;
//!
//! async fn length(text: &'static str) -> Result<usize, &'static str> {
//!     sleep(Duration::from_millis(1)).await;
//!     if text.is_empty() { Err("an empty text") } else { Ok(text.len()) }
//! }
//!
//! async fn sum(a: &'static str, b: &'static str) -> Result<usize, &'static str> {
//!     try_scope(async |s| {
//!         let (a, b) = (s.spawn(length(a)), s.spawn(length(b))); // at the same time
//!         Ok(a.await + b.await)
//!     })
//!     .await
//! }
//!
//! #[corymb::main]
//! async fn main() {
//!     assert_eq!(sum("one", "three").await, Ok(8));
//!     assert_eq!(sum("one", "").await, Err("an empty text"));
//! }
//! ```
//!
//! # What to use
//!
//! | you want | use |
//! | --- | --- |
//! | to start | [`main`], [`run_blocking`], or a [`Runtime`] of your own |
//! | coroutines | [`scope`]; of `Result`s, [`try_scope`]; that fail alone, [`supervisor_scope`] |
//! | children that borrow, in the caller's coroutine | [`local_scope`]; that are not `Send`, [`local_scope_unsend`] |
//! | the same in parallel, while this thread blocks | [`blocking_scope`] |
//! | the same in parallel, of data that the scope owns | [`scope_with`] |
//! | children as they end; the first, a quorum, what is in time | [`Scope::group`]; [`join_scope`] |
//! | a coroutine that outlives its caller | [`detached`] |
//! | coroutines that belong to a value: a client, an actor | [`OwnedScope`] |
//! | a child that says when it is ready | [`Scope::start`]; that ends after the others, [`Scope::service`] |
//! | a child's name or dispatcher | [`Scope::coroutine`] |
//! | to block, with what the function has borrowed | [`blocking`] |
//! | to run a part elsewhere | [`with_context`]; where nothing can move, [`spawn_on`] |
//! | at most so many at once | [`Dispatcher::limited_parallelism`] |
//! | threads of their own for some coroutines | [`Threads`] |
//! | a limit of time, a pause, ticks | [`with_timeout`](time::with_timeout), [`sleep`](time::sleep()), [`interval`](time::interval()) |
//! | a limit of time for what blocks | [`timeout_abandon`](time::timeout_abandon) |
//! | to cancel a part | [`cancel_scope`]; from outside, [`Job::cancel`] |
//! | to hold a cancellation off | [`shield()`]; for so long at most, [`shield_for`] |
//! | cleanup that suspends | [`finally()`], [`AsyncGuard`] |
//! | values that what is called, and children, find | [`scoped_value!`] |
//! | whichever of several futures comes first | [`select!`], [`race`] |
//! | to pass values | [`sync::channel`], [`sync::oneshot`]; to all, [`sync::broadcast`]; the latest, [`sync::watch`] |
//! | one at a time; readers or one writer; so many at once | [`sync::Mutex`]; [`sync::RwLock`]; [`sync::Semaphore`] |
//! | so many in a time | [`sync::RateLimiter`] |
//! | to wait for each other, for a signal, for a value made once | the module [`sync`] |
//! | to await a callback | [`suspend_cancellable`] |
//! | TCP | [`net::TcpListener`], [`net::TcpStream`] |
//! | to test in virtual time | the attribute `test` and the module `testing`: see below |
//! | to see what is alive | [`Runtime::dump`], [`Job::dump`] |
//!
//! # Features
//!
//! - `testing`, off by default: `#[corymb::test]` and `corymb::testing`. It is for
//!   `[dev-dependencies]`.
//! - `proptest`, off by default: `testing`, and `corymb::testing::programs`, which proptest draws.
//! - `hyper`, off by default: a [`Scope`] is an executor for hyper's connections.
//!
//! # More
//!
//! The repository has chapters on scopes (`docs/scopes.md`), dispatchers (`docs/dispatchers.md`),
//! cancellation and cleanup (`docs/cancellation.md`), channels and locks (`docs/sync.md`), `select!`
//! (`docs/select.md`), failures (`docs/failures.md`), and the life of a job
//! (`docs/job-lifecycle.md`); for who comes from Kotlin (`docs/from-kotlin.md`), from JDK structured
//! concurrency (`docs/from-jdk.md`) or from tokio (`docs/from-tokio.md`); what is not there yet
//! (`docs/limits.md`), measurements (`docs/performance.md`), and a gateway over real sockets
//! (`examples/gateway`).

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// So are those of the chapter on dispatchers.
#[cfg(doctest)]
#[doc = include_str!("../docs/dispatchers.md")]
mod dispatchers {}

#[cfg(doctest)]
#[doc = include_str!("../docs/context.md")]
mod context {}

/// And those of the chapters on scopes and on cancellation.
#[cfg(doctest)]
#[doc = include_str!("../docs/scopes.md")]
mod scopes {}

#[cfg(doctest)]
#[doc = include_str!("../docs/joining.md")]
mod joining {}

#[cfg(doctest)]
#[doc = include_str!("../docs/failures.md")]
mod failures {}

#[cfg(doctest)]
#[doc = include_str!("../docs/select.md")]
mod select_chapter {}

#[cfg(doctest)]
#[doc = include_str!("../docs/sync.md")]
mod sync_chapter {}

#[cfg(doctest)]
#[doc = include_str!("../docs/cancellation.md")]
mod cancellation {}

#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../docs/testing.md")]
mod testing_chapter {}

/// And those of the chapters for who comes from elsewhere.
#[cfg(doctest)]
#[doc = include_str!("../docs/from-kotlin.md")]
mod from_kotlin {}

#[cfg(doctest)]
#[doc = include_str!("../docs/from-jdk.md")]
mod from_jdk {}

#[cfg(doctest)]
#[doc = include_str!("../docs/from-tokio.md")]
mod from_tokio {}

pub use corymb_core::scoped_value;

#[doc(inline)]
pub use corymb_core::{
    Abandoned, AsyncClose, AsyncGuard, Bind, Branch, CancelCause, CancelScope, Cancelled,
    CleanupOutput, Completion, Context, Continuation, Coroutine, CoroutineBuilder, DataScope,
    Deferred, Dispatch, Dispatcher, Ended, Failure, FailureHandler, Failures, Finally, Group,
    Inherit, Job, JobId, JobPath, JobState, JobStep, Join, JoinError, JoinNext, JoinScope, Limited,
    LocalDeferred, LocalOutcome, LocalScope, Name, Outcome, OwnedScope, Panic, PollHook, Polling,
    Promise, Ran, Ready, Registration, Scope, ScopedValue, Shield, ShieldFor, StartError, Starting,
    TryScope, TryStarting, UnsendScope, UntilCancelled, Who, WithContext, YieldNow, ZeroLimit,
    blocking, cancel_scope, cancelled, check_cancelled, consume_budget, finally, is_cancelled,
    join_scope, joiner, local_scope, local_scope_unsend, scope, scope_with, shield, shield_for,
    soft_shield, spawn_on, supervisor_scope, suspend_cancellable, try_scope, try_scope_all,
    with_context, yield_now,
};
#[doc(inline)]
pub use corymb_dispatchers::{
    BlockingScope, BuildError, Builder, Entered, LocalRuntime, Main, MainError, Metrics, Runtime,
    RuntimeHandle, ScopedDeferred, ShutdownReport, Threads, ThreadsError, WorkerBlocked,
    blocking_scope, detached, launch_detached, run_blocking, spawn_local, try_run_blocking,
};
#[doc(inline)]
pub use corymb_macros::main;
#[cfg(feature = "testing")]
#[doc(inline)]
pub use corymb_macros::test;
#[doc(inline)]
pub use corymb_net as net;
#[doc(inline)]
pub use corymb_sync as sync;
#[doc(inline)]
pub use corymb_sync::{race, select};

#[cfg(feature = "testing")]
#[doc(inline)]
pub use corymb_testing as testing;

/// Instants, sleeping, intervals and timeouts.
///
/// Timers never fire early. In a test of `corymb::testing` all of it is virtual time.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::time::{now, sleep, with_deadline};
///
/// corymb::run_blocking(async {
///     let deadline = now() + Duration::from_millis(5);
///     assert!(with_deadline(deadline, sleep(Duration::from_secs(60))).await.is_err());
///     assert!(now() >= deadline);
/// });
/// ```
pub mod time {
    #[doc(inline)]
    pub use corymb_core::time::{
        Clock, Elapsed, Instant, Interval, MissedTick, Sleep, Timeout, deadline, interval,
        interval_at, now, sleep, sleep_until, time_left, timeout_abandon, with_deadline,
        with_timeout,
    };
}

/// What the attributes expand to: no promise holds here.
#[doc(hidden)]
pub mod __private {
    pub use corymb_dispatchers::entry::{Options, main, main_local};
    #[cfg(feature = "testing")]
    pub use corymb_testing::{run_real as test_real, run_real_local as test_real_local};
}

/// What most programs use.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
///
/// let sum = run_blocking(scope(async |s| s.spawn(async { 1 }).await + 1));
/// assert_eq!(sum, 2);
/// ```
pub mod prelude {
    #[doc(no_inline)]
    pub use crate::joiner::Joiner;
    #[doc(no_inline)]
    pub use crate::time::{sleep, with_deadline, with_timeout};
    #[doc(no_inline)]
    pub use crate::{
        CancelScope, Context, Deferred, Dispatcher, Job, Name, OwnedScope, Scope, TryScope,
        blocking, blocking_scope, cancel_scope, cancelled, detached, finally, is_cancelled,
        join_scope, launch_detached, local_scope, local_scope_unsend, run_blocking, scope,
        scope_with, shield, shield_for, soft_shield, spawn_on, supervisor_scope, try_scope,
        with_context, yield_now,
    };
}
