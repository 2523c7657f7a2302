//! Telling of polls that hold a processor for too long.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant as Moment};

use corymb_core::Dispatcher;
use corymb_core::internal::report_here;
use corymb_core::time::Instant;

/// The least time between two lines about one launch site.
const LINE_PERIOD: Duration = Duration::from_secs(1);

/// A coroutine blocks or computes in one poll for so long that others had to be protected from it.
///
/// [`Builder::on_worker_blocked`](crate::Builder::on_worker_blocked) is given one when that is
/// seen, and one more at the end of the poll. As text it is one line.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use corymb::{Runtime, WorkerBlocked, prelude::*};
///
/// let (tell, told) = mpsc::channel::<WorkerBlocked>();
/// let runtime = Runtime::builder()
///     .on_worker_blocked(move |event| drop(tell.send(event.clone())))
///     .build()?;
/// let event = runtime.run_blocking(scope(async |s| {
///     // It blocks until that is seen.
///     let report = s.coroutine().name("report");
///     report.spawn(async move { told.recv().unwrap() }).await
/// }));
/// assert_eq!(event.name.as_deref(), Some("report"));
/// assert!(event.to_string().starts_with("the coroutine `report` launched at "), "{event}");
/// # Ok::<(), corymb::BuildError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerBlocked {
    /// The coroutine's name, where it is known.
    pub name: Option<Arc<str>>,
    /// Where the coroutine was launched.
    pub launched_at: &'static Location<'static>,
    /// The dispatcher whose thread it holds.
    pub dispatcher: Dispatcher,
    /// For how long, until now or in all: counted from when it was first seen, which may be 5
    /// milliseconds late.
    pub elapsed: Duration,
    /// Whether the poll has ended.
    pub ended: bool,
}

impl fmt::Display for WorkerBlocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, launched_at, dispatcher, elapsed, ended } = self;
        f.write_str("the coroutine ")?;
        if let Some(name) = name {
            write!(f, "`{name}` ")?;
        }
        let (verb, how_long) = if *ended { ("held", "for") } else { ("holds", "since") };
        write!(f, "launched at {launched_at} {verb} a worker of {dispatcher:?} {how_long} ")?;
        write!(f, "{elapsed:.1?}{}", if *ended { "" } else { ", and goes on" })
    }
}

/// What is told of it.
pub(crate) type Hook = Box<dyn Fn(&WorkerBlocked) + Send + Sync>;

/// A poll that was told of and has not ended, as far as one knows.
pub(super) struct Record {
    pub(super) name: Option<Arc<str>>,
    pub(super) site: &'static Location<'static>,
    pub(super) since: Instant,
}

impl Record {
    pub(super) fn event(&self, now: Instant, ended: bool) -> WorkerBlocked {
        WorkerBlocked {
            name: self.name.clone(),
            launched_at: self.site,
            dispatcher: Dispatcher::Default,
            elapsed: now.saturating_duration_since(self.since),
            ended,
        }
    }
}

/// Calls the hook, or writes a line.
pub(super) struct Teller {
    hook: Option<Hook>,
    lines: Mutex<HashMap<&'static Location<'static>, Line>>,
}

/// What was written about one launch site.
struct Line {
    at: Moment,
    left_out: u64,
}

impl Teller {
    pub(super) fn new(hook: Option<Hook>) -> Self {
        Self { hook, lines: Mutex::default() }
    }

    pub(super) fn tell(&self, event: &WorkerBlocked) {
        match &self.hook {
            Some(hook) => {
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| hook(event))) {
                    report_here("on_worker_blocked", payload);
                }
            }
            None if event.ended => {}
            None => {
                if let Some(left_out) = self.is_due(event.launched_at) {
                    write_line(event, left_out);
                }
            }
        }
    }

    /// Whether a line is to be written now: then the number of those that were not since the last.
    fn is_due(&self, site: &'static Location<'static>) -> Option<u64> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Moment::now();
        match lines.get_mut(site) {
            Some(line) if now.duration_since(line.at) < LINE_PERIOD => {
                line.left_out += 1;
                None
            }
            known => {
                let left_out = known.map_or(0, |line| line.left_out);
                lines.insert(site, Line { at: now, left_out: 0 });
                Some(left_out)
            }
        }
    }
}

#[expect(clippy::print_stderr, reason = "there is nobody else to tell")]
fn write_line(event: &WorkerBlocked, left_out: u64) {
    let more = match left_out {
        0 => String::new(),
        n => format!(" ({n} more like this since the last line)"),
    };
    eprintln!(
        "corymb: {event}{more}: other coroutines may wait for it. Put what blocks into \
         blocking(..) or with_context(Dispatcher::Io, ..), and let what computes yield_now() \
         now and then"
    );
}
