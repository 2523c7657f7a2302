//! Shutdowns that let work come to its end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use corymb::prelude::*;
use corymb::sync::oneshot;
use corymb::{Runtime, cancelled, finally, soft_shield};

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
    let names: Vec<_> = report.forced().iter().filter_map(|who| who.name()).collect();
    assert_eq!(names, ["hangs"; 3], "{report}");
    assert!(report.to_string().contains(file!()), "{report}");
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
