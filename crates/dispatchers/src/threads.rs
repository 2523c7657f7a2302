//! Dispatchers with threads of their own: a queue, and the threads that take from it.
//!
//! ```text
//!   dispatch ──► queue ──► thread: run                  open
//!   dispatch ──► dropped: cancelled                     closed
//!                queue ──► thread: discard, then end    closed
//! ```
//!
//! Queue and end lie under one lock: what was put in before the end is taken out by a thread, and
//! nothing is put in afterwards.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};

use corymb_core::internal::report_here;
use corymb_core::{Coroutine, Dispatch, Dispatcher};

use crate::pool::WithoutProcessor;

/// As for the threads of a runtime: more than any system gives.
const MAX_THREADS: usize = 32_768;

/// A dispatcher with threads of its own: one, or a fixed number.
///
/// It is for what belongs to a thread (a library that keeps its state there, a device, a database
/// handle), and for what must not share threads with anything else. Coroutines are started in the
/// order in which they became ready; with one thread they also run in that order, one at a time.
///
/// Any runtime's coroutines may use it: timers, sockets and reports are those of their runtime.
///
/// # Which one
///
/// - If only one at a time may run, on whatever thread:
///   [`Dispatcher::limited_parallelism`], which needs no thread.
/// - For futures that are not `Send`: [`LocalRuntime`](crate::LocalRuntime).
/// - For an isolated pool with timers and sockets of its own: [`Runtime`](crate::Runtime).
///
/// # What blocks
///
/// A coroutine that blocks in a poll holds its thread until the poll ends, and no watchdog tells of
/// that: here it may. [`blocking`](corymb_core::blocking()) and other sections leave for their
/// dispatcher and come back; the thread serves others meanwhile. A nested
/// [`run_blocking`](crate::run_blocking()) holds the thread too, and what it waits for must not need
/// that thread.
///
/// # The end
///
/// [`close`](Self::close), or dropping it, ends the threads, and cancels what is queued; see there.
/// One in a `static` lives as long as the program.
///
/// # Examples
///
/// ```
/// use std::thread;
/// use corymb::{Threads, ThreadsError, prelude::*};
///
/// let threads = Threads::single("database")?;
/// run_blocking(scope(async |s| {
///     s.spawn(async move {
///         let mut rows = vec![1, 2];
///         // A section borrows, as on any dispatcher.
///         with_context(threads.dispatcher(), async {
///             assert_eq!(thread::current().name(), Some("database"));
///             rows.push(3);
///         })
///         .await;
///         assert_eq!(rows, [1, 2, 3]);
///     })
///     .await;
/// }));
/// # Ok::<(), ThreadsError>(())
/// ```
pub struct Threads {
    queue: Arc<Queue>,
    /// Those that nobody has waited for. Its own threads never lock it.
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Starts a thread called `name`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use corymb::{Threads, ThreadsError, prelude::*};
    ///
    /// let threads = Threads::single("log")?;
    /// let lines = Arc::new(Mutex::new(Vec::new()));
    /// run_blocking(scope(async |s| {
    ///     for n in 0..3 {
    ///         let lines = Arc::clone(&lines);
    ///         let child = s.coroutine().on(threads.dispatcher());
    ///         child.launch(async move { lines.lock().unwrap().push(n) });
    ///     }
    /// }));
    /// assert_eq!(*lines.lock().unwrap(), [0, 1, 2]);
    /// # Ok::<(), ThreadsError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`fixed`](Self::fixed).
    pub fn single(name: &str) -> Result<Self, ThreadsError> {
        Self::fixed(1, name)
    }

    /// Starts `n` threads, called `name-1` and so on; one alone is called `name`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::{Arc, Barrier};
    /// use corymb::{Threads, ThreadsError, prelude::*};
    ///
    /// let threads = Threads::fixed(3, "render")?;
    /// let all = Arc::new(Barrier::new(3));
    /// run_blocking(scope(async |s| {
    ///     for _ in 0..3 {
    ///         let all = Arc::clone(&all);
    ///         // Each blocks a thread, until all are there.
    ///         s.coroutine().on(threads.dispatcher()).launch(async move { drop(all.wait()) });
    ///     }
    /// }));
    /// # Ok::<(), ThreadsError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ThreadsError::Count`] if `n` is 0 or above 32,768.
    /// - [`ThreadsError::Name`] if `name` holds a zero byte.
    /// - [`ThreadsError::System`] if the system gives no thread; those that were started have ended.
    pub fn fixed(n: usize, name: &str) -> Result<Self, ThreadsError> {
        if !(1..=MAX_THREADS).contains(&n) {
            return Err(ThreadsError::Count(n));
        }
        if name.contains('\0') {
            return Err(ThreadsError::Name(name.into()));
        }
        let threads = Self { queue: Arc::default(), handles: Mutex::default() };
        let mut ids = Vec::with_capacity(n);
        for number in 1..=n {
            let name = if n == 1 { name.into() } else { format!("{name}-{number}") };
            // If it is refused, dropping `threads` ends the others.
            let handle = threads.start(name).map_err(ThreadsError::System)?;
            ids.push(handle.thread().id());
            lock(&threads.handles).push(handle);
        }
        threads.queue.threads.get_or_init(|| ids);
        Ok(threads)
    }

    fn start(&self, name: String) -> io::Result<JoinHandle<()>> {
        let queue = Arc::clone(&self.queue);
        thread::Builder::new().name(name).spawn(move || queue.serve())
    }

    /// The dispatcher of these threads: for [`on`](corymb_core::CoroutineBuilder::on),
    /// [`with_context`](corymb_core::with_context()), and for views of it.
    ///
    /// It keeps no thread alive.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{Threads, ThreadsError, prelude::*};
    ///
    /// let threads = Threads::fixed(4, "crypto")?;
    /// let half = threads.dispatcher().limited_parallelism(2);
    /// let sum = run_blocking(scope(async |s| s.coroutine().on(half).spawn(async { 1 + 1 }).await));
    /// assert_eq!(sum, 2);
    /// # Ok::<(), ThreadsError>(())
    /// ```
    pub fn dispatcher(&self) -> Dispatcher {
        Dispatcher::Custom(Arc::<Queue>::clone(&self.queue))
    }

    /// Ends the threads, and waits for them: for the polls that are in progress, and until what is
    /// queued has been cancelled, with the cause [`Shutdown`](corymb_core::CancelCause::Shutdown),
    /// and dropped by them.
    ///
    /// What is given to the dispatcher afterwards is cancelled too, and its future dropped by its
    /// runtime's default dispatcher: so is what waits for something, when it is woken or cancelled.
    ///
    /// On one of these threads it does not wait: they end when the polls in progress have returned.
    /// On a worker of a runtime the processor goes to another thread meanwhile. A second call waits
    /// for the same.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{CancelCause, JoinError, Threads, ThreadsError, prelude::*};
    ///
    /// let threads = Threads::single("database")?;
    /// threads.close();
    /// let late = run_blocking(scope(async |s| {
    ///     s.coroutine().on(threads.dispatcher()).spawn(async {}).outcome().await
    /// }));
    /// let Err(JoinError::Cancelled(cancelled)) = late else { unreachable!() };
    /// assert!(matches!(cancelled.cause(), CancelCause::Shutdown));
    /// # Ok::<(), ThreadsError>(())
    /// ```
    pub fn close(&self) {
        self.queue.close();
        if self.queue.is_one_of_them() {
            return;
        }
        let _processor = WithoutProcessor::enter();
        for handle in lock(&self.handles).drain(..) {
            // It catches all panics.
            let _ended = handle.join();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = self.queue.threads.get().map_or(0, Vec::len);
        let state = lock(&self.queue.state);
        f.debug_struct("Threads")
            .field("threads", &threads)
            .field("queued", &state.ready.len())
            .field("closed", &state.closed)
            .finish()
    }
}

/// Why [`Threads`] were not started.
///
/// # Examples
///
/// ```
/// use corymb::Threads;
///
/// let error = Threads::fixed(0, "none").unwrap_err();
/// assert!(error.to_string().starts_with("0 threads were asked for"), "{error}");
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ThreadsError {
    /// So many threads would run nothing, or are too many.
    #[error("{0} threads were asked for: give a number from 1 to {MAX_THREADS}")]
    Count(usize),
    /// The name holds a zero byte.
    #[error("the thread name {0:?} holds a zero byte, which no system takes: leave it out")]
    Name(String),
    /// The system gave no thread.
    #[error("the system refused a thread: {0}; ask for fewer, or raise its limit")]
    System(#[source] io::Error),
}

/// What `unwrap` and `main` print.
impl fmt::Debug for ThreadsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ThreadsError({self})")
    }
}

/// What the threads share.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// Something was queued, or it was closed.
    changed: Condvar,
    /// Empty until all are started, and nobody dispatches before.
    threads: OnceLock<Vec<ThreadId>>,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Coroutine>,
    closed: bool,
}

impl Queue {
    /// What each thread does.
    fn serve(&self) {
        while let Some(turn) = self.next() {
            let take_turn = || match turn {
                Turn::Run(coroutine) => coroutine.run(),
                Turn::Discard(coroutine) => coroutine.discard(),
            };
            // Coroutines keep their panics; this is for what runs around them.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(take_turn)) {
                report_here("thread of a dispatcher", payload);
            }
        }
    }

    /// Waits for what is next; none after the end.
    fn next(&self) -> Option<Turn> {
        let mut state = lock(&self.state);
        loop {
            match (state.ready.pop_front(), state.closed) {
                (Some(coroutine), false) => return Some(Turn::Run(coroutine)),
                (Some(coroutine), true) => return Some(Turn::Discard(coroutine)),
                (None, true) => return None,
                (None, false) => {}
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    /// Whether the calling thread is one of those.
    fn is_one_of_them(&self) -> bool {
        self.threads.get().is_some_and(|threads| threads.contains(&thread::current().id()))
    }
}

enum Turn {
    Run(Coroutine),
    Discard(Coroutine),
}

impl Dispatch for Queue {
    fn dispatch(&self, coroutine: Coroutine) {
        let mut state = lock(&self.state);
        if state.closed {
            drop(state);
            // It is cancelled by this, and runs foreign code: not under the lock.
            return drop(coroutine);
        }
        state.ready.push_back(coroutine);
        drop(state);
        self.changed.notify_one();
    }

    fn is_here(&self) -> bool {
        let is_single = self.threads.get().is_some_and(|threads| threads.len() == 1);
        is_single && self.is_one_of_them()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
