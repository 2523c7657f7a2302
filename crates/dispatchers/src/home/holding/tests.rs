//! Reports of runs that hold up others: each run here ends by its report alone.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use corymb_core::{Coroutine, Dispatcher, Failure, FailureHandler, Scope, supervisor_scope};

use crate::{LocalRuntime, Main, Runtime, run_blocking, spawn_local};

/// What a run blocks on until it is reported.
#[derive(Clone, Default)]
struct Reported(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    reports: Vec<String>,
    waker: Option<Waker>,
}

impl Reported {
    fn handler(&self) -> FailureHandler {
        let this = self.clone();
        FailureHandler::new(move |failure| {
            assert!(matches!(failure, Failure::BlockedRun { .. }), "{failure}");
            let mut state = this.0.lock().unwrap();
            state.reports.push(failure.to_string());
            let waker = state.waker.take();
            drop(state);
            waker.expect("it waits").wake();
        })
    }

    /// Blocks, and calls `during` meanwhile; the report.
    fn block(&self, during: impl FnOnce()) -> String {
        let mut during = Some(during);
        let reports = run_blocking(poll_fn(|cx| {
            if let Some(during) = during.take() {
                during();
            }
            let mut state = self.0.lock().unwrap();
            state.waker = Some(cx.waker().clone());
            match std::mem::take(&mut state.reports) {
                none if none.is_empty() => Poll::Pending,
                some => Poll::Ready(some),
            }
        }));
        assert_eq!(reports.len(), 1, "{reports:?}");
        reports.concat()
    }
}

/// Blocks in a coroutine, after `before`; the report.
fn report_of<T>(
    dispatcher: impl FnOnce() -> Dispatcher,
    before: impl FnOnce() -> T + Send + 'static,
    during: impl FnOnce(&Scope, &Dispatcher) + Send + 'static,
) -> String {
    let runtime = Runtime::builder().parallelism(2).build().unwrap();
    let reported = Reported::default();
    let report = runtime.run_blocking(supervisor_scope(async |s| {
        let on = dispatcher();
        let launch = s.coroutine().context(reported.handler()).on(on.clone());
        let blocks = async move {
            let _kept = before();
            reported.block(|| during(&s, &on))
        };
        launch.spawn(blocks).await
    }));
    assert!(report.starts_with(&format!("run_blocking at {}:", file!())), "{report}");
    assert!(report.contains("; await there instead of blocking"), "{report}");
    report
}

#[test]
#[cfg_attr(miri, ignore = "a runtime needs the system")]
fn a_run_in_a_view_that_others_wait_for() {
    let report = report_of(
        || Dispatcher::Default.limited_parallelism(1),
        || (),
        |s, view| drop(s.coroutine().on(view.clone()).launch(async {})),
    );
    let holds = format!("holds a place of the view limited_parallelism(1) made at {}", file!());
    assert!(report.contains(&holds), "{report}");
}

#[test]
#[cfg_attr(miri, ignore = "a runtime needs the system")]
fn a_run_beside_a_local_runtime_that_rests() {
    let rests = || {
        let local = LocalRuntime::new();
        // It is queued when the run is over.
        local.run_blocking(async { drop(spawn_local(async {})) });
        local
    };
    let report = report_of(|| Dispatcher::Default, rests, |_, _| ());
    assert!(report.contains("holds the thread of a LocalRuntime"), "{report}");
}

/// What is sent there is not looked at, as the coroutine blocks that thread.
#[test]
#[cfg_attr(miri, ignore = "a runtime needs the system")]
fn a_run_on_the_thread_of_the_program_s_own_loop() {
    let report = report_of(
        || Dispatcher::Default,
        || Main::install(|coroutine: Coroutine| drop(coroutine)).unwrap(),
        |s, _| drop(s.coroutine().on(Dispatcher::Main).launch(async {})),
    );
    assert!(report.contains("holds the thread of Dispatcher::Main"), "{report}");
}
