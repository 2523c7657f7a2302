//! What was measured, as JSON and as tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use corymb_harness::measure::{RUSTC, median};
use corymb_harness::{Line, Numbers, WORKERS, digits};
use serde_json::{Value, json};

use super::charts::Chart;
use super::peers::Peer;
use super::scratch::Missing;
use super::workloads::{self, Workload};

/// A measurement during which other processes took more of the machine than this is disturbed.
const DISTURBED: f64 = 0.10;

pub(crate) fn is_disturbed(numbers: &Numbers) -> bool {
    numbers.get("foreign_cpu").is_some_and(|share| share > DISTURBED)
}

/// A peer that could not be measured.
pub(crate) struct LeftOut {
    pub(crate) peer: Peer,
    pub(crate) missing: Missing,
}

pub(crate) struct Results {
    pub(crate) lines: Vec<Line>,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) quick: bool,
}

/// A number of a peer in a workload, over all rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cell {
    pub(crate) median: f64,
    least: f64,
    most: f64,
    rounds: usize,
    pub(crate) disturbed: bool,
}

impl Results {
    /// Those who were measured.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        let known = |peer: &&Peer| self.lines.iter().any(|line| line.peer == peer.name());
        Peer::ALL.iter().filter(known).copied().collect()
    }

    /// What was measured.
    pub(crate) fn workloads(&self) -> Vec<&'static Workload> {
        let all = workloads::ALL.iter();
        all.filter(|workload| self.lines.iter().any(|l| l.workload == workload.name)).collect()
    }

    /// The rounds in which `workload` was measured with so many workers, if `peer` counts them.
    fn rounds(&self, peer: Peer, workload: &str, workers: usize) -> Vec<&Numbers> {
        let own = |line: &&Line| line.peer == peer.name() && line.workload == workload;
        let numbers = self.lines.iter().filter(own).filter_map(|line| line.result.as_ref().ok());
        let fits = |n: &&Numbers| n.get("workers").is_none_or(|own| own == workers as f64);
        numbers.filter(fits).collect()
    }

    pub(crate) fn cell(&self, peer: Peer, workload: &str, field: &str) -> Option<Cell> {
        self.cell_at(peer, workload, field, WORKERS)
    }

    /// Undisturbed rounds count; if there is none, the one that was disturbed least.
    pub(crate) fn cell_at(
        &self,
        peer: Peer,
        workload: &str,
        field: &str,
        workers: usize,
    ) -> Option<Cell> {
        let mut rounds = self.rounds(peer, workload, workers);
        rounds.retain(|numbers| numbers.get(field).is_some());
        let foreign = |numbers: &&Numbers| numbers.get("foreign_cpu").unwrap_or(0.0);
        rounds.sort_by(|a, b| foreign(a).total_cmp(&foreign(b)));
        let disturbed = is_disturbed(rounds.first()?);
        let counted = if disturbed {
            &rounds[..1]
        } else {
            &rounds[..rounds.iter().take_while(|numbers| !is_disturbed(numbers)).count()]
        };
        let all = |name: &str| -> Vec<f64> { counted.iter().filter_map(|n| n.get(name)).collect() };
        let (lows, highs) = match field {
            "ns_per_op" => (all("ns_min"), all("ns_max")),
            _ => (all(field), all(field)),
        };
        Some(Cell {
            median: median(all(field)),
            least: lows.into_iter().fold(f64::INFINITY, f64::min),
            most: highs.into_iter().fold(0.0, f64::max),
            rounds: counted.len(),
            disturbed,
        })
    }

    /// With what numbers of workers `peer` was measured.
    pub(crate) fn workers(&self, peer: Peer, workload: &str) -> Vec<usize> {
        let own = |line: &&Line| line.peer == peer.name() && line.workload == workload;
        let of = |line: &Line| Some(line.result.as_ref().ok()?.get("workers")? as usize);
        let mut workers: Vec<_> = self.lines.iter().filter(own).filter_map(of).collect();
        workers.sort_unstable();
        workers.dedup();
        workers
    }

    /// Why there is no number, in a word.
    fn absent(&self, peer: Peer, workload: &str) -> &'static str {
        let own = |line: &&Line| line.peer == peer.name() && line.workload == workload;
        if self.lines.iter().filter(own).any(Line::has_failed) { "failed" } else { "" }
    }

    /// corymb's time to that of the best other that is comparable.
    fn to_best(&self, workload: &Workload) -> Option<f64> {
        let time = |peer: &Peer| self.cell(*peer, workload.name, "ns_per_op").map(|c| c.median);
        let fits = |peer: &&Peer| **peer != Peer::Corymb && workload.apart(**peer).is_none();
        let best = Peer::ALL.iter().filter(fits).filter_map(time).reduce(f64::min)?;
        Some(time(&Peer::Corymb)? / best)
    }

    /// Of all that belongs to a peer: the primitives of some are crates of their own.
    fn versions(&self) -> BTreeMap<&str, String> {
        let mut parts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for line in self.lines.iter().filter(|line| !line.version.is_empty()) {
            parts.entry(&line.peer).or_default().extend(line.version.split(", "));
        }
        let joined = |parts: BTreeSet<&str>| parts.into_iter().collect::<Vec<_>>().join(", ");
        parts.into_iter().map(|(peer, parts)| (peer, joined(parts))).collect()
    }

    pub(crate) fn json(&self) -> Value {
        let mut cells = Vec::new();
        for workload in self.workloads() {
            for peer in self.peers() {
                let Some(cell) = self.cell(peer, workload.name, "ns_per_op") else { continue };
                cells.push(json!({
                    "workload": workload.name,
                    "unit": workload.unit,
                    "peer": peer.name(),
                    "ns_per_op": cell.median,
                    "ns_min": cell.least,
                    "ns_max": cell.most,
                    "rounds": cell.rounds,
                    "disturbed": cell.disturbed,
                    "not_comparable": workload.apart(peer),
                }));
            }
        }
        let lines = self.lines.iter().filter_map(|l| serde_json::from_str(&l.to_string()).ok());
        let left_out = self.left_out.iter().map(|LeftOut { peer, missing }| {
            json!({ "peer": peer.name(), "missing": missing.what, "mend": missing.mend })
        });
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        json!({
            "unix_time": since.as_secs(),
            "quick": self.quick,
            "machine": machine(),
            "rustc": RUSTC,
            "versions": self.versions(),
            "left_out": left_out.collect::<Vec<_>>(),
            "cells": cells,
            "lines": lines.collect::<Vec<Value>>(),
        })
    }
}

fn machine() -> Value {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|rest| rest.trim_start_matches([':', ' ', '\t']).trim().to_owned())
    };
    json!({
        "processor": field("/proc/cpuinfo", "model name"),
        "processors": std::thread::available_parallelism().map_or(1, usize::from),
        "memory": field("/proc/meminfo", "MemTotal"),
        "kernel": field("/proc/sys/kernel/osrelease", ""),
    })
}

/// Further numbers of some workloads.
const MORE: &[(&str, &str, &str)] = &[
    ("sleepers_1000", "bytes_per_task", "bytes a task"),
    ("sleepers_10000", "bytes_per_task", "bytes a task"),
    ("sleepers_100000", "bytes_per_task", "bytes a task"),
    ("million_sleepers", "n", "tasks"),
    ("million_sleepers", "bytes_per_task", "bytes a task"),
    ("million_sleepers_bare", "bytes_per_task", "bytes a task"),
    ("million_sleepers_heap", "live_heap_bytes_per_task", "live bytes a task"),
    ("timers_churn", "mean_late_us", "µs late"),
    ("tcp_echo_100", "ops_per_s", "requests a second"),
    ("tcp_echo_100", "p50_us", "µs, half are quicker"),
    ("tcp_echo_100", "p99_us", "µs, 99 % are quicker"),
    ("tcp_echo_100", "server_cpu_ns_per_op", "CPU ns, the server's"),
    ("tcp_echo_1000", "ops_per_s", "requests a second"),
    ("tcp_echo_1000", "p50_us", "µs, half are quicker"),
    ("tcp_echo_1000", "p99_us", "µs, 99 % are quicker"),
    ("tcp_echo_1000", "server_cpu_ns_per_op", "CPU ns, the server's"),
];

const LEGEND: &str = "\
Lower is better, but for requests a second. to best: corymb to the best of the others; tokio-ct has
one thread, threads have one a task, the others have two workers. †: other processes took more than
a tenth of the machine in every round. ¹: not comparable, and not in `to best`: may's channels have
no bound. An empty cell: there is no such thing.
";

pub(crate) fn markdown(results: &Results, charts: &[Chart]) -> String {
    let mut text = String::from("# Results\n\n");
    text += &tables(results).unwrap_or_default();
    for (peer, version) in results.versions() {
        text += &format!("- {peer}: {version}\n");
    }
    for LeftOut { peer, missing } in &results.left_out {
        text += &format!("- {peer}: left out; {missing}\n");
    }
    for Chart { file, title, .. } in charts {
        text += &format!("\n![{title}]({file})\n");
    }
    text
}

fn tables(results: &Results) -> Result<String, std::fmt::Error> {
    let peers = results.peers();
    let mut text = String::new();
    let machine = machine();
    let said = |name: &str| machine[name].to_string().replace('"', "");
    let [processor, processors, kernel] = ["processor", "processors", "kernel"].map(said);
    writeln!(text, "{processors} processors ({processor}), Linux {kernel}, rustc {RUSTC}.")?;
    if results.quick {
        writeln!(text, "A quick look: a tenth of the sizes, one round; not to be quoted.")?;
    }
    let head: Vec<_> = peers.iter().map(|peer| peer.name()).collect();
    writeln!(text, "\n{LEGEND}\n| workload | unit | {} | to best |", head.join(" | "))?;
    writeln!(text, "|{}", " --- |".repeat(peers.len() + 3))?;
    for workload in results.workloads() {
        write!(text, "| {} | {} |", workload.name, workload.unit)?;
        for peer in &peers {
            let apart = if workload.apart(*peer).is_some() { " ¹" } else { "" };
            let cell = results.cell(*peer, workload.name, "ns_per_op");
            let shown = cell.map(|cell| format!("{}{apart}", marked(&cell)));
            let absent = results.absent(*peer, workload.name);
            write!(text, " {} |", shown.as_deref().unwrap_or(absent))?;
        }
        let shown = |ratio| if ratio < 0.1 { format!("{ratio:.4}") } else { number(ratio) };
        let ratio = results.to_best(workload).map(shown).unwrap_or_default();
        writeln!(text, " {ratio} |")?;
    }
    let more: Vec<_> = MORE.iter().filter_map(|number| more(results, &peers, number)).collect();
    if !more.is_empty() {
        writeln!(text, "\n| workload | number | {} |", head.join(" | "))?;
        writeln!(text, "|{}", " --- |".repeat(peers.len() + 2))?;
        writeln!(text, "{}", more.join("\n"))?;
    }
    writeln!(text)?;
    Ok(text)
}

/// A row of the second table, if somebody has the number.
fn more(
    results: &Results,
    peers: &[Peer],
    (workload, field, what): &(&str, &str, &str),
) -> Option<String> {
    let cell = |peer: &Peer| results.cell(*peer, workload, field);
    let cells: Vec<_> = peers.iter().map(cell).collect();
    cells.iter().any(Option::is_some).then_some(())?;
    let shown = cells.iter().map(|cell| cell.as_ref().map(marked).unwrap_or_default());
    let shown: Vec<_> = shown.collect();
    Some(format!("| {workload} | {what} | {} |", shown.join(" | ")))
}

fn marked(cell: &Cell) -> String {
    number(cell.median) + if cell.disturbed { " †" } else { "" }
}

/// Three or four significant digits, and commas between thousands.
pub(crate) fn number(value: f64) -> String {
    let plain = format!("{value:.0$}", digits(value));
    let whole = plain.split('.').next().unwrap_or_default().len();
    let mut text = String::new();
    for (i, digit) in plain.chars().enumerate() {
        if i > 0 && i < whole && (whole - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A line with the usual numbers and what `more` says.
    pub(crate) fn line(peer: Peer, workload: &str, ns: f64, more: &[(&str, f64)]) -> Line {
        let mut numbers = Numbers::of(1_000, vec![ns]);
        more.iter().for_each(|(name, value)| numbers.add(name, *value));
        let (version, workload) = (format!("{peer} 1"), workload.to_owned());
        Line { peer: peer.name().to_owned(), version, workload, result: Ok(numbers) }
    }

    pub(crate) fn results(lines: Vec<Line>) -> Results {
        Results { lines, left_out: Vec::new(), quick: false }
    }

    #[test]
    fn disturbed_rounds_count_only_if_there_is_no_other() {
        let round = |ns, foreign| line(Peer::Go, "mutex", ns, &[("foreign_cpu", foreign)]);
        let cell = |lines| results(lines).cell(Peer::Go, "mutex", "ns_per_op");
        let quiet = cell(vec![round(10.0, 0.05), round(90.0, 0.5), round(20.0, 0.0)]);
        let quiet = quiet.expect("it was measured");
        assert_eq!((quiet.median, quiet.least, quiet.most), (15.0, 10.0, 20.0));
        assert_eq!((quiet.rounds, quiet.disturbed), (2, false));
        let loud = cell(vec![round(90.0, 0.5), round(80.0, 0.2)]).expect("it was measured");
        assert_eq!((loud.median, loud.rounds, loud.disturbed), (80.0, 1, true));
        assert_eq!(cell(Vec::new()), None);
    }

    #[test]
    fn other_workers_have_cells_of_their_own() {
        let with = |workers, ns| line(Peer::Corymb, "skynet", ns, &[("workers", workers)]);
        let results = results(vec![with(1.0, 30.0), with(2.0, 20.0)]);
        let at = |workers| results.cell_at(Peer::Corymb, "skynet", "ns_per_op", workers);
        assert_eq!([1, 2].map(|workers| at(workers).map(|c| c.median)), [Some(30.0), Some(20.0)]);
        assert_eq!(results.workers(Peer::Corymb, "skynet"), [1, 2]);
    }

    #[test]
    fn tables_have_numbers_marks_and_ratios() {
        let mut results = results(vec![
            line(Peer::Corymb, "channel_spsc", 50.0, &[]),
            line(Peer::Go, "channel_spsc", 100.0, &[("foreign_cpu", 0.3)]),
            line(Peer::May, "channel_spsc", 10.0, &[]),
            line(Peer::Corymb, "million_sleepers", 900.0, &[("bytes_per_task", 1_440.0)]),
        ]);
        let missing = Missing { what: "javac".to_owned(), mend: "install it".to_owned() };
        results.left_out.push(LeftOut { peer: Peer::Java, missing });
        let text = markdown(&results, &[]);
        let row = "| channel_spsc | ns a message | 50.0 | 10.0 ¹ | 100 † | 0.50 |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("| bytes a task | 1,440 |"), "{text}");
        assert!(text.contains("java: left out; missing: javac; mend it by: install it"), "{text}");
        let json = results.json();
        assert_eq!(json["cells"][0]["workload"], "million_sleepers");
        assert_eq!(json["lines"].as_array().map(Vec::len), Some(4));
        assert_eq!(json["left_out"][0]["peer"], "java");
    }

    #[test]
    fn numbers_are_short_and_their_thousands_apart() {
        let shown = [0.5, 9.876, 98.76, 987.6, 9_876.0, 1_234_567.0].map(number);
        assert_eq!(shown, ["0.50", "9.88", "98.8", "988", "9,876", "1,234,567"]);
    }
}
