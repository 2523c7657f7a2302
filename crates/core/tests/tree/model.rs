//! What the documentation says, as plain sequential code.
//!
//! One queue of coroutines, polled in turn. A poll goes through the bodies of a coroutine from the
//! outside to the inside: each does what it was ordered, then its branches (open regions, awaits)
//! have their turn. All of `docs/job-lifecycle.md` and `docs/cancellation.md` is in what a poll, a
//! cancel, and an end do here.

use std::collections::{BTreeMap, VecDeque};
use std::mem::{replace, take};
use std::panic::Location;

use crate::program::{
    Act, CLEANUP, CLEANUP_BODY, Cause, Completion, Event, Failed, Fork, How, Id, Kind, Order,
    Outcome, Policy, QUORUM, ROOT, Reason, Tag, Value, Watch, span,
};

/// How far past a deadline the clock is when it is noticed: more than a tick of the timers.
pub(crate) const TICK: u64 = 100_000;

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) nodes: Vec<Option<Node>>,
    queue: VecDeque<Id>,
    /// The coroutine that is polled, and whether it was woken meanwhile.
    polled: Option<(Id, bool)>,
    pub(crate) now: u64,
    pub(crate) log: Vec<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Root,
    Coroutine,
    /// The coroutine of a cleanup, with the timeout in it that is one's grace.
    Cleanup,
    Region(Kind),
    /// Of a local scope: a body without a job.
    Member,
    Token,
    Await {
        child: Id,
        strict: bool,
    },
}

pub(crate) struct Node {
    pub(crate) what: What,
    /// The job above; for a member that of its scope.
    pub(crate) parent: Id,
    /// The body that polls it.
    pub(crate) opener: Id,
    /// In the order in which a cancel finds them, from the end.
    children: Vec<Id>,
    linked: bool,
    /// Whether it has a job yet: a timeout has none before it is asked for.
    pub(crate) made: bool,
    pub(crate) watch: Watch,
    pub(crate) cause: Option<Cause>,
    pub(crate) failed: bool,
    /// Body and children have ended.
    pub(crate) ended: bool,
    /// The body is done or gone, as far as the tree is concerned.
    pub(crate) closed: bool,

    pub(crate) body: Option<Body>,
    begun: bool,
    bomb: bool,
    value: Option<Value>,
    pub(crate) panic: Option<Failed>,
    /// The first panic of a child, the errors of children.
    failure: Option<Failed>,
    errors: Vec<u32>,
    /// Of a coroutine: its panic is its own, and not a copy.
    pub(crate) stays: bool,

    /// Of a region: its future is there, and may be polled.
    pub(crate) is_here: bool,
    pub(crate) forgotten: bool,
    abandoned: bool,
    opened: bool,
    catches: bool,
    /// Who polls it is woken by what happens to it, once.
    waits: bool,
    until: Option<u64>,
    expired: bool,
    /// Of a shield in force: what it holds.
    units: Vec<Id>,
    /// Of one with a limit: it hears of cancellations; its time was up.
    watches: bool,
    lifted: bool,
    /// Of a `finally`: its turn; whether its cleanup is yet to come.
    turn: usize,
    has_cleanup: bool,
    /// Of a local scope: the members that are to be polled, those at the door.
    woken: VecDeque<Id>,
    members: Vec<Id>,
    door: Vec<Id>,
    /// Of a join scope: forks that are to be started, those started that it has not heard of, those
    /// that have ended; all that were started, and what they came to, in that order.
    forked: Vec<Id>,
    running: Vec<Id>,
    /// Whether a fork wakes who polls it.
    listens: bool,
    endings: VecDeque<Id>,
    forks: Vec<Id>,
    results: Vec<(usize, Fork)>,
    joined: Option<Outcome>,
    /// Of a fork: it has not been started.
    pub(crate) is_new: bool,
    /// All but forks that were not started have ended.
    winds_down: bool,
    /// Of a local or a join scope: its own body has returned.
    pub(crate) over: bool,

    /// Of a coroutine.
    scheduled: bool,
    /// There is a `Deferred`, and whether no await has it.
    pub(crate) kept: bool,
    pub(crate) in_hand: bool,
    waiting: Option<Id>,
    cleanups: Cleanups,
}

impl Node {
    fn is_shield(&self) -> bool {
        matches!(self.what, What::Region(Kind::Shield | Kind::ShieldFor(_))) && !self.lifted
    }

    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self.what, What::Region(Kind::Timeout(..) | Kind::Deadline(..)))
    }
}

#[derive(Default)]
struct Cleanups {
    registered: usize,
    /// Those whose body is gone, by turn; with the region when all in it has ended.
    closed: BTreeMap<usize, Option<Id>>,
    running: bool,
    /// A body has gone in the poll in progress.
    delayed: bool,
}

#[derive(Default)]
pub(crate) struct Body {
    orders: VecDeque<Act>,
    pub(crate) branches: Vec<Id>,
    polite: bool,
}

/// What a poll of a body gives.
enum Polled {
    Pending,
    Ready(Value),
    Panicked(Failed),
}

impl Model {
    pub(crate) fn new() -> Self {
        let mut model = Self::default();
        model.put(ROOT, What::Root, ROOT);
        model
    }

    fn put(&mut self, id: Id, what: What, parent: Id) -> &mut Node {
        if self.nodes.len() <= id {
            self.nodes.resize_with(id + 1, || None);
        }
        self.nodes[id].insert(Node {
            what,
            parent,
            opener: parent,
            children: Vec::new(),
            linked: false,
            made: !matches!(what, What::Region(_) | What::Member | What::Await { .. }),
            watch: Watch::Nothing,
            cause: None,
            failed: false,
            ended: false,
            closed: false,
            body: None,
            begun: false,
            bomb: false,
            value: None,
            panic: None,
            failure: None,
            errors: Vec::new(),
            stays: false,
            is_here: false,
            forgotten: false,
            abandoned: false,
            opened: false,
            catches: false,
            waits: false,
            until: None,
            expired: false,
            units: Vec::new(),
            watches: false,
            lifted: false,
            turn: 0,
            has_cleanup: false,
            woken: VecDeque::new(),
            members: Vec::new(),
            door: Vec::new(),
            forked: Vec::new(),
            running: Vec::new(),
            listens: false,
            endings: VecDeque::new(),
            forks: Vec::new(),
            results: Vec::new(),
            joined: None,
            is_new: false,
            winds_down: false,
            over: false,
            scheduled: false,
            kept: false,
            in_hand: false,
            waiting: None,
            cleanups: Cleanups::default(),
        })
    }

    pub(crate) fn get(&self, id: Id) -> Option<&Node> {
        self.nodes.get(id)?.as_ref()
    }

    #[track_caller]
    pub(crate) fn at(&self, id: Id) -> &Node {
        self.get(id).unwrap_or_else(|| absent(id, Location::caller()))
    }

    #[track_caller]
    fn at_mut(&mut self, id: Id) -> &mut Node {
        let node = self.nodes.get_mut(id).and_then(Option::as_mut);
        node.unwrap_or_else(|| absent(id, Location::caller()))
    }

    // Orders.

    pub(crate) fn order(&mut self, order: &Order) {
        match order.by {
            None => self.act(order.act.clone()),
            Some(body) => {
                let Some(body_of) = &mut self.at_mut(body).body else { return };
                body_of.orders.push_back(order.act.clone());
                self.wake(body);
            }
        }
    }

    pub(crate) fn shut_down(&mut self) {
        self.cancel(ROOT, Cause::Shutdown);
    }

    pub(crate) fn settle(&mut self) {
        while let Some(coroutine) = self.queue.pop_front() {
            self.poll_coroutine(coroutine);
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Launch { id, scope, how } => self.launch(id, scope, how),
            Act::Cancel { job, custom } => {
                let news = self.cancel(job, custom.map_or(Cause::Requested, Cause::Custom));
                self.log.push(Event::Cancel(job, news));
            }
            Act::SetDeadline { scope, at } => {
                self.at_mut(scope).until = at;
                self.wake_unit(scope);
            }
            Act::Token { id, parent } => {
                let above = self.at(parent).cause;
                self.put(id, What::Token, parent).watch = Watch::Handlers;
                self.at_mut(parent).children.push(id);
                if let Some(cause) = above {
                    self.mark(id, cause.inherited());
                    self.end(id);
                    self.tell(id);
                }
            }
            Act::DropHandle(child) => {
                let node = self.at_mut(child);
                node.kept &= !take(&mut node.in_hand);
            }
            Act::DropForgotten(region) => {
                if take(&mut self.at_mut(region).forgotten) {
                    self.drop_region(region);
                }
            }
            Act::Advance(to) => {
                let before = replace(&mut self.now, to);
                let due = |it: &Node| it.until.is_some_and(|at| before < at && at <= to);
                for id in 0..self.nodes.len() {
                    if self.get(id).is_some_and(|it| it.is_here && due(it)) {
                        self.wake(self.at(id).opener);
                    }
                }
            }
            other => unreachable!("{other:?} is for a body"),
        }
    }

    /// The next moment at which something is due.
    pub(crate) fn next_due(&self, to: u64) -> Option<u64> {
        let all = self.nodes.iter().flatten().filter(|it| it.is_here).filter_map(|it| it.until);
        all.filter(|at| self.now < *at && *at <= to).min()
    }

    fn launch(&mut self, id: Id, scope: Id, how: How) {
        let body = Some(Body { polite: how.polite, ..Body::default() });
        let above = self.at(scope);
        let above = (above.ended || above.winds_down, above.cause, above.what);
        if above.2 == What::Region(Kind::Local) {
            self.put(id, What::Member, scope).body = body;
            if self.at(scope).body.is_some() {
                self.at_mut(scope).door.push(id);
                self.wake(id);
            } else {
                self.drop_body(id);
            }
            return;
        }
        let node = self.put(id, What::Coroutine, scope);
        (node.body, node.watch, node.bomb) = (body, how.watch, how.bomb);
        node.kept = how.kept;
        // The handles of forks are the scope's.
        node.in_hand = how.kept && !matches!(above.2, What::Region(Kind::Join(..)));
        match above {
            (true, ..) => {
                (node.parent, node.closed, node.ended) = (ROOT, true, true);
                node.cause = Some(Cause::ScopeEnded);
                self.drop_body(id);
                self.wake_joiner(scope);
                if how.watch == Watch::Handlers {
                    self.log.push(Event::Ended(id, Completion::Cancelled(Cause::ScopeEnded)));
                    self.log.push(Event::Cancelling(id, Cause::ScopeEnded));
                }
            }
            (_, cause, What::Region(Kind::Join(..))) => {
                (node.kept, node.is_new) = (true, true);
                node.watch = Watch::Nothing;
                self.at_mut(scope).children.push(id);
                self.at_mut(id).linked = true;
                if let Some(cause) = cause {
                    self.cancel(id, cause.inherited());
                }
                if self.at(scope).over {
                    self.cancel(id, Cause::ScopeEnded);
                } else {
                    self.at_mut(scope).forked.push(id);
                    self.wake_joiner(scope);
                }
                self.at_mut(id).watch = how.watch;
                self.tell(id);
            }
            (_, cause, _) => {
                self.at_mut(scope).children.insert(0, id);
                if how.named || how.watch == Watch::Handlers {
                    self.link(id);
                }
                if let Some(cause) = cause {
                    self.mark(id, cause.inherited());
                    self.tell(id);
                }
                self.schedule(id);
            }
        }
    }

    // Polls.

    fn wake(&mut self, body: Id) {
        let node = self.at(body);
        match node.what {
            What::Coroutine | What::Cleanup => self.schedule(body),
            What::Member => {
                let scope = node.parent;
                self.turn(scope, body);
                self.wake(self.at(scope).opener);
            }
            What::Region(kind) => {
                if kind == Kind::Local {
                    self.turn(body, body);
                }
                self.wake(self.at(body).opener);
            }
            _ => {}
        }
    }

    /// A member of a local scope, or its body, is to be polled.
    fn turn(&mut self, scope: Id, member: Id) {
        let woken = &mut self.at_mut(scope).woken;
        if !woken.contains(&member) {
            woken.push_back(member);
        }
    }

    fn schedule(&mut self, coroutine: Id) {
        match &mut self.polled {
            Some((polled, woken)) if *polled == coroutine => *woken = true,
            _ => {
                let node = self.at_mut(coroutine);
                let may_run = node.body.is_some() && (!node.is_new || node.cause.is_some());
                if may_run && !replace(&mut node.scheduled, true) {
                    self.queue.push_back(coroutine);
                }
            }
        }
    }

    fn poll_coroutine(&mut self, id: Id) {
        self.at_mut(id).scheduled = false;
        self.polled = Some((id, false));
        let cancelled = self.at(id).cause.is_some();
        if cancelled && !self.is_shielded(id) {
            self.drop_coroutine(id);
        } else {
            self.at_mut(id).begun |= self.at(id).what == What::Coroutine;
            match self.poll_body(id, cancelled) {
                Polled::Pending if self.at(id).cause.is_some() && !self.is_shielded(id) => {
                    self.drop_coroutine(id);
                }
                Polled::Pending => {}
                Polled::Ready(value) => self.returned(id, value),
                Polled::Panicked(panic) => {
                    self.drop_body(id);
                    self.failed(id, panic);
                }
            }
        }
        let woken = self.polled.take().is_some_and(|(_, woken)| woken);
        if self.at(id).body.is_some() {
            match woken {
                true => self.schedule(id),
                false => self.link(id),
            }
        }
        if take(&mut self.at_mut(id).cleanups.delayed) {
            self.begin_cleanup(id);
        }
    }

    fn drop_coroutine(&mut self, id: Id) {
        self.drop_body(id);
        if self.at(id).what == What::Cleanup {
            self.log.push(Event::Report(Tag::CleanupDropped { late: false }.into()));
        }
        let node = self.at(id);
        if node.bomb && node.begun {
            self.log.push(Event::Failed(Tag::Bomb(id)));
            return self.failed(id, Tag::Bomb(id).into());
        }
        self.close(id);
    }

    fn returned(&mut self, id: Id, value: Value) {
        self.drop_body(id);
        let scope = self.at(id).parent;
        match value {
            Err(error) if self.at(scope).what == What::Region(Kind::Try) => {
                self.error(scope, error);
                self.cancel(scope, Cause::Sibling);
                self.cancel(id, Cause::Sibling);
                self.at_mut(id).failed = true;
            }
            value => self.at_mut(id).value = Some(value),
        }
        self.close(id);
    }

    fn failed(&mut self, id: Id, panic: Failed) {
        let copy = panic.tag.into();
        let kept = self.fail(id, panic);
        self.cancel(id, Cause::Sibling);
        let node = self.at_mut(id);
        (node.failed, node.stays) = (true, kept.is_some());
        node.panic = kept.or(Some(copy));
        self.close(id);
    }

    fn poll_body(&mut self, id: Id, held: bool) -> Polled {
        let polled = self.poll_code(id, held);
        if !matches!(polled, Polled::Pending) {
            self.drop_own_body(id);
        }
        polled
    }

    fn poll_code(&mut self, id: Id, held: bool) -> Polled {
        let Some(body) = &self.at(id).body else { return Polled::Pending };
        if !(body.polite && held) {
            while let Some(act) = self.at_mut(id).body.as_mut().and_then(|it| it.orders.pop_front())
            {
                match act {
                    Act::Return(value) => return Polled::Ready(Ok(value)),
                    Act::Fail(error) => return Polled::Ready(Err(error)),
                    Act::Panic(number) => return self.panics(Tag::Panic(number)),
                    act => self.act_in(id, act),
                }
            }
        }
        if self.at(id).what == What::Cleanup && !replace(&mut self.at_mut(id).begun, true) {
            self.open(id, id - CLEANUP + CLEANUP_BODY);
        }
        for branch in self.branches(id) {
            let given = match self.at(branch).what {
                What::Await { child, strict } => match self.poll_await(id, child, strict, held) {
                    Ok(given) => given,
                    Err(()) => return self.panics(Tag::Awaited(branch)),
                },
                _ => match self.poll_region(branch, held) {
                    Ok(given) => given,
                    Err(panic) if self.at(branch).catches => {
                        self.log.extend(panic.later.into_iter().map(Event::Left));
                        self.take_branch(id, branch);
                        self.drop_region(branch);
                        self.log.push(Event::Gave(branch, Outcome::Caught(panic.tag)));
                        continue;
                    }
                    Err(panic) => return Polled::Panicked(panic),
                },
            };
            let Some(outcome) = given else { continue };
            self.at_mut(branch).is_here = false;
            self.take_branch(id, branch);
            if self.at(id).what == What::Cleanup {
                return self.end_cleanup(outcome);
            }
            self.log.push(Event::Gave(branch, outcome));
        }
        Polled::Pending
    }

    fn panics(&mut self, tag: Tag) -> Polled {
        self.log.push(Event::Failed(tag));
        Polled::Panicked(tag.into())
    }

    fn branches(&self, body: Id) -> Vec<Id> {
        self.at(body).body.as_ref().map_or_else(Vec::new, |it| it.branches.clone())
    }

    /// Acts that need a body.
    fn act_in(&mut self, body: Id, act: Act) {
        match act {
            Act::Open { id, kind, until, manner } => {
                let node = self.put(id, What::Region(kind), ROOT);
                (node.opener, node.until, node.is_here) = (body, until, true);
                node.catches = manner.catches;
                node.body = Some(Body { polite: manner.polite, ..Body::default() });
                self.add_branch(body, id);
            }
            Act::Await { id, child, strict } => {
                if take(&mut self.at_mut(child).in_hand) {
                    self.put(id, What::Await { child, strict }, ROOT);
                    self.add_branch(body, id);
                }
            }
            Act::Drop(region) => {
                if self.take_branch(body, region) {
                    self.drop_branch(region);
                }
            }
            Act::Forget(region) => {
                if self.take_branch(body, region) {
                    let node = self.at_mut(region);
                    (node.is_here, node.forgotten) = (false, true);
                }
            }
            other => self.act(other),
        }
    }

    fn add_branch(&mut self, body: Id, branch: Id) {
        if let Some(body) = &mut self.at_mut(body).body {
            body.branches.push(branch);
        }
    }

    fn take_branch(&mut self, body: Id, branch: Id) -> bool {
        let Some(body) = &mut self.at_mut(body).body else { return false };
        let before = body.branches.len();
        body.branches.retain(|it| *it != branch);
        body.branches.len() < before
    }

    fn poll_await(
        &mut self,
        body: Id,
        child: Id,
        strict: bool,
        held: bool,
    ) -> Result<Option<Outcome>, ()> {
        if held {
            return Ok(None);
        }
        if !self.at(child).ended {
            self.at_mut(child).waiting = Some(body);
            return Ok(None);
        }
        let node = self.at(child);
        let outcome = match (node.value, &node.panic, node.failed, node.cause) {
            (Some(value), ..) => Outcome::Value(value),
            (_, Some(panic), ..) => Outcome::Panicked(panic.clone()),
            (_, _, true, _) => Outcome::Failed,
            (.., cause) => Outcome::Cancelled(cause.expect("nothing else ends it")),
        };
        if strict && !matches!(outcome, Outcome::Value(_)) {
            return if self.is_cancelled(body) { Ok(None) } else { Err(()) };
        }
        let node = self.at_mut(child);
        (node.kept, node.panic) = (false, None);
        Ok(Some(outcome))
    }

    fn poll_region(&mut self, id: Id, held: bool) -> Result<Option<Outcome>, Failed> {
        if !self.at(id).opened {
            self.open_region(id);
        }
        let What::Region(kind) = self.at(id).what else { unreachable!("it is a region") };
        match kind {
            Kind::Timeout(..) | Kind::Deadline(..) => self.poll_timeout(id, held),
            Kind::Shield => self.poll_plain(id, kind, false),
            Kind::ShieldFor(limit) => self.poll_limited(id, kind, span(limit, id), held),
            Kind::Cancel => {
                let polled = self.poll_plain(id, kind, held)?;
                let node = self.at(id);
                let due = node.until.is_some_and(|at| at <= self.now);
                if polled.is_none() && due && !node.closed && self.cancel(id, Cause::Deadline) {
                    return self.poll_plain(id, kind, held);
                }
                Ok(polled)
            }
            _ => self.poll_plain(id, kind, held),
        }
    }

    fn poll_plain(&mut self, id: Id, kind: Kind, held: bool) -> Result<Option<Outcome>, Failed> {
        if self.at(id).body.is_some() {
            let cancelled = self.at(id).cause.is_some();
            let begun = replace(&mut self.at_mut(id).begun, true);
            // The part up to the first suspension runs also in a cancelled scope.
            if !(cancelled && begun) || self.is_shielded(id) {
                let held = held || cancelled && begun;
                let polled = match kind {
                    Kind::Local => self.poll_crowd(id, held),
                    Kind::Join(policy, _) => self.poll_joiner(id, policy, held),
                    _ => self.poll_body(id, held),
                };
                match polled {
                    Polled::Pending => {
                        self.at_mut(id).waits = true;
                        if self.at(id).cause.is_none() || self.is_shielded(id) {
                            return Ok(None);
                        }
                    }
                    Polled::Ready(Err(error)) if kind == Kind::Try => {
                        self.error(id, error);
                        self.cancel(id, Cause::Sibling);
                    }
                    Polled::Ready(value) => self.at_mut(id).value = Some(value),
                    Polled::Panicked(panic) => {
                        self.cancel(id, Cause::Sibling);
                        self.at_mut(id).panic = Some(panic);
                    }
                }
            }
            self.drop_body(id);
        }
        self.close(id);
        if !self.at(id).ended {
            self.at_mut(id).waits = true;
            return Ok(None);
        }
        let node = self.at_mut(id);
        let (value, panic, failure) = (node.value.take(), node.panic.take(), node.failure.take());
        let units = take(&mut node.units);
        self.let_go(&units);
        let errors = take(&mut self.at_mut(id).errors);
        let first = match (panic, failure) {
            (Some(mut panic), Some(later)) => {
                panic.suppress(later);
                Some(panic)
            }
            (panic, failure) => panic.or(failure),
        };
        if let Some(mut panic) = first {
            panic.later.extend(errors.iter().map(|_| Tag::Error(None)));
            return Err(panic);
        }
        if !errors.is_empty() {
            return Ok(Some(Outcome::Errors(errors)));
        }
        let node = self.at_mut(id);
        if let Some(joined) = node.joined.take() {
            return Ok(Some(joined));
        }
        if let Some(value) = value {
            return Ok(Some(Outcome::Value(value)));
        }
        let cause = node.cause.expect("it has no value");
        if kind == Kind::Cancel && !self.is_cancelled(self.at(id).opener) {
            return Ok(Some(Outcome::Cancelled(cause)));
        }
        self.cancel_caller(id, cause);
        Ok(None)
    }

    fn poll_limited(
        &mut self,
        id: Id,
        kind: Kind,
        limit: u64,
        held: bool,
    ) -> Result<Option<Outcome>, Failed> {
        let is_held = held && self.at(id).units.is_empty();
        if !self.at(id).units.is_empty() {
            self.watch(id, limit);
        }
        let polled = self.poll_plain(id, kind, is_held)?;
        if self.at(id).units.is_empty() {
            return Ok(polled);
        }
        if self.at(id).until.is_none_or(|at| self.now < at) {
            return Ok(None);
        }
        self.at_mut(id).lifted = true;
        if let Some(cause) = self.at(self.at(id).parent).cause {
            self.cancel(id, cause.inherited());
        }
        let units = take(&mut self.at_mut(id).units);
        self.let_go(&units);
        if self.at(id).cause.is_some() {
            return self.poll_plain(id, kind, held);
        }
        Ok(None)
    }

    /// Its time counts if there is something to hold off, be it a deadline that nobody has noticed.
    fn watch(&mut self, shield: Id, limit: u64) {
        self.at_mut(shield).watches = true;
        let above = self.watched_by(shield);
        let is_cancelled = above.into_iter().any(|unit| self.at(unit).cause.is_some());
        if is_cancelled || self.is_cancelled(self.at(shield).opener) {
            self.limit(shield, limit);
        }
    }

    /// Its time counts from now on, unless it did before.
    fn limit(&mut self, shield: Id, limit: u64) {
        if self.at(shield).until.is_none() {
            self.at_mut(shield).until = Some(self.now + limit);
            self.wake_unit(shield);
        }
    }

    /// The units for which a shield holds off: what is beyond the next one is held off by that.
    fn watched_by(&self, shield: Id) -> Vec<Id> {
        let units = &self.at(shield).units;
        let next = units.iter().position(|it| self.holds_off(*it));
        units[..next.map_or(units.len(), |next| next + 1)].to_vec()
    }

    fn poll_crowd(&mut self, id: Id, held: bool) -> Polled {
        while let Some(member) = self.at_mut(id).woken.pop_front() {
            let node = self.at_mut(id);
            if node.door.contains(&member) {
                let door = take(&mut node.door);
                node.members.extend(door);
            }
            if member == id && node.over {
                continue;
            }
            match self.poll_body(member, held) {
                Polled::Pending => {}
                Polled::Ready(value) => {
                    if member == id {
                        let node = self.at_mut(id);
                        node.value = Some(value);
                        (node.over, node.body) = (true, Some(Body::default()));
                    } else {
                        self.at_mut(id).members.retain(|it| *it != member);
                    }
                }
                panicked @ Polled::Panicked(_) => return panicked,
            }
        }
        let node = self.at_mut(id);
        match node.value.take_if(|_| node.members.is_empty() && node.door.is_empty()) {
            Some(value) => Polled::Ready(value),
            None => Polled::Pending,
        }
    }

    fn wake_joiner(&mut self, scope: Id) {
        if take(&mut self.at_mut(scope).listens) {
            self.wake(self.at(scope).opener);
        }
    }

    /// Starts what was forked, hears of what has ended, and stops when that is enough.
    fn poll_joiner(&mut self, id: Id, policy: Policy, held: bool) -> Polled {
        if !self.at(id).over {
            match self.poll_body(id, held) {
                Polled::Pending => {}
                Polled::Ready(_) => {
                    let node = self.at_mut(id);
                    (node.over, node.body) = (true, Some(Body::default()));
                }
                panicked => return panicked,
            }
        }
        let node = self.at_mut(id);
        node.listens = !node.over;
        for fork in take(&mut self.at_mut(id).forked) {
            let node = self.at_mut(id);
            node.forks.push(fork);
            node.running.push(fork);
            let has_begun = self.at(fork).cause.is_some();
            self.at_mut(fork).is_new &= has_begun;
            self.schedule(fork);
            if self.at(fork).ended {
                self.at_mut(id).endings.push_back(fork);
            }
        }
        let mut decided = false;
        while !decided && let Some(fork) = self.at_mut(id).endings.pop_front() {
            let ended = match (self.at(fork).value, self.at(fork).failed) {
                (Some(Ok(value)), _) => Some(Fork::Ok(value)),
                (Some(Err(error)), _) => Some(Fork::Err(error)),
                (None, is_panic) => (!is_panic).then_some(Fork::Unavailable),
            };
            let node = self.at_mut(id);
            node.running.retain(|it| *it != fork);
            let number = node.forks.iter().position(|it| *it == fork).expect("it was started");
            node.results.extend(ended.map(|ended| (number, ended)));
            let is_ok = matches!(ended, Some(Fork::Ok(_)));
            let values = node.results.iter().filter(|it| matches!(it.1, Fork::Ok(_))).count();
            decided = ended.is_some()
                && match policy {
                    Policy::AllOk => !is_ok,
                    Policy::AnyOk => is_ok,
                    Policy::Quorum => values == QUORUM,
                    Policy::AwaitAll => false,
                };
        }
        let node = self.at(id);
        let values = node.results.iter().filter(|it| matches!(it.1, Fork::Ok(_))).count();
        let possible = policy != Policy::Quorum || values + node.running.len() >= QUORUM;
        decided |= node.over && (node.running.is_empty() || !possible);
        let timed_out = !decided && !held && node.until.is_some_and(|at| at <= self.now);
        if !decided && !timed_out {
            return Polled::Pending;
        }
        let cause = if timed_out { Cause::Deadline } else { Cause::Decided };
        for fork in self.at(id).running.clone() {
            self.cancel(fork, cause);
        }
        self.at_mut(id).joined = Some(joined(self.at(id), policy, timed_out));
        Polled::Ready(Ok(0))
    }

    fn poll_timeout(&mut self, id: Id, held: bool) -> Result<Option<Outcome>, Failed> {
        if self.at(id).body.is_some() {
            let known = self.at(id).made && self.at(id).cause.is_some();
            match self.poll_body(id, held || known) {
                Polled::Ready(value) => {
                    if let (Err(error), What::Cleanup) = (value, self.at(self.at(id).opener).what) {
                        self.log.push(Event::Failed(Tag::Cleanup(error)));
                    }
                    self.at_mut(id).value = Some(value);
                }
                Polled::Panicked(panic) => return Err(panic),
                Polled::Pending => {
                    let due = self.at(id).until.is_some_and(|at| at <= self.now);
                    self.at_mut(id).expired |= due;
                    let node = self.at(id);
                    if node.made && node.expired {
                        self.cancel(id, Cause::Deadline);
                    }
                    let node = self.at_mut(id);
                    node.waits = node.made;
                    if !node.expired && node.cause.is_none() || self.is_shielded(id) {
                        return Ok(None);
                    }
                }
            }
            self.drop_body(id);
        }
        if self.at(id).made {
            self.close(id);
            if !self.at(id).ended {
                self.at_mut(id).waits = true;
                return Ok(None);
            }
        }
        let node = self.at_mut(id);
        if let Some(value) = node.value.take() {
            return Ok(Some(Outcome::Value(value)));
        }
        if !node.expired {
            let cause = node.cause.expect("it has no value");
            self.cancel_caller(id, cause);
            return Ok(None);
        }
        Ok((!held).then_some(Outcome::Elapsed))
    }

    // Regions.

    /// The job of the code in `body`.
    fn job_of(&mut self, body: Id) -> Id {
        let node = self.at(body);
        match node.what {
            What::Member => node.parent,
            _ => {
                self.make(body);
                body
            }
        }
    }

    /// Makes the job of a timeout, or of another region.
    fn make(&mut self, id: Id) {
        if self.at(id).made {
            return;
        }
        let parent = self.job_of(self.at(id).opener);
        if matches!(self.at(parent).what, What::Coroutine | What::Cleanup) {
            self.link(parent);
        }
        let above = self.at(parent).cause;
        self.at_mut(parent).children.push(id);
        let node = self.at_mut(id);
        (node.made, node.linked, node.parent) = (true, true, parent);
        if let Some(cause) = above.filter(|_| !self.holds_off(id)) {
            self.at_mut(id).cause = Some(cause.inherited());
        }
    }

    fn open(&mut self, cleanup: Id, timeout: Id) {
        self.add_branch(cleanup, timeout);
        let grace = self.at_mut(timeout).until.take();
        let until = grace.map(|grace| self.now + grace);
        let node = self.at_mut(timeout);
        (node.opener, node.until, node.is_here) = (cleanup, until, true);
    }

    fn open_region(&mut self, id: Id) {
        self.at_mut(id).opened = true;
        let opener = self.at(id).opener;
        let What::Region(kind) = self.at(id).what else { unreachable!("it is a region") };
        if let Kind::Shield | Kind::ShieldFor(_) = kind {
            let units = self.frames(opener);
            for unit in &units {
                self.make(*unit);
            }
            self.at_mut(id).units = units;
        }
        if let Kind::Timeout(_, false) | Kind::Deadline(_, false) = kind {
            return;
        }
        self.make(id);
        if kind == Kind::Local {
            self.turn(id, id);
        }
        if let Kind::Finally(grace) = kind {
            let owner = self.coroutine_of(id);
            let cleanups = &mut self.at_mut(owner).cleanups;
            cleanups.registered += 1;
            let turn = cleanups.registered;
            let node = self.at_mut(id);
            (node.turn, node.has_cleanup) = (turn, true);
            let timeout = What::Region(Kind::Timeout(0, true));
            let body = self.put(id + CLEANUP_BODY, timeout, ROOT);
            body.until = grace.map(|units| span(units, id));
            body.watch = Watch::Handlers;
        }
        self.at_mut(id).watch = Watch::Handlers;
        self.tell(id);
    }

    /// The units around the code of `body`, from the inside to its coroutine.
    fn frames(&self, body: Id) -> Vec<Id> {
        let mut all = Vec::new();
        let mut at = body;
        loop {
            let node = self.at(at);
            at = match node.what {
                What::Member => node.parent,
                What::Region(_) => {
                    all.push(at);
                    node.opener
                }
                _ => {
                    all.push(at);
                    return all;
                }
            };
        }
    }

    fn coroutine_of(&self, body: Id) -> Id {
        self.frames(body).pop().expect("a coroutine is its own")
    }

    /// Whether a cancellation is due for the code of `body`.
    fn is_cancelled(&self, body: Id) -> bool {
        for unit in self.frames(body) {
            let node = self.at(unit);
            let is_over = node.is_here
                && !matches!(node.what, What::Region(Kind::Join(..)))
                && node.until.is_some_and(|at| at <= self.now);
            if node.cause.is_some() || is_over {
                return true;
            }
            if node.is_shield() {
                return false;
            }
        }
        false
    }

    fn is_shielded(&self, unit: Id) -> bool {
        self.nodes.iter().flatten().any(|it| it.units.contains(&unit))
    }

    fn cancel_caller(&mut self, region: Id, cause: Cause) {
        let opener = self.at(region).opener;
        if !self.is_cancelled(opener) {
            let caller = self.job_of(opener);
            self.cancel(caller, cause);
        }
    }

    fn drop_body(&mut self, id: Id) {
        let node = self.at_mut(id);
        node.woken.clear();
        let (door, members) = (take(&mut node.door), take(&mut node.members));
        // They are parts of the body: what drops one of them drops the value.
        if !(door.is_empty() && members.is_empty()) {
            node.value = None;
        }
        door.into_iter().for_each(|member| self.drop_body(member));
        match self.at(id).over {
            true => self.at_mut(id).body = None,
            false => self.drop_own_body(id),
        }
        members.into_iter().for_each(|member| self.drop_body(member));
    }

    fn drop_own_body(&mut self, id: Id) {
        let Some(body) = self.at_mut(id).body.take() else { return };
        for branch in body.branches {
            self.drop_branch(branch);
        }
        match self.at(id).what {
            What::Cleanup => {}
            _ => self.log.push(Event::Gone(id)),
        }
    }

    fn drop_branch(&mut self, branch: Id) {
        match self.at(branch).what {
            What::Await { child, .. } => {
                let child = self.at_mut(child);
                (child.kept, child.waiting) = (false, None);
            }
            _ => self.drop_region(branch),
        }
    }

    fn drop_region(&mut self, id: Id) {
        self.at_mut(id).is_here = false;
        if !self.at(id).opened {
            // Its body was never made.
            self.at_mut(id).body = None;
            return;
        }
        if self.at(id).made && !self.at(id).ended {
            self.cancel(id, Cause::Dropped);
            self.at_mut(id).abandoned = true;
        }
        self.drop_body(id);
        if self.at(id).made {
            self.close(id);
        }
        let node = self.at_mut(id);
        let (panic, failure) = (node.panic.take(), node.failure.take());
        let errors = take(&mut node.errors);
        let units = take(&mut node.units);
        self.log.extend(failure.map(Event::Report));
        self.log.extend(panic.map(Event::Report));
        self.log.extend(errors.iter().map(|_| Event::Report(Tag::Error(None).into())));
        self.let_go(&units);
    }

    /// A shield is over.
    fn let_go(&mut self, units: &[Id]) {
        for unit in units.iter().copied() {
            if self.at(unit).cause.is_some() && !self.is_shielded(unit) {
                self.wake_unit(unit);
            }
        }
    }

    fn wake_unit(&mut self, unit: Id) {
        match self.at(unit).what {
            What::Region(_) => {
                if take(&mut self.at_mut(unit).waits) {
                    self.wake(self.at(unit).opener);
                }
            }
            _ => self.wake(unit),
        }
    }

    // Ends.

    /// The body is done.
    fn close(&mut self, id: Id) {
        if self.at(id).closed {
            return;
        }
        // What was forgotten or dropped in it goes with it.
        for child in self.at(id).children.clone().into_iter().rev() {
            let What::Region(_) = self.at(child).what else { continue };
            self.cancel(child, Cause::Dropped);
            self.at_mut(child).abandoned = true;
            let failure = self.at_mut(child).failure.take();
            self.log.extend(failure.map(Event::Report));
            self.close(child);
        }
        self.at_mut(id).closed = true;
        if self.at(id).has_cleanup {
            let (owner, turn) = (self.coroutine_of(id), self.at(id).turn);
            let in_poll = self.polled.is_some_and(|(polled, _)| polled == owner);
            let cleanups = &mut self.at_mut(owner).cleanups;
            cleanups.closed.insert(turn, None);
            cleanups.delayed |= in_poll;
        }
        self.check_end(id);
    }

    fn check_end(&mut self, id: Id) {
        let node = self.at(id);
        let is_alive = |child: &Id| self.at(*child).what != What::Token;
        let left: Vec<Id> = node.children.iter().copied().filter(is_alive).collect();
        if !node.closed || node.ended || left.iter().any(|child| !self.at(*child).is_new) {
            return;
        }
        if !left.is_empty() {
            // Nobody has started them. As for who comes now, the scope has ended.
            self.at_mut(id).winds_down = true;
            for child in left {
                self.cancel(child, Cause::ScopeEnded);
            }
            return;
        }
        if let What::Region(Kind::Finally(_)) = node.what {
            let (owner, turn, has_cleanup) = (self.coroutine_of(id), node.turn, node.has_cleanup);
            let cleanups = &mut self.at_mut(owner).cleanups;
            match has_cleanup {
                true => drop(cleanups.closed.insert(turn, Some(id))),
                false => cleanups.running = false,
            }
            self.begin_cleanup(owner);
            if has_cleanup {
                return;
            }
        }
        self.end(id);
    }

    fn end(&mut self, id: Id) {
        let node = self.at_mut(id);
        node.ended = true;
        let completion = match (node.failed, node.cause) {
            (true, _) => Completion::Failed,
            (_, Some(cause)) => Completion::Cancelled(cause),
            _ => Completion::Completed,
        };
        let (parent, is_token) = (node.parent, node.what == What::Token);
        if node.watch == Watch::Handlers {
            self.log.push(Event::Ended(id, completion));
        }
        self.at_mut(parent).children.retain(|it| *it != id);
        match self.at(id).what {
            What::Region(_) => self.wake_unit(id),
            _ => {
                if let Some(body) = self.at_mut(id).waiting.take() {
                    self.wake(body);
                }
            }
        }
        if self.at(parent).running.contains(&id) {
            self.at_mut(parent).endings.push_back(id);
            self.wake(self.at(parent).opener);
        }
        if !is_token {
            self.check_end(parent);
        }
    }

    /// The last one whose body is gone has its turn, when it is due.
    fn begin_cleanup(&mut self, owner: Id) {
        let cleanups = &mut self.at_mut(owner).cleanups;
        if cleanups.running || cleanups.delayed {
            return;
        }
        let Some(last) = cleanups.closed.last_entry() else { return };
        let Some(region) = *last.get() else { return };
        last.remove();
        cleanups.running = true;
        self.at_mut(region).has_cleanup = false;
        let id = region + CLEANUP;
        self.put(id, What::Cleanup, region).body = Some(Body::default());
        self.at_mut(region + CLEANUP_BODY).body = Some(Body::default());
        self.at_mut(region).children.push(id);
        self.schedule(id);
    }

    fn end_cleanup(&mut self, outcome: Outcome) -> Polled {
        match outcome {
            Outcome::Value(Err(error)) => return Polled::Panicked(Tag::Cleanup(error).into()),
            Outcome::Elapsed => {
                self.log.push(Event::Report(Tag::CleanupDropped { late: true }.into()));
            }
            _ => {}
        }
        Polled::Ready(Ok(0))
    }

    // Failures go up.

    /// A coroutine has panicked. The panic comes back if it stays there.
    fn fail(&mut self, id: Id, panic: Failed) -> Option<Failed> {
        let scope = self.at(id).parent;
        match self.at(scope).what {
            What::Root | What::Region(Kind::Supervisor) if self.at(id).kept => return Some(panic),
            What::Root | What::Region(Kind::Supervisor) => self.log.push(Event::Report(panic)),
            _ => {
                let late = self.keep_failure(scope, panic);
                self.cancel(scope, Cause::Sibling);
                if let Some(late) = late {
                    self.fail_late(scope, late);
                }
            }
        }
        None
    }

    /// Those that come later travel with the first.
    fn keep_failure(&mut self, region: Id, panic: Failed) -> Option<Failed> {
        let node = self.at_mut(region);
        if node.abandoned {
            return Some(panic);
        }
        match &mut node.failure {
            Some(first) => first.suppress(panic),
            none => *none = Some(panic),
        }
        None
    }

    /// Nobody looks at the region any more.
    fn fail_late(&mut self, region: Id, late: Failed) {
        let back = match self.at(region).what {
            // There is no place for it in the owner.
            What::Region(Kind::Finally(_)) => self.fail(self.coroutine_of(region), late),
            _ => Some(late),
        };
        self.log.extend(back.map(Event::Report));
    }

    fn error(&mut self, scope: Id, error: u32) {
        self.log.push(Event::Failed(Tag::Error(Some(error))));
        let node = self.at_mut(scope);
        match node.abandoned {
            false => node.errors.push(error),
            true => self.log.push(Event::Report(Tag::Error(None).into())),
        }
    }

    // Cancellation goes down.

    fn holds_off(&self, id: Id) -> bool {
        self.at(id).is_shield() || self.at(id).what == What::Cleanup
    }

    fn link(&mut self, id: Id) {
        if replace(&mut self.at_mut(id).linked, true) {
            return;
        }
        let parent = self.at(id).parent;
        let children = &mut self.at_mut(parent).children;
        children.retain(|it| *it != id);
        children.push(id);
    }

    /// The first cause stands; whether it is this one.
    fn cancel(&mut self, id: Id, cause: Cause) -> bool {
        if self.at(id).ended || self.at(id).cause.is_some() {
            return false;
        }
        if matches!(self.at(id).what, What::Coroutine | What::Cleanup) {
            self.link(id);
        }
        self.mark(id, cause);
        if matches!(self.at(id).what, What::Coroutine | What::Cleanup) {
            self.schedule(id);
        }
        let mut below = vec![id];
        while let Some(id) = below.pop() {
            let Some(cause) = self.at(id).cause else { continue };
            let children = self.at(id).children.clone().into_iter().rev();
            let marked: Vec<_> = children
                .filter(|it| !self.holds_off(*it) && self.at(*it).cause.is_none())
                .collect();
            for child in &marked {
                self.mark(*child, cause.inherited());
            }
            self.tell(id);
            match self.at(id).what {
                What::Region(_) => self.wake_unit(id),
                What::Token => self.end(id),
                _ => {}
            }
            for child in &marked {
                if let What::Coroutine | What::Cleanup = self.at(*child).what {
                    self.schedule(*child);
                }
            }
            below.extend(marked);
        }
        true
    }

    fn mark(&mut self, id: Id, cause: Cause) {
        self.at_mut(id).cause.get_or_insert(cause);
    }

    /// Tells the handlers.
    fn tell(&mut self, id: Id) {
        let node = self.at(id);
        if let (Watch::Handlers, Some(cause)) = (node.watch, node.cause) {
            self.log.push(Event::Cancelling(id, cause));
        }
        for shield in 0..self.nodes.len() {
            let Some(node) = self.get(shield).filter(|it| it.watches) else { continue };
            if let What::Region(Kind::ShieldFor(limit)) = node.what
                && self.watched_by(shield).contains(&id)
            {
                self.limit(shield, span(limit, shield));
            }
        }
    }
}

/// A panic that is caught prints nothing: its text has to say it all.
fn absent(id: Id, place: &Location<'_>) -> ! {
    panic!("the model has no {id} ({place})")
}

/// What a join scope gives.
fn joined(scope: &Node, policy: Policy, timed_out: bool) -> Outcome {
    let mut by_fork = scope.results.clone();
    by_fork.sort_unstable();
    let values = |results: &[(usize, Fork)]| -> Vec<Fork> {
        results.iter().map(|it| it.1).filter(|it| matches!(it, Fork::Ok(_))).collect()
    };
    let errors: Vec<u32> = scope
        .results
        .iter()
        .filter_map(|it| if let Fork::Err(error) = it.1 { Some(error) } else { None })
        .collect();
    let (in_order, by_end) = (values(&by_fork), values(&scope.results));
    let unmet = |reason| Outcome::Unmet(reason, errors.clone());
    let failed = match (scope.forks.len(), errors.len()) {
        _ if timed_out => Reason::TimedOut,
        (0, _) => Reason::NoForks,
        (..QUORUM, _) if policy == Policy::Quorum => Reason::TooFewForks,
        (_, 0) if policy != Policy::Quorum => Reason::Cancelled,
        _ => Reason::Failed,
    };
    match policy {
        Policy::AllOk if timed_out => Outcome::Unmet(Reason::TimedOut, Vec::new()),
        Policy::AllOk if in_order.len() < by_fork.len() => unmet(failed),
        Policy::AllOk => Outcome::Joined(in_order),
        Policy::AnyOk if in_order.is_empty() => unmet(failed),
        Policy::AnyOk => Outcome::Joined(in_order),
        Policy::Quorum if by_end.len() < QUORUM => unmet(failed),
        Policy::Quorum => Outcome::Joined(by_end),
        Policy::AwaitAll => {
            let mut all = vec![Fork::Unavailable; scope.forks.len()];
            by_fork.into_iter().for_each(|(fork, ended)| all[fork] = ended);
            Outcome::Joined(all)
        }
    }
}
