//! A body and its children, polled by one future: whoever was woken, in turn.
//!
//! ```text
//!   handles ── enter ──► door ── admit ──► members ── polled while they are woken ──► dropped
//!                         │                  ▲                                          │
//!                         └── number ──► [turns] ◄── a member's waker                   │
//!                                                                                       ▼
//!   the crowd is ready when its body has returned, and nobody is a member or at the door
//! ```
//!
//! Members belong to the crowd, by value; what waits at the door belongs to it and to the handles.
//! Wakers have a member's number and nothing else of it, for they live as long as they like.
//!
//! # Fairness
//!
//! Members are polled in the order of their wakes. One that wakes itself while it is polled, as
//! [`yield_now`](crate::yield_now()) does, gives way: to the members that are woken already, and to
//! the other coroutines of the dispatcher. A poll ends after [`POLLS`] members, or with the first
//! one that has used up the [budget](crate::budget).

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use pin_project::pin_project;

use crate::budget;
use crate::current;
use crate::failure;
use crate::prim::Mutex;
use crate::prim::atomic::{AtomicBool, Ordering};

/// The most polls of members in one poll of the crowd, as many as a poll has operations.
const POLLS: usize = 128;

/// The body's number.
const BODY: u64 = 0;

/// Who is to be polled, by number.
struct Turns(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    woken: VecDeque<u64>,
    /// They woke themselves, so they come after this poll of the crowd.
    later: VecDeque<u64>,
    polled: Option<u64>,
    /// Who polls the crowd; none while it is polled, and when that was woken.
    caller: Option<Waker>,
}

impl Turns {
    fn push(&self, number: u64) {
        let mut queue = self.0.lock();
        match queue.polled == Some(number) {
            true => queue.later.push_back(number),
            false => queue.woken.push_back(number),
        }
        let caller = queue.caller.take();
        drop(queue);
        if let Some(caller) = caller {
            caller.wake();
        }
    }

    /// The crowd is polled, so nobody needs to wake who does that.
    fn begin(&self) {
        let caller = self.0.lock().caller.take();
        drop(caller);
    }

    fn next(&self) -> Option<u64> {
        let mut queue = self.0.lock();
        let next = queue.woken.pop_front();
        queue.polled = next;
        next
    }

    /// The poll of the crowd is over; if somebody is to be polled, it gives way.
    fn end(&self, cx: &Context<'_>) {
        let fresh = cx.waker().clone();
        let mut queue = self.0.lock();
        queue.polled = None;
        let mut later = std::mem::take(&mut queue.later);
        queue.woken.append(&mut later);
        if queue.woken.is_empty() {
            queue.caller = Some(fresh);
            return;
        }
        drop(queue);
        if !current::yield_to_queue(cx.waker()) {
            fresh.wake();
        }
    }
}

/// What wakes one member.
struct Turn {
    turns: Arc<Turns>,
    number: u64,
    woken: AtomicBool,
}

impl Turn {
    fn new(turns: &Arc<Turns>, number: u64) -> (Arc<Self>, Waker) {
        let woken = AtomicBool::new(true);
        let turn = Arc::new(Self { turns: Arc::clone(turns), number, woken });
        (Arc::clone(&turn), Waker::from(turn))
    }

    /// The member is about to be polled.
    fn begin(&self) {
        // Ordering: Acquire pairs with the Release in `wake_by_ref`, also of a wake that found the
        // flag set: read-modify-writes continue a release. A wake after this one finds it cleared.
        self.woken.swap(false, Ordering::Acquire);
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Ordering: Release publishes the waker's writes to the poll that follows.
        if !self.woken.swap(true, Ordering::Release) {
            self.turns.push(self.number);
        }
    }
}

/// Where children wait until the crowd takes them in.
enum Door<C> {
    Open { waiting: Vec<(u64, C)>, last: u64 },
    Closed,
}

/// What handles of the scope share.
pub(super) struct Entrance<C> {
    door: Mutex<Door<C>>,
    turns: Arc<Turns>,
}

impl<C> Entrance<C> {
    /// Lets a child in; one that comes after the end is dropped here.
    pub(super) fn enter(&self, child: C, site: &'static Location<'static>) {
        let mut door = self.door.lock();
        match &mut *door {
            Door::Open { waiting, last } => {
                *last += 1;
                let number = *last;
                waiting.push((number, child));
                drop(door);
                self.turns.push(number);
            }
            Door::Closed => {
                drop(door);
                failure::guard_drop("future", site, || drop(child));
            }
        }
    }

    fn admit(&self) -> Vec<(u64, C)> {
        match &mut *self.door.lock() {
            Door::Open { waiting, .. } => std::mem::take(waiting),
            Door::Closed => Vec::new(),
        }
    }

    /// Closes the door unless somebody waits there.
    fn close_if_empty(&self) -> bool {
        let mut door = self.door.lock();
        let is_empty = !matches!(&*door, Door::Open { waiting, .. } if !waiting.is_empty());
        if is_empty {
            *door = Door::Closed;
        }
        is_empty
    }
}

/// Closes the door for good: handles may live on.
struct Doorkeeper<C>(Arc<Entrance<C>>);

impl<C> Drop for Doorkeeper<C> {
    fn drop(&mut self) {
        let door = std::mem::replace(&mut *self.0.door.lock(), Door::Closed);
        if let Door::Open { waiting, .. } = door {
            drop_each(waiting);
        }
    }
}

struct Member<C> {
    future: C,
    turn: Arc<Turn>,
    waker: Waker,
}

/// The children that are in, by number.
struct Members<C>(BTreeMap<u64, Member<C>>);

impl<C> Drop for Members<C> {
    fn drop(&mut self) {
        drop_each(std::mem::take(&mut self.0));
    }
}

/// Drops each, also if the destructor of another one panics: that goes on afterwards.
fn drop_each<T>(all: impl IntoIterator<Item = T>) {
    let mut first: Option<Box<dyn Any + Send>> = None;
    for one in all {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(one))) {
            match first {
                None if !std::thread::panicking() => first = Some(payload),
                _ => failure::report_here("destructor of a child", payload),
            }
        }
    }
    if let Some(payload) = first {
        resume_unwind(payload);
    }
}

/// The future; see the [module](self). `C` is the type of the children.
#[pin_project]
pub(super) struct Crowd<C, F: Future> {
    // Closed first, so that no destructor of a child lets another one in.
    keeper: Doorkeeper<C>,
    #[pin]
    body: Option<F>,
    over: bool,
    value: Option<F::Output>,
    turn: Arc<Turn>,
    waker: Waker,
    members: Members<C>,
}

impl<C, F> Crowd<C, F>
where
    C: Future<Output = ()> + Unpin,
    F: Future,
{
    /// One with the body that `make` makes.
    pub(super) fn new(make: impl FnOnce(Arc<Entrance<C>>) -> F) -> Self {
        let turns = Arc::new(Turns(Mutex::new(Queue::default())));
        let door = Mutex::new(Door::Open { waiting: Vec::new(), last: BODY });
        let entrance = Arc::new(Entrance { door, turns: Arc::clone(&turns) });
        // Also if `make` panics.
        let keeper = Doorkeeper(Arc::clone(&entrance));
        turns.push(BODY);
        let (turn, waker) = Turn::new(&turns, BODY);
        let body = Some(make(entrance));
        let members = Members(BTreeMap::new());
        Self { keeper, body, over: false, value: None, turn, waker, members }
    }

    /// Polls a member that was woken; one that has ended since is none.
    fn poll_one(mut self: Pin<&mut Self>, number: u64) {
        if number == BODY {
            return self.poll_body();
        }
        self.as_mut().admit(number);
        let members = self.project().members;
        let Some(member) = members.0.get_mut(&number) else { return };
        member.turn.begin();
        let mut cx = Context::from_waker(&member.waker);
        if Pin::new(&mut member.future).poll(&mut cx).is_ready() {
            members.0.remove(&number);
        }
    }

    fn poll_body(self: Pin<&mut Self>) {
        let mut this = self.project();
        // Not by a look at the body: a shared reference to it would end its borrows of itself.
        if *this.over {
            return;
        }
        this.turn.begin();
        let mut cx = Context::from_waker(this.waker);
        let Some(body) = this.body.as_mut().as_pin_mut() else { return };
        if let Poll::Ready(value) = body.poll(&mut cx) {
            *this.value = Some(value);
            *this.over = true;
            this.body.set(None);
        }
    }

    /// Takes in who waits at the door, if `number` is one of them.
    fn admit(self: Pin<&mut Self>, number: u64) {
        let this = self.project();
        if this.members.0.contains_key(&number) {
            return;
        }
        let entrance = &this.keeper.0;
        for (number, future) in entrance.admit() {
            let (turn, waker) = Turn::new(&entrance.turns, number);
            this.members.0.insert(number, Member { future, turn, waker });
        }
    }

    /// Polls who was woken, as far as one poll may go.
    fn poll_woken(mut self: Pin<&mut Self>) {
        let turns = Arc::clone(&self.keeper.0.turns);
        for _ in 0..POLLS {
            let Some(number) = turns.next() else { return };
            let before = budget::times_used_up();
            self.as_mut().poll_one(number);
            if budget::times_used_up() != before {
                return;
            }
        }
    }
}

impl<C, F> Future for Crowd<C, F>
where
    C: Future<Output = ()> + Unpin,
    F: Future,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.keeper.0.turns.begin();
        self.as_mut().poll_woken();
        let this = self.project();
        let is_last = *this.over && this.members.0.is_empty() && this.keeper.0.close_if_empty();
        if let Some(value) = this.value.take_if(|_| is_last) {
            return Poll::Ready(value);
        }
        this.keeper.0.turns.end(cx);
        Poll::Pending
    }
}
