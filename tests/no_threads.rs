//! A system that has no threads for a while.
//!
//! Threads are a matter of the whole process, so the test has one of its own: this binary, started
//! again.
#![cfg(target_os = "linux")]

use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use corymb::{Dispatcher, Runtime, spawn_on};
use rustix::process::{Resource, getrlimit, setrlimit};

#[test]
fn what_waits_for_a_thread_goes_on_when_there_is_one() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "io_without_threads"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
}

/// More than there is room for while [`refused`] is in force.
const STACK: usize = 1 << 26;

/// Has the system refuse to start threads until it is called with what it has returned.
fn refuse_threads() -> rustix::process::Rlimit {
    let before = getrlimit(Resource::As);
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().next().unwrap().parse().unwrap();
    let now = pages * rustix::param::page_size();
    let mut lower = before;
    lower.current = Some((now + STACK / 2) as u64);
    setrlimit(Resource::As, lower).unwrap();
    before
}

#[test]
#[ignore = "it lowers a limit of the process: run by the test above in a process of its own"]
fn io_without_threads() {
    let builder = Runtime::builder().parallelism(1).max_pool_size(4).stack_size(STACK);
    let rt = builder.build().unwrap();
    let (begin, begun) = channel();
    let (release, released) = channel::<()>();
    let worker = rt.detached(async move {
        begin.send(()).unwrap();
        released.recv().unwrap();
    });
    begun.recv().unwrap();

    let before = refuse_threads();
    let refused = std::thread::Builder::new().stack_size(STACK).spawn(|| ());
    assert!(refused.is_err());
    let io = rt.detached(spawn_on(Dispatcher::Io, async { 42 }));
    let queued = || rt.metrics().io_queued;
    release.send(()).unwrap();
    rt.run_blocking(worker);
    while queued() == 0 {
        std::thread::yield_now();
    }
    assert!(!io.job().is_completed());
    setrlimit(Resource::As, before).unwrap();
    assert_eq!(rt.run_blocking(io), 42);
    assert!(rt.shutdown(Duration::from_secs(60)).is_empty());
}
