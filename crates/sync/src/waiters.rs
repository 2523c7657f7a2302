//! The wait list that the primitives share: first in, first out, and no allocation, because a
//! waiter is a node inside its own pinned future.
//!
//! # Who may touch what
//!
//! The list lies inside the lock of its primitive, and every method takes it by `&mut`: so whoever
//! touches a node, its owner included, holds that lock. A waiter is in one of five places:
//!
//! | place | linked in | waker | left by |
//! | --- | --- | --- | --- |
//! | `Out` | nothing | none | (1) [`enqueue`](WaitList::enqueue): to the end of the list |
//! | `Queued` | the list | in the node | (2) [`call`](WaitList::call); (3) [`release`](WaitList::release); (5) |
//! | `Called` | `aside` | with the caller, who wakes it | (1), back to where it was; (4) [`decline`](WaitList::decline); (5) |
//! | `Declined` | `aside` | none | (1), back to where it was; (5) |
//! | `Done` | `aside` | none | (5) |
//!
//! Any place is left for `Out` by (5) [`leave`](WaitList::leave).
//!
//! ```text
//!            (1)            (2)             (4)
//!    Out ──────────► Queued ──────► Called ──────► Declined
//!                    ▲  ▲ │           │                │
//!                    │  │ └─(3)► Done │                │
//!                    │  └─────(1)─────┘                │
//!                    └────────(1)──────────────────────┘
//! ```
//!
//! A call is an offer and not a grant. One who finds nothing when it comes queues again, ahead of
//! all that came after it. One whose coroutine is polled, but not itself, declines
//! ([`Wait`]): the offer goes to the next, and it queues again when it is polled.
//! Who is polled by another executor, a *stray*, is not known to decline; but its offer goes to another waiter
//! of the same task that is polled before it.
//!
//! # The contract of a waiter
//!
//! The unsafe methods ask for this: a waiter was [made](Waiter::make); it is given to one list only,
//! that of its monitor; and it is `Out` when it is dropped, moved or made anew.

use std::fmt;
use std::marker::PhantomPinned;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::Waker;

use corymb_core::internal::prim::UnsafeCell;
use corymb_core::internal::{Held, KindOfWait, Wait, What, wake_all};

use crate::monitor::{Monitor, State};

/// One of the queues of a primitive.
pub(crate) trait Queue: Sized {
    type State: State;
    /// What a waiter brings, and others reach while it waits.
    type Payload;

    fn waiters(state: &mut Self::State) -> &mut WaitList<Self>;

    /// What was reserved by a call for this one is there again.
    fn take_back(
        state: &mut Self::State,
        shared: &<Self::State as State>::Shared,
        payload: &mut Self::Payload,
    ) {
        let _ = (state, shared, payload);
    }
}

/// One who waits, or may have to: most find what they want at once, so that the greater part is not
/// made before the wait [begins](WaitList::begin).
#[repr(C)]
pub(crate) struct Waiter<Q: Queue> {
    /// First, so that its address is the waiter's.
    entry: MaybeUninit<Entry<Q>>,
    payload: UnsafeCell<Q::Payload>,
    /// Neighbours point here.
    _pinned: PhantomPinned,
}

/// What others know of one who waits.
#[repr(C)]
struct Entry<Q: Queue> {
    /// First, so that its address is the waiter's.
    wait: Wait,
    monitor: *const Monitor<Q::State>,
    node: UnsafeCell<Node<Q>>,
}

struct Node<Q: Queue> {
    place: Place,
    /// Its turn: given when it comes, kept while it waits.
    ticket: u64,
    /// `Some` exactly in `Queued`.
    waker: Option<Waker>,
    /// Of a stray: whose waker it was.
    task: Task,
    prev: Link<Q>,
    next: Link<Q>,
}

/// Where a waiter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Place {
    Out,
    Queued,
    Called,
    Declined,
    Done,
}

/// How it stands with one who comes to see whether it must wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// It was made an offer: what that reserves is there for it.
    pub(crate) called: bool,
    /// Nobody in the queue comes before it.
    pub(crate) first: bool,
}

/// A waker's task, to compare.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Task(*const (), *const ());

impl Task {
    const NONE: Self = Self(std::ptr::null(), std::ptr::null());

    fn of(waker: &Waker) -> Self {
        Self(waker.data(), std::ptr::from_ref(waker.vtable()).cast())
    }
}

/// A waiter as its list knows it: one that keeps the contract, and that is linked or was given by
/// its owner for the length of a call, so that it is alive.
struct Handle<Q: Queue>(NonNull<Waiter<Q>>);

type Link<Q> = Option<Handle<Q>>;

impl<Q: Queue> Clone for Handle<Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q: Queue> Copy for Handle<Q> {}

impl<Q: Queue> PartialEq for Handle<Q> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

// SAFETY: a handle is used under the list's lock, and the payload and the waker that it reaches
// may change threads.
unsafe impl<Q: Queue<Payload: Send>> Send for Handle<Q> {}

// SAFETY: what is in it is reached under the list's lock.
#[expect(clippy::non_send_fields_in_send_ty, reason = "its pointers, as said")]
unsafe impl<Q: Queue<Payload: Send>> Send for Waiter<Q> {}
// SAFETY: as above.
unsafe impl<Q: Queue<Payload: Send>> Sync for Waiter<Q> {}

impl<Q: Queue> Waiter<Q> {
    const KIND: KindOfWait = KindOfWait { name: Q::State::NAME, let_go: let_go::<Q> };

    #[inline]
    pub(crate) fn new(payload: Q::Payload) -> Self {
        Self {
            // Such, and not `MaybeUninit::uninit()` as it is: of that the compiler makes a constant
            // of zeros, and copies it.
            // SAFETY: whatever is there is a `MaybeUninit`.
            entry: unsafe { MaybeUninit::<MaybeUninit<Entry<Q>>>::uninit().assume_init() },
            payload: UnsafeCell::new(payload),
            _pinned: PhantomPinned,
        }
    }

    /// Makes the part that others know.
    ///
    /// # Safety
    ///
    /// The waiter is `Out`; the monitor outlives it.
    pub(crate) unsafe fn make(self: Pin<&mut Self>, monitor: &Monitor<Q::State>) {
        let node = Node {
            place: Place::Out,
            ticket: 0,
            waker: None,
            task: Task::NONE,
            prev: None,
            next: None,
        };
        let (wait, node) = (Wait::new(&Self::KIND), UnsafeCell::new(node));
        // SAFETY: nothing is moved out, and nobody else knows it.
        unsafe { self.get_unchecked_mut() }.entry.write(Entry { wait, monitor, node });
    }
}

impl<Q: Queue> Handle<Q> {
    /// # Safety
    ///
    /// The contract of a waiter.
    unsafe fn new(waiter: Pin<&Waiter<Q>>) -> Self {
        Self(NonNull::from(waiter.get_ref()))
    }

    fn wait(self) -> NonNull<Wait> {
        self.0.cast()
    }

    fn entry<'a>(self) -> &'a Entry<Q> {
        // SAFETY: a handle is of a waiter that is alive and was made.
        unsafe { self.0.as_ref().entry.assume_init_ref() }
    }
}

/// Makes a waiter decline.
///
/// # Safety
///
/// `wait` is that of a `Waiter<Q>`, linked in the list that is held.
unsafe fn let_go<Q: Queue>(wait: NonNull<Wait>, held: Held<'_>) -> bool {
    let waiter = Handle::<Q>(wait.cast());
    // SAFETY: linked, so alive; and so is its monitor.
    let monitor = unsafe { &*waiter.entry().monitor };
    let Some(mut locked) = monitor.try_lock() else { return false };
    // SAFETY: linked there, and this is the lock.
    let is_over = unsafe { held.retract(wait) };
    let shared = locked.shared();
    let old = WaitList::decline(&mut *locked, shared, waiter, is_over);
    // Nobody keeps the monitor for this call: once it is unlocked, it may be gone. And who waited
    // in a coroutine that is over may be in a set that lives on, and polls only what was woken.
    let mut wakers = Vec::from_iter(old);
    locked.unlock_into(&mut wakers);
    wake_all(wakers);
    true
}

/// The two ends of a chain of nodes.
struct Chain<Q: Queue> {
    head: Link<Q>,
    tail: Link<Q>,
}

/// The list.
pub(crate) struct WaitList<Q: Queue> {
    queued: Chain<Q>,
    /// Those that are neither `Queued` nor `Out`.
    aside: Chain<Q>,
    /// How many came.
    tickets: u64,
    /// How many are `Called`.
    called: usize,
    /// How many are `Declined`.
    declined: usize,
    /// How many are `Queued`.
    len: usize,
    /// The most that ever were.
    max_len: usize,
}

impl<Q: Queue> WaitList<Q> {
    pub(crate) const fn new() -> Self {
        Self {
            queued: Chain::EMPTY,
            aside: Chain::EMPTY,
            tickets: 0,
            called: 0,
            declined: 0,
            len: 0,
            max_len: 0,
        }
    }

    /// Whether nobody is `Queued`.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queued.head.is_none()
    }

    /// How many were called and have neither come back nor left.
    #[inline]
    pub(crate) fn called(&self) -> usize {
        self.called
    }

    /// How many have declined, and will queue again when they are polled.
    pub(crate) fn declined(&self) -> usize {
        self.declined
    }

    /// How many are queued.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The most that were ever queued at once.
    pub(crate) fn max_len(&self) -> usize {
        self.max_len
    }

    /// How it stands with `waiter`, which is not `Out`.
    ///
    /// # Safety
    ///
    /// The contract of a waiter, with this list.
    #[inline]
    pub(crate) unsafe fn turn(&mut self, waiter: Pin<&Waiter<Q>>) -> Turn {
        // SAFETY: as the caller owes.
        let this = unsafe { Handle::new(waiter) };
        let (place, ticket) = self.with(this, |node| (node.place, node.ticket));
        let first = match self.queued.head {
            None => true,
            Some(_) if matches!(place, Place::Out | Place::Done) => false,
            Some(head) => head == this || self.with(head, |node| node.ticket > ticket),
        };
        Turn { called: place == Place::Called, first }
    }

    /// Gives `f` the payload of `waiter`; `f` may do to this list what does not reach that one's.
    ///
    /// # Safety
    ///
    /// The contract of a waiter, and the caller holds the lock of its list.
    #[inline]
    pub(crate) unsafe fn with_payload<R>(
        waiter: Pin<&Waiter<Q>>,
        f: impl FnOnce(&mut Q::Payload) -> R,
    ) -> R {
        // SAFETY: who reaches a payload holds the lock, and one at a time does.
        waiter.get_ref().payload.with_mut(|payload| f(unsafe { &mut *payload }))
    }

    /// Whether `waiter` is queued and a call would wake the task of `waker`.
    ///
    /// # Safety
    ///
    /// The contract of a waiter, with this list.
    #[inline]
    pub(crate) unsafe fn would_wake(&mut self, waiter: Pin<&Waiter<Q>>, waker: &Waker) -> bool {
        // SAFETY: as the caller owes.
        let this = unsafe { Handle::new(waiter) };
        self.with(this, |node| node.waker.as_ref().is_some_and(|it| it.will_wake(waker)))
    }

    /// Makes `waiter` known to the coroutine that polls it; false if there is none.
    ///
    /// # Safety
    ///
    /// The contract of a waiter, and the caller holds the lock of its list.
    #[inline]
    pub(crate) unsafe fn begin(waiter: Pin<&Waiter<Q>>, waker: &Waker, what: What) -> bool {
        // SAFETY: the contract, which comes down to the wait.
        unsafe { Wait::begin(Handle::new(waiter).wait(), waker, what) }
    }

    /// (1) Queues `waiter`, to be woken by `waker`; gives the waker that it had, to be dropped when
    /// the lock is released.
    ///
    /// # Safety
    ///
    /// The contract of a waiter, with this list.
    pub(crate) unsafe fn enqueue(
        &mut self,
        waiter: Pin<&Waiter<Q>>,
        waker: Waker,
    ) -> Option<Waker> {
        // SAFETY: as the caller owes.
        let this = unsafe { Handle::new(waiter) };
        let (place, old) = self.with(this, |node| {
            (std::mem::replace(&mut node.place, Place::Queued), node.waker.replace(waker))
        });
        if !matches!(place, Place::Out | Place::Queued) {
            self.aside.unlink(this);
        }
        match place {
            Place::Queued => return old,
            Place::Out | Place::Done => {
                let ticket = self.tickets;
                self.tickets += 1;
                self.with(this, |node| node.ticket = ticket);
                self.link_before(None, this);
            }
            Place::Called => {
                self.uncall(this);
                // SAFETY: alive, and this is the lock.
                unsafe { Wait::decline(this.wait()) };
                self.link_by_ticket(this);
            }
            Place::Declined => {
                self.declined -= 1;
                self.link_by_ticket(this);
            }
        }
        old
    }

    /// Only those who were called or declined, and queued again as well, can be ahead of one who
    /// comes back.
    fn link_by_ticket(&mut self, this: Handle<Q>) {
        let ticket = self.with(this, |node| node.ticket);
        let mut next = self.queued.head;
        while let Some(ahead) = next {
            match self.with(ahead, |node| (node.ticket < ticket).then_some(node.next)) {
                Some(further) => next = further,
                None => break,
            }
        }
        self.link_before(next, this);
    }

    /// The payload of the first in the list.
    pub(crate) fn first(&mut self) -> Option<&mut Q::Payload> {
        let first = self.queued.head?;
        // SAFETY: linked, so alive; and `&mut self` is the lock.
        Some(unsafe { first.0.as_ref() }.payload.with_mut(|payload| unsafe { &mut *payload }))
    }

    /// (2) Makes an offer to the first in the list: gives its waker, to be woken when the lock is
    /// released.
    pub(crate) fn call(&mut self) -> Option<Waker> {
        let first = self.queued.head?;
        let waker = self.pop(first, Place::Called);
        self.called += 1;
        // SAFETY: alive, and this is the lock; the caller wakes it.
        if !unsafe { Wait::offer(first.wait()) } {
            let task = waker.as_ref().map_or(Task::NONE, Task::of);
            self.with(first, |node| node.task = task);
        }
        waker
    }

    /// (3) Ends the wait of the first in the list, which has what it waited for: gives its waker,
    /// to be woken when the lock is released, and what `f` makes of its payload.
    pub(crate) fn release<R>(
        &mut self,
        f: impl FnOnce(&mut Q::Payload) -> R,
    ) -> Option<(Waker, R)> {
        let result = f(self.first()?);
        let first = self.queued.head?;
        self.pop(first, Place::Done).map(|waker| (waker, result))
    }

    /// As [`release`](Self::release), of the first in the list for whom `is_over`.
    pub(crate) fn release_if(
        &mut self,
        mut is_over: impl FnMut(&mut Q::Payload) -> bool,
    ) -> Option<Waker> {
        let mut next = self.queued.head;
        while let Some(waiter) = next {
            // SAFETY: linked, so alive; and `&mut self` is the lock.
            let payload = unsafe { &waiter.0.as_ref().payload };
            // SAFETY: as above, and one payload at a time is reached.
            if payload.with_mut(|payload| is_over(unsafe { &mut *payload })) {
                return self.pop(waiter, Place::Done);
            }
            next = self.with(waiter, |node| node.next);
        }
        None
    }

    fn pop(&mut self, first: Handle<Q>, to: Place) -> Option<Waker> {
        self.unlink(first);
        self.aside.link_before(None, first);
        self.with(first, |node| {
            node.place = to;
            node.waker.take()
        })
    }

    /// (4) The coroutine of `waiter` has been polled, and the waiter has not; or it `is_over`, and
    /// will never be polled there. Gives the waker that it had.
    fn decline(
        state: &mut Q::State,
        shared: &<Q::State as State>::Shared,
        waiter: Handle<Q>,
        is_over: bool,
    ) -> Option<Waker> {
        let list = Q::waiters(state);
        match list.with(waiter, |node| node.place) {
            Place::Called => {
                list.uncall(waiter);
                list.declined += 1;
                list.with(waiter, |node| node.place = Place::Declined);
                // SAFETY: alive, and the caller has the lock; one payload at a time is reached.
                let payload = unsafe { &waiter.0.as_ref().payload };
                // SAFETY: as above.
                payload.with_mut(|payload| Q::take_back(state, shared, unsafe { &mut *payload }));
                None
            }
            Place::Queued if is_over => {
                list.declined += 1;
                list.pop(waiter, Place::Declined)
            }
            _ => None,
        }
    }

    /// As [`decline`](Self::decline), for the strays of the task of `waker`; true if there were any.
    pub(crate) fn decline_strays(
        state: &mut Q::State,
        shared: &<Q::State as State>::Shared,
        waker: &Waker,
    ) -> bool {
        let task = Task::of(waker);
        let mut found = false;
        let mut next = Q::waiters(state).aside.head;
        while let Some(stray) = next {
            let list = Q::waiters(state);
            let (of, further) = list.with(stray, |node| (node.task, node.next));
            next = further;
            if of == task {
                found = true;
                Self::decline(state, shared, stray, false);
            }
        }
        found
    }

    /// (5) Makes `waiter` `Out`; answers where it was, and the waker that it still had, to be
    /// dropped when the lock is released. What was reserved for one that was `Called` is now its
    /// owner's, to take or to give back.
    ///
    /// # Safety
    ///
    /// The contract of a waiter, with this list.
    pub(crate) unsafe fn leave(&mut self, waiter: Pin<&Waiter<Q>>) -> (Place, Option<Waker>) {
        // SAFETY: as the caller owes.
        let this = unsafe { Handle::new(waiter) };
        // SAFETY: alive, and this is the lock.
        unsafe { Wait::end(this.wait()) };
        let place = self.with(this, |node| node.place);
        match place {
            Place::Out => {}
            Place::Queued => self.unlink(this),
            Place::Called | Place::Declined | Place::Done => self.aside.unlink(this),
        }
        match place {
            Place::Called => self.uncall(this),
            Place::Declined => self.declined -= 1,
            Place::Out | Place::Queued | Place::Done => {}
        }
        let waker = self.with(this, |node| {
            node.place = Place::Out;
            node.waker.take()
        });
        (place, waker)
    }

    /// Counts a `Called` one out.
    fn uncall(&mut self, this: Handle<Q>) {
        self.called -= 1;
        self.with(this, |node| node.task = Task::NONE);
    }

    fn link_before(&mut self, next: Link<Q>, this: Handle<Q>) {
        self.queued.link_before(next, this);
        self.len += 1;
        self.max_len = self.max_len.max(self.len);
    }

    fn unlink(&mut self, this: Handle<Q>) {
        self.queued.unlink(this);
        self.len -= 1;
    }

    fn with<R>(&mut self, waiter: Handle<Q>, f: impl FnOnce(&mut Node<Q>) -> R) -> R {
        self.queued.with(waiter, f)
    }
}

/// The waits of futures that were forgotten: their coroutines must not look for the monitor any
/// more.
impl<Q: Queue> Drop for WaitList<Q> {
    fn drop(&mut self) {
        for head in [self.queued.head, self.aside.head] {
            let mut next = head;
            while let Some(waiter) = next {
                next = self.with(waiter, |node| node.next);
                // SAFETY: linked, so alive: what is pinned and forgotten stays where it is. And the
                // monitor, which is being dropped, stays locked.
                unsafe { Wait::end(waiter.wait()) };
            }
        }
    }
}

impl<Q: Queue> Chain<Q> {
    const EMPTY: Self = Self { head: None, tail: None };

    /// Links `this` before `next`, or at the end.
    fn link_before(&mut self, next: Link<Q>, this: Handle<Q>) {
        let prev = match next {
            Some(next) => self.with(next, |node| node.prev.replace(this)),
            None => self.tail.replace(this),
        };
        match prev {
            Some(prev) => self.with(prev, |node| node.next = Some(this)),
            None => self.head = Some(this),
        }
        self.with(this, |node| (node.prev, node.next) = (prev, next));
    }

    /// Takes `this`, which is linked, out of the chain.
    fn unlink(&mut self, this: Handle<Q>) {
        let (prev, next) = self.with(this, |node| (node.prev.take(), node.next.take()));
        match prev {
            Some(prev) => self.with(prev, |node| node.next = next),
            None => self.head = next,
        }
        match next {
            Some(next) => self.with(next, |node| node.prev = prev),
            None => self.tail = prev,
        }
    }

    /// Gives `f` the node of a waiter. One node at a time: no `f` in this file calls `with`.
    fn with<R>(&mut self, waiter: Handle<Q>, f: impl FnOnce(&mut Node<Q>) -> R) -> R {
        // SAFETY: `&mut self` is the lock that all who touch the node hold, and one at a time is
        // touched.
        waiter.entry().node.with_mut(|node| f(unsafe { &mut *node }))
    }
}

impl<Q: Queue> fmt::Debug for WaitList<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitList")
            .field("len", &self.len)
            .field("called", &self.called)
            .finish_non_exhaustive()
    }
}
