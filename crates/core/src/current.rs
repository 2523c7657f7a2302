//! What runs on this thread: the runtime, and the frames of the poll in progress.
//!
//! While a coroutine is polled, its stack holds a chain of [`Frame`]s: one for the coroutine, and
//! one for each region (scope, timeout) whose body is being polled inside it. The innermost frame
//! tells whose a newly opened scope is and whether the code that asks is cancelled.

use std::cell::{Cell, OnceCell};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task;

use crate::budget::Budget;
use crate::context::ContextInner;
use crate::dispatch::{Dispatch, hop};
use crate::hooks::{self, RuntimeHooks};
use crate::job::Job;
use crate::moves::is_same;
use crate::node::waits::Wait;
use crate::node::{Kind, Node, NodeRef, state};
use crate::poll_hook::PollHook;
use crate::prim::thread_local;
use crate::scoped::Values;
use crate::time::{Instant, Limit, TimeoutId, now};
use crate::wait::{WaitKind, WaitWord};
use crate::waker_word::WakerWord;
use crate::with_context::Section;

struct Current {
    frame: Cell<*const Frame>,
    runtime: Cell<Option<NonNull<dyn RuntimeHooks>>>,
    /// The number of the level that is innermost.
    level: Cell<u64>,
    /// How many levels there have been.
    levels: Cell<u64>,
    /// How many calls of the runtime are on the stack.
    in_use: Cell<usize>,
    /// Something waits for the end of the outermost poll.
    unconfined: Cell<bool>,
}

// Without a destructor, so that it works in destructors of other thread-locals, and costs one
// load to reach.
thread_local! {
    static CURRENT: Current = const {
        Current {
            frame: Cell::new(ptr::null()),
            runtime: Cell::new(None),
            level: Cell::new(0),
            levels: Cell::new(0),
            in_use: Cell::new(0),
            unconfined: Cell::new(false),
        }
    };
}

/// A runtime that was made current, and what was so before.
///
/// Its number is never used again on its thread. So a guard that was left behind, at a level that
/// is gone, is not taken for one of those that are there now; and one from outside of a poll ends
/// nothing inside of it. An odd number says that the thread has an unconfined loop: a poll, or a
/// thread's own loop, is further out or this level itself.
pub(crate) struct Level {
    number: u64,
    outer: Option<NonNull<dyn RuntimeHooks>>,
    outer_number: u64,
}

/// Sets the runtime of this thread. The caller keeps it alive until [`pop_runtime`] has answered
/// true, or [`restore_runtime`] has been called.
#[inline]
pub(crate) fn push_runtime(runtime: NonNull<dyn RuntimeHooks>) -> Level {
    CURRENT.with(|current| current.push(Some(runtime), current.level.get() & HAS_LOOP))
}

/// As [`push_runtime`], of a poll.
#[inline]
fn push_poll(runtime: NonNull<dyn RuntimeHooks>) -> Level {
    CURRENT.with(|current| current.push(Some(runtime), HAS_LOOP))
}

/// Notes that this thread has a loop of its own, until the level is popped.
pub(crate) fn push_loop() -> Level {
    CURRENT.with(|current| current.push(current.runtime.get(), HAS_LOOP))
}

/// Calls `f` as if the coroutine whose poll is in progress here were not there, nor its poll: for
/// what a coroutine runs that is not its own code. Its frame is the innermost.
pub(crate) fn outside<R>(f: impl FnOnce() -> R) -> R {
    let is_outermost = frames().next().and_then(Frame::poll).is_some_and(|poll| poll.is_outermost);
    let has_loop = |level: u64| if is_outermost { 0 } else { level & HAS_LOOP };
    let push =
        |current: &Current| current.push(current.runtime.get(), has_loop(current.level.get()));
    let _left = LeaveLevel(CURRENT.with(push));
    let frame = Frame { up: Cell::new(ptr::null()), poll: ptr::null(), node: FrameNode::Outside };
    let _inside = frame.enter();
    f()
}

/// Leaves a level, and those that were entered after it and left behind.
struct LeaveLevel(Level);

impl Drop for LeaveLevel {
    fn drop(&mut self) {
        restore_runtime(&self.0);
    }
}

/// In a level's number: something on this thread runs what is unconfined, before it returns.
const HAS_LOOP: u64 = 1;

impl Current {
    #[inline]
    fn push(&self, runtime: Option<NonNull<dyn RuntimeHooks>>, has_loop: u64) -> Level {
        let levels = self.levels.get() + 2;
        self.levels.set(levels);
        let number = levels | has_loop;
        let outer = self.runtime.replace(runtime);
        Level { number, outer, outer_number: self.level.replace(number) }
    }
}

impl Level {
    /// Whether it is the outermost poll or loop of its thread.
    pub(crate) fn is_outermost(&self) -> bool {
        self.outer_number & HAS_LOOP == 0
    }
}

/// Whether a poll or a loop is in progress on this thread.
pub(crate) fn has_loop() -> bool {
    CURRENT.with(|current| current.level.get() & HAS_LOOP != 0)
}

/// Whether something waits for the end of the outermost poll on this thread.
#[inline]
pub(crate) fn has_unconfined() -> bool {
    CURRENT.with(|current| current.unconfined.get())
}

pub(crate) fn set_unconfined(waits: bool) {
    CURRENT.with(|current| current.unconfined.set(waits));
}

/// Sets the runtime of this thread back, if it was entered last: false, and no change, if not.
#[inline]
pub(crate) fn pop_runtime(level: &Level) -> bool {
    let last = CURRENT.with(|current| current.level.get() == level.number);
    if last {
        restore_runtime(level);
    }
    last
}

/// Sets the runtime of this thread back, past those that were entered after it.
#[inline]
pub(crate) fn restore_runtime(level: &Level) {
    CURRENT.with(|current| {
        current.level.set(level.outer_number);
        current.runtime.set(level.outer);
    });
}

#[inline]
pub(crate) fn runtime() -> Option<NonNull<dyn RuntimeHooks>> {
    CURRENT.with(|current| current.runtime.get())
}

/// What code in a poll may ask of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    All,
    /// It is bound to this thread.
    Bound,
    /// Nothing: a dispatcher takes the thread elsewhere, and is borrowed from the poll meanwhile.
    Nothing,
}

/// The poll of a coroutine that is in progress: where it is, and what is to come after it.
pub(crate) struct Poll {
    node: NonNull<Node>,
    /// What the thread runs as, if that is not the coroutine's own dispatcher; else null. Whoever
    /// sets it keeps the `Arc` that it leads to until it is set back, or for the whole poll.
    at: Cell<*const Arc<dyn Dispatch>>,
    /// It goes to the end of the queue.
    yielded: Cell<bool>,
    /// It has a wish in its [`Moves`](crate::moves::Moves).
    wished: Cell<bool>,
    /// It is to go there now.
    moving: Cell<bool>,
    /// Set back with it.
    _budget: Budget,
    /// What code in it may ask of it.
    reach: Cell<Reach>,
    /// What is to be done at its end: [`CLEANUPS`], [`PANICS`].
    after: Cell<u8>,
    /// What was polled last of what waits in a queue; to be compared.
    waits: Cell<*const Wait>,
    /// Once it was asked for; not counted.
    io: OnceCell<ManuallyDrop<Arc<dyn Dispatch>>>,
    /// No other poll on this thread has it.
    number: u64,
    /// Of the thread's polls and loops.
    is_outermost: bool,
}

/// Cleanups wait for the end of the poll, and it has a reference to its coroutine.
const CLEANUPS: u8 = 1;
/// The code in the poll was given a panic.
const PANICS: u8 = 1 << 1;

impl Poll {
    #[inline]
    pub(crate) fn new(node: NonNull<Node>, runtime: &RuntimeGuard) -> Self {
        Self {
            node,
            at: Cell::new(ptr::null()),
            yielded: Cell::new(false),
            wished: Cell::new(false),
            moving: Cell::new(false),
            _budget: Budget::begin(),
            reach: Cell::new(Reach::All),
            after: Cell::new(0),
            waits: Cell::new(ptr::null()),
            io: OnceCell::new(),
            number: runtime.level.number,
            is_outermost: runtime.level.is_outermost(),
        }
    }

    /// The coroutine that is polled.
    pub(crate) fn node(&self) -> &Node {
        // SAFETY: its body runs here, so it has not ended.
        unsafe { self.node.as_ref() }
    }

    /// A reference to the coroutine that is polled.
    pub(crate) fn keep(&self) -> NodeRef {
        // SAFETY: polled, so unended.
        unsafe { NodeRef::retain(self.node) }
    }

    /// Whether that is the coroutine that is polled.
    #[inline]
    pub(crate) fn is_of(&self, node: &NodeRef) -> bool {
        self.node == node.as_ptr()
    }

    /// Whether something is to be done at its end.
    #[inline]
    pub(crate) fn is_followed(&self) -> bool {
        self.after.get() != 0
    }

    /// The coroutine whose cleanups wait for the end of the poll.
    pub(crate) fn take_cleanups(&self) -> Option<NodeRef> {
        // SAFETY: the reference that `delay_cleanups` has left.
        self.take(CLEANUPS).then(|| unsafe { NodeRef::from_owned(self.node) })
    }

    /// Notes that the code in the poll was given a panic, which may end there.
    pub(crate) fn note_panic(&self) {
        self.after.set(self.after.get() | PANICS);
        // By which the end of the body looks for it.
        let _side = self.node().make_side();
    }

    /// Whether the code in the poll was given a panic.
    pub(crate) fn take_panics(&self) -> bool {
        self.take(PANICS)
    }

    fn take(&self, what: u8) -> bool {
        let before = self.after.get();
        self.after.set(before & !what);
        before & what != 0
    }

    /// What was polled last of what waits in a queue, to be compared.
    pub(crate) fn last_wait(&self) -> *const Wait {
        self.waits.get()
    }

    /// The coroutine, to be compared: it may have ended.
    pub(crate) fn address(&self) -> *const Node {
        self.node.as_ptr()
    }

    /// The coroutine's own dispatcher.
    #[inline]
    pub(crate) fn home(&self) -> &Arc<dyn Dispatch> {
        // SAFETY: polled, so unended.
        unsafe { &self.node().context().dispatch }
    }

    /// What `Dispatcher::Io` stands for in the coroutine's runtime.
    pub(crate) fn io(&self) -> &Arc<dyn Dispatch> {
        self.io.get_or_init(|| {
            // SAFETY: polled, so unended.
            let runtime = unsafe { &self.node().context().runtime };
            // SAFETY: it comes from an `Arc`, which the runtime keeps, which the coroutine's context
            // keeps for longer than this poll; and it is never dropped, for it was not counted.
            ManuallyDrop::new(unsafe { Arc::from_raw(runtime.io_ptr()) })
        })
    }

    /// Whether the thread's runtime is the coroutine's own.
    #[inline]
    pub(crate) fn is_in_its_runtime(&self) -> bool {
        // SAFETY: polled, so unended.
        is_runtime(unsafe { &self.node().context().runtime })
    }

    /// What the thread runs as; the answer is not to be used any more when that changes.
    #[inline]
    pub(crate) fn here(&self) -> &Arc<dyn Dispatch> {
        // SAFETY: null, or kept by who set it.
        unsafe { self.at.get().as_ref() }.unwrap_or_else(|| self.home())
    }

    /// Takes the thread over to `to`, as [`hop`](crate::dispatch::hop) does. Who calls notes that.
    #[inline]
    pub(crate) fn hop(&self, to: &Arc<dyn Dispatch>) -> bool {
        // The code of dispatchers does not find the poll, and so cannot change what is here, which
        // may be all that keeps the dispatcher that is left.
        let _out_of_reach =
            OutOfReach { reach: &self.reach, before: self.reach.replace(Reach::Nothing) };
        hop(&**self.here(), &**to)
    }

    /// Whether it is in no other poll and no loop of this thread.
    #[inline]
    pub(crate) fn is_outermost(&self) -> bool {
        self.is_outermost
    }

    /// Whether the thread runs as something else than the coroutine's own dispatcher.
    #[inline]
    pub(crate) fn is_away(&self) -> bool {
        !self.at.get().is_null()
    }

    /// Notes that the thread runs as `at`, or as the coroutine's own dispatcher if that is null.
    ///
    /// # Safety
    ///
    /// The caller keeps what `at` leads to until it is set back, or for the rest of the poll.
    pub(crate) unsafe fn set_at(&self, at: *const Arc<dyn Dispatch>) {
        self.at.set(at);
    }

    /// Whether that is what was set last.
    pub(crate) fn is_at(&self, at: *const Arc<dyn Dispatch>) -> bool {
        self.at.get() == at
    }

    /// Has the coroutine go to the end of the queue.
    pub(crate) fn give_way(&self) {
        self.yielded.set(true);
    }

    /// Whether the poll asked to go to the end of the queue.
    #[inline]
    pub(crate) fn has_yielded(&self) -> bool {
        self.yielded.get()
    }

    /// Notes that there is a wish; `now` if the coroutine is to go there at once.
    pub(crate) fn wish(&self, now: bool) {
        self.wished.set(true);
        self.moving.set(now);
    }

    /// Forgets that there is a wish; whether there was one.
    pub(crate) fn forget_wish(&self) -> bool {
        self.moving.set(false);
        self.wished.replace(false)
    }

    /// Whether the coroutine's own dispatcher is the runtime's pool.
    #[inline]
    pub(crate) fn is_from_default(&self) -> bool {
        // SAFETY: polled, so unended.
        unsafe { self.node().context() }.is_default()
    }

    #[inline]
    pub(crate) fn has_wish(&self) -> bool {
        self.wished.get()
    }

    /// Whether `waker` is the coroutine's own, and not of something that polls inside it.
    #[inline]
    pub(crate) fn is_woken_by(&self, waker: &task::Waker) -> bool {
        WakerWord::is_cell_of(self.node.as_ptr().cast_const().cast(), waker)
    }

    pub(crate) fn is_moving(&self) -> bool {
        self.moving.get()
    }

    /// A number that no other poll on this thread has.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

/// Code does not find the poll until this is dropped.
struct OutOfReach<'a> {
    reach: &'a Cell<Reach>,
    before: Reach,
}

impl Drop for OutOfReach<'_> {
    #[inline]
    fn drop(&mut self) {
        self.reach.set(self.before);
    }
}

/// One entry of the chain.
pub(crate) struct Frame {
    up: Cell<*const Self>,
    /// The poll of the coroutine in which this is, or null; valid while the frame is entered.
    poll: *const Poll,
    node: FrameNode,
}

enum FrameNode {
    Made(NonNull<Node>),
    /// A timeout, which makes its node when one is asked for.
    Lazy(*const Limit<'static>),
    /// A part with a context of its own, and no node.
    Section(*const Section),
    /// What a thread blocks on, and its region.
    Bound(NonNull<Node>),
    /// What is not part of the coroutine right around it, though that one's poll runs it: to code
    /// inside it is as if this frame and that one were not there.
    Outside,
}

impl Frame {
    /// The frame of a coroutine's poll, which outlives it.
    #[inline]
    pub(crate) fn coroutine(poll: &Poll) -> Self {
        Self { up: Cell::new(ptr::null()), poll, node: FrameNode::Made(poll.node) }
    }

    /// The frame of a part with another context, which is valid while the frame is entered. Dumps
    /// show it.
    #[inline]
    pub(crate) fn section(section: &Section) -> Self {
        let poll = current_poll();
        // SAFETY: that of a frame which is entered.
        if let Some(poll) = unsafe { poll.as_ref() } {
            poll.node().wait.set(WaitKind::Section, section.place());
        }
        Self { up: Cell::new(ptr::null()), poll, node: FrameNode::Section(section) }
    }

    /// The frame of what a thread blocks on: what is inside is bound to the thread, even if a
    /// coroutine is polled further out.
    pub(crate) fn bound(region: NonNull<Node>) -> Self {
        Self { up: Cell::new(ptr::null()), poll: ptr::null(), node: FrameNode::Bound(region) }
    }

    /// The frame of a region inside whatever is polled on this thread.
    #[inline]
    pub(crate) fn region(node: NonNull<Node>) -> Self {
        Self { up: Cell::new(ptr::null()), poll: current_poll(), node: FrameNode::Made(node) }
    }

    /// The frame of a timeout; `limit` is valid while the frame is entered.
    #[inline]
    pub(crate) fn timeout(limit: *const Limit<'_>) -> Self {
        Self {
            up: Cell::new(ptr::null()),
            poll: current_poll(),
            node: FrameNode::Lazy(limit.cast()),
        }
    }

    /// Makes it the innermost frame until the guard is dropped.
    #[inline]
    pub(crate) fn enter(&self) -> FrameGuard<'_> {
        CURRENT.with(|current| self.up.set(current.frame.replace(self)));
        FrameGuard { frame: self, _here: PhantomData }
    }

    /// Calls `f` in this frame and catches its panic.
    #[inline]
    pub(crate) fn catch<R>(&self, f: impl FnOnce() -> R) -> std::thread::Result<R> {
        let _inside = self.enter();
        catch_unwind(AssertUnwindSafe(f))
    }

    /// The frame around this one, as code here sees it.
    #[inline]
    fn around<'a>(&self) -> Option<&'a Self> {
        // SAFETY: as in `all_frames`.
        unsafe { self.up.get().as_ref() }.and_then(Self::or_beyond)
    }

    /// This frame, or what is around the coroutine whose poll it hides.
    #[inline]
    fn or_beyond(&self) -> Option<&Self> {
        match self.node {
            FrameNode::Outside => self.beyond(),
            _ => Some(self),
        }
    }

    #[cold]
    fn beyond(&self) -> Option<&Self> {
        // SAFETY: as in `all_frames`.
        unsafe { self.up.get().as_ref() }.and_then(Self::around)
    }

    /// Whether it is the frame of a coroutine itself.
    fn is_coroutine(&self) -> bool {
        match self.node {
            FrameNode::Made(node) => self.poll().is_some_and(|poll| poll.node == node),
            _ => false,
        }
    }

    fn shield(&self) -> Option<Shield> {
        let FrameNode::Made(node) = self.node else { return None };
        // SAFETY: the frame keeps the node.
        let seen = unsafe { node.as_ref() }.state.load();
        seen.has(state::SHIELD).then(|| match seen.has(state::SOFT) {
            true => Shield::Soft,
            false => Shield::Hard,
        })
    }

    #[inline]
    fn poll<'a>(&self) -> Option<&'a Poll> {
        // SAFETY: valid while the frame is entered, and callers here look no longer.
        unsafe { self.poll.as_ref() }
    }
}

/// Leaves a [`Frame`].
pub(crate) struct FrameGuard<'a> {
    frame: &'a Frame,
    _here: PhantomData<*const ()>,
}

impl Drop for FrameGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with(|current| current.frame.set(self.frame.up.get()));
    }
}

/// All frames that code here may know of, from the innermost outwards.
#[inline]
fn frames<'a>() -> impl Iterator<Item = &'a Frame> {
    std::iter::successors(innermost(), |frame| frame.around())
}

/// The first of [`frames`].
#[inline]
fn innermost<'a>() -> Option<&'a Frame> {
    // SAFETY: as in `all_frames`.
    unsafe { CURRENT.with(|current| current.frame.get()).as_ref() }.and_then(Frame::or_beyond)
}

/// The frames on this thread's stack, those that are hidden by others included.
fn all_frames<'a>() -> impl Iterator<Item = &'a Frame> {
    // SAFETY: an entered frame outlives its guard, and guards nest: all on the chain are valid
    // until this thread leaves them, which it does not while a caller here looks.
    let first = unsafe { CURRENT.with(|current| current.frame.get()).as_ref() };
    // SAFETY: as above.
    std::iter::successors(first, |frame| unsafe { frame.up.get().as_ref() })
}

/// The frames of the innermost coroutine's poll. Those further out are of a coroutine that runs
/// this one in its own poll, and do not concern it.
fn frames_here<'a>() -> impl Iterator<Item = &'a Frame> {
    let mut inside = true;
    frames().take_while(move |frame| {
        let here = inside;
        inside &= !frame.is_coroutine();
        here
    })
}

/// What a shield holds off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shield {
    /// What has a grace, which a deadline has not.
    Soft,
    /// Everything.
    Hard,
}

/// As [`frames_here`], up to the innermost shield that is not soft; with whether they are beyond one
/// that is.
fn frames_to_shield<'a>() -> impl Iterator<Item = (&'a Frame, bool)> {
    let (mut inside, mut beyond_soft) = (true, false);
    frames_here().map_while(move |frame| {
        let here = inside.then_some((frame, beyond_soft));
        let shield = frame.shield();
        inside &= shield != Some(Shield::Hard);
        beyond_soft |= shield == Some(Shield::Soft);
        here
    })
}

/// The coroutines in whose polls this is, hidden ones included, from the innermost outwards.
pub(crate) fn coroutines() -> impl Iterator<Item = *const Node> {
    all_frames()
        .filter(|frame| frame.is_coroutine())
        .filter_map(|frame| frame.poll().map(|poll| poll.node.as_ptr().cast_const()))
}

/// Whether the code that asks runs inside of `hook`, for the coroutine that it is a part of.
pub(crate) fn is_hooked_by(hook: &PollHook) -> bool {
    frames_here().any(|frame| {
        let hooks = match frame.node {
            // SAFETY: polled here, so unended.
            FrameNode::Made(node) if frame.is_coroutine() => unsafe {
                node.as_ref().context().hooks()
            },
            // SAFETY: valid while the frame is entered.
            FrameNode::Section(section) => unsafe { &*section }.hooks(),
            _ => None,
        };
        hooks.is_some_and(|hooks| hooks.has(hook))
    })
}

/// The poll in progress of the coroutine that the code which asks is a part of.
pub(crate) fn poll_here<'a>() -> Option<&'a Poll> {
    frames().next().and_then(Frame::poll)
}

#[inline]
fn current_poll() -> *const Poll {
    frames().next().map_or(ptr::null(), |frame| frame.poll)
}

/// Where the code that asks runs.
pub(crate) enum Place<'a> {
    /// In a coroutine, which its dispatcher polls.
    Coroutine(&'a Poll),
    /// In what a thread blocks on, or in a coroutine that is bound to it.
    Bound,
    /// In something that corymb does not poll.
    Outside,
}

impl Place<'_> {
    /// Whether code here may block its thread.
    pub(crate) fn is_for_blocking(&self) -> bool {
        match self {
            Self::Coroutine(poll) => poll.here().is_for_blocking(),
            Self::Bound => true,
            Self::Outside => false,
        }
    }
}

/// Where the code that asks runs. What is answered is valid until the poll in progress returns.
#[inline]
pub(crate) fn place<'a>() -> Place<'a> {
    match frames().next().map(Frame::poll) {
        Some(Some(poll)) => match poll.reach.get() {
            Reach::All => Place::Coroutine(poll),
            Reach::Bound => Place::Bound,
            Reach::Nothing => Place::Outside,
        },
        Some(None) if frames().any(|frame| matches!(frame.node, FrameNode::Bound(_))) => {
            Place::Bound
        }
        _ => Place::Outside,
    }
}

/// Whether the code that asks may block its thread, as far as is known: in a coroutine only where
/// its dispatcher is meant for that.
pub fn may_block() -> bool {
    matches!(place(), Place::Outside) || place().is_for_blocking()
}

/// Whether the code that asks runs in a coroutine whose launch began in its caller: what it
/// launches in the same way begins after it.
pub(crate) fn is_started_inline() -> bool {
    match place() {
        // SAFETY: polled, so unended.
        Place::Coroutine(poll) => unsafe { poll.node().context() }.starts_inline,
        _ => false,
    }
}

/// Where the code that asks belongs: to the section right around it that has a dispatcher, else to
/// its coroutine's own.
#[cold]
pub(crate) fn belongs_to(poll: &Poll) -> Arc<dyn Dispatch> {
    with_place_of_code(poll, Arc::clone)
}

/// The poll in progress, for code right in the body of its coroutine and in no part of it that has a
/// frame, if that may move.
#[inline]
pub(crate) fn right_in_coroutine<'a>() -> Option<&'a Poll> {
    let frame = innermost()?;
    let poll = frame.poll()?;
    let is_right_in = matches!(frame.node, FrameNode::Made(node) if node == poll.node);
    (is_right_in && poll.reach.get() == Reach::All).then_some(poll)
}

/// Whether the code that asks is where it belongs.
#[inline]
pub(crate) fn is_where_it_belongs(poll: &Poll) -> bool {
    with_place_of_code(poll, |to| is_same(to, poll.here()))
}

#[inline]
fn with_place_of_code<R>(poll: &Poll, f: impl FnOnce(&Arc<dyn Dispatch>) -> R) -> R {
    let section = frames_here().find_map(|frame| match frame.node {
        // SAFETY: valid while the frame is entered.
        FrameNode::Section(section) => unsafe { &*section }.to(poll),
        _ => None,
    });
    f(section.unwrap_or_else(|| poll.home()))
}

/// The timeouts around the code that asks, in the poll of its coroutine.
pub(crate) fn timeouts() -> impl Iterator<Item = TimeoutId> {
    frames_here().filter_map(|frame| match frame.node {
        // SAFETY: valid while the frame is entered.
        FrameNode::Lazy(lazy) => Some(unsafe { &*lazy }.id()),
        _ => None,
    })
}

/// The coroutine that is polled is bound to this thread.
pub(crate) fn bind_poll() {
    if let Some(poll) = frames().next().and_then(Frame::poll) {
        poll.reach.set(Reach::Bound);
    }
}

/// Whether the code that asks runs in a coroutine that `dispatch` has resumed.
pub fn runs_as(dispatch: &dyn Dispatch) -> bool {
    let poll = frames().next().and_then(Frame::poll);
    poll.is_some_and(|poll| ptr::addr_eq(Arc::as_ptr(poll.here()), dispatch))
}

/// The node of the innermost frame, made if need be.
pub(crate) fn node() -> Option<NodeRef> {
    node_of(innermost()?)
}

fn node_of(frame: &Frame) -> Option<NodeRef> {
    let up = frame.around();
    let node = match frame.node {
        FrameNode::Made(node) => node,
        FrameNode::Section(_) | FrameNode::Bound(_) | FrameNode::Outside => return node_of(up?),
        FrameNode::Lazy(lazy) => {
            let parent = match up {
                Some(up) => node_of(up)?,
                None => hooks::with(|runtime| runtime.root()).into_node(),
            };
            // SAFETY: valid while the frame is entered.
            unsafe { &*lazy }.node(&parent, up.and_then(section_context))
        }
    };
    // SAFETY: whoever entered the frame keeps the node.
    Some(unsafe { NodeRef::retain(node) })
}

/// The node that new regions belong to, and its ancestors; the root alone for code whose job has
/// ended.
pub(crate) fn ancestry() -> Vec<NodeRef> {
    let here = node_or_root();
    let all = with_unended_node(here.clone(), |_| {
        let mut all = Vec::new();
        let mut at = Some(here.as_ptr());
        while let Some(node) = at {
            // SAFETY: unended, and so are the ancestors of an unended node.
            let node = unsafe { NodeRef::retain(node) };
            at = node.parent;
            all.push(node);
        }
        all
    });
    all.unwrap_or_else(|| root().into_iter().collect())
}

/// What a cancellation of the code that asks would drop in place: the regions that it runs in, from
/// the innermost outwards, and its coroutine.
pub(crate) fn units() -> Vec<NodeRef> {
    let has_node = |frame: &&Frame| matches!(frame.node, FrameNode::Made(_) | FrameNode::Lazy(_));
    frames_here().filter(has_node).filter_map(node_of).collect()
}

/// The context that a section sets for what is right inside it; none elsewhere, where the node's
/// own is in force.
fn section_context(frame: &Frame) -> Option<Arc<ContextInner>> {
    let up = frame.around();
    match frame.node {
        FrameNode::Made(_) | FrameNode::Lazy(_) => None,
        FrameNode::Bound(_) | FrameNode::Outside => section_context(up?),
        FrameNode::Section(section) => {
            let outer = || match up.and_then(section_context) {
                Some(outer) => Some(outer),
                None => with_unended_node(up.map_or_else(root, node_of)?, |node| {
                    // SAFETY: a section is in a coroutine or under a root, not in a token.
                    Arc::new(unsafe { node.context() }.clone())
                }),
            };
            // SAFETY: valid while the frame is entered.
            unsafe { &*section }.context(outer)
        }
    }
}

/// The context that new regions get, if it is not that of the node they are opened in.
pub(crate) fn region_context() -> Option<Arc<ContextInner>> {
    frames().next().and_then(section_context)
}

/// The coroutine that is polled here, unless the code that asks is in a region or section of it.
/// Until the frame is left it does not end.
#[inline]
pub(crate) fn coroutine() -> Option<NonNull<Node>> {
    Some(innermost().filter(|it| it.is_coroutine())?.poll()?.node)
}

/// Whether this thread is right in the body of a coroutine or region.
#[inline]
pub(crate) fn is_in_body_of(node: NonNull<Node>) -> bool {
    innermost().is_some_and(|frame| matches!(frame.node, FrameNode::Made(here) if here == node))
}

/// The node that new regions belong to: the innermost frame's, else the runtime's root.
pub(crate) fn node_or_root() -> NodeRef {
    node().or_else(root).expect("a runtime has a root")
}

/// Calls `f` with [`node_or_root`], for which a reference is taken only where nobody has one.
pub(crate) fn with_node_or_root<R>(f: impl FnOnce(&NodeRef) -> R) -> R {
    let Some(Frame { node: FrameNode::Made(node), .. }) = innermost() else {
        return f(&node_or_root());
    };
    // SAFETY: never dropped, so that it gives up nothing; the frame keeps the node for longer.
    f(&ManuallyDrop::new(unsafe { NodeRef::from_owned(*node) }))
}

fn root() -> Option<NodeRef> {
    Some(hooks::with(|runtime| runtime.root()).into_node())
}

/// Whether a cancellation is due for the code that asks: of its coroutine, or of a region that it
/// runs in, up to the next shield.
pub(crate) fn is_cancelled() -> bool {
    frames_to_shield().any(|(frame, beyond_soft)| match beyond_soft {
        // What is forced has marked the shield too.
        true => frame.is_overdue(),
        false => frame.is_cancelled(),
    })
}

/// Whether one would be due for the code that asks if there were no shields.
pub(crate) fn is_cancelled_outside() -> bool {
    frames_here().any(Frame::is_cancelled)
}

impl Frame {
    /// Whether what it is of is cancelled, or its deadline has passed.
    fn is_cancelled(&self) -> bool {
        let is_marked = match self.node {
            // SAFETY: the frame keeps the node, and its body is running here, so it has not ended.
            FrameNode::Made(node) if self.is_coroutine() => unsafe { node.as_ref().is_cancelled() },
            // Its own mark alone: a region that was moved may lose its parent at any moment, by the
            // end of the coroutine that opened it, on another thread. One that was not has its parent
            // among the frames.
            // SAFETY: the frame keeps the node.
            FrameNode::Made(node) => is_marked(unsafe { node.as_ref() }),
            _ => false,
        };
        is_marked || self.is_overdue()
    }

    fn is_overdue(&self) -> bool {
        match self.node {
            FrameNode::Made(_) if self.is_coroutine() => false,
            FrameNode::Made(node) => {
                // SAFETY: the frame keeps the node.
                unsafe { node.as_ref() }.deadline().is_some_and(|deadline| deadline <= now())
            }
            // SAFETY: valid while the frame is entered.
            FrameNode::Lazy(lazy) => unsafe { &*lazy }.is_expired(),
            FrameNode::Section(_) | FrameNode::Bound(_) | FrameNode::Outside => false,
        }
    }
}

/// The tightest deadline in force for the code that asks, up to the next shield that is not soft.
pub(crate) fn deadline() -> Option<Instant> {
    let mut all = Vec::new();
    for (frame, _) in frames_to_shield() {
        match frame.node {
            FrameNode::Made(node) if frame.is_coroutine() => {
                // SAFETY: polled here, so unended.
                all.extend(unsafe { deadline_above(node) });
            }
            // SAFETY: the frame keeps the node.
            FrameNode::Made(node) => all.extend(unsafe { node.as_ref() }.deadline()),
            // SAFETY: valid while the frame is entered.
            FrameNode::Lazy(lazy) => all.push(unsafe { &*lazy }.deadline()),
            FrameNode::Section(_) | FrameNode::Bound(_) | FrameNode::Outside => {}
        }
    }
    all.into_iter().min()
}

/// The tightest deadline of what is above a coroutine, up to the next shield.
///
/// # Safety
///
/// It has not ended, and does not during the call.
unsafe fn deadline_above(coroutine: NonNull<Node>) -> Option<Instant> {
    let mut tightest = None;
    let mut at = coroutine;
    loop {
        // SAFETY: unended, and so are the ancestors of an unended node.
        let node = unsafe { at.as_ref() };
        tightest = tightest.into_iter().chain(node.deadline()).min();
        match node.parent {
            Some(parent) if !node.state.load().has_hard_shield() => at = parent,
            _ => return tightest,
        }
    }
}

/// Notes that the poll of `owner` that is in progress here is to call
/// [`after_poll`](crate::cleanup::after_poll): true if that is news.
pub(crate) fn delay_cleanups(owner: &NodeRef) -> bool {
    let poll = frames().next().and_then(Frame::poll).filter(|poll| poll.node == owner.as_ptr());
    let Some(poll) = poll else { return false };
    let news = poll.after.get() & CLEANUPS == 0;
    poll.after.set(poll.after.get() | CLEANUPS);
    if news {
        // Until the end of the poll, by which the coroutine may have ended.
        let _kept = owner.clone().into_owned();
    }
    news
}

/// Notes that the current coroutine gives way, if `waker` is its own; else answers false.
#[inline]
pub(crate) fn yield_to_queue(waker: &task::Waker) -> bool {
    let Some(poll) = frames().next().and_then(Frame::poll) else { return false };
    let own = poll.is_woken_by(waker);
    if own {
        poll.yielded.set(true);
    }
    own
}

/// Whether this is in the poll of a coroutine, and not in what a thread blocks on there.
pub(crate) fn is_in_coroutine() -> bool {
    !current_poll().is_null()
}

/// What is polled as a whole and hears of the end of each poll: the coroutine in which the code that
/// asks is, or what its thread blocks on. The poll remembers that `wait` was polled last.
#[inline]
pub(crate) fn unit_that_waits(wait: NonNull<Wait>) -> Option<NonNull<Node>> {
    match innermost()?.poll() {
        Some(poll) => {
            poll.waits.set(wait.as_ptr());
            Some(poll.node)
        }
        None => blocked_on(),
    }
}

/// The region of what this thread blocks on, around the code that asks.
#[cold]
fn blocked_on() -> Option<NonNull<Node>> {
    frames().find_map(|frame| match frame.node {
        FrameNode::Bound(region) => Some(region),
        _ => None,
    })
}

/// Calls `f` with the wait word of the current coroutine, or of the region at the root.
#[inline]
pub(crate) fn with_wait_word(f: impl FnOnce(&WaitWord)) {
    let Some(frame) = frames().next() else { return };
    match (frame.poll(), &frame.node) {
        (Some(poll), _) => f(&poll.node().wait),
        // SAFETY: the frame keeps its node.
        (None, FrameNode::Made(node)) => f(&unsafe { node.as_ref() }.wait),
        _ => {}
    }
}

/// What is bound for the code that asks; valid until it leaves the innermost frame.
#[inline]
pub(crate) fn values<'a>() -> Option<&'a Values> {
    for frame in frames() {
        let node = match frame.node {
            // SAFETY: valid while the frame is entered.
            FrameNode::Section(section) => match unsafe { &*section }.values() {
                Some(values) => return Some(values),
                None => continue,
            },
            FrameNode::Lazy(_) | FrameNode::Bound(_) => continue,
            FrameNode::Outside => return None,
            // SAFETY: the frame keeps the node.
            FrameNode::Made(node) => unsafe { &*node.as_ptr() },
        };
        // A region's own context is that of the section that it was opened in.
        if frame.is_coroutine() || node.state.load().has(state::OWN_CONTEXT) {
            // SAFETY: polled here, or the owner of its context.
            return unsafe { node.context() }.values.as_ref();
        }
    }
    None
}

/// Calls `f` with the context in force, if there is one.
pub(crate) fn with_context<R>(f: impl FnOnce(&ContextInner) -> R) -> Option<R> {
    if let Some(context) = region_context() {
        return Some(f(&context));
    }
    // SAFETY: no token has a frame, and unended during the call.
    with_unended(|node| f(unsafe { node.context() }))
}

/// Calls `f` with the node of the innermost frame, kept from ending. None outside of frames, and
/// in a region that another thread has closed because its opener has ended.
pub(crate) fn with_unended<R>(f: impl FnOnce(&Node) -> R) -> Option<R> {
    with_unended_node(node()?, f)
}

fn with_unended_node<R>(node: NodeRef, f: impl FnOnce(&Node) -> R) -> Option<R> {
    match node.kind() {
        // Its body runs here.
        Kind::Coroutine => Some(f(&node)),
        _ => Job::from_node(node).pinned(f),
    }
}

/// Whether `runtime` is the one of this thread, which keeps it.
#[inline]
pub(crate) fn is_runtime(runtime: &Arc<dyn RuntimeHooks>) -> bool {
    // The address tells runtimes apart; two vtables of one type may differ.
    self::runtime().is_some_and(|here| here.addr() == NonNull::from(&**runtime).addr())
}

/// The runtime, made current for a poll on a thread that is not one of its own.
#[inline]
pub(crate) fn enter_runtime(runtime: &Arc<dyn RuntimeHooks>) -> RuntimeGuard {
    // The coroutine that is polled may end and free its context, so the guard counts its own.
    let kept = (!is_runtime(runtime)).then(|| Arc::clone(runtime));
    // A level also where it is the same: the guard that keeps it may be dropped in the poll.
    let level = push_poll(NonNull::from(&**runtime));
    RuntimeGuard { level, kept: ManuallyDrop::new(kept) }
}

impl RuntimeGuard {
    pub(crate) fn level(&self) -> &Level {
        &self.level
    }
}

/// Leaves an [`enter_runtime`], and whatever runtimes the poll has entered and not left.
pub(crate) struct RuntimeGuard {
    level: Level,
    kept: ManuallyDrop<Option<Arc<dyn RuntimeHooks>>>,
}

impl Drop for RuntimeGuard {
    #[inline]
    fn drop(&mut self) {
        let in_order = pop_runtime(&self.level);
        if !in_order {
            restore_runtime(&self.level);
        }
        // A guard that was left behind may lead back to it.
        if in_order && !is_runtime_in_use() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.kept) };
        }
    }
}

/// The runtime of this thread, with a guard for the time in which it is used.
#[inline]
pub(crate) fn use_runtime() -> Option<(NonNull<dyn RuntimeHooks>, InUse)> {
    let runtime = runtime()?;
    CURRENT.with(|current| current.in_use.set(current.in_use.get() + 1));
    Some((runtime, InUse(PhantomData)))
}

/// Whether a call of the runtime is on this thread's stack.
#[inline]
pub(crate) fn is_runtime_in_use() -> bool {
    CURRENT.with(|current| current.in_use.get() > 0)
}

/// Ends a [`use_runtime`].
pub(crate) struct InUse(PhantomData<*const ()>);

impl Drop for InUse {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with(|current| current.in_use.set(current.in_use.get() - 1));
    }
}

/// Whether `node` is cancelled by its own mark.
pub(crate) fn is_marked(node: &Node) -> bool {
    node.state.load().has(state::CANCELLED)
}
