//! Sections under other dispatchers, on the real pool.

use std::future::{pending, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use corymb::prelude::*;
use corymb::{Coroutine, Runtime};
use futures::FutureExt;
use futures::future::{join, join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use proptest::prelude::*;

fn runtime() -> Runtime {
    let builder = Runtime::builder().parallelism(2).io_parallelism(3);
    // A busy machine makes polls look blocked, and what is put beside them would be counted.
    builder.blocked_threshold(Duration::from_secs(3600)).build().unwrap()
}

/// A thread that runs coroutines, and has this name.
fn custom(name: &str) -> Dispatcher {
    let (sender, receiver) = mpsc::channel::<Coroutine>();
    let run = move || receiver.iter().for_each(Coroutine::run);
    thread::Builder::new().name(name.into()).spawn(run).unwrap();
    let sender = Mutex::new(sender);
    Dispatcher::custom(move |coroutine| {
        // The thread lives as long as the sender.
        sender.lock().unwrap().send(coroutine).unwrap();
    })
}

fn thread_name() -> String {
    thread::current().name().unwrap_or_default().into()
}

#[test]
fn blocking_sections_borrow_and_run_beside_each_other() {
    let rt = runtime();
    let barrier = std::sync::Barrier::new(3);
    let names = ["a", "b", "c"].map(String::from);
    // All three have to be in there at once, on two processors.
    let (barrier, names) = (Arc::new(barrier), Arc::new(names));
    rt.run_blocking(scope(async |s| {
        for i in 0..3 {
            let (barrier, names) = (barrier.clone(), names.clone());
            s.launch(async move {
                let local = format!("{}{}", names[i], i);
                let length = blocking(|| {
                    barrier.wait();
                    local.len()
                })
                .await;
                assert_eq!(length, 2);
            });
        }
    }));
}

#[corymb::test]
async fn blocking_on_a_view_of_io_is_no_way_out_of_it() {
    let log = Arc::new(Mutex::new(Vec::new()));
    for (of, expected) in [(Dispatcher::Io, "a b c d"), (Dispatcher::Default, "a b d c")] {
        let one = of.limited_parallelism(1);
        scope(async |s| {
            let first = log.clone();
            s.coroutine().on(one.clone()).launch(async move {
                first.lock().unwrap().push("a");
                blocking(|| first.lock().unwrap().push("b")).await;
                first.lock().unwrap().push("c");
            });
            let second = log.clone();
            s.coroutine().on(one).launch(async move { second.lock().unwrap().push("d") });
        })
        .await;
        assert_eq!(std::mem::take(&mut *log.lock().unwrap()).join(" "), expected);
    }
}

#[test]
fn a_view_of_io_limits_what_blocks_in_it() {
    let rt = runtime();
    rt.run_blocking(async {
        let two = Dispatcher::Io.limited_parallelism(2);
        let twice = two.limited_parallelism(1);
        for (view, n) in [(two, 2), (twice, 1)] {
            let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            scope(async |s| {
                for _ in 0..20 {
                    let (view, inside, most) = (view.clone(), inside.clone(), most.clone());
                    s.launch(with_context(view, async move {
                        blocking(|| {
                            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                            most.fetch_max(now, Ordering::SeqCst);
                            // Others would come in meanwhile.
                            run_blocking(spawn_on(Dispatcher::Io, async {}));
                            inside.fetch_sub(1, Ordering::SeqCst);
                        })
                        .await;
                    }));
                }
            })
            .await;
            assert!(most.load(Ordering::SeqCst) <= n, "{most:?} of {n}");
        }
    });
}

#[test]
fn sections_meet_in_all_kinds_of_combinators() {
    let rt = runtime();
    let there = custom("there");
    let view = rt.run_blocking(async { Dispatcher::Io.limited_parallelism(1) });
    let sum = rt.run_blocking(rt.detached(async move {
        let dispatchers = [there, Dispatcher::Io, Dispatcher::Default, view];
        let section = |i: usize| {
            with_context(dispatchers[i % 4].clone(), async move {
                yield_now().await;
                assert_eq!(thread_name() == "there", i.is_multiple_of(4));
                i
            })
        };
        let all: usize = join_all((0..100).map(section)).await.into_iter().sum();
        let set: FuturesUnordered<_> = (0..100).map(section).collect();
        let of_set: usize = set.fold(0, async |sum, i| sum + i).await;
        let shared = section(4).boxed().shared();
        let (one, two) = join(shared.clone(), shared).await;
        let pair = join(section(1), join(section(0), section(3))).await;
        assert_eq!((one, two, pair), (4, 4, (1, (0, 3))));
        all + of_set
    }));
    assert_eq!(sum, 2 * 4950);
}

#[test]
fn a_foreign_block_on_gets_an_error_instead_of_a_hang() {
    let rt = runtime();
    let there = custom("there");
    let message = rt.run_blocking(rt.detached(async move {
        let section = with_context(there, async {});
        let caught = AssertUnwindSafe(async { futures::executor::block_on(section) });
        let payload = caught.catch_unwind().await.expect_err("it cannot move");
        payload.downcast_ref::<String>().unwrap().clone()
    }));
    assert!(message.contains("ForeignExecutor"), "{message}");
    assert!(message.contains("tests/moves.rs"), "{message}");
    assert!(message.contains("spawn_on"), "{message}");
}

/// In a coroutine on `dispatcher`, blocks on a section by a foreign `block_on`, until another
/// coroutine has what this one needs to come back, and keeps it. What it answers goes on after that.
async fn lose_the_way_back(dispatcher: Dispatcher) -> Result<(), String> {
    let (release, released) = mpsc::channel::<()>();
    let (take, taken) = mpsc::channel();
    scope(async |s| {
        let other = s.coroutine().on(dispatcher);
        let section = blocking(move || {
            other.launch(async move {
                take.send(()).unwrap();
                released.recv().unwrap();
            });
            taken.recv().unwrap();
        });
        let blocks = async { futures::executor::block_on(section) };
        let ended = AssertUnwindSafe(blocks).catch_unwind().await;
        release.send(()).unwrap();
        yield_now().await;
        ended.map_err(|payload| payload.downcast_ref::<String>().unwrap().clone())
    })
    .await
}

fn runtime_of_one() -> Runtime {
    let builder = Runtime::builder().parallelism(1).io_parallelism(3);
    builder.blocked_threshold(Duration::from_secs(3600)).build().unwrap()
}

#[test]
fn a_foreign_block_on_that_has_lost_its_processor_goes_on_without() {
    let rt = runtime_of_one();
    let ended = rt.run_blocking(rt.detached(lose_the_way_back(Dispatcher::Default)));
    assert_eq!(ended, Ok(()));
}

#[test]
fn a_foreign_block_on_that_has_lost_its_view_gets_an_error() {
    let rt = runtime_of_one();
    let one = rt.run_blocking(async { Dispatcher::Default.limited_parallelism(1) });
    let ended = rt.run_blocking(spawn_on(one.clone(), lose_the_way_back(one)));
    let message = ended.expect_err("the view has no place");
    assert!(message.contains("ForeignExecutor: blocking(..) at tests/moves.rs"), "{message}");
}

#[test]
fn what_a_thread_blocks_on_is_bound_to_it() {
    let rt = runtime();
    let here = thread::current().id();
    rt.run_blocking(async {
        assert_eq!(blocking(|| thread::current().id()).await, here);
        let moved = with_context(Dispatcher::Io, async { thread::current().id() });
        let payload = AssertUnwindSafe(moved).catch_unwind().await.expect_err("it is bound");
        let message = payload.downcast_ref::<String>().unwrap();
        assert!(message.contains("spawn_on"), "{message}");
        assert_ne!(spawn_on(Dispatcher::Io, async { thread::current().id() }).await, here);
    });
    // In a coroutine, too.
    rt.run_blocking(rt.detached(async {
        run_blocking(async {
            let here = thread::current().id();
            assert_eq!(blocking(|| thread::current().id()).await, here);
        });
    }));
}

#[test]
fn outside_of_corymb_it_is_refused() {
    let section = with_context(Dispatcher::Io, async {});
    let caught =
        std::panic::catch_unwind(AssertUnwindSafe(|| futures::executor::block_on(section)));
    let payload = caught.expect_err("there is no coroutine");
    let message = payload.downcast_ref::<String>().unwrap();
    assert!(message.contains("no coroutine"), "{message}");
}

#[test]
fn a_blocking_section_sees_its_cancellation() {
    let rt = runtime();
    let (started, starts) = mpsc::channel();
    let job = rt.launch_detached(async move {
        blocking(|| {
            started.send(()).unwrap();
            while !is_cancelled() {
                thread::yield_now();
            }
        })
        .await;
        yield_now().await;
        unreachable!("it is dropped at its next suspension");
    });
    starts.recv().unwrap();
    job.cancel();
    rt.run_blocking(job.join());
    assert!(job.is_cancelled());
}

/// Polls a section so many times, forgets it, and goes on.
#[test]
fn a_forgotten_section_holds_nothing_up() {
    let rt = runtime();
    for polls in 0..6 {
        let there = custom("there");
        rt.run_blocking(rt.detached(async move {
            let text = String::from("lives as long as the forgotten section");
            let mut section: Pin<Box<dyn Future<Output = usize> + Send>> =
                Box::pin(with_context(there, async move {
                    loop {
                        yield_now().await;
                        assert_eq!(text.len(), 38);
                    }
                }));
            let mut left = polls;
            poll_fn(|cx| {
                if left == 0 {
                    return Poll::Ready(());
                }
                left -= 1;
                assert!(section.as_mut().poll(cx).is_pending());
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            std::mem::forget(section);
            blocking(|| ()).await;
            yield_now().await;
        }));
    }
}

/// Where a section is to run.
#[derive(Clone, Copy, Debug)]
enum At {
    Default,
    Io,
    One,
    Two,
    There,
}

const PLACES: [At; 5] = [At::Default, At::Io, At::One, At::Two, At::There];

/// What a coroutine does: goes somewhere, yields there so many times, and does that in there.
#[derive(Clone, Debug)]
struct Step {
    at: usize,
    yields: u8,
    blocks: bool,
    joined: bool,
    /// A timeout in microseconds, which passes if the step has not ended before.
    limit: Option<u64>,
    inside: Vec<Self>,
}

fn step() -> impl Strategy<Value = Step> {
    let own = || {
        let limit = prop::option::weighted(0.3, 0..300u64);
        (0..PLACES.len(), 0..3u8, any::<bool>(), any::<bool>(), limit)
    };
    let leaf = own().prop_map(|(at, yields, blocks, joined, limit)| Step {
        at,
        yields,
        blocks,
        joined,
        limit,
        inside: Vec::new(),
    });
    leaf.prop_recursive(3, 12, 3, move |inner| {
        (own(), prop::collection::vec(inner, 0..3)).prop_map(
            |((at, yields, blocks, joined, limit), inside)| Step {
                at,
                yields,
                blocks,
                joined,
                limit,
                inside,
            },
        )
    })
}

/// How many polls there are at each place, and the most there may be.
struct Gauges {
    dispatchers: [Dispatcher; 5],
    now: [AtomicUsize; 5],
    limits: [usize; 5],
    sections: AtomicUsize,
}

impl Gauges {
    fn count(&self, at: usize, f: impl FnOnce()) {
        let now = self.now[at].fetch_add(1, Ordering::SeqCst) + 1;
        assert!(now <= self.limits[at], "{now} at once at {:?}", PLACES[at]);
        assert_eq!(thread_name() == "there", matches!(PLACES[at], At::There), "{:?}", PLACES[at]);
        f();
        self.now[at].fetch_sub(1, Ordering::SeqCst);
    }

    /// Runs the step, within its time.
    async fn limited(&self, step: &Step) {
        match step.limit {
            None => self.run(step).await,
            Some(limit) => {
                let limit = Duration::from_micros(limit);
                let elapsed = with_timeout(limit, async {
                    self.run(step).await;
                    pending::<()>().await;
                });
                assert!(elapsed.await.is_err());
            }
        }
    }

    fn run<'a>(&'a self, step: &'a Step) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(with_context(self.dispatchers[step.at].clone(), async move {
            for _ in 0..step.yields {
                self.count(step.at, || ());
                yield_now().await;
            }
            self.count(step.at, || {
                if step.blocks {
                    thread::yield_now();
                }
            });
            if step.joined {
                join_all(step.inside.iter().map(|step| self.limited(step))).await;
            } else {
                for inner in &step.inside {
                    self.limited(inner).await;
                    // It is back where it was.
                    self.count(step.at, || ());
                }
            }
            self.sections.fetch_add(1, Ordering::SeqCst);
        }))
    }
}

fn is_limited(step: &Step) -> bool {
    step.limit.is_some() || step.inside.iter().any(is_limited)
}

fn count(step: &Step) -> usize {
    1 + step.inside.iter().map(count).sum::<usize>()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// No coroutine is in a place where it does not belong, nor are there too many.
    #[test]
    fn random_sections(programs in prop::collection::vec(step(), 1..8), cancelled in any::<bool>()) {
        let rt = runtime();
        let (one, two) = rt.run_blocking(async {
            (Dispatcher::Default.limited_parallelism(1), Dispatcher::Io.limited_parallelism(2))
        });
        let gauges = Arc::new(Gauges {
            dispatchers: [Dispatcher::Default, Dispatcher::Io, one, two, custom("there")],
            now: Default::default(),
            limits: [2, 3, 1, 2, 1],
            sections: AtomicUsize::new(0),
        });
        let expected: usize = programs.iter().map(count).sum();
        let cut = cancelled || programs.iter().any(is_limited);
        rt.run_blocking(scope(async |s| {
            for program in programs {
                let gauges = gauges.clone();
                let job = s.launch(async move { gauges.limited(&program).await });
                if cancelled {
                    s.launch(async move {
                        yield_now().await;
                        job.cancel();
                    });
                }
            }
        }));
        let sections = gauges.sections.load(Ordering::SeqCst);
        prop_assert!(sections == expected || cut && sections < expected);
        // A section that is dropped where it was polled leaves no count behind.
        for now in &gauges.now {
            prop_assert_eq!(now.load(Ordering::SeqCst), 0);
        }
        prop_assert!(rt.shutdown(Duration::from_secs(30)).is_empty());
    }
}

#[test]
fn a_pinned_section_is_polled_by_hand() {
    let rt = runtime();
    let value = rt.run_blocking(rt.detached(async {
        let mut section = pin!(with_context(Dispatcher::Io, async {
            yield_now().await;
            1
        }));
        loop {
            if let Poll::Ready(value) = futures::poll!(section.as_mut()) {
                return value;
            }
            yield_now().await;
        }
    }));
    assert_eq!(value, 1);
}
