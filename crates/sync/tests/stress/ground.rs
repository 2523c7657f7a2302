//! What every stress test stands on: rounds, chance, the ledger of values, and the watchdog.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use corymb::{Runtime, RuntimeHandle, scope, yield_now};
use corymb_sync::oneshot;
use futures::FutureExt;
use futures::future::{BoxFuture, poll_fn};

/// How many coroutines a round has; as many threads run them.
pub(crate) const TASKS: usize = 4;

/// How long nothing may move.
const STILL: Duration = Duration::from_secs(10);

static MOVES: AtomicUsize = AtomicUsize::new(0);

/// Something went on.
pub(crate) fn moved() {
    MOVES.fetch_add(1, Ordering::Relaxed);
}

/// Plays rounds until the time is over. A round checks what it did itself.
pub(crate) fn stress(name: &str, round: impl Fn(Chance) -> BoxFuture<'static, ()>) {
    let seconds = number("STRESS_SECONDS").unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let first = number("STRESS_SEED").unwrap_or(1);
    let runtime = Runtime::builder().parallelism(TASKS).build().expect("the runtime starts");
    let (over, is_over) = mpsc::channel();
    let handle = runtime.handle();
    let watchdog = thread::spawn(move || watch(&is_over, &handle));
    let (before, mut seed) = (MOVES.load(Ordering::Relaxed), first);
    while seed == first || Instant::now() < end {
        over.send(seed).expect("the watchdog is there");
        runtime.run_blocking(runtime.detached(round(Chance::new(seed))));
        moved();
        seed += 1;
    }
    drop(over);
    watchdog.join().expect("it has seen nothing");
    // If they run one after the other, as in `ci/stress.sh`, these are its own.
    let moves = MOVES.load(Ordering::Relaxed) - before;
    println!("{name}: {} rounds, {moves} operations", seed - first);
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

/// Ends the process if nothing has moved for [`STILL`].
fn watch(is_over: &mpsc::Receiver<u64>, runtime: &RuntimeHandle) {
    let (mut seed, mut moves, mut since) = (0, 0, Instant::now());
    loop {
        match is_over.recv_timeout(STILL / 10) {
            Ok(now) => seed = now,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = MOVES.load(Ordering::Relaxed);
        if now != moves {
            (moves, since) = (now, Instant::now());
        }
        if since.elapsed() > STILL {
            eprintln!("nothing moves in the round of seed {seed}\n{}", runtime.dump());
            std::process::exit(1);
        }
    }
}

/// Numbers drawn from a seed.
pub(crate) struct Chance(AtomicU64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1))
    }

    /// Another one, for another task.
    pub(crate) fn fork(&self) -> Self {
        Self::new(self.draw())
    }

    fn draw(&self) -> u64 {
        let x = self.0.load(Ordering::Relaxed);
        let x = x ^ (x << 13);
        let x = x ^ (x >> 7);
        let x = x ^ (x << 17);
        self.0.store(x, Ordering::Relaxed);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// One of `0..n`.
    pub(crate) fn below(&self, n: usize) -> usize {
        (self.draw() % n as u64) as usize
    }

    /// Once in `n` times.
    pub(crate) fn one_in(&self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What one does with a future.
pub(crate) enum Tried<'a, T> {
    Done(T),
    /// It was dropped before it was done.
    GivenUp,
    /// It waits, and is kept.
    Kept(BoxFuture<'a, T>),
}

impl<T> Tried<'_, T> {
    /// Keeps nothing.
    pub(crate) fn done(self) -> Option<T> {
        match self {
            Self::Done(output) => Some(output),
            Self::GivenUp | Self::Kept(_) => None,
        }
    }
}

/// Awaits `future`, or gives it up after a few polls, or keeps it after one.
pub(crate) async fn try_some<'a, T>(
    chance: &Chance,
    future: impl Future<Output = T> + Send + 'a,
) -> Tried<'a, T> {
    moved();
    let mut future = future.boxed();
    let polls = match chance.below(8) {
        0..4 => return Tried::Done(future.await),
        4 => return Tried::GivenUp,
        more => more - 4,
    };
    for poll in 0..polls {
        if let Poll::Ready(output) = poll_once(future.as_mut()).await {
            return Tried::Done(output);
        }
        if poll == 0 && chance.one_in(3) {
            return Tried::Kept(future);
        }
        yield_now().await;
    }
    Tried::GivenUp
}

/// Gives way a few times, or not at all.
pub(crate) async fn dawdle(chance: &Chance) {
    for _ in 0..chance.below(3) {
        yield_now().await;
    }
}

/// One who asks again and again, and may keep a future that waits beside the next.
pub(crate) struct Asker<'a, T> {
    chance: &'a Chance,
    kept: Option<BoxFuture<'a, T>>,
}

impl<'a, T> Asker<'a, T> {
    pub(crate) fn new(chance: &'a Chance) -> Self {
        Self { chance, kept: None }
    }

    /// [Tries](try_some) `future`. If it is kept, the one that was kept before is dropped.
    pub(crate) async fn ask(&mut self, future: impl Future<Output = T> + Send + 'a) -> Option<T> {
        match try_some(self.chance, future).await {
            Tried::Done(output) => return Some(output),
            Tried::GivenUp => {}
            Tried::Kept(future) => self.kept = Some(future),
        }
        None
    }

    /// Polls the one that is kept, now and then: it is done, or dropped.
    pub(crate) async fn look(&mut self) -> Option<T> {
        if !self.chance.one_in(4) {
            return None;
        }
        match poll_once(self.kept.take()?.as_mut()).await {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
}

/// How many wait one behind the other.
const LINE: usize = 3;

/// Coroutines that wait, one behind the other, for what one at a time can have: they get it in that
/// order.
pub(crate) async fn in_line<F>(ask: impl Fn() -> F)
where
    F: Future<Output: Send> + Send + 'static,
{
    let served = Arc::new(AtomicUsize::new(0));
    scope(async |s| {
        for place in 0..LINE {
            let (mut future, served) = (Box::pin(ask()), served.clone());
            let (queued, is_queued) = oneshot::channel();
            s.launch(async move {
                let polled = poll_once(future.as_mut()).await;
                queued.send(()).expect("somebody asks");
                let _has = match polled {
                    Poll::Ready(output) => output,
                    Poll::Pending => future.await,
                };
                moved();
                assert_eq!(served.fetch_add(1, Ordering::SeqCst), place, "somebody got ahead");
            });
            is_queued.await.expect("it waits");
        }
    })
    .await;
}

/// Polls `future` once.
pub(crate) async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// What became of each value that was made.
pub(crate) struct Ledger(Vec<Entry>);

#[derive(Default)]
struct Entry {
    drops: AtomicU8,
    /// Who received it, or got it back.
    has: AtomicU8,
}

impl Ledger {
    pub(crate) fn new(n: usize) -> Arc<Self> {
        Arc::new(Self((0..n).map(|_| Entry::default()).collect()))
    }

    /// The value `n`, which is made but once.
    pub(crate) fn make(self: &Arc<Self>, n: usize) -> Token {
        Token { n, ledger: Arc::clone(self) }
    }

    /// How many have received `n`, or got it back.
    pub(crate) fn has(&self, n: usize) -> u8 {
        self.0[n].has.load(Ordering::SeqCst)
    }

    /// Whether each of the first `n` was dropped once, and given to one at most.
    pub(crate) fn check(&self, n: usize) {
        for (n, entry) in self.0[..n].iter().enumerate() {
            assert_eq!(entry.drops.load(Ordering::SeqCst), 1, "drops of value {n}");
            assert!(self.has(n) <= 1, "value {n} was given to {}", self.has(n));
        }
    }
}

/// A value of a ledger.
pub(crate) struct Token {
    pub(crate) n: usize,
    ledger: Arc<Ledger>,
}

impl Token {
    /// Somebody has it: who received it, or who got it back.
    pub(crate) fn had(self) -> usize {
        self.ledger.0[self.n].has.fetch_add(1, Ordering::SeqCst);
        moved();
        self.n
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.ledger.0[self.n].drops.fetch_add(1, Ordering::SeqCst);
    }
}
