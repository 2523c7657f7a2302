use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use futures::FutureExt as _;
use futures::executor::block_on;

use super::{Abandoned, Continuation, suspend_cancellable};

/// Counts its wake-ups.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn push(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    future.poll_unpin(&mut Context::from_waker(Waker::noop()))
}

/// A suspension that was polled once, and its continuation.
fn suspended<T>() -> (impl Future<Output = Result<T, Abandoned>> + Unpin, Continuation<T>) {
    let given = Rc::new(Cell::new(None));
    let mut suspend = suspend_cancellable({
        let given = Rc::clone(&given);
        move |cont| given.set(Some(cont))
    });
    assert!(poll(&mut suspend).is_pending());
    (suspend, given.take().unwrap())
}

fn send<T: Send>(value: T) -> T {
    value
}

#[test]
fn start_runs_at_the_first_poll_and_once() {
    let runs = AtomicUsize::new(0);
    let mut kept = None;
    let mut suspend = suspend_cancellable::<(), _>(|cont| {
        runs.fetch_add(1, Ordering::SeqCst);
        kept = Some(cont);
    });
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    assert!(poll(&mut suspend).is_pending());
    assert!(poll(&mut suspend).is_pending());
    drop(suspend);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert!(kept.is_some_and(|cont| cont.is_cancelled()));
}

#[test]
fn a_suspension_dropped_unpolled_never_started() {
    drop(suspend_cancellable::<(), _>(|_| panic!("started")));
}

#[test]
fn resumed_in_start() {
    let suspend = suspend_cancellable(|cont| cont.resume(7).unwrap());
    assert_eq!(block_on(send(suspend)), Ok(7));
}

#[test]
fn resumed_from_another_thread() {
    let suspend = suspend_cancellable(|cont| {
        let cont: Continuation<String> = send(cont);
        drop(thread::spawn(move || cont.resume("seven".to_owned()).unwrap()));
    });
    assert_eq!(block_on(suspend).as_deref(), Ok("seven"));
}

#[test]
fn resuming_wakes_the_latest_waker_alone() {
    let (mut suspend, cont) = suspended();
    let [first, second] = [Arc::new(Wakes::default()), Arc::new(Wakes::default())];
    for wakes in [&first, &first, &second, &second] {
        let waker = Waker::from(Arc::clone(wakes));
        assert!(suspend.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
    }
    cont.resume(7).unwrap();
    assert_eq!((first.count(), second.count()), (0, 1));
    assert_eq!(poll(&mut suspend), Poll::Ready(Ok(7)));
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 1));
}

#[test]
fn dropping_the_awaiter_drops_its_waker() {
    let (mut suspend, cont) = suspended::<()>();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    assert!(suspend.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
    drop((suspend, waker));
    assert_eq!(Arc::strong_count(&wakes), 1);
    assert_eq!(cont.resume(()), Err(()));
    assert_eq!(wakes.count(), 0);
}

#[test]
fn an_abandoned_awaiter_is_told() {
    let (mut suspend, cont) = suspended::<()>();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    assert!(suspend.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
    drop(cont);
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll(&mut suspend), Poll::Ready(Err(Abandoned)));
    assert_eq!(Abandoned.to_string(), "the continuation was dropped without having been resumed");
}

#[test]
fn a_panic_in_start_comes_out_of_the_poll() {
    let value = Arc::new(());
    let inner = Arc::clone(&value);
    let mut suspend = suspend_cancellable::<(), _>(move |mut cont| {
        cont.on_cancel(move || drop(inner));
        panic!("start")
    });
    let payload = catch_unwind(AssertUnwindSafe(|| poll(&mut suspend))).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"start"));
    assert_eq!(poll(&mut suspend), Poll::Ready(Err(Abandoned)));
    assert_eq!(Arc::strong_count(&value), 1, "the hook leaked");
}

#[test]
fn polled_after_it_was_done() {
    let mut suspend = suspend_cancellable(|cont| cont.resume(7).unwrap());
    assert_eq!(poll(&mut suspend), Poll::Ready(Ok(7)));
    let payload = catch_unwind(AssertUnwindSafe(|| poll(&mut suspend))).unwrap_err();
    let message = payload.downcast::<String>().unwrap();
    assert!(message.contains("polled after it was done"), "{message}");
}

#[test]
fn cancel_016_a_resume_after_the_drop_gives_the_value_back() {
    let (suspend, cont) = suspended();
    assert!(!cont.is_cancelled());
    drop(suspend);
    assert!(cont.is_cancelled());
    assert_eq!(cont.resume(7), Err(7));
}

#[test]
fn cancel_019_dropped_between_resume_and_poll() {
    let log = Log::default();
    let (suspend, mut cont) = suspended();
    cont.on_cancel({
        let log = log.clone();
        move || log.push("hook")
    });
    cont.resume_or(7, {
        let log = log.clone();
        move |value| log.push(format!("undo {value}"))
    });
    assert!(log.take().is_empty());
    drop(suspend);
    assert_eq!(log.take(), ["hook", "undo 7"]);
}

#[test]
fn cancel_020_registered_and_resumed_after_the_drop() {
    let log = Log::default();
    let (suspend, mut cont) = suspended();
    drop(suspend);
    cont.on_cancel({
        let log = log.clone();
        move || log.push("hook")
    });
    assert_eq!(log.take(), ["hook"]);
    cont.resume_or(7, {
        let log = log.clone();
        move |value| log.push(format!("undo {value}"))
    });
    assert_eq!(log.take(), ["undo 7"]);
}

#[test]
fn cancel_022_hooks_that_panic_harm_nothing() {
    let log = Log::default();
    let (suspend, mut cont) = suspended();
    cont.on_cancel({
        let log = log.clone();
        move || {
            log.push("hook");
            panic!("hook")
        }
    });
    let undo = {
        let log = log.clone();
        move |value| {
            log.push(format!("undo {value}"));
            panic!("undo")
        }
    };
    cont.resume_or(7, undo.clone());
    drop(suspend);
    assert_eq!(log.take(), ["hook", "undo 7"]);

    let (suspend, mut cont) = suspended();
    drop(suspend);
    cont.on_cancel(|| panic!("hook"));
    cont.resume_or(8, undo);
    assert_eq!(log.take(), ["undo 8"]);
}

#[test]
fn cancel_023_a_second_hook_is_refused() {
    for gone in [false, true] {
        let (suspend, mut cont) = suspended::<()>();
        let suspend = (!gone).then_some(suspend);
        let runs = Arc::new(AtomicUsize::new(0));
        let hook = || {
            let runs = Arc::clone(&runs);
            move || {
                runs.fetch_add(1, Ordering::SeqCst);
            }
        };
        cont.on_cancel(hook());
        let second = catch_unwind(AssertUnwindSafe(|| cont.on_cancel(hook())));
        let message = second.unwrap_err();
        let message = message.downcast_ref::<&str>().unwrap();
        assert!(message.contains("on_cancel") && message.contains("second"), "{message}");
        drop(suspend);
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn hooks_of_a_finished_wait_never_run() {
    let (mut suspend, mut cont) = suspended();
    cont.on_cancel(|| panic!("hook"));
    cont.resume_or(7, |_| panic!("undo"));
    assert_eq!(poll(&mut suspend), Poll::Ready(Ok(7)));
    drop(suspend);

    let (mut suspend, mut cont) = suspended::<()>();
    cont.on_cancel(|| panic!("hook"));
    drop(cont);
    assert_eq!(poll(&mut suspend), Poll::Ready(Err(Abandoned)));
}

#[test]
fn a_value_nobody_took_is_dropped_once() {
    let value = Arc::new(());
    let (suspend, cont) = suspended();
    cont.resume(Arc::clone(&value)).unwrap();
    assert_eq!(Arc::strong_count(&value), 2);
    drop(suspend);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn stress_006_taken_or_undone() {
    let rounds = if cfg!(miri) { 20 } else { 5_000 };
    let (mut taken, mut undone) = (0, 0);
    for round in 0..rounds {
        let undos = Arc::new(AtomicUsize::new(0));
        let start = Arc::new(Barrier::new(2));
        let (mut suspend, cont) = suspended();
        let resumer = thread::spawn({
            let (undos, start) = (Arc::clone(&undos), Arc::clone(&start));
            move || {
                start.wait();
                cont.resume_or(round, move |_| {
                    undos.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        start.wait();
        let got = poll(&mut suspend);
        drop(suspend);
        resumer.join().unwrap();
        match got {
            Poll::Ready(value) => {
                assert_eq!(value, Ok(round));
                taken += 1;
            }
            Poll::Pending => undone += 1,
        }
        assert_eq!(undos.load(Ordering::SeqCst), usize::from(got.is_pending()));
    }
    assert_eq!(taken + undone, rounds);
}

/// What a value's type holds must not keep a coroutine from being `Send`.
#[test]
fn a_value_whose_type_has_a_lifetime_is_awaited_in_what_is_sent() {
    fn sent(_: impl Future + Send) {}
    type Outcome = Result<&'static str, Box<dyn std::error::Error + Send + Sync>>;

    sent(async {
        let limit = std::time::Duration::from_secs(1);
        let wait = suspend_cancellable(|cont: Continuation<Outcome>| drop(cont));
        crate::time::with_timeout(limit, wait).await.is_ok()
    });
}
