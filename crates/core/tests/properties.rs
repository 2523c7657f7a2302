//! Random trees of scopes and coroutines, run in random orders, with random disasters.
//!
//! A program is a list of [`Op`]s, which may open scopes and launch coroutines that run lists of
//! their own. Whatever it is, these hold:
//!
//! - a job ends after the jobs below it, also below a scope that was forgotten or sent away;
//! - the first cause of a cancel stands, and so does a state that is final;
//! - no future is polled again after it was ready, or inside of its own poll;
//! - each future is dropped, once, and nothing is left behind: of what was allocated, all has been
//!   freed;
//! - the runtime ends when it is closed.

use std::collections::HashMap;
use std::future::pending;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use corymb_core::{
    Job, JobState, Scope, TryScope, cancel_scope, scope, supervisor_scope, try_scope, yield_now,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::common::Harness;
use crate::memory;

#[derive(Clone, Debug)]
enum Op {
    Yield,
    /// Suspends for ever.
    Wait,
    Panic,
    /// Returns an error, which ends a child of a `try_scope` only.
    Error,
    /// Cancels one of the jobs that there are.
    Cancel(usize),
    /// Awaits the child launched last whose handle was kept.
    Await,
    Launch(Launch),
    Open(Kind, Vec<Self>, Fate),
}

#[derive(Clone, Debug)]
struct Launch {
    ops: Vec<Op>,
    /// Whether a handle of its job is kept, handlers are registered with it, and it has a name.
    tracked: bool,
    handled: bool,
    named: bool,
    kept: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Scope,
    Supervisor,
    Try,
    Cancel,
}

/// What becomes of the future of a scope.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Awaited,
    /// After so many polls.
    Dropped(usize),
    /// Kept unpolled until the runtime has ended, which is as good as forgotten.
    Forgotten(usize),
    /// To a coroutine of its own, right under the root.
    Sent(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let leaf = prop_oneof![
        6 => Just(Op::Yield),
        1 => Just(Op::Wait),
        1 => Just(Op::Panic),
        1 => Just(Op::Error),
        2 => any::<usize>().prop_map(Op::Cancel),
        2 => Just(Op::Await),
    ];
    leaf.prop_recursive(5, 48, 5, |op| {
        let launch = (vec(op.clone(), 0..5), any::<[bool; 4]>()).prop_map(|(ops, flags)| {
            let [tracked, handled, named, kept] = flags;
            Op::Launch(Launch { ops, tracked, handled, named, kept })
        });
        let kind = prop_oneof![
            Just(Kind::Scope),
            Just(Kind::Supervisor),
            Just(Kind::Try),
            Just(Kind::Cancel)
        ];
        let fate = prop_oneof![
            3 => Just(Fate::Awaited),
            1 => (0..3usize).prop_map(Fate::Dropped),
            1 => (0..3usize).prop_map(Fate::Forgotten),
            1 => (0..3usize).prop_map(Fate::Sent),
        ];
        let open =
            (kind, vec(op, 0..5), fate).prop_map(|(kind, ops, fate)| Op::Open(kind, ops, fate));
        prop_oneof![launch, open]
    })
}

type Boxed<T = ()> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What was seen of a job: its final state, and why it was cancelled.
type Seen = (Option<JobState>, Option<String>);

/// What a program shares.
struct World {
    root: Scope,
    jobs: Mutex<Vec<Job>>,
    /// The handled jobs below each handled job.
    below: Mutex<Vec<(Job, Job)>>,
    attic: Mutex<Vec<Boxed>>,
    futures: AtomicIsize,
    wrong: Mutex<Vec<String>>,
    seen: Mutex<HashMap<usize, Seen>>,
}

impl World {
    fn wrong(&self, what: impl Into<String>) {
        self.wrong.lock().unwrap().push(what.into());
    }

    fn track(&self, job: &Job) {
        self.jobs.lock().unwrap().push(job.clone());
    }

    /// Has `job` checked against those below it when it ends.
    fn handle(self: &Arc<Self>, job: &Job) {
        let mut at = job.parent();
        while let Some(above) = at {
            at = above.parent();
            self.below.lock().unwrap().push((above, job.clone()));
        }
        let (this, me) = (Arc::clone(self), job.clone());
        job.on_completion(move |_| {
            let below = this.below.lock().unwrap();
            if below.iter().any(|(above, below)| *above == me && !below.is_completed()) {
                this.wrong("a job ended before one below it");
            }
        });
        // Launched into a scope that has ended: then the handler runs at once.
        let late = job.is_completed();
        let (this, me) = (Arc::clone(self), job.clone());
        job.on_cancelling(move |cause| {
            if me.is_completed() && !late {
                this.wrong("a cancelling handler ran after the end");
            }
            if me.cause().map(|it| it.to_string()) != Some(cause.to_string()) {
                this.wrong("a handler and its job were told two causes");
            }
        });
    }

    fn cancel(&self, which: usize) {
        let jobs = self.jobs.lock().unwrap().clone();
        let Some(job) = (!jobs.is_empty()).then(|| &jobs[which % jobs.len()]) else { return };
        let (was, cause) = (job.state(), job.cause());
        let news = job.cancel();
        if news == (was.is_completed() || was.is_cancelled()) {
            self.wrong(format!("a cancel of a job that was {was} answered {news}"));
        }
        if !news && job.cause().map(|it| it.to_string()) != cause.map(|it| it.to_string()) {
            self.wrong("a second cause replaced the first");
        }
    }

    /// Looks at all jobs: what was final has to stay.
    fn observe(&self) {
        let jobs = self.jobs.lock().unwrap().clone();
        let mut seen = self.seen.lock().unwrap();
        for (number, job) in jobs.iter().enumerate() {
            let state = Some(job.state()).filter(|state| state.is_completed());
            let cause = job.cause().map(|cause| cause.to_string());
            let before = seen.entry(number).or_default();
            if before.0.is_some() && before.0 != state || before.1.is_some() && before.1 != cause {
                self.wrong(format!("{before:?} became {:?}", (state, &cause)));
            }
            *before = (state, cause);
        }
    }
}

/// A future that is counted, and knows the rules of polling.
struct Watched<T> {
    future: Boxed<T>,
    world: Arc<World>,
    polled: bool,
}

impl<T> Watched<T> {
    fn new(world: &Arc<World>, future: Boxed<T>) -> Self {
        world.futures.fetch_add(1, Ordering::SeqCst);
        Self { future, world: Arc::clone(world), polled: false }
    }
}

impl<T> Future for Watched<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if std::mem::replace(&mut self.polled, true) {
            self.world.wrong("a future was polled after its end, or inside of a poll");
        }
        let polled = self.future.as_mut().poll(cx);
        self.polled = polled.is_ready();
        polled
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        self.world.futures.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Where a list launches.
#[derive(Clone)]
enum Here {
    Plain(Scope),
    Try(TryScope<()>),
}

fn run(ops: Vec<Op>, here: Here, world: Arc<World>) -> Boxed<Result<(), ()>> {
    let inner = world.clone();
    let list = Box::pin(async move {
        let mut kept = Vec::new();
        for op in ops {
            match op {
                Op::Yield => yield_now().await,
                Op::Wait => pending().await,
                Op::Panic => resume_unwind(Box::new("on purpose")),
                Op::Error => return Err(()),
                Op::Cancel(which) => inner.cancel(which),
                Op::Await => {
                    if let Some(child) = kept.pop() {
                        let child: Boxed = child;
                        child.await;
                    }
                }
                Op::Launch(launch) => kept.extend(start(launch, &here, &inner)),
                Op::Open(kind, ops, fate) => {
                    meet(open(kind, ops, &here, &inner), fate, &inner).await;
                }
            }
        }
        Ok(())
    });
    Box::pin(Watched::new(&world, list))
}

/// Launches a child; the wait for its outcome comes back if the handle is kept.
fn start(launch: Launch, here: &Here, world: &Arc<World>) -> Option<Boxed> {
    let Launch { ops, tracked, handled, named, kept } = launch;
    let future = run(ops, here.clone(), world.clone());
    let name = named.then_some("named");
    let (job, outcome): (Job, Boxed) = match (here, name) {
        (Here::Plain(scope), Some(name)) => {
            let child = scope.coroutine().name(name).spawn(future);
            (child.job(), Box::pin(async move { drop(child.outcome().await) }))
        }
        (Here::Plain(scope), None) => {
            let child = scope.spawn(future);
            (child.job(), Box::pin(async move { drop(child.outcome().await) }))
        }
        (Here::Try(scope), _) => {
            let child = scope.spawn(future);
            (child.job(), Box::pin(async move { drop(child.outcome().await) }))
        }
    };
    if tracked {
        world.track(&job);
    }
    if handled {
        world.handle(&job);
    }
    kept.then_some(outcome)
}

fn open(kind: Kind, ops: Vec<Op>, here: &Here, world: &Arc<World>) -> Boxed {
    let (here, world) = (here.clone(), world.clone());
    let enter = |job: &Job, world: &Arc<World>| {
        world.track(job);
        world.handle(job);
    };
    match kind {
        Kind::Scope => Box::pin(async move {
            let body = |s: Scope| {
                enter(&s.job(), &world);
                run(ops, Here::Plain(s), world)
            };
            let _result = scope(body).await;
        }),
        Kind::Supervisor => Box::pin(async move {
            let body = |s: Scope| {
                enter(&s.job(), &world);
                run(ops, Here::Plain(s), world)
            };
            let _result = supervisor_scope(body).await;
        }),
        Kind::Try => Box::pin(async move {
            let body = |s: TryScope<()>| {
                enter(&s.job(), &world);
                run(ops, Here::Try(s), world)
            };
            let _result = try_scope(body).await;
        }),
        // Its body launches into what is around it.
        Kind::Cancel => Box::pin(async move {
            let body = |s: corymb_core::CancelScope| {
                enter(&s.job(), &world);
                run(ops, here, world)
            };
            let _result = cancel_scope(body).await;
        }),
    }
}

async fn meet(mut future: Boxed, fate: Fate, world: &Arc<World>) {
    let (Fate::Dropped(polls) | Fate::Forgotten(polls) | Fate::Sent(polls)) = fate else {
        return future.await;
    };
    for _ in 0..polls {
        if futures::poll!(future.as_mut()).is_ready() {
            return;
        }
        yield_now().await;
    }
    match fate {
        Fate::Forgotten(_) => world.attic.lock().unwrap().push(future),
        Fate::Sent(_) => drop(world.root.launch(future)),
        _ => drop(future),
    }
}

/// Runs a case, and compares what this thread holds of the heap before and after it.
fn check(
    programs: &[Vec<Op>],
    cancels: &[Option<usize>],
    seed: u64,
    observed: bool,
) -> Result<(), TestCaseError> {
    // The first runtime of a process makes the shard of timers that the later ones have.
    drop(Harness::new());
    let run = || run_to_end(programs.to_vec(), cancels, seed, observed);
    let (result, kept) = memory::kept_by(run);
    result?;
    prop_assert_eq!(kept, memory::NOTHING, "what was allocated was not freed");
    Ok(())
}

/// Runs the programs to their end, a coroutine each, and cancels a job before each of `cancels`
/// polls.
fn run_to_end(
    programs: Vec<Vec<Op>>,
    cancels: &[Option<usize>],
    seed: u64,
    observed: bool,
) -> Result<(), TestCaseError> {
    let rt = Harness::in_random_order(seed);
    let world = Arc::new(World {
        root: rt.scope(),
        jobs: Mutex::default(),
        below: Mutex::default(),
        attic: Mutex::default(),
        futures: AtomicIsize::new(0),
        wrong: Mutex::default(),
        seen: Mutex::default(),
    });
    for ops in programs {
        drop(rt.scope().spawn(run(ops, Here::Plain(rt.scope()), world.clone())));
    }
    let mut cancels = cancels.iter();
    while rt.step() {
        if let Some(Some(which)) = cancels.next() {
            world.cancel(*which);
        }
        if observed {
            world.observe();
        }
    }
    // Checks that the root ends.
    drop(rt);
    if observed {
        world.observe();
    }
    let jobs = std::mem::take(&mut *world.jobs.lock().unwrap());
    for job in jobs {
        prop_assert!(job.is_completed(), "{job:?}");
        prop_assert_eq!(job.is_cancelled(), job.cause().is_some());
    }
    drop(std::mem::take(&mut *world.attic.lock().unwrap()));
    world.below.lock().unwrap().clear();
    prop_assert_eq!(&*world.wrong.lock().unwrap(), &[""; 0]);
    prop_assert_eq!(world.futures.load(Ordering::SeqCst), 0, "futures were not dropped");
    prop_assert_eq!(Arc::strong_count(&world), 1, "something was left behind");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 3 } else { ProptestConfig::default().cases.max(512) },
        failure_persistence: if cfg!(miri) { None } else { ProptestConfig::default().failure_persistence },
        ..ProptestConfig::default()
    })]

    #[test]
    fn trees(
        programs in vec(vec(op(), 0..6), 1..4),
        cancels in vec(proptest::option::weighted(0.2, any::<usize>()), 0..24),
        seed: u64,
        observed: bool,
    ) {
        check(&programs, &cancels, seed, observed)?;
    }
}
