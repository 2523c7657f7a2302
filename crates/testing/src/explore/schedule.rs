//! A schedule as text.

use std::fmt;
use std::iter;
use std::str::FromStr;

use corymb_core::hooks::Choice;

use crate::choices::Decision;

/// What the text begins with: another layout gets another number.
const VERSION: &str = "c1";

/// What stands before the mark.
const MARK: char = '~';

/// How many equal decisions a part of the text stands for at most.
const LONGEST: usize = 1_000_000;

/// All decisions of a run, in their order: to be printed, kept, and run again.
///
/// As text it is a line of letters, digits and dots; behind a tilde it may have a mark, by which the
/// run of a program that has changed is told from that which was kept.
/// [`Explorer::replay`](crate::Explorer::replay) and the environment variable `CORYMB_REPLAY` take it.
///
/// # Examples
///
/// ```
/// use corymb::testing::Schedule;
///
/// let schedule: Schedule = "c1.n3-1.n2-0x4~08a5".parse().unwrap();
/// assert_eq!(schedule.decisions().len(), 5);
/// assert_eq!(schedule.to_string(), "c1.n3-1.n2-0x4~08a5");
/// assert!("n3".parse::<Schedule>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    decisions: Vec<Decision>,
    mark: Option<u16>,
}

impl Schedule {
    pub(crate) fn new(decisions: Vec<Decision>) -> Self {
        Self { decisions, mark: None }
    }

    /// The same, of a run with that mark.
    pub(crate) fn marked(self, mark: Option<u16>) -> Self {
        Self { mark, ..self }
    }

    /// Whether a run of it with that mark may be one of the same program.
    pub(crate) fn is_of(&self, mark: Option<u16>) -> bool {
        self.mark.is_none_or(|kept| mark == Some(kept))
    }

    /// Which options were taken.
    pub(crate) fn picks(&self) -> Vec<usize> {
        self.decisions.iter().map(|decision| decision.picked).collect()
    }

    /// The decisions.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }
}

/// The kinds of decisions and their letters.
const LETTERS: [(char, Choice); 4] =
    [('n', Choice::Next), ('v', Choice::Victim), ('b', Choice::Branch), ('l', Choice::Latency)];

pub(crate) fn name(choice: Choice) -> &'static str {
    match choice {
        Choice::Next => "which coroutine is next",
        Choice::Victim => "whom to steal from",
        Choice::Branch => "which branch is first",
        Choice::Latency => "how long something is on its way",
        _ => "another one",
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(VERSION)?;
        let runs = self.decisions.chunk_by(|a, b| a == b);
        for run in runs.flat_map(|run| run.chunks(LONGEST)) {
            let Decision { choice, options, picked } = run[0];
            let letter = LETTERS.iter().find(|it| it.1 == choice).map_or('?', |it| it.0);
            write!(f, ".{letter}{options}-{picked}")?;
            if run.len() > 1 {
                write!(f, "x{}", run.len())?;
            }
        }
        match self.mark {
            Some(mark) => write!(f, "{MARK}{mark:04x}"),
            None => Ok(()),
        }
    }
}

/// A text that is no schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseScheduleError {
    what: String,
}

impl fmt::Display for ParseScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is no schedule: {}; take the whole text that a failure printed", self.what)
    }
}

impl std::error::Error for ParseScheduleError {}

impl FromStr for Schedule {
    type Err = ParseScheduleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |what: String| ParseScheduleError { what };
        let (text, mark) = match text.trim().split_once(MARK) {
            Some((text, mark)) => (text, Some(mark)),
            None => (text.trim(), None),
        };
        let mark = mark.map(|mark| {
            let number = u16::from_str_radix(mark, 16).ok().filter(|_| mark.len() == 4);
            number.ok_or_else(|| wrong(format!("`{mark}` is no mark")))
        });
        let mut parts = text.split('.');
        let version = parts.next().unwrap_or_default();
        if version != VERSION {
            return Err(wrong(format!("it begins with `{version}` and not with `{VERSION}`")));
        }
        let mut decisions = Vec::new();
        for part in parts {
            let (decision, times) =
                parse(part).ok_or_else(|| wrong(format!("`{part}` is no decision")))?;
            decisions.extend(iter::repeat_n(decision, times));
        }
        Ok(Self { decisions, mark: mark.transpose()? })
    }
}

/// A run of equal decisions.
fn parse(part: &str) -> Option<(Decision, usize)> {
    let letter = part.chars().next()?;
    let (_, choice) = LETTERS.iter().find(|it| it.0 == letter)?;
    let (options, rest) = part.get(1..)?.split_once('-')?;
    let (picked, times) = rest.split_once('x').unwrap_or((rest, "1"));
    let (options, picked) = (options.parse().ok()?, picked.parse().ok()?);
    let times = times.parse().ok().filter(|times| (1..=LONGEST).contains(times))?;
    (picked < options).then_some((Decision { choice: *choice, options, picked }, times))
}
