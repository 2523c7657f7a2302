//! Sleeping and ticking; the other cases are in the tests of `corymb::testing`.

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use corymb::Coroutine;
use corymb::prelude::*;
use corymb::testing::{TestRuntime, advance, elapsed, settle};
use corymb::time::{Interval, MissedTick, Sleep, interval, now};
use futures::FutureExt;

use crate::common::{ms, text};

#[corymb::test(real)]
async fn timer_004_a_sleep_ends_on_its_coroutine_s_own_executor() {
    let (queue, coroutines) = std::sync::mpsc::channel::<Coroutine>();
    let thread = std::thread::spawn(move || coroutines.into_iter().for_each(Coroutine::run));
    let here = thread.thread().id();
    let own = Dispatcher::custom(move |coroutine| queue.send(coroutine).unwrap());
    let threads = scope(async move |s| {
        let child = s.coroutine().on(own).spawn(async {
            let before = std::thread::current().id();
            sleep(ms(1)).await;
            [before, std::thread::current().id()]
        });
        child.await
    });
    assert_eq!(threads.await, [here; 2]);
    thread.join().unwrap();
}

#[test]
fn timer_007_a_cancelled_sleep_leaves_no_timer() {
    let runtime = TestRuntime::new();
    let stuck = AssertUnwindSafe(|| {
        runtime.run(scope(async |s| {
            let sleeper = s.launch(sleep(Duration::from_secs(3600)));
            settle().await;
            sleeper.cancel();
            pending::<()>().await;
        }));
    });
    let stuck = catch_unwind(stuck).unwrap_err();
    assert!(text(&*stuck).starts_with("deadlock"), "{}", text(&*stuck));
    // A timer that was left would have moved the clock.
    assert_eq!(runtime.elapsed(), Duration::ZERO);
}

#[corymb::test]
async fn timer_008_a_sleep_can_be_put_off() {
    let mut timer = pin!(sleep(ms(100)));
    assert!(futures::poll!(timer.as_mut()).is_pending());
    timer.as_mut().reset(now() + ms(200));
    timer.await;
    assert_eq!(elapsed(), ms(200));
}

#[derive(Default)]
struct Timers(Mutex<Vec<Pin<Box<Sleep>>>>);

impl Wake for Timers {
    fn wake(self: Arc<Self>) {
        let timers = std::mem::take(&mut *self.0.lock().unwrap());
        drop(timers);
    }
}

#[corymb::test]
async fn timer_011_timers_can_be_dropped_by_whom_they_wake() {
    let timers = Arc::new(Timers::default());
    let waker = Waker::from(timers.clone());
    let deadline = now() + ms(10);
    let mut armed: Vec<_> =
        (0..100).map(|_| Box::pin(corymb::time::sleep_until(deadline))).collect();
    for timer in &mut armed {
        assert!(timer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    *timers.0.lock().unwrap() = armed;
    advance(ms(20)).await;
    assert_eq!(timers.0.lock().unwrap().len(), 0);
}

/// The ticks that are there at each of these instants, as far as the interval gives them.
async fn ticks_at<const N: usize>(mut ticks: Interval, instants: [u64; N]) -> [Vec<u128>; N] {
    let start = now() - elapsed();
    let mut seen = [const { Vec::new() }; N];
    for (at, seen) in instants.into_iter().zip(&mut seen) {
        advance(ms(at) - elapsed()).await;
        poll_fn(|cx| {
            while let std::task::Poll::Ready(tick) = ticks.poll_tick(cx) {
                seen.push((tick - start).as_millis());
            }
            std::task::Poll::Ready(())
        })
        .await;
    }
    seen
}

#[corymb::test]
async fn timer_015_missed_ticks_come_in_a_burst() {
    let seen = ticks_at(interval(ms(300)), [0, 100, 300, 950, 1150, 1200]).await;
    assert_eq!(seen, [vec![0], vec![], vec![300], vec![600, 900], vec![], vec![1200]]);
}

#[corymb::test]
async fn timer_016_missed_ticks_are_skipped() {
    let ticks = interval(ms(300)).with_missed_tick(MissedTick::Skip);
    let seen = ticks_at(ticks, [0, 100, 300, 950, 1150, 1200, 1500]).await;
    let expected = [vec![0], vec![], vec![300], vec![600], vec![], vec![1200], vec![1500]];
    assert_eq!(seen, expected);
}

#[corymb::test]
async fn timer_019_a_ticker_catches_up_with_who_was_late() {
    let mut ticks = interval(ms(1000));
    assert!(ticks.tick().now_or_never().is_some());
    let mut seen = Vec::new();
    for pause in [1500, 520, 500, 520] {
        advance(ms(pause)).await;
        seen.push(ticks.tick().now_or_never().is_some());
    }
    assert_eq!(seen, [true, true, false, true]);
}
