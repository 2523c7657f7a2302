//! What several of the tests need.

use std::any::Any;
use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use corymb::{CancelCause, Cancelled, Coroutine, Dispatcher, Failure, FailureHandler, Job};

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What happened, in its order.
#[derive(Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    /// One for a body that takes it, and one to look at it.
    pub(crate) fn twice() -> (Self, Self) {
        let trace = Self::default();
        (trace.clone(), trace)
    }

    pub(crate) fn add(&self, what: impl Display) {
        self.0.lock().unwrap().push(what.to_string());
    }

    /// Adds `what` when it is dropped.
    pub(crate) fn on_drop(&self, what: &'static str) -> OnDrop {
        OnDrop(self.clone(), what)
    }

    pub(crate) fn get(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Adds the text of each failure that it is given.
    pub(crate) fn handler(&self) -> FailureHandler {
        let trace = self.clone();
        FailureHandler::new(move |failure| match failure {
            Failure::Panic(panic) => trace.add(panic.message()),
            other => trace.add(other),
        })
    }
}

pub(crate) struct OnDrop(Trace, &'static str);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.add(self.1);
    }
}

/// Panics when it is dropped.
pub(crate) struct PanicOnDrop(pub(crate) &'static str);

impl Drop for PanicOnDrop {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

/// Active, completed, cancelled.
pub(crate) fn flags(job: &Job) -> (bool, bool, bool) {
    (job.is_active(), job.is_completed(), job.is_cancelled())
}

pub(crate) const NEW: (bool, bool, bool) = (false, false, false);
pub(crate) const ACTIVE: (bool, bool, bool) = (true, false, false);
pub(crate) const CANCELLING: (bool, bool, bool) = (false, false, true);
pub(crate) const CANCELLED: (bool, bool, bool) = (false, true, true);
pub(crate) const COMPLETED: (bool, bool, bool) = (false, true, false);

/// An error of the tests' own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Oops(pub(crate) &'static str);

impl Display for Oops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Oops {}

pub(crate) fn custom(text: &'static str) -> CancelCause {
    CancelCause::Custom(Arc::new(Oops(text)))
}

/// The text of a cause of the tests' own.
#[track_caller]
pub(crate) fn custom_text(cancelled: &Cancelled) -> String {
    match cancelled.cause() {
        CancelCause::Custom(error) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// The text of a panic.
#[track_caller]
pub(crate) fn text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(|text| &**text))
        .expect("a panic with a text")
}

/// The text of the panic that was caught.
#[track_caller]
pub(crate) fn caught_text<T>(result: thread::Result<T>) -> String {
    match result {
        Ok(_) => panic!("there was no panic"),
        Err(payload) => text(&*payload).to_owned(),
    }
}

/// A dispatcher with one thread, which ends with it.
pub(crate) fn thread_of_its_own() -> (Dispatcher, ThreadId) {
    let (queue, coroutines) = mpsc::channel::<Coroutine>();
    let thread = thread::spawn(move || coroutines.into_iter().for_each(Coroutine::run));
    // When the thread has ended, nobody takes what is sent: it is dropped, and so cancelled.
    let dispatch = move |coroutine| drop(queue.send(coroutine));
    (Dispatcher::custom(dispatch), thread.thread().id())
}
