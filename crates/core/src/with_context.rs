//! Parts of a coroutine that run under another context, and so under another dispatcher.
//!
//! A section decides at each of its polls whether it is where it belongs:
//!
//! ```text
//!            ┌── the thread is the dispatcher's ────────────► poll the body
//!   polled ──┼── the thread can become that (`switch`) ─────► poll the body, switch back
//!            └── neither ───────────────────────────────────► ask for a move of the coroutine
//! ```
//!
//! When the body is ready, the value (or the panic) is given out where the code around the section
//! belongs: to the section around that, else to the coroutine's own dispatcher. If the thread cannot
//! become that, the coroutine moves back first: [`journey`]. Where the section was entered does not
//! matter: a joined branch is polled wherever other branches have brought the coroutine. What a move
//! is: [`moves`](crate::moves).
//!
//! Who polls a section may change: the waker, and the coroutine. It is a part of whichever coroutine
//! polls it.

use std::any::Any;
use std::cell::OnceCell;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use pin_project::{pin_project, pinned_drop};

use crate::context::{Context, ContextInner, Dispatcher};
use crate::current::{self, Frame, Place as Here, Poll as InPoll};
use crate::dispatch::Dispatch;
use crate::error::{Panic, Who};
use crate::failure::{self, Failure};
use crate::hooks;
use crate::poll_hook::Hooks;
use crate::scoped::Values;
use crate::wait::WaitKind;

mod astray;
mod foreign;
mod journey;
mod spawn_on;

pub(crate) use astray::{come_back, is_astray, is_held_off};
pub(crate) use foreign::Strikes;
use journey::{Arrival, Journey, switched};
use spawn_on::SpawnOn;

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
/// Dropping it drops the future. What follows in the same poll runs where the coroutine is then,
/// and its next suspension brings it back; a timeout or a scope of corymb that drops this with its
/// body brings the coroutine back before it returns. A coroutine that is cancelled while it is away goes home before
/// it is dropped; a value that was on its way is dropped. Where the same thread goes on, the way
/// there and back is no suspension, and no cancellation arrives there.
#[track_caller]
pub fn with_context<F: Future>(context: impl Into<Context>, future: F) -> WithContext<F> {
    let section = Section {
        change: context.into(),
        to: To::Home,
        place: Location::caller(),
        context: OnceCell::new(),
    };
    WithContext {
        body: Some(future),
        value: None,
        visit: Some(Visit { section, stage: Stage::New }),
    }
}

/// Runs `f`, which may block its thread, as a part of the coroutine that awaits this.
///
/// It is [`with_context`] on [`Dispatcher::Io`]: `f` may borrow, and its thread may block as long
/// as it has to, for the processor goes to others meanwhile. Where that is no change, `f` is called
/// at once: on `Io`; on a view of it, whose place is kept, so that the view limits `f` too; in
/// what a thread blocks on already (the body of `run_blocking`); and in the `block_on` of another
/// crate inside of a coroutine if the thread cannot switch.
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
/// With a panic of `f`, and outside of a coroutine. In the `block_on` of another crate inside of a
/// coroutine on a view, if others have filled the view meanwhile.
///
/// # Cancel safety
///
/// Dropped before it has begun, `f` is not called. What has begun is not interrupted: `f` can ask
/// [`is_cancelled`](crate::is_cancelled()). A coroutine that was cancelled meanwhile is dropped at
/// its next suspension.
#[track_caller]
pub fn blocking<T, F: FnOnce() -> T>(f: F) -> impl Future<Output = T> + use<T, F> {
    Blocking(with_context(Dispatcher::Io, Closure(Some(f))))
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
/// With a panic of the future; and if the future is cancelled alone, as by a dispatcher that refuses
/// it, and has no value.
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
    SpawnOn::New(future, context.into(), Location::caller())
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
    /// Taken out when a section is over that had nothing to drop, which is cheaper than to look for
    /// it again.
    visit: Option<Visit>,
}

/// A section, and how far it is.
struct Visit {
    section: Section,
    stage: Stage,
}

type Place = &'static Location<'static>;

const ENDED: &str = "it was polled after its end";

/// What has made a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    WithContext,
    Blocking,
}

impl Call {
    fn name(self) -> &'static str {
        match self {
            Self::WithContext => "with_context",
            Self::Blocking => "blocking(..)",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::WithContext => "launch the work there with corymb::spawn_on instead",
            Self::Blocking => {
                "await it in the coroutine itself, or, if the thread is to block anyway, call the \
                 closure without blocking(..)"
            }
        }
    }

    /// Whether the body may run, and the code after it go on, on a thread that blocks anyway.
    fn may_stay(self) -> bool {
        self == Self::Blocking
    }
}

/// What a section shows to the code inside.
pub(crate) struct Section {
    change: Context,
    /// Decided when it is entered; one that is ready at once, at home, is at home.
    to: To,
    place: Place,
    /// The change applied to what is around it, once somebody asks.
    context: OnceCell<Arc<ContextInner>>,
}

/// Where code inside of a section belongs.
enum To {
    /// Where the code around it does.
    Around,
    /// To the coroutine's own dispatcher.
    Home,
    /// To `Dispatcher::Io` of the coroutine's runtime.
    Io,
    There(Arc<dyn Dispatch>),
}

enum Stage {
    /// Not polled yet.
    New,
    /// It runs wherever the code around it does.
    Here,
    /// It has a dispatcher.
    There(Journey),
}

impl Visit {
    /// A new one decides where it has to be.
    #[inline(always)]
    fn enter(&mut self, call: Call, here: &Here<'_>) {
        let stage = match self.section.enter(call, here) {
            true => Stage::There(Journey::new(call)),
            false => Stage::Here,
        };
        // A new one has nothing to drop, and this is made in its place.
        mem::forget(mem::replace(&mut self.stage, stage));
    }
}

impl Section {
    pub(crate) fn new(change: Context, place: Place) -> Self {
        Self { change, to: To::Around, place, context: OnceCell::new() }
    }

    /// The hooks that it adds.
    #[inline]
    pub(crate) fn hooks(&self) -> Option<&Hooks> {
        self.change.hooks()
    }

    /// What is bound inside, if it binds something.
    #[inline]
    pub(crate) fn values(&self) -> Option<&Values> {
        self.change.values()
    }

    pub(crate) fn values_mut(&mut self) -> Option<&mut Values> {
        self.change.values_mut()
    }

    /// Where it was made.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

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

    /// Where code inside belongs, if the section has a say in that.
    #[inline]
    pub(crate) fn to<'a>(&'a self, poll: &'a InPoll) -> Option<&'a Arc<dyn Dispatch>> {
        match &self.to {
            To::Around => None,
            To::Home => Some(poll.home()),
            To::Io => Some(poll.io()),
            To::There(dispatch) => Some(dispatch),
        }
    }

    /// Compares the dispatcher that is asked for with the one that is here. Whether it has one.
    fn enter(&mut self, call: Call, here: &Here<'_>) -> bool {
        self.to = self.find(call, here);
        !matches!(self.to, To::Around)
    }

    fn find(&self, call: Call, here: &Here<'_>) -> To {
        match (self.change.dispatcher(), here) {
            (None | Some(Dispatcher::Unconfined), _) => To::Around,
            (Some(Dispatcher::Default), Here::Coroutine(poll)) if poll.is_from_default() => {
                To::Home
            }
            (Some(Dispatcher::Io), Here::Coroutine(poll)) if poll.is_in_its_runtime() => To::Io,
            (Some(dispatcher), Here::Coroutine(_)) => To::There(self.resolve(dispatcher)),
            (Some(dispatcher), Here::Bound) if self.resolve(dispatcher).is_here() => To::Around,
            (_, Here::Bound) => self.refuse(
                call,
                "what is bound to a thread, as the body of run_blocking is, cannot go on elsewhere",
            ),
            (_, Here::Outside) => self.refuse(call, "there is no coroutine here that could move"),
        }
    }

    /// It runs where the code around it does.
    fn stay(&mut self) -> Stage {
        self.to = To::Around;
        Stage::Here
    }

    /// Another coroutine polls it than before: its own dispatcher may not be the pool.
    #[cold]
    fn change_hands(&mut self, poll: &InPoll) {
        if matches!(self.to, To::Home) && !poll.is_from_default() {
            self.to = To::There(self.resolve(&Dispatcher::Default));
        }
    }

    /// Whether it changes nothing for what is right in the body of its coroutine, and so has nothing
    /// that would have to be dropped. It has a context if its body has panicked further inside, and
    /// is polled again.
    #[inline]
    fn is_void(&self, poll: &InPoll) -> bool {
        self.is_for_home(poll)
            && self.change.sets_dispatcher_alone()
            && self.context.get().is_none()
    }

    /// Whether it is for the pool, and in code that belongs there and is there.
    fn is_at_home(&self, poll: &InPoll) -> bool {
        self.is_for_home(poll) && current::is_where_it_belongs(poll)
    }

    /// Whether it is for the pool, whose the coroutine is, and which the thread runs as.
    #[inline]
    fn is_for_home(&self, poll: &InPoll) -> bool {
        matches!(self.change.dispatcher(), Some(Dispatcher::Default))
            && poll.is_from_default()
            && !poll.is_away()
            && !poll.has_wish()
    }

    fn resolve(&self, dispatcher: &Dispatcher) -> Arc<dyn Dispatch> {
        let dispatch = hooks::with(|runtime| dispatcher.resolve(runtime));
        dispatch.unwrap_or_else(|| dispatcher.panic_missing(self.place))
    }

    /// A panic inside that nobody gets to see.
    #[cold]
    fn report(&self, payload: Box<dyn Any + Send>) {
        self.report_panic(self.panic_of(payload));
    }

    fn report_panic(&self, panic: Panic) {
        if !panic.is_cancellation() {
            failure::report_in_context(&Failure::Panic(panic));
        }
    }

    /// A panic inside, with what is known of it.
    fn panic_of(&self, payload: Box<dyn Any + Send>) -> Panic {
        Panic::new(Who::at(self.place), payload)
    }

    #[cold]
    fn refuse(&self, call: Call, why: &str) -> ! {
        let to = self.change.dispatcher().unwrap_or(&Dispatcher::Default);
        panic!(
            "{} at {} cannot change to {to:?}: {why}; launch the work there with corymb::spawn_on \
             instead",
            call.name(),
            self.place,
        )
    }
}

impl<F: Future> Future for WithContext<F> {
    type Output = F::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.as_mut().project();
        if let Some(Visit { section, stage: stage @ Stage::New }) = this.visit
            && let Some(poll) = current::right_in_coroutine()
            && section.is_void(poll)
        {
            let polled = poll_void(this.body, section, poll, cx);
            if polled.is_pending() {
                *stage = Stage::There(Journey::at_home(section, poll, cx));
            } else {
                mem::forget(this.visit.take());
            }
            return polled;
        }
        self.poll_section(cx)
    }
}

#[pinned_drop]
impl<F: Future> PinnedDrop for WithContext<F> {
    #[inline]
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        let Some(Visit { section, stage }) = this.visit else { return };
        if let Some(hooks) = section.hooks() {
            drop_hooked(this.body, section, hooks);
        }
        if let Stage::There(journey) = stage {
            drop_there(journey, section);
        }
    }
}

/// Drops a body inside of its hooks. What a panic would unwind is the drop of the section.
#[cold]
fn drop_hooked<F: Future>(mut body: Pin<&mut Option<F>>, section: &Section, hooks: &Hooks) {
    let is_there = body.as_mut().as_pin_mut().is_some();
    if !is_there {
        return;
    }
    let dropped = hooks.around_section(true, || Frame::section(section).catch(|| body.set(None)));
    if let Err(payload) = dropped.flatten() {
        match std::thread::panicking() {
            true => section.report(payload),
            false => resume_unwind(payload),
        }
    }
}

/// Kept out of line, so that the drop of a section that was ready at home is inlined.
#[inline(never)]
fn drop_there(journey: &mut Journey, section: &Section) {
    if let Here::Coroutine(poll) = current::place() {
        journey.abandon(poll);
    }
    if let Some(panic) = journey.panic.take() {
        section.report_panic(*panic);
    }
}

/// Polls the body in a frame that shows the section's context, and drops it there when it is
/// ready.
#[inline]
fn poll_body<F: Future>(
    body: Pin<&mut Option<F>>,
    section: &Section,
    cx: &mut task::Context<'_>,
) -> Poll<F::Output> {
    match section.hooks() {
        None => poll_in_frame(body, section, cx),
        Some(hooks) => poll_hooked(body, section, hooks, cx),
    }
}

/// As [`poll_body`], for a section that changes nothing: without a frame.
#[inline]
fn poll_void<F: Future>(
    mut body: Pin<&mut Option<F>>,
    section: &Section,
    poll: &InPoll,
    cx: &mut task::Context<'_>,
) -> Poll<F::Output> {
    poll.node().wait.set(WaitKind::Section, section.place);
    let polled = body.as_mut().as_pin_mut().expect(ENDED).poll(cx);
    if polled.is_ready() {
        body.set(None);
    }
    polled
}

/// As [`poll_body`], inside of the hooks of the section.
#[cold]
fn poll_hooked<F: Future>(
    body: Pin<&mut Option<F>>,
    section: &Section,
    hooks: &Hooks,
    cx: &mut task::Context<'_>,
) -> Poll<F::Output> {
    let polled = hooks.around_section(false, || poll_in_frame(body, section, cx));
    polled.unwrap_or_else(|payload| resume_unwind(payload))
}

#[inline]
fn poll_in_frame<F: Future>(
    mut body: Pin<&mut Option<F>>,
    section: &Section,
    cx: &mut task::Context<'_>,
) -> Poll<F::Output> {
    let frame = Frame::section(section);
    let _inside = frame.enter();
    let polled = body.as_mut().as_pin_mut().expect(ENDED).poll(cx);
    if polled.is_ready() {
        body.set(None);
    }
    polled
}

impl<F: Future> WithContext<F> {
    fn poll_section(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let here = current::place();
        let this = self.as_mut().project();
        let visit = this.visit.as_mut().expect(ENDED);
        if matches!(visit.stage, Stage::New) {
            let Visit { section, stage } = visit;
            if let Here::Coroutine(poll) = here
                && section.is_at_home(poll)
            {
                let polled = poll_body(this.body, section, cx);
                if polled.is_pending() {
                    *stage = Stage::There(Journey::at_home(section, poll, cx));
                }
                return polled;
            }
            visit.enter(Call::WithContext, &here);
        }
        let Visit { section, stage } = visit;
        match (&*stage, here) {
            (Stage::There(_), Here::Coroutine(poll)) => self.poll_there(poll, cx),
            (Stage::There(journey), _) => {
                section.refuse(journey.call(), "it was moved out of its coroutine")
            }
            (Stage::Here | Stage::New, _) => poll_body(this.body, section, cx),
        }
    }

    fn poll_there(
        self: Pin<&mut Self>,
        poll: &InPoll,
        cx: &mut task::Context<'_>,
    ) -> Poll<F::Output> {
        let mut this = self.project();
        let Visit { section, stage } = this.visit.as_mut().expect(ENDED);
        let Stage::There(journey) = stage else { unreachable!("it is there") };
        let place = section.place;
        if journey.has_changed_hands(poll) {
            section.change_hands(poll);
        }
        // Not by a look at the body: a shared reference to it would end its borrows of itself.
        if this.value.is_none() && journey.panic.is_none() {
            let moved = match journey.arrive(section, poll, cx) {
                Arrival::Moved => true,
                Arrival::Switched => false,
                Arrival::Elsewhere => return Poll::Pending,
                Arrival::Refused => {
                    *stage = section.stay();
                    return poll_body(this.body, section, cx);
                }
            };
            let around = poll.take_wish();
            let waker = journey.waker(moved, poll, cx);
            let mut cx = task::Context::from_waker(waker.as_ref().unwrap_or(cx.waker()));
            // A panic, too, goes on where the code around it belongs.
            let mut body = || {
                catch_unwind(AssertUnwindSafe(|| poll_body(this.body.as_mut(), section, &mut cx)))
            };
            let polled = match moved {
                true => body(),
                false => {
                    let (polled, back) = switched(poll, journey.target(section, poll), body);
                    match back {
                        Ok(()) => polled,
                        Err(payload) => Err(first_panic(polled.err(), payload, section)),
                    }
                }
            };
            match polled {
                Ok(Poll::Pending) => {
                    journey.suspend(section, moved, poll, around);
                    return Poll::Pending;
                }
                Ok(Poll::Ready(value)) => *this.value = Some(value),
                Err(payload) => {
                    // It may go on in a later poll, and has to be known there.
                    journey.panic = Some(Box::new(section.panic_of(payload)));
                    drop_panicked(this.body, section);
                }
            }
            drop(poll.take_wish());
            poll.put_wish(around);
        }
        if !journey.go_back(poll, cx, place) {
            return Poll::Pending;
        }
        let panic = journey.panic.take();
        *stage = Stage::Here;
        if let Some(panic) = panic {
            panic.resume();
        }
        Poll::Ready(this.value.take().expect(ENDED))
    }
}

/// Of the panic of a body and that of the dispatcher behind it, the one that goes on; the other is
/// reported.
#[cold]
fn first_panic(
    body: Option<Box<dyn Any + Send>>,
    dispatcher: Box<dyn Any + Send>,
    section: &Section,
) -> Box<dyn Any + Send> {
    let Some(body) = body else { return dispatcher };
    section.report(dispatcher);
    body
}

/// Drops a body that has panicked, where it ran. A panic of its destructor comes second.
#[cold]
fn drop_panicked<F: Future>(mut body: Pin<&mut Option<F>>, section: &Section) {
    let mut drop_it = || Frame::section(section).catch(|| body.set(None));
    let dropped = match section.hooks() {
        None => drop_it(),
        Some(hooks) => hooks.around_section(true, drop_it).flatten(),
    };
    if let Err(second) = dropped {
        section.report(second);
    }
}

/// A future out of a closure.
struct Closure<F>(Option<F>);

impl<F> Unpin for Closure<F> {}

impl<T, F: FnOnce() -> T> Future for Closure<F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<T> {
        Poll::Ready(self.0.take().expect(ENDED)())
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
        let visit = inner.as_mut().project().visit.as_mut().expect(ENDED);
        if matches!(visit.stage, Stage::New) {
            match current::place() {
                here if here.is_for_blocking() => visit.stage = visit.section.stay(),
                here => visit.enter(Call::Blocking, &here),
            }
        }
        inner.poll(cx)
    }
}

impl<F: Future> fmt::Debug for WithContext<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("WithContext");
        if let Some(visit) = &self.visit {
            shown.field("context", &visit.section.change);
        }
        shown.finish_non_exhaustive()
    }
}
