//! Children as a stream, in the order in which they end.
//!
//! Each child's place for a waiter gets a waker that knows the child's number. When the child has
//! settled, that waker puts the number into the queue of the group and wakes whoever waits there:
//! so a wait allocates nothing, and looks at no child that has not ended.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use futures_core::Stream;

use super::plain::Scope;
use super::trying::TryScope;
use crate::budget::budgeted;
use crate::deferred::{Deferred, Outcome};
use crate::error::JoinError;
use crate::job::Job;
use crate::prim::Mutex;
use crate::wait::{WaitKind, waiting_on};

/// A child that has ended: its job, and its value or the reason for which there is none.
pub type Ended<T> = (Job, Result<T, JoinError>);

/// The children of a group that have not been given out, and the queue of those that have ended.
pub(super) struct Endings<T> {
    waiting: BTreeMap<u64, Outcome<T>>,
    added: u64,
    queue: Arc<Queue>,
}

struct Queue(Mutex<Ready>);

#[derive(Default)]
struct Ready {
    ended: VecDeque<u64>,
    waiter: Option<Waker>,
}

impl Queue {
    fn push(&self, number: u64) {
        let waiter = {
            let mut ready = self.0.lock();
            ready.ended.push_back(number);
            ready.waiter.take()
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// The first that has ended; if there is none, `waiter` is woken by the next.
    fn poll_pop(&self, waiter: &Waker) -> Poll<u64> {
        // Foreign code, which is not called under the lock.
        let mut fresh = Some(waiter.clone());
        let mut ready = self.0.lock();
        if let Some(number) = ready.ended.pop_front() {
            return Poll::Ready(number);
        }
        std::mem::swap(&mut ready.waiter, &mut fresh);
        drop(ready);
        Poll::Pending
    }
}

/// Who is told that a child has ended.
struct Told {
    number: u64,
    queue: Arc<Queue>,
}

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.queue.push(self.number);
    }
}

impl<T> Endings<T> {
    pub(super) fn new() -> Self {
        let queue = Arc::new(Queue(Mutex::new(Ready::default())));
        Self { waiting: BTreeMap::new(), added: 0, queue }
    }

    /// Answers the number that the child is given out with. A lazy one is started.
    pub(super) fn add(&mut self, child: Outcome<T>) -> u64 {
        let number = self.added;
        self.added += 1;
        let told = Waker::from(Arc::new(Told { number, queue: Arc::clone(&self.queue) }));
        if child.watch(&Context::from_waker(&told)) {
            self.queue.push(number);
        }
        self.waiting.insert(number, child);
        number
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn jobs(&self) -> impl Iterator<Item = Job> {
        self.waiting.values().map(Outcome::job)
    }

    /// The next that has ended, with its number; none if all were given out.
    pub(super) fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<(u64, Ended<T>)>> {
        if self.waiting.is_empty() {
            return Poll::Ready(None);
        }
        let Poll::Ready(number) = self.queue.poll_pop(cx.waker()) else { return Poll::Pending };
        let child = self.waiting.remove(&number).expect("each child ends once");
        let job = child.job();
        Poll::Ready(Some((number, (job, child.into_ended()))))
    }
}

/// Children of a scope that are given out in the order in which they end; see [`Scope::group`].
///
/// It is a [`Stream`] of pairs: the job, and its value or the [`JoinError`] that says why there is
/// none. When all have been given out it ends, and goes on when there are new ones.
///
/// Dropping it changes nothing for the children, which belong to the scope. Their values are lost.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::prelude::*;
/// use corymb::testing::TestRuntime;
///
/// let order = TestRuntime::new().run(scope(async |s| {
///     let mut group = s.group();
///     for n in [3, 1, 2] {
///         group.spawn(async move {
///             sleep(Duration::from_secs(n)).await;
///             n
///         });
///     }
///     let mut order = Vec::new();
///     while let Some((_job, outcome)) = group.join_next().await {
///         order.push(outcome.unwrap());
///     }
///     order
/// }));
/// assert_eq!(order, [1, 2, 3]);
/// ```
#[must_use = "the children run anyway, but nobody learns of their ends"]
pub struct Group<S, T> {
    scope: S,
    endings: Endings<T>,
    place: &'static Location<'static>,
}

impl<S, T> Unpin for Group<S, T> {}

impl<S, T> Group<S, T> {
    fn new(scope: S, place: &'static Location<'static>) -> Self {
        Self { scope, endings: Endings::new(), place }
    }

    /// Adds a child that was launched in another way: with a name, on another dispatcher, in another
    /// scope. A lazy one is started.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// run_blocking(scope(async |s| {
    ///     let mut group = s.group();
    ///     group.add(s.coroutine().name("first").spawn(async { 1 }));
    ///     let (job, outcome) = group.join_next().await.unwrap();
    ///     assert_eq!((job.name().as_deref(), outcome.unwrap()), (Some("first"), 1));
    /// }));
    /// ```
    #[track_caller]
    pub fn add(&mut self, child: Deferred<T>) -> Job {
        let job = child.job();
        self.endings.add(child.outcome());
        job
    }

    /// Waits for the next child that ends; none if all have been given out.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let sum = run_blocking(scope(async |s| {
    ///     let mut group = s.group();
    ///     for n in 1..=3 {
    ///         group.spawn(async move { n });
    ///     }
    ///     let mut sum = 0;
    ///     while let Some((_, outcome)) = group.join_next().await {
    ///         sum += outcome.unwrap();
    ///     }
    ///     sum
    /// }));
    /// assert_eq!(sum, 6);
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: what has ended is given out by the next one.
    pub fn join_next(&mut self) -> JoinNext<'_, S, T> {
        JoinNext(self)
    }

    /// How many children have not been given out.
    pub fn len(&self) -> usize {
        self.endings.len()
    }

    /// Whether all have been given out.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cancels all that have not ended. They are given out as others are.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// run_blocking(scope(async |s| {
    ///     let mut group = s.group();
    ///     group.spawn(std::future::pending::<u32>());
    ///     group.cancel_all();
    ///     let (_, outcome) = group.join_next().await.unwrap();
    ///     assert!(outcome.is_err());
    /// }));
    /// ```
    #[track_caller]
    pub fn cancel_all(&self) {
        for job in self.endings.jobs() {
            job.cancel();
        }
    }
}

impl<T: Send + 'static> Group<Scope, T> {
    /// Launches a child into the scope, and adds it.
    #[track_caller]
    pub fn spawn<F>(&mut self, future: F) -> Job
    where
        F: Future<Output = T> + Send + 'static,
    {
        let child = self.scope.spawn(future);
        self.add(child)
    }
}

impl<T: Send + 'static, E: Send + 'static> Group<TryScope<E>, T> {
    /// Launches a child into the scope, and adds it. Its error goes to the scope.
    #[track_caller]
    pub fn spawn<F>(&mut self, future: F) -> Job
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let child = self.scope.spawn(future);
        self.add(child)
    }
}

impl<S, T> Stream for Group<S, T> {
    type Item = Ended<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Ended<T>>> {
        waiting_on(WaitKind::Join, self.place);
        let next = budgeted(cx, (WaitKind::Join, self.place), |cx| self.endings.poll_next(cx));
        next.map(|next| next.map(|(_, ended)| ended))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), None)
    }
}

impl<S, T> fmt::Debug for Group<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// The future of [`Group::join_next`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct JoinNext<'a, S, T>(&'a mut Group<S, T>);

impl<S, T> Future for JoinNext<'_, S, T> {
    type Output = Option<Ended<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut *self.0).poll_next(cx)
    }
}

impl Scope {
    /// A group of children that are given out in the order in which they end.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// run_blocking(supervisor_scope(async |s| {
    ///     let mut group = s.group();
    ///     let job = group.spawn(async { "x".parse::<u32>().unwrap() });
    ///     let (ended, outcome) = group.join_next().await.unwrap();
    ///     assert_eq!(ended, job);
    ///     assert!(outcome.unwrap_err().to_string().contains("InvalidDigit"));
    ///     assert!(group.join_next().await.is_none());
    /// }));
    /// ```
    #[track_caller]
    pub fn group<T>(&self) -> Group<Self, T> {
        Group::new(self.clone(), Location::caller())
    }
}

impl<E: Send + 'static> TryScope<E> {
    /// As [`Scope::group`], of children that return `Result`s. An error of one goes to the scope, and
    /// cancels all of them.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let first = run_blocking(try_scope(async |s| {
    ///     let mut group = s.group();
    ///     group.spawn(async { "1".parse::<u32>() });
    ///     let (_, outcome) = group.join_next().await.unwrap();
    ///     Ok(outcome.unwrap())
    /// }));
    /// assert_eq!(first, Ok(1));
    /// ```
    #[track_caller]
    pub fn group<T>(&self) -> Group<Self, T> {
        Group::new(self.clone(), Location::caller())
    }
}
