//! Launching a coroutine into a scope, with or without a context of its own.

use std::panic::Location;
use std::sync::Arc;

use super::errors::{Attempt, LocalAttempt};
use super::plain::Scope;
use super::trying::TryScope;
use crate::context::{Context, ContextInner, Dispatcher, Name};
use crate::coroutine::{self, Plain, Settle, Start};
use crate::deferred::Deferred;
use crate::job::Job;
use crate::local::{self, LocalDeferred};
use crate::node::{NodeRef, state};

/// A child in the making; see [`Scope::coroutine`].
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
///
/// run_blocking(scope(async |s| {
///     let child = s.coroutine().name("poller").launch(std::future::pending());
///     assert_eq!(child.name().as_deref(), Some("poller"));
///     child.cancel();
/// }));
/// ```
#[must_use = "nothing is launched before `spawn` or `launch`"]
#[derive(Clone, Debug)]
pub struct CoroutineBuilder<S> {
    scope: S,
    plan: Plan,
}

/// What a child is to be besides its future.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    context: Option<Context>,
    start: Start,
}

impl Plan {
    pub(super) fn service() -> Self {
        Self { context: None, start: Start::Service }
    }

    pub(super) fn undispatched() -> Self {
        Self { context: None, start: Start::Undispatched }
    }
}

impl<S> CoroutineBuilder<S> {
    pub(super) fn new(scope: S) -> Self {
        Self { scope, plan: Plan::default() }
    }

    /// The scope, and what was set.
    pub(crate) fn parts(&self) -> (&S, Option<&Context>) {
        (&self.scope, self.plan.context.as_ref())
    }

    pub(super) fn into_parts(self) -> (S, Plan) {
        (self.scope, self.plan)
    }

    /// Names the child, for dumps and errors.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let outcome = run_blocking(supervisor_scope(async |s| {
    ///     let child = s.coroutine().name("parser");
    ///     child.spawn(async { "x".parse::<u32>().unwrap() }).outcome().await
    /// }));
    /// assert!(outcome.unwrap_err().to_string().starts_with("coroutine `parser` launched at"));
    /// ```
    pub fn name(self, name: impl Into<Arc<str>>) -> Self {
        self.context(Name::new(name))
    }

    /// Chooses the dispatcher that resumes the child.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::thread;
    /// use corymb::{Coroutine, prelude::*};
    ///
    /// let threads = Dispatcher::custom(|coroutine: Coroutine| {
    ///     thread::Builder::new().name("mine".into()).spawn(move || coroutine.run()).unwrap();
    /// });
    /// let name = run_blocking(scope(async |s| {
    ///     let child = s.coroutine().on(threads);
    ///     child.spawn(async { thread::current().name().map(String::from) }).await
    /// }));
    /// assert_eq!(name.as_deref(), Some("mine"));
    /// ```
    pub fn on(self, dispatcher: Dispatcher) -> Self {
        self.context(dispatcher)
    }

    /// Changes the child's context; what was set before stands where this sets nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let name = run_blocking(scope(async |s| {
    ///     let child = s.coroutine().context(Name::new("first")).context(Name::new("second"));
    ///     child.spawn(async { Context::current().name().map(String::from) }).await
    /// }));
    /// assert_eq!(name.as_deref(), Some("second"));
    /// ```
    pub fn context(self, context: impl Into<Context>) -> Self {
        let context = self.plan.context.unwrap_or_default().and(context);
        Self { plan: Plan { context: Some(context), ..self.plan }, ..self }
    }

    /// Has the child begin when somebody starts it, by [`Job::start`], by joining it or by awaiting
    /// its value.
    ///
    /// Until then it is [`New`](crate::JobState::New): listed, and neither active nor completed. One
    /// that was never started is no reason for its scope to go on: when the body and all other
    /// children have ended, it is cancelled with the cause
    /// [`ScopeEnded`](crate::CancelCause::ScopeEnded), and its future dropped, before the scope
    /// returns. (A scope of Kotlin's waits for it for ever.)
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{JobState, prelude::*};
    ///
    /// let sum = run_blocking(scope(async |s| {
    ///     let costly = s.coroutine().lazy().spawn(async { 40 });
    ///     let unused = s.coroutine().lazy().spawn(async { unreachable!("nobody asks for it") });
    ///     assert_eq!(costly.job().state(), JobState::New);
    ///     drop::<Deferred<u32>>(unused); // changes nothing, as ever
    ///     costly.await + 2 // it begins here
    /// }));
    /// assert_eq!(sum, 42);
    /// ```
    pub fn lazy(self) -> Self {
        Self { plan: Plan { start: Start::Lazy, ..self.plan }, ..self }
    }

    /// Has the child begin at once: its first poll is a part of the launch, on the thread that
    /// launches. After that it is resumed by its dispatcher, as others are.
    ///
    /// - It is the child that is polled: its job, name and failures are its own. A panic in it does
    ///   not come out of the launch.
    /// - In a scope that is cancelled it does not begin: its future is dropped.
    /// - Launches of this kind inside of the first poll begin at once too, up to 32 inside each
    ///   other; the next one is dispatched, so that a recursion does not use up the stack.
    /// - The first poll holds no place of a [view](Dispatcher::limited_parallelism).
    ///   [`with_context`](crate::with_context()) in it leaves by a queue, never in place.
    /// - What the launching code holds, such as a lock, is held meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use corymb::sync::channel;
    ///
    /// run_blocking(scope(async |s| {
    ///     let (tx, rx) = channel::bounded(2);
    ///     let child = tx.clone();
    ///     s.coroutine().undispatched().launch(async move {
    ///         child.send("in the launch").await.unwrap();
    ///         yield_now().await;
    ///     });
    ///     tx.send("after it").await.unwrap();
    ///     assert_eq!(rx.recv().await, Ok("in the launch"));
    ///     assert_eq!(rx.recv().await, Ok("after it"));
    /// }));
    /// ```
    pub fn undispatched(self) -> Self {
        Self { plan: Plan { start: Start::Undispatched, ..self.plan }, ..self }
    }
}

impl CoroutineBuilder<Scope> {
    /// As [`spawn`](Self::spawn), of a coroutine that is bound to this thread: future and value need
    /// not be `Send`. A dispatcher that was set has no effect.
    ///
    /// It is polled and dropped on this thread, by the loop of the `run_blocking` or
    /// [`LocalRuntime`](https://docs.rs/corymb/latest/corymb/struct.LocalRuntime.html) that runs here.
    /// When the outermost loop of the thread ends, what is still bound to it is cancelled. Its
    /// children are on this thread too, unless told otherwise. It cannot change its thread by
    /// [`with_context`](crate::with_context()): [`spawn_on`](crate::spawn_on) does it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// use corymb::prelude::*;
    ///
    /// let value = Rc::new(42);
    /// let same = Rc::clone(&value);
    /// let child = run_blocking(scope(async |s| s.coroutine().name("child").spawn_local(async move { same }).await));
    /// assert!(Rc::ptr_eq(&child, &value));
    /// ```
    ///
    /// # Panics
    ///
    /// If this thread has no loop: outside of `run_blocking`, and in coroutines of the pool.
    #[track_caller]
    pub fn spawn_local<F>(self, future: F) -> LocalDeferred<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let site = Location::caller();
        let Plan { context, start } = self.plan;
        LocalDeferred::new(
            local::spawn(&self.scope.0, context, (state::HANDLE, start), site, future),
            site,
        )
    }

    /// As [`spawn_local`](Self::spawn_local), of a coroutine without a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use corymb::prelude::*;
    ///
    /// let count = Rc::new(Cell::new(0));
    /// run_blocking(scope(async |s| {
    ///     let count = Rc::clone(&count);
    ///     s.coroutine().name("counter").launch_local(async move { count.set(1) });
    /// }));
    /// assert_eq!(count.get(), 1);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`spawn_local`](Self::spawn_local).
    #[track_caller]
    pub fn launch_local<F>(self, future: F) -> Job
    where
        F: Future<Output = ()> + 'static,
    {
        let site = Location::caller();
        let Plan { context, start } = self.plan;
        Job::from_node(local::spawn(&self.scope.0, context, (0, start), site, future))
    }

    /// Launches the child; see [`Scope::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let sum = run_blocking(scope(async |s| {
    ///     let one = s.coroutine().name("one").spawn(async { 1 });
    ///     one.await + 1
    /// }));
    /// assert_eq!(sum, 2);
    /// ```
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> Deferred<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        spawn::<_, Plain>(&self.scope.0, self.plan, Location::caller(), future)
    }

    /// Launches the child; see [`Scope::launch`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// run_blocking(scope(async |s| {
    ///     let job = s.coroutine().name("logger").launch(async {});
    ///     job.join().await;
    ///     assert!(job.is_completed());
    /// }));
    /// ```
    #[track_caller]
    pub fn launch<F>(self, future: F) -> Job
    where
        F: Future<Output = ()> + Send + 'static,
    {
        launch::<_, Plain>(&self.scope.0, self.plan, Location::caller(), future)
    }
}

impl<E: Send + 'static> CoroutineBuilder<TryScope<E>> {
    /// Launches the child, bound to this thread; see [`TryScope::spawn_local`]. A dispatcher that
    /// was set has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// use corymb::prelude::*;
    ///
    /// let one = run_blocking(try_scope(async |s| {
    ///     let child = s.coroutine().name("one");
    ///     Ok::<_, ()>(child.spawn_local(async { Ok(Rc::new(1)) }).await)
    /// }));
    /// assert_eq!(one, Ok(Rc::new(1)));
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Scope::spawn_local`].
    #[track_caller]
    pub fn spawn_local<T, F>(self, future: F) -> LocalDeferred<T>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
    {
        spawn_local_attempt::<T, E, F>(&self.scope.0, self.plan, Location::caller(), future)
    }

    /// As [`spawn_local`](Self::spawn_local), of a coroutine without a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let result = run_blocking(try_scope(async |s| {
    ///     s.coroutine().name("writer").launch_local(async { Err("the disk is full") });
    ///     Ok(())
    /// }));
    /// assert_eq!(result, Err("the disk is full"));
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Scope::spawn_local`].
    #[track_caller]
    pub fn launch_local<F>(self, future: F) -> Job
    where
        F: Future<Output = Result<(), E>> + 'static,
    {
        launch_local_attempt::<E, F>(&self.scope.0, self.plan, Location::caller(), future)
    }

    /// Launches the child; see [`TryScope::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let sum = run_blocking(try_scope(async |s| {
    ///     let one = s.coroutine().name("one").spawn(async { "1".parse::<u32>() });
    ///     Ok(one.await + 1)
    /// }));
    /// assert_eq!(sum, Ok(2));
    /// ```
    #[track_caller]
    pub fn spawn<T, F>(self, future: F) -> Deferred<T>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        spawn::<_, Attempt<T, E>>(&self.scope.0, self.plan, Location::caller(), future)
    }

    /// Launches the child; see [`TryScope::launch`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let result = run_blocking(try_scope(async |s| {
    ///     s.coroutine().name("writer").launch(async { Err("the disk is full") });
    ///     Ok(())
    /// }));
    /// assert_eq!(result, Err("the disk is full"));
    /// ```
    #[track_caller]
    pub fn launch<F>(self, future: F) -> Job
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        launch::<_, Attempt<(), E>>(&self.scope.0, self.plan, Location::caller(), future)
    }
}

pub(super) fn spawn<F, S>(
    region: &NodeRef,
    Plan { context, start }: Plan,
    site: &'static Location<'static>,
    future: F,
) -> Deferred<S::Value>
where
    F: Future + Send + 'static,
    S: Settle<F::Output>,
{
    let context = context.and_then(|context| resolve(region, context, site));
    let born = (state::HANDLE, start);
    Deferred::new(coroutine::spawn::<F, S>(region, context, born, site, future), site)
}

pub(super) fn spawn_local_attempt<T, E, F>(
    region: &NodeRef,
    Plan { context, start }: Plan,
    site: &'static Location<'static>,
    future: F,
) -> LocalDeferred<T>
where
    F: Future<Output = Result<T, E>> + 'static,
    T: 'static,
    E: Send + 'static,
{
    let born = (state::HANDLE, start);
    let node = local::spawn_settled::<F, LocalAttempt<T, E>>(region, context, born, site, future);
    LocalDeferred::new(node, site)
}

pub(super) fn launch_local_attempt<E, F>(
    region: &NodeRef,
    Plan { context, start }: Plan,
    site: &'static Location<'static>,
    future: F,
) -> Job
where
    F: Future<Output = Result<(), E>> + 'static,
    E: Send + 'static,
{
    let born = (0, start);
    let node = local::spawn_settled::<F, LocalAttempt<(), E>>(region, context, born, site, future);
    Job::from_node(node)
}

pub(super) fn launch<F, S>(
    region: &NodeRef,
    Plan { context, start }: Plan,
    site: &'static Location<'static>,
    future: F,
) -> Job
where
    F: Future + Send + 'static,
    S: Settle<F::Output>,
{
    let context = context.and_then(|context| resolve(region, context, site));
    Job::from_node(coroutine::spawn::<F, S>(region, context, (0, start), site, future))
}

/// The region's context with `change` applied; none if the region has ended, and with it, maybe,
/// its context.
pub(crate) fn resolve(
    region: &NodeRef,
    change: Context,
    site: &'static Location<'static>,
) -> Option<Arc<ContextInner>> {
    let context = Job::from_node(region.clone())
        // SAFETY: unended during the call.
        .pinned(|node| unsafe { node.context() }.with(change))?;
    Some(Arc::new(context.unwrap_or_else(|missing| missing.panic_missing(site))))
}
