//! Never more than the bucket had at first and what has come since, by the clock around.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use corymb::time::now;
use corymb_sync::RateLimiter;
use futures::future::join_all;

use crate::executors::Tasks;
use crate::waits::give_up;

const BURST: u32 = 2;
/// A token in each.
const PER: Duration = Duration::from_micros(100);

pub(crate) async fn a_rate(tasks: Tasks) {
    let start = now();
    let shared = Arc::new((RateLimiter::new(1, PER).burst(BURST), AtomicU64::new(0)));
    let work = |n: usize| {
        let shared = shared.clone();
        tasks.spawn(async move {
            let (limiter, taken) = &*shared;
            for pass in 0..10 {
                if pass % 2 == 0 {
                    limiter.acquire().await;
                } else if give_up(limiter.acquire(), n).await.is_none() {
                    continue;
                }
                let taken = taken.fetch_add(1, Ordering::SeqCst) + 1;
                let there = PER * BURST + (now() - start);
                assert!(u128::from(taken) * PER.as_nanos() <= there.as_nanos());
            }
        })
    };
    join_all((0..4).map(work)).await;
    assert_eq!(shared.0.statistics().waiting, 0);
}
