//! Cancelling a scenario wherever it suspends.

mod point;
mod watch;

use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use corymb_core::internal::text_of;
use corymb_core::{JoinError, OwnedScope, Scope};

use crate::choices::{Policy, Random};
use crate::explore::{
    Explorer, Fault, FaultKind, Guided, Replay, Schedule, Steps, Turn, quiet, shrink,
};
use crate::runtime::{Builder, TestRuntime, seed_of_environment};
use point::{Act, Moment};
pub use point::{CancelPoint, ParseCancelPointError};
pub(crate) use watch::Watch;
use watch::{Droppable, Suspension};

/// The variable that has one cancellation run again.
const AGAIN: &str = "CORYMB_CANCEL";
/// How many polls a moment may have.
const POLLS: usize = 10_000;

/// Runs a scenario again and again, each time cancelled at another of its suspensions, and calls an
/// invariant each time.
///
/// `make` makes the scenario anew for each run, in a [`TestRuntime`] of its own, and with it the
/// check of what has to hold afterwards, which gets what the scenario returned, or none if it was
/// cancelled. The scope that `make` gets is for coroutines beside the scenario, which are not
/// cancelled before the check.
///
/// The first run cancels nothing and counts the suspensions, those of children included. Each of
/// the others cancels the job of the scenario at one of them, in two ways: as the coroutine begins to
/// wait there, and when it has been woken and is about to go on, so that what came for it has to go
/// elsewhere. Then cleanups run to their end, all that is ready runs, and the check is made. A panic
/// that comes of the cancellation is a failure as well, and so is a scenario that does not end then
/// (a deadlock, a livelock), what is alive when it has ended (a leak), and a failure that nobody
/// took.
///
/// The message of a failure names the await that the coroutine was cancelled at, and has a text that
/// runs that alone: set the environment variable `CORYMB_CANCEL` to it, or give it to
/// [`CancelEverywhere::at`]. The await is that of the future of corymb that was polled last;
/// futures of others, and [`yield_now`](corymb_core::yield_now), leave no note. What runs on a view
/// of a dispatcher is cancelled with the rest, and its suspensions are not counted.
///
/// **Which one:** [`drop_at_every_poll`](crate::drop_at_every_poll) drops a single future, of corymb
/// or not, with nothing around it. [`CancelEverywhere`] has settings: more schedules, drops, time.
///
/// # Examples
///
/// A permit comes back, wherever its holder is cancelled:
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use corymb::{sync::Semaphore, testing::cancel_everywhere, time::sleep};
///
/// let cancelled = cancel_everywhere(|_beside| {
///     let permits = Arc::new(Semaphore::new(1));
///     let used = permits.clone();
///     let scenario = async move {
///         let _permit = used.acquire().await;
///         sleep(Duration::from_secs(1)).await;
///     };
///     (scenario, move |_| assert_eq!(permits.available_permits(), 1))
/// });
/// assert_eq!(cancelled.suspensions(), 1);
/// ```
///
/// What was sent is received or still there, wherever the receiver is cancelled:
///
/// ```
/// use corymb::{sync::channel, testing::cancel_everywhere};
///
/// cancel_everywhere(|beside| {
///     let (sender, receiver) = channel::bounded(1);
///     beside.launch(async move { sender.send(42).await.unwrap() });
///     let kept = receiver.clone();
///     let scenario = async move { receiver.recv().await.unwrap() };
///     (scenario, move |received| assert_eq!(received.or(kept.try_recv().ok()), Some(42)))
/// });
/// ```
///
/// # Panics
///
/// With the first [`CancelFailure`].
#[track_caller]
pub fn cancel_everywhere<F, C>(make: impl FnMut(Scope) -> (F, C)) -> Cancellations
where
    F: Future<Output: Send> + Send + 'static,
    C: FnOnce(Option<F::Output>),
{
    CancelEverywhere::new().run(make)
}

/// Settings of a [`cancel_everywhere`].
///
/// # Examples
///
/// A flag that stays set if the coroutine never comes back to unset it:
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
/// use std::time::Duration;
/// use corymb::{testing::CancelEverywhere, time::sleep};
///
/// let failure = CancelEverywhere::new()
///     .check(|_beside| {
///         let busy = Arc::new(AtomicBool::new(false));
///         let flag = busy.clone();
///         let scenario = async move {
///             flag.store(true, SeqCst);
///             sleep(Duration::from_secs(1)).await;
///             flag.store(false, SeqCst);
///         };
///         (scenario, move |_| assert!(!busy.load(SeqCst), "still busy"))
///     })
///     .expect_err("nobody unsets it");
/// let (what, place) = failure.waits()[0];
/// assert_eq!((what, place.line()), ("a timer", line!() - 7));
/// assert_eq!(failure.point().to_string(), "cancel-1-waiting");
/// println!("{failure}");
/// ```
#[must_use = "nothing is run before `run` or `check`"]
#[derive(Clone, Debug)]
pub struct CancelEverywhere {
    act: Act,
    schedules: u64,
    seed: Option<u64>,
    time: Duration,
    polls: usize,
    limit: Option<Duration>,
    at: Option<CancelPoint>,
}

impl Default for CancelEverywhere {
    fn default() -> Self {
        Self::new()
    }
}

impl CancelEverywhere {
    /// Cancels, in the order of a [`TestRuntime`] alone, and without a wait before the check.
    pub fn new() -> Self {
        Self {
            act: Act::Cancel,
            schedules: 0,
            seed: None,
            time: Duration::ZERO,
            polls: POLLS,
            limit: None,
            at: None,
        }
    }

    /// Has the coroutine of the scenario drop the scenario's future, as a timeout or a `select!`
    /// would, instead of a cancellation of its job.
    ///
    /// # Examples
    ///
    /// What a coroutine launches is dropped with it, and a scope of others is not:
    ///
    /// ```
    /// use std::future::pending;
    /// use corymb::{scope, testing::CancelEverywhere, yield_now};
    ///
    /// CancelEverywhere::new().dropping().run(|beside| {
    ///     let mine = scope(async |s| { s.launch(yield_now()); });
    ///     let other = beside.launch(pending::<()>());
    ///     (mine, move |_| assert!(other.is_active()))
    /// });
    /// ```
    pub fn dropping(self) -> Self {
        Self { act: Act::Drop, ..self }
    }

    /// Does it all in so many schedules in addition, of the kind that
    /// [`Explorer::new`](crate::Explorer::new) runs: coroutines come between any two operations of
    /// others there, so each operation is a suspension.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use corymb::{sync::Mutex, testing::CancelEverywhere};
    ///
    /// let cancelled = CancelEverywhere::new().schedules(4).run(|_beside| {
    ///     let total = Arc::new(Mutex::new(1));
    ///     let changed = total.clone();
    ///     let scenario = async move {
    ///         *changed.lock().await += 1;
    ///         *changed.lock().await += 1;
    ///     };
    ///     (scenario, move |_| assert!(*total.try_lock().unwrap() <= 3))
    /// });
    /// assert_eq!(cancelled.schedules(), 5);
    /// assert!(cancelled.suspensions() > 4);
    /// ```
    pub fn schedules(self, schedules: u64) -> Self {
        Self { schedules, ..self }
    }

    /// Sets the seed of the schedules, and of what `select!` draws in the plain one: without it,
    /// `CORYMB_SEED` does, else it is 0.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Has virtual time go on for so long after the scenario has ended, before the check: as far as
    /// the last timer within that time takes it, so that the check can see what was left behind.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::{Job, testing::CancelEverywhere, time::sleep, yield_now};
    ///
    /// CancelEverywhere::new().passing(Duration::from_secs(1)).run(|beside| {
    ///     let slow = beside.launch(sleep(Duration::from_secs(1)));
    ///     (yield_now(), move |_| assert!(slow.is_completed()))
    /// });
    /// ```
    pub fn passing(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// Sets how many polls without a move of the clock are taken for a livelock; 10,000 if it is
    /// not set.
    pub fn poll_limit(self, polls: usize) -> Self {
        Self { polls, ..self }
    }

    /// Sets how much real time a run may take, a minute if it is not set: see
    /// [`Builder::time_limit`](crate::Builder::time_limit).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::testing::{CancelEverywhere, FaultKind};
    /// use corymb::time::sleep;
    ///
    /// let failure = CancelEverywhere::new()
    ///     .time_limit(Duration::from_millis(20))
    ///     .check(|_beside| {
    ///         let ticks = async { for _ in 0..u64::MAX { sleep(Duration::from_secs(1)).await } };
    ///         (ticks, |_| ())
    ///     })
    ///     .expect_err("it never ends");
    /// assert_eq!(failure.fault().kind(), FaultKind::TooLong);
    /// ```
    pub fn time_limit(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Cancels at this point alone, as `CORYMB_CANCEL` does.
    pub fn at(self, point: CancelPoint) -> Self {
        Self { at: Some(point), ..self }
    }

    /// Runs what `make` makes once for each point.
    ///
    /// # Panics
    ///
    /// With the first [`CancelFailure`]; and as [`check`](Self::check).
    #[track_caller]
    pub fn run<F, C>(self, make: impl FnMut(Scope) -> (F, C)) -> Cancellations
    where
        F: Future<Output: Send> + Send + 'static,
        C: FnOnce(Option<F::Output>),
    {
        match self.check(make) {
            Ok(cancellations) => cancellations,
            Err(failure) => panic!("{failure}"),
        }
    }

    /// As [`run`](Self::run), and gives the failure.
    ///
    /// # Errors
    ///
    /// The first failure.
    ///
    /// # Panics
    ///
    /// Inside of another runtime; if `CORYMB_CANCEL` is no point.
    #[track_caller]
    pub fn check<F, C>(
        self,
        mut make: impl FnMut(Scope) -> (F, C),
    ) -> Result<Cancellations, Box<CancelFailure>>
    where
        F: Future<Output: Send> + Send + 'static,
        C: FnOnce(Option<F::Output>),
    {
        if let Some(point) = self.at.clone().or_else(point_of_environment) {
            return self.run_again(&point, &mut make);
        }
        match self.run_schedules(&mut make) {
            Err(failure) => Err(self.in_steps(failure, &mut make)),
            all => all,
        }
    }

    /// Cancels everywhere, in one schedule after the other.
    #[track_caller]
    fn run_schedules<F, C>(
        &self,
        make: &mut impl FnMut(Scope) -> (F, C),
    ) -> Result<Cancellations, Box<CancelFailure>>
    where
        F: Future<Output: Send> + Send + 'static,
        C: FnOnce(Option<F::Output>),
    {
        let mut all = Cancellations { suspensions: 0, runs: 0, schedules: 0 };
        self.run_schedule(|| None, &mut all, make)?;
        let mut seeds = Random::new(self.seed.unwrap_or_else(seed_of_environment));
        let (explorer, mut longest) = (Explorer::new(), 0);
        for number in 0..self.schedules {
            let seed = seeds.next();
            let policy = || Some(explorer.policy(number, seed, longest));
            let steps = self.run_schedule(policy, &mut all, make)?;
            longest = longest.max(steps);
        }
        Ok(all)
    }

    /// Cancels at each suspension there is in one schedule; gives the number of its steps.
    #[track_caller]
    fn run_schedule<F, C>(
        &self,
        policy: impl Fn() -> Option<Box<dyn Policy>>,
        all: &mut Cancellations,
        make: &mut impl FnMut(Scope) -> (F, C),
    ) -> Result<usize, Box<CancelFailure>>
    where
        F: Future<Output: Send> + Send + 'static,
        C: FnOnce(Option<F::Output>),
    {
        let whole = self.run_once(policy(), CancelPoint::none(self.act), false, make)?;
        for suspension in 1..=whole.suspensions {
            for moment in [Moment::Waiting, Moment::Woken] {
                let point = CancelPoint::new(self.act, suspension, moment);
                self.run_once(policy(), point, false, make)?;
            }
        }
        all.schedules += 1;
        all.suspensions += whole.suspensions;
        all.runs += 1 + 2 * whole.suspensions as u64;
        Ok(whole.steps.count())
    }

    /// The same failure in a shorter schedule, with the steps that led to it, if it was one of an
    /// explored schedule.
    #[track_caller]
    fn in_steps<F, C>(
        &self,
        failure: Box<CancelFailure>,
        make: &mut impl FnMut(Scope) -> (F, C),
    ) -> Box<CancelFailure>
    where
        F: Future<Output: Send> + Send + 'static,
        C: FnOnce(Option<F::Output>),
    {
        let Some(schedule) = failure.point.schedule() else { return failure };
        let mut shortest = failure.point.clone();
        shrink(schedule.picks(), |picks| {
            let policy = Box::new(Guided::new(Arc::from(picks)));
            let point = failure.point.clone().without_schedule();
            match self.run_once(Some(policy), point, false, make) {
                Err(again) if again.fault.is_like(&failure.fault) => shortest = again.point,
                _ => return false,
            }
            true
        });
        let mut shown = failure.clone();
        // Plainer decisions may lead around in circles.
        for point in [&failure.point, &shortest] {
            if let Err(again) = self.run_again(point, make)
                && again.fault.is_like(&failure.fault)
                && (shown.turns.is_empty() || again.turns.len() <= shown.turns.len())
            {
                shown = again;
            }
        }
        shown
    }

    /// Cancels at one point of a schedule, as it was.
    #[track_caller]
    fn run_again<F, C>(
        &self,
        point: &CancelPoint,
        make: &mut impl FnMut(Scope) -> (F, C),
    ) -> Result<Cancellations, Box<CancelFailure>>
    where
        F: Future<Output: Send> + Send + 'static,
        C: FnOnce(Option<F::Output>),
    {
        let replay = point.schedule().map(|it| Replay::new(it.decisions().to_vec()));
        let policy = replay.clone().map(|it| -> Box<dyn Policy> { Box::new(it) });
        let ran = self.run_once(policy, point.clone(), true, make);
        if let Some(divergence) = replay.and_then(|replay| replay.divergence()) {
            return Err(CancelFailure::diverged(point.clone(), divergence.to_string()));
        }
        match (ran?.acted, point.suspension()) {
            (true, _) => Ok(Cancellations { suspensions: 1, runs: 1, schedules: 1 }),
            (false, 0) => Ok(Cancellations { suspensions: 0, runs: 1, schedules: 1 }),
            (false, _) => Err(CancelFailure::missed(point.clone())),
        }
    }

    /// One run: cancelled at the point, if it is one; with a description of its steps, if it is
    /// asked for.
    #[track_caller]
    fn run_once<F, C>(
        &self,
        policy: Option<Box<dyn Policy>>,
        point: CancelPoint,
        described: bool,
        make: &mut impl FnMut(Scope) -> (F, C),
    ) -> Result<Ran, Box<CancelFailure>>
    where
        F: Future<Output: Send> + Send + 'static,
        C: FnOnce(Option<F::Output>),
    {
        let _quiet = quiet::begin();
        let is_explored = policy.is_some();
        let runtime = match policy {
            Some(policy) => {
                TestRuntime::explored(policy, Steps::new(described), self.polls, self.limit)
            }
            None => self.plain(&point).build(),
        };
        let (watch, order) = Watch::new(&point);
        let verdict = self.play(&runtime, &watch, |beside| {
            let (scenario, check) = make(beside);
            (Droppable::new(scenario, order), check)
        });
        let (decisions, steps) = runtime.take_record();
        // The first fault is the one that counts.
        let verdict = verdict.and(runtime.close());
        let seen = watch.take_seen();
        match verdict {
            Ok(()) if point.has_to_come() && !seen.acted => Err(CancelFailure::missed(point)),
            Ok(()) => Ok(Ran { suspensions: seen.suspensions, acted: seen.acted, steps }),
            Err((kind, text)) => Err(Box::new(CancelFailure {
                fault: Fault::of_run(kind, &text),
                point: match is_explored {
                    true => point.within(Schedule::new(decisions)),
                    false if decisions.is_empty() => point,
                    false => point.seeded(runtime.seed()),
                },
                suspension: seen.reached,
                turns: steps.into_turns(),
            })),
        }
    }

    /// The runtime of a schedule that is not explored.
    fn plain(&self, point: &CancelPoint) -> Builder {
        let mut builder = TestRuntime::builder().poll_limit(self.polls);
        if let Some(seed) = point.seed().or(self.seed) {
            builder = builder.seed(seed);
        }
        match self.limit {
            Some(limit) => builder.time_limit(limit),
            None => builder,
        }
    }

    /// Runs the scenario to its end, and looks at what it has left.
    #[track_caller]
    fn play<F, T, C>(
        &self,
        runtime: &TestRuntime,
        watch: &Arc<Watch>,
        make: impl FnOnce(Scope) -> (F, C),
    ) -> Verdicted<()>
    where
        F: Future<Output = Option<T>> + Send + 'static,
        T: Send + 'static,
        C: FnOnce(Option<T>),
    {
        let inside = runtime.begin();
        let beside = OwnedScope::detached().supervised();
        let (scenario, check) = caught(|| make(beside.clone()))?;
        let scenario = runtime.scope().spawn(scenario);
        runtime.watch(watch, &scenario.job());
        let output = match runtime.outcome_of(inside, scenario.outcome())? {
            Ok(output) => output,
            Err(JoinError::Cancelled(_)) => None,
            Err(error) => return Err((FaultKind::Panic, error.to_string())),
        };
        runtime.settle_for(self.time)?;
        runtime.end_background(1)?;
        let _inside = runtime.enter();
        caught(|| check(output))?;
        runtime.check_leak(1)?;
        runtime.check_failures().map_err(|report| (FaultKind::Unseen, report))
    }
}

/// What came of a run, or of a part of it.
type Verdicted<T> = Result<T, (FaultKind, String)>;

/// What a run was that did not fail.
struct Ran {
    suspensions: usize,
    /// The scenario was cancelled.
    acted: bool,
    steps: Steps,
}

/// Calls `f`; its panic is a fault.
fn caught<R>(f: impl FnOnce() -> R) -> Verdicted<R> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let text = text_of(&*payload).unwrap_or("a panic without a text").into();
        (FaultKind::Panic, text)
    })
}

fn point_of_environment() -> Option<CancelPoint> {
    // What is no Unicode is no point, and not none.
    let text = std::env::var_os(AGAIN)?;
    Some(text.to_string_lossy().parse().unwrap_or_else(|error| panic!("{AGAIN}: {error}")))
}

/// What was run, and did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancellations {
    suspensions: usize,
    runs: u64,
    schedules: u64,
}

impl Cancellations {
    /// How many suspensions the scenario was cancelled at, in all schedules together.
    pub fn suspensions(&self) -> usize {
        self.suspensions
    }

    /// How many runs that took.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// How many schedules there were, the first one included.
    pub fn schedules(&self) -> u64 {
        self.schedules
    }
}

impl fmt::Display for Cancellations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { suspensions, runs, schedules } = self;
        write!(f, "cancelled at {suspensions} suspensions of {schedules} schedules, in {runs} runs")
    }
}

/// A cancellation that a scenario does not bear.
#[derive(Clone, Debug)]
pub struct CancelFailure {
    fault: Fault,
    point: CancelPoint,
    suspension: Option<Suspension>,
    turns: Vec<Turn>,
}

impl CancelFailure {
    fn diverged(point: CancelPoint, text: String) -> Box<Self> {
        let fault = Fault::new(FaultKind::Diverged, text);
        Box::new(Self { fault, point, suspension: None, turns: Vec::new() })
    }

    fn missed(point: CancelPoint) -> Box<Self> {
        let text = "the run did not come to this suspension: the program has changed, or is not the \
                    same each time";
        Self::diverged(point, text.into())
    }

    /// What went wrong.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// Where the scenario was cancelled.
    pub fn point(&self) -> &CancelPoint {
        &self.point
    }

    /// Who ran, from where to where; empty if the schedule is the plain one.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// What the coroutine that was suspended there waited for, and where; empty if it did not say.
    pub fn waits(&self) -> &[(&'static str, &'static Location<'static>)] {
        self.suspension.as_ref().map_or(&[], |it| &it.waits)
    }
}

impl fmt::Display for CancelFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, point, suspension, turns } = self;
        writeln!(f, "{}, {}: {fault}", fault.kind, point.describe())?;
        if let Some(suspension) = suspension {
            writeln!(f, "{suspension}")?;
        }
        if !turns.is_empty() {
            writeln!(f, "what led to it:")?;
        }
        for (i, turn) in turns.iter().enumerate() {
            writeln!(f, "{:4}. {turn}", i + 1)?;
        }
        write!(f, "to run it again: {AGAIN}={point}")
    }
}

impl std::error::Error for CancelFailure {}
