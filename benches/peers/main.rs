//! Runs corymb and other runtimes through the same workloads, and prints a table of ratios.
#![expect(clippy::print_stdout, reason = "that is how a process tells the one that started it")]

use std::io;
use std::process::ExitCode;
use std::time::Duration;

mod budget;
mod corymb;
mod echo;
mod smol;
mod threads;
mod tokio;
mod workloads;

use corymb_harness::{
    Absent, Bench, Line, Numbers, Pace, Ratio, Row, Settings, Size, Suite, WORKERS, child, line,
    measured,
};
use workloads::Peer;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--serve") => serve(&args[1]),
        Some("--load") => load(&args[1..]),
        _ => corymb_harness::main::<Runtimes>(),
    }
}

struct Runtimes;

impl Suite for Runtimes {
    const NAME: &'static str = "peers";
    const PEERS: &'static [&'static str] = &["corymb", "tokio", "smol", "tokio-ct", "threads"];
    const ROWS: &'static [Row] = budget::ROWS;
    const RATIOS: [Ratio; 2] = [
        Ratio { name: "ratio", peers: &["tokio", "smol"] },
        Ratio { name: "to ct", peers: &["tokio-ct"] },
    ];
    const LEGEND: &'static str = "ratio: corymb to the better one of tokio and smol; to ct: to tokio-ct; threads: with fewer tasks";

    fn version(peer: &str) -> String {
        match peer {
            "corymb" => corymb::Corymb::version(),
            "tokio" | "tokio-ct" => tokio::Tokio::version(),
            "smol" => smol::Smol::version(),
            _ => threads::Threads::version(),
        }
    }

    fn run(peer: &str, bench: &Bench) -> Result<Numbers, String> {
        let workers = bench.workers;
        match peer {
            "corymb" => workloads::run(&corymb::Corymb::new(workers), bench),
            "tokio" => workloads::run(&tokio::Tokio::multi_thread(workers), bench),
            "tokio-ct" => workloads::run(&tokio::Tokio::current_thread(), bench),
            "smol" => workloads::run(&smol::Smol::new(workers), bench),
            _ => workloads::run(&threads::Threads, bench),
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
            Some(connections) => {
                let server = child(&["--serve", peer])?;
                corymb_harness::echo(server, child(&[])?, connections, settings.scale)
            }
            None => measured(settings, peer, workload),
        }
    }
}

const ECHO: &str = "tcp_echo_";

/// A child's work: a server of echoes.
fn serve(peer: &str) -> ExitCode {
    let named = peer.to_owned();
    let ready = move |port: u16| {
        let mut numbers = Numbers::default();
        numbers.add("port", port.into());
        println!("{}", line::<Runtimes>(&named, "tcp_echo", Ok(numbers)));
    };
    match peer {
        "corymb" => corymb::Corymb::new(WORKERS).serve(ready),
        "tokio" => tokio::Tokio::multi_thread(WORKERS).serve(ready),
        "tokio-ct" => tokio::Tokio::current_thread().serve(ready),
        "smol" => smol::Smol::new(WORKERS).serve(ready),
        _ => threads::Threads.serve(ready),
    }
    ExitCode::SUCCESS
}

/// A child's work: the load of a server, whoever that is.
fn load(args: &[String]) -> ExitCode {
    let numbers = args.iter().map(|arg| arg.parse().expect("`echo` passes numbers"));
    let [connections, port, pid, scale] = *numbers.collect::<Vec<f64>>() else {
        panic!("`echo` passes four of them");
    };
    let time = |seconds: f64, least: f64| Duration::from_secs_f64((seconds * scale).max(least));
    let connections = connections as usize;
    let load = echo::Load { connections, warm: time(2.0, 0.05), measured: time(5.0, 0.1) };
    let result = echo::load(&load, port as u16, pid as u32);
    let result = result.map_err(|e| Absent::Failed(e.to_string()));
    let (peer, version, workload) = Default::default();
    println!("{}", Line { peer, version, workload, result });
    ExitCode::SUCCESS
}
