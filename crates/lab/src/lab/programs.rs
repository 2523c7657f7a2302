//! The programs that measure, and how they are told what.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::peers::Peer;
use super::scratch::Scratch;
use super::workloads::{Kind, Who, Workload};

/// The folder of the clone that this was built in.
pub(crate) fn repository() -> &'static Path {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    lab.ancestors().nth(2).unwrap_or(lab)
}

/// The benchmarks with the peers in Rust, and with the load of the servers.
pub(crate) struct Benches {
    pub(crate) peers: PathBuf,
    sync: PathBuf,
}

/// Has cargo build them, as for any benchmark, and finds out where they are.
pub(crate) fn build_benches() -> Result<Benches, String> {
    eprintln!("building the benchmarks; the first time that takes some minutes");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["bench", "--no-run", "--quiet", "-p", "corymb", "--bench", "peers"]);
    cargo.args(["--bench", "sync", "--message-format", "json-render-diagnostics"]);
    let output = cargo.current_dir(repository()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|e| format!("cargo does not start: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo could not build the benchmarks: {}", output.status));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let find = |name| {
        let of = |line| executable(line, name);
        messages.lines().find_map(of).ok_or_else(|| format!("cargo built no benchmark {name}"))
    };
    Ok(Benches { peers: find("peers")?, sync: find("sync")? })
}

/// The program of the benchmark `name`, if that is what the message is about.
fn executable(message: &str, name: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let target = &message["target"];
    let is_it = target["name"] == name && target["kind"][0] == "bench";
    is_it.then(|| message["executable"].as_str().map(PathBuf::from))?
}

/// How much a process does.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) scale: f64,
    pub(crate) reps: usize,
    /// Repetitions before those, where the code is compiled while it runs.
    pub(crate) warm: usize,
    pub(crate) workers: usize,
}

pub(crate) struct Programs<'a> {
    pub(crate) benches: Benches,
    pub(crate) scratch: &'a Scratch,
}

impl Programs<'_> {
    /// Has `peer` run `workload` and print a line.
    pub(crate) fn measure(&self, peer: Peer, workload: &Workload, size: Size) -> Command {
        let (name, scale) = match workload.kind {
            Kind::Sync(theirs) if peer.in_benches() => (theirs, size.scale),
            Kind::Sleepers { program, scale, .. } => (program, scale),
            _ => (workload.name, size.scale),
        };
        let [scale, reps, workers] =
            [scale.to_string(), size.reps.to_string(), size.workers.to_string()];
        if peer.in_benches() {
            let in_sync = matches!(workload.kind, Kind::Sync(_));
            let mut command =
                Command::new(if in_sync { &self.benches.sync } else { &self.benches.peers });
            command.args(["--one", peer.name(), name, "--scale", &scale, "--reps", &reps]);
            command.args(["--workers", &workers]);
            return command;
        }
        let mut command = self.scratch.command(peer, size.workers);
        command.arg(name).env("PEERS_SCALE", scale).env("PEERS_REPS", reps);
        command.env("PEERS_WARM", size.warm.to_string()).env("PEERS_WORKERS", workers);
        if matches!(workload.kind, Kind::Sleepers { who: Who::Jvm, .. }) {
            command.env("PEERS_LIVE_HEAP", "1");
        }
        command
    }

    /// Has `peer` serve echoes.
    pub(crate) fn serve(&self, peer: Peer, workers: usize) -> Command {
        if peer.in_benches() {
            let mut command = Command::new(&self.benches.peers);
            command.args(["--serve", peer.name()]);
            return command;
        }
        let mut command = self.scratch.command(peer, workers);
        command.arg("tcp_echo").env("PEERS_WORKERS", workers.to_string());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::super::workloads;
    use super::*;

    fn told(peer: Peer, workload: &str) -> Vec<String> {
        let scratch = Scratch::at("/scratch".into());
        let benches = Benches { peers: "peers-1".into(), sync: "sync-1".into() };
        let programs = Programs { benches, scratch: &scratch };
        let workload = workloads::named(workload).expect("it is known");
        let size = Size { scale: 0.5, reps: 3, warm: 4, workers: 1 };
        let command = programs.measure(peer, workload, size);
        let said = std::iter::once(command.get_program()).chain(command.get_args());
        let said = said.map(|arg| arg.to_string_lossy().into_owned());
        let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        said.chain(variables.map(|(name, value)| format!("{}={}", name.display(), value.display())))
            .collect()
    }

    #[test]
    fn benchmarks_are_told_by_arguments() {
        let told = |workload| told(Peer::TokioCt, workload).join(" ");
        let rest = "--scale 0.5 --reps 3 --workers 1";
        assert_eq!(told("skynet"), format!("peers-1 --one tokio-ct skynet {rest}"));
        assert_eq!(told("channel_spsc"), format!("sync-1 --one tokio-ct spsc_128 {rest}"));
        let sleepers = told("sleepers_1000");
        assert!(sleepers.contains("million_sleepers --scale 0.001"), "{sleepers}");
    }

    #[test]
    fn programs_are_told_by_their_environment() {
        let go = told(Peer::Go, "channel_spsc");
        assert_eq!(go[..2], ["/scratch/bin/go", "channel_spsc"]);
        let sizes = ["PEERS_REPS=3", "PEERS_SCALE=0.5", "PEERS_WARM=4", "PEERS_WORKERS=1"];
        assert_eq!(go[2..], sizes);
        let java = told(Peer::Java, "hop");
        assert!(java.iter().any(|arg| arg == "-Djdk.virtualThreadScheduler.parallelism=1"));
        let kotlin = told(Peer::Kotlin, "million_sleepers_heap");
        assert!(
            ["million_sleepers", "PEERS_LIVE_HEAP=1", "PEERS_SCALE=1"]
                .iter()
                .all(|wanted| { kotlin.iter().any(|own| own == wanted) })
        );
    }

    #[test]
    fn the_program_of_a_benchmark_is_found_in_what_cargo_says() {
        let message = r#"{"reason":"compiler-artifact","target":{"kind":["bench"],"name":"sync"},"executable":"/t/sync-0"}"#;
        assert_eq!(executable(message, "sync"), Some("/t/sync-0".into()));
        assert_eq!(executable(message, "peers"), None);
        assert_eq!(executable("Compiling", "sync"), None);
    }
}
