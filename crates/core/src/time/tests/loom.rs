//! Models of what two threads can do to a timer. The numbers are the edges in `node`.

use ::loom::thread;

use super::*;

/// Frees a shard that no node leads to any more: a model must not leave memory behind.
pub(super) fn free(shard: &'static TimerShard) {
    // SAFETY: under loom a shard comes from `Box::leak` and never gets into a pool; its runtime,
    // the last one to know it, is being dropped.
    drop(unsafe { Box::from_raw(std::ptr::from_ref(shard).cast_mut()) });
}

/// Runs `model` with a runtime in every interleaving. Only the model's first thread is inside the
/// runtime; the others have the shard.
fn check(model: impl Fn(&Arc<Runtime>) + Sync + Send + 'static) {
    ::loom::model(move || {
        let runtime = Runtime::new();
        let entered = runtime.enter();
        model(&runtime);
        assert_eq!(runtime.shard.armed(), 0);
        drop(entered);
        assert_eq!(Arc::strong_count(&runtime), 1);
    });
}

fn advance(runtime: &Runtime, nanos: u64) -> thread::JoinHandle<usize> {
    let shard = runtime.shard;
    thread::spawn(move || shard.advance(Instant::from_nanos(nanos)))
}

fn close(runtime: &Runtime) -> thread::JoinHandle<()> {
    let shard = runtime.shard;
    thread::spawn(move || shard.close())
}

/// No clone of the waker is left but the one that the test has.
fn assert_dropped(waker: Waker, wakes: &Arc<Wakes>) {
    drop(waker);
    assert_eq!(Arc::strong_count(wakes), 1);
}

/// 4 against 6.
#[test]
fn fire_against_drop() {
    check(|runtime| {
        let (waker, wakes) = counting();
        let mut sleep = until(5);
        assert!(poll(&mut sleep, &waker).is_pending());
        let fire = advance(runtime, 5);
        drop(sleep);
        assert_eq!(fire.join().unwrap(), wakes.count());
        assert_dropped(waker, &wakes);
    });
}

/// 4 against a change of the waker: the last one is woken, unless the poll was ready.
#[test]
fn fire_against_another_waker() {
    check(|runtime| {
        let (first, first_wakes) = counting();
        let (second, second_wakes) = counting();
        let mut sleep = until(5);
        assert!(poll(&mut sleep, &first).is_pending());
        let fire = advance(runtime, 5);
        let ready = poll(&mut sleep, &second).is_ready();
        assert_eq!(fire.join().unwrap(), 1);
        let expected = if ready { (1, 0) } else { (0, 1) };
        assert_eq!((first_wakes.count(), second_wakes.count()), expected);
        assert!(poll(&mut sleep, &second).is_ready());
        assert_dropped(first, &first_wakes);
        assert_dropped(second, &second_wakes);
    });
}

/// 4 against 7, or against a move in place: reuses the fields of a node that was just fired.
#[test]
fn fire_against_reset() {
    check(|runtime| {
        let (waker, wakes) = counting();
        let mut sleep = until(5);
        assert!(poll(&mut sleep, &waker).is_pending());
        let fire = advance(runtime, 5);
        sleep.as_mut().reset(Instant::from_nanos(9));
        assert!(poll(&mut sleep, &waker).is_pending());
        let fired = fire.join().unwrap();
        assert_eq!(runtime.shard.advance(Instant::from_nanos(9)), 1);
        assert_eq!(wakes.count(), fired + 1);
        assert!(sleep.is_elapsed());
        assert_dropped(waker, &wakes);
    });
}

/// 4 against 4 and 6: two threads advance a shard with more timers than a batch takes.
#[test]
fn fire_against_fire_and_drop() {
    check(|runtime| {
        let (waker, wakes) = counting();
        let mut sleeps = [until(5), until(4), until(3)];
        for sleep in &mut sleeps {
            assert!(poll(sleep, &waker).is_pending());
        }
        let other = advance(runtime, 5);
        let [first, second, third] = sleeps;
        drop(second);
        let here = runtime.shard.advance(Instant::from_nanos(5));
        let woken = here + other.join().unwrap();
        assert!(woken >= 2 && woken == wakes.count());
        assert!(first.is_elapsed() && third.is_elapsed());
        assert_dropped(waker, &wakes);
    });
}

/// 3 against 4: whatever thread advances last, the timer is found by a look at the next wake-up.
#[test]
fn register_against_fire() {
    check(|runtime| {
        let (waker, wakes) = counting();
        let mut sleep = until(5);
        let fire = advance(runtime, 5);
        assert!(poll(&mut sleep, &waker).is_pending());
        let fired = fire.join().unwrap();
        let end = Instant::from_nanos((1 << 16) - 1);
        assert_eq!(runtime.shard.is_due(end), fired == 0);
        assert_eq!(fired + runtime.shard.advance(end), 1);
        assert_eq!(wakes.count(), 1);
        assert_dropped(waker, &wakes);
    });
}

/// 5 against 3: a sleep that registers with a shard which is being closed is woken.
#[test]
fn close_against_register() {
    check(|runtime| {
        let (waker, wakes) = counting();
        let mut sleep = until(5);
        let closed = close(runtime);
        assert!(poll(&mut sleep, &waker).is_pending());
        closed.join().unwrap();
        assert_eq!(wakes.count(), 1);
        assert!(!sleep.is_elapsed());
        assert_dropped(waker, &wakes);
    });
}

/// 5 against 6.
#[test]
fn close_against_drop() {
    check(|runtime| {
        let (waker, wakes) = counting();
        let mut sleep = until(5);
        assert!(poll(&mut sleep, &waker).is_pending());
        let closed = close(runtime);
        drop(sleep);
        closed.join().unwrap();
        assert!(wakes.count() <= 1);
        assert_dropped(waker, &wakes);
    });
}

/// 5 against a poll with another waker, which may find the node Closed and register again.
#[test]
fn close_against_another_waker() {
    check(|runtime| {
        let (first, first_wakes) = counting();
        let (second, second_wakes) = counting();
        let mut sleep = until(5);
        assert!(poll(&mut sleep, &first).is_pending());
        let closed = close(runtime);
        assert!(poll(&mut sleep, &second).is_pending());
        closed.join().unwrap();
        // Closed before the poll: the first is woken, and the refused second. After: the second.
        assert!(first_wakes.count() <= 1);
        assert_eq!(second_wakes.count(), 1);
        assert_dropped(first, &first_wakes);
        assert_dropped(second, &second_wakes);
    });
}

/// 4, 5 and 6 at once.
#[test]
fn close_against_fire_and_drop() {
    check(|runtime| {
        let (waker, wakes) = counting();
        let mut sleep = until(5);
        assert!(poll(&mut sleep, &waker).is_pending());
        let (closed, fire) = (close(runtime), advance(runtime, 5));
        drop(sleep);
        closed.join().unwrap();
        fire.join().unwrap();
        assert!(wakes.count() <= 1);
        assert_dropped(waker, &wakes);
    });
}
