//! What a wait of the reactor costs, beside one of the poller that it is built on, and how late
//! a timeout is. `cargo bench -p corymb-dispatchers --bench reactor_wait`; for the system calls,
//! run the program under `strace -c`.
#![expect(clippy::print_stdout, reason = "this is its output")]

use std::time::{Duration, Instant};

use corymb_dispatchers::reactor::Reactor;
use polling::{Events, Poller};

const ROUNDS: u32 = 200_000;
const SAMPLES: usize = 500;
const LONG: Duration = Duration::from_secs(3_600);

fn main() {
    let reactor = Reactor::new().expect("a reactor");
    let mut wakers = Vec::new();
    let mut ours = |timeout| {
        reactor.wait(timeout, &mut wakers).expect("a wait");
    };
    compare("reactor", &mut ours, &|| reactor.notify());

    let poller = Poller::new().expect("a poller");
    let mut events = Events::new();
    let mut theirs = |timeout| {
        events.clear();
        poller.wait(&mut events, timeout).expect("a wait");
    };
    compare("polling", &mut theirs, &|| poller.notify().expect("a notification"));
}

fn compare(name: &str, wait: &mut dyn FnMut(Option<Duration>), notify: &dyn Fn()) {
    for micros in [100, 1_500] {
        lateness(name, Duration::from_micros(micros), wait);
    }
    cost(name, "no timeout left", || wait(Some(Duration::ZERO)));
    cost(name, "notified, no timeout", || {
        notify();
        wait(None);
    });
    cost(name, "notified, a long timeout", || {
        notify();
        wait(Some(LONG));
    });
    let mut shorter = LONG;
    cost(name, "notified, ever earlier ones", || {
        notify();
        shorter -= Duration::from_millis(1);
        wait(Some(shorter));
    });
}

fn cost(name: &str, what: &str, mut round: impl FnMut()) {
    (0..ROUNDS / 10).for_each(|_| round());
    let begin = Instant::now();
    (0..ROUNDS).for_each(|_| round());
    println!("{name}: {what}: {:?}", begin.elapsed() / ROUNDS);
}

fn lateness(name: &str, timeout: Duration, wait: &mut dyn FnMut(Option<Duration>)) {
    let mut late: Vec<_> = (0..SAMPLES)
        .map(|_| {
            let begin = Instant::now();
            wait(Some(timeout));
            begin.elapsed().saturating_sub(timeout)
        })
        .collect();
    late.sort_unstable();
    let (median, last) = (late[SAMPLES / 2], late[SAMPLES * 99 / 100]);
    println!("{name}: a timeout of {timeout:?} is late by {median:?} (median), {last:?} (p99)");
}
