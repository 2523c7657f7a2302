//! Every suspending function in a scenario that is cancelled, and dropped, wherever it suspends, in
//! several schedules: what its "Cancel safety" says holds afterwards.
//!
//! Not here is what `drop_at_every_poll` tests beside the primitives, in
//! `crates/sync/tests/behaviour`: `Mutex::lock` and `lock_owned` (`mutex.rs`), `RwLock::read_owned`,
//! `write_owned` and `upgradable_read_owned` (`rwlock.rs`), `Semaphore::acquire_many_owned`
//! (`semaphore.rs`), `RateLimiter::acquire` (`rate_limiter.rs`), `Barrier::wait` and `Latch::wait`
//! (`barrier.rs`), `Notify::notified` and `Condvar::wait_while` with an owned guard (`notify.rs`),
//! `OnceCell::get_or_init` and `get_or_init_shared` (`once_cell.rs`), `Sender::send`, `reserve` and
//! `reserve_owned`, `Receiver::recv` and `recv_many`, broadcast's `recv`, watch's `changed` and
//! `wait_for` (`cancel.rs`, `reserve.rs`), `race` and `select!` (`race.rs`, `select.rs`).

mod net;
mod scopes;
mod sync;
mod waits;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use corymb::prelude::*;
use corymb::testing::{CancelEverywhere, elapsed, take_failures};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than any scenario takes.
const LONG: Duration = Duration::from_secs(60);

/// How many schedules there are beside the plain one.
const SCHEDULES: u64 = 8;

fn cancels() -> CancelEverywhere {
    CancelEverywhere::new().passing(2 * LONG).schedules(SCHEDULES)
}

/// Asserts that what `make` makes bears to be cancelled, as `settings` say.
#[track_caller]
fn bears_it<F, C>(settings: CancelEverywhere, name: &str, make: impl FnMut(Scope) -> (F, C))
where
    F: Future<Output: Send> + Send + 'static,
    C: FnOnce(Option<F::Output>),
{
    match settings.check(make) {
        Ok(all) => assert!(all.suspensions() > 0, "{name} does not suspend"),
        Err(failure) => panic!("{name}: {failure}"),
    }
}

/// Asserts that what `make` makes bears cancellations and drops.
#[track_caller]
fn bears<F, C>(name: &str, mut make: impl FnMut(Scope) -> (F, C))
where
    F: Future<Output: Send> + Send + 'static,
    C: FnOnce(Option<F::Output>),
{
    bears_it(cancels(), name, &mut make);
    bears_it(cancels().dropping(), name, make);
}

/// Asserts that all parts of what `make` makes have ended when it has, or is dropped.
#[track_caller]
fn ends_whole<F>(name: &str, make: impl Fn(&Count) -> F)
where
    F: Future<Output: Send> + Send + 'static,
{
    bears(name, |_| {
        let (parts, whole) = (Count::default(), Count::default());
        let (scenario, mark) = (make(&parts), whole.clone());
        let scenario = async move {
            let _mark = mark.part();
            scenario.await
        };
        (scenario, move |_| {
            // An error that nobody was left to get.
            take_failures();
            parts.assert_none();
            assert!(parts.last_end() <= whole.last_end(), "a part has gone on");
        })
    });
}

/// Counts something: the parts of a scenario that are alive, or how often it came to a line.
#[derive(Clone, Default)]
struct Count(Arc<(AtomicUsize, std::sync::Mutex<Duration>)>);

impl Count {
    fn add(&self) {
        self.0.0.fetch_add(1, SeqCst);
    }

    fn get(&self) -> usize {
        self.0.0.load(SeqCst)
    }

    /// Counts one that is alive until it is dropped.
    fn part(&self) -> Part {
        self.add();
        Part(self.clone())
    }

    /// A part that waits here and there.
    fn work(&self) -> impl Future<Output = ()> + Send + use<> {
        let count = self.clone();
        async move {
            let _part = count.part();
            sleep(SECOND).await;
            yield_now().await;
        }
    }

    #[track_caller]
    fn assert_none(&self) {
        assert_eq!(self.get(), 0, "so many are alive");
    }

    /// When the last part ended.
    fn last_end(&self) -> Duration {
        *self.0.1.lock().unwrap()
    }
}

#[derive(Debug)]
struct Part(Count);

impl Drop for Part {
    fn drop(&mut self) {
        let Count(count) = &self.0;
        count.0.fetch_sub(1, SeqCst);
        *count.1.lock().unwrap() = elapsed();
    }
}

impl std::fmt::Debug for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

/// What came out of something, by whoever took it.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u64>>>);

impl Log {
    fn push(&self, value: u64) {
        self.0.lock().unwrap().push(value);
    }

    fn get(&self) -> Vec<u64> {
        self.0.lock().unwrap().clone()
    }
}
