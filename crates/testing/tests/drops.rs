//! `drop_at_every_poll`, with futures of corymb and others.

use std::collections::BTreeMap;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use corymb_core::time::sleep;
use corymb_core::{Job, scope, yield_now};
use corymb_testing::{drop_at_every_poll, settle};
use futures::StreamExt;
use futures::channel::mpsc;

mod common;

use common::failure;

#[test]
fn it_drops_after_each_poll_and_completes_in_the_end() {
    let log = Mutex::new(Vec::new());
    let polls = drop_at_every_poll(
        |_| async {
            yield_now().await;
            sleep(Duration::from_secs(1)).await;
        },
        |polls| log.lock().unwrap().push(polls),
    );
    assert_eq!(polls, 3);
    assert_eq!(log.into_inner().unwrap(), [0, 0, 1, 1, 2, 2, 3]);
}

#[test]
fn helpers_live_until_the_check() {
    let helpers = Mutex::new(Vec::<Job>::new());
    let polls = drop_at_every_poll(
        |beside| {
            let (sender, mut receiver) = mpsc::unbounded();
            helpers.lock().unwrap().push(beside.launch(async move {
                settle().await;
                // Nobody may be there to hear it.
                _ = sender.unbounded_send(42);
                pending::<()>().await;
            }));
            async move { assert_eq!(receiver.next().await, Some(42)) }
        },
        |_| assert!(helpers.lock().unwrap().last().unwrap().is_active()),
    );
    assert_eq!(polls, 2);
    let helpers = helpers.into_inner().unwrap();
    assert_eq!(helpers.len(), 5);
    assert!(helpers.iter().all(Job::is_cancelled));
}

#[test]
fn children_of_what_is_dropped_have_ended_before_the_check() {
    let alive = Arc::new(Mutex::new(0));
    let polls = drop_at_every_poll(
        |_| {
            let alive = alive.clone();
            scope(async move |s| {
                s.launch(async move {
                    let _alive = Alive::new(&alive);
                    sleep(Duration::from_secs(1)).await;
                });
            })
        },
        |_| assert_eq!(*alive.lock().unwrap(), 0),
    );
    assert_eq!(polls, 2);
}

/// Counts itself.
struct Alive(Arc<Mutex<usize>>);

impl Alive {
    fn new(count: &Arc<Mutex<usize>>) -> Self {
        *count.lock().unwrap() += 1;
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        *self.0.lock().unwrap() -= 1;
    }
}

/// A semaphore that wakes a waiter for each permit. If it `LOSES`, a waiter that was woken and is
/// dropped does not pass its permit on.
#[derive(Clone, Default)]
struct Semaphore<const LOSES: bool>(Arc<Mutex<Permits>>);

#[derive(Default)]
struct Permits {
    free: usize,
    /// By their numbers.
    waiting: BTreeMap<usize, Waker>,
}

impl Permits {
    fn wake_next(&mut self) {
        if let Some((_, waker)) = self.waiting.pop_first() {
            waker.wake();
        }
    }
}

impl<const LOSES: bool> Semaphore<LOSES> {
    fn acquire(&self, number: usize) -> Acquire<LOSES> {
        Acquire { semaphore: self.clone(), number, waited: false }
    }

    fn release(&self) {
        let mut permits = self.0.lock().unwrap();
        permits.free += 1;
        permits.wake_next();
    }
}

struct Acquire<const LOSES: bool> {
    semaphore: Semaphore<LOSES>,
    number: usize,
    waited: bool,
}

impl<const LOSES: bool> Future for Acquire<LOSES> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let semaphore = self.semaphore.clone();
        let mut permits = semaphore.0.lock().unwrap();
        self.waited = permits.free == 0;
        if self.waited {
            permits.waiting.insert(self.number, cx.waker().clone());
            return Poll::Pending;
        }
        permits.free -= 1;
        Poll::Ready(())
    }
}

impl<const LOSES: bool> Drop for Acquire<LOSES> {
    fn drop(&mut self) {
        let mut permits = self.semaphore.0.lock().unwrap();
        let woken = self.waited && permits.waiting.remove(&self.number).is_none();
        if woken && !LOSES {
            permits.wake_next();
        }
    }
}

/// One permit comes while two wait for it: the second has to get it if the first is dropped.
fn acquire_and_drop<const LOSES: bool>() {
    let second = Mutex::new(None::<Job>);
    drop_at_every_poll(
        |beside| {
            let semaphore = Semaphore::<LOSES>::default();
            let (first, other) = (semaphore.acquire(1), semaphore.clone());
            *second.lock().unwrap() = Some(beside.launch(async move {
                yield_now().await;
                other.acquire(2).await;
                other.release();
            }));
            beside.launch(async move {
                settle().await;
                semaphore.release();
            });
            async move {
                let semaphore = first.semaphore.clone();
                first.await;
                semaphore.release();
            }
        },
        |polls| {
            let second = second.lock().unwrap().take().unwrap();
            assert!(second.is_completed(), "lost after {polls} polls");
        },
    );
}

#[test]
fn what_passes_a_permit_on_passes() {
    acquire_and_drop::<false>();
}

#[test]
fn a_permit_that_is_lost_with_a_woken_waiter_is_found() {
    let message = failure(acquire_and_drop::<true>);
    assert_eq!(message, "lost after 1 polls");
}

#[test]
fn a_future_that_waits_for_ever_is_a_deadlock() {
    let message = failure(|| drop_at_every_poll(|_| pending::<()>(), |_| ()));
    assert!(message.starts_with("deadlock"), "{message}");
}

#[test]
fn a_helper_that_fails_is_not_overlooked() {
    let helper = |beside: corymb_core::Scope| {
        beside.launch(async { panic!("unheard") });
        yield_now()
    };
    let message = failure(|| drop_at_every_poll(helper, |_| ()));
    assert!(message.contains("unheard"), "{message}");
}
