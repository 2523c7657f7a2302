//! One run of a program in one schedule.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::Verdict;
use crate::choices::{Decision, Policy};
use crate::runtime::TestRuntime;

use super::quiet;
use super::trace::Steps;

/// What went wrong in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) text: String,
    /// The place of the last panic in the run.
    pub(crate) place: Option<String>,
}

/// The kinds of what goes wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The body panicked.
    Panic,
    /// The body returned an error.
    Error,
    /// Nothing was ready, no timer was armed, and the body had not ended.
    Deadlock,
    /// The clock stood still for too many polls.
    Livelock,
    /// It took too much real time.
    TooLong,
    /// Something was alive after the body had returned.
    Leak,
    /// A failure reached nobody.
    Unseen,
    /// The program did not do what it had done before in the same schedule.
    Diverged,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Deadlock => "deadlock",
            Self::Livelock => "livelock",
            Self::TooLong => "time limit",
            Self::Leak => "leak",
            Self::Unseen => "unseen failure",
            Self::Diverged => "divergence",
        })
    }
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, text: String) -> Self {
        Self { kind, text, place: None }
    }

    /// That of the run that has ended just now on this thread.
    pub(crate) fn of_run(kind: FaultKind, text: &str) -> Self {
        Self { kind, text: steady(text), place: quiet::last_place() }
    }

    /// Whether it is the same, but for what the text says of values.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.kind, &self.place) == (other.kind, &other.place) && self.gist() == other.gist()
    }

    /// What another schedule's text has to say too, if it is to tell of the same fault. Where the
    /// text is a tree: who is in there, and what each waits for; how many are alike, and at which
    /// moment a limit was reached, may differ.
    fn gist(&self) -> BTreeSet<String> {
        let lines = self.text.lines();
        match self.kind {
            FaultKind::Deadlock | FaultKind::Leak => lines.map(without_numbers).collect(),
            FaultKind::Livelock | FaultKind::TooLong => BTreeSet::new(),
            FaultKind::Panic => lines.take(1).map(what_it_says).collect(),
            _ => lines.map(what_it_says).collect(),
        }
    }

    /// What kind of thing it is.
    pub fn kind(&self) -> FaultKind {
        self.kind
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How runs are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) polls: usize,
    pub(super) time: Option<Duration>,
    /// Whether the steps are described, not only counted.
    pub(super) trace: bool,
}

/// What a run was.
pub(super) struct Run {
    pub(super) fault: Option<Fault>,
    pub(super) decisions: Vec<Decision>,
    pub(super) steps: Steps,
}

/// Runs what `make` makes, in the schedule that `policy` picks.
#[track_caller]
pub(super) fn run<F>(policy: Box<dyn Policy>, limits: Limits, make: &mut impl FnMut() -> F) -> Run
where
    F: Future<Output: Verdict> + Send + 'static,
{
    let _quiet = quiet::begin();
    let runtime =
        TestRuntime::explored(policy, Steps::new(limits.trace), limits.polls, limits.time);
    let verdict = runtime.run_to_verdict(|| {
        let future = make();
        async { future.await.verdict() }
    });
    let (decisions, steps) = runtime.take_record();
    // The first fault is the one that counts.
    let verdict = verdict.and(runtime.close());
    let fault = verdict.err().map(|(kind, text)| Fault::of_run(kind, &text));
    Run { fault, decisions, steps }
}

/// A line of a tree without the numbers that stand for addresses, and that of a body without the
/// place of its launch: it is launched from here and there while a schedule is made shorter.
fn without_numbers(line: &str) -> String {
    let is_body = line.starts_with("  ") && !line.starts_with("   ");
    let parts = line.split(", ").enumerate().filter(|(at, _)| !(is_body && *at == 2));
    let words = parts.flat_map(|(_, part)| part.split_whitespace());
    words.filter(|word| !word.contains('#')).collect::<Vec<_>>().join(" ")
}

/// The words of what a panic or an error says, without who says it: one that is like it may say the
/// same, of other values.
fn what_it_says(line: &str) -> String {
    let said = line.split_once(" panicked: ").map_or(line, |(_, said)| said);
    let words = said.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// How many hexadecimal digits an address has at least.
const ADDRESS: usize = if cfg!(target_pointer_width = "64") { 9 } else { 6 };

/// The text of a fault with the place of the panic that it came of, and without what differs from
/// run to run: an address becomes the number of its first place in the text.
fn steady(text: &str) -> String {
    let mut seen = Vec::new();
    let mut parts = text.split("0x");
    let mut steady = String::from(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(part.len());
        let (address, rest) = part.split_at(end);
        // Short ones are numbers of the program's own.
        if address.len() < ADDRESS {
            let _ = write!(steady, "0x{part}");
            continue;
        }
        let number = seen.iter().position(|it| *it == address).unwrap_or_else(|| {
            seen.push(address);
            seen.len() - 1
        });
        let _ = write!(steady, "#{}{rest}", number + 1);
    }
    if let Some(place) = quiet::last_place() {
        let _ = write!(steady, " (the last panic was at {place})");
    }
    steady
}
