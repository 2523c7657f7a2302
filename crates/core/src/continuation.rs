//! Suspending until a callback resumes.
//!
//! [`suspend_cancellable`] turns an interface that calls back into something to await: its
//! closure gets a [`Continuation`], hands it to whoever will know the result, and the awaiter
//! sleeps until somebody [resumes](Continuation::resume) it, from whatever thread.
//!
//! Each way in which the two ends can miss each other has an answer:
//!
//! | what happens | the continuation's side | the awaiter's side |
//! | --- | --- | --- |
//! | resumed, then polled | `Ok(())` | the value |
//! | resumed, then dropped before the poll | the [hook](Continuation::on_cancel), then the [undo](Continuation::resume_or) | |
//! | dropped, then resumed | the hook at the drop; `Err(value)`, or the undo at once | |
//! | the continuation is dropped | | [`Abandoned`] |

use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use self::slot::{Consumer, Producer, slot};
use crate::budget::budgeted;
use crate::failure;
use crate::wait::{WaitKind, waiting_on};

#[cfg(all(test, loom))]
mod loom;
#[doc(hidden)]
pub mod slot;
#[cfg(all(test, not(loom)))]
mod tests;

type Hook = Box<dyn FnOnce() + Send>;
type Undo<T> = Box<dyn FnOnce(T) + Send>;
/// What travels through the slot.
type Resumption<T> = (T, Option<Undo<T>>);

/// Suspends the caller until the [`Continuation`] given to `start` is resumed.
///
/// `start` runs at the first poll, once. It may resume at once; then nothing is suspended.
///
/// # Examples
///
/// ```
/// use corymb::{Abandoned, suspend_cancellable};
///
/// /// Somebody else's interface.
/// fn read_with_callback(done: impl FnOnce(String) + Send + 'static) {
///     std::thread::spawn(move || done("hello".to_owned()));
/// }
///
/// async fn read() -> Result<String, Abandoned> {
///     suspend_cancellable(|cont| {
///         read_with_callback(move |text| {
///             // Nobody waits any more: the text is of no use.
///             let _unwanted = cont.resume(text);
///         });
///     })
///     .await
/// }
///
/// # fn main() -> Result<(), Abandoned> {
/// assert_eq!(corymb::run_blocking(read())?, "hello");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Abandoned`] if the continuation is dropped without having been resumed.
///
/// # Panics
///
/// Polling it again after it was done panics. A panic of `start` comes out of the first poll.
///
/// # Cancel safety
///
/// A future dropped before its first poll never ran `start`. Dropped later, it runs the hook of
/// [`Continuation::on_cancel`], and a value that was already there goes to the undo of
/// [`Continuation::resume_or`], else it is dropped: nothing is lost that was given an undo. There
/// is no queue to lose a place in. A value that is there at the first poll is taken without a
/// check for cancellation.
///
/// # Ordering
///
/// What happens before [`Continuation::resume`] is visible to the awaiter after the await.
#[track_caller]
pub fn suspend_cancellable<T, F>(
    start: F,
) -> impl Future<Output = Result<T, Abandoned>> + Unpin + use<T, F>
where
    F: FnOnce(Continuation<T>),
{
    // Unnamed: a name with the closure's type in it is "not general enough" in coroutines.
    Suspend { state: State::New(start), place: Location::caller() }
}

/// The future of [`suspend_cancellable`].
struct Suspend<T, F> {
    state: State<T, F>,
    place: &'static Location<'static>,
}

enum State<T, F> {
    New(F),
    Waiting(Consumer<Resumption<T>, Hook>),
    Done,
}

/// Nothing in it is ever pinned.
impl<T, F> Unpin for Suspend<T, F> {}

impl<T, F> Future for Suspend<T, F>
where
    F: FnOnce(Continuation<T>),
{
    type Output = Result<T, Abandoned>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let before = (WaitKind::Continuation, self.place);
        budgeted(cx, before, |cx| self.poll_outcome(cx))
    }
}

impl<T, F> Suspend<T, F>
where
    F: FnOnce(Continuation<T>),
{
    fn poll_outcome(&mut self, cx: &Context<'_>) -> Poll<Result<T, Abandoned>> {
        if matches!(self.state, State::New(_)) {
            let (producer, consumer) = slot();
            // First, so that a panic in `start` finds everything in its place.
            let new = std::mem::replace(&mut self.state, State::Waiting(consumer));
            if let State::New(start) = new {
                start(Continuation(producer));
            }
        }
        let place = self.place;
        let State::Waiting(consumer) = &mut self.state else {
            panic!("the future of `suspend_cancellable` at {place} was polled after it was done");
        };
        let Poll::Ready(taken) = consumer.poll_take(cx) else {
            waiting_on(WaitKind::Continuation, place);
            return Poll::Pending;
        };
        self.state = State::Done;
        Poll::Ready(taken.map(|(value, _undo)| value).ok_or(Abandoned))
    }
}

impl<T, F> Drop for Suspend<T, F> {
    fn drop(&mut self) {
        let State::Waiting(consumer) = &mut self.state else { return };
        if let Some(hook) = consumer.close() {
            contain(hook);
        }
        if let Poll::Ready(Some((value, Some(undo)))) = consumer.try_take() {
            contain(|| undo(value));
        }
    }
}

/// The right to resume a coroutine suspended in [`suspend_cancellable`], once.
///
/// Dropping it unused resumes the awaiter with [`Abandoned`].
///
/// # Examples
///
/// Kept until another coroutine has the answer:
///
/// ```
/// use corymb::prelude::*;
/// use corymb::suspend_cancellable;
/// use corymb::sync::oneshot;
///
/// let answer = run_blocking(scope(async |s| {
///     let (ask, asked) = oneshot::channel();
///     s.launch(async {
///         let cont: corymb::Continuation<u32> = asked.await.unwrap();
///         assert!(cont.resume(42).is_ok());
///     });
///     suspend_cancellable(|cont| drop(ask.send(cont))).await
/// }));
/// assert_eq!(answer, Ok(42));
/// ```
pub struct Continuation<T>(Producer<Resumption<T>, Hook>);

impl<T> Continuation<T> {
    /// Resumes the awaiter with `value`.
    ///
    /// `Ok` says that the value waits for the awaiter, not that it was taken: an awaiter dropped
    /// before its next poll drops the value. Where that would lose something, use
    /// [`resume_or`](Self::resume_or).
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::suspend_cancellable;
    ///
    /// let seven = suspend_cancellable(|cont| {
    ///     assert!(cont.resume(7).is_ok());
    /// });
    /// assert_eq!(corymb::run_blocking(seven).ok(), Some(7));
    /// ```
    ///
    /// # Errors
    ///
    /// Gives `value` back if the awaiter is gone.
    pub fn resume(self, value: T) -> Result<(), T> {
        self.0.put((value, None)).map_err(|(value, _undo)| value)
    }

    /// Resumes the awaiter with `value`; if the awaiter ends without taking it, `undo` gets it.
    ///
    /// `undo` runs here, if the awaiter is already gone, or where the awaiter is dropped, after
    /// the hook of [`on_cancel`](Self::on_cancel). A panic in it is reported and harms nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use corymb::suspend_cancellable;
    ///
    /// let (give_back, given_back) = mpsc::channel();
    /// let lease = suspend_cancellable(|cont| {
    ///     cont.resume_or(7, move |lease| give_back.send(lease).unwrap());
    /// });
    /// // Taken, so there is nothing to undo.
    /// assert_eq!(corymb::run_blocking(lease).ok(), Some(7));
    /// assert!(given_back.try_recv().is_err());
    /// ```
    pub fn resume_or(self, value: T, undo: impl FnOnce(T) + Send + 'static) {
        if let Err((value, Some(undo))) = self.0.put((value, Some(Box::new(undo)))) {
            contain(|| undo(value));
        }
    }

    /// Has `hook` run if the awaiter is dropped before it took its outcome: the place to call off
    /// what `start` set going.
    ///
    /// It runs where the awaiter is dropped, before the undo of a value that was not taken; if
    /// the awaiter is already gone, here and at once. A panic in it is reported and harms
    /// nothing. It is dropped unused once the awaiter has its outcome.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{Abandoned, suspend_cancellable};
    ///
    /// let never = suspend_cancellable::<(), _>(|mut cont| {
    ///     cont.on_cancel(|| unreachable!("the awaiter got its outcome"));
    /// });
    /// let outcome = corymb::run_blocking(never);
    /// assert!(matches!(outcome, Err(Abandoned { .. })));
    /// ```
    ///
    /// # Panics
    ///
    /// If a hook was registered before, whether or not it has run.
    #[track_caller]
    pub fn on_cancel(&mut self, hook: impl FnOnce() + Send + 'static) {
        assert!(
            !self.0.has_hook(),
            "`Continuation::on_cancel` was called a second time: a continuation has one hook; \
             do all that is to be done in a single closure"
        );
        if let Err(hook) = self.0.set_hook(Box::new(hook)) {
            contain(hook);
        }
    }

    /// Whether the awaiter is gone, so that a value would come back.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::prelude::*;
    /// use corymb::suspend_cancellable;
    ///
    /// let mut kept = None;
    /// let wait = suspend_cancellable(|cont| kept = Some(cont));
    /// let waited = with_timeout(Duration::ZERO, wait);
    /// assert!(run_blocking(waited).is_err());
    /// let cont = kept.unwrap();
    /// assert!(cont.is_cancelled());
    /// assert_eq!(cont.resume(7), Err(7));
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_closed()
    }
}

/// The continuation was dropped without having been resumed.
///
/// # Examples
///
/// ```
/// use corymb::{Abandoned, suspend_cancellable};
///
/// let abandoned = suspend_cancellable::<u32, _>(|cont| drop(cont));
/// assert!(matches!(corymb::run_blocking(abandoned), Err(Abandoned { .. })));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the continuation was dropped without having been resumed")]
#[non_exhaustive]
pub struct Abandoned;

/// Runs a hook; its panic ends here.
fn contain(hook: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(hook)) {
        failure::report_here("hook of a continuation", payload);
    }
}

impl<T> fmt::Debug for Continuation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Continuation").field(&self.0).finish()
    }
}
