//! Children that are parts of the caller's own coroutine, and borrow from it.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use corymb_core::time::{sleep, with_timeout};
use corymb_core::{
    Job, LocalScope, cancel_scope, consume_budget, is_cancelled, local_scope, scope, shield,
    yield_now,
};
use futures::FutureExt;
use futures::future::join;

use crate::common::{Harness, Trace};

const SECOND: Duration = Duration::from_secs(1);

/// What a test wakes by hand, with a count of its polls.
#[derive(Default)]
struct Gate {
    waker: Mutex<Option<Waker>>,
    polls: AtomicUsize,
}

impl Gate {
    async fn wait(&self) {
        poll_fn(|cx| {
            self.polls.fetch_add(1, Ordering::SeqCst);
            *self.waker.lock().unwrap() = Some(cx.waker().clone());
            Poll::<()>::Pending
        })
        .await;
    }

    fn wake(&self) {
        let waker = self.waker.lock().unwrap().clone();
        waker.unwrap().wake();
    }

    fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }
}

#[test]
fn children_borrow_in_a_send_coroutine() {
    let rt = Harness::new();
    let (lengths, text) = rt.block_on(async {
        let words = vec![String::from("one"), String::from("three")];
        let mut text = String::new();
        let lengths = local_scope(async |s| {
            let lengths: Vec<_> = words
                .iter()
                .map(|word| {
                    s.spawn(async {
                        yield_now().await;
                        word.len()
                    })
                })
                .collect();
            s.launch(async {
                text.push_str("written");
                yield_now().await;
                text.push_str(" twice");
            });
            let mut all = Vec::new();
            for length in lengths {
                all.push(length.await);
            }
            all
        })
        .await;
        drop(words);
        (lengths, text)
    });
    assert_eq!(lengths, [3, 5]);
    assert_eq!(text, "written twice");
}

#[test]
fn values_may_borrow_too() {
    let rt = Harness::new();
    let found = rt.block_on(async {
        let text = String::from("a b");
        let text = text.as_str();
        let word = local_scope(|s| async move { s.spawn(async move { text_of(text, 0) }).await });
        word.await.to_owned()
    });
    assert_eq!(found, "a");
    let text = String::from("a b");
    let word = rt.poll_here(local_scope(async |s| s.spawn(async { text_of(&text, 1) }).await));
    assert_eq!(word, "b");
}

fn text_of(text: &str, index: usize) -> &str {
    text.split(' ').nth(index).unwrap()
}

#[test]
fn only_who_was_woken_is_polled() {
    let rt = Harness::new();
    let gates: Arc<[Gate; 3]> = Arc::default();
    let inner = Arc::clone(&gates);
    let job = rt.scope().launch(async move {
        local_scope(async |s| {
            s.launch(inner[1].wait());
            s.launch(inner[2].wait());
            inner[0].wait().await;
        })
        .await;
    });
    rt.run();
    let polls = || gates.each_ref().map(Gate::polls);
    assert_eq!(polls(), [1, 1, 1]);
    gates[2].wake();
    gates[2].wake();
    rt.run();
    assert_eq!(polls(), [1, 1, 2]);
    gates[0].wake();
    gates[1].wake();
    rt.run();
    assert_eq!(polls(), [2, 2, 2]);
    job.cancel();
    rt.run();
    gates.iter().for_each(Gate::wake); // nobody is there any more
    assert_eq!(rt.run(), 0);
}

#[test]
fn they_go_on_in_the_order_of_their_wakes() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = &trace;
    rt.poll_here(local_scope(async |s| {
        for what in ["a", "b", "c"] {
            s.launch(async move {
                t.add(what);
                yield_now().await;
                t.add(what);
            });
        }
        t.add("body");
    }));
    assert_eq!(trace.get(), ["body", "a", "b", "c", "a", "b", "c"]);
}

#[test]
fn a_child_that_yields_lets_other_coroutines_go_first() {
    let rt = Harness::new();
    let trace = Trace::default();
    let (t, other) = (trace.clone(), trace.clone());
    let job = rt.scope().launch(async move {
        local_scope(async |s| {
            s.launch(async {
                t.add("child");
                yield_now().await;
                t.add("child again");
            });
        })
        .await;
    });
    rt.scope().launch(async move { other.add("other") });
    rt.run();
    assert!(job.is_completed());
    assert_eq!(trace.get(), ["child", "other", "child again"]);
}

#[test]
fn a_child_that_uses_up_the_budget_ends_the_poll() {
    let rt = Harness::new();
    let trace = Trace::default();
    let (t, other) = (trace.clone(), trace.clone());
    rt.scope().launch(async move {
        local_scope(async |s| {
            for what in ["first", "second"] {
                let t = &t;
                s.launch(async move {
                    for _ in 0..129 {
                        consume_budget().await;
                    }
                    t.add(what);
                });
            }
        })
        .await;
    });
    rt.scope().launch(async move { other.add("other") });
    rt.run();
    assert_eq!(trace.get(), ["other", "first", "second"]);
}

#[test]
fn a_crowd_is_polled_in_parts() {
    let rt = Harness::new();
    let count = Arc::new(AtomicUsize::new(0));
    let inner = Arc::clone(&count);
    rt.scope().launch(async move {
        local_scope(async |s| {
            for _ in 0..300 {
                s.launch(async {
                    inner.fetch_add(1, Ordering::SeqCst);
                });
            }
        })
        .await;
    });
    assert!(rt.step());
    let first = count.load(Ordering::SeqCst);
    assert!((1..200).contains(&first), "{first}");
    rt.run();
    assert_eq!(count.load(Ordering::SeqCst), 300);
}

#[test]
fn a_panic_drops_the_others_and_goes_on_in_the_caller() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let caught = rt.block_on(async move {
        let fails = local_scope(async |s| {
            let _body = t.on_drop("body dropped");
            s.launch(async {
                let _first = t.on_drop("first dropped");
                pending::<()>().await;
            });
            s.launch(async {
                yield_now().await;
                panic!("oh")
            });
            s.launch(async {
                let _last = t.on_drop("last dropped");
                pending::<()>().await;
            });
            pending::<()>().await;
        });
        AssertUnwindSafe(fails).catch_unwind().await
    });
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"oh"));
    assert_eq!(trace.get(), ["body dropped", "first dropped", "last dropped"]);
    assert_eq!(rt.reports(), [""; 0]);
}

#[test]
fn a_panic_of_a_destructor_drops_the_others_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("of a destructor")
        }
    }
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let caught = rt.block_on(async move {
        let fails = local_scope(async |s| {
            for _ in 0..2 {
                s.launch(async {
                    let _bomb = Bomb;
                    pending::<()>().await;
                });
            }
            s.launch(async {
                let _last = t.on_drop("last dropped");
                pending::<()>().await;
            });
            yield_now().await;
            panic!("oh")
        });
        AssertUnwindSafe(fails).catch_unwind().await
    });
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"oh"));
    assert_eq!(trace.get(), ["last dropped"]);
    let reports = rt.reports();
    assert_eq!(reports.len(), 2, "{reports:?}");
    assert!(reports.iter().all(|it| it.contains("of a destructor")), "{reports:?}");
}

#[test]
fn it_waits_for_siblings_that_children_launch() {
    fn grow<'e>(s: &LocalScope<'e>, depth: usize, seen: &'e AtomicUsize) {
        let next = s.clone();
        s.launch(async move {
            yield_now().await;
            seen.fetch_add(1, Ordering::SeqCst);
            if depth > 0 {
                grow(&next, depth - 1, seen);
                grow(&next, depth - 1, seen);
            }
        });
    }
    let rt = Harness::new();
    let seen = rt.block_on(async {
        let seen = AtomicUsize::new(0);
        local_scope(async |s| grow(&s, 3, &seen)).await;
        seen.into_inner()
    });
    assert_eq!(seen, 15);
}

#[test]
fn what_is_launched_from_elsewhere_wakes_the_scope() {
    let rt = Harness::new();
    let handle = Arc::new(Mutex::new(None));
    let trace = Trace::default();
    let (slot, t) = (Arc::clone(&handle), trace.clone());
    let job = rt.scope().launch(async move {
        let stop = Gate::default();
        // Of static children only, so that the handle may leave.
        local_scope(async |s| {
            *slot.lock().unwrap() = Some(s);
            stop.wait().await;
        })
        .await;
    });
    rt.run();
    let s: LocalScope<'static> = handle.lock().unwrap().take().unwrap();
    assert_eq!(s.job().parent(), Some(job.clone()));
    let t2 = t.clone();
    s.launch(async move { t2.add("ran") });
    rt.run();
    assert_eq!(trace.get(), ["ran"]);
    job.cancel();
    rt.run();
    assert!(job.is_completed());
    let unpolled = t.on_drop("dropped unpolled");
    let late = s.spawn(async move {
        let _unpolled = unpolled;
        1
    });
    assert_eq!(trace.get(), ["ran", "dropped unpolled"]);
    let panicked = catch_unwind(AssertUnwindSafe(|| late.now_or_never())).unwrap_err();
    let text = panicked.downcast_ref::<String>().unwrap();
    assert!(text.contains("it was cancelled, alone or with its scope"), "{text}");
}

#[test]
fn cancelled_at_each_suspension_it_drops_all_in_place() {
    for polls in 1..6 {
        let rt = Harness::new();
        let trace = Trace::default();
        let t = trace.clone();
        let job = rt.scope().launch(async move {
            let _outer = t.on_drop("caller");
            local_scope(async |s| {
                let child = s.spawn(async {
                    let _child = t.on_drop("child");
                    for _ in 0..polls {
                        yield_now().await;
                    }
                    pending::<()>().await;
                });
                let _body = t.on_drop("body");
                child.await;
            })
            .await;
            t.add("never");
        });
        for _ in 0..polls {
            rt.step();
        }
        job.cancel();
        rt.run();
        assert!(job.is_completed());
        assert_eq!(trace.get(), ["body", "child", "caller"], "after {polls} polls");
    }
}

#[test]
fn a_scope_in_a_child_belongs_to_it() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let ended = rt.block_on(async move {
        let inner = t.clone();
        let outcome = cancel_scope(async |c| {
            local_scope(async |s| {
                s.launch(async {
                    let own = Job::current();
                    scope(async |below| {
                        assert_eq!(below.job().parent(), own);
                        below.launch(async move {
                            let _end = inner.on_drop("grandchild");
                            pending::<()>().await;
                        });
                    })
                    .await;
                });
                yield_now().await;
                c.cancel();
                pending::<()>().await;
            })
            .await;
        })
        .await;
        t.add("returned");
        outcome.is_err()
    });
    assert!(ended);
    assert_eq!(trace.get(), ["grandchild", "returned"]);
}

#[test]
fn a_cancel_of_its_job_drops_body_and_children() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        local_scope(async |s| {
            s.launch(async {
                let _end = t.on_drop("child");
                assert!(!is_cancelled());
                pending::<()>().await;
            });
            let job = s.job();
            s.launch(async move {
                yield_now().await;
                job.cancel();
                assert!(is_cancelled());
            });
            let _end = t.on_drop("body");
            pending::<()>().await;
        })
        .await;
    });
    rt.run();
    // The scope has no value for its caller, which ends too.
    assert!(job.is_cancelled() && job.is_completed());
    assert_eq!(trace.get(), ["body", "child"]);
}

#[test]
fn a_shield_in_a_child_holds_the_scope() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(async move {
        local_scope(async |s| {
            s.launch(async {
                shield(sleep(SECOND)).await;
                t.add("shielded");
            });
            s.launch(async {
                let _end = t.on_drop("sibling");
                pending::<()>().await;
            });
        })
        .await;
    });
    rt.run();
    job.cancel();
    rt.run();
    assert!(!job.is_completed());
    assert_eq!(trace.get(), [""; 0]);
    rt.pass(SECOND);
    rt.run();
    assert!(job.is_completed());
    assert_eq!(trace.get(), ["shielded", "sibling"]);
}

#[test]
fn a_timeout_around_it_and_one_in_a_child() {
    let rt = Harness::new();
    let hooks = Arc::clone(&rt.hooks);
    let done = rt.spawn(async {
        let outer = with_timeout(
            SECOND * 2,
            local_scope(async |s| {
                let inner = s.spawn(with_timeout(SECOND, pending::<()>()));
                assert!(inner.await.is_err());
                pending::<()>().await;
            }),
        );
        outer.await.is_err()
    });
    for _ in 0..2 {
        rt.run();
        hooks.pass(SECOND);
    }
    rt.run();
    assert_eq!(done.now_or_never(), Some(true));
}

#[test]
fn nested_ones_borrow_from_each_other() {
    let rt = Harness::new();
    let sum = rt.block_on(async {
        let a = String::from("1");
        let a = a.as_str();
        let sum = local_scope(async |outer| {
            let handle = outer.clone();
            let child = outer.spawn(async move {
                let b = String::from("22");
                let sum = local_scope(async |inner| {
                    let (one, two) =
                        (inner.spawn(async { a.len() }), inner.spawn(async { b.len() }));
                    let third = handle.spawn(async { a.len() });
                    one.await + two.await + third.await
                });
                sum.await
            });
            child.await
        });
        sum.await
    });
    assert_eq!(sum, 4);
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
fn forgotten_after_some_polls_it_touches_nothing_again() {
    for polls in 0..4 {
        let rt = Harness::new();
        let trace = Trace::default();
        let (t, gate) = (trace.clone(), Arc::new(Gate::default()));
        let wakers = Arc::clone(&gate);
        let job = rt.scope().launch(async move {
            let data = String::from("borrowed");
            let (text, t, gate) = (data.as_str(), &t, &wakers);
            let mut future = Box::pin(local_scope(async move |s| {
                s.launch(async move {
                    let _end = t.on_drop("never dropped");
                    yield_now().await;
                    gate.wait().await;
                    let _length = text.len();
                });
                let sibling = s.clone();
                s.launch(async move {
                    sibling.launch(async move {
                        yield_now().await;
                        yield_now().await;
                        let _length = text.len();
                    });
                });
                pending::<()>().await;
            }));
            for _ in 0..polls {
                assert!(poll_once(future.as_mut()).await.is_none());
                yield_now().await;
            }
            forget(future);
            drop(data);
            t.add("data dropped");
        });
        rt.run();
        assert!(job.is_completed());
        if polls > 1 {
            gate.wake();
        }
        rt.run();
        assert_eq!(trace.get(), ["data dropped"], "after {polls} polls");
    }
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx)))
        .map(|polled| match polled {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        })
        .await
}

#[test]
fn dropped_after_some_polls_it_drops_all_at_once() {
    for polls in 1..4 {
        let rt = Harness::new();
        let trace = Trace::default();
        let t = trace.clone();
        rt.block_on(async move {
            let mut future = Box::pin(local_scope(async |s| {
                for _ in 0..2 {
                    s.launch(async {
                        let _end = t.on_drop("child");
                        loop {
                            yield_now().await;
                        }
                    });
                }
                pending::<()>().await;
            }));
            for _ in 0..polls {
                assert!(poll_once(future.as_mut()).await.is_none());
            }
            drop(future);
            t.add("dropped");
        });
        assert_eq!(trace.get(), ["child", "child", "dropped"]);
    }
}

#[test]
fn a_value_that_leaves_the_scope_is_there() {
    let rt = Harness::new();
    let value = rt.block_on(async {
        let branch = local_scope(async |s| s.spawn(async { 1 })).await;
        let twice = join(branch, async { 2 });
        twice.await
    });
    assert_eq!(value, (1, 2));
}

#[test]
fn the_future_of_a_child_is_gone_before_its_value_comes() {
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    rt.block_on(async move {
        local_scope(async |s| {
            let child = s.spawn(async {
                let _end = t.on_drop("child dropped");
                yield_now().await;
                t.on_drop("value dropped")
            });
            let value = child.await;
            t.add("value");
            drop(value);
        })
        .await;
    });
    assert_eq!(trace.get(), ["child dropped", "value", "value dropped"]);
}

#[test]
fn a_body_that_is_not_send_may_be_polled_where_it_is() {
    let rt = Harness::new();
    let here = Cell::new(0);
    let data = AtomicUsize::new(1);
    let sum = rt.poll_here(local_scope(async |s| {
        here.set(1);
        s.spawn(async { data.load(Ordering::SeqCst) }).await + here.get()
    }));
    assert_eq!(sum, 2);
}

impl Harness {
    /// Polls `future` on this thread, outside of any coroutine, until it is ready.
    fn poll_here<F: Future>(&self, future: F) -> F::Output {
        let _inside = self.enter();
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(value) =
                future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                return value;
            }
            self.run();
        }
    }
}
