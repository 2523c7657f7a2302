#![doc = include_str!("../README.md")]

#[doc(inline)]
pub use corymb_core::{
    Abandoned, CancelCause, CancelScope, Cancelled, Completion, Context, Continuation, Coroutine,
    CoroutineBuilder, Deferred, Dispatch, Dispatcher, Failure, FailureHandler, Failures, Job,
    JobId, JobState, Join, JoinError, Name, Outcome, Panic, Registration, Scope, Suspend, TryScope,
    Who, YieldNow, cancel_scope, check_cancelled, is_cancelled, scope, supervisor_scope,
    suspend_cancellable, try_scope, try_scope_all, yield_now,
};
#[doc(inline)]
pub use corymb_dispatchers::{
    BuildError, Builder, Entered, Metrics, Runtime, ShutdownReport, WorkerBlocked, detached,
    run_blocking,
};
pub use corymb_macros::main;
#[cfg(feature = "testing")]
pub use corymb_macros::test;
#[doc(inline)]
pub use corymb_net as net;
#[doc(inline)]
pub use corymb_sync as sync;

#[cfg(feature = "testing")]
#[doc(inline)]
pub use corymb_testing as testing;

/// Instants, sleeping, intervals and timeouts.
pub mod time {
    #[doc(inline)]
    pub use corymb_core::time::{
        Clock, Elapsed, Instant, Interval, MissedTick, Sleep, Timeout, interval, interval_at, now,
        sleep, sleep_until, with_deadline, with_timeout,
    };
}

/// What the attributes expand to: no promise holds here.
#[doc(hidden)]
pub mod __private {
    pub use corymb_dispatchers::entry::{Options, main};
    #[cfg(feature = "testing")]
    pub use corymb_testing::run_real as test_real;
}

/// What most programs use.
pub mod prelude {
    #[doc(no_inline)]
    pub use crate::time::{sleep, with_deadline, with_timeout};
    #[doc(no_inline)]
    pub use crate::{
        CancelScope, Context, Deferred, Dispatcher, Job, Name, Scope, TryScope, cancel_scope,
        detached, run_blocking, scope, supervisor_scope, try_scope, yield_now,
    };
}
