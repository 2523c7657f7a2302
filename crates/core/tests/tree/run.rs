//! The same programs, run by the kernel.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::panicking;
use std::time::Duration;

use corymb_core::joiner::{self, AllOk, AnyOk, AwaitAll, Joiner, Quorum, Subtask};
use corymb_core::time::{Instant, with_deadline, with_timeout};
use corymb_core::{
    CancelCause, CancelScope, Cancelled, Completion as Completed, Deferred, Failure, Job, JobState,
    JoinError, JoinScope, LocalScope, Panic, Scope, TryScope, cancel_scope, consume_budget,
    finally, join_scope, local_scope, scope, shield, shield_for, supervisor_scope, try_scope_all,
};

use futures::FutureExt;

use crate::common::Harness;
use crate::program::{
    Act, CLEANUP_BODY, Cause, Completion, Event, Failed, Fork, How, Id, Kind, Order, Outcome,
    Policy, QUORUM, ROOT, Reason, Tag, Value, Watch, span,
};

/// The kernel with what a program has made in it.
pub(crate) struct Real {
    rt: Option<Harness>,
    world: Arc<World>,
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A region that a body has opened, or an await.
struct Branch {
    id: Id,
    future: Boxed<Outcome>,
    catches: bool,
}

type Branches = Vec<Branch>;

/// Where children are launched.
#[derive(Clone)]
enum Handle {
    Plain(Scope),
    Try(TryScope<u32>),
    Cancel(CancelScope),
    Local(LocalScope<'static>),
    Join(Arc<JoinScope<u32, u32>>),
}

enum Kept {
    Plain(Deferred<Value>),
    Try(Deferred<u32>),
}

/// What a body was ordered and has not done, and what wakes it.
type Inbox = (VecDeque<Act>, Option<Waker>);

#[derive(Default)]
struct World {
    now: Mutex<u64>,
    orders: Mutex<HashMap<Id, Inbox>>,
    jobs: Mutex<BTreeMap<Id, Job>>,
    handles: Mutex<HashMap<Id, Handle>>,
    kept: Mutex<HashMap<Id, Kept>>,
    attic: Mutex<BTreeMap<Id, Boxed<Outcome>>>,
    log: Arc<Mutex<Vec<Event>>>,
}

impl Real {
    pub(crate) fn new() -> Self {
        let rt = Harness::new();
        let world = Arc::<World>::default();
        world.handles.lock().unwrap().insert(ROOT, Handle::Plain(rt.scope()));
        let log = Arc::clone(&world.log);
        rt.on_report(move |failure| log.lock().unwrap().push(report(failure)));
        Self { rt: Some(rt), world }
    }

    fn rt(&self) -> &Harness {
        self.rt.as_ref().expect("it is closed at the end only")
    }

    pub(crate) fn order(&self, order: Order) {
        let _inside = self.rt().enter();
        match (order.by, order.act) {
            (None, Act::Advance(to)) => {
                let before = std::mem::replace(&mut *self.world.now.lock().unwrap(), to);
                self.rt().pass(Duration::from_nanos(to - before));
            }
            (None, act) => self.world.act(act),
            (Some(body), act) => {
                let waker = {
                    let mut orders = self.world.orders.lock().unwrap();
                    let (orders, waker) = orders.entry(body).or_default();
                    orders.push_back(act);
                    waker.take()
                };
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }

    pub(crate) fn settle(&self) {
        self.rt().run();
    }

    /// What happened since it was called last.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.rt().forget_reports();
        std::mem::take(&mut *self.world.log.lock().unwrap())
    }

    /// The jobs that there are and were.
    pub(crate) fn jobs(&self) -> Vec<(Id, JobState, Option<Cause>)> {
        let jobs = self.world.jobs.lock().unwrap().clone();
        let cause = |job: &Job| job.cause().map(|it| cause(&it));
        jobs.iter().map(|(id, job)| (*id, job.state(), cause(job))).collect()
    }

    /// Cancels the root, as a shutdown does.
    pub(crate) fn shut_down(&self) {
        let root = self.rt().scope().job();
        let _inside = self.rt().enter();
        root.cancel_with(CancelCause::Shutdown);
    }

    /// Checks that the root ends, and that nothing is left behind.
    pub(crate) fn close(mut self) -> Result<(), String> {
        let left = self.rt().scope().job().unfinished();
        if !left.is_empty() {
            // The harness would panic.
            std::mem::forget(self.rt.take());
            return Err(format!("these have not ended: {left:?}"));
        }
        drop(self.rt.take());
        let world = &self.world;
        world.kept.lock().unwrap().clear();
        world.attic.lock().unwrap().clear();
        world.handles.lock().unwrap().clear();
        world.jobs.lock().unwrap().clear();
        world.orders.lock().unwrap().clear();
        match Arc::strong_count(world) {
            1 => Ok(()),
            more => Err(format!("{} futures were not dropped", more - 1)),
        }
    }
}

impl World {
    fn add(&self, event: Event) {
        self.log.lock().unwrap().push(event);
    }

    fn act(self: &Arc<Self>, act: Act) {
        match act {
            Act::Launch { id, scope, how } => self.launch(id, scope, how),
            Act::Cancel { job, custom } => {
                let handle = self.jobs.lock().unwrap().get(&job).cloned();
                let cause = match custom {
                    None => CancelCause::Requested,
                    Some(number) => {
                        CancelCause::Custom(Arc::new(std::io::Error::other(number.to_string())))
                    }
                };
                let news = handle.expect("it is watched").cancel_with(cause);
                self.add(Event::Cancel(job, news));
            }
            Act::SetDeadline { scope, at } => {
                let handle = self.handles.lock().unwrap().get(&scope).cloned();
                if let Some(Handle::Cancel(scope)) = handle {
                    scope.set_deadline(at.map(Instant::from_nanos));
                }
            }
            Act::Token { id, parent } => {
                let parent = self.jobs.lock().unwrap().get(&parent).cloned();
                self.watch(id, Job::new(parent.as_ref()), Watch::Handlers);
            }
            Act::DropHandle(child) => {
                let kept = self.kept.lock().unwrap().remove(&child);
                drop(kept);
            }
            Act::DropForgotten(region) => {
                let future = self.attic.lock().unwrap().remove(&region);
                drop(future);
            }
            other => unreachable!("{other:?} is for a body"),
        }
    }

    fn watch(self: &Arc<Self>, id: Id, job: Job, watch: Watch) {
        if watch == Watch::Handlers {
            let world = Arc::clone(self);
            job.on_completion(move |it| {
                world.add(Event::Ended(
                    id,
                    match it {
                        Completed::Completed => Completion::Completed,
                        Completed::Cancelled(it) => Completion::Cancelled(cause(it)),
                        _ => Completion::Failed,
                    },
                ));
            });
            let world = Arc::clone(self);
            job.on_cancelling(move |it| world.add(Event::Cancelling(id, cause(it))));
        }
        if watch != Watch::Nothing {
            self.jobs.lock().unwrap().insert(id, job);
        }
    }

    fn launch(self: &Arc<Self>, id: Id, scope: Id, how: How) {
        let handle = self.handles.lock().unwrap().get(&scope).cloned().expect("it is open");
        let bomb = how.bomb && !matches!(handle, Handle::Local(_));
        let body = code(Body { bomb, ..Body::new(self, id, how.polite) });
        let (job, kept) = match handle {
            Handle::Plain(scope) => {
                let named = || scope.coroutine().name("named");
                match how.kept {
                    true => {
                        let child = if how.named { named().spawn(body) } else { scope.spawn(body) };
                        (child.job(), Some(Kept::Plain(child)))
                    }
                    false => {
                        let body = async { body.await.map_or((), |_| ()) };
                        let job = if how.named { named().launch(body) } else { scope.launch(body) };
                        (job, None)
                    }
                }
            }
            Handle::Try(scope) => {
                let body = Arc::clone(self).failing(body);
                let named = || scope.coroutine().name("named");
                match how.kept {
                    true => {
                        let child = if how.named { named().spawn(body) } else { scope.spawn(body) };
                        (child.job(), Some(Kept::Try(child)))
                    }
                    false => {
                        let body = async { body.await.map(drop) };
                        let job = if how.named { named().launch(body) } else { scope.launch(body) };
                        (job, None)
                    }
                }
            }
            Handle::Join(scope) => (scope.fork(body), None),
            Handle::Local(scope) => return scope.launch(async { body.await.map_or((), |_| ()) }),
            Handle::Cancel(_) => unreachable!("it takes no children"),
        };
        self.watch(id, job, how.watch);
        if let Some(kept) = kept {
            self.kept.lock().unwrap().insert(id, kept);
        }
    }

    /// Code whose error is a failure.
    fn failing(self: Arc<Self>, body: impl Future<Output = Value>) -> impl Future<Output = Value> {
        body.inspect(move |value| {
            if let Err(error) = value {
                self.add(Event::Failed(Tag::Error(Some(*error))));
            }
        })
    }

    fn awaits(self: &Arc<Self>, id: Id, child: Id, strict: bool) -> Option<Boxed<Outcome>> {
        let kept = self.kept.lock().unwrap().remove(&child)?;
        let world = Arc::clone(self);
        Some(match (kept, strict) {
            (Kept::Plain(child), true) => Box::pin(world.strictly(id, child).map(Outcome::Value)),
            (Kept::Try(child), true) => {
                Box::pin(world.strictly(id, child).map(|it| Outcome::Value(Ok(it))))
            }
            (Kept::Plain(child), false) => Box::pin(async { outcome(child.outcome().await) }),
            (Kept::Try(child), false) => Box::pin(async { outcome(child.outcome().await.map(Ok)) }),
        })
    }

    /// The value of a child, or a panic with the name of this await.
    fn strictly<T>(self: Arc<Self>, id: Id, child: Deferred<T>) -> impl Future<Output = T> {
        AssertUnwindSafe(child).catch_unwind().map(move |it| {
            it.unwrap_or_else(|payload| {
                assert!(text(&*payload).contains("and has none"), "{}", text(&*payload));
                self.add(Event::Failed(Tag::Awaited(id)));
                resume_unwind(Box::new(format!("a{id}")))
            })
        })
    }

    /// A region with a body.
    fn region(
        self: &Arc<Self>,
        id: Id,
        kind: Kind,
        until: Option<u64>,
        polite: bool,
    ) -> Boxed<Outcome> {
        let world = Arc::clone(self);
        let failing = Arc::clone(self);
        let opened = {
            let world = Arc::clone(self);
            move |handle: Handle, job: Job| {
                world.handles.lock().unwrap().insert(id, handle);
                world.watch(id, job, Watch::Handlers);
                code(Body::new(&world, id, polite))
            }
        };
        // Made in the first poll, as those of scopes are.
        let asking = async move |asks: bool| {
            if asks {
                world.watch(id, Job::current().expect("it is a job"), Watch::Handlers);
            }
            Body::new(&world, id, polite).await
        };
        let now = *self.now.lock().unwrap();
        let until = until.unwrap_or_default();
        match kind {
            Kind::Scope => Box::pin(async move {
                Outcome::Value(scope(|s| opened(Handle::Plain(s.clone()), s.job())).await)
            }),
            Kind::Supervisor => Box::pin(async move {
                let body = |s: Scope| opened(Handle::Plain(s.clone()), s.job());
                Outcome::Value(supervisor_scope(body).await)
            }),
            Kind::Try => Box::pin(async move {
                let body =
                    |s: TryScope<u32>| failing.failing(opened(Handle::Try(s.clone()), s.job()));
                let value = try_scope_all(body).await.map_err(|it| it.into_parts());
                value.map_or_else(
                    |(first, later)| Outcome::Errors([vec![first], later].concat()),
                    |value| Outcome::Value(Ok(value)),
                )
            }),
            Kind::Local => Box::pin(async move {
                Outcome::Value(local_scope(|s| opened(Handle::Local(s.clone()), s.job())).await)
            }),
            Kind::Join(policy, limit) => {
                let body = move |s: JoinScope<u32, u32>| {
                    let job = s.job();
                    opened(Handle::Join(Arc::new(s)), job).map(drop)
                };
                join(
                    policy,
                    limit.map_or(Duration::MAX, |_| Duration::from_nanos(until - now)),
                    body,
                )
            }
            Kind::Cancel => Box::pin(async move {
                match cancel_scope(|s| opened(Handle::Cancel(s.clone()), s.job())).await {
                    Ok(value) => Outcome::Value(value),
                    Err(it) => Outcome::Cancelled(cause(&it)),
                }
            }),
            Kind::Timeout(_, asks) => Box::pin(async move {
                let limit = Duration::from_nanos(until - now);
                with_timeout(limit, asking(asks)).await.map_or(Outcome::Elapsed, Outcome::Value)
            }),
            Kind::Deadline(_, asks) => Box::pin(async move {
                let limited = with_deadline(Instant::from_nanos(until), asking(asks));
                limited.await.map_or(Outcome::Elapsed, Outcome::Value)
            }),
            Kind::Shield => Box::pin(async move { Outcome::Value(shield(asking(true)).await) }),
            Kind::ShieldFor(units) => {
                Box::pin(
                    async move { Outcome::Value(shield_for(limit(units, id), asking(true)).await) },
                )
            }
            Kind::Finally(grace) => self.finally(id, grace, async move { asking(true).await }),
        }
    }

    fn finally(
        self: &Arc<Self>,
        id: Id,
        grace: Option<u8>,
        body: impl Future<Output = Value> + Send + 'static,
    ) -> Boxed<Outcome> {
        let world = Arc::clone(self);
        let cleanup = move || async move {
            let id = id + CLEANUP_BODY;
            world.watch(id, Job::current().expect("it is a job"), Watch::Handlers);
            let ended = Body::new(&world, id, false).await;
            ended.map(drop).map_err(|error| {
                world.add(Event::Failed(Tag::Cleanup(error)));
                format!("e{error}")
            })
        };
        let grace = grace.map_or(Duration::MAX, |units| limit(units, id));
        Box::pin(async move { Outcome::Value(finally(body, cleanup).grace(grace).await) })
    }
}

fn limit(units: u8, id: Id) -> Duration {
    Duration::from_nanos(span(units, id))
}

/// Does what it is ordered to do, and polls what it has opened.
struct Body {
    world: Arc<World>,
    id: Id,
    polite: bool,
    branches: Branches,
    bomb: bool,
    gone: Gone,
}

/// Tells of the drop of a body.
struct Gone {
    world: Arc<World>,
    id: Id,
    panics: bool,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.world.add(Event::Gone(self.id));
        if self.panics && !panicking() {
            self.world.add(Event::Failed(Tag::Bomb(self.id)));
            resume_unwind(Box::new(format!("b{}", self.id)));
        }
    }
}

impl Body {
    fn new(world: &Arc<World>, id: Id, polite: bool) -> Self {
        let gone = Gone { world: Arc::clone(world), id, panics: false };
        let world = Arc::clone(world);
        Self { world, id, polite, branches: Vec::new(), bomb: false, gone }
    }

    fn next(&self) -> Option<Act> {
        self.world.orders.lock().unwrap().get_mut(&self.id)?.0.pop_front()
    }

    fn obey(&self, branches: &mut Branches) -> Poll<Value> {
        let take = |branches: &mut Branches, branch: Id| {
            let at = branches.iter().position(|it| it.id == branch)?;
            Some(branches.remove(at).future)
        };
        while let Some(act) = self.next() {
            match act {
                Act::Return(value) => return Poll::Ready(Ok(value)),
                Act::Fail(error) => return Poll::Ready(Err(error)),
                Act::Panic(number) => {
                    self.world.add(Event::Failed(Tag::Panic(number)));
                    resume_unwind(Box::new(format!("p{number}")))
                }
                Act::Open { id, kind, until, manner } => {
                    let future = self.world.region(id, kind, until, manner.polite);
                    branches.push(Branch { id, future, catches: manner.catches });
                }
                Act::Await { id, child, strict } => {
                    let awaits = self.world.awaits(id, child, strict);
                    branches.extend(awaits.map(|future| Branch { id, future, catches: false }));
                }
                Act::Drop(region) => drop(take(branches, region)),
                Act::Forget(region) => {
                    if let Some(future) = take(branches, region) {
                        self.world.attic.lock().unwrap().insert(region, future);
                    }
                }
                act => self.world.act(act),
            }
        }
        Poll::Pending
    }
}

impl Future for Body {
    type Output = Value;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Value> {
        let this = &mut *self;
        this.gone.panics = this.bomb;
        let waker = Some(cx.waker().clone());
        let before = {
            let mut orders = this.world.orders.lock().unwrap();
            std::mem::replace(&mut orders.entry(this.id).or_default().1, waker)
        };
        drop(before);
        let is_held = this.polite && pin!(consume_budget()).poll(cx).is_pending();
        // As what code awaits, they are dropped before it gives its value or goes on with a panic.
        let mut branches = std::mem::take(&mut this.branches);
        if !is_held && let Poll::Ready(value) = this.obey(&mut branches) {
            this.gone.panics = false;
            return Poll::Ready(value);
        }
        let mut at = 0;
        while let Some(branch) = branches.get_mut(at) {
            match branch.poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(outcome) => {
                    this.world.add(Event::Gave(branch.id, outcome));
                    drop(branches.remove(at));
                }
            }
        }
        this.branches = branches;
        Poll::Pending
    }
}

impl Branch {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let poll = AssertUnwindSafe(|| self.future.as_mut().poll(cx));
        match self.catches {
            true => catch_unwind(poll)
                .unwrap_or_else(|payload| Poll::Ready(Outcome::Caught(tag(text(&*payload))))),
            false => poll(),
        }
    }
}

/// A body as code that ends with it: it is dropped before what awaits it has its value or panic.
async fn code(body: Body) -> Value {
    body.await
}

fn join<F, Fut>(policy: Policy, limit: Duration, body: F) -> Boxed<Outcome>
where
    F: FnOnce(JoinScope<u32, u32>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let values = |values: Vec<u32>| values.into_iter().map(Fork::Ok).collect();
    match policy {
        Policy::AllOk => Box::pin(async move {
            let joined = join_scope(AllOk::new().within(limit), body).await;
            joined.map_or_else(unmet, |it| Outcome::Joined(values(it)))
        }),
        Policy::AnyOk => Box::pin(async move {
            let joined = join_scope(AnyOk::new().within(limit), body).await;
            joined.map_or_else(unmet, |it| Outcome::Joined(vec![Fork::Ok(it)]))
        }),
        Policy::Quorum => Box::pin(async move {
            let joined = join_scope(Quorum::new(QUORUM).within(limit), body).await;
            joined.map_or_else(unmet, |it| Outcome::Joined(values(it)))
        }),
        Policy::AwaitAll => Box::pin(async move {
            let joined = join_scope(AwaitAll::new().within(limit), body).await;
            Outcome::Joined(joined.into_iter().map(fork).collect())
        }),
    }
}

fn fork(ended: Subtask<u32, u32>) -> Fork {
    match ended {
        Subtask::Ok(value) => Fork::Ok(value),
        Subtask::Err(error) => Fork::Err(error),
        Subtask::Unavailable => Fork::Unavailable,
    }
}

fn unmet(unmet: joiner::Unmet<u32>) -> Outcome {
    let reason = match unmet.reason() {
        joiner::Reason::Failed => Reason::Failed,
        joiner::Reason::Cancelled => Reason::Cancelled,
        joiner::Reason::NoForks => Reason::NoForks,
        joiner::Reason::TooFewForks => Reason::TooFewForks,
        joiner::Reason::TimedOut => Reason::TimedOut,
        other => panic!("no program has this: {other:?}"),
    };
    Outcome::Unmet(reason, unmet.into_errors())
}

fn cause(cancelled: &Cancelled) -> Cause {
    match cancelled.cause() {
        CancelCause::Requested => Cause::Requested,
        CancelCause::ParentCancelled => Cause::Parent,
        CancelCause::ScopeEnded => Cause::ScopeEnded,
        CancelCause::SiblingFailed => Cause::Sibling,
        CancelCause::Deadline => Cause::Deadline,
        CancelCause::Dropped => Cause::Dropped,
        CancelCause::Decided => Cause::Decided,
        CancelCause::Shutdown => Cause::Shutdown,
        CancelCause::Custom(it) => Cause::Custom(it.to_string().parse().expect("a number")),
        other => panic!("no program has this: {other}"),
    }
}

fn outcome(outcome: Result<Value, JoinError>) -> Outcome {
    match outcome {
        Ok(value) => Outcome::Value(value),
        Err(JoinError::Cancelled(it)) => Outcome::Cancelled(cause(&it)),
        Err(JoinError::Failed(_)) => Outcome::Failed,
        Err(JoinError::Panicked(it)) => Outcome::Panicked(panicked(&it)),
        Err(other) => panic!("no program has this: {other}"),
    }
}

fn text(payload: &(dyn Any + Send)) -> &str {
    payload.downcast_ref::<String>().expect("no program has another one")
}

/// Which panic has this text.
fn tag(text: &str) -> Tag {
    let number = |text: &str| text.parse().expect("a number");
    if let Some((_, error)) = text.rsplit_once("failed: e") {
        return Tag::Cleanup(number(error));
    }
    match text.split_at(1) {
        ("p", panic) => Tag::Panic(number(panic)),
        ("b", id) => Tag::Bomb(id.parse().expect("a number")),
        ("a", id) => Tag::Awaited(id.parse().expect("a number")),
        _ => panic!("no program has this: {text}"),
    }
}

fn panicked(panic: &Panic) -> Failed {
    let later = panic.suppressed().iter().map(|it| failed(it).tag).collect();
    Failed { tag: tag(panic.message()), later }
}

fn failed(failure: &Failure) -> Failed {
    match failure {
        Failure::Panic(panic) => panicked(panic),
        Failure::Error { .. } => Tag::Error(None).into(),
        Failure::CleanupDropped { grace, .. } => {
            Tag::CleanupDropped { late: grace.is_some() }.into()
        }
        other => panic!("no program has this: {other}"),
    }
}

fn report(failure: &Failure) -> Event {
    let known = catch_unwind(AssertUnwindSafe(|| match failure {
        Failure::Suppressed { failure, .. } => Event::Left(failed(failure).tag),
        other => Event::Report(failed(other)),
    }));
    // The kernel keeps a panic of who is told to itself.
    known.unwrap_or_else(|_| Event::Stray(failure.to_string()))
}
