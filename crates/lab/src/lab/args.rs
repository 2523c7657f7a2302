//! What the command line asks for.

use std::collections::VecDeque;
use std::path::PathBuf;

use corymb_harness::{count_of, scale_of};

use super::peers::Peer;
use super::scratch::Scratch;
use super::workloads::{self, Workload};

pub(crate) const USAGE: &str = "\
usage: cargo run --release -p corymb-lab -- COMMAND

  compare           measures all peers that are there, and writes results.json, results.md
                    and charts
    --peers a,b     only these
    --workloads a,b only these
    --quick         a tenth of the sizes, one round; less than five minutes
    --rounds N      processes for each peer and workload, in turns; three if not said
    --scale X       sizes times X
    --json          prints a line of JSON for each measurement
    --out DIR       where the files go; target/lab if not said
  setup [PEERS..]   installs the toolchains of the peers in other languages, and builds them
  doctor            says what is there for each peer, and what to do about what is not

  --scratch DIR     where setup installs: $CORYMB_LAB, or corymb-lab in the folder for
                    temporary files";

pub(crate) enum Action {
    Compare(Settings),
    Setup(Vec<Peer>, Scratch),
    Doctor(Scratch),
    Help,
}

/// How peers are compared.
pub(crate) struct Settings {
    pub(crate) peers: Vec<Peer>,
    pub(crate) workloads: Vec<&'static Workload>,
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    pub(crate) scale: f64,
    pub(crate) json: bool,
    pub(crate) out: Option<PathBuf>,
    pub(crate) scratch: Scratch,
}

pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Action, String> {
    let mut args: VecDeque<String> = args.collect();
    let scratch = match take_option(&mut args, "--scratch")? {
        Some(folder) => Scratch::at(folder.into()),
        None => Scratch::usual(),
    };
    let Some(command) = args.pop_front() else { return Ok(Action::Help) };
    match command.as_str() {
        _ if args.iter().any(|arg| arg == "--help" || arg == "-h") => Ok(Action::Help),
        "compare" => compare(args, scratch).map(Action::Compare),
        "setup" => {
            let named: Result<Vec<_>, _> = args.iter().map(|name| name.parse()).collect();
            let named = named?;
            let peers = if named.is_empty() { Peer::ALL.to_vec() } else { named };
            Ok(Action::Setup(peers, scratch))
        }
        "doctor" => match args.front() {
            Some(arg) => Err(format!("doctor takes no {arg}")),
            None => Ok(Action::Doctor(scratch)),
        },
        "help" | "--help" | "-h" => Ok(Action::Help),
        _ => Err(format!("unknown command {command}; there are compare, setup, doctor")),
    }
}

fn compare(mut args: VecDeque<String>, scratch: Scratch) -> Result<Settings, String> {
    let mut take = |flag: &str| {
        let before = args.len();
        args.retain(|arg| arg != flag);
        args.len() < before
    };
    let (quick, json) = (take("--quick"), take("--json"));
    let peers = take_option(&mut args, "--peers")?;
    let workloads = take_option(&mut args, "--workloads")?;
    let rounds = take_option(&mut args, "--rounds")?;
    let scale = take_option(&mut args, "--scale")?;
    let out = take_option(&mut args, "--out")?.map(PathBuf::from);
    if let Some(arg) = args.front() {
        return Err(format!("compare takes no {arg}"));
    }
    let (usual_rounds, usual_scale) = if quick { (1, 0.1) } else { (3, 1.0) };
    Ok(Settings {
        peers: list(peers, Peer::ALL.to_vec(), str::parse)?,
        workloads: list(workloads, workloads::ALL.iter().collect(), workloads::named)?,
        quick,
        rounds: rounds.map_or(Ok(usual_rounds), |text| count_of(&text))?,
        scale: scale.map_or(Ok(usual_scale), |text| scale_of(&text))?,
        json,
        out,
        scratch,
    })
}

/// Takes `name` and the argument after it.
fn take_option(args: &mut VecDeque<String>, name: &str) -> Result<Option<String>, String> {
    let Some(at) = args.iter().position(|arg| arg == name) else { return Ok(None) };
    args.remove(at);
    args.remove(at).map(Some).ok_or_else(|| format!("{name} needs an argument"))
}

/// Those that are named, each of them once.
fn list<T: PartialEq>(
    text: Option<String>,
    all: Vec<T>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let Some(text) = text else { return Ok(all) };
    let mut named = Vec::new();
    for name in text.split(',') {
        let one = read(name)?;
        if !named.contains(&one) {
            named.push(one);
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &str) -> Result<Action, String> {
        parse(args.split_whitespace().map(str::to_owned))
    }

    fn settings(args: &str) -> Settings {
        match parsed(args) {
            Ok(Action::Compare(settings)) => settings,
            Ok(_) => panic!("{args} is a comparison"),
            Err(why) => panic!("{args}: {why}"),
        }
    }

    #[test]
    fn everything_is_compared_if_nothing_is_named() {
        let settings = settings("compare");
        assert_eq!(settings.peers.len(), Peer::ALL.len());
        assert_eq!(settings.workloads.len(), workloads::ALL.len());
        assert_eq!((settings.rounds, settings.scale), (3, 1.0));
    }

    #[test]
    fn options_are_taken_in_any_order() {
        let settings = settings(
            "compare --json --peers go,corymb --quick --workloads mutex --rounds 2 --out x",
        );
        assert_eq!(settings.peers, [Peer::Go, Peer::Corymb]);
        assert_eq!(settings.workloads[0].name, "mutex");
        assert!(settings.json && settings.quick);
        assert_eq!((settings.rounds, settings.scale), (2, 0.1));
        assert_eq!(settings.out, Some("x".into()));
    }

    #[test]
    fn who_is_named_twice_is_measured_once() {
        let settings = settings("compare --peers go,corymb,go --workloads mutex,mutex");
        assert_eq!(settings.peers, [Peer::Go, Peer::Corymb]);
        assert_eq!(settings.workloads.len(), 1);
    }

    #[test]
    fn who_asks_for_help_gets_it() {
        assert!(matches!(parsed("compare --help"), Ok(Action::Help)));
    }

    #[test]
    fn who_is_unknown_is_told_who_is_known() {
        let why = |args| parsed(args).err().expect("it is wrong");
        let unknown = why("compare --peers rayon");
        assert!(unknown.contains("rayon") && unknown.contains("tokio-ct, smol"), "{unknown}");
        let unknown = why("compare --workloads sort");
        assert!(unknown.contains("sort") && unknown.contains("skynet"), "{unknown}");
        assert!(why("setup erlang").contains("kotlin"));
        assert!(why("measure").contains("compare"));
        assert!(why("compare --rounds many").contains("many"));
        assert!(why("compare --rounds 0").contains("one at least"));
        for scale in ["0", "-1", "nan", "inf"] {
            let parsed = parsed(&format!("compare --scale {scale}"));
            assert!(parsed.err().expect("it is wrong").contains("above zero"));
        }
        assert!(why("compare --out").contains("--out"));
        assert!(why("compare mutex").contains("mutex"));
    }
}
