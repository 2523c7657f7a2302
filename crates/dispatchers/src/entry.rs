//! What `#[corymb::main]` expands to.

use std::process::{ExitCode, Termination};
use std::time::Duration;

use corymb_core::{Cancelled, Panic};

use crate::Runtime;
use interrupts::Interrupts;

mod interrupts;

/// How long what is left has to end, when the main function has returned or a signal has come.
const GRACE: Duration = Duration::from_secs(1);

/// Without any, a shutdown would not wait for what it cancels, and report all of it.
const LEAST_GRACE: Duration = Duration::from_millis(1);

/// The options of the attribute.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    parallelism: Option<usize>,
    name: Option<&'static str>,
    grace: Option<Duration>,
    deaf: bool,
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// See [`Builder::parallelism`](crate::Builder::parallelism).
    #[must_use]
    pub fn parallelism(self, parallelism: usize) -> Self {
        Self { parallelism: Some(parallelism), ..self }
    }

    /// See [`Builder::name`](crate::Builder::name).
    #[must_use]
    pub fn name(self, name: &'static str) -> Self {
        Self { name: Some(name), ..self }
    }

    /// How long what is left has to end, when the main function has returned or a signal has come.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace: Some(grace), ..self }
    }

    /// Whether signals end the program in order.
    #[must_use]
    pub fn signals(self, signals: bool) -> Self {
        Self { deaf: !signals, ..self }
    }
}

/// Runs `future` as a coroutine of a runtime of its own, reports what it returned, and shuts the
/// runtime down: then, or when a signal asks for it.
///
/// # Panics
///
/// With a panic of the future, and if the runtime cannot be started.
#[track_caller]
pub fn main<T, F>(options: Options, future: F) -> ExitCode
where
    T: Termination,
    F: Future<Output = T> + Send + 'static,
{
    // The report is made in the coroutine, so that what it reports need not be `Send`.
    let program = Program::start(options);
    let ended = program.runtime.try_run_main(async { future.await.report() }, tell);
    program.end(ended)
}

/// Says whose panic it is that ends the program: what told of it where it began does not know.
#[expect(clippy::print_stderr, reason = "the program ends with it")]
fn tell(panic: &Panic) {
    eprintln!("corymb: {panic}");
}

/// As [`main`], with the future on the calling thread, which serves the main loop beside it.
///
/// # Panics
///
/// As [`main`].
#[track_caller]
pub fn main_local<T, F>(options: Options, future: F) -> ExitCode
where
    T: Termination,
    F: Future<Output = T>,
{
    let program = Program::start(options);
    let ended = program.runtime.try_run_main_local(async { future.await.report() });
    program.end(ended)
}

struct Program {
    // Signals are listened to until the runtime has been shut down.
    runtime: Runtime,
    interrupts: Option<Interrupts>,
}

impl Program {
    #[track_caller]
    fn start(options: Options) -> Self {
        let grace = options.grace.unwrap_or(GRACE).max(LEAST_GRACE);
        let runtime = runtime(options, grace);
        let listen = || match Interrupts::listen(&runtime, grace) {
            Ok(interrupts) => interrupts,
            Err(error) => panic!(
                "#[corymb::main] cannot handle signals: {error}; `signals = false` does without"
            ),
        };
        let interrupts = (!options.deaf).then(listen);
        Self { runtime, interrupts }
    }

    /// What the body has returned stands; one that a signal has ended has the code for that.
    #[track_caller]
    fn end(self, ended: Result<ExitCode, Cancelled>) -> ExitCode {
        let interrupted = self.interrupts.as_ref().and_then(Interrupts::body_ended);
        match (ended, interrupted) {
            (Ok(code), _) | (Err(_), Some(code)) => code,
            (Err(cancelled), None) => panic!("the main coroutine was {cancelled}"),
        }
    }
}

#[track_caller]
fn runtime(options: Options, grace: Duration) -> Runtime {
    let mut builder = Runtime::builder().drop_grace(grace);
    if let Some(parallelism) = options.parallelism {
        builder = builder.parallelism(parallelism);
    }
    if let Some(name) = options.name {
        builder = builder.name(name);
    }
    builder.build().unwrap_or_else(|error| panic!("#[corymb::main]: {error}"))
}
