//! Whether a future suspends.

use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use corymb_core::internal::with_full_budget;
use pin_project::pin_project;

/// Gives what `future` gives, and panics if it does that without having suspended: for code that is
/// to be a cancellation point, or to give way, in any case.
///
/// What it does counts as the beginning of a poll, and nobody gets in between: that operations give
/// way to an [explorer](crate::Explorer), or after so many others, is no suspension here.
///
/// # Examples
///
/// ```
/// use corymb::testing::{TestRuntime, assert_suspends};
///
/// TestRuntime::new().run(assert_suspends(corymb::yield_now()));
/// ```
///
/// # Panics
///
/// The future does, as said.
#[track_caller]
pub fn assert_suspends<F: Future>(future: F) -> Suspends<F> {
    Suspends { future, expected: true, suspended: false, place: Location::caller() }
}

/// Gives what `future` gives, and panics if it suspends: for code that holds what others must not
/// find halfway.
///
/// What it does counts as the beginning of a poll, as in [`assert_suspends`].
///
/// # Examples
///
/// ```
/// use corymb::{sync::Mutex, testing::{TestRuntime, assert_no_suspension}};
///
/// TestRuntime::new().run(async {
///     let free = Mutex::new(1);
///     assert_eq!(*assert_no_suspension(free.lock()).await, 1);
/// });
/// ```
///
/// # Panics
///
/// The future does, as said.
#[track_caller]
pub fn assert_no_suspension<F: Future>(future: F) -> Suspends<F> {
    Suspends { future, expected: false, suspended: false, place: Location::caller() }
}

/// The future of [`assert_suspends`] and [`assert_no_suspension`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct Suspends<F> {
    #[pin]
    future: F,
    expected: bool,
    suspended: bool,
    place: &'static Location<'static>,
}

impl<F: Future> Future for Suspends<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // What gives way to an explorer, or because its poll is a long one, waits for nobody.
        let polled = with_full_budget(|| this.future.poll(cx));
        *this.suspended |= polled.is_pending();
        let place = this.place;
        match (*this.expected, *this.suspended) {
            (false, true) => panic!("the future at {place} was not to suspend, and does"),
            (true, false) => panic!("the future at {place} was to suspend, and did not"),
            _ => polled,
        }
    }
}
