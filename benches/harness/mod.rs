//! What the benchmarks have in common that run corymb and its peers through the same workloads and
//! print a table of ratios.
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

pub(crate) mod args;
pub(crate) mod measure;
mod rows;
mod table;

use self::args::Mode;
pub(crate) use self::args::Settings;
pub(crate) use self::measure::{Bench, Line, Numbers};
pub(crate) use self::rows::{Budget, Measure, Row};
use self::table::{Results, Table};

/// A benchmark: who is measured, by what, and how that is run.
pub(crate) trait Suite {
    /// Its name, as cargo knows it.
    const NAME: &'static str;
    /// The columns. One is "corymb", and it runs what the rows call ours.
    const PEERS: &'static [&'static str];
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
pub(crate) struct Ratio {
    pub(crate) name: &'static str,
    pub(crate) peers: &'static [&'static str],
}

/// How the peers run a workload.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// One after the other, and so often.
    Rounds(usize),
    /// All at the same time.
    Together,
}

/// Does what the command line asks for.
pub(crate) fn main<S: Suite>() -> ExitCode {
    match args::parse::<S>(std::env::args().skip(1)) {
        Ok(Mode::Table(settings)) => table::<S>(&settings),
        Ok(Mode::Names) => {
            names::<S>().iter().for_each(|name| println!("{name}"));
            ExitCode::SUCCESS
        }
        Ok(Mode::Nothing) => ExitCode::SUCCESS,
        Ok(Mode::One { peer, bench }) => {
            let result = S::run(&peer, &bench);
            println!("{}", line::<S>(&peer, &bench.workload, result));
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
pub(crate) fn line<S: Suite>(peer: &str, workload: &str, result: Result<Numbers, String>) -> Line {
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
        failures += usize::from(matches!(&line.result, Err(why) if why.starts_with(FAILED)));
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

const FAILED: &str = "failed: ";

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
                S::measure(settings, peer, workload)
                    .unwrap_or_else(|why| line::<S>(peer, workload, Err(format!("{FAILED}{why}"))))
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

/// What a child says that runs [`Suite::run`].
pub(crate) fn measured(settings: &Settings, peer: &str, workload: &str) -> io::Result<Line> {
    let (scale, reps) = (settings.scale.to_string(), settings.reps.to_string());
    finish(child(&["--one", peer, workload, "--scale", &scale, "--reps", &reps])?)
}

/// This program again.
pub(crate) fn child(args: &[&str]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args);
    Ok(command)
}

/// A child that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(90);

/// The line that a child prints. If it takes longer than the limit, it is ended.
pub(crate) fn finish(mut command: Command) -> io::Result<Line> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let (done, text) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.read_to_string(&mut text).map(|_| text);
        // Nobody waits any more if the limit has passed.
        let _sent = done.send(read);
    });
    let Ok(text) = text.recv_timeout(LIMIT) else {
        child.kill()?;
        child.wait()?;
        return Err(io::Error::other(format!("it hangs: no result after {LIMIT:?}")));
    };
    drop(reader.join());
    let status = child.wait()?;
    let line = Line::parse(&text?);
    line.filter(|_| status.success()).ok_or_else(|| io::Error::other(status.to_string()))
}
