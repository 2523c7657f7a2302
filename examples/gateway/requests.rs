//! The requests, as the lines of a file say them.
//!
//! The grammar stands in the comments of `examples/data/requests.txt`.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::backend::BUILT_IN;
use crate::tally::Outcome;

/// One request, and what is to happen to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The number of its line.
    pub(crate) line: usize,
    pub(crate) user: u64,
    pub(crate) knobs: Knobs,
    /// When the client goes away, after it has sent the request.
    pub(crate) hangup: Option<Duration>,
}

impl Request {
    /// The target of the HTTP request.
    pub(crate) fn target(&self) -> String {
        format!("/user/{}{}", self.user, self.knobs)
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.hangup.is_none() && self.knobs == Knobs::default()
    }

    /// How the request ends with healthy built-in backends.
    pub(crate) fn expected(&self, deadline: Duration) -> Outcome {
        let knobs = &self.knobs;
        let failure = knobs.fail.iter().chain(&knobs.garble).map(|name| knobs.delay(name)).min();
        let slowest = BUILT_IN.iter().map(|name| knobs.delay(name)).max();
        if self.hangup.is_some() {
            Outcome::HungUp
        } else if failure.is_some_and(|delay| delay < deadline) {
            Outcome::Failed
        } else if slowest.is_some_and(|delay| delay >= deadline) {
            Outcome::TimedOut
        } else {
            Outcome::Ok
        }
    }
}

/// What the built-in backends are asked to do wrong. It travels as the query of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Knobs {
    slow: Vec<(&'static str, Duration)>,
    fail: Vec<&'static str>,
    garble: Vec<&'static str>,
}

impl Knobs {
    /// Those of a query: `slow=orders:300ms&fail=stats`. What it does not know says nothing.
    pub(crate) fn of_query(query: &str) -> Self {
        let mut knobs = Self::default();
        for pair in query.split('&') {
            let _known = knobs.add(pair);
        }
        knobs
    }

    fn add(&mut self, word: &str) -> Result<(), LineError> {
        let (knob, value) = word.split_once('=').unwrap_or((word, ""));
        match knob {
            "slow" => {
                let (name, time) =
                    value.split_once(':').ok_or_else(|| LineError::NoTime(word.to_owned()))?;
                self.slow.push((backend(name)?, duration(time)?));
            }
            "fail" => self.fail.push(backend(value)?),
            "garble" => self.garble.push(backend(value)?),
            _ => return Err(LineError::UnknownKnob(word.to_owned())),
        }
        Ok(())
    }

    pub(crate) fn delay(&self, backend: &str) -> Duration {
        let delays = self.slow.iter().filter(|(name, _)| *name == backend);
        delays.map(|(_, delay)| *delay).sum()
    }

    pub(crate) fn fails(&self, backend: &str) -> bool {
        self.fail.contains(&backend)
    }

    pub(crate) fn garbles(&self, backend: &str) -> bool {
        self.garble.contains(&backend)
    }
}

/// As a query, with its `?` if there is anything to say.
impl fmt::Display for Knobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut mark = '?';
        let mut next = || std::mem::replace(&mut mark, '&');
        for (name, delay) in &self.slow {
            write!(f, "{}slow={name}:{}ms", next(), delay.as_millis())?;
        }
        for name in &self.fail {
            write!(f, "{}fail={name}", next())?;
        }
        for name in &self.garble {
            write!(f, "{}garble={name}", next())?;
        }
        f.write_str("")
    }
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LineError {
    NotText,
    NoUser(String),
    BadId(String),
    UnknownKnob(String),
    UnknownBackend(String),
    NoTime(String),
    BadTime(String),
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => f.write_str("it is not UTF-8"),
            Self::NoUser(word) => write!(f, "`{word}`: a request begins with `user ID`"),
            Self::BadId(word) => write!(f, "`{word}`: an ID is a whole number"),
            Self::UnknownKnob(word) => {
                write!(f, "`{word}`: there are slow=, fail=, garble= and hangup")
            }
            Self::UnknownBackend(word) => {
                write!(f, "`{word}`: the built-in backends are {}", BUILT_IN.join(", "))
            }
            Self::NoTime(word) => write!(f, "`{word}`: write it as slow=orders:300ms"),
            Self::BadTime(word) => write!(f, "`{word}`: a time is a whole number of ms or s"),
        }
    }
}

/// The requests of a file, and its lines that make none.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) good: Vec<Request>,
    pub(crate) refused: Vec<(usize, LineError)>,
}

impl Requests {
    pub(crate) fn parse(file: &[u8]) -> Self {
        let mut requests = Self::default();
        for (number, line) in (1..).zip(file.split(|byte| *byte == b'\n')) {
            match parse_line(number, line) {
                Ok(Some(request)) => requests.good.push(request),
                Ok(None) => {}
                Err(error) => requests.refused.push((number, error)),
            }
        }
        requests
    }
}

/// The request of a line; none if it says nothing.
fn parse_line(number: usize, line: &[u8]) -> Result<Option<Request>, LineError> {
    let line = str::from_utf8(line).map_err(|_| LineError::NotText)?.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let verb = words.next().unwrap_or_default();
    if verb != "user" {
        return Err(LineError::NoUser(shortened(verb)));
    }
    let id = words.next().unwrap_or_default();
    let user = id.parse().map_err(|_| LineError::BadId(shortened(id)))?;
    let mut request = Request { line: number, user, knobs: Knobs::default(), hangup: None };
    for word in words {
        match word.strip_prefix("hangup") {
            Some("") => request.hangup = Some(Duration::ZERO),
            Some(time) if time.starts_with('=') => request.hangup = Some(duration(&time[1..])?),
            _ => request.knobs.add(word)?,
        }
    }
    Ok(Some(request))
}

fn backend(name: &str) -> Result<&'static str, LineError> {
    let known = BUILT_IN.into_iter().find(|known| *known == name);
    known.ok_or_else(|| LineError::UnknownBackend(shortened(name)))
}

fn duration(text: &str) -> Result<Duration, LineError> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').unwrap_or_default(), 1000),
    };
    match number.parse::<u32>() {
        Ok(number) => Ok(Duration::from_millis(u64::from(number) * unit)),
        Err(_) => Err(LineError::BadTime(shortened(text))),
    }
}

/// A word of the file as a message shows it.
fn shortened(word: &str) -> String {
    let mut text: String = word.chars().take(40).collect();
    if text.len() < word.len() {
        let _infallible = text.write_str("...");
    }
    text
}
