//! What a test body asks of its runtime.

use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use corymb_core::Scope;
use corymb_core::internal::{WaitKind, waiting_on};
use corymb_core::time::Instant;

use crate::clock::Wait;
use crate::world::World;

/// Moves the clock by `duration`, and has everybody else live through that time.
///
/// First all that is ready runs. Then the clock goes from timer to timer, stands still at each
/// until all that became ready has run, and in the end has moved by exactly `duration`. What is
/// due at the very end has run too when this returns.
///
/// **Which one:** [`sleep`](corymb_core::time::sleep()) waits for its turn among the timers;
/// `advance` lets all others of the same instant go first. [`busy`] moves the clock without
/// running anybody.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::{scope, time::sleep};
/// use corymb::testing::{TestRuntime, advance, elapsed};
///
/// TestRuntime::new().run(scope(async |s| {
///     let child = s.launch(sleep(Duration::from_millis(20)));
///     advance(Duration::from_millis(19)).await;
///     assert!(child.is_active());
///     advance(Duration::from_millis(1)).await;
///     assert!(child.is_completed());
///     assert_eq!(elapsed(), Duration::from_millis(20));
/// }));
/// ```
///
/// # Panics
///
/// Polling panics outside of a test runtime, and if the clock cannot show the time: it ends after
/// some 580 years.
///
/// # Cancel safety
///
/// Dropping the future stops nothing but the wait: the clock goes on as others need it.
#[track_caller]
pub fn advance(duration: Duration) -> Advance {
    Advance { state: State::New(duration), place: Location::caller() }
}

/// Waits until all other coroutines wait for something, without moving the clock.
///
/// Several that settle at once go on one after another, in the order in which they asked.
///
/// Source: `runCurrent` of kotlinx.coroutines, which does the same from outside of coroutines.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::{scope, yield_now};
/// use corymb::testing::{TestRuntime, elapsed, settle};
///
/// TestRuntime::new().run(scope(async |s| {
///     let child = s.launch(async {
///         yield_now().await;
///         yield_now().await;
///     });
///     settle().await;
///     assert!(child.is_completed());
///     assert_eq!(elapsed(), Duration::ZERO);
/// }));
/// ```
///
/// # Panics
///
/// Polling panics outside of a test runtime.
///
/// # Cancel safety
///
/// Dropping the future gives up nothing but the wait.
#[doc(alias = "run_current")]
#[track_caller]
pub fn settle() -> Advance {
    advance(Duration::ZERO)
}

/// Moves the clock as if this thread had been computing for `duration`.
///
/// Nothing else runs meanwhile. What becomes due is queued, in the order of the deadlines, and
/// runs late: when the caller suspends.
///
/// # Examples
///
/// A loop that never suspends and asks for the time:
///
/// ```
/// use std::time::Duration;
/// use corymb::{is_cancelled, time::with_timeout};
/// use corymb::testing::{TestRuntime, busy};
///
/// let rounds = TestRuntime::new().run(async {
///     let work = async {
///         let mut rounds = 0;
///         while !is_cancelled() {
///             busy(Duration::from_millis(3));
///             rounds += 1;
///         }
///         rounds
///     };
///     with_timeout(Duration::from_millis(10), work).await
/// });
/// assert_eq!(rounds, Ok(4));
/// ```
///
/// # Panics
///
/// Outside of a test runtime, and if the clock cannot show the time.
#[track_caller]
pub fn busy(duration: Duration) {
    World::here("busy", |world| world.clock.move_to(after(world, "busy", duration)));
}

/// The virtual time that has passed since the runtime was built.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::time::sleep;
/// use corymb::testing::{TestRuntime, elapsed};
///
/// TestRuntime::new().run(async {
///     sleep(Duration::from_secs(3600)).await;
///     assert_eq!(elapsed(), Duration::from_secs(3600));
/// });
/// ```
///
/// # Panics
///
/// Outside of a test runtime.
#[track_caller]
pub fn elapsed() -> Duration {
    World::here("elapsed", |world| world.clock.elapsed())
}

/// A scope for what is to end with the test: tickers, servers, collectors.
///
/// Its children are cancelled when the body has returned, and are no leak then; until that they run
/// as all others do, and their timers move the clock. A cleanup may take time, up to an hour on the
/// clock. A failure of one of them harms no other, and fails the test.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use std::time::Duration;
/// use corymb::time::sleep;
/// use corymb::testing::{TestRuntime, advance, background};
///
/// static TICKS: AtomicU32 = AtomicU32::new(0);
///
/// TestRuntime::new().run(async {
///     background().launch(async {
///         loop {
///             sleep(Duration::from_secs(1)).await;
///             TICKS.fetch_add(1, Ordering::Relaxed);
///         }
///     });
///     advance(Duration::from_secs(10)).await;
///     assert_eq!(TICKS.load(Ordering::Relaxed), 10);
/// });
/// ```
///
/// # Panics
///
/// Outside of a test runtime.
#[track_caller]
pub fn background() -> Scope {
    World::here("background", |world| world.background())
}

/// Takes the failures that reached nobody, so that they do not fail the test.
///
/// They are the panics and errors that go to the failure handler of the runtime, as text, in the
/// order in which they came.
///
/// # Examples
///
/// ```
/// use corymb::supervisor_scope;
/// use corymb::testing::{TestRuntime, take_failures};
///
/// TestRuntime::new().run(async {
///     supervisor_scope(async |s| drop(s.launch(async { panic!("oh") }))).await;
///     let failures = take_failures();
///     assert_eq!(failures.len(), 1);
///     assert!(failures[0].ends_with("panicked: oh"));
/// });
/// ```
///
/// # Panics
///
/// Outside of a test runtime.
#[track_caller]
pub fn take_failures() -> Vec<String> {
    World::here("take_failures", |world| world.take_failures())
}

/// The time `duration` from now.
#[track_caller]
fn after(world: &World, call: &str, duration: Duration) -> Instant {
    let end = world.clock.now() + duration;
    assert!(
        end < Instant::FAR_FUTURE,
        "`{call}` by {duration:?}: the virtual clock ends before that; move it by less"
    );
    end
}

/// The future of [`advance`] and [`settle`].
#[must_use = "futures do nothing unless awaited"]
pub struct Advance {
    state: State,
    place: &'static Location<'static>,
}

enum State {
    New(Duration),
    Waiting(Arc<World>, Wait),
}

impl Future for Advance {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &self.state {
            State::New(duration) => {
                self.state = World::here("advance", |world| {
                    let end = after(world, "advance", *duration);
                    let wait = world.clock.add_wait(end, cx.waker().clone());
                    State::Waiting(Arc::clone(world), wait)
                });
            }
            State::Waiting(world, wait) if world.clock.refresh_wait(*wait, cx.waker()) => {}
            State::Waiting(..) => return Poll::Ready(()),
        }
        waiting_on(WaitKind::Timer, self.place);
        Poll::Pending
    }
}

impl Drop for Advance {
    fn drop(&mut self) {
        if let State::Waiting(world, wait) = &self.state {
            drop(world.clock.remove_wait(*wait));
        }
    }
}

impl std::fmt::Debug for Advance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Advance").field("place", &self.place).finish_non_exhaustive()
    }
}
