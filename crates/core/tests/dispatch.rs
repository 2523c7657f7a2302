//! Dispatchers that do not do what they should, and threads inside of runtimes.

use std::cell::RefCell;
use std::future::pending;
use std::sync::Arc;

use corymb_core::hooks::{self, Entered, RuntimeHooks};
use corymb_core::{Coroutine, Dispatcher, JobState, JoinError, yield_now};

use crate::common::Harness;

fn on(rt: &Harness, dispatch: impl Fn(Coroutine) + Send + Sync + 'static) -> Option<JoinError> {
    let inside = rt.enter();
    let child =
        rt.scope().coroutine().on(Dispatcher::custom(dispatch)).spawn(async { yield_now().await });
    drop(inside);
    rt.block_on(child.outcome()).err()
}

#[test]
fn a_dispatcher_that_drops_or_panics_cancels() {
    let rt = Harness::new();
    assert!(matches!(on(&rt, drop), Some(JoinError::Cancelled(_))));
    assert_eq!(rt.reports(), [""; 0]);
    assert!(matches!(on(&rt, |_| panic!("no")), Some(JoinError::Cancelled(_))));
    assert!(matches!(on(&rt, |it| it.discard()), Some(JoinError::Cancelled(_))));
    let reports = rt.reports();
    let [report] = &reports[..] else { panic!("{reports:?}") };
    let who = format!("the dispatcher of the coroutine launched at {}:", file!());
    assert!(report.starts_with(&who), "{report}");
}

#[test]
fn a_coroutine_that_everybody_drops_still_ends() {
    let rt = Harness::new();
    rt.refuse();
    let child = rt.scope().coroutine().on(Dispatcher::custom(drop)).spawn(pending::<()>());
    assert_eq!(child.job().state(), JobState::Cancelled);
    let child = rt.spawn(pending::<()>());
    assert_eq!(child.job().state(), JobState::Cancelled);
}

#[test]
fn a_coroutine_as_a_raw_pointer() {
    let rt = Harness::new();
    let error = on(&rt, |coroutine| {
        let raw = coroutine.into_raw();
        // SAFETY: it came from `into_raw` just now.
        drop(unsafe { Coroutine::from_raw(raw) });
    });
    assert!(matches!(error, Some(JoinError::Cancelled(_))));
}

#[test]
#[cfg_attr(miri, ignore = "leaks, as it should")]
fn guards_of_runtimes_that_are_dropped_out_of_order() {
    std::thread::spawn(|| {
        let [one, two] = [Harness::new(), Harness::new()];
        let hooks: Arc<dyn RuntimeHooks> = one.hooks.clone();
        let outer = hooks::enter(hooks.clone());
        let inner = hooks::enter(two.hooks.clone());
        drop(outer);
        drop(inner);
        drop(one);
        // This thread stays in the first runtime, which is kept for it.
        assert!(hooks::is_current(&hooks));
        hooks::with(|hooks| hooks.choose(hooks::Choice::Next, 1));
    })
    .join()
    .unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "leaks, as it should")]
fn a_guard_that_is_dropped_by_what_the_runtime_has_called() {
    std::thread::spawn(|| {
        let one = Harness::new();
        let entered = hooks::enter(one.hooks.clone());
        let held = Arc::strong_count(&one.hooks);
        hooks::with(|hooks| {
            drop(entered);
            hooks.choose(hooks::Choice::Next, 1);
        });
        assert_eq!(Arc::strong_count(&one.hooks), held);
        assert!(hooks::try_with(|_| ()).is_none());
    })
    .join()
    .unwrap();
}

thread_local! {
    /// A guard that goes into a poll, or comes out of one.
    static GUARD: RefCell<Option<Entered>> = const { RefCell::new(None) };
}

#[test]
#[cfg_attr(miri, ignore = "leaks, as it should")]
fn a_guard_that_is_dropped_in_a_poll_that_began_after_it() {
    std::thread::spawn(|| {
        let one = Harness::new();
        let hooks = Arc::downgrade(&one.hooks);
        GUARD.set(Some(one.enter()));
        let run = one.runner();
        drop(one.spawn(async { drop(GUARD.take()) }));
        run();
        drop((run, one));
        // This thread stays in the runtime, which is kept for it.
        assert!(hooks::try_with(|_| ()).is_some() && hooks.strong_count() > 0);
    })
    .join()
    .unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "leaks, as it should")]
fn a_guard_that_was_made_in_a_poll_and_outlives_it() {
    std::thread::spawn(|| {
        let [one, two, three] = [Harness::new(), Harness::new(), Harness::new()];
        let entered = one.enter();
        let run = one.runner();
        let inner = two.hooks.clone();
        drop(one.spawn(async { GUARD.set(Some(hooks::enter(inner))) }));
        run();
        drop((run, entered, one));
        // As many as there were in the poll.
        let three_twice = [three.enter(), three.enter()];
        drop(GUARD.take());
        let hooks: Arc<dyn RuntimeHooks> = three.hooks.clone();
        assert!(hooks::is_current(&hooks));
        drop(three_twice);
    })
    .join()
    .unwrap();
}
