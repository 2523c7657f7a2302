//! Code that runs around each poll of a coroutine: bridges to what others keep in thread-locals.
//!
//! A coroutine whose context has hooks is born with the flag `HOOKED`, and is polled by the way that
//! those take which have moved; the others know nothing of it.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use crate::coroutine::is_cancellation;
use crate::current;
use crate::failure::{self, Failure, Panic};

/// Code that runs around each poll of a coroutine, on the thread that polls it, and around the drop
/// of its future: part of a [`Context`](crate::Context).
///
/// It is for what others keep in thread-locals: the span of a tracing library, the handle of another
/// runtime, the fields that a logger adds. It sets that, [runs](Polling::run) the poll, and sets it
/// back.
///
/// - Children inherit the hooks of their scope. A context that adds others adds them inside:
///   the hooks around a poll are entered in the order in which they were added, outermost first,
///   and left in reverse. A hook that is in force already is not added again.
/// - With [`with_context`](crate::with_context()) a hook is around each poll of the section alone,
///   and around its drop.
/// - Around the drop of a future it runs also if that was never polled. A future that is dropped
///   where it was to be launched, into a scope that has ended, has none.
/// - A poll that begins inside of another one, as an undispatched launch does or one on
///   [`Unconfined`](crate::Dispatcher::Unconfined), is inside of the hooks of that too.
/// - The hook is a part of the coroutine: it sees its scoped values and its
///   [`Job`](crate::Job::current), and may launch, wake and cancel, also the coroutine itself. Time
///   that it takes is time of the poll.
/// - A hook that panics is told to the failure handler, and the poll goes on without it: the panic
///   harms neither the coroutine nor other hooks.
///
/// A coroutine without hooks pays an instruction for this at its launch, and none in a poll.
///
/// # Examples
///
/// A stack of spans in a thread-local, as tracing libraries have it:
///
/// ```
/// use std::cell::RefCell;
/// use corymb::{PollHook, prelude::*};
///
/// thread_local!(static SPANS: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) });
///
/// /// What a logger would put in front of a line.
/// fn spans() -> String {
///     SPANS.with_borrow(|spans| spans.join("/"))
/// }
///
/// fn in_span(name: &'static str) -> PollHook {
///     PollHook::new(move |polling| {
///         SPANS.with_borrow_mut(|spans| spans.push(name));
///         let ran = polling.run();
///         SPANS.with_borrow_mut(|spans| spans.pop());
///         ran
///     })
/// }
///
/// let seen = run_blocking(scope(async |s| {
///     let server = s.coroutine().context(in_span("server")).spawn(scope(async |s| {
///         let request = s.coroutine().context(in_span("request")).spawn(async {
///             yield_now().await; // goes on in the same spans, on whatever thread
///             spans()
///         });
///         (request.await, spans())
///     }));
///     server.await
/// }));
/// assert_eq!(seen, ("server/request".into(), "server".into()));
/// assert_eq!(spans(), ""); // nothing is left behind
/// ```
///
/// With a crate whose guard sets back what it has set, such as `tracing`:
/// `PollHook::new(move |polling| { let _entered = span.enter(); polling.run() })`.
#[derive(Clone)]
pub struct PollHook(Arc<Hook>);

type Hook = dyn for<'a> Fn(Polling<'a>) -> Ran<'a> + Send + Sync;

impl PollHook {
    /// A hook that calls `f` in place of each poll; `f` runs the poll.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use corymb::{PollHook, prelude::*};
    ///
    /// static POLLS: AtomicU32 = AtomicU32::new(0);
    ///
    /// let counting = PollHook::new(|polling| {
    ///     POLLS.fetch_add(u32::from(!polling.is_drop()), Ordering::Relaxed);
    ///     polling.run()
    /// });
    /// run_blocking(scope(async |s| {
    ///     s.coroutine().context(counting).launch(async { yield_now().await });
    /// }));
    /// assert_eq!(POLLS.load(Ordering::Relaxed), 2);
    /// ```
    pub fn new(f: impl for<'a> Fn(Polling<'a>) -> Ran<'a> + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for PollHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PollHook")
    }
}

/// A poll that a [`PollHook`] is around, or the drop of a future.
#[must_use = "a hook has to run it"]
pub struct Polling<'a> {
    run: &'a mut (dyn FnMut() + 'a),
    is_drop: bool,
}

impl<'a> Polling<'a> {
    /// Runs it, with the hooks further inside. It returns also if the coroutine panics: that goes on
    /// when the hooks are left.
    pub fn run(self) -> Ran<'a> {
        (self.run)();
        Ran(PhantomData)
    }

    /// Whether the future is dropped, and not polled: its coroutine was cancelled.
    pub fn is_drop(&self) -> bool {
        self.is_drop
    }
}

impl fmt::Debug for Polling<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polling").field("is_drop", &self.is_drop).finish_non_exhaustive()
    }
}

/// Says that the poll was run: what a hook has to return, and gets from [`Polling::run`] alone.
///
/// ```compile_fail,E0271
/// use corymb::PollHook;
///
/// let idle = PollHook::new(|_polling| {}); // it has nothing to return
/// ```
#[derive(Debug)]
pub struct Ran<'a>(PhantomData<fn(&'a ()) -> &'a ()>);

/// The hooks in force, the outermost first; at least one.
#[derive(Clone)]
pub(crate) struct Hooks(Arc<Vec<PollHook>>);

impl Hooks {
    pub(crate) fn one(hook: PollHook) -> Self {
        Self(Arc::new(vec![hook]))
    }

    /// Those of `outer`, and inside of them those of `inner` that are not there already.
    pub(crate) fn join(outer: Option<&Self>, inner: Option<&Self>) -> Option<Self> {
        let (Some(outer), Some(inner)) = (outer, inner) else { return outer.or(inner).cloned() };
        let new: Vec<_> = inner.0.iter().filter(|hook| !outer.has(hook)).cloned().collect();
        if new.is_empty() {
            return Some(outer.clone());
        }
        Some(Self(Arc::new(outer.0.iter().cloned().chain(new).collect())))
    }

    pub(crate) fn has(&self, hook: &PollHook) -> bool {
        self.0.iter().any(|one| one.is(hook))
    }

    /// Calls `f`, a part of a coroutine or the drop of one, inside of the hooks.
    pub(crate) fn around<R>(&self, is_drop: bool, f: impl FnOnce() -> R) -> thread::Result<R> {
        around(&self.0, is_drop, f)
    }

    /// As [`around`](Self::around), for a section, with those that are not in force around it.
    /// The frame of that is not entered yet; `f` enters it.
    pub(crate) fn around_section<R>(
        &self,
        is_drop: bool,
        f: impl FnOnce() -> R,
    ) -> thread::Result<R> {
        if !self.0.iter().any(current::is_hooked_by) {
            return self.around(is_drop, f);
        }
        let new: Vec<_> =
            self.0.iter().filter(|hook| !current::is_hooked_by(hook)).cloned().collect();
        around(&new, is_drop, f)
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn around<R>(hooks: &[PollHook], is_drop: bool, f: impl FnOnce() -> R) -> thread::Result<R> {
    let mut f = Some(f);
    let mut result = None;
    nest(hooks, is_drop, &mut || {
        result = f.take().map(|f| catch_unwind(AssertUnwindSafe(f)));
    });
    result.expect("`nest` has called it")
}

/// Calls `f`, which does not panic, once.
fn nest(hooks: &[PollHook], is_drop: bool, f: &mut dyn FnMut()) {
    let Some((hook, inner)) = hooks.split_first() else { return f() };
    let mut has_run = false;
    let mut run = || {
        has_run = true;
        nest(inner, is_drop, f);
    };
    let called = catch_unwind(AssertUnwindSafe(|| {
        let _ran = (hook.0)(Polling { run: &mut run, is_drop });
    }));
    if let Err(payload) = called {
        if !has_run {
            nest(inner, is_drop, f);
        }
        if is_cancellation(&*payload) {
            return;
        }
        let who = current::poll_here().map(|poll| {
            // SAFETY: polled, so unended.
            unsafe { poll.node().who_failed() }
        });
        let Some(who) = who else { return failure::report_here("poll hook", payload) };
        let who = who.stray("poll hook of the coroutine launched");
        failure::report_in_context(&Failure::Panic(Panic::new(who, payload)));
    }
}
