//! How many instructions the hot paths take, counted by callgrind: numbers that no other process
//! disturbs, so that a check can hold them.
//!
//! The process starts itself under valgrind twice for each path, with fewer and with more rounds.
//! The difference leaves out all that happens once.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "that is what a benchmark is for")]

use std::fmt::Write as _;
use std::io;
use std::process::{Command, ExitCode};

mod counts;
mod paths;

use counts::Counts;
use paths::PATHS;

const USAGE: &str = "\
usage: cargo bench --profile release --bench instructions -- [--write]

Compares the instructions of each path with benches/instructions/counts.txt.

  --write         writes that file anew
  --one PATH N    N rounds of a path, for a profiler";

/// The rounds of the two runs.
const ROUNDS: [u32; 2] = [1_000, 6_000];

/// How often each is made: where the machine is busy, threads look longer for work than they need.
const TIMES: usize = 3;

/// What a count may differ from the one on record: this share of it, or so many instructions if that
/// is more. Counts differ a little between machines, for whose processors the standard library has
/// routines of their own, and by seven between two checkouts of the same source in folders of
/// different names: what is put inline depends on the order of symbols.
const TOLERANCE: f64 = 0.05;
const SLACK: f64 = 15.0;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match *args {
        ["--one", name, rounds] => one(name, rounds),
        ["--bench"] => finish(compare()),
        ["--write", "--bench"] => finish(write()),
        _ if args.contains(&"--list") => ExitCode::SUCCESS,
        // Without what `cargo bench` passes, this is a test.
        [] => {
            PATHS.iter().for_each(|path| (path.run)(10));
            ExitCode::SUCCESS
        }
        _ => misused("unknown arguments"),
    }
}

fn misused(why: &str) -> ExitCode {
    eprintln!("{why}\n\n{USAGE}");
    ExitCode::from(2)
}

fn finish(result: io::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("instructions are not counted: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What is under valgrind: so many rounds of a path.
fn one(name: &str, rounds: &str) -> ExitCode {
    let path = PATHS.iter().find(|path| path.name == name);
    let (Some(path), Ok(rounds)) = (path, rounds.parse()) else {
        return misused("unknown path, or no number of rounds");
    };
    (path.run)(rounds);
    ExitCode::SUCCESS
}

fn write() -> io::Result<bool> {
    let mut counts = Counts::of_this_compiler();
    for path in PATHS {
        let count = per_round(path.name)?;
        eprintln!("{}: {count:.0}", path.name);
        counts.add(path.name, count);
    }
    std::fs::write(counts::FILE, counts.to_string())?;
    Ok(true)
}

/// Prints a table; whether no path takes more than on record. By another compiler they may.
fn compare() -> io::Result<bool> {
    let (known, here) = (Counts::recorded(), Counts::of_this_compiler());
    let (mut differences, mut is_dearer) = (String::new(), false);
    println!("{:<18} {:>8} {:>8}", "path", "recorded", "counted");
    for path in PATHS {
        let name = path.name;
        let count = per_round(name)?;
        let recorded = known.get(name);
        println!("{name:<18} {:>8} {count:>8.0}", recorded.map_or("-".into(), |it| it.to_string()));
        match recorded.map(f64::from) {
            Some(recorded) if is_near(count, recorded) => {}
            Some(recorded) => {
                is_dearer |= count > recorded;
                let change = 100.0 * (count / recorded - 1.0);
                writeln!(differences, "{name}: {change:+.1} %").expect("into a string");
            }
            None => {
                is_dearer = true;
                writeln!(differences, "{name}: not on record").expect("into a string");
            }
        }
    }
    if !differences.is_empty() {
        eprintln!(
            "\n{differences}\nThe record is of {}, this is {}. If a change is meant, or the \
             compiler's: cargo bench --profile release --bench instructions -- --write",
            known.compiler, here.compiler
        );
    }
    Ok(!is_dearer || known.compiler != here.compiler)
}

fn is_near(count: f64, recorded: f64) -> bool {
    (count - recorded).abs() <= SLACK.max(TOLERANCE * recorded)
}

/// The instructions of a round.
fn per_round(path: &str) -> io::Result<f64> {
    let [few, many] = ROUNDS;
    let rounds = f64::from(many - few);
    Ok((instructions(path, many)? - instructions(path, few)?) / rounds)
}

/// The instructions of a process with so many rounds, where nothing disturbs it.
fn instructions(path: &str, rounds: u32) -> io::Result<f64> {
    let mut least = f64::MAX;
    for _ in 0..TIMES {
        least = least.min(instructions_once(path, rounds)?);
    }
    Ok(least)
}

fn instructions_once(path: &str, rounds: u32) -> io::Result<f64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(std::env::current_exe()?).args(["--one", path, &rounds.to_string()]);
    let output = command.output().map_err(|why| io::Error::other(format!("valgrind: {why}")))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let counted = text.lines().find_map(|line| line.split_once("Collected :"));
    match counted.and_then(|(_, count)| count.trim().parse().ok()) {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(io::Error::other(format!("valgrind of {path} failed:\n{text}"))),
    }
}
