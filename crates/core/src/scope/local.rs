//! Scopes whose children borrow, because they run within the caller's own coroutine.
//!
//! # Why a child may borrow
//!
//! A child is a value inside the scope's future: boxed, and owned by it ([`Crowd`]). Nothing else
//! polls or drops it. So the borrow checker sees all there is to see: the type of that future
//! names the children's lifetime `'e`, and whoever has the future, also a coroutine that awaits it,
//! lives within `'e`. There is no unsafe code here.
//!
//! - *Forgotten* after some polls (`mem::forget`), the scope's future is leaked, and its children
//!   with it. Nobody polls or drops them again, so that they borrow what is gone by then harms
//!   nobody. What outlives it knows nothing of a child: a waker has a number, the job tree a node
//!   without a future.
//! - A *handle* names `'e` too, and is invariant in it: the door at which children wait is behind a
//!   lock. So it can neither be kept for longer than what they borrow, nor take a child that borrows
//!   for less long.
//! - A child that holds a handle is in a circle with the door only while it waits there. The scope's
//!   future empties and closes the door when it ends; if that is forgotten, so is the child.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;

use super::branch::{Branch, branch};
use super::crowd::{Crowd, Entrance};
use super::plain::scope;
use crate::job::Job;
use crate::node::NodeRef;

/// A child.
type Child<'e> = Pin<Box<dyn Future<Output = ()> + Send + 'e>>;

/// Runs `body` and waits for all that it launched, as [`scope`]; the children may
/// borrow what lives outside of the scope.
///
/// They run concurrently and not in parallel, for they are parts of the caller's own coroutine, as
/// the branches of a `join!` are. Which scope for what is in the chapter on scopes, `docs/scopes.md`.
///
/// Returns what the body returned, once the body and all children have ended. A panic in one of
/// them drops the others, and goes on in the caller. Scopes that are opened in a child belong to
/// this one, and are awaited by it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::local_scope;
/// use corymb::prelude::*;
///
/// let words = vec![String::from("one"), String::from("three")];
/// let mut longest = 0;
/// run_blocking(local_scope(async |s| {
///     let lengths = words.iter().map(|word| {
///         s.spawn(async {
///             sleep(Duration::from_millis(1)).await; // all at the same time
///             word.len()
///         })
///     });
///     for length in lengths.collect::<Vec<_>>() {
///         longest = longest.max(length.await);
///     }
/// }));
/// assert_eq!(longest, 5);
/// ```
///
/// # Panics
///
/// With the first panic of the body or of a child.
///
/// # Cancel safety
///
/// Dropping the future drops the body and the children, in place.
///
/// # Fairness
///
/// Children are polled in the order in which they were woken. One that gives way lets the others go
/// first, and the other coroutines of the dispatcher. One that computes holds up all of them.
#[track_caller]
pub fn local_scope<'e, F, Fut>(body: F) -> impl Future<Output = Fut::Output>
where
    F: FnOnce(LocalScope<'e>) -> Fut,
    Fut: Future,
{
    scope(move |s| Crowd::new(move |entrance| body(LocalScope { entrance, node: s.0 })))
}

/// The handle of a [`local_scope`]: launches children that borrow for `'e`.
///
/// Clones are handles of the same scope, so children can launch siblings. What is launched after
/// the end of the scope is dropped unpolled.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use corymb::prelude::*;
/// use corymb::{LocalScope, local_scope};
///
/// fn count<'e>(s: &LocalScope<'e>, depth: u32, seen: &'e AtomicU32) {
///     let next = s.clone();
///     s.launch(async move {
///         seen.fetch_add(1, Ordering::Relaxed);
///         if depth > 0 {
///             count(&next, depth - 1, seen);
///             count(&next, depth - 1, seen);
///         }
///     });
/// }
///
/// let seen = AtomicU32::new(0);
/// run_blocking(local_scope(async |s| count(&s, 2, &seen)));
/// assert_eq!(seen.into_inner(), 7);
/// ```
#[derive(Clone)]
pub struct LocalScope<'e> {
    entrance: Arc<Entrance<Child<'e>>>,
    node: NodeRef,
}

impl<'e> LocalScope<'e> {
    /// Launches a child that gives a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::local_scope;
    /// use corymb::prelude::*;
    ///
    /// let text = String::from("borrowed");
    /// let length = run_blocking(local_scope(async |s| s.spawn(async { text.len() }).await));
    /// assert_eq!(length, text.len());
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Branch<F::Output>
    where
        F: Future + Send + 'e,
        F::Output: Send + 'e,
    {
        let site = Location::caller();
        let (branch, giving) = branch(future, site);
        self.entrance.enter(Box::pin(giving), site);
        branch
    }

    /// Launches a child without a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::local_scope;
    /// use corymb::prelude::*;
    ///
    /// let mut counts = [0, 0];
    /// run_blocking(local_scope(async |s| {
    ///     for count in &mut counts {
    ///         s.launch(async { *count += 1 });
    ///     }
    /// }));
    /// assert_eq!(counts, [1, 1]);
    /// ```
    #[track_caller]
    pub fn launch<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'e,
    {
        self.entrance.enter(Box::pin(future), Location::caller());
    }

    /// The scope's job. Its children have none of their own.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use corymb::{Job, local_scope};
    ///
    /// run_blocking(local_scope(async |s| {
    ///     let job = s.spawn(async { Job::current() }).await;
    ///     assert_eq!(job, Some(s.job()));
    /// }));
    /// ```
    pub fn job(&self) -> Job {
        Job::from_node(self.node.clone())
    }
}

impl fmt::Debug for LocalScope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalScope").field(&self.job()).finish()
    }
}
