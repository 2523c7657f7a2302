//! Views with limited parallelism.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};

use corymb::prelude::*;
use corymb::testing::settle;
use corymb::{Coroutine, JobState, Runtime};

use crate::common::{Trace, caught_text, thread_of_its_own};

/// Who is inside at present, and the most that ever were.
#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
    done: AtomicUsize,
}

impl Gauge {
    fn pass(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        std::hint::black_box((0..100).sum::<u32>());
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What is below zero cannot be written.
#[corymb::test]
async fn dispatch_009_a_view_has_one_place_at_least() {
    let none = std::panic::catch_unwind(|| Dispatcher::Default.limited_parallelism(0));
    let message = caught_text(none);
    assert!(message.contains("limited_parallelism(0)"), "{message}");
    let largest = Dispatcher::Default.limited_parallelism(usize::MAX);
    let job = scope(async |s| s.coroutine().on(largest).launch(yield_now())).await;
    assert_eq!(job.state(), JobState::Completed);
}

/// If a view kept its thread, the test runtime would report a livelock.
#[corymb::test]
async fn dispatch_010_a_view_gives_its_thread_back() {
    let views = [1, 1].map(|n| Dispatcher::Default.limited_parallelism(n));
    scope(async |s| {
        let spins = s.coroutine().on(views[0].clone()).launch(async {
            for _ in 0_u64.. {
                yield_now().await;
            }
        });
        let ends = spins.clone();
        s.coroutine().on(views[1].clone()).launch(async move {
            assert!(ends.cancel());
        });
        spins.join().await;
        assert_eq!(spins.state(), JobState::Cancelled);
    })
    .await;
}

#[test]
fn dispatch_011_a_view_reaches_its_limit() {
    for limit in 1..4 {
        let runtime = Runtime::builder().parallelism(2 * limit).build().unwrap();
        let _inside = runtime.enter();
        let view = Dispatcher::Default.limited_parallelism(limit);
        for _ in 0..50 {
            let all = Arc::new(Barrier::new(limit + 1));
            runtime.run_blocking(scope(async |s| {
                for _ in 0..limit {
                    let all = all.clone();
                    s.coroutine().on(view.clone()).launch(async move {
                        all.wait();
                    });
                }
                all.wait();
            }));
        }
    }
}

/// Who queues in a view while the dispatcher refuses is cancelled: it must not wait for ever.
#[corymb::test]
async fn dispatch_012_a_place_that_was_refused_is_given_back() {
    let (queue, accepted) = mpsc::channel();
    let asked = AtomicUsize::new(0);
    let every_second = Dispatcher::custom(move |coroutine: Coroutine| {
        if asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            queue.send(coroutine).unwrap();
        }
    });
    let view = every_second.limited_parallelism(5);
    let jobs = scope(async move |s| {
        let mut jobs = Vec::new();
        for _ in 0..30 {
            jobs.push(s.coroutine().on(view.clone()).launch(async {}));
            // What was refused is dropped after the dispatch.
            settle().await;
        }
        let runners = accepted.try_iter().collect::<Vec<_>>();
        assert_eq!(runners.len(), 5);
        runners.into_iter().for_each(Coroutine::run);
        jobs
    })
    .await;
    let states = jobs.iter().map(Job::state).collect::<Vec<_>>();
    // The first, third, .. place was given, until there were five.
    let expected = [[JobState::Cancelled; 8].as_slice(), &[JobState::Completed; 22]].concat();
    assert_eq!(states, expected);
}

#[corymb::test]
async fn dispatch_013_a_view_survives_the_panic_of_what_it_runs() {
    let view = Dispatcher::Default.limited_parallelism(1);
    let trace = Trace::default();
    supervisor_scope(async |s| {
        let fails = s.coroutine().context(view.clone()).context(trace.handler());
        fails.launch(async { panic!("E") }).join().await;
    })
    .await;
    assert_eq!(trace.get(), ["E"]);
    assert_eq!(with_context(view, async { 42 }).await, 42);
}

#[test]
fn dispatch_015_a_view_of_io_is_not_limited_by_io() {
    const LIMIT: usize = 4;
    let runtime = Runtime::builder().parallelism(1).io_parallelism(LIMIT).build().unwrap();
    let _inside = runtime.enter();
    let view = Dispatcher::Io.limited_parallelism(LIMIT);
    let (in_io, in_view) = (Arc::new(Barrier::new(LIMIT + 1)), Arc::new(Barrier::new(LIMIT)));
    runtime.run_blocking(scope(async |s| {
        for _ in 0..LIMIT {
            let all = in_io.clone();
            s.coroutine().on(Dispatcher::Io).launch(async move {
                all.wait();
                all.wait();
            });
        }
        in_io.wait();
        // All of them block now.
        scope(async |s| {
            for _ in 0..LIMIT {
                let all = in_view.clone();
                s.coroutine().on(view.clone()).launch(async move {
                    all.wait();
                });
            }
        })
        .await;
        in_io.wait();
    }));
}

#[test]
fn stress_001_no_view_runs_more_than_its_limit_and_all_are_run() {
    let runtime = Runtime::builder().parallelism(4).build().unwrap();
    let _inside = runtime.enter();
    let (thread, _) = thread_of_its_own();
    for of in [Dispatcher::Default, Dispatcher::Io, thread] {
        for limit in 1..5 {
            let view = of.limited_parallelism(limit);
            let gauge = Arc::new(Gauge::default());
            runtime.run_blocking(scope(async |s| {
                for _ in 0..200 {
                    let gauge = gauge.clone();
                    s.coroutine().on(view.clone()).launch(async move {
                        for _ in 0..10 {
                            gauge.pass();
                            yield_now().await;
                        }
                        gauge.done.fetch_add(1, Ordering::SeqCst);
                    });
                }
            }));
            assert_eq!(gauge.done.load(Ordering::SeqCst), 200);
            let most = gauge.most.load(Ordering::SeqCst);
            assert!(most <= limit, "{most} at once in {view:?}");
        }
    }
}

/// The children start like all others: what is ATOMIC in the case must not be cancelled here.
#[test]
fn stress_026_a_tree_on_all_kinds_of_dispatchers_ends_before_a_shutdown() {
    fn node(
        depth: usize,
        on: Arc<[Dispatcher]>,
        counts: Arc<[AtomicUsize; 2]>,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            counts[0].fetch_add(1, Ordering::SeqCst);
            if depth == 0 {
                yield_now().await;
            } else {
                scope(async |s| {
                    for side in 0..2 {
                        let dispatcher = on[(depth + side) % on.len()].clone();
                        let child = node(depth - 1, on.clone(), counts.clone());
                        s.coroutine().on(dispatcher).launch(child);
                    }
                })
                .await;
            }
            counts[1].fetch_add(1, Ordering::SeqCst);
        })
    }
    for _ in 0..50 {
        let runtime = Runtime::builder().parallelism(2).build().unwrap();
        let on: Arc<[Dispatcher]> = {
            let _inside = runtime.enter();
            let view = Dispatcher::Default.limited_parallelism(1);
            Arc::new([Dispatcher::Default, view, Dispatcher::Io])
        };
        let counts = Arc::<[AtomicUsize; 2]>::default();
        runtime.run_blocking(node(5, on, counts.clone()));
        assert_eq!(counts.each_ref().map(|it| it.load(Ordering::SeqCst)), [63, 63]);
        assert!(runtime.shutdown(std::time::Duration::from_secs(30)).is_empty());
    }
}
