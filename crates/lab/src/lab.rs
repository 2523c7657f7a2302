//! The commands.

use std::process::ExitCode;

mod args;
mod charts;
mod compare;
mod peers;
mod programs;
mod results;
mod scratch;
mod workloads;

use self::args::Action;
use self::peers::Peer;
use self::scratch::Scratch;

pub(crate) fn main() -> ExitCode {
    let done = match args::parse(std::env::args().skip(1)) {
        Ok(Action::Compare(settings)) => compare::compare(&settings),
        Ok(Action::Setup(peers, scratch)) => setup(&peers, &scratch).map(|()| true),
        Ok(Action::Doctor(scratch)) => Ok(doctor(&scratch)),
        Ok(Action::Help) => {
            println!("{}", args::USAGE);
            Ok(true)
        }
        Err(why) => {
            eprintln!("{why}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Installs and builds what the peers need, as far as that goes: one that fails keeps no other.
fn setup(peers: &[Peer], scratch: &Scratch) -> Result<(), String> {
    println!("scratch folder: {}", scratch.root().display());
    programs::build_benches()?;
    let setup = |peer: &Peer| scratch.setup(*peer).err().map(|why| format!("{peer}: {why}"));
    let failed: Vec<_> = peers.iter().filter_map(setup).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\nerror: ")) }
}

/// Says what is there and what is missing; whether nothing is.
fn doctor(scratch: &Scratch) -> bool {
    println!("scratch folder: {}", scratch.root().display());
    let mut well = true;
    for peer in Peer::ALL {
        match scratch.missing(*peer) {
            None => println!("{peer:<9} ready{}", peer.by_cargo()),
            Some(missing) => {
                well = false;
                println!("{peer:<9} {missing}");
            }
        }
    }
    well
}
