//! Who ran in a schedule, from where to where.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use corymb_core::Job;
use corymb_core::internal::waits_of;

use crate::queue::Ready;

/// The steps of a run.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    count: usize,
    switches: usize,
    last: Option<usize>,
    /// None if they are only counted.
    turns: Option<Vec<Turn>>,
    mark: Mark,
}

/// A hash of who ran and what each waited for then: of words alone, so that it stays the same when
/// lines of the program move, and in other releases of the compiler.
///
/// Source: the FNV-1a hash of Fowler, Noll and Vo.
#[derive(Debug)]
struct Mark(u32);

impl Default for Mark {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl Mark {
    fn add(&mut self, word: &str) {
        // The last one is in no text: it ends the word.
        for byte in word.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }

    fn folded(&self) -> u16 {
        let [a, b, c, d] = self.0.to_le_bytes();
        u16::from_le_bytes([a ^ c, b ^ d])
    }
}

/// Steps in a row of one coroutine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    who: String,
    at: Duration,
    from: Option<&'static Location<'static>>,
    to: End,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// The coroutine returned, or was dropped.
    Ended(&'static str),
    /// It could have gone on; what it noted last.
    Ready(Option<(&'static str, &'static Location<'static>)>),
    Waits(Vec<(&'static str, &'static Location<'static>)>),
}

/// What has to be known before a step for its description.
pub(crate) struct Begun(Job);

impl Steps {
    pub(crate) fn new(described: bool) -> Self {
        Self { turns: described.then(Vec::new), ..Self::default() }
    }

    /// A step of `ready` begins.
    pub(crate) fn begin(&mut self, ready: &Ready, at: Duration) -> Option<Begun> {
        let number = ready.number();
        let switches = self.last != Some(number);
        self.count += 1;
        self.switches += usize::from(switches && self.last.is_some());
        self.last = Some(number);
        let turns = self.turns.as_mut()?;
        self.mark.add(ready.coroutine().who().name().unwrap_or_default());
        let job = ready.coroutine().job();
        let from = waits_of(&job).first().map(|(_, place)| *place);
        if switches || turns.is_empty() {
            let who = format!("#{number} {}", ready.coroutine().who());
            turns.push(Turn { who, at, from, to: End::Ended("") });
        }
        Some(Begun(job))
    }

    /// It has ended.
    pub(crate) fn end(&mut self, begun: &Begun, is_ready: bool) {
        let Begun(job) = begun;
        let waits = waits_of(job);
        waits.iter().for_each(|(what, _)| self.mark.add(what));
        let to = if job.is_completed() {
            End::Ended(if job.is_cancelled() { "failed or cancelled" } else { "done" })
        } else if is_ready {
            End::Ready(waits.first().copied())
        } else {
            End::Waits(waits)
        };
        if let Some(turn) = self.turns.as_mut().and_then(|turns| turns.last_mut()) {
            turn.to = to;
        }
    }

    pub(crate) fn switches(&self) -> usize {
        self.switches
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// What tells the run from one of another program with the same decisions, if that was looked at.
    pub(crate) fn mark(&self) -> Option<u16> {
        self.turns.is_some().then(|| self.mark.folded())
    }

    pub(crate) fn into_turns(self) -> Vec<Turn> {
        self.turns.unwrap_or_default()
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, at, from, to } = self;
        if !at.is_zero() {
            write!(f, "after {at:?}, ")?;
        }
        write!(f, "{who}: ")?;
        match from {
            Some(place) => write!(f, "from {place} ")?,
            None => f.write_str("from its beginning ")?,
        }
        match to {
            End::Ended(how) => write!(f, "to its end ({how})"),
            End::Ready(None) => f.write_str("until another one was first"),
            End::Ready(Some((what, place))) => {
                write!(f, "until another one was first, before {what} at {place}")
            }
            End::Waits(waits) if waits.is_empty() => f.write_str("until it waited"),
            End::Waits(waits) => {
                f.write_str("until it waited for ")?;
                for (i, (what, place)) in waits.iter().enumerate() {
                    let and = if i > 0 { " and " } else { "" };
                    write!(f, "{and}{what} at {place}")?;
                }
                Ok(())
            }
        }
    }
}
