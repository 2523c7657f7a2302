//! Children that are coroutines of their own, and borrow what their scope owns.

use std::future::{pending, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use corymb_core::time::with_timeout;
use corymb_core::{DataScope, Job, cancel_scope, scope, scope_with, supervisor_scope, yield_now};
use futures::FutureExt;

use crate::common::{Harness, OnDrop, Trace};

/// Data that tells when it is dropped.
struct Data {
    text: String,
    count: AtomicUsize,
    _end: OnDrop,
}

impl Data {
    fn new(trace: &Trace) -> Self {
        let text = String::from("data");
        Self { text, count: AtomicUsize::new(0), _end: trace.on_drop("data dropped") }
    }

    async fn count_for_ever(&self) {
        while self.count.fetch_add(1, Ordering::SeqCst) < usize::MAX {
            yield_now().await;
        }
    }
}

/// Reads the data when it is dropped, as a borrow in a future does at the latest moment there is.
struct ReadOnDrop<'a>(&'a Data, &'static str, Trace);

impl Drop for ReadOnDrop<'_> {
    fn drop(&mut self) {
        assert_eq!(self.0.text, "data");
        self.2.add(self.1);
    }
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

#[test]
fn children_borrow_in_a_send_coroutine() {
    let rt = Harness::new();
    let total = rt.block_on(async {
        let outside = String::from("the body may borrow");
        let words = vec![String::from("one"), String::from("three")];
        let total = scope_with(words, async |s| {
            let lengths: Vec<_> = s
                .data()
                .iter()
                .map(|word| {
                    s.spawn(async move {
                        yield_now().await;
                        word.len()
                    })
                })
                .collect();
            let mut total = outside.len();
            for length in lengths {
                total += length.await;
            }
            total
        });
        total.await
    });
    assert_eq!(total, 19 + 8);
}

#[test]
fn they_run_on_other_threads() {
    let rt = Harness::new();
    let job = rt.scope().launch(async {
        let sum = scope_with([1_usize, 2, 3], async |s| {
            let parts = s.data().each_ref().map(|part| s.spawn(async move { *part }));
            let mut sum = 0;
            for part in parts {
                sum += part.await;
            }
            sum
        });
        assert_eq!(sum.await, 6);
    });
    rt.run_on(2, &job);
    assert!(!job.is_cancelled());
}

#[test]
fn children_launch_siblings() {
    fn grow(s: &DataScope<'_, AtomicUsize>, depth: usize) {
        let next = s.clone();
        s.launch(async move {
            yield_now().await;
            next.data().fetch_add(1, Ordering::SeqCst);
            if depth > 0 {
                grow(&next, depth - 1);
                grow(&next, depth - 1);
            }
        });
    }
    let rt = Harness::new();
    let seen = rt.block_on(async {
        scope_with(AtomicUsize::new(0), async |s| {
            grow(&s, 3);
            while s.data().load(Ordering::SeqCst) < 15 {
                yield_now().await;
            }
            s.data().load(Ordering::SeqCst)
        })
        .await
    });
    assert_eq!(seen, 15);
}

#[test]
fn the_data_goes_after_the_last_child_and_before_the_caller_goes_on() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.block_on(async move {
        let job = scope_with(Data::new(&t), async |s| {
            let (data, t1) = (s.data(), t.clone());
            s.launch(async move {
                let _read = ReadOnDrop(data, "child", t1);
                yield_now().await;
            });
            let _read = ReadOnDrop(data, "body", t.clone());
            s.job()
        })
        .await;
        t.add("returned");
        job
    });
    assert_eq!(trace.get(), ["body", "child", "data dropped", "returned"]);
    // A job that is kept keeps no data.
    assert!(job.is_completed());
}

#[test]
fn cancelled_at_each_suspension_all_is_dropped_before_the_data() {
    for polls in 1..8 {
        let rt = Harness::new();
        let trace = Trace::default();
        let t = trace.clone();
        let job = rt.scope().launch(async move {
            scope_with(Data::new(&t), async |s| {
                let (data, t1) = (s.data(), t.clone());
                let read = ReadOnDrop(data, "child", t1);
                s.launch(async move {
                    let _read = read;
                    data.count_for_ever().await;
                });
                let _read = ReadOnDrop(data, "body", t.clone());
                data.count_for_ever().await;
            })
            .await;
        });
        for _ in 0..polls {
            rt.step();
        }
        job.cancel();
        rt.run();
        assert!(job.is_completed());
        let mut trace = trace.get();
        assert_eq!(trace.pop(), Some("data dropped"), "after {polls} polls");
        trace.sort_unstable();
        assert_eq!(trace, ["body", "child"], "after {polls} polls");
    }
}

#[test]
fn a_panic_of_a_child_cancels_the_others_and_goes_on_in_the_caller() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let caught = rt.block_on(async move {
        let fails = scope_with(Data::new(&t), async |s| {
            let (data, t1) = (s.data(), t.clone());
            s.launch(async move {
                let _read = ReadOnDrop(data, "sibling", t1);
                pending::<()>().await;
            });
            s.launch(async move {
                yield_now().await;
                panic!("{}", data.text)
            });
            pending::<()>().await;
        });
        AssertUnwindSafe(fails).catch_unwind().await
    });
    assert_eq!(caught.unwrap_err().downcast_ref::<String>().unwrap(), "data");
    assert_eq!(trace.get(), ["sibling", "data dropped"]);
}

#[test]
fn dropped_after_some_polls_the_children_keep_the_data() {
    for polls in 1..4 {
        let rt = Harness::new();
        let trace = Trace::default();
        let t = trace.clone();
        rt.block_on(async move {
            let mut future = Box::pin(scope_with(Data::new(&t), async |s| {
                let (data, t1) = (s.data(), t.clone());
                s.launch(async move {
                    let _read = ReadOnDrop(data, "child", t1);
                    pending::<()>().await;
                });
                pending::<()>().await;
            }));
            for _ in 0..polls {
                assert!(!poll_once(future.as_mut()).await);
                yield_now().await;
            }
            drop(future);
            t.add("dropped");
        });
        assert_eq!(trace.get(), ["dropped", "child", "data dropped"], "after {polls} polls");
    }
}

/// A pointer that is kept where a leak check finds it.
struct Kept(#[expect(dead_code, reason = "it is there to be found")] *const ());

// SAFETY: nothing is done with it.
unsafe impl Send for Kept {}

static FORGOTTEN: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

fn forget<T>(boxed: Pin<Box<T>>) {
    // SAFETY: nobody uses it again.
    let raw = Box::into_raw(unsafe { Pin::into_inner_unchecked(boxed) });
    FORGOTTEN.lock().unwrap().push(Kept(raw.cast_const().cast()));
}

#[test]
fn forgotten_after_some_polls_the_children_keep_the_data() {
    for polls in 0..4 {
        let rt = Harness::new();
        let trace = Trace::default();
        let t = trace.clone();
        let (go_on, may_go_on) = futures::channel::oneshot::channel::<()>();
        let job = rt.scope().launch(async move {
            let mut future = Box::pin(scope_with(Data::new(&t), async |s| {
                let (data, t1) = (s.data(), t.clone());
                s.launch(async move {
                    let _read = ReadOnDrop(data, "child", t1);
                    data.count_for_ever().await;
                });
                pending::<()>().await;
            }));
            for _ in 0..polls {
                assert!(!poll_once(future.as_mut()).await);
                yield_now().await;
            }
            forget(future);
            may_go_on.await.unwrap();
            t.add("end");
        });
        for _ in 0..20 {
            rt.step();
        }
        // The child, if it was launched, reads the data still, and goes on until the opener ends.
        assert!(!job.is_completed());
        go_on.send(()).unwrap();
        rt.run();
        assert!(job.is_completed());
        let expected: &[_] = if polls == 0 { &["end"] } else { &["end", "child"] };
        assert_eq!(trace.get(), expected, "after {polls} polls");
    }
}

#[test]
fn a_future_that_is_moved_away_keeps_the_data_for_its_body() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let moved = rt.block_on(async move {
        let mut future = Box::pin(scope_with(Data::new(&t), async move |s| {
            let _read = ReadOnDrop(s.data(), "body", t);
            drop(s);
            pending::<()>().await;
        }));
        assert!(!poll_once(future.as_mut()).await);
        [future]
    });
    // The coroutine that opened it has ended, and its region with it.
    assert_eq!(trace.get(), [""; 0]);
    let _inside = rt.enter();
    drop(moved);
    assert_eq!(trace.get(), ["body", "data dropped"]);
}

#[test]
fn what_is_launched_after_a_cancel_is_dropped_while_the_data_is_there() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let outcome = rt.block_on(async move {
        let outcome = cancel_scope(async |c| {
            scope_with(Data::new(&t), async |s| {
                c.cancel();
                let read = ReadOnDrop(s.data(), "child", t.clone());
                s.launch(async move {
                    let _read = read;
                });
                pending::<()>().await;
            })
            .await;
        })
        .await;
        t.add("returned");
        outcome.is_err()
    });
    assert!(outcome);
    assert_eq!(trace.get(), ["child", "data dropped", "returned"]);
}

#[test]
fn it_nests_and_is_a_region_like_others() {
    let rt = Harness::new();
    let sum = rt.block_on(async {
        let here = Job::current();
        let outer = scope_with(1, async |a| {
            assert_eq!(a.job().parent(), here);
            let one = a.data();
            let inner = a.spawn(async move {
                let two = scope_with(2, async |b| {
                    let two = b.data();
                    b.spawn(async move { *two }).await + one
                });
                let plain = scope(async |s| s.spawn(async { 3 }).await);
                two.await + plain.await
            });
            inner.await
        });
        outer.await
    });
    assert_eq!(sum, 6);
}

#[test]
fn a_timeout_waits_for_the_children_and_the_data() {
    let rt = Harness::new();
    let trace = Trace::default();
    let (t, hooks) = (trace.clone(), rt.hooks.clone());
    let job = rt.scope().launch(async move {
        let second = Duration::from_secs(1);
        let late = with_timeout(
            second,
            scope_with(Data::new(&t), async |s| {
                let read = ReadOnDrop(s.data(), "child", t.clone());
                s.launch(async move {
                    let _read = read;
                    pending::<()>().await;
                });
            }),
        );
        assert!(late.await.is_err());
        t.add("expired");
    });
    rt.run();
    hooks.pass(Duration::from_secs(1));
    rt.run();
    assert!(job.is_completed());
    assert_eq!(trace.get(), ["child", "data dropped", "expired"]);
}

#[test]
fn a_value_in_a_channel_between_children_goes_with_them() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    rt.block_on(async move {
        supervisor_scope(async |_| {
            scope_with(Data::new(&t), async |s| {
                let slot = std::sync::Arc::new(Mutex::new(None));
                let theirs = std::sync::Arc::clone(&slot);
                let (data, t1) = (s.data(), t.clone());
                let child = s.spawn(async move {
                    *theirs.lock().unwrap() = Some(ReadOnDrop(data, "in the slot", t1));
                });
                child.await;
                assert!(slot.lock().unwrap().is_some());
            })
            .await;
        })
        .await;
    });
    assert_eq!(trace.get(), ["in the slot", "data dropped"]);
}
