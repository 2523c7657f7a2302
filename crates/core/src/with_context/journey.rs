//! Where a section has to be, and how it gets there and back.

use std::any::Any;
use std::panic::Location;
use std::sync::Arc;
use std::task::{self, Waker};

use super::Call;
use super::foreign::Foreign;
use crate::current::{self, Poll as InPoll};
use crate::dispatch::{Dispatch, hop};
use crate::moves::{Wish, is_same};

type Place = &'static Location<'static>;

/// Where a section has to be.
pub(super) struct Journey {
    call: Call,
    /// None for the coroutine's own dispatcher.
    to: Option<Arc<dyn Dispatch>>,
    /// Where it was entered; noted unless the body is ready in the first poll, in place.
    from: Option<Arc<dyn Dispatch>>,
    /// Where a section inside the body wants to be, which comes first.
    inner: Option<Arc<dyn Dispatch>>,
    /// The body was polled.
    begun: bool,
    /// The count of wakes at which it was polled last.
    polled: Option<u64>,
    /// The visit at which it waited for the turn of another section.
    turn: Option<u64>,
    // Boxed, as few sections have one, and all are moved about with the room for it.
    /// Few sections have one.
    foreign: Option<Box<Foreign>>,
    /// The body has panicked, and that waits for the way back.
    pub(super) panic: Option<Box<dyn Any + Send>>,
}

impl Journey {
    pub(super) fn new(call: Call, to: Option<Arc<dyn Dispatch>>) -> Self {
        Self {
            call,
            to,
            from: None,
            inner: None,
            begun: false,
            polled: None,
            turn: None,
            foreign: None,
            panic: None,
        }
    }

    /// The journey of a section whose body was polled at home, and is pending.
    pub(super) fn at_home(poll: &InPoll) -> Self {
        let mut journey = Self::new(Call::WithContext, None);
        journey.enter_from(poll.home());
        journey.begun = true;
        journey.polled = Some(poll.wakes());
        // What a section inside wishes for, it is the one to hand up.
        journey.suspend(true, poll, None);
        journey
    }

    /// What has made the section.
    pub(super) fn call(&self) -> Call {
        self.call
    }

    /// Where the body is to be polled.
    #[inline]
    pub(super) fn target<'a>(&'a self, poll: &'a InPoll) -> &'a Arc<dyn Dispatch> {
        self.inner.as_ref().or(self.to.as_ref()).unwrap_or_else(|| poll.home())
    }

    /// Whether the thread is, or can become, what the body needs. If not, the coroutine moves.
    pub(super) fn arrive(
        &mut self,
        poll: &InPoll,
        cx: &mut task::Context<'_>,
        place: Place,
    ) -> Arrival {
        let here = poll.here();
        if is_same(here, self.target(poll)) {
            poll.serve();
            if self.from.is_some() && self.is_too_late() {
                return Arrival::Elsewhere;
            }
            self.polled = Some(poll.wakes());
            return Arrival::Moved;
        }
        if hop(&**here, &**self.target(poll)) {
            return Arrival::Switched;
        }
        self.enter_from(here);
        if self.is_too_late() {
            return Arrival::Elsewhere;
        }
        if !self.is_woken(poll, cx) {
            // It was polled for the last wake already, and comes back with the next one.
            poll.wish_unless(self.target(poll));
        } else if !self.ask(Arc::clone(self.target(poll)), poll, cx, place, self.call.may_stay()) {
            return Arrival::Refused;
        }
        Arrival::Elsewhere
    }

    /// Whether a body that was not polled yet is not to be: a cancellation or a deadline came before
    /// the coroutine got to where it belongs. Whoever is the cause of that drops it when this poll
    /// has ended, or when the timer fires that is late.
    fn is_too_late(&self) -> bool {
        !self.begun && current::is_cancelled()
    }

    /// Whether the body is to be polled: for the first time, or since it was woken.
    fn is_woken(&mut self, poll: &InPoll, cx: &task::Context<'_>) -> bool {
        match &mut self.foreign {
            Some(foreign) if !poll.is_woken_by(cx.waker()) => foreign.is_woken(cx.waker()),
            _ => self.polled != Some(poll.wakes()),
        }
    }

    /// The waker for a poll of the body, if it is not the one that the section has. One that has
    /// never had to move needs none.
    pub(super) fn waker(
        &mut self,
        moved: bool,
        poll: &InPoll,
        cx: &task::Context<'_>,
    ) -> Option<Waker> {
        if poll.is_woken_by(cx.waker()) || !moved && self.foreign.is_none() {
            return None;
        }
        Some(self.foreign.get_or_insert_with(|| Box::new(Foreign::new(poll))).waker(cx.waker()))
    }

    /// Notes where the section was entered, if this is the first time.
    pub(super) fn enter_from(&mut self, here: &Arc<dyn Dispatch>) {
        if self.from.is_none() {
            self.from = Some(Arc::clone(here));
        }
    }

    /// Asks for a move of the coroutine. False, and it goes on where it is, if the poll in progress
    /// will not end for that, and the section may stay.
    fn ask(
        &mut self,
        to: Arc<dyn Dispatch>,
        poll: &InPoll,
        cx: &mut task::Context<'_>,
        place: Place,
        may_stay: bool,
    ) -> bool {
        if !poll.is_woken_by(cx.waker()) {
            let call = self.call;
            let foreign = self.foreign.get_or_insert_with(|| Box::new(Foreign::new(poll)));
            if !foreign.ask(poll, cx, call, place, may_stay) {
                give_up_move(poll);
                return false;
            }
        }
        self.turn = poll.ask(&to, self.turn);
        true
    }

    /// The body was polled and is pending; `around` is what was wished for before.
    pub(super) fn suspend(&mut self, moved: bool, poll: &InPoll, around: Option<Wish>) {
        self.begun = true;
        let inside = poll.take_wish();
        self.inner = inside.as_ref().map(|wish| Arc::clone(wish.to(poll)));
        if inside.as_ref().is_some_and(Wish::is_now) {
            // It is owed a poll, also if another one's move comes first.
            self.polled = None;
        }
        if moved && inside.is_none() {
            poll.wish_for(self.target(poll), false);
        } else {
            poll.put_wish(inside);
        }
        // Who asked for a move first has it first.
        if around.as_ref().is_some_and(Wish::is_now) {
            poll.put_wish(around);
        }
    }

    /// The section is dropped: its wish does not outlive it.
    pub(super) fn abandon(&self, poll: &InPoll) {
        if !give_up_move(poll) {
            drop(poll.take_wish());
        }
        if self.from.as_ref().is_some_and(|from| !is_same(from, poll.here())) {
            poll.stray();
        }
    }

    /// Whether the thread is what it was when the section was entered, or can become that. If not,
    /// the coroutine moves back.
    pub(super) fn go_back(
        &mut self,
        poll: &InPoll,
        cx: &mut task::Context<'_>,
        place: Place,
    ) -> bool {
        let Some(from) = &self.from else { return true };
        let here = poll.here();
        if is_same(here, from) {
            return true;
        }
        if hop(&**here, &**from) {
            poll.stay_at(from);
            return true;
        }
        // What was in time at its own place is in time.
        poll.hold_off(current::timeouts());
        // The pool excludes nobody: code of its coroutines may run beside it for a while.
        let may_stay = self.call.may_stay() && poll.is_from_default() && is_same(from, poll.home());
        if self.ask(Arc::clone(from), poll, cx, place, may_stay) {
            return false;
        }
        poll.stray();
        true
    }
}

/// Who has asked for the move of this poll does not need it any more; whether there is one. It leads
/// to where the code belongs then, for another section may wait for the poll that comes with it.
fn give_up_move(poll: &InPoll) -> bool {
    let moving = poll.is_moving();
    if moving {
        poll.wish_for(&current::belongs_to(poll), true);
    }
    moving
}

pub(super) enum Arrival {
    /// The coroutine was brought here.
    Moved,
    /// The thread has changed its dispatcher, and is to be given back.
    Switched,
    /// The coroutine has to move.
    Elsewhere,
    /// It cannot, and the section may do with the thread as it is.
    Refused,
}

/// Runs `f`, which does not panic, while the thread has become one of `to`, and gives the thread back. Where that failed,
/// it is kept for the rest of the poll, and what it is to become again is answered.
pub(super) fn switched<R>(
    poll: &InPoll,
    to: &Arc<dyn Dispatch>,
    f: impl FnOnce() -> R,
) -> (R, Option<Arc<dyn Dispatch>>) {
    let before = poll.is_away().then(|| Arc::clone(poll.here()));
    // SAFETY: set back before this returns, for `f` does not panic, and `to` is borrowed until then.
    unsafe { poll.set_at(to) };
    let result = f();
    (result, switch_back(poll, to, before.as_ref()))
}

/// Makes a thread that runs as `to` again what it was before, the coroutine's own dispatcher's if
/// that is none; what it was, if that fails.
fn switch_back(
    poll: &InPoll,
    to: &Arc<dyn Dispatch>,
    before: Option<&Arc<dyn Dispatch>>,
) -> Option<Arc<dyn Dispatch>> {
    // Sections inside may have left the thread elsewhere.
    let elsewhere = (!poll.is_at(to)).then(|| Arc::clone(poll.here()));
    let here = elsewhere.as_ref().unwrap_or(to);
    let target = before.unwrap_or_else(|| poll.home());
    if is_same(here, target) || hop(&**here, &**target) {
        poll.stay_at(target);
        return None;
    }
    poll.stay_at(here);
    Some(Arc::clone(target))
}
