//! How many coroutines are polled as IO at once, and how many wait for that: a word for each side.
//!
//! | bits | meaning |
//! | --- | --- |
//! | 0..30 | slots in use |
//! | 30 | of the limited side, `TURN`: the elastic side had the last slot that both waited for |
//! | 31 | of the limited side, `WANTED`: the elastic side waits for a slot of this one |
//! | 32..64 | coroutines in the queue that nobody has been given a slot for |
//!
//! ```text
//!  submitter                               who ends a poll
//!  1. push the coroutine                   1. in one step: queued > 0?
//!  2. in one step: a slot is free?            then queued -= 1, keep the slot, pop one
//!     then take it, and send a thread         else give the slot back
//!     else queued += 1
//! ```
//!
//! Both steps are changes of the same word, so no coroutine is left in the queue while a slot goes
//! free. Each pop is paid for by a push that came before it in the order of that word: a thread
//! that was told to pop finds a coroutine, unless the pool has closed and dropped all of them.
//!
//! # The elastic side
//!
//! It has the threads that the limited one may not have, and those that it does not use: where its
//! own slots are all in use, it borrows. A borrowed slot counts in both words, and so the elastic
//! one has borrowed as many as it has in use beyond its limit.
//!
//! ```text
//!  submitter to the elastic side           who gives a slot of the limited side back
//!  1. queued += 1 there                    1. in one step: queued > 0? then as above;
//!  2. in one step, in the other word:         WANTED? then take it away, keep the slot
//!     a slot is free? then take it         2. it was wanted? then in one step, in the
//!     else set WANTED                         elastic word: queued > 0? then queued -= 1,
//!  3. a slot? then step 2 over there          in use += 1, and pop one there
//! ```
//!
//! So nobody waits on the elastic side while a slot of the limited one goes free. A borrowed slot
//! is given back at the end of each poll; where both sides wait, they take turns.
//!
//! Models: `pool/loom.rs`.

use corymb_core::internal::prim::atomic::{AtomicU64, Ordering};

use super::io::Side;

const QUEUED: u64 = 1 << 32;
const WANTED: u64 = 1 << 31;
const TURN: u64 = 1 << 30;
const IN_USE: u64 = TURN - 1;

/// The slots of both sides.
pub(super) struct Slots {
    limited: Word,
    elastic: Word,
}

impl Slots {
    /// `limited` slots for that side, `elastic` for the other one, which also has those of the
    /// first that are not in use.
    pub(super) fn new(limited: usize, elastic: usize) -> Self {
        Self { limited: Word::new(limited), elastic: Word::new(elastic) }
    }

    /// A coroutine was pushed. `send` is told where threads are needed that pop.
    pub(super) fn submit(&self, side: Side, mut send: impl FnMut(Side)) {
        if self.word(side).submit() {
            send(side);
        } else if side == Side::Elastic {
            self.borrow(&mut send);
        }
    }

    /// A coroutine was pushed by a thread that has a slot of this side, and will soon be done with
    /// its poll.
    pub(super) fn submit_behind(&self, side: Side) {
        // Ordering: AcqRel, as in `Word::change`.
        self.word(side).word.fetch_add(QUEUED, Ordering::AcqRel);
    }

    /// A slot for a coroutine that is being polled already, if there is one and nobody waits.
    #[inline]
    pub(super) fn try_enter(&self, side: Side, send: impl FnMut(Side)) -> bool {
        self.word(side).try_enter() || (side == Side::Elastic && self.try_enter_borrowed(send))
    }

    #[cold]
    fn try_enter_borrowed(&self, mut send: impl FnMut(Side)) -> bool {
        if self.elastic.is_waited_for() || !self.limited.try_enter() {
            return false;
        }
        if self.elastic.enter_with() == Claim::Own {
            self.pass_on(&mut send);
            self.borrow(&mut send);
        }
        true
    }

    /// A poll has ended. The side on which the thread that has polled has a slot now: somebody
    /// pops the next coroutine there.
    #[inline]
    pub(super) fn next(&self, side: Side, mut send: impl FnMut(Side)) -> Option<Side> {
        if side == Side::Elastic {
            match self.elastic.end() {
                End::Kept => return Some(side),
                End::Free => return None,
                // A slot of the limited side is in hand.
                End::Borrowed { others_wait: true } => self.limited.want(),
                End::Borrowed { others_wait: false } => {}
            }
        }
        match self.limited.next() {
            Next::Pop => Some(Side::Limited),
            Next::Free => None,
            Next::Wanted => self.lend(&mut send),
        }
    }

    /// A slot of the limited side is in hand, which the elastic side wants.
    #[cold]
    fn lend(&self, send: &mut impl FnMut(Side)) -> Option<Side> {
        let next = match self.elastic.claim() {
            Claim::Borrowed => Some(Side::Elastic),
            claim => {
                if claim == Claim::Own {
                    send(Side::Elastic);
                }
                self.give_back(send)
            }
        };
        self.borrow(send);
        next
    }

    /// As long as coroutines wait on the elastic side: takes slots of the limited one for them, or
    /// has the next one that comes free kept.
    fn borrow(&self, send: &mut impl FnMut(Side)) {
        while self.elastic.is_waited_for() && self.limited.take_or_want() {
            match self.elastic.claim() {
                Claim::Borrowed => send(Side::Elastic),
                claim => {
                    if claim == Claim::Own {
                        send(Side::Elastic);
                    }
                    self.pass_on(send);
                }
            }
        }
    }

    /// A slot of the limited side is in hand that is not needed.
    fn pass_on(&self, send: &mut impl FnMut(Side)) {
        if let Some(side) = self.give_back(send) {
            send(side);
        }
    }

    /// The same, for a thread that can go on itself on the side that comes back.
    fn give_back(&self, send: &mut impl FnMut(Side)) -> Option<Side> {
        loop {
            match self.limited.next() {
                Next::Pop => return Some(Side::Limited),
                Next::Free => return None,
                Next::Wanted => match self.elastic.claim() {
                    Claim::Borrowed => return Some(Side::Elastic),
                    Claim::Own => send(Side::Elastic),
                    Claim::Nothing => {}
                },
            }
        }
    }

    fn word(&self, side: Side) -> &Word {
        match side {
            Side::Limited => &self.limited,
            Side::Elastic => &self.elastic,
        }
    }

    /// How many slots the limited side has.
    pub(super) fn of_limited(&self) -> usize {
        usize::try_from(self.limited.limit).unwrap_or(usize::MAX)
    }

    /// How many coroutines are polled on both sides.
    pub(super) fn in_use(&self) -> usize {
        let own = self.elastic.in_use().min(self.elastic.limit);
        usize::try_from(self.limited.in_use() + own).unwrap_or(usize::MAX)
    }
}

/// What came of the end of a poll on the elastic side.
enum End {
    /// The slot is kept, to pop the next coroutine.
    Kept,
    Free,
    /// It was a borrowed one, which is in hand now.
    Borrowed {
        others_wait: bool,
    },
}

/// What came of a slot of the limited side.
enum Next {
    /// It is kept, to pop the next coroutine of that side.
    Pop,
    /// It is kept, for somebody on the elastic side.
    Wanted,
    Free,
}

/// What came of a slot of the limited side that was offered to the elastic one.
#[derive(PartialEq, Eq)]
enum Claim {
    /// It is borrowed now.
    Borrowed,
    /// There was an own one, so it is still in hand.
    Own,
    /// Nobody waits, so it is still in hand.
    Nothing,
}

/// One word, and the limit.
struct Word {
    word: AtomicU64,
    limit: u64,
}

impl Word {
    fn new(limit: usize) -> Self {
        Self { word: AtomicU64::new(0), limit: (limit as u64).min(IN_USE) }
    }

    /// A coroutine was pushed: true if it has a slot.
    fn submit(&self) -> bool {
        self.change(|word| {
            let free = word & IN_USE < self.limit;
            (free, word + if free { 1 } else { QUEUED })
        })
    }

    /// Takes a slot, if one is free and nobody waits.
    #[inline]
    fn try_enter(&self) -> bool {
        self.change(|word| {
            let free = word & !TURN < self.limit;
            (free, word + u64::from(free))
        })
    }

    /// A slot of the limited side is not needed by its thread any more.
    #[inline]
    fn next(&self) -> Next {
        self.change(|word| {
            let queued = word >= QUEUED;
            if word & WANTED != 0 && (word & TURN == 0 || !queued) {
                (Next::Wanted, (word & !WANTED) | TURN)
            } else if queued {
                (Next::Pop, (word - QUEUED) & !TURN)
            } else {
                (Next::Free, word - 1)
            }
        })
    }

    /// Takes a slot of the limited side for the elastic one, if one is free and nobody waits; else
    /// notes that it is wanted.
    fn take_or_want(&self) -> bool {
        let is_free = |word: u64| word & !(WANTED | TURN) < self.limit;
        // Ordering: AcqRel, as in `change`. Written also where it is wanted already: who takes the
        // note away then sees what was pushed before this.
        let change = |word| Some(if is_free(word) { word + 1 } else { word | WANTED });
        self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, change).is_ok_and(is_free)
    }

    /// Notes that the elastic side wants a slot; the caller has one, and is about to give it back.
    fn want(&self) {
        // Ordering: AcqRel, as in `change`.
        self.word.fetch_or(WANTED, Ordering::AcqRel);
    }

    /// A poll on the elastic side has ended.
    fn end(&self) -> End {
        self.change(|word| {
            let queued = word >= QUEUED;
            if word & IN_USE > self.limit {
                (End::Borrowed { others_wait: queued }, word - 1)
            } else if queued {
                (End::Kept, word - QUEUED)
            } else {
                (End::Free, word - 1)
            }
        })
    }

    /// For the elastic side there is a slot of the other one: whether somebody there has it now.
    fn claim(&self) -> Claim {
        self.change(|word| match word >= QUEUED {
            true => (self.slot(word), word - QUEUED + 1),
            false => (Claim::Nothing, word),
        })
    }

    /// As [`claim`](Self::claim), by a coroutine that is being polled already.
    fn enter_with(&self) -> Claim {
        self.change(|word| (self.slot(word), word + 1))
    }

    fn slot(&self, word: u64) -> Claim {
        if word & IN_USE < self.limit { Claim::Own } else { Claim::Borrowed }
    }

    /// Whether coroutines wait in the queue.
    fn is_waited_for(&self) -> bool {
        // Ordering: Relaxed; who pushes one later looks for a slot itself.
        self.word.load(Ordering::Relaxed) >= QUEUED
    }

    #[inline]
    fn change<R>(&self, f: impl Fn(u64) -> (R, u64)) -> R {
        // Ordering: Relaxed, the compare-exchange looks again.
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let (answer, new) = f(word);
            if new == word {
                return answer;
            }
            // Ordering: AcqRel; Release publishes the push to who is told to pop, Acquire sees it.
            match self.word.compare_exchange(word, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return answer,
                Err(now) => word = now,
            }
        }
    }

    fn in_use(&self) -> u64 {
        // Ordering: Relaxed, a figure for people.
        self.word.load(Ordering::Relaxed) & IN_USE
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use Side::{Elastic, Limited};

    /// Slots, and where threads were sent.
    struct Sent {
        slots: Slots,
        sent: Vec<Side>,
    }

    impl Sent {
        fn new(limited: usize, elastic: usize) -> Self {
            Self { slots: Slots::new(limited, elastic), sent: Vec::new() }
        }

        fn submit(&mut self, side: Side) -> Vec<Side> {
            self.slots.submit(side, |side| self.sent.push(side));
            std::mem::take(&mut self.sent)
        }

        fn next(&mut self, side: Side) -> Option<Side> {
            let next = self.slots.next(side, |side| self.sent.push(side));
            assert!(self.sent.is_empty(), "{:?}", self.sent);
            next
        }

        fn try_enter(&mut self, side: Side) -> bool {
            self.slots.try_enter(side, |side| panic!("sent for {side:?}"))
        }
    }

    #[test]
    fn the_elastic_side_has_what_the_limited_one_does_not_use() {
        let mut it = Sent::new(3, 1);
        for _ in 0..4 {
            assert_eq!(it.submit(Elastic), [Elastic]);
        }
        assert_eq!(it.slots.in_use(), 4);
        assert!(it.submit(Elastic).is_empty() && !it.try_enter(Elastic));
        assert!(it.submit(Limited).is_empty() && !it.try_enter(Limited));
        // They take turns, and what was borrowed is given back first.
        assert_eq!(it.next(Elastic), Some(Elastic));
        assert_eq!(it.next(Elastic), Some(Limited));
        assert_eq!([it.next(Elastic), it.next(Elastic), it.next(Elastic)], [None; 3]);
        assert_eq!((it.next(Limited), it.slots.in_use()), (None, 0));
    }

    #[test]
    fn neither_side_starves_the_other() {
        let mut it = Sent::new(1, 0);
        assert_eq!(it.submit(Limited), [Limited]);
        let mut at = Limited;
        let mut popped = Vec::new();
        for _ in 0..6 {
            for side in [Limited, Elastic] {
                assert!(it.submit(side).is_empty());
            }
            at = it.next(at).unwrap();
            popped.push(at);
        }
        assert_eq!(popped, [Elastic, Limited, Elastic, Limited, Elastic, Limited]);
        let rest = std::iter::from_fn(|| {
            let next = it.next(at)?;
            at = next;
            Some(next)
        });
        assert_eq!(rest.count(), 6);
        assert_eq!(it.slots.in_use(), 0);
    }

    /// What two sides with limits should do: nobody waits for a slot that there is, and no side has
    /// more than it may.
    #[derive(Debug, Default)]
    struct Model {
        limited: usize,
        elastic: usize,
        /// Polls in progress, by the side that they are on.
        polls: Vec<Side>,
        waiting: [usize; 2],
    }

    impl Model {
        fn waiting(&mut self, side: Side) -> &mut usize {
            &mut self.waiting[usize::from(side == Elastic)]
        }

        /// A thread pops what waits on that side.
        fn pop(&mut self, side: Side) {
            let waiting = self.waiting(side);
            *waiting = waiting.checked_sub(1).expect("somebody waits where a thread is sent");
            self.polls.push(side);
        }

        fn count(&self, side: Side) -> usize {
            self.polls.iter().filter(|it| **it == side).count()
        }

        fn check(&self, slots: &Slots) {
            let of_limited = self.count(Limited);
            let all = self.polls.len();
            assert!(of_limited <= self.limited && all <= self.limited + self.elastic, "{self:?}");
            assert_eq!(slots.in_use(), all, "{self:?}");
            // What is left of the elastic side's own is no use for the limited one.
            let taken = of_limited + self.count(Elastic).saturating_sub(self.elastic);
            assert!(self.waiting[0] == 0 || taken == self.limited, "{self:?}");
            assert!(self.waiting[1] == 0 || all == self.limited + self.elastic, "{self:?}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            failure_persistence: None,
            ..Default::default()
        })]

        #[test]
        #[cfg_attr(miri, ignore = "it would take long, and there is nothing unsafe")]
        fn a_slot_goes_to_who_waits_for_it(
            limited in 1..4_usize,
            elastic in 0..3_usize,
            steps in proptest::collection::vec((0..8_u8, 0..8_usize), 0..200),
        ) {
            let slots = Slots::new(limited, elastic);
            let mut model = Model { limited, elastic, ..Model::default() };
            for (what, which) in steps {
                let side = if which % 2 == 0 { Limited } else { Elastic };
                let mut sent = Vec::new();
                match what {
                    0..3 => {
                        *model.waiting(side) += 1;
                        slots.submit(side, |side| sent.push(side));
                    }
                    3 => {
                        let entered = slots.try_enter(side, |side| sent.push(side));
                        model.polls.extend(entered.then_some(side));
                    }
                    _ if model.polls.is_empty() => {}
                    _ => {
                        let ended = model.polls.swap_remove(which % model.polls.len());
                        sent.extend(slots.next(ended, |_| panic!("there is one thread for it")));
                    }
                }
                sent.into_iter().for_each(|side| model.pop(side));
                model.check(&slots);
            }
            while let Some(ended) = model.polls.pop() {
                let next = slots.next(ended, |_| panic!("there is one thread for it"));
                next.into_iter().for_each(|side| model.pop(side));
            }
            assert_eq!((model.waiting, slots.in_use()), ([0, 0], 0));
        }
    }

    #[test]
    fn a_poll_in_progress_borrows_too() {
        let mut it = Sent::new(1, 1);
        assert!(it.try_enter(Elastic) && it.try_enter(Elastic) && !it.try_enter(Elastic));
        assert!(!it.try_enter(Limited));
        assert_eq!(it.next(Elastic), None);
        assert!(it.try_enter(Limited));
        assert_eq!(it.slots.in_use(), 2);
    }
}
