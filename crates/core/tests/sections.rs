//! Parts of a coroutine under other dispatchers.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use corymb_core::internal::runs_as;
use corymb_core::time::with_timeout;
use corymb_core::{
    CancelScope, Context, Coroutine, Dispatch, Dispatcher, JobState, Name, blocking, cancel_scope,
    finally, scope, shield, spawn_on, with_context, yield_now,
};
use futures::FutureExt;
use futures::future::{Either, join, join_all, select};
use futures::stream::{FuturesUnordered, StreamExt};
use proptest::prelude::*;

use crate::common::Harness;

thread_local! {
    /// What this thread runs as.
    static AS: Cell<&'static str> = const { Cell::new("home") };
}

fn here() -> &'static str {
    AS.get()
}

/// A dispatcher whose queue the test runs.
struct Loop {
    name: &'static str,
    ready: Mutex<VecDeque<Coroutine>>,
    queued: AtomicUsize,
    /// Its threads can become those of the other loops, and the other way round.
    switches: AtomicBool,
    partner: OnceLock<Weak<Self>>,
    /// Every so many switches is refused, unless it is zero.
    refuse_each: AtomicUsize,
    refuses: AtomicUsize,
    /// So many switches panic.
    panics: AtomicUsize,
    /// What `switch` calls.
    on_switch: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Loop {
    fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            name,
            ready: Mutex::default(),
            queued: AtomicUsize::new(0),
            switches: AtomicBool::new(false),
            partner: OnceLock::new(),
            refuse_each: AtomicUsize::new(0),
            refuses: AtomicUsize::new(0),
            panics: AtomicUsize::new(0),
            on_switch: OnceLock::new(),
        })
    }

    fn switching(name: &'static str) -> Arc<Self> {
        let this = Self::new(name);
        this.switches.store(true, Ordering::SeqCst);
        this
    }

    fn dispatcher(self: &Arc<Self>) -> Dispatcher {
        Dispatcher::Custom(Arc::<Self>::clone(self))
    }

    fn step(&self) -> bool {
        let next = self.ready.lock().unwrap().pop_front();
        let before = AS.replace(self.name);
        let ran = next.map(Coroutine::run).is_some();
        AS.set(before);
        ran
    }

    fn queued(&self) -> usize {
        self.queued.load(Ordering::SeqCst)
    }
}

impl Dispatch for Loop {
    fn dispatch(&self, coroutine: Coroutine) {
        self.queued.fetch_add(1, Ordering::SeqCst);
        self.ready.lock().unwrap().push_back(coroutine);
    }

    fn switch(&self, to: &dyn Dispatch) -> bool {
        if let Some(f) = self.on_switch.get() {
            f();
        }
        let panics = self.panics.load(Ordering::SeqCst);
        if panics > 0 {
            self.panics.store(panics - 1, Ordering::SeqCst);
            panic!("no way from here");
        }
        let partner = self.partner.get().is_some_and(|it| std::ptr::addr_eq(it.as_ptr(), to));
        let now = self.refuses.fetch_add(1, Ordering::SeqCst);
        let refuses = self.refuse_each.load(Ordering::SeqCst);
        let ok = self.switches.load(Ordering::SeqCst)
            && partner
            && (refuses == 0 || !now.is_multiple_of(refuses));
        if ok {
            AS.set(if self.name == "a" { "b" } else { "a" });
        }
        ok
    }
}

/// The loops, and the runtime behind them.
struct World {
    rt: Harness,
    a: Arc<Loop>,
    b: Arc<Loop>,
}

impl World {
    fn new() -> Self {
        Self { rt: Harness::new(), a: Loop::new("a"), b: Loop::new("b") }
    }

    /// Loops whose threads can become each other's.
    fn switching() -> Self {
        let (a, b) = (Loop::switching("a"), Loop::switching("b"));
        a.partner.set(Arc::downgrade(&b)).unwrap();
        b.partner.set(Arc::downgrade(&a)).unwrap();
        Self { rt: Harness::new(), a, b }
    }

    fn step(&self) -> bool {
        let _inside = self.rt.enter();
        self.rt.step() || self.a.step() || self.b.step()
    }

    /// As [`run`](Self::run), until time passes no more timer.
    fn run_all(&self, ticks: u32) {
        for _ in 0..ticks {
            self.run();
            self.rt.pass(TICK);
        }
        self.run();
    }

    fn run(&self) -> usize {
        let polls = std::iter::from_fn(|| self.step().then_some(())).take(10_000).count();
        assert!(polls < 10_000, "it goes on and on");
        polls
    }
}

/// Longer than a tick of the timers.
const TICK: Duration = Duration::from_micros(100);

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in the destructor");
    }
}

/// Pending until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Gate {
    fn open(&self) {
        let wakers = {
            let mut gate = self.0.lock().unwrap();
            gate.0 = true;
            std::mem::take(&mut gate.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    async fn wait(&self) {
        poll_fn(|cx| {
            let mut gate = self.0.lock().unwrap();
            if gate.0 {
                return Poll::Ready(());
            }
            gate.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Notes what the thread runs as when it is dropped.
struct Dropped(Arc<Mutex<Vec<&'static str>>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(here());
    }
}

#[test]
fn a_section_runs_on_its_dispatcher_and_borrows() {
    let w = World::new();
    let b = w.b.dispatcher();
    let job = w.rt.scope().launch(async move {
        let mut seen = vec![here()];
        let local = String::from("borrowed");
        let length = with_context(b, async {
            seen.push(here());
            yield_now().await;
            seen.push(here());
            local.len()
        })
        .await;
        seen.push(here());
        assert_eq!((length, seen), (8, vec!["home", "b", "b", "home"]));
    });
    w.run();
    assert_eq!(job.state(), JobState::Completed);
    assert_eq!(w.b.queued(), 2, "one move, one yield");
}

#[test]
fn a_wake_resumes_a_section_on_its_dispatcher() {
    let w = World::new();
    let (b, gate) = (w.b.dispatcher(), Gate::default());
    let opened = gate.clone();
    let job = w.rt.scope().launch(async move {
        with_context(b, async {
            gate.wait().await;
            assert_eq!(here(), "b");
        })
        .await;
        assert_eq!(here(), "home");
    });
    w.run();
    opened.open();
    assert!(w.b.step(), "it is woken on the dispatcher where it waits");
    w.run();
    assert_eq!(job.state(), JobState::Completed);
}

#[test]
fn a_thread_that_can_switch_does_not_queue() {
    let w = World::switching();
    let b = w.b.dispatcher();
    let job = w.rt.scope().coroutine().on(w.a.dispatcher()).launch(async move {
        for _ in 0..3 {
            assert_eq!(with_context(b.clone(), async { here() }).await, "b");
            assert_eq!(here(), "a");
        }
    });
    assert_eq!(w.run(), 1, "all in one poll");
    assert_eq!(job.state(), JobState::Completed);
    assert_eq!(w.b.queued(), 0);
}

#[test]
fn a_pending_section_gives_its_thread_back_in_each_poll() {
    let w = World::switching();
    let (b, gate) = (w.b.dispatcher(), Gate::default());
    let opened = gate.clone();
    let job = w.rt.scope().coroutine().on(w.a.dispatcher()).launch(async move {
        let inside = with_context(b, async { gate.wait().await });
        let beside = poll_fn(|_| {
            assert_eq!(here(), "a", "what is joined with it is polled outside");
            Poll::Ready(())
        });
        join(inside, beside).await;
    });
    w.run();
    opened.open();
    w.run();
    assert_eq!(job.state(), JobState::Completed);
    assert_eq!((w.a.queued(), w.b.queued()), (2, 0));
}

#[test]
fn a_thread_that_is_not_given_back_brings_the_coroutine_home_by_the_queue() {
    let w = World::switching();
    let (b, loop_b) = (w.b.dispatcher(), w.b.clone());
    let job = w.rt.scope().coroutine().on(w.a.dispatcher()).launch(async move {
        let value = with_context(b, async {
            loop_b.switches.store(false, Ordering::SeqCst);
            7
        })
        .await;
        assert_eq!((value, here()), (7, "a"));
    });
    w.run();
    assert_eq!(job.state(), JobState::Completed);
    assert_eq!((w.a.queued(), w.b.queued()), (2, 0));
}

#[test]
fn a_panic_in_a_switched_section_gives_the_thread_back() {
    let w = World::switching();
    let b = w.b.dispatcher();
    let job = w.rt.scope().coroutine().on(w.a.dispatcher()).launch(async move {
        let caught =
            AssertUnwindSafe(with_context(b, async { panic!("inside") })).catch_unwind().await;
        caught.expect_err("it panics");
        assert_eq!(here(), "a");
    });
    w.run();
    assert_eq!(job.state(), JobState::Completed);
}

#[test]
fn nested_sections_find_their_way() {
    let w = World::new();
    let (a, b) = (w.a.dispatcher(), w.b.dispatcher());
    let job = w.rt.scope().launch(async move {
        let mut seen = Vec::new();
        with_context(a.clone(), async {
            seen.push(here());
            with_context(b, async {
                seen.push(here());
                yield_now().await;
                with_context(a, async { seen.push(here()) }).await;
                with_context(Dispatcher::Default, async {
                    seen.push(here());
                    yield_now().await;
                    seen.push(here());
                })
                .await;
                seen.push(here());
            })
            .await;
            seen.push(here());
        })
        .await;
        seen.push(here());
        assert_eq!(seen, ["a", "b", "a", "home", "home", "b", "a", "home"]);
    });
    w.run();
    assert_eq!(job.state(), JobState::Completed);
}

#[test]
fn joined_sections_are_polled_where_they_belong_and_do_not_chase_each_other() {
    let w = World::new();
    let (a, b) = (w.a.dispatcher(), w.b.dispatcher());
    let gates = [Gate::default(), Gate::default()];
    let [first, second] = gates.clone();
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = polls.clone();
    let at = move |name, gate: Gate| {
        let polls = counted.clone();
        async move {
            let mut wait = std::pin::pin!(gate.wait());
            poll_fn(|cx| {
                assert_eq!(here(), name);
                polls.fetch_add(1, Ordering::SeqCst);
                wait.as_mut().poll(cx)
            })
            .await;
        }
    };
    let job = w.rt.scope().launch(async move {
        join(with_context(a, at("a", first)), with_context(b, at("b", second))).await;
        assert_eq!(here(), "home");
    });
    w.run();
    assert_eq!(polls.load(Ordering::SeqCst), 2, "each body once");
    assert_eq!((w.a.queued(), w.b.queued()), (1, 1), "one move each");
    gates[0].open();
    w.run();
    assert_eq!(job.state(), JobState::Active);
    assert!(w.a.queued() + w.b.queued() <= 5, "{} {}", w.a.queued(), w.b.queued());
    gates[1].open();
    w.run();
    assert_eq!(job.state(), JobState::Completed);
}

#[test]
fn after_joined_sections_the_code_is_where_it_belongs() {
    let w = World::switching();
    let (b, loop_b) = (w.b.dispatcher(), w.b.clone());
    let job = w.rt.scope().coroutine().on(w.a.dispatcher()).launch(async move {
        let keeps_the_thread = with_context(b.clone(), async {
            loop_b.switches.store(false, Ordering::SeqCst);
            yield_now().await;
        });
        let beside = async {
            assert_eq!(here(), "b", "a branch is polled where the coroutine is");
            with_context(b, async { assert_eq!(here(), "b") }).await;
            assert_eq!(here(), "a");
        };
        join(keeps_the_thread, beside).await;
        assert_eq!(here(), "a");
    });
    w.run();
    assert_eq!(job.state(), JobState::Completed);
}

#[test]
fn a_pending_section_keeps_the_move_that_another_one_has_asked_for() {
    let w = World::new();
    let (a, gate) = (w.a.dispatcher(), Gate::default());
    let (opened, ran) = (gate.clone(), Arc::new(AtomicBool::new(false)));
    let runs = ran.clone();
    let job = w.rt.scope().launch(async move {
        let moves = with_context(a, async {
            assert_eq!(here(), "a");
            runs.store(true, Ordering::SeqCst);
        });
        join(moves, with_context(Dispatcher::Default, gate.wait())).await;
    });
    w.run();
    assert!(ran.load(Ordering::SeqCst), "nothing else wakes the coroutine");
    opened.open();
    w.run();
    assert_eq!(job.state(), JobState::Completed);
}

type Boxed = Pin<Box<dyn Future<Output = &'static str> + Send>>;

/// A section whose body waits for the gate, and what says whether it was polled.
fn waits_in(dispatcher: Dispatcher, gate: &Gate) -> (Boxed, Arc<AtomicBool>) {
    let (gate, begun) = (gate.clone(), Arc::new(AtomicBool::new(false)));
    let begins = begun.clone();
    let section = with_context(dispatcher, async move {
        begins.store(true, Ordering::SeqCst);
        gate.wait().await;
        here()
    });
    (Box::pin(section), begun)
}

/// Polls `section` in a coroutine of the pool until its body was polled, and takes it out of there.
fn poll_at_home(w: &World, section: Boxed, begun: Arc<AtomicBool>) -> Boxed {
    let shelf = Arc::new(Mutex::new(None));
    let put = shelf.clone();
    let mut section = Some(section);
    let job = w.rt.scope().launch(poll_fn(move |cx| {
        assert!(section.as_mut().unwrap().as_mut().poll(cx).is_pending());
        if begun.load(Ordering::SeqCst) {
            *put.lock().unwrap() = section.take();
            return Poll::Ready(());
        }
        Poll::Pending
    }));
    w.run();
    assert_eq!(job.state(), JobState::Completed);
    let section = shelf.lock().unwrap().take();
    section.expect("its body was polled")
}

#[test]
fn a_section_that_another_coroutine_polls_next_is_a_part_of_that_one() {
    let w = World::new();
    for (to, at) in [(w.b.dispatcher(), "b"), (Dispatcher::Default, "home")] {
        let gate = Gate::default();
        let (section, begun) = waits_in(to, &gate);
        let section = poll_at_home(&w, section, begun);
        let job = w.rt.scope().coroutine().on(w.a.dispatcher()).launch(async move {
            assert_eq!(section.await, at, "where the body belongs");
            assert_eq!(here(), "a", "where this coroutine belongs");
        });
        w.run();
        assert_eq!(job.state(), JobState::Active);
        gate.open();
        w.run();
        assert_eq!(job.state(), JobState::Completed, "it is woken");
    }
}

#[test]
fn a_section_that_was_moved_and_is_dropped_leaves_the_next_coroutine_s_moves_alone() {
    let w = World::new();
    let (section, begun) = waits_in(w.b.dispatcher(), &Gate::default());
    let section = poll_at_home(&w, section, begun);
    let (a, gate) = (w.a.dispatcher(), Gate::default());
    let opened = gate.clone();
    let job = w.rt.scope().launch(async move {
        let mut section = Some(section);
        let drops = poll_fn(|_| {
            let there = here() == "a";
            if there {
                section = None;
            }
            if there { Poll::Ready(()) } else { Poll::Pending }
        });
        join(with_context(a, gate.wait()), drops).await;
        assert_eq!(here(), "home");
    });
    w.run();
    assert_eq!(job.state(), JobState::Active);
    opened.open();
    assert!(w.a.step(), "it is still woken where its own section waits");
    w.run();
    assert_eq!(job.state(), JobState::Completed);
}

/// Two sections with the wakers of a set, which is gone when the first of them is ready.
async fn left_by_a_set(mut first: Boxed, mut second: Boxed) -> (&'static str, Boxed) {
    let both = [first.as_mut(), second.as_mut()];
    let value = both.into_iter().collect::<FuturesUnordered<_>>().next().await;
    (value.unwrap(), first)
}

/// Two sections with the coroutine's own waker.
async fn left_by_a_select(first: Boxed, second: Boxed) -> (&'static str, Boxed) {
    match select(first, second).await {
        Either::Right(left) => left,
        Either::Left(_) => panic!("the second one is ready first"),
    }
}

#[test]
fn a_section_that_gets_another_waker_is_woken_through_that() {
    for into_a_set in [true, false] {
        let w = World::new();
        let gate = Gate::default();
        let (first, begun) = waits_in(w.a.dispatcher(), &gate);
        let second: Boxed = Box::pin(with_context(w.b.dispatcher(), async { here() }));
        let job = w.rt.scope().launch(async move {
            let (value, left) = match into_a_set {
                true => left_by_a_select(first, second).await,
                false => left_by_a_set(first, second).await,
            };
            assert_eq!((value, here(), begun.load(Ordering::SeqCst)), ("b", "home", true));
            let value = match into_a_set {
                true => [left].into_iter().collect::<FuturesUnordered<_>>().next().await.unwrap(),
                false => left.await,
            };
            assert_eq!((value, here()), ("a", "home"));
        });
        w.run();
        assert_eq!(job.state(), JobState::Active);
        gate.open();
        w.run();
        assert_eq!(job.state(), JobState::Completed, "into a set: {into_a_set}");
    }
}

#[test]
fn a_dispatcher_that_polls_a_section_in_its_switch_finds_no_coroutine() {
    let w = World::new();
    let found = Arc::new(Mutex::new(Vec::new()));
    let finds = found.clone();
    let polls = move || {
        let section = with_context(Dispatcher::custom(drop::<Coroutine>), pending::<()>());
        let polled = catch_unwind(AssertUnwindSafe(|| section.now_or_never()));
        let payload = polled.expect_err("there is nothing that could move");
        finds.lock().unwrap().push(payload.downcast_ref::<String>().unwrap().clone());
    };
    assert!(w.a.on_switch.set(Box::new(polls)).is_ok());
    let b = w.b.dispatcher();
    let job = w.rt.scope().coroutine().on(w.a.dispatcher()).launch(async move {
        assert_eq!(with_context(b, async { here() }).await, "b");
        assert_eq!(here(), "a");
    });
    w.run();
    assert_eq!(job.state(), JobState::Completed);
    let found = found.lock().unwrap();
    assert!(matches!(&found[..], [one] if one.contains("no coroutine")), "{found:?}");
}

#[test]
fn a_switch_that_panics_behind_a_body_that_has_panicked() {
    let message = |payload: Box<dyn std::any::Any + Send>| *payload.downcast::<&str>().unwrap();
    for panics in [1, 2] {
        let w = World::switching();
        let (b, loop_b) = (w.b.dispatcher(), w.b.clone());
        let job = w.rt.scope().coroutine().on(w.a.dispatcher()).launch(async move {
            let section = with_context(b, async {
                loop_b.panics.store(panics, Ordering::SeqCst);
                panic!("inside");
            });
            let payload = AssertUnwindSafe(section).catch_unwind().await.unwrap_err();
            // The second one is that of the way back.
            assert_eq!(message(payload), ["inside", "no way from here"][panics - 1]);
            yield_now().await;
            assert_eq!(here(), "a");
        });
        w.run();
        assert_eq!(job.state(), JobState::Completed);
        let reports = w.rt.reports();
        assert_eq!(reports.len(), panics, "{reports:?}");
        assert!(reports[0].contains("no way"), "{reports:?}");
        assert!(panics == 1 || reports[1].contains("inside"), "{reports:?}");
    }
}

#[test]
fn a_switch_that_panics_behind_a_body_that_is_pending() {
    let w = World::switching();
    let (b, loop_b) = (w.b.dispatcher(), w.b.clone());
    let job = w.rt.scope().coroutine().on(w.a.dispatcher()).launch(async move {
        let section = with_context(b, async {
            loop_b.panics.store(1, Ordering::SeqCst);
            pending::<()>().await;
        });
        let payload = AssertUnwindSafe(section).catch_unwind().await.unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"no way from here"));
        assert_eq!(here(), "a");
    });
    w.run();
    assert_eq!(job.state(), JobState::Completed);
}

#[test]
fn one_that_is_polled_again_after_a_panic_elsewhere_keeps_nothing() {
    let w = World::new();
    let name: Arc<str> = "kept".into();
    let job = w.rt.scope().coroutine().name(Arc::clone(&name)).launch(async {
        let mut polls = 0;
        let body = poll_fn(|_| {
            polls += 1;
            assert!(polls > 1 || Context::current().name().is_none(), "inside");
            Poll::Ready(())
        });
        let mut section = Box::pin(with_context(Dispatcher::Default, body));
        // In the frame of a scope, where it has a context of its own.
        let first = scope(async |_| AssertUnwindSafe(section.as_mut()).catch_unwind().await).await;
        assert!(first.is_err());
        section.await;
    });
    w.run();
    assert_eq!(job.state(), JobState::Completed);
    drop(job);
    assert_eq!(Arc::strong_count(&name), 1);
}

#[test]
fn sections_in_a_set_of_futures() {
    for n in [3, if cfg!(miri) { 9 } else { 100 }] {
        let w = World::new();
        let dispatchers = [w.a.dispatcher(), w.b.dispatcher(), Dispatcher::Default];
        let job = w.rt.scope().launch(async move {
            let section = |i: usize| {
                let dispatcher = dispatchers[i % 3].clone();
                with_context(dispatcher, async move {
                    assert_eq!(here(), ["a", "b", "home"][i % 3]);
                    yield_now().await;
                    assert_eq!(here(), ["a", "b", "home"][i % 3]);
                    i
                })
            };
            assert_eq!(join_all((0..n).map(section)).await, (0..n).collect::<Vec<_>>());
            let set: FuturesUnordered<_> = (0..n).map(section).collect();
            let mut got: Vec<_> = set.collect().await;
            got.sort_unstable();
            assert_eq!(got, (0..n).collect::<Vec<_>>());
        });
        let polls = w.run();
        assert_eq!(job.state(), JobState::Completed);
        assert!(polls < 40 + 10 * n, "{polls} polls for {n}");
    }
}

#[test]
fn a_set_of_sections_in_a_long_poll_is_no_foreign_executor() {
    let w = World::new();
    let b = w.b.dispatcher();
    let job = w.rt.scope().launch(async move {
        let section = |_| with_context(b.clone(), async { here() });
        let mut set: FuturesUnordered<_> = (0..3).map(section).collect();
        // More often, and for longer, than what polls in a loop may.
        let (times, long) = if cfg!(miri) { (10, 0) } else { (2_000, 100) };
        poll_fn(|cx| {
            let begun = Instant::now();
            let polls = std::iter::from_fn(|| set.poll_next_unpin(cx).is_pending().then_some(()));
            let mut polls = polls.enumerate();
            let is_over = |n| n > times && begun.elapsed() > Duration::from_millis(long);
            assert!(polls.any(|(n, ())| is_over(n)), "none is ready in this poll");
            Poll::Ready(())
        })
        .await;
        assert_eq!(set.collect::<Vec<_>>().await, ["b"; 3]);
    });
    w.run();
    assert_eq!(job.state(), JobState::Completed);
}

#[test]
fn a_shared_section() {
    let w = World::new();
    let b = w.b.dispatcher();
    let job = w.rt.scope().launch(async move {
        let shared = with_context(b, async { here() }).boxed().shared();
        let (one, two) = join(shared.clone(), shared).await;
        assert_eq!((one, two), ("b", "b"));
    });
    w.run();
    assert_eq!(job.state(), JobState::Completed);
}

/// Runs what has sections for `steps` polls, cancels it, and answers whether it had ended before;
/// checks that what the coroutine owned was dropped at home.
fn cancel_after(w: &World, steps: usize) -> bool {
    let (a, b) = (w.a.dispatcher(), w.b.dispatcher());
    let dropped = Arc::new(Mutex::new(Vec::new()));
    let mark = Dropped(dropped.clone());
    let home = w.a.switches.load(Ordering::SeqCst);
    let on = if home { w.a.dispatcher() } else { Dispatcher::Default };
    let job = w.rt.scope().coroutine().on(on).launch(async move {
        let _mark = mark;
        with_context(b.clone(), yield_now()).await;
        join(
            with_context(a.clone(), async { yield_now().await }),
            with_context(b.clone(), async {
                with_context(a, yield_now()).await;
                yield_now().await;
            }),
        )
        .await;
        blocking(|| ()).await;
        with_context(b, pending::<()>()).await;
    });
    let ended = (0..steps).any(|_| !w.step());
    job.cancel();
    w.run();
    assert_eq!(job.state(), JobState::Cancelled, "after {steps} polls");
    let expected = if home { "a" } else { "home" };
    assert_eq!(*dropped.lock().unwrap(), [expected], "after {steps} polls");
    ended
}

#[test]
fn cancelled_at_each_point_it_is_dropped_at_home() {
    for world in [World::new, World::switching] {
        let mut steps = 0;
        while !cancel_after(&world(), steps) {
            steps += 1;
            assert!(steps < 100);
        }
        assert!(steps > 3, "{steps}");
    }
}

#[test]
fn cancelled_with_its_scope_it_is_dropped_at_home() {
    let w = World::new();
    let (b, dropped) = (w.b.dispatcher(), Arc::new(Mutex::new(Vec::new())));
    let mark = Dropped(dropped.clone());
    let job = w.rt.scope().launch(scope(async move |s| {
        s.launch(async move {
            let _mark = mark;
            with_context(b, pending::<()>()).await;
        });
    }));
    w.run();
    job.cancel();
    w.run();
    assert_eq!(job.state(), JobState::Cancelled);
    assert_eq!(*dropped.lock().unwrap(), ["home"]);
}

#[test]
fn a_section_that_is_dropped_or_forgotten_keeps_nobody_away() {
    for polls in 1..6 {
        // What is forgotten leaks, as it should.
        for forget in [false, true].into_iter().take(if cfg!(miri) { 1 } else { 2 }) {
            let w = World::new();
            let (b, gate) = (w.b.dispatcher(), Gate::default());
            let opened = gate.clone();
            let job = w.rt.scope().launch(async move {
                let mut section = Box::pin(with_context(b, async {
                    yield_now().await;
                    pending::<()>().await;
                }));
                let mut left = polls;
                poll_fn(|cx| {
                    left -= 1;
                    let _pending = section.as_mut().poll(cx);
                    if left == 0 {
                        return Poll::Ready(());
                    }
                    cx.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
                if forget {
                    std::mem::forget(section);
                } else {
                    drop(section);
                }
                gate.wait().await;
                // What was forgotten cannot take its last wish back.
                if forget {
                    yield_now().await;
                }
                assert_eq!(here(), "home");
            });
            w.run();
            opened.open();
            w.run();
            assert_eq!(job.state(), JobState::Completed, "{polls} {forget}");
        }
    }
}

#[test]
fn after_a_timeout_the_code_goes_on_where_the_section_was_entered() {
    let w = World::new();
    let (a, b) = (w.a.dispatcher(), w.b.dispatcher());
    let job = w.rt.scope().launch(async move {
        let late = with_timeout(TICK, with_context(b.clone(), pending::<()>())).await;
        assert_eq!((late.is_err(), here()), (true, "home"));
        with_context(a.clone(), async {
            let late = with_timeout(TICK, with_context(b.clone(), pending::<()>())).await;
            assert_eq!((late.is_err(), here()), (true, "a"));
        })
        .await;
        assert_eq!(here(), "home");
        let nested = with_context(a, with_context(b, pending::<()>()));
        assert!(with_timeout(TICK, nested).await.is_err());
        assert_eq!(here(), "home");
    });
    w.run_all(4);
    assert_eq!(job.state(), JobState::Completed);
    assert_eq!((w.a.queued(), w.b.queued()), (3, 6), "there, back, and for a timer there");
}

#[test]
fn a_value_that_is_on_its_way_back_wins_over_the_deadline() {
    let w = World::new();
    let (a, b, time) = (w.a.dispatcher(), w.b.dispatcher(), w.rt.hooks.clone());
    let job = w.rt.scope().launch(async move {
        let late = |value| {
            let (b, time) = (b.clone(), time.clone());
            with_timeout(TICK, async move {
                let section = with_context(b, async move {
                    time.pass(3 * TICK);
                    value
                });
                let value = section.await;
                assert_eq!(here(), "home");
                value
            })
        };
        assert_eq!(late(1).await, Ok(1));
        // By two steps, out of two timeouts.
        let b = b.clone();
        let outer = with_timeout(
            TICK,
            with_context(a, async {
                let inner = with_context(b, async {
                    time.pass(3 * TICK);
                    2
                });
                with_timeout(TICK, inner).await
            }),
        );
        assert_eq!(outer.await, Ok(Ok(2)));
        let set: FuturesUnordered<_> = (0..3).map(late).collect();
        let values: Vec<_> = set.collect().await;
        assert!(values.iter().any(Result::is_ok), "{values:?}");
        assert_eq!(here(), "home");
    });
    w.run_all(3);
    assert_eq!(job.state(), JobState::Completed);
}

#[test]
fn a_value_does_not_hold_off_a_timeout_for_what_is_beside_it() {
    let w = World::new();
    let (b, time) = (w.b.dispatcher(), w.rt.hooks.clone());
    let job = w.rt.scope().launch(async move {
        let value = with_context(b, async move { time.pass(3 * TICK) });
        assert!(with_timeout(TICK, join(value, pending::<()>())).await.is_err());
        assert_eq!(here(), "home");
    });
    w.run_all(1);
    assert_eq!(job.state(), JobState::Completed);
}

#[test]
fn a_timeout_that_has_passed_behind_a_shield_has_passed_for_good() {
    let w = World::new();
    let (b, gates) = (w.b.dispatcher(), [Gate::default(), Gate::default()]);
    let [first, second] = gates.clone();
    let job = w.rt.scope().launch(async move {
        let shielded = async {
            shield(first.wait()).await;
            pending::<()>().await;
        };
        let late = with_timeout(TICK, join(shielded, with_context(b, second.wait()))).await;
        assert_eq!((late.is_err(), here()), (true, "home"));
    });
    w.run_all(2);
    assert_eq!(job.state(), JobState::Active, "the shield holds it");
    // In the poll in which the shield is over, a value is on its way.
    gates.into_iter().for_each(|gate| gate.open());
    w.run();
    assert_eq!(job.state(), JobState::Completed);
}

#[test]
fn a_section_that_gets_there_too_late_does_not_begin() {
    for cancels in [false, true] {
        let w = World::new();
        let (b, handle) = (w.b.dispatcher(), Arc::new(OnceLock::new()));
        let put = handle.clone();
        let job = w.rt.scope().launch(async move {
            let section = || with_context(b, async { unreachable!("it is too late") });
            if cancels {
                let cancelled = cancel_scope(async |c| {
                    assert!(put.set(c).is_ok());
                    section().await;
                });
                assert!(cancelled.await.is_err());
            } else {
                assert!(with_timeout(TICK, section()).await.is_err());
            }
            assert_eq!(here(), "home");
        });
        assert!(w.rt.step(), "it asks for the move");
        assert_eq!(w.b.queued(), 1);
        match handle.get() {
            Some(handle) => assert!(handle.cancel()),
            None => w.rt.pass(2 * TICK),
        }
        w.run();
        assert_eq!(job.state(), JobState::Completed);
    }
}

#[test]
fn a_section_in_what_is_cancelled_asks_for_no_move() {
    let w = World::new();
    let b = w.b.dispatcher();
    let job = w.rt.scope().launch(async move {
        let cancelled = cancel_scope(async |c| {
            c.cancel();
            with_context(b, async { unreachable!("it is too late") }).await;
        });
        assert!(cancelled.await.is_err());
        assert_eq!(here(), "home");
    });
    assert_eq!(w.run(), 1);
    assert_eq!((job.state(), w.b.queued()), (JobState::Completed, 0));
}

#[test]
fn a_move_that_was_asked_for_is_none_when_the_section_is_gone() {
    let w = World::new();
    let b = w.b.dispatcher();
    let job = w.rt.scope().launch(async move {
        let cancelled = cancel_scope(async |c| {
            let cancels = async {
                c.cancel();
            };
            join(with_context(b, pending::<()>()), cancels).await;
        });
        assert_eq!((cancelled.await.is_err(), here()), (true, "home"));
        yield_now().await;
        assert_eq!(here(), "home");
    });
    w.run();
    assert_eq!(job.state(), JobState::Completed);
    assert_eq!(w.b.queued(), 0);
}

#[test]
fn after_a_scope_that_was_cancelled_the_code_goes_on_where_the_section_was_entered() {
    // By somebody else, and by the body, in the poll that ends with it.
    for by_itself in [false, true] {
        let w = World::new();
        let (b, handle) = (w.b.dispatcher(), Arc::new(OnceLock::new()));
        let put = handle.clone();
        let job = w.rt.scope().launch(async move {
            let cancelled = cancel_scope(async |c: CancelScope| {
                with_context(b, async {
                    if by_itself {
                        c.cancel();
                    }
                    put.set(c).unwrap();
                    pending::<()>().await;
                })
                .await;
            });
            assert!(cancelled.await.is_err());
            assert_eq!(here(), "home");
        });
        w.run();
        handle.get().unwrap().cancel();
        w.run();
        assert_eq!(job.state(), JobState::Completed);
    }
}

#[test]
fn cancelled_on_the_way_back_it_is_dropped_at_home() {
    let w = World::new();
    let (b, dropped) = (w.b.dispatcher(), Arc::new(Mutex::new(Vec::new())));
    let mark = Dropped(dropped.clone());
    let job = w.rt.scope().launch(async move {
        let _mark = mark;
        let _late = with_timeout(TICK, with_context(b, pending::<()>())).await;
        unreachable!("it is cancelled");
    });
    w.run();
    w.rt.pass(TICK);
    assert!(w.b.step(), "the timeout passes over there, and asks for the way back");
    job.cancel();
    w.run();
    assert_eq!(job.state(), JobState::Cancelled);
    assert_eq!(*dropped.lock().unwrap(), ["home"]);
}

#[test]
fn timeouts_in_a_set_of_futures_come_back() {
    let w = World::new();
    let dispatchers = [w.a.dispatcher(), w.b.dispatcher()];
    let job = w.rt.scope().launch(async move {
        let late = |i: usize| {
            let section = with_context(dispatchers[i % 2].clone(), pending::<()>());
            async move {
                assert!(with_timeout(TICK, section).await.is_err());
                assert_eq!(here(), "home");
            }
        };
        (0..10).map(late).collect::<FuturesUnordered<_>>().collect::<()>().await;
        join_all((0..10).map(late)).await;
    });
    w.run_all(4);
    assert_eq!(job.state(), JobState::Completed);
}

#[test]
fn a_panic_goes_on_where_the_section_was_entered() {
    let w = World::new();
    let b = w.b.dispatcher();
    let in_section = |b: Dispatcher, bomb: bool| {
        with_context(b, async move {
            yield_now().await;
            let _bomb = bomb.then_some(Bomb);
            if !bomb {
                panic!("inside");
            }
            pending::<()>().await;
        })
    };
    let job = w.rt.scope().launch(async move {
        let plain = AssertUnwindSafe(in_section(b.clone(), false));
        assert!(plain.catch_unwind().await.is_err());
        assert_eq!(here(), "home");
        let scoped = AssertUnwindSafe(scope(async |_| in_section(b.clone(), false).await));
        assert!(scoped.catch_unwind().await.is_err());
        assert_eq!(here(), "home");
        let in_destructor = AssertUnwindSafe(with_timeout(TICK, in_section(b, true)));
        assert!(in_destructor.catch_unwind().await.is_err());
        assert_eq!(here(), "home");
    });
    w.run_all(2);
    assert_eq!(job.state(), JobState::Completed);
}

#[test]
fn a_panic_that_is_dropped_on_its_way_back_is_reported() {
    let w = World::new();
    let b = w.b.dispatcher();
    let job = w.rt.scope().launch(with_context(b, async { panic!("inside") }));
    assert!(w.rt.step() && w.b.step(), "it goes there, and panics");
    job.cancel();
    w.run();
    assert_eq!(job.state(), JobState::Cancelled);
    let reports = w.rt.reports();
    assert!(matches!(&reports[..], [one] if one.contains("inside")), "{reports:?}");
}

#[test]
fn a_dispatcher_that_refuses_cancels() {
    let w = World::new();
    let refuses = Dispatcher::custom(drop::<Coroutine>);
    let dropped = Arc::new(Mutex::new(Vec::new()));
    let mark = Dropped(dropped.clone());
    let job = w.rt.scope().launch(async move {
        let _mark = mark;
        with_context(refuses, async { unreachable!("nobody runs it") }).await;
    });
    w.run();
    assert_eq!(job.state(), JobState::Cancelled);
    assert_eq!(*dropped.lock().unwrap(), ["home"]);
}

#[test]
fn what_is_inside_inherits_the_section_s_context() {
    let w = World::new();
    let b = w.b.dispatcher();
    let job = w.rt.scope().coroutine().name("outer").launch(async move {
        let inner = Context::from(Name::new("inner")).and(b);
        with_context(inner, async {
            assert_eq!(Context::current().name(), Some("inner"));
            scope(async |s| {
                assert_eq!(s.spawn(async { here() }).await, "b");
            })
            .await;
            with_context(Name::new("innermost"), async {
                assert_eq!(Context::current().name(), Some("innermost"));
                assert!(matches!(Context::current().dispatcher(), Some(Dispatcher::Custom(_))));
            })
            .await;
        })
        .await;
        assert_eq!(Context::current().name(), Some("outer"));
    });
    w.run();
    assert_eq!(job.state(), JobState::Completed);
}

#[test]
fn to_the_same_dispatcher_it_does_not_suspend() {
    let w = World::new();
    let job = w.rt.scope().launch(async move {
        with_context(Dispatcher::Default, async { assert_eq!(here(), "home") }).await;
        with_context(Name::new("only a name"), async {}).await;
    });
    assert_eq!(w.run(), 1);
    assert_eq!(job.state(), JobState::Completed);
}

#[test]
fn outside_of_a_coroutine_it_says_so() {
    let w = World::new();
    let mut section = Box::pin(with_context(w.b.dispatcher(), async {}));
    let _inside = w.rt.enter();
    let payload = catch_unwind(AssertUnwindSafe(|| {
        section.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()))
    }))
    .expect_err("there is no coroutine");
    let message = payload.downcast_ref::<String>().unwrap();
    assert!(message.contains("no coroutine"), "{message}");
    assert!(message.contains("spawn_on"), "{message}");
}

#[test]
fn a_closure_that_blocks_in_a_foreign_block_on_runs_where_that_is() {
    let w = World::new();
    let b = w.b.dispatcher();
    let job = w.rt.scope().coroutine().on(w.a.dispatcher()).launch(async move {
        assert_eq!(futures::executor::block_on(blocking(here)), "a");
        yield_now().await;
        assert_eq!(here(), "a");
        // Another section has asked in the same poll, and is not forgotten.
        let blocks = async {
            futures::executor::block_on(blocking(here));
        };
        let (there, ()) = join(with_context(b, async { here() }), blocks).await;
        assert_eq!((there, here()), ("b", "a"));
    });
    w.run();
    assert_eq!(job.state(), JobState::Completed);
}

#[test]
fn spawn_on_launches_a_child_that_is_awaited() {
    let w = World::new();
    let b = w.b.dispatcher();
    let job = w.rt.scope().launch(async move {
        assert_eq!(spawn_on(b, async { here() }).await, "b");
        assert_eq!(here(), "home");
    });
    w.run();
    assert_eq!(job.state(), JobState::Completed);
}

#[test]
fn spawn_on_is_named_by_its_caller_s_place() {
    let w = World::new();
    let place = |line: u32| format!("{}:{line}:", file!());
    let refuses = || Dispatcher::custom(drop::<Coroutine>);
    let line = line!() + 1;
    let refused = move || spawn_on(refuses(), async {});
    let caught = w.rt.block_on(async move { AssertUnwindSafe(refused()).catch_unwind().await });
    let payload = caught.expect_err("the dispatcher refuses");
    let message = payload.downcast_ref::<String>().unwrap();
    assert!(message.contains("spawn_on at"), "{message}");
    assert!(message.contains(&place(line)), "{message}");

    let line = line!() + 1;
    let no_main = move || spawn_on(Dispatcher::Main, async {});
    let caught = w.rt.block_on(async move { AssertUnwindSafe(no_main()).catch_unwind().await });
    let payload = caught.expect_err("there is no main loop");
    let message = payload.downcast_ref::<String>().unwrap();
    assert!(message.contains(&place(line)), "{message}");

    let names = Arc::new(Mutex::new(Vec::new()));
    let name = names.clone();
    let note = move |it: Coroutine| name.lock().unwrap().push(it.who().to_string());
    let noted = Dispatcher::custom(note);
    let line = line!() + 1;
    let named = move || spawn_on(noted, async {});
    let _caught = w.rt.block_on(async move { AssertUnwindSafe(named()).catch_unwind().await });
    let names = names.lock().unwrap();
    assert!(names[0].contains(&place(line)), "{names:?}");
}

/// How several futures are awaited.
#[derive(Clone, Copy, Debug)]
enum How {
    InARow,
    Joined,
    InASet,
}

/// What ends a section before its time.
#[derive(Clone, Copy, Debug)]
enum End {
    Itself,
    /// A timeout of so many ticks.
    Timeout(u32),
    /// A scope that is cancelled when some more polls were made.
    Cancel,
}

/// What is around a section, inside of what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrap {
    Nothing,
    Shield,
    /// With a cleanup that has a section on that dispatcher.
    Finally(usize),
}

/// A section: where it is, how often it yields there, what is inside, and what ends it.
#[derive(Clone, Debug)]
struct Step {
    at: usize,
    yields: u8,
    how: How,
    end: End,
    wrap: Wrap,
    inside: Vec<Self>,
}

impl Step {
    fn plain(at: usize, yields: u8, how: How, inside: Vec<Self>) -> Self {
        Self { at, yields, how, end: End::Itself, wrap: Wrap::Nothing, inside }
    }

    /// Whether the section is the last thing that it waits for. What waits for a cleanup may be
    /// polled wherever sections in other branches have brought the coroutine.
    fn is_over_with_its_section(&self) -> bool {
        !matches!(self.wrap, Wrap::Finally(_))
    }
}

fn step() -> impl Strategy<Value = Step> {
    let own = || {
        let how = prop_oneof![Just(How::InARow), Just(How::Joined), Just(How::InASet)];
        let end = prop_oneof![
            2 => Just(End::Itself),
            1 => (0..4u32).prop_map(End::Timeout),
            1 => Just(End::Cancel),
        ];
        let wrap = prop_oneof![
            2 => Just(Wrap::Nothing),
            1 => Just(Wrap::Shield),
            1 => (0..5usize).prop_map(Wrap::Finally),
        ];
        (0..5usize, 0..3u8, how, end, wrap)
    };
    let leaf = own().prop_map(|(at, yields, how, end, wrap)| Step {
        end,
        wrap,
        ..Step::plain(at, yields, how, Vec::new())
    });
    leaf.prop_recursive(3, 12, 4, move |inner| {
        (own(), prop::collection::vec(inner, 0..4)).prop_map(
            |((at, yields, how, end, wrap), inside)| Step {
                end,
                wrap,
                ..Step::plain(at, yields, how, inside)
            },
        )
    })
}

/// The dispatchers of the steps, and how many are in a view.
struct Places {
    dispatchers: [Dispatcher; 5],
    /// Scopes that are to be cancelled.
    cancels: Mutex<VecDeque<CancelScope>>,
}

impl Places {
    fn new(dispatchers: [Dispatcher; 5]) -> Arc<Self> {
        Arc::new(Self { dispatchers, cancels: Mutex::default() })
    }

    /// The code is polled by that dispatcher, and not only by a thread that it shares.
    fn check(&self, at: usize) {
        assert_eq!(here(), ["home", "a", "b", "a", "home"][at]);
        if let Dispatcher::Custom(dispatch) = &self.dispatchers[at] {
            assert!(runs_as(&**dispatch));
        }
    }

    /// Runs the section in code that belongs to `around`, until what is around it ends it.
    async fn within(self: &Arc<Self>, step: &Step, around: usize) {
        match step.end {
            End::Itself => self.wrapped(step, around).await,
            End::Timeout(ticks) => {
                let _elapsed = with_timeout(TICK * ticks, self.wrapped(step, around)).await;
            }
            End::Cancel => {
                let cancelled = cancel_scope(async |c| {
                    self.cancels.lock().unwrap().push_back(c);
                    self.wrapped(step, around).await;
                });
                let _cancelled = cancelled.await;
            }
        }
    }

    async fn wrapped(self: &Arc<Self>, step: &Step, around: usize) {
        match step.wrap {
            Wrap::Nothing => self.go(step).await,
            Wrap::Shield => shield(self.go(step)).await,
            Wrap::Finally(at) => {
                let this = self.clone();
                let cleanup = move || async move {
                    this.check(around);
                    let inside = with_context(this.dispatchers[at].clone(), async {
                        yield_now().await;
                        this.check(at);
                    });
                    inside.await;
                    this.check(around);
                };
                finally(self.go(step), cleanup).await;
            }
        }
        if step.is_over_with_its_section() {
            self.check(around);
        }
        if !matches!(step.end, End::Itself) {
            pending::<()>().await;
        }
    }

    /// Time passes, and scopes are cancelled.
    fn disturb(&self, w: &World) {
        let cancel = self.cancels.lock().unwrap().pop_front();
        let _inside = w.rt.enter();
        let _was_first = cancel.is_some_and(|c| c.cancel());
        w.rt.pass(TICK);
    }

    fn go<'a>(
        self: &'a Arc<Self>,
        step: &'a Step,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(with_context(self.dispatchers[step.at].clone(), async move {
            for _ in 0..step.yields {
                self.check(step.at);
                yield_now().await;
            }
            self.check(step.at);
            let inside = step.inside.iter().map(|inner| async {
                self.within(inner, step.at).await;
                let ended = matches!(inner.end, End::Itself) && inner.is_over_with_its_section();
                if matches!(step.how, How::InARow) || ended {
                    self.check(step.at);
                }
            });
            match step.how {
                How::Joined => drop(join_all(inside).await),
                How::InASet => inside.collect::<FuturesUnordered<_>>().collect().await,
                How::InARow => {
                    for inner in inside {
                        inner.await;
                    }
                }
            }
            // A shield would wait for that.
            if !matches!(step.end, End::Itself) && step.wrap != Wrap::Shield {
                pending::<()>().await;
            }
        }))
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { ProptestConfig::default().cases },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever sections there are, whatever drops them, and whether threads can switch or not: code
    /// runs where it belongs, and the coroutines end.
    #[test]
    fn random_sections_end(
        programs in prop::collection::vec(step(), 1..4),
        switches in any::<bool>(),
        refuse_each in 0..4usize,
        each in 1..6usize,
    ) {
        let w = if switches { World::switching() } else { World::new() };
        w.a.refuse_each.store(refuse_each, Ordering::SeqCst);
        w.b.refuse_each.store(refuse_each, Ordering::SeqCst);
        let inside = w.rt.enter();
        let views = (
            w.a.dispatcher().limited_parallelism(1),
            Dispatcher::Default.limited_parallelism(1),
        );
        drop(inside);
        let places = Places::new([
            Dispatcher::Default,
            w.a.dispatcher(),
            w.b.dispatcher(),
            views.0,
            views.1,
        ]);
        let jobs: Vec<_> = programs
            .into_iter()
            .map(|program| {
                let places = places.clone();
                w.rt.scope().launch(async move {
                    places.within(&program, 0).await;
                    places.check(0);
                })
            })
            .collect();
        for _ in 0..100 {
            let _ran = (0..each).filter(|_| w.step()).count();
            places.disturb(&w);
        }
        w.run();
        for job in jobs {
            prop_assert_eq!(job.state(), JobState::Completed);
        }
    }
}

#[test]
fn a_place_that_changes_in_the_middle_of_a_poll() {
    let s = Step::plain;
    let program = s(
        0,
        0,
        How::InARow,
        vec![s(
            2,
            0,
            How::InASet,
            vec![
                s(1, 1, How::InARow, vec![]),
                s(0, 0, How::InARow, vec![]),
                s(
                    1,
                    2,
                    How::Joined,
                    vec![
                        s(2, 0, How::InARow, vec![]),
                        s(1, 1, How::InARow, vec![]),
                        s(2, 0, How::InARow, vec![]),
                    ],
                ),
            ],
        )],
    );
    let w = World::switching();
    w.a.refuse_each.store(2, Ordering::SeqCst);
    w.b.refuse_each.store(2, Ordering::SeqCst);
    let places = Places::new([
        Dispatcher::Default,
        w.a.dispatcher(),
        w.b.dispatcher(),
        w.a.dispatcher(),
        w.b.dispatcher(),
    ]);
    let job = w.rt.scope().launch(async move { places.go(&program).await });
    w.run();
    assert_eq!(job.state(), JobState::Completed);
}
