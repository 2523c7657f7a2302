//! Runs corymb and its peers through the same workloads, and prints a table of ratios.
//!
//! The process starts itself as a child for each peer, workload and round, one peer after the
//! other and then again, so that none profits from a quiet machine or from another's heap.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "that is what a benchmark is for")]

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

mod args;
mod budget;
mod corymb;
mod echo;
mod measure;
mod smol;
mod table;
mod tokio;
mod workloads;

use args::{Mode, Settings};
use budget::{ROWS, Row};
use measure::{Bench, Line, Numbers};
use table::{Results, Table};
use workloads::Peer;

/// The columns. Ratios are to the better one of tokio and smol.
const PEERS: [&str; 4] = ["corymb", "tokio", "smol", "tokio-ct"];

/// A child that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(90);

fn main() -> ExitCode {
    match args::parse(std::env::args().skip(1)) {
        Ok(Mode::Table(settings)) => table(&settings),
        Ok(Mode::Names) => {
            ROWS.iter().for_each(|row| println!("{}", row.ours));
            ExitCode::SUCCESS
        }
        Ok(Mode::Nothing) => ExitCode::SUCCESS,
        Ok(Mode::One { peer, bench }) => one(&peer, &bench),
        Ok(Mode::Serve { peer }) => serve(&peer),
        Ok(Mode::Load { load, port, pid, peer, version }) => {
            let result = echo::load(&load, port, pid).map_err(|e| e.to_string());
            let workload = format!("tcp_echo_{}", load.connections);
            println!("{}", Line { peer, version, workload, result });
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}\n\n{}", args::USAGE);
            ExitCode::from(2)
        }
    }
}

/// A child's work: one workload of one peer.
fn one(peer: &str, bench: &Bench) -> ExitCode {
    let result = match peer {
        "corymb" => workloads::run(&corymb::Corymb::new(), bench),
        "tokio" => workloads::run(&tokio::Tokio::multi_thread(), bench),
        "tokio-ct" => workloads::run(&tokio::Tokio::current_thread(), bench),
        _ => workloads::run(&smol::Smol::new(), bench),
    };
    println!("{}", line(peer, &bench.workload, result));
    ExitCode::SUCCESS
}

/// A child's work: a server of echoes.
fn serve(peer: &str) -> ExitCode {
    let ready = |port: u16| println!("{port}");
    match peer {
        "corymb" => corymb::Corymb::new().serve(ready),
        "tokio" => tokio::Tokio::multi_thread().serve(ready),
        "tokio-ct" => tokio::Tokio::current_thread().serve(ready),
        _ => smol::Smol::new().serve(ready),
    }
    ExitCode::SUCCESS
}

fn line(peer: &str, workload: &str, result: Result<Numbers, String>) -> Line {
    Line { peer: peer.to_owned(), version: version(peer), workload: workload.to_owned(), result }
}

fn version(peer: &str) -> String {
    match peer {
        "corymb" => corymb::Corymb::version(),
        "tokio" | "tokio-ct" => tokio::Tokio::version(),
        _ => smol::Smol::version(),
    }
}

/// Runs everything that was asked for.
fn table(settings: &Settings) -> ExitCode {
    let rows: Vec<_> = ROWS.iter().filter(|row| settings.wants(row.ours)).collect();
    let plan = plan(&rows, settings);
    let of = plan.iter().map(Vec::len).sum();
    let mut results = Results::default();
    let (mut at, mut failures) = (0, 0);
    for line in plan.iter().flat_map(|step| together(settings, step)) {
        at += 1;
        progress(at, of, &line);
        if settings.json {
            println!("{line}");
        }
        failures += usize::from(matches!(&line.result, Err(why) if why.starts_with(FAILED)));
        results.add(line);
    }
    if !settings.json {
        println!("{}", Table { results: &results, rows: &rows });
    }
    if failures > 0 {
        eprintln!("{failures} of {of} measurements failed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

const FAILED: &str = "failed: ";

/// A peer and a workload.
type Case = (&'static str, &'static str);

/// Every case to measure, in order: all peers of a workload, round after round. The cases of a
/// step run at the same time: one, with few exceptions.
fn plan(rows: &[&Row], settings: &Settings) -> Vec<Vec<Case>> {
    let mut plan = Vec::new();
    for group in rows.chunk_by(|a, b| a.theirs == b.theirs) {
        let round = round(group, settings);
        if settings.together(group[0].ours) {
            plan.push(round);
            continue;
        }
        for _ in 0..settings.rounds(group[0].ours) {
            plan.extend(round.iter().map(|case| vec![*case]));
        }
    }
    plan
}

/// One case for each peer, for rows that share the peers' workload.
fn round(group: &[&Row], settings: &Settings) -> Vec<Case> {
    let ours: BTreeSet<_> = group.iter().map(|row| row.ours).collect();
    let of = |peer| {
        let theirs = BTreeSet::from([group[0].theirs]);
        let workloads = if peer == "corymb" { ours.clone() } else { theirs };
        workloads.into_iter().map(move |workload| (peer, workload))
    };
    PEERS.into_iter().filter(|peer| settings.measures(peer)).flat_map(of).collect()
}

/// Measures cases at the same time.
fn together(settings: &Settings, step: &[Case]) -> Vec<Line> {
    thread::scope(|s| {
        let measure = |case: &Case| {
            let (peer, workload) = *case;
            s.spawn(move || measured(settings, peer, workload))
        };
        let threads: Vec<_> = step.iter().map(measure).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    })
}

fn progress(at: usize, of: usize, line: &Line) {
    let Line { peer, workload, result, .. } = line;
    match result {
        Ok(numbers) => {
            let ns = numbers.get("ns_per_op").unwrap_or(f64::NAN);
            eprintln!("[{at}/{of}] {workload} {peer}: {ns:.1} ns");
        }
        Err(why) => eprintln!("[{at}/{of}] {workload} {peer}: {why}"),
    }
}

/// Starts the child, or children, for a measurement.
fn measured(settings: &Settings, peer: &str, workload: &str) -> Line {
    let outcome = match workload.strip_prefix("tcp_echo_") {
        Some(connections) => echo(settings, peer, connections),
        None => {
            let (scale, reps) = (settings.scale.to_string(), settings.reps.to_string());
            child(&["--one", peer, workload, "--scale", &scale, "--reps", &reps])
                .and_then(|command| finish(command, LIMIT))
        }
    };
    outcome.unwrap_or_else(|why| line(peer, workload, Err(format!("{FAILED}{why}"))))
}

/// A server and its load.
fn echo(settings: &Settings, peer: &str, connections: &str) -> io::Result<Line> {
    let server = echo::Server::start(child(&["--serve", peer])?)?;
    let (port, pid) = server.address();
    let (warm, measured) = settings.echo;
    let numbers = [port.into(), pid, warm, measured].map(|number| number.to_string());
    let [port, pid, warm, measured] = &numbers;
    let version = version(peer);
    finish(child(&["--load", connections, port, pid, warm, measured, peer, &version])?, LIMIT)
}

/// This program again.
fn child(args: &[&str]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args);
    Ok(command)
}

/// The line that a child prints. If it takes longer than `limit`, it is ended.
fn finish(mut command: Command, limit: Duration) -> io::Result<Line> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let (done, text) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.read_to_string(&mut text).map(|_| text);
        // Nobody waits any more if the limit has passed.
        let _sent = done.send(read);
    });
    let Ok(text) = text.recv_timeout(limit) else {
        child.kill()?;
        child.wait()?;
        return Err(io::Error::other(format!("it hangs: no result after {limit:?}")));
    };
    drop(reader.join());
    let status = child.wait()?;
    let line = Line::parse(&text?);
    line.filter(|_| status.success()).ok_or_else(|| io::Error::other(status.to_string()))
}
