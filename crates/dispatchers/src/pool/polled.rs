//! What the holder of a processor polls, for the watchdog.
//!
//! ```text
//!  worker                                  watchdog
//!  before a poll:  countdown over?         sees the same poll for too long
//!                    noticed? then tell    1. noticed = true; countdown = 0
//!                  site = ..               2. fence(SeqCst)
//!  after a poll:   polls += 1              3. site null, or polls moved on?
//!  before sleep:   1. site = null             then take the notice back
//!                  2. fence(SeqCst)
//!                  3. noticed? then tell
//! ```
//!
//! All that a poll costs more is to note what is polled: the countdown is there anyway ([`pace`]).
//! It tells of the notice with no fence: the poll of which it is meant may be over when the notice
//! comes, which is then told of some polls later. If there are none the worker goes to sleep, and
//! there the fences see to it that one of the two deals with it. Who takes the notice back deals
//! with it: the swap lets one alone.
//!
//! [`pace`]: super::pace
//!
//! What serves a view polls a number of coroutines in one poll of its own. Each of them is noted
//! here, and counted in `inside`, so that it is told from those before; the notice is looked at
//! before each of them too.

use std::panic::Location;
use std::ptr;

use corymb_core::Coroutine;
use corymb_core::internal::prim::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::pace::Countdown;

type Site = Location<'static>;

/// In the flags: the watchdog has told of the poll.
const NOTICED: u32 = 1;
/// In the flags: the holder gives up its processor after the poll in progress.
const RETIRES: u32 = 2;

/// The poll in progress.
pub(super) struct Polled {
    /// Where the coroutine was launched, or null if none is being polled.
    site: AtomicPtr<Site>,
    /// The address of its cell, which tells coroutines of one site apart; never followed.
    cell: AtomicPtr<()>,
    /// How many were polled inside of another one's poll. Written by the holder alone.
    inside: AtomicU64,
    flags: AtomicU32,
    /// Until the holder looks at the flags.
    pub(super) countdown: Countdown,
}

/// What tells a poll from others on the same processor, beside its count of polls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) site: &'static Site,
    pub(super) cell: usize,
    inside: u64,
}

impl Polled {
    pub(super) fn new() -> Self {
        Self {
            site: AtomicPtr::new(ptr::null_mut()),
            cell: AtomicPtr::new(ptr::null_mut()),
            inside: AtomicU64::new(0),
            flags: AtomicU32::new(0),
            countdown: Countdown::new(),
        }
    }

    /// The holder begins a poll.
    #[inline]
    pub(super) fn begin(&self, coroutine: &Coroutine) {
        // Ordering: Relaxed; sites are static, and the address is only compared.
        self.site.store(ptr::from_ref(coroutine.launched_at()).cast_mut(), Ordering::Relaxed);
        self.cell.store(coroutine.address().cast_mut(), Ordering::Relaxed);
    }

    /// A coroutine that the holder polls begins a poll of another one.
    #[inline]
    pub(super) fn begin_inside(&self, coroutine: &Coroutine) {
        // Ordering: Relaxed, as in `begin`; there is one writer.
        self.inside.store(self.inside.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.begin(coroutine);
    }

    /// The holder polls nothing for now.
    pub(super) fn clear(&self) {
        // Ordering: Relaxed; before a sleep, a fence orders it.
        self.site.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// What is being polled, as far as one can see from outside.
    pub(super) fn look(&self) -> Option<Seen> {
        // Ordering: Relaxed, as in `begin`.
        let site = self.site.load(Ordering::Relaxed);
        let cell = self.cell.load(Ordering::Relaxed).addr();
        let inside = self.inside.load(Ordering::Relaxed);
        // SAFETY: null, or what `begin` stored: a static.
        unsafe { site.as_ref() }.map(|site| Seen { site, cell, inside })
    }

    /// The watchdog has told of this poll, and wants to know of its end.
    pub(super) fn notice(&self) {
        // Ordering: Relaxed; what belongs to it is under a lock, and a fence follows.
        self.flags.fetch_or(NOTICED, Ordering::Relaxed);
        self.countdown.cut_short();
    }

    #[inline]
    pub(super) fn is_noticed(&self) -> bool {
        // Ordering: Relaxed, see the module.
        self.flags.load(Ordering::Relaxed) & NOTICED != 0
    }

    /// Takes the notice back; true for the one who deals with it.
    pub(super) fn settle(&self) -> bool {
        // Ordering: AcqRel, so that of two the second sees what the first did.
        self.flags.fetch_and(!NOTICED, Ordering::AcqRel) & NOTICED != 0
    }

    /// The holder, inside of a poll, has to give up its processor when that is over.
    pub(super) fn retire_later(&self) {
        // Ordering: Relaxed here and below; it is for the holder itself.
        self.flags.fetch_or(RETIRES, Ordering::Relaxed);
        self.countdown.cut_short();
    }

    /// The holder gives up its processor now, if it has to.
    pub(super) fn retire_now(&self) {
        self.flags.fetch_and(!RETIRES, Ordering::Relaxed);
    }

    /// Whether something is to be done between two polls.
    #[inline]
    pub(super) fn is_flagged(&self) -> bool {
        // Ordering: Relaxed, as in `is_noticed`.
        self.flags.load(Ordering::Relaxed) != 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use corymb_core::Dispatcher;
    use corymb_core::hooks::RuntimeHooks;
    use std::sync::mpsc;

    #[test]
    #[cfg_attr(miri, ignore = "a runtime needs the system")]
    fn two_polls_of_one_coroutine_inside_of_another_poll_are_told_apart() {
        let (queue, ready) = mpsc::channel();
        let by_hand = Dispatcher::custom(move |it: Coroutine| queue.send(it).unwrap());
        let runtime = crate::Runtime::builder().parallelism(1).build().unwrap();
        let _inside = runtime.enter();
        let root = corymb_core::hooks::with(|runtime: &dyn RuntimeHooks| runtime.root());
        let scope = corymb_core::internal::scope_of(&root);
        let job = scope.coroutine().on(by_hand).launch(async {});
        let coroutine = ready.recv().unwrap();
        let polled = Polled::new();
        assert!(polled.look().is_none());
        polled.begin_inside(&coroutine);
        let first = polled.look().unwrap();
        assert_eq!((first.site, first.cell), (job.launched_at(), coroutine.address().addr()));
        polled.begin_inside(&coroutine);
        assert!(polled.look().unwrap() != first);
        coroutine.run();
    }

    #[test]
    fn a_notice_and_an_intention_to_retire_do_not_take_each_other_back() {
        let polled = Polled::new();
        polled.notice();
        polled.retire_later();
        assert!(polled.settle() && !polled.settle() && !polled.is_noticed());
        assert!(polled.is_flagged());
        polled.notice();
        polled.retire_now();
        assert!(polled.is_noticed() && polled.settle());
        assert!(!polled.is_flagged());
    }
}
