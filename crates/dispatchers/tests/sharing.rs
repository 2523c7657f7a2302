//! One pool for computing and for blocking: who runs, how many, and who makes up for whom.

use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{self, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use corymb_core::hooks::{self, RuntimeHooks};
use corymb_core::time::sleep;
use corymb_core::{
    Deferred, Dispatch, Dispatcher, Scope, is_cancelled, scope, spawn_on, suspend_cancellable,
    with_context, yield_now,
};
use corymb_dispatchers::{Builder, Metrics, Runtime, WorkerBlocked, launch_detached, run_blocking};
use futures::StreamExt;
use futures::channel::oneshot;

const LONG: Duration = Duration::from_secs(30);

fn builder(parallelism: usize) -> Builder {
    Runtime::builder().parallelism(parallelism)
}

fn dispatchers() -> (Arc<dyn Dispatch>, Arc<dyn Dispatch>) {
    hooks::with(|runtime: &dyn RuntimeHooks| (runtime.default_dispatch(), runtime.io_dispatch()))
}

/// Runs `f` as IO, in place if that can be done; false if it could not, or if the way back could
/// not be had.
fn in_place(f: impl FnOnce()) -> bool {
    let (pool, io) = dispatchers();
    pool.switch(&*io) && {
        f();
        io.switch(&*pool)
    }
}

/// Runs `f` as IO, in place or, if the pool prefers that, by the queue.
async fn as_io(f: impl FnOnce() + Send + 'static) {
    let (pool, io) = dispatchers();
    if pool.switch(&*io) {
        f();
        io.switch(&*pool);
        return;
    }
    scope(async |s| {
        s.coroutine().context(Dispatcher::Io).launch(async move { f() });
    })
    .await;
}

/// How many are in a section, and the most that ever were.
#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn enter(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// Some work that the compiler keeps.
fn spin(rounds: u32) {
    for i in 0..rounds {
        std::hint::black_box(i);
    }
}

#[test]
fn no_more_compute_at_once_than_there_are_processors() {
    let rt = builder(2).min_runnable(0).build().unwrap();
    let (computing, blocking) = (Arc::new(Gauge::default()), Arc::new(Gauge::default()));
    let done = Arc::new(AtomicUsize::new(0));
    rt.run_blocking(scope(async |s| {
        for i in 0..60u32 {
            let (computing, blocking, done) = (computing.clone(), blocking.clone(), done.clone());
            s.launch(async move {
                for _ in 0..100 {
                    computing.enter();
                    spin(i * 20);
                    computing.leave();
                    in_place(|| {
                        blocking.enter();
                        spin(i * i * 10);
                        blocking.leave();
                    });
                    yield_now().await;
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
    }));
    assert_eq!(done.load(Ordering::SeqCst), 60);
    assert!(computing.most() <= 2, "{}", computing.most());
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn io_slots_are_never_exceeded_and_all_that_wait_get_one() {
    let rt = builder(2).io_parallelism(3).build().unwrap();
    let (gauge, done) = (Arc::new(Gauge::default()), Arc::new(AtomicUsize::new(0)));
    rt.run_blocking(scope(async |s| {
        for i in 0..200u32 {
            let (gauge, done) = (gauge.clone(), done.clone());
            let section = move || {
                gauge.enter();
                spin(i * 50);
                gauge.leave();
            };
            if i % 2 == 0 {
                s.coroutine().context(Dispatcher::Io).launch(async move {
                    for _ in 0..10 {
                        section();
                        yield_now().await;
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                });
            } else {
                s.launch(async move {
                    for _ in 0..10 {
                        in_place(&section);
                        yield_now().await;
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
        }
    }));
    assert_eq!(done.load(Ordering::SeqCst), 200);
    assert!(gauge.most() <= 3, "{}", gauge.most());
    let metrics = rt.metrics();
    assert_eq!((metrics.io_queued, metrics.alive), (0, 0));
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn many_block_at_once_on_the_io_side() {
    let rt = builder(1).io_parallelism(20).build().unwrap();
    let all = Arc::new(Barrier::new(20));
    rt.run_blocking(scope(async |s| {
        for _ in 0..20 {
            let all = all.clone();
            s.coroutine().context(Dispatcher::Io).launch(async move {
                all.wait();
            });
        }
    }));
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn views_of_io_have_the_threads_that_io_does_not_use() {
    // Of 18 threads, 2 are for what computes.
    let rt = builder(2).max_pool_size(18).build().unwrap();
    rt.run_blocking(async {
        let view = Dispatcher::Io.limited_parallelism(100);
        for of_view in [16, 0, 9, 1, 15] {
            let all = Arc::new(Barrier::new(16));
            scope(async |s| {
                for i in 0..16 {
                    let all = all.clone();
                    let on = if i < of_view { view.clone() } else { Dispatcher::Io };
                    s.coroutine().on(on).launch(async move {
                        all.wait();
                    });
                }
            })
            .await;
        }
    });
    assert!(rt.metrics().threads <= 18);
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn what_blocks_in_views_and_on_io_leaves_threads_for_computing() {
    let rt = builder(2).max_pool_size(5).build().unwrap();
    let gauge = Arc::new(Gauge::default());
    rt.run_blocking(async {
        let view = Dispatcher::Io.limited_parallelism(100);
        scope(async |s| {
            for i in 0..60u32 {
                let gauge = gauge.clone();
                let on = if i % 2 == 0 { view.clone() } else { Dispatcher::Io };
                s.coroutine().on(on).launch(async move {
                    for _ in 0..20 {
                        gauge.enter();
                        spin(i * 50);
                        gauge.leave();
                        yield_now().await;
                    }
                });
            }
        })
        .await;
    });
    assert!(gauge.most() <= 3, "{}", gauge.most());
    let metrics = rt.metrics();
    assert_eq!((metrics.io_queued, metrics.alive), (0, 0));
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn what_waits_at_a_lent_processor_is_run_by_others() {
    let rt = builder(1).build().unwrap();
    let (tx, rx) = channel::<()>();
    rt.run_blocking(scope(async |s| {
        s.launch(async move {
            // Queued at the processor that is lent below.
            scope(async move |inner| {
                inner.launch(async move { tx.send(()).unwrap() });
                as_io(move || rx.recv().unwrap()).await;
            })
            .await;
        });
    }));
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn what_comes_from_outside_waits_for_a_time_and_not_for_many_long_polls() {
    const COMERS: usize = 32;
    let rt = builder(1).blocked_threshold(LONG).build().unwrap();
    let polls = Arc::new(AtomicUsize::new(0));
    let (began, has_begun) = channel();
    let computing = rt.launch_detached({
        let polls = polls.clone();
        async move {
            loop {
                let from = Instant::now();
                while from.elapsed() < Duration::from_millis(1) {}
                if polls.fetch_add(1, Ordering::SeqCst) == 100 {
                    began.send(()).unwrap();
                }
                yield_now().await;
            }
        }
    });
    has_begun.recv_timeout(LONG).unwrap();
    let before = polls.load(Ordering::SeqCst);
    let (done, all_done) = channel();
    for _ in 0..COMERS {
        let done = done.clone();
        rt.launch_detached(async move { done.send(()).unwrap() });
    }
    (0..COMERS).for_each(|_| all_done.recv_timeout(LONG).unwrap());
    let meanwhile = polls.load(Ordering::SeqCst) - before;
    computing.cancel();
    assert!(meanwhile <= 2 * COMERS, "{COMERS} waited for {meanwhile} polls");
}

#[test]
fn timers_fire_while_all_workers_do_io_in_place() {
    let rt = builder(2).build().unwrap();
    let gate = Arc::new(Barrier::new(3));
    rt.run_blocking(scope(async |s| {
        for _ in 0..2 {
            let gate = gate.clone();
            s.launch(as_io(move || {
                gate.wait();
            }));
        }
        let gate = gate.clone();
        s.coroutine().context(Dispatcher::Io).launch(async move {
            sleep(Duration::from_millis(2)).await;
            gate.wait();
        });
    }));
    assert!(rt.shutdown(LONG).is_empty());
}

fn blocked_events() -> (impl Fn(&WorkerBlocked) + Send + Sync, Receiver<WorkerBlocked>) {
    let (tx, rx) = channel();
    let tx: Mutex<Sender<WorkerBlocked>> = Mutex::new(tx);
    let hook = move |event: &WorkerBlocked| {
        // Nobody may be listening any more.
        let _heard = tx.lock().unwrap().send(event.clone());
    };
    (hook, rx)
}

/// A runtime that tells of polls longer than 2 ms.
fn watched(parallelism: usize) -> (Runtime, Receiver<WorkerBlocked>) {
    let (hook, events) = blocked_events();
    let threshold = Duration::from_millis(2);
    let builder = builder(parallelism).blocked_threshold(threshold).on_worker_blocked(hook);
    (builder.build().unwrap(), events)
}

#[test]
fn a_poll_that_blocks_is_told_of_and_made_up_for() {
    let (rt, events) = watched(1);
    let line = line!() + 1;
    let blocked = rt.detached(async move {
        scope(async move |s| {
            // It blocks until it is told of. On a busy machine others may be told of too.
            let here = |event: &WorkerBlocked| {
                (event.launched_at.file(), event.launched_at.line()) == (file!(), line)
            };
            let seen = events.iter().find(here).unwrap();
            // Queued behind this poll: only a second worker can let it go on.
            let (tx, rx) = channel::<()>();
            s.launch(async move { tx.send(()).unwrap() });
            rx.recv().unwrap();
            (events, seen)
        })
        .await
    });
    let (events, seen) = rt.run_blocking(blocked);
    assert!(!seen.ended && seen.elapsed >= Duration::from_millis(2), "{seen:?}");
    let same = |event: &WorkerBlocked| event.launched_at == seen.launched_at;
    let end = events.iter().find(same).unwrap();
    assert!(end.ended && end.elapsed >= seen.elapsed, "{end:?}");
    assert!(rt.metrics().blocked_polls >= 1);
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn a_blocked_coroutine_is_told_of_by_its_name() {
    let (rt, events) = watched(1);
    let event = rt.run_blocking(scope(async |s| {
        // On a busy machine others may be told of too.
        let here = |event: &WorkerBlocked| event.name.as_deref() == Some("blocks");
        s.coroutine().name("blocks").spawn(async move { events.iter().find(here) }).await
    }));
    assert!(event.is_some());
    assert!(rt.shutdown(LONG).is_empty());
}

/// Whether the system says what a thread does.
const KNOWS_THREADS: bool = cfg!(any(target_os = "linux", target_os = "android"));

#[test]
fn what_computes_is_told_of_and_holds_its_processor() {
    if !KNOWS_THREADS {
        return;
    }
    let (rt, events) = watched(2);
    let (computing, done) = (Arc::new(Gauge::default()), Arc::new(AtomicUsize::new(0)));
    let (count, gauge) = (done.clone(), computing.clone());
    rt.run_blocking(scope(async move |s| {
        for _ in 0..8 {
            let (count, gauge) = (count.clone(), gauge.clone());
            s.launch(async move {
                gauge.enter();
                let from = Instant::now();
                while from.elapsed() < Duration::from_millis(10) {}
                gauge.leave();
                count.fetch_add(1, Ordering::SeqCst);
            });
        }
    }));
    assert_eq!(done.load(Ordering::SeqCst), 8);
    assert!(computing.most() <= 2, "{}", computing.most());
    let metrics = rt.metrics();
    assert_eq!((metrics.permits, metrics.compensated, metrics.known_polls), (2, 0, 0));
    assert!(rt.shutdown(LONG).is_empty());
    drop(rt);
    let told: Vec<_> = events.iter().filter(|it| it.computes == Some(true)).collect();
    assert!(told.iter().any(|it| !it.ended) && told.iter().any(|it| it.ended), "{told:?}");
}

#[test]
fn timers_fire_while_all_workers_compute_in_long_polls() {
    let (rt, _events) = watched(1);
    let fired = Arc::new(AtomicUsize::new(0));
    let (began, has_begun) = channel();
    let computing = rt.detached({
        let fired = fired.clone();
        async move {
            began.send(()).unwrap();
            while fired.load(Ordering::SeqCst) < 3 {
                std::hint::spin_loop();
            }
        }
    });
    has_begun.recv().unwrap();
    rt.run_blocking(async {
        for _ in 0..3 {
            sleep(Duration::from_millis(1)).await;
            fired.fetch_add(1, Ordering::SeqCst);
        }
        computing.await;
    });
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn timers_fire_though_their_driver_blocks_and_the_others_sleep() {
    let rt = builder(2).min_runnable(0).on_worker_blocked(|_| {}).build().unwrap();
    let (begin, begun) = channel();
    let (release, released) = channel::<()>();
    let blocking = rt.detached(async move {
        // On the thread that drives, which has fired this.
        sleep(Duration::from_millis(1)).await;
        begin.send(()).unwrap();
        released.recv().unwrap();
    });
    begun.recv().unwrap();
    rt.run_blocking(sleep(Duration::from_millis(1)));
    release.send(()).unwrap();
    rt.run_blocking(blocking);
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn what_computes_first_and_then_blocks_is_made_up_for() {
    let (rt, events) = watched(1);
    let (tell, told) = channel::<()>();
    rt.run_blocking(scope(async |s| {
        s.launch(async move {
            while events.try_recv().is_err() {
                std::hint::spin_loop();
            }
            // Queued behind this poll: only a second worker can let it go on.
            launch_detached(async move { tell.send(()).unwrap() });
            told.recv().unwrap();
        });
    }));
    until_permits_are(&rt, 1);
    assert!(rt.shutdown(LONG).is_empty());
}

/// Waits until as many processors are in service as the parallelism.
fn until_permits_are(rt: &Runtime, parallelism: usize) {
    let is_back = |metrics: Metrics| metrics.permits == parallelism && metrics.compensated == 0;
    while !is_back(rt.metrics()) {
        rt.run_blocking(yield_now());
    }
}

#[test]
fn a_hook_that_blocks_where_a_poll_has_ended_costs_no_processor() {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let hook = move |event: &WorkerBlocked| {
        if event.name.as_deref() == Some("blocks") && event.ended {
            let two = run_blocking(async { spawn_on(Dispatcher::Default, async { 2 }).await });
            tell.lock().unwrap().send(two).unwrap();
        }
    };
    let rt = builder(1).blocked_threshold(Duration::from_millis(2)).on_worker_blocked(hook);
    let rt = rt.build().unwrap();
    let until_another_one_runs = Box::new(|| {
        let (tx, rx) = channel();
        launch_detached(async move { tx.send(()).unwrap() });
        rx.recv().unwrap();
    });
    rt.run_blocking(scope(async |s| at_the_place(&s, until_another_one_runs).await));
    assert_eq!(told.recv(), Ok(2));
    until_permits_are(&rt, 1);
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn those_that_block_in_a_view_are_told_of_by_themselves() {
    let (rt, events) = watched(1);
    let line = line!() + 7;
    let (events, told) = rt.run_blocking(rt.detached(async move {
        let one = Dispatcher::Default.limited_parallelism(1);
        let shared = Arc::new(Mutex::new((events, Vec::new())));
        scope(async |s| {
            for name in ["first", "second", "third"] {
                let (on_one, shared) = (s.coroutine().on(one.clone()), shared.clone());
                on_one.name(name).launch(async move {
                    let (events, told) = &mut *shared.lock().unwrap();
                    // It blocks until it is told of, or is known to block.
                    while told.iter().filter(|(_, ended, _)| !ended).count() < 2 {
                        let event: WorkerBlocked = events.recv().unwrap();
                        let own = event.name.as_deref() == Some(name);
                        told.push((event.name, event.ended, event.launched_at.line()));
                        if own {
                            break;
                        }
                    }
                });
            }
        })
        .await;
        Arc::into_inner(shared).unwrap().into_inner().unwrap()
    }));
    // On a busy machine others may be told of too, which have no names.
    let told: Vec<_> = told.iter().filter(|it| it.0.is_some()).collect();
    let names: Vec<_> = told.iter().filter(|it| !it.1).map(|it| it.0.as_deref()).collect();
    assert_eq!(names, [Some("first"), Some("second")], "{told:?}");
    assert!(told.iter().all(|it| it.2 == line), "{told:?}");
    until_permits_are(&rt, 1);
    drop(events);
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn where_coroutines_have_blocked_twice_the_next_one_has_lent_its_processor() {
    let (rt, events) = watched(1);
    let told = make_the_place_known(&rt, events);
    assert!(told >= 2, "{told}");
    let others_run = move || {
        let (tx, rx) = channel::<()>();
        launch_detached(async move { tx.send(()).unwrap() });
        rx.recv().unwrap();
    };
    rt.run_blocking(scope(async |s| at_the_place(&s, Box::new(others_run)).await));
    let metrics = rt.metrics();
    assert!(metrics.known_polls >= 2 && metrics.blocked_polls >= 2, "{metrics:?}");
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn what_the_blocked_one_has_woken_is_run_though_all_others_sleep() {
    let (rt, events) = watched(1);
    let (wake, woken) = channel();
    let (tell, told) = channel();
    let waiting = rt.detached(async move {
        suspend_cancellable(|waiting| wake.send(waiting).unwrap()).await.unwrap();
        tell.send(()).unwrap();
    });
    let waiting_for = woken.recv().unwrap();
    let (release, released) = channel::<()>();
    let blocking = rt.detached(async move {
        released.recv().unwrap();
        // To the slot, for which nobody is called.
        waiting_for.resume(()).unwrap();
    });
    events.recv().unwrap();
    let is_made_up_for = |metrics: Metrics| metrics.permits == 2 && metrics.sleeping == 1;
    while !is_made_up_for(rt.metrics()) {
        thread::yield_now();
    }
    release.send(()).unwrap();
    told.recv_timeout(LONG).unwrap();
    rt.run_blocking(async { (blocking.await, waiting.await) });
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn what_a_poll_that_blocks_has_woken_last_is_run_by_another_worker() {
    let (hook, events) = blocked_events();
    let rt = builder(2).min_runnable(0).blocked_threshold(Duration::from_millis(2));
    let rt = rt.on_worker_blocked(hook).build().unwrap();
    let (wake, woken) = channel();
    let (tell, told) = channel();
    let waiting = rt.detached(async move {
        suspend_cancellable(|waiting| wake.send(waiting).unwrap()).await.unwrap();
        tell.send(()).unwrap();
    });
    let blocking = rt.detached(async move {
        woken.recv().unwrap().resume(()).unwrap();
        told.recv_timeout(LONG).unwrap();
    });
    rt.run_blocking(async { (blocking.await, waiting.await) });
    drop(events);
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn what_a_poll_wakes_after_it_was_told_of_is_run_though_all_others_sleep() {
    let (hook, events) = blocked_events();
    let rt = builder(2).min_runnable(0).blocked_threshold(Duration::from_millis(2));
    let rt = rt.on_worker_blocked(hook).build().unwrap();
    let (wake, woken) = channel();
    let (tell, told) = channel();
    let waiting = rt.detached(async move {
        suspend_cancellable(|waiting| wake.send(waiting).unwrap()).await.unwrap();
        tell.send(()).unwrap();
    });
    let waiting_for = woken.recv().unwrap();
    let (release, released) = channel::<()>();
    let blocking = rt.detached(async move {
        released.recv().unwrap();
        waiting_for.resume(()).unwrap();
        told.recv_timeout(LONG).unwrap();
    });
    events.recv().unwrap();
    while rt.metrics().sleeping != 1 {
        thread::yield_now();
    }
    release.send(()).unwrap();
    rt.run_blocking(async { (blocking.await, waiting.await) });
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn a_timer_that_a_long_poll_has_armed_fires_before_its_end() {
    let (hook, events) = blocked_events();
    let rt = builder(2).min_runnable(0).blocked_threshold(Duration::from_millis(2));
    let rt = rt.on_worker_blocked(hook).build().unwrap();
    let (release, released) = channel::<()>();
    let blocking = rt.detached(async move {
        released.recv().unwrap();
        scope(async |s| {
            let (tell, told) = channel();
            s.coroutine().undispatched().launch(async move {
                sleep(Duration::from_millis(1)).await;
                tell.send(()).unwrap();
            });
            told.recv_timeout(LONG).unwrap();
        })
        .await;
    });
    events.recv().unwrap();
    // The other worker has run something, and sleeps as the driver.
    rt.run_blocking(rt.detached(async {}));
    while rt.metrics().sleeping != 1 {
        thread::yield_now();
    }
    release.send(()).unwrap();
    rt.run_blocking(blocking);
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn no_more_processors_are_kept_free_than_the_program_wants() {
    let (hook, events) = blocked_events();
    let rt = builder(2).min_runnable(0).blocked_threshold(Duration::from_millis(2));
    let rt = rt.on_worker_blocked(hook).build().unwrap();
    let (release, released) = channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let block = |name: &'static str| {
        let released = released.clone();
        let until_released = move || {
            let _released = released.lock().unwrap().recv();
        };
        drop(rt.detached(scope(async move |s| {
            s.coroutine().name(name).launch(async move { until_released() });
        })));
        let begin = |it: &WorkerBlocked| it.name.as_deref() == Some(name) && !it.ended;
        events.iter().find(begin).unwrap();
    };
    block("first");
    // What follows from the first one has happened by the time the second one is told of.
    block("second");
    let metrics = rt.metrics();
    assert_eq!((metrics.permits, metrics.compensated), (2, 0));
    drop(release);
    assert!(rt.shutdown(LONG).is_empty());
}

type Work = Box<dyn FnOnce() + Send>;

/// Launches all that is given to it at one place.
fn at_the_place(s: &Scope, work: Work) -> Deferred<()> {
    s.coroutine().name("blocks").spawn(async move { work() })
}

/// Has coroutines of that place block until they are told of, one after the other, until one of them
/// is known to block; answers how many were told of. That may be more than two: a thread that waits
/// for a busy machine is seen to compute.
fn make_the_place_known(rt: &Runtime, events: Receiver<WorkerBlocked>) -> usize {
    let events = Arc::new(Mutex::new(events));
    let before = rt.metrics().known_polls;
    let mut told = 0;
    loop {
        let (events, handle) = (events.clone(), rt.handle());
        let until_told = move || {
            if handle.metrics().known_polls == before {
                let is_begin =
                    |it: &WorkerBlocked| it.name.as_deref() == Some("blocks") && !it.ended;
                events.lock().unwrap().iter().find(is_begin).unwrap();
            }
        };
        rt.run_blocking(scope(async |s| at_the_place(&s, Box::new(until_told)).await));
        if rt.metrics().known_polls > before {
            return told;
        }
        told += 1;
    }
}

#[test]
fn a_busy_worker_lends_its_processor_for_those_of_its_queue_that_are_known_to_block() {
    let (rt, events) = watched(1);
    make_the_place_known(&rt, events);
    let handle = rt.handle();
    rt.run_blocking(rt.detached(scope(async move |s| {
        let known = move || handle.metrics().known_polls;
        let before = known();
        let children: Vec<_> = (0..3)
            .map(|n| {
                let known = known.clone();
                let work = move || assert_eq!(known(), before + n + 1);
                at_the_place(&s, Box::new(work))
            })
            .collect();
        for child in children {
            child.await;
        }
    })));
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn what_comes_in_a_view_after_one_that_is_known_to_block_has_a_processor() {
    let (rt, events) = watched(1);
    make_the_place_known(&rt, events);
    let handle = rt.handle();
    rt.run_blocking(async {
        let in_the_view = scope(async move |s| {
            let metrics = move || handle.metrics();
            let (known, others) = (metrics.clone(), metrics.clone());
            let before = metrics().known_polls;
            let child =
                at_the_place(&s, Box::new(move || assert_eq!(known().known_polls, before + 1)));
            s.launch(async move { assert_eq!(others().lent, 0) });
            child.await;
        });
        spawn_on(Dispatcher::Default.limited_parallelism(1), in_the_view).await;
    });
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn a_blocking_run_where_coroutines_are_known_to_block_has_a_thread_for_io() {
    let (hook, events) = blocked_events();
    let rt = builder(1).max_pool_size(2).blocked_threshold(Duration::from_millis(2));
    let rt = rt.on_worker_blocked(hook).build().unwrap();
    make_the_place_known(&rt, events);
    let sum = Arc::new(AtomicUsize::new(0));
    let add = sum.clone();
    let run = move || {
        let inner = async move {
            // Another thread has the processor then, and there are two.
            let two = spawn_on(Dispatcher::Default, async { 2 }).await;
            // Blocking runs inside of a blocking run are on the same thread.
            let three = async { spawn_on(Dispatcher::Io, async { 3 }).await };
            add.fetch_add(two + run_blocking(async { run_blocking(three) }), Ordering::SeqCst);
        };
        run_blocking(inner);
    };
    rt.run_blocking(scope(async |s| at_the_place(&s, Box::new(run)).await));
    assert_eq!(sum.load(Ordering::SeqCst), 5);
    assert!(rt.metrics().known_polls >= 1);
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn a_blocking_run_makes_room_for_io_that_waits() {
    let (hook, events) = blocked_events();
    let rt = builder(1).max_pool_size(2).blocked_threshold(Duration::from_millis(2));
    let rt = rt.on_worker_blocked(hook).build().unwrap();
    make_the_place_known(&rt, events);
    let (begin, begun) = channel();
    let (give, given) = channel::<Deferred<()>>();
    let run = move || {
        let (tell, told) = channel();
        launch_detached(async move { tell.send(()).unwrap() });
        // Another thread has the processor now, and there are two.
        told.recv().unwrap();
        begin.send(()).unwrap();
        run_blocking(given.recv().unwrap());
    };
    let blocking = rt.detached(scope(async |s| at_the_place(&s, Box::new(run)).await));
    begun.recv().unwrap();
    let io = rt.detached(spawn_on(Dispatcher::Io, async {}));
    while rt.metrics().io_queued == 0 {
        thread::yield_now();
    }
    give.send(io).unwrap();
    rt.run_blocking(blocking);
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn coroutines_that_are_known_to_block_have_no_more_threads_than_the_pool_may() {
    let (hook, events) = blocked_events();
    let (gauge, blocking) = (Arc::new(Gauge::default()), Arc::new(Gauge::default()));
    let (start, stop) = (gauge.clone(), gauge.clone());
    let rt = builder(1).max_pool_size(3).blocked_threshold(Duration::from_millis(2));
    let rt = rt.on_thread_start(move || start.enter()).on_thread_stop(move || stop.leave());
    let rt = rt.on_worker_blocked(hook).build().unwrap();
    make_the_place_known(&rt, events);
    let (begin, begun) = channel();
    let (release, released) = channel::<()>();
    let released = Arc::new(Mutex::new(released));
    rt.run_blocking(scope(async |s| {
        for _ in 0..8 {
            let (blocking, begin, released) = (blocking.clone(), begin.clone(), released.clone());
            let block = move || {
                blocking.enter();
                begin.send(()).unwrap();
                let _released = released.lock().unwrap().recv();
                blocking.leave();
            };
            drop(at_the_place(&s, Box::new(block)));
        }
        for _ in 0..3 {
            begun.recv().unwrap();
        }
        // Meanwhile the watchdog comes by a few times; it is the one who fires this.
        sleep(Duration::from_millis(50)).await;
        drop(release);
    }));
    assert_eq!((blocking.most(), gauge.most()), (3, 3));
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn what_is_woken_unconfined_goes_on_while_its_waker_blocks_in_place() {
    let rt = builder(1).build().unwrap();
    let (wake, woken) = channel();
    let (tell, told) = channel::<()>();
    rt.run_blocking(scope(async |s| {
        s.coroutine().on(Dispatcher::Unconfined).launch(async move {
            suspend_cancellable(|waiting| wake.send(waiting).unwrap()).await.unwrap();
            tell.send(()).unwrap();
        });
        s.launch(async move {
            woken.recv().unwrap().resume(()).unwrap();
            let mut went = false;
            in_place(|| {
                told.recv().unwrap();
                went = true;
            });
            assert!(went);
        });
    }));
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn what_the_blocked_one_has_queued_is_run_after_it_gave_up_its_processor() {
    let (rt, events) = watched(1);
    let done = Arc::new(AtomicUsize::new(0));
    rt.run_blocking(scope(async |s| {
        let done = done.clone();
        s.launch(async move {
            // The other processor is in service when the second event is there, at the latest.
            assert!(!events.recv().unwrap().ended);
            scope(async |inner| {
                for _ in 0..100 {
                    let done = done.clone();
                    inner.launch(async move {
                        yield_now().await;
                        done.fetch_add(1, Ordering::SeqCst);
                    });
                }
            })
            .await;
        });
    }));
    assert_eq!(done.load(Ordering::SeqCst), 100);
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn two_that_wake_each_other_do_not_keep_the_queue_waiting() {
    let rt = builder(1).build().unwrap();
    rt.run_blocking(rt.detached(scope(async |s| {
        let done = Arc::new(AtomicUsize::new(0));
        let (ping, pinged) = futures::channel::mpsc::unbounded();
        let (pong, ponged) = futures::channel::mpsc::unbounded();
        for (there, mut back) in [(ping, ponged), (pong, pinged)] {
            let done = done.clone();
            s.launch(async move {
                for round in 0.. {
                    if done.load(Ordering::Relaxed) == 1 || there.unbounded_send(()).is_err() {
                        break;
                    }
                    assert!(round < 1_000, "the queue waits");
                    if back.next().await.is_none() {
                        break;
                    }
                }
            });
        }
        s.launch(async move { done.store(1, Ordering::Relaxed) });
    })));
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn permits_come_back_to_the_parallelism() {
    let (rt, events) = watched(2);
    let gate = Arc::new(Barrier::new(5));
    rt.run_blocking(scope(async |s| {
        for _ in 0..5 {
            let gate = gate.clone();
            s.launch(async move {
                gate.wait();
            });
        }
    }));
    // Each of those that were told of has ended, and whoever ended it gives up what it has.
    let told = rt.metrics().blocked_polls;
    let ended = events.iter().filter(|event| event.ended).take(usize::try_from(told).unwrap());
    assert_eq!(ended.count() as u64, told);
    until_permits_are(&rt, 2);
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn a_processor_that_is_lent_for_long_is_taken_though_nobody_needs_it() {
    let rt = builder(2).build().unwrap();
    let (begin, begun) = channel();
    let (release, released) = channel::<()>();
    let section = rt.detached(async move {
        in_place(|| {
            begin.send(()).unwrap();
            released.recv().unwrap();
        });
    });
    begun.recv().unwrap();
    let until = Instant::now() + LONG;
    while rt.metrics().lent > 0 {
        assert!(Instant::now() < until, "{:?}", rt.metrics());
        thread::yield_now();
    }
    release.send(()).unwrap();
    rt.run_blocking(section);
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn after_a_long_section_others_go_over_by_the_queue() {
    let rt = builder(1).build().unwrap();
    rt.run_blocking(scope(async |s| {
        let (tell, told) = channel();
        s.launch(async move {
            launch_detached(async move { tell.send(()).unwrap() });
            // Who takes the processor tells it.
            in_place(|| told.recv().unwrap());
        });
    }));
    let goes_over = async {
        let mut went = false;
        in_place(|| went = true);
        went
    };
    assert!(!rt.run_blocking(rt.detached(goes_over)));
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn a_coroutine_that_yields_on_io_stays_on_its_thread() {
    let started = Arc::new(AtomicUsize::new(0));
    let count = started.clone();
    let on_start = move || {
        count.fetch_add(1, Ordering::SeqCst);
    };
    let rt = builder(1).io_parallelism(8).on_thread_start(on_start).build().unwrap();
    // The worker has its processor, and the spare finds none that is free.
    rt.run_blocking(rt.detached(async {}));
    rt.run_blocking(spawn_on(Dispatcher::Io, async {
        for _ in 0..100 {
            yield_now().await;
        }
    }));
    assert!(rt.shutdown(LONG).is_empty());
    assert_eq!(started.load(Ordering::SeqCst), 2, "a worker and a spare");
}

/// A waker that launches three and blocks until the first of them runs, on another thread.
struct LaunchesAndBlocks(Mutex<Option<(Children, oneshot::Receiver<()>)>>);

type Children = [Pin<Box<dyn Future<Output = ()> + Send>>; 3];

impl Wake for LaunchesAndBlocks {
    fn wake(self: Arc<Self>) {
        let (children, has_begun) = self.0.lock().unwrap().take().unwrap();
        let _jobs = children.map(launch_detached);
        run_blocking(has_begun).unwrap();
    }
}

#[test]
fn a_waker_that_costs_its_worker_the_processor_leaves_the_queue_to_the_next_holder() {
    for _ in 0..10 {
        let rt = Arc::new(builder(1).blocked_threshold(Duration::from_secs(3600)).build().unwrap());
        let (begins, has_begun) = oneshot::channel();
        let order = Arc::new(Mutex::new(Vec::new()));
        let note = |n| {
            let order = order.clone();
            async move { order.lock().unwrap().push(n) }
        };
        let handle = rt.handle();
        let first = async move {
            begins.send(()).unwrap();
            // Until the other thread is back from the waker, and has nothing to do.
            while handle.metrics().spare == 0 {
                thread::yield_now();
            }
        };
        let children: Children = [Box::pin(first), Box::pin(note(1)), Box::pin(note(2))];
        let waker = Arc::new(LaunchesAndBlocks(Mutex::new(Some((children, has_begun)))));
        rt.run_blocking(rt.detached(async move {
            let mut sleep = pin!(sleep(Duration::from_millis(1)));
            let foreign = Waker::from(Arc::clone(&waker));
            assert!(sleep.as_mut().poll(&mut task::Context::from_waker(&foreign)).is_pending());
            // The worker never sleeps, so it fires the timer between two polls.
            while waker.0.lock().unwrap().is_some() {
                yield_now().await;
            }
        }));
        while order.lock().unwrap().len() < 2 {
            thread::yield_now();
        }
        assert_eq!(*order.lock().unwrap(), [1, 2]);
    }
}

/// Launches a child whose first poll is inside of this one, and which gives way; it has to go on
/// while this poll blocks.
async fn blocks_for_a_child_that_began_inside(unconfined: bool) {
    scope(async |s| {
        let (tell, told) = channel();
        let child = async move {
            yield_now().await;
            tell.send(()).unwrap();
        };
        match unconfined {
            true => s.coroutine().on(Dispatcher::Unconfined).launch(child),
            false => s.coroutine().undispatched().launch(child),
        };
        told.recv_timeout(LONG).unwrap();
    })
    .await;
}

#[test]
fn what_gives_way_inside_of_a_poll_of_io_has_a_slot_of_its_own() {
    let rt = builder(1).io_parallelism(2).build().unwrap();
    rt.run_blocking(spawn_on(Dispatcher::Io, blocks_for_a_child_that_began_inside(false)));
    let view = || Dispatcher::Io.limited_parallelism(2);
    rt.run_blocking(async {
        spawn_on(view(), blocks_for_a_child_that_began_inside(false)).await;
    });
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn what_gives_way_inside_of_a_poll_is_run_though_all_others_sleep() {
    for unconfined in [false, true] {
        // It is not told of, and not made up for.
        let rt = builder(2).blocked_threshold(Duration::from_secs(3600)).build().unwrap();
        let (release, released) = channel::<()>();
        let blocking = rt.detached(async move {
            released.recv().unwrap();
            blocks_for_a_child_that_began_inside(unconfined).await;
        });
        while rt.metrics().sleeping != 1 {
            thread::yield_now();
        }
        release.send(()).unwrap();
        rt.run_blocking(blocking);
        assert!(rt.shutdown(LONG).is_empty());
    }
}

#[test]
fn what_a_blocking_run_polls_for_a_view_of_io_and_gives_way_has_a_slot_of_its_own() {
    let rt = builder(1).build().unwrap();
    rt.run_blocking(async {
        let two = Dispatcher::Io.limited_parallelism(2);
        scope(async |s| {
            let (release, released) = channel::<()>();
            let (tell, told) = channel();
            let other = s.coroutine().on(two.clone()).launch(async move {
                tell.send(()).unwrap();
                released.recv().unwrap();
            });
            s.coroutine().on(two.clone()).launch(async move {
                told.recv().unwrap();
                // Both places are taken, so this thread runs what the run launches there.
                run_blocking(spawn_on(two, async move {
                    let here = thread::current().id();
                    release.send(()).unwrap();
                    other.join().await;
                    // Until it has the place that came free.
                    while thread::current().id() == here {
                        yield_now().await;
                    }
                }));
            });
        })
        .await;
    });
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn what_goes_home_to_a_view_of_io_does_not_wait_for_others_of_the_view_that_it_was_in() {
    let rt = builder(1).build().unwrap();
    rt.run_blocking(async {
        let [home, other] = [1; 2].map(|n| Dispatcher::Io.limited_parallelism(n));
        scope(async |s| {
            let (tell, told) = channel();
            let (there, blocks_there) = (other.clone(), other);
            let blocking = s.coroutine().on(blocks_there).lazy();
            let blocking = blocking.launch(async move { told.recv_timeout(LONG).unwrap() });
            s.coroutine().on(home).launch(async move {
                let mut section = Box::pin(with_context(there, async {
                    // Behind this one in the other view.
                    blocking.start();
                    pending::<()>().await;
                }));
                poll_fn(|cx| match section.as_mut().poll(cx) {
                    Poll::Pending if !blocking.is_active() => Poll::Pending,
                    _ => Poll::Ready(()),
                })
                .await;
                drop(section);
                yield_now().await;
                tell.send(()).unwrap();
            });
        })
        .await;
    });
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn threads_without_work_end() {
    let (stopped, stops) = channel();
    let stopped = Mutex::new(stopped);
    let rt = builder(1)
        .keep_alive(Duration::from_millis(1))
        .on_thread_stop(move || {
            let _heard = stopped.lock().unwrap().send(());
        })
        .build()
        .unwrap();
    let all = Arc::new(Barrier::new(4));
    rt.run_blocking(scope(async |s| {
        for _ in 0..4 {
            let all = all.clone();
            s.coroutine().context(Dispatcher::Io).launch(async move {
                all.wait();
            });
        }
    }));
    for _ in 0..4 {
        stops.recv_timeout(LONG).unwrap();
    }
    assert_eq!(rt.run_blocking(rt.detached(async { 3 })), 3);
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn io_that_finds_only_a_thread_which_is_about_to_end_has_the_next_one() {
    let (ending, ends) = channel();
    let (let_go, is_let_go) = channel::<()>();
    let hook = Mutex::new((ending, is_let_go));
    let rt = builder(1)
        .max_pool_size(2)
        .keep_alive(Duration::ZERO)
        .on_thread_stop(move || {
            let (ending, is_let_go) = &*hook.lock().unwrap();
            let _heard = ending.send(());
            let _gone = is_let_go.recv();
        })
        .build()
        .unwrap();
    let io = || rt.detached(spawn_on(Dispatcher::Io, async {}));
    rt.run_blocking(io());
    ends.recv().unwrap();
    let waiting = io();
    while rt.metrics().io_queued == 0 {
        rt.run_blocking(yield_now());
    }
    drop(let_go);
    rt.run_blocking(waiting);
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn the_smallest_pool_runs_everything() {
    let rt = builder(1).max_pool_size(2).io_parallelism(8).build().unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    rt.run_blocking(scope(async |s| {
        for i in 0..100 {
            let done = done.clone();
            let body = async move {
                in_place(|| spin(100));
                yield_now().await;
                done.fetch_add(1, Ordering::SeqCst);
            };
            if i % 2 == 0 {
                s.launch(body);
            } else {
                s.coroutine().context(Dispatcher::Io).launch(body);
            }
        }
    }));
    assert_eq!(done.load(Ordering::SeqCst), 100);
    assert!(rt.shutdown(LONG).is_empty());
}

/// Tells when it is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_shutdown_drops_what_waits_at_a_lent_processor() {
    let (let_start, may_start) = channel::<()>();
    let started = Mutex::new((0, may_start));
    // All threads but the first wait, so that nobody takes what is lent.
    let on_start = move || {
        let (count, may_start) = &mut *started.lock().unwrap();
        *count += 1;
        if *count > 1 {
            let _may = may_start.recv();
        }
    };
    let rt = builder(1).max_pool_size(2).on_thread_start(on_start).build().unwrap();
    let dropped = Arc::new(AtomicUsize::new(0));
    let (begin, begun) = channel();
    let (release, released) = channel::<()>();
    let waiting = Dropped(dropped.clone());
    drop(rt.detached(async move {
        launch_detached(async move {
            let _waiting = waiting;
            pending::<()>().await;
        });
        in_place(|| {
            begin.send(()).unwrap();
            released.recv().unwrap();
        });
    }));
    begun.recv().unwrap();
    assert!(!rt.shutdown(Duration::ZERO).is_empty());
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    drop((release, let_start));
}

#[test]
fn what_is_given_to_a_pool_that_has_closed_is_cancelled_at_once() {
    let [closed, rt] = [builder(1).build().unwrap(), builder(1).build().unwrap()];
    let (pool, io) = {
        let _inside = closed.enter();
        dispatchers()
    };
    assert!(closed.shutdown(LONG).is_empty());
    for late in [pool, io] {
        let child = async {
            scope(async |s| s.coroutine().on(Dispatcher::Custom(late)).spawn(pending::<()>()).job())
                .await
        };
        assert!(rt.run_blocking(child).is_completed());
    }
    assert!(rt.shutdown(LONG).is_empty());
}

#[test]
fn a_shutdown_in_the_midst_of_it_drops_what_is_queued() {
    for round in 0..30 {
        let rt = builder(2).io_parallelism(2).build().unwrap();
        let ended = Arc::new(AtomicUsize::new(0));
        struct Count(Arc<AtomicUsize>);
        impl Drop for Count {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let (started, start) = channel();
        for i in 0..40 {
            let count = Count(ended.clone());
            let started = started.clone();
            drop(rt.detached(async move {
                let _count = count;
                let _heard = started.send(());
                scope(async |s| {
                    s.coroutine().context(Dispatcher::Io).launch(async move {
                        while !is_cancelled() {
                            spin(i * 10);
                            yield_now().await;
                        }
                    });
                    while !is_cancelled() {
                        in_place(|| spin(i * 100));
                        yield_now().await;
                    }
                })
                .await;
            }));
        }
        for _ in 0..round {
            start.recv().unwrap();
        }
        drop(start);
        assert!(rt.shutdown(LONG).is_empty());
        assert_eq!(ended.load(Ordering::SeqCst), 40);
    }
}
