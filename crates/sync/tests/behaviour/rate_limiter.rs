//! `RateLimiter`, in virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use corymb::prelude::*;
use corymb::testing::{TestRuntime, elapsed};
use corymb_sync::RateLimiter;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Who came when, in milliseconds.
type Log = Arc<Mutex<Vec<(usize, u128)>>>;

async fn acquire(limiter: Arc<RateLimiter>, tokens: u32, who: usize, log: Log) {
    limiter.acquire_many(tokens).await;
    log.lock().unwrap().push((who, elapsed().as_millis()));
}

/// Launches one after the other what takes so many tokens, and tells who came when.
fn run(
    limiter: RateLimiter,
    tokens: &'static [u32],
    cancel: &'static [usize],
) -> Vec<(usize, u128)> {
    TestRuntime::new().run(async move {
        let log = Log::default();
        scope(async |s| {
            let limiter = Arc::new(limiter);
            let mut jobs = Vec::new();
            for (who, &tokens) in tokens.iter().enumerate() {
                jobs.push(s.launch(acquire(Arc::clone(&limiter), tokens, who, Arc::clone(&log))));
                yield_now().await;
            }
            for &who in cancel {
                jobs[who].cancel();
            }
        })
        .await;
        let log = log.lock().unwrap();
        log.clone()
    })
}

#[test]
fn tokens_come_at_a_steady_rate() {
    let limiter = RateLimiter::new(10, Duration::from_secs(1)).burst(2);
    let came = run(limiter, &[1; 6], &[]);
    assert_eq!(came, [(0, 0), (1, 0), (2, 100), (3, 200), (4, 300), (5, 400)]);
}

#[test]
fn many_hold_back_few() {
    let limiter = RateLimiter::new(10, Duration::from_secs(1));
    let came = run(limiter, &[8, 5, 1], &[]);
    assert_eq!(came, [(0, 0), (1, 300), (2, 400)]);
}

#[test]
fn a_cancelled_acquire_costs_nothing() {
    let limiter = || RateLimiter::new(10, Duration::from_secs(1));
    let came = run(limiter(), &[10, 10, 1, 1], &[1]);
    assert_eq!(came, [(0, 0), (2, 100), (3, 200)]);
    let came = run(limiter(), &[10, 1, 10, 1], &[2]);
    assert_eq!(came, [(0, 0), (1, 100), (3, 200)]);
}

#[test]
fn nothing_is_lost_over_a_long_time() {
    let seconds: u32 = if cfg!(miri) { 1 } else { 100 };
    TestRuntime::new().run(async move {
        let limiter = RateLimiter::new(3, ms(100)).burst(1);
        limiter.acquire().await;
        for _ in 0..30 * seconds {
            limiter.acquire().await;
        }
        assert_eq!(elapsed(), ms(1_000) * seconds);
    });
}

#[test]
fn whoever_tries_does_not_get_ahead() {
    TestRuntime::new().run(scope(async |s| {
        let limiter = Arc::new(RateLimiter::new(2, ms(10)));
        assert!(limiter.try_acquire_many(1));
        s.launch(acquire(Arc::clone(&limiter), 2, 0, Log::default()));
        yield_now().await;
        assert_eq!((limiter.statistics().tokens, limiter.statistics().waiting), (1, 1));
        assert!(!limiter.try_acquire());
    }));
}

#[test]
fn an_acquire_that_is_dropped_at_any_poll_waits_no_longer() {
    let limiter = Arc::new(Mutex::new(Arc::new(RateLimiter::new(1, ms(1)))));
    let polls = corymb::testing::drop_at_every_poll(
        |_scope| {
            let fresh = Arc::new(RateLimiter::new(3, ms(10)).burst(2));
            *limiter.lock().unwrap() = Arc::clone(&fresh);
            async move {
                assert!(fresh.try_acquire());
                fresh.acquire_many(2).await;
            }
        },
        |_| assert_eq!(limiter.lock().unwrap().statistics().waiting, 0),
    );
    assert_eq!(polls, 2);
}

#[test]
#[should_panic(expected = "3 tokens of a `RateLimiter` that saves up 2 at most")]
fn more_than_the_burst_is_refused() {
    drop(RateLimiter::new(5, ms(1)).burst(2).acquire_many(3));
}
