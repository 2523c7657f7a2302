//! What the tests of several primitives need.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// How often to repeat what is cheap, but for miri.
pub(crate) const fn times(n: usize) -> usize {
    if cfg!(miri) { 2 } else { n }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A future polled by hand, with a waker of its own that counts.
pub(crate) struct Task<F> {
    future: Pin<Box<F>>,
    count: Arc<Count>,
    seen: usize,
}

impl<F: Future> Task<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Box::pin(future), count: Arc::default(), seen: 0 }
    }

    /// A task that waits.
    #[track_caller]
    pub(crate) fn waiting(future: F) -> Self {
        let mut task = Self::new(future);
        assert!(task.poll().is_pending(), "it does not wait");
        task
    }

    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        self.seen = self.count.0.load(Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self.count));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Whether it was woken since the last poll.
    pub(crate) fn woken(&self) -> bool {
        self.wakes() > self.seen
    }

    /// How often it was woken.
    pub(crate) fn wakes(&self) -> usize {
        self.count.0.load(Ordering::SeqCst)
    }

    /// Has it wait under another waker from the next poll on; tells how often the one before
    /// was woken.
    pub(crate) fn change_waker(&mut self) -> impl Fn() -> usize + use<F> {
        let before = mem::take(&mut self.count);
        self.seen = 0;
        move || before.0.load(Ordering::SeqCst)
    }
}

/// A value that says when it is dropped.
#[derive(Debug)]
pub(crate) struct Tracked(pub(crate) usize, pub(crate) Arc<AtomicUsize>);

impl Drop for Tracked {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

/// How often `drops` counted.
pub(crate) fn drops(drops: &AtomicUsize) -> usize {
    drops.load(Ordering::SeqCst)
}
