//! Launching with a limit: so many children at once, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::builder::{self, Plan};
use super::errors::Attempt;
use super::plain::Scope;
use super::trying::TryScope;
use crate::budget::budgeted;
use crate::coroutine::Plain;
use crate::deferred::Deferred;
use crate::prim::Mutex;
use crate::wait::{WaitKind, waiting_on};

/// A limit of zero was asked for, with which nothing could ever be launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZeroLimit(&'static Location<'static>);

impl fmt::Display for ZeroLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Scope::limit(0) at {}: nothing could ever be launched through it; ask for one place at \
             least",
            self.0,
        )
    }
}

impl Error for ZeroLimit {}

/// Launches children of a scope, so many at once; see [`Scope::limit`].
///
/// Clones share the limit.
#[derive(Clone)]
pub struct Limited<S> {
    scope: S,
    places: Arc<Places>,
}

impl<S> Limited<S> {
    #[track_caller]
    fn new(scope: S, places: usize) -> Result<Self, ZeroLimit> {
        if places == 0 {
            return Err(ZeroLimit(Location::caller()));
        }
        let state = State { free: places, ..State::default() };
        Ok(Self { scope, places: Arc::new(Places(Mutex::new(state))) })
    }
}

impl<S> fmt::Debug for Limited<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.places.0.lock();
        f.debug_struct("Limited")
            .field("free", &state.free)
            .field("waiting", &state.waiting.len())
            .finish_non_exhaustive()
    }
}

/// The places, and who waits for one.
struct Places(Mutex<State>);

#[derive(Default)]
struct State {
    free: usize,
    tickets: u64,
    waiting: BTreeMap<u64, Waker>,
    /// Those that have been given a place and have not taken it.
    given: BTreeSet<u64>,
}

impl Places {
    fn give_back(&self) {
        let first = {
            let mut state = self.0.lock();
            let first = state.waiting.pop_first();
            match &first {
                Some((ticket, _)) => drop(state.given.insert(*ticket)),
                None => state.free += 1,
            }
            first
        };
        if let Some((_, waker)) = first {
            waker.wake();
        }
    }
}

/// A place, given back when it is dropped.
struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// Waits for a place, first come, first served.
struct Take {
    places: Arc<Places>,
    ticket: Option<u64>,
    site: &'static Location<'static>,
}

impl Take {
    fn poll_take(&mut self, cx: &Context<'_>) -> Poll<Place> {
        // Foreign code, which is not called under the lock: nor is the drop of the old one.
        let waker = cx.waker().clone();
        let mut state = self.places.0.lock();
        let (ticket, has_place) = match self.ticket {
            Some(ticket) => (ticket, state.given.remove(&ticket)),
            None => {
                state.tickets += 1;
                let has_place = state.free > 0;
                state.free -= usize::from(has_place);
                (state.tickets, has_place)
            }
        };
        if has_place {
            self.ticket = None;
            return Poll::Ready(Place(Arc::clone(&self.places)));
        }
        self.ticket = Some(ticket);
        let old = state.waiting.insert(ticket, waker);
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl Future for Take {
    type Output = Place;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Place> {
        waiting_on(WaitKind::Lock, self.site);
        budgeted(cx, (WaitKind::Lock, self.site), |cx| self.poll_take(cx))
    }
}

impl Drop for Take {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.places.0.lock();
        let given = state.given.remove(&ticket);
        let waker = state.waiting.remove(&ticket);
        drop(state);
        drop(waker);
        if given {
            self.places.give_back();
        }
    }
}

impl Limited<Scope> {
    /// Waits for a free place, and launches a child into it. The place is free again when the child
    /// has ended, with all below it.
    ///
    /// # Examples
    ///
    /// See [`Scope::limit`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready launches nothing, and gives up its place in the queue.
    ///
    /// # Fairness
    ///
    /// First come, first served.
    #[expect(clippy::async_yields_async, reason = "the child's value is for later")]
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> impl Future<Output = Deferred<F::Output>> + use<F>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (site, this) = (Location::caller(), self.clone());
        async move {
            let place = Take { places: this.places, ticket: None, site }.await;
            let region = this.scope.node();
            let child = builder::spawn::<_, Plain>(region, Plan::default(), site, future);
            child.job().on_completion(|_| drop(place));
            child
        }
    }
}

impl<E: Send + 'static> Limited<TryScope<E>> {
    /// As [`Limited::<Scope>::spawn`]. The child's error is one of the scope's.
    #[expect(clippy::async_yields_async, reason = "the child's value is for later")]
    #[track_caller]
    pub fn spawn<T, F>(&self, future: F) -> impl Future<Output = Deferred<T>> + use<T, F, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        let (site, this) = (Location::caller(), self.clone());
        async move {
            let place = Take { places: this.places, ticket: None, site }.await;
            let region = this.scope.node();
            let child = builder::spawn::<_, Attempt<T, E>>(region, Plan::default(), site, future);
            child.job().on_completion(|_| drop(place));
            child
        }
    }
}

impl Scope {
    /// A handle that has so many children at once, and lets the next one wait for a free place.
    ///
    /// A child that launches through it again while it has a place itself may wait for ever, if all
    /// do.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::prelude::*;
    /// use corymb::testing::{TestRuntime, elapsed};
    ///
    /// TestRuntime::new().run(async {
    ///     scope(async |s| {
    ///         let two_at_once = s.limit(2).unwrap();
    ///         for _ in 0..6 {
    ///             drop(two_at_once.spawn(sleep(Duration::from_secs(1))).await);
    ///         }
    ///     })
    ///     .await;
    ///     assert_eq!(elapsed(), Duration::from_secs(3));
    /// });
    /// ```
    ///
    /// # Errors
    ///
    /// [`ZeroLimit`] for a limit of zero.
    #[track_caller]
    pub fn limit(&self, places: usize) -> Result<Limited<Self>, ZeroLimit> {
        Limited::new(self.clone(), places)
    }

    /// Launches a child for each future. Their values come in the same order.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let squares = run_blocking(scope(async |s| {
    ///     let mut squares = Vec::new();
    ///     for square in s.spawn_all((1..=3).map(|n| async move { n * n })) {
    ///         squares.push(square.await);
    ///     }
    ///     squares
    /// }));
    /// assert_eq!(squares, [1, 4, 9]);
    /// ```
    #[track_caller]
    pub fn spawn_all<I>(&self, futures: I) -> Vec<Deferred<<I::Item as Future>::Output>>
    where
        I: IntoIterator<Item: Future<Output: Send + 'static> + Send + 'static>,
    {
        let site = Location::caller();
        let launch =
            |future| builder::spawn::<_, Plain>(self.node(), Plan::default(), site, future);
        futures.into_iter().map(launch).collect()
    }
}

impl<E: Send + 'static> TryScope<E> {
    /// As [`Scope::limit`].
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let sum = run_blocking(try_scope(async |s| {
    ///     let one_at_once = s.limit(1).expect("not zero");
    ///     let first = one_at_once.spawn(async { "1".parse::<u32>() }).await;
    ///     let second = one_at_once.spawn(async { "2".parse::<u32>() }).await; // after the first
    ///     Ok(first.await + second.await)
    /// }));
    /// assert_eq!(sum, Ok(3));
    /// ```
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    pub fn limit(&self, places: usize) -> Result<Limited<Self>, ZeroLimit> {
        Limited::new(self.clone(), places)
    }

    /// As [`Scope::spawn_all`], for futures of `Result`s.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let sum_of = |texts: [&'static str; 2]| {
    ///     run_blocking(try_scope(async |s| {
    ///         let mut sum = 0;
    ///         for n in s.spawn_all(texts.map(|text| async move { text.parse::<u32>() })) {
    ///             sum += n.await;
    ///         }
    ///         Ok(sum)
    ///     }))
    /// };
    /// assert_eq!(sum_of(["1", "2"]), Ok(3));
    /// assert!(sum_of(["1", "x"]).is_err());
    /// ```
    #[track_caller]
    pub fn spawn_all<T, I>(&self, futures: I) -> Vec<Deferred<T>>
    where
        I: IntoIterator<Item: Future<Output = Result<T, E>> + Send + 'static>,
        T: Send + 'static,
    {
        let site = Location::caller();
        let launch =
            |future| builder::spawn::<_, Attempt<T, E>>(self.node(), Plan::default(), site, future);
        futures.into_iter().map(launch).collect()
    }
}
