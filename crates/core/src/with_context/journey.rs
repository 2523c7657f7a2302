//! Where a section has to be, and how it gets there and back.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::task::{self, Waker};

use super::foreign::Foreign;
use super::{Call, Section};
use crate::current::{self, Poll as InPoll};
use crate::dispatch::Dispatch;
use crate::error::Panic;
use crate::moves::{Wish, is_same};
use crate::node::NodeRef;

type Place = &'static Location<'static>;

/// Where a section has to be.
pub(super) struct Journey {
    call: Call,
    /// Where a section inside the body wants to be, which comes first.
    inner: Option<Arc<dyn Dispatch>>,
    /// The coroutine that has suspended in it last.
    owner: Option<NodeRef>,
    /// The body was polled.
    begun: bool,
    /// The coroutine was asked to move for it.
    waited: bool,
    /// It was asked to move back.
    returns: bool,
    polled: Polled,
    /// The visit at which it waited for the turn of another section.
    turn: Option<u64>,
    // Boxed, as few sections have one, and all are moved about with the room for it.
    /// Few sections have one.
    foreign: Option<Box<Foreign>>,
    /// The body has panicked, and that waits for the way back.
    pub(super) panic: Option<Box<Panic>>,
}

/// What tells whether the body was woken since it was polled last.
#[derive(Clone, Copy)]
enum Polled {
    /// Nothing: it is owed a poll.
    Unknown,
    /// It has the coroutine's own waker, since this count of wakes.
    Own(u64),
    /// It has the waker that makes a note.
    Noting,
}

impl Journey {
    #[inline(always)]
    pub(super) fn new(call: Call) -> Self {
        Self {
            call,
            inner: None,
            owner: None,
            begun: false,
            waited: false,
            returns: false,
            polled: Polled::Unknown,
            turn: None,
            foreign: None,
            panic: None,
        }
    }

    /// The journey of a section whose body was polled at home, and is pending: others may take the
    /// coroutine away before that is polled again.
    pub(super) fn at_home(section: &Section, poll: &InPoll, cx: &task::Context<'_>) -> Self {
        let mut journey = Self::new(Call::WithContext);
        if poll.is_woken_by(cx.waker()) {
            journey.polled = Polled::Own(poll.wakes());
        }
        // What a section inside wishes for, it is the one to hand up.
        journey.suspend(section, true, poll, None);
        journey
    }

    /// Whether another coroutine has polled it before. What was known of that one is forgotten.
    pub(super) fn has_changed_hands(&mut self, poll: &InPoll) -> bool {
        if self.owner.as_ref().is_none_or(|owner| poll.is_of(owner)) {
            return false;
        }
        self.owner = None;
        self.inner = None;
        self.polled = Polled::Unknown;
        self.turn = None;
        true
    }

    /// What has made the section.
    pub(super) fn call(&self) -> Call {
        self.call
    }

    /// Where the body is to be polled.
    #[inline]
    pub(super) fn target<'a>(
        &'a self,
        section: &'a Section,
        poll: &'a InPoll,
    ) -> &'a Arc<dyn Dispatch> {
        self.inner.as_ref().or_else(|| section.to(poll)).unwrap_or_else(|| poll.home())
    }

    /// Whether the thread is, or can become, what the body needs. If not, the coroutine moves.
    pub(super) fn arrive(
        &mut self,
        section: &Section,
        poll: &InPoll,
        cx: &mut task::Context<'_>,
    ) -> Arrival {
        let target = self.target(section, poll);
        if is_same(poll.here(), target) {
            poll.serve();
            if self.waited && self.is_too_late() {
                return Arrival::Elsewhere;
            }
            return Arrival::Moved;
        }
        if poll.hop(target) {
            return Arrival::Switched;
        }
        let target = Arc::clone(target);
        self.wait(poll);
        if self.is_too_late() {
            return Arrival::Elsewhere;
        }
        if !self.is_woken(poll, cx) {
            // It was polled for the last wake already, and comes back with the next one.
            poll.wish_unless(&target);
        } else if !self.ask(target, poll, cx, section.place, self.call.may_stay()) {
            return Arrival::Refused;
        }
        Arrival::Elsewhere
    }

    /// The coroutine suspends for the section to get elsewhere.
    fn wait(&mut self, poll: &InPoll) {
        self.waited = true;
        self.owner.get_or_insert_with(|| poll.keep());
    }

    /// Whether a body that was not polled yet is not to be: a cancellation or a deadline came before
    /// the coroutine got to where it belongs. Whoever is the cause of that drops it when this poll
    /// has ended, or when the timer fires that is late.
    fn is_too_late(&self) -> bool {
        !self.begun && current::is_cancelled()
    }

    /// Whether the body is to be polled: for the first time, since it was woken, or because the
    /// waker that it has may not lead to whoever polls the section now.
    fn is_woken(&self, poll: &InPoll, cx: &task::Context<'_>) -> bool {
        let own = poll.is_woken_by(cx.waker());
        match (self.polled, &self.foreign) {
            (Polled::Own(wakes), _) if own => wakes != poll.wakes(),
            (Polled::Noting, Some(foreign)) if !own => foreign.is_woken(cx.waker()),
            _ => true,
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
        if poll.is_woken_by(cx.waker()) {
            if moved {
                self.polled = Polled::Own(poll.wakes());
            } else if matches!(self.polled, Polled::Noting) {
                self.polled = Polled::Unknown;
            }
            return None;
        }
        if !moved && self.foreign.is_none() {
            self.polled = Polled::Unknown;
            return None;
        }
        self.polled = Polled::Noting;
        Some(self.foreign.get_or_insert_with(|| Box::new(Foreign::new(poll))).waker(cx.waker()))
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
    pub(super) fn suspend(
        &mut self,
        section: &Section,
        moved: bool,
        poll: &InPoll,
        around: Option<Wish>,
    ) {
        self.begun = true;
        self.owner.get_or_insert_with(|| poll.keep());
        let inside = poll.take_wish();
        self.inner = inside.as_ref().map(|wish| Arc::clone(wish.to(poll)));
        if inside.as_ref().is_some_and(Wish::is_now) {
            // It is owed a poll, also if another one's move comes first.
            self.polled = Polled::Unknown;
        }
        if moved && inside.is_none() {
            poll.wish_for(self.target(section, poll), false);
        } else {
            poll.put_wish(inside);
        }
        // Who asked for a move first has it first.
        if around.as_ref().is_some_and(Wish::is_now) {
            poll.put_wish(around);
        }
    }

    /// The section is dropped before its end: its wish does not outlive it.
    pub(super) fn abandon(&self, poll: &InPoll) {
        if self.owner.as_ref().is_some_and(|owner| !poll.is_of(owner)) {
            return;
        }
        if !give_up_move(poll) {
            drop(poll.take_wish());
        }
        if !current::is_where_it_belongs(poll) {
            poll.stray();
        }
    }

    /// Whether the thread is what the code around the section needs, or can become that. If not, the
    /// coroutine moves there. It may have come from elsewhere: a branch of a `join!` is polled where
    /// sections in the others have brought the coroutine.
    #[inline]
    pub(super) fn go_back(
        &mut self,
        poll: &InPoll,
        cx: &mut task::Context<'_>,
        place: Place,
    ) -> bool {
        if !current::is_where_it_belongs(poll) {
            return self.travel_back(poll, cx, place);
        }
        if self.returns {
            // It was its turn, and the next section does not have to wait for that.
            poll.serve();
        }
        true
    }

    fn travel_back(&mut self, poll: &InPoll, cx: &mut task::Context<'_>, place: Place) -> bool {
        let to = current::belongs_to(poll);
        if poll.hop(&to) {
            poll.stay_at(&to);
            return true;
        }
        // What was in time at its own place is in time.
        poll.hold_off(current::timeouts());
        // The pool excludes nobody: code of its coroutines may run beside it for a while.
        let may_stay = self.call.may_stay() && poll.is_from_default() && is_same(&to, poll.home());
        self.wait(poll);
        self.returns = true;
        if self.ask(to, poll, cx, place, may_stay) {
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

/// Runs `f`, which does not panic, while the thread has become one of `to`, and gives the thread
/// back. Where that failed, or panicked, it is kept for the rest of the poll.
pub(super) fn switched<R>(
    poll: &InPoll,
    to: &Arc<dyn Dispatch>,
    f: impl FnOnce() -> R,
) -> (R, std::thread::Result<()>) {
    let before = poll.is_away().then(|| Arc::clone(poll.here()));
    // SAFETY: set back before this returns, for neither `f` nor `switch_back` panics, and `to` is
    // borrowed until then.
    unsafe { poll.set_at(to) };
    let result = f();
    (result, switch_back(poll, to, before.as_ref()))
}

/// Makes a thread that runs as `to` again what it was before, the coroutine's own dispatcher's if
/// that is none. What it is now is kept by the poll. Answers the panic of a dispatcher.
fn switch_back(
    poll: &InPoll,
    to: &Arc<dyn Dispatch>,
    before: Option<&Arc<dyn Dispatch>>,
) -> std::thread::Result<()> {
    // Sections inside may have left the thread elsewhere.
    let elsewhere = (!poll.is_at(to)).then(|| Arc::clone(poll.here()));
    let here = elsewhere.as_ref().unwrap_or(to);
    let target = before.unwrap_or_else(|| poll.home());
    let hop = || is_same(here, target) || poll.hop(target);
    let hopped = catch_unwind(AssertUnwindSafe(hop));
    poll.stay_at(if matches!(hopped, Ok(true)) { target } else { here });
    hopped.map(drop)
}
