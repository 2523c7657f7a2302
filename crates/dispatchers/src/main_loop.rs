//! The event loop of a program that has one of its own, as `Dispatcher::Main`.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::thread::{self, ThreadId};

use corymb_core::internal::prim::Mutex;
use corymb_core::internal::prim::atomic::{AtomicUsize, Ordering};
use corymb_core::{Coroutine, Dispatch, Job};

use crate::home::Home;

/// Makes a program's event loop what [`Dispatcher::Main`](corymb_core::Dispatcher::Main) stands
/// for.
///
/// A toolkit's loop owns the main thread and takes closures, messages or events from others. To
/// install it is to say how a [`Coroutine`] gets there; the loop [runs](Coroutine::run) it. A
/// runtime whose main loop is that of `#[corymb::main]` keeps that one.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use std::thread;
/// use corymb::{Coroutine, Main, prelude::*};
///
/// // Whatever the toolkit has: here, a loop over a channel.
/// let (proxy, events) = mpsc::channel::<Coroutine>();
/// Main::install(move |coroutine| drop(proxy.send(coroutine)))?;
///
/// let main = thread::current().id();
/// let shown = detached(async move {
///     let result = corymb::blocking(|| 6 * 7).await; // not on the main thread
///     corymb::with_context(Dispatcher::Main, async move {
///         assert_eq!(thread::current().id(), main);
///         result
///     })
///     .await
/// });
/// while !shown.job().is_completed() {
///     // With a time, as nothing else ends this loop.
///     let wait = std::time::Duration::from_millis(10);
///     events.recv_timeout(wait).map(Coroutine::run).ok();
/// }
/// assert_eq!(run_blocking(shown), 42);
/// # Ok::<(), corymb::MainError>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Main {}

type Sender = dyn Fn(Coroutine) + Send + Sync;

/// The loop that was installed.
struct Installed {
    thread: ThreadId,
    /// None when it was uninstalled.
    send: Mutex<Option<Arc<Sender>>>,
    /// What its thread blocks on, the innermost one last.
    blocked: Mutex<Vec<Blocked>>,
    /// How many were sent so far.
    sent: AtomicUsize,
}

struct Blocked {
    run: Job,
    home: Arc<Home>,
}

static INSTALLED: OnceLock<Arc<Installed>> = OnceLock::new();

impl Main {
    /// Installs the event loop of the calling thread, for the rest of the program.
    ///
    /// `send` is called on any thread, and hands the coroutine over to the loop, which runs it: on
    /// its thread, and not inside of `send`. One that it drops is cancelled, so a loop that has
    /// ended needs no more care. Where the loop's thread is to be another one than the caller's, use
    /// [`install_for`](Self::install_for).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use corymb::{Coroutine, Main, MainError, prelude::*};
    ///
    /// let (proxy, events) = mpsc::channel::<Coroutine>();
    /// Main::install(move |coroutine| drop(proxy.send(coroutine)))?;
    /// let greeting = detached(spawn_on(Dispatcher::Main, async { "hello" }));
    /// events.recv().expect("it was sent").run();
    /// assert_eq!(run_blocking(greeting), "hello");
    /// # Ok::<(), MainError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there was one already: a process has one main loop.
    pub fn install(send: impl Fn(Coroutine) + Send + Sync + 'static) -> Result<(), MainError> {
        Self::install_for(thread::current().id(), send)
    }

    /// As [`install`](Self::install), for the event loop of the thread `thread`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::thread;
    /// use corymb::{Coroutine, Main, MainError, prelude::*};
    ///
    /// let (proxy, events) = mpsc::channel::<Coroutine>();
    /// let loop_of_main = thread::spawn(move || events.into_iter().for_each(Coroutine::run));
    /// let main = loop_of_main.thread().id();
    /// Main::install_for(main, move |coroutine| drop(proxy.send(coroutine)))?;
    /// let there = run_blocking(spawn_on(Dispatcher::Main, async { thread::current().id() }));
    /// assert_eq!(there, main);
    /// # Ok::<(), MainError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`install`](Self::install).
    pub fn install_for(
        thread: ThreadId,
        send: impl Fn(Coroutine) + Send + Sync + 'static,
    ) -> Result<(), MainError> {
        let send: Arc<Sender> = Arc::new(send);
        let installed = Installed {
            thread,
            send: Mutex::new(Some(send)),
            blocked: Mutex::new(Vec::new()),
            sent: AtomicUsize::new(0),
        };
        INSTALLED.set(Arc::new(installed)).map_err(|_| MainError(()))
    }

    /// Lets go of the closure that was installed. From then on, what is given to
    /// [`Dispatcher::Main`](corymb_core::Dispatcher::Main) is cancelled. False if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{Coroutine, Main, MainError};
    ///
    /// assert!(!Main::uninstall());
    /// Main::install(|coroutine: Coroutine| drop(coroutine))?;
    /// assert!(Main::uninstall());
    /// # Ok::<(), MainError>(())
    /// ```
    pub fn uninstall() -> bool {
        let send = INSTALLED.get().and_then(|installed| installed.send.lock().take());
        // Dropped without the lock.
        send.is_some()
    }

    /// Whether the calling thread is the one of the installed loop. After
    /// [`uninstall`](Self::uninstall) none is.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{Coroutine, Main, MainError};
    ///
    /// assert!(!Main::is_here());
    /// Main::install(|coroutine: Coroutine| drop(coroutine))?;
    /// assert!(Main::is_here());
    /// assert!(!std::thread::spawn(Main::is_here).join().unwrap());
    /// assert!(Main::uninstall() && !Main::is_here());
    /// # Ok::<(), MainError>(())
    /// ```
    pub fn is_here() -> bool {
        INSTALLED.get().is_some_and(|installed| installed.is_here())
    }
}

/// The loop that was installed, if one was.
pub(crate) fn installed() -> Option<Arc<dyn Dispatch>> {
    INSTALLED.get().map(|installed| -> Arc<dyn Dispatch> { Arc::<Installed>::clone(installed) })
}

impl Dispatch for Installed {
    fn dispatch(&self, coroutine: Coroutine) {
        // Dropping it cancels it.
        let Some(send) = self.send.lock().clone() else { return };
        if let Some(coroutine) = self.serve(coroutine) {
            // Ordering: Relaxed, a figure for a report.
            self.sent.fetch_add(1, Ordering::Relaxed);
            send(coroutine);
        }
    }

    fn is_here(&self) -> bool {
        self.thread == thread::current().id() && self.send.lock().is_some()
    }
}

impl Installed {
    /// Hands what the loop's thread blocks on to that thread; gives back all else.
    fn serve(&self, coroutine: Coroutine) -> Option<Coroutine> {
        let blocked = self.blocked.lock();
        match blocked.iter().rfind(|blocked| coroutine.is_below(&blocked.run)) {
            // Under the lock, as the home may end when the entry is gone.
            Some(blocked) => blocked.home.dispatch(coroutine),
            None => return Some(coroutine),
        }
        None
    }
}

/// The thread of the installed loop blocks; see [`occupy`].
pub(crate) struct OccupiedMain {
    installed: Arc<Installed>,
    /// How many had been sent before.
    sent: usize,
}

/// The thread is about to block on `run`. None if it is not that of the installed loop; else `home`
/// gets what of that loop is below `run`, until what is answered has been dropped.
pub(crate) fn occupy(run: &Job, home: impl FnOnce() -> Arc<Home>) -> Option<OccupiedMain> {
    let installed = Arc::clone(INSTALLED.get().filter(|installed| installed.is_here())?);
    let blocked = Blocked { run: run.clone(), home: home() };
    installed.blocked.lock().push(blocked);
    // Ordering: Relaxed, a figure for a report.
    let sent = installed.sent.load(Ordering::Relaxed);
    Some(OccupiedMain { installed, sent })
}

impl OccupiedMain {
    /// The loop, if something was sent there meanwhile.
    pub(crate) fn held_up(&self) -> Option<String> {
        // Ordering: Relaxed, a figure for a report.
        let sent = self.installed.sent.load(Ordering::Relaxed);
        (sent != self.sent).then(|| "the thread of Dispatcher::Main".into())
    }
}

impl Drop for OccupiedMain {
    fn drop(&mut self) {
        // Blocking runs of a thread nest.
        let last = self.installed.blocked.lock().pop();
        drop(last);
    }
}

/// [`Main::install`] was called a second time.
///
/// # Examples
///
/// ```
/// use corymb::{Coroutine, Main, MainError};
///
/// Main::install(|coroutine: Coroutine| drop(coroutine))?;
/// let second = Main::install(|coroutine: Coroutine| drop(coroutine)).unwrap_err();
/// assert!(second.to_string().contains("was installed before"), "{second}");
/// # Ok::<(), MainError>(())
/// ```
pub struct MainError(());

impl fmt::Display for MainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a main loop was installed before: a process has one, so call Main::install once, \
             where the program's event loop is made",
        )
    }
}

/// What `unwrap` and `main` print.
impl fmt::Debug for MainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MainError({self})")
    }
}

impl std::error::Error for MainError {}
