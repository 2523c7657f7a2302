//! `cancel_everywhere`: where it cancels, what it finds, and that a finding can be run again.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use corymb::prelude::*;
use corymb::sync::{Mutex, Notify, channel};
use corymb::testing::{
    CancelEverywhere, CancelFailure, CancelPoint, FaultKind, cancel_everywhere, elapsed,
    take_failures,
};

mod common;

use common::failure;

const SECOND: Duration = Duration::from_secs(1);

/// Asserts the place of the one await that a failure names.
#[track_caller]
fn assert_awaits(failure: &CancelFailure, what: &str, line: u32) {
    let waits = failure.waits();
    assert_eq!(waits.len(), 1, "{failure}");
    let (waited_for, place) = waits[0];
    assert_eq!((waited_for, place.file(), place.line()), (what, file!(), line), "{failure}");
    assert!(failure.to_string().contains(&format!("{what} at {place}")), "{failure}");
}

/// Asserts that the text which a failure gives runs into the same failure, and into it alone.
#[track_caller]
fn assert_repeats(failure: &CancelFailure, again: impl FnOnce(CancelEverywhere) -> CancelFailure) {
    let text = failure.to_string();
    let (_, point) = text.rsplit_once("CORYMB_CANCEL=").expect("it says how to run it again");
    let point: CancelPoint = point.parse().expect("a point");
    assert_eq!(point, *failure.point());
    assert_eq!(again(CancelEverywhere::new().at(point)).to_string(), text);
}

/// Permits that are counted, and taken back twice from a holder who is dropped while it waits.
#[derive(Clone)]
struct Permits(Arc<AtomicUsize>);

struct Permit {
    permits: Permits,
    in_use: Arc<AtomicBool>,
}

impl Permits {
    fn take(&self) -> Permit {
        self.0.fetch_sub(1, SeqCst);
        Permit { permits: self.clone(), in_use: Arc::default() }
    }
}

impl Permit {
    async fn use_it(&self) {
        self.in_use.store(true, SeqCst);
        sleep(SECOND).await;
        self.in_use.store(false, SeqCst);
    }
}

/// Where [`Permit::use_it`] waits.
const USE: u32 = line!() - 6;

impl Drop for Permit {
    fn drop(&mut self) {
        let times = if self.in_use.load(SeqCst) { 2 } else { 1 };
        self.permits.0.fetch_add(times, SeqCst);
    }
}

fn taken_back_twice(settings: CancelEverywhere) -> CancelFailure {
    let failed = settings.check(|_| {
        let permits = Permits(Arc::new(AtomicUsize::new(1)));
        let used = permits.clone();
        let scenario = async move {
            let permit = used.take();
            sleep(SECOND).await;
            permit.use_it().await;
        };
        (scenario, move |_| assert_eq!(permits.0.load(SeqCst), 1))
    });
    *failed.expect_err("it is taken back twice")
}

#[test]
fn a_permit_that_is_taken_back_twice_is_found() {
    for settings in [CancelEverywhere::new(), CancelEverywhere::new().dropping()] {
        let found = taken_back_twice(settings);
        assert_awaits(&found, "a timer", USE);
        assert_eq!(found.point().suspension(), 2);
        assert!(found.to_string().contains("left: 2"), "{found}");
        assert_repeats(&found, taken_back_twice);
    }
}

fn lost_after_receive(settings: CancelEverywhere) -> CancelFailure {
    let failed = settings.check(|beside| {
        let (sender, receiver) = channel::bounded(1);
        let stored = Arc::new(StdMutex::new(Vec::new()));
        let gate = Arc::new(Mutex::new(()));
        beside.launch({
            let gate = gate.clone();
            async move {
                let _held = gate.lock().await;
                sender.send(42).await.unwrap();
                sleep(SECOND).await;
            }
        });
        let (kept, store) = (receiver.clone(), stored.clone());
        let scenario = async move {
            let value = receiver.recv().await.unwrap();
            let _held = gate.lock().await; // LOST
            store.lock().unwrap().push(value);
        };
        (scenario, move |_| {
            let mut all = stored.lock().unwrap().clone();
            all.extend(kept.try_recv());
            assert_eq!(all, [42], "a value is lost");
        })
    });
    *failed.expect_err("the value is lost")
}

/// The line of the source with this mark, which is not this one.
fn line_of(mark: &str) -> u32 {
    let source = include_str!("cancels.rs");
    let at = source.lines().position(|line| line.ends_with(&format!("// {mark}")));
    u32::try_from(at.expect("a marked line") + 1).unwrap()
}

#[test]
fn a_value_that_is_taken_out_and_lost_at_the_next_await_is_found() {
    for settings in [CancelEverywhere::new(), CancelEverywhere::new().dropping()] {
        let found = lost_after_receive(settings);
        assert_awaits(&found, "mutex", line_of("LOST"));
        assert!(found.to_string().contains("a value is lost"), "{found}");
        assert_repeats(&found, lost_after_receive);
    }
}

/// It awaits nothing but the lock, which is free unless others come in between.
fn flag_left_set(settings: CancelEverywhere) -> Result<(), Box<CancelFailure>> {
    settings
        .check(|_| {
            let (busy, lock) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(())));
            let flag = busy.clone();
            let scenario = async move {
                flag.store(true, SeqCst);
                drop(lock.lock().await); // FLAG
                flag.store(false, SeqCst);
            };
            (scenario, move |_| assert!(!busy.load(SeqCst), "the flag is set"))
        })
        .map(|_| ())
}

#[test]
fn a_flag_that_is_left_set_across_an_await_is_found_where_the_await_can_suspend() {
    for settings in [CancelEverywhere::new(), CancelEverywhere::new().dropping()] {
        assert!(flag_left_set(settings.clone()).is_ok(), "the lock is free: it does not suspend");
        let found = flag_left_set(settings.schedules(3)).unwrap_err();
        assert_awaits(&found, "a lock or signal", line_of("FLAG"));
        assert!(found.point().schedule().is_some());
        assert!(!found.turns().is_empty());
        assert_repeats(&found, |settings| *flag_left_set(settings).unwrap_err());
    }
}

#[test]
fn each_suspension_is_a_point_those_of_children_and_cleanups_included() {
    let log = Arc::new(StdMutex::new(Vec::new()));
    let cancelled = cancel_everywhere(|_| {
        let log = log.clone();
        let scenario = finally(
            scope(async |s| {
                s.launch(async {
                    sleep(SECOND).await;
                    sleep(SECOND).await;
                });
                sleep(SECOND).await;
            }),
            async || sleep(SECOND).await,
        );
        (scenario, move |done: Option<()>| log.lock().unwrap().push((done, elapsed().as_secs())))
    });
    // The body, the child, the body's end, the child again, the wait for the cleanup, the cleanup.
    assert_eq!(cancelled.suspensions(), 6, "{cancelled}");
    assert_eq!(cancelled.runs(), 13);
    let log = log.lock().unwrap();
    assert_eq!(log[0], (Some(()), 3));
    let cut_short: BTreeSet<_> = log[1..].iter().map(|it| it.1).collect();
    assert_eq!(cut_short, BTreeSet::from([1, 2, 3]), "the cleanup always has its second");
}

#[test]
fn a_coroutine_is_cancelled_as_it_waits_and_when_it_was_woken() {
    let woken = Arc::new(StdMutex::new(Vec::new()));
    cancel_everywhere(|beside| {
        let (sender, receiver) = channel::bounded(1);
        let sent = Arc::new(AtomicBool::new(false));
        let sends = sent.clone();
        beside.launch(async move {
            sleep(SECOND).await;
            sends.store(true, SeqCst);
            // Nobody may be there to hear it.
            _ = sender.send(()).await;
        });
        let woken = woken.clone();
        (async move { receiver.recv().await }, move |_| {
            woken.lock().unwrap().push(sent.load(SeqCst));
        })
    });
    assert_eq!(*woken.lock().unwrap(), [true, false, true]);
}

#[test]
fn what_is_shielded_completes_and_the_check_gets_its_value() {
    let cancelled = cancel_everywhere(|_| {
        let done = Arc::new(AtomicUsize::new(0));
        let count = done.clone();
        let scenario = async move {
            shield(async {
                sleep(SECOND).await;
                count.fetch_add(1, SeqCst);
            })
            .await;
        };
        (scenario, move |_| assert_eq!(done.load(SeqCst), 1))
    });
    assert_eq!(cancelled.suspensions(), 1);
}

#[test]
fn a_drop_leaves_the_coroutine_alone() {
    let dropped = Arc::new(AtomicUsize::new(0));
    CancelEverywhere::new().dropping().run(|_| {
        let (job, seen) = (Arc::new(StdMutex::new(None)), dropped.clone());
        let own = job.clone();
        let scenario = async move {
            *own.lock().unwrap() = Job::current();
            sleep(SECOND).await;
        };
        (scenario, move |done: Option<()>| {
            let job = job.lock().unwrap().take().unwrap();
            assert!(job.is_completed() && !job.is_cancelled());
            seen.fetch_add(usize::from(done.is_none()), SeqCst);
        })
    });
    assert_eq!(dropped.load(SeqCst), 2);
}

#[test]
fn time_goes_on_before_the_check_if_it_is_asked_for() {
    let check = |time| {
        CancelEverywhere::new().passing(time).check(|beside| {
            let slow = beside.launch(sleep(2 * SECOND));
            (sleep(SECOND), move |_| assert!(slow.is_completed(), "it is too slow"))
        })
    };
    assert!(check(Duration::ZERO).is_err());
    assert!(check(2 * SECOND).is_ok());
}

/// The failure of a scenario with nothing to check.
fn fault_of<F>(mut make: impl FnMut() -> F) -> CancelFailure
where
    F: Future<Output: Send> + Send + 'static,
{
    let settings = CancelEverywhere::new().poll_limit(1_000);
    *settings.check(|_| (make(), |_| ())).expect_err("it fails")
}

#[test]
fn a_panic_that_the_cancellation_causes_is_found() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("dropped too early");
        }
    }
    let found = fault_of(|| async {
        let bomb = Panics;
        sleep(SECOND).await; // BOMB
        std::mem::forget(bomb);
    });
    assert_eq!(found.fault().kind(), FaultKind::Panic);
    assert_awaits(&found, "a timer", line_of("BOMB"));
    assert!(found.to_string().contains("dropped too early"), "{found}");
}

#[test]
fn what_waits_for_ever_then_is_a_deadlock_and_what_spins_a_livelock() {
    let found = fault_of(|| async {
        let told = Arc::new(Notify::new());
        let tells = told.clone();
        scope(async |s| {
            s.launch(shield(async move { told.notified().await }));
            sleep(SECOND).await;
            tells.notify_one();
        })
        .await;
    });
    assert_eq!(found.fault().kind(), FaultKind::Deadlock);
    assert_eq!(found.point().to_string(), "cancel-1-woken");

    struct Tells(Arc<Notify>);
    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let failed = CancelEverywhere::new().poll_limit(1_000).check(|beside| {
        let tells = Tells(Arc::new(Notify::new()));
        let told = tells.0.clone();
        beside.launch(async move {
            told.notified().await;
            loop {
                yield_now().await;
            }
        });
        let scenario = async {
            let tells = tells;
            sleep(SECOND).await;
            std::mem::forget(tells);
        };
        (scenario, |_| ())
    });
    assert_eq!(failed.unwrap_err().fault().kind(), FaultKind::Livelock);
}

/// Two locks in two orders, which only some schedules get stuck on.
fn locks_in_two_orders(settings: CancelEverywhere) -> CancelFailure {
    let failed = settings.check(|_| {
        let (a, b) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
        let scenario = scope(async move |s| {
            for (x, y) in [(a.clone(), b.clone()), (b, a)] {
                s.launch(async move {
                    let _x = x.lock().await;
                    let _y = y.lock().await;
                });
            }
        });
        (scenario, |_| ())
    });
    *failed.expect_err("a deadlock")
}

#[test]
fn a_deadlock_of_a_schedule_is_found_and_repeats() {
    let found = locks_in_two_orders(CancelEverywhere::new().schedules(20));
    assert_eq!(found.fault().kind(), FaultKind::Deadlock);
    assert_repeats(&found, locks_in_two_orders);
}

/// Only what it takes is left of a schedule: here that others come in between once.
#[test]
fn the_schedule_of_a_failure_is_made_short() {
    for settings in [CancelEverywhere::new(), CancelEverywhere::new().dropping()] {
        let lost = |settings: CancelEverywhere| {
            let failed = settings.check(|beside| {
                let total = Arc::new(Mutex::new(0));
                for _ in 0..3 {
                    let total = total.clone();
                    beside.launch(async move {
                        for _ in 0..5 {
                            *total.lock().await += 1;
                        }
                    });
                }
                let kept = total.clone();
                let scenario = async move {
                    for _ in 0..5 {
                        let read = *total.lock().await;
                        *total.lock().await = read + 1;
                    }
                };
                let whole = move |done: Option<()>| {
                    assert!(done.is_none() || *kept.try_lock().unwrap() == 20, "one is lost");
                };
                (scenario, whole)
            });
            *failed.expect_err("one is lost")
        };
        let found = lost(settings.schedules(20));
        assert!(found.turns().len() <= 8, "{found}");
        assert_repeats(&found, lost);
    }
}

#[test]
fn a_leak_is_found_and_helpers_are_none() {
    let found = fault_of(|| async {
        let stray = detached(pending::<()>());
        sleep(SECOND).await;
        stray.job().cancel_and_join().await;
    });
    assert_eq!(found.fault().kind(), FaultKind::Leak);
    cancel_everywhere(|beside| {
        beside.launch(pending::<()>());
        (sleep(SECOND), |_| ())
    });
}

#[test]
fn a_failure_that_nobody_took_is_found_and_the_check_can_take_it() {
    let scenario = || async {
        supervisor_scope(async |s| {
            s.launch(finally(sleep(SECOND), async || {
                assert!(elapsed() >= SECOND, "an early end");
            }));
        })
        .await;
    };
    let found = fault_of(scenario);
    assert_eq!(found.fault().kind(), FaultKind::Unseen);
    assert!(found.to_string().contains("an early end"), "{found}");
    cancel_everywhere(|_| (scenario(), |_| drop(take_failures())));
}

#[test]
fn a_scenario_that_fails_by_itself_says_so() {
    let found = fault_of(|| async { panic!("never right") });
    assert_eq!(found.point().to_string(), "cancel-0-waiting");
    assert!(found.to_string().starts_with("panic, without a cancellation: "), "{found}");
}

#[test]
fn a_scenario_that_is_another_one_each_time_is_told() {
    let mut runs = 0;
    let found = fault_of(|| {
        runs += 1;
        let suspends = runs == 1;
        async move {
            if suspends {
                yield_now().await;
            }
        }
    });
    assert_eq!(found.fault().kind(), FaultKind::Diverged);
}

#[test]
fn the_plain_function_panics_with_the_failure() {
    let message = failure(|| cancel_everywhere(|_| (async {}, |_| panic!("no way"))));
    assert!(message.contains("no way") && message.contains("CORYMB_CANCEL="), "{message}");
}

#[test]
fn a_text_that_is_no_point_is_refused() {
    for text in ["", "cancel-1", "cancel-x-woken", "kill-1-woken", "cancel-1-woken@c2"] {
        let error = text.parse::<CancelPoint>().unwrap_err();
        assert!(error.to_string().contains("no point to cancel at"), "{error}");
    }
}

/// The same in each run of the same schedules.
#[test]
fn schedules_come_of_the_seed() {
    let places = |seed| {
        let count = AtomicUsize::new(0);
        let cancelled = CancelEverywhere::new().schedules(6).seed(seed).run(|_| {
            count.fetch_add(1, SeqCst);
            let total = Arc::new(Mutex::new(0));
            let scenario = scope(async move |s| {
                for _ in 0..2 {
                    let total = total.clone();
                    s.launch(async move { *total.lock().await += 1 });
                }
            });
            (scenario, |_| ())
        });
        assert_eq!(cancelled.runs(), count.load(SeqCst) as u64);
        cancelled.suspensions()
    };
    assert_eq!(places(7), places(7));
}

/// Fails if the branches of two selects are looked at in an order that not all seeds give.
fn wrong_order(settings: CancelEverywhere) -> Result<(), Box<CancelFailure>> {
    let cancelled = settings.check(|_| {
        let first = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&first);
        let scenario = async move {
            for _ in 0..3 {
                let bit = corymb::select! {
                    () = async {} => 0,
                    () = async {} => 1,
                };
                seen.fetch_add(bit, SeqCst);
            }
            yield_now().await;
        };
        (scenario, move |_| assert!(first.load(SeqCst) < 3, "wrong order"))
    });
    cancelled.map(drop)
}

#[test]
fn what_selects_have_drawn_is_drawn_again() {
    let check = |seed| wrong_order(CancelEverywhere::new().seed(seed));
    let passes = |seed: &u64| check(*seed).is_ok();
    let seed = (0..100).find(|seed| !passes(seed)).expect("one of the orders is wrong");
    let failure = *check(seed).expect_err("as before");
    assert_eq!(failure.point().seed(), Some(seed));
    // The point says it all, whatever the seed is there.
    let other = (0..100).find(passes).expect("one of the orders is right");
    let again = wrong_order(CancelEverywhere::new().seed(other).at(failure.point().clone()));
    assert_eq!(again.expect_err("the same").to_string(), failure.to_string());
    assert_repeats(&failure, |settings| *wrong_order(settings).expect_err("the same"));
}

#[test]
fn a_run_again_without_a_cancellation_counts_none() {
    let point: CancelPoint = "cancel-0-waiting".parse().unwrap();
    let ran = CancelEverywhere::new().at(point).run(|_| (yield_now(), |_| ()));
    assert_eq!((ran.suspensions(), ran.runs()), (0, 1));
}

/// It suspends in the poll of the coroutine that launches it.
#[test]
fn the_first_suspension_of_an_undispatched_child_is_one() {
    let count = |undispatched: bool| {
        cancel_everywhere(|_| {
            let scenario = scope(async move |s| {
                match undispatched {
                    true => s.coroutine().undispatched().launch(sleep(SECOND)),
                    false => s.launch(sleep(SECOND)),
                };
            });
            (scenario, |_| ())
        })
    };
    assert_eq!(count(false).suspensions(), 2);
    assert_eq!(count(true), count(false));
}
