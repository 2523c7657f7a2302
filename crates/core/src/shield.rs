//! Parts of a coroutine that a cancellation leaves alone.
//!
//! A shield is a region at which cancellations from above stop: the walk of a cancel passes it by,
//! and what is opened inside does not ask what is above. The *units* around it, up to its coroutine,
//! are what a cancellation would drop in place: regions, timeouts, the coroutine itself. Each counts
//! the shields in it, and while there are any, a cancelled unit is polled on instead of dropped.
//!
//! ```text
//!  a unit that is not cancelled ──► polled as ever
//!        │ cancel
//!        ▼
//!  [held] polled for the sake of the shields in it: operations outside of them stay pending
//!        │ the last shield is over: at the end of that poll, or, if that was elsewhere, by a wake
//!        ▼
//!  dropped in place
//! ```
//!
//! A shield with a limit is told by the units when they are cancelled, and notes in its region when
//! that is to end. At that time it is *lifted*: its region is an ordinary one from then on, cancelled
//! with what is around it, and no unit is held for its sake.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use pin_project::pin_project;

use crate::budget::Budget;
use crate::current;
use crate::job::{Job, Registration, tell_when_drained};
use crate::node::cancel::lift_shield;
use crate::node::side::{Shields, Side};
use crate::node::{NodeRef, state, tree};
use crate::scope::region::{self, End, Region};
use crate::time::{Sleep, now};

/// Holds off cancellation while `future` runs.
///
/// A coroutine that is cancelled goes on until the shields in it have come to their end, and is
/// dropped at its next suspension. So does a scope or a timeout around a shield: it ends when the
/// shield has. What is opened inside, such as a scope with its children, does not learn of the
/// cancellation either; [`is_cancelled`](crate::is_cancelled) answers false there, and
/// [`cancelled`](crate::cancelled) tells of it nevertheless.
///
/// Meanwhile the rest of the coroutine, such as the other branches of a `join!`, is polled too,
/// and does not come far: operations of corymb stay pending there. Futures of other crates may go
/// on.
///
/// What is dropped by hand, as the loser of a `select!` is, is dropped: against that only a child
/// helps. One that is forgotten while it is in force holds the coroutine until that ends by itself.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use corymb::{shield, sync::oneshot};
///
/// let order = run_blocking(scope(async |s| {
///     let (begun, has_begun) = oneshot::channel();
///     let (done, is_done) = oneshot::channel();
///     let job = s.launch(async move {
///         let two_steps = async {
///             begun.send(()).unwrap();
///             yield_now().await; // would be the end of it otherwise
///             done.send("both steps").unwrap();
///         };
///         shield(two_steps).await;
///         std::future::pending().await // is the end of it
///     });
///     has_begun.await.unwrap();
///     job.cancel();
///     is_done.await.unwrap()
/// }));
/// assert_eq!(order, "both steps");
/// ```
///
/// # Panics
///
/// With a panic of the future or of a child that was launched into a scope inside and dropped.
///
/// # Cancel safety
///
/// Dropping it drops the future; the job that polled it waits for inner scopes.
#[track_caller]
pub fn shield<F: Future>(future: F) -> Shield<F> {
    Shield { site: Location::caller(), kind: Kind::Hard, stage: Stage::New(future) }
}

/// Holds off a cancellation that gives a grace, until that is over.
///
/// It is a [`shield`] against [`Job::cancel_with_grace`](crate::Job::cancel_with_grace), and so
/// against a shutdown: what is cancelled so goes on with what it has begun, up to the end of the
/// grace, and is dropped then. Every other cancellation ends it as if it were not there.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::prelude::*;
/// use corymb::{soft_shield, sync::oneshot};
///
/// let answer = run_blocking(scope(async |s| {
///     let (begun, has_begun) = oneshot::channel();
///     let request = s.coroutine().spawn(soft_shield(async {
///         begun.send(()).unwrap();
///         yield_now().await;
///         "answered"
///     }));
///     has_begun.await.unwrap();
///     request.job().cancel_with_grace(Duration::from_secs(60));
///     request.outcome().await
/// }));
/// assert_eq!(answer.unwrap(), "answered");
/// ```
///
/// # Panics
///
/// As [`shield`].
///
/// # Cancel safety
///
/// As [`shield`].
#[track_caller]
pub fn soft_shield<F: Future>(future: F) -> Shield<F> {
    Shield { site: Location::caller(), kind: Kind::Soft, stage: Stage::New(future) }
}

/// What a shield holds off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Every cancellation.
    Hard,
    /// One with a grace, until that is over.
    Soft,
}

impl Kind {
    fn flags(self) -> u64 {
        match self {
            Self::Hard => state::SHIELD,
            Self::Soft => state::SHIELD | state::SOFT,
        }
    }

    /// The count that a shield is in.
    fn count(self, side: &Side) -> &Shields {
        match self {
            Self::Hard => &side.shields,
            Self::Soft => &side.soft_shields,
        }
    }
}

/// The future of [`shield`] and [`soft_shield`].
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct Shield<F: Future> {
    site: &'static Location<'static>,
    kind: Kind,
    #[pin]
    stage: Stage<F>,
}

#[pin_project(project = StageProj, project_replace = StageReplace)]
enum Stage<F: Future> {
    New(F),
    /// Without the second part it has been lifted, or was cancelled by itself.
    Up(#[pin] Region<F>, Option<Raised>),
    Over,
}

impl<F: Future> Future for Shield<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.as_mut().raise();
        let mut this = self.project();
        let StageProj::Up(mut region, raised) = this.stage.as_mut().project() else {
            panic!("the shield made at {} was polled after it had ended", this.site)
        };
        let end = {
            let _free = raised.as_ref().and_then(|_| Budget::lift());
            ready!(region.as_mut().poll(cx, |_, value| Some(value)))
        };
        match end {
            End::Value(value) => {
                this.stage.set(Stage::Over);
                Poll::Ready(value)
            }
            End::Panicked(panic) => panic.resume(),
            End::Cancelled => {
                region::cancel_caller(region.node());
                // What is cancelled now has no other end than to be dropped.
                *raised = None;
                Poll::Pending
            }
        }
    }
}

impl<F: Future> Shield<F> {
    /// Puts it in force, if that was not done before.
    fn raise(self: Pin<&mut Self>) {
        let mut this = self.project();
        if let StageProj::New(_) = this.stage.as_mut().project() {
            let StageReplace::New(future) = this.stage.as_mut().project_replace(Stage::Over) else {
                unreachable!("it was new a line above")
            };
            let raised = Raised::new(*this.kind);
            let region = region::open_shield(this.kind.flags(), this.site);
            let region = Region::new(region, future);
            this.stage.as_mut().project_replace(Stage::Up(region, Some(raised)));
        }
    }

    /// Its region, and the units that it holds, while it is in force.
    fn in_force(self: Pin<&mut Self>) -> Option<(&NodeRef, &[NodeRef])> {
        match self.project().stage.project() {
            StageProj::Up(region, Some(raised)) => Some((region.node_in_use(), &raised.units)),
            _ => None,
        }
    }

    /// Ends it before its future.
    fn lift(self: Pin<&mut Self>) {
        if let StageProj::Up(region, raised) = self.project().stage.project() {
            lift_shield(region.node_in_use());
            *raised = None;
        }
    }
}

/// The units that a shield holds. Dropped, it lets go of them: one that was cancelled meanwhile is
/// dropped at the end of the poll in progress, or woken for that.
struct Raised {
    units: Vec<NodeRef>,
    kind: Kind,
}

impl Raised {
    fn new(kind: Kind) -> Self {
        let units = current::units();
        for unit in &units {
            kind.count(unit.make_side().0).raise();
        }
        Self { units, kind }
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        for unit in self.units.drain(..) {
            let is_last = unit.side().is_some_and(|side| self.kind.count(side).lower());
            if is_last && current::is_marked(&unit) {
                tell_when_drained(&unit);
                tree::wake_unit(&unit);
            }
        }
    }
}

impl<F: Future> fmt::Debug for Shield<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shield").field("site", &self.site).finish_non_exhaustive()
    }
}

/// Holds off cancellation while `future` runs, for `limit` at most.
///
/// A [`shield`] whose time counts from the first cancellation that it holds off; from its own first
/// poll, if that came before. No timer is set until then, and without a cancellation it holds as
/// long as the future runs. When the time is up, the shield is over: `future` is cancelled, with the
/// cause of what was held off, and dropped at its next suspension, unless another shield is inside.
/// What was opened in it is awaited. A value that is ready at the same moment wins.
///
/// Inside, [`cancelled`] tells of the cancellation, [`time_left`](crate::time::time_left) of the time
/// that is left then, and [`is_cancelled`](crate::is_cancelled) is true when that is up, also where
/// nothing suspends.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::prelude::*;
/// use corymb::{shield_for, sync::oneshot};
///
/// async fn say_good_bye(to: oneshot::Sender<&'static str>) {
///     to.send("good-bye").unwrap();
///     std::future::pending().await // no answer comes
/// }
///
/// # use corymb::testing::TestRuntime;
/// let heard = TestRuntime::new().run(scope(async |s| { // in virtual time
///     let (begun, has_begun) = oneshot::channel();
///     let (said, heard) = oneshot::channel();
///     let job = s.launch(shield_for(Duration::from_millis(5), async move {
///         begun.send(()).unwrap();
///         corymb::cancelled().await;
///         say_good_bye(said).await;
///     }));
///     has_begun.await.unwrap();
///     job.cancel_and_join().await; // after 5 ms
///     heard.await.unwrap()
/// }));
/// assert_eq!(heard, "good-bye");
/// ```
///
/// # Panics
///
/// As [`shield`].
///
/// # Cancel safety
///
/// As [`shield`].
#[track_caller]
pub fn shield_for<F: Future>(limit: Duration, future: F) -> ShieldFor<F> {
    ShieldFor { shield: shield(future), limit, watch: None, timer: None }
}

/// The future of [`shield_for`].
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct ShieldFor<F: Future> {
    #[pin]
    shield: Shield<F>,
    limit: Duration,
    /// While the shield is in force.
    watch: Option<Watch>,
    /// From the first cancellation on.
    #[pin]
    timer: Option<Sleep>,
}

impl<F: Future> Future for ShieldFor<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        this.shield.as_mut().raise();
        if let Some((region, units)) = this.shield.as_mut().in_force() {
            this.watch.get_or_insert_with(|| Watch::new(region, units, *this.limit));
            // A timeout around this may have passed and have cancelled nothing yet.
            if region.deadline().is_none() && current::is_cancelled() {
                begin(&Job::from_node(region.clone()), *this.limit);
            }
        }
        let polled = this.shield.as_mut().poll(cx);
        let Some((region, _)) = this.shield.as_mut().in_force() else {
            *this.watch = None;
            return polled;
        };
        let Some(deadline) = region.deadline() else { return Poll::Pending };
        let region = region.clone();
        if this.timer.is_none() {
            this.timer.set(Some(Sleep::until_at(deadline, region.site)));
        }
        let timer = this.timer.as_mut().as_pin_mut();
        let has_fired = timer.is_none_or(|timer| timer.poll_elapsed(cx).is_ready());
        // Code inside that has computed until then knows it before the timer.
        if !has_fired && now() < deadline {
            return Poll::Pending;
        }
        *this.watch = None;
        this.shield.as_mut().lift();
        // A timeout around this may have passed and have cancelled nothing yet.
        if current::is_marked(&region) { this.shield.poll(cx) } else { Poll::Pending }
    }
}

impl<F: Future> fmt::Debug for ShieldFor<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShieldFor")
            .field("site", &self.shield.site)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Notes in the region of a shield when that is to end, as soon as there is something to hold off.
struct Watch(Vec<Registration>);

impl Watch {
    fn new(region: &NodeRef, units: &[NodeRef], limit: Duration) -> Self {
        // What is beyond the next shield is held off by that.
        let beyond = units.iter().position(|unit| unit.state.load().has(state::SHIELD));
        let due = &units[..beyond.map_or(units.len(), |shield| shield + 1)];
        let watch = |unit: &NodeRef| {
            let region = Job::from_node(region.clone());
            Job::from_node(unit.clone()).on_cancelling(move |_| begin(&region, limit))
        };
        Self(due.iter().map(watch).collect())
    }
}

fn begin(shield: &Job, limit: Duration) {
    if let Some(now) = shield.with_context(|context| context.runtime.now()) {
        region::set_first_deadline(shield.node(), now + limit, shield.launched_at());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for handler in self.0.drain(..) {
            handler.dispose();
        }
    }
}

/// Waits for the cancellation of the code that awaits it, also behind a [`shield`].
///
/// Elsewhere it does not return: what is cancelled is dropped. It is for what goes on nevertheless,
/// and wants to come to its end sooner then.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use corymb::{cancelled, shield};
///
/// run_blocking(scope(async |s| {
///     let polite = s.launch(shield(async {
///         let mut rounds = 0;
///         while !is_cancelled_soon(&mut rounds).await {}
///     }));
///     polite.cancel_and_join().await;
/// }));
///
/// /// One round of work, or the news that it is the last one.
/// async fn is_cancelled_soon(rounds: &mut u32) -> bool {
///     *rounds += 1;
///     with_timeout(std::time::Duration::from_millis(1), cancelled()).await.is_ok()
/// }
/// ```
///
/// # Cancel safety
///
/// Dropping it loses nothing.
pub fn cancelled() -> UntilCancelled {
    UntilCancelled { waker: None, handlers: Vec::new() }
}

/// The future of [`cancelled`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct UntilCancelled {
    /// The one that the handlers wake.
    waker: Option<Waker>,
    handlers: Vec<Registration>,
}

impl UntilCancelled {
    fn register(&mut self, waker: &Waker) {
        if self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            return;
        }
        self.dispose();
        self.waker = Some(waker.clone());
        self.handlers.extend(current::units().into_iter().map(|unit| {
            let waker = waker.clone();
            Job::from_node(unit).on_cancelling(|_| waker.wake())
        }));
    }

    fn dispose(&mut self) {
        for handler in self.handlers.drain(..) {
            handler.dispose();
        }
    }
}

impl Future for UntilCancelled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Whoever is not behind a shield is dropped at the end of this poll.
        if current::is_cancelled() {
            return Poll::Pending;
        }
        self.register(cx.waker());
        if current::is_cancelled_outside() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for UntilCancelled {
    fn drop(&mut self) {
        self.dispose();
    }
}
