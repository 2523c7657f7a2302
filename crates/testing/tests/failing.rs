//! What makes a test fail, and what it says then.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corymb_core::time::sleep;
use corymb_core::{Job, scope, supervisor_scope, yield_now};
use corymb_testing::{
    Explorer, FaultKind, TestRuntime, busy, run_real, run_real_local, run_test, run_test_local,
    settle, take_failures,
};

mod common;

use common::failure;

/// Says when it is dropped.
struct OnDrop(Arc<Mutex<Vec<&'static str>>>, &'static str);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(self.1);
    }
}

#[test]
fn vtime_009_the_body_s_failure_cancels_its_children_and_is_the_test_s() {
    let dropped = Arc::new(Mutex::new(Vec::new()));
    let guard = OnDrop(dropped.clone(), "child");
    let message = failure(|| {
        run_test(
            "name",
            scope(async move |s| {
                s.launch(async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
                settle().await;
                assert_eq!(1, 2, "the body's own");
            }),
        );
    });
    assert!(message.contains("the body's own"), "{message}");
    assert_eq!(*dropped.lock().unwrap(), ["child"]);
}

#[test]
fn vtime_010_a_child_that_fails_later_fails_the_test() {
    let runtime = TestRuntime::new();
    let message = failure(|| {
        runtime.run(scope(async |s| {
            s.launch(async {
                sleep(Duration::from_secs(60)).await;
                panic!("later");
            });
        }));
    });
    assert_eq!(message, "later");
    assert_eq!(runtime.elapsed(), Duration::from_secs(60));
}

#[test]
fn vtime_015_a_deadlock_lists_those_alone_that_are_alive() {
    let message = failure(|| {
        TestRuntime::new().run(scope(async |s| {
            s.coroutine().name("done").launch(async {});
            let stuck = s.coroutine().name("stuck").launch(async {
                scope(async |s| {
                    s.coroutine().name("below").launch(pending());
                })
                .await;
            });
            s.coroutine().name("younger").launch(pending());
            stuck.join().await;
        }));
    });
    assert!(message.starts_with("deadlock: "), "{message}");
    assert!(!message.contains("`done`"), "{message}");
    let stuck = line_of(&message, "coroutine `stuck`, active, ");
    assert!(stuck.contains(file!()), "{message}");
    let below = line_of(&message, "coroutine `below`, active");
    let depth = |line: &str| line.len() - line.trim_start().len();
    assert!(message.find("`stuck`") < message.find("`younger`"), "{message}");
    // Its own line, that of the scope, and that of the child.
    assert_eq!(depth(below), depth(stuck) + 4, "{message}");
}

fn line_of<'a>(text: &'a str, part: &str) -> &'a str {
    text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part}: {text}"))
}

#[test]
fn a_dump_lists_also_those_that_have_not_run() {
    let message = failure(|| {
        let runtime = TestRuntime::builder().poll_limit(3).build();
        runtime.run(scope(async |s| {
            for _ in 0..9 {
                s.launch(async {});
            }
        }));
    });
    assert_eq!(message.matches(", ready").count(), 7, "{message}");
}

#[test]
fn a_livelock_is_found() {
    let spin = async {
        loop {
            yield_now().await;
        }
    };
    let runtime = TestRuntime::builder().poll_limit(100).build();
    let message = failure(|| runtime.run(spin));
    assert!(message.starts_with("livelock: 100 polls"), "{message}");
}

#[test]
fn polls_at_different_times_are_no_livelock() {
    let runtime = TestRuntime::builder().poll_limit(100).build();
    runtime.run(async {
        for _ in 0..500 {
            sleep(Duration::from_millis(1)).await;
            busy(Duration::from_millis(1));
            yield_now().await;
        }
        for _ in 0..500 {
            busy(Duration::from_millis(1));
            yield_now().await;
        }
    });
    assert_eq!(runtime.elapsed(), Duration::from_millis(1500));
}

#[test]
fn a_leak_fails_the_test_and_is_ended() {
    let dropped = Arc::new(Mutex::new(Vec::new()));
    let guard = OnDrop(dropped.clone(), "leaked");
    let message = failure(move || {
        let runtime = TestRuntime::new();
        let beside = runtime.scope();
        runtime.run(async move {
            beside.coroutine().name("leaked").launch(async move {
                let _guard = guard;
                pending::<()>().await;
            });
        });
    });
    assert!(message.starts_with("still alive after the test's body had returned"), "{message}");
    assert!(line_of(&message, "coroutine `leaked`, active").contains(file!()), "{message}");
    assert_eq!(*dropped.lock().unwrap(), ["leaked"]);
}

#[test]
fn what_is_still_ready_when_the_body_ends_is_no_leak() {
    let runtime = TestRuntime::new();
    let beside = runtime.scope();
    let job = runtime.run(async move { beside.launch(async { yield_now().await }) });
    assert!(job.is_completed());
}

#[test]
fn a_failure_that_reaches_nobody_fails_the_test() {
    let orphan = || {
        supervisor_scope(async |s| {
            s.coroutine().name("orphan").launch(async { panic!("unheard") });
        })
    };
    let message = failure(|| TestRuntime::new().run(orphan()));
    let line = line_of(&message, "unheard");
    assert!(line.contains("`orphan`") && line.contains(file!()), "{message}");

    TestRuntime::new().run(async move {
        orphan().await;
        assert_eq!(take_failures().len(), 1);
        assert_eq!(take_failures().len(), 0);
    });
}

#[test]
fn a_failure_in_the_clean_up_fails_the_test() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    let runtime = TestRuntime::new();
    let beside = runtime.scope();
    let message = failure(|| {
        runtime.run(async move {
            let bad = Bad;
            beside.launch(async move {
                let _bad = bad;
                pending::<()>().await;
            });
        });
    });
    assert!(message.starts_with("still alive"), "{message}");
    let message = failure(|| drop(runtime));
    assert!(message.contains("in a destructor"), "{message}");
}

#[test]
fn an_error_fails_the_test() {
    let message = failure(|| run_test("module::name", async { Err::<(), _>("wrong") }));
    assert_eq!(message, "module::name returned an error: \"wrong\"");
    run_test("module::name", async { Ok::<_, &str>(()) });
}

#[test]
fn an_error_is_told_of_beside_a_leak() {
    let body = || async {
        drop(corymb::detached(pending::<()>()));
        Err::<(), _>("the reason")
    };
    let leaks = |message: &str| {
        message.contains("returned an error: \"the reason\"") && message.contains("still alive")
    };
    let message = failure(|| run_test("name", body()));
    assert!(leaks(&message), "{message}");
    let message = failure(|| run_test_local("name", body()));
    assert!(leaks(&message), "{message}");
    let found = Explorer::new().check(body).expect_err("an error");
    assert_eq!(found.fault().kind(), FaultKind::Error);
    assert!(leaks(&found.fault().to_string()), "{found}");
}

#[test]
fn a_failure_that_reaches_nobody_fails_a_test_in_real_time_too() {
    let orphan = || {
        supervisor_scope(async |s| {
            s.coroutine().name("orphan").launch(async { panic!("unheard") });
        })
    };
    for message in [failure(|| run_real(orphan())), failure(|| run_real_local(orphan()))] {
        let line = line_of(&message, "unheard");
        assert!(message.starts_with("failures that reached nobody"), "{message}");
        assert!(line.contains("`orphan`") && line.contains(file!()), "{message}");
    }
    let error = failure(|| {
        run_real(async move {
            orphan().await;
            Err::<(), _>("the body's own")
        });
    });
    assert!(error.contains("the body's own"), "{error}");
}

#[test]
fn a_body_that_is_cancelled_has_no_value() {
    let message = failure(|| {
        TestRuntime::new().run(async {
            Job::current().expect("a coroutine has a job").cancel();
            yield_now().await;
        });
    });
    assert!(
        message.starts_with("the test's body gave no value: cancelled on request"),
        "{message}"
    );
}

#[test]
fn a_runtime_runs_one_body_after_another() {
    let runtime = TestRuntime::new();
    assert_eq!(runtime.run(async { 1 }), 1);
    runtime.run(sleep(Duration::from_secs(1)));
    assert_eq!(runtime.run(async { 2 }), 2);
    assert_eq!(runtime.elapsed(), Duration::from_secs(1));
}

/// Otherwise the thread that comes first would drop what is bound to the second.
#[test]
fn a_runtime_on_a_second_thread_refuses_what_is_bound_to_it() {
    let runtime = TestRuntime::new();
    runtime.run_local(async {});
    let message = std::thread::spawn(move || failure(|| runtime.run_local(async {})));
    let message = message.join().unwrap();
    assert!(message.contains("make one for each thread"), "{message}");
}
