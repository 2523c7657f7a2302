//! A queue to one thread, which sleeps while it is empty.
//!
//! The thread looks into the queue, and then parks; who sends puts into the queue, and then unparks.
//! The token of the thread remembers an unpark that comes between the look and the park. Somebody
//! else on the thread may take the token: but then, before it parks again, the thread looks again.

use std::collections::VecDeque;

use corymb_core::internal::prim::Mutex;

#[cfg(loom)]
use loom::thread::{self, Thread};
#[cfg(not(loom))]
use std::thread::{self, Thread};

/// The queue.
pub(super) struct Mailbox<T> {
    letters: Mutex<Letters<T>>,
    thread: Thread,
}

struct Letters<T> {
    queue: VecDeque<T>,
    closed: bool,
}

impl<T> Mailbox<T> {
    /// An empty one of this thread.
    pub(super) fn new() -> Self {
        let letters = Letters { queue: VecDeque::new(), closed: false };
        Self { letters: Mutex::new(letters), thread: thread::current() }
    }

    /// Sends to the thread; gives back what comes after the end.
    pub(super) fn push(&self, letter: T) -> Option<T> {
        let mut letters = self.letters.lock();
        if letters.closed {
            return Some(letter);
        }
        letters.queue.push_back(letter);
        drop(letters);
        self.thread.unpark();
        None
    }

    pub(super) fn pop(&self) -> Option<T> {
        self.letters.lock().queue.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.letters.lock().queue.is_empty()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.letters.lock().closed
    }

    /// Accepts nothing more; what was not taken.
    pub(super) fn close(&self) -> VecDeque<T> {
        let mut letters = self.letters.lock();
        letters.closed = true;
        std::mem::take(&mut letters.queue)
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::Arc;

    use corymb_core::internal::prim::atomic::{AtomicBool, Ordering};

    use super::*;

    /// What the loop does: a look at each thing that it waits for, and then the park.
    #[test]
    fn loom_a_letter_against_the_sleep() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::new());
            let senders = [1, 2].map(|letter| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || assert!(mailbox.push(letter).is_none()))
            });
            let mut sum = 0;
            while sum < 3 {
                match mailbox.pop() {
                    Some(letter) => sum += letter,
                    None => thread::park(),
                }
            }
            let _ended = senders.map(|sender| sender.join().unwrap());
        });
    }

    /// A letter, and the wake of what the thread blocks on: neither hides the other.
    #[test]
    fn loom_a_letter_and_a_wake_against_the_sleep() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::new());
            let woken = Arc::new(AtomicBool::new(false));
            let home = thread::current();
            let sender = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || assert!(mailbox.push(()).is_none()))
            };
            let waker = {
                let woken = Arc::clone(&woken);
                thread::spawn(move || {
                    if !woken.swap(true, Ordering::Release) {
                        home.unpark();
                    }
                })
            };
            let (mut letter, mut wake) = (false, false);
            while !(letter && wake) {
                wake |= woken.swap(false, Ordering::Acquire);
                if mailbox.pop().is_some() {
                    letter = true;
                } else if !(woken.load(Ordering::Relaxed) || letter && wake) {
                    thread::park();
                }
            }
            sender.join().unwrap();
            waker.join().unwrap();
        });
    }

    #[test]
    fn loom_a_letter_against_the_end() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::new());
            let sender = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || mailbox.push(()).is_some())
            };
            let left = mailbox.close().len();
            let came_back = sender.join().unwrap();
            assert_eq!(left + usize::from(came_back), 1);
        });
    }
}
