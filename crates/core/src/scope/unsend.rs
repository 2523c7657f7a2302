//! As the scopes of [`local`](super::local), for children that are not `Send`.
//!
//! The scope's future has them by value, so it is not `Send` either, and neither are its handles:
//! the door at which children wait holds what is not `Send`. What wakes a child is, from anywhere, and
//! has nothing of the child but a number. So a child stays on the thread on which it was launched.
//! Why it may borrow is said there; there is no unsafe code here.

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
type Child<'e> = Pin<Box<dyn Future<Output = ()> + 'e>>;

/// As [`local_scope`](super::local_scope), for children that need not be `Send`.
///
/// Its future is not `Send`: it is for what stays on its thread, as the body of
/// `run_blocking` and coroutines that `spawn_local` launches do.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use corymb::local_scope_unsend;
/// use corymb::prelude::*;
///
/// let count = Cell::new(0);
/// run_blocking(local_scope_unsend(async |s| {
///     for _ in 0..2 {
///         s.launch(async {
///             yield_now().await;
///             count.set(count.get() + 1);
///         });
///     }
/// }));
/// assert_eq!(count.get(), 2);
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
/// As for [`local_scope`](super::local_scope).
#[track_caller]
pub fn local_scope_unsend<'e, F, Fut>(body: F) -> impl Future<Output = Fut::Output>
where
    F: FnOnce(UnsendScope<'e>) -> Fut,
    Fut: Future,
{
    scope(move |s| Crowd::new(move |entrance| body(UnsendScope { entrance, node: s.0 })))
}

/// The handle of a [`local_scope_unsend`]: launches children that borrow for `'e`.
///
/// Clones are handles of the same scope, so children can launch siblings. What is launched after
/// the end of the scope is dropped unpolled.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use corymb::prelude::*;
/// use corymb::{UnsendScope, local_scope_unsend};
///
/// fn count<'e>(s: &UnsendScope<'e>, depth: u32, seen: &'e Cell<u32>) {
///     let next = s.clone();
///     s.launch(async move {
///         seen.set(seen.get() + 1);
///         if depth > 0 {
///             count(&next, depth - 1, seen);
///             count(&next, depth - 1, seen);
///         }
///     });
/// }
///
/// let seen = Cell::new(0);
/// run_blocking(local_scope_unsend(async |s| count(&s, 2, &seen)));
/// assert_eq!(seen.get(), 7);
/// ```
#[derive(Clone)]
pub struct UnsendScope<'e> {
    entrance: Arc<Entrance<Child<'e>>>,
    node: NodeRef,
}

impl<'e> UnsendScope<'e> {
    /// Launches a child that gives a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// use corymb::local_scope_unsend;
    /// use corymb::prelude::*;
    ///
    /// let text = Rc::new(String::from("borrowed"));
    /// let same = run_blocking(local_scope_unsend(async |s| s.spawn(async { Rc::clone(&text) }).await));
    /// assert!(Rc::ptr_eq(&text, &same));
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Branch<F::Output>
    where
        F: Future + 'e,
        F::Output: 'e,
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
    /// use std::cell::Cell;
    /// use corymb::local_scope_unsend;
    /// use corymb::prelude::*;
    ///
    /// let done = Cell::new(false);
    /// run_blocking(local_scope_unsend(async |s| s.launch(async { done.set(true) })));
    /// assert!(done.get());
    /// ```
    #[track_caller]
    pub fn launch<F>(&self, future: F)
    where
        F: Future<Output = ()> + 'e,
    {
        self.entrance.enter(Box::pin(future), Location::caller());
    }

    /// The scope's job. Its children have none of their own.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use corymb::{Job, local_scope_unsend};
    ///
    /// run_blocking(local_scope_unsend(async |s| {
    ///     let job = s.spawn(async { Job::current() }).await;
    ///     assert_eq!(job, Some(s.job()));
    /// }));
    /// ```
    pub fn job(&self) -> Job {
        Job::from_node(self.node.clone())
    }
}

impl fmt::Debug for UnsendScope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UnsendScope").field(&self.job()).finish()
    }
}
