//! Measures all that was asked for: the peers of a workload one after the other, round after
//! round, so that none profits from a quiet machine.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use corymb_harness::measure::Load;
use corymb_harness::{Absent, Line, WORKERS, echo, finish};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::Settings;
use super::peers::Peer;
use super::programs::{Programs, Size, build_benches, repository};
use super::results::{LeftOut, Results};
use super::workloads::{Kind, SCALING, Workload};
use super::{charts, results};

/// A process that takes longer than this hangs. Sleepers sleep for ten seconds, and a million of
/// them take their time.
const LIMIT: Duration = Duration::from_secs(180);
const QUICK_LIMIT: Duration = Duration::from_secs(20);
/// What has not begun by then is left out of a quick comparison, which is to end within five
/// minutes.
const QUICK_TIME: Duration = Duration::from_secs(270);

/// Whether corymb did all it had to.
pub(crate) fn compare(settings: &Settings) -> Result<bool, String> {
    let start = Instant::now();
    let (peers, left_out) = present(settings);
    for LeftOut { peer, missing } in &left_out {
        eprintln!("{peer} is left out: {missing}");
    }
    if peers.is_empty() {
        return Err("there is nobody to measure".to_owned());
    }
    let usual = || repository().join("target/lab");
    let out = settings.out.clone().unwrap_or_else(usual);
    fs::create_dir_all(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    let log = out.join("stderr.log");
    let log = File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
    let programs = Programs { benches: build_benches()?, scratch: &settings.scratch };
    let building = start.elapsed();

    let plan = plan(settings, &peers);
    let run = Run { settings, programs, log, start: Instant::now() };
    let lines = run.all(&plan);
    let well = !lines.iter().any(|line| line.peer == "corymb" && line.has_failed());
    let results = Results { lines, left_out, quick: settings.quick };
    write(&out, &results).map_err(|e| format!("{}: {e}", out.display()))?;
    let (took, building) = (start.elapsed().as_secs(), building.as_secs());
    eprintln!("{} has the results; it took {took} s, {building} of them to build", out.display());
    let disturbed = |line: &&Line| line.result.as_ref().is_ok_and(results::is_disturbed);
    match (results.lines.iter().filter(disturbed).count(), results.lines.len()) {
        (0, _) => {}
        (some, all) => {
            eprintln!("{some} of {all} lines are disturbed: other processes took a tenth");
        }
    }
    Ok(well)
}

/// Those who can be measured, and those who cannot.
fn present(settings: &Settings) -> (Vec<Peer>, Vec<LeftOut>) {
    let (mut present, mut left_out) = (Vec::new(), Vec::new());
    for peer in &settings.peers {
        match settings.scratch.missing(*peer) {
            None => present.push(*peer),
            Some(missing) => left_out.push(LeftOut { peer: *peer, missing }),
        }
    }
    (present, left_out)
}

fn write(out: &Path, results: &Results) -> io::Result<()> {
    fs::write(out.join("results.json"), format!("{:#}\n", results.json()))?;
    let charts = charts::all(results);
    for chart in &charts {
        fs::write(out.join(chart.file), &chart.svg)?;
    }
    fs::write(out.join("results.md"), results::markdown(results, &charts))
}

/// A process to run, or a server and its load.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Case {
    peer: Peer,
    workload: &'static Workload,
    workers: usize,
}

/// What is run, in order. The cases of a step run at the same time: one, but for sleepers, whose
/// memory is not disturbed by that.
fn plan(settings: &Settings, peers: &[Peer]) -> Vec<Vec<Case>> {
    let mut plan = Vec::new();
    let mut asleep: Vec<Case> = Vec::new();
    for workload in settings.workloads.iter().copied() {
        let concerned = peers.iter().filter(|peer| workload.concerns(**peer));
        let cases = concerned.map(|peer| Case { peer: *peer, workload, workers: WORKERS });
        match workload.kind {
            Kind::Sleepers { scale, .. } if scale < 1.0 => asleep.extend(cases),
            Kind::Sleepers { .. } if settings.quick => plan.push(cases.collect()),
            Kind::Sleepers { .. } => plan.extend(cases.map(|case| vec![case])),
            _ => {
                let alone: Vec<_> = cases.map(|case| vec![case]).collect();
                plan.extend((0..settings.rounds).flat_map(|_| alone.clone()));
            }
        }
    }
    if !asleep.is_empty() {
        plan.insert(0, asleep);
    }
    plan.extend(scaling(settings, peers));
    plan
}

/// Some workloads again, with other numbers of workers.
fn scaling(settings: &Settings, peers: &[Peer]) -> Vec<Vec<Case>> {
    let mut plan = Vec::new();
    for workload in settings.workloads.iter().copied() {
        if !SCALING.contains(&workload.name) {
            continue;
        }
        for _ in 0..settings.rounds {
            for workers in other_workers(processors()) {
                let scaled = peers.iter().filter(|peer| peer.has_workers());
                plan.extend(scaled.map(|peer| vec![Case { peer: *peer, workload, workers }]));
            }
        }
    }
    plan
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// One, and from the usual number on its doubles up to `processors`, and that.
fn other_workers(processors: usize) -> Vec<usize> {
    let doubled = std::iter::successors(Some(WORKERS * 2), |workers| Some(workers * 2));
    let mut all: Vec<_> = doubled.take_while(|workers| *workers < processors).collect();
    all.insert(0, 1);
    if processors > WORKERS {
        all.push(processors);
    }
    all
}

struct Run<'a> {
    settings: &'a Settings,
    programs: Programs<'a>,
    /// What the processes complain of.
    log: File,
    start: Instant,
}

impl Run<'_> {
    fn all(&self, plan: &[Vec<Case>]) -> Vec<Line> {
        let of = plan.iter().map(Vec::len).sum::<usize>();
        let terminal = io::stderr().is_terminal();
        let target =
            if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(of as u64), target);
        if let Ok(style) = ProgressStyle::with_template("[{elapsed}] {bar:30} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        let mut lines = Vec::new();
        for step in plan {
            let [Case { peer, workload, .. }, ..] = step[..] else { continue };
            bar.set_message(match step.len() {
                1 => format!("{} {peer}", workload.name),
                more => format!("{more} processes that sleep"),
            });
            for line in self.step(step) {
                bar.inc(1);
                if self.settings.json {
                    // Who has seen enough (`head`) closes the pipe; the files are written all the same.
                    let _heard = bar.suspend(|| writeln!(io::stdout(), "{line}"));
                }
                if !terminal {
                    eprintln!("[{}/{of}] {}", bar.position(), told(&line));
                } else if line.has_failed() {
                    bar.suspend(|| eprintln!("{}", told(&line)));
                }
                lines.push(line);
            }
        }
        bar.finish_and_clear();
        lines
    }

    /// Measures cases at the same time.
    fn step(&self, step: &[Case]) -> Vec<Line> {
        if self.settings.quick && self.start.elapsed() > QUICK_TIME {
            let why = "there was no time left for it".to_owned();
            return step.iter().map(|case| case.absent(Absent::Skipped(why.clone()))).collect();
        }
        let load = Load::now();
        let mut lines: Vec<_> = thread::scope(|s| {
            let threads: Vec<_> = step.iter().map(|case| s.spawn(|| self.measure(case))).collect();
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
        });
        let foreign = load.foreign();
        for line in &mut lines {
            if let Ok(numbers) = &mut line.result {
                numbers.add("foreign_cpu", foreign);
            }
        }
        lines
    }

    fn measure(&self, case: &Case) -> Line {
        let Case { peer, workload, workers } = *case;
        match self.run(case) {
            Ok(mut line) => {
                line.peer = peer.name().to_owned();
                line.workload = workload.name.to_owned();
                if let (Ok(numbers), true) = (&mut line.result, peer.has_workers()) {
                    numbers.add("workers", workers as f64);
                }
                line
            }
            Err(why) => case.absent(Absent::Failed(why.to_string())),
        }
    }

    fn run(&self, case: &Case) -> io::Result<Line> {
        let Case { peer, workload, workers } = *case;
        let Settings { scale, quick, .. } = *self.settings;
        if let Kind::Echo(connections) = workload.kind {
            let server = self.logged(self.programs.serve(peer, workers))?;
            let load = self.logged(Command::new(&self.programs.benches.peers))?;
            return echo(server, load, connections, scale);
        }
        let (reps, warm) = if quick { (3, 3) } else { (2, 5) };
        let size = Size { scale, reps, warm, workers };
        let sleeps = matches!(workload.kind, Kind::Sleepers { .. });
        let limit = if quick && !sleeps { QUICK_LIMIT } else { LIMIT };
        finish(self.logged(self.programs.measure(peer, workload, size))?, limit)
    }

    fn logged(&self, mut command: Command) -> io::Result<Command> {
        command.stderr(self.log.try_clone()?);
        Ok(command)
    }
}

impl Case {
    fn absent(&self, why: Absent) -> Line {
        Line {
            peer: self.peer.name().to_owned(),
            version: String::new(),
            workload: self.workload.name.to_owned(),
            result: Err(why),
        }
    }
}

/// A line for who has no progress bar.
fn told(line: &Line) -> String {
    let Line { peer, workload, result, .. } = line;
    match result {
        Ok(numbers) => {
            let [ns, foreign] = ["ns_per_op", "foreign_cpu"].map(|name| numbers.get(name));
            let disturbed = if results::is_disturbed(numbers) { ", disturbed" } else { "" };
            let [ns, foreign] = [ns, foreign].map(|number| number.unwrap_or(f64::NAN));
            format!("{workload} {peer}: {ns:.1} ns (others took {foreign:.2}{disturbed})")
        }
        Err(why) => format!("{workload} {peer} {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::{self, Action};
    use super::*;

    fn settings(args: &str) -> Settings {
        match args::parse(args.split_whitespace().map(str::to_owned)) {
            Ok(Action::Compare(settings)) => settings,
            _ => panic!("{args} is a comparison"),
        }
    }

    #[test]
    fn peers_take_turns() {
        let settings = settings("compare --workloads hop --rounds 2 --peers corymb,go");
        let plan = plan(&settings, &settings.peers);
        let peers: Vec<_> = plan.iter().map(|step| (step.len(), step[0].peer)).collect();
        let round = [(1, Peer::Corymb), (1, Peer::Go)];
        assert_eq!(peers, [round, round].concat());
    }

    #[test]
    fn small_sleepers_sleep_together_and_first() {
        let settings = settings("compare --workloads sleepers_1000,hop,sleepers_bare_1000");
        let plan = plan(&settings, &[Peer::Corymb, Peer::Java]);
        let names: Vec<_> = plan[0].iter().map(|case| case.workload.name).collect();
        assert_eq!(names, ["sleepers_1000", "sleepers_1000", "sleepers_bare_1000"]);
        assert!(plan[1..].iter().all(|step| step.len() == 1));
    }

    #[test]
    fn workers_are_doubled_up_to_the_processors() {
        assert_eq!(other_workers(1), [1]);
        assert_eq!(other_workers(2), [1]);
        assert_eq!(other_workers(6), [1, 4, 6]);
        assert_eq!(other_workers(16), [1, 4, 8, 16]);
    }

    #[test]
    fn only_who_has_workers_is_scaled() {
        let settings = settings("compare --workloads skynet --rounds 1");
        let scaled = scaling(&settings, &[Peer::Corymb, Peer::TokioCt, Peer::Threads]);
        assert!(scaled.iter().all(|step| step[0].peer == Peer::Corymb));
        assert_eq!(scaled[0][0].workers, 1);
    }
}
