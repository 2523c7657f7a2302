//! A value that is made once, by whoever needs it first.

mod attempt;
mod enter;
mod shared;

use std::convert::Infallible;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use corymb_core::internal::prim::atomic::{AtomicBool, Ordering};
use corymb_core::internal::prim::{Mutex, UnsafeCell};
use pin_project::pin_project;

use self::attempt::{Failed, Initialiser, Sure, Unsure};
use self::enter::{Enter, Entered, Right};
use self::shared::Ping;
use crate::anchored::{Anchored, Begin, constant};
use crate::monitor::{Busy, Monitor, Owner, State};
use crate::waiters::{Queue, WaitList};

/// A value that is made once, by an initialiser that may suspend.
///
/// For an initialiser that does not suspend there is `std::sync::OnceLock`.
///
/// An initialiser that fails or panics leaves the cell empty, and the next one is tried. One that
/// waits for its own cell waits for ever.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use corymb::sync::OnceCell;
///
/// async fn connect() -> String {
///     yield_now().await;
///     "connected".to_owned()
/// }
///
/// let connection = OnceCell::new();
/// run_blocking(async {
///     assert_eq!(connection.get_or_init(connect()).await, "connected");
///     connection.get_or_init(async { unreachable!("there is a value") }).await;
/// });
/// ```
///
/// In a static:
///
/// ```
/// use corymb::sync::OnceCell;
///
/// static LIMIT: OnceCell<u32> = OnceCell::new();
///
/// corymb::run_blocking(async {
///     assert_eq!(LIMIT.get_or_init(async { 7 }).await, &7);
/// });
/// ```
///
/// # Fairness
///
/// If an initialiser does not come to its end, that of the one that has waited longest is next.
///
/// # Ordering
///
/// What the initialiser did is visible to whoever gets the value.
pub struct OnceCell<T> {
    monitor: Anchored<Once<T>>,
    /// There is a value. Set before the phase is.
    is_set: AtomicBool,
    /// Written once, by who has the right to.
    value: UnsafeCell<Option<T>>,
    /// The initialiser of all who wait; reached by who has the right to poll it.
    shared: UnsafeCell<Option<Initialiser<T>>>,
}

/// What the lock guards.
pub(crate) struct Once<T> {
    line: WaitList<Line<T>>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Empty,
    /// Somebody's own initialiser runs.
    Running,
    /// The cell has one, which all who wait drive.
    Shared(Arc<Ping>),
    Set,
}

/// The one queue.
pub(crate) struct Line<T>(std::marker::PhantomData<fn() -> T>);

impl<T> Queue for Line<T> {
    type State = Once<T>;
    type Payload = ();

    fn waiters(state: &mut Once<T>) -> &mut WaitList<Self> {
        &mut state.line
    }
}

impl<T> State for Once<T> {
    type Shared = ();

    const NAME: &'static str = "once_cell";

    fn offer(&mut self, (): &()) -> Option<Waker> {
        match self.phase {
            Phase::Running => None,
            Phase::Empty if self.line.called() > 0 => None,
            Phase::Empty => self.line.call(),
            Phase::Shared(_) | Phase::Set => self.line.release(|()| ()).map(|(waker, ())| waker),
        }
    }
}

impl<T> Begin for Once<T> {
    type Seed = ();

    fn begin((): &()) -> Monitor<Self> {
        Monitor::new(Self { line: WaitList::new(), phase: Phase::Empty }, ())
    }
}

// SAFETY: it is in the place of `self`.
unsafe impl<T> Owner for OnceCell<T> {
    type State = Once<T>;

    fn monitor(&self) -> &Monitor<Once<T>> {
        &self.monitor
    }
}

// SAFETY: the value is written by one thread, and read by others as `&T`; the initialiser is `Send`
// and is reached by one thread at a time.
unsafe impl<T: Send + Sync> Sync for OnceCell<T> {}

impl<T> OnceCell<T> {
    constant! {
        /// An empty one.
        pub fn new() -> Self {
            Self {
                monitor: Anchored::new(()),
                is_set: AtomicBool::new(false),
                value: UnsafeCell::new(None),
                shared: UnsafeCell::new(None),
            }
        }
    }

    /// The value, if there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = corymb::sync::OnceCell::new();
    /// assert_eq!(cell.get(), None);
    /// assert_eq!(cell.set(7), Ok(()));
    /// assert_eq!(cell.get(), Some(&7));
    /// ```
    pub fn get(&self) -> Option<&T> {
        // Ordering: Acquire pairs with the Release in `put`.
        if !self.is_set.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: it has been written, and is not touched again while the cell is borrowed.
        self.value.with(|value| unsafe { &*value }).as_ref()
    }

    /// The value, for who has been told that it is there.
    fn value(&self) -> &T {
        self.get().expect("it is set before anybody is told")
    }

    /// Gives it its value.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::sync::{OnceCell, SetError};
    ///
    /// let cell = OnceCell::new();
    /// assert_eq!(cell.set(7), Ok(()));
    /// assert_eq!(cell.set(8), Err(SetError::AlreadySet(8)));
    /// ```
    ///
    /// # Errors
    ///
    /// [`SetError`] gives the value back, if there is one already, or somebody makes one.
    pub fn set(&self, value: T) -> Result<(), SetError<T>> {
        let mut state = self.monitor.lock();
        match state.phase {
            Phase::Set => Err(SetError::AlreadySet(value)),
            Phase::Running | Phase::Shared(_) => Err(SetError::Initialising(value)),
            Phase::Empty => {
                state.phase = Phase::Running;
                drop(state);
                Right::of(self).set(value);
                Ok(())
            }
        }
    }

    /// The value, made by `init` if there is none. One runs at a time, and the others wait.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = corymb::sync::OnceCell::new();
    /// assert_eq!(corymb::run_blocking(cell.get_or_init(async { 7 })), &7);
    /// ```
    ///
    /// # Cancel safety
    ///
    /// A caller that is dropped takes its initialiser with it, and the next one runs its own. Where
    /// what was done until then must not be lost, use
    /// [`get_or_init_shared`](Self::get_or_init_shared): there also a caller that is no longer
    /// polled holds nobody up.
    #[track_caller]
    pub fn get_or_init<F>(&self, init: F) -> GetOrInit<'_, T, F>
    where
        F: Future<Output = T>,
    {
        GetOrInit { run: Run::new(self, init, Location::caller()) }
    }

    /// The value, made by `init` if there is none; its error goes to this caller alone.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = corymb::sync::OnceCell::new();
    /// corymb::run_blocking(async {
    ///     assert_eq!(cell.get_or_try_init(async { Err("no") }).await, Err("no"));
    ///     assert_eq!(cell.get_or_try_init(async { Ok::<_, &str>(7) }).await, Ok(&7));
    /// });
    /// ```
    ///
    /// # Errors
    ///
    /// That of `init`.
    ///
    /// # Cancel safety
    ///
    /// As [`get_or_init`](Self::get_or_init).
    #[track_caller]
    pub fn get_or_try_init<F, E>(&self, init: F) -> GetOrTryInit<'_, T, F>
    where
        F: Future<Output = Result<T, E>>,
    {
        GetOrTryInit { run: Run::new(self, init, Location::caller()) }
    }

    /// The value, made by `init` if there is none. The initialiser belongs to the cell, and whoever
    /// waits for the value drives it, in its own coroutine: also those who came with
    /// [`get_or_init`](Self::get_or_init) meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = corymb::sync::OnceCell::new();
    /// assert_eq!(corymb::run_blocking(cell.get_or_init_shared(async { 7 })), &7);
    /// ```
    ///
    /// # Panics
    ///
    /// Whoever was driving it gets the panic of an initialiser; the one that brought it panics too,
    /// and for the others the next is tried.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the initialiser stays in the cell, and those who wait, or come later, drive
    /// it on. It rests while there are none.
    #[track_caller]
    pub fn get_or_init_shared<F>(&self, init: F) -> GetOrInitShared<'_, T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let init = self.boxed(Sure(init));
        GetOrInitShared { run: RunShared::new(self, init, None, Location::caller()) }
    }

    /// As [`get_or_init_shared`](Self::get_or_init_shared), of an initialiser that may fail. Its
    /// error goes to the caller that brought it, whoever drove it; for the others the next is tried.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = corymb::sync::OnceCell::new();
    /// corymb::run_blocking(async {
    ///     assert_eq!(cell.get_or_try_init_shared(async { Err("no") }).await, Err("no"));
    ///     assert_eq!(cell.get_or_try_init_shared(async { Ok::<_, &str>(7) }).await, Ok(&7));
    /// });
    /// ```
    ///
    /// # Errors
    ///
    /// That of `init`, if that has run.
    ///
    /// # Panics
    ///
    /// As [`get_or_init_shared`](Self::get_or_init_shared).
    ///
    /// # Cancel safety
    ///
    /// As [`get_or_init_shared`](Self::get_or_init_shared); an error whose caller is gone is
    /// dropped.
    #[track_caller]
    pub fn get_or_try_init_shared<F, E>(&self, init: F) -> GetOrTryInitShared<'_, T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        E: Send + 'static,
    {
        let failed = Failed::new(Mutex::new(None));
        let init = self.boxed(Unsure { init, failed: Failed::clone(&failed) });
        GetOrTryInitShared { run: RunShared::new(self, init, Some(failed), Location::caller()) }
    }

    /// `init` for the cell, if that may need it.
    fn boxed(
        &self,
        init: impl Future<Output = Option<T>> + Send + 'static,
    ) -> Option<Initialiser<T>> {
        match self.get() {
            Some(_) => None,
            None => Some(Box::pin(init)),
        }
    }

    /// Takes the value out, and leaves an empty cell. An initialiser that rests in it is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut cell = corymb::sync::OnceCell::from(7);
    /// assert_eq!((cell.take(), cell.take()), (Some(7), None));
    /// ```
    pub fn take(&mut self) -> Option<T> {
        std::mem::take(self).into_inner()
    }

    /// The value, if there is one.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    /// The value, without a lock: nobody else is there.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: `&mut self`.
        self.value.with_mut(|value| unsafe { &mut *value }).as_mut()
    }

    /// Figures of the present.
    ///
    /// # Examples
    ///
    /// ```
    /// let statistics = corymb::sync::OnceCell::from(7).statistics();
    /// assert_eq!((statistics.is_set, statistics.waiting), (true, 0));
    /// ```
    pub fn statistics(&self) -> OnceCellStatistics {
        let state = self.monitor.lock();
        let driving = match &state.phase {
            Phase::Shared(ping) => ping.waiters(),
            _ => 0,
        };
        OnceCellStatistics {
            is_set: matches!(state.phase, Phase::Set),
            waiting: state.line.len() + state.line.called() + driving,
        }
    }

    /// Writes the value: for who has the right to.
    ///
    /// # Safety
    ///
    /// The phase is `Running` or `Shared`, and the caller is the one that may end it.
    unsafe fn put(&self, made: T) {
        // SAFETY: nobody reads it before it is published, and the caller is the only one who writes.
        self.value.with_mut(|value| unsafe { *value = Some(made) });
        // Ordering: Release pairs with the Acquire in `get`.
        self.is_set.store(true, Ordering::Release);
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<T> for OnceCell<T> {
    fn from(value: T) -> Self {
        let cell = Self::new();
        cell.monitor.lock().phase = Phase::Running;
        Right::of(&cell).set(value);
        cell
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_tuple("OnceCell");
        match (self.get(), self.monitor.peek(|_| ())) {
            (Some(value), _) => out.field(value),
            (None, Some(())) => out.field(&format_args!("<empty>")),
            (None, None) => out.field(&Busy),
        };
        out.finish()
    }
}

/// Figures of a [`OnceCell`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnceCellStatistics {
    /// There is a value.
    pub is_set: bool,
    /// How many wait for it.
    pub waiting: usize,
}

/// A value that the cell did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError<T> {
    /// There is a value already.
    #[error("the cell has a value already")]
    AlreadySet(T),
    /// Somebody makes one.
    #[error("the cell is being initialised")]
    Initialising(T),
}

/// The future of [`OnceCell::get_or_init`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct GetOrInit<'a, T, F> {
    #[pin]
    run: Run<'a, T, F>,
}

impl<'a, T, F: Future<Output = T>> Future for GetOrInit<'a, T, F> {
    type Output = &'a T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<&'a T> {
        let Ok(value) = ready!(self.project().run.poll(cx, Ok::<_, Infallible>));
        Poll::Ready(value)
    }
}

/// The future of [`OnceCell::get_or_try_init`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
#[pin_project]
pub struct GetOrTryInit<'a, T, F> {
    #[pin]
    run: Run<'a, T, F>,
}

impl<'a, T, E, F: Future<Output = Result<T, E>>> Future for GetOrTryInit<'a, T, F> {
    type Output = Result<&'a T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<&'a T, E>> {
        self.project().run.poll(cx, |made| made)
    }
}

/// A caller with an initialiser of its own.
#[derive(Debug)]
#[pin_project]
struct Run<'a, T, F> {
    cell: &'a OnceCell<T>,
    #[pin]
    enter: Enter<'a, T>,
    /// Before the initialiser: the next one may begin when this one is dropped.
    #[pin]
    init: F,
    right: Option<Right<'a, T>>,
}

impl<'a, T, F: Future> Run<'a, T, F> {
    fn new(cell: &'a OnceCell<T>, init: F, place: &'static Location<'static>) -> Self {
        Self { cell, enter: Enter::new(cell, place), init, right: None }
    }

    fn poll<E>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        result: impl FnOnce(F::Output) -> Result<T, E>,
    ) -> Poll<Result<&'a T, E>> {
        let this = self.project();
        let right = match this.right.take() {
            Some(right) => right,
            None => match ready!(this.enter.poll(cx)) {
                Entered::Set => return Poll::Ready(Ok(this.cell.value())),
                Entered::Run(right) => right,
            },
        };
        // If this panics, the right goes to the next.
        let Poll::Ready(made) = this.init.poll(cx) else {
            *this.right = Some(right);
            return Poll::Pending;
        };
        Poll::Ready(result(made).map(|value| {
            right.set(value);
            this.cell.value()
        }))
    }
}

/// The future of [`OnceCell::get_or_init_shared`].
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct GetOrInitShared<'a, T> {
    #[pin]
    run: RunShared<'a, T, Infallible>,
}

impl<'a, T> Future for GetOrInitShared<'a, T> {
    type Output = &'a T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<&'a T> {
        let Ok(value) = ready!(self.project().run.poll(cx));
        Poll::Ready(value)
    }
}

impl<T> fmt::Debug for GetOrInitShared<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetOrInitShared").field("run", &self.run).finish()
    }
}

/// The future of [`OnceCell::get_or_try_init_shared`].
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct GetOrTryInitShared<'a, T, E> {
    #[pin]
    run: RunShared<'a, T, E>,
}

impl<'a, T, E> Future for GetOrTryInitShared<'a, T, E> {
    type Output = Result<&'a T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().run.poll(cx)
    }
}

impl<T, E> fmt::Debug for GetOrTryInitShared<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetOrTryInitShared").field("run", &self.run).finish()
    }
}

/// A caller with an initialiser for the cell.
#[pin_project]
struct RunShared<'a, T, E> {
    #[pin]
    enter: Enter<'a, T>,
    /// Until the cell has it.
    init: Option<Initialiser<T>>,
    /// If it may fail.
    failed: Option<Failed<E>>,
}

impl<'a, T, E> RunShared<'a, T, E> {
    fn new(
        cell: &'a OnceCell<T>,
        init: Option<Initialiser<T>>,
        failed: Option<Failed<E>>,
        place: &'static Location<'static>,
    ) -> Self {
        Self { enter: Enter::new(cell, place), init, failed }
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<&'a T, E>> {
        let mut this = self.project();
        loop {
            let entered = this.enter.as_mut().poll(cx);
            if let Some(error) = this.failed.as_ref().and_then(|failed| failed.lock().take()) {
                this.enter.as_mut().leave();
                return Poll::Ready(Err(error));
            }
            let right = match ready!(entered) {
                Entered::Set => return Poll::Ready(Ok(this.enter.cell().value())),
                Entered::Run(right) => right,
            };
            match this.init.take() {
                Some(init) => right.share(init),
                None => {
                    drop(right);
                    panic!(
                        "the shared initialiser that came with the call at {} panicked while another \
                         caller drove it",
                        this.enter.place()
                    );
                }
            }
        }
    }
}

impl<T, E> fmt::Debug for RunShared<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunShared").field("place", &self.enter.place()).finish_non_exhaustive()
    }
}
