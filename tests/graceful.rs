//! Shutdowns that let work come to its end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use corymb::Runtime;
use corymb::prelude::*;
use corymb::sync::oneshot;

const LONG: Duration = Duration::from_secs(600);

#[test]
fn what_has_begun_is_drained_and_what_hangs_is_forced_and_told_of() {
    let runtime = Runtime::builder().parallelism(2).build().unwrap();
    let (tell, told) = mpsc::channel();
    let drained = Arc::new(AtomicUsize::new(0));
    for _ in 0..50 {
        let (tell, drained) = (tell.clone(), drained.clone());
        runtime.launch_detached(soft_shield(async move {
            tell.send(()).unwrap();
            // The shutdown has begun: what is left is done.
            cancelled().await;
            yield_now().await;
            drained.fetch_add(1, Ordering::SeqCst);
        }));
    }
    let mut hangs = 0;
    runtime.launch_detached(scope({
        let tell = tell.clone();
        async move |s| {
            for _ in 0..3 {
                let tell = tell.clone();
                s.coroutine().name("hangs").launch(soft_shield(async move {
                    tell.send(()).unwrap();
                    std::future::pending::<()>().await;
                }));
            }
        }
    }));
    hangs += 3;
    for _ in 0..50 + hangs {
        told.recv().unwrap();
    }
    let report = runtime.shutdown(Duration::from_secs(2));
    assert_eq!(drained.load(Ordering::SeqCst), 50);
    assert!(report.is_empty(), "{report}");
    // The parent of those that hang waits for them, and is not one of them.
    let names: Vec<_> = report.forced().iter().map(|who| who.name()).collect();
    assert_eq!(names, [Some("hangs"); 3], "{report}");
    assert_eq!(report.drained().len(), 50, "{report}");
    let text = report.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], ["everything has ended", "50 coroutines drained, within the grace:"]);
    let drained = format!("  50 launched at {}:", file!());
    assert!(lines[2].starts_with(&drained), "{text}");
    assert_eq!(lines[3], "3 coroutines forced, after the grace:");
    let hangs = format!("  coroutine `hangs` launched at {}:", file!());
    assert!(lines[4..].iter().all(|line| line.starts_with(&hangs)), "{text}");
    assert_eq!(lines.len(), 7);
}

/// Each has two shields in a row, inside of a scope, and a child in one of them: it counts once.
#[test]
fn what_is_drained_is_counted_once_and_without_what_it_launched() {
    let runtime = Runtime::builder().parallelism(2).build().unwrap();
    let (tell, told) = mpsc::channel();
    for _ in 0..20 {
        let tell = tell.clone();
        runtime.launch_detached(scope(async move |_| {
            soft_shield(scope(async |s| {
                s.launch(yield_now());
                tell.send(()).unwrap();
                cancelled().await;
            }))
            .await;
            shield(yield_now()).await;
            soft_shield(yield_now()).await;
        }));
    }
    // These are cancelled at once, or are over before.
    runtime.launch_detached(std::future::pending());
    runtime.run_blocking(runtime.detached(soft_shield(yield_now())));
    for _ in 0..20 {
        told.recv().unwrap();
    }
    let report = runtime.shutdown(LONG);
    assert_eq!(report.drained().len(), 20, "{report}");
    assert!(report.is_empty() && report.forced().is_empty(), "{report}");
}

#[test]
fn one_that_comes_out_of_a_shield_and_hangs_in_the_next_is_forced() {
    let runtime = Runtime::builder().parallelism(2).build().unwrap();
    let (tell, told) = mpsc::channel();
    runtime.launch_detached(async move {
        soft_shield(async {
            tell.send(()).unwrap();
            cancelled().await;
        })
        .await;
        soft_shield(std::future::pending::<()>()).await;
    });
    told.recv().unwrap();
    let report = runtime.shutdown(Duration::from_millis(50));
    assert_eq!((report.drained().len(), report.forced().len()), (0, 1), "{report}");
}

/// A service ends after what it serves: it is not the one that was late.
#[test]
fn services_are_not_blamed_for_what_they_serve() {
    let runtime = Runtime::builder().parallelism(2).build().unwrap();
    let (tell, told) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    runtime.launch_detached(scope(async move |s| {
        let closed = move || async move { end.send("closed").unwrap() };
        let serves = scope(async |s| drop(s.launch(std::future::pending())));
        s.service(finally(serves, closed));
        s.coroutine().name("hangs").launch(soft_shield(async move {
            tell.send(()).unwrap();
            std::future::pending::<()>().await;
        }));
        std::future::pending::<()>().await;
    }));
    told.recv().unwrap();
    let report = runtime.shutdown(Duration::from_millis(50));
    assert_eq!(ended.recv(), Ok("closed"));
    assert!(report.is_empty(), "{report}");
    let names: Vec<_> = report.forced().iter().map(|who| who.name()).collect();
    assert_eq!(names, [Some("hangs")], "{report}");
}

#[test]
fn what_blocks_is_reported_with_its_section() {
    let runtime = Runtime::builder().parallelism(2).build().unwrap();
    let (tell, told) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (begin, has_begun) = oneshot::channel();
    let launched = line!() + 1;
    runtime.launch_detached(async move {
        let blocks = move || {
            tell.send(()).unwrap();
            let _released = released.recv();
        };
        has_begun.await.unwrap(); // what has never suspended is not listed
        blocking(blocks).await;
    });
    while runtime.job().unfinished().iter().all(|who| who.launched_at().line() != launched) {
        thread::yield_now(); // until it has suspended
    }
    begin.send(()).unwrap();
    told.recv().unwrap();
    let report = runtime.shutdown(Duration::from_millis(10));
    drop(release);
    assert!(!report.is_empty() && report.unfinished().len() == 1, "{report}");
    assert_eq!(report.unfinished()[0].launched_at().line(), launched);
    let section = format!("running, last in the section at {}:{}:", file!(), launched + 6);
    assert!(report.to_string().contains(&section), "{report}");
}

#[test]
fn a_drained_runtime_does_not_wait_for_the_grace() {
    let runtime = Runtime::builder().parallelism(2).build().unwrap();
    let (tell, told) = mpsc::channel();
    let (done, is_done) = mpsc::channel();
    runtime.launch_detached(async move {
        let cleanup = move || async move {
            yield_now().await;
            done.send("rolled back").unwrap();
        };
        let work = soft_shield(async {
            tell.send(()).unwrap();
            cancelled().await;
        });
        finally(work, cleanup).await;
        std::future::pending::<()>().await;
    });
    told.recv().unwrap();
    // In far less than the grace, or the test hangs.
    let report = runtime.shutdown(LONG);
    assert!(report.is_empty() && report.forced().is_empty(), "{report}");
    assert_eq!(is_done.recv(), Ok("rolled back"));
}

#[test]
fn without_a_grace_nothing_is_drained() {
    let runtime = Runtime::builder().parallelism(2).build().unwrap();
    let (begun, has_begun) = oneshot::channel();
    let dropped = runtime.detached(soft_shield(async move {
        begun.send(()).unwrap();
        std::future::pending::<()>().await;
    }));
    runtime.run_blocking(has_begun).unwrap();
    let _report = runtime.shutdown(Duration::ZERO);
    // It was cancelled at once; whether it has ended is not waited for.
    assert!(dropped.job().is_cancelled());
}

/// One that was cancelled and only waits for the one worker there is was not forced.
#[test]
fn what_only_waits_to_be_dropped_when_the_grace_is_over_was_not_forced() {
    let runtime = Runtime::builder().parallelism(1).blocked_threshold(LONG).build().unwrap();
    let (tell, told) = mpsc::channel();
    let other = runtime.detached(std::future::pending::<()>()).job();
    runtime.launch_detached(async move {
        yield_now().await;
        soft_shield(async move {
            tell.send(()).unwrap();
            // Behind the shield this is the end of the grace.
            while !is_cancelled() {
                std::hint::spin_loop();
            }
        })
        .await;
    });
    told.recv().unwrap();
    let report = runtime.shutdown(Duration::from_millis(20));
    assert!(report.is_empty() && other.is_completed(), "{report}");
    let places: Vec<_> = report.forced().iter().map(|who| who.launched_at()).collect();
    assert!(!places.contains(&other.launched_at()), "{report}");
}
