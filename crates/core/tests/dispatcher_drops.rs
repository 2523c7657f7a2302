//! Dispatchers whose destructor panics, dropped by the last coroutine that has them.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use corymb_core::time::with_timeout;
use corymb_core::{Coroutine, Dispatch, Dispatcher, with_context, yield_now};

use crate::common::Harness;

type Queue = Arc<Mutex<VecDeque<Coroutine>>>;

struct PanicsInDrop(Queue);

impl Dispatch for PanicsInDrop {
    fn dispatch(&self, coroutine: Coroutine) {
        self.0.lock().unwrap().push_back(coroutine);
    }
}

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("D");
    }
}

fn elsewhere() -> (Dispatcher, Queue) {
    let queue = Queue::default();
    (Dispatcher::custom(PanicsInDrop(Arc::clone(&queue))), queue)
}

/// Runs what is ready here and there, until nothing is.
fn run(rt: &Harness, there: &Queue) {
    let _inside = rt.enter();
    loop {
        rt.run();
        let next = there.lock().unwrap().pop_front();
        let Some(coroutine) = next else { return };
        coroutine.run();
    }
}

fn assert_told_once(rt: &Harness) {
    let reports = rt.reports();
    assert!(
        matches!(&reports[..], [one] if one.contains("dispatcher") && one.ends_with(": D")),
        "{reports:?}"
    );
    rt.forget_reports();
}

#[test]
fn after_a_section_that_was_dropped_over_there() {
    let rt = Harness::new();
    let (d, there) = elsewhere();
    let child = rt.spawn(async move {
        let section = with_context(d, pending::<()>());
        assert!(with_timeout(Duration::from_secs(1), section).await.is_err());
        yield_now().await;
        1
    });
    run(&rt, &there);
    rt.pass(Duration::from_secs(1));
    run(&rt, &there);
    assert!(child.job().is_completed() && !child.job().is_cancelled());
    assert_told_once(&rt);
}

/// Then the section itself had it last, and its drop panics in the code that drops it.
#[test]
fn with_a_section_that_was_dropped_before_it_got_there() {
    let rt = Harness::new();
    let (d, there) = elsewhere();
    let child = rt.spawn(async move {
        let mut section = Some(Box::pin(with_context(d, pending::<()>())));
        poll_fn(|cx| match section.take() {
            Some(mut asks) => {
                assert!(asks.as_mut().poll(cx).is_pending());
                Poll::Pending
            }
            None => Poll::Ready(()),
        })
        .await;
        yield_now().await;
    });
    run(&rt, &there);
    let outcome = rt.block_on(child.outcome());
    assert!(outcome.unwrap_err().to_string().ends_with("panicked: D"));
    assert!(rt.reports().is_empty());
}

#[test]
fn of_a_coroutine_s_own() {
    let rt = Harness::new();
    let (d, there) = elsewhere();
    let child = rt.scope().coroutine().on(d).spawn(yield_now());
    run(&rt, &there);
    assert!(child.job().is_completed() && !child.job().is_cancelled());
    let _inside = rt.enter();
    drop(child);
    assert_told_once(&rt);
}
