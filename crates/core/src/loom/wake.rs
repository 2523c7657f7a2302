//! Wake-ups against polls.

use std::future::poll_fn;

use super::*;
use crate::Completion;

/// A coroutine that ends when its flag is set, suspended, with its waker. `inside` is only
/// touched by polls: loom sees two at once.
fn sleeper(runtime: &Runtime, mark: &Mark) -> (Job, Waker, loom::sync::Arc<AtomicUsize>) {
    let flag = loom::sync::Arc::new(AtomicUsize::new(0));
    let waker = Arc::new(std::sync::Mutex::new(None));
    let (see, put, mark) = (flag.clone(), Arc::clone(&waker), mark.clone());
    let inside = loom::cell::Cell::new(0);
    let job = runtime.scope().launch(poll_fn(move |cx| {
        let _mark = &mark;
        inside.set(inside.get() + 1);
        if inside.get() == 1 {
            *put.lock().unwrap() = Some(cx.waker().clone());
        }
        // Ordering: Relaxed, so that nothing but the wake can make it visible.
        if see.load(Ordering::Relaxed) == 1 { Poll::Ready(()) } else { Poll::Pending }
    }));
    runtime.run();
    let waker = waker.lock().unwrap().take().unwrap();
    (job, waker, flag)
}

/// 5 against 5, and against 1, 2, 3 and 4: the poll after the wake sees what came before it, and
/// no two polls meet.
#[test]
fn wakes_against_polls() {
    check(|runtime| {
        let mark = Mark::new(());
        let (job, waker, flag) = sleeper(runtime, &mark);
        let there = runtime.clone();
        let other = {
            let waker = waker.clone();
            thread::spawn(move || {
                flag.store(1, Ordering::Relaxed);
                waker.wake();
                there.run();
            })
        };
        waker.wake_by_ref();
        runtime.run();
        other.join().unwrap();
        assert!(job.is_completed());
        assert!(!job.is_cancelled());
        drop(waker);
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
    });
}

/// 5 against a cancel: the future is dropped once, and the coroutine ends.
#[test]
fn wake_against_cancel() {
    check(|runtime| {
        let mark = Mark::new(());
        let (job, waker, flag) = sleeper(runtime, &mark);
        let there = runtime.clone();
        let other = thread::spawn(move || {
            flag.store(1, Ordering::Relaxed);
            waker.wake();
            there.run();
        });
        let news = job.cancel();
        runtime.run();
        other.join().unwrap();
        assert!(job.is_completed());
        assert_eq!(job.is_cancelled(), news);
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
    });
}

/// A cancel against a poll that is ready: a state that was final stays.
#[test]
fn cancel_against_the_end() {
    check(|runtime| {
        let job = runtime.scope().launch(async {});
        let told = Arc::new(std::sync::Mutex::new(None));
        let tell = Arc::clone(&told);
        job.on_completion(move |how| {
            *tell.lock().unwrap() = Some(matches!(how, Completion::Cancelled(_)));
        });
        let other = runtime.start();
        let early = job.is_completed().then(|| job.state());
        let news = job.cancel();
        let now = job.is_completed().then(|| job.state());
        other.join().unwrap();
        runtime.run();
        assert!(early.is_none_or(|early| early == job.state() && !news));
        assert!(now.is_none_or(|now| now == job.state()));
        assert_eq!(job.is_cancelled(), news);
        assert_eq!(job.cause().is_some(), news);
        assert_eq!(told.lock().unwrap().take(), Some(news));
    });
}
