use std::cell::Cell;
use std::task::{RawWaker, RawWakerVTable};

use futures::task::noop_waker;

use super::*;
use crate::time::sleep;

/// A waker that calls `on_wake` when woken, and drops it with its last clone.
struct Calls<F>(Mutex<F>);

impl<F: FnMut() + Send + 'static> ArcWake for Calls<F> {
    fn wake_by_ref(this: &Arc<Self>) {
        this.0.lock().unwrap()();
    }
}

fn calling(on_wake: impl FnMut() + Send + 'static) -> Waker {
    futures::task::waker(Arc::new(Calls(Mutex::new(on_wake))))
}

/// A waker that drops `value` with its last clone.
fn owning(value: impl Send + 'static) -> Waker {
    calling(move || {
        let _owned = &value;
    })
}

#[test]
fn fires_at_its_nanosecond() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let (waker, wakes) = counting();
    let mut sleep = Box::pin(sleep(ms(1)));
    assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
    assert_eq!(runtime.advance_to(999_999), 0);
    assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
    assert!(!sleep.is_elapsed());
    assert_eq!(runtime.advance_to(1_000_000), 1);
    assert!(sleep.is_elapsed());
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll(&mut sleep, &waker), Poll::Ready(()));
    assert_eq!(poll(&mut sleep, &waker), Poll::Ready(()));
    assert_eq!(runtime.shard.armed(), 0);
}

#[test]
fn time_runs_from_the_first_poll() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let mut sleep = Box::pin(sleep(ms(10)));
    assert_eq!(sleep.deadline(), None);
    runtime.advance_to(millis(50));
    assert_eq!(poll(&mut sleep, &noop_waker()), Poll::Pending);
    assert_eq!(sleep.deadline(), Some(Instant::from_nanos(millis(60))));
    assert_eq!(runtime.advance_to(millis(59)), 0);
    assert_eq!(runtime.advance_to(millis(60)), 1);
}

#[test]
fn what_is_past_does_not_suspend() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    runtime.advance_to(100);
    for mut sleep in [Box::pin(sleep(Duration::ZERO)), until(0), until(99), until(100)] {
        assert_eq!(poll(&mut sleep, &noop_waker()), Poll::Ready(()));
        assert!(sleep.is_elapsed());
    }
    assert_eq!(runtime.told(), []);
    assert_eq!(poll(&mut until(101), &noop_waker()), Poll::Pending);
}

#[test]
fn what_is_past_needs_no_runtime() {
    assert_eq!(poll(&mut Box::pin(sleep(Duration::ZERO)), &noop_waker()), Poll::Ready(()));
    assert_eq!(poll(&mut until(1), &noop_waker()), Poll::Ready(()));
}

#[test]
#[should_panic(expected = "no corymb runtime")]
fn waiting_needs_a_runtime() {
    let _ = poll(&mut Box::pin(sleep(ms(1_000))), &noop_waker());
}

#[test]
fn huge_durations_never_end() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    runtime.advance_to(millis(1));
    for huge in [Duration::MAX, ms(u64::MAX), ms(i64::MAX as u64), Duration::from_nanos(u64::MAX)] {
        let mut sleep = Box::pin(sleep(huge));
        assert_eq!(poll(&mut sleep, &noop_waker()), Poll::Pending);
        assert_eq!(sleep.deadline(), Some(Instant::FAR_FUTURE));
    }
    let mut never = Box::pin(sleep(Duration::MAX));
    assert_eq!(poll(&mut never, &noop_waker()), Poll::Pending);
    assert_eq!((runtime.shard.armed(), runtime.shard.next_deadline()), (0, None));
    runtime.advance_to(u64::MAX);
    assert!(!never.is_elapsed());
}

#[test]
fn the_last_nanosecond_can_be_waited_for() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let mut sleep = until(u64::MAX - 1);
    assert_eq!(poll(&mut sleep, &noop_waker()), Poll::Pending);
    assert_eq!(runtime.shard.next_deadline(), Some(Instant::from_nanos(u64::MAX - 1)));
    assert_eq!(runtime.advance_to(u64::MAX - 2), 0);
    assert_eq!(runtime.advance_to(u64::MAX - 1), 1);
}

#[test]
fn dropping_takes_the_timer_out() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let (waker, wakes) = counting();
    let mut sleep = until(100);
    let _ = poll(&mut sleep, &waker);
    assert_eq!((runtime.shard.armed(), Arc::strong_count(&wakes)), (1, 3));
    drop(sleep);
    assert_eq!((runtime.shard.armed(), Arc::strong_count(&wakes)), (0, 2));
    assert_eq!(runtime.shard.earliest(), None);
    assert_eq!(runtime.advance_to(100), 0);
    assert_eq!(wakes.count(), 0);
}

#[test]
fn only_another_waker_replaces_the_waker() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let (first, first_wakes) = counting();
    let (second, second_wakes) = counting();
    let mut sleep = until(100);
    for _ in 0..3 {
        assert_eq!(poll(&mut sleep, &first), Poll::Pending);
        assert_eq!(Arc::strong_count(&first_wakes), 3);
    }
    assert_eq!(poll(&mut sleep, &second), Poll::Pending);
    assert_eq!(Arc::strong_count(&first_wakes), 2);
    runtime.advance_to(100);
    assert_eq!((first_wakes.count(), second_wakes.count()), (0, 1));
    assert_eq!(Arc::strong_count(&second_wakes), 2);
}

#[test]
fn the_same_waker_is_not_cloned_again() {
    thread_local!(static CLONES: Cell<usize> = const { Cell::new(0) });
    static VTABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            CLONES.set(CLONES.get() + 1);
            RawWaker::new(data, &VTABLE)
        },
        |_| (),
        |_| (),
        |_| (),
    );
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    // SAFETY: the functions of the table do not look at the data.
    let waker = unsafe { Waker::new(std::ptr::null(), &VTABLE) };
    let mut sleep = until(100);
    for _ in 0..3 {
        assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
        assert_eq!(CLONES.get(), 1);
    }
}

#[test]
fn the_runtime_is_told_of_earlier_ticks() {
    const TICK: u64 = 1 << 16;
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let mut sleeps = Vec::new();
    for deadline in [5 * TICK + 7, 5 * TICK + 3, 9 * TICK, 4 * TICK, 2 * TICK + 1] {
        let mut sleep = until(deadline);
        let _ = poll(&mut sleep, &noop_waker());
        sleeps.push(sleep);
    }
    assert_eq!(runtime.told(), [6 * TICK - 1, 5 * TICK - 1, 3 * TICK - 1]);
    assert_eq!(runtime.shard.next_deadline(), Some(Instant::from_nanos(3 * TICK - 1)));
    assert_eq!(runtime.shard.earliest(), Some(Instant::from_nanos(2 * TICK + 1)));
}

#[test]
fn timer_008_reset_before_it_fires() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let (waker, wakes) = counting();
    let mut sleep = until(millis(100));
    assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
    sleep.as_mut().reset(Instant::from_nanos(millis(200)));
    assert_eq!(runtime.advance_to(millis(150)), 0);
    assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
    assert_eq!(runtime.advance_to(millis(200)), 1);
    assert_eq!((wakes.count(), poll(&mut sleep, &waker)), (1, Poll::Ready(())));
}

#[test]
fn reset_to_an_earlier_time_asks_for_a_poll() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let (waker, wakes) = counting();
    let mut sleep = until(millis(100));
    let _ = poll(&mut sleep, &waker);
    sleep.as_mut().reset(Instant::from_nanos(millis(50)));
    assert_eq!((wakes.count(), runtime.shard.armed()), (1, 0));
    assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
    assert_eq!(runtime.told().len(), 2);
    assert_eq!(runtime.advance_to(millis(50)), 1);
    assert_eq!(poll(&mut sleep, &waker), Poll::Ready(()));
}

#[test]
fn reset_from_every_other_state() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let (waker, wakes) = counting();
    let mut sleep = Box::pin(sleep(ms(1)));
    sleep.as_mut().reset(Instant::from_nanos(millis(2)));
    assert_eq!(sleep.deadline(), Some(Instant::from_nanos(millis(2))));
    sleep.as_mut().reset(Instant::FAR_FUTURE);
    assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
    sleep.as_mut().reset(Instant::from_nanos(millis(3)));
    assert_eq!((poll(&mut sleep, &waker), runtime.shard.armed()), (Poll::Pending, 1));
    sleep.as_mut().reset(Instant::FAR_FUTURE);
    assert_eq!((wakes.count(), runtime.shard.armed()), (1, 0));
    sleep.as_mut().reset(Instant::from_nanos(0));
    assert_eq!(poll(&mut sleep, &waker), Poll::Ready(()));
    sleep.as_mut().reset(Instant::from_nanos(millis(4)));
    assert!(!sleep.is_elapsed());
    assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
    assert_eq!(runtime.advance_to(millis(4)), 1);
    assert_eq!(poll(&mut sleep, &waker), Poll::Ready(()));
}

#[test]
fn a_closed_shard_wakes_and_the_next_runtime_goes_on() {
    let (waker, wakes) = counting();
    let mut sleeps: Vec<_> = (0..100).map(|_| Box::pin(sleep(ms(10)))).collect();
    let first = Runtime::new();
    let entered = first.enter();
    for sleep in &mut sleeps {
        assert_eq!(poll(sleep, &waker), Poll::Pending);
    }
    first.shard.close();
    assert_eq!((wakes.count(), first.shard.armed()), (100, 0));
    // The one that is going away registers nothing, and leaves nobody hanging.
    assert_eq!(poll(&mut sleeps[0], &waker), Poll::Pending);
    assert_eq!((wakes.count(), first.shard.armed()), (101, 0));
    drop((entered, first));

    let second = Runtime::new();
    let _entered = second.enter();
    for sleep in &mut sleeps {
        assert_eq!(poll(sleep, &waker), Poll::Pending);
        assert!(!sleep.is_elapsed());
    }
    assert_eq!(second.shard.armed(), 100);
    assert_eq!(second.advance_to(millis(10)), 100);
    assert!(sleeps.iter_mut().all(|sleep| poll(sleep, &waker).is_ready()));
}

#[test]
fn a_shard_begins_anew_for_its_next_runtime() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    runtime.advance_to(millis(1_000));
    let mut stale = until(millis(2_000));
    assert_eq!(poll(&mut stale, &noop_waker()), Poll::Pending);
    runtime.shard.close();
    runtime.shard.open();
    assert_eq!(runtime.advance_to(0), 0);
    let mut sleep = until(millis(1));
    assert_eq!(poll(&mut sleep, &noop_waker()), Poll::Pending);
    drop(stale);
    assert_eq!(runtime.shard.armed(), 1);
    assert_eq!(runtime.advance_to(999_999), 0);
    assert_eq!(runtime.advance_to(millis(1)), 1);
}

#[test]
fn timer_011_wakers_drop_all_timers() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let all = Arc::new(Mutex::new(Vec::new()));
    let waker = calling({
        let all = all.clone();
        move || drop(std::mem::take(&mut *all.lock().unwrap()))
    });
    for _ in 0..100 {
        let mut sleep = until(millis(1));
        assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
        all.lock().unwrap().push(sleep);
    }
    // The first wake drops all those that are not in its batch.
    let woken = runtime.advance_to(millis(1));
    assert!((1..100).contains(&woken), "{woken}");
    assert_eq!((runtime.shard.armed(), all.lock().unwrap().len()), (0, 0));
}

#[test]
fn wakers_may_register_timers() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let registered = Arc::new(Mutex::new(Vec::new()));
    let waker = calling({
        let registered = registered.clone();
        move || {
            let mut sleep = Box::pin(sleep(ms(1)));
            assert_eq!(poll(&mut sleep, &noop_waker()), Poll::Pending);
            registered.lock().unwrap().push(sleep);
        }
    });
    let mut sleep = until(millis(1));
    let _ = poll(&mut sleep, &waker);
    assert_eq!(runtime.advance_to(millis(1)), 1);
    assert_eq!(runtime.shard.earliest(), Some(Instant::from_nanos(millis(2))));
    assert_eq!(runtime.advance_to(millis(2)), 1);
}

#[test]
fn dropped_wakers_may_drop_timers() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let waiting = || {
        let mut sleep = until(millis(1));
        let _ = poll(&mut sleep, &noop_waker());
        sleep
    };
    let mut sleep = until(millis(2));
    let _ = poll(&mut sleep, &owning(waiting()));
    // Replaced, reset, and dropped.
    let _ = poll(&mut sleep, &owning(waiting()));
    assert_eq!(runtime.shard.armed(), 2);
    sleep.as_mut().reset(Instant::FAR_FUTURE);
    assert_eq!(runtime.shard.armed(), 0);
    sleep.as_mut().reset(Instant::from_nanos(millis(3)));
    let _ = poll(&mut sleep, &owning(waiting()));
    assert_eq!(runtime.shard.armed(), 2);
    drop(sleep);
    assert_eq!(runtime.shard.armed(), 0);
}

#[test]
fn a_waker_that_panics_costs_nobody_a_wake() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let (waker, wakes) = counting();
    let mut sleeps: Vec<_> = (0..100).map(|_| until(millis(1))).collect();
    for (n, sleep) in sleeps.iter_mut().enumerate() {
        let angry = calling(|| panic!("woken"));
        let _ = poll(sleep, if n == 5 { &angry } else { &waker });
    }
    assert_eq!(runtime.advance_to(millis(1)), 100);
    assert_eq!((wakes.count(), runtime.shard.armed()), (99, 0));
    let reports = std::mem::take(&mut *runtime.reports.lock().unwrap());
    assert!(reports.len() == 1 && reports[0].contains("woken"), "{reports:?}");
}

#[test]
fn debug_tells_the_state() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let mut sleep = Box::pin(sleep(ms(2)));
    assert_eq!(format!("{sleep:?}"), "Sleep { deadline: None, state: not polled }");
    let _ = poll(&mut sleep, &noop_waker());
    let waiting = "Sleep { deadline: Some(Instant(2ms)), state: waiting }";
    assert_eq!(format!("{sleep:?}"), waiting);
    runtime.advance_to(millis(2));
    assert_eq!(format!("{sleep:?}"), waiting.replace("waiting", "elapsed"));
    sleep.as_mut().reset(Instant::from_nanos(millis(2)));
    assert_eq!(format!("{sleep:?}"), waiting.replace("waiting", "not registered"));
}

#[test]
fn sleeps_are_small_and_can_be_sent() {
    fn sendable<T: Send + Sync>(_: &T) {}
    sendable(&sleep(ms(1)));
    assert_eq!(size_of::<Sleep>(), 5 * size_of::<usize>());
}
