//! What Ctrl-C does to a program of `#[corymb::main]`.
//!
//! ```text
//!  first signal ──► the shutdown of the runtime begins: the body is cancelled, what is behind a
//!                   soft shield goes on                                          (a thread for it)
//!  the next one ──► its grace is over
//!  [shut down] ───► main returns; if its thread cannot, because code in it does not return, the
//!                   process exits all the same
//! ```
//!
//! One thread of the process waits for signals, from the first such program on. What a signal means
//! where none runs, in a test that has called `main` and goes on, is what it means elsewhere.

use std::fmt;
use std::io;
use std::process::{self, ExitCode};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use crate::Runtime;
use crate::runtime::{FORCING, Shared, lock, report_to_stderr};

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

/// A signal that asks the program to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Signal {
    name: &'static str,
    number: u8,
}

impl Signal {
    /// What shells call a program that has ended by it.
    fn code(self) -> u8 {
        128 + self.number
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The programs that signals end.
static PROGRAMS: Mutex<Vec<Arc<Program>>> = Mutex::new(Vec::new());

/// Whether the process listens.
static LISTENS: OnceLock<io::Result<()>> = OnceLock::new();

struct Program {
    runtime: Arc<Shared>,
    grace: Duration,
    phase: Mutex<Phase>,
    changed: Condvar,
}

enum Phase {
    /// Nothing has come.
    Running,
    /// The runtime is being shut down.
    Ending,
    /// It has been, and its report was told.
    Ended(Signal),
    /// The body's thread has come out of it.
    Out,
}

/// Ends a program by signals, until it is dropped.
pub(super) struct Interrupts(Arc<Program>);

impl Interrupts {
    pub(super) fn listen(runtime: &Runtime, grace: Duration) -> Result<Self, &'static io::Error> {
        LISTENS.get_or_init(|| system::listen(interrupt)).as_ref()?;
        let program = Arc::new(Program {
            runtime: Arc::clone(runtime.shared()),
            grace,
            phase: Mutex::new(Phase::Running),
            changed: Condvar::new(),
        });
        lock(&PROGRAMS).push(Arc::clone(&program));
        Ok(Self(program))
    }

    /// The body has ended: waits for the end of a shutdown that a signal has begun. The exit code
    /// for that, if there was one.
    pub(super) fn body_ended(&self) -> Option<ExitCode> {
        let mut phase = lock(&self.0.phase);
        loop {
            let signal = match *phase {
                Phase::Ending => {
                    phase = self.0.changed.wait(phase).unwrap_or_else(|it| it.into_inner());
                    continue;
                }
                Phase::Ended(signal) => Some(signal),
                Phase::Running | Phase::Out => None,
            };
            *phase = Phase::Out;
            self.0.changed.notify_all();
            return signal.map(|signal| ExitCode::from(signal.code()));
        }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        let _code = self.body_ended();
        lock(&PROGRAMS).retain(|it| !Arc::ptr_eq(it, &self.0));
    }
}

/// A signal has come.
fn interrupt(signal: Signal) {
    let programs = lock(&PROGRAMS).clone();
    if programs.is_empty() {
        system::default(signal);
    }
    for program in programs {
        program.interrupt(signal);
    }
}

impl Program {
    fn interrupt(self: Arc<Self>, signal: Signal) {
        let mut phase = lock(&self.phase);
        if !matches!(*phase, Phase::Running) {
            return self.runtime.hurry();
        }
        *phase = Phase::Ending;
        drop(phase);
        let ending = thread::Builder::new().name("corymb-shutdown".into());
        if ending.spawn(move || self.end(signal)).is_err() {
            system::default(signal);
        }
    }

    /// Shuts the runtime down, and sees to it that the process ends.
    fn end(&self, signal: Signal) {
        let report = self.runtime.shutdown(self.grace);
        if !report.tells_nothing() {
            report_to_stderr(&format_args!("{signal}: {report}"));
        }
        let mut phase = lock(&self.phase);
        *phase = Phase::Ended(signal);
        self.changed.notify_all();
        let is_in = |phase: &mut Phase| !matches!(phase, Phase::Out);
        let waited = self.changed.wait_timeout_while(phase, FORCING, is_in);
        if waited.unwrap_or_else(|it| it.into_inner()).1.timed_out() {
            process::exit(signal.code().into());
        }
    }
}
