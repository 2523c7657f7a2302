//! An HTTP gateway that asks three backends at once, under load, over loopback TCP.
//!
//! ```text
//! cargo run --release --example gateway
//! cargo run --release --example gateway -- --plain --count 10000
//! cargo run --release --example gateway -- --kill stats@100 --count 1000
//! cargo run --release --example gateway -- --help
//! ```
//!
//! What it shows: however a request ends, by an answer, by a backend that fails, by its deadline,
//! by a client that goes away, or by Ctrl-C, nothing of it is left. The tree of a request is
//! drawn in `gateway.rs`; no line of code here closes a connection or stops a call.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corymb::Runtime;
use corymb::net::TcpListener;
use corymb::prelude::*;

use crate::args::{HELP, Options, Remote, Source, UsageError};
use crate::backend::{BUILT_IN, Backend};
use crate::console::note;
use crate::gateway::Gateway;
use crate::load::Load;
use crate::requests::{Request, Requests};
use crate::serve::{Server, unless};
use crate::summary::{BackendSummary, Summary};
use crate::tally::{Outcome, resident_kb};

mod args;
mod backend;
mod console;
mod gateway;
mod http;
mod load;
mod requests;
mod serve;
mod summary;
mod tally;

fn main() -> ExitCode {
    let options = match args::parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(error) => return usage(&error),
    };
    if options.help {
        return finish(HELP.trim_end(), ExitCode::SUCCESS);
    }
    let requests = match read_requests(&options) {
        Ok(requests) => requests,
        Err(error) => return usage(&error),
    };
    start(&options, requests).unwrap_or_else(|error| {
        note(format_args!("gateway: {error}"));
        ExitCode::FAILURE
    })
}

/// Runs it all in a runtime, and looks at what is left there.
fn start(options: &Options, requests: Requests) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let stop = Stop::new();
    stop.cancel_on_signals()?;
    let runtime = Runtime::new()?;
    let load = Load::new(requests.good, options, stop.soft.clone());
    let refused = requests.refused.len();
    let lines = load.requests.len() + refused;
    let load = Arc::new(load);

    let mut summary = runtime.run_blocking(run(options, Arc::clone(&load), &stop))?;
    summary.alive = runtime.metrics().alive as u64;
    summary.lines = lines as u64;
    summary.refused_lines = refused as u64;

    let text = match options.json {
        true => summary.json().to_string(),
        false => summary.to_string(),
    };
    let complaint = summary.complaint(load.total as u64).filter(|_| options.self_check);
    Ok(finish(&text, verdict(complaint, stop.soft.is_cancelled())))
}

/// The whole run: the backends, the gateway, the load. When it returns, all three have ended.
async fn run(options: &Options, load: Arc<Load>, stop: &Stop) -> io::Result<Summary> {
    let begin = Instant::now();
    // First, as it is what may fail: the address may be in use.
    let listener = TcpListener::bind(options.listen).await?;
    let (backends, gateway) = try_scope(async |s| {
        let (backends, servers, remotes) = start_backends(&s, options).await?;
        let gateway = Gateway::new(remotes, options.deadline);
        let (address, front) = gateway.start(&s, listener)?;
        note(format_args!("listening at http://{address}"));
        let load = options.load.then(|| s.launch(Arc::clone(&load).run(address)));
        until_done(load.as_ref(), stop).await;
        // In the order in which requests come in, so that each finds who it needs.
        front.shutdown(options.grace, &stop.hard).await;
        if let Some(load) = load {
            load.join().await;
        }
        for server in servers {
            server.shutdown(options.grace, &stop.hard).await;
        }
        Ok((backends, gateway))
    })
    .await?;
    Ok(summarize(options, &load, &gateway, &backends, begin.elapsed()))
}

/// Waits for the end of the load, if there is one, or for a signal.
async fn until_done(load: Option<&Job>, stop: &Stop) {
    match load {
        Some(load) => {
            unless(stop.soft.join(), load.join()).await;
        }
        None => stop.soft.join().await,
    }
}

type Backends = (Vec<Arc<Backend>>, Vec<Server>, Vec<Remote>);

/// Starts those of the built-in backends that no `--backend` replaces.
async fn start_backends(s: &TryScope<io::Error>, options: &Options) -> io::Result<Backends> {
    let (mut backends, mut servers) = (Vec::new(), Vec::new());
    let mut remotes = options.backends.clone();
    for name in BUILT_IN {
        if remotes.iter().any(|remote| remote.name == name) {
            continue;
        }
        let (backend, address, server) = Backend::start(s, name, options.kill.as_ref()).await?;
        remotes.push(remote(name, address));
        backends.push(backend);
        servers.push(server);
    }
    Ok((backends, servers, remotes))
}

fn remote(name: &str, address: SocketAddr) -> Remote {
    Remote { name: name.to_owned(), authority: address.to_string(), prefix: String::new() }
}

fn summarize(
    options: &Options,
    load: &Load,
    gateway: &Gateway,
    backends: &[Arc<Backend>],
    elapsed: Duration,
) -> Summary {
    let mut summary = Summary {
        unexpected: load.unexpected.get(),
        gone: gateway.tally.get(Outcome::HungUp),
        children: gateway.children.launched.get(),
        cancelled: gateway.children.cancelled.get(),
        backends: backends.iter().map(|backend| backend_summary(backend)).collect(),
        p50_us: load.latency.percentile(50),
        p90_us: load.latency.percentile(90),
        p99_us: load.latency.percentile(99),
        rss_1000_kb: load.resident_warm.get().copied(),
        rss_end_kb: resident_kb(),
        elapsed,
        ..Summary::default()
    };
    // The clients know best; without any, the gateway does.
    summary.set_tally(if options.load { &load.tally } else { &gateway.tally });
    summary
}

fn backend_summary(backend: &Backend) -> BackendSummary {
    BackendSummary {
        name: backend.name,
        requests: backend.requests.get(),
        closed_early: backend.closed_early.get(),
    }
}

/// How the run is asked to end: in order, or at once.
struct Stop {
    soft: Job,
    hard: Job,
}

impl Stop {
    /// Tokens of their own, which belong to no runtime: the signals come before there is one.
    fn new() -> Self {
        Self { soft: Job::new(None), hard: Job::new(None) }
    }

    /// The first signal asks for an end in order, the next one for an end at once.
    fn cancel_on_signals(&self) -> Result<(), ctrlc::Error> {
        let (soft, hard) = (self.soft.clone(), self.hard.clone());
        ctrlc::set_handler(move || {
            if !soft.cancel() {
                hard.cancel();
            }
        })
    }
}

/// Reads the requests before there are any coroutines: a file may block.
fn read_requests(options: &Options) -> Result<Requests, UsageError> {
    if !options.load {
        return Ok(Requests::default());
    }
    let (name, file) = match &options.requests {
        Source::Sample => {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/requests.txt");
            (path.to_owned(), std::fs::read(path))
        }
        Source::File(path) => (path.display().to_string(), std::fs::read(path)),
        Source::Stdin => {
            let mut file = Vec::new();
            ("standard input".to_owned(), io::stdin().read_to_end(&mut file).map(|_| file))
        }
    };
    let file = file.map_err(|error| {
        let remedy = "give a file of requests, or - for standard input";
        UsageError::new("--requests", format!("cannot read {name}: {error}"), remedy)
    })?;
    let mut requests = Requests::parse(&file);
    for (line, error) in &requests.refused {
        note(format_args!("{name}: line {line} is malformed: {error}"));
    }
    if options.plain {
        requests.good.retain(Request::is_plain);
    }
    Ok(requests)
}

fn usage(error: &UsageError) -> ExitCode {
    note(format_args!("gateway: {error}"));
    ExitCode::from(2)
}

fn verdict(complaint: Option<String>, interrupted: bool) -> ExitCode {
    match complaint {
        _ if interrupted => ExitCode::from(130),
        Some(complaint) => {
            note(format_args!("gateway: self-check failed: {complaint}"));
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

/// Writes `text` to stdout, which is all that is ever written there.
fn finish(text: &str, code: ExitCode) -> ExitCode {
    match writeln!(io::stdout().lock(), "{text}") {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}
