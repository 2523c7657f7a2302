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
