//! Random programs, and what is seen of them.
//!
//! An [`Op`] names what it is about by numbers that are taken modulo what there is when its turn
//! comes: so each part of a program is a program. [`Model::resolve`](crate::model::Model::resolve)
//! makes an [`Order`] of it, which says the same with names.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;

/// A job, a body, or an await: numbered in the order of the orders that make them.
pub(crate) type Id = usize;

/// The root of the tree.
pub(crate) const ROOT: Id = 0;

/// The cleanup of a `finally` is a coroutine with a timeout, whose body it is.
pub(crate) const CLEANUP: usize = 1;
pub(crate) const CLEANUP_BODY: usize = 2;

/// The unit in which programs count time, in nanoseconds.
pub(crate) const UNIT: u64 = 60_000_000_000;

/// So many units, for a region that counts them from when it needs to: nothing else is due then.
pub(crate) fn span(units: u8, id: Id) -> u64 {
    match units {
        0 => 0,
        _ => u64::from(units) * UNIT + UNIT / 4 + id as u64 * 1_000_000,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Scope,
    Supervisor,
    Try,
    Cancel,
    Local,
    /// So many units; whether the code inside asks for its job.
    Timeout(u8, bool),
    Deadline(u8, bool),
    Shield,
    /// Its limit, in units.
    ShieldFor(u8),
    /// The grace of the cleanup, in units.
    Finally(Option<u8>),
    /// Its time limit, in units.
    Join(Policy, Option<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    AllOk,
    AnyOk,
    Quorum,
    AwaitAll,
}

/// How many values are a quorum.
pub(crate) const QUORUM: usize = 2;

/// What is done, and whether it ends by a shutdown.
pub(crate) struct Program {
    pub(crate) ops: Vec<Op>,
    pub(crate) shut_down: bool,
}

/// Told with its steps, if it fails.
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {} operations, shut down: {}", self.ops.len(), self.shut_down)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Op {
    /// Who does it, if it is nothing that only a body can do: none for the test itself.
    pub(crate) by: Option<u16>,
    pub(crate) what: What,
    /// The next one comes before anything runs.
    pub(crate) at_once: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Launch(u16, How),
    Open(u16, Kind, Manner),
    Return(u16),
    Fail(u16),
    Panic(u16),
    Drop(u16),
    Forget(u16),
    DropForgotten(u16),
    Await(u16, u16, bool),
    DropHandle(u16),
    Cancel(u16, bool),
    SetDeadline(u16, Option<u8>),
    Token(u16),
    Advance(u8),
}

/// How a region is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// As [`How::polite`].
    pub(crate) polite: bool,
    /// Who opens it catches its panic.
    pub(crate) catches: bool,
}

/// How a coroutine is launched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// With a `Deferred`.
    pub(crate) kept: bool,
    pub(crate) named: bool,
    pub(crate) watch: Watch,
    /// It does what it is told only when an operation of corymb in it would go on.
    pub(crate) polite: bool,
    /// Its destructor panics, if it is dropped between two polls.
    pub(crate) bomb: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    Nothing,
    Job,
    /// The job has handlers.
    Handlers,
}

/// Something to do, by the test or by a body in its next poll.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) by: Option<Id>,
    pub(crate) act: Act,
}

/// An operation of a program, as it was carried out.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) order: Order,
    pub(crate) at_once: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Launch {
        id: Id,
        scope: Id,
        how: How,
    },
    /// Time is what it is then.
    Open {
        id: Id,
        kind: Kind,
        until: Option<u64>,
        manner: Manner,
    },
    Return(u32),
    Fail(u32),
    Panic(u32),
    Drop(Id),
    Forget(Id),
    DropForgotten(Id),
    Await {
        id: Id,
        child: Id,
        strict: bool,
    },
    DropHandle(Id),
    Cancel {
        job: Id,
        custom: Option<u32>,
    },
    SetDeadline {
        scope: Id,
        at: Option<u64>,
    },
    Token {
        id: Id,
        parent: Id,
    },
    Advance(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    Requested,
    Parent,
    ScopeEnded,
    Sibling,
    Deadline,
    Dropped,
    Decided,
    Shutdown,
    Custom(u32),
}

impl Cause {
    pub(crate) fn inherited(self) -> Self {
        if self == Self::Requested { Self::Parent } else { self }
    }
}

/// Which panic, error or report it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tag {
    Panic(u32),
    /// Of the destructor of this body.
    Bomb(Id),
    /// Of this await of a child without a value.
    Awaited(Id),
    /// The error of a cleanup.
    Cleanup(u32),
    CleanupDropped {
        late: bool,
    },
    /// None where only its type is told.
    Error(Option<u32>),
}

/// A failure, and those that came later and travel with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Failed {
    pub(crate) tag: Tag,
    pub(crate) later: Vec<Tag>,
}

impl Failed {
    pub(crate) fn suppress(&mut self, later: Self) {
        self.later.extend(later.all());
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Tag> {
        std::iter::once(self.tag).chain(self.later.iter().copied())
    }
}

impl From<Tag> for Failed {
    fn from(tag: Tag) -> Self {
        Self { tag, later: Vec::new() }
    }
}

pub(crate) type Value = Result<u32, u32>;

/// What a fork came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fork {
    Ok(u32),
    Err(u32),
    Unavailable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    Failed,
    Cancelled,
    NoForks,
    TooFewForks,
    TimedOut,
}

/// How something ended, for who waits for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Value(Value),
    Joined(Vec<Fork>),
    Unmet(Reason, Vec<u32>),
    Cancelled(Cause),
    Elapsed,
    /// Of a `try_scope`.
    Errors(Vec<u32>),
    Failed,
    Panicked(Failed),
    /// It went on as a panic, which its opener has caught.
    Caught(Tag),
}

/// How a job ended, for its handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Completion {
    Completed,
    Cancelled(Cause),
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// What `cancel` answered.
    Cancel(Id, bool),
    Cancelling(Id, Cause),
    /// A body was dropped.
    Gone(Id),
    Ended(Id, Completion),
    /// A scope or an await gave this to who awaits it.
    Gave(Id, Outcome),
    /// Something has failed.
    Failed(Tag),
    Report(Failed),
    /// It was reported, as the panic that it was with has been caught.
    Left(Tag),
    /// A report of what no program does.
    Stray(String),
}

pub(crate) fn program() -> impl Strategy<Value = Program> {
    let (few, more, most) = if cfg!(miri) { (8, 10, 12) } else { (30, 120, 1000) };
    let ops = prop_oneof![
        14 => vec(op(), 0..=few),
        5 => vec(op(), 0..=more),
        1 => vec(op(), 0..=most),
    ];
    (ops, any::<bool>()).prop_map(|(ops, shut_down)| Program { ops, shut_down })
}

fn op() -> impl Strategy<Value = Op> {
    let by = proptest::option::weighted(0.4, any::<u16>());
    (by, what(), proptest::bool::weighted(0.3)).prop_map(|(by, what, at_once)| Op {
        by,
        what,
        at_once,
    })
}

fn what() -> impl Strategy<Value = What> {
    let any = any::<u16>;
    let launch = (any(), how()).prop_map(|(scope, how)| What::Launch(scope, how));
    let manner = (proptest::bool::ANY, proptest::bool::weighted(0.25))
        .prop_map(|(polite, catches)| Manner { polite, catches });
    let open = (any(), kind(), manner).prop_map(|(body, kind, how)| What::Open(body, kind, how));
    let awaits = (any(), any(), proptest::bool::weighted(0.3))
        .prop_map(|(body, child, strict)| What::Await(body, child, strict));
    let cancel = (any(), proptest::bool::ANY).prop_map(|(job, custom)| What::Cancel(job, custom));
    let deadline = (any(), proptest::option::weighted(0.8, 0..4u8))
        .prop_map(|(scope, at)| What::SetDeadline(scope, at));
    prop_oneof![
        16 => launch,
        16 => open,
        8 => any().prop_map(What::Return),
        5 => any().prop_map(What::Fail),
        3 => any().prop_map(What::Panic),
        4 => any().prop_map(What::Drop),
        2 => any().prop_map(What::Forget),
        1 => any().prop_map(What::DropForgotten),
        4 => awaits,
        1 => any().prop_map(What::DropHandle),
        5 => cancel,
        8 => deadline,
        1 => any().prop_map(What::Token),
        4 => (1..3u8).prop_map(What::Advance),
    ]
}

fn how() -> impl Strategy<Value = How> {
    let watch = prop_oneof![Just(Watch::Handlers), Just(Watch::Job), Just(Watch::Nothing)];
    let bomb = proptest::bool::weighted(0.25);
    (any::<bool>(), proptest::bool::weighted(0.2), watch, any::<bool>(), bomb)
        .prop_map(|(kept, named, watch, polite, bomb)| How { kept, named, watch, polite, bomb })
}

fn kind() -> impl Strategy<Value = Kind> {
    let policy = prop_oneof![
        Just(Policy::AllOk),
        Just(Policy::AnyOk),
        Just(Policy::Quorum),
        Just(Policy::AwaitAll),
    ];
    prop_oneof![
        6 => Just(Kind::Scope),
        3 => Just(Kind::Supervisor),
        5 => Just(Kind::Try),
        5 => Just(Kind::Cancel),
        2 => Just(Kind::Local),
        3 => (0..4u8, any::<bool>()).prop_map(|(units, asks)| Kind::Timeout(units, asks)),
        2 => (0..4u8, any::<bool>()).prop_map(|(units, asks)| Kind::Deadline(units, asks)),
        5 => Just(Kind::Shield),
        4 => (0..4u8).prop_map(Kind::ShieldFor),
        5 => proptest::option::weighted(0.3, 1..3u8).prop_map(Kind::Finally),
        5 => (policy, proptest::option::weighted(0.3, 1..3u8))
            .prop_map(|(policy, limit)| Kind::Join(policy, limit)),
    ]
}
