//! The same program in many schedules, until one of them shows a fault.

mod guide;
mod policy;
pub(crate) mod quiet;
mod run;
mod schedule;
mod shrink;
mod trace;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Verdict;
use crate::choices::{Policy, Random};
use crate::runtime::seed_of_environment;
pub use guide::Guide;
use policy::{DepthFirst, Divergence, Pct};
pub(crate) use policy::{Guided, Replay};
pub use run::{Fault, FaultKind};
use run::{Limits, Run, run};
pub use schedule::{ParseScheduleError, Schedule};
pub(crate) use shrink::shrink;
pub(crate) use trace::Steps;
pub use trace::Turn;

/// The variable that has a schedule run again.
const REPLAY: &str = "CORYMB_REPLAY";
/// How many schedules are run if nobody says how many.
const SCHEDULES: u64 = 1_000;
/// How many polls a moment may have.
const POLLS: usize = 10_000;

/// Runs `make`'s future in a thousand schedules, and panics with the shortest one it can find in
/// which it fails: [`Explorer::new`] has more to say.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use corymb::{prelude::*, sync::Mutex, testing::explore};
///
/// explore(|| async {
///     let total = Arc::new(Mutex::new(0));
///     scope(async |s| {
///         for n in [1, 2] {
///             let total = Arc::clone(&total);
///             s.launch(async move { *total.lock().await += n });
///         }
///     })
///     .await;
///     assert_eq!(*total.lock().await, 3);
/// });
/// ```
///
/// # Panics
///
/// As [`Explorer::run`].
#[track_caller]
pub fn explore<F>(make: impl FnMut() -> F) -> Explored
where
    F: Future<Output: Verdict> + Send + 'static,
{
    Explorer::new().run(make)
}

/// Runs a program in many schedules.
///
/// What [`TestRuntime`](crate::TestRuntime) does in one order, this does in many: which of the ready
/// coroutines is next, which branch of a `select!` is looked at first, is tried in one way and
/// another. Before each operation of corymb (a lock, a send, a join, a timer) a coroutine gives way,
/// so that others come between any two of them, as those of other threads do in production. What
/// happens between two operations happens at once: races of plain threads, on atomics or on a
/// `std::sync::Mutex`, are for loom.
///
/// A schedule *fails* for what a test runtime takes for a failure: a panic or an error of the body,
/// a deadlock, a livelock, a leak, a failure that nobody took. The first one that fails is made
/// shorter, and told with the steps that lead to the failure and a text that runs it again: set the
/// environment variable `CORYMB_REPLAY` to it, for that test alone, or give it to
/// [`replay`](Self::replay).
///
/// The program has to be the same each time: without real time, threads, or randomness of its own
/// (a `HashMap`'s order is random).
///
/// # Examples
///
/// An update that is lost if another coroutine comes between the reading and the writing:
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
/// use corymb::{prelude::*, testing::Explorer};
///
/// let lost = Explorer::new().check(|| async {
///     let count = Arc::new(AtomicU32::new(0));
///     scope(async |s| {
///         for _ in 0..2 {
///             let count = Arc::clone(&count);
///             s.launch(async move {
///                 let read = count.load(SeqCst);
///                 yield_now().await;
///                 count.store(read + 1, SeqCst);
///             });
///         }
///     })
///     .await;
///     assert_eq!(count.load(SeqCst), 2);
/// });
/// let found = lost.expect_err("one of the schedules loses an update");
/// assert!(found.fault().to_string().contains("left: 1"));
/// println!("{found}");
/// ```
#[must_use = "nothing is run before `run` or `check`"]
#[derive(Clone, Debug)]
pub struct Explorer {
    way: Way,
    schedules: Option<u64>,
    seed: Option<u64>,
    time: Option<Duration>,
    polls: usize,
    replay: Option<Schedule>,
    guide: Option<Guide>,
}

/// How to go through the schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By turns random and by priorities of depth 2, 3, 4.
    Mixed,
    Random,
    Pct(usize),
    DepthFirst(Option<usize>),
}

impl Default for Explorer {
    fn default() -> Self {
        Self::new()
    }
}

impl Explorer {
    /// A thousand schedules, by turns random and by random priorities.
    pub fn new() -> Self {
        Self {
            way: Way::Mixed,
            schedules: None,
            seed: None,
            time: None,
            polls: POLLS,
            replay: None,
            guide: None,
        }
    }

    /// Decides each time at random.
    pub fn random(self) -> Self {
        Self { way: Way::Random, ..self }
    }

    /// Gives coroutines random priorities, which change `depth - 1` times in a schedule. Finds
    /// what takes `depth` events in a certain order with a probability that does not fall with the
    /// number of coroutines.
    ///
    /// Source: Burckhardt and others, "A Randomized Scheduler with Probabilistic Guarantees of
    /// Finding Bugs", ASPLOS 2010.
    ///
    /// # Panics
    ///
    /// If `depth` is zero.
    pub fn pct(self, depth: usize) -> Self {
        assert!(depth > 0, "`pct(0)`: a fault takes at least one ordering; 3 finds most");
        Self { way: Way::Pct(depth), ..self }
    }

    /// Runs all schedules there are, but for those that take a ready coroutine off its turn more
    /// than `preemptions` times; none stands for no such limit.
    ///
    /// All that there are, unless [`schedules`](Self::schedules) sets an end.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{prelude::*, testing::Explorer};
    ///
    /// let explored = Explorer::new().depth_first(None).run(|| scope(async |s| {
    ///     for _ in 0..3 {
    ///         s.launch(async {});
    ///     }
    /// }));
    /// assert!(explored.is_exhaustive());
    /// assert_eq!(explored.schedules(), 6);
    /// ```
    pub fn depth_first(self, preemptions: impl Into<Option<usize>>) -> Self {
        Self { way: Way::DepthFirst(preemptions.into()), ..self }
    }

    /// Sets how many schedules are run at most.
    ///
    /// # Panics
    ///
    /// If it is zero: what runs nothing finds nothing.
    #[track_caller]
    pub fn schedules(self, schedules: u64) -> Self {
        assert!(schedules > 0, "`schedules(0)` runs nothing, and so finds nothing; one at least");
        Self { schedules: Some(schedules), ..self }
    }

    /// Sets the seed of what is random: without it, `CORYMB_SEED` does, else it is 0.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Begins no further schedule after so much real time, and lets none take longer.
    pub fn time_limit(self, time: Duration) -> Self {
        Self { time: Some(time), ..self }
    }

    /// Sets how many polls without a move of the clock are taken for a livelock; 10,000 if it is
    /// not set.
    pub fn poll_limit(self, polls: usize) -> Self {
        Self { polls, ..self }
    }

    /// Runs nothing but this schedule.
    pub fn replay(self, schedule: Schedule) -> Self {
        Self { replay: Some(schedule), ..self }
    }

    /// Runs one schedule alone, and has it decided so. It is not made shorter: that is for whoever
    /// drew it.
    pub fn guide(self, guide: Guide) -> Self {
        Self { guide: Some(guide), ..self }
    }

    /// Runs `make`'s future in one schedule after the other.
    ///
    /// # Panics
    ///
    /// If a schedule fails, with the [`Counterexample`]; if `CORYMB_REPLAY` is no schedule, and as
    /// [`check`](Self::check).
    #[track_caller]
    pub fn run<F>(self, make: impl FnMut() -> F) -> Explored
    where
        F: Future<Output: Verdict> + Send + 'static,
    {
        match self.check(make) {
            Ok(explored) => explored,
            Err(found) => panic!("{found}"),
        }
    }

    /// As [`run`](Self::run), and gives the schedule that fails.
    ///
    /// # Errors
    ///
    /// The first schedule that fails, made shorter.
    ///
    /// # Panics
    ///
    /// Inside of another runtime, and if `make` does.
    #[track_caller]
    pub fn check<F>(self, mut make: impl FnMut() -> F) -> Result<Explored, Box<Counterexample>>
    where
        F: Future<Output: Verdict> + Send + 'static,
    {
        // What was drawn is another program each time: none that the environment could know.
        let of_environment = || self.guide.is_none().then(schedule_of_environment).flatten();
        if let Some(schedule) = self.replay.clone().or_else(of_environment) {
            return self.run_again(&schedule, &mut make);
        }
        if let Some(guide) = &self.guide {
            let ran = run(Box::new(guide.policy()), self.limits(true), &mut make);
            let drawn = |found: Box<_>| Box::new(Counterexample { is_drawn: true, ..*found });
            return Explored::once(ran).map_err(drawn);
        }
        let seed = self.seed.unwrap_or_else(seed_of_environment);
        let mut seeds = Random::new(seed);
        let mut explored = Explored { schedules: 0, pruned: 0, exhaustive: false };
        let depth_first = match self.way {
            Way::DepthFirst(bound) => Some(DepthFirst::new(bound)),
            _ => None,
        };
        let limit = self.schedules.unwrap_or(match depth_first {
            Some(_) => u64::MAX,
            None => SCHEDULES,
        });
        let (began, mut longest) = (Instant::now(), 0);
        let mut progress = Progress::new(began);
        // The first one in any case: what runs nothing finds nothing.
        let in_time = || self.time.is_none_or(|time| began.elapsed() < time);
        while explored.schedules < limit && (explored.schedules == 0 || in_time()) {
            let policy = match &depth_first {
                Some(tree) => Box::new(tree.clone()),
                None => self.policy(explored.schedules, seeds.next(), longest),
            };
            let ran = run(policy, self.limits(false), &mut make);
            explored.schedules += 1;
            progress.tell(explored.schedules);
            longest = longest.max(ran.steps.count());
            if ran.fault.is_some() {
                return Err(self.counterexample(ran, explored.schedules, &mut make));
            }
            if let Some(tree) = &depth_first {
                if let Some(divergence) = tree.divergence() {
                    let text = divergence.to_string();
                    return Err(Counterexample::diverged(text, ran, explored.schedules));
                }
                explored.pruned = tree.pruned();
                if !tree.advance() {
                    explored.exhaustive = true;
                    break;
                }
            }
        }
        Ok(explored)
    }

    fn limits(&self, trace: bool) -> Limits {
        Limits { polls: self.polls, time: self.time, trace }
    }

    /// That of a schedule that is not the first to be random.
    pub(crate) fn policy(&self, schedule: u64, seed: u64, longest: usize) -> Box<dyn Policy> {
        match (self.way, schedule % 4) {
            (Way::Pct(depth), _) => Box::new(Pct::new(seed, depth, longest)),
            (Way::Mixed, turn @ 1..) => Box::new(Pct::new(seed, 1 + turn as usize, longest)),
            _ => Box::new(Random::new(seed)),
        }
    }

    /// Makes the schedule of `ran` shorter, and describes it.
    #[track_caller]
    fn counterexample<F>(
        &self,
        ran: Run,
        number: u64,
        make: &mut impl FnMut() -> F,
    ) -> Box<Counterexample>
    where
        F: Future<Output: Verdict> + Send + 'static,
    {
        let guided = |picks: &[usize]| Box::new(Guided::new(Arc::from(picks)));
        let found = Schedule::new(ran.decisions.clone()).picks();
        // Each run of one that takes too long takes as long.
        let is_short = ran.fault.as_ref().is_some_and(|it| it.kind != FaultKind::TooLong);
        let shrunk = shrink(found.clone(), |picks| {
            let mut run = || run(guided(picks), self.limits(false), make).fault;
            let again = is_short.then(&mut run).flatten();
            again.zip(ran.fault.as_ref()).is_some_and(|(again, fault)| again.is_like(fault))
        });
        let again = run(guided(&shrunk), self.limits(true), make);
        // Plainer decisions may lead around in circles.
        let again = match again.steps.switches() > ran.steps.switches() {
            true => run(guided(&found), self.limits(true), make),
            false => again,
        };
        Counterexample::new(again, ran, number)
    }

    /// Runs one schedule, as it was.
    #[track_caller]
    fn run_again<F>(
        &self,
        schedule: &Schedule,
        make: &mut impl FnMut() -> F,
    ) -> Result<Explored, Box<Counterexample>>
    where
        F: Future<Output: Verdict> + Send + 'static,
    {
        let replay = Replay::new(schedule.decisions().to_vec());
        let ran = run(Box::new(replay.clone()), self.limits(true), make);
        let other = "the run took the same decisions, and other steps. The program has changed, or \
                     is not the same each time";
        let divergence = replay.divergence().map(|it| it.to_string());
        let is_other = ran.fault.is_none() && !schedule.is_of(ran.steps.mark());
        match divergence.or_else(|| is_other.then(|| other.into())) {
            Some(divergence) => {
                let found = Counterexample::diverged(divergence, ran, 1);
                Err(Box::new(Counterexample { schedule: schedule.clone(), ..*found }))
            }
            None => Explored::once(ran),
        }
    }
}

/// Tells now and then how far an exploration is.
struct Progress {
    told: Instant,
}

impl Progress {
    const EVERY: Duration = Duration::from_secs(10);

    fn new(began: Instant) -> Self {
        Self { told: began }
    }

    #[expect(clippy::print_stderr, reason = "for whoever waits for it; tests capture it")]
    fn tell(&mut self, schedules: u64) {
        if self.told.elapsed() >= Self::EVERY {
            self.told = Instant::now();
            eprintln!("corymb: explored {schedules} schedules so far");
        }
    }
}

fn schedule_of_environment() -> Option<Schedule> {
    // What is no Unicode is no schedule, and not none.
    let text = std::env::var_os(REPLAY)?;
    Some(text.to_string_lossy().parse().unwrap_or_else(|error| panic!("{REPLAY}: {error}")))
}

/// What was run, with no fault in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explored {
    schedules: u64,
    pruned: u64,
    exhaustive: bool,
}

impl Explored {
    /// What came of a single run.
    fn once(ran: Run) -> Result<Self, Box<Counterexample>> {
        match ran.fault {
            None => Ok(Self { schedules: 1, pruned: 0, exhaustive: false }),
            Some(_) => Err(Counterexample::alone(ran)),
        }
    }

    /// How many schedules were run.
    pub fn schedules(&self) -> u64 {
        self.schedules
    }

    /// How many ways to go on were left out because they took one preemption too many.
    pub fn pruned(&self) -> u64 {
        self.pruned
    }

    /// Whether these were all there are, within the bound on preemptions.
    pub fn is_exhaustive(&self) -> bool {
        self.exhaustive
    }
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { schedules, pruned, exhaustive } = self;
        let all = if *exhaustive { "all there are" } else { "not all there are" };
        write!(f, "explored {schedules} schedules, {all}")?;
        if *pruned > 0 {
            write!(f, " within the bound on preemptions, which pruned {pruned}")?;
        }
        Ok(())
    }
}

/// A schedule in which a program fails.
#[derive(Clone, Debug)]
pub struct Counterexample {
    fault: Fault,
    schedule: Schedule,
    turns: Vec<Turn>,
    switches: (usize, usize),
    number: u64,
    /// The program was drawn with the schedule: the environment cannot give the one without the
    /// other.
    is_drawn: bool,
}

impl Counterexample {
    fn new(again: Run, found: Run, number: u64) -> Box<Self> {
        let switches = (found.steps.switches(), again.steps.switches());
        // A program that is not the same each time may not fail again.
        let (run, unsteady) = match again.fault.is_some() {
            true => (again, false),
            false => (found, true),
        };
        let mut it = Self::of(run, switches, number);
        if unsteady {
            it.fault.text.push_str(
                "\nthe same schedule did not fail again: something in the program is different \
                 each time",
            );
        }
        Box::new(it)
    }

    fn alone(run: Run) -> Box<Self> {
        let switches = run.steps.switches();
        Box::new(Self::of(run, (switches, switches), 1))
    }

    fn diverged(divergence: String, run: Run, number: u64) -> Box<Self> {
        let switches = run.steps.switches();
        let mut it = Self::of(run, (switches, switches), number);
        it.fault = Fault::new(FaultKind::Diverged, divergence);
        Box::new(it)
    }

    fn of(run: Run, switches: (usize, usize), number: u64) -> Self {
        Self {
            fault: run.fault.unwrap_or_else(|| Fault::new(FaultKind::Diverged, String::new())),
            schedule: Schedule::new(run.decisions).marked(run.steps.mark()),
            turns: run.steps.into_turns(),
            switches,
            number,
            is_drawn: false,
        }
    }

    /// What went wrong.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// The schedule, made shorter; that which was asked for, if the run went another way.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Who ran, from where to where.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// How often the schedule goes from one coroutine to another, as it was found, and made shorter.
    pub fn switches(&self) -> (usize, usize) {
        self.switches
    }

    /// How many schedules had been run when it was found, itself included.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, schedule, turns, switches: (found, shown), number, is_drawn } = self;
        writeln!(f, "{} in schedule {number}: {fault}", fault.kind)?;
        if !turns.is_empty() {
            writeln!(f, "what led to it ({found} switches when it was found, {shown} here):")?;
        }
        for (i, turn) in turns.iter().enumerate() {
            writeln!(f, "{:4}. {turn}", i + 1)?;
        }
        match is_drawn {
            false => write!(f, "to run it again: {REPLAY}={schedule}"),
            true => write!(
                f,
                "to run it again: the same program with the same `Guide`, as they are told beside \
                 this, or with `Explorer::replay` and the schedule {schedule}"
            ),
        }
    }
}

impl std::error::Error for Counterexample {}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |choice, options| format!("{} of {options}", schedule::name(choice));
        let now = self.now.map(|(choice, options)| one(choice, options));
        match (self.before, now) {
            (Some(before), now) => {
                let before = one(before.choice, before.options);
                let now =
                    now.map_or("the run ended without it".into(), |now| format!("is {now} now"));
                write!(f, "the run went another way at decision {}: ", self.number)?;
                write!(f, "it was {before}, and {now}. The program has changed")?;
            }
            (None, now) => {
                let now = now.unwrap_or_default();
                write!(f, "the schedule ends before decision {} of the run, ", self.number)?;
                write!(f, "{now}. Its text was cut short, or the program has changed")?;
            }
        }
        f.write_str(", or is not the same each time")
    }
}
