//! A processor's run queue: a FIFO that one thread works on and others steal from.
//!
//! crossbeam's deque; under loom and miri, where that does not run cleanly, a locked twin with the
//! same interface.

use corymb_core::Coroutine;

#[cfg(not(any(loom, miri)))]
mod imp {
    use super::Coroutine;
    use crossbeam_deque::{Steal, Stealer, Worker};

    /// The end of the thread that holds the processor.
    pub(crate) struct RunQueue(Worker<Coroutine>);

    /// The end of the thieves.
    pub(crate) struct Thief(Stealer<Coroutine>);

    /// What is submitted from outside.
    pub(crate) struct Injector(crossbeam_deque::Injector<Coroutine>);

    impl RunQueue {
        pub(crate) fn new() -> (Self, Thief) {
            let queue = Worker::new_fifo();
            let thief = Thief(queue.stealer());
            (Self(queue), thief)
        }

        #[inline]
        pub(crate) fn push(&self, coroutine: Coroutine) {
            self.0.push(coroutine);
        }

        #[inline]
        pub(crate) fn pop(&self) -> Option<Coroutine> {
            self.0.pop()
        }
    }

    impl Thief {
        /// Moves about half of the queue to `to`, and gives the first of it.
        pub(crate) fn steal(&self, to: &RunQueue) -> Option<Coroutine> {
            retry(|| self.0.steal_batch_and_pop(&to.0))
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.len()
        }
    }

    impl Injector {
        pub(crate) fn new() -> Self {
            Self(crossbeam_deque::Injector::new())
        }

        pub(crate) fn push(&self, coroutine: Coroutine) {
            self.0.push(coroutine);
        }

        /// Moves a batch to `to`, and gives the first of it.
        pub(crate) fn steal(&self, to: &RunQueue) -> Option<Coroutine> {
            retry(|| self.0.steal_batch_and_pop(&to.0))
        }

        /// Takes one.
        pub(crate) fn pop(&self) -> Option<Coroutine> {
            retry(|| self.0.steal())
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.len()
        }
    }

    fn retry(mut steal: impl FnMut() -> Steal<Coroutine>) -> Option<Coroutine> {
        loop {
            match steal() {
                Steal::Success(coroutine) => return Some(coroutine),
                Steal::Empty => return None,
                Steal::Retry => std::hint::spin_loop(),
            }
        }
    }
}

#[cfg(any(loom, miri))]
mod imp {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use corymb_core::internal::prim::Mutex;

    use super::Coroutine;

    type Queue = Mutex<VecDeque<Coroutine>>;

    /// The end of the thread that holds the processor.
    pub(crate) struct RunQueue(Arc<Queue>);

    /// The end of the thieves.
    pub(crate) struct Thief(Arc<Queue>);

    /// What is submitted from outside.
    pub(crate) struct Injector(Queue);

    impl RunQueue {
        pub(crate) fn new() -> (Self, Thief) {
            let queue = Arc::new(Mutex::new(VecDeque::new()));
            (Self(Arc::clone(&queue)), Thief(queue))
        }

        pub(crate) fn push(&self, coroutine: Coroutine) {
            self.0.lock().push_back(coroutine);
        }

        pub(crate) fn pop(&self) -> Option<Coroutine> {
            self.0.lock().pop_front()
        }
    }

    impl Thief {
        /// Moves about half of the queue to `to`, and gives the first of it.
        pub(crate) fn steal(&self, to: &RunQueue) -> Option<Coroutine> {
            take_half(&self.0, to)
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.0.lock().is_empty()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.lock().len()
        }
    }

    impl Injector {
        pub(crate) fn new() -> Self {
            Self(Mutex::new(VecDeque::new()))
        }

        pub(crate) fn push(&self, coroutine: Coroutine) {
            self.0.lock().push_back(coroutine);
        }

        /// Moves a batch to `to`, and gives the first of it.
        pub(crate) fn steal(&self, to: &RunQueue) -> Option<Coroutine> {
            take_half(&self.0, to)
        }

        /// Takes one.
        pub(crate) fn pop(&self) -> Option<Coroutine> {
            self.0.lock().pop_front()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.0.lock().is_empty()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.lock().len()
        }
    }

    fn take_half(from: &Queue, to: &RunQueue) -> Option<Coroutine> {
        let mut from = from.lock();
        let half = from.len().div_ceil(2);
        let mut taken: VecDeque<_> = from.drain(..half).collect();
        drop(from);
        let first = taken.pop_front();
        to.0.lock().extend(taken);
        first
    }
}

pub(crate) use imp::{Injector, RunQueue, Thief};
