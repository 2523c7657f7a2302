//! The edges of what a test may ask for: no run at all, a clock that is ahead, a misuse that has to
//! be told.

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Poll, ready};
use std::time::Duration;

use corymb::prelude::*;
use corymb::testing::{
    Explorer, FaultKind, Schedule, SimNet, TestRuntime, advance, busy, cancel_everywhere, elapsed,
    explore, hold_time, settle,
};

const fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

#[test]
fn the_clock_never_goes_back() {
    TestRuntime::new().run(scope(async |s| {
        s.launch(async { busy(ms(20)) });
        settle().await;
        assert_eq!(elapsed(), ms(20));
        s.launch(async { busy(ms(20)) });
        advance(ms(10)).await;
        assert_eq!(elapsed(), ms(40));
    }));
}

#[test]
fn an_exploration_runs_once_at_least() {
    let none = catch_unwind(|| Explorer::new().schedules(0));
    assert!(none.is_err());
    let fails = || async { assert_eq!(1, 2, "it ran") };
    let explored = Explorer::new().time_limit(Duration::ZERO).check(fails);
    assert_eq!(explored.unwrap_err().fault().kind(), FaultKind::Panic);
}

#[corymb::test(explore, schedules = 0)]
#[should_panic(expected = "runs nothing, and so finds nothing")]
async fn an_exploration_of_nothing_fails() {}

/// Runs the test of this name once more, in a process in which `misused` is true.
fn misuse(test: &str, variables: &[(&str, &str)]) -> String {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "--nocapture", test]).env("CORYMB_TEST_MISUSE", "1");
    let output = again.envs(variables.iter().copied()).output().unwrap();
    assert!(!output.status.success(), "{test} passed");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn misused() -> bool {
    std::env::var_os("CORYMB_TEST_MISUSE").is_some()
}

#[test]
fn a_panic_of_what_makes_a_run_is_printed() {
    if misused() {
        let broken = |nothing: Option<()>| nothing.expect("make is broken");
        Explorer::new().run(move || {
            broken(None);
            async {}
        });
        return;
    }
    let text = misuse("a_panic_of_what_makes_a_run_is_printed", &[]);
    assert!(text.contains("make is broken"), "{text}");
}

#[test]
fn a_wrong_seed_is_told_to_who_cancels_everywhere() {
    if misused() {
        cancel_everywhere(|_| (async {}, |_| ()));
        return;
    }
    let variables = [("CORYMB_SEED", "seven")];
    let text = misuse("a_wrong_seed_is_told_to_who_cancels_everywhere", &variables);
    assert!(text.contains("set it to a number"), "{text}");
}

#[test]
fn an_exploration_inside_of_a_runtime_is_told() {
    if misused() {
        let _explored = TestRuntime::new().run(async { explore(|| async {}).schedules() });
        return;
    }
    let text = misuse("an_exploration_inside_of_a_runtime_is_told", &[]);
    assert!(text.contains("cannot run inside of another runtime"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_schedule_that_is_no_text_is_an_error() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    if misused() {
        Explorer::new().run(|| async {});
        return;
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "a_schedule_that_is_no_text_is_an_error"]);
    again.env("CORYMB_TEST_MISUSE", "1").env("CORYMB_REPLAY", OsStr::from_bytes(b"c1.n2-1\xff"));
    assert!(!again.output().unwrap().status.success());
}

#[test]
fn numbers_in_a_failure_stay() {
    let found = Explorer::new().check(|| async { assert_eq!(1, 2, "got {:#x}", 42) });
    let text = found.unwrap_err().fault().to_string();
    assert!(text.contains("got 0x2a"), "{text}");
}

#[test]
fn a_run_that_takes_too_long_is_not_repeated_to_make_it_short() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let found = Explorer::new().random().time_limit(ms(100)).check(move || {
        let runs = Arc::clone(&counted);
        async move {
            runs.fetch_add(1, SeqCst);
            scope(async |s| {
                for _ in 0..6 {
                    s.launch(yield_now());
                }
            })
            .await;
            let _held = hold_time();
            pending::<()>().await;
        }
    });
    assert_eq!(found.unwrap_err().fault().kind(), FaultKind::TooLong);
    assert!(runs.load(SeqCst) < 5, "{runs:?} runs, each of the whole limit");
}

#[test]
fn nobody_connects_through_a_cut() {
    TestRuntime::new().run(scope(async |s| {
        let net = SimNet::new().latency(ms(10)..=ms(10));
        let _listener = net.host("b").listen(1).unwrap();
        let other = net.clone();
        s.launch(async move {
            sleep(ms(15)).await;
            other.cut("a", "b");
            sleep(ms(1_000)).await;
            other.heal("a", "b");
        });
        let _stream = net.host("a").connect("b", 1).await.unwrap();
        assert_eq!(elapsed(), ms(1_015));
    }));
}

#[test]
fn long_schedules_can_be_read_again() {
    let schedule: Schedule = "c1.n2-0x1000000.n2-0x2".parse().unwrap();
    let again = schedule.to_string().parse();
    assert_eq!(again, Ok(schedule));
    assert!(catch_unwind(AssertUnwindSafe(|| "c1.n2-0x0".parse::<Schedule>().unwrap())).is_err());
}

#[test]
fn a_future_that_polls_another_operation_when_one_gives_way_gets_on() {
    let schedules = explore(|| {
        scope(async |s| {
            let mut ended = Box::pin(s.launch(async {}).join());
            let mut due = Box::pin(sleep(ms(1)));
            due.as_mut().await;
            poll_fn(|cx| {
                while ended.as_mut().poll(cx).is_pending() {
                    ready!(due.as_mut().poll(cx));
                }
                Poll::Ready(())
            })
            .await;
        })
    })
    .schedules();
    assert!(schedules > 0);
}
