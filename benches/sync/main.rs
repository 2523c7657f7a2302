//! Runs the primitives of `corymb::sync` and those of other crates through the same workloads, and
//! prints a table of ratios.

mod corymb;
mod executors;
mod flume;
mod kanal;
mod smol;
mod threads;
mod tokio;
mod workloads;

use std::process::ExitCode;

use corymb_harness::measure::{RUSTC, pinned};
use corymb_harness::{Bench, Numbers, Ratio, Row, Suite};
use executors::Executor;
use workloads::Library;

fn main() -> ExitCode {
    corymb_harness::main::<Primitives>()
}

struct Primitives;

/// A crate and the executor that runs it: after a slash, if it is not the one that the users of
/// the crate have.
impl Suite for Primitives {
    const NAME: &'static str = "sync";
    const PEERS: &'static [&'static str] = &[
        "corymb", "tokio", "smol", "flume", "kanal", "tokio/c", "smol/c", "flume/c", "kanal/c",
        "corymb/t", "tokio-ct", "threads",
    ];
    const ROWS: &'static [Row] = workloads::ROWS;
    const RATIOS: [Ratio; 2] = [
        Ratio { name: "ratio", peers: &["tokio", "smol", "flume", "kanal"] },
        Ratio { name: "on own", peers: &["tokio/c", "smol/c", "flume/c", "kanal/c"] },
    ];
    const LEGEND: &'static str = "\
tokio, flume and kanal: on tokio; smol: async-channel and async-lock, on smol; /c: on corymb; \
/t: on tokio; tokio-ct: on current_thread; threads: std, a thread a task.
ratio: corymb to the best peer where its users have it; on own: to the best one on corymb";

    fn version(peer: &str) -> String {
        let (library, _) = split(peer);
        match library {
            "corymb" => concat!("corymb ", env!("CARGO_PKG_VERSION")).to_owned(),
            "smol" => ["async-channel", "async-lock"].map(pinned).join(", "),
            "threads" => format!("std of Rust {}", RUSTC),
            _ => pinned(library),
        }
    }

    fn run(peer: &str, bench: &Bench) -> Result<Numbers, String> {
        let (library, executor) = split(peer);
        match executor {
            "corymb" => on::<executors::Corymb>(library, bench),
            "smol" => on::<executors::Smol>(library, bench),
            "tokio-ct" => on::<executors::CurrentThread>(library, bench),
            "threads" => on::<executors::Threads>(library, bench),
            _ => on::<executors::Tokio>(library, bench),
        }
    }
}

/// The crate, and its executor.
fn split(peer: &str) -> (&str, &str) {
    match peer.split_once('/') {
        Some((library, "c")) => (library, "corymb"),
        Some((library, _)) => (library, "tokio"),
        None if matches!(peer, "flume" | "kanal") => (peer, "tokio"),
        None if peer == "tokio-ct" => ("tokio", peer),
        None => (peer, peer),
    }
}

fn on<E: Executor>(library: &str, bench: &Bench) -> Result<Numbers, String> {
    match library {
        "corymb" => workloads::run::<E>(corymb::Corymb::body::<E>, bench),
        "tokio" => workloads::run::<E>(tokio::Tokio::body::<E>, bench),
        "smol" => workloads::run::<E>(smol::Smol::body::<E>, bench),
        "flume" => workloads::run::<E>(flume::Flume::body::<E>, bench),
        "threads" => workloads::run::<E>(threads::Threads::body::<E>, bench),
        _ => workloads::run::<E>(kanal::Kanal::body::<E>, bench),
    }
}
