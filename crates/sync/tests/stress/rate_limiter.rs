//! The rate limiter: never more than the bucket had at first and what has come since.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use corymb::scope;
use corymb::time::{Instant, now};
use corymb_sync::RateLimiter;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ground::{Asker, Chance, TASKS, moved};

const EACH: usize = 30;
/// So many in each [`PER`].
const RATE: u32 = 70;
const PER: Duration = Duration::from_millis(1);

struct Shared {
    limiter: RateLimiter,
    burst: u32,
    /// Before the first use.
    start: Instant,
    taken: AtomicU64,
}

impl Shared {
    /// Somebody has got `tokens`. The clock is read afterwards, so that it can only have gone on.
    fn took(&self, tokens: u32) {
        moved();
        let tokens = u64::from(tokens);
        let taken = self.taken.fetch_add(tokens, Ordering::SeqCst) + tokens;
        let since = (now() - self.start).as_nanos();
        let there = u128::from(self.burst) * PER.as_nanos() + since * u128::from(RATE);
        assert!(u128::from(taken) * PER.as_nanos() <= there, "{taken} tokens in {since} ns");
    }
}

pub(crate) fn round(chance: Chance) -> BoxFuture<'static, ()> {
    async move {
        let burst = 1 + chance.below(8) as u32;
        let shared = Arc::new(Shared {
            limiter: RateLimiter::new(RATE, PER).burst(burst),
            burst,
            start: now(),
            taken: AtomicU64::new(0),
        });
        scope(async |s| {
            for _ in 0..TASKS {
                s.launch(work(shared.clone(), chance.fork()));
            }
        })
        .await;
        let end = shared.limiter.statistics();
        assert_eq!(end.waiting, 0);
        assert!(end.tokens <= burst);
    }
    .boxed()
}

async fn work(shared: Arc<Shared>, chance: Chance) {
    let limiter = &shared.limiter;
    let mut asker = Asker::new(&chance);
    let tokens = || 1 + chance.below(shared.burst as usize) as u32;
    let acquire = |tokens| limiter.acquire_many(tokens).map(move |()| tokens);
    for _ in 0..EACH {
        if chance.one_in(4) {
            let tokens = tokens();
            if limiter.try_acquire_many(tokens) {
                shared.took(tokens);
            }
        }
        if let Some(tokens) = asker.look().await {
            shared.took(tokens);
        }
        if let Some(tokens) = asker.ask(acquire(tokens())).await {
            shared.took(tokens);
        }
    }
}
