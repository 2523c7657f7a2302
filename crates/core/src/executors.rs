//! Scopes and dispatchers as executors, for crates that spawn by the traits of others.
//!
//! What is spawned through a scope is its child, so it ends before the scope does. What is spawned
//! through a dispatcher is detached, under the current runtime. Crates that spawn by themselves get
//! structure that way: hand them a scope where they take one.

use std::panic::Location;

use futures_task::{FutureObj, LocalFutureObj, LocalSpawn, Spawn, SpawnError};

use crate::context::{Context, Dispatcher};
use crate::coroutine::{self, Plain};
use crate::hooks;
use crate::job::Job;
use crate::local;
use crate::node::NodeRef;
use crate::scope::{self, CoroutineBuilder, Scope, TryScope};

/// Launches `future` in `region`, as a child without a value.
fn launch<F>(
    region: &NodeRef,
    context: Option<Context>,
    site: &'static Location<'static>,
    future: F,
) -> Result<(), SpawnError>
where
    F: Future<Output = ()> + Send + 'static,
{
    let context = context.and_then(|context| scope::resolve(region, context, site));
    accepted(&coroutine::spawn::<_, Plain>(region, context, Default::default(), site, future))
}

/// Whether the region took the child: one that had ended has none.
fn accepted(child: &NodeRef) -> Result<(), SpawnError> {
    child.parent.map(|_| ()).ok_or_else(SpawnError::shutdown)
}

fn status(region: &NodeRef) -> Result<(), SpawnError> {
    match Job::from_node(region.clone()).is_completed() {
        true => Err(SpawnError::shutdown()),
        false => Ok(()),
    }
}

/// The root of the current runtime, or of the global one.
fn root() -> Result<Job, SpawnError> {
    hooks::with(|runtime| runtime.try_root()).ok_or_else(SpawnError::shutdown)
}

/// The future is a child of the scope, as by [`launch`](Scope::launch): the scope waits for it, and
/// its panic is a failure of the scope.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use futures::task::{Spawn, SpawnExt};
///
/// /// As crates write it that work with any executor.
/// fn double(executor: &impl Spawn, n: u32) -> impl Future<Output = u32> {
///     executor.spawn_with_handle(async move { n * 2 }).expect("it has not shut down")
/// }
///
/// let sum = run_blocking(scope(async |s| double(&s, 20).await + 2));
/// assert_eq!(sum, 42);
/// ```
///
/// # Errors
///
/// [`SpawnError::shutdown`] if the scope has ended. The future is dropped then.
impl Spawn for Scope {
    #[track_caller]
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        launch(self.node(), None, Location::caller(), future)
    }

    fn status(&self) -> Result<(), SpawnError> {
        status(self.node())
    }
}

/// As for [`Scope`]. The future has no `Result` that could fail the scope; its panic does.
impl<E: Send + 'static> Spawn for TryScope<E> {
    #[track_caller]
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        launch(self.node(), None, Location::caller(), future)
    }

    fn status(&self) -> Result<(), SpawnError> {
        status(self.node())
    }
}

/// As for [`Scope`], with the name, the dispatcher and the context that were set.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use futures::task::SpawnExt;
///
/// let name = run_blocking(scope(async |s| {
///     let executor = s.coroutine().name("served").on(Dispatcher::Io);
///     let name = async { Context::current().name().map(String::from) };
///     executor.spawn_with_handle(name).unwrap().await
/// }));
/// assert_eq!(name.as_deref(), Some("served"));
/// ```
impl Spawn for CoroutineBuilder<Scope> {
    #[track_caller]
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        let (scope, context) = self.parts();
        launch(scope.node(), context.cloned(), Location::caller(), future)
    }

    fn status(&self) -> Result<(), SpawnError> {
        status(self.parts().0.node())
    }
}

/// The future is a child of the scope that is bound to this thread, as by
/// [`launch_local`](Scope::launch_local).
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use corymb::prelude::*;
/// use futures::task::{LocalSpawn, LocalSpawnExt};
///
/// fn count(executor: &impl LocalSpawn, count: &Rc<Cell<u32>>) {
///     let count = Rc::clone(count);
///     executor.spawn_local(async move { count.set(count.get() + 1) }).unwrap();
/// }
///
/// let total = Rc::new(Cell::new(0));
/// run_blocking(scope(async |s| count(&s, &total)));
/// assert_eq!(total.get(), 1);
/// ```
///
/// # Errors
///
/// As for [`Spawn`].
///
/// # Panics
///
/// If this thread has no loop, as [`launch_local`](Scope::launch_local).
impl LocalSpawn for Scope {
    #[track_caller]
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        accepted(&local::spawn(self.node(), None, Default::default(), Location::caller(), future))
    }

    fn status_local(&self) -> Result<(), SpawnError> {
        status(self.node())
    }
}

/// As for [`Scope`].
impl<E: Send + 'static> LocalSpawn for TryScope<E> {
    #[track_caller]
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        accepted(&local::spawn(self.node(), None, Default::default(), Location::caller(), future))
    }

    fn status_local(&self) -> Result<(), SpawnError> {
        status(self.node())
    }
}

/// The future is a detached coroutine of the current runtime, else of the global one, on this
/// dispatcher: the runtime's shutdown cancels and awaits it, and its panic goes to the failure
/// handler.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use futures::task::SpawnExt;
///
/// let one_at_a_time = Dispatcher::Io.limited_parallelism(1);
/// let answer = one_at_a_time.spawn_with_handle(async { 42 }).unwrap();
/// assert_eq!(run_blocking(answer), 42);
/// ```
///
/// # Errors
///
/// [`SpawnError::shutdown`] if the runtime has shut down. One whose own executor refuses it is
/// cancelled, and that is no error here.
///
/// # Panics
///
/// `Main`, where there is none.
impl Spawn for Dispatcher {
    #[track_caller]
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        launch(root()?.node(), Some(self.clone().into()), Location::caller(), future)
    }

    fn status(&self) -> Result<(), SpawnError> {
        root().map(|_| ())
    }
}

#[cfg(feature = "hyper")]
mod for_hyper {
    use hyper::rt::Executor;

    use super::{Context, CoroutineBuilder, Location, NodeRef, Scope, launch};

    /// The future is a child of the scope: what a server of hyper's starts ends before the scope
    /// does. In a scope that has ended it is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use hyper::rt::Executor;
    ///
    /// run_blocking(scope(async |s| {
    ///     s.execute(async { 42 }); // hyper has no use for the value
    /// }));
    /// ```
    impl<F> Executor<F> for Scope
    where
        F: Future + Send + 'static,
    {
        #[track_caller]
        fn execute(&self, future: F) {
            execute(self.node(), None, Location::caller(), future);
        }
    }

    /// As for [`Scope`], with the name, the dispatcher and the context that were set.
    impl<F> Executor<F> for CoroutineBuilder<Scope>
    where
        F: Future + Send + 'static,
    {
        #[track_caller]
        fn execute(&self, future: F) {
            let (scope, context) = self.parts();
            execute(scope.node(), context.cloned(), Location::caller(), future);
        }
    }

    fn execute<F>(
        region: &NodeRef,
        context: Option<Context>,
        site: &'static Location<'static>,
        future: F,
    ) where
        F: Future + Send + 'static,
    {
        let child = async move { drop(future.await) };
        // hyper takes no error: a scope that has ended drops the future.
        let _accepted = launch(region, context, site, child);
    }
}
