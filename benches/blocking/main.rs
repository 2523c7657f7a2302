//! What computing loses beside coroutines that block, and what they lose: corymb and tokio.
//!
//! The process starts itself as a child for each runtime and workload.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "that is what a benchmark is for")]

use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

mod corymb;
mod goals;
mod table;
mod tokio;
mod work;
mod workloads;

use corymb_harness::{Absent, Line, Numbers, measure};
use goals::ROWS;
use table::Table;
use workloads::{Peer, SIZES, Size};

const PEERS: [&str; 2] = ["corymb", "tokio"];

const USAGE: &str = "\
usage: cargo bench --bench blocking -- [WORKLOADS..] [OPTIONS]

  --json          a line of JSON for each measurement, and no table
  --quick         shorter, and less
  --names         what workloads there are
  --one PEER WORKLOAD SIZE
                  a single process, for a profiler; sizes are full, quick, test";

/// What the command line asks for.
struct Settings {
    workloads: Vec<&'static str>,
    size: &'static Size,
    json: bool,
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    if let ["--one", peer, workload, size, ..] = *args {
        return one(peer, workload, size);
    }
    if args.contains(&"--list") {
        return ExitCode::SUCCESS;
    }
    if args.contains(&"--names") {
        workloads().iter().for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    match parse(&args) {
        Ok(settings) => all(&settings),
        Err(why) => misused(&why),
    }
}

fn misused(why: &str) -> ExitCode {
    eprintln!("{why}\n\n{USAGE}");
    ExitCode::from(2)
}

fn workloads() -> Vec<&'static str> {
    let mut all: Vec<_> = ROWS.iter().map(|row| row.workload).collect();
    all.dedup();
    all
}

/// Reads the arguments. Without `--bench`, which `cargo bench` passes, this is a test.
fn parse(args: &[&str]) -> Result<Settings, String> {
    let [full, quick, test] = &SIZES;
    let size = if args.contains(&"--bench") { full } else { test };
    let mut settings = Settings { workloads: Vec::new(), size, json: false };
    let all = workloads();
    for arg in args {
        match *arg {
            "--bench" => {}
            "--quick" => settings.size = quick,
            "--json" => settings.json = true,
            _ => match all.iter().find(|name| *name == arg) {
                Some(name) => settings.workloads.push(name),
                None => return Err(format!("unknown argument {arg}")),
            },
        }
    }
    if settings.workloads.is_empty() {
        settings.workloads = all;
    }
    Ok(settings)
}

/// A child that takes longer than this hangs.
const LIMIT: Duration = Duration::from_mins(3);

/// A child's work: one workload of one runtime.
fn one(peer: &str, workload: &str, size: &str) -> ExitCode {
    let Some(size) = SIZES.iter().find(|known| known.name == size) else {
        return misused("unknown size");
    };
    thread::spawn(|| {
        work::block(LIMIT);
        eprintln!("it hangs: no result after {LIMIT:?}");
        std::process::exit(1);
    });
    let (version, result) = match peer {
        "corymb" => measured::<corymb::Corymb>(workload, size),
        "tokio" => measured::<tokio::Tokio>(workload, size),
        _ => return misused("unknown peer"),
    };
    let (peer, workload) = (peer.to_owned(), workload.to_owned());
    println!("{}", Line { peer, version, workload, result: result.map_err(Absent::Skipped) });
    ExitCode::SUCCESS
}

fn measured<P: Peer>(workload: &str, size: &Size) -> (String, Result<Numbers, String>) {
    (P::version(), workloads::run::<P>(workload, size))
}

/// Runs everything that was asked for.
fn all(settings: &Settings) -> ExitCode {
    let mut lines = Vec::new();
    for workload in &settings.workloads {
        for peer in PEERS {
            match child(peer, workload, settings.size.name) {
                Ok(line) if settings.json => println!("{line}"),
                Ok(line) => {
                    eprintln!("{workload} {peer}");
                    lines.push(line);
                }
                Err(why) => {
                    eprintln!("{workload} {peer} failed: {why}");
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    if !settings.json {
        println!("{}", Table(&lines));
    }
    ExitCode::SUCCESS
}

/// This program again.
fn child(peer: &str, workload: &str, size: &str) -> io::Result<Line> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(["--one", peer, workload, size]).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = Line::parse(&text).filter(|line| output.status.success() && line.result.is_ok());
    line.ok_or_else(|| io::Error::other(output.status.to_string()))
}
