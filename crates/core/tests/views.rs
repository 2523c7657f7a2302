//! Views: limits, order, fairness, and dispatchers underneath that do not do what they should.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use corymb_core::internal::hop;
use corymb_core::{
    CancelCause, Coroutine, Dispatch, Dispatcher, Job, JobState, JoinError, suspend_cancellable,
    yield_now,
};
use proptest::prelude::*;

use crate::common::Harness;

/// A dispatcher that a test drives by hand.
#[derive(Default)]
struct Hand {
    queue: Mutex<VecDeque<Coroutine>>,
    refuses: AtomicBool,
}

impl Dispatch for Hand {
    fn dispatch(&self, coroutine: Coroutine) {
        if !self.refuses.load(Ordering::SeqCst) {
            self.queue.lock().unwrap().push_back(coroutine);
        }
    }
}

impl Hand {
    fn new() -> (Arc<Self>, Dispatcher) {
        let hand = Arc::new(Self::default());
        (hand.clone(), Dispatcher::Custom(hand))
    }

    fn take(&self) -> Option<Coroutine> {
        self.queue.lock().unwrap().pop_front()
    }

    fn len(&self) -> usize {
        self.queue.lock().unwrap().len()
    }

    fn run_one(&self) {
        self.take().unwrap().run();
    }

    fn run(&self) {
        while let Some(coroutine) = self.take() {
            coroutine.run();
        }
    }
}

/// What happened, in order.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<u32>>>);

impl Trace {
    fn note(&self, what: u32) {
        self.0.lock().unwrap().push(what);
    }

    fn take(&self) -> Vec<u32> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn view(rt: &Harness, of: &Dispatcher, n: usize) -> Dispatcher {
    let _inside = rt.enter();
    of.limited_parallelism(n)
}

fn launch<F>(rt: &Harness, on: &Dispatcher, future: F) -> Job
where
    F: Future<Output = ()> + Send + 'static,
{
    let _inside = rt.enter();
    rt.scope().coroutine().on(on.clone()).launch(future)
}

fn notes(rt: &Harness, on: &Dispatcher, trace: &Trace, what: impl Iterator<Item = u32>) {
    for what in what {
        let trace = trace.clone();
        launch(rt, on, async move { trace.note(what) });
    }
}

fn dispatch_of(dispatcher: &Dispatcher) -> Arc<dyn Dispatch> {
    match dispatcher {
        Dispatcher::Custom(dispatch) => dispatch.clone(),
        other => panic!("{other:?} is not a custom one"),
    }
}

/// Hops from one to the other, in the middle of a poll.
fn hops(from: &Dispatcher, to: &Dispatcher) -> bool {
    hop(&*dispatch_of(from), &*dispatch_of(to))
}

#[test]
fn names_itself() {
    let rt = Harness::new();
    let outer = view(&rt, &Dispatcher::Io, 3);
    assert_eq!(format!("{outer:?}"), "Dispatcher::Io.limited_parallelism(3)");
    let inner = view(&rt, &outer, 1);
    let shown = "Dispatcher::Io.limited_parallelism(3).limited_parallelism(1)";
    assert_eq!(format!("{inner:?}"), shown);
}

#[test]
#[should_panic(expected = "limited_parallelism(0): a view without a place")]
fn none_at_once_is_refused() {
    let _view = Dispatcher::Default.limited_parallelism(0);
}

#[test]
#[should_panic(expected = "no corymb runtime on this thread")]
fn needs_a_runtime() {
    let _view = Dispatcher::Default.limited_parallelism(1);
}

#[test]
fn takes_as_many_places_as_it_has_and_starts_in_order() {
    let rt = Harness::new();
    let (hand, under) = Hand::new();
    let on = view(&rt, &under, 2);
    let trace = Trace::default();
    notes(&rt, &on, &trace, 0..5);
    assert_eq!(hand.len(), 2);
    hand.run_one();
    assert_eq!(trace.take(), [0, 1, 2, 3, 4]);
    // The other one finds nothing, and both rest until they are needed.
    hand.run();
    notes(&rt, &on, &trace, 5..7);
    assert_eq!(hand.len(), 2);
    hand.run();
    assert_eq!(trace.take(), [5, 6]);
}

#[test]
fn yields_after_sixteen_in_a_row() {
    let rt = Harness::new();
    let (hand, under) = Hand::new();
    let [one, two] = [view(&rt, &under, 1), view(&rt, &under, 1)];
    let trace = Trace::default();
    notes(&rt, &one, &trace, 0..40);
    notes(&rt, &two, &trace, 100..140);
    notes(&rt, &under, &trace, [200].into_iter());
    hand.run();
    let ranges = [0..16, 100..116, 200..201, 16..32, 116..132, 32..40, 132..140];
    assert_eq!(trace.take(), ranges.into_iter().flatten().collect::<Vec<_>>());
}

#[test]
fn one_place_excludes_and_a_yield_goes_to_the_end() {
    let rt = Harness::new();
    let (hand, under) = Hand::new();
    let on = view(&rt, &under, 1);
    let trace = Trace::default();
    for i in 0..3 {
        let trace = trace.clone();
        launch(&rt, &on, async move {
            for round in 0..3 {
                trace.note(round * 10 + i);
                yield_now().await;
            }
        });
    }
    assert_eq!(hand.len(), 1);
    let first = hand.take().unwrap();
    assert_eq!(hand.len(), 0);
    first.run();
    hand.run();
    assert_eq!(trace.take(), [0, 1, 2, 10, 11, 12, 20, 21, 22]);
}

#[test]
fn a_lone_coroutine_that_yields_takes_no_second_place() {
    let rt = Harness::new();
    let (hand, under) = Hand::new();
    let on = view(&rt, &under, 2);
    launch(&rt, &on, async { yield_now().await });
    hand.run_one();
    assert_eq!(hand.len(), 0);
}

#[test]
fn a_view_of_a_view_keeps_both_limits() {
    let rt = Harness::new();
    let (hand, under) = Hand::new();
    let outer = view(&rt, &under, 2);
    let inner = view(&rt, &outer, 3);
    let trace = Trace::default();
    notes(&rt, &inner, &trace, 0..10);
    assert_eq!(hand.len(), 2);
    hand.run();
    assert_eq!(trace.take(), (0..10).collect::<Vec<_>>());
    let narrow = view(&rt, &outer, 1);
    notes(&rt, &narrow, &trace, 0..2);
    notes(&rt, &outer, &trace, 2..3);
    assert_eq!(hand.len(), 2);
    hand.run();
    assert_eq!(trace.take(), [0, 1, 2]);
}

#[test]
fn wakes_cancels_and_panics_reach_its_coroutines() {
    let rt = Harness::new();
    let on = view(&rt, &Dispatcher::Default, 1);
    let inside = rt.enter();
    let slot = Arc::new(Mutex::new(None));
    let put = slot.clone();
    let waiting = rt.scope().coroutine().on(on.clone()).spawn(async move {
        suspend_cancellable(|cont| *put.lock().unwrap() = Some(cont)).await.unwrap()
    });
    let cancelled = launch(&rt, &on, pending());
    let itself = launch(&rt, &on, async {
        Job::current().unwrap().cancel();
        pending::<()>().await;
    });
    let panics = rt.scope().coroutine().on(on.clone()).spawn(async { resume_unwind(Box::new(1)) });
    rt.run();
    assert_eq!(itself.state(), JobState::Cancelled);
    cancelled.cancel();
    rt.run();
    assert_eq!(cancelled.state(), JobState::Cancelled);
    slot.lock().unwrap().take().unwrap().resume(7).unwrap();
    drop(inside);
    assert_eq!(rt.block_on(waiting), 7);
    let error = rt.block_on(async { panics.outcome().await }).unwrap_err();
    assert!(matches!(error, JoinError::Panicked(_)), "{error:?}");
}

#[test]
fn a_runner_that_is_dropped_or_discarded_takes_the_queue_with_it() {
    for discard in [false, true] {
        let rt = Harness::new();
        let (hand, under) = Hand::new();
        let on = view(&rt, &under, 2);
        let jobs: Vec<_> = (0..5).map(|_| launch(&rt, &on, pending())).collect();
        let inside = rt.enter();
        let runner = hand.take().unwrap();
        let give_up = if discard { Coroutine::discard } else { drop };
        give_up(runner);
        drop(inside);
        rt.run();
        for job in jobs {
            assert_eq!(job.state(), JobState::Cancelled);
            assert!(matches!(job.cause().unwrap().cause(), CancelCause::Shutdown));
        }
        // The other runner is still there, and so is the view.
        let trace = Trace::default();
        notes(&rt, &on, &trace, 0..3);
        hand.run();
        assert_eq!(trace.take(), [0, 1, 2]);
    }
}

#[test]
fn a_dispatcher_that_refuses_or_panics_hangs_nothing() {
    let rt = Harness::new();
    let (hand, under) = Hand::new();
    let on = view(&rt, &under, 1);
    hand.refuses.store(true, Ordering::SeqCst);
    let jobs: Vec<_> = (0..3).map(|_| launch(&rt, &on, pending())).collect();
    rt.run();
    assert!(jobs.iter().all(|job| job.state() == JobState::Cancelled));
    hand.refuses.store(false, Ordering::SeqCst);
    let trace = Trace::default();
    notes(&rt, &on, &trace, 0..1);
    hand.run();
    assert_eq!(trace.take(), [0]);

    let on = view(&rt, &Dispatcher::custom(|_| panic!("no")), 1);
    let job = launch(&rt, &on, pending());
    rt.run();
    assert_eq!(job.state(), JobState::Cancelled);
    assert!(matches!(&rt.reports()[..], [one] if one.contains("dispatcher")));
}

#[test]
fn a_runtime_that_is_gone_hangs_nothing() {
    let rt = Harness::new();
    let on = view(&rt, &Dispatcher::Default, 1);
    let queued = launch(&rt, &on, pending());
    rt.refuse();
    rt.run();
    let late = launch(&rt, &on, pending());
    assert_eq!(late.state(), JobState::Cancelled);
    drop(rt);
    assert_eq!(queued.state(), JobState::Cancelled);
}

#[test]
fn a_runner_without_a_view_ends() {
    let rt = Harness::new();
    let (hand, under) = Hand::new();
    let trace = Trace::default();
    notes(&rt, &view(&rt, &under, 1), &trace, 0..2);
    hand.run();
    assert_eq!(trace.take(), [0, 1]);
    // Two references: the test's, and that of `under`.
    assert_eq!(Arc::strong_count(&hand), 2);
}

#[test]
fn the_last_coroutine_drops_the_view_under_its_runner() {
    let rt = Harness::new();
    let on = Arc::new(Mutex::new(Some(view(&rt, &Dispatcher::Default, 1))));
    let take = on.clone();
    let first = on.lock().unwrap().clone().unwrap();
    launch(&rt, &first, async move { drop(take.lock().unwrap().take()) });
    drop(first);
    rt.run();
    assert_eq!(Arc::strong_count(&on), 1);
}

#[test]
fn a_coroutine_that_leaves_in_place_makes_room() {
    let rt = Harness::new();
    let (hand, under) = Hand::new();
    let on = view(&rt, &under, 1);
    let trace = Trace::default();
    let (leaves, from, to, seen) = (trace.clone(), on.clone(), under.clone(), hand.clone());
    launch(&rt, &on, async move {
        assert!(hops(&from, &to));
        assert!(!hops(&from, &to), "it has no place to leave");
        leaves.note(0);
        // Somebody queues, so there is a runner for the place.
        assert_eq!(seen.len(), 1);
        seen.run_one();
        leaves.note(9);
    });
    notes(&rt, &on, &trace, 1..3);
    hand.run();
    assert_eq!(trace.take(), [0, 1, 2, 9]);
    notes(&rt, &on, &trace, 3..5);
    assert_eq!(hand.len(), 1);
    hand.run();
    assert_eq!(trace.take(), [3, 4]);
}

#[test]
fn coming_back_needs_a_free_place_and_an_empty_queue() {
    let rt = Harness::new();
    let (hand, under) = Hand::new();
    let on = view(&rt, &under, 1);
    let trace = Trace::default();
    let (back, here, out, seen) = (trace.clone(), on.clone(), under.clone(), hand.clone());
    let scope = rt.scope();
    launch(&rt, &on, async move {
        assert!(hops(&here, &out));
        assert!(hops(&out, &here), "nobody else is there");
        assert!(!hops(&out, &here), "it is in already");
        assert!(hops(&here, &out));
        let (trace, other, again) = (back.clone(), here.clone(), out.clone());
        scope.coroutine().on(here.clone()).launch(async move {
            trace.note(1);
            assert!(hops(&other, &again));
        });
        assert!(!hops(&out, &here), "one queues");
        seen.run();
        assert!(hops(&out, &here), "it has gone");
        back.note(2);
    });
    hand.run();
    notes(&rt, &on, &trace, 3..4);
    hand.run();
    assert_eq!(trace.take(), [1, 2, 3]);
}

#[test]
fn nobody_enters_a_view_that_was_not_left_here() {
    let rt = Harness::new();
    let (hand, under) = Hand::new();
    let [one, two] = [view(&rt, &under, 1), view(&rt, &under, 1)];
    let polled = Arc::new(AtomicBool::new(false));
    let (out, mark) = (under.clone(), polled.clone());
    launch(&rt, &one.clone(), async move {
        assert!(!hops(&one, &two));
        assert!(!hops(&out, &two));
        assert!(!hops(&two, &out));
        mark.store(true, Ordering::SeqCst);
    });
    hand.run();
    assert!(polled.load(Ordering::SeqCst));
}

#[test]
fn leaving_nested_views_frees_both_places() {
    let rt = Harness::new();
    let (hand, under) = Hand::new();
    let outer = view(&rt, &under, 1);
    let inner = view(&rt, &outer, 1);
    let trace = Trace::default();
    let (it, here, mid, out) = (trace.clone(), inner.clone(), outer.clone(), under.clone());
    let seen = hand.clone();
    launch(&rt, &inner, async move {
        // To the outer view: its place is kept.
        assert!(hops(&here, &mid));
        assert!(hops(&mid, &here));
        // Out of both, and back into both.
        assert!(hops(&here, &out));
        seen.run();
        it.note(2);
        assert!(hops(&out, &here));
        // Out step by step.
        assert!(hops(&here, &mid));
        assert!(hops(&mid, &out));
        assert!(hops(&out, &mid));
        assert!(hops(&mid, &here));
        assert!(hops(&here, &out));
    });
    notes(&rt, &outer, &trace, 1..2);
    hand.run();
    assert_eq!(trace.take(), [1, 2]);
    notes(&rt, &inner, &trace, 3..4);
    notes(&rt, &outer, &trace, 4..5);
    hand.run();
    assert_eq!(trace.take(), [3, 4]);
}

#[test]
fn code_that_runs_coroutines_inside_of_a_poll_has_no_part_in_the_place() {
    let rt = Harness::new();
    let (hand, under) = Hand::new();
    let on = view(&rt, &under, 1);
    let (here, out, other) = (on.clone(), under.clone(), hand.clone());
    let job = launch(&rt, &under, async move { assert!(!hops(&here, &out)) });
    let inner = hand.take();
    launch(&rt, &on, async move {
        inner.unwrap().run();
        assert_eq!(other.len(), 0);
    });
    hand.run();
    assert_eq!(job.state(), JobState::Completed);
}

/// What is current where it is dropped.
struct NotesCurrent(Arc<Mutex<Vec<Option<Job>>>>);

impl Drop for NotesCurrent {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(Job::current());
    }
}

/// Launches one that ends, with a handler and an output that nobody wants: both look for a job.
fn ends_and_looks(rt: &Harness, on: &Dispatcher, seen: &Arc<Mutex<Vec<Option<Job>>>>) {
    let _inside = rt.enter();
    let output = NotesCurrent(seen.clone());
    let child = rt.scope().coroutine().on(on.clone()).spawn(async move { output });
    let in_handler = NotesCurrent(seen.clone());
    let _registered = child.job().on_completion(move |_| drop(in_handler));
}

#[test]
fn what_a_coroutines_end_calls_does_not_find_the_runner() {
    let rt = Harness::new();
    let (hand, under) = Hand::new();
    let outer = view(&rt, &under, 1);
    let inner = view(&rt, &outer, 1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    for on in [&under, &outer, &inner] {
        ends_and_looks(&rt, on, &seen);
        hand.run();
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert!(seen.len() == 2 && seen.iter().all(Option::is_none), "{seen:?}");
    }
    // Dropped unpolled, with its runner; its future is dropped inside of it.
    ends_and_looks(&rt, &inner, &seen);
    drop(hand.take());
    rt.run();
    let seen = seen.lock().unwrap();
    assert!(matches!(&seen[..], [Some(_), None]), "{seen:?}");
}

#[test]
fn what_a_coroutines_end_calls_finds_what_is_around_the_runner() {
    let rt = Harness::new();
    let (hand, under) = Hand::new();
    let on = view(&rt, &under, 1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    ends_and_looks(&rt, &on, &seen);
    let runs = hand.clone();
    let around = launch(&rt, &Dispatcher::Default, async move { runs.run() });
    rt.run();
    assert_eq!(*seen.lock().unwrap(), [Some(around.clone()), Some(around)]);
}

/// Suspends once, and leaves its waker.
async fn leave_waker(slot: Arc<Mutex<Option<Waker>>>) {
    let mut first = true;
    poll_fn(|cx| {
        if !std::mem::take(&mut first) {
            return Poll::Ready(());
        }
        *slot.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

#[test]
fn what_is_woken_unconfined_goes_on_before_the_next_of_the_view() {
    let rt = Harness::new();
    let (hand, under) = Hand::new();
    let outer = view(&rt, &under, 1);
    let inner = view(&rt, &outer, 1);
    // In the end inside of another poll, which it has to wait for.
    for (on, by_hand, order) in
        [(&outer, true, [0, 1, 2]), (&inner, true, [0, 1, 2]), (&inner, false, [0, 2, 1])]
    {
        let (trace, slot) = (Trace::default(), Arc::default());
        let (noted, left) = (trace.clone(), Arc::clone(&slot));
        launch(&rt, &Dispatcher::Unconfined, async move {
            leave_waker(left).await;
            noted.note(1);
        });
        let noted = trace.clone();
        launch(&rt, on, async move {
            slot.lock().unwrap().take().unwrap().wake();
            noted.note(0);
        });
        notes(&rt, on, &trace, 2..3);
        if by_hand {
            hand.run();
        } else {
            let runs = hand.clone();
            launch(&rt, &Dispatcher::Default, async move { runs.run() });
            rt.run();
        }
        assert_eq!(trace.take(), order);
    }
}

/// A dispatcher whose `switch` does what a test wants.
struct Switches<F> {
    hand: Hand,
    switch: F,
}

impl<F: Fn() -> bool + Send + Sync + 'static> Dispatch for Switches<F> {
    fn dispatch(&self, coroutine: Coroutine) {
        self.hand.dispatch(coroutine);
    }

    fn switch(&self, _: &dyn Dispatch) -> bool {
        (self.switch)()
    }
}

#[test]
fn a_switch_that_panics_on_the_way_into_a_view_leaves_the_place() {
    let rt = Harness::new();
    let (_, elsewhere) = Hand::new();
    let under = Arc::new(Switches { hand: Hand::default(), switch: || true });
    let panics = Switches { hand: Hand::default(), switch: || panic!("no way back") };
    let on = view(&rt, &Dispatcher::Custom(under.clone()), 1);
    let (here, back) = (on.clone(), Dispatcher::Custom(Arc::new(panics)));
    let job = launch(&rt, &on, async move {
        assert!(hops(&here, &elsewhere));
        let caught = catch_unwind(AssertUnwindSafe(|| hops(&back, &here)));
        assert!(caught.is_err());
    });
    under.hand.run();
    assert_eq!(job.state(), JobState::Completed);
    let trace = Trace::default();
    notes(&rt, &on, &trace, 0..1);
    under.hand.run();
    assert_eq!(trace.take(), [0]);
}

#[test]
fn a_switch_that_asks_the_view_once_more_gives_one_place_away() {
    type Ask = Box<dyn FnOnce() -> bool + Send>;
    let rt = Harness::new();
    let (_, elsewhere) = Hand::new();
    let again = Arc::new(Mutex::new(None::<Ask>));
    let ask = again.clone();
    let switch = move || {
        let ask = ask.lock().unwrap().take();
        ask.is_none_or(|ask| ask())
    };
    let asks = Switches { hand: Hand::default(), switch: switch.clone() };
    let under = Arc::new(Switches { hand: Hand::default(), switch });
    let on = view(&rt, &Dispatcher::Custom(under.clone()), 2);
    let (here, from) = (on.clone(), Dispatcher::Custom(Arc::new(asks)));
    let job = launch(&rt, &on, async move {
        let hop_twice = |from: &Dispatcher, to: &Dispatcher| {
            let (once_more, there) = (from.clone(), to.clone());
            *again.lock().unwrap() = Some(Box::new(move || hops(&once_more, &there)));
            hops(from, to)
        };
        assert!(hop_twice(&here, &elsewhere));
        // On the way in two places are taken for a moment.
        assert!(hop_twice(&from, &here));
    });
    under.hand.run();
    assert_eq!(job.state(), JobState::Completed);
    for _ in 0..3 {
        launch(&rt, &on, yield_now());
    }
    assert_eq!(under.hand.len(), 2, "as many places as before");
    under.hand.run();
}

#[test]
fn a_runner_that_has_lost_its_place_ends_with_the_view() {
    let rt = Harness::new();
    let (hand, under) = Hand::new();
    let on = view(&rt, &under, 1);
    let (here, out) = (on.clone(), under.clone());
    launch(&rt, &on, async move { assert!(hops(&here, &out)) });
    hand.run();
    drop(on);
    // Two references: the test's, and that of `under`.
    assert_eq!(Arc::strong_count(&hand), 2);
}

/// A number that only the coroutines of one view touch.
#[derive(Default)]
struct Unlocked(std::cell::Cell<usize>);

// SAFETY: a view with one place lets one thread at a time in, after the one before.
unsafe impl Sync for Unlocked {}
// SAFETY: as above.
unsafe impl Send for Unlocked {}

impl Unlocked {
    fn add(&self) {
        self.0.set(self.0.get() + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 64 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn limits_hold_on_threads(n in 1..4_usize, nested in any::<bool>(), hops_out in any::<bool>()) {
        let rt = Harness::new();
        let of = if nested { view(&rt, &Dispatcher::Default, 3) } else { Dispatcher::Default };
        let on = view(&rt, &of, n);
        let (count, rounds) = if cfg!(miri) { (5, 2) } else { (50, 10) };
        let exact = Arc::new(Unlocked::default());
        let [inside, most, polls] = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
        let all = rt.enter();
        let children: Vec<_> = (0..count).map(|_| {
            let [inside, most, polls] = [&inside, &most, &polls].map(Arc::clone);
            let exact = exact.clone();
            let (here, out) = (on.clone(), of.clone());
            rt.scope().coroutine().on(on.clone()).spawn(async move {
                for _ in 0..rounds {
                    let now = inside.fetch_add(1, Ordering::Relaxed) + 1;
                    most.fetch_max(now, Ordering::Relaxed);
                    if n == 1 {
                        exact.add();
                    }
                    polls.fetch_add(1, Ordering::Relaxed);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::Relaxed);
                    if hops_out && let Dispatcher::Custom(_) = &out && hops(&here, &out) {
                        std::thread::yield_now();
                        if hops(&out, &here) && n == 1 {
                            exact.add();
                            polls.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    yield_now().await;
                }
            })
        }).collect();
        let end = rt.spawn(async move {
            for child in children {
                child.await;
            }
        });
        drop(all);
        rt.run_on(3, &end.job());
        prop_assert!(most.load(Ordering::Relaxed) <= n);
        prop_assert!(polls.load(Ordering::Relaxed) >= count * rounds);
        if n == 1 {
            prop_assert_eq!(exact.0.get(), polls.load(Ordering::Relaxed));
        }
    }
}
