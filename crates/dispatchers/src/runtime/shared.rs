//! What workers, contexts and handles share of a runtime, and what core asks of it.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::ThreadId;

use corymb_core::hooks::{self, Choice, RuntimeHooks};
use corymb_core::internal::{Root, TimerShard, below, real_now, scope_of};
use corymb_core::time::{Clock, Instant};
use corymb_core::{Dispatch, Failure, FailureHandler, Job, Who};
use futures_task::{FutureObj, Spawn, SpawnError};

use super::shutdown::End;
use crate::home::{self, MainLoop};
use crate::main_loop;
use crate::pool::Pool;
use crate::reactor::Reactor;

/// What workers, contexts and handles share.
pub(crate) struct Shared {
    pub(super) pool: Arc<Pool>,
    /// None once the runtime has shut down: the root keeps this object.
    pub(super) root: Mutex<Option<Root>>,
    /// Held during a shutdown.
    pub(super) shutting: Mutex<()>,
    /// The thread that shuts down.
    pub(super) shutter: Mutex<Option<ThreadId>>,
    /// Of all that it has, after a shutdown.
    pub(super) end: Arc<End>,
    /// What has ended by itself during a shutdown, behind a shield.
    pub(super) drained: Mutex<Vec<Who>>,
    /// The loop of the thread that is, or was, in `run_main`.
    pub(super) main: Mutex<Option<Arc<MainLoop>>>,
    pub(super) failure_handler: Option<FailureHandler>,
    /// This object, for threads that enter the runtime.
    pub(super) this: Weak<Self>,
}

impl Shared {
    pub(super) fn hooks(&self) -> Arc<dyn RuntimeHooks> {
        // `self` is in an `Arc` for as long as there is a `&self`.
        self.this.upgrade().expect("the runtime's shared part is alive")
    }

    pub(super) fn lock_root(&self) -> std::sync::MutexGuard<'_, Option<Root>> {
        lock(&self.root)
    }

    pub(super) fn try_root(&self) -> Option<Job> {
        self.lock_root().as_ref().map(|root| root.job().clone())
    }

    #[track_caller]
    pub(super) fn root_or_panic(&self) -> Job {
        self.try_root().unwrap_or_else(|| {
            panic!("this corymb runtime has shut down: make another one, or shut down later")
        })
    }

    pub(super) fn dump_to(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self.try_root() {
            Some(root) => root.dump(out),
            None => writeln!(out, "the runtime has shut down"),
        }
    }

    pub(super) fn dump(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _written = self.dump_to(&mut text);
        text
    }

    pub(super) fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("parallelism", &self.pool.parallelism())
            .field("root", &self.try_root())
            .finish_non_exhaustive()
    }
}

/// The runtime of this thread, if there is one and it is one of these.
pub(super) fn current() -> Option<Arc<Shared>> {
    let shared = |runtime: &dyn RuntimeHooks| {
        let runtime: &dyn Any = runtime;
        runtime.downcast_ref::<Shared>()?.this.upgrade()
    };
    hooks::try_with(shared).flatten()
}

impl Spawn for Shared {
    #[track_caller]
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        let root = self.try_root().ok_or_else(SpawnError::shutdown)?;
        scope_of(&root).spawn_obj(future)
    }

    fn status(&self) -> Result<(), SpawnError> {
        self.try_root().map(|_| ()).ok_or_else(SpawnError::shutdown)
    }
}

impl Clock for Shared {
    #[inline]
    fn now(&self) -> Instant {
        real_now()
    }
}

// SAFETY: the pool is a field that never changes, and the root is made in `start`, with this object.
unsafe impl RuntimeHooks for Shared {
    fn root(&self) -> Job {
        self.root_or_panic()
    }

    fn try_root(&self) -> Option<Job> {
        Self::try_root(self)
    }

    fn default_dispatch(&self) -> Arc<dyn Dispatch> {
        Arc::<Pool>::clone(&self.pool)
    }

    fn home(&self) -> Option<Arc<dyn hooks::Home>> {
        home::innermost()
    }

    fn main_dispatch(&self) -> Option<Arc<dyn Dispatch>> {
        let own = lock(&self.main).clone();
        own.map(|own| -> Arc<dyn Dispatch> { own }).or_else(main_loop::installed)
    }

    fn io_dispatch(&self) -> Arc<dyn Dispatch> {
        self.pool.io_dispatch()
    }

    fn io_ptr(&self) -> *const dyn Dispatch {
        self.pool.io_ptr()
    }

    fn elastic_io_dispatch(&self) -> Arc<dyn Dispatch> {
        self.pool.elastic_io_dispatch()
    }

    #[inline]
    fn timer_shard(&self) -> &'static TimerShard {
        self.pool.timer_shard()
    }

    #[inline]
    fn timer_armed(&self, _: &'static TimerShard, deadline: Instant) {
        self.pool.timer_armed(deadline);
    }

    #[inline]
    fn choose(&self, _: Choice, n: usize) -> usize {
        below(n)
    }

    fn report(&self, failure: &Failure) {
        let Some(handler) = &self.failure_handler else { return report_to_stderr(failure) };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| handler.handle(failure))) {
            report_to_stderr(failure);
            resume_unwind(payload);
        }
    }

    fn drained(&self, who: &Who) {
        self.note_drained(who);
    }

    fn reactor(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::<Reactor>::clone(self.pool.reactor()))
    }
}

/// The last resort for what nobody handles.
#[expect(clippy::print_stderr, reason = "there is nobody else to tell")]
pub(crate) fn report_to_stderr(what: &dyn fmt::Display) {
    eprintln!("corymb: {what}");
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
