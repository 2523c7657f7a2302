//! Hooks around each poll.

use std::cell::RefCell;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use corymb_core::{
    Context, Coroutine, Dispatcher, Failure, FailureHandler, Job, JoinError, Name, PollHook,
    finally, local_scope, scope, scoped_value, supervisor_scope, with_context, yield_now,
};
use futures::FutureExt;

use crate::common::{Harness, Trace};

thread_local! {
    static SPANS: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

fn spans() -> String {
    SPANS.with_borrow(|spans| spans.join("/"))
}

/// A bridge to the stack of spans.
fn span(name: &'static str) -> PollHook {
    PollHook::new(move |polling| {
        SPANS.with_borrow_mut(|spans| spans.push(name));
        let ran = polling.run();
        assert_eq!(SPANS.with_borrow_mut(Vec::pop), Some(name), "spans nest");
        ran
    })
}

/// A hook that notes when it is entered and left.
fn noted(trace: &Trace, before: &'static str, after: &'static str) -> PollHook {
    let trace = trace.clone();
    PollHook::new(move |polling| {
        trace.add(if polling.is_drop() { "drop" } else { "poll" });
        trace.add(before);
        let ran = polling.run();
        trace.add(after);
        ran
    })
}

/// Adds the spans that it is dropped in.
struct SpansOnDrop(Arc<Mutex<Vec<String>>>);

impl Drop for SpansOnDrop {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(spans());
    }
}

#[test]
fn they_are_around_each_poll() {
    let rt = Harness::new();
    let trace = Trace::default();
    let seen = trace.clone();
    let child = rt.scope().coroutine().context(noted(&trace, "(", ")")).spawn(async move {
        seen.add("one");
        yield_now().await;
        seen.add("two");
    });
    rt.block_on(child);
    assert_eq!(trace.get(), ["poll", "(", "one", ")", "poll", "(", "two", ")"]);
}

#[test]
fn they_nest_in_the_order_of_their_addition() {
    let rt = Harness::new();
    let trace = Trace::default();
    let seen = trace.clone();
    let context = Context::from(noted(&trace, "a", "/a")).and(noted(&trace, "b", "/b"));
    let inner = noted(&trace, "c", "/c");
    let outer = rt.scope().coroutine().context(context).spawn(scope(async move |s| {
        yield_now().await;
        seen.add("body");
        s.coroutine().context(inner).launch(async move { seen.add("child") });
    }));
    rt.block_on(outer);
    let all: Vec<_> = trace.get().into_iter().filter(|it| *it != "poll").collect();
    assert_eq!(all[..4], ["a", "b", "/b", "/a"]);
    assert_eq!(all[4..9], ["a", "b", "body", "/b", "/a"]);
    assert_eq!(all[9..16], ["a", "b", "c", "child", "/c", "/b", "/a"]);
}

#[test]
fn children_and_cleanups_inherit_them() {
    let rt = Harness::new();
    let (tell, told) = std::sync::mpsc::channel();
    let outer = rt.scope().coroutine().context(span("outer")).spawn(scope(async move |s| {
        let by_cleanup = tell.clone();
        finally(async {}, move || async move { by_cleanup.send(spans()).unwrap() }).await;
        local_scope(async |s| s.launch(async { tell.send(spans()).unwrap() })).await;
        let grandchild = scope(async |s| s.spawn(async { spans() }).await);
        let named = s
            .coroutine()
            .context(Context::from(Name::new("named")).and(span("inner")))
            .spawn(grandchild);
        tell.send(named.await).unwrap();
        // What is in force is not added again.
        let same = s.coroutine().context(Context::current()).spawn(async { spans() });
        tell.send(same.await).unwrap();
    }));
    rt.block_on(outer);
    assert_eq!(told.iter().collect::<Vec<_>>(), ["outer", "outer", "outer/inner", "outer"]);
    assert_eq!(rt.block_on(rt.spawn(async { spans() })), "", "others have none");
}

#[test]
fn a_poll_that_panics_is_left_by_all() {
    let rt = Harness::new();
    let trace = Trace::default();
    let context = Context::from(noted(&trace, "a", "/a")).and(noted(&trace, "b", "/b"));
    let child = rt.scope().coroutine().context(context).spawn(async { panic!("oh") });
    let Err(JoinError::Panicked(panic)) = rt.block_on(child.outcome()) else { unreachable!() };
    assert_eq!(panic.message(), "oh");
    // The poll, and then the drop of what is left of the future.
    let both = ["poll", "a", "poll", "b", "/b", "/a", "drop", "a", "drop", "b", "/b", "/a"];
    assert_eq!(trace.get(), both);
}

#[test]
fn they_are_around_the_drop_of_a_future_that_is_cancelled() {
    let rt = Harness::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for polled in [true, false] {
        let in_drop = SpansOnDrop(Arc::clone(&seen));
        let context = Context::from(span("outer")).and(span("inner"));
        let child = rt.scope().coroutine().context(context).spawn(async move {
            let _in_drop = in_drop;
            pending::<()>().await;
        });
        if polled {
            rt.run();
        }
        child.job().cancel();
        rt.run();
        assert_eq!(seen.lock().unwrap().pop().as_deref(), Some("outer/inner"));
    }
    assert_eq!(spans(), "");
}

#[test]
fn a_section_has_them_around_its_own_polls() {
    let rt = Harness::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let add = |seen: &Arc<Mutex<Vec<String>>>| seen.lock().unwrap().push(spans());
    let in_drop = SpansOnDrop(Arc::clone(&seen));
    let body = Arc::clone(&seen);
    let child = rt.scope().coroutine().context(span("coroutine")).spawn(async move {
        with_context(span("section"), async {
            add(&body);
            yield_now().await;
            add(&body);
            let child = scope(async |s| s.spawn(async { spans() }).await).await;
            body.lock().unwrap().push(child);
            // What is in force is not added again.
            with_context(Context::current(), async { add(&body) }).await;
        })
        .await;
        add(&body);
        let dropped = with_context(span("dropped"), async move {
            let _in_drop = in_drop;
            pending::<()>().await;
        });
        assert!(dropped.now_or_never().is_none());
        let never_polled = SpansOnDrop(Arc::clone(&body));
        drop(with_context(span("never polled"), async move { drop(never_polled) }));
        let panics = with_context(span("panics"), async { panic!("oh") });
        AssertUnwindSafe(panics).catch_unwind().await.unwrap_err();
        add(&body);
    });
    rt.block_on(child);
    let section = "coroutine/section";
    let rest = ["coroutine", "coroutine/dropped", "coroutine/never polled", "coroutine"];
    assert_eq!(*seen.lock().unwrap(), [&[section; 4][..], &rest].concat());
}

#[test]
fn a_section_that_goes_elsewhere_has_them_there() {
    let rt = Harness::new();
    let other = Dispatcher::custom(move |coroutine: Coroutine| {
        SPANS.with_borrow(|spans| assert!(spans.is_empty(), "it goes when it is out of all spans"));
        QUEUE.with_borrow_mut(|queue| queue.push(coroutine));
    });
    let child = rt.scope().coroutine().context(span("coroutine")).spawn(async move {
        let inside = with_context(Context::from(other).and(span("section")), async {
            yield_now().await;
            spans()
        });
        (inside.await, spans())
    });
    let job = child.job();
    while !job.is_completed() {
        rt.run();
        QUEUE.with_borrow_mut(std::mem::take).into_iter().for_each(|it| {
            let _inside = rt.enter();
            it.run();
        });
    }
    assert_eq!(rt.block_on(child), ("coroutine/section".into(), "coroutine".into()));
}

thread_local! {
    static QUEUE: RefCell<Vec<Coroutine>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn a_poll_inside_of_another_is_inside_of_its_hooks() {
    let rt = Harness::new();
    let outer = rt.scope().coroutine().context(span("outer")).spawn(scope(async |s| {
        let undispatched = s.coroutine().context(span("undispatched")).undispatched();
        let begun = undispatched.spawn(async {
            let first = spans();
            yield_now().await;
            (first, spans())
        });
        let unconfined =
            s.coroutine().context(Context::from(span("unconfined")).and(Dispatcher::Unconfined));
        let unconfined = unconfined.spawn(async { spans() });
        assert!(unconfined.job().is_completed());
        assert_eq!(spans(), "outer", "they have left nothing behind");
        (begun.await, unconfined.await)
    }));
    let ((first, later), unconfined) = rt.block_on(outer);
    assert_eq!(first, "outer/outer/undispatched");
    assert_eq!(later, "outer/undispatched");
    assert_eq!(unconfined, "outer/outer/unconfined");
}

#[test]
fn one_that_panics_is_told_of_and_harms_nothing() {
    let rt = Harness::new();
    let trace = Trace::default();
    for before in [true, false] {
        let (tell, told) = std::sync::mpsc::channel();
        let handler = FailureHandler::new(move |failure| {
            let Failure::Panic(panic) = failure else { panic!("{failure}") };
            tell.send(panic.to_string()).unwrap();
        });
        let bad = PollHook::new(move |polling| {
            assert!(!before, "before");
            let _ran = polling.run();
            panic!("after");
        });
        let context =
            Context::from(noted(&trace, "a", "/a")).and(bad).and(noted(&trace, "b", "/b"));
        let seen = trace.clone();
        let child = rt.scope().coroutine().name("hooked").context(context.and(handler));
        let child = child.spawn(async move {
            seen.add("body");
            7
        });
        assert_eq!(rt.block_on(child), 7);
        let text = told.recv().unwrap();
        assert!(text.starts_with("the poll hook of the coroutine launched at"), "{text}");
        assert!(text.ends_with(if before { "panicked: before" } else { "panicked: after" }));
    }
    let once = ["poll", "a", "poll", "b", "body", "/b", "/a"];
    assert_eq!(trace.get(), [once, once].concat());
    assert!(rt.reports().is_empty(), "{:?}", rt.reports());
}

#[test]
fn one_that_panics_in_a_poll_that_does_changes_nothing_of_that() {
    let rt = Harness::new();
    let bad = PollHook::new(|polling| {
        let _ran = polling.run();
        panic!("hook");
    });
    let child = rt.scope().coroutine().context(bad).spawn(async { panic!("poll") });
    let Err(JoinError::Panicked(panic)) = rt.block_on(child.outcome()) else { unreachable!() };
    assert_eq!(panic.message(), "poll");
    // Once for the poll, and once for the drop of what was left.
    assert_eq!(rt.reports().len(), 2, "{:?}", rt.reports());
}

#[test]
fn one_may_launch_and_cancel() {
    let rt = Harness::new();
    let launched = Arc::new(AtomicUsize::new(0));
    let (count, beside) = (Arc::clone(&launched), rt.scope());
    let busy = PollHook::new(move |polling| {
        let count = Arc::clone(&count);
        let by = Job::current().expect("the coroutine's");
        beside.launch(async move {
            assert!(by.launched_at().file().ends_with(".rs"));
            count.fetch_add(1, Ordering::SeqCst);
        });
        polling.run()
    });
    let child = rt.scope().coroutine().context(busy).spawn(async {
        yield_now().await;
        yield_now().await;
    });
    rt.block_on(child);
    assert_eq!(launched.load(Ordering::SeqCst), 3);

    let trace = Trace::default();
    for before in [true, false] {
        let cancelling = PollHook::new(move |polling| {
            let cancel = || Job::current().map(|job| job.cancel());
            if before {
                cancel();
            }
            let ran = polling.run();
            cancel();
            ran
        });
        let (seen, guard) = (trace.clone(), trace.on_drop("dropped"));
        let child = rt.scope().coroutine().context(cancelling).spawn(async move {
            let _guard = guard;
            seen.add("begun");
            yield_now().await;
            seen.add("went on");
        });
        let outcome = rt.block_on(child.outcome());
        assert!(matches!(outcome, Err(JoinError::Cancelled(_))), "{outcome:?}");
    }
    assert_eq!(trace.get(), ["begun", "dropped", "begun", "dropped"]);
}

#[test]
fn one_may_wake_its_own_coroutine() {
    let rt = Harness::new();
    let waker: Arc<Mutex<Option<std::task::Waker>>> = Arc::default();
    let kept = Arc::clone(&waker);
    let waking = PollHook::new(move |polling| {
        let ran = polling.run();
        let waker = kept.lock().unwrap().take();
        if let Some(waker) = waker {
            waker.wake();
        }
        ran
    });
    let mut polls = 0;
    let child = rt.scope().coroutine().context(waking).spawn(std::future::poll_fn(move |cx| {
        polls += 1;
        *waker.lock().unwrap() = Some(cx.waker().clone());
        if polls == 3 { std::task::Poll::Ready(polls) } else { std::task::Poll::Pending }
    }));
    assert_eq!(rt.block_on(child), 3);
}

#[test]
fn one_sees_the_coroutine_s_scoped_values() {
    scoped_value! { static USER: &'static str; }
    let rt = Harness::new();
    let (tell, told) = std::sync::mpsc::channel();
    let reading = PollHook::new(move |polling| {
        tell.send(USER.try_with(|user| *user)).unwrap();
        polling.run()
    });
    rt.block_on(async move {
        USER.bind(
            "Ada",
            scope(async |s| {
                let context = Context::current().and(reading);
                s.coroutine().context(context).spawn(async {}).await;
            }),
        )
        .await;
    });
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [Some("Ada")]);
}

#[test]
fn a_coroutine_of_many_threads_is_in_its_spans_on_each() {
    let rt = Harness::new();
    let rounds = if cfg!(miri) { 5 } else { 200 };
    let all = rt.spawn(supervisor_scope(async move |s| {
        for name in ["a", "b", "c", "d"] {
            s.coroutine().context(span(name)).launch(async move {
                for _ in 0..rounds {
                    assert_eq!(spans(), name);
                    yield_now().await;
                }
            });
        }
    }));
    let job = all.job();
    rt.run_on(3, &job);
    rt.block_on(all);
    assert!(rt.reports().is_empty(), "{:?}", rt.reports());
}
