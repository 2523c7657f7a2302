//! Parts of a coroutine that run under another context, and so under another dispatcher.
//!
//! A section decides at each of its polls whether it is where it belongs ([`Section::poll`]):
//!
//! ```text
//!            ┌── the thread is the dispatcher's ────────────► poll the body
//!   polled ──┼── the thread can become that (`switch`) ─────► poll the body, switch back
//!            └── neither ───────────────────────────────────► ask for a move of the coroutine
//! ```
//!
//! When the body is ready, the value is given out where the section was entered: if the thread
//! cannot become that again, the coroutine moves back first. What a move is: [`moves`](crate::moves).

use std::cell::OnceCell;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Waker};

use pin_project::{pin_project, pinned_drop};

use crate::context::{Context, ContextInner, Dispatcher};
use crate::current::{self, Frame, Place as Here, Poll as InPoll};
use crate::dispatch::{Dispatch, hop};
use crate::hooks;
use crate::moves::{Wish, is_same};
use crate::scope::scope;

mod foreign;

use foreign::Foreign;

/// Runs `future` under `context`, as a part of the coroutine that awaits this.
///
/// Where the context names another dispatcher, the whole coroutine goes on there until the future
/// is done, and then comes back. So the future may borrow from its coroutine, and nothing is
/// launched. From [`Dispatcher::Default`] to [`Dispatcher::Io`] and back the same thread goes on,
/// if nobody needs its processor meanwhile.
///
/// Code inside, and children that it launches, see the context of the coroutine with the changes
/// of `context`. Branches that are joined with it are polled where the coroutine is.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
///
/// #[corymb::main]
/// async fn main() {
///     let mut names = vec![String::from("borrowed")];
///     let context = Dispatcher::Io.and(Name::new("reader"));
///     with_context(context, async {
///         // This thread may block.
///         names.extend(Context::current().name().map(String::from));
///     })
///     .await;
///     assert_eq!(names, ["borrowed", "reader"]);
/// }
/// ```
///
/// # Panics
///
/// With a panic of the future. Where there is nothing to move: outside of a coroutine, and in what
/// a thread blocks on (the body of `run_blocking`); and if something between the coroutine and
/// this keeps polling in a loop of its own, such as the `block_on` of another crate. There
/// [`spawn_on`] does it.
///
/// # Cancel safety
///
/// Dropping it drops the future. A coroutine that is cancelled while it is away goes home before
/// it is dropped; a value that was on its way is dropped. Where the same thread goes on, the way
/// there and back is no suspension, and no cancellation arrives there.
#[track_caller]
pub fn with_context<F: Future>(context: impl Into<Context>, future: F) -> WithContext<F> {
    let section =
        Section { change: context.into(), place: Location::caller(), context: OnceCell::new() };
    WithContext { body: Some(future), value: None, stage: Stage::New, section }
}

/// Runs `f`, which may block its thread, as a part of the coroutine that awaits this.
///
/// It is [`with_context`] on [`Dispatcher::Io`]: `f` may borrow, and its thread may block as long
/// as it has to, for the processor goes to others meanwhile. In what a thread blocks on already
/// (the body of `run_blocking`) it is called at once.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
///
/// #[corymb::main]
/// async fn main() -> std::io::Result<()> {
///     let path = std::env::current_exe()?;
///     let file = blocking(|| std::fs::metadata(&path)).await?;
///     assert!(file.len() > 0);
///     Ok(())
/// }
/// ```
///
/// # Panics
///
/// With a panic of `f`, and outside of a coroutine.
///
/// # Cancel safety
///
/// Dropped before it has begun, `f` is not called. What has begun is not interrupted: `f` can ask
/// [`is_cancelled`](crate::is_cancelled()). A coroutine that was cancelled meanwhile is dropped at
/// its next suspension.
#[track_caller]
pub fn blocking<T, F: FnOnce() -> T>(f: F) -> impl Future<Output = T> + use<T, F> {
    Blocking(with_context(Dispatcher::Io, Call(Some(f))))
}

/// Launches `future` in a scope of its own under `context`, and awaits it.
///
/// The form for those who cannot move: code that a thread blocks on, and futures that something
/// else polls.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
///
/// // What a thread blocks on cannot go on elsewhere; a child can run there.
/// let is_io = run_blocking(spawn_on(Dispatcher::Io, async {
///     matches!(Context::current().dispatcher(), Some(Dispatcher::Io))
/// }));
/// assert!(is_io);
/// ```
///
/// # Panics
///
/// With a panic of the future.
///
/// # Cancel safety
///
/// Dropping it cancels the future; the job that awaited this waits for its end.
#[track_caller]
pub fn spawn_on<C, F>(context: C, future: F) -> impl Future<Output = F::Output> + use<C, F>
where
    C: Into<Context>,
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let context = context.into();
    scope(move |s| s.coroutine().context(context).spawn(future))
}

/// The future of [`with_context`].
///
/// # Examples
///
/// ```
/// use corymb::{Name, WithContext, run_blocking, with_context};
///
/// let named: WithContext<_> = with_context(Name::new("part"), async { 42 });
/// assert_eq!(run_blocking(named), 42);
/// ```
#[must_use = "futures do nothing unless polled"]
#[pin_project(PinnedDrop)]
pub struct WithContext<F: Future> {
    #[pin]
    body: Option<F>,
    /// It waits for the way back.
    value: Option<F::Output>,
    stage: Stage,
    section: Section,
}

type Place = &'static Location<'static>;

/// What a section shows to the code inside.
pub(crate) struct Section {
    change: Context,
    place: Place,
    /// The change applied to what is around it, once somebody asks.
    context: OnceCell<Arc<ContextInner>>,
}

enum Stage {
    /// Not polled yet.
    New,
    /// It runs wherever the code around it does.
    Here,
    /// It has a dispatcher.
    There(Journey),
}

/// Where a section has to be.
struct Journey {
    /// None for the coroutine's own dispatcher.
    to: Option<Arc<dyn Dispatch>>,
    /// Where it was entered; noted unless the body is ready in the first poll, in place.
    from: Option<Arc<dyn Dispatch>>,
    /// Where a section inside the body wants to be, which comes first.
    inner: Option<Arc<dyn Dispatch>>,
    /// The count of wakes at which the body was polled last.
    polled: Option<u64>,
    /// The visit at which it waited for the turn of another section.
    turn: Option<u64>,
    foreign: Option<Foreign>,
}

impl Section {
    /// The context in force inside.
    pub(crate) fn context(
        &self,
        outer: impl FnOnce() -> Option<Arc<ContextInner>>,
    ) -> Option<Arc<ContextInner>> {
        if self.context.get().is_none() {
            // What `outer` calls may have come here meanwhile.
            let inner = outer()?.with(self.change.clone());
            let inner = inner.unwrap_or_else(|missing| missing.panic_missing(self.place));
            let _first = self.context.set(Arc::new(inner));
        }
        self.context.get().cloned()
    }

    /// Compares the dispatcher that is asked for with the one that is here.
    fn enter(&self, here: &Here<'_>) -> Stage {
        match (self.change.dispatcher(), here) {
            (None | Some(Dispatcher::Unconfined), _) => Stage::Here,
            (Some(Dispatcher::Default), Here::Coroutine(poll)) if poll.is_from_default() => {
                Stage::There(Journey::new(None))
            }
            (Some(dispatcher), Here::Coroutine(_)) => {
                Stage::There(Journey::new(Some(self.resolve(dispatcher))))
            }
            (Some(dispatcher), Here::Bound) if self.resolve(dispatcher).is_here() => Stage::Here,
            (_, Here::Bound) => self.refuse(
                "what is bound to a thread, as the body of run_blocking is, cannot go on elsewhere",
            ),
            (_, Here::Outside) => self.refuse("there is no coroutine here that could move"),
        }
    }

    /// Whether it is for the pool, and in a coroutine of the pool that nothing has taken away.
    #[inline]
    fn is_at_home(&self, poll: &InPoll) -> bool {
        matches!(self.change.dispatcher(), Some(Dispatcher::Default))
            && poll.is_from_default()
            && !poll.is_away()
            && !poll.has_wish()
    }

    fn resolve(&self, dispatcher: &Dispatcher) -> Arc<dyn Dispatch> {
        let dispatch = hooks::with(|runtime| dispatcher.resolve(runtime));
        dispatch.unwrap_or_else(|| dispatcher.panic_missing(self.place))
    }

    #[cold]
    fn refuse(&self, why: &str) -> ! {
        let to = self.change.dispatcher().unwrap_or(&Dispatcher::Default);
        panic!(
            "with_context at {} cannot change to {to:?}: {why}; launch the work there with \
             corymb::spawn_on instead",
            self.place,
        )
    }
}

impl Journey {
    fn new(to: Option<Arc<dyn Dispatch>>) -> Self {
        Self { to, from: None, inner: None, polled: None, turn: None, foreign: None }
    }

    /// The journey of a section whose body was polled at home, and is pending.
    fn at_home(poll: &InPoll) -> Self {
        let mut journey = Self::new(None);
        journey.enter_from(poll.home());
        journey.polled = Some(poll.wakes());
        // What a section inside wishes for, it is the one to hand up.
        journey.suspend(true, poll, None);
        journey
    }

    /// Where the body is to be polled.
    #[inline]
    fn target<'a>(&'a self, poll: &'a InPoll) -> &'a Arc<dyn Dispatch> {
        self.inner.as_ref().or(self.to.as_ref()).unwrap_or_else(|| poll.home())
    }

    /// Whether the thread is, or can become, what the body needs. If not, the coroutine moves.
    fn arrive(&mut self, poll: &InPoll, cx: &mut task::Context<'_>, place: Place) -> Arrival {
        let here = poll.here();
        if is_same(here, self.target(poll)) {
            self.polled = Some(poll.wakes());
            poll.serve();
            return Arrival::Moved;
        }
        if hop(&**here, &**self.target(poll)) {
            return Arrival::Switched;
        }
        self.enter_from(here);
        if self.is_woken(poll, cx) {
            self.ask(Arc::clone(self.target(poll)), poll, cx, place);
        } else {
            // It was polled for the last wake already, and comes back with the next one.
            poll.wish_unless(self.target(poll));
        }
        Arrival::Elsewhere
    }

    /// Whether the body is to be polled: for the first time, or since it was woken.
    fn is_woken(&mut self, poll: &InPoll, cx: &task::Context<'_>) -> bool {
        match &mut self.foreign {
            Some(foreign) if !poll.is_woken_by(cx.waker()) => foreign.is_woken(cx.waker()),
            _ => self.polled != Some(poll.wakes()),
        }
    }

    /// The waker for a poll of the body, if it is not the one that the section has. One that has
    /// never had to move needs none.
    fn waker(&mut self, moved: bool, poll: &InPoll, cx: &task::Context<'_>) -> Option<Waker> {
        if poll.is_woken_by(cx.waker()) || !moved && self.foreign.is_none() {
            return None;
        }
        Some(self.foreign.get_or_insert_with(|| Foreign::new(poll)).waker(cx.waker()))
    }

    /// Notes where the section was entered, if this is the first time.
    fn enter_from(&mut self, here: &Arc<dyn Dispatch>) {
        if self.from.is_none() {
            self.from = Some(Arc::clone(here));
        }
    }

    /// Asks for a move of the coroutine.
    fn ask(
        &mut self,
        to: Arc<dyn Dispatch>,
        poll: &InPoll,
        cx: &mut task::Context<'_>,
        place: Place,
    ) {
        self.turn = poll.ask(&to, self.turn);
        if !poll.is_woken_by(cx.waker()) {
            self.foreign.get_or_insert_with(|| Foreign::new(poll)).ask(poll, cx, place);
        }
    }

    /// The body was polled and is pending; `around` is what was wished for before.
    fn suspend(&mut self, moved: bool, poll: &InPoll, around: Option<Wish>) {
        let inside = poll.take_wish();
        self.inner = inside.as_ref().map(|wish| Arc::clone(wish.to(poll)));
        if inside.as_ref().is_some_and(Wish::is_now) {
            // It is owed a poll, also if another one's move comes first.
            self.polled = None;
        }
        if moved && inside.is_none() {
            poll.wish_for(self.target(poll), false);
        } else {
            poll.put_wish(inside);
        }
        // Who asked for a move first has it first.
        if around.as_ref().is_some_and(Wish::is_now) {
            poll.put_wish(around);
        }
    }

    /// Whether the thread is what it was when the section was entered, or can become that. If not,
    /// the coroutine moves back.
    fn go_back(&mut self, poll: &InPoll, cx: &mut task::Context<'_>, place: Place) -> bool {
        let Some(from) = &self.from else { return true };
        let here = poll.here();
        if is_same(here, from) {
            return true;
        }
        if hop(&**here, &**from) {
            poll.stay_at(from);
            return true;
        }
        self.ask(Arc::clone(from), poll, cx, place);
        false
    }
}

enum Arrival {
    /// The coroutine was brought here.
    Moved,
    /// The thread has changed its dispatcher, and is to be given back.
    Switched,
    /// The coroutine has to move.
    Elsewhere,
}

/// Runs `f` while the thread has become one of `to`, and gives the thread back. Where that failed,
/// it is kept for the rest of the poll, and what it is to become again is answered.
fn switched<R>(
    poll: &InPoll,
    to: &Arc<dyn Dispatch>,
    f: impl FnOnce() -> R,
) -> (R, Option<Arc<dyn Dispatch>>) {
    let before = poll.is_away().then(|| Arc::clone(poll.here()));
    // SAFETY: set back before this returns, and `to` is borrowed until then.
    unsafe { poll.set_at(to) };
    let back = SwitchBack { poll, to, before };
    let result = f();
    let lost = back.switch();
    std::mem::forget(back);
    (result, lost)
}

/// Gives a thread back.
struct SwitchBack<'a> {
    poll: &'a InPoll,
    to: &'a Arc<dyn Dispatch>,
    /// What it was before; none for the coroutine's own dispatcher.
    before: Option<Arc<dyn Dispatch>>,
}

impl SwitchBack<'_> {
    fn switch(&self) -> Option<Arc<dyn Dispatch>> {
        let Self { poll, to, before } = self;
        // Sections inside may have left the thread elsewhere.
        let elsewhere = (!poll.is_at(*to)).then(|| Arc::clone(poll.here()));
        let here = elsewhere.as_ref().unwrap_or(to);
        let target = before.as_ref().unwrap_or_else(|| poll.home());
        if is_same(here, target) || hop(&**here, &**target) {
            poll.stay_at(target);
            return None;
        }
        poll.stay_at(here);
        Some(Arc::clone(target))
    }
}

impl Drop for SwitchBack<'_> {
    /// The body has panicked.
    fn drop(&mut self) {
        drop(self.switch());
    }
}

impl<F: Future> Future for WithContext<F> {
    type Output = F::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let here = current::place();
        let this = self.as_mut().project();
        if matches!(this.stage, Stage::New) {
            if let Here::Coroutine(poll) = here
                && this.section.is_at_home(poll)
            {
                let polled = poll_body(this.body, this.section, cx);
                if polled.is_pending() {
                    // Others may take the coroutine away before this is polled again.
                    *this.stage = Stage::There(Journey::at_home(poll));
                }
                return polled;
            }
            *this.stage = this.section.enter(&here);
        }
        match (&*this.stage, here) {
            (Stage::There(_), Here::Coroutine(poll)) => self.poll_there(poll, cx),
            (Stage::There(_), _) => this.section.refuse("it was moved out of its coroutine"),
            (Stage::Here | Stage::New, _) => poll_body(this.body, this.section, cx),
        }
    }
}

#[pinned_drop]
impl<F: Future> PinnedDrop for WithContext<F> {
    fn drop(self: Pin<&mut Self>) {
        if matches!(self.stage, Stage::There(_)) {
            forget_wish();
        }
    }
}

/// The wish of a section does not outlive it. A move that is asked for is left alone: another
/// section may have asked for it too.
fn forget_wish() {
    if let Here::Coroutine(poll) = current::place()
        && !poll.is_moving()
    {
        drop(poll.take_wish());
    }
}

/// Polls the body in a frame that shows the section's context, and drops it there when it is
/// ready.
#[inline]
fn poll_body<F: Future>(
    mut body: Pin<&mut Option<F>>,
    section: &Section,
    cx: &mut task::Context<'_>,
) -> Poll<F::Output> {
    let frame = Frame::section(section);
    let _inside = frame.enter();
    let polled = body.as_mut().as_pin_mut().expect("it was polled after its end").poll(cx);
    if polled.is_ready() {
        body.set(None);
    }
    polled
}

impl<F: Future> WithContext<F> {
    fn poll_there(
        self: Pin<&mut Self>,
        poll: &InPoll,
        cx: &mut task::Context<'_>,
    ) -> Poll<F::Output> {
        let mut this = self.project();
        let Stage::There(journey) = this.stage else { unreachable!("it is there") };
        let place = this.section.place;
        if this.body.is_some() {
            let arrival = journey.arrive(poll, cx, place);
            if matches!(arrival, Arrival::Elsewhere) {
                return Poll::Pending;
            }
            let moved = matches!(arrival, Arrival::Moved);
            let around = poll.take_wish();
            let waker = journey.waker(moved, poll, cx);
            let mut cx = task::Context::from_waker(waker.as_ref().unwrap_or(cx.waker()));
            let mut body = || poll_body(this.body.as_mut(), this.section, &mut cx);
            let polled = match moved {
                true => {
                    journey.enter_from(poll.here());
                    body()
                }
                false => {
                    let (polled, lost) = switched(poll, journey.target(poll), body);
                    // If nothing was lost, it is there again.
                    if polled.is_pending() || lost.is_some() {
                        journey.enter_from(lost.as_ref().unwrap_or_else(|| poll.here()));
                    }
                    polled
                }
            };
            let Poll::Ready(value) = polled else {
                journey.suspend(moved, poll, around);
                return Poll::Pending;
            };
            drop(poll.take_wish());
            poll.put_wish(around);
            *this.value = Some(value);
        }
        match journey.go_back(poll, cx, place) {
            true => Poll::Ready(this.value.take().expect("it was polled after its end")),
            false => Poll::Pending,
        }
    }
}

/// A future out of a closure.
struct Call<F>(Option<F>);

impl<F> Unpin for Call<F> {}

impl<T, F: FnOnce() -> T> Future for Call<F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<T> {
        Poll::Ready(self.0.take().expect("it was polled after its end")())
    }
}

/// [`with_context`] for a part that may as well block a thread which is blocked already.
#[pin_project]
struct Blocking<F: Future>(#[pin] WithContext<F>);

impl<F: Future> Future for Blocking<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let mut inner = self.project().0;
        let this = inner.as_mut().project();
        if matches!((&*this.stage, current::place()), (Stage::New, Here::Bound)) {
            *this.stage = Stage::Here;
        }
        inner.poll(cx)
    }
}

impl<F: Future> fmt::Debug for WithContext<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithContext").field("context", &self.section.change).finish_non_exhaustive()
    }
}
