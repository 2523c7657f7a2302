//! Timeouts and deadlines, in virtual time.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corymb_core::time::{now, sleep, timeout_abandon, with_deadline, with_timeout};
use corymb_core::{Job, is_cancelled, scope, supervisor_scope, suspend_cancellable, yield_now};
use corymb_testing::{TestRuntime, advance, busy, elapsed, settle, take_failures};
use futures::FutureExt;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn timeout_001_work_that_is_ready_is_not_dispatched() {
    let runtime = TestRuntime::new();
    runtime.run(scope(async |s| {
        let queued = s.launch(yield_now());
        settle().await;
        let again = s.launch(async {});
        assert_eq!(with_timeout(ms(10_000), async { 42 }).await, Ok(42));
        assert!(queued.is_completed());
        assert!(again.is_active(), "the timeout has let another coroutine go first");
    }));
    assert_eq!(runtime.elapsed(), Duration::ZERO);
}

#[test]
fn timeout_002_to_enter_does_not_give_way() {
    let trace = Arc::new(Mutex::new(Vec::new()));
    let seen = trace.clone();
    TestRuntime::new().run(scope(async move |s| {
        let add = move |n| trace.lock().unwrap().push(n);
        let child = add.clone();
        add(1);
        s.launch(async move {
            child(4);
            yield_now().await;
            child(7);
        });
        add(2);
        let five = with_timeout(ms(1000), async {
            add(3);
            yield_now().await;
            5
        });
        add(five.await.unwrap());
        add(6);
        yield_now().await;
        add(8);
    }));
    assert_eq!(*seen.lock().unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn timeout_003_a_loop_that_is_never_idle_is_ended() {
    let runtime = TestRuntime::new();
    runtime.run(async {
        let endless = async {
            loop {
                busy(ms(1));
                yield_now().await;
            }
        };
        with_timeout(ms(100), endless).await.unwrap_err();
    });
    // The time counts from the end of the first poll.
    assert_eq!(runtime.elapsed(), ms(101));
}

/// It is an error of its own: that the caller is cancelled is never told by a value.
#[test]
fn timeout_005_the_error_names_the_limit_and_the_place() {
    TestRuntime::new().run(async {
        let line = line!() + 1;
        let elapsed = with_timeout(ms(100), sleep(ms(1000))).await.unwrap_err();
        assert_eq!(elapsed.place().line(), line);
        let text = elapsed.to_string();
        assert!(text.contains("100ms") && text.contains(file!()), "{text}");
        assert_eq!(format!("{elapsed:?}"), format!("Elapsed({text})"));
    });
}

/// Differs from the case, where the body never runs: a result that is ready wins.
#[test]
fn timeout_009_with_no_time_only_what_is_ready_succeeds() {
    let runtime = TestRuntime::new();
    runtime.run(async {
        assert_eq!(with_timeout(Duration::ZERO, async { 42 }).await, Ok(42));
        with_timeout(Duration::ZERO, pending::<()>()).await.unwrap_err();
        assert_eq!(with_deadline(now(), async { 42 }).await, Ok(42));
        with_deadline(now() - ms(1), pending::<()>()).await.unwrap_err();
    });
    assert_eq!(runtime.elapsed(), Duration::ZERO);
}

#[test]
fn timeout_014_an_outer_timeout_does_not_take_the_inner_one_for_its_own() {
    let runtime = TestRuntime::new();
    runtime.run(async {
        let inner = with_timeout(ms(10), sleep(ms(1000)));
        let inside = with_timeout(Duration::MAX, inner).await.unwrap();
        inside.unwrap_err();
        let inner = with_timeout(Duration::MAX, sleep(ms(1000)));
        with_timeout(ms(10), inner).await.unwrap_err();
    });
    assert_eq!(runtime.elapsed(), ms(20));
}

#[test]
fn timeout_016_work_that_never_suspends_sees_the_time_pass_and_keeps_its_result() {
    let runtime = TestRuntime::new();
    let value = runtime.run(with_timeout(ms(10), async {
        while !is_cancelled() {
            busy(ms(1));
        }
        "value"
    }));
    assert_eq!(value, Ok("value"));
    assert_eq!(runtime.elapsed(), ms(10));
}

#[test]
fn timeout_017_to_wait_for_children_counts() {
    let runtime = TestRuntime::new();
    runtime.run(async {
        let work = scope(async |s| drop(s.launch(sleep(ms(1000)))));
        with_timeout(ms(50), work).await.unwrap_err();
        assert_eq!(elapsed(), ms(50));
    });
    assert_eq!(runtime.elapsed(), ms(50), "the child went on");
}

#[test]
fn timeout_020_the_longest_timeout_does_not_overflow() {
    TestRuntime::new().run(scope(async |s| {
        let kept = Arc::new(Mutex::new(None));
        let slot = kept.clone();
        let waiter = s.spawn(with_timeout(
            Duration::MAX,
            suspend_cancellable(move |cont| *slot.lock().unwrap() = Some(cont)),
        ));
        let ten_years = Duration::from_secs(10 * 365 * 24 * 3600);
        advance(ten_years).await;
        assert!(waiter.job().is_active());
        let cont = kept.lock().unwrap().take().unwrap();
        cont.resume(42).unwrap();
        assert_eq!(waiter.await.unwrap().unwrap(), 42);
        assert_eq!(elapsed(), ten_years);
    }));
}

#[test]
fn a_deadline_ends_at_its_instant() {
    let runtime = TestRuntime::new();
    runtime.run(async {
        sleep(ms(5)).await;
        let deadline = now() + ms(10);
        with_deadline(deadline, sleep(ms(100))).await.unwrap_err();
        assert_eq!(now(), deadline);
    });
    assert_eq!(runtime.elapsed(), ms(15));
}

#[test]
fn a_timeout_moved_out_of_its_job_is_refused_when_that_has_ended() {
    type Parcel = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
    TestRuntime::new().run(async {
        let parcel = Arc::new(Mutex::new(None::<Parcel>));
        let place = Arc::clone(&parcel);
        scope(async |s| {
            s.coroutine().name("opener").launch(async move {
                let mut timeout: Parcel = Box::pin(async {
                    let body = async {
                        // With this the timeout has a job of its own.
                        let _job = Job::current();
                        yield_now().await;
                        unreachable!("its job has ended");
                    };
                    drop(with_timeout(Duration::from_secs(1), body).await);
                });
                assert!(futures::poll!(timeout.as_mut()).is_pending());
                *place.lock().unwrap() = Some(timeout);
            });
        })
        .await;
        let moved = parcel.lock().unwrap().take().unwrap();
        let refused = supervisor_scope(async |s| s.spawn(moved).outcome().await).await;
        assert!(refused.unwrap_err().to_string().contains("polled after the coroutine"));
    });
}

/// Between the end of its time and the timer there is a while in which a body may be polled again.
#[test]
fn a_failed_child_is_awaited_where_the_time_is_up() {
    let elapsed = TestRuntime::new().run(supervisor_scope(async |s| {
        let mut child = s.spawn(async { panic!("oh") });
        settle().await;
        let body = async {
            let ready = std::future::ready(());
            // The child gives no value to a body that is over.
            futures::future::select(&mut child, ready).await;
            child.await
        };
        with_timeout(Duration::ZERO, body).await
    }));
    assert!(elapsed.is_err());
}

#[test]
fn a_panic_of_a_body_that_was_dropped_for_its_deadline_is_told_though_the_timeout_is_dropped_too() {
    struct Panics;

    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("oh");
        }
    }

    TestRuntime::new().run(async {
        let body = async {
            let _panics = Panics;
            scope(async |s| drop(s.launch(pending()))).await;
        };
        let mut timeout = Box::pin(with_timeout(ms(10), body));
        assert!(futures::poll!(timeout.as_mut()).is_pending());
        advance(ms(10)).await;
        // What was opened inside has to end before it.
        assert!(futures::poll!(timeout.as_mut()).is_pending());
        assert_eq!(take_failures(), [""; 0]);
        drop(timeout);
        settle().await;
        let failures = take_failures();
        assert!(matches!(&failures[..], [one] if one.contains("oh")), "{failures:?}");
    });
}

/// Writes down that it was dropped.
struct Dropped(Arc<Mutex<Vec<&'static str>>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.lock().unwrap().push("dropped");
    }
}

#[test]
fn work_that_is_done_in_time_is_not_abandoned() {
    let runtime = TestRuntime::new();
    let value = runtime.run(timeout_abandon(ms(100), async {
        sleep(ms(50)).await;
        42
    }));
    assert_eq!(value, Ok(42));
    assert_eq!(runtime.elapsed(), ms(50));
}

#[test]
fn abandoned_work_is_cancelled_at_the_deadline() {
    let trace = Arc::new(Mutex::new(Vec::new()));
    let dropped = Dropped(trace.clone());
    let seen = trace.clone();
    let runtime = TestRuntime::new();
    runtime.run(async move {
        let line = line!() + 1;
        let work = timeout_abandon(ms(100), async move {
            let _dropped = dropped;
            sleep(ms(1000)).await;
        });
        let elapsed = work.await.unwrap_err();
        assert_eq!(elapsed.place().line(), line);
        seen.lock().unwrap().push("elapsed");
        settle().await;
    });
    // It is not waited for: its end comes after the error.
    assert_eq!(*trace.lock().unwrap(), ["elapsed", "dropped"]);
    assert_eq!(runtime.elapsed(), ms(100));
}

#[test]
fn to_drop_the_timeout_cancels_what_would_be_abandoned() {
    let trace = Arc::new(Mutex::new(Vec::new()));
    let dropped = Dropped(trace.clone());
    let runtime = TestRuntime::new();
    runtime.run(async move {
        let work = timeout_abandon(Duration::MAX, async move {
            let _dropped = dropped;
            pending::<()>().await;
        });
        with_timeout(ms(10), work).await.unwrap_err();
        settle().await;
        assert_eq!(*trace.lock().unwrap(), ["dropped"]);
    });
    assert_eq!(runtime.elapsed(), ms(10));
}

#[test]
fn a_panic_in_time_comes_out_and_a_later_one_is_reported() {
    struct PanicOnDrop;

    impl Drop for PanicOnDrop {
        fn drop(&mut self) {
            panic!("late");
        }
    }

    TestRuntime::new().run(async {
        let early = timeout_abandon(ms(10), async { panic!("early") });
        let early = AssertUnwindSafe(early).catch_unwind().await;
        assert_eq!(early.unwrap_err().downcast_ref(), Some(&"early"));
        let late = async {
            let _late = PanicOnDrop;
            pending::<()>().await;
        };
        timeout_abandon(ms(10), late).await.unwrap_err();
        settle().await;
        let failures = take_failures();
        assert!(failures.len() == 1 && failures[0].contains("late"), "{failures:?}");
    });
}
