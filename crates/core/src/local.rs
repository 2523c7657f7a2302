//! Coroutines that are bound to a thread: their futures and outputs need not be `Send`.
//!
//! A future that is launched so is wrapped in a [`Bound`], and its output in a [`Homed`]. Both say
//! that they are `Send`, which is true because of what they do themselves:
//!
//! ```text
//!               launch                poll, at home             Ready, at home
//!   F ──────► [Bound<F>: idle] ◄────► [polled] ─────► [Homed<T>] ──► LocalDeferred (!Send) ──► T
//!                  │ cancel, at home      │ panic, at home  │ dropped at home: at once
//!                  ▼                      ▼                 │ dropped elsewhere: sent home
//!               dropped                dropped              ▼
//! ```
//!
//! # Invariants
//!
//! 1. A cell with `BOUND` has a [`Home`] for its dispatcher, for ever: sections are refused.
//! 2. [`Coroutine::run`](crate::Coroutine::run) of such a cell polls and drops on the thread of that
//!    home alone; elsewhere it panics before it touches the future.
//! 3. So the stage of such a cell is touched on the home's thread until its body is done, and the
//!    value in it by [`Homed`] alone, which looks where it is.
//! 4. A home that is gone runs nothing: what comes then is leaked, and reported.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Poll};

use crate::context::{Context, Dispatcher};
use crate::coroutine::{self, Plain, Settle, Start};
use crate::current;
use crate::deferred::{Deferred, Outcome};
use crate::dispatch::Dispatch;
use crate::error::{JoinError, Who};
use crate::failure::{self, Failure};
use crate::hooks;
use crate::job::Job;
use crate::node::{NodeRef, state};
use crate::scope;

/// A thread as the place of coroutines that are bound to it. Its [`is_here`](Dispatch::is_here)
/// says whether the calling thread is that one.
///
/// Before it stops to run what it is given, it cancels all that is bound to it, and runs that to its
/// end.
///
/// # Safety
///
/// What is bound need not be `Send`, and is touched wherever [`is_here`](Dispatch::is_here) answers
/// true; so:
///
/// - After the first [`bind`](Self::bind) `is_here` answers true on that thread alone, at all times.
///   Each `bind` is on that thread, or panics.
/// - What [`bury`](Self::bury) is given is dropped on that thread, or given back, or leaked.
pub unsafe trait Home: Dispatch {
    /// A future gets bound, on this thread: its number.
    fn bind(&self) -> usize;

    /// The job of the future with that number, if it is still there.
    fn bound(&self, number: usize, job: Job);

    /// The future with that number is gone.
    fn release(&self, number: usize);

    /// Has something dropped on the thread; gives it back if that is gone.
    fn bury(&self, garbage: Garbage) -> Option<Garbage>;
}

/// A value that is to be dropped at its home.
pub struct Garbage(#[expect(dead_code, reason = "to be dropped")] Box<dyn Dead>);

trait Dead {}

impl<T> Dead for T {}

// SAFETY: nothing can be done with it but drop it, which its home alone does ([`Home::bury`]).
#[expect(clippy::non_send_fields_in_send_ty, reason = "as said")]
unsafe impl Send for Garbage {}

impl fmt::Debug for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Garbage")
    }
}

/// A future that is bound to a thread.
struct Bound<F> {
    future: ManuallyDrop<F>,
    home: Arc<dyn Home>,
    number: usize,
}

// SAFETY: the future is touched by `poll` and `drop` alone, and these look whether they are at
// home, which is where it was made: a home is bound to one thread, by its contract.
#[expect(clippy::non_send_fields_in_send_ty, reason = "as said")]
unsafe impl<F> Send for Bound<F> {}

impl<F: Future> Future for Bound<F> {
    type Output = Homed<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the future is not moved out of its place, which is pinned. The fields are taken
        // apart without a reference to the whole: the future may have references into itself.
        let (future, home) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut *this.future), &this.home)
        };
        assert!(home.is_here(), "a bound future is polled at home");
        current::bind_poll();
        future
            .poll(cx)
            .map(|value| Homed { value: ManuallyDrop::new(value), home: Arc::clone(home) })
    }
}

impl<F> Drop for Bound<F> {
    fn drop(&mut self) {
        if !self.home.is_here() {
            return report_lost();
        }
        struct Release<'a>(&'a dyn Home, usize);
        impl Drop for Release<'_> {
            fn drop(&mut self) {
                self.0.release(self.1);
            }
        }
        // Also if the destructor panics.
        let _release = Release(&*self.home, self.number);
        // SAFETY: dropped once, on its thread.
        unsafe { ManuallyDrop::drop(&mut self.future) };
    }
}

/// A value that is bound to a thread.
pub(crate) struct Homed<T> {
    value: ManuallyDrop<T>,
    home: Arc<dyn Home>,
}

// SAFETY: the value is touched by `take` and `drop` alone, and these look whether they are at home,
// by the home's contract the thread that made it.
#[expect(clippy::non_send_fields_in_send_ty, reason = "as said")]
unsafe impl<T> Send for Homed<T> {}

impl<T, E> Homed<Result<T, E>> {
    /// The value, still bound, or the error, which is not.
    pub(crate) fn split(self) -> Result<Homed<T>, E> {
        let home = Arc::clone(&self.home);
        self.take().map(|value| Homed { value: ManuallyDrop::new(value), home })
    }
}

impl<T> Homed<T> {
    fn take(self) -> T {
        assert!(self.home.is_here(), "a bound value is taken at home");
        let mut this = ManuallyDrop::new(self);
        // SAFETY: at home; the value and the home are taken out once, and nothing is left to drop.
        unsafe {
            std::ptr::drop_in_place(&raw mut this.home);
            ManuallyDrop::take(&mut this.value)
        }
    }
}

impl<T> Drop for Homed<T> {
    fn drop(&mut self) {
        if !std::mem::needs_drop::<T>() {
            return;
        }
        // SAFETY: taken once, as this is the drop. To move it does not touch it.
        let value = unsafe { ManuallyDrop::take(&mut self.value) };
        if self.home.is_here() {
            return drop(value);
        }
        // It may borrow for longer than this: but the value of a coroutine does not.
        let garbage: Box<dyn Dead + '_> = Box::new(value);
        // SAFETY: `T` is `'static` where this is made, in `spawn`.
        let garbage = unsafe { std::mem::transmute::<Box<dyn Dead + '_>, Box<dyn Dead>>(garbage) };
        if let Some(lost) = self.home.bury(Garbage(garbage)) {
            std::mem::forget(lost);
            report_lost();
        }
    }
}

/// Reports that something was leaked, since its thread runs nothing any more.
fn report_lost() {
    let who = match current::node() {
        Some(node) => node.who(),
        None => Who::at(Location::caller()),
    };
    let name = Some("value or future bound to a thread".into());
    failure::report_in_context(&Failure::Leaked { who: Who { name, ..who } });
}

/// Launches a coroutine that is bound to this thread.
pub(crate) fn spawn<F: Future + 'static>(
    region: &NodeRef,
    context: Option<Context>,
    (flags, start): (u64, Start),
    site: &'static Location<'static>,
    future: F,
) -> NodeRef {
    spawn_settled::<F, Plain>(region, context, (flags, start), site, future)
}

/// As [`spawn`], where the scope takes a part of the output.
pub(crate) fn spawn_settled<F, S>(
    region: &NodeRef,
    context: Option<Context>,
    (flags, start): (u64, Start),
    site: &'static Location<'static>,
    future: F,
) -> NodeRef
where
    F: Future + 'static,
    S: Settle<Homed<F::Output>>,
{
    let home = hooks::try_with(|runtime| runtime.home()).flatten().unwrap_or_else(|| {
        panic!(
            "spawn_local at {site}: this thread has no loop that could run it; call it inside of \
             run_blocking, of LocalRuntime::run_blocking or of a coroutine that is bound already"
        )
    });
    let change = context.unwrap_or_default().and(Dispatcher::Custom(Arc::<dyn Home>::clone(&home)));
    let context = scope::resolve(region, change, site);
    let number = home.bind();
    let future = Bound { future: ManuallyDrop::new(future), home: Arc::clone(&home), number };
    let born = (flags | state::BOUND, start);
    let node = coroutine::spawn::<_, S>(region, context, born, site, future);
    home.bound(number, Job::from_node(node.clone()));
    node
}

/// The value of a coroutine that is bound to this thread; as [`Deferred`], and bound too.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use corymb::{LocalDeferred, prelude::*};
///
/// run_blocking(scope(async |s| {
///     let value: LocalDeferred<Rc<u32>> = s.spawn_local(async { Rc::new(42) });
///     assert_eq!(*value.await, 42);
/// }));
/// ```
#[must_use = "the child runs anyway, but its value is lost: drop it to say so, or use \
              `Scope::launch_local` if there is none"]
pub struct LocalDeferred<T>(Deferred<Homed<T>>, PhantomData<Rc<T>>);

impl<T> LocalDeferred<T> {
    pub(crate) fn new(node: NodeRef, site: &'static Location<'static>) -> Self {
        Self(Deferred::new(node, site), PhantomData)
    }

    /// The coroutine's job.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// run_blocking(scope(async |s| {
    ///     let child = s.spawn_local(std::future::pending::<()>());
    ///     assert_eq!(child.job().parent(), Some(s.job()));
    ///     child.job().cancel();
    /// }));
    /// ```
    pub fn job(&self) -> Job {
        self.0.job()
    }

    /// Waits for the coroutine's end, and gives its value or why there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// use corymb::{JoinError, prelude::*};
    ///
    /// run_blocking(scope(async |s| {
    ///     let child = s.spawn_local(std::future::pending::<Rc<()>>());
    ///     child.job().cancel();
    ///     assert!(matches!(child.outcome().await, Err(JoinError::Cancelled(_))));
    /// }));
    /// ```
    #[track_caller]
    pub fn outcome(self) -> LocalOutcome<T> {
        LocalOutcome(self.0.outcome(), PhantomData)
    }
}

impl<T> Future for LocalDeferred<T> {
    type Output = T;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx).map(Homed::take)
    }
}

impl<T> Unpin for LocalDeferred<T> {}

impl<T> fmt::Debug for LocalDeferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalDeferred").field(&self.0).finish()
    }
}

/// The future of [`LocalDeferred::outcome`].
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use corymb::{LocalOutcome, prelude::*};
///
/// run_blocking(supervisor_scope(async |s| {
///     let outcome: LocalOutcome<Rc<u32>> = s.spawn_local(async { panic!("oh") }).outcome();
///     assert!(outcome.await.unwrap_err().to_string().ends_with("panicked: oh"));
/// }));
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct LocalOutcome<T>(Outcome<Homed<T>>, PhantomData<Rc<T>>);

impl<T> Unpin for LocalOutcome<T> {}

impl<T> Future for LocalOutcome<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_ok(Homed::take)
    }
}

impl<T> fmt::Debug for LocalOutcome<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalOutcome")
    }
}
