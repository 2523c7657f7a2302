//! An initialiser that belongs to the cell, and what it tells the caller that brought it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use corymb_core::internal::prim::Mutex;
use pin_project::pin_project;

/// What makes a value, or ends without one.
pub(super) type Initialiser<T> = Pin<Box<dyn Future<Output = Option<T>> + Send>>;

/// The error of an initialiser, for the caller that brought it.
pub(super) type Failed<E> = Arc<Mutex<Option<E>>>;

/// One that cannot fail.
#[pin_project]
pub(super) struct Sure<F>(#[pin] pub(super) F);

impl<F: Future> Future for Sure<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx).map(Some)
    }
}

/// One that leaves its error where its caller finds it.
#[pin_project]
pub(super) struct Unsure<F, E> {
    #[pin]
    pub(super) init: F,
    pub(super) failed: Failed<E>,
}

impl<T, E, F: Future<Output = Result<T, E>>> Future for Unsure<F, E> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = self.project();
        let made = this.init.poll(cx);
        made.map(|made| made.map_err(|error| *this.failed.lock() = Some(error)).ok())
    }
}
