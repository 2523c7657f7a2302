//! What the benchmarks have in common that run corymb and its peers through the same workloads and
//! print a table of ratios.
//!
//! The process starts itself as a child for each peer, workload and round, one peer after the
//! other and then again, so that none profits from a quiet machine or from another's heap.
#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "that is what a benchmark is for")]

use std::collections::BTreeSet;
use std::io;
use std::process::ExitCode;
use std::thread;

mod args;
mod line;
pub mod measure;
mod process;
mod rows;
pub mod sizes;
mod table;

use self::args::Mode;
pub use self::args::{Settings, Size, count_of, scale_of};
pub use self::line::{Absent, Line, Numbers};
pub use self::measure::{Bench, WORKERS};
pub use self::process::{LIMIT, child, echo, finish, measured};
pub use self::rows::{Budget, Measure, Row};
pub use self::table::digits;
use self::table::{Results, Table};

/// A benchmark: who is measured, by what, and how that is run.
pub trait Suite {
    /// Its name, as cargo knows it.
    const NAME: &'static str;
    /// The columns. One is "corymb", and it runs what the rows call ours.
    const PEERS: &'static [&'static str];
    /// What is measured.
    const ROWS: &'static [Row];
    /// What corymb is compared with. The budgets are for the first.
    const RATIOS: [Ratio; 2];
    /// What a reader has to know of the columns.
    const LEGEND: &'static str;

    /// What is measured for `peer`, with its version.
    fn version(peer: &str) -> String;

    /// A child's work: one workload of one peer.
    ///
    /// # Errors
    ///
    /// Why the peer has nothing for it.
    fn run(peer: &str, bench: &Bench) -> Result<Numbers, String>;

    /// How `workload` is run if nobody has named it; none if it is not.
    fn pace(settings: &Settings, _workload: &str) -> Option<Pace> {
        Some(Pace::Rounds(settings.rounds))
    }

    /// Has a child measure.
    ///
    /// # Errors
    ///
    /// If it does not end well.
    fn measure(settings: &Settings, peer: &str, workload: &str) -> io::Result<Line> {
        measured(settings, peer, workload)
    }
}

/// corymb's number to that of the best of some peers.
#[derive(Debug)]
pub struct Ratio {
    /// The heading of its column.
    pub name: &'static str,
    /// Those peers.
    pub peers: &'static [&'static str],
}

/// How the peers run a workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// One after the other, and so often.
    Rounds(usize),
    /// All at the same time.
    Together,
}

/// Does what the command line asks for.
pub fn main<S: Suite>() -> ExitCode {
    match args::parse::<S>(std::env::args().skip(1)) {
        Ok(Mode::Table(settings)) => table::<S>(&settings),
        Ok(Mode::Names) => {
            names::<S>().iter().for_each(|name| println!("{name}"));
            ExitCode::SUCCESS
        }
        Ok(Mode::Nothing) => ExitCode::SUCCESS,
        Ok(Mode::One { peer, bench }) => {
            let result = S::run(&peer, &bench);
            println!("{}", line::<S>(&peer, &bench.workload, result.map_err(Absent::Skipped)));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}\n\n{}", args::usage::<S>());
            ExitCode::from(2)
        }
    }
}

/// What workloads there are.
fn names<S: Suite>() -> Vec<&'static str> {
    let mut names: Vec<_> = S::ROWS.iter().map(|row| row.ours).collect();
    names.dedup();
    names
}

/// The line of a measurement.
pub fn line<S: Suite>(peer: &str, workload: &str, result: Result<Numbers, Absent>) -> Line {
    let (peer, workload, version) = (peer.to_owned(), workload.to_owned(), S::version(peer));
    Line { peer, version, workload, result }
}

/// Runs everything that was asked for.
fn table<S: Suite>(settings: &Settings) -> ExitCode {
    let rows: Vec<_> = S::ROWS.iter().filter(|row| wants::<S>(settings, row.ours)).collect();
    let plan = plan::<S>(&rows, settings);
    let of = plan.iter().map(Vec::len).sum();
    let mut results = Results::default();
    let (mut at, mut failures) = (0, 0);
    for line in plan.iter().flat_map(|step| together::<S>(settings, step)) {
        at += 1;
        progress(at, of, &line);
        if settings.json {
            println!("{line}");
        }
        failures += usize::from(line.has_failed());
        results.add(line);
    }
    if !settings.json {
        println!("{}", Table::<S>::new(&results, &rows));
    }
    if failures > 0 {
        eprintln!("{failures} of {of} measurements failed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Whether the row of `workload` is wanted.
fn wants<S: Suite>(settings: &Settings, workload: &str) -> bool {
    match settings.workloads.is_empty() {
        true => S::pace(settings, workload).is_some(),
        false => settings.workloads.iter().any(|wanted| wanted == workload),
    }
}

/// A peer and a workload.
type Case = (&'static str, &'static str);

/// Every case to measure, in order: all peers of a workload, round after round. The cases of a
/// step run at the same time: one, with few exceptions.
fn plan<S: Suite>(rows: &[&Row], settings: &Settings) -> Vec<Vec<Case>> {
    let mut plan = Vec::new();
    for group in rows.chunk_by(|a, b| a.theirs == b.theirs) {
        let round = round::<S>(group, settings);
        match S::pace(settings, group[0].ours).unwrap_or(Pace::Together) {
            Pace::Together => plan.push(round),
            Pace::Rounds(rounds) => {
                let alone = round.iter().map(|case| vec![*case]);
                plan.extend((0..rounds).flat_map(|_| alone.clone()));
            }
        }
    }
    plan
}

/// One case for each peer, for rows that share the peers' workload.
fn round<S: Suite>(group: &[&Row], settings: &Settings) -> Vec<Case> {
    let ours: BTreeSet<_> = group.iter().map(|row| row.ours).collect();
    let of = |peer| {
        let theirs = BTreeSet::from([group[0].theirs]);
        let workloads = if peer == "corymb" { ours.clone() } else { theirs };
        workloads.into_iter().map(move |workload| (peer, workload))
    };
    S::PEERS.iter().copied().filter(|peer| settings.measures(peer)).flat_map(of).collect()
}

/// Measures cases at the same time.
fn together<S: Suite>(settings: &Settings, step: &[Case]) -> Vec<Line> {
    thread::scope(|s| {
        let measure = |case: &Case| {
            let (peer, workload) = *case;
            s.spawn(move || {
                S::measure(settings, peer, workload).unwrap_or_else(|why| {
                    line::<S>(peer, workload, Err(Absent::Failed(why.to_string())))
                })
            })
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
