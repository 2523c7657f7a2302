//! The processes that measure, and those that are measured.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::{Line, Settings};

/// A child that takes longer than this hangs.
pub const LIMIT: Duration = Duration::from_secs(90);

/// What a child says that runs [`Suite::run`](crate::Suite::run).
///
/// # Errors
///
/// If it does not end well.
pub fn measured(settings: &Settings, peer: &str, workload: &str) -> io::Result<Line> {
    let Settings { scale, reps, workers, .. } = settings;
    let [scale, reps, workers] = [scale.to_string(), reps.to_string(), workers.to_string()];
    let settings = ["--scale", &scale, "--reps", &reps, "--workers", &workers];
    finish(child(&[&["--one", peer, workload], &settings[..]].concat())?, LIMIT)
}

/// This program again.
///
/// # Errors
///
/// If it does not know where it is.
pub fn child(args: &[&str]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args);
    Ok(command)
}

/// Starts a child with its output in a pipe. It ends with the thread that has started it, and so with
/// this process, also if that is killed: what it left behind would disturb whoever measures next.
fn start(command: &mut Command) -> io::Result<Child> {
    let end_with_us = || Ok(set_parent_process_death_signal(Some(Signal::KILL))?);
    // SAFETY: one system call, between fork and exec: it allocates nothing and takes no lock.
    unsafe { command.pre_exec(end_with_us) };
    command.stdout(Stdio::piped()).spawn()
}

/// The line that a child prints. If it takes longer than `limit`, it is ended.
///
/// # Errors
///
/// If it does not start, does not end well, or prints no line.
pub fn finish(mut command: Command, limit: Duration) -> io::Result<Line> {
    let mut child = start(&mut command)?;
    let mut stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let (done, text) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.read_to_string(&mut text).map(|_| text);
        // Nobody waits any more if the limit has passed.
        let _sent = done.send(read);
    });
    let Ok(text) = text.recv_timeout(limit) else {
        child.kill()?;
        child.wait()?;
        return Err(io::Error::other(format!("it hangs: no result after {limit:?}")));
    };
    drop(reader.join());
    let status = child.wait()?;
    let line = text?.lines().rev().find_map(Line::parse);
    line.filter(|_| status.success()).ok_or_else(|| io::Error::other(status.to_string()))
}

/// Has `load` measure the server that `server` starts, for `connections`, with its times by
/// `scale`.
///
/// # Errors
///
/// If either does not do as it should.
pub fn echo(server: Command, mut load: Command, connections: &str, scale: f64) -> io::Result<Line> {
    let server = Server::start(server)?;
    let [port, pid] = [server.port, server.process.id()].map(|number| number.to_string());
    load.args(["--load", connections, &port, &pid, &scale.to_string()]);
    let mut line = finish(load, LIMIT)?;
    line.workload = format!("tcp_echo_{connections}");
    if let Some(Line { peer, version, .. }) = &server.line {
        line.peer.clone_from(peer);
        line.version.clone_from(version);
    }
    Ok(line)
}

/// A server of echoes, which ends when this is dropped.
struct Server {
    process: Child,
    port: u32,
    /// What it said when it listened.
    line: Option<Line>,
}

impl Server {
    fn start(mut command: Command) -> io::Result<Self> {
        let process = start(&mut command)?;
        let mut this = Self { process, port: 0, line: None };
        let mut text = String::new();
        if let Some(stdout) = this.process.stdout.as_mut() {
            BufReader::new(stdout).read_line(&mut text)?;
        }
        this.line = Line::parse(&text);
        let port = this.line.as_ref().and_then(|line| line.result.as_ref().ok()?.get("port"));
        this.port = port.ok_or_else(|| io::Error::other("the server tells no port"))? as u32;
        Ok(this)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either fails only if the process has ended by itself.
        let _killed = self.process.kill();
        let _status = self.process.wait();
    }
}
