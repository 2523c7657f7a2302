//! What the command line asks for.

use std::collections::VecDeque;

use super::{Bench, Suite, WORKERS, names};

pub(super) fn usage<S: Suite>() -> String {
    let (name, peers) = (S::NAME, S::PEERS.join(", "));
    format!(
        "\
usage: cargo bench --bench {name} -- [WORKLOADS..] [OPTIONS]

  --json          a line of JSON for each measurement, and no table
  --quick         a fifth of the size, fewer rounds
  --scale X       sizes times X
  --reps N        repetitions that a process measures
  --rounds N      processes for each peer and workload
  --workers N     threads of a runtime, two if not said
  --peers a,b     only these of {peers}
  --names         what workloads there are
  --one PEER WORKLOAD
                  a single process, for a profiler"
    )
}

/// What this process does.
pub(super) enum Mode {
    Table(Settings),
    Names,
    /// Nothing, for who asks for a list of tests.
    Nothing,
    One {
        peer: String,
        bench: Bench,
    },
}

/// How a table is made.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) workloads: Vec<String>,
    peers: Vec<String>,
    pub(super) json: bool,
    /// How thoroughly.
    pub size: Size,
    /// Sizes are times this.
    pub scale: f64,
    pub(super) reps: usize,
    /// Processes for each peer and workload.
    pub rounds: usize,
    pub(super) workers: usize,
}

/// How thoroughly it is made, in all that the command line does not say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    /// What a figure is quoted from.
    Full,
    /// A look.
    Quick,
    /// As a test: whether everything runs, and gives the right results.
    Test,
}

impl Settings {
    fn new(size: Size) -> Self {
        let (scale, reps, rounds) = match size {
            Size::Full => (1.0, 2, 3),
            Size::Quick => (0.2, 2, 2),
            Size::Test => (0.01, 1, 1),
        };
        Self {
            workloads: Vec::new(),
            peers: Vec::new(),
            json: false,
            size,
            scale,
            reps,
            rounds,
            workers: WORKERS,
        }
    }

    pub(super) fn measures(&self, peer: &str) -> bool {
        self.peers.is_empty() || self.peers.iter().any(|wanted| wanted == peer)
    }
}

/// Reads the arguments. Without `--bench`, which `cargo bench` passes, this is a test.
pub(super) fn parse<S: Suite>(args: impl Iterator<Item = String>) -> Result<Mode, String> {
    let mut args: VecDeque<String> = args.collect();
    if args.front().is_some_and(|arg| arg == "--one") {
        return one::<S>(args);
    }
    if args.iter().any(|arg| arg == "--list") {
        return Ok(Mode::Nothing);
    }
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let mut settings = Settings::new(match (has("--bench"), has("--quick")) {
        (_, true) => Size::Quick,
        (true, false) => Size::Full,
        (false, false) => Size::Test,
    });
    while let Some(arg) = args.pop_front() {
        match arg.as_str() {
            "--bench" | "--quick" => {}
            "--names" => return Ok(Mode::Names),
            "--json" => settings.json = true,
            "--scale" => settings.scale = scale(&mut args)?,
            "--reps" => settings.reps = count(&mut args)?,
            "--rounds" => settings.rounds = count(&mut args)?,
            "--workers" => settings.workers = count(&mut args)?,
            "--peers" => {
                let peers = argument(&mut args, 0)?;
                let peers = peers.split(',').map(|name| peer::<S>(name.to_owned()));
                settings.peers = peers.collect::<Result<_, _>>()?;
            }
            name if names::<S>().contains(&name) => settings.workloads.push(arg),
            _ => {
                let known = names::<S>().join(", ");
                return Err(format!("unknown argument {arg}; the workloads are {known}"));
            }
        }
    }
    Ok(Mode::Table(settings))
}

fn one<S: Suite>(mut args: VecDeque<String>) -> Result<Mode, String> {
    let peer = peer::<S>(argument(&mut args, 1)?)?;
    let workload = argument(&mut args, 0)?;
    let mut bench = Bench { workload, scale: 1.0, reps: 5, workers: WORKERS };
    while let Some(arg) = args.pop_front() {
        match arg.as_str() {
            "--bench" => {}
            "--scale" => bench.scale = scale(&mut args)?,
            "--reps" => bench.reps = count(&mut args)?,
            "--workers" => bench.workers = count(&mut args)?,
            _ => return Err(format!("unknown argument {arg}")),
        }
    }
    Ok(Mode::One { peer, bench })
}

fn peer<S: Suite>(name: String) -> Result<String, String> {
    if S::PEERS.contains(&name.as_str()) { Ok(name) } else { Err(format!("unknown peer {name}")) }
}

/// Takes the argument after `skip` others.
fn argument(args: &mut VecDeque<String>, skip: usize) -> Result<String, String> {
    args.drain(..skip.min(args.len()));
    args.pop_front().ok_or_else(|| "an argument is missing".to_owned())
}

fn count(args: &mut VecDeque<String>) -> Result<usize, String> {
    count_of(&argument(args, 0)?)
}

fn scale(args: &mut VecDeque<String>) -> Result<f64, String> {
    scale_of(&argument(args, 0)?)
}

/// Reads how many rounds, repetitions or workers there are to be.
///
/// # Errors
///
/// If that is no number, or none.
pub fn count_of(text: &str) -> Result<usize, String> {
    let wrong =
        || format!("{text} is not a number of rounds, repetitions or workers: one at least");
    text.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)
}

/// Reads what sizes are multiplied by.
///
/// # Errors
///
/// If that is no number, or not above zero.
pub fn scale_of(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text} is not a scale: a number above zero, such as 0.5");
    text.parse().ok().filter(|scale: &f64| scale.is_finite() && *scale > 0.0).ok_or_else(wrong)
}
