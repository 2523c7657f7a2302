//! Runs corymb and other runtimes through the same workloads, and prints a table of ratios.
#![expect(clippy::print_stdout, reason = "that is how a process tells the one that started it")]

use std::io;
use std::process::ExitCode;
use std::time::Duration;

mod budget;
mod corymb;
mod echo;
#[path = "../harness/mod.rs"]
mod harness;
mod smol;
mod tokio;
mod workloads;

use harness::args::Size;
use harness::{
    Bench, Line, Numbers, Pace, Ratio, Row, Settings, Suite, child, finish, line, measure, measured,
};
use workloads::Peer;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--serve") => serve(&args[1]),
        Some("--load") => load(&args[1..]),
        _ => harness::main::<Runtimes>(),
    }
}

struct Runtimes;

impl Suite for Runtimes {
    const NAME: &'static str = "peers";
    const PEERS: &'static [&'static str] = &["corymb", "tokio", "smol", "tokio-ct"];
    const ROWS: &'static [Row] = budget::ROWS;
    const RATIOS: [Ratio; 2] = [
        Ratio { name: "ratio", peers: &["tokio", "smol"] },
        Ratio { name: "to ct", peers: &["tokio-ct"] },
    ];
    const LEGEND: &'static str =
        "ratio: corymb to the better one of tokio and smol; to ct: to tokio-ct";

    fn version(peer: &str) -> String {
        match peer {
            "corymb" => corymb::Corymb::version(),
            "tokio" | "tokio-ct" => tokio::Tokio::version(),
            _ => smol::Smol::version(),
        }
    }

    fn run(peer: &str, bench: &Bench) -> Result<Numbers, String> {
        match peer {
            "corymb" => workloads::run(&corymb::Corymb::new(), bench),
            "tokio" => workloads::run(&tokio::Tokio::multi_thread(), bench),
            "tokio-ct" => workloads::run(&tokio::Tokio::current_thread(), bench),
            _ => workloads::run(&smol::Smol::new(), bench),
        }
    }

    /// Sleepers take ten seconds whatever the scale: they run one after the other only if there is
    /// time, for that disturbs their times and not their memory. Like echoes they are long, and
    /// steady, enough for one round.
    fn pace(settings: &Settings, workload: &str) -> Option<Pace> {
        match (workload.starts_with("million_sleepers"), settings.size) {
            (true, Size::Full) => Some(Pace::Rounds(1)),
            (true, Size::Quick) => Some(Pace::Together),
            (true, Size::Test) => None,
            (false, _) if workload.starts_with(ECHO) => Some(Pace::Rounds(1)),
            (false, _) => Some(Pace::Rounds(settings.rounds)),
        }
    }

    fn measure(settings: &Settings, peer: &str, workload: &str) -> io::Result<Line> {
        match workload.strip_prefix(ECHO) {
            Some(connections) => echo(settings.size, peer, connections),
            None => measured(settings, peer, workload),
        }
    }
}

const ECHO: &str = "tcp_echo_";

/// A server and its load.
fn echo(size: Size, peer: &str, connections: &str) -> io::Result<Line> {
    let server = echo::Server::start(child(&["--serve", peer])?)?;
    let (port, pid) = server.address();
    let (warm, loaded) = match size {
        Size::Full => (2_000, 5_000),
        Size::Quick => (300, 1_000),
        Size::Test => (50, 100),
    };
    let numbers = [port.into(), pid, warm, loaded].map(|number: u32| number.to_string());
    let [port, pid, warm, loaded] = &numbers;
    finish(child(&["--load", peer, connections, port, pid, warm, loaded])?)
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

/// A child's work: the load of a server.
fn load(args: &[String]) -> ExitCode {
    let numbers = args[1..].iter().map(|arg| arg.parse().expect("`echo` passes numbers"));
    let [connections, port, pid, warm, loaded] = *numbers.collect::<Vec<u32>>() else {
        panic!("`echo` passes five of them");
    };
    let time = |millis: u32| Duration::from_millis(millis.into());
    let connections = connections as usize;
    let load = echo::Load { connections, warm: time(warm), measured: time(loaded) };
    let port = u16::try_from(port).expect("`echo` passes a port");
    let result = echo::load(&load, port, pid).map_err(|e| e.to_string());
    println!("{}", line::<Runtimes>(&args[0], &format!("{ECHO}{connections}"), result));
    ExitCode::SUCCESS
}
