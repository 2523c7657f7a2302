//! The wait list that the primitives share: first in, first out, and no allocation, because a
//! waiter is a node inside its own pinned future.
//!
//! # Who may touch what
//!
//! Every method takes the list by `&mut`, and the list lies inside the lock of its primitive: so
//! whoever touches a node, its owner included, holds that lock. A waiter is in one of three
//! places:
//!
//! | place | linked | waker | left by |
//! | --- | --- | --- | --- |
//! | `Out` | no | none | [`enqueue`](WaitList::enqueue): to the end of the list |
//! | `Queued` | yes | in the node | [`call`](WaitList::call), [`leave`](WaitList::leave) |
//! | `Called` | no | with the caller, who wakes it | `leave`; `enqueue`: back to where it was |
//!
//! A call is an offer and not a grant: one that finds nothing when it comes queues again, ahead of
//! all that came after it.
//!
//! # The contract of a waiter
//!
//! The unsafe methods ask for this: a waiter is given to one list only, and it is `Out` when it is
//! dropped or moved.

use std::marker::PhantomPinned;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::Waker;

use corymb_core::internal::WakerWord;
use corymb_core::internal::prim::UnsafeCell;

/// One who waits, and a payload that others reach while it does.
#[derive(Debug)]
pub(crate) struct Waiter<P> {
    node: UnsafeCell<Node<P>>,
    /// Neighbours point here.
    _pinned: PhantomPinned,
}

#[derive(Debug)]
struct Node<P> {
    place: Place,
    /// Its turn: given when it comes, kept while it waits.
    ticket: u64,
    /// `Some` exactly in `Queued`.
    waker: Option<WakerWord>,
    prev: Link<P>,
    next: Link<P>,
    payload: P,
}

/// A waiter as its list knows it: one that keeps the contract, and that is linked or was given by
/// its owner for the length of a call, so that it is alive.
#[derive(Debug)]
struct Handle<P>(NonNull<Waiter<P>>);

type Link<P> = Option<Handle<P>>;

impl<P> Clone for Handle<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Handle<P> {}

// SAFETY: a handle is used under the list's lock, and the payload and the waker that it reaches
// may change threads.
unsafe impl<P: Send> Send for Handle<P> {}

impl<P> Handle<P> {
    /// # Safety
    ///
    /// The contract of a waiter.
    unsafe fn new(waiter: Pin<&Waiter<P>>) -> Self {
        Self(NonNull::from(waiter.get_ref()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Out,
    Queued,
    Called,
}

// SAFETY: a shared waiter can only be given to its list, which is under a lock.
unsafe impl<P: Send> Sync for Waiter<P> {}

impl<P> Waiter<P> {
    pub(crate) fn new(payload: P) -> Self {
        Self {
            node: UnsafeCell::new(Node {
                place: Place::Out,
                ticket: 0,
                waker: None,
                prev: None,
                next: None,
                payload,
            }),
            _pinned: PhantomPinned,
        }
    }
}

/// The list.
#[derive(Debug)]
pub(crate) struct WaitList<P> {
    head: Link<P>,
    tail: Link<P>,
    /// How many came.
    tickets: u64,
    /// How many are `Called`.
    called: usize,
}

impl<P> WaitList<P> {
    pub(crate) const fn new() -> Self {
        Self { head: None, tail: None, tickets: 0, called: 0 }
    }

    /// Whether nobody is `Queued`.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// How many were called and have neither come back nor left.
    pub(crate) fn called(&self) -> usize {
        self.called
    }

    /// Queues `waiter`, to be woken by `waker`; gives the waker that it had, to be dropped when
    /// the lock is released.
    ///
    /// # Safety
    ///
    /// The contract of a waiter, with this list.
    pub(crate) unsafe fn enqueue(
        &mut self,
        waiter: Pin<&Waiter<P>>,
        waker: WakerWord,
    ) -> Option<WakerWord> {
        // SAFETY: as the caller owes.
        let this = unsafe { Handle::new(waiter) };
        let (place, old) = self.with(this, |node| {
            (std::mem::replace(&mut node.place, Place::Queued), node.waker.replace(waker))
        });
        match place {
            Place::Queued => {}
            Place::Out => {
                let ticket = self.tickets;
                self.tickets += 1;
                self.with(this, |node| node.ticket = ticket);
                self.link_before(None, this);
            }
            Place::Called => {
                self.called -= 1;
                // Only those who were called before it and queued again as well can be ahead.
                let ticket = self.with(this, |node| node.ticket);
                let mut next = self.head;
                while let Some(ahead) = next {
                    match self.with(ahead, |node| (node.ticket < ticket).then_some(node.next)) {
                        Some(further) => next = further,
                        None => break,
                    }
                }
                self.link_before(next, this);
            }
        }
        old
    }

    /// Calls the first in the list: gives its waker, to be woken when the lock is released, and
    /// what `f` makes of its payload.
    pub(crate) fn call<R>(&mut self, f: impl FnOnce(&mut P) -> R) -> Option<(WakerWord, R)> {
        let first = self.head?;
        self.unlink(first);
        self.called += 1;
        self.with(first, |node| {
            node.place = Place::Called;
            node.waker.take().map(|waker| (waker, f(&mut node.payload)))
        })
    }

    /// Makes `waiter` `Out`; gives its waker, if it still had one, to be dropped when the lock is
    /// released.
    ///
    /// # Safety
    ///
    /// The contract of a waiter, with this list.
    pub(crate) unsafe fn leave(&mut self, waiter: Pin<&Waiter<P>>) -> Option<WakerWord> {
        // SAFETY: as the caller owes.
        let this = unsafe { Handle::new(waiter) };
        let (place, waker) = self
            .with(this, |node| (std::mem::replace(&mut node.place, Place::Out), node.waker.take()));
        match place {
            Place::Out => {}
            Place::Queued => self.unlink(this),
            Place::Called => self.called -= 1,
        }
        waker
    }

    /// Gives `f` the place and the payload of `waiter`.
    ///
    /// # Safety
    ///
    /// The contract of a waiter, with this list.
    pub(crate) unsafe fn look<R>(
        &mut self,
        waiter: Pin<&Waiter<P>>,
        f: impl FnOnce(Place, &mut P) -> R,
    ) -> R {
        // SAFETY: as the caller owes.
        let this = unsafe { Handle::new(waiter) };
        self.with(this, |node| f(node.place, &mut node.payload))
    }

    /// Whether `waiter` is queued and a call would wake the task of `waker`.
    ///
    /// # Safety
    ///
    /// The contract of a waiter, with this list.
    pub(crate) unsafe fn would_wake(&mut self, waiter: Pin<&Waiter<P>>, waker: &Waker) -> bool {
        // SAFETY: as the caller owes.
        let this = unsafe { Handle::new(waiter) };
        self.with(this, |node| node.waker.as_ref().is_some_and(|word| word.will_wake(waker)))
    }

    /// Links `this` before `next`, or at the end.
    fn link_before(&mut self, next: Link<P>, this: Handle<P>) {
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

    /// Takes `this`, which is linked, out of the list.
    fn unlink(&mut self, this: Handle<P>) {
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
    fn with<R>(&mut self, waiter: Handle<P>, f: impl FnOnce(&mut Node<P>) -> R) -> R {
        // SAFETY: the waiter is alive, by what a handle is; only shared references to it are made,
        // here and by its owner.
        let waiter = unsafe { waiter.0.as_ref() };
        // SAFETY: `&mut self` is the lock that all who touch the node hold, and one at a time is
        // touched.
        waiter.node.with_mut(|node| f(unsafe { &mut *node }))
    }
}
