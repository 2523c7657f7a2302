//! Moves of a whole coroutine against wake-ups and cancels.

use std::future::poll_fn;

use super::*;
use crate::{Dispatcher, with_context};

/// What a test that runs two more dispatchers has.
#[derive(Clone)]
struct Places {
    home: Runtime,
    away: [Arc<Queue>; 2],
}

impl Places {
    fn new(runtime: &Runtime) -> Self {
        let queue = || Arc::new(Queue(Mutex::new(VecDeque::new())));
        Self { home: runtime.clone(), away: [queue(), queue()] }
    }

    fn dispatcher(&self, index: usize) -> Dispatcher {
        Dispatcher::Custom(Arc::<Queue>::clone(&self.away[index]))
    }

    fn step(&self) -> bool {
        let queues = self.away.iter().chain([&self.home.hooks.queue]);
        let ready = queues.filter_map(|queue| queue.0.lock().pop_front()).next();
        ready.map(Coroutine::run).is_some()
    }

    fn run(&self) {
        while self.step() {}
    }
}

/// Puts a waker where another thread finds it, and tells whether a flag is set.
#[derive(Clone)]
struct Flag {
    set: loom::sync::Arc<AtomicUsize>,
    waker: Arc<std::sync::Mutex<Option<Waker>>>,
}

impl Flag {
    fn new() -> Self {
        Self { set: loom::sync::Arc::new(AtomicUsize::new(0)), waker: Arc::default() }
    }

    async fn wait(self, mark: Mark) {
        let inside = loom::cell::Cell::new(0);
        poll_fn(move |cx| {
            let _mark = &mark;
            // Loom sees two polls at once.
            inside.set(inside.get() + 1);
            self.note(cx.waker());
            // Ordering: Relaxed, so that nothing but the wake can make it visible.
            if self.set.load(Ordering::Relaxed) == 1 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn note(&self, waker: &Waker) {
        self.waker.lock().unwrap().get_or_insert_with(|| waker.clone());
    }

    /// A thread that sets the flag, wakes, and helps.
    fn set(&self, places: &Places) -> thread::JoinHandle<()> {
        let waker = self.waker.lock().unwrap().take().expect("somebody waits");
        let (set, places) = (self.set.clone(), places.clone());
        thread::spawn(move || {
            set.store(1, Ordering::Relaxed);
            waker.wake();
            places.run();
        })
    }
}

/// A section that waits away; its waker is there before it has come there, with `early`.
fn waiting(places: &Places, flag: &Flag, mark: &Mark, early: bool) -> Job {
    let section = with_context(places.dispatcher(0), flag.clone().wait(mark.clone()));
    let flag = flag.clone();
    let job = places.home.scope().launch(async move {
        let mut section = std::pin::pin!(section);
        poll_fn(move |cx| {
            flag.note(cx.waker());
            section.as_mut().poll(cx)
        })
        .await;
    });
    if early {
        assert!(places.step());
    } else {
        places.run();
    }
    job
}

/// 2 and 3 against 5: a wake that comes while the coroutine is on its way is not lost.
#[test]
fn wake_against_the_way_there() {
    check(|runtime| {
        let (places, flag, mark) = (Places::new(runtime), Flag::new(), Mark::new(()));
        let job = waiting(&places, &flag, &mark, true);
        let other = flag.set(&places);
        places.run();
        other.join().unwrap();
        places.run();
        assert!(job.is_completed() && !job.is_cancelled());
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
    });
}

/// 5 against the way back.
#[test]
fn wake_of_one_that_waits_away() {
    check(|runtime| {
        let (places, flag, mark) = (Places::new(runtime), Flag::new(), Mark::new(()));
        let job = waiting(&places, &flag, &mark, false);
        let other = flag.set(&places);
        places.run();
        other.join().unwrap();
        places.run();
        assert!(job.is_completed() && !job.is_cancelled());
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
    });
}

/// A cancel and a wake of one that is away, or on its way: it ends, and is dropped once.
#[test]
fn wake_against_cancel_away() {
    for early in [false, true] {
        check(move |runtime| {
            let (places, flag, mark) = (Places::new(runtime), Flag::new(), Mark::new(()));
            let job = waiting(&places, &flag, &mark, early);
            let other = flag.set(&places);
            let news = job.cancel();
            places.run();
            other.join().unwrap();
            places.run();
            assert!(job.is_completed());
            assert_eq!(job.is_cancelled(), news);
            assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
        });
    }
}

/// Two sections in two places: a wake for one of them is not taken for the move of the other.
#[test]
fn wake_of_one_of_two_sections() {
    check(|runtime| {
        let (places, mark) = (Places::new(runtime), Mark::new(()));
        let flags = [Flag::new(), Flag::new()];
        let section =
            |i: usize| with_context(places.dispatcher(i), flags[i].clone().wait(mark.clone()));
        let (first, second) = (section(0), section(1));
        let job = places.home.scope().launch(async move {
            futures::future::join(first, second).await;
        });
        places.run();
        let others = flags.map(|flag| flag.set(&places));
        places.run();
        others.into_iter().for_each(|other| other.join().unwrap());
        places.run();
        assert!(job.is_completed());
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
    });
}
