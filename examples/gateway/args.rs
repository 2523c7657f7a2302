//! The command line.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::backend::BUILT_IN;

/// What `--help` says.
pub(crate) const HELP: &str = "\
A gateway that asks three HTTP backends at once, with a load generator in front of it.

usage: gateway [OPTION]...

Without options: three built-in backends, the gateway, and the sample requests, over loopback TCP.

the gateway
  --listen ADDR       where it listens                           [127.0.0.1:0]
  --backend NAME=URL  asks http://host:port/prefix instead of the built-in backend of that name,
                      or in addition to them; may be repeated
  --deadline MS       for the answers of all backends            [500]
  --grace MS          for running requests at the end            [1000]
  --kill NAME@N       the built-in backend dies at the first request after N

the load
  --requests FILE     the requests, one a line; - is standard input
                      [examples/data/requests.txt, which explains the lines]
  --plain             only the lines without knobs
  --repeat N          so many passes over the lines              [1]
  --count N           so many requests in all, instead of --repeat
  --concurrency N     requests at once                           [64]
  --no-load           none: serve until Ctrl-C (needs --listen)

what it says
  --json              the summary is one line of JSON
  --self-check        afterwards, check that every request ended as its line says
  -v, --verbose       a line on stderr for every request
  -h, --help          this text

Ctrl-C ends it in order: no new requests, the grace for those that run, then the summary. A second
Ctrl-C skips the grace.

exit code: 0 it did its job, 1 it could not, or the self-check failed, 2 bad arguments,
130 ended by Ctrl-C
";

/// What the program is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) listen: SocketAddr,
    pub(crate) backends: Vec<Remote>,
    pub(crate) deadline: Duration,
    pub(crate) grace: Duration,
    pub(crate) kill: Option<Kill>,
    pub(crate) requests: Source,
    pub(crate) plain: bool,
    pub(crate) amount: Amount,
    pub(crate) concurrency: usize,
    pub(crate) load: bool,
    pub(crate) json: bool,
    pub(crate) self_check: bool,
    pub(crate) verbose: bool,
    pub(crate) help: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            backends: Vec::new(),
            deadline: Duration::from_millis(500),
            grace: Duration::from_secs(1),
            kill: None,
            requests: Source::Sample,
            plain: false,
            amount: Amount::Passes(1),
            concurrency: 64,
            load: true,
            json: false,
            self_check: false,
            verbose: false,
            help: false,
        }
    }
}

/// Where the requests come from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Sample,
    Stdin,
    File(PathBuf),
}

/// How many requests there are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    Passes(usize),
    Total(usize),
}

impl Amount {
    /// The number of requests, given that of the lines.
    pub(crate) fn of(self, lines: usize) -> usize {
        match self {
            _ if lines == 0 => 0,
            Self::Passes(passes) => passes.saturating_mul(lines),
            Self::Total(total) => total,
        }
    }
}

/// A backend that somebody else runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) name: String,
    /// `host:port`.
    pub(crate) authority: String,
    /// What stands before the path of a request; empty or `/...`.
    pub(crate) prefix: String,
}

impl FromStr for Remote {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, url) = text.split_once('=').ok_or("has no `=`")?;
        let rest = url.strip_prefix("http://").ok_or("has a URL that is not http://")?;
        let (authority, prefix) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let bad = |c: char| c.is_whitespace() || c.is_control();
        if name.is_empty() || name.contains(bad) || url.contains(bad) {
            return Err("has no name, or blanks in it");
        }
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err("has a URL without a host, or with a bad port");
        }
        Ok(Self {
            name: name.to_owned(),
            authority: format!("{host}:{port}"),
            prefix: prefix.trim_end_matches('/').to_owned(),
        })
    }
}

/// The end of a built-in backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) name: &'static str,
    /// How many requests it serves before.
    pub(crate) after: u64,
}

impl FromStr for Kill {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, after) = text.split_once('@').ok_or("has no `@`")?;
        let name = BUILT_IN.into_iter().find(|known| *known == name);
        Ok(Self {
            name: name.ok_or("names none of the built-in backends")?,
            after: after.parse().map_err(|_| "has no number after the `@`")?,
        })
    }
}

/// A command line that makes no sense: which argument, what is wrong, and the remedy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UsageError {
    argument: String,
    problem: String,
    remedy: &'static str,
}

impl UsageError {
    pub(crate) fn new(
        argument: impl Into<String>,
        problem: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self { argument: argument.into(), problem: problem.into(), remedy }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.argument, self.problem, self.remedy)
    }
}

/// Reads the arguments, without the program's name.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Options, UsageError> {
    let mut options = Options::default();
    let mut args = Args { rest: args.into_iter(), name: String::new(), inline: None };
    let (mut repeat, mut count) = (None, None);
    let mut listens = false;
    while args.advance()? {
        match args.name.as_str() {
            "--listen" => {
                options.listen = args.value("give an address such as 127.0.0.1:8080")?;
                listens = true;
            }
            "--backend" => {
                options.backends.push(args.value("write it as stats=http://127.0.0.1:9000/v1")?);
            }
            "--deadline" => options.deadline = args.millis()?,
            "--grace" => options.grace = args.millis()?,
            "--kill" => {
                options.kill =
                    Some(args.value("write it as NAME@N with users, orders or stats: stats@100")?);
            }
            "--requests" => options.requests = source(args.text("give a file, or - for stdin")?),
            "--repeat" => repeat = Some(args.value("give a whole number such as 10")?),
            "--count" => count = Some(args.value("give a whole number such as 10000")?),
            "--concurrency" => {
                let remedy = "give a whole number of at least 1, such as 64";
                options.concurrency = args.value::<std::num::NonZeroUsize>(remedy)?.get();
            }
            flag => options.set_flag(flag).ok_or_else(|| unknown(flag))?,
        }
        args.no_value_left()?;
    }
    options.amount = amount(repeat, count)?;
    options.check(listens)?;
    Ok(options)
}

fn unknown(name: &str) -> UsageError {
    UsageError::new(name, "there is no such option", "--help lists those that there are")
}

fn source(file: OsString) -> Source {
    if file == "-" { Source::Stdin } else { Source::File(file.into()) }
}

fn amount(repeat: Option<usize>, count: Option<usize>) -> Result<Amount, UsageError> {
    match (repeat, count) {
        (Some(_), Some(_)) => {
            Err(UsageError::new("--repeat", "--count was given too", "leave one of them out"))
        }
        (_, Some(total)) => Ok(Amount::Total(total)),
        (passes, None) => Ok(Amount::Passes(passes.unwrap_or(1))),
    }
}

impl Options {
    /// Sets what takes no value.
    fn set_flag(&mut self, name: &str) -> Option<()> {
        match name {
            "--plain" => self.plain = true,
            "--no-load" => self.load = false,
            "--json" => self.json = true,
            "--self-check" => self.self_check = true,
            "--verbose" | "-v" => self.verbose = true,
            "--help" | "-h" => self.help = true,
            _ => return None,
        }
        Some(())
    }

    /// Checks what the options say together.
    fn check(&self, listens: bool) -> Result<(), UsageError> {
        if !self.load && !listens {
            let remedy = "say where with --listen 127.0.0.1:8080";
            return Err(UsageError::new("--no-load", "nobody could find the gateway", remedy));
        }
        if self.self_check && (!self.load || self.kill.is_some() || !self.backends.is_empty()) {
            let problem = "it knows what to expect of the built-in backends alone";
            let remedy = "leave out --no-load, --kill and --backend";
            return Err(UsageError::new("--self-check", problem, remedy));
        }
        for (at, backend) in self.backends.iter().enumerate() {
            if self.backends[..at].iter().any(|other| other.name == backend.name) {
                let problem = format!("there are two named {}", backend.name);
                return Err(UsageError::new("--backend", problem, "give each a name of its own"));
            }
        }
        let Some(kill) = &self.kill else { return Ok(()) };
        if self.backends.iter().any(|backend| backend.name == kill.name) {
            let problem = format!("{} is not built in here, --backend replaces it", kill.name);
            return Err(UsageError::new("--kill", problem, "kill another one"));
        }
        Ok(())
    }
}

/// The arguments, one at a time: `--name value`, `--name=value` or a flag.
struct Args<I> {
    rest: I,
    name: String,
    inline: Option<String>,
}

impl<I: Iterator<Item = OsString>> Args<I> {
    /// Goes to the next name; false at the end.
    fn advance(&mut self) -> Result<bool, UsageError> {
        let Some(next) = self.rest.next() else { return Ok(false) };
        let text = next.into_string().map_err(|raw| unknown(&raw.to_string_lossy()))?;
        (self.name, self.inline) = match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (text, None),
        };
        Ok(true)
    }

    fn no_value_left(&mut self) -> Result<(), UsageError> {
        match self.inline.take() {
            None => Ok(()),
            Some(_) => Err(UsageError::new(&self.name, "it takes no value", "leave out the `=`")),
        }
    }

    fn text(&mut self, remedy: &'static str) -> Result<OsString, UsageError> {
        let value = self.inline.take().map(OsString::from).or_else(|| self.rest.next());
        value.ok_or_else(|| UsageError::new(&self.name, "its value is missing", remedy))
    }

    fn value<T: FromStr<Err: fmt::Display>>(
        &mut self,
        remedy: &'static str,
    ) -> Result<T, UsageError> {
        let text = self.text(remedy)?.to_string_lossy().into_owned();
        text.parse().map_err(|error| {
            UsageError::new(&self.name, format!("`{text}` is not usable: {error}"), remedy)
        })
    }

    fn millis(&mut self) -> Result<Duration, UsageError> {
        let millis = self.value::<u32>("give a whole number of milliseconds, such as 500")?;
        Ok(Duration::from_millis(millis.into()))
    }
}
