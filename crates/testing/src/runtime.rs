//! The runtime of a test, and what it takes for a failure.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant as RealInstant};

use corymb_core::hooks;
use corymb_core::internal::prim::atomic::{AtomicBool, Ordering};
use corymb_core::internal::{Root, scope_of};
use corymb_core::time::Instant;
use corymb_core::{Job, JoinError, Scope};

use crate::cancels::Watch;
use crate::choices::{Choices, Decision, Policy, Random};
use crate::explore::{FaultKind, Steps};
use crate::queue::Order;
use crate::run_test::{and_beside, unseen};
use crate::tree::tree;
use crate::world::{Inside, World};

/// How many polls a moment may have: far more than a test needs, and still a second or so.
const POLL_LIMIT: usize = 1_000_000;

/// How much real time a run may take: far more than a test needs, and less than patience.
const TIME_LIMIT: Duration = Duration::from_secs(if cfg!(miri) { 3600 } else { 60 });

/// How much virtual time the cleanups of what ends with a test may take: far more than they need.
const CLEANUP: Duration = Duration::from_secs(3600);

/// The variable that sets the seed.
const SEED: &str = "CORYMB_SEED";

/// A runtime of one thread, one queue and a virtual clock.
///
/// All that happens in it is determined: coroutines run in the order in which they became ready,
/// time passes only when nobody is ready, and then in a jump to the next timer; what is left to
/// chance is drawn from a seed.
///
/// A test fails in it for more than an assertion:
/// - nothing is ready and no timer is armed, but the body has not ended (a deadlock);
/// - the clock stands still for a million polls (a livelock; [`Builder::poll_limit`]);
/// - something is still alive when the body has ended (a leak);
/// - a failure reached nobody, and was not [taken](crate::take_failures).
///
/// The message shows the tree of what is alive. What is left is cancelled and run to its end when
/// the runtime is dropped, so that nothing gets into other tests.
///
/// Only what the runtime knows counts. A coroutine that waits for another thread is blocked for
/// ever as far as it can see, unless the time is [held](crate::hold_time) for it. While somebody
/// waits for a socket the clock goes as real time does, and so shows no round numbers. A run that
/// takes more than a minute of that fails ([`Builder::time_limit`]).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::{scope, time::sleep};
/// use corymb::testing::TestRuntime;
///
/// let runtime = TestRuntime::new();
/// let sum = runtime.run(scope(async |s| {
///     let slow = s.spawn(async { sleep(Duration::from_secs(3600)).await; 1 });
///     let fast = s.spawn(async { 2 });
///     slow.await + fast.await
/// }));
/// assert_eq!(sum, 3);
/// assert_eq!(runtime.elapsed(), Duration::from_secs(3600));
/// ```
pub struct TestRuntime {
    world: Arc<World>,
    root: Root,
    seed: u64,
    poll_limit: usize,
    time_limit: Duration,
    /// What is left was cancelled and has ended, or was given up.
    closed: Cell<bool>,
    /// One thread at a time runs it.
    _not_sync: PhantomData<Cell<()>>,
}

/// Settings of a [`TestRuntime`].
///
/// # Examples
///
/// ```
/// use corymb::testing::TestRuntime;
///
/// let runtime = TestRuntime::builder().seed(7).shuffled().poll_limit(10_000).build();
/// assert_eq!(runtime.seed(), 7);
/// assert_eq!(runtime.run(async { 42 }), 42);
/// ```
#[must_use = "nothing is built before `build`"]
#[derive(Clone, Debug, Default)]
pub struct Builder {
    seed: Option<u64>,
    shuffled: bool,
    poll_limit: Option<usize>,
    time_limit: Option<Duration>,
}

impl Builder {
    /// Sets the seed that choices are drawn from.
    ///
    /// Without it, the environment variable `CORYMB_SEED` sets it, else it is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::testing::TestRuntime;
    ///
    /// assert_eq!(TestRuntime::builder().seed(7).build().seed(), 7);
    /// ```
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Runs ready coroutines in an order drawn from the seed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use corymb::scope;
    /// use corymb::testing::TestRuntime;
    ///
    /// let order = |seed| {
    ///     TestRuntime::builder().seed(seed).shuffled().build().run(async {
    ///         let (sender, receiver) = mpsc::channel();
    ///         scope(async |s| {
    ///             for i in 0..8 {
    ///                 let sender = sender.clone();
    ///                 s.launch(async move { sender.send(i).unwrap() });
    ///             }
    ///         })
    ///         .await;
    ///         receiver.try_iter().collect::<Vec<_>>()
    ///     })
    /// };
    /// assert_eq!(order(1), order(1));
    /// assert_ne!(order(1), order(2));
    /// ```
    pub fn shuffled(self) -> Self {
        Self { shuffled: true, ..self }
    }

    /// Sets how many polls without a move of the clock are taken for a livelock; a million if it
    /// is not set.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{testing::TestRuntime, yield_now};
    ///
    /// let spins = std::panic::catch_unwind(|| {
    ///     TestRuntime::builder().poll_limit(100).build().run(async {
    ///         loop {
    ///             yield_now().await;
    ///         }
    ///     })
    /// });
    /// assert!(spins.map(|()| ()).is_err());
    /// ```
    pub fn poll_limit(self, polls: usize) -> Self {
        Self { poll_limit: Some(polls), ..self }
    }

    /// Sets how much real time a run may take, a minute if it is not set; then it fails, with the
    /// tree of what is alive. Looked at between polls: one that never returns is not ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::testing::{TestRuntime, hold_time};
    ///
    /// let hangs = std::panic::catch_unwind(|| {
    ///     TestRuntime::builder().time_limit(Duration::from_millis(10)).build().run(async {
    ///         let _held = hold_time();
    ///         std::future::pending::<()>().await;
    ///     })
    /// });
    /// assert!(hangs.is_err());
    /// ```
    pub fn time_limit(self, limit: Duration) -> Self {
        Self { time_limit: Some(limit), ..self }
    }

    /// Builds the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::testing::TestRuntime;
    ///
    /// let runtime = TestRuntime::builder().build();
    /// assert_eq!(runtime.run(async { 42 }), 42);
    /// ```
    ///
    /// # Panics
    ///
    /// If the seed comes from `CORYMB_SEED`, and that is no number.
    pub fn build(self) -> TestRuntime {
        let seed = self.seed.unwrap_or_else(seed_of_environment);
        let order = if self.shuffled { Order::Shuffled } else { Order::Fifo };
        let poll_limit = self.poll_limit.unwrap_or(POLL_LIMIT);
        let policy = Box::new(Random::new(seed));
        let world = World::new(order, Choices::new(policy), None);
        let time_limit = self.time_limit.unwrap_or(TIME_LIMIT);
        TestRuntime::assemble(world, seed, poll_limit, time_limit)
    }
}

pub(crate) fn seed_of_environment() -> u64 {
    let Some(value) = std::env::var_os(SEED) else { return 0 };
    let seed = value.to_str().and_then(|text| text.parse().ok());
    seed.unwrap_or_else(|| panic!("{SEED} is {value:?}: set it to a number below 2^64, or not"))
}

impl Default for TestRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl TestRuntime {
    /// A runtime with the default settings.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::testing::TestRuntime;
    ///
    /// assert_eq!(TestRuntime::new().run(async { 42 }), 42);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`Builder::build`].
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Begins a runtime with other settings.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::testing::TestRuntime;
    ///
    /// let runtime = TestRuntime::builder().shuffled().build();
    /// assert_eq!(runtime.run(async { 42 }), 42);
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn assemble(world: World, seed: u64, poll_limit: usize, time_limit: Duration) -> Self {
        let world = Arc::new(world);
        let root = Root::new(Arc::<World>::clone(&world), None);
        *world.root.lock() = Some(root.job().clone());
        let closed = Cell::new(false);
        Self { world, root, seed, poll_limit, time_limit, closed, _not_sync: PhantomData }
    }

    /// One whose every decision is that of `policy`, and which keeps `steps`.
    pub(crate) fn explored(
        policy: Box<dyn Policy>,
        steps: Steps,
        poll_limit: usize,
        time_limit: Option<Duration>,
    ) -> Self {
        let world = World::new(Order::Explored, Choices::new(policy), Some(steps));
        Self::assemble(world, 0, poll_limit, time_limit.unwrap_or(TIME_LIMIT))
    }

    /// Runs `future` as a coroutine, and gives what it returned.
    ///
    /// # Examples
    ///
    /// A leak fails the test:
    ///
    /// ```
    /// use corymb::testing::TestRuntime;
    ///
    /// let leak = std::panic::catch_unwind(|| {
    ///     TestRuntime::new().run(async {
    ///         drop(corymb::detached(std::future::pending::<()>()));
    ///     });
    /// });
    /// assert!(leak.is_err());
    /// ```
    ///
    /// # Panics
    ///
    /// With the panic of `future`; for a deadlock, a livelock, a leak, or a failure that nobody
    /// took; and inside of another runtime, where `future` can be awaited instead.
    #[track_caller]
    pub fn run<F>(&self, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let output = self.run_body(future);
        if let Err((_, report)) = self.check() {
            panic!("{report}");
        }
        output
    }

    /// As [`run`](Self::run), of a future that is bound to this thread: it and its value need not
    /// be `Send`, and it cannot be moved by `with_context`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// use std::time::Duration;
    /// use corymb::testing::TestRuntime;
    /// use corymb::time::sleep;
    ///
    /// let runtime = TestRuntime::new();
    /// let shared = Rc::new(42);
    /// let same = Rc::clone(&shared);
    /// let value = runtime.run_local(async move {
    ///     sleep(Duration::from_secs(3600)).await;
    ///     same
    /// });
    /// assert!(Rc::ptr_eq(&value, &shared));
    /// ```
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run), and if an earlier run on another thread has launched what is bound to
    /// that.
    #[track_caller]
    pub fn run_local<F>(&self, future: F) -> F::Output
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let output = self.run_body_local(future);
        if let Err((_, report)) = self.check() {
            panic!("{report}");
        }
        output
    }

    /// As [`run_body`](Self::run_body), of what [`run_local`](Self::run_local) runs.
    #[track_caller]
    pub(crate) fn run_body_local<F>(&self, future: F) -> F::Output
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let inside = self.begin();
        self.run_launched(inside, self.scope().spawn_local(future).outcome())
    }

    /// [`run`](Self::run) that minds neither leaks nor failures.
    #[track_caller]
    pub(crate) fn run_body<F>(&self, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let inside = self.begin();
        self.run_launched(inside, self.scope().spawn(future).outcome())
    }

    /// Enters the runtime, which is the only one here.
    #[track_caller]
    pub(crate) fn begin(&self) -> Inside {
        assert!(
            hooks::try_with(|_| ()).is_none(),
            "a test runtime cannot run inside of another runtime: await the future there, or call \
             this in a plain #[test]"
        );
        self.world.enter()
    }

    /// Runs a child of the root to its end.
    #[track_caller]
    fn run_launched<T>(
        &self,
        inside: Inside,
        body: impl Future<Output = Result<T, JoinError>>,
    ) -> T {
        match self.drive_launched(inside, body) {
            Ok(Ok(output)) => output,
            Ok(Err(JoinError::Panicked(panic))) => panic.resume(),
            Ok(Err(error)) => panic!("the test's body gave no value: {error}"),
            Err(stuck) => panic!("{}", self.describe(&stuck, UNFINISHED)),
        }
    }

    fn drive_launched<T>(
        &self,
        _inside: Inside,
        body: impl Future<Output = Result<T, JoinError>>,
    ) -> Result<Result<T, JoinError>, Stuck> {
        let mut body = std::pin::pin!(body);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        self.drive(self.poll_limit, Instant::FAR_FUTURE, || {
            match woken.take().then(|| body.as_mut().poll(&mut Context::from_waker(&waker))) {
                Some(Poll::Ready(outcome)) => Some(outcome),
                _ => None,
            }
        })
    }

    /// Runs the future that `make` makes, and says what went wrong.
    #[track_caller]
    pub(crate) fn run_to_verdict<F>(
        &self,
        make: impl FnOnce() -> F,
    ) -> Result<(), (FaultKind, String)>
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let inside = self.begin();
        let body = self.scope().spawn(make()).outcome();
        match self.outcome_of(inside, body)? {
            Ok(Ok(())) => self.check(),
            Ok(Err(error)) => {
                let beside = self.check().err().map(|(_, report)| and_beside(&report));
                let error = format!("it returned an error: {error}{}", beside.unwrap_or_default());
                Err((FaultKind::Error, error))
            }
            Err(error) => Err((FaultKind::Panic, error.to_string())),
        }
    }

    /// Runs a child of the root to its end, or says why that does not come.
    pub(crate) fn outcome_of<T>(
        &self,
        inside: Inside,
        body: impl Future<Output = Result<T, JoinError>>,
    ) -> Result<Result<T, JoinError>, (FaultKind, String)> {
        self.drive_launched(inside, body)
            .map_err(|stuck| (stuck.kind(), self.describe(&stuck, UNFINISHED)))
    }

    /// Has `watch` look at each poll from now on: at those of `scenario` and what is below it.
    pub(crate) fn watch(&self, watch: &Arc<Watch>, scenario: &Job) {
        watch.begin(scenario);
        let set = self.world.watch.set(Arc::clone(watch));
        assert!(set.is_ok(), "a runtime has one watch");
    }

    /// Ends the schedule: takes what was decided, and the steps, if they were kept.
    pub(crate) fn take_record(&self) -> (Vec<Decision>, Steps) {
        let steps = self.world.steps.as_ref().map(|steps| std::mem::take(&mut *steps.lock()));
        (self.world.choices.lock().finish(), steps.unwrap_or_default())
    }

    /// Launches coroutines beside the body: children of nothing but the runtime.
    ///
    /// They have to end before the body does.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::testing::{TestRuntime, settle};
    ///
    /// let runtime = TestRuntime::new();
    /// let beside = runtime.scope().launch(async {});
    /// runtime.run(async move {
    ///     settle().await;
    ///     assert!(beside.is_completed());
    /// });
    /// ```
    pub fn scope(&self) -> Scope {
        scope_of(self.root.job())
    }

    /// The virtual time that has passed since the runtime was built.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::testing::TestRuntime;
    ///
    /// let runtime = TestRuntime::new();
    /// runtime.run(corymb::time::sleep(Duration::from_secs(60)));
    /// assert_eq!(runtime.elapsed(), Duration::from_secs(60));
    /// ```
    pub fn elapsed(&self) -> Duration {
        self.world.clock.elapsed()
    }

    /// The seed of the choices.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::testing::TestRuntime;
    ///
    /// assert_eq!(TestRuntime::builder().seed(7).build().seed(), 7);
    /// ```
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What has been left to chance so far, and how it was decided.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::testing::{Choice, TestRuntime};
    ///
    /// let runtime = TestRuntime::builder().shuffled().build();
    /// runtime.scope().launch(async {});
    /// runtime.run(async {});
    /// assert_eq!(runtime.choices()[0].options, 2);
    /// ```
    pub fn choices(&self) -> Vec<Decision> {
        self.world.choices.lock().record().to_vec()
    }

    /// Makes it the runtime of this thread until the guard is dropped.
    pub(crate) fn enter(&self) -> impl Sized {
        self.world.enter()
    }

    /// Runs what is ready, and moves the clock whenever nothing is, until `done` gives something
    /// or all that happens comes after `last`; at most `limit` polls without a move of the clock.
    fn drive<T>(
        &self,
        limit: usize,
        last: Instant,
        mut done: impl FnMut() -> Option<T>,
    ) -> Result<T, Stuck> {
        let _running = self.world.outside.run();
        let mut patience = Patience::new(self.time_limit);
        let (mut moment, mut polls) = (self.elapsed(), 0);
        loop {
            if let Some(value) = done() {
                return Ok(value);
            }
            if self.elapsed() != moment {
                (moment, polls) = (self.elapsed(), 0);
            }
            if polls == limit && !self.world.is_idle() {
                return Err(Stuck::Livelock(limit));
            }
            if patience.is_over() {
                return Err(Stuck::TooLong(self.time_limit));
            }
            if self.world.run_next() {
                polls += 1;
            } else if !self.pass_time(last, &patience) && self.world.is_idle() {
                // It was idle before too, but another thread may have woken somebody meanwhile.
                return Err(Stuck::Deadlock);
            }
        }
    }

    /// Waits for what comes from outside, or moves the clock. False if there is nothing to wait for
    /// before `last` or then.
    fn pass_time(&self, last: Instant, patience: &Patience) -> bool {
        let (clock, outside) = (&self.world.clock, &self.world.outside);
        let may_wait = last == Instant::FAR_FUTURE;
        if outside.is_held() {
            if may_wait {
                outside.wait(patience.rest());
            }
            return may_wait;
        }
        // Whoever let go of the time just now may have woken somebody before.
        if !self.world.is_idle() {
            return true;
        }
        if !outside.has_armed() {
            return clock.step(last);
        }
        // Beside sockets the clock goes no faster than that of the peers.
        let (began, next) = (RealInstant::now(), clock.next());
        let until_next = next.map_or(Duration::MAX, |next| next - clock.now());
        let at_most = if may_wait { until_next.min(patience.rest()) } else { Duration::ZERO };
        outside.wait(at_most);
        let waited = began.elapsed();
        let is_idle = self.world.is_idle();
        if is_idle && waited >= until_next {
            return clock.step(last);
        }
        // It goes no slower either: a peer that sends now and then would keep all timers off.
        if may_wait {
            clock.move_to(clock.now() + waited.min(until_next));
        }
        may_wait || !is_idle
    }

    /// Runs what is ready, without moving the clock.
    pub(crate) fn settle(&self) {
        let _inside = self.world.enter();
        // What goes on and on is still alive afterwards, which is for the caller to judge.
        let _stuck = self.drive(self.poll_limit, self.world.clock.now(), || None::<()>);
    }

    /// Runs what is ready or becomes so within `time`.
    pub(crate) fn settle_for(&self, time: Duration) -> Result<(), (FaultKind, String)> {
        let _inside = self.world.enter();
        match self.drive(self.poll_limit, self.world.clock.now() + time, || None::<()>) {
            Err(stuck @ (Stuck::Livelock(_) | Stuck::TooLong(_))) => {
                Err((stuck.kind(), self.describe(&stuck, "it does not come to rest")))
            }
            _ => Ok(()),
        }
    }

    /// Settles, and says what is wrong with a runtime whose body has returned.
    pub(crate) fn check(&self) -> Result<(), (FaultKind, String)> {
        self.settle();
        self.end_background(0)?;
        self.check_leak(0)?;
        self.check_failures().map_err(|report| (FaultKind::Unseen, report))
    }

    /// Cancels what was to end with the test, and runs it to its end; cleanups may take time. So
    /// many children of the root are to be alive besides.
    pub(crate) fn end_background(&self, besides: usize) -> Result<(), (FaultKind, String)> {
        let Some(background) = self.world.end_background() else { return Ok(()) };
        self.settle();
        if background.is_completed() {
            return Ok(());
        }
        // A leak may end in the time that goes by now.
        self.check_leak(besides + 1)?;
        let _inside = self.world.enter();
        let until = self.elapsed() + CLEANUP;
        let is_over = || background.is_completed() || self.elapsed() > until;
        // What does not end is still alive afterwards, which the caller tells of.
        let _stuck = self.drive(self.poll_limit, Instant::FAR_FUTURE, || is_over().then_some(()));
        self.settle();
        Ok(())
    }

    /// Says what is alive besides so many children of the root.
    pub(crate) fn check_leak(&self, expected: usize) -> Result<(), (FaultKind, String)> {
        if self.root.children() > expected {
            let report = format!(
                "still alive after the test's body had returned:\n{}\
                 Launch it in a scope that the body awaits, or cancel and join it there.",
                tree(self.root.job()),
            );
            return Err((FaultKind::Leak, report));
        }
        Ok(())
    }

    /// Says what was reported and not taken.
    pub(crate) fn check_failures(&self) -> Result<(), String> {
        let failures = self.world.take_failures();
        if failures.is_empty() {
            return Ok(());
        }
        Err(format!("{}\nAwait what failed, or take them with `take_failures`.", unseen(&failures)))
    }

    fn describe(&self, stuck: &Stuck, what: &str) -> String {
        let reason = match stuck {
            Stuck::Deadlock => "deadlock: nothing is ready and no timer is armed (who waits for \
                                another thread does so by `external`, or while that keeps a \
                                `hold_time()`)"
                .into(),
            Stuck::TooLong(limit) => {
                let outside = &self.world.outside;
                let why = match (outside.is_held(), outside.has_armed()) {
                    (true, _) => "the time is held, by `external` or a `hold_time()` that is kept",
                    (_, true) => "a socket keeps it waiting",
                    _ => "raise the `time_limit` if it only computes",
                };
                format!("too long: it has taken {limit:?} of real time ({why})")
            }
            Stuck::Livelock(polls) => format!(
                "livelock: {polls} polls without a move of the clock, which moves only when nothing \
                 is ready (in a loop, `sleep` instead of `yield_now`, or raise the `poll_limit`)"
            ),
        };
        format!("{reason}, but {what}. Alive:\n{}", tree(self.root.job()))
    }

    /// Cancels what is left and runs it to its end; once.
    pub(crate) fn close(&self) -> Result<(), (FaultKind, String)> {
        if self.closed.replace(true) {
            return Ok(());
        }
        let _inside = self.world.enter();
        self.root.close();
        let root: &Job = self.root.job();
        let driven =
            self.drive(POLL_LIMIT, Instant::FAR_FUTURE, || root.is_completed().then_some(()));
        driven.map_err(|stuck| {
            (stuck.kind(), self.describe(&stuck, "not all that was cancelled has ended"))
        })?;
        self.world.end();
        self.check_failures().map_err(|report| (FaultKind::Unseen, report))
    }
}

/// What is wrong with a body that waits for ever.
const UNFINISHED: &str = "the test's body has not ended";

/// Whether to look at what is waited for.
struct Woken(AtomicBool);

impl Woken {
    fn take(&self) -> bool {
        // Ordering: Acquire pairs with the Release in `wake`: what led to the wake is seen.
        self.0.swap(false, Ordering::Acquire)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        // Ordering: as in `take`.
        self.0.store(true, Ordering::Release);
    }
}

/// Why nothing more will come.
enum Stuck {
    Deadlock,
    /// After so many polls.
    Livelock(usize),
    /// After so much real time.
    TooLong(Duration),
}

/// The real time that a run takes.
struct Patience {
    began: RealInstant,
    limit: Duration,
    /// When the system's clock was asked last.
    asked: RealInstant,
    /// After how many rounds it is asked, and how many of them are left.
    every: u32,
    left: u32,
}

impl Patience {
    /// To ask each time takes as long as a poll; to ask seldom overruns the limit if polls are slow.
    const EVERY: RangeInclusive<u32> = 16..=256;
    const SLOW: Duration = Duration::from_millis(1);

    fn new(limit: Duration) -> Self {
        let (now, every) = (RealInstant::now(), *Self::EVERY.start());
        Self { began: now, limit, asked: now, every, left: every }
    }

    fn is_over(&mut self) -> bool {
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        let now = RealInstant::now();
        let is_slow = now - self.asked >= Self::SLOW;
        self.every = if is_slow { 1 } else { (2 * self.every).min(*Self::EVERY.end()) };
        (self.asked, self.left) = (now, self.every);
        self.rest().is_zero()
    }

    fn rest(&self) -> Duration {
        self.limit.saturating_sub(self.began.elapsed())
    }
}

impl Stuck {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Deadlock => FaultKind::Deadlock,
            Self::Livelock(_) => FaultKind::Livelock,
            Self::TooLong(_) => FaultKind::TooLong,
        }
    }
}

impl Drop for TestRuntime {
    #[expect(clippy::print_stderr, reason = "a second panic would hide the first one")]
    fn drop(&mut self) {
        let closed = self.close();
        if !std::thread::panicking() {
            if let Err((_, report)) = closed {
                panic!("{report}");
            }
            return;
        }
        if let Err((_, report)) = closed {
            eprintln!("while the test was failing: {report}");
        }
        if !self.world.choices.lock().record().is_empty() {
            eprintln!("its choices came of a seed: {SEED}={} repeats them", self.seed);
        }
    }
}

impl fmt::Debug for TestRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRuntime")
            .field("seed", &self.seed)
            .field("elapsed", &self.elapsed())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
