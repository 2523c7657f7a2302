//! What a thread that blocks serves beside what it blocks on.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use corymb::prelude::*;
use corymb::{LocalRuntime, spawn_local};

/// More than enough for each home to have its turn.
const TURNS: usize = 16;

/// What would hang if it went wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// Gives way until `is_done`, a few times at most; whether it is.
async fn give_way_until(is_done: impl Fn() -> bool) -> bool {
    for _ in 0..TURNS {
        if is_done() {
            return true;
        }
        yield_now().await;
    }
    is_done()
}

#[test]
fn a_busy_inner_home_leaves_their_turns_to_those_further_out() {
    let done = Rc::new(Cell::new(0));
    let launch = || {
        let done = Rc::clone(&done);
        drop(spawn_local(async move { done.set(done.get() + 1) }));
    };
    run_blocking(async {
        launch(); // at home in the outermost loop
        LocalRuntime::new().run_blocking(async {
            launch();
            let inner = LocalRuntime::new();
            let done = Rc::clone(&done);
            let busy = async move { give_way_until(|| done.get() == 2).await };
            assert!(inner.run_blocking(async { spawn_local(busy).await }));
        });
    });
}

#[test]
fn busy_homes_take_turns() {
    let order = Rc::new(RefCell::new(Vec::new()));
    let launch = |name: char| {
        let order = Rc::clone(&order);
        spawn_local(async move {
            for _ in 0..4 {
                order.borrow_mut().push(name);
                yield_now().await;
            }
        })
    };
    run_blocking(async {
        let outer = launch('o');
        let inner = LocalRuntime::new();
        inner.run_blocking(async { launch('i').await });
        outer.await;
    });
    assert_eq!(order.borrow().iter().collect::<String>(), "ioioioio");
}

/// The loop of the inner one has nothing of its own to do.
#[test]
fn a_nested_run_serves_the_homes_further_out() {
    run_blocking(async {
        let mine = spawn_local(async { Rc::new(42) });
        assert_eq!(*LocalRuntime::new().run_blocking(mine), 42);
    });
    let runtime = corymb::Runtime::new().unwrap();
    let main = runtime.run_main_local(async {
        let on_main = spawn_on(Dispatcher::Main, async { thread::current().id() });
        LocalRuntime::new().run_blocking(on_main)
    });
    assert_eq!(main, thread::current().id());
}

type Slot = Arc<Mutex<Option<Waker>>>;

/// Suspends once, and leaves its waker.
async fn suspend(slot: Slot) {
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

fn wake(slot: &Slot) {
    slot.lock().unwrap().take().expect("it has suspended").wake();
}

#[test]
fn what_a_bound_coroutine_wakes_goes_on_after_its_poll() {
    let (slot, resumed) = (Slot::default(), Arc::new(AtomicBool::new(false)));
    run_blocking(scope(async |s| {
        let (inside, done) = (Arc::clone(&slot), Arc::clone(&resumed));
        s.coroutine().on(Dispatcher::Unconfined).launch(async move {
            suspend(inside).await;
            done.store(true, Ordering::SeqCst);
        });
        s.spawn_local(async move {
            wake(&slot);
            assert!(!resumed.load(Ordering::SeqCst), "not inside of the wake");
            yield_now().await;
            assert!(resumed.load(Ordering::SeqCst), "before the next poll");
        })
        .await;
    }));
}

/// The loop that would have resumed it is gone; it goes on on the pool.
#[test]
fn what_is_woken_in_a_run_that_panics_goes_on() {
    let slot = Slot::default();
    let (tell, told) = mpsc::channel();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        run_blocking(async {
            let inside = Arc::clone(&slot);
            let waits = async move {
                suspend(inside).await;
                tell.send(thread::current().id()).unwrap();
            };
            // Under the runtime, so that it outlives this.
            let elsewhere = detached(spawn_on(Dispatcher::Unconfined, waits));
            while slot.lock().unwrap().is_none() {
                yield_now().await;
            }
            wake(&slot);
            drop(elsewhere);
            panic!("E");
        });
    }));
    assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"E"));
    let resumed = told.recv_timeout(PATIENCE).expect("it goes on");
    assert_ne!(resumed, thread::current().id());
}
