//! What the command line asks for.

use std::collections::VecDeque;
use std::str::FromStr;
use std::time::Duration;

use crate::PEERS;
use crate::budget::ROWS;
use crate::echo::Load;
use crate::measure::Bench;

pub(crate) const USAGE: &str = "\
usage: cargo bench --bench peers -- [WORKLOADS..] [OPTIONS]

  --json          a line of JSON for each measurement, and no table
  --quick         a fifth of the size, fewer rounds
  --scale X       sizes times X
  --reps N        repetitions that a process measures
  --rounds N      processes for each peer and workload
  --peers a,b     only these of corymb, tokio, smol, tokio-ct
  --names         what workloads there are
  --one PEER WORKLOAD
                  a single process, for a profiler";

/// What this process does.
pub(crate) enum Mode {
    Table(Settings),
    Names,
    /// Nothing, for who asks for a list of tests.
    Nothing,
    One {
        peer: String,
        bench: Bench,
    },
    Serve {
        peer: String,
    },
    Load {
        load: Load,
        port: u16,
        pid: u32,
        peer: String,
        version: String,
    },
}

/// How a table is made.
pub(crate) struct Settings {
    workloads: Vec<String>,
    peers: Vec<String>,
    pub(crate) json: bool,
    pub(crate) scale: f64,
    pub(crate) reps: usize,
    rounds: usize,
    /// Milliseconds to warm up and to measure.
    pub(crate) echo: (u32, u32),
    sleepers: Sleepers,
}

/// When the sleepers run, who take ten seconds whatever the scale.
#[derive(Clone, Copy, PartialEq)]
enum Sleepers {
    /// One process after the other.
    Alone,
    /// All at once, which disturbs their times and not their memory.
    Together,
    /// All at once, and only if they are named.
    Unasked,
}

impl Settings {
    fn full() -> Self {
        Self {
            workloads: Vec::new(),
            peers: Vec::new(),
            json: false,
            scale: 1.0,
            reps: 2,
            rounds: 3,
            echo: (2_000, 5_000),
            sleepers: Sleepers::Alone,
        }
    }

    fn quick() -> Self {
        let (echo, sleepers) = ((300, 1_000), Sleepers::Together);
        Self { scale: 0.2, rounds: 2, echo, sleepers, ..Self::full() }
    }

    /// As a test: whether everything runs, and gives the right results.
    fn test() -> Self {
        let (echo, sleepers) = ((50, 100), Sleepers::Unasked);
        Self { scale: 0.01, reps: 1, rounds: 1, echo, sleepers, ..Self::full() }
    }

    /// Whether the row of `workload` is wanted.
    pub(crate) fn wants(&self, workload: &str) -> bool {
        if self.workloads.is_empty() {
            return self.sleepers != Sleepers::Unasked || !sleeps(workload);
        }
        self.workloads.iter().any(|wanted| wanted == workload)
    }

    pub(crate) fn measures(&self, peer: &str) -> bool {
        self.peers.is_empty() || self.peers.iter().any(|wanted| wanted == peer)
    }

    /// How often each peer runs `workload`. Sleepers and echoes are long, and steady, enough.
    pub(crate) fn rounds(&self, workload: &str) -> usize {
        if sleeps(workload) || workload.starts_with("tcp_echo") { 1 } else { self.rounds }
    }

    /// Whether all peers run `workload` at the same time.
    pub(crate) fn together(&self, workload: &str) -> bool {
        self.sleepers != Sleepers::Alone && sleeps(workload)
    }
}

fn sleeps(workload: &str) -> bool {
    workload.starts_with("million_sleepers")
}

/// Reads the arguments. Without `--bench`, which `cargo bench` passes, this is a test.
pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Mode, String> {
    let mut args: VecDeque<String> = args.collect();
    match args.front().map(String::as_str) {
        Some("--one") => return one(args),
        Some("--serve") => return Ok(Mode::Serve { peer: peer(argument(&mut args, 1)?)? }),
        Some("--load") => return load(&args.into_iter().skip(1).collect::<Vec<_>>()),
        _ => {}
    }
    if args.iter().any(|arg| arg == "--list") {
        return Ok(Mode::Nothing);
    }
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let mut settings = match (has("--bench"), has("--quick")) {
        (_, true) => Settings::quick(),
        (true, false) => Settings::full(),
        (false, false) => Settings::test(),
    };
    while let Some(arg) = args.pop_front() {
        match arg.as_str() {
            "--bench" | "--quick" => {}
            "--names" => return Ok(Mode::Names),
            "--json" => settings.json = true,
            "--scale" => settings.scale = number(&mut args)?,
            "--reps" => settings.reps = number(&mut args)?,
            "--rounds" => settings.rounds = number(&mut args)?,
            "--peers" => {
                let peers = argument(&mut args, 0)?;
                let peers = peers.split(',').map(|name| peer(name.to_owned()));
                settings.peers = peers.collect::<Result<_, _>>()?;
            }
            name if ROWS.iter().any(|row| row.ours == name) => settings.workloads.push(arg),
            _ => return Err(format!("unknown argument {arg}")),
        }
    }
    Ok(Mode::Table(settings))
}

fn one(mut args: VecDeque<String>) -> Result<Mode, String> {
    let peer = peer(argument(&mut args, 1)?)?;
    let workload = argument(&mut args, 0)?;
    let mut bench = Bench { workload, scale: 1.0, reps: 5 };
    while let Some(arg) = args.pop_front() {
        match arg.as_str() {
            "--bench" => {}
            "--scale" => bench.scale = number(&mut args)?,
            "--reps" => bench.reps = number(&mut args)?,
            _ => return Err(format!("unknown argument {arg}")),
        }
    }
    Ok(Mode::One { peer, bench })
}

fn load(args: &[String]) -> Result<Mode, String> {
    let [connections, port, pid, warm, measured, peer, version] = args else {
        return Err("--load takes seven arguments".to_owned());
    };
    let time = |text: &String| value(text).map(Duration::from_millis);
    let load =
        Load { connections: value(connections)?, warm: time(warm)?, measured: time(measured)? };
    Ok(Mode::Load {
        load,
        port: value(port)?,
        pid: value(pid)?,
        peer: peer.clone(),
        version: version.clone(),
    })
}

fn peer(name: String) -> Result<String, String> {
    if PEERS.contains(&name.as_str()) { Ok(name) } else { Err(format!("unknown peer {name}")) }
}

/// Takes the argument after `skip` others.
fn argument(args: &mut VecDeque<String>, skip: usize) -> Result<String, String> {
    args.drain(..skip.min(args.len()));
    args.pop_front().ok_or_else(|| "an argument is missing".to_owned())
}

fn number<T: FromStr>(args: &mut VecDeque<String>) -> Result<T, String> {
    value(&argument(args, 0)?)
}

fn value<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is not a number of the right kind"))
}
