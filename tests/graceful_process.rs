//! What Ctrl-C does to programs of `#[corymb::main]`, as processes: the example `graceful`, and
//! those in here, which this test's own binary runs.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Lines, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

mod example;

/// A program that runs.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// What is left of one.
struct Ended {
    status: ExitStatus,
    /// What it wrote since it was looked at last.
    lines: Vec<String>,
    errors: String,
}

impl Program {
    fn start(mut command: Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let default = || {
            // SAFETY: one system call, on a thread that has nothing but what it was forked with.
            unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
            Ok(())
        };
        // What a shell runs in the background ignores the signal, and so would its children.
        // SAFETY: the closure is such as may run between `fork` and `exec`.
        unsafe { command.pre_exec(default) };
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn example(args: &[&str]) -> Self {
        let mut command = Command::new(example::binary("graceful"));
        command.args(args);
        Self::start(command)
    }

    /// One of `programs`.
    fn own(name: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("programs::{name}"), "--ignored", "--nocapture"]);
        Self::start(command)
    }

    /// Reads up to this line.
    fn wait_for(&mut self, line: &str) {
        while self.lines.next().unwrap_or_else(|| panic!("it never said {line}")).unwrap() != line {
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    fn end(mut self) -> Ended {
        let lines = self.lines.map(Result::unwrap).collect();
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        Ended { status: self.child.wait().unwrap(), lines, errors }
    }
}

/// The names in the report's list below this title, which all have a place in the example.
#[track_caller]
fn listed(errors: &str, title: &str) -> Vec<String> {
    let mut lines = errors.lines().skip_while(|line| *line != title);
    assert!(lines.next().is_some(), "{title} in\n{errors}");
    let list = lines.take_while(|line| line.starts_with("  "));
    list.map(|line| {
        let (name, place) = line.split_once(" launched at ").expect(line);
        assert!(place.starts_with("examples/graceful.rs:"), "{line}");
        name.trim().to_owned()
    })
    .collect()
}

#[test]
fn five_hundred_requests_in_flight_are_answered_and_then_the_pool_is_closed_and_then_the_log() {
    let mut server = Program::example(&["--requests", "500"]);
    server.wait_for("ready");
    server.signal("INT");
    let Ended { status, mut lines, errors } = server.end();
    assert_eq!(status.code(), Some(130), "{errors}");
    assert_eq!(lines.pop().as_deref(), Some("log closed after 502 lines"));
    assert_eq!(lines.pop().as_deref(), Some("pool closed after 500 queries"));
    let mut answered: Vec<_> = (0..500).map(|n| format!("request {n} answered")).collect();
    answered.sort();
    lines.sort();
    assert_eq!(lines, answered);
    assert!(errors.contains("corymb: SIGINT: everything has ended\n"), "{errors}");
    assert_eq!(listed(&errors, "500 coroutines drained, within the grace:"), ["500"]);
    assert!(!errors.contains("forced"), "{errors}");
}

#[test]
fn twenty_requests_that_hang_are_told_of_and_hold_up_nobody_else() {
    let mut server = Program::example(&["--requests", "30", "--hang", "20"]);
    server.wait_for("ready");
    server.signal("INT");
    let Ended { status, mut lines, errors } = server.end();
    assert_eq!(status.code(), Some(130), "{errors}");
    assert_eq!(lines.pop().as_deref(), Some("log closed after 32 lines"));
    assert_eq!(lines.pop().as_deref(), Some("pool closed after 30 queries"));
    assert_eq!(lines.len(), 30);
    assert_eq!(listed(&errors, "30 coroutines drained, within the grace:"), ["30"]);
    let mut hung = listed(&errors, "20 coroutines forced, after the grace:");
    hung.sort();
    let names: Vec<_> = (30..50).map(|n| format!("coroutine `request {n}`")).collect();
    assert_eq!(hung, names);
}

#[test]
fn a_panic_that_ends_main_is_told_with_whose_it_is() {
    let program = Program::own("that_panics_in_a_child");
    let ended = program.end();
    assert!(ended.errors.contains("corymb: coroutine `loader` launched at "), "{}", ended.errors);
}

#[test]
fn a_second_signal_ends_the_grace() {
    let mut program = Program::own("that_hangs_for_an_hour");
    program.wait_for("begun");
    program.signal("INT");
    program.wait_for("asked to end"); // two signals at once may be one
    program.signal("INT");
    let Ended { status, lines, errors } = program.end();
    assert_eq!(lines, ["dropped", "ExitCode(unix_exit_status(130))"], "{errors}");
    assert!(
        errors.contains("1 coroutine forced, after the grace:\n  coroutine `hangs`"),
        "{errors}"
    );
    assert!(status.success());
}

#[test]
fn a_body_that_returns_in_its_shield_has_its_own_exit_code() {
    let mut program = Program::own("that_returns_in_its_shield");
    program.wait_for("begun");
    program.signal("TERM");
    let Ended { lines, errors, .. } = program.end();
    assert_eq!(lines, ["ExitCode(unix_exit_status(7))"]);
    let drained = "corymb: SIGTERM: everything has ended\n1 coroutine drained, within the grace:";
    assert!(errors.contains(drained), "{errors}");
}

/// What it has to wait for is forced then, and not said to be there still. The body may be one of
/// those: if it is in a poll, or is just being dropped, when there is no grace left.
#[test]
fn without_a_grace_all_is_forced_at_once() {
    let mut program = Program::own("without_a_grace");
    program.wait_for("begun");
    program.signal("INT");
    let Ended { lines, errors, .. } = program.end();
    assert_eq!(lines.last().unwrap(), "ExitCode(unix_exit_status(130))", "{errors}");
    assert!(lines.contains(&"dropped".into()));
    assert!(errors.contains("corymb: SIGINT: everything has ended\n"), "{errors}");
    assert!(errors.contains("forced, after the grace:\n"), "{errors}");
    assert!(!errors.contains("still there"), "{errors}");
}

#[test]
fn sigterm_has_a_code_of_its_own_and_what_ends_at_once_is_not_told_of() {
    let mut program = Program::own("that_is_local");
    program.wait_for("begun");
    program.signal("TERM");
    let Ended { lines, errors, .. } = program.end();
    assert_eq!(lines, ["dropped at home", "ExitCode(unix_exit_status(143))"]);
    assert!(!errors.contains("SIGTERM"), "{errors}");
}

/// The body's thread never comes back from its code: the process ends without it.
#[test]
fn a_body_that_blocks_for_ever_is_left_behind() {
    let mut program = Program::own("that_blocks_for_ever");
    program.wait_for("begun");
    program.signal("INT");
    program.wait_for("asked to end");
    program.signal("INT");
    let Ended { status, lines, errors } = program.end();
    assert_eq!((status.code(), lines.len()), (Some(130), 0), "{errors}");
    let told = "corymb: SIGINT: not everything has ended";
    assert!(errors.contains(told), "{errors}");
}

#[test]
fn a_signal_after_the_body_ends_the_grace_of_what_that_has_left() {
    let mut program = Program::own("that_leaves_something_behind");
    program.wait_for("asked to end");
    program.signal("INT");
    let Ended { lines, .. } = program.end();
    assert_eq!(lines, ["dropped", "ExitCode(unix_exit_status(0))"]);
}

#[test]
fn signals_are_the_program_s_own_if_it_says_so_and_after_main() {
    for name in ["without_signals", "that_goes_on_after_main"] {
        let mut program = Program::own(name);
        program.wait_for("begun");
        program.signal("INT");
        let Ended { status, lines, errors } = program.end();
        assert_eq!((status.signal(), lines.len()), (Some(2), 0), "{name}: {errors}");
    }
}

/// Run by the tests above, each in a process of its own.
mod programs {
    use std::future::pending;
    use std::process::ExitCode;
    use std::rc::Rc;
    use std::sync::mpsc;

    use corymb::prelude::*;
    use corymb::sync::oneshot;

    /// Writes a line, also where the test's harness would keep it.
    fn say(line: &str) {
        use std::io::Write;
        writeln!(std::io::stdout().lock(), "{line}").unwrap();
    }

    struct SayWhenDropped(&'static str);

    impl Drop for SayWhenDropped {
        fn drop(&mut self) {
            say(self.0);
        }
    }

    fn block_for_ever() {
        let (_kept, waits) = mpsc::channel::<()>();
        waits.recv().expect("the sender is kept");
    }

    /// Runs a `main`, and leaves the process before the harness adds its words.
    fn run(main: fn() -> ExitCode) {
        say(""); // after what the harness has begun a line with
        say(&format!("{:?}", main()));
        std::process::exit(0);
    }

    async fn hang(dropped: &'static str) {
        let _dropped = SayWhenDropped(dropped);
        soft_shield(async {
            say("begun");
            cancelled().await;
            say("asked to end");
            pending::<()>().await;
        })
        .await;
    }

    #[test]
    #[ignore = "a program"]
    fn that_hangs_for_an_hour() {
        #[corymb::main(grace = "60min")]
        async fn main() {
            scope(async |s| {
                s.coroutine().name("hangs").launch(hang("dropped"));
            })
            .await;
        }
        run(main);
    }

    #[test]
    #[ignore = "a program"]
    fn that_panics_in_a_child() {
        #[corymb::main]
        async fn main() {
            scope(async |s| {
                s.coroutine().name("loader").launch(async { panic!("no file") });
            })
            .await;
        }
        run(main);
    }

    #[test]
    #[ignore = "a program"]
    fn that_returns_in_its_shield() {
        #[corymb::main(grace = "60min")]
        async fn main() -> ExitCode {
            soft_shield(async {
                // Main is served for as long as the body goes on.
                with_context(Dispatcher::Main, async { say("begun") }).await;
                cancelled().await;
                with_context(Dispatcher::Main, async { ExitCode::from(7) }).await
            })
            .await
        }
        run(main);
    }

    #[test]
    #[ignore = "a program"]
    fn without_a_grace() {
        #[corymb::main(grace = "0s")]
        async fn main() {
            scope(async |s| s.launch(hang("dropped")).join().await).await;
        }
        run(main);
    }

    #[test]
    #[ignore = "a program"]
    fn that_is_local() {
        #[corymb::main(local, grace = "60min")]
        async fn main() {
            let _here = (Rc::new(1), SayWhenDropped("dropped at home"));
            say("begun");
            pending::<()>().await;
        }
        run(main);
    }

    #[test]
    #[ignore = "a program"]
    fn that_blocks_for_ever() {
        #[corymb::main(local, grace = "60min")]
        async fn main() {
            let token = Job::current().expect("the body's");
            token.on_cancelling(|_| say("asked to end"));
            say("begun");
            block_for_ever();
        }
        run(main);
    }

    #[test]
    #[ignore = "a program"]
    fn that_leaves_something_behind() {
        #[corymb::main(grace = "60min")]
        async fn main() {
            // Cancelled before its first poll, it would have no shield.
            let (begun, has_begun) = oneshot::channel();
            launch_detached(async {
                let tells = async { begun.send(()).unwrap() };
                futures::join!(hang("dropped"), tells);
            });
            has_begun.await.unwrap();
        }
        run(main);
    }

    #[test]
    #[ignore = "a program"]
    fn without_signals() {
        #[corymb::main(signals = false)]
        async fn main() {
            say("begun");
            pending::<()>().await;
        }
        run(main);
    }

    #[test]
    #[ignore = "a program"]
    fn that_goes_on_after_main() {
        #[corymb::main]
        async fn main() {}
        assert_eq!(format!("{:?}", main()), "ExitCode(unix_exit_status(0))");
        say("\nbegun");
        block_for_ever();
    }
}
