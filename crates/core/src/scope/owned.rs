//! Scopes that lie in a struct.
//!
//! An [`OwnedScope`] is a region whose body is the value itself: the body's place in the census is
//! left when that is closed or dropped, or when the region is cancelled, whichever is first. The last
//! of these is why a value that was forgotten, or is held elsewhere, holds up no job whose turn to end
//! has come: that cancels what is open below it, and waits for the children alone.

use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::time::Duration;

use super::plain::Scope;
use super::region;
use crate::error::{CancelCause, JoinError, Panic};
use crate::failure::{self, Failure};
use crate::hooks;
use crate::job::Join;
use crate::node::cancel::cancel_dropped;
use crate::node::side::Policy;
use crate::node::{NodeRef, state, tree};

/// A scope that a value owns: a client, a connection pool, an actor.
///
/// It launches children as a [`Scope`] does, which it dereferences to; a clone of that is a handle
/// for children that launch siblings. It has no body: it is there until it is [closed](Self::close),
/// [shut down](Self::shutdown) or dropped, and can be moved and shared, to other coroutines and
/// threads.
///
/// # Whose it is
///
/// [`new`](Self::new) gives it to the job that is current, as every scope: that job does not end
/// before the children have. When the code of that job has returned or was dropped, or the job is
/// cancelled, the scope is cancelled too, whoever holds it by then. So a coroutine that makes a client
/// and returns it gives away one that is cancelled; [`detached`](Self::detached) belongs to the
/// runtime instead, and so outlives who made it.
///
/// # Failures
///
/// The panic of a child cancels the others, and is what `close` gives. If the scope is dropped
/// instead, the panic goes to the failure handler, as does every later one. In a
/// [supervised](Self::supervised) scope it stays with the child. `Result`s of children are mere values.
///
/// # Dropping and forgetting
///
/// Dropped unclosed, it cancels its children, with the cause [`Dropped`](CancelCause::Dropped), and
/// waits for nothing: the job that it belongs to does. Forgotten, it is as if it were held for ever.
///
/// A child that holds the value that owns its scope keeps the scope open, and itself: give it what it
/// needs of that, or a `Weak`.
///
/// # Examples
///
/// ```
/// use corymb::{OwnedScope, prelude::*, sync::channel};
///
/// /// Adds up what it is sent, in a coroutine of its own.
/// struct Adder {
///     numbers: channel::Sender<u32>,
///     sum: Deferred<u32>,
///     scope: OwnedScope,
/// }
///
/// impl Adder {
///     fn new() -> Self {
///         let (numbers, incoming) = channel::bounded(8);
///         let scope = OwnedScope::new();
///         let sum = scope.spawn(async move {
///             let mut sum = 0;
///             while let Ok(number) = incoming.recv().await {
///                 sum += number;
///             }
///             sum
///         });
///         Self { numbers, sum, scope }
///     }
///
///     async fn finish(self) -> u32 {
///         drop(self.numbers);
///         self.scope.close().await.unwrap();
///         self.sum.await
///     }
/// }
///
/// let sum = run_blocking(async {
///     let adder = Adder::new();
///     for number in [1, 2, 3] {
///         adder.numbers.send(number).await.unwrap();
///     }
///     adder.finish().await
/// });
/// assert_eq!(sum, 6);
/// ```
#[must_use = "dropping it cancels its children"]
pub struct OwnedScope(Scope);

impl OwnedScope {
    /// Opens a scope in the job that is current; outside of all jobs, in the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{OwnedScope, prelude::*};
    ///
    /// run_blocking(async {
    ///     let scope = OwnedScope::new();
    ///     assert_eq!(scope.job().parent(), Job::current());
    ///     let answer = scope.spawn(async { 42 });
    ///     assert_eq!(answer.await, 42);
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// If the runtime has shut down.
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "where it is made matters, so it is said")]
    pub fn new() -> Self {
        Self::of(region::open(Policy::FailFast, region::OwnedScope, Location::caller()))
    }

    /// Opens a scope in the runtime, with its context: it outlives the job that is current, and is
    /// cancelled and awaited by the shutdown.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{OwnedScope, prelude::*};
    ///
    /// let close = run_blocking(scope(async |s| {
    ///     let maker = s.spawn(async {
    ///         let scope = OwnedScope::detached();
    ///         (scope.spawn(async { 42 }), scope)
    ///     });
    ///     let (answer, scope) = maker.await; // the maker has ended
    ///     assert_eq!(answer.await, 42);
    ///     scope.close().await
    /// }));
    /// assert!(close.is_ok());
    /// ```
    ///
    /// # Panics
    ///
    /// If the runtime has shut down.
    #[track_caller]
    pub fn detached() -> Self {
        let site = Location::caller();
        let root = hooks::with(|runtime| runtime.root());
        let region = region::open_in(root.node(), None, Policy::FailFast, region::OwnedScope, site);
        Self::of(region.unwrap_or_else(|it| region::open_cancelled(Policy::FailFast, it, site)))
    }

    fn of(region: NodeRef) -> Self {
        let this = Self(Scope(region));
        let region = this.node().clone();
        this.job().on_cancelling(move |_| {
            tree::close_region(&region);
        });
        this
    }

    /// Lets a child's failure be its own from now on, as in a
    /// [`supervisor_scope`](super::supervisor_scope()): who awaits the child gets it, else the failure
    /// handler.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{OwnedScope, prelude::*};
    ///
    /// let closed = run_blocking(async {
    ///     let connections = OwnedScope::new().supervised();
    ///     let bad = connections.spawn(async { panic!("reset by peer") });
    ///     let good = connections.spawn(async { 42 });
    ///     assert!(bad.outcome().await.is_err());
    ///     assert_eq!(good.await, 42);
    ///     connections.close().await
    /// });
    /// assert!(closed.is_ok());
    /// ```
    pub fn supervised(self) -> Self {
        self.node().make_side().0.lock().policy = Policy::Supervise;
        self
    }

    /// Waits until all children have ended, and cancels nothing.
    ///
    /// Children that still run may launch siblings meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{JoinError, OwnedScope, prelude::*};
    ///
    /// let closed = run_blocking(async {
    ///     let scope = OwnedScope::new();
    ///     scope.launch(async { panic!("no route") });
    ///     scope.close().await
    /// });
    /// let Err(JoinError::Panicked(panic)) = closed else { unreachable!() };
    /// assert_eq!(panic.message(), "no route");
    /// ```
    ///
    /// # Errors
    ///
    /// - [`JoinError::Panicked`]: the first panic of a child.
    /// - [`JoinError::Cancelled`]: the scope was cancelled, by itself or with the job it belongs to.
    ///
    /// # Panics
    ///
    /// In a child of the scope: that would wait for itself.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the scope: the children are cancelled, and the job it belongs to waits for
    /// them.
    #[track_caller]
    pub fn close(self) -> impl Future<Output = Result<(), JoinError>> + Send + use<> {
        let join = self.job().join();
        self.end(join)
    }

    /// Cancels the children, and waits for their end. What is behind a
    /// [`soft_shield`](crate::soft_shield) has `grace` for that.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::{OwnedScope, prelude::*};
    ///
    /// let ended = run_blocking(async {
    ///     let scope = OwnedScope::new();
    ///     scope.launch(std::future::pending());
    ///     scope.shutdown(Duration::ZERO).await
    /// });
    /// assert!(ended.is_ok());
    /// ```
    ///
    /// # Errors
    ///
    /// The first panic of a child.
    ///
    /// # Panics
    ///
    /// In a child of the scope, when it is awaited.
    ///
    /// # Cancel safety
    ///
    /// The children are cancelled by the call. Dropping the future gives up the wait alone; the job
    /// it belongs to waits for them.
    #[track_caller]
    pub fn shutdown(
        self,
        grace: Duration,
    ) -> impl Future<Output = Result<(), Panic>> + Send + use<> {
        let job = self.job();
        match grace.is_zero() {
            true => job.cancel(),
            false => job.cancel_with_grace(grace),
        };
        let ended = self.end(job.join());
        async move {
            match ended.await {
                Err(JoinError::Panicked(panic)) => Err(panic),
                _ => Ok(()),
            }
        }
    }

    /// Cancels the children, and those that are launched later; false if that was done before, or if
    /// the scope has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{JoinError, OwnedScope, prelude::*};
    ///
    /// let closed = run_blocking(async {
    ///     let scope = OwnedScope::new();
    ///     scope.launch(std::future::pending());
    ///     scope.cancel();
    ///     scope.close().await
    /// });
    /// assert!(matches!(closed, Err(JoinError::Cancelled(_))));
    /// ```
    #[track_caller]
    pub fn cancel(&self) -> bool {
        self.cancel_with(CancelCause::Requested)
    }

    /// As [`cancel`](Self::cancel), for a reason.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use corymb::{CancelCause, OwnedScope, prelude::*};
    ///
    /// let closed = run_blocking(async {
    ///     let scope = OwnedScope::new();
    ///     scope.launch(std::future::pending());
    ///     let cause = std::io::Error::other("the peer is gone");
    ///     scope.cancel_with(CancelCause::Custom(Arc::new(cause)));
    ///     scope.close().await
    /// });
    /// assert!(closed.unwrap_err().to_string().starts_with("cancelled because the peer is gone"));
    /// ```
    #[track_caller]
    pub fn cancel_with(&self, cause: CancelCause) -> bool {
        self.job().cancel_with(cause)
    }

    async fn end(self, join: Join) -> Result<(), JoinError> {
        tree::close_region(self.node());
        join.await;
        match self.take_failure() {
            Some(Failure::Panic(panic)) => return Err(JoinError::Panicked(panic)),
            Some(other) => self.report(&other),
            None => {}
        }
        self.job().cause().map_or(Ok(()), |cause| Err(JoinError::Cancelled(cause)))
    }

    fn take_failure(&self) -> Option<Failure> {
        self.node().side().and_then(|side| side.lock().failure.take())
    }

    fn report(&self, failure: &Failure) {
        let told = self.job().with_context(|context| failure::report(context, failure));
        if told.is_none() {
            failure::report_in_context(failure);
        }
    }
}

impl Drop for OwnedScope {
    fn drop(&mut self) {
        let region = self.node();
        // The end of its children may come at once, and with it that of the context.
        let told = self.job().pinned(|_| {
            cancel_dropped(region, region.site);
            region.state.set(state::ABANDONED);
            // Later ones find ABANDONED, under the same lock.
            if let Some(failure) = self.take_failure() {
                self.report(&failure);
            }
            tree::close_region(region);
        });
        if told.is_none()
            && let Some(failure) = self.take_failure()
        {
            failure::report_in_context(&failure);
        }
    }
}

impl Deref for OwnedScope {
    type Target = Scope;

    fn deref(&self) -> &Scope {
        &self.0
    }
}

impl fmt::Debug for OwnedScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedScope").field(&self.job()).finish()
    }
}
