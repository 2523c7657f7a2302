//! The transitions of one thread beside what they are to do: flags in a set, references counted
//! apart. What several threads make of them is for the models.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// The word in plain parts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plain {
    flags: BTreeSet<u64>,
    refs: u64,
}

impl Plain {
    fn of(seen: Snapshot) -> Self {
        let flags = (0..REFS_AT).map(|bit| 1 << bit).filter(|&flag| seen.has(flag)).collect();
        Self { flags, refs: seen.0 / REF }
    }

    fn has(&self, flag: u64) -> bool {
        self.flags.contains(&flag)
    }

    fn has_any(&self, flags: &[u64]) -> bool {
        flags.iter().any(|&flag| self.has(flag))
    }

    fn with(mut self, flags: &[u64]) -> Self {
        self.flags.extend(flags.iter().filter(|&&flag| flag != 0));
        self
    }

    fn without(mut self, flags: &[u64]) -> Self {
        self.flags.retain(|flag| !flags.contains(flag));
        self
    }

    fn woken(&self) -> Wake {
        match self.has_any(&[SCHEDULED, RUNNING, BODY_DONE]) {
            true => Wake::Nothing,
            false => Wake::Dispatch,
        }
    }

    /// By `urgency`, with what it schedules; none if it is not the first.
    fn cancelled(self, urgency: Urgency, scheduled: u64) -> Option<Self> {
        let flag = if urgency == Urgency::Forced { FORCED } else { CANCELLED };
        (!self.has_any(&[flag, ENDED])).then(|| self.with(&[flag, CANCELLED, scheduled]))
    }
}

/// A word, and the same in parts.
fn words() -> impl Strategy<Value = (State, Plain)> {
    (any::<u32>(), 0..4_u64).prop_map(|(flags, refs)| {
        let state = State::new(u64::from(flags) % (1 << Bit::End as u32), refs);
        let plain = Plain::of(state.load());
        (state, plain)
    })
}

/// With `on`, without `off`.
fn words_with(on: u64, off: u64) -> impl Strategy<Value = (State, Plain)> {
    words().prop_map(move |(state, plain)| {
        let state = State::new((state.load().0 & !off & (REF - 1)) | on, plain.refs);
        let plain = Plain::of(state.load());
        (state, plain)
    })
}

fn urgencies() -> impl Strategy<Value = Urgency> {
    prop_oneof![Just(Urgency::Soft), Just(Urgency::Forced)]
}

fn now(state: &State) -> Plain {
    Plain::of(state.load())
}

#[test]
fn a_word_has_what_it_is_made_of() {
    let seen = State::new(SCHEDULED | WAITS, 3).load();
    assert_eq!(Plain::of(seen), Plain { flags: BTreeSet::from([SCHEDULED, WAITS]), refs: 3 });
    assert_eq!(format!("{seen:?}"), "0x40000001 x3");
    assert_eq!(MAX_REFS, 0x8000_0000, "far more than there can be, and far from an overflow");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn questions((state, plain) in words()) {
        let seen = state.load();
        prop_assert_eq!(seen.refs(), plain.refs);
        prop_assert_eq!(state.refs(), plain.refs);
        prop_assert_eq!(seen.has_hard_shield(), plain.has(SHIELD) && !plain.has(SOFT));
        let unique = plain.refs == 1 && !plain.has_any(&[LINKED, HANDLE, SIDE]);
        prop_assert_eq!(seen.is_unique(), unique);
        prop_assert_eq!(seen.has(VALUE | FAILED), plain.has_any(&[VALUE, FAILED]));
        prop_assert_eq!(Urgency::of(seen) == Urgency::Forced, plain.has(FORCED));
    }

    #[test]
    fn a_node_that_is_unique_is_found_so(flags in any::<u32>(), off in prop::sample::select(
        vec![0, LINKED, HANDLE, SIDE]))
    {
        let alone = u64::from(flags) & !(LINKED | HANDLE | SIDE);
        prop_assert!(State::new(alone, 1).load().is_unique());
        prop_assert_eq!(State::new(alone | off, 1).load().is_unique(), off == 0);
        prop_assert!(!State::new(alone, 0).load().is_unique());
        prop_assert!(!State::new(alone, 3).load().is_unique());
    }

    #[test]
    fn a_poll_begins((state, plain) in words_with(SCHEDULED, RUNNING | BODY_DONE)) {
        prop_assert_eq!(Plain::of(state.start_poll()), plain.clone());
        prop_assert_eq!(now(&state), plain.without(&[SCHEDULED, WOKEN]).with(&[RUNNING]));
    }

    #[test]
    fn a_poll_that_yields(
        (state, plain) in words_with(RUNNING, BODY_DONE),
        reason in prop_oneof![Just(0), Just(WOKEN)],
    ) {
        state.requeue(reason);
        prop_assert_eq!(now(&state), plain.without(&[RUNNING]).with(&[SCHEDULED, reason]));
    }

    #[test]
    fn a_poll_that_waits((state, plain) in words_with(RUNNING, BODY_DONE)) {
        prop_assert_eq!(state.suspend() == Suspend::Dispatch, plain.has(SCHEDULED));
        prop_assert_eq!(now(&state), plain.without(&[RUNNING]));
    }

    #[test]
    fn a_wake((state, plain) in words()) {
        prop_assert_eq!(state.wake(), plain.woken());
        prop_assert_eq!(now(&state), plain.with(&[SCHEDULED, WOKEN]));
    }

    #[test]
    fn who_is_idle_is_dispatched((state, _) in words_with(0, SCHEDULED | RUNNING | BODY_DONE)) {
        prop_assert_eq!(state.wake(), Wake::Dispatch);
    }

    #[test]
    fn a_cancel((state, plain) in words(), urgency in urgencies()) {
        let cancelled = plain.clone().cancelled(urgency, 0);
        prop_assert_eq!(state.cancel(urgency).is_some(), cancelled.is_some());
        prop_assert_eq!(now(&state), cancelled.unwrap_or(plain));
    }

    #[test]
    fn a_first_cancel(
        (state, plain) in words_with(0, CANCELLED | FORCED | ENDED),
        urgency in urgencies(),
    ) {
        let (seen, wake) = state.cancel_coroutine(urgency).expect("it is the first");
        prop_assert_eq!((Plain::of(seen), wake), (plain.clone(), plain.woken()));
        prop_assert_eq!(now(&state), plain.cancelled(urgency, SCHEDULED).unwrap());
    }

    #[test]
    fn a_body_ends(
        (state, plain) in words_with(0, ENDED),
        outcome in prop::sample::select(vec![0, VALUE, PANICKED, FAILED]),
    ) {
        prop_assert_eq!(Plain::of(state.body_done(outcome)), plain.clone());
        if plain.has(BODY_DONE) {
            prop_assert_eq!(now(&state), plain);
        } else {
            let counted = if plain.has(SIDE) { COUNTED } else { 0 };
            prop_assert_eq!(now(&state), plain.with(&[BODY_DONE, outcome, counted]));
        }
    }

    #[test]
    fn a_node_ends_and_settles((state, plain) in words_with(BODY_DONE, ENDED | SETTLED)) {
        prop_assert_eq!(Plain::of(state.end()), plain.clone());
        let ended = plain.with(&[ENDED]);
        prop_assert_eq!(Plain::of(state.settle()), ended.clone());
        prop_assert_eq!(now(&state), ended.with(&[SETTLED]));
    }

    #[test]
    fn a_node_ends_and_settles_at_once((state, plain) in words_with(BODY_DONE, ENDED | SETTLED)) {
        let alone = !plain.has(SIDE);
        prop_assert_eq!(state.settle_alone().map(Plain::of), alone.then(|| plain.clone()));
        let settled = plain.clone().with(&[ENDED, SETTLED]);
        prop_assert_eq!(now(&state), if alone { settled } else { plain });
    }

    #[test]
    fn flags_go((state, plain) in words(), taken in prop_oneof![Just(0), Just(VALUE)]) {
        prop_assert_eq!(Plain::of(state.drop_handle(taken)), plain.clone());
        let plain = plain.without(&[HANDLE, taken]);
        prop_assert_eq!(now(&state), plain.clone());
        state.clear_value();
        let plain = plain.without(&[VALUE]);
        prop_assert_eq!(now(&state), plain.clone());
        state.begin();
        let plain = plain.without(&[NEW, PASSIVE]);
        prop_assert_eq!(now(&state), plain.clone());
        state.lift();
        prop_assert_eq!(now(&state), plain.without(&[SHIELD]));
    }

    #[test]
    fn references((state, plain) in words()) {
        prop_assert_eq!(state.try_add_ref(), plain.refs > 0);
        let refs = if plain.refs > 0 { plain.refs + 1 } else { 0 };
        prop_assert_eq!(now(&state), Plain { refs, ..plain.clone() });
        state.add_ref();
        state.add_ref();
        prop_assert!(!state.drop_ref());
        prop_assert_eq!(now(&state), Plain { refs: refs + 1, ..plain.clone() });
        prop_assert_eq!(state.drop_ref(), refs == 0);
        prop_assert_eq!(now(&state), Plain { refs, ..plain });
    }
}

#[test]
fn a_region_is_lone_if_it_has_nothing_else() {
    let is_lone = |flags, refs| State::new(flags, refs).load().is_lone();
    assert!(is_lone(COUNTED, 2));
    assert!(!is_lone(COUNTED, 1) && !is_lone(COUNTED, 3) && !is_lone(0, 2));
    for flag in (0..Bit::End as u32).map(|bit| 1 << bit).filter(|flag| *flag != COUNTED) {
        assert!(!is_lone(COUNTED | flag, 2), "{flag:#x}");
    }
}

#[test]
fn a_lone_region_ends_at_once() {
    let state = State::new(COUNTED, 2);
    state.end_lone();
    assert_eq!(state.load(), State::new(COUNTED | BODY_DONE | ENDED | SETTLED, 1).load());
    assert!(state.load().has_ended_lone());
    let common = State::new(COUNTED | LINKED | BODY_DONE | ENDED | SETTLED, 1);
    assert!(!common.load().has_ended_lone());
}

#[test]
fn the_only_handle_leaves_a_region_lone() {
    let state = State::new(COUNTED, 3);
    assert!(state.load().is_handled() && !state.load().is_lone());
    state.drop_only_handle();
    assert!(state.load().is_lone() && !state.load().is_handled());
    assert!(!State::new(COUNTED, 4).load().is_handled());
    assert!(!State::new(COUNTED | LINKED, 3).load().is_handled());
}
