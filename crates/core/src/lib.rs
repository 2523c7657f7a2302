//! The kernel of corymb.

mod budget;
mod cleanup;
mod context;
mod continuation;
mod coroutine;
mod current;
mod deferred;
mod dispatch;
mod dump;
mod error;
mod executors;
mod failure;
pub mod hooks;
mod job;
mod local;
#[cfg(all(test, loom))]
mod loom;
mod moves;
mod node;
mod path;
mod poll_hook;
#[doc(hidden)]
pub mod prim;
mod random;
mod root;
mod scope;
mod scoped;
mod shield;
mod suspend;
pub mod time;
mod unconfined;
mod wait;
mod waker_word;
mod with_context;

pub use budget::consume_budget;
pub use cleanup::{AsyncClose, AsyncGuard, CleanupOutput, Finally, finally};
pub use context::{Context, Dispatcher, Name};
pub use continuation::{Abandoned, Continuation, suspend_cancellable};
pub use coroutine::Coroutine;
pub use deferred::{Deferred, Outcome};
pub use dispatch::Dispatch;
pub use error::{CancelCause, Cancelled, JoinError, Panic, Who};
pub use failure::{Failure, FailureHandler};
pub use job::{Completion, Job, JobId, JobState, Join, Registration};
pub use local::{LocalDeferred, LocalOutcome};
pub use path::{JobPath, JobStep};
pub use poll_hook::{PollHook, Polling, Ran};
pub use scope::joiners as joiner;
pub use scope::{
    Branch, CancelScope, CoroutineBuilder, DataScope, Ended, Failures, Group, JoinNext, JoinScope,
    Limited, LocalScope, OwnedScope, Promise, Ready, Scope, StartError, Starting, TryScope,
    TryStarting, UnsendScope, ZeroLimit, cancel_scope, join_scope, local_scope, local_scope_unsend,
    scope, scope_with, supervisor_scope, try_scope, try_scope_all,
};
pub use scoped::{Bind, Inherit, ScopedValue};
pub use shield::{Shield, ShieldFor, UntilCancelled, cancelled, shield, shield_for, soft_shield};
pub use suspend::{YieldNow, check_cancelled, is_cancelled, yield_now};
pub use with_context::{WithContext, blocking, spawn_on, with_context};

/// For the crates of the workspace, not for users: no promise holds here.
#[doc(hidden)]
pub mod internal {
    pub use crate::budget::{
        Operation, budgeted, poll_budget, spend_budget, times_used_up, with_allowance,
        with_full_budget,
    };
    pub use crate::continuation::slot;
    pub use crate::coroutine::{is_own_waker, unwind_cancelled};
    pub use crate::current::{may_block, runs_as};
    pub use crate::dispatch::{Occupied, hop, occupy};
    pub use crate::dump::{Unfinished, doing, is_ready, late, name_of_cell, unfinished, waits_of};
    pub use crate::error::{refused_by_shutdown, text_of};
    pub use crate::failure::{report_blocked_run, report_here, wake_all};
    pub use crate::node::waits::{Held, Kind as KindOfWait, LetGo, Wait, What};
    pub use crate::prim;
    pub use crate::random::below;
    pub use crate::root::Root;
    pub use crate::scope::{Giving, branch, enclose, scope_of};
    pub use crate::time::{TimerShard, real_now};
    pub use crate::unconfined::{Loop as UnconfinedLoop, hand_on as hand_unconfined_on};
    pub use crate::wait::{WaitKind, waiting_on};
    pub use crate::waker_word::WakerWord;
}
