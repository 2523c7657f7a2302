//! Models of the slot's state word; the edges are those of `slot.rs`.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::slot::{Consumer, slot};
use super::suspend_cancellable;

/// Counts its wake-ups.
struct Wakes(AtomicUsize);

impl Wakes {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(0)))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A value that loom sees leak.
type Value = loom::sync::Arc<()>;
type Hook = Box<dyn FnOnce() + Send>;

fn poll<V>(consumer: &mut Consumer<V, Hook>, wakes: &Arc<Wakes>) -> Poll<Option<V>> {
    consumer.poll_take(&Context::from_waker(&Waker::from(Arc::clone(wakes))))
}

/// (1) against (2): the consumer sees the value or is woken.
#[test]
fn put_against_poll() {
    loom::model(|| {
        let (producer, mut consumer) = slot::<Value, Hook>();
        let putter = thread::spawn(move || assert!(producer.put(Value::new(())).is_ok()));
        let wakes = Wakes::new();
        let first = poll(&mut consumer, &wakes);
        putter.join().unwrap();
        if first.is_pending() {
            assert_eq!(wakes.count(), 1);
            assert!(matches!(consumer.try_take(), Poll::Ready(Some(_))));
        }
        assert!(matches!(consumer.try_take(), Poll::Ready(None)));
        assert_eq!(Arc::strong_count(&wakes), 1);
    });
}

/// (1) against (3) and (2) with another waker: the latest that is waiting is woken.
#[test]
fn put_against_a_poll_with_another_waker() {
    loom::model(|| {
        let (producer, mut consumer) = slot::<Value, Hook>();
        let [first, second] = [Wakes::new(), Wakes::new()];
        assert!(poll(&mut consumer, &first).is_pending());
        let putter = thread::spawn(move || assert!(producer.put(Value::new(())).is_ok()));
        let polled = poll(&mut consumer, &second);
        putter.join().unwrap();
        if polled.is_pending() {
            assert_eq!((first.count(), second.count()), (0, 1));
            assert!(matches!(consumer.try_take(), Poll::Ready(Some(_))));
        } else {
            assert_eq!(second.count(), 0);
        }
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 1));
    });
}

/// (1) with `ABANDONED` against (2): the consumer learns it or is woken.
#[test]
fn abandon_against_poll() {
    loom::model(|| {
        let (producer, mut consumer) = slot::<Value, Hook>();
        let dropper = thread::spawn(move || drop(producer));
        let wakes = Wakes::new();
        let first = poll(&mut consumer, &wakes);
        dropper.join().unwrap();
        assert!(first.is_ready() || wakes.count() == 1);
        assert!(matches!(consumer.try_take(), Poll::Ready(None)));
    });
}

/// (1) against (4), a waker in place: the value is at one end, and its owner knows.
#[test]
fn put_against_close() {
    loom::model(|| {
        let (producer, mut consumer) = slot::<Value, Hook>();
        let wakes = Wakes::new();
        assert!(poll(&mut consumer, &wakes).is_pending());
        let putter = thread::spawn(move || producer.put(Value::new(())).is_ok());
        assert!(consumer.close().is_none());
        let taken = consumer.try_take();
        assert_eq!(putter.join().unwrap(), matches!(taken, Poll::Ready(Some(_))));
        assert_eq!(wakes.count(), usize::from(matches!(taken, Poll::Ready(Some(_)))));
        assert_eq!(Arc::strong_count(&wakes), 1);
    });
}

/// (2), (3) of the hook against (4): the latest hook that was set is with one end.
#[test]
fn hooks_against_close() {
    loom::model(|| {
        let (mut producer, mut consumer) = slot::<(), loom::sync::Arc<usize>>();
        let hooker = thread::spawn(move || {
            let set = [1, 2].map(|n| producer.set_hook(loom::sync::Arc::new(n)).is_ok());
            producer.clear_hook();
            set
        });
        let got = consumer.close().map(|hook| *hook);
        let set = hooker.join().unwrap();
        match got {
            Some(1) => assert_eq!(set, [true, false]),
            Some(_) => assert_eq!(set, [true, true]),
            // Before the first, while the second took its place, or after both.
            None => assert!(set[0] || !set[1]),
        }
        assert!(consumer.close().is_none());
    });
}

/// The whole of it, a hook and an undo in place, against the drop: the value is taken, or the
/// hook runs once, and then the undo once.
#[test]
fn resume_or_against_drop() {
    loom::model(|| {
        let ran = loom::sync::Arc::new(AtomicUsize::new(0));
        let (hook, undo) = (ran.clone(), ran.clone());
        let resumer = Cell::new(None);
        let mut suspend = suspend_cancellable(|mut cont| {
            resumer.set(Some(thread::spawn(move || {
                cont.on_cancel(move || {
                    hook.fetch_add(1, Ordering::SeqCst);
                });
                cont.resume_or(Value::new(()), move |_| {
                    undo.fetch_add(16, Ordering::SeqCst);
                });
            })));
        });
        let polled = Pin::new(&mut suspend).poll(&mut Context::from_waker(Waker::noop()));
        drop(suspend);
        resumer.take().unwrap().join().unwrap();
        let expected = if polled.is_ready() { 0 } else { 17 };
        assert_eq!(ran.load(Ordering::SeqCst), expected);
    });
}
