//! A schedule that is run again gives the same trace, each time and in each process.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use corymb::prelude::*;
use corymb::sync::Mutex;
use corymb::testing::{Counterexample, Explorer, FaultKind, SimHost, SimListener, SimNet};
use futures::{AsyncReadExt, AsyncWriteExt};

/// How often.
const TIMES: usize = if cfg!(miri) { 3 } else { 1_000 };
const MS: Duration = Duration::from_millis(1);

async fn serve(mut listener: SimListener, done: Arc<Mutex<usize>>) {
    for _ in 0..2 {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        *done.lock().await += text.len();
    }
}

async fn ask(host: SimHost) {
    let mut stream = host.connect("server", 80).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
}

/// A deadlock, amid all that is decided in a run: which coroutine is next, which branch is first,
/// how long something is on its way.
async fn program() {
    let net = SimNet::new().latency(MS..=8 * MS);
    let [a, b, done] = [0, 1, 2].map(|_| Arc::new(Mutex::new(0)));
    scope(async |s| {
        let listener = net.host("server").listen(80).unwrap();
        s.coroutine().name("server").launch(serve(listener, Arc::clone(&done)));
        for name in ["one", "other"] {
            s.coroutine().name(name).launch(ask(net.host(name)));
        }
        for _ in 0..3 {
            // Each has the place in memory of the one before.
            s.coroutine().undispatched().launch(sleep(MS)).join().await;
        }
        for (first, second) in [(&a, &b), (&b, &a)] {
            let (first, second, done) = (Arc::clone(first), Arc::clone(second), Arc::clone(&done));
            s.launch(async move {
                corymb::select! {
                    () = sleep(MS) => {}
                    _ = done.lock() => {}
                }
                let _first = first.lock().await;
                let _second = second.lock().await;
            });
        }
    })
    .await;
}

/// Always from here: the texts of faults name the place.
fn find(explorer: Explorer) -> Box<Counterexample> {
    explorer.check(program).expect_err("a deadlock")
}

/// Runs what `explorer` replays so often; gives the trace, which is that of each time.
fn replayed(explorer: &Explorer) -> String {
    let first = find(explorer.clone());
    let trace = first.to_string();
    for _ in 1..TIMES {
        let again = find(explorer.clone());
        assert_eq!(again.to_string(), trace);
        assert_eq!(again.turns(), first.turns());
    }
    trace
}

#[test]
fn a_thousand_times_of_a_thousand() {
    let found = find(Explorer::new());
    assert_eq!(found.fault().kind(), FaultKind::Deadlock);
    let schedule = found.schedule().to_string();
    for letter in ['n', 'b', 'l'] {
        assert!(schedule.contains(&format!(".{letter}")), "all kinds of decisions: {schedule}");
    }
    let trace = replayed(&Explorer::new().replay(schedule.parse().unwrap()));
    let again = find(Explorer::new().replay(schedule.parse().unwrap()));
    assert_eq!((again.fault(), again.turns()), (found.fault(), found.turns()));
    assert!(trace.ends_with(&format!("CORYMB_REPLAY={schedule}")), "{trace}");
}

/// What the other process prints around the trace.
const MARK: &str = "-- the trace --\n";

#[test]
#[cfg_attr(miri, ignore = "there are no other processes")]
fn in_other_processes() {
    let found = find(Explorer::new());
    let here = find(Explorer::new().replay(found.schedule().clone())).to_string();
    for _ in 0..3 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "the_other_process", "--ignored", "--nocapture"]);
        let output = command.env("CORYMB_REPLAY", found.schedule().to_string()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let there = text.split(MARK).nth(1).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(there.trim_end(), here);
    }
}

#[test]
#[ignore = "a part of the test above"]
fn the_other_process() {
    println!("\n{MARK}{}\n{MARK}", replayed(&Explorer::new()));
}

/// Who has the place in memory of one that has ended is still another one.
#[test]
fn coroutines_are_told_apart_by_no_address() {
    let found = Explorer::new().random().schedules(1).check(|| async {
        supervisor_scope(async |s| {
            for name in ["a", "b", "c", "d"] {
                s.coroutine().name(name).undispatched().launch(sleep(MS)).join().await;
            }
        })
        .await;
        Err::<(), _>("to see the trace")
    });
    let trace = found.unwrap_err().to_string();
    for (number, name) in (1..).zip(["a", "b", "c", "d"]) {
        assert!(trace.contains(&format!("#{number} coroutine `{name}`")), "{trace}");
    }
}

/// The text is what was asked for, also where the run went another way.
#[test]
fn a_schedule_that_does_not_fit_is_told_as_it_was_asked_for() {
    let found = find(Explorer::new());
    let text = found.schedule().to_string();
    let (whole, _) = text.rsplit_once('~').unwrap();
    let (cut, _) = whole.rsplit_once('.').unwrap();
    let other = format!("{whole}.n2-1");
    for (asked, why) in [(cut, "Its text was cut short"), (&other, "the run ended without it")] {
        let again = find(Explorer::new().replay(asked.parse().unwrap()));
        assert_eq!(again.fault().kind(), FaultKind::Diverged);
        assert!(again.fault().to_string().contains(why), "{again}");
        assert!(again.to_string().ends_with(&format!("CORYMB_REPLAY={asked}")), "{again}");
    }
}

/// Whoever sets the variable has no program for it.
#[test]
fn what_was_drawn_is_not_for_the_environment() {
    let found = find(Explorer::new().guide(vec![0x8000; 40].into()));
    let text = found.to_string();
    assert!(!text.contains("CORYMB_REPLAY"), "{text}");
    assert!(text.contains("`Guide`") && text.contains("`Explorer::replay`"), "{text}");
    let again = find(Explorer::new().replay(found.schedule().clone()));
    assert_eq!(again.fault(), found.fault());
}

/// Two coroutines, of which the one called `first` has to be.
async fn in_order(names: [&'static str; 2]) {
    let order = Arc::new(Mutex::new(Vec::new()));
    scope(async |s| {
        for name in names {
            let order = Arc::clone(&order);
            s.coroutine().name(name).launch(async move { order.lock().await.push(name) });
        }
    })
    .await;
    assert_eq!(order.lock().await[0], "first");
}

#[test]
fn a_program_that_has_changed_is_told_also_if_it_has_as_many_decisions() {
    let found = Explorer::new().check(|| in_order(["first", "second"])).unwrap_err();
    let replay = Explorer::new().replay(found.schedule().clone());
    let again = replay.clone().check(|| in_order(["first", "second"])).unwrap_err();
    assert_eq!(again.schedule(), found.schedule());
    let other = replay.check(|| in_order(["second", "first"])).unwrap_err();
    assert_eq!(other.fault().kind(), FaultKind::Diverged);
    assert!(other.fault().to_string().contains("other steps"), "{other}");
}
