//! Telling of polls that hold a processor for too long.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Moment};

use corymb_core::Dispatcher;
use corymb_core::internal::report_here;
use corymb_core::time::Instant;

/// The least time between two lines about one launch site.
const LINE_PERIOD: Duration = Duration::from_secs(1);

/// A coroutine blocks or computes in one poll for so long that others wait for it.
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
    /// Whether the thread computes, or blocks and leaves its processor of the machine to others;
    /// nothing where the system does not tell (on Linux and Android it does). At the end of the
    /// poll: whether it has blocked for long at any time.
    pub computes: Option<bool>,
    /// Whether the poll has ended.
    pub ended: bool,
}

impl fmt::Display for WorkerBlocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, launched_at, dispatcher, elapsed, computes, ended } = self;
        f.write_str("the coroutine ")?;
        if let Some(name) = name {
            write!(f, "`{name}` ")?;
        }
        let has = if *ended { "" } else { "has " };
        let verb = match computes {
            Some(true) => "computed on",
            Some(false) => "blocked",
            None => "held",
        };
        write!(f, "launched at {launched_at} {has}{verb} a worker of {dispatcher:?} for ")?;
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
    /// See [`WorkerBlocked::computes`].
    pub(super) computes: Option<bool>,
    /// A line was written of it.
    pub(super) lined: bool,
}

impl Record {
    /// Whether others are to be protected from it: it does not compute, as far as one knows.
    pub(super) fn blocks(&self) -> bool {
        self.computes != Some(true)
    }

    pub(super) fn event(&self, now: Instant, ended: bool) -> WorkerBlocked {
        WorkerBlocked {
            name: self.name.clone(),
            launched_at: self.site,
            dispatcher: Dispatcher::Default,
            elapsed: now.saturating_duration_since(self.since),
            computes: self.computes,
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

    /// A poll is too long; true if a line was written.
    pub(super) fn begun(&self, event: &WorkerBlocked) -> bool {
        let due = if self.told_to_hook(event) { None } else { self.is_due(event.launched_at) };
        if let Some(left_out) = due {
            let what_to_do = what_to_do(event.computes);
            let left_out = Left(left_out);
            write_line(format_args!(
                "{event}{left_out}: other coroutines may wait for it. {what_to_do}"
            ));
        }
        due.is_some()
    }

    /// Such a poll has ended, of which a line was written or not.
    pub(super) fn ended(&self, event: &WorkerBlocked, lined: bool) {
        if !self.told_to_hook(event) && lined {
            let left_out = Left(self.left_out(event.launched_at));
            write_line(format_args!("{event}{left_out}"));
        }
    }

    /// Calls the hook, if there is one.
    fn told_to_hook(&self, event: &WorkerBlocked) -> bool {
        let Some(hook) = &self.hook else { return false };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| hook(event))) {
            report_here("on_worker_blocked", payload);
        }
        true
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<&'static Location<'static>, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of this place were not written of since the last line.
    fn left_out(&self, site: &'static Location<'static>) -> u64 {
        self.lines().get_mut(site).map_or(0, |line| std::mem::take(&mut line.left_out))
    }

    /// Whether a line is to be written now: then the number of those that were not since the last.
    fn is_due(&self, site: &'static Location<'static>) -> Option<u64> {
        let mut lines = self.lines();
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

/// What is to be changed in the program.
fn what_to_do(computes: Option<bool>) -> &'static str {
    match computes {
        Some(true) => "Let it yield_now() now and then",
        Some(false) => "Put what blocks into blocking(..) or with_context(Dispatcher::Io, ..)",
        None => {
            "Put what blocks into blocking(..) or with_context(Dispatcher::Io, ..), and let what \
             computes yield_now() now and then"
        }
    }
}

/// How many polls were not written of.
struct Left(u64);

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            n => write!(f, " ({n} more of this place since the last line)"),
        }
    }
}

#[expect(clippy::print_stderr, reason = "there is nobody else to tell")]
fn write_line(line: fmt::Arguments<'_>) {
    eprintln!("corymb: {line}");
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn event(computes: Option<bool>, ended: bool) -> String {
        let event = WorkerBlocked {
            name: Some("a".into()),
            launched_at: Location::caller(),
            dispatcher: Dispatcher::Default,
            elapsed: Duration::from_micros(20_400),
            computes,
            ended,
        };
        let text = event.to_string();
        let (start, rest) = text.split_once(&event.launched_at.to_string()).unwrap();
        assert_eq!(start, "the coroutine `a` launched at ");
        rest.to_owned()
    }

    #[test]
    fn an_event_says_what_was_seen_and_for_how_long() {
        let of = "a worker of Dispatcher::Default for 20.4ms";
        assert_eq!(event(Some(true), true), format!(" computed on {of}"));
        assert_eq!(event(Some(false), false), format!(" has blocked {of}, and goes on"));
        assert_eq!(event(None, false), format!(" has held {of}, and goes on"));
    }

    #[test]
    fn what_is_not_written_of_is_counted_until_the_next_line() {
        let teller = Teller::new(None);
        let site = Location::caller();
        assert_eq!(teller.is_due(site), Some(0));
        assert_eq!([teller.is_due(site), teller.is_due(site)], [None; 2]);
        assert_eq!([teller.left_out(site), teller.left_out(site)], [2, 0]);
        assert_eq!(Left(0).to_string(), "");
        assert_eq!(Left(2).to_string(), " (2 more of this place since the last line)");
    }
}
