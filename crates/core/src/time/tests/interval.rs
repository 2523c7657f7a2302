use futures::task::noop_waker;
use futures::{Stream, StreamExt};

use super::*;
use crate::time::{Interval, MissedTick, interval, interval_at};

/// Sets the clock to a time in milliseconds and polls, giving the tick in milliseconds.
fn tick_at(runtime: &Runtime, interval: &mut Interval, at: u64) -> Option<u64> {
    runtime.advance_to(millis(at));
    match interval.poll_tick(&mut Context::from_waker(&noop_waker())) {
        Poll::Ready(tick) => Some(tick.as_nanos() / 1_000_000),
        Poll::Pending => None,
    }
}

/// Polls at each of the times, and compares.
fn expect(missed: MissedTick, ticks: &[(u64, Option<u64>)]) {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let mut interval = interval(ms(300)).with_missed_tick(missed);
    for &(at, tick) in ticks {
        assert_eq!(tick_at(&runtime, &mut interval, at), tick, "at {at}");
    }
}

#[test]
fn timer_015_burst() {
    expect(
        MissedTick::Burst,
        &[
            (0, Some(0)),
            (100, None),
            (300, Some(300)),
            (950, Some(600)),
            (950, Some(900)),
            (950, None),
            (1150, None),
            (1250, Some(1200)),
            (1500, Some(1500)),
        ],
    );
}

#[test]
fn timer_016_skip() {
    expect(
        MissedTick::Skip,
        &[
            (0, Some(0)),
            (100, None),
            (300, Some(300)),
            (950, Some(600)),
            (950, None),
            (1150, None),
            (1250, Some(1200)),
            (1499, None),
            (1500, Some(1500)),
            (2400, Some(1800)),
            (2400, None),
            (2700, Some(2700)),
        ],
    );
}

#[test]
fn delay() {
    expect(
        MissedTick::Delay,
        &[
            (0, Some(0)),
            (100, None),
            (304, Some(300)),
            (950, Some(600)),
            (950, None),
            (1249, None),
            (1250, Some(1250)),
            (1550, Some(1550)),
        ],
    );
}

#[test]
fn delay_overlooks_little_of_a_little_period() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let mut interval = interval(ms(4)).with_missed_tick(MissedTick::Delay);
    assert_eq!(tick_at(&runtime, &mut interval, 1), Some(0));
    assert_eq!(tick_at(&runtime, &mut interval, 7), Some(4));
    assert_eq!(tick_at(&runtime, &mut interval, 10), None);
    assert_eq!(tick_at(&runtime, &mut interval, 11), Some(11));
}

#[test]
fn timer_019_catches_up() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let mut interval = interval(ms(1000));
    for (at, ticks) in [(0, true), (1500, true), (2020, true), (2520, false), (3040, true)] {
        assert_eq!(tick_at(&runtime, &mut interval, at).is_some(), ticks, "at {at}");
    }
}

#[test]
fn starts_when_told() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let mut interval = interval_at(Instant::from_nanos(millis(50)), ms(10));
    assert_eq!(interval.period(), ms(10));
    assert_eq!(tick_at(&runtime, &mut interval, 49), None);
    assert_eq!(tick_at(&runtime, &mut interval, 50), Some(50));
    interval.reset();
    assert_eq!(tick_at(&runtime, &mut interval, 59), None);
    interval.reset();
    assert_eq!(tick_at(&runtime, &mut interval, 68), None);
    assert_eq!(tick_at(&runtime, &mut interval, 69), Some(69));
}

#[test]
fn a_dropped_tick_is_not_lost() {
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let (waker, wakes) = counting();
    let mut cx = Context::from_waker(&waker);
    let mut interval = interval_at(Instant::from_nanos(millis(1)), ms(1));
    assert!(Box::pin(interval.tick()).as_mut().poll(&mut cx).is_pending());
    runtime.advance_to(millis(1));
    assert_eq!(wakes.count(), 1);
    drop(interval.tick());
    let tick = Box::pin(interval.tick()).as_mut().poll(&mut cx);
    assert_eq!(tick, Poll::Ready(Instant::from_nanos(millis(1))));
    assert!(Box::pin(interval.tick()).as_mut().poll(&mut cx).is_pending());
}

#[test]
fn is_a_stream_that_can_be_moved() {
    fn movable<T: Unpin + Send + Sync>(value: T) -> T {
        value
    }
    let runtime = Runtime::new();
    let _entered = runtime.enter();
    let mut cx = Context::from_waker(Waker::noop());
    let mut stream = movable(interval(ms(1)));
    assert!(stream.poll_next_unpin(&mut cx).is_ready());
    assert!(stream.poll_next_unpin(&mut cx).is_pending());
    let mut stream = movable(stream);
    runtime.advance_to(millis(1));
    let tick = stream.poll_next_unpin(&mut cx);
    assert_eq!(tick, Poll::Ready(Some(Instant::from_nanos(millis(1)))));
    assert_eq!(Stream::size_hint(&stream), (usize::MAX, None));
}

#[test]
fn a_huge_period_ticks_once() {
    for missed in [MissedTick::Burst, MissedTick::Delay, MissedTick::Skip] {
        let runtime = Runtime::new();
        let _entered = runtime.enter();
        let mut interval = interval(Duration::MAX).with_missed_tick(missed);
        assert_eq!(tick_at(&runtime, &mut interval, 100), Some(0));
        assert_eq!(tick_at(&runtime, &mut interval, 1_000_000_000_000), None);
        assert_eq!(runtime.shard.armed(), 0);
    }
}

#[test]
#[should_panic(expected = "interval: the period is zero")]
fn zero_is_no_period() {
    drop(interval(Duration::ZERO));
}

#[test]
#[should_panic(expected = "interval_at: the period is zero")]
fn zero_is_no_period_later_either() {
    drop(interval_at(Instant::FAR_FUTURE, Duration::ZERO));
}
