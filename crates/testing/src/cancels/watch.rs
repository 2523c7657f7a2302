//! What counts the suspensions of a scenario, and cancels it at one of them.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use corymb_core::internal::prim::Mutex;
use corymb_core::internal::{is_ready, unfinished, waits_of};
use corymb_core::{Coroutine, Job, JobState, Who};

use super::point::{Act, CancelPoint, Moment};
use crate::world::World;

/// Looks at each poll of the coroutines of a scenario.
pub(crate) struct Watch {
    point: CancelPoint,
    order: Arc<Order>,
    seen: Mutex<Seen>,
}

/// What has been seen.
#[derive(Default)]
pub(super) struct Seen {
    /// None before it is launched, and in the end: its job keeps the runtime, which has the watch.
    scenario: Option<Job>,
    pub(super) suspensions: usize,
    /// The suspension of the point.
    pub(super) reached: Option<Suspension>,
    /// Whose suspension that is.
    whose: Option<Job>,
    /// The scenario was cancelled.
    pub(super) acted: bool,
    /// Whom it has seen before.
    known: Vec<Job>,
}

/// A coroutine of the scenario that is about to be polled.
pub(crate) struct Polled {
    job: Job,
    who: Who,
}

impl Watch {
    /// One that acts at `point`, and the order that the scenario has to obey.
    pub(super) fn new(point: &CancelPoint) -> (Arc<Self>, Arc<Order>) {
        let order = Arc::<Order>::default();
        let seen = Mutex::default();
        (Arc::new(Self { point: point.clone(), order: Arc::clone(&order), seen }), order)
    }

    /// Begins with the scenario of that job.
    pub(crate) fn begin(&self, scenario: &Job) {
        self.seen.lock().scenario = Some(scenario.clone());
    }

    /// Ends it.
    pub(super) fn take_seen(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock())
    }

    /// A coroutine is about to be polled, and may be cancelled instead; gives it if it is one of the
    /// scenario's.
    pub(crate) fn before(&self, coroutine: &Coroutine, world: &World) -> Option<Polled> {
        let (scenario, whose) = {
            let seen = self.seen.lock();
            (seen.scenario.clone()?, seen.whose.clone())
        };
        if !coroutine.is_below(&scenario) {
            return None;
        }
        let polled = Polled { job: coroutine.job(), who: coroutine.who() };
        if whose.as_ref() == Some(&polled.job) && self.point.moment() == Moment::Woken {
            self.act(&scenario, world);
        }
        Some(polled)
    }

    /// It was polled, and with it whom it has launched undispatched.
    pub(crate) fn after(&self, polled: &Polled, world: &World) {
        let scenario = self.seen.lock().scenario.clone();
        for it in scenario.iter().flat_map(unfinished) {
            if self.seen.lock().known.contains(&it.job) {
                continue;
            }
            self.seen.lock().known.push(it.job.clone());
            // Others have not begun yet.
            if it.job != polled.job && !is_ready(&it.job) {
                self.suspended(&it.job, &it.who, world);
            }
        }
        self.suspended(&polled.job, &polled.who, world);
    }

    /// Counts a suspension of a coroutine, if it has not ended.
    fn suspended(&self, job: &Job, who: &Who, world: &World) {
        if !matches!(job.state(), JobState::Active | JobState::Cancelling) {
            return;
        }
        let mut seen = self.seen.lock();
        seen.suspensions += 1;
        if seen.suspensions != self.point.suspension() {
            return;
        }
        seen.reached = Some(Suspension { who: who.to_string(), waits: waits_of(job) });
        seen.whose = Some(job.clone());
        let scenario = seen.scenario.clone();
        drop(seen);
        if let Some(scenario) = scenario
            && self.point.moment() == Moment::Waiting
        {
            self.act(&scenario, world);
        }
    }

    /// Cancels the scenario, or has it dropped before anything else happens; once.
    fn act(&self, scenario: &Job, world: &World) {
        if std::mem::replace(&mut self.seen.lock().acted, true) {
            return;
        }
        match self.point.act() {
            Act::Cancel => {
                scenario.cancel();
            }
            Act::Drop => {
                self.order.give();
                world.run_out_of_turn(scenario);
            }
        }
    }
}

/// A suspension of a coroutine.
#[derive(Clone, Debug)]
pub(super) struct Suspension {
    who: String,
    pub(super) waits: Vec<(&'static str, &'static Location<'static>)>,
}

impl fmt::Display for Suspension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "suspended there: {}", self.who)?;
        for (i, (what, place)) in self.waits.iter().enumerate() {
            let and = if i > 0 { " and" } else { ", which waited" };
            write!(f, "{and} for {what} at {place}")?;
        }
        Ok(())
    }
}

/// The order to drop a future.
#[derive(Default)]
pub(super) struct Order(Mutex<Ordered>);

#[derive(Default)]
struct Ordered {
    given: bool,
    waker: Option<Waker>,
}

impl Order {
    fn give(&self) {
        let mut ordered = self.0.lock();
        ordered.given = true;
        let waker = ordered.waker.take();
        drop(ordered);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether it is given; if not, `waker` is woken when it is.
    fn is_given(&self, waker: &Waker) -> bool {
        let mut ordered = self.0.lock();
        let old = ordered.waker.replace(waker.clone());
        let given = ordered.given;
        drop(ordered);
        drop(old);
        given
    }
}

/// A future that is dropped when it is told; then there is no output.
pub(super) struct Droppable<F> {
    future: Option<Pin<Box<F>>>,
    order: Arc<Order>,
}

impl<F> Droppable<F> {
    pub(super) fn new(future: F, order: Arc<Order>) -> Self {
        Self { future: Some(Box::pin(future)), order }
    }
}

impl<F: Future> Future for Droppable<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { future, order } = &mut *self;
        if order.is_given(cx.waker()) {
            *future = None;
        }
        match future {
            Some(future) => future.as_mut().poll(cx).map(Some),
            None => Poll::Ready(None),
        }
    }
}
