//! The value of a child that is no coroutine of its own, on its way to who awaits it.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use pin_project::pin_project;

use crate::budget::budgeted;
use crate::current;
use crate::node::tree;
use crate::prim::Mutex;
use crate::wait::{WaitKind, waiting_on};

/// The value of a child of a scope that lets its children borrow: awaiting it gives the value.
///
/// Dropping it neither cancels nor detaches the child, which still belongs to its scope.
///
/// # Examples
///
/// ```
/// use corymb::local_scope;
/// use corymb::prelude::*;
///
/// let words = ["one", "two"];
/// let lengths = run_blocking(local_scope(async |s| {
///     let [first, second] = words.each_ref().map(|word| s.spawn(async { word.len() }));
///     (first.await, second.await)
/// }));
/// assert_eq!(lengths, (3, 3));
/// ```
///
/// # Panics
///
/// Awaiting it panics if the child was cancelled before its end, and the awaiter is not cancelled
/// itself; and if its value was taken before.
///
/// # Cancel safety
///
/// Dropping the `Branch` drops the value when it comes. To wait in a `select!` loop, await
/// `&mut branch`: then nothing is lost.
#[must_use = "the child runs anyway, but its value is lost: use `launch` if there is none"]
pub struct Branch<T> {
    place: Arc<Place<T>>,
    launched_at: &'static Location<'static>,
}

/// Where the value comes to.
struct Place<T>(Mutex<Stage<T>>);

enum Stage<T> {
    /// The child runs; with who waits for it.
    Running(Option<Waker>),
    Value(T),
    /// The child was dropped, or the value was taken.
    Gone,
}

impl<T> Place<T> {
    /// Changes a stage; what it was is dropped by the caller, who has no lock.
    fn replace(&self, stage: Stage<T>) -> Stage<T> {
        std::mem::replace(&mut *self.0.lock(), stage)
    }

    fn register(&self, waker: &Waker) -> Poll<()> {
        let fresh = waker.clone();
        let mut stage = self.0.lock();
        let Stage::Running(waiting) = &mut *stage else { return Poll::Ready(()) };
        let stale = waiting.replace(fresh);
        drop(stage);
        drop(stale);
        Poll::Pending
    }
}

impl<T> Branch<T> {
    /// As `poll`, by the code at `awaited`.
    ///
    /// # Panics
    ///
    /// If there is no value, and who awaits it is not cancelled.
    pub fn poll_at(&self, awaited: &Location<'_>, cx: &mut Context<'_>) -> Poll<T> {
        let before = (WaitKind::Join, self.launched_at);
        match ready!(budgeted(cx, before, |cx| self.poll_value(cx))) {
            Some(value) => Poll::Ready(value),
            // This part of the coroutine is dropped at the end of the poll.
            None if current::is_cancelled() => Poll::Pending,
            None => panic!(
                "the child launched at {} was awaited for its value at {awaited}, and has none: it \
                 was cancelled, alone or with its scope, or its value was taken before",
                self.launched_at,
            ),
        }
    }

    /// Takes the value; none if the child was dropped.
    fn poll_value(&self, cx: &Context<'_>) -> Poll<Option<T>> {
        waiting_on(WaitKind::Join, self.launched_at);
        ready!(self.place.register(cx.waker()));
        Poll::Ready(match self.place.replace(Stage::Gone) {
            Stage::Value(value) => Some(value),
            Stage::Running(_) | Stage::Gone => None,
        })
    }
}

impl<T> Unpin for Branch<T> {}

impl<T> Future for Branch<T> {
    type Output = T;

    // The caller is the `.await`, or the combinator that polls it.
    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.poll_at(Location::caller(), cx)
    }
}

impl<T> fmt::Debug for Branch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Branch").field("launched_at", &self.launched_at).finish_non_exhaustive()
    }
}

/// A future that gives its value to a [`Branch`].
#[pin_project]
pub struct Giving<F: Future> {
    #[pin]
    future: Option<F>,
    // After the future: who waits learns that it is gone.
    giver: Giver<F::Output>,
}

impl<F: Future> Future for Giving<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        let value = ready!(future.poll(cx));
        // The value comes when the future is gone.
        this.future.set(None);
        this.giver.give(Stage::Value(value));
        Poll::Ready(())
    }
}

impl<F: Future> fmt::Debug for Giving<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Giving")
    }
}

/// The end from which the value comes. Dropped, it says that none comes.
struct Giver<T> {
    place: Arc<Place<T>>,
    launched_at: &'static Location<'static>,
    given: bool,
}

impl<T> Giver<T> {
    fn give(&mut self, stage: Stage<T>) {
        self.given = true;
        if let Stage::Running(Some(waker)) = self.place.replace(stage) {
            tree::wake(self.launched_at, waker);
        }
    }
}

impl<T> Drop for Giver<T> {
    fn drop(&mut self) {
        if !self.given {
            self.give(Stage::Gone);
        }
    }
}

/// The two ends of a child that was launched at `launched_at`.
pub fn branch<F: Future>(
    future: F,
    launched_at: &'static Location<'static>,
) -> (Branch<F::Output>, Giving<F>) {
    let place = Arc::new(Place(Mutex::new(Stage::Running(None))));
    let giver = Giver { place: Arc::clone(&place), launched_at, given: false };
    (Branch { place, launched_at }, Giving { future: Some(future), giver })
}
