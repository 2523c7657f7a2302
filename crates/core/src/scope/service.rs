//! Children that serve the others, and end after them.

use std::panic::Location;

use super::builder::{self, Plan};
use super::errors::Attempt;
use super::plain::Scope;
use super::trying::TryScope;
use crate::coroutine::Plain;
use crate::job::Job;

impl Scope {
    /// Launches a *service*: a child that the scope does not wait for, and that outlives the others.
    ///
    /// It begins in the call, and goes on by its dispatcher after its first suspension: so what it
    /// has to clean up is there whenever it is ended.
    ///
    /// When the body and all ordinary children have ended, however that came about, the services are
    /// cancelled, with the cause [`ScopeEnded`](crate::CancelCause::ScopeEnded), one after another:
    /// the last one that was launched first, and the next when that has ended, with all below it.
    /// Then the scope returns.
    ///
    /// A cancellation of the scope does not reach a service before that, so what the others need
    /// for their cleanup is there. It can be cancelled by its [`Job`], and may end by itself. Its
    /// failures are those of a child. Once services are being cancelled, the scope takes no more
    /// children.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use corymb::sync::{channel, oneshot};
    ///
    /// let written = run_blocking(scope(async |s| {
    ///     let (log, lines) = channel::bounded::<&str>(8);
    ///     let (tell, written) = oneshot::channel();
    ///     s.service(async move {
    ///         let first = lines.recv().await.unwrap();
    ///         tell.send(first).unwrap();
    ///         std::future::pending().await // cancelled when nobody needs it
    ///     });
    ///     s.launch(async move { log.send("a line").await.unwrap() });
    ///     written.await.unwrap()
    /// }));
    /// assert_eq!(written, "a line");
    /// ```
    #[track_caller]
    pub fn service<F>(&self, future: F) -> Job
    where
        F: Future<Output = ()> + Send + 'static,
    {
        builder::launch::<_, Plain>(self.node(), Plan::service(), Location::caller(), future)
    }
}

impl<E: Send + 'static> TryScope<E> {
    /// As [`Scope::service`]. Its error is one of the scope's, and cancels the others.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let result = run_blocking(try_scope(async |s| {
    ///     s.service(async { Err("the heartbeat stopped") });
    ///     std::future::pending::<Result<(), _>>().await
    /// }));
    /// assert_eq!(result, Err("the heartbeat stopped"));
    /// ```
    #[track_caller]
    pub fn service<F>(&self, future: F) -> Job
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let site = Location::caller();
        builder::launch::<_, Attempt<(), E>>(self.node(), Plan::service(), site, future)
    }
}
